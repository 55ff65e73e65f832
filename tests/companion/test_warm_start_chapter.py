"""Chapter 13's rules, of numbers that are made up."""

import pandas as pd
import pytest

from envae.companion.chapters import fenvae_warm_start as chapter

SEEDS = (1, 2, 3)


def by_course(fast_at):
    """FD of three rows at two starts and lengths; FEnVAE's is given, L2 has 4 and EnVAE 2."""
    level = {"L2": dict.fromkeys(fast_at, 4.0), "EnVAE, M = 2": dict.fromkeys(fast_at, 2.0)}
    level["FEnVAE"] = fast_at
    return pd.Series(
        {
            (row, start, epochs, seed): value + 0.01 * seed * len(row)
            for row, of_row in level.items()
            for (start, epochs), value in of_row.items()
            for seed in SEEDS
        }
    ).rename_axis(["row", "start", "epochs", "seed"])


def test_rows_are_told_apart_at_each_start_and_length():
    found = chapter.orders(by_course({("cold", 30): 9.0, ("cold", 5): 3.0, ("warm", 30): 1.0}))
    assert found["FEnVAE beside L2"].to_dict() == {
        ("cold", 30): "above", ("cold", 5): "below", ("warm", 30): "below"
    }  # fmt: skip
    assert (found["EnVAE, M = 2 beside L2"] == "below").all()
    assert found["FEnVAE beside EnVAE, M = 2"].tolist().count("below") == 1


@pytest.mark.parametrize(
    ("fast", "order", "first"),
    [
        ((3.0, 3.0), (True, True), (True, True)),
        ((3.0, 9.0), (False, True), (False, True)),
        ((9.0, 9.0), (False, True), (False, False)),
    ],
)
def test_fenvae_between_the_others_at_every_length(fast, order, first):
    orders = chapter.orders(by_course({("cold", 30): fast[0], ("warm", 30): fast[1]}))
    found = chapter.of_courses(orders)
    assert (found["order"].reproduced, found["order"].in_part) == order
    assert (found["fast"].reproduced, found["fast"].in_part) == first
    assert "from 2 of 2 starts" in found["order"].told


def test_the_order_asks_for_envae_before_l2_from_some_start():
    orders = chapter.orders(by_course({("cold", 30): 3.0, ("cold", 50): 3.0}))
    orders.loc[("cold", 50), "EnVAE, M = 2 beside L2"] = "not apart"
    found = chapter.of_courses(orders)
    assert (found["order"].reproduced, found["order"].in_part) == (False, False)


@pytest.mark.parametrize(
    ("small", "large", "verdict"),
    [(1.05, 2.0, (True, True)), (1.2, 2.0, (False, True)), (1.05, 1.0, (False, True)),
     (2.0, 1.9, (False, False))],
)  # fmt: skip
def test_fenvae_matches_envae_at_a_small_code_and_falls_behind(small, large, verdict):
    fd = {(8, "FEnVAE"): small, (128, "FEnVAE"): large}
    fd |= {(size, row): 1.0 for size in (8, 128) for row in ("EnVAE, M = 2", "L2")}
    runs = pd.DataFrame(
        {(*key, seed): {"fd_generated": value * (1 + 0.1 * (seed - 2)), "posterior_variance": 0.8}
         for key, value in fd.items() for seed in SEEDS}
    ).T.rename_axis(["d_z", "row", "seed"])  # fmt: skip
    found = chapter.of_sizes(runs)
    assert (found.reproduced, found.in_part) == verdict
    assert found.told.endswith("posterior variance at 8 is 0.8")


@pytest.mark.parametrize(
    ("fast", "verdict"),
    [((0.29, 0.29), (True, True)), ((0.29, 0.27), (False, True)), ((0.27, 0.27), (False, False))],
)
def test_fenvaes_term_goes_with_many_draws_as_the_worse_of_envaes(fast, verdict):
    correlations = pd.DataFrame(
        {"same network": [fast[0], 0.3, 0.6], "own network": [fast[1], 0.6, 0.3]},
        ["FEnVAE", "EnVAE, M = 2", "EnVAE, M = 10"],
    )
    found = chapter.of_terms(correlations)
    assert (found.reproduced, found.in_part) == verdict
