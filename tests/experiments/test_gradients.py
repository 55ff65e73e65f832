"""How much of a gradient is noise."""

import torch

from envae import datasets, networks
from envae.datasets.noise import noisy
from envae.experiments.gradients import gradient_noise, gradient_signal
from envae.objectives import objective
from envae.training import fit

DIGITS = datasets.load("digits")


def test_gradient_noise_knows_the_reference_and_the_biased():
    vae = networks.build("mlp", (1, 8, 8), 16, seed=1)
    compared = {
        "few": objective("envae", samples=2),
        "many": objective("envae", samples=8),
        "without KL": objective("envae", samples=8, alpha=1e-6),
    }
    noise = gradient_noise(
        vae, compared, DIGITS.train[:16], reference=objective("envae", samples=16), repeats=30
    )
    assert noise.loc["many", "variance"] < 0.5 * noise.loc["few", "variance"]
    assert noise.loc["many", "bias"] < 0.1
    assert noise.loc["without KL", "bias"] > 2 * noise.loc["many", "bias"]


def trained():
    """A model on noisy images, so that there is signal and noise."""
    vae = networks.build("mlp64", (1, 8, 8), 4, seed=1)
    images = noisy(DIGITS.subset(200), "spatial", 0.1, seed=1).train
    fit(vae, objective("diag_i"), images, epochs=3, accelerator="cpu", progress=False)
    return vae


def test_the_gradients_signal_grows_with_the_batch():
    vae, images = trained(), DIGITS.train
    torch.manual_seed(0)
    small, large = (
        gradient_signal(objective("iso_d"), vae, images, batch_size=size, batches=100)
        for size in (16, 256)
    )
    assert 4 < large / small < 64  # 16 times, up to the noise of the estimate


def test_epsilon_bounds_the_noise_of_diag_d_gradients():
    vae, images = trained(), noisy(DIGITS, "uniform", 0.1).train
    torch.manual_seed(0)
    sharp, floored = (
        gradient_signal(objective("diag_d", epsilon=epsilon), vae, images)
        for epsilon in (1e-6, 1e-2)
    )
    assert floored > 5 * abs(sharp)
