"""How well the energy score tells a wrong forecast of an image from the right one, in Gaussians.

The truth is a Gaussian field of variance 1 whose correlation falls exponentially along rows and
columns. Its covariance is a Kronecker product, with the eigenvalues and eigenvectors of small
matrices, so that 12,288 dimensions are no harder than 64. Three forecasts are wrong in one thing
each: the mean, the spread, the correlation between pixels.

Pinson and Tastu (2013) found for fewer dimensions that the energy score changes little with a wrong
correlation; Ziel and Berk (2019) that a small change may still be a significant one. So there are
two numbers here, the change and how many images it takes to see it, and beside them the number that
the logarithmic score would take, which knows the densities.
"""

import dataclasses
import math

import torch
from torch import Generator, Tensor

from envae.objectives.base import check_count, check_positive
from envae.scores import energy_score
from envae.theory.linear_energy import mean_norm_power

DETECTION = 2.4865  # 0.95 and 0.8 quantiles of N(0, 1), added: power 0.8 at level 0.05
_AT_ONCE = 20  # images whose draws are held together


@dataclasses.dataclass(frozen=True)
class Field:
    """A Gaussian field on a square of pixels, `(channels, side, side)`, of variance 1.

    Attributes
    ----------
    side, channels
        Of the image.
    length
        Correlation length, in pixels: two pixels of a row that many apart correlate by 1/e.
    across
        Correlation of the channels.
    """

    side: int
    channels: int = 1
    length: float = 2.0
    across: float = 0.9

    def __post_init__(self) -> None:
        check_count(side=self.side, channels=self.channels)
        check_positive(length=self.length)
        if not 0 <= self.across < 1:
            raise ValueError(f"across must be in [0, 1), received {self.across}")

    @property
    def pixels(self) -> int:
        """Pixels times channels."""
        return self.channels * self.side**2

    def factors(self) -> list[tuple[Tensor, Tensor]]:
        """Eigenvalues and eigenvectors of the covariance along channels, rows and columns."""
        steps = torch.arange(self.side, dtype=torch.float64)
        along = torch.exp(-(steps[:, None] - steps).abs() / self.length)
        identity = torch.eye(self.channels, dtype=torch.float64)
        between = self.across + (1 - self.across) * identity
        return [_eigh(between), _eigh(along), _eigh(along)]

    def eigenvalues(self) -> Tensor:
        """Of the covariance, `(pixels,)`, float64."""
        (a, _), (b, _), (c, _) = self.factors()
        return torch.einsum("i,j,k->ijk", a, b, c).flatten()

    def constant(self) -> Tensor:
        """The image that is 1 everywhere, in the coordinates of the eigenvectors, `(pixels,)`."""
        a, b, c = (vectors.sum(0) for _, vectors in self.factors())
        return torch.einsum("i,j,k->ijk", a, b, c).flatten()


def _eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(matrix)
    return values, vectors


@dataclasses.dataclass(frozen=True)
class Forecast:
    """A forecast of a field, which is right by default.

    Attributes
    ----------
    shift
        Of the mean of every pixel, in standard deviations.
    spread
        Standard deviation of every pixel.
    kept
        Share of the correlation between pixels: (1 - kept) I + kept Sigma.
    """

    shift: float = 0.0
    spread: float = 1.0
    kept: float = 1.0

    def __post_init__(self) -> None:
        check_positive(spread=self.spread)
        if not (0 <= self.kept <= 1 and math.isfinite(self.shift)):
            raise ValueError(f"needs a finite shift and kept in [0, 1], received {self}")

    def variances(self, field: Field) -> Tensor:
        """In the coordinates of the field's eigenvectors, `(pixels,)`."""
        return self.spread**2 * (1 - self.kept + self.kept * field.eigenvalues())

    def mean(self, field: Field) -> Tensor:
        """In the same coordinates."""
        return self.shift * field.constant()


def expected_score(forecast: Forecast, field: Field, beta: float = 1.0) -> float:
    """Energy score of a forecast, in expectation over images of the field (Eq. 2 of xu2025)."""
    truth, own = field.eigenvalues(), forecast.variances(field)
    apart = mean_norm_power(truth + own, beta, mean=forecast.mean(field))
    return (apart - 0.5 * mean_norm_power(2 * own, beta)).item()


