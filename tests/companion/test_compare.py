"""`envae compare`: from a folder of anybody's images to one page."""

import dataclasses
import json
import re
import sys
import time
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from envae import cli, datasets
from envae.companion import compare, notebook_run
from envae.experiments import kept_pictures, paper_rows
from envae.experiments.runs import Setting
from envae.metrics import frechet
from envae.metrics.random_convolutions import RandomConvolutions


def write(folder, count, *, colour=False):
    """Discs of random place, of two classes by their size."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:16, :16]
    for index in range(count):
        y, x = generator.uniform(5, 11, 2)
        disc = ((rows - y) ** 2 + (columns - x) ** 2 < (4 + 12 * (index % 2))) * 255
        tint = generator.uniform(0.5, 1, 3) if colour else np.ones(3)
        place = folder / f"class {index % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((disc[..., None] * tint).astype(np.uint8)).save(place / f"{index}.png")
    return folder


@pytest.fixture
def records(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # in this process: others take seconds to start
    return tmp_path / "runs"


def test_images_without_colour_have_one_channel_and_few_are_split_anew(tmp_path):
    grey = compare.load(write(tmp_path / "grey", 160), 16)
    assert grey.image_shape == (1, 16, 16)
    assert (len(grey.train), len(grey.test)) == (128, 32)
    colour = compare.load(write(tmp_path / "colour", 160, colour=True), 16)
    assert colour.image_shape == (3, 16, 16)
    both = torch.cat([colour.train, colour.test]).flatten(1)
    assert len(both.unique(dim=0)) == 160  # each of them is somewhere
    assert compare.load(tmp_path / "grey", 8).name != grey.name


def test_grey_images_of_both_splits_keep_their_places(monkeypatch):
    parts = {
        name: torch.rand(count, 1, 16, 16).expand(-1, 3, -1, -1)
        for name, count in (("train", 500), ("test", 100))
    }
    labels = {f"{name}_labels": torch.zeros(len(part)) for name, part in parts.items()}
    given = datasets.Dataset("imagefolder", **parts, **labels, place="")
    monkeypatch.setattr(datasets, "load", lambda *_, **__: given)
    found = compare.load("anywhere", 16)
    assert found.name == "imagefolder-grey"
    assert torch.equal(found.train, parts["train"][:, 1:2])
    assert torch.equal(found.test, parts["test"][:, 1:2])


@pytest.mark.parametrize("test", [96, 97])
def test_a_fifth_of_all_images_is_the_test_where_there_are_too_few_of_it(monkeypatch, test):
    """In a random order that is the same every time: records name the split and no image."""
    count = 400 + test
    images = torch.arange(count * 64).reshape(count, 1, 8, 8) / (count * 64)
    labels = torch.arange(count)
    train, few = images.split([400, test])
    given = datasets.Dataset("discs", train, labels[:400], few, labels[400:], place="there")
    monkeypatch.setattr(datasets, "load", lambda *_, **__: given)
    found = compare.load("anywhere", 8)
    if test == 97:  # more than features
        assert (found.name, len(found.train), len(found.test)) == ("discs-grey", 400, 97)
        return
    order = torch.randperm(496, generator=torch.Generator().manual_seed(0))
    assert (found.name, found.place) == ("discs-grey-fifth", "there")
    assert torch.equal(found.test_labels, order[:99])
    assert torch.equal(found.train_labels, order[99:])
    for part, of in ((found.train, found.train_labels), (found.test, found.test_labels)):
        assert torch.equal(part, images[of])


@pytest.mark.parametrize(
    ("train", "test", "split"),
    [
        (130, 26, (125, 31)),
        (125, 97, (125, 97)),
        (130, 25, "155 images, 124 of them to train on: a comparison needs 156 or more, and 125 "),
        (124, 97, "221 images, 124 of them to train on: a comparison needs 156 or more, and 125 "),
    ],
)
def test_as_few_images_as_a_comparison_needs_are_enough(monkeypatch, train, test, split):
    """A fifth of those to train on is more than features; a fifth of all is the test, if few."""
    images = torch.rand(train + test, 1, 8, 8).split([train, test])
    labels = torch.zeros(train + test).split([train, test])
    given = datasets.Dataset("discs", images[0], labels[0], images[1], labels[1], place="")
    monkeypatch.setattr(datasets, "load", lambda *_, **__: given)
    if isinstance(split, str):
        with pytest.raises(ValueError, match=split):
            compare.load("anywhere", 8)
        return
    found = compare.load("anywhere", 8)
    assert (len(found.train), len(found.test)) == split
    held_out = paper_rows.held_out(found).test
    network = RandomConvolutions(found.train, few=True)
    assert frechet.fd(network, found.train, held_out) > 0


@pytest.mark.parametrize("coloured", ["train", "test"])
def test_images_have_three_channels_where_one_split_has_colour(monkeypatch, coloured):
    parts = {name: torch.rand(500, 1, 8, 8).expand(-1, 3, -1, -1) for name in ("train", "test")}
    parts[coloured] = torch.rand(500, 3, 8, 8)
    labels = {f"{name}_labels": torch.zeros(500) for name in parts}
    given = datasets.Dataset("imagefolder", **parts, **labels, place="")
    monkeypatch.setattr(datasets, "load", lambda *_, **__: given)
    assert compare.load("anywhere", 8) is given


def comparison_of(train, test=200, channels=1, found=(7, 8)):
    """A comparison on so many random images, without a plan."""
    comparison = object.__new__(compare.Comparison)
    images = [torch.rand(count, channels, 8, 8) for count in (train, test)]
    labels = [torch.zeros(count, dtype=torch.long) for count in (train, test)]
    comparison._dataset = datasets.Dataset(
        "discs", images[0], labels[0], images[1], labels[1], place=""
    )
    comparison.found = found
    return comparison


@pytest.mark.parametrize(
    ("channels", "train", "kept", "latent_dim", "batch_size", "samples"),
    [(1, 2400, 2400, 16, 64, 2000), (1, 2400, 2000, 16, 64, 2000), (3, 2400, 1999, 32, 32, 1999),
     (3, 500, 500, 32, 32, 500)],
)  # fmt: skip
def test_what_every_row_shares_goes_by_the_images_that_are_kept(
    channels, train, kept, latent_dim, batch_size, samples
):
    comparison = comparison_of(train, channels=channels)
    experiment = comparison._experiment("conv", 9, kept)
    assert len(experiment.dataset.train) == kept
    assert experiment.dataset.name == ("discs" if kept == train else f"discs-{kept}")
    assert experiment.setting == Setting("conv", latent_dim, 9, batch_size, 1e-3)
    assert experiment.samples == samples
    # A search, of three values and no more, from one seed; then three others. Nothing is fitted
    # or computed that the page does not show.
    assert (experiment.tried, experiment.more, experiment.seeds) == (3, 0, (1, 2, 3))
    assert (experiment.priors, experiment.second_stage) == (("gmm10",), ())
    assert (experiment.likelihood_draws, experiment.random_space) == (0, False)
    assert experiment.name == f"compare_{experiment.dataset.name}"
    assert experiment.draw is kept_pictures.draw


@pytest.mark.parametrize(("train", "test", "few"), [(485, 97, False), (484, 97, True),
                                                   (485, 96, True)])  # fmt: skip
def test_fewer_features_are_measured_where_the_smaller_of_two_sets_has_too_few_images(
    train, test, few
):
    """A fifth of the training images, which a search holds out, or the test images."""
    comparison = comparison_of(train, test)
    network = comparison._experiment("mlp", 1, train).extractor
    images = comparison._dataset.train
    expected = RandomConvolutions(images, few=few)
    assert network.name == expected.name == ("random-conv-few" if few else "random-conv")
    assert torch.equal(network.features(images), expected.features(images))


@pytest.mark.parametrize(("gpu", "network"), [(False, "mlp"), (True, "conv")])
def test_a_plan_is_made_of_steps_that_as_many_processes_take_at_once(monkeypatch, gpu, network):
    """Three runs of each kind in two processes, one after the other: as two runs of each.

    A search trains on 320 images, 10 steps an epoch, the others on 400, 13 steps: 46 in all.
    """
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(compare.joblib, "effective_n_jobs", lambda jobs: {-1: 2}[jobs])
    monkeypatch.setattr(
        compare, "side_by_side", lambda calls: [call(*a, **k) for call, a, k in calls]
    )
    took = {"L2": iter([1.0, 3.0]), "AE": iter([0.5, 0.5])}
    monkeypatch.setattr(
        paper_rows.Experiment, "step_seconds", lambda self, label: next(took[label])
    )
    comparison = comparison_of(400)
    comparison.rows, comparison._seconds, comparison._begun = ("L2", "AE"), 1000.0, 10.0
    monkeypatch.setattr(compare.time, "monotonic", lambda: 110.0)
    assert comparison._planned() == {
        "network": network, "step": {"L2": 2.0, "AE": 0.5}, "seconds": {"L2": 92.0, "AE": 23.0},
        "epochs": 5, "images": 400,  # 0.7 of 900 s
    }  # fmt: skip


def test_a_comparison_measures_test_images_in_a_random_order_and_follows_its_plan(
    records, monkeypatch
):
    given = comparison_of(300, 60)._dataset
    given = dataclasses.replace(given, place="there", test_labels=torch.arange(60))
    loaded = []
    monkeypatch.setattr(compare, "load", lambda *told: loaded.append(told) or given)
    records.mkdir()
    plan = {"network": "mlp64", "epochs": 7, "images": 250}
    (records / "plan-discs-2.5.json").write_text(json.dumps(plan))
    comparison = compare.Comparison("folder", minutes=2.5, size=8)
    assert loaded == [("folder", 8)]
    assert comparison.rows == tuple(compare.COMPARED)
    assert (comparison._seconds, comparison._pace, comparison._beside) == (150.0, 0.0, 0.0)
    assert (comparison.place, comparison.found) == ("there", (300, 60))
    setting, dataset = comparison.experiment.setting, comparison.experiment.dataset
    assert (setting.network, setting.epochs, len(dataset.train)) == ("mlp64", 7, 250)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    assert torch.equal(dataset.test_labels, order)
    assert torch.equal(dataset.test, given.test[order])


@pytest.mark.parametrize(("epochs", "told"), [(1, "1 epoch, "), (30, "30 epochs, ")])
def test_it_says_what_was_found_and_what_is_trained_on(epochs, told):
    comparison = comparison_of(300, channels=3, found=(400, 31))
    comparison._follow({"network": "conv", "epochs": epochs, "images": 250})
    assert str(comparison) == (
        "400 training and 31 test images of 3 x 8 x 8; 250 trained on, "
        f"{told}network conv with a code of 32; for each loss 3 values of its one free number, "
        "the best of them from 3 seeds"
    )


@pytest.mark.parametrize(
    ("seconds", "left", "epochs", "images"),
    [
        (0.1, 1e6, 2500, 100),  # 10,000 steps, 4 in an epoch
        (100.0, 5000.0, 50, 60_000),
        (100.0, 1000.0, 20, 30_000),  # 10 epochs on all take as long
        (100.0, 10.0, 6, 1000),  # a sixtieth of the images, and of 100 s
        (100.0, -10.0, 1, 1000),
        (0.1, -10.0, 1, 1000),
        (100.0, 2100.0, 21, 60_000),
        (0.1, 1e6, 300, 60_000),
    ],
)
def test_an_epoch_on_all_images_says_how_many_of_how_many(seconds, left, epochs, images):
    comparison = object.__new__(compare.Comparison)
    comparison._dataset = types.SimpleNamespace(train=range(100 if images == 100 else 60_000))
    assert comparison._length(seconds, left) == {"epochs": epochs, "images": images}


def test_who_is_told_how_many_images_it_takes_is_told_the_same_number(capsys):
    with pytest.raises(SystemExit):
        cli.main(["compare", "--help"])
    told = {"help": capsys.readouterr().out}
    root = Path(__file__).parents[2]
    for page in ("README.md", "book/reproduce.md", "notebooks/18_use_the_loss.ipynb"):
        told[page] = (root / page).read_text(encoding="utf-8")
    for place, text in told.items():
        numbers = re.findall(r"(\d+)(?: image files)? or more|(\d+) images or more", text)
        found = {int(number) for pair in numbers for number in pair if number}
        assert found == {compare._FEWEST_IMAGES}, place


def test_too_few_images_are_one_line(tmp_path, capsys):
    assert cli.main(["compare", str(write(tmp_path / "few", 40)), "--size", "16"]) == 2
    assert (
        "has 40 images, 32 of them to train on: a comparison needs 156 or "
        in capsys.readouterr().err
    )
    assert cli.main(["compare", str(tmp_path / "none")]) == 2
    assert "needs root, a folder of images" in capsys.readouterr().err
    file = tmp_path / "one.png"
    Image.new("L", (16, 16)).save(file)
    assert cli.main(["compare", str(file)]) == 2
    assert "one.png is a file: give the folder that it lies in" in capsys.readouterr().err
    assert f"{compare._FEWEST_IMAGES} images or more" in cli._parser().format_help() + help_of(
        "compare", capsys
    )


def help_of(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    return capsys.readouterr().out


def test_images_that_are_all_alike_are_one_line(tmp_path, capsys):
    for index in range(160):
        Image.new("L", (16, 16)).save(tmp_path / f"{index}.png")
    assert cli.main(["compare", str(tmp_path), "--size", "16"]) == 2
    assert "training images that are all alike" in capsys.readouterr().err


def test_test_images_may_be_all_alike_and_training_images_may_not(monkeypatch):
    alike, differ = torch.full((200, 1, 8, 8), 0.5), torch.rand(200, 1, 8, 8)
    differ[0] = 0.5

    def given(train, test):
        labels = torch.zeros(200)
        dataset = datasets.Dataset("discs", train, labels, test, labels, place="")
        monkeypatch.setattr(datasets, "load", lambda *_, **__: dataset)

    given(differ, alike)
    assert torch.equal(compare.load("anywhere", 8).train, differ)
    given(alike, differ.flip(0))
    with pytest.raises(ValueError, match="anywhere has 200 training images that are all alike"):
        compare.load("anywhere", 8)


@pytest.mark.parametrize("option", [("--minutes", "0"), ("--minutes", "nan"), ("--size", "4")])
def test_numbers_out_of_range_are_told_before_a_kernel_starts(
    tmp_path, capsys, monkeypatch, option
):
    monkeypatch.setattr(notebook_run, "run", None)
    assert cli.main(["compare", str(write(tmp_path / "discs", 20)), *option]) == 2
    assert re.match(f"envae: {option[0][2:]} must be .*received", capsys.readouterr().err)


def test_rows_are_trained_measured_and_told_and_a_second_call_goes_on(
    tmp_path, records, monkeypatch
):
    monkeypatch.setattr(compare, "TRIED", 1)
    monkeypatch.setattr(compare, "SEEDS", (1, 2))
    folder = write(tmp_path / "discs", 160)
    rows = ("L2", "AE")
    plan = records / "plan-{}-1.json"
    name = compare.load(folder, 16).name
    records.mkdir()
    costs = {key: dict.fromkeys(rows, 0.01) for key in ("step", "seconds")}
    plan.with_name(f"plan-{name}-1.json").write_text(
        json.dumps({"network": "mlp64", "epochs": 2, "images": 128} | costs)
    )

    late = compare.Comparison(folder, minutes=1, size=16, rows=rows)
    late._begun -= 61
    assert "left for the next call" in late.train("L2")
    assert late.conclusion().startswith("Not run yet, or from one seed: L2; AE + mix")
    assert late.table().empty

    comparison = compare.Comparison(folder, minutes=1, size=16, rows=rows)
    assert "2 epochs" in str(comparison)
    for row in rows:
        assert "distances" in comparison.train(row)
    runs = comparison.runs()
    assert runs.groupby("label")["seed"].apply(list).to_dict() == {row: [1, 2] for row in rows}
    assert len(list((records / comparison.experiment.search_name).glob("*.json"))) == len(rows)
    assert (
        runs["distance"] == runs["fd_generated"].where(runs["label"] == "L2", runs["fd_gmm10"])
    ).all()
    table = comparison.table()
    assert table["distance of samples"].is_monotonic_increasing
    of_l2 = runs[runs["label"] == "L2"]
    pictures = comparison.pictures()
    assert list(pictures) == list(table.index)
    first = of_l2.loc[of_l2["seed"] == 1, "key"].item()
    shown = kept_pictures.load(comparison.experiment.name, first)
    assert torch.equal(pictures["L2"]["means"], shown["means"])
    expected = table.loc["L2", "spread / error"]
    kept = pictures["L2"]
    error = (kept["means"] - kept["test"]).square().mean()
    assert expected == pytest.approx((kept["spread"].square().mean() / error).sqrt().item())

    before = {path: path.stat().st_mtime_ns for path in records.rglob("*.json")}
    again = compare.Comparison(folder, minutes=1, size=16, rows=rows)
    again.train("L2")
    assert {path: path.stat().st_mtime_ns for path in records.rglob("*.json")} == before


def test_what_the_time_allows_is_planned_once(tmp_path, records, monkeypatch):
    monkeypatch.setattr(paper_rows.Experiment, "step_seconds", lambda self, label: 0.01)
    folder = write(tmp_path / "discs", 160)
    epochs = {}
    for minutes in (0.2, 1.0, 1000.0):
        comparison = compare.Comparison(folder, minutes=minutes, size=16)
        epochs[minutes] = comparison.experiment.setting.epochs
    assert 1 <= epochs[0.2] < epochs[1.0] < epochs[1000.0] == 2500
    monkeypatch.setattr(paper_rows.Experiment, "step_seconds", lambda self, label: 1.0)
    assert compare.Comparison(folder, minutes=1.0, size=16).experiment.setting.epochs == epochs[1.0]


def test_a_row_that_partly_failed_is_told_as_such_and_what_failed_is_no_run():
    comparison = object.__new__(compare.Comparison)
    comparison.rows = ("L2",)
    comparison._begun, comparison._seconds = time.monotonic(), 60.0
    found = pd.DataFrame(
        {"label": "L2", "seed": [1, 2], "done": [True, False], "state": ["done", "failed"],
         "error": ["", "FloatingPointError: not finite"], "fd_generated": [3.0, np.nan]}
    )  # fmt: skip
    comparison.experiment = types.SimpleNamespace(
        complete=lambda label: found, all_runs=lambda rows: found, due=lambda label: None
    )
    assert comparison.train("L2") == "L2: FloatingPointError: not finite"
    assert comparison.runs()[["seed", "distance"]].to_numpy().tolist() == [[1, 3.0]]
    found = found[found["state"] == "failed"]
    assert comparison.runs().empty
    assert "distance" in comparison.runs()


def test_every_column_of_the_table_is_its_own(monkeypatch):
    """The mean over seeds of numbers that all differ; the smallest distance first."""
    names = ("fd_gmm10", "recall", "squared_error", "squared_error_draw", "seconds", "precision",
             "fd_generated")  # fmt: skip
    runs = pd.DataFrame(
        [
            {"label": row, "seed": seed, "distance": distance}
            | {name: place + 10 * seed for place, name in enumerate(names)}
            for row, distances in {"L2": (5.0, 9.0, 4.0), "AE": (2.0, 1.0, 3.0)}.items()
            for seed, distance in enumerate(distances)
        ]
    )
    comparison = object.__new__(compare.Comparison)
    comparison.experiment = types.SimpleNamespace(
        chosen={"L2": 0.3, "AE": 0.01}.get, inside={"L2": True, "AE": False}.get
    )
    monkeypatch.setattr(compare.Comparison, "runs", lambda self: runs)
    monkeypatch.setattr(compare.Comparison, "_calibration", lambda self, found: 0.7)
    table = comparison.table()
    assert list(table.index) == [compare.COMPARED["AE"], compare.COMPARED["L2"]]
    assert table.loc[compare.COMPARED["L2"]].to_dict() == {
        "distance of samples": 6.0, "smallest": 4.0, "largest": 9.0, "from a mixture": 10.0,
        "recall": 11.0, "squared error": 12.0, "of a draw": 13.0, "spread / error": 0.7,
        "chosen": "alpha 0.3", "minutes": (4 + 14 + 24) / 60,
    }  # fmt: skip
    assert table.loc[compare.COMPARED["AE"], "chosen"] == "lr 0.01 (at an end)"


@pytest.mark.parametrize(
    ("slower", "beside", "all_done", "anew"),
    [(1.0, 2.0, True, False), (2.5, 2.0, True, True), (1.0, 25.0, True, True),
     (30.0, 2.0, False, False)],
)  # fmt: skip
def test_a_machine_that_is_slower_than_planned_gets_a_new_plan(
    tmp_path, records, monkeypatch, slower, beside, all_done, anew
):
    """Against a clock: so many times as slow, and so many seconds of measuring for each row."""
    now, done = [0.0], set()
    costs = dict(zip(compare.COMPARED, (1, 3, 1, 1, 2, 2), strict=True))
    step = {row: 0.001 * cost for row, cost in costs.items()}

    def complete(self, label):
        steps = 3 * self.steps(searched=True) + 3 * self.steps(searched=False)
        now[0] += slower * step[label] * steps + beside
        done.add((label, self.setting.epochs))
        key = f"{slower * step[label] * self.steps(searched=False) / self.setting.epochs}"
        distances = {paper_rows.ALL_ROWS[label].judged_by: 1.0}
        return pd.DataFrame([{"done": True, "error": "", "key": key} | distances] * 3)

    monkeypatch.setattr(compare.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(compare.records, "curves", lambda _, key: {"seconds": [float(key)]})
    monkeypatch.setattr(compare.Comparison, "runs", lambda self: pd.DataFrame(list(done)))
    experiment = paper_rows.Experiment
    monkeypatch.setattr(experiment, "step_seconds", lambda self, label: step[label])
    monkeypatch.setattr(experiment, "complete", complete)
    monkeypatch.setattr(
        experiment, "due", lambda self, label: None if (label, self.setting.epochs) in done else 1
    )
    comparison = compare.Comparison(write(tmp_path / "discs", 160), minutes=5, size=16)
    planned = comparison.experiment.setting.epochs
    told = [comparison.train(row) for row in comparison.rows]
    epochs = comparison.experiment.setting.epochs
    assert (epochs < planned) == anew == ("slower than planned" in told[0])
    assert str(epochs) in told[0] or not anew
    assert all("distances 1.00, 1.00, 1.00" in text for text in told) == all_done
    assert now[0] < 1.2 * 300 or len(done) == 1
    again = compare.Comparison(tmp_path / "discs", minutes=5, size=16)
    assert again.experiment.setting.epochs == epochs


class Clock:
    """Rows whose search and runs take a time of ours, each epoch of a run so many seconds."""

    def __init__(self, comparison, monkeypatch):
        self.now, self.took, self.done = 10.0, {}, {}
        self.name = "anything"
        comparison._begun, comparison._pace, comparison._beside = 10.0, 0.0, 0.0
        comparison.experiment = self
        monkeypatch.setattr(compare.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(
            compare.records, "curves", lambda name, key: {"seconds": self.done[key][name]}
        )
        monkeypatch.setattr(
            compare.Comparison, "runs", lambda self: pd.DataFrame(list(comparison.experiment.done))
        )

    def steps(self, *, searched):
        return 999 if searched else 20

    def due(self, label):
        return None if label in self.done else "something"

    def complete(self, label):
        seconds, *epochs = self.took[label]
        self.now += seconds
        self.done[label] = {self.name: epochs}
        distances = {paper_rows.ALL_ROWS[label].judged_by: [0.126, 2.0]}
        return pd.DataFrame({"done": True, "error": "", "key": label} | distances)


@pytest.fixture
def planned(monkeypatch):
    """Ten epochs on half of 100 images: 5 on all of them, whose seconds and steps' are made up."""
    comparison = comparison_of(100)
    clock = Clock(comparison, monkeypatch)
    comparison._plan = {
        "epochs": 10, "images": 50, "step": {"L2": 0.5, "AE": 0.25},
        "seconds": {"L2": 4.0, "AE": 6.0},
    }  # fmt: skip
    comparison.rows, comparison._seconds = ("L2", "AE"), 1000.0
    return comparison, clock


