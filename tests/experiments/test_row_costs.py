"""What the runs that a row lacks are expected to take."""

import dataclasses
import statistics

import pytest

from envae import datasets
from envae.experiments import paper_rows, records
from envae.experiments.row_costs import Costs
from envae.experiments.runs import Setting
from envae.metrics import extractor


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """Runs of two epochs, three in a search, recorded in a folder of the test's own, in process."""
    monkeypatch.setattr(paper_rows, "TRIED", 3)
    monkeypatch.setattr(paper_rows, "MORE", 0)
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    return paper_rows.Experiment(
        datasets.load("digits").subset(400), Setting(epochs=2), extractor.load("digits-cnn")[0],
        samples=100, seeds=(1, 2), second_stage=(), likelihood_draws=2,
    )  # fmt: skip


def test_a_run_takes_its_steps_and_what_measuring_took_elsewhere(experiment, monkeypatch):
    monkeypatch.setattr(paper_rows.Experiment, "step_seconds", lambda self, label: 0.5)
    timed = []
    left = Costs(experiment, timed.append).left("L1")
    assert (left.done, left.missing, left.failed) == (0, 5, 0)
    # 320 images in batches of 64 are searched with, 400 trained on.
    assert left.seconds == pytest.approx(0.5 * 2 * (3 * 5 + 2 * 7))
    assert left.without_measuring

    done = experiment.complete("CE")
    [curve] = {len(records.curves(experiment.name, key)["seconds"]) for key in done["key"]}
    assert curve == 2
    more = Costs(experiment, timed.append).left("L1")
    assert not more.without_measuring
    measuring = {
        name: statistics.median(
            run["seconds"] - sum(records.curves(name, run["key"])["seconds"])
            for run in records.load(name).to_dict("records")
        )
        for name in (experiment.search_name, experiment.name)
    }
    expected = 3 * measuring[experiment.search_name] + 2 * measuring[experiment.name]
    assert more.seconds - left.seconds == pytest.approx(expected)
    assert timed == ["L1", "L1"]


def test_it_is_told_where_measuring_lacks_in_the_search_alone(experiment, monkeypatch):
    monkeypatch.setattr(paper_rows.Experiment, "step_seconds", lambda self, label: 0.5)
    with monkeypatch.context() as patched:
        patched.setattr(records, "device_name", lambda: "another")
        experiment.search("CE", train=True)
    experiment.complete("CE")
    assert Costs(experiment, lambda label: None).left("L1").without_measuring


def test_a_run_takes_what_those_of_its_row_took_on_such_a_machine(experiment, monkeypatch):
    monkeypatch.setattr(paper_rows.Experiment, "step_seconds", lambda self, label: 1000.0)
    due = experiment.due("L1")
    due.run(due.points)
    due = experiment.due("L1")
    [took] = due.run(due.points[:1])["seconds"]
    left = Costs(experiment, pytest.fail).left("L1")
    assert (left.done, left.missing) == (4, 1)
    assert left.seconds == pytest.approx(took)
    assert not left.without_measuring
    with monkeypatch.context() as patched:
        patched.setattr(records, "device_name", lambda: "another")
        timed = []
        assert Costs(experiment, timed.append).left("L1").seconds == 1000.0 * 2 * 7
        assert timed == ["L1"]
    three = dataclasses.replace(experiment, seeds=(1, 2, 3))
    three.due("L1").run(three.due("L1").points[:1])
    in_the_mean = three.runs("L1", train=False)["seconds"].mean()
    assert Costs(three, pytest.fail).left("L1").seconds == pytest.approx(in_the_mean)


def test_nothing_is_timed_where_nothing_is_missing(experiment):
    experiment.complete("CE")
    left = Costs(experiment, pytest.fail).left("CE")
    assert (left.done, left.missing, left.seconds) == (5, 0, 0.0)


def test_a_record_has_its_curves_by_its_key(experiment):
    with pytest.raises(FileNotFoundError, match="no record abc"):
        records.curves(experiment.name, "abc")
