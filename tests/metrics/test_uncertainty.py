"""The estimated variance of draws that a test can foresee."""

import torch

from envae.metrics import uncertainty
from envae.objectives import objective
from envae.vae import gaussian

IMAGES = torch.rand(6, 2, 4, 4, generator=torch.Generator().manual_seed(0))


class Level:
    """A grey level drawn for every image, of mean 0.5 and standard deviation 0.1."""

    def encode(self, x):
        return gaussian(torch.full((len(x), 1), 0.5), torch.full((len(x), 1), 0.1))

    def decode(self, z):
        return z[..., None, None].expand(*z.shape[:-1], 2, 4, 4)


def test_estimated_variance_is_the_mean_of_the_estimates_of_single_draws():
    loss = objective("iso_i")
    many = uncertainty.maps(Level(), loss, IMAGES, draws=400)["variance"]
    expected = (IMAGES - 0.5).square().mean() + 0.1**2
    assert many.unique().numel() == 1  # shared by all pixels of all images
    torch.testing.assert_close(many.mean(), expected, rtol=0.02, atol=0)
    torch.manual_seed(0)
    uncertain = uncertainty.maps(Level(), loss, IMAGES, draws=2)["variance"]
    torch.manual_seed(0)
    torch.randn(2, 6, 1)  # the draws of the residual
    each = torch.stack([loss.variance(Level(), IMAGES) for _ in range(2)])
    torch.testing.assert_close(uncertain, each.mean(0))
    assert not torch.equal(each[0], each[1])
