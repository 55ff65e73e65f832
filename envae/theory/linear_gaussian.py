"""A linear VAE with any parameters: every term of its objective is one of Gaussians.

Data N(0, C); posterior N(V x, diag(s)); prior N(0, I); decoder N(W z, sigma^2 I). Image and code
are jointly Gaussian under data and encoder, and under prior and decoder, so that all divergences
and informations follow from two covariances.
"""

import dataclasses
import math

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from envae.theory import linear


@dataclasses.dataclass(frozen=True)
class LinearVAE:
    """Parameters of the two joint distributions; leading dimensions are a batch of models.

    Attributes
    ----------
    covariance
        C of the data, `(n, n)`.
    encoder
        V, `(..., d_z, n)`.
    posterior_variance
        s, `(..., d_z)`.
    decoder
        W, `(..., n, d_z)`.
    sigma2
        Pixel variance, `(...)` or a number.
    """

    covariance: Tensor
    encoder: Tensor
    posterior_variance: Tensor
    decoder: Tensor
    sigma2: Tensor | float

    @property
    def image(self) -> slice:
        """Where the image stands among the variables of a joint distribution."""
        return slice(0, len(self.covariance))

    @property
    def code(self) -> slice:
        """Where the code stands."""
        return slice(len(self.covariance), None)

    def encoded(self) -> Tensor:
        """Covariance of (x, z) under data and encoder, `(n + d_z, n + d_z)`; of one model."""
        cross = self.covariance @ self.encoder.mT
        return _blocks(self.covariance, cross, self.aggregate_covariance())

    def modelled(self) -> Tensor:
        """Covariance of (x, z) under prior and decoder, `(n + d_z, n + d_z)`; of one model."""
        identity = torch.eye(self.decoder.shape[-1], dtype=self.decoder.dtype)
        noise = self.sigma2 * torch.eye(len(self.decoder), dtype=self.decoder.dtype)
        return _blocks(self.decoder @ self.decoder.mT + noise, self.decoder, identity)

    def aggregate_covariance(self) -> Tensor:
        """Covariance of the code under data and encoder, `(..., d_z, d_z)`."""
        spread = torch.diag_embed(self.posterior_variance)
        return self.encoder @ self.covariance @ self.encoder.mT + spread

    def expected_error(self) -> Tensor:
        """Expected squared error of a decoded draw, E||x - W z||^2, `(...)`."""
        cross = _trace(self.decoder @ self.encoder @ self.covariance)
        decoded = _trace(self.decoder @ self.aggregate_covariance() @ self.decoder.mT)
        return _trace(self.covariance) - 2 * cross + decoded

    def expected_kl(self) -> Tensor:
        """Expected KL divergence of the posterior from the prior in nats, `(...)`."""
        s = self.posterior_variance
        return 0.5 * (_trace(self.aggregate_covariance()) - (s.log() + 1).sum(-1))

    def negative_elbo(self) -> Tensor:
        """In nats per image, with all constants, `(...)`."""
        sigma2 = torch.as_tensor(self.sigma2, dtype=self.decoder.dtype)
        constant = 0.5 * len(self.covariance) * torch.log(2 * math.pi * sigma2)
        return constant + self.expected_error() / (2 * sigma2) + self.expected_kl()


def at_optimum(eigenvalues: Tensor, latent_dim: int, sigma2: float) -> LinearVAE:
    """The best linear VAE for data of these eigenvalues, in principal directions.

    Arguments as in :func:`envae.theory.linear.optimum`, the eigenvalues largest first.
    """
    best = linear.optimum(eigenvalues, latent_dim, sigma2)
    axes = torch.eye(len(eigenvalues), latent_dim, dtype=eigenvalues.dtype)
    decoder = axes * best.decoder_scale
    # A dimension that is not active has a weight of 0, whatever its eigenvalue.
    encoder = decoder.mT / eigenvalues.clamp(min=sigma2)
    return LinearVAE(torch.diag(eigenvalues), encoder, best.posterior_variance, decoder, sigma2)


def conditional(joint: Tensor, of: slice, given: slice) -> tuple[Tensor, Tensor]:
    """Matrix G and covariance of the conditional N(G b, covariance) of one part given b, another.

    Parameters
    ----------
    joint
        Covariance of a Gaussian of mean zero, `(k, k)`.
    """
    gain = torch.linalg.solve(joint[given, given], joint[given, of]).mT
    return gain, joint[of, of] - gain @ joint[given, of]


def kl(first: Tensor, second: Tensor) -> Tensor:
    """KL divergence of N(0, first) from N(0, second) in nats."""
    zero = first.new_zeros(len(first))
    return kl_divergence(MultivariateNormal(zero, first), MultivariateNormal(zero, second))


def conditional_kl(first: Tensor, second: Tensor, of: slice, given: slice) -> Tensor:
    """Expected KL divergence between two conditionals in nats, the expectation under the first.

    Parameters
    ----------
    first, second
        Joint covariances, `(k, k)`.
    """
    gain, covariance = conditional(first, of, given)
    other_gain, other_covariance = conditional(second, of, given)
    apart = gain - other_gain
    # E over b of ||apart b||^2 in the metric of the second.
    offset = apart @ first[given, given] @ apart.mT
    return kl(covariance, other_covariance) + 0.5 * _trace(
        torch.linalg.solve(other_covariance, offset)
    )


def mutual_information(joint: Tensor, first: slice, second: slice) -> Tensor:
    """Mutual information of two parts of a Gaussian of this covariance, in nats."""
    _, left = conditional(joint, first, second)
    return 0.5 * (torch.logdet(joint[first, first]) - torch.logdet(left))


def _blocks(image: Tensor, cross: Tensor, code: Tensor) -> Tensor:
    return torch.cat([torch.cat([image, cross], 1), torch.cat([cross.mT, code], 1)])


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
