"""How far the draws of an energy-score VAE spread, for a given KL weight.

Let the mean of the decoded draws of an image miss it by a squared norm e^2, let the draws have the
total variance S = q e^2, and let the decoder be linear as far as the posterior reaches. With many
pixels the norm of a difference is the root of its mean square, and the loss (Eq. 4 of xu2025) is

.. math:: (e^2 + S)^{\\beta/2} - \\tfrac12 (2S)^{\\beta/2}
          + \\tfrac\\alpha2 \\sum_i (\\mu_i^2 + s_i^2 - \\ln s_i^2 - 1) .

Where it is smallest, stretching all posterior deviations s_i by one factor changes nothing:

.. math:: \\beta S \\bigl[(e^2 + S)^{\\beta/2-1} - (2S)^{\\beta/2-1}\\bigr]
          = \\alpha\\, d, \\qquad d = \\sum_i (1 - s_i^2) ,

d being the number of latent dimensions in use. The left side is zero at S = e^2, where the draws
are calibrated, and positive above: **any KL weight makes draws spread further than the error of
their mean**, the further the larger :math:`\\alpha d / (\\beta e^\\beta)`. So the weight that gives
a wanted spread grows with the error like e^beta, with the number of pixels n like n^(beta/2) where
the error per pixel stays, and falls with the dimensions in use.

Error and dimensions in use depend on the weight in their turn. For a linear decoder they follow
from the data's principal components, which is enough to choose a weight by before anything is
trained: :func:`suggested_weight`.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from envae.objectives.base import check_count, check_positive
from envae.scores import check_beta, check_floats
from envae.theory.linear import check_spectrum

SHARE = 1 / 3  # of the latent dimensions in use, where samples are best; see chapter 16 of the book
_IMAGES = 2000  # that principal components are taken of


def weight(ratio: float, *, error: float, dimensions: float, beta: float = 1.0) -> float:
    """KL weight at which draws spread `ratio` times as far as the error of their mean.

    Parameters
    ----------
    ratio
        The root of q, above 1.
    error
        e^2, squared error of the draws' mean, sum over pixels, mean over images.
    dimensions
        d, the latent dimensions in use.
    beta
        Exponent of the score, in (0, 2]. At 2 there is no such weight, and 0 is returned.

    Returns
    -------
    float
        In data units to the power beta, as `alpha` of the objective `envae`.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    check_beta(beta)
    check_positive(error=error, dimensions=dimensions)
    if not 1 < ratio < math.inf:
        raise ValueError(f"ratio must be above 1, which needs no KL term; received {ratio}")
    return _balance(ratio**2, beta) * beta * error ** (beta / 2) / dimensions


def ratio(alpha: float, *, error: float, dimensions: float, beta: float = 1.0) -> float:
    """Spread of the draws over the error of their mean at a KL weight: the inverse of `weight`.

    Raises
    ------
    ValueError
        If an argument is out of range, or beta is 2, where nothing limits the spread.
    """
    check_beta(beta)
    check_positive(alpha=alpha, error=error, dimensions=dimensions)
    if beta == 2:
        raise ValueError("at beta = 2 the score does not depend on the spread")
    wanted = alpha * dimensions / (beta * error ** (beta / 2))
    from scipy.optimize import brentq  # takes a while to import

    high = 2.0  # of q; the left side is 0 at 1 and grows
    while _balance(high, beta) < wanted:
        high *= 2
    return brentq(lambda q: _balance(q, beta) - wanted, 1.0, high, xtol=1e-12) ** 0.5


def _balance(q: float, beta: float) -> float:
    """The left side over beta e^beta."""
    power = beta / 2 - 1
    return q * ((1 + q) ** power - (2 * q) ** power)


@dataclasses.dataclass(frozen=True)
class LinearOptimum:
    """The best linear EnVAE of many pixels.

    Attributes
    ----------
    alpha
        Its KL weight.
    dimensions
        d, latent dimensions in use.
    ratio
        Spread of the draws over the error of their mean.
    """

    alpha: float
    dimensions: float
    ratio: float


