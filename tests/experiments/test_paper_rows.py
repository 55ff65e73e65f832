"""The rows of the papers' tables, and the search that fills what they leave free."""

import dataclasses
import functools

import numpy as np
import pandas as pd
import pytest
import torch

from envae import datasets, priors
from envae.experiments import kept_pictures, paper_rows, published, records
from envae.experiments.measures import quality
from envae.experiments.runs import Point, Setting, Start
from envae.metrics import extractor
from envae.metrics.random_convolutions import RandomConvolutions
from envae.objectives import objective

DIGITS = datasets.load("digits")
NETWORK, _ = extractor.load("digits-cnn")


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """Runs of one epoch, three in a search, recorded in a folder of the test's own, in process."""
    monkeypatch.setattr(paper_rows, "TRIED", 3)
    monkeypatch.setattr(paper_rows, "MORE", 0)
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    return paper_rows.Experiment(
        DIGITS.subset(400), Setting(epochs=1), NETWORK, samples=100, seeds=(1,),
        second_stage=(), likelihood_draws=2,
    )  # fmt: skip


def named(paper):
    return {getattr(row, paper) for row in paper_rows.ROWS.values()} - {""}


PARAMETERS = {
    "dataset": "digits", "train_size": 200, "network": "conv", "latent_dim": 3, "epochs": 4,
    "batch_size": 50, "lr": 0.02, "extractor": "digits-cnn", "samples": 60, "seeds": [7, 8],
    "priors": ["gmm100"], "likelihood_draws": 9, "likelihood_images": 11, "numbers_of": "other",
    "prefix": "energy_based",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [("network", "nope"), ("priors", ["gmm10", "nope"]), ("extractor", "nope")]
)
def test_an_unknown_name_is_told_before_anything_is_run(name, value):
    with pytest.raises(ValueError, match=f"unknown {name.removesuffix('s')} 'nope'.*known: "):
        paper_rows.Experiment.of(**PARAMETERS | {name: value})


def test_parameters_of_a_notebook_are_those_of_its_experiment():
    found = paper_rows.Experiment.of(**PARAMETERS, table="shown")
    assert (found.dataset.name, len(found.dataset.train)) == ("digits-200", 200)
    assert found.setting == Setting("conv", 3, 4, 50, 0.02)
    assert found.extractor.name == "digits-cnn"
    told = {"samples", "likelihood_draws", "likelihood_images", "numbers_of", "prefix"}
    assert {name: getattr(found, name) for name in told} == {n: PARAMETERS[n] for n in told}
    assert (found.seeds, found.priors, found.second_stage) == ((7, 8), ("gmm100",), ())
    all_of_it = {"train_size": 0, "samples": 0, "likelihood_images": 0, "prefix": "fid_tables"}
    found = paper_rows.Experiment.of(**PARAMETERS | all_of_it)
    assert len(found.dataset.train) == len(DIGITS.train)
    assert (found.samples, found.likelihood_images) == (None, None)
    assert found.second_stage == paper_rows.UNDER_EVERY_PRIOR


def test_every_row_of_xu2025s_table_1_and_5_is_run():
    one = published.table("xu2025", 1)["row"]
    assert set(one[~one.str.startswith("Impr.")]) <= named("xu2025")
    single, double = published.table("xu2025", 5)["row"].unique()
    assert double in named("xu2025")
    assert paper_rows.ROWS["FEnVAE"].options == {"draws": single.removeprefix("FEnVAE_")}


def test_every_row_of_takida2022s_tables_4_to_6_is_run():
    rows = {row for number in (4, 5, 6) for row in published.table("takida2022", number)["row"]}
    assert rows == named("takida2022")


@pytest.mark.parametrize("label", paper_rows.ROWS)
def test_every_row_is_an_objective_with_as_many_trials_as_any_other(label):
    row = paper_rows.ROWS[label]
    assert len(set(row.values)) == paper_rows.TRIED
    for value in row.values:
        loss = objective(row.objective, **row.options_at(value))
        if row.free == "information":  # whose KL weight is what is searched
            assert loss.kl_weight == pytest.approx(value)


