import math

import pytest
import torch

from envae.companion import evidence


@pytest.mark.parametrize(
    ("error", "tolerance", "expected"),
    [
        (1.2e-16, 1e-9, "to 1e-9"),
        (0.0, 1e-4, "to 1e-4"),
        (0.0, 0.01, "to 0.01"),
        (0.0, 9e-3, "to 9e-3"),
        (-0.013, 0.02, "to 0.02"),
        (0.34, 1e-9, "only to 0.3"),
        (-3.1e-7, 1e-9, "only to 3e-7"),
        (1e-9, 1e-9, "only to 1e-9"),
        (math.nan, 1e-9, "only to nan"),
    ],
)
def test_precision(error, tolerance, expected):
    assert evidence.precision(error, tolerance) == expected
    assert (
        evidence.precision(torch.tensor([0.0, error], dtype=torch.float64), tolerance) == expected
    )
