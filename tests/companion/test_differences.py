"""Differences of rows over seeds, with intervals."""

import numpy as np
import pytest
from scipy import stats

from envae.companion.differences import paired, simultaneous, unpaired


def test_errors():
    with pytest.raises(ValueError, match="received 2 and 3"):
        paired([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="finite"):
        unpaired([1, np.nan], [1, 2])
    with pytest.raises(ValueError, match="two or more"):
        paired([1], [2])
    with pytest.raises(ValueError, match="level"):
        paired([1, 2], [2, 1], level=95)
    with pytest.raises(ValueError, match="two or more rows"):
        simultaneous({"a": [1, 2]})
    with pytest.raises(ValueError, match="two or more finite"):
        simultaneous({"a": [1, 2], "b": [1]})


def test_paired_by_hand():
    """Differences -1, -2, -3: mean -2, standard error 1 / sqrt(3)."""
    found = paired([1, 2, 3], [2, 4, 6])
    half = stats.t.ppf(0.975, 2) / np.sqrt(3)
    assert (found.mean, found.low, found.high) == pytest.approx((-2, -2 - half, -2 + half))
    assert found.apart == "not apart"
    assert paired([1, 2, 3], [2, 4, 6], level=0.8).apart == "below"
    assert paired([2, 4, 6], [1, 2, 3], level=0.8).apart == "above"


def test_unpaired_by_hand():
    """Welch: each row's variance over its own count, and degrees of freedom between them."""
    a, b = [1.0, 2.0, 3.0, 4.0], [10.0, 30.0]
    of_mean = np.array([5 / 3 / 4, 200 / 2])
    degrees = of_mean.sum() ** 2 / (of_mean**2 / [3, 1]).sum()
    half = stats.t.ppf(0.975, degrees) * np.sqrt(of_mean.sum())
    found = unpaired(a, b)
    assert (found.mean, found.low, found.high) == pytest.approx((-17.5, -17.5 - half, -17.5 + half))


def test_values_without_spread_have_an_interval_without_width():
    found = paired([1, 2], [2, 3])
    assert (found.mean, found.low, found.high) == (-1, -1, -1)


@pytest.mark.parametrize("compare", [paired, unpaired])
def test_an_interval_holds_the_truth_as_often_as_it_says(compare):
    """Independent normal rows whose means are 1 apart; unlike spreads where they are not paired."""
    rng = np.random.default_rng(0)
    held = [
        (lambda d: d.low <= -1 <= d.high)(
            compare(rng.normal(0, 1, 5), rng.normal(1, 2, 5), level=0.8)
        )
        for _ in range(1000)
    ]
    assert np.mean(held) == pytest.approx(0.8, abs=0.04)


def test_two_rows_at_once_have_students_interval():
    """Of two rows the studentized range is Student's t, whose spread is one for both."""
    rows = {"a": [1.0, 2.0, 4.0], "b": [3.0, 3.5]}
    found = simultaneous(rows, level=0.9)
    expected = stats.ttest_ind(*rows.values()).confidence_interval(0.9)
    assert found["a", "b"].mean == pytest.approx(7 / 3 - 3.25)
    assert (found["a", "b"].low, found["a", "b"].high) == pytest.approx(expected, rel=1e-6)
    assert found["b", "a"].low == pytest.approx(-found["a", "b"].high)


def test_three_rows_at_once_by_hand():
    """One spread from all rows, 4 degrees of freedom; the range of three rows in its unit."""
    rows = {"a": [0.0, 2.0], "b": [5.0, 6.0, 7.0], "c": [1.0, 1.0]}
    found = simultaneous(rows)["a", "b"]
    spread = ((1 + 1 + 1 + 0 + 1 + 0 + 0) / 4) ** 0.5
    half = stats.studentized_range.ppf(0.95, 3, 4) * spread * ((1 / 2 + 1 / 3) / 2) ** 0.5
    assert (found.low, found.high) == pytest.approx((-5 - half, -5 + half), rel=1e-4)
