"""What the pictures' chapter computes of kept pictures."""

import pytest
import torch

from envae.companion.chapters.pictures import sharpness_of_kept


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