def test_what_rows_lack_is_expected_by_pace_and_by_what_a_row_takes_beside(planned):
    comparison, clock = planned
    assert comparison._epochs() == 5
    assert comparison._expected("L2", "AE") == 0  # nothing is known yet
    comparison._pace, comparison._beside = 2.0, 3.0
    assert comparison._expected("L2") == 2 * 5 * 4 + 3
    assert comparison._expected("L2", "AE") == 2 * 5 * (4 + 6) + 2 * 3
    clock.done["L2"] = {}
    assert comparison._expected("L2", "AE") == 2 * 5 * 6 + 3


def test_a_row_tells_the_pace_and_the_slowest_counts(planned):
    """Of a step 3 times as long as planned, 60 s of training are expected; 40 more were taken."""
    comparison, clock = planned
    clock.took = {"L2": (100.0, 2.0, 4.0), "AE": (70.0, 1.0, 1.0)}  # 3 s and 1 s for two steps
    assert comparison.train("L2") == "L2: distances 0.13, 2.00"
    assert (comparison._pace, comparison._beside) == (3 / (2 * 0.5), 100 - 3 * 5 * 4)
    assert comparison.train("AE") == "AE + mixture: distances 0.13, 2.00"
    assert (comparison._pace, comparison._beside) == (3.0, 40.0)
    clock.done.clear()
    comparison._pace = comparison._beside = 0.0
    comparison.train("AE")
    assert (comparison._pace, comparison._beside) == (1 / (2 * 0.25), 70 - 2 * 5 * 6)


