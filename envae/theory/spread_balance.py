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

import math

import torch
from torch import Tensor

from envae.objectives.base import check_positive
from envae.scores import check_beta
from envae.theory.linear import check_spectrum
from envae.theory.minimize import minimize

SHARE = 1 / 3  # of the latent dimensions in use, where samples are best; see chapter 14 of the book
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
    if not ratio > 1:
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
    low, high = 1.0, 2.0  # of q; the left side grows with it
    while _balance(high, beta) < wanted:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _balance(middle, beta) > wanted else (middle, high)
    return low**0.5


def _balance(q: float, beta: float) -> float:
    """The left side over beta e^beta."""
    power = beta / 2 - 1
    return q * ((1 + q) ** power - (2 * q) ** power)


def linear_optimum(
    eigenvalues: Tensor, latent_dim: int, *, alpha: float, beta: float = 1.0
) -> tuple[float, float]:
    """Dimensions in use, and spread over error, of the best linear EnVAE of many pixels.

    As `linear_energy.optimum`, but with the root of the mean square in the place of the mean norm,
    so that the number of pixels costs nothing.

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
    eigenvalues = check_spectrum(eigenvalues, latent_dim).double()
    check_positive(alpha=alpha)
    check_beta(beta)
    if beta == 2:
        raise ValueError("at beta = 2 the linear EnVAE has no optimum")
    scale, discarded = eigenvalues[:latent_dim].sqrt(), eigenvalues[latent_dim:].sum()

    def parts(raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Squared error, spread and posterior variances of weights and log odds."""
        weight, code, variance = raw[0] * scale, torch.sigmoid(raw[1]), torch.sigmoid(-raw[1])
        missed = (scale - weight * code.sqrt()).square().sum() + discarded
        return missed, (weight.square() * variance).sum(), variance

    def loss(raw: Tensor) -> Tensor:
        missed, spread, variance = parts(raw)
        score = (missed + spread) ** (beta / 2) - 0.5 * (2 * spread) ** (beta / 2)
        return score - 0.5 * alpha * variance.log().sum()

    start = torch.tensor([[1.0], [0.0]], dtype=torch.float64).expand(2, latent_dim)
    missed, spread, variance = parts(minimize(loss, start))
    return (1 - variance).sum().item(), (spread / missed).sqrt().item()


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
        Training images, `(N, C, H, W)`; the first 2,000 are looked at.
    latent_dim
        d_z of the model, at most the number of pixels and below that of images.
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
    eigenvalues = _spectrum(images[:_IMAGES].flatten(1).double())
    unit = eigenvalues.sum().item() ** (beta / 2)
    low, high = math.log(1e-5 * unit), math.log(10 * unit)

    def in_use(log_alpha: float) -> float:
        return linear_optimum(eigenvalues, latent_dim, alpha=math.exp(log_alpha), beta=beta)[0]

    if in_use(low) < share * latent_dim:
        raise ValueError(
            f"no weight makes a linear model of these images use {share:g} of {latent_dim} latent "
            f"dimensions: at most {in_use(low):.1f} of them"
        )
    for _ in range(14):  # to 0.1 %
        middle = (low + high) / 2
        low, high = (middle, high) if in_use(middle) > share * latent_dim else (low, middle)
    return math.exp((low + high) / 2)


def _spectrum(x: Tensor) -> Tensor:
    """Eigenvalues of the covariance of rows `(N, D)`, largest first; the smaller of N and D."""
    centered = x - x.mean(0)
    smaller = centered.T @ centered if x.shape[1] <= len(x) else centered @ centered.T
    return torch.linalg.eigvalsh(smaller).flip(0).clamp_min(0) / (len(x) - 1)
