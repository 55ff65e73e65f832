"""What the variance of the posterior q(z|x) = N(mu(x), Sigma_z) depends on."""

import math

import torch
from torch import Tensor, nn

from envae._unknown import unknown

# Kinds of variance, and how many of them are learned as parameters for a code of d_z dimensions.
IMAGE, COORDINATE, ISOTROPIC = "image", "coordinate", "isotropic"
Variance = str | float


def outputs(posterior: Variance, latent_dim: int) -> int:
    """Units that the encoder's last layer must have.

    Raises
    ------
    ValueError
        If there is no such posterior.
    """
    if isinstance(posterior, str):
        kinds = [IMAGE, COORDINATE, ISOTROPIC]
        if posterior not in kinds:
            raise ValueError(unknown("posterior", posterior, [*kinds, "a variance"]))
    elif not 0 <= posterior < math.inf:
        raise ValueError(f"a posterior variance must be a number from 0 up, received {posterior}")
    return 2 * latent_dim if posterior == IMAGE else latent_dim


def with_variance(encoder: nn.Module, posterior: Variance, latent_dim: int) -> nn.Module:
    """The encoder a VAE takes: `(B, 2 d_z)`, the mean and the logarithm of the variance.

    Parameters
    ----------
    encoder
        Maps images to `(B, outputs(posterior, latent_dim))`.
    """
    if posterior == IMAGE:
        return encoder
    if posterior == COORDINATE:
        return SharedVariance(encoder, nn.Parameter(torch.zeros(latent_dim)))
    if posterior == ISOTROPIC:
        return SharedVariance(encoder, nn.Parameter(torch.zeros(1)))
    return SharedVariance(encoder, torch.tensor([posterior], dtype=torch.float32).log())


class SharedVariance(nn.Module):
    """Posterior parameters with a mean from a network and a variance that all images share.

    Parameters
    ----------
    mean
        Maps images to `(B, d_z)`.
    log_variance
        `(d_z,)` or `(1,)`; learned if it is a parameter. Minus infinity is a point: every draw
        is the mean.
    """

    def __init__(self, mean: nn.Module, log_variance: Tensor):
        super().__init__()
        self.mean = mean
        if isinstance(log_variance, nn.Parameter):
            self.log_variance = log_variance
        else:
            self.register_buffer("log_variance", log_variance)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean(x)  # (B, d_z)
        return torch.cat([mean, self.log_variance.expand_as(mean)], dim=-1)
