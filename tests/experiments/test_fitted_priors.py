"""Reported runs trained again for more priors: which runs, on what, judged by what."""

import dataclasses
import functools

import pytest

from envae import datasets
from envae.experiments import fitted_priors, paper_rows, records
from envae.experiments.measures import quality
from envae.experiments.runs import Point, Setting, recorded, run_all
from envae.metrics.random_convolutions import RandomConvolutions
from envae.priors import SecondStageVAE

EXPERIMENT = "fid_tables_toy"
ROWS = {
    ("ae", 1): Setting("mlp", 4, epochs=1, lr=0.01),
    ("ae", 2): Setting("mlp", 4, epochs=1, lr=0.01),
    ("ae", 9): Setting("mlp", 4, epochs=1, lr=0.01),
    ("bernoulli", 1): Setting("mlp", 4, epochs=2, batch_size=32),
    ("ssim", 1): Setting("mlp", 4, epochs=2),
}
OPTIONS = {"ae": {}, "bernoulli": {"alpha": 0.3}, "ssim": {"alpha": 0.003}}
REPORTED = [Point(name, OPTIONS[name], seed, setting) for (name, seed), setting in ROWS.items()]


@pytest.fixture
def _reported(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # in this process, which has this folder
    for point in REPORTED:
        values = {"fd_generated": (1.0, "FD")}
        records.save_values(EXPERIMENT, point.parameters("digits"), values, data_checksum="")


@pytest.mark.usefixtures("_reported")
def test_runs_are_those_that_were_reported_of_these_rows_and_seeds():
    found = fitted_priors.points(EXPERIMENT, ["AE", "CE", "RAE"], [1, 2])
    reported = [point for point in REPORTED if point.objective != "ssim" and point.seed != 9]
    assert sorted(map(repr, found)) == sorted(map(repr, reported))
    # Under the very keys that the reported runs have.
    assert len(recorded(found, dataset="digits", experiment=EXPERIMENT)) == len(reported)


@pytest.mark.usefixtures("_reported")
def test_a_failed_run_is_left_out(monkeypatch):
    both = paper_rows.labelled(EXPERIMENT)
    both.loc[both["label"] == "AE", "state"] = "failed"
    monkeypatch.setattr(paper_rows, "labelled", lambda _: both)
    assert [p.objective for p in fitted_priors.points(EXPERIMENT, ["AE", "CE"], [1])] == [
        "bernoulli"
    ]


@pytest.mark.usefixtures("_reported")
def test_samples_of_every_prior_are_judged_by_the_test_images(monkeypatch):
    digits = datasets.load("digits")
    small = dataclasses.replace(digits, train=digits.train[:300], test=digits.test[:200])
    short = functools.partial(SecondStageVAE.fit, epochs=2, hidden=8)
    monkeypatch.setitem(quality.PRIORS, "second_stage", short)
    [wanted] = fitted_priors.points(EXPERIMENT, ["CE"], [1])
    fitted_priors.record([wanted], small, experiment=EXPERIMENT, extractor=None, samples=150)
    found = recorded([wanted], dataset="digits", experiment="fid_tables_toy_priors").iloc[0]
    assert fitted_priors.PRIORS == ("gmm10", "gmm100", "second_stage")
    assert {f"fd_{name}_random_conv" for name in fitted_priors.PRIORS} <= set(found.index)
    measure = functools.partial(
        quality.measure,
        extractor=None,
        against="test",  # not the images that it was trained on
        samples=150,
        priors=fitted_priors.PRIORS,
        others=(RandomConvolutions(small.train),),  # scaled on what is not judged
    )
    [by_hand] = run_all([wanted], dataset=small, experiment="by hand", measure=measure)
    for name, value in by_hand.metrics.items():
        assert found[name] == pytest.approx(value)