def test_a_row_that_is_done_tells_no_pace_and_one_that_did_not_run_says_so(planned, monkeypatch):
    comparison, clock = planned
    clock.took = {"L2": (100.0, 2.0)}
    clock.done["L2"] = {}
    assert comparison.train("L2") == "L2: distances 0.13, 2.00"
    assert (comparison._pace, comparison._beside) == (0, 0)
    monkeypatch.setattr(clock, "complete", lambda _: pd.DataFrame({"done": [False], "error": ""}))
    assert comparison.train("L2") == "L2: not run"


@pytest.mark.parametrize(
    ("now", "told"),
    [(957.0, "L2: distances 0.13, 2.00"), (957.5, "L2: left for the next call, the time is over")],
)
def test_a_row_is_left_for_later_where_it_would_end_after_the_time(planned, now, told):
    """43 s after 957 of 1000 is within it."""
    comparison, clock = planned
    comparison._pace, comparison._beside = 2.0, 3.0
    clock.took, clock.now = {"L2": (1.0, 1.0)}, 10 + now
    assert comparison.train("L2") == told


@pytest.mark.parametrize(
    ("left", "pace", "epochs"),
    [
        (340.0, 2.0, 40),  # two rows need 406, less than 1.2 times what is left
        (338.0, 2.0, 14),  # (0.9 * 338 - 6) / 20
        (130.0, 0.75, 14),  # 156 is 1.2 times 130
        (118.0, 2.0, 5),
        (117.0, 2.0, 40),  # 4 epochs would be too few
    ],
)
def test_a_plan_is_made_anew_where_rows_would_be_lost_and_there_is_time_to_train(
    planned, tmp_path, left, pace, epochs
):
    """What training may take is nine tenths of what is left, without what rows take beside it."""
    comparison, clock = planned
    comparison._plan |= {"network": "mlp", "epochs": 40}  # 20 on all images
    before = dict(comparison._plan)
    comparison._file = tmp_path / "plan.json"
    comparison._pace, comparison._beside, clock.now = pace, 3.0, 10 + 1000 - left
    assert comparison._is_shortened() == (epochs < 40)
    assert comparison._plan["epochs"] == epochs
    if epochs < 40:
        expected = before | {"epochs": epochs, "images": 100}
        assert comparison._plan == json.loads(comparison._file.read_text()) == expected
        assert comparison.experiment.setting.epochs == epochs