# An NCP-VAE is recorded as the VAE beneath it.
BENEATH = {"L2": "NCP-VAE", "EnVAE": "NCP-VAE + EnL", "FEnVAE": "NCP-VAE + FEnL"}


@pytest.mark.parametrize(
    ("experiment", "count", "names"),
    [("fid_tables_digits", 27, {}), ("energy_based_digits", 12, BENEATH)],
)
def test_every_row_began_its_recorded_search_with_its_values_and_reports_the_best(
    experiment, count, names
):
    """Where it has records: all values of a row may have failed, and more may have been tried."""

    def labelled(found):
        told = [
            names.get(label := paper_rows._label(*pair), label)
            for pair in zip(found["objective"], found["options"], strict=True)
        ]
        rows = [paper_rows.ALL_ROWS[label] for label in told]
        values = [
            lr if row.free == "lr" else row.value_in(options)
            for row, lr, options in zip(rows, found["lr"], found["options"], strict=True)
        ]
        return found.assign(label=told, value=values)

    search, reported = (
        labelled(records.load(f"{experiment}{ending}")) for ending in ("_search", "")
    )
    seen = 0
    for label, tried in search.groupby("label"):
        row = paper_rows.ALL_ROWS[label]
        seen += set(row.values) <= set(tried["value"])
        best = tried.loc[tried[row.judged_by].idxmin(), "value"]
        assert set(reported.loc[reported["label"] == label, "value"]) == {best}, label
    assert seen >= count - 1


def test_the_held_out_part_is_of_the_training_images_and_not_trained_on():
    part = paper_rows.held_out(DIGITS)
    assert (len(part.train), len(part.test)) == (1297 - 259, 259)
    together = torch.cat([part.train, part.test]).flatten(1)
    assert sorted(map(tuple, together.tolist())) == sorted(
        map(tuple, DIGITS.train.flatten(1).tolist())
    )
    distances = torch.cdist(part.train.flatten(1), part.test.flatten(1))
    assert (distances.min(0).values > 0).all()


def test_labels_follow_their_images_into_the_held_out_part_which_is_drawn_from_all_classes():
    order = DIGITS.train_labels.argsort()
    in_order = dataclasses.replace(
        DIGITS, train=DIGITS.train[order], train_labels=DIGITS.train_labels[order]
    )
    part = paper_rows.held_out(in_order)
    for images, labels in ((part.train, part.train_labels), (part.test, part.test_labels)):
        nearest = torch.cdist(images.flatten(1), DIGITS.train.flatten(1)).argmin(1)
        assert torch.equal(labels, DIGITS.train_labels[nearest])
        assert labels.bincount().min() > len(labels) / 20


def test_what_is_reported_has_other_seeds_and_images_than_what_chose_it(experiment, monkeypatch):
    compared, networks = [], []  # of every distance

    def reference(network, images, of=quality.frechet.reference):
        compared.append(images)
        networks.append(network)
        return of(network, images)

    monkeypatch.setattr(quality.frechet, "reference", reference)
    searched = experiment.search("L2", train=True)
    left_out = paper_rows.held_out(experiment.dataset).test
    assert compared
    assert all(torch.equal(images, left_out) for images in compared)
    compared.clear()
    reported = experiment.runs("L2", train=True)
    assert max(map(len, compared)) == len(DIGITS.test)
    assert all(torch.equal(images, DIGITS.test[: len(images)]) for images in compared)
    random = RandomConvolutions(experiment.dataset.train)  # as the training images scale it
    assert torch.equal(networks[-1].features(DIGITS.test[:5]), random.features(DIGITS.test[:5]))
    assert set(searched["seed"]) == {0}
    assert set(reported["seed"]) == {1}
    with pytest.raises(ValueError, match=r"has seed 0: .* need others, received \(1, 0\)"):
        dataclasses.replace(experiment, seeds=(1, 0))


