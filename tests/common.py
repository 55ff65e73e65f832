"""What several tests take alike: objectives by their names, and the measures of a trained model."""

import functools

from envae.experiments import fenvae, noise_recovery
from envae.experiments.measures import collapse, pictures, quality
from envae.metrics import extractor
from envae.objectives import objective

EXTRACTOR, _ = extractor.load("digits-cnn")
MEASURES = {
    "quality": functools.partial(
        quality.measure, extractor=EXTRACTOR, samples=120, priors=("gmm10",), interpolate=True,
        likelihood_draws=3,
    ),
    "collapse": functools.partial(collapse.measure, images=40, jacobians=5),
    "pictures": functools.partial(pictures.measure, draws=3, images=40),
    "chapter 12": functools.partial(
        fenvae.measure_with_lipschitz, extractor=EXTRACTOR, samples=120
    ),
    "chapter 06": noise_recovery.readings,
}  # fmt: skip


def of_codes(name, dimensions=4):
    """An objective with its defaults, for codes of so many dimensions where it must know that."""
    return objective(name, **({"latent_dim": dimensions} if name == "dt_vae" else {}))