def relative_change(forecast: Forecast, field: Field, beta: float = 1.0) -> float:
    """How much larger the expected score is than that of the right forecast, as a share of it."""
    best = expected_score(Forecast(), field, beta)
    return expected_score(forecast, field, beta) / best - 1


def images_needed(
    forecast: Forecast, field: Field, *, draws: int, images: int = 200, seed: int = 0
) -> float:
    """Images by whose energy scores the forecast is found worse than the right one.

    With power 0.8 at level 0.05, by a one-sided z-test of the mean difference of the scores; both
    forecasts are scored by as many draws for each image, with beta = 1.

    Parameters
    ----------
    forecast, field
        What is compared.
    draws
        M, draws of either forecast for each image.
    images
        Simulated, to find how much the difference scatters from image to image.
    seed
        Of the simulation.
    """
    check_count(images=images, least=2)
    check_count(draws=draws, least=2)
    if forecast == Forecast():
        return math.inf
    gain = expected_score(forecast, field) - expected_score(Forecast(), field)
    generator = Generator().manual_seed(seed)
    truth, own = field.eigenvalues().sqrt().float(), forecast.variances(field).sqrt().float()
    mean, differences = forecast.mean(field).float(), []
    for start in range(0, images, _AT_ONCE):
        shape = (min(_AT_ONCE, images - start), field.pixels)
        x = truth * torch.randn(shape, generator=generator)
        wrong, right = torch.randn(2, draws, *shape, generator=generator)
        differences.append(energy_score(mean + own * wrong, x) - energy_score(truth * right, x))
    return (DETECTION * torch.cat(differences).std().item() / gain) ** 2


def images_needed_by_likelihood(forecast: Forecast, field: Field) -> float:
    """The same by the logarithmic score, whose differences have closed-form mean and variance."""
    if forecast == Forecast():
        return math.inf
    truth, own = field.eigenvalues(), forecast.variances(field)
    ratio, shift = truth / own, forecast.mean(field).square() / own
    gain = 0.5 * (ratio - 1 - ratio.log() + shift).sum().item()
    variance = (0.5 * (ratio - 1).square() + shift * ratio).sum().item()
    return DETECTION**2 * variance / gain**2


def dimensions_of(field: Field) -> float:
    """Effective number of dimensions of a field: n^2 over the sum of its squared eigenvalues.

    The squared norm of a difference of two images varies, relative to its mean, as that of so many
    independent pixels.
    """
    values = field.eigenvalues()
    return (values.sum().square() / values.square().sum()).item()


def approximate_change(forecast: Forecast, field: Field) -> float:
    """:func:`relative_change` of small errors in many dimensions, at beta = 1.

    .. math:: \\frac{\\delta^2}{2} + \\frac{(s - 1)^2}{4}
              + \\frac{(1 - \\kappa)^2}{8} \\Bigl(\\frac{1}{d} - \\frac{1}{n}\\Bigr)

    for the shift, the spread and the correlation kept, with d of :func:`dimensions_of` and n
    pixels: from E|N(0, D)| = (tr D)^(1/2) (1 - tr D^2 / (4 (tr D)^2) + ...). An error in every
    pixel counts alike in any dimension, that of a correlation as one over the effective dimensions.
    """
    correlation = (1 - forecast.kept) ** 2 / 8 * (1 / dimensions_of(field) - 1 / field.pixels)
    return forecast.shift**2 / 2 + (forecast.spread - 1) ** 2 / 4 + correlation


def compare(forecast: Forecast, field: Field, *, draws: int, images: int) -> dict[str, float]:
    """All of these numbers for a wrong forecast.

    Parameters
    ----------
    forecast, field, draws, images
        As :func:`images_needed` takes them.

    Returns
    -------
    dict
        `change`, by :func:`relative_change`; `approximate`, by :func:`approximate_change`;
        `images` and `likelihood`, images needed by the energy and the logarithmic score;
        `dimensions`, by :func:`dimensions_of`.
    """
    return {
        "change": relative_change(forecast, field),
        "approximate": approximate_change(forecast, field),
        "images": images_needed(forecast, field, draws=draws, images=images),
        "likelihood": images_needed_by_likelihood(forecast, field),
        "dimensions": dimensions_of(field),
    }
