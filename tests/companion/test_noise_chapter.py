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


def test_a_model_that_no_cure_mends_is_not_reproduced():
    def off(model, kind, s2, seed):
        return 2 if (model, kind) == ("Diag-D", "noisy") else 1

    assert verdicts(off, off)["Diag-D"] == (False, False)


def test_at_the_smaller_variance_an_interval_that_reaches_the_bound_is_inside():
    def off(model, kind, s2, seed):
        return 1.3 + 0.2 * (seed - 1.5) if (model, kind, s2) == ("Iso-I", "noisy", 0.01) else 1

    assert verdicts(off)["Iso-I"] == (True, True)


def test_runs_that_were_lost_are_told_by_their_models():
    lines = {"model": ["Iso-I", "Diag-D", "Diag-D"], "value": [0.1, float("nan"), 0.2]}
    one = chapter.trained_alone(pd.DataFrame(lines))
    assert (one.reproduced, one.in_part) == (False, True)
    assert one.told.endswith("Diag-D")
    none = chapter.trained_alone(pd.DataFrame(lines).fillna(0.3))
    assert (none.reproduced, none.in_part) == (False, False)
    both = chapter.trained_alone(pd.DataFrame(lines | {"value": [float("nan")] * 3}))
    assert both.reproduced
