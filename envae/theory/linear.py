"""The linear VAE in closed form (Lucas et al., 2019), and probabilistic PCA.

Data of covariance with eigenvalues lambda_1 >= ... >= lambda_n; an affine decoder with pixel
variance sigma^2; an affine encoder. At the optimum latent dimension i carries the i-th principal
direction, and everything follows from its eigenvalue. A dimension with lambda_i <= sigma^2 is
collapsed: its decoder column is zero and its posterior is the prior.
"""

import dataclasses
import math

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Optimum:
    """The best linear VAE at a pixel variance; tensors per latent dimension `(..., d_z)`.

    Attributes
    ----------
    decoder_scale
        Length of the decoder's column, sqrt(max(lambda_i - sigma^2, 0)).
    posterior_variance
        min(sigma^2 / lambda_i, 1).
    kl
        KL of the posterior to the prior in nats, max(ln(lambda_i / sigma^2), 0) / 2. It is also
        the mutual information of image and code: at the optimum their aggregate is the prior.
    expected_local_smoothness
        Squared Frobenius norm of the decoder's Jacobian (Eq. 6 of takida2022), `(...)`.
    negative_elbo
        In nats per image, `(...)`; equal to the negative log-likelihood.
    """

    decoder_scale: Tensor
    posterior_variance: Tensor
    kl: Tensor
    expected_local_smoothness: Tensor
    negative_elbo: Tensor


def optimum(eigenvalues: Tensor, latent_dim: int, sigma2: Tensor | float) -> Optimum:
    """Closed-form optimum with a posterior variance of its own for each latent dimension.

    Parameters
    ----------
    eigenvalues
        All n eigenvalues of the data's covariance, `(n,)`.
    latent_dim
        d_z, at most n.
    sigma2
        Pixel variance of the decoder, positive; a number or any shape `(...)`.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    eigenvalues = check_spectrum(eigenvalues, latent_dim)
    sigma2 = torch.as_tensor(sigma2, dtype=eigenvalues.dtype)
    if not (sigma2 > 0).all():
        raise ValueError(f"sigma2 must be positive, received {sigma2}")
    kept = eigenvalues[:latent_dim]
    ratio = kept / sigma2.unsqueeze(-1)  # (..., d_z)
    scale2 = (kept - sigma2.unsqueeze(-1)).clamp(min=0)
    # Variance that the model gives to each principal direction of the data.
    modelled = torch.cat(
        [scale2, torch.zeros(*scale2.shape[:-1], len(eigenvalues) - latent_dim)], -1
    )
    modelled = modelled + sigma2.unsqueeze(-1)  # (..., n)
    nats = 0.5 * (math.log(2 * math.pi) + modelled.log() + eigenvalues / modelled)
    return Optimum(
        decoder_scale=scale2.sqrt(),
        posterior_variance=(1 / ratio).clamp(max=1),
        kl=0.5 * ratio.log().clamp(min=0),
        expected_local_smoothness=scale2.sum(-1),
        negative_elbo=nats.sum(-1),
    )


def shared_posterior_variance(eigenvalues: Tensor, sigma2: float) -> float:
    """Posterior variance where all latent dimensions share one, as Sec. 4 of takida2022 has it.

    .. math:: \\sigma_z^2 = \\sigma_x^2 / \\bigl(\\tfrac1{d_z} \\sum_i \\sqrt{\\lambda_i}\\bigr)^2

    if with that value every dimension is active, lambda_i > sigma_x^2 sigma_z^2.

    Parameters
    ----------
    eigenvalues
        Those of the d_z latent dimensions, `(d_z,)`.
    sigma2
        Pixel variance sigma_x^2.

    Raises
    ------
    ValueError
        If a dimension is not active: then there is no such closed form.
    """
    shared = float(sigma2 / eigenvalues.sqrt().mean() ** 2)
    if shared > 1 or eigenvalues.min() <= sigma2 * shared:
        raise ValueError(
            f"at sigma2 = {sigma2} not every latent dimension is active: smallest eigenvalue "
            f"{eigenvalues.min():.4g}"
        )
    return shared


def most_likely_variance(eigenvalues: Tensor, latent_dim: int) -> float:
    """Pixel variance by maximum likelihood: the mean of the discarded eigenvalues (pPCA)."""
    eigenvalues = check_spectrum(eigenvalues, latent_dim)
    if latent_dim == len(eigenvalues):
        raise ValueError("with as many latent dimensions as pixels no variance is left to estimate")
    return eigenvalues[latent_dim:].mean().item()


@dataclasses.dataclass(frozen=True)
class FixedPosterior:
    """The best linear VAE where the posterior variance is fixed (App. E of takida2022).

    Attributes
    ----------
    pixel_variance
        sigma_x^2 by maximum likelihood.
    kl, information
        KL of the posterior to the prior, and mutual information of image and code, in nats. They
        differ: at a fixed variance the aggregate is not the prior.
    expected_local_smoothness
        Squared Frobenius norm of the decoder's Jacobian.
    squared_error
        Mean of ||x - g(z)||^2 over images and draws of z.
    active
        Latent dimensions that carry information.
    """

    pixel_variance: float
    kl: float
    information: float
    expected_local_smoothness: float
    squared_error: float
    active: int


def optimum_at_posterior_variance(
    eigenvalues: Tensor, latent_dim: int, sigma2_z: float
) -> FixedPosterior:
    """Closed-form optimum of `iso_i` where all latent dimensions have one, fixed variance s.

    At a pixel variance sigma^2 dimension i is active where lambda_i > sigma^2 s. Its mean codes
    then have the variance :math:`\\sqrt{\\lambda_i s} / \\sigma - s`, and it leaves a squared error
    of :math:`\\sigma \\sqrt{\\lambda_i s}`. The pixel variance is the mean squared error; with the
    k largest eigenvalues active it is the root of

    .. math:: n \\sigma^2
              = \\sigma \\sqrt s \\sum_{i \\le k} \\sqrt{\\lambda_i} + \\sum_{i > k} \\lambda_i

    Of the k whose root agrees with itself the best is taken.

    Parameters
    ----------
    eigenvalues
        All n eigenvalues of the data's covariance, `(n,)`.
    latent_dim
        d_z, at most n.
    sigma2_z
        The posterior variance s, positive.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    eigenvalues, sigma2_z = check_spectrum(eigenvalues, latent_dim), float(sigma2_z)
    if not 0 < sigma2_z < math.inf:
        raise ValueError(f"sigma2_z must be a positive number, received {sigma2_z}")
    at_each_count = [
        _with_active(eigenvalues, latent_dim, sigma2_z, active) for active in range(latent_dim + 1)
    ]
    return min(filter(None, at_each_count), key=lambda pair: pair[0])[1]


