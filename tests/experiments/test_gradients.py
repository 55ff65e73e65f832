"""How much of a gradient is noise."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

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


class Weights(nn.Module):
    """Three weights, of which a gradient of `weights @ vector` is the vector."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(3))


def drawn(mean, stddev):
    """A loss whose gradient is drawn from N(mean, stddev^2 I)."""
    return lambda vae, x: SimpleNamespace(
        total=vae.weights @ (torch.tensor(mean) + stddev * torch.randn(3))
    )


def test_bias_variance_and_cosine_of_gradients_that_are_drawn_from_gaussians():
    """Relative to a reference of length 5: trace over 25, distance over 5."""
    compared = {
        "unbiased": drawn([3.0, 4.0, 0.0], 2.0),
        "biased": drawn([0.0, 4.0, 0.0], 1.0),
        "longer": drawn([6.0, 8.0, 0.0], 0.5),
    }
    reference = drawn([3.0, 4.0, 0.0], 0.1)
    noise = gradient_noise(Weights(), compared, None, reference=reference, repeats=1000)
    expected = {"unbiased": [12 / 25, 0, 1], "biased": [3 / 25, 0.6, 0.8], "longer": [0.03, 1, 1]}
    for label, values in expected.items():
        assert noise.loc[label].tolist() == pytest.approx(values, rel=0.08, abs=0.04), label
    again = gradient_noise(Weights(), compared, None, reference=reference, repeats=20, seed=1)
    other = gradient_noise(Weights(), compared, None, reference=reference, repeats=20, seed=2)
    assert not again.equals(other)


def test_what_two_noisy_means_are_apart_is_not_taken_for_a_bias():
    """Of 10 draws each, whose means are 4 apart by noise alone; two runs of three have less."""
    noise = [
        gradient_noise(Weights(), {"": same}, None, reference=same, repeats=10, seed=seed)
        for same in [drawn([1.0, 0.0, 0.0], 5.0)] for seed in range(40)
    ]  # fmt: skip
    assert sum(found["bias"].item() == 0 for found in noise) > 20


def test_a_signal_is_the_squared_mean_over_the_noise_of_a_batch():
    """Of 500 gradients with the mean (2, 1, 0) and variances of 9: 5 over 27 / 50."""
    images = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    images = 3 * (images - images.mean(0)) / images.std(0, correction=0)
    images = images + torch.tensor([2.0, 1.0, 0.0])

    def loss(vae, batch):
        return SimpleNamespace(reconstruction=vae.weights @ batch.mean(0))

    torch.manual_seed(0)
    found = gradient_signal(loss, Weights(), images, batch_size=50, batches=3000)
    assert found == pytest.approx(5 / (27 / 50), rel=0.05)
    nothing = gradient_signal(loss, Weights(), images - images.mean(0), batch_size=50, batches=300)
    assert abs(nothing) < 0.01


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