def linear_optimum(
    eigenvalues: Tensor, latent_dim: int, *, alpha: float, beta: float = 1.0
) -> LinearOptimum:
    """Optimum of a linear EnVAE, with the root of the mean square in the place of the mean norm.

    As `linear_energy.optimum`, but in closed form up to two numbers, whatever the number of pixels.

    Parameters
    ----------
    eigenvalues
        Of the data's covariance, largest first, `(n,)`.
    latent_dim
        d_z, at most n.
    alpha, beta
        KL weight, and exponent of the score, below 2.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    check_positive(alpha=alpha)
    found = _weighed(eigenvalues, latent_dim, beta)
    smallest, largest = found(_LOWEST).alpha, found(_HIGHEST).alpha
    if not smallest < alpha < largest:
        raise ValueError(
            f"alpha must lie between {smallest:.1g} and {largest:.1g} here, received {alpha}"
        )
    return _where(found, lambda optimum: optimum.alpha > alpha)


def suggested_weight(
    images: Tensor, latent_dim: int, *, beta: float = 1.0, share: float = SHARE
) -> float:
    """KL weight at which a linear EnVAE of the images uses a share of its latent dimensions.

    A rule of thumb for the objective `envae`, from the images' principal components alone::

        alpha = suggested_weight(images, latent_dim=64)
        minimized = objective("envae", samples=4, pairs="mirrored", alpha=alpha)

    Parameters
    ----------
    images
        Training images `(N, C, H, W)`, or other observations `(N, *event)`, scaled as the model
        sees them; the first 2,000 are looked at.
    latent_dim
        d_z of the model, of a code that is a map all its numbers; at most the number of pixels and
        below that of images.
    beta
        Exponent of the score, below 2.
    share
        Of the latent dimensions, in (0, 1). Smaller weights use more of them, up to a limit that
        the images set.

    Raises
    ------
    ValueError
        If an argument is out of range, or no weight uses so many.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must be in (0, 1), received {share}")
    check_count(latent_dim=latent_dim)
    found = _weighed(_spectrum(images, latent_dim), latent_dim, beta)
    most = found(_LOWEST).dimensions
    if most < share * latent_dim:
        raise ValueError(
            f"no weight makes a linear model of these images use {share:g} of {latent_dim} latent "
            f"dimensions: at most {most:.1f} of them"
        )
    return _where(found, lambda optimum: optimum.dimensions < share * latent_dim).alpha


_LOWEST, _HIGHEST = -30.0, 10.0  # natural logarithm of kappa below, over the largest eigenvalue


def _weighed(eigenvalues: Tensor, latent_dim: int, beta: float) -> Callable[[float], LinearOptimum]:
    """The optimum as a function of the logarithm of a multiplier that grows with alpha.

    Let R and S be squared error and spread, a and b the score's derivatives by them, t = b / a and
    kappa = alpha / (2 a). The score's part that belongs to a dimension of eigenvalue lambda, with
    decoder weight w and posterior variance v, is then that of (sqrt(lambda) - w sqrt(1 - v))^2 +
    t w^2 v - kappa ln v. The best w leaves lambda t v / (1 - (1 - t) v) - kappa ln v, whose
    stationary point solves a quadratic equation. t follows from R and S: one number to search.
    """
    from scipy.optimize import brentq  # takes a while to import

    check_beta(beta)
    if beta == 2:
        raise ValueError("at beta = 2 the linear EnVAE has no optimum")
    values = check_spectrum(eigenvalues, latent_dim).double().numpy()
    kept, discarded, largest = values[:latent_dim], values[latent_dim:].sum(), values[0]
    power = beta / 2 - 1

    def parts(t: float, kappa: float) -> tuple[float, float, float]:
        """R, S, and the dimensions in use."""
        pull = kept * t
        root = np.sqrt(pull * (pull + 4 * kappa * (1 - t)))
        below = pull + root + 2 * kappa * (1 - t)
        used = kept > kappa * t
        v = np.where(used, 2 * kappa / below, 1.0)
        code = np.where(used, (pull + root - 2 * kappa * t) / below, 0.0)  # 1 - v
        over = code + t * v
        missed = kept * (t * v / over) ** 2
        return missed.sum() + discarded, (kept * code * v / over**2).sum(), code.sum()

    def off(log_t: float, kappa: float) -> float:
        missed, spread, _ = parts(math.exp(log_t), kappa)
        if spread == 0:
            return 1.0
        return math.expm1(log_t) + (2 * spread / (missed + spread)) ** power

    def found(log_multiplier: float) -> LinearOptimum:
        kappa = largest * math.exp(log_multiplier)
        t = math.exp(brentq(off, -abs(log_multiplier) - 20, -1e-12, args=(kappa,)))
        missed, spread, dimensions = parts(t, kappa)
        alpha = float(kappa * beta * (missed + spread) ** power)
        return LinearOptimum(alpha, float(dimensions), math.sqrt(spread / missed))

    return found


def _where(
    found: Callable[[float], LinearOptimum], beyond: Callable[[LinearOptimum], bool]
) -> LinearOptimum:
    """The optimum from which on something is true, which is so of large weights."""
    low, high = _LOWEST, _HIGHEST
    for _ in range(45):
        middle = (low + high) / 2
        low, high = (low, middle) if beyond(found(middle)) else (middle, high)
    return found(low)


def _spectrum(images: Tensor, latent_dim: int) -> Tensor:
    """Eigenvalues of the covariance of some images, largest first; the smaller of N and n.

    Raises
    ------
    ValueError
        If they are no batch of images, not finite, fewer than the model needs, or all the same.
    """
    check_floats(images=images)
    fits = images.ndim >= 2
    x = images[:_IMAGES].flatten(1).double() if fits else images
    if not fits or len(x) <= latent_dim or x.shape[1] < latent_dim:
        raise ValueError(
            f"needs images (N, C, H, W), or other observations (N, *event), more than latent_dim = "
            f"{latent_dim} among the first {_IMAGES} and of as many numbers, received "
            f"{tuple(images.shape)}"
        )
    centered = x - x.mean(0)
    smaller = centered.T @ centered if x.shape[1] <= len(x) else centered @ centered.T
    if not 0 < smaller.trace() < float("inf"):
        raise ValueError("the images are all the same, or not finite")
    return torch.linalg.eigvalsh(smaller).flip(0).clamp_min(0) / (len(x) - 1)