def test_samples_are_measured_by_what_costs_and_knows_nothing():
    digits, network = datasets.load("digits"), RandomConvolutions(datasets.load("digits").train)
    comparison = object.__new__(compare.Comparison)
    comparison.experiment = types.SimpleNamespace(dataset=digits, extractor=network, samples=150)
    mean = digits.train.mean(0, keepdim=True).expand(150, -1, -1, -1)
    assert comparison.floors() == {
        "as many test images drawn anew": frechet.floor(network, digits.test, 150),
        "the training images": frechet.fd(network, digits.train, digits.test),
        "the mean image alone": frechet.fd(network, mean, digits.test),
    }
    for lacking in ({"samples": None}, {"extractor": None}):
        vars(comparison.experiment).update({"extractor": network, "samples": 150} | lacking)
        with pytest.raises(ValueError, match="no distances, no floors"):
            comparison.floors()


def told_of(monkeypatch, distances, recall=0.6, epochs=30, **columns):
    """What is concluded from these distances of each row's seeds, and columns of the table."""
    floors = {"the training images": 0.5, "the mean image alone": 6.0}
    comparison = object.__new__(compare.Comparison)
    comparison.rows, comparison._plan = tuple(distances), {"epochs": epochs}
    runs = pd.DataFrame(
        [{"label": row, "distance": value} for row, values in distances.items() for value in values]
    )
    table = pd.DataFrame(
        {
            "distance of samples": {
                compare.COMPARED[row]: np.mean(v) for row, v in distances.items()
            },
            "squared error": 1.0,
            "from a mixture": 1.0,
            "chosen": "alpha 0.1",
        }
    ).assign(recall=recall, **columns)
    monkeypatch.setattr(compare.Comparison, "runs", lambda self: runs)
    monkeypatch.setattr(
        compare.Comparison, "table", lambda self: table.sort_values("distance of samples")
    )
    monkeypatch.setattr(compare.Comparison, "floors", lambda self: floors)
    return comparison.conclusion()


