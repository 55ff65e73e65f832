"""Published tables beside runs, and the agreement of their orders."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from envae.companion import beside
from envae.experiments import published
from envae.experiments.paper_rows import ROWS

TABLES = [
    ("xu2025", 1, "CIFAR-10"),
    ("xu2025", 5, "CelebA-64"),
    ("takida2022", 4, "MNIST"),
    ("takida2022", 5, "CelebA"),
    ("takida2022", 6, "CelebAHQ-128"),
    ("takida2022", 7, "MNIST"),
]


def runs_of(values):
    """Runs with one metric from {label: values of the seeds}."""
    return pd.DataFrame(
        [
            {"label": label, "state": "done", "error": "", "fd_generated": value, "seed": seed}
            for label, of_seeds in values.items()
            for seed, value in enumerate(of_seeds)
        ]
    )


@pytest.mark.parametrize(("paper", "number", "dataset"), TABLES)
def test_every_published_row_and_column_has_one_of_ours(paper, number, dataset):
    theirs = beside.as_published(paper, number, dataset)
    assert set(theirs.index) <= set(ROWS)
    assert theirs.index.is_unique
    assert set(theirs) <= set(beside.COLUMNS)
    # In the order in which they are printed.
    printed = published.table(paper, number).query("dataset == @dataset")
    printed = printed[~printed["row"].str.startswith("Impr.")]
    assert list(theirs.index) == [beside.label(paper, name) for name in printed["row"].unique()]
    assert list(theirs) == list(printed["metric"].unique())


def test_an_agreement_is_told_with_its_interval_and_its_rows():
    told = beside.Agreement(0.814, -0.5, 1.0, 7)
    assert str(told) == "0.81 [-0.50, 1.00], 7 rows"


def test_published_values_are_at_their_labels():
    table = beside.as_published("takida2022", 4, "MNIST")
    assert table.loc["Diag-D, mle", "FID_GMM10"] == 10.05
    assert table.loc["CE", "MSE"] == 7.26
    assert np.isnan(table.loc["AE", "FID_prior"])
    assert beside.as_published("takida2022", 7, "MNIST").loc["Iso-I, mle"].item() == -887.17
    with pytest.raises(ValueError, match="'VAE with wings' is no row of takida2022"):
        beside.label("takida2022", "VAE with wings")


# What the papers' names for their rows mean here.
MEANT = {
    "L2": ("l2", {}), "L1": ("l1", {}), "CE": ("bernoulli", {}), "SSIM": ("ssim", {}),
    "InfoVAE": ("infovae", {"scaling": 1.0}), "FFL": ("ffl", {}), "Student-t": ("student_t", {}),
    "DistVAE": ("distvae", {}), "EnVAE": ("envae", {"samples": 10}),
    "FEnVAE": ("fenvae", {"draws": "single"}), "FEnVAE_single": ("fenvae", {"draws": "single"}),
    "FEnVAE_double": ("fenvae", {"draws": "double"}),
    "VAE w/ Gaussian (sigma_x^2=1.0)": ("l2", {"sigma2": 1.0}),
    "VAE (sigma_x^2=1.0)": ("l2", {"sigma2": 1.0}), "VAE w/ Bernoulli": ("bernoulli", {}),
    "VAE w/ MoL": ("mol", {}), "AE": ("ae", {}), "WAE-MMD": ("wae_mmd", {}), "RAE": ("rae", {}),
    "RAE-GP": ("rae_gp", {}),
    **{f"{kind}{ending}": (kind.lower().replace("-", "_"), {"estimate": estimate})
       for kind in ("Iso-I", "Diag-I", "Iso-D", "Diag-D")
       for ending, estimate in (("", "mle"), (" [proposed MLE]", "mle"),
                                (" [trainable Sigma_x]", "trainable"))},
}  # fmt: skip


@pytest.mark.parametrize(("paper", "number"), [table[:2] for table in TABLES])
def test_a_published_row_is_run_as_what_it_says(paper, number):
    names = set(published.table(paper, number)["row"])
    for name in {name for name in names if not name.startswith("Impr.")}:
        row = ROWS[beside.label(paper, name)]
        assert (row.objective, row.options) == MEANT[name]


def test_mean_and_spread_over_seeds():
    assert beside.mean_and_spread(pd.Series([1.0, 2.0, 6.0])) == "3.00 ± 2.65"
    assert beside.mean_and_spread(pd.Series([1.0, 2.0]), digits=1) == "1.5 ± 0.7"
    assert beside.mean_and_spread(pd.Series([1.234])) == "1.23"
    lacking = [1.0, np.nan, 3.0]
    assert beside.mean_and_spread(pd.Series(lacking)) == "2.00 ± 1.41 (2/3)"
    assert beside.mean_and_spread(pd.Series(lacking[:2])) == "1.00 (1/2)"
    assert beside.mean_and_spread(pd.Series(lacking[1:2])) == "–"
    runs = pd.DataFrame({"x": [1.0, 3.0], "y": [2.0, 2.0]}, index=["L2", "L2"])
    by_row = runs.groupby(level=0).agg(beside.mean_and_spread)
    assert by_row.loc["L2"].to_dict() == {"x": "2.00 ± 1.41", "y": "2.00 ± 0.00"}


def test_rows_are_paired_by_seed_where_they_start_alike():
    shared = [1.0, 5.0, 9.0]
    runs = runs_of(
        {
            "L2": [value + 1 for value in shared],
            "EnVAE": [value + 0.1 * seed for seed, value in enumerate(shared)],
            "MoL": [value + 0.1 * seed for seed, value in enumerate(shared)],
            "L1": [1.0],
            "InfoVAE": shared,
        }
    )
    runs = runs.sample(frac=1, random_state=0)  # in whatever order records are read
    assert beside.difference(runs, "EnVAE", "L2", "fd_generated").apart == "below"
    assert beside.difference(runs, "MoL", "L2", "fd_generated").apart == "not apart"
    assert beside.difference(runs, "EnVAE", "L1", "fd_generated") is None
    assert beside.difference(runs, "InfoVAE", "EnVAE", "fd_generated").apart == "not apart"
    assert beside.difference(runs, "EnVAE", "L2", "fd_gmm10") is None
    unequal = runs[(runs["label"] != "L2") | (runs["seed"] != 0)]
    assert beside.difference(unequal, "EnVAE", "L2", "fd_generated").apart == "not apart"


@pytest.mark.parametrize("first", ["MoL", "EnVAE"])  # another start than L2's, and the same
def test_a_difference_is_the_first_row_less_the_second(first):
    runs = runs_of({"L2": [5.0, 5.1, 5.3], first: [1.0, 1.2, 1.1]})
    below, above = (
        beside.difference(runs, *rows, "fd_generated") for rows in ((first, "L2"), ("L2", first))
    )
    assert (below.apart, above.apart) == ("below", "above")
    assert below.mean == pytest.approx(1.1 - 15.4 / 3)
    assert above.mean == pytest.approx(15.4 / 3 - 1.1)


def test_values_stand_beside_the_published_ones_or_the_reason_why_not():
    runs = pd.concat(
        [
            runs_of({"L2": [1.0, 2.0, 3.0], "L1": [5.0]}),
            pd.DataFrame(
                {
                    "label": ["CE", "SSIM", "FFL", "InfoVAE"],
                    "state": ["missing", "failed"] * 2,
                    "error": ["", "FloatingPointError: the loss is not finite"] * 2,
                }
            ),
            runs_of({"FFL": [4.0, 6.0], "InfoVAE": [4.0, 6.0]}),  # a third run is not done
        ]
    )
    table = beside.beside("xu2025", 1, "CIFAR-10", {"ours": runs})
    assert table.loc["L2", ("published, CIFAR-10", "samples")] == "107.63"
    ours = table["ours"]["samples"]
    assert ours["L2"] == "2.00 ± 1.00"
    assert ours["L1"] == "5.00"
    assert ours["CE"] == "not run yet"
    assert ours["SSIM"] == "failed"
    assert (ours["FFL"], ours["InfoVAE"]) == ("not run yet", "failed")
    assert list(table["ours"]) == list(table["published, CIFAR-10"])
    assert list(table.index) == list(beside.as_published("xu2025", 1, "CIFAR-10").index)
    assert table.loc["L2", ("ours", "reconstructions")] == "–"


def test_what_measured_the_same_stands_side_by_side():
    runs = runs_of({"L2": [1.0, 3.0], "EnVAE": [5.0]})
    table = beside.beside("xu2025", 1, "CIFAR-10", {"ours": runs})
    by_measure = beside.by_measure(table, ["samples", "reconstructions"])
    assert list(by_measure["samples"]) == ["published, CIFAR-10", "ours"]
    assert by_measure.loc["L2", ("samples", "ours")] == "2.00 ± 1.41"
    assert list(by_measure["reconstructions"]) == ["published, CIFAR-10"]  # ours has no number


def test_every_free_number_has_a_name():
    assert {row.free for row in ROWS.values()} <= set(beside.FREE)


def test_equal_and_reversed_orders_correlate_fully():
    theirs = pd.Series({label: float(rank) for rank, label in enumerate("abcdef")})
    same = runs_of({label: [rank**2.0, rank**2 + 0.1] for rank, label in enumerate("abcdef")})
    found = beside.agreement(theirs, same, "fd_generated", resamples=100)
    assert (found.tau, found.low, found.high, found.rows) == pytest.approx((1, 1, 1, 6))
    found = beside.agreement(-theirs, same, "fd_generated", resamples=100)
    assert found.tau == pytest.approx(-1)


def test_the_interval_of_unrelated_orders_holds_zero_and_of_noisy_seeds_is_wide():
    random = np.random.default_rng(1)
    labels = [f"row {i}" for i in range(12)]
    theirs = pd.Series(random.normal(size=12), labels)
    unrelated = runs_of({label: random.normal(size=3) for label in labels})
    found = beside.agreement(theirs, unrelated, "fd_generated", resamples=300)
    assert found.low < 0 < found.high
    noisy = runs_of({label: value + random.normal(size=3) for label, value in theirs.items()})
    sure = runs_of({label: [value] for label, value in theirs.items()})
    width = [
        (found := beside.agreement(theirs, runs, "fd_generated", resamples=300)).high - found.low
        for runs in (noisy, sure)
    ]
    assert width[1] == pytest.approx(0)
    assert width[0] > 0.2


def test_the_interval_is_that_of_rows_and_of_one_run_of_each():
    """Against a bootstrap written here: 95 % of the orders that other rows and runs would show."""
    random = np.random.default_rng(3)
    theirs = pd.Series(np.arange(10.0), list("abcdefghij"))
    seeds = np.arange(10.0)[:, None] + random.normal(scale=4, size=(10, 3))
    runs = runs_of(dict(zip(theirs.index, seeds, strict=True)))
    found = beside.agreement(theirs, runs, "fd_generated", resamples=1500)
    drawn = []
    for _ in range(1500):
        rows = random.integers(10, size=10)
        one_run = seeds[np.arange(10), random.integers(3, size=10)]
        drawn.append(kendalltau(theirs.to_numpy()[rows], one_run[rows]).statistic)
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.04)
    assert found.tau == kendalltau(theirs, seeds.mean(1)).statistic


def test_a_published_column_stands_beside_ours_of_its_kind():
    kinds = {
        "FID_gen": "generated", "FID_prior": "generated", "FID_re": "reconstructed",
        "FID_2ndVAE": "second_stage", "FID_GMM10": "gmm10", "FID_GMM100": "gmm100",
        "FID_mid": "midpoint", "FID_random": "random", "MSE": "squared", "IS": "is_generated",
        "NLL_upper_bound_k500": "nll",
    }  # fmt: skip
    assert set(kinds) == set(beside.COLUMNS)
    assert all(kind in beside.COLUMNS[name] for name, kind in kinds.items())


def test_a_column_is_called_what_it_is():
    words = {
        "FID_gen": "samples", "FID_re": "reconstructions", "FID_prior": "prior",
        "FID_2ndVAE": "second", "FID_GMM10": "10", "FID_GMM100": "100", "FID_mid": "mid-point",
        "FID_random": "random", "NLL_upper_bound_k500": "NLL", "MSE": "squared",
    }  # fmt: skip
    assert set(words) == set(beside.NAMES)
    assert all(word in beside.NAMES[column].split() for column, word in words.items())


def test_the_order_in_which_records_are_read_does_not_matter():
    random = np.random.default_rng(2)
    theirs = pd.Series(random.normal(size=8), list("abcdefgh"))
    runs = runs_of({label: value + random.normal(size=3) for label, value in theirs.items()})
    orders = (runs, runs[::-1])
    found = [beside.agreement(theirs, order, "fd_generated", resamples=50) for order in orders]
    assert found[0] == found[1]


def test_rows_without_values_are_left_out_and_two_are_too_few():
    theirs = pd.Series({"a": 1.0, "b": 2.0, "c": np.nan, "d": 4.0})
    runs = runs_of({"a": [1.0], "b": [2.0], "c": [3.0]})
    with pytest.raises(ValueError, match=r"at least 3 rows with values, found \['a', 'b'\]"):
        beside.agreement(theirs, runs, "fd_generated")
    more = runs_of({"a": [1.0], "b": [2.0], "c": [3.0], "d": [4.0]})
    assert beside.agreement(theirs, more, "fd_generated", resamples=10).rows == 3


def test_a_row_with_a_failed_run_comes_last_and_one_with_a_missing_run_has_no_mean():
    runs = runs_of({"L2": [1.0, 3.0], "L1": [5.0, 7.0], "CE": [2.0, 2.0]})
    runs.loc[3, ["state", "fd_generated"]] = ["failed", np.nan]
    runs.loc[5, ["state", "fd_generated"]] = ["missing", np.nan]
    found = beside.means(runs)["fd_generated"]
    assert found["L2"] == 2
    assert found["L1"] == np.inf
    assert found.drop(["L2", "L1"]).isna().all()
    assert list(found.index) == list(ROWS)


def test_a_run_is_not_counted_for_several():
    runs = pd.DataFrame(
        {"label": ["L2", "L2", "EnVAE", "EnVAE"], "seed": [1, 2, 1, 2], "fd": [2.0, 3.0, 1.0, 2.5]}
    )
    assert beside.difference(runs, "L2", "EnVAE", "fd") is not None
    with pytest.raises(ValueError, match="several runs of one seed"):
        beside.difference(pd.concat([runs, runs]), "L2", "EnVAE", "fd")
    with pytest.raises(ValueError, match="did you mean 'EnVAE'"):
        beside.difference(runs, "L2", "EnVEA", "fd")


def test_samples_of_a_row_about_its_prior_are_those_of_that_prior():
    runs = pd.DataFrame(
        {"label": ["NCP-VAE", "EC-VAE"], "seed": 1, "state": "done",
         "fd_generated": [4.0, 3.0], "fd_ncp": [2.0, np.nan], "fd_reconstructed": [1.0, 0.5]}
    )  # fmt: skip
    ours = beside.beside("xu2025", 2, "CIFAR-10", {"ours": runs})["ours"]
    assert ours["samples"][["NCP-VAE", "EC-VAE"]].tolist() == ["2.00", "3.00"]
    assert ours["reconstructions"][["NCP-VAE", "EC-VAE"]].tolist() == ["1.00", "0.50"]
    assert ours["samples"]["DT-VAE"] == "not run"
