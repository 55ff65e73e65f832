"""Chapter 12's rules, of numbers that are made up."""

import pandas as pd
import pytest

from envae.companion.chapters import fenvae_examined as chapter


def by_draws(few, ten, most):
    """Two seeds of 2, 10 and 100 draws."""
    return pd.DataFrame({1: [few, ten, most], 2: [few, ten, most]}, [2, 10, 100])


@pytest.mark.parametrize(
    ("distances", "verdict"),
    [((3, 2, 1.5), (True, True)), ((3, 2, 0.5), (False, True)), ((2, 3, 1), (False, False))],
)
def test_more_draws_help_and_the_gain_levels_off(distances, verdict):
    found = chapter.of_draws(by_draws(*distances))
    assert (found.reproduced, found.in_part) == verdict
    assert found.told.startswith(f"FD {distances[0]:.2f} with 2 draws")


@pytest.mark.parametrize(
    ("variance", "lipschitz", "verdict"),
    [
        ([9, 1, 2, 3], [0, 3, 2, 1], (True, True)),  # the first is not of the paper's dimensions
        ([9, 1, 2, 3], [0, 3, 1, 2], (False, True)),
        ([9, 3, 2, 1], [0, 1, 2, 3], (False, False)),
    ],
)
def test_wider_posteriors_and_flatter_encoders_by_dimension(variance, lipschitz, verdict):
    index = pd.Index([2, 8, 16, 128], name="d_z")
    table = pd.DataFrame({"posterior_variance": variance, "lipschitz_encoder": lipschitz}, index)
    found = chapter.of_dimensions(table.iloc[::-1])  # in any order
    assert (found.reproduced, found.in_part) == verdict


def by_exponent(low, high):
    """Two seeds; 1 is the better middle, at most 2.5."""
    return pd.DataFrame({1: [low, 3, 2, high], 2: [low, 3, 2.5, high]}, [0.1, 0.5, 1.0, 2.0])


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [((2.6, 4), (True, True)), ((2.4, 4), (False, True)), ((2.5, 1), (False, False))],
)
def test_both_ends_of_the_exponent_are_worse_than_the_better_middle(ends, verdict):
    found = chapter.of_exponents({"FEnVAE": by_exponent(*ends), "EnVAE": by_exponent(9, 1)})
    assert (found.reproduced, found.in_part) == verdict
    assert found.told.startswith("every seed worse than in the middle: ")
    assert "EnVAE at β = 0.1" in found.told
    assert ("FEnVAE at β = 2" in found.told) == (ends[1] > 2.5)


@pytest.mark.parametrize(
    ("shares", "verdict", "told"),
    [
        ([0.1, 0.2], (True, True), "in 2 of 2 settings (α 0.01, d_z 2; α 0.1, d_z 16)"),
        ([0.1, 0.3], (False, True), "in 1 of 2 settings (α 0.01, d_z 2)"),
        ([0.5, 0.3], (False, False), "in 0 of 2 settings (none)"),
    ],
)
def test_a_posterior_has_a_small_share_of_the_variance(shares, verdict, told):
    index = pd.MultiIndex.from_tuples([(2, 0.01), (16, 0.1)], names=["latent_dim", "alpha"])
    found = chapter.of_shares(pd.Series(shares, index))
    assert (found.reproduced, found.in_part) == verdict
    assert told in found.told


def walks(**sharpness):
    """Two seeds of each row; steps as even as L2's, but for a row that jumps."""
    rows = {"L2": 1.0, "FEnVAE": 2.0, "EnVAE, M = 2": 2.0} | sharpness
    values = {
        (row, seed): {"sharpness": sharp, "unevenness": 9.0 if row == "jumps" else 1.5}
        for row, sharp in rows.items()
        for seed in (1, 2)
    }
    return pd.DataFrame(values).T


@pytest.mark.parametrize(
    ("given", "fast_decodes", "verdict"),
    [
        ({}, True, (True, True)),
        ({}, False, (False, True)),
        ({"FEnVAE": 0.5}, True, (False, True)),
        ({"EnVAE, M = 2": 0.5}, True, (False, False)),
    ],
)
def test_walks_are_sharper_and_as_even(given, fast_decodes, verdict):
    found = chapter.of_walks(walks(**given), fast_decodes=fast_decodes)
    assert (found.reproduced, found.in_part) == verdict
    assert ("as the ends are posterior means" in found.told) == (not fast_decodes)


def test_a_walk_that_jumps_is_not_smooth():
    table = walks(jumps=2.0).rename(index={"jumps": "EnVAE, M = 10"})
    found = chapter.of_walks(table, fast_decodes=True)
    assert (found.reproduced, found.in_part) == (False, False)
    assert "not within 25 %" in found.told