@pytest.mark.parametrize(
    ("label", "value", "options"),
    [
        ("L1", 0.3, {"scale": 0.3}),
        ("EnVAE, M = 2", 0.03, {"samples": 2, "alpha": 0.03}),
        ("InfoVAE", 0.3, {"scaling": 1.0, "information": 0.7}),  # one less the KL weight
        ("Diag-I, trainable", 0.01, {"estimate": "trainable"}),  # a learning rate
    ],
)
def test_a_value_of_the_free_number_is_an_option_of_the_objective_or_the_rate(
    experiment, label, value, options
):
    row = paper_rows.ROWS[label]
    assert row.options_at(value) == options
    if row.free != "lr":
        assert row.value_in(options) == value
    point = experiment._point(row, value, 3)
    assert (point.objective, point.options, point.seed) == (row.objective, options, 3)
    assert point.setting.lr == (value if row.free == "lr" else experiment.setting.lr)


def test_a_row_is_judged_by_a_prior_of_its_own_or_by_none():
    told = {label: row.priors for label, row in paper_rows.ALL_ROWS.items() if row.priors}
    mixtures = dict.fromkeys(("AE", "RAE", "RAE-GP"), ("gmm10",))
    contrastive = dict.fromkeys(("NCP-VAE", "NCP-VAE + EnL", "NCP-VAE + FEnL"), ("ncp",))
    assert told == mixtures | contrastive


@pytest.mark.parametrize(
    ("count", "values"), [(1, [0.03]), (3, [0.01, 0.03, 0.1]), (5, [0.003, 0.01, 0.03, 0.1, 0.3])]
)
def test_values_stand_around_the_middle(count, values):
    assert paper_rows.ROWS["L2"].around_middle(count) == values


@pytest.mark.parametrize(
    ("distances", "states", "end"),
    [
        ([1.0, 2.0, 3.0], "done done done", -1),
        ([2.0, 1.0, 3.0], "done done done", 0),
        ([3.0, 2.0, 1.0], "done done done", 1),
        ([np.nan, 2.0, 3.0], "failed done done", 0),  # beyond the best one something was tried
        ([1.0, np.nan, np.nan], "done failed failed", -1),
        ([1.0, 2.0, np.nan], "done done missing", 0),
        ([np.nan, np.nan, np.nan], "failed failed failed", 0),
    ],
)
def test_an_end_is_best_where_no_value_beyond_it_was_tried(distances, states, end):
    states = states.split()
    found = pd.DataFrame(
        {"fd": distances, "state": states, "done": [state == "done" for state in states]}
    )
    assert paper_rows._end(found, "fd") == end


@pytest.mark.parametrize(
    ("distances", "states", "inside"),
    [
        ([2.0, 1.0, 3.0], "done done done", True),
        ([1.0, 2.0, 3.0], "done done done", False),
        ([3.0, 2.0, 1.0], "done done done", False),
        ([np.nan, 1.0, 3.0], "failed done done", False),  # it has no distance on that side
        ([3.0, 1.0, np.nan], "done done failed", False),
        ([3.0, 1.0, np.nan], "done done missing", False),
        ([np.nan, np.nan, np.nan], "failed failed failed", False),
    ],
)
def test_a_value_is_inside_where_runs_on_both_sides_have_a_distance(
    experiment, monkeypatch, distances, states, inside
):
    states = states.split()
    found = pd.DataFrame({
        "fd_generated": distances, "state": states, "tried": [0.01, 0.03, 0.1],
        "done": [state == "done" for state in states],
    })  # fmt: skip
    monkeypatch.setattr(paper_rows.Experiment, "search", lambda self, label, train: found)
    assert experiment.inside("L2") is inside
    assert not dataclasses.replace(experiment, numbers_of="elsewhere").inside("L2")


def test_a_few_steps_are_timed_at_the_middle_from_the_searchs_seed(experiment, monkeypatch):
    timed = []

    def seconds(point, dataset):
        timed.append((point, dataset))
        return 0.25

    monkeypatch.setattr(paper_rows.step_cost, "seconds_in_training", seconds)
    many = dataclasses.replace(experiment, setting=Setting("mlp64", 3, 40, 32, 0.5))
    assert many.step_seconds("L1") == 0.25
    expected = Point("l1", {"scale": 0.1}, 0, Setting("mlp64", 3, 2, 32, 0.5))
    assert timed == [(expected, many.dataset)]


