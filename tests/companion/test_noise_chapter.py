"""Chapter 06's verdicts, on cells that are made up."""

import pandas as pd
import pytest

from envae.companion.chapters import noisy_mnist_variance as chapter
from envae.datasets.noise import PATTERNS
from envae.experiments import noise_recovery
from envae.experiments.noise_recovery import COLUMNS

SIZES = {"SU": 0.3, "SL": 0.3, "BU": 0.2, "BL": 0.2}


def cells(off=None, seeds=(1, 2)):
    """Cells that meet their targets but for those that `off` multiplies, by what it gives."""
    off = off or (lambda model, kind, s2, seed: 1.0)
    lines = []
    for model, unions in COLUMNS.items():
        for pattern, s2 in [("uniform", 0.0), *((p, v) for p in PATTERNS for v in (0.01, 0.1))]:
            for union in unions:
                parts = union.split("+")
                share = noise_recovery.share(pattern, parts, SIZES)
                kind = {0: "clean", 1: "noisy"}.get(share, "mixed") if s2 else "clean images"
                lines += [
                    (model, pattern, s2, seed, part,
                     (0.002 + share * s2) * off(model, kind, s2, seed))
                    for seed in seeds for part in parts
                ]  # fmt: skip
    columns = ["model", "pattern", "s2", "seed", "part", "value"]
    return noise_recovery.cells(pd.DataFrame(lines, columns=columns), SIZES)


WHOLE = dict.fromkeys(COLUMNS, (True, True)) | {
    "all": (True, True), "tolerance": (True, False),
    "mixtures": (True, False), "differences": (True, True),
}  # fmt: skip


def verdicts(off=None, floor=None):
    found = chapter.findings(cells(off), cells(floor), tolerance=0.05)
    return {name: (of.reproduced, of.in_part) for name, of in found.items()}


def test_cells_on_target_reproduce_all_of_it():
    assert verdicts() == WHOLE


@pytest.mark.parametrize(
    ("off", "expected"),
    [
        # A third above target at the larger variance.
        (lambda *cell: 4 / 3 if cell[:3] == ("Iso-D", "noisy", 0.1) else 1,
         {"Iso-D": (False, False), "all": (False, False), "tolerance": (False, False),
          "differences": (False, False)}),
        # And at the smaller one alone: a part is left.
        (lambda *cell: 4 / 3 if cell[:3] == ("Iso-I", "noisy", 0.01) else 1,
         {"Iso-I": (False, True), "all": (False, True), "tolerance": (False, False)}),
        # Within the bounds of the page, and not within the caption's.
        (lambda *cell: 1.1 if cell[1] == "noisy" else 1,
         {"tolerance": (False, False)}),
        (lambda *cell: 4 / 3 if cell[1] == "mixed" else 1, {"mixtures": (False, False)}),
        # Diag-D off, and its cure works in these tests.
        (lambda *cell: 2 if cell[:2] == ("Diag-D", "noisy") else 1,
         {"Diag-D": (False, True), "all": (False, True), "tolerance": (False, False)}),
    ],
)  # fmt: skip
def test_what_is_off_changes_its_own_verdicts_alone(off, expected):
    assert verdicts(off) == WHOLE | expected


@pytest.mark.parametrize(("times", "in_part"), [(2, False), (1.6, False), (1.4, True)])
def test_a_model_that_no_cure_mends_is_not_reproduced(times, in_part):
    """It mends where its cells are within half of their targets."""

    def of(times):
        return lambda model, kind, *_: times if (model, kind) == ("Diag-D", "noisy") else 1

    assert verdicts(of(2), of(times))["Diag-D"] == (False, in_part)


def test_at_the_smaller_variance_an_interval_that_reaches_the_bound_is_inside():
    def off(model, kind, s2, seed):
        return 1.3 + 0.2 * (seed - 1.5) if (model, kind, s2) == ("Iso-I", "noisy", 0.01) else 1

    assert verdicts(off)["Iso-I"] == (True, True)
    told = chapter.findings(cells(off), cells(), tolerance=0.05)["Iso-I"].told
    assert told.endswith("no 95 % interval wholly beyond 25 %, at either variance")


def test_runs_that_were_lost_are_told_by_their_models():
    lines = {"model": ["Iso-I", "Diag-D", "Diag-D"], "value": [0.1, float("nan"), 0.2]}
    one = chapter.trained_alone(pd.DataFrame(lines))
    assert (one.reproduced, one.in_part) == (False, True)
    assert one.told.endswith("Diag-D")
    none = chapter.trained_alone(pd.DataFrame(lines).fillna(0.3))
    assert (none.reproduced, none.in_part) == (False, False)
    both = chapter.trained_alone(pd.DataFrame(lines | {"value": [float("nan")] * 3}))
    assert both.reproduced


def spreads(taken_up, residual):
    """Two weights and seeds, four partitions, the first noisy: of spreads and squared residuals."""
    parts = ["SU", "SL", "BU", "BL"]
    rows = {}
    for alpha in (0.01, 0.1):
        for seed in (1, 2):
            rows["spread", alpha, 0.0, seed] = [0.02] * 4
            rows["spread", alpha, 0.1, seed] = [0.02 + 0.1 * taken_up[alpha, seed], *[0.03] * 3]
            rows["residual", alpha, 0.0, seed] = [0.05] * 4
            rows["residual", alpha, 0.1, seed] = [residual, 0.06, 0.06, 0.06]
    frame = pd.DataFrame(rows, parts).T
    return frame.rename_axis(["map", "alpha", "s2", "seed"])


@pytest.mark.parametrize(
    ("least", "most", "reproduced"), [(0.4, 0.4, False), (0.4, 0.6, False), (0.6, 0.6, True)]
)
def test_the_spread_takes_up_the_noise_on_every_seed_of_a_weight(least, most, reproduced):
    taken_up = {(0.01, 1): least, (0.01, 2): most, (0.1, 1): 0.1, (0.1, 2): 0.1}
    found = chapter.of_spread(spreads(taken_up, 0.1), ["SU"], 0.1)
    assert (found.reproduced, found.in_part) == (reproduced, False)
    assert f"at {1 if reproduced else 'none'} of 2 KL weights" in found.told
    assert found.told.endswith("; the residual shows where it is")
    rise = chapter.rise_of_spread(spreads(taken_up, 0.1), 0.1)
    assert rise.loc[0.01, "SU"].tolist() == pytest.approx([least, most])
    assert rise["BL"].tolist() == pytest.approx([0.1] * 4)


def test_a_residual_that_does_not_show_the_noise_is_told():
    taken_up = dict.fromkeys([(a, s) for a in (0.01, 0.1) for s in (1, 2)], 0.1)
    found = chapter.of_spread(spreads(taken_up, 0.055), ["SU"], 0.1)
    assert "nor does the residual" in found.told
