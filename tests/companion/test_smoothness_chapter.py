"""Chapter 05's tables, of numbers that are made up."""

import pandas as pd
import pytest

from envae.companion.chapters import linear_vae_smoothness as chapter

POINTS = pd.Index([-1.0, 0.0], name="point")
PUBLISHED = pd.DataFrame({"ELS": [5943.6, 0.0956], "KL": [21.75, 0.0]}, POINTS)
COMPUTED = pd.DataFrame(
    {"els": [104.0, 128.0, 2.0, 2.2], "kl": [9.0, 9.0, 1e-5, 3e-5]},
    pd.MultiIndex.from_product([POINTS, [1, 2]], names=["point", "seed"]),
)


def test_sources_stand_side_by_side_the_largest_variance_first():
    table = chapter.beside({"ELS": "ELS", "MSE": "error"}, published=PUBLISHED, computed=COMPUTED)
    assert list(table) == [("ELS", "published"), ("ELS", "computed")]  # nobody has an error
    assert list(table.index) == [0.0, -1.0]
    assert table["ELS", "published"].to_list() == ["0.0956", "5940"]


@pytest.mark.parametrize(
    ("seeds", "told"),
    [([1, 2], ["116 ± 20", "0.0000 ± 0.0000"]), ([1], ["104", "0.0000"])],
)
def test_numbers_have_no_power_of_ten_and_a_spread_where_there_are_seeds(seeds, told):
    of_seeds = COMPUTED[COMPUTED.index.get_level_values("seed").isin(seeds)]
    table = chapter.over_seeds(of_seeds)
    assert [table.loc[-1.0, "els"], table.loc[0.0, "kl"]] == told