@pytest.mark.parametrize(
    ("images", "searched", "reported"), [(400, 5, 7), (320, 4, 5), (321, 5, 6), (100, 2, 2)]
)
def test_a_search_trains_on_four_fifths_of_the_images(experiment, images, searched, reported):
    """Three epochs of batches of 64, the last one smaller."""
    setting = dataclasses.replace(experiment.setting, epochs=3)
    of = dataclasses.replace(experiment, dataset=DIGITS.subset(images), setting=setting)
    assert (of.steps(searched=True), of.steps(searched=False)) == (3 * searched, 3 * reported)


def test_runs_that_wait_for_a_number_are_missing_from_every_seed(experiment):
    waiting = dataclasses.replace(experiment, numbers_of="nothing_recorded", seeds=(4, 5))
    found = waiting.runs("L2", train=False)
    assert found[["seed", "state", "error", "epochs"]].values.tolist() == [
        [4, "missing", "", 1], [5, "missing", "", 1]
    ]  # fmt: skip


def test_what_is_no_row_of_the_tables_is_an_error():
    assert paper_rows._label("l2", {"alpha": 7.0}) == "L2"
    assert paper_rows._label("l2", {"sigma2": 1.0}) == "VAE, variance 1"
    with pytest.raises(ValueError, match=r"no row of the tables is l2 with {'sigma2': 2\.0}"):
        paper_rows._label("l2", {"sigma2": 2.0})
    with pytest.raises(ValueError, match="no row of the tables is huber"):
        paper_rows._label("huber", {})


def test_values_are_a_factor_of_about_three_apart():
    assert [paper_rows.ladder(0.1, step) for step in range(-2, 3)] == [0.01, 0.03, 0.1, 0.3, 1]
    assert [paper_rows.ladder(30, step) for step in (-1, 0, 1)] == [10, 30, 100]


@pytest.mark.parametrize(
    ("best", "tried", "inside"),
    [
        (0.03, [0.003, 0.01, 0.03, 0.1, 0.3], True),
        (0.3, [0.003, 0.01, 0.03, 0.1, 0.3, 1], True),
        (0.001, [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3], True),
        (0, [0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3], False),
        (30, [0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30], False),
    ],
)
def test_a_search_goes_on_beyond_an_end_that_is_best(experiment, monkeypatch, best, tried, inside):
    """A row whose distance is smallest at one value, with runs that cost nothing."""
    monkeypatch.setattr(paper_rows, "TRIED", 5)
    monkeypatch.setattr(paper_rows, "MORE", 4)
    done = {}

    def progress(points, **_):
        values = [point.options["alpha"] for point in points]
        states = ["done" if value in done else "missing" for value in values]
        return pd.DataFrame(
            {
                "state": states,
                "done": [state == "done" for state in states],
                "fd_generated": [done.get(value) for value in values],
            }
        )

    def complete(points, **_):
        values = [point.options["alpha"] for point in points]
        assert not done.keys() & set(values), "a value is run twice"
        done.update({value: abs(value - best) for value in values})
        return progress(points)

    monkeypatch.setattr(paper_rows.runs, "progress", progress)
    monkeypatch.setattr(paper_rows.runs, "complete", complete)
    assert (experiment.chosen("L2"), experiment.inside("L2")) == (None, False)
    assert experiment.search("L2", train=True)["tried"].tolist() == tried
    assert experiment.search("L2", train=False)["tried"].tolist() == tried
    nearest = min(tried, key=lambda value: abs(value - best))
    assert (experiment.chosen("L2"), experiment.inside("L2")) == (nearest, inside)


def test_a_row_is_searched_then_run_and_nothing_is_run_twice(experiment, tmp_path):
    assert experiment.chosen("L2") is None
    assert experiment.runs("L2", train=False)["state"].tolist() == ["missing"]
    done = experiment.complete("L2")
    search = experiment.search("L2", train=False)
    assert search["dataset"].eq("digits-400-without-test").all()
    assert search["fd_generated"].notna().all()
    best = search.loc[search["fd_generated"].idxmin(), "tried"]
    assert experiment.chosen("L2") == best
    assert done["options"][0] == {"alpha": best}
    measured = ["fd_generated", "fd_gmm10", "fd_midpoint", "fd_reconstructed"]
    assert done[measured].notna().all(axis=None)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.json")}
    assert len(written) == len(search) + 1
    experiment.complete("L2")
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.json")}