def test_a_row_is_better_only_beyond_what_seeds_explain(monkeypatch):
    clear = {"L2": [4.0, 4.1, 4.2], "EnVAE, M = 2": [2.0, 2.1, 2.05], "SSIM": [2.2, 2.0, 2.1]}
    told = told_of(monkeypatch, clear)
    assert "**EnVAE (2 draws)** came closest" in told
    assert "closer than those of L2 beyond what seeds explain" in told
    assert "from SSIM these runs do not tell it apart" in told
    assert "the mean image alone" not in told
    assert "30 epochs" in told
    assert "No loss draws most" not in told
    assert "fit into the time" not in told
    few = told_of(monkeypatch, clear, recall=0.04)
    assert few.startswith("**No loss draws most of what is in these images**: samples are near 4%")
    short = told_of(monkeypatch, clear, epochs=9)
    assert short.startswith("**Only 9 epochs fit into the time**: with more minutes the order may")
    lone = told_of(monkeypatch, clear | {"AE": [1.0]})
    assert lone.startswith("Not run yet, or from one seed: AE + mixture. Samples of **EnVAE (2 dr")
    far = told_of(monkeypatch, clear | {"L2": [7.0, 7.1, 7.2]})
    assert "Samples of L2 are further away than the mean image alone." in far
    lost = told_of(monkeypatch, {"L2": [7.0, 7.1, 7.2], "EnVAE, M = 2": [8.0, 7.1, 7.2]})
    assert "No loss has learned to draw these images" in lost
    vague = told_of(monkeypatch, {"L2": [3.0, 1.0, 2.0], "EnVAE, M = 2": [1.0, 3.0, 1.9]})
    assert "beyond what seeds explain" not in vague
    assert "from L2 these runs do not tell it apart" in vague


