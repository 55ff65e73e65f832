"""Means of draws, and how far they lie from what they estimate."""

import math

import pytest
import torch

from envae.theory.monte_carlo import Estimate


def test_estimate_of_known_draws():
    found = Estimate.of(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert found.mean == pytest.approx(2.5)
    assert found.error == pytest.approx(math.sqrt(5 / 3) / 2)


def test_deviation_in_standard_errors():
    assert Estimate(5.0, 2.0).deviation(1.0) == pytest.approx(2)
    assert Estimate(1.0, 3.0).deviation(Estimate(11.0, 4.0)) == pytest.approx(-2)


def test_deviations_of_an_unbiased_mean_are_standard_normal():
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(1000, 400, generator=generator, dtype=torch.float64)
    deviations = torch.tensor([Estimate.of(row).deviation(0.0) for row in draws])
    assert abs(deviations.mean()) < 0.15
    assert deviations.std().item() == pytest.approx(1, abs=0.1)
