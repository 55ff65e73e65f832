"""What a run of a sweep is recorded under, and what is left of a sweep that was stopped."""

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time

import joblib
import numpy as np
import pytest
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from safetensors import safe_open

from envae import _checkout, datasets, networks
from envae.datasets import files
from envae.experiments import batched, fenvae, noise_recovery, records, runs
from envae.experiments.runs import Point, Setting, Start
from envae.objectives import base, objective
from envae.training import fit

RECORDS = sorted((_checkout.root() / "data" / "runs" / "fid_digits").glob("*.json"))
DIGITS = datasets.load("digits")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_committed_records_are_found_under_the_points_that_wrote_them(path):
    told = json.loads(path.read_text())["parameters"]
    fields = {field.name for field in dataclasses.fields(Setting)}
    setting = Setting(**{name: told[name] for name in fields & set(told)})
    start = Start(**told["start"]) if "start" in told else None
    point = Point(told["objective"], told["options"], told["seed"], setting, start)
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


def test_a_killed_sweep_goes_on_and_repeats_neither_points_nor_whole_epochs(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    folder = tmp_path / "try"
    process = subprocess.Popen([sys.executable, "-c", SWEEP], start_new_session=True)
    deadline = time.monotonic() + 300
    while not (records_then := list(folder.glob("*.json"))) or not any(
        len(epochs_in(file)) >= 3 for file in folder.glob("*.checkpoint")
    ):
        assert process.poll() is None, "the sweep ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (checkpoint,) = folder.glob("*.checkpoint")
    before = epochs_in(checkpoint)
    (first,) = records_then
    assert list(folder.glob("*.json")) == [first]
    assert len(before) < EPOCHS
    written = first.stat().st_mtime_ns

    exec(SWEEP, {})
    assert first.stat().st_mtime_ns == written
    (second,) = set(folder.glob("*.json")) - {first}
    curves = json.loads(second.read_text())["curves"]
    # The times of the epochs before the kill are in the record: they were not run again.
    assert curves["seconds"][: len(before)] == [round(row["seconds"], 4) for row in before]
    assert len(curves["seconds"]) == EPOCHS
    assert not list(folder.glob("*.checkpoint"))


@pytest.mark.parametrize("ending", ["checkpoint", "start"])
@pytest.mark.parametrize("content", ["nothing", "of another run"])
def test_a_checkpoint_that_cannot_be_gone_on_from_is_put_aside_and_the_run_begun_anew(
    tmp_path, monkeypatch, ending, content
):
    """Were it a failure, the run's value would count as tried in a search."""
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    part = DIGITS.subset(64)
    point, other = (
        Point(
            "envae", {"samples": 2}, 0, Setting("linear", 2, epochs=3), Start("l2", {"alpha": a}, 1)
        )
        for a in (0.1, 0.2)
    )
    key = records.key("try", point.parameters(part.name))
    damaged = tmp_path / "try" / f"{key}.{ending}"
    damaged.parent.mkdir()
    if content == "nothing":
        damaged.touch()
    else:
        runs.train(other, part, checkpoint=tmp_path / "of.checkpoint")
        (tmp_path / f"of.{ending}").rename(damaged)
    with pytest.warns(UserWarning, match=f"put aside as {key}.{ending}.unusable, and begun anew"):
        trained, _, history = runs.train(point, part, checkpoint=damaged.with_suffix(".checkpoint"))
    assert len(history) == 2
    [expected] = [vae for vae, *_ in [runs.train(point, part)]]
    for mine, its in zip(trained.parameters(), expected.parameters(), strict=True):
        assert torch.equal(mine, its)
    assert damaged.with_name(f"{key}.{ending}.unusable").exists()
    runs.run(point, dataset=part, experiment="try", measure=weights)
    assert not list(damaged.parent.glob(f"{key}*.unusable"))


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


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 9999, b'{"error": "\xe4"}'])
def test_a_broken_note_of_a_failure_is_one_line_that_names_it(tmp_path, monkeypatch, content):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    [point] = runs.points([("l2", {})], (0,), Setting(epochs=1))
    key = records.key("try", point.parameters("digits"))
    (tmp_path / "try").mkdir()
    (tmp_path / "try" / f"{key}.failed").write_bytes(content)
    for read in (
        lambda: runs.progress([point], dataset="digits", experiment="try"),
        lambda: runs.failures("try"),
    ):
        with pytest.raises(ValueError, match=rf"{key}\.failed is not a whole .*: remove it"):
            read()


class Killed(BaseException):
    """What ends a process, not caught by anything in it."""


