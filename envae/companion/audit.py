"""Arithmetic on the papers' printed numbers: what follows from a table, and what it rounds to."""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from envae import _checkout


def printed(name: str) -> pd.DataFrame:
    """A published table with the digits it was printed with.

    Parameters
    ----------
    name
        File in `data/published/` without its ending: `"xu2025_table1"`, `"takida2022_prose"`.

    Returns
    -------
    DataFrame
        The file's columns, `value` as a float; beside it `text`, the value as it is printed, and
        `half_unit`, half a unit of its last printed digit. Cells without a value are dropped.
    """
    path = _checkout.root() / "data" / "published" / f"{name}.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False).rename(columns={"value": "text"})
    frame = frame[frame["text"] != ""].reset_index(drop=True)
    return frame.assign(value=frame["text"].map(float), half_unit=frame["text"].map(half_unit))


def wide(name: str, dataset: str | None = None) -> pd.DataFrame:
    """A published table with a row for each row and a column for each metric, in its order.

    Columns are `(dataset, metric)`, or `metric` alone if one `dataset` is asked for. Cells that the
    paper leaves empty are NaN.
    """
    frame = printed(name)
    if dataset is not None:
        frame = frame[frame["dataset"] == dataset]
        return frame.pivot(index="row", columns="metric", values="value").loc[
            frame["row"].unique(), frame["metric"].unique()
        ]
    cells = frame.set_index(["row", "dataset", "metric"])["value"]
    return cells.unstack(["dataset", "metric"], sort=False).loc[frame["row"].unique()]


def half_unit(text: str) -> float:
    """Half a unit of the last digit of a printed number: 0.005 for `0.10`, 0.5e-4 for `9.56e-2`."""
    return 0.5 * 10.0 ** Decimal(text).as_tuple().exponent


def agrees(text: str, value: float) -> bool:
    """Whether a computed value rounds to the printed one (a tie may round either way)."""
    return abs(float(text) - value) <= half_unit(text) * (1 + 1e-9)


def relative_improvement(value: ArrayLike, reference: ArrayLike) -> np.ndarray:
    """How far `value` lies below `reference`, in percent of `reference`: positive is better."""
    value, reference = np.asarray(value, float), np.asarray(reference, float)
    return 100 * (reference - value) / reference


def within(
    value: ArrayLike, target: ArrayLike, tolerance: float, *, slack: ArrayLike = 0.0
) -> np.ndarray:
    """Whether values lie within a relative tolerance of their targets.

    Parameters
    ----------
    value, target
        Arrays of the same shape.
    tolerance
        Largest relative deviation from the target that counts: 0.05 for 5 %.
    slack
        Absolute deviation forgiven on top, such as `half_unit` of a printed value: then the answer
        is whether *any* number that rounds to the printed one lies within the tolerance.
    """
    value, target = np.asarray(value, float), np.asarray(target, float)
    return np.abs(value - target) <= tolerance * np.abs(target) + np.asarray(slack) + 1e-12


def rising(values: Sequence[float], *, forgive: float = 0.0) -> bool:
    """Whether no value is smaller than the one before it, by more than `forgive`."""
    return bool((np.diff(np.asarray(values, float)) >= -forgive).all())


