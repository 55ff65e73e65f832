"""Chapter 8: rules of verdicts."""

from collections.abc import Collection

from envae.companion.claims import Finding
from envae.companion.differences import Difference


def of_pairs(
    together: Collection[Difference], alone: Collection[Difference], in_mean: int
) -> Finding:
    """Whether estimating a variance is better than training it, by both kinds of intervals.

    The kinds can disagree: one spread for all rows decides more, and is wrong for rows whose seeds
    differ more than others'.

    Parameters
    ----------
    together, alone
        Estimated less trained, of each pair and measure: intervals that hold all at once, with one
        spread for all rows, and single ones with each pair's own spread.
    in_mean
        In how many of them estimating is ahead in the mean.
    """
    counts = [
        (sum(gap.below for gap in gaps), sum(gap.above for gap in gaps), len(gaps))
        for gaps in (together, alone)
    ]
    (less, more, compared), (less_alone, more_alone, _) = counts
    return Finding(
        all(below > total / 2 for below, _, total in counts),
        all(below > above for below, above, _ in counts),
        f"{in_mean} of {compared} less in the mean; decided {less} for and {more} against with one "
        f"spread for all rows, {less_alone} and {more_alone} with each pair's own",
    )