def _with_active(
    eigenvalues: Tensor, latent_dim: int, s: float, active: int
) -> tuple[float, FixedPosterior] | None:
    """Loss and stationary point with so many active dimensions; None where there is no such."""
    n, kept = len(eigenvalues), eigenvalues[:active]
    slope = math.sqrt(s) * kept.sqrt().sum().item()
    rest = eigenvalues[active:].sum().item()
    sigma = (slope + math.sqrt(slope**2 + 4 * n * rest)) / (2 * n)
    codes = (kept * s).sqrt() / sigma - s  # (k,), variance of the mean codes
    if not (codes > 0).all():
        return None
    squared_error = n * sigma**2
    kl = 0.5 * (codes.sum().item() + latent_dim * (s - math.log(s) - 1))
    weights2 = kept * codes / (codes + s) ** 2
    point = FixedPosterior(
        pixel_variance=sigma**2,
        kl=kl,
        information=0.5 * (codes / s).log1p().sum().item(),
        expected_local_smoothness=weights2.sum().item(),
        squared_error=squared_error,
        active=active,
    )
    return n * math.log(sigma) + kl, point


@dataclasses.dataclass(frozen=True)
class Trained:
    """Linear VAEs trained at G pixel variances: affine maps without offsets, and variances.

    Attributes
    ----------
    encoder, decoder
        `(G, d_z, n)` and `(G, n, d_z)`.
    posterior_variance
        One per latent dimension, `(G, d_z)`.
    """

    encoder: Tensor
    decoder: Tensor
    posterior_variance: Tensor


def loss_terms(model: Trained, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ||x - g(z)||^2 and mean KL in nats, each `(G,)`, over draws of z and of centred data.

    The expectations of what the objective `l2` draws samples of, for data of this covariance
    `(n, n)`.
    """
    encoder, decoder, variance = model.encoder, model.decoder, model.posterior_variance
    missed = torch.eye(len(covariance), dtype=covariance.dtype) - decoder @ encoder  # (G, n, n)
    error = torch.einsum("gij,jk,gik->g", missed, covariance, missed)
    error = error + (decoder.square().sum(1) * variance).sum(1)
    codes = torch.einsum("gdj,jk,gdk->gd", encoder, covariance, encoder)  # variance of the means
    return error, 0.5 * (codes + variance - variance.log() - 1).sum(1)


def train(
    covariance: Tensor, latent_dim: int, sigma2: Tensor, *, steps: int = 5000, seed: int = 0
) -> Trained:
    """Train linear VAEs at all pixel variances `(G,)` at once: Adam on the exact negative ELBO.

    The step size falls from 0.03 to 0 along a cosine. From one random start, since nothing but
    the pixel variance shall differ.

    Parameters
    ----------
    covariance
        Of the data, `(n, n)`, float64.
    """
    pixels, generator = len(covariance), torch.Generator().manual_seed(seed)

    def start(*shape: int) -> Tensor:
        noise = 0.1 * torch.randn(1, *shape, generator=generator, dtype=covariance.dtype)
        return noise.repeat(len(sigma2), 1, 1).requires_grad_()

    encoder, decoder = start(latent_dim, pixels), start(pixels, latent_dim)
    log_variance = torch.zeros(len(sigma2), latent_dim, dtype=covariance.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([encoder, decoder, log_variance], lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        error, kl = loss_terms(Trained(encoder, decoder, log_variance.exp()), covariance)
        (error / (2 * sigma2) + kl).sum().backward()
        optimizer.step()
        schedule.step()
    return Trained(encoder.detach(), decoder.detach(), log_variance.exp().detach())


def check_spectrum(eigenvalues: Tensor, latent_dim: int) -> Tensor:
    """Eigenvalues `(n,)`, largest first, after a check that there are at least d_z of them."""
    if eigenvalues.ndim != 1 or not 1 <= latent_dim <= len(eigenvalues):
        raise ValueError(
            "needs eigenvalues (n,) and 1 <= latent_dim <= n, "
            f"received shape {tuple(eigenvalues.shape)} and latent_dim {latent_dim}"
        )
    if not (eigenvalues.isfinite().all() and eigenvalues.min() >= 0 < eigenvalues.max()):
        raise ValueError("eigenvalues of a covariance are finite, none negative and one positive")
    return eigenvalues.sort(descending=True).values