THREE = {"L2": [4.0, 4.1, 4.2], "EnVAE, M = 2": [2.0, 2.1, 2.05], "SSIM": [2.2, 2.0, 2.1]}


def test_the_best_in_each_column_is_named_for_it(monkeypatch):
    told = told_of(
        monkeypatch, THREE, [0.2, 0.3, 0.45],
        **{"squared error": [2.0, 3.0, 1.0], "from a mixture": [1.0, 2.0, 3.0]},
    )  # fmt: skip
    assert "samples are near 45% of the test images at most" in told
    assert (
        "the least squared error with SSIM, and samples from a mixture are closest with L2. "
        in told
    )
    assert (
        "Its distance is 2.05; a model that gave the training images back would have 0.50" in told
    )
    assert "Where the chosen number stands at an end" not in told
    chosen = ["alpha 1", "alpha 1 (at an end)", "alpha 1"]
    assert "Where the chosen number stands at an end" in told_of(monkeypatch, THREE, chosen=chosen)


@pytest.mark.parametrize(
    ("changed", "told", "unless"),
    [
        ({"epochs": 19}, "Only 19 epochs fit into the time", {"epochs": 20}),
        ({"epochs": 1}, "Only 1 epoch fit into the time", {"epochs": 20}),
        ({"recall": 0.49}, "No loss draws most of what is in these images", {"recall": 0.5}),
        ({"distances": {"L2": [6.0, 6.2], "SSIM": [6.1, 6.3]}}, "No loss has learned to draw these",
         {"distances": {"L2": [5.5, 6.5], "SSIM": [6.1, 6.3]}}),
        ({"distances": {"L2": [5.5, 6.5], "SSIM": [6.1, 6.3]}}, "Samples of SSIM are further away",
         {"distances": {"L2": [5.0, 5.1], "SSIM": [5.5, 6.5]}}),
        ({"distances": {"L2": [1.0, 2.0]}}, "Too few losses are done to compare any",
         {"distances": {"L2": [1.0, 2.0], "SSIM": [1.0, 2.0]}}),
        ({"distances": {"L2": [0.0, 0.0], "SSIM": [6.0, 6.1]}},
         "closer than those of SSIM beyond what seeds", {}),
    ],
)  # fmt: skip
def test_what_is_concluded_turns_at_its_numbers(monkeypatch, changed, told, unless):
    """The mean image alone has a distance of 6."""
    assert told in told_of(monkeypatch, **{"distances": THREE} | changed)
    assert told not in told_of(monkeypatch, **{"distances": THREE} | unless)