def processes(calls, *, jobs):
    """Calls in this process instead of others, one of which may die."""
    begun = []
    try:
        for call in calls:
            begun.append(call)
            if len(begun) == jobs:
                for function, given, named in begun:
                    function(*given, **named)
                begun.clear()
        for function, given, named in begun:
            function(*given, **named)
    except Killed:
        raise TerminatedWorkerError("a worker process was terminated") from None


def dies_of_seed_2(vae, minimized, dataset, seed):
    if seed == 2:
        raise Killed
    return {"answer": (42.0 / seed, "none")}


@pytest.mark.parametrize("network", ["linear", "mlp64"])  # by themselves, and as stacks
def test_a_process_that_is_killed_loses_its_own_point_alone(tmp_path, monkeypatch, network):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setattr("envae.experiments.runs._record.side_by_side", processes)
    points = runs.points([("l2", {})], (1, 2, 3, 4, 5, 0), Setting(network, 2, epochs=1))
    told = {"dataset": DIGITS.subset(64), "experiment": "try", "jobs": 2}
    table = runs.complete(points, measure=dies_of_seed_2, **told)
    assert table["state"].tolist() == ["done", "failed", "done", "done", "done", "failed"]
    assert table["error"][1] == "TerminatedWorkerError: a worker process was terminated"
    assert table["error"][5] == "ZeroDivisionError: float division by zero"
    table = runs.complete(points, measure=lambda *_: {"answer": (1.0, "none")}, **told)
    assert (table["state"] == "done").all()
    assert not runs.failures("try").size


@pytest.mark.parametrize("call", [runs.complete, runs.run_stack])
def test_a_full_disk_is_told_before_anything_is_trained(tmp_path, monkeypatch, call):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setattr(runs._record, "_trained", None)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match=f"File too large: '{tmp_path}/try'"):
            call([Point("l2", {}, 0)], dataset=DIGITS, experiment="try", measure=None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob("*/*"))