def test_what_is_due_is_the_search_then_the_reported_runs_then_nothing(experiment):
    experiment = dataclasses.replace(experiment, seeds=(1, 2))
    due = experiment.due("L2")
    assert (due.experiment, due.dataset) == (experiment.search_name, "digits-400-without-test")
    assert due.run(due.points[1:])["run"].tolist() == ["alpha 0.03", "alpha 0.1"]
    due = experiment.due("L2")
    assert [point.options for point in due.points] == [{"alpha": 0.01}]
    due.run(due.points)
    due = experiment.due("L2")
    assert (due.experiment, due.dataset) == (experiment.name, "digits-400")
    assert due.run(due.points[:1])["run"].tolist() == ["seed 1"]
    assert [point.seed for point in experiment.due("L2").points] == [2]
    experiment.complete("L2")
    assert experiment.due("L2") is None


def test_what_an_experiment_says_is_measured(experiment, monkeypatch):
    asked = {}

    def complete(points, *, experiment, measure, **_):
        asked[experiment] = measure.keywords
        return pd.DataFrame({"state": "done"}, index=range(len(points)))

    monkeypatch.setattr(paper_rows.runs, "complete", complete)
    monkeypatch.setattr(paper_rows.Experiment, "chosen", lambda self, label: 0.1)
    full = dataclasses.replace(
        experiment, priors=("gmm10", "gmm100"), second_stage=("L2",), likelihood_draws=7,
        likelihood_images=9,
    )  # fmt: skip
    full.runs("L2", train=True)
    shared = {"extractor": NETWORK, "against": "test", "samples": 100}
    [space] = asked[full.name].pop("others")
    assert space.name == "random-conv"
    assert asked[full.name] == shared | {
        "priors": ("gmm10", "gmm100", "second_stage"), "interpolate": True, "two_sample": True,
        "likelihood_draws": 7, "likelihood_images": 9,
    }  # fmt: skip
    dataclasses.replace(full, random_space=False).runs("NCP-VAE", train=True)
    assert asked[full.name]["priors"] == ("gmm10", "gmm100", "ncp", "ncp_sir")
    assert asked[full.name]["others"] == ()
    full.runs("AE", train=True)
    assert asked[full.name]["priors"] == ("gmm10", "gmm100")  # its own is one of them
    full.lengths("L2", [3], train=True)
    assert asked[f"{full.name}_epochs"] == shared | {"priors": ("gmm10", "gmm100")}
    full._search(paper_rows.ROWS["AE"], [])
    assert asked[full.search_name] == shared | {"priors": ("gmm10",)}


def write_search(experiment, label, **metrics):
    """Records of a search as it would leave them: for each metric, of each value tried."""
    points = experiment._points(paper_rows.ROWS[label], paper_rows.ROWS[label].values)
    for point, *values in zip(points, *metrics.values(), strict=True):
        parameters = point.parameters("digits-400-without-test")
        records.save(experiment.search_name, parameters, dict(zip(metrics, values, strict=True)))
        yield


def test_the_number_that_is_run_is_the_one_that_was_searched(experiment):
    """The last value is the best one, neither the middle one nor, of AE, that of plain samples."""
    experiment = dataclasses.replace(experiment, seeds=(1, 2))
    for _ in write_search(experiment, "L2", fd_generated=[3.0, 2.0, 1.0]):
        value = experiment.chosen("L2")
        assert value == (0.1 if experiment.due("L2").experiment == experiment.name else None)
    assert value == 0.1
    found = experiment.runs("L2", train=False)
    assert found["seed"].tolist() == [1, 2]
    due = experiment.due("L2").points
    assert [point.seed for point in due] == [1, 2]
    later = experiment.lengths("L2", [2], train=False)
    for options in (*found["options"], *later["options"], *(point.options for point in due)):
        assert options == {"alpha": 0.1}
    [*_] = write_search(experiment, "AE", fd_generated=[1.0, 2.0, 3.0], fd_gmm10=[3.0, 2.0, 1.0])
    assert experiment.runs("AE", train=False)["lr"].unique().tolist() == [3e-3]


