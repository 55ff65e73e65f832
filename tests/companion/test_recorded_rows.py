"""The recorded rows at each scale: which runs they are, and how a comparison is told."""

import json

import numpy as np
import pandas as pd
import pytest

from envae.companion import differences, recorded_rows
from envae.companion.recorded_rows import SCALES
from envae.experiments import kept_pictures, records


@pytest.mark.parametrize("data", SCALES)
def test_every_scale_is_what_its_records_say(data):
    found = recorded_rows.runs(data).query("state == 'done'")
    assert found["network"].unique().tolist() == [SCALES[data].network]
    assert found["epochs"].unique().tolist() == [SCALES[data].epochs]
    assert not found.duplicated(["label", "seed"]).any()
    run = found.iloc[0]
    told = json.loads(records.file(run["experiment"], f"{run['key']}.json").read_text())
    assert told["metrics"]["fd_generated"] == run["fd_generated"]
    for experiment, key in zip(found["experiment"], found["key"], strict=True):
        if records.file(experiment, f"{key}.png"):
            height, width = kept_pictures.load(experiment, key)["test"].shape[-2:]
            assert SCALES[data].pixels == f"{height} x {width}"
    _, _, part = data.rpartition("-")
    whole = {"digits": 1297, "mnist": 60_000}
    assert SCALES[data].images == (whole[data] if data in whole else int(part))
    unit = told["units"]["fd_generated"]
    assert f"{SCALES[data].samples} samples against the test split" in unit


def test_a_caption_says_what_stands_behind_a_title():
    assert recorded_rows.told("takida2022 Sec. 6", ["mnist"]) == (
        "MNIST: 60,000 images, 28 × 28, AR-ELBO's, 50 epochs (3,000,000 images seen, 50 % of the "
        "paper's on MNIST), 1 to 3 seeds, floor 0.01"
    )
    told = recorded_rows.told("xu2025", ["digits", "mnist-5000"])
    assert told.startswith(
        "digits: 1,297 images, 8 × 8, an MLP, 200 epochs (259,400 images seen), "
    )
    assert "; MNIST-5000: " in told
    assert "of the paper's" not in told


def test_rows_that_came_nearer_at_another_number_have_it():
    found = recorded_rows.runs("mnist")
    assert found.index.is_unique
    found = found.set_index("label")
    l2 = found.loc[["L2"]]
    assert l2["options"].map(lambda options: options["alpha"]).unique().tolist() == [0.1]
    assert l2["experiment"].unique().tolist() == ["fid_tables_mnist_beside"]
    assert found.loc[["Diag-D, mle"], "lr"].unique().tolist() == [1e-4]
    assert found.loc[["Iso-I, mle"], "experiment"].unique().tolist() == ["fid_tables_mnist"]


def test_a_run_that_a_reader_made_at_another_length_is_none_of_the_scale(tmp_path, monkeypatch):
    before = recorded_rows.runs("digits")
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    run = before[before["label"] == "L2"].iloc[0]
    names = ["objective", "options", "network", "latent_dim", "batch_size", "lr", "dataset"]
    mine = run[names].to_dict() | {"latent_dim": 16, "batch_size": 64, "epochs": 30, "seed": 1}
    records.save("fid_tables_digits", mine, {"fd_generated": 9.0})
    assert len(records.load("fid_tables_digits")) == before["key"].nunique() + 1
    assert set(recorded_rows.runs("digits")["key"]) == set(before["key"])