@pytest.mark.parametrize(
    ("names", "told"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_names_are_listed_as_in_a_sentence(names, told):
    assert compare._listed(names) == told


@pytest.mark.parametrize("drawn", [{}, {"squared_error_draw": [2.0, np.nan]}])
def test_draws_are_told_of_a_row_only_where_every_run_has_them(monkeypatch, drawn):
    measured = dict.fromkeys(("distance", "fd_gmm10", "recall", "squared_error", "seconds"), 1.0)
    runs = pd.DataFrame({"label": ["L2", "L2"]} | measured | drawn)
    comparison = object.__new__(compare.Comparison)
    comparison.experiment = types.SimpleNamespace(chosen=lambda _: 0.3, inside=lambda _: True)
    monkeypatch.setattr(compare.Comparison, "runs", lambda self: runs)
    monkeypatch.setattr(compare.Comparison, "_calibration", lambda self, found: 0.7)
    assert comparison.table().loc["L2", ["of a draw", "spread / error"]].isna().all()


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ({"output_type": "stream", "text": ["a <", " b"]}, "<pre>a &lt; b</pre>"),
        (
            {"output_type": "display_data", "metadata": {"alt": 'a "b"'},
             "data": {"image/png": ["aGk", "=\n"], "text/plain": "x"}},
            '<div class="wide" tabindex="0"><img alt="a &quot;b&quot;" '
            'src="data:image/png;base64,aGk="></div>',
        ),
        (
            {"output_type": "display_data", "metadata": {}, "data": {"image/png": "aGk="}},
            '<div class="wide" tabindex="0"><img alt="a figure" '
            'src="data:image/png;base64,aGk="></div>',
        ),
        ({"output_type": "execute_result", "data": {"text/markdown": ["a", "b"], "text/html": "c"}},
         "AB"),
        ({"output_type": "execute_result", "data": {"text/html": ["<b>", "c"], "text/plain": "d"}},
         '<div class="wide" tabindex="0"><b>c</div>'),
        ({"output_type": "execute_result", "data": {"text/plain": "d > e"}}, "<pre>d &gt; e</pre>"),
        ({"output_type": "execute_result", "data": {}}, "<pre></pre>"),
    ],
)  # fmt: skip
def test_each_kind_of_output_has_its_html(output, told):
    assert compare._shown(output, str.upper) == told


