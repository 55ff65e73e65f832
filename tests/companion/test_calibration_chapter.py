"""Chapter 15's rules, of numbers that are made up."""

import pandas as pd
import pytest

from envae.companion.chapters import calibration as chapter
from envae.experiments.measures.calibration import LEVELS


def test_the_largest_miss_is_over_levels_of_means_over_seeds():
    off = {("a", 1): (0.02, 0, 0, 0), ("a", 2): (-0.04, 0, 0, 0.005), ("b", 1): (0, 0, -0.3, 0.1)}
    runs = pd.DataFrame(
        {key: {f"{kind}_coverage_{100 * level:.0f}_test": level + sign * miss
               for kind, sign in (("draws", 1), ("noise", 2))
               for level, miss in zip(LEVELS, of, strict=True)} for key, of in off.items()}
    ).T.rename_axis(["row", "seed"])  # fmt: skip
    assert chapter.misses(runs).to_dict() == pytest.approx({"a": 0.01, "b": 0.3})
    assert chapter.misses(runs, "noise")["b"] == pytest.approx(0.6)


def test_forecasts_in_short_are_percent_and_points():
    levels = {f"noise_coverage_{100 * level:.0f}_test": level for level in LEVELS}
    runs = pd.DataFrame(
        {("a", seed): levels | {"noise_coverage_90_test": 0.9 + 0.02 * seed,
                                "noise_spread_skill_test": 1.0 + seed, "commit": "abc"}
         for seed in (0, 1)}
    ).T.infer_objects()  # fmt: skip
    runs = runs.rename_axis(["row", "seed"]).astype(dict.fromkeys(runs.columns[:-1], float))
    found = chapter.in_short(runs, {"a, noise": ("a", "noise")}).loc["a, noise"]
    assert found.tolist() == pytest.approx([50, 91, 1, 1.5])


@pytest.mark.parametrize(
    ("envae", "fast", "least", "verdict"),
    [
        (0.05, 0.04, (0.2, 0.2), (True, True)),
        (0.05, 0.06, (0.2, 0.2), (False, True)),
        (0.06, 0.06, (0.2, 0.04), (False, True)),
        (0.06, 0.06, (0.2, 0.2), (False, False)),
    ],
)
def test_reliable_is_within_five_points_in_both(envae, fast, least, verdict):
    by_weight = {row: pd.Series([0.5, of]) for row, of in zip(("EnVAE", "FEnVAE"), least,
                                                              strict=True)}  # fmt: skip
    found = chapter.of_coverage({"EnVAE": envae, "FEnVAE": fast}, by_weight)
    assert (found.reproduced, found.in_part) == verdict
