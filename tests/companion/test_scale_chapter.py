"""Chapter 8's rule, of intervals that are made up."""

import pytest

from envae.companion.chapters.mnist_at_scale import of_pairs
from envae.companion.differences import Difference

BELOW, ABOVE, OPEN = Difference(-2, -3, -1), Difference(2, 1, 3), Difference(0, -1, 1)


@pytest.mark.parametrize(
    ("together", "alone", "verdict"),
    [
        ([BELOW, BELOW, OPEN], [BELOW, BELOW, ABOVE], (True, True)),
        ([BELOW, BELOW, OPEN], [BELOW, OPEN, OPEN], (False, True)),
        ([BELOW, BELOW, OPEN], [BELOW, OPEN, ABOVE], (False, False)),
        ([OPEN, OPEN, OPEN], [BELOW, BELOW, BELOW], (False, False)),
        ([BELOW, BELOW, OPEN, OPEN], [BELOW] * 4, (False, True)),  # half is not most
    ],
)
def test_estimating_is_better_by_both_kinds_of_intervals(together, alone, verdict):
    found = of_pairs(together, alone, 2)
    assert (found.reproduced, found.in_part) == verdict
    assert found.told.startswith(f"2 of {len(together)} less in the mean")


def test_both_counts_are_told():
    told = of_pairs([BELOW, BELOW, ABOVE], [BELOW, ABOVE, ABOVE], 1).told
    assert "decided 2 for and 1 against with one spread" in told
    assert told.endswith("1 and 2 with each pair's own")
