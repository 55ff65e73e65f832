"""Linear networks of one pixel, against the optimum in closed form."""

import pytest
import torch

from envae import networks
from envae.experiments import batched, one_pixel
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


def test_passes_in_batches_are_followed_by_as_many_of_all_data_at_a_tenth_of_the_rate(monkeypatch):
    calls = []
    fit = batched.fit

    def seen(vaes, objectives, x, **options):
        assert x.square().mean().item() == pytest.approx(1, abs=1e-5)
        if not calls:  # as the seed has them
            start = networks.build("linear", (1, 1, 1), 1, seed=7).state_dict()
            for vae in vaes:
                torch.testing.assert_close(vae.state_dict(), start)
        calls.append(options)
        return fit(vaes, objectives, x, **options)

    monkeypatch.setattr(batched, "fit", seen)
    one_pixel.train([objective("l2", alpha=1.0)] * 2, epochs=2, seed=7)
    shared = {"epochs": 2, "seeds": [7, 7], "accelerator": "cpu"}
    assert calls == [
        shared | {"batch_size": 500, "lr": 1e-2}, shared | {"batch_size": 4000, "lr": 1e-3}
    ]  # fmt: skip
