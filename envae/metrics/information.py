"""Mutual information of an index and what a Gaussian channel makes of it, bounded from both sides.

Image i gives a draw of its own Gaussian q_i. With q_i = q(z|x_i), the posteriors of a VAE, the
information is that of image and code, I(x; z); with q_i = N(g(z_i), sigma_x^2 I), the decoder's
density at a code, that of code and reconstruction, I(z; x').

.. math:: I = \\mathbb E_i\\, \\mathbb E_{y \\sim q_i}
              \\bigl[\\ln q_i(y) - \\ln \\mathbb E_j\\, q_j(y)\\bigr]

Eq. D.1 of takida2022 is this for a variance that all q_i share: there E ln q_i(y) is
-d/2 - (d/2) ln(2 pi sigma^2), with d the dimension of y. (The paper prints -d_x/2 beside codes,
whose dimension is d_z.)
"""

import math

import torch
from torch import Tensor

from envae.vae import Posterior, gaussian, kl_to_prior


def mutual_information(
    channel: Posterior,
    *,
    reference: Posterior | None = None,
    generator: torch.Generator | None = None,
) -> float:
    """Estimate of the mutual information in nats, with one draw of each Gaussian.

    Without a reference the mixture E_j q_j is that of the same N Gaussians. The estimate is at most
    ln N on every draw. Its expectation is the information of the N images, and a lower bound of
    the information of what they were drawn from.

    With a reference, independent of the images, the mixture is the reference's. By Jensen's
    inequality the expectation is then an upper bound, and a loose one where draws of q_i fall far
    from every Gaussian of the reference.

    Parameters
    ----------
    channel
        Gaussians with independent coordinates, batch shape `(N,)`: `vae.encode(x)`, or
        `vae.gaussian(means, stddevs)`.
    reference
        Others of the same kind, `(N',)`.
    generator
        Source of the draws.

    Raises
    ------
    ValueError
        If a standard deviation is zero, where the information has no finite estimate, or the
        shapes do not fit.
    """
    channel = _flat(channel)
    mixture = channel if reference is None else _flat(reference)
    if mixture.mean.shape[1] != channel.mean.shape[1]:
        raise ValueError(
            f"channel and reference need the same dimension, received {channel.mean.shape[1]} "
            f"and {mixture.mean.shape[1]}"
        )
    noise = _noise(channel, generator)
    # Not by `log_prob`: a sharp Gaussian's draw is rounded to its mean.
    own = -(0.5 * noise**2 + channel.stddev.log() + _HALF_LOG_2_PI).sum(1)
    return (own - _log_mixture(mixture, channel.mean, channel.stddev * noise)).mean().item()


def aggregate_kl(posterior: Posterior, *, generator: torch.Generator | None = None) -> float:
    """KL(q(z) || p(z)) in nats of the aggregated posterior q(z) = E_i q(z|x_i) (Eq. A.2).

    It is the mean KL of the posteriors less the mutual information of image and code, both of the
    N images themselves. Arguments as in :func:`mutual_information`.
    """
    information = mutual_information(posterior, generator=generator)
    return kl_to_prior(_flat(posterior)).mean().item() - information


def _flat(channel: Posterior) -> Posterior:
    """The same Gaussians in double precision, with one axis of coordinates, `(N, d)`."""
    mean, stddev = channel.mean.detach().flatten(1), channel.stddev.detach().flatten(1)
    if not (stddev > 0).all():
        raise ValueError(
            "mutual information needs positive standard deviations: without noise an image's code "
            "tells the image apart, and the estimate is ln N or infinite"
        )
    return gaussian(mean.double(), stddev.double())


def _noise(channel: Posterior, generator: torch.Generator | None) -> Tensor:
    noise = torch.randn(channel.mean.shape, generator=generator, dtype=channel.mean.dtype)
    return noise.to(channel.mean.device)


_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)
_LOST = 1e-6  # nats that products may lose to rounding
_AT_ONCE = 2**23  # differences of coordinates


def _log_mixture(mixture: Posterior, means: Tensor, apart: Tensor) -> Tensor:
    """ln of the mean density of the Gaussians `(N', d)` at the points means + apart: `(N,)`.

    By products where they keep the digits, else by differences: of sharp Gaussians the squares are
    too large, and a point is not told from the mean that it was drawn around.
    """
    centre = mixture.mean.mean(0)  # squares of differences cancel less near the origin
    mean, stddev = mixture.mean - centre, mixture.stddev  # (N', d)
    precision, volume = stddev**-2, (stddev.log() + _HALF_LOG_2_PI).sum(1)
    squared_means = (precision * mean**2).sum(1)
    chunk = max(_AT_ONCE // mean.numel(), 1)

    def by_differences(points: Tensor, apart: Tensor) -> Tensor:
        return -0.5 * ((points[:, None] - mean + apart[:, None]) / stddev).square().sum(2)

    def of_chunk(points: Tensor, apart: Tensor) -> Tensor:  # (n, d)
        y = points + apart
        squares = y**2 @ precision.T
        largest = torch.maximum(squares.max(), squared_means.max())
        if largest * torch.finfo(y.dtype).eps < _LOST:
            exponents = y @ (precision * mean).T - 0.5 * (squares + squared_means)
        else:
            parts = zip(points.split(chunk), apart.split(chunk), strict=True)
            exponents = torch.cat([by_differences(*part) for part in parts])
        return (exponents - volume).logsumexp(1) - math.log(len(mean))

    chunks = zip((means - centre).split(1000), apart.split(1000), strict=True)
    return torch.cat([of_chunk(*part) for part in chunks])
