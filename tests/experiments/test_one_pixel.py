"""Linear networks of one pixel, against the optimum in closed form."""

import pytest
import torch

from envae.experiments import one_pixel
from envae.objectives import objective
from envae.theory import linear_energy


@pytest.mark.parametrize(("name", "options"), [("envae", {"samples": 2}), ("fenvae", {})])
def test_training_ends_at_the_optimum(name, options):
    alphas = (0.3, 1.0)
    objectives = [objective(name, alpha=alpha, **options) for alpha in alphas]
    for alpha, trained in zip(alphas, one_pixel.train(objectives, epochs=60), strict=True):
        best = linear_energy.optimum(torch.ones(1), 1, alpha=alpha)
        assert trained.posterior_variance == pytest.approx(best.posterior_variance.item(), rel=0.03)
        assert trained.generator_variance == pytest.approx(best.weight.item() ** 2, rel=0.1)