def test_a_number_from_elsewhere_is_that_of_the_same_row(experiment):
    for label, value in (("L1", 0.3), ("L2", 0.1)):
        point = experiment._point(paper_rows.ROWS[label], value, 1)
        records.save("elsewhere", point.parameters("digits-400"), {"fd_generated": 1.0})
    other = dataclasses.replace(experiment, numbers_of="elsewhere")
    assert (other.chosen("L1"), other.chosen("L2")) == (0.3, 0.1)
    assert other.chosen("FFL") is None
    assert other.chosen("AE") == experiment.setting.lr
    assert other.runs("L2", train=False)["options"].tolist() == [{"alpha": 0.1}]


def test_a_row_has_failed_where_a_reported_run_has_or_every_run_of_the_search(experiment):
    def fail(name, point, dataset):
        parameters = point.parameters(dataset)
        file = records.within(records.folder(), name) / f"{records.key(name, parameters)}.failed"
        records.write(file, {"parameters": parameters, "error": f"in {name}"})

    rows = {label: paper_rows.ROWS[label] for label in ("L2", "L1", "FFL")}
    for label, row in rows.items():
        fail(experiment.search_name, experiment._points(row, [10.0])[0], "digits-400-without-test")
        if label != "FFL":
            [*_] = write_search(experiment, label, fd_generated=[3.0, 2.0, 1.0])
    fail(experiment.name, experiment._point(rows["L1"], 0.3, 1), "digits-400")
    told = paper_rows.labelled(experiment.name)
    assert set(told) == {"label", "state", "error"}
    assert told[["label", "state", "error"]].to_numpy().tolist() == [
        ["FFL", "failed", f"in {experiment.search_name}"], ["L1", "failed", f"in {experiment.name}"]
    ]  # fmt: skip
    done = experiment._point(rows["L2"], 0.1, 1).parameters("digits-400")
    records.save(experiment.name, done, {"fd_generated": 1.0})
    assert paper_rows.labelled(experiment.name)["label"].to_dict() == {0: "L2", 1: "FFL", 2: "L1"}


def test_what_waits_for_numbers_from_elsewhere_is_due_without_runs(experiment):
    waiting = dataclasses.replace(experiment, numbers_of="nothing_recorded")
    assert waiting.due("L2").points == []
    assert [point.seed for point in waiting.due("AE").points] == [1]  # at the setting's rate


def test_the_learning_rate_is_the_setting_where_a_row_has_nothing_else_free(experiment):
    done = experiment.complete("Diag-I, trainable")
    assert done["lr"][0] == experiment.chosen("Diag-I, trainable")
    assert done["options"][0] == {"estimate": "trainable"}
    assert done["nll"].notna().all()


def test_codes_that_need_not_follow_the_prior_are_judged_by_a_mixture(experiment):
    search = experiment.search("AE", train=True)
    assert search["fd_gmm10"].notna().all()
    assert experiment.chosen("AE") == search.loc[search["fd_gmm10"].idxmin(), "tried"]


def test_records_find_their_rows_without_the_data(experiment):
    assert paper_rows.labelled("fid_tables_nothing").empty
    for label in ("VAE, variance 1", "Diag-I, trainable", "FEnVAE, double"):
        experiment.complete(label)
    found = paper_rows.labelled(experiment.name)
    assert sorted(found["label"]) == ["Diag-I, trainable", "FEnVAE, double", "VAE, variance 1"]
    here = experiment.all_runs()
    assert set(here["state"]) == {"done", "missing"}
    assert len(here) == len(paper_rows.ROWS)
    assert here.index.is_unique
    expected = here.dropna(subset="key").set_index("key")["label"]
    assert expected.to_dict() == found.set_index("key")["label"].to_dict()