def test_a_page_is_one_file_with_what_a_notebook_shows(tmp_path):
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["a < b\n"]},
        {"output_type": "stream", "name": "stderr", "text": ["a warning"]},
        {
            "output_type": "display_data",
            "metadata": {},
            "data": {"image/png": "aGk=\n", "text/plain": "f"},
        },
        {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": "**bold**"}},
        {"output_type": "execute_result", "metadata": {}, "data": {"text/html": "<table></table>"}},
        {"output_type": "execute_result", "metadata": {}, "data": {"text/plain": "'x & y'"}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": ["secret()"], "outputs": outputs},
    ]
    executed, output = tmp_path / "executed.ipynb", tmp_path / "page.html"
    executed.write_text(json.dumps({"cells": cells, "metadata": {}}))
    compare.page(executed, output)
    text = output.read_text()
    for part in ("<h1>Title</h1>", "a &lt; b", 'src="data:image/png;base64,aGk="',
                 "<strong>bold</strong>", "<table></table>", "&#x27;x &amp; y&#x27;"):  # fmt: skip
        assert part in text
    assert "secret" not in text
    assert "warning" not in text


def test_the_notebook_trains_every_row_and_takes_what_the_command_gives():
    cells = notebook_run.read(compare.NOTEBOOK)["cells"]
    source = "\n".join("".join(cell["source"]) for cell in cells)
    assert all(f'comparison.train("{row}")' in source for row in compare.COMPARED)
    assert set(notebook_run.declared(compare.NOTEBOOK)) == {"folder", "minutes", "size"}
    assert not any(cell.get("outputs") for cell in cells)


def test_the_command_passes_folder_time_and_size_and_writes_the_page(tmp_path, monkeypatch, capsys):
    folder = write(tmp_path / "discs", 160)
    told = {}

    def run(notebook, output, *, profile, given, printed):
        told.update(given)
        assert printed is sys.stdout
        output.parent.mkdir(parents=True)
        output.write_text(json.dumps({"cells": [], "metadata": {}}))

    monkeypatch.setenv("ENVAE_RUNS", "")
    monkeypatch.setattr(notebook_run, "run", run)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compare", "discs", "--minutes", "3", "--size", "16"]) == 0
    assert told == {"folder": str(folder), "minutes": "3.0", "size": "16"}
    assert (tmp_path / "_build" / "compare" / "discs" / "page.html").is_file()
    assert "_build/compare/discs/page.html" in capsys.readouterr().out


@pytest.mark.parametrize("place", [".", "page", "deep/er"])
def test_a_page_among_the_images_would_be_one_of_them(tmp_path, monkeypatch, capsys, place):
    folder = write(tmp_path / "discs", 160)
    monkeypatch.setattr(notebook_run, "run", None)
    assert cli.main(["compare", str(folder), "-o", str(folder / place)]) == 2
    assert "whose images the page's own would be among: give anot" in capsys.readouterr().err
    monkeypatch.chdir(folder)
    assert cli.main(["compare", "."]) == 2
    assert "give another place by -o" in capsys.readouterr().err


def test_who_stops_it_is_told_what_is_kept(tmp_path, monkeypatch, capsys):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setenv("ENVAE_RUNS", "")
    monkeypatch.setattr(notebook_run, "run", stopped)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compare", str(write(tmp_path / "discs", 160)), "--size", "16"]) == 130
    told = "interrupted: _build/compare/discs/runs keeps what was trained, and the same command"
    assert told in capsys.readouterr().err


def test_an_extra_that_lacks_is_told_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "seaborn", None)
    assert cli.main(["compare", str(tmp_path)]) == 2
    assert "is not installed: pip install 'envae[book]'" in capsys.readouterr().err