def test_failures_that_find_no_room_for_their_note_do_not_end_the_sweep(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fills_the_disk(vae, minimized, dataset, seed):
        resource.setrlimit(resource.RLIMIT_FSIZE, (10 if seed == 0 else soft, hard))
        return {"answer": (42.0, "none")}

    points = runs.points([("l2", {})], (0, 1), Setting("mlp64", 2, epochs=1))
    told = {"dataset": DIGITS.subset(64), "experiment": "try", "measure": fills_the_disk}
    try:
        assert runs.complete(points, **told)["state"].tolist() == ["missing", "done"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.suffix for path in (tmp_path / "try").iterdir()] == [".json"]


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


# --- warm starts ------------------------------------------------------------------------------


def test_a_warm_start_is_two_calls_of_fit(tmp_path):
    part, setting = DIGITS.subset(64), Setting("mlp64", 4, epochs=5)
    start = Start("l2", {"alpha": 0.1}, 2)
    point = Point("envae", {"samples": 2}, 3, setting, start)
    vae, minimized = Point("envae", {"samples": 2}, 3, setting).build(part.image_shape)
    fit(vae, objective("l2", alpha=0.1), part.train, epochs=2, seed=3, progress=False)
    fit(vae, minimized, part.train, epochs=3, seed=3, progress=False)
    trained, _, history = runs.train(point, part, checkpoint=tmp_path / "run.checkpoint")
    assert len(history) == 3
    for mine, its in zip(trained.parameters(), vae.parameters(), strict=True):
        assert torch.equal(mine, its)
    [(stacked, *_)] = runs.train_stack([point], part)
    for mine, its in zip(stacked.parameters(), vae.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=1e-4)


def test_of_a_warm_start_nothing_is_left_beside_its_record(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    point = Point("envae", {}, 0, Setting("linear", 2, epochs=2), Start("l2", {}, 1))
    runs.run(point, dataset=DIGITS.subset(64), experiment="try", measure=weights)
    assert [path.suffix for path in tmp_path.glob("try/*")] == [".json"]


def test_a_start_is_recorded_where_there_is_one():
    start = Start("l2", {"alpha": 0.1}, 20)
    with_start = Point("fenvae", {}, 0, start=start).parameters("digits")
    assert with_start.pop("start") == {"objective": "l2", "options": {"alpha": 0.1}, "epochs": 20}
    assert with_start == Point("fenvae", {}, 0).parameters("digits")


@pytest.mark.parametrize("epochs", [5, 6])
def test_a_start_leaves_epochs_for_the_objective(epochs):
    with pytest.raises(ValueError, match=f"from 1 to 4 of the setting's 5 .* received {epochs}"):
        Point("l2", {}, 0, Setting(epochs=5), Start("l2", {}, epochs))


def test_a_start_without_epochs_is_an_error():
    with pytest.raises(ValueError, match="epochs must be an integer from 1 up, received 0"):
        Start("l2", {}, 0)


@pytest.mark.parametrize("epochs", [1, 4])
def test_what_a_start_leaves_is_the_objectives_own(epochs):
    setting = Setting(epochs=5)
    assert Point("l2", {}, 0, setting, Start("l2", {}, epochs)).own_epochs == 5 - epochs
    assert Point("l2", {}, 0, setting).own_epochs == 5


def test_a_point_sees_the_same_images_in_every_epoch_and_tells_a_posterior_if_it_has_one():
    point = Point("l2", {"alpha": 0.1}, 3, Setting("mlp64", 2, 5, 32, 0.01))
    assert not point.redraws
    assert point.data(DIGITS, 4) is DIGITS
    told = {
        "network": "mlp64", "latent_dim": 2, "epochs": 5, "batch_size": 32, "lr": 0.01,
        "objective": "l2", "options": {"alpha": 0.1}, "seed": 3, "dataset": "any",
    }  # fmt: skip
    assert point.parameters("any") == told
    fixed = dataclasses.replace(point, setting=dataclasses.replace(point.setting, posterior=0.5))
    assert fixed.parameters("any") == told | {"posterior": 0.5}


@pytest.mark.parametrize("name", ["latent_dim", "epochs", "batch_size"])
@pytest.mark.parametrize("value", [0, True, 2.0])
def test_what_a_setting_counts_is_an_integer_from_1_up(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer from 1 up, received {value}"):
        Setting(**{name: value})


def test_a_model_is_built_as_the_point_and_its_objective_say():
    """With a head, a posterior and a seed of its own; in three channels."""
    point = Point("student_t", {"alpha": 0.2}, 3, Setting("mlp", 4, posterior=0.25))
    vae, minimized = point.build((3, 8, 8))
    assert (minimized.name, minimized.kl_weight) == ("student_t", 0.2)
    expected = networks.build(
        "mlp", (3, 8, 8), 4, objective=objective("student_t"), posterior=0.25, seed=3
    )
    found, weights = vae.state_dict(), expected.state_dict()
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_points_are_every_row_from_every_seed_in_their_order():
    setting = Setting("mlp64", 2)
    rows = [("l2", {"alpha": 0.1}), ("l1", {})]
    assert runs.points(iter(rows), iter((4, 5)), setting) == [
        Point(name, options, seed, setting) for name, options in rows for seed in (4, 5)
    ]


def test_seeds_may_be_those_of_numpy():
    point = Point("l2", {}, np.arange(3)[2], Setting("mlp64", 2, epochs=1))
    assert point == dataclasses.replace(point, seed=2)
    assert type(point.parameters("digits")["seed"]) is int
    vae, minimized = point.build((1, 8, 8))
    fit(vae, minimized, DIGITS.train[:64], epochs=1, seed=np.int32(7), progress=False)


@pytest.mark.parametrize("network", ["linear", "mlp64"])  # by themselves, and as a stack
def test_a_points_seed_reaches_its_weights_training_measure_and_pictures(
    tmp_path, monkeypatch, network
):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    part, setting, called = DIGITS.subset(150), Setting(network, 2, epochs=2), []

    def size(vae):
        return sum(weight.abs().sum().item() for weight in vae.parameters())

    def measure(vae, minimized, dataset, seed):
        called.append(("measure", seed))
        return {"size": (size(vae), "none")}

    def draw(vae, minimized, dataset, seed):
        called.append(("draw", seed))
        return {}

    table = runs.complete(
        runs.points([("l2", {})], (1, 2), setting),
        dataset=part, experiment="try", measure=measure, draw=draw, jobs=1,
    )  # fmt: skip
    assert sorted(called) == [(what, seed) for what in ("draw", "measure") for seed in (1, 2)]

    def fitted(weights, order):
        vae = networks.build(network, (1, 8, 8), 2, objective=objective("l2"), seed=weights)
        before = size(vae)
        fit(vae, objective("l2"), part.train, epochs=2, seed=order, progress=False)
        return size(vae) - before, size(vae)

    for seed, found in zip((1, 2), table["size"], strict=True):
        change, expected = fitted(seed, seed)
        assert found == pytest.approx(expected, abs=1e-4 * abs(change))
        for others in ((seed, 0), (0, seed)):
            assert found != pytest.approx(fitted(*others)[1], abs=1e-3 * abs(change))


# --- stacks -----------------------------------------------------------------------------------


def test_points_of_one_structure_are_a_stack():
    small, conv = Setting("mlp64"), Setting("conv")
    points = [
        Point("envae", {"alpha": 0.1}, 0, small),
        Point("envae", {"alpha": 0.3}, 1, small),
        Point("envae", {"alpha": 0.1, "samples": 3}, 0, small),
        Point("l2", {"alpha": 0.1}, 0, small),
        Point("envae", {"alpha": 0.1}, 0, conv),
        Point("envae", {"alpha": 0.1}, 1, conv),
        Point("envae", {"alpha": 0.1}, 2, dataclasses.replace(small, lr=1e-2)),
        Point("envae", {"alpha": 0.1}, 2, dataclasses.replace(small, posterior=0.1)),
        Point("envae", {"alpha": 0.1}, 3, dataclasses.replace(small, posterior=0.5)),
        Point("envae", {"alpha": 0.2}, 3, small, Start("l2", {}, 5)),
    ]
    assert runs.stacks(points, jobs=1) == [[0, 1], [2], [3], [4], [5], [6], [7, 8], [9]]


def test_stacks_are_as_many_as_processes_and_not_too_large(monkeypatch):
    points = [Point("l2", {}, seed, Setting("mlp64")) for seed in range(70)]
    for jobs, sizes in ((1, [24, 23, 23]), (2, [24, 23, 23]), (8, [9, 9, 9, 9, 9, 9, 8, 8])):
        groups = runs.stacks(points, jobs=jobs)
        assert [len(group) for group in groups] == sizes
        assert sorted(index for group in groups for index in group) == list(range(70))
    assert runs.stacks([], jobs=2) == []
    monkeypatch.setattr(joblib, "effective_n_jobs", {-1: 7}.get)  # all of them
    assert len(runs.stacks(points)) == 7


def test_outcomes_come_in_the_order_of_the_points(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    setting = Setting("mlp64", 2, epochs=1)
    points = [
        Point(name, {}, seed, setting) for seed in range(2) for name in ("l2", "iso_i", "rae_gp")
    ]
    outcomes = runs.run_all(
        points,
        dataset=DIGITS.subset(64),
        experiment="try",
        measure=lambda vae, minimized, dataset, seed: {"given": (seed, "none")},
    )
    assert [outcome.point for outcome in outcomes] == points
    assert [outcome.objective.name for outcome in outcomes] == ["l2", "iso_i", "rae_gp"] * 2
    assert [outcome.metrics["given"] for outcome in outcomes] == [0, 0, 0, 1, 1, 1]
    assert len(list(tmp_path.glob("try/*.json"))) == 6


def test_what_cannot_be_stacked_is_trained_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    # A variant of FEnVAE that freezes the decoder for a moment.
    setting = Setting("mlp64", 2, epochs=1)
    points = [fenvae.Case("stop_decoder", {}, seed, setting) for seed in range(2)]
    assert runs.stacks(points, jobs=1) == [[0, 1]]
    with pytest.raises(batched.NotTogether):
        runs.train_stack(points, DIGITS.subset(64))
    told = {"dataset": DIGITS.subset(64), "experiment": "try", "measure": lambda *_: {}}
    assert [outcome.point for outcome in runs.run_stack(points, **told)] == points


def test_one_of_a_stack_that_is_lost_leaves_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    points = [Point("l2", {"sigma2": value}, 0, Setting("mlp64", 2, 1)) for value in (1.0, 1e-39)]
    table = runs.complete(
        points, dataset=DIGITS.subset(64), experiment="try", measure=lambda *_: {}
    )
    assert table["state"].tolist() == ["done", "failed"]
    assert "the loss is not finite at epoch 1" in table["error"][1]


def test_a_lost_noisy_run_is_a_result(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    noises = [noise_recovery.Noise("uniform", 0.1, 1)]
    setting = Setting("mlp64", 2, epochs=2)
    points = noise_recovery.group("l2", {"sigma2": 1e-39}, noises, setting)
    [[outcome]] = noise_recovery.train_all([points], clean=DIGITS.subset(64), experiment="try")
    assert outcome.metrics == {"diverged_epoch": 1}


# --- kept models ------------------------------------------------------------------------------


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Arguments of a run whose model is kept."""
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ENVAE_MODELS", str(tmp_path / "models"))
    return {"dataset": DIGITS.subset(64), "experiment": "try", "measure": weights}


def weights(vae, minimized, dataset, seed):
    total = sum(value.double().sum() for value in [*vae.parameters(), *minimized.parameters()])
    return {"weights": (total.item(), "none")}


POINT = Point("l2", {}, 0, Setting("mlp64", 2, epochs=1))


def training_fails(*_, **__):
    raise AssertionError("trained again")


@pytest.mark.parametrize("network", ["mlp64", "conv"])
def test_a_kept_model_is_not_trained_again(told, monkeypatch, network):
    setting = Setting(network, 2, epochs=1)
    options = {"estimate": "trainable"}
    points = [Point("diag_i", options, seed, setting) for seed in range(2)]
    first = runs.run_all(points, jobs=1, **told)
    for name in ("train", "train_stack"):
        monkeypatch.setattr(f"envae.experiments.runs._record.{name}", training_fails)
    again = runs.run_all(points, jobs=1, **told | {"experiment": "of another chapter"})
    for one, other in zip(first, again, strict=True):
        assert other.metrics == one.metrics
        assert other.history.equals(one.history)
        assert not other.vae.training
    with pytest.raises(AssertionError, match="trained again"):
        runs.run(Point("diag_i", options, 2, setting), **told)
    with pytest.raises(AssertionError, match="trained again"):
        runs.run(points[0], **told | {"dataset": DIGITS.subset(65)})
    monkeypatch.setattr("envae.experiments.runs._kept._code", lambda: "other code")
    with pytest.raises(AssertionError, match="trained again"):
        runs.run(points[0], **told)


def test_models_of_other_code_are_removed_after_a_day_and_nothing_else_is(told, tmp_path):
    folder = tmp_path / "models"
    names = ["envae-models-older", "envae-models-other", "my_thesis"]
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "model.safetensors").touch()
    for name, hours in (("envae-models-older", 25), ("envae-models-other", 23), ("my_thesis", 25)):
        os.utime(folder / name, times=(time.time() - 3600 * hours,) * 2)
    runs.run(POINT, **told)
    assert [(folder / name).exists() for name in names] == [False, True, True]


@pytest.mark.parametrize("damage", [b"", None])
def test_a_damaged_kept_model_is_trained_and_kept_again(told, tmp_path, damage):
    first = runs.run(POINT, **told)
    [path] = (tmp_path / "models").glob("*/*.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if damage is None else damage)
    assert runs.run(POINT, **told).metrics == first.metrics
    assert files.read_tensors(path) is not None


def test_a_folder_that_cannot_be_written_keeps_nothing(told, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ENVAE_MODELS", str(tmp_path / "file"))
    assert runs.run(POINT, **told).metrics


def test_an_objective_of_ones_own_is_not_kept(told, tmp_path):
    class OwnPoint(Point):
        pass

    runs.run(OwnPoint("l2", {}, 0, Setting("mlp64", 2, epochs=1)), **told)
    assert not (tmp_path / "models").exists()


def test_a_start_from_an_objective_of_ones_own_is_not_kept(told, tmp_path, monkeypatch):
    class Own(type(objective("l2"))):
        pass

    monkeypatch.setattr(Own, "__module__", "mine")
    monkeypatch.setitem(base._REGISTRY, "own", Own)
    setting = Setting("mlp64", 2, epochs=2)
    runs.run(Point("l1", {}, 0, setting, Start("own", {}, epochs=1)), **told)
    assert not (tmp_path / "models").exists()


def test_without_a_folder_no_model_is_kept(told, tmp_path, monkeypatch):
    monkeypatch.delenv("ENVAE_MODELS")
    runs.run(POINT, **told)
    assert not (tmp_path / "models").exists()


def test_noisy_images_have_kept_models_too(told, monkeypatch):
    noises = [noise_recovery.Noise("uniform", 0.1, seed) for seed in (1, 2)]
    points = noise_recovery.group("iso_i", {}, noises, Setting("mlp64", 2, epochs=1))
    first = runs.run_all(points, jobs=1, **told)
    monkeypatch.setattr("envae.experiments.runs._record.train_stack", training_fails)
    again = runs.run_all(points, jobs=1, **told)
    assert [one.metrics for one in again] == [one.metrics for one in first]


def test_numpys_integers_are_recorded_as_numbers():
    setting = Setting("mlp64", np.int64(4), np.int32(3), np.int64(32))
    start = Start("l2", {}, np.int64(1))
    point = Point("envae", {}, np.int64(1), setting, start)
    same = Point("envae", {}, 1, Setting("mlp64", 4, 3, 32), Start("l2", {}, 1))
    told = records.key("toy", point.parameters("toy"))
    assert told == records.key("toy", same.parameters("toy"))
    for wrong in (lambda: Setting(epochs=1.0), lambda: Start("l2", {}, 1.0)):
        with pytest.raises(ValueError, match=r"epochs must be an integer from 1 up, received 1\.0"):
            wrong()
