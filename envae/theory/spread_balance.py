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
"""

from envae.objectives.base import check_positive
from envae.scores import check_beta


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
