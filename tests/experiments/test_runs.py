"""What a run of a sweep is recorded under, and what is left of a sweep that was stopped."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open

from envae import _checkout, datasets
from envae.experiments import records, runs
from envae.experiments.runs import Point, Setting

RECORDS = sorted((_checkout.root() / "data" / "runs" / "fid_digits").glob("*.json"))
DIGITS = datasets.load("digits")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_committed_records_are_found_under_the_points_that_wrote_them(path):
    told = json.loads(path.read_text())["parameters"]
    fields = {field.name for field in dataclasses.fields(Setting)}
    setting = Setting(**{name: told[name] for name in fields & set(told)})
    point = Point(told["objective"], told["options"], told["seed"], setting)
    assert point.parameters("digits") == told
    assert records.key("fid_digits", told) == path.stem


def test_every_committed_record_has_the_name_of_its_parameters():
    """A record that was renamed or changed by hand would be run again in silence."""
    folder = _checkout.root() / "data" / "runs"
    for path in [*folder.glob("*/*.json"), *folder.glob("*/*.failed")]:
        told = json.loads(path.read_text())["parameters"]
        assert records.key(path.parent.name, told) == path.stem, path


def test_a_posterior_other_than_the_networks_own_is_told_and_built(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    outcome = runs.run(
        Point("l2", {}, 0, Setting(epochs=1, posterior=0.25)),
        dataset=DIGITS.subset(64),
        experiment="try",
        measure=lambda vae, objective, dataset, seed: {"answer": (42.0, "none")},
    )
    assert outcome.parameters["posterior"] == 0.25
    assert outcome.parameters["dataset"] == "digits-64"
    stddev = outcome.vae.encode(DIGITS.test[:3]).stddev
    torch.testing.assert_close(stddev, torch.full((3, 16), 0.5))


EPOCHS = 60
SWEEP = f"""
from envae import datasets
from envae.experiments.runs import Setting, complete, points

complete(
    points([("l2", {{}})], (0, 1), Setting("linear", 2, epochs={EPOCHS}, batch_size=16)),
    dataset=datasets.load("digits").subset(256),
    experiment="try",
    measure=lambda vae, objective, dataset, seed: {{"answer": (42.0, "none")}},
)
"""


def epochs_in(checkpoint):
    with safe_open(checkpoint, "pt") as file:
        return json.loads(file.metadata()["history"])


def test_a_killed_sweep_goes_on_and_repeats_neither_points_nor_whole_epochs(tmp_path):
    environment = os.environ | {
        "ENVAE_RUNS": str(tmp_path), "LOKY_MAX_CPU_COUNT": "1", "OMP_NUM_THREADS": "1"
    }  # fmt: skip
    folder = tmp_path / "try"
    process = subprocess.Popen(
        [sys.executable, "-c", SWEEP], env=environment, start_new_session=True
    )
    deadline = time.monotonic() + 300
    while not (records_then := list(folder.glob("*.json"))) or not any(
        len(epochs_in(file)) >= 3 for file in folder.glob("*.checkpoint")
    ):
        assert process.poll() is None, "the sweep ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (checkpoint,) = folder.glob("*.checkpoint")
    before = epochs_in(checkpoint)
    (first,) = records_then
    assert list(folder.glob("*.json")) == [first]
    assert len(before) < EPOCHS
    written = first.stat().st_mtime_ns

    subprocess.run([sys.executable, "-c", SWEEP], env=environment, check=True)
    assert first.stat().st_mtime_ns == written
    (second,) = set(folder.glob("*.json")) - {first}
    curves = json.loads(second.read_text())["curves"]
    # The times of the epochs before the kill are in the record: they were not run again.
    assert curves["seconds"][: len(before)] == [round(row["seconds"], 4) for row in before]
    assert len(curves["seconds"]) == EPOCHS
    assert not list(folder.glob("*.checkpoint"))


def test_a_failed_point_is_listed_with_its_error_and_tried_again(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    points = runs.points([("l2", {})], (0, 1), Setting(epochs=1))
    told = {"dataset": DIGITS.subset(64), "experiment": "try"}

    def fails_for_seed_0(vae, objective, dataset, seed):
        return {"answer": (1 / seed, "none")}

    before = runs.progress(points, dataset="digits-64", experiment="try")
    assert before["state"].tolist() == ["missing", "missing"]
    assert runs.progress([], dataset="digits-64", experiment="try")["state"].empty
    table = runs.complete(points, measure=fails_for_seed_0, **told)
    assert table["state"].tolist() == ["failed", "done"]
    assert table["error"].tolist() == ["ZeroDivisionError: division by zero", ""]
    table = runs.complete(points, measure=lambda *_: {"answer": (42.0, "none")}, **told)
    assert table["state"].tolist() == ["done", "done"]
    assert table["answer"].tolist() == [42, 1]
    assert {path.suffix for path in (tmp_path / "try").iterdir()} == {".json"}


def test_a_run_without_a_finite_loss_is_listed_too(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    table = runs.complete(
        [Point("l2", {"sigma2": 1e-39}, 0, Setting(epochs=1, lr=1e3))],
        dataset=DIGITS.subset(64),
        experiment="try",
        measure=lambda *_: {},
    )
    assert table["state"].tolist() == ["failed"]
    assert "the loss is not finite at epoch 1" in table["error"][0]