def test_a_row_whose_search_fails_for_every_value_has_failed(experiment, monkeypatch):
    def fails(*_, **__):
        raise FloatingPointError("the loss is not finite")

    monkeypatch.setattr("envae.experiments.runs._record.train", fails)
    done = experiment.complete("AE")
    assert experiment.chosen("AE") is None
    assert done["state"].tolist() == ["failed"]
    assert done["error"].tolist() == [
        "every run of the search: FloatingPointError: the loss is not finite"
    ]
    told = paper_rows.labelled(experiment.name)
    assert told[["label", "state", "error"]].values.tolist() == [
        ["AE", "failed", "FloatingPointError: the loss is not finite"]
    ]


def test_rows_are_trained_in_other_numbers_of_epochs_at_the_chosen_value(experiment, tmp_path):
    found = experiment.lengths("L2", [1, 2], train=False)
    assert found[["epochs", "state"]].values.tolist() == [[1, "missing"], [2, "missing"]]
    experiment.complete("L2")
    done = experiment.lengths("L2", [1, 2], train=True)
    assert done["epochs"].tolist() == [1, 2]
    assert done.index.is_unique
    assert done["options"].tolist() == 2 * [{"alpha": experiment.chosen("L2")}]
    assert done["fd_generated"].notna().all()
    assert len(list(tmp_path.glob(f"{experiment.name}_epochs/*.json"))) == 1
    assert len(list(tmp_path.glob(f"{experiment.name}/*.json"))) == 1


def test_pictures_are_kept_of_the_first_seed_of_the_reported_runs(experiment, tmp_path):
    def draw(vae, minimized, dataset, seed):
        assert dataset.name == "digits-400"
        return {"prior": torch.full((2, 1, 8, 8), 7, dtype=torch.uint8)}

    two = dataclasses.replace(experiment, seeds=(2, 1), draw=draw)
    done = two.complete("L2").set_index("seed")
    assert [path.stem for path in tmp_path.glob("*/*.png")] == [done["key"][2]]
    assert kept_pictures.load(two.name, done["key"][2])["prior"].shape == (2, 1, 8, 8)
    two.lengths("L2", [2], train=True)
    assert len(list(tmp_path.glob("*/*.png"))) == 1


def test_runs_of_a_queue_keep_the_pictures_of_the_first_seed_alone(experiment, tmp_path):
    pictures = {"prior": torch.full((2, 1, 8, 8), 7, dtype=torch.uint8)}
    two = dataclasses.replace(experiment, seeds=(2, 1), draw=lambda *_: pictures)
    two.search("L2", train=True)
    for point in two.due("L2").points:
        two.due("L2").run([point])
    done = two.runs("L2", train=False).set_index("seed")
    assert [path.stem for path in tmp_path.glob("*/*.png")] == [done["key"][2]]


def test_a_second_stage_is_trained_for_the_rows_that_are_named(experiment, monkeypatch):
    fitted = []
    monkeypatch.setitem(
        paper_rows.quality.PRIORS,
        "second_stage",
        lambda codes, seed: fitted.append(seed) or priors.GaussianMixture.fit(codes, components=2),
    )
    both = dataclasses.replace(experiment, second_stage=("L2",))
    assert both.complete("L2")["fd_second_stage"].notna().all()
    assert "fd_second_stage" not in both.complete("L1")
    assert fitted == [1]


