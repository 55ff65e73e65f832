"""Formulas that the papers print with a slip, each with the slip's constant as an argument.

The default of that argument is the mended constant; the docstring says what is printed. The theory
chapters hold both against an independent computation, and `tests/theory/test_errata.py` makes sure
that the printed constants fail.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

# --- AR-ELBO (takida2022) -------------------------------------------------------------------------


def kl_shared(
    mean: Tensor,
    variance: Tensor | float,
    *,
    mean_weight: float = 0.5,
    log: Callable[[Tensor], Tensor] = torch.log,
) -> Tensor:
    """KL divergence of N(mean, variance I) from N(0, I) in nats, Sec. 4.1 of takida2022.

    .. math:: \\tfrac{d_z}2 (\\sigma_z^2 - \\ln\\sigma_z^2 - 1) + \\tfrac12 \\|\\mu\\|^2

    Printed: `mean_weight` 1; and `log`, which Sec. 1 defines as the common logarithm.

    Parameters
    ----------
    mean
        Shape `(..., d_z)`.
    variance
        Shape `(...)` or a number.
    """
    variance = torch.as_tensor(variance, dtype=mean.dtype)
    spread = 0.5 * mean.shape[-1] * (variance - log(variance) - 1)
    return spread + mean_weight * mean.square().sum(-1)


def linearized_objective(
    residual: Tensor,
    jacobian: Tensor,
    mean: Tensor,
    posterior_variance: Tensor | float,
    sigma2: Tensor | float,
    *,
    norm_weight: float = 1.0,
) -> Tensor:
    """The VAE's objective for a decoder that is linear around the code, Eqs. 4, B.4 of takida2022.

    .. math:: \\frac1{2\\sigma_x^2} \\Bigl[ \\|x - g(\\mu)\\|^2
              + \\sum_{ij} \\sigma_{z,j}^2 J_{ij}^2 + \\sigma_x^2 \\|\\mu\\|^2 \\Bigr]

    Printed: `norm_weight` 2, the coefficient of the last term in units of sigma_x^2. Terms of the
    posterior's variance alone are left out, as in the paper.

    Parameters
    ----------
    residual
        x - g(mean), `(..., n)`.
    jacobian
        Of the decoder at the mean, `(..., n, d_z)`.
    mean
        Shape `(..., d_z)`.
    posterior_variance
        A number (Eq. 4) or `(..., d_z)` (Eq. B.4).
    sigma2
        The decoder's variance, a number or `(...)`.
    """
    penalty = (posterior_variance * jacobian.square().sum(-2)).sum(-1)
    norm = norm_weight * sigma2 * mean.square().sum(-1)
    return (residual.square().sum(-1) + penalty + norm) / (2 * sigma2)


def diag_d_objective(
    residual: Tensor,
    jacobian: Tensor,
    mean: Tensor,
    posterior_variance: Tensor,
    variance: Tensor,
    *,
    whole_residual: bool = False,
) -> Tensor:
    """The same with a variance for each pixel, Eq. 8 of takida2022.

    .. math:: \\tfrac12 \\Bigl[ \\sum_i \\frac{(x_i - g_i(\\mu))^2}{\\sigma_{x,i}^2}
              + \\sum_{ij} \\frac{\\sigma_{z,j}^2}{\\sigma_{x,i}^2} J_{ij}^2 + \\|\\mu\\|^2 \\Bigr]

    Printed: the squared norm of the whole residual over each pixel's variance (`whole_residual`).

    Parameters
    ----------
    residual, jacobian, mean, posterior_variance
        As above, the last one `(..., d_z)`.
    variance
        Of each pixel, `(..., n)`.
    """
    squared = residual.square()
    if whole_residual:
        squared = squared.sum(-1, keepdim=True)
    penalty = (posterior_variance.unsqueeze(-2) * jacobian.square()).sum(-1)
    return 0.5 * (((squared + penalty) / variance).sum(-1) + mean.square().sum(-1))


def squared_gradient(jacobian: Tensor, *, rows: int | None = None) -> Tensor:
    """Squared Frobenius norm of a Jacobian `(..., n, d_z)` as a double sum, Eq. B.6 of takida2022.

    Printed: a sum over d_z `rows` where the Jacobian has one for each of the n pixels.
    """
    return jacobian[..., :rows, :].square().sum((-2, -1))


def lipschitz_bound(
    smoothness: Tensor | float, latent_dim: int, *, exponent: float = 0.5
) -> Tensor | float:
    """Lower bound of a decoder's Lipschitz constant from its expected local smoothness (ELS).

    .. math:: \\sqrt{\\mathrm{ELS} / d_z} \\le K

    since a direction stretches by at most K. Printed in Sec. 4.2 of takida2022: ELS itself is a
    lower bound. Its tables give ELS / d_z under that name: `exponent` 1.
    """
    return (smoothness / latent_dim) ** exponent


def information_estimate(
    draws: Tensor, codes: Tensor, variance: float, *, dimension: int | None = None
) -> Tensor:
    """Estimate of the mutual information of image and code, Eq. D.1 of takida2022.

    .. math:: -\\frac1N \\sum_i \\ln \\frac1{N'} \\sum_j
              e^{-\\|z_i - \\mu_j\\|^2 / (2\\sigma_z^2)} - \\frac{d_z}2

    Printed: `dimension` d_x, that of the image, for d_z.

    Parameters
    ----------
    draws
        Draws z_i of the aggregated posterior, `(N, d_z)`.
    codes
        Means mu_j of posteriors, `(N', d_z)`: those that the draws belong to, or others.
    variance
        sigma_z^2.
    """
    dimension = draws.shape[1] if dimension is None else dimension
    log_kernel = -torch.cdist(draws, codes).square() / (2 * variance)
    log_mean = log_kernel.logsumexp(1) - math.log(len(codes))
    return -log_mean.mean() - dimension / 2


def gaussian_entropy(
    variance: float, dimension: int, *, constant_power: int | None = None
) -> float:
    """Entropy of N(0, variance I) in nats, Eq. F.6 of takida2022.

    .. math:: \\tfrac12 \\ln\\bigl( (2\\pi e)^d \\sigma^{2d} \\bigr)

    Printed: 2 pi e to the power 1 (`constant_power`).
    """
    power = dimension if constant_power is None else constant_power
    return 0.5 * (power * math.log(2 * math.pi * math.e) + dimension * math.log(variance))


def code_variance_bound(
    covariance: Tensor, lipschitz: float, *, size: Callable[[Tensor], Tensor] = torch.trace
) -> Tensor:
    """Bound of the variance of a code, given its Lipschitz constant, Eq. F.9 of takida2022.

    .. math:: \\operatorname{Var} f(x) = \\tfrac12 \\mathbb E (f(x) - f(x'))^2
              \\le \\tfrac{L^2}2 \\mathbb E \\|x - x'\\|^2 = L^2 \\operatorname{tr} C

    Printed: the largest eigenvalue of the covariance C for its trace; right only if f is affine.

    Parameters
    ----------
    covariance
        C of the images, `(n, n)`.
    """
    return lipschitz**2 * size(covariance)


def information_bound(
    covariance: Tensor, variance: float, *, determinant_weight: float = 0.5
) -> Tensor:
    """Bound of the mutual information of z = z_e + noise with z_e, Eq. F.10 of takida2022.

    .. math:: \\tfrac12 \\ln\\det\\Sigma - \\tfrac{d_z}2 \\ln\\sigma_z^2

    Printed: `determinant_weight` d_z / 2.

    Parameters
    ----------
    covariance
        Sigma of the aggregated posterior, `(d_z, d_z)`.
    variance
        sigma_z^2 of the noise.
    """
    half_dim = 0.5 * len(covariance)
    return determinant_weight * torch.logdet(covariance) - half_dim * math.log(variance)


def covariance_gradient(
    outer: Tensor, covariance: Tensor, *, sign: float = -1.0, power: int = 1
) -> Tensor:
    """Derivative of the reconstruction term by the decoder's covariance, Eq. G.2 of takida2022.

    .. math:: \\tfrac12 \\bigl( \\Sigma^{-1} - \\Sigma^{-1} S\\, \\Sigma^{-1} \\bigr),
              \\qquad S = \\mathbb E\\, r r^\\top

    Printed: `sign` +1 of the second term, and no inverses around S (`power` 0).

    Parameters
    ----------
    outer
        S, the mean outer product of the residual, `(n, n)`.
    covariance
        Sigma, `(n, n)`.
    """
    inverse = torch.linalg.inv(covariance)
    around = torch.linalg.matrix_power(inverse, power)
    return 0.5 * (inverse + sign * around @ outer @ around)


# --- EnVAE (xu2025) -------------------------------------------------------------------------------


def kl_term(mean: Tensor, variance: Tensor, *, sign: float = -1.0) -> Tensor:
    """KL term of EnVAE's objective in nats, Eq. 18 of xu2025.

    .. math:: -\\tfrac12 \\sum_k (1 + \\ln\\sigma_k^2 - \\mu_k^2 - \\sigma_k^2)

    Printed: `sign` +1.

    Parameters
    ----------
    mean, variance
        Of the posterior, `(..., d_z)`.
    """
    return sign * 0.5 * (1 + variance.log() - mean.square() - variance).sum(-1)


def score_at_two(samples: Tensor, x: Tensor, *, power: int = 2, left_over: float = 1.0) -> Tensor:
    """EnVAE's M-sample score at beta = 2, after Eq. 1 and in Eq. 18 of xu2025.

    .. math:: \\|\\bar x - x\\|^2 - \\frac{S^2}M, \\qquad
              S^2 = \\frac1{M-1} \\sum_i \\|x_i - \\bar x\\|^2

    Printed: no `left_over` S^2 / M (0), since variances over M and M - 1 are cancelled against each
    other; and after Eq. 1 a Euclidean distance (`power` 1).

    Parameters
    ----------
    samples
        Shape `(M, B, *event)`.
    x
        Shape `(B, *event)`.
    """
    distance = (samples.mean(0) - x).flatten(1).norm(dim=1)
    spread = samples.var(0).flatten(1).sum(1)
    return distance**power - left_over * spread / len(samples)
