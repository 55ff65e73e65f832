"""What the pictures' chapter computes of kept pictures, and its rules, of made-up numbers."""

import pandas as pd
import pytest
import torch

from envae.companion.chapters.pictures import (
    always,
    maps_of_kept,
    of_maps,
    of_sharpness,
    of_spectra,
    sharpness_of_kept,
    standard_error,
)
from envae.experiments.measures.pictures import contours


def test_kept_pictures_are_as_sharp_as_their_contrast_says():
    test = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    kept = {"test": test, "means": test / 2, "draws": test[None], "prior": test / 4, "gmm10": test}
    found = sharpness_of_kept({"row": kept}).loc["row"]
    assert found["sharpness, means"] == pytest.approx(0.5)
    assert found["sharpness, draws"] == pytest.approx(1)
    assert found["sharpness, prior"] == pytest.approx(0.25)
    assert found["sharpness, mixture"] == pytest.approx(1)
    # A quarter of the amplitude is a sixteenth of the power at every frequency.
    assert found["spectra apart, prior (dB)"] == pytest.approx(12.04, abs=0.01)


def test_kept_maps_that_are_the_contours_follow_them():
    test = torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    lines = contours(test)
    found = maps_of_kept({"of contours": {"test": test, "spread": lines},
                          "shifted": {"test": test, "spread": lines + 1},
                          "the other way": {"test": test, "spread": 2 - lines}})  # fmt: skip
    assert found["contours"].tolist() == pytest.approx([1, 1, -1], abs=1e-5)
    flat = lines.flatten(1)
    assert found.loc["of contours", "contrast"] == pytest.approx(
        (flat.std(1) / flat.mean(1)).mean().item()
    )
    assert found.loc["shifted", "contrast"] < found.loc["of contours", "contrast"]


KINDS = ("means", "draws", "samples")
# What a page would hope for: EnVAE first, FEnVAE between, L2 behind, the VAE last.
HOPED = {
    row: {
        **{f"sharpness_{kind}": 0.9 - place / 10 for kind in KINDS},
        **{f"high_{kind}": 0.9 - place / 10 for kind in KINDS},
        **{f"decibels_{kind}": 1.0 + place for kind in KINDS},
        **{f"map_{name}": 0.9 - place / 10 for name in ("contours", "contrast", "error")},
        "residual_high_means": 0.1 + place / 10,
    }
    for place, row in enumerate(("EnVAE", "FEnVAE", "L2", "VAE"))
}
RULES = {"sharpness": of_sharpness, "spectra": of_spectra, "maps": of_maps}


def measured(**changed):
    """Two seeds of the rows as they are hoped for; `changed`: what another value is, by its row."""
    told = {row: values | changed.get(row, {}) for row, values in HOPED.items()}
    return pd.DataFrame({(row, seed): {name: value + 0.001 * seed for name, value in of.items()}
                         for row, of in told.items() for seed in (1, 2)}).T  # fmt: skip


def test_always_is_every_seed_against_every_seed():
    metrics = pd.DataFrame({"m": [3, 5, 2, 4]}, [("a", 1), ("a", 2), ("b", 1), ("b", 2)])
    metrics.index = pd.MultiIndex.from_tuples(metrics.index)
    assert not always(metrics, "m", "a", "b")
    assert always(metrics - metrics.mul([0, 0, 1, 1], axis=0) / 2, "m", "a", "b")


@pytest.mark.parametrize("rule", RULES)
def test_what_was_hoped_for_is_reproduced(rule):
    assert RULES[rule](measured(), "EnVAE")[:2] == (True, True)


@pytest.mark.parametrize(
    ("rule", "row", "changed", "verdict"),
    [
        ("sharpness", "FEnVAE", {"residual_high_means": 0.9}, (False, True)),
        ("sharpness", "EnVAE", {"sharpness_draws": 0.5}, (False, False)),
        ("spectra", "FEnVAE", {"decibels_means": 9.0}, (False, True)),
        ("spectra", "EnVAE", {"high_samples": 0.5}, (False, False)),
        ("maps", "FEnVAE", {"map_contrast": 0.1}, (False, True)),
        ("maps", "EnVAE", {"map_contrast": 0.1}, (False, True)),
        ("maps", "EnVAE", {"map_error": 0.1}, (True, False)),
        ("maps", "EnVAE", {"map_error": 0.1, "map_contrast": 0.1}, (False, False)),
        ("maps", "EnVAE", {"map_contours": 0.45}, (False, False)),
    ],
)
def test_one_number_short_of_it_is_not(rule, row, changed, verdict):
    assert RULES[rule](measured(**{row: changed}), "EnVAE")[:2] == verdict


def test_the_standard_error_is_that_of_the_row_whose_samples_differ_most():
    """Sharpness is the mean step to a neighbour: 2 on the test image, 1 and 3 on the samples."""
    step = torch.tensor([[0.0, 1.0], [1.0, 2.0]])  # 1 to the right and 1 down
    test, one, three = (scale * step[None, None] for scale in (2.0, 1.0, 3.0))
    alike = {"prior": torch.cat([one, one]), "test": test}
    apart = {"prior": torch.cat([one, three]), "test": test}
    # A standard deviation of 2 ** 0.5 times the sharpness of `step`, of two samples, over twice it.
    assert standard_error([alike, apart, alike]) == pytest.approx(0.5)
    assert standard_error([alike]) == 0
