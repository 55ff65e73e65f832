"""Differences of two rows over seeds, with intervals: what a page may conclude from a few runs."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats


@dataclasses.dataclass(frozen=True)
class Difference:
    """Mean of one row less that of another, with the interval that holds the true one.

    Attributes
    ----------
    mean, low, high
        In the unit of the values.
    level
        Of the interval: 0.95 is right 19 times of 20, were the values normal.
    """

    mean: float
    low: float
    high: float
    level: float = 0.95

    @property
    def below(self) -> bool:
        """Whether the whole interval lies below zero: the first row is smaller."""
        return self.high < 0

    @property
    def above(self) -> bool:
        """Whether the whole interval lies above zero: the first row is larger."""
        return self.low > 0

    @property
    def apart(self) -> str:
        """`below`, `above`, or `not apart`: the same text on any machine, for evidence."""
        return "below" if self.below else "above" if self.above else "not apart"

    def __str__(self) -> str:
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def paired(first: Sequence[float], second: Sequence[float], *, level: float = 0.95) -> Difference:
    """Difference of two rows whose values belong together: one seed, one start, one split.

    Student's t of the differences.

    Parameters
    ----------
    first, second
        A value for each seed, in the same order.
    level
        Of the interval, between 0 and 1.

    Raises
    ------
    ValueError
        If the rows differ in length, have fewer than two values or one that is not finite.
    """
    a, b = _checked(first, second, level=level)
    if len(a) != len(b):
        raise ValueError(f"paired values: received {len(a)} and {len(b)} of them")
    if np.ptp(a - b) == 0:  # no spread, and t has none to work with
        return Difference((a - b).mean(), (a - b).mean(), (a - b).mean(), level)
    return _from(stats.ttest_rel(a, b), a, b, level)


def unpaired(first: Sequence[float], second: Sequence[float], *, level: float = 0.95) -> Difference:
    """Difference of two rows of independent runs, whose spreads may differ: Welch's t.

    Parameters and errors as for :func:`paired`, but for the lengths, which may differ.
    """
    a, b = _checked(first, second, level=level)
    return _from(stats.ttest_ind(a, b, equal_var=False), a, b, level)


def simultaneous(
    rows: Mapping[str, Sequence[float]], *, level: float = 0.95
) -> dict[tuple[str, str], Difference]:
    """Differences of all pairs of rows, in intervals that hold all at once: Tukey and Kramer's.

    For many rows of two or three runs, each of which says little about its own spread: one spread
    is estimated from all of them. Of distances of different sizes, take logarithms first.

    Parameters
    ----------
    rows
        For each label a value for each seed.
    level
        At which no interval is wrong, were the values normal and their spreads alike.

    Returns
    -------
    dict
        For both orders of every pair of labels, the first row less the second.

    Raises
    ------
    ValueError
        If there are fewer than two rows, a row has fewer than two values or one that is not finite,
        or the level lies outside 0 and 1.
    """
    if len(rows) < 2:
        raise ValueError(f"needs two or more rows, received {list(rows)}")
    values = _checked(*rows.values(), level=level)
    test = stats.tukey_hsd(*values)
    interval = test.confidence_interval(level)
    return {
        (first, second): Difference(
            float(values[i].mean() - values[j].mean()),
            float(interval.low[i, j]),
            float(interval.high[i, j]),
            level,
        )
        for i, first in enumerate(rows)
        for j, second in enumerate(rows)
        if i != j
    }


def _checked(*values: Sequence[float], level: float) -> list[np.ndarray]:
    rows = [np.asarray(row, float) for row in values]
    for row in rows:
        if row.ndim != 1 or len(row) < 2 or not np.isfinite(row).all():
            raise ValueError(f"needs two or more finite values of each row, received {row}")
    if not 0 < level < 1:
        raise ValueError(f"level lies between 0 and 1, received {level}")
    return rows


def _from(test: Any, a: np.ndarray, b: np.ndarray, level: float) -> Difference:
    interval = test.confidence_interval(level)
    return Difference(float(a.mean() - b.mean()), float(interval.low), float(interval.high), level)