def test_networks_of_features_have_names(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("digits-cnn", "cifar10-cnn"):
        assert paper_rows.network_of_features(name).name == name
    with pytest.raises(FileNotFoundError, match="no Inception weights"):
        paper_rows.network_of_features("inception")


def test_the_network_of_a_data_set_is_its_own_or_inception_or_random_or_none(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    network, told = paper_rows.network_for(DIGITS.subset(50))
    assert (network.name, told[:18]) == ("digits-cnn", "digits-cnn: right ")
    for name in ("cifar10-jpeg", "cifar10-jpeg-10000"):
        lossy = dataclasses.replace(DIGITS, name=name)
        assert paper_rows.network_for(lossy)[0].name == "cifar10-cnn"
    others = [dataclasses.replace(DIGITS, name=name) for name in ("cifar10", "imagefolder-8-ab")]
    for other in others:
        network, told = paper_rows.network_for(other)
        assert network.name == "random-conv"
        assert "more than 2048 training and test images, not 500" in told
    many = dataclasses.replace(other, train=torch.rand(2049, 1, 8, 8), test=torch.rand(2049, 1))
    network, told = paper_rows.network_for(many)
    assert network.name == "random-conv"
    assert "no Inception weights" in told
    for few in (other.subset(480), dataclasses.replace(other, test=other.test[:96])):
        network, told = paper_rows.network_for(few)
        assert network is None
        assert "more than 96 test images and as many in a fifth of the training images" in told


def test_unknown_rows_and_searches_without_a_measure_are_errors(experiment):
    with pytest.raises(ValueError, match="unknown row 'L3'"):
        experiment.search("L3", train=False)
    blind = paper_rows.Experiment(DIGITS, Setting(), None)
    with pytest.raises(ValueError, match="needs an extractor"):
        blind.search("L2", train=False)


# --- Table 2 of xu2025 ------------------------------------------------------------------------


def test_every_row_of_xu2025s_table_2_is_run_and_six_that_it_has_not():
    rows = paper_rows.ENERGY_BASED
    printed = {name for name in published.table("xu2025", 2)["row"] if "Impr." not in name}
    assert {row.xu2025 for row in rows.values()} - {""} == printed
    assert len(printed) == 9
    assert len(rows) == 15
    ours = ("DT-VAE, weight 0.3", "EC-VAE, multiplier 1")
    for method in ("DT-VAE", "NCP-VAE", "EC-VAE", *ours):
        plain, *others = [rows[f"{method}{ending}"] for ending in ("", " + EnL", " + FEnL")]
        for row in others:  # nothing is tuned for one of them
            assert row.values == plain.values
            own = {"loss", "loss_options", "samples", "draws"}
            assert all(
                row.options[name] == plain.options[name] for name in plain.options.keys() - own
            )


@pytest.mark.parametrize("label", paper_rows.ENERGY_BASED)
def test_rows_with_an_energy_are_found_again_by_their_options(experiment, label):
    row = paper_rows.ENERGY_BASED[label]
    point = experiment._point(row, 0.1, 1)
    minimized = objective(point.objective, **point.options)
    minimized.prepare((1, 8, 8))
    assert minimized.kl_weight == row.value_in(point.options) == 0.1
    if point.objective in ("dt_vae", "ec_vae"):
        assert paper_rows._label(point.objective, point.options) == label
    else:
        assert row.priors == ("ncp",)


@pytest.mark.filterwarnings("ignore:the (classifier|prior):RuntimeWarning")  # after two updates
def test_a_contrastive_prior_is_searched_by_its_own_samples(experiment, monkeypatch):
    small = functools.partial(priors.NoiseContrastive.fit, updates=2, hidden=4)
    for name in ("ncp", "ncp_sir"):
        monkeypatch.setitem(quality.PRIORS, name, small)
    monkeypatch.setattr(paper_rows, "TRIED", 1)
    monkeypatch.setattr(paper_rows, "MORE", 0)
    experiment = dataclasses.replace(experiment, prefix="energy_based")
    found = experiment.complete("NCP-VAE")
    assert found[["fd_ncp", "fd_ncp_sir"]].notna().all(axis=None)
    assert "fd_ncp_sir" not in experiment.search("NCP-VAE", train=False)
    assert experiment.search("NCP-VAE", train=False)["fd_ncp"].notna().all()
    assert experiment.name == "energy_based_digits-400"
    assert set(experiment.all_runs(["NCP-VAE"])["label"]) == {"NCP-VAE"}


def test_rows_after_a_start_have_as_many_epochs_and_records_of_their_own(experiment):
    setting = dataclasses.replace(experiment.setting, epochs=2)
    start = Start("l2", {"alpha": 0.03}, 1)
    cold = dataclasses.replace(experiment, setting=setting)
    warm = dataclasses.replace(cold, start=start, prefix="warm")
    found = warm.complete("DT-VAE, weight 0.3 + FEnL")
    assert (found["state"] == "done").all()
    assert found["epochs"].tolist() == [2]
    assert found["start"].tolist() == [dataclasses.asdict(start)]
    assert (cold.search("DT-VAE, weight 0.3 + FEnL", train=False)["state"] == "missing").all()
