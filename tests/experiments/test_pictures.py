"""Sharpness, uncertainty maps and residuals, against closed forms and a model that is known."""

import numpy as np
import pytest
import torch
from torch import nn

from envae import datasets
from envae.experiments.measures import pictures
from envae.objectives import objective
from envae.vae import gaussian


class Known(nn.Module):
    """Codes N(0, s^2) whatever the image; decodes to a gain times the code at every pixel."""

    latent_dim = 1

    def __init__(self, gain=1.0, stddev=0.5):
        super().__init__()
        self.gain, self.stddev = nn.Parameter(torch.as_tensor(gain)), stddev

    def encode(self, x):
        mean = torch.zeros(len(x), 1)
        return gaussian(mean, torch.full_like(mean, self.stddev))

    def decode(self, z):
        return z.reshape(*z.shape[:-1], 1, 1, 1) * self.gain.expand(1, 8, 8)


def test_sharpness_of_a_ramp_and_of_stripes():
    ramp = 0.1 * torch.arange(8.0).expand(2, 1, 8, 8)  # 0.1 across, 0 down
    assert pictures.sharpness(ramp) == pytest.approx(0.05, rel=1e-5)
    stripes = (torch.arange(8) % 2).float().expand(1, 1, 8, 8)
    assert pictures.sharpness(stripes) == pytest.approx(0.5)
    assert pictures.sharpness(torch.full((1, 1, 8, 8), 0.3)) == 0


def test_contours_of_a_plane_are_its_slope():
    rows, columns = torch.arange(6.0)[:, None], torch.arange(9.0)[None, :]
    found = pictures.contours((3 * rows + 4 * columns)[None, None])
    torch.testing.assert_close(found, torch.full((1, 1, 6, 9), 5.0))


def test_correlation_is_that_of_numpy():
    first, second = torch.rand(2, 5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    pairs = zip(first.flatten(1).numpy(), second.flatten(1).numpy(), strict=True)
    expected = np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs])
    assert pictures.correlation(first, second) == pytest.approx(expected, abs=1e-6)
    assert pictures.correlation(first, 2 - 3 * first) == pytest.approx(-1, abs=1e-6)
    with pytest.raises(ValueError, match="same value at every pixel"):
        pictures.correlation(first, torch.ones_like(first))


def test_draws_are_those_of_the_posterior():
    images = torch.zeros(3, 1, 8, 8)
    drawn = pictures.decoded_draws(Known(2.0), images, torch.Generator().manual_seed(0), draws=4000)
    assert drawn.shape == (4000, 3, 1, 8, 8)
    torch.testing.assert_close(drawn.std(0), torch.ones(3, 1, 8, 8), rtol=0.05, atol=0)
    with pytest.raises(ValueError, match="draws must be at least 2, received 1"):
        pictures.decoded_draws(Known(), images, torch.Generator(), draws=1)


def test_measures_of_a_known_model():
    """Images are stripes; the model's mean is zero, and its spread follows the stripes."""
    stripes = torch.zeros(8)
    stripes[2:4], stripes[6:8] = 1.0, 1.0
    images = stripes.expand(40, 1, 8, 8).clone()
    labels = torch.zeros(40, dtype=torch.long)
    data = datasets.Dataset("stripes", images, labels, images, labels, "")
    values = pictures.measure(Known(0.1 + stripes), objective("l2"), data, 0, draws=200)
    values = {name: value for name, (value, _) in values.items()}
    contrast = (stripes.expand(8, 8).std() / (0.1 + stripes.mean())).item()
    assert values["map_error"] == pytest.approx(1, abs=0.02)
    assert values["map_contrast"] == pytest.approx(contrast, rel=1e-3)
    scale = 0.5 * ((0.1 + stripes).square().mean() / stripes.square().mean()).sqrt().item()
    assert values["map_scale"] == pytest.approx(scale, rel=0.03)
    assert values["sharpness_means"] == 0
    assert values["posterior_share"] == 1  # its codes do not depend on the image
    assert values["high_means"] == 0
    # Samples are the stripes times N(0, 1), whose mean size is sqrt(2 / pi), and square 1.
    assert values["sharpness_samples"] == pytest.approx((2 / torch.pi) ** 0.5, rel=0.25)
    assert values["high_samples"] == pytest.approx(1, rel=0.5)
    assert (values["residual_low_means"], values["residual_high_means"]) == (0, 1)
    # Where the image is 1 the residual is N(1, (1.1 / 2)^2), else N(0, 0.05^2).
    spread = torch.distributions.Normal(1, 0.55)
    above = 1 - spread.cdf(torch.tensor(values["residual_high_draws"])).item()
    assert above == pytest.approx(0.02, rel=0.25)
