"""Tables of a sweep, made of records that were written by hand."""

import dataclasses

import pandas as pd
import pytest
import torch

from envae import datasets
from envae.experiments import records, weight_sweeps
from envae.experiments.runs import Setting
from envae.metrics.random_convolutions import RandomConvolutions
from envae.theory import spread_balance

SETTING = Setting(epochs=7)
POINTS = weight_sweeps.points(SETTING, [0.1, 1.0, 10.0], [1.0, 0.5], [1, 2])


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Error 4, three dimensions, twice the predicted spread; samples best at a weight of 1."""
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    for point in POINTS:
        alpha, beta = point.options["alpha"], point.options.get("beta", 1.0)
        told = spread_balance.ratio(alpha, error=4.0, dimensions=3.0, beta=beta)
        metrics = {
            "missed": 4.0, "dimensions_in_use": 3.0, "spread": 16 * told**2,
            "fd": abs(alpha - 1) + point.seed,
        }  # fmt: skip
        records.save("calibration_toy", point.parameters("toy"), metrics)
    for beta in (1.0, 0.5):
        told = {"dataset": "toy", "latent_dim": SETTING.latent_dim, "beta": beta}
        records.save(weight_sweeps.SUGGESTED, told, {"suggested": 2 * beta})
    return weight_sweeps.table("toy", POINTS)


def test_a_table_has_every_run_and_its_prediction(runs):
    assert len(runs) == 12
    assert runs["ratio"].to_numpy() == pytest.approx(2 * runs["predicted"].to_numpy())
    row = runs.loc[("toy", 0.5, 10.0, 2)]
    assert row["suggested"] == 1.0
    assert runs.xs(1.0, level="beta")["suggested"].unique().tolist() == [2.0]


def test_the_suggested_weight_stands_beside_the_best(runs):
    found = weight_sweeps.beside_best(runs, "fd", 10.0)
    assert found["best"].tolist() == [1.0, 1.0]
    assert not found["at_end"].any()
    assert found["suggested"].tolist() == [2.0, 1.0]
    # Means over seeds are 1.5 at a weight of 1 and 10.5 at 10; log 2 lies 0.301 of the way.
    assert found["cost"].tolist() == pytest.approx([7**0.30103, 1])
    assert found["cost_default"].tolist() == pytest.approx([7, 7])
    assert weight_sweeps.beside_best(runs, "fd", 99.0)["cost_default"].isna().all()  # not tried
    below = runs.assign(fd=runs["fd"] - 2)  # as an estimate without bias may be
    assert weight_sweeps.beside_best(below, "fd", 1.0)["cost_default"].isna().all()
    assert found["share"].tolist() == pytest.approx([3 / 16, 3 / 16])
    inner = runs[runs.index.get_level_values("alpha") >= 1]
    assert weight_sweeps.beside_best(inner, "fd", 10.0)["at_end"].all()


def test_exponent_one_is_left_to_the_objective():
    assert "beta" not in POINTS[0].options
    assert POINTS[-1].options["beta"] == 0.5
    assert pd.Series([point.seed for point in POINTS]).value_counts().tolist() == [6, 6]


def test_what_has_no_record_is_run_and_suggestions_are_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # in this process, which has this folder
    digits = datasets.load("digits")
    small = dataclasses.replace(digits, train=digits.train[:300], test=digits.test[:200])
    monkeypatch.setattr(datasets, "load", lambda name, train_size: small)
    wanted = weight_sweeps.points(Setting(epochs=20, latent_dim=4), [0.1], [1.0], [1])
    complete, measured = weight_sweeps.complete, []

    def seen(*arguments, measure, **shared):
        measured.append(measure)
        return complete(*arguments, measure=measure, **shared)

    monkeypatch.setattr(weight_sweeps, "complete", seen)
    weight_sweeps.record("digits", None, wanted)
    [space] = measured[0].keywords["others"]
    of_train = RandomConvolutions(small.train)  # features are scaled on what is not judged
    assert torch.equal(space.features(small.test), of_train.features(small.test))
    assert measured[0].keywords["steps"] == 16
    row = weight_sweeps.table("digits", wanted).iloc[0]
    expected = spread_balance.suggested_weight(small.train, 4)
    assert row["suggested"] == pytest.approx(expected)
    assert {"missed", "fd_generated", *weight_sweeps.JUDGES} <= set(row.index)


@pytest.mark.parametrize(("dataset", "steps"), [("digits", 16), ("mnist", 255)])
def test_ranks_are_of_as_many_steps_as_a_data_set_has_grey_levels(monkeypatch, dataset, steps):
    small = datasets.load("digits", train_size=50)
    monkeypatch.setattr(datasets, "load", lambda name, train_size: small)
    measured = []
    keep = lambda *_, measure, **__: measured.append(measure)  # noqa: E731
    monkeypatch.setattr(weight_sweeps, "complete", keep)
    weight_sweeps.record(dataset, None, [])
    assert measured[0].keywords["steps"] == steps


@pytest.mark.parametrize("beta", [0.5, 1.5])
def test_a_suggestion_is_for_the_exponent_and_the_latent_dimension(tmp_path, monkeypatch, beta):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setattr(weight_sweeps, "complete", lambda *_, **__: None)
    wanted = weight_sweeps.points(Setting(latent_dim=3), [0.1, 0.3], [beta], [1, 2])
    weight_sweeps.record("digits", 200, wanted)
    told = {"dataset": "digits-200", "latent_dim": 3, "beta": beta}
    [found] = records.load(weight_sweeps.SUGGESTED, [told]).to_dict("records")
    images = datasets.load("digits", train_size=200).train
    expected = spread_balance.suggested_weight(images, 3, beta=beta)
    assert found["suggested"] == pytest.approx(expected)