def reversals(values: Sequence[float]) -> list[int]:
    """Positions at which a sequence that should fall is larger than just before."""
    return (np.flatnonzero(np.diff(np.asarray(values, float)) > 0) + 1).tolist()


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation."""
    return float(stats.spearmanr(x, y).statistic)


def concordant_pairs(x: ArrayLike, y: ArrayLike, group: ArrayLike) -> tuple[int, int]:
    """Pairs within a group that `x` and `y` put in the same order, and all such pairs."""
    x, y, group = np.asarray(x, float), np.asarray(y, float), np.asarray(group)
    first, second = np.triu_indices(len(x), 1)
    same = group[first] == group[second]
    first, second = first[same], second[same]
    return int(((x[first] - x[second]) * (y[first] - y[second]) > 0).sum()), len(first)


def line_r2(x: ArrayLike, y: ArrayLike) -> float:
    """Share of the variance of `y` that a straight line in `x` explains."""
    return float(stats.linregress(x, y).rvalue ** 2)


def power(x: ArrayLike, y: ArrayLike) -> float:
    """Exponent p of the least-squares fit of `y` by `c x^p` on logarithmic scales."""
    return float(stats.linregress(np.log(x), np.log(y)).slope)


def is_square_of_hundredths(text: str) -> bool:
    """Whether a number printed with four decimals is the square of one with two: 0.3025 = 0.55²."""
    scaled = round(float(text) * 10_000)
    return math.isqrt(scaled) ** 2 == scaled


def squares_by_chance(texts: Sequence[str]) -> float:
    """How many of the numbers would be such squares if their last digits were arbitrary.

    Around `n` ten-thousandths, squares lie `2 sqrt(n)` apart.
    """
    return sum(1 / (2 * math.sqrt(float(text) * 10_000)) for text in texts)


def at_least(count: int, expected: float) -> float:
    """Probability of at least `count` events where `expected` are, by Poisson's law."""
    return float(stats.poisson.sf(count - 1, expected))


def kl_of_variance(variance: ArrayLike, latent_dim: int) -> np.ndarray:
    """KL divergence of N(0, s I) from N(0, I) in nats: `latent_dim / 2 (s - ln s - 1)`.

    The KL term of Sec. 3.1 of takida2022 at a posterior mean of 0, with the natural logarithm.
    """
    variance = np.asarray(variance, float)
    return latent_dim / 2 * (variance - np.log(variance) - 1)


def squared_mean(kl: ArrayLike, variance: ArrayLike, latent_dim: int) -> np.ndarray:
    """Expected squared norm of the posterior mean, from the KL divergence and the variance."""
    return 2 * (np.asarray(kl, float) - kl_of_variance(variance, latent_dim))


def latent_dim_from_kl(kl: float, variance: float) -> float:
    """Latent dimension at which N(0, s I) has this KL divergence from N(0, I)."""
    return kl / float(kl_of_variance(variance, 1))


def gradient_from_gap(gap: ArrayLike, perturbation: float) -> np.ndarray:
    """Expected squared Frobenius norm of the decoder's gradient: `gap / (2 s²)`.

    Eq. C.8 of takida2022; exact for an affine decoder, the limit of a small perturbation else.
    """
    return np.asarray(gap, float) / (2 * perturbation)


def gaussian_constant(dimension: int) -> float:
    """`dimension / 2 ln(2 pi)`: what a unit-variance Gaussian adds to half the squared error."""
    return dimension / 2 * math.log(2 * math.pi)


def plug_in_mass(smallest: float, largest: float) -> float:
    """Integral of the density N(r; 0, r²) over residuals with smallest < abs(r) < largest.

    The variance of Iso-D and Diag-D (takida2022, Sec. 5) is estimated from the residual that it
    then scores; in one dimension with one draw it is `r²`. A density would integrate to at most 1.
    """
    return 2 * math.log(largest / smallest) / math.sqrt(2 * math.pi * math.e)


def spread_term(samples: ArrayLike, *, start: Callable[[int], int]) -> float:
    """Second term of Eq. 3 of xu2025 at beta = 1 for samples `(M,)`.

    Parameters
    ----------
    samples
        Real numbers, at least two.
    start
        For each j (counted from 0), the first i of the inner sum over i: `lambda j: 0` is the
        estimator of Eq. 5, `lambda j: j` the limit that Eq. 3 prints.
    """
    x = np.asarray(samples, float)
    total = sum(abs(x[i] - x[j]) for j in range(len(x)) for i in range(start(j), len(x)))
    return float(total / (2 * len(x) * (len(x) - 1)))