def test_of_the_runs_beside_those_alone_are_taken_that_are_meant(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    instead = {"L2": ("l2", {"alpha": 0.1}, 1e-3)}
    monkeypatch.setitem(SCALES, "toy", recorded_rows.Recorded("", "", "mlp", 10, 5, 10, instead))
    meant = {"objective": "l2", "options": {"alpha": 0.1}, "lr": 1e-3, "epochs": 5, "seed": 1}

    def save(experiment, fd, **other):
        records.save(experiment, meant | other, {"fd_generated": fd})

    save("fid_tables_toy", 1.0, options={"alpha": 0.03})
    save("fid_tables_toy", 2.0, objective="l1", options={"scale": 0.1})
    save("fid_tables_toy_beside", 3.0)
    for other in (
        {"objective": "bernoulli"}, {"lr": 1e-4}, {"epochs": 6}, {"options": {"alpha": 0.3}},
    ):  # fmt: skip
        save("fid_tables_toy_beside", 4.0, **other)
    found = recorded_rows.runs("toy")
    assert found[["label", "fd_generated"]].to_numpy().tolist() == [["L1", 2.0], ["L2", 3.0]]


def test_an_unknown_scale_is_an_error():
    with pytest.raises(ValueError, match=r"'celeba'.*cifar10-jpeg-10000"):
        recorded_rows.runs("celeba")


def test_a_scale_has_as_many_seeds_as_the_row_with_the_fewest():
    by_row = recorded_rows.runs("mnist").groupby("label")["seed"].nunique()
    assert by_row["Iso-I, mle"] > by_row["CE"] == 2
    scale = recorded_rows.scale("mnist", "takida2022 Sec. 6", ["Iso-I, mle", "CE"])
    assert (scale.seeds, scale.images, scale.epochs) == (2, 60_000, 50)
    assert "50 % of the paper's" in str(scale)
    assert recorded_rows.scale("mnist", "xu2025", ["L2"]).seeds == by_row["L2"]
    assert recorded_rows.scale("mnist", "xu2025", []).seeds == 0


def _runs(**values):
    rows = [
        {"label": label, "seed": seed, "state": "done", "fd": value}
        for label, of_row in values.items()
        for seed, value in enumerate(of_row)
    ]
    return pd.DataFrame(rows)


def test_a_ratio_is_of_geometric_means_with_the_interval_of_logarithms():
    of = _runs(L2=[1.0, 4.0], EnVAE=[1.0, 1.0], L1=[3.0])
    assert recorded_rows.ratio(of, "L1", "EnVAE", "fd") == "3.00"
    gap = recorded_rows.log_difference(of, "L2", "EnVAE", "fd")
    half = 12.706204736 * np.log(4) / 2  # Student's t with one degree of freedom, over root 2
    assert (gap.mean, gap.high - gap.mean) == pytest.approx((np.log(2), half))
    assert recorded_rows.ratio(of, "L2", "EnVAE", "fd").startswith("2.00 [0.00, ")
    assert recorded_rows.log_difference(of, "L1", "EnVAE", "fd") is None


def test_a_row_that_was_not_run_is_a_dash_and_one_that_failed_says_so():
    of = _runs(L2=[1.0, 4.0])
    assert recorded_rows.ratio(of, "L2", "EnVAE", "fd") == "–"
    of = pd.concat([of, pd.DataFrame([{"label": "EnVAE", "seed": 1, "state": "failed"}])])
    assert recorded_rows.ratio(of, "L2", "EnVAE", "fd") == "EnVAE: failed"


def test_a_comparison_is_told_at_every_scale():
    moved = recorded_rows.moved({"a": ("EnVAE", "L2", "fd_generated")})
    assert (list(moved.index), list(moved)) == (["a"], list(recorded_rows.TITLES.values()))
    digits = recorded_rows.runs("digits").groupby("label")["fd_generated"]
    ratio = np.exp(np.log(digits.get_group("EnVAE")).mean() - np.log(digits.get_group("L2")).mean())
    assert moved.loc["a", "digits"].startswith(f"{ratio:.2f} [")


def test_pairs_are_told_apart_by_one_spread_of_logarithms():
    of = _runs(L2=[1.0, 1.1, 1.2], EnVAE=[2.0, 2.1, 2.4], L1=[3.0], CE=[1.0, 1.1, 1.3])
    pairs = {"L2": "EnVAE", "CE": "L1", "EnVAE": "CE"}
    found = recorded_rows.pairs_apart(of, pairs, ["fd"])
    assert list(found) == [("L2", "fd"), ("EnVAE", "fd")]  # L1 has one seed
    rows = {row: np.log(of.loc[of["label"] == row, "fd"]) for row in ("L2", "EnVAE", "CE")}
    expected = differences.simultaneous(rows)
    assert found["L2", "fd"] == expected["L2", "EnVAE"]
    assert (found["L2", "fd"].apart, found["EnVAE", "fd"].apart) == ("below", "above")
    assert recorded_rows.pairs_apart(of, {"L1": "L2"}, ["fd"]) == {}
    two = _runs(L2=[1.0, 1.1], EnVAE=[2.0, 2.1])
    assert list(recorded_rows.pairs_apart(two, {"L2": "EnVAE"}, ["fd"])) == [("L2", "fd")]


def test_pairs_alone_are_the_single_differences():
    of = _runs(L2=[1.0, 1.1, 1.2], EnVAE=[2.0, 2.1, 2.4], L1=[3.0])
    found = recorded_rows.pairs_alone(of, {"L2": "EnVAE", "EnVAE": "L1"}, ["fd"])
    assert found == {("L2", "fd"): recorded_rows.log_difference(of, "L2", "EnVAE", "fd")}


def test_a_row_has_a_value_in_each_chapter_with_what_tells_the_runs_apart():
    found = recorded_rows.by_chapter(["L2", "EnVAE, M = 2", "FEnVAE"])
    assert len(found) == len(recorded_rows.CHAPTERS)
    examined = found[(found["data"] == "digits") & (found.index == "12")].iloc[0]
    runs = records.load("fenvae_digits")
    runs = runs[(runs["objective"] == "l2") & (runs["seed"] > 0)]  # 0 is the search's
    weights = runs["options"].map(lambda options: options["alpha"])
    assert weights.unique().tolist() == [0.03]
    assert examined["L2"] == f"{runs['fd_generated'].mean():.2f} (0.03)"
    assert examined["epochs":"samples, split"].tolist() == ["30", "0.001", "3", "1,297, train"]
    of_tables = found[found["samples, split"] == "10,000, test"]
    assert of_tables["seeds"].tolist() == ["3", "2 to 3"]
    assert of_tables.loc["8", "L2"].endswith("(0.1)")  # not the weight that was taken first
    assert pd.isna(found.loc["15", "EnVAE, M = 2"])  # not run there
    runs = records.load("fid_digits")
    from_scratch = runs[(runs["objective"] == "fenvae") & runs["start"].isna()]
    assert found.loc["7", "FEnVAE"] == f"{from_scratch['fd_generated'].mean():.2f} (0.01)"
