"""What a training step costs beside another: timing, ratios, records."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from envae import datasets
from envae.experiments import step_cost
from envae.experiments.runs import Point, Setting
from envae.training import fit

SHAPE = (1, 8, 8)


def row(name, batch_size=64):
    return Point(name, {}, 0, Setting(batch_size=batch_size))


def test_steps_are_timed_in_turns(monkeypatch):
    """On a clock of ours, which runs slower from round to round."""
    clock, log = SimpleNamespace(now=0.0, round=0), []

    def load():
        log.append("load")
        clock.round += len(log) % 4 == 1
        clock.now += 10.0

    def fake(case, image_shape):
        def step():
            log.append(case.objective)
            clock.now += clock.round * {"l2": 1.0, "fenvae": 3.0}[case.objective]

        return step

    monkeypatch.setattr(step_cost, "_step", fake)
    monkeypatch.setattr(step_cost, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    cases = {"one": row("l2"), "two": row("fenvae")}
    seconds = step_cost.step_seconds(cases, SHAPE, repeats=3, load=load)
    assert log == ["load", "l2", "load", "fenvae"] * (2 + 3)
    assert seconds.loc["one"].tolist() == [10 + count for count in (3, 4, 5)]
    assert seconds.loc["two"].tolist() == [10 + 3 * count for count in (3, 4, 5)]


def test_a_step_trains_and_is_timed():
    cases = {"one": row("l2", 2), "two": row("fenvae", 2)}
    seconds = step_cost.step_seconds(cases, SHAPE, repeats=3)
    assert seconds.shape == (2, 3)
    assert (seconds > 0).all(axis=None)


class Kept(Point):
    """A run that keeps the model that it builds."""

    def build(self, image_shape):
        built = super().build(image_shape)
        object.__setattr__(self, "vae", built[0])
        return built


def test_a_step_is_one_of_adam_on_one_batch_of_images_at_the_rate_of_the_setting():
    case = Kept("ae", {}, 3, Setting("mlp", 4, batch_size=5, lr=0.01))
    step = step_cost._step(case, SHAPE)
    stepped = case.vae
    vae, minimized = case.build(SHAPE)
    adam = torch.optim.Adam(vae.parameters(), lr=0.01)
    x = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        adam.zero_grad()
        minimized(vae, x).total.backward()
        adam.step()
        step()
    for name, weight in vae.state_dict().items():
        torch.testing.assert_close(stepped.state_dict()[name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"), [("diag_i", {"estimate": "trainable"}), ("dt_vae", {"latent_dim": 4})]
)
def test_a_step_has_the_optimizer_that_a_training_has(monkeypatch, name, options):
    """Of objectives with parameters of their own, one of them with moments of its own."""
    made, adam = [], torch.optim.Adam

    def kept(parameters, **given):
        parameters = list(parameters)
        made.append((given, [weight.shape for weight in parameters]))
        return adam(parameters, **given)

    monkeypatch.setattr(torch.optim, "Adam", kept)
    case = Point(name, options, 0, Setting("mlp", 4, batch_size=5, lr=0.01))
    step_cost._step(case, SHAPE)()
    images = torch.rand(5, *SHAPE)
    fit(*case.build(SHAPE), images, epochs=1, batch_size=5, lr=0.01, progress=False)
    (given, weights), (its, trained) = made
    assert given | {"capturable": False} == its
    assert weights == trained


@pytest.mark.parametrize(
    ("images", "given", "used", "seconds"),
    [
        (100, {}, 40, 1.5),
        (100, {"steps": 2}, 20, 3.0),
        (25, {}, 25, 2.0),  # the last batch has five
        (31, {}, 31, 2.0),  # and here eleven
    ],
)
def test_seconds_of_a_step_are_those_of_the_last_epoch_over_its_batches(
    monkeypatch, images, given, used, seconds
):
    trained = []

    def train(case, dataset):
        trained.append((case, dataset))
        return None, None, pd.DataFrame({"seconds": [9.0, 8.0, 6.0]})

    monkeypatch.setattr(step_cost.runs, "train", train)
    case, digits = row("l2", 10), datasets.load("digits").subset(images)
    assert step_cost.seconds_in_training(case, digits, **given) == seconds
    [(of, few)] = trained
    assert of is case
    assert torch.equal(few.train, digits.train[:used])
    assert torch.equal(few.train_labels, digits.train_labels[:used])


# The third round is slow for both rows, which no ratio should show.
ROUNDS = pd.DataFrame([[1.0, 2.0, 40.0], [1.5, 4.0, 40.0]], index=["L2", "FEnVAE"])


def test_ratios_are_taken_within_a_round():
    ratios = step_cost.step_ratios(ROUNDS)
    assert ratios.loc["L2"].tolist() == [1.0, 1.0, 1.0, 2.0]
    assert ratios.loc["FEnVAE"].to_dict() == {
        "median": 1.5,
        "low": 1.0,
        "high": 2.0,
        "seconds": 4.0,
    }


def test_recorded_steps_are_those_written_last(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setattr(step_cost, "_EXPERIMENT", "step_cost_try")
    cases = {"L2": row("l2"), "FEnVAE": row("fenvae")}
    other = {"L2": row("l2"), "AE": row("ae")}
    with pytest.raises(LookupError, match="0 records of data-bound steps of 'mlp'"):
        step_cost.recorded_steps("data-bound", "mlp")
    step_cost.record_steps(2 * ROUNDS + 1, "data-bound", cases, SHAPE)
    step_cost.record_steps(ROUNDS, "data-bound", cases, SHAPE)
    step_cost.record_steps(ROUNDS.rename({"FEnVAE": "AE"}), "variance-rows", other, SHAPE)
    assert len(list(tmp_path.rglob("*.json"))) == 2
    found = step_cost.recorded_steps("data-bound", "mlp")
    pd.testing.assert_frame_equal(found, step_cost.step_ratios(ROUNDS), check_like=True)
    step_cost.record_steps(ROUNDS, "data-bound", cases, (1, 28, 28))
    with pytest.raises(LookupError, match="2 records"):
        step_cost.recorded_steps("data-bound", "mlp")


def test_a_record_says_what_was_timed_and_what_its_numbers_are(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    setting = Setting("conv", 3, batch_size=16)
    cases = {name: Point(name, {}, 0, setting) for name in ("l2", "ae")}
    step_cost.record_steps(ROUNDS, "compute-bound", cases, (3, 8, 9))
    [file] = tmp_path.rglob("*.json")
    told = json.loads(file.read_text())
    assert told["parameters"] == {
        "kind": "compute-bound", "network": "conv", "image_shape": [3, 8, 9], "latent_dim": 3,
        "batch_size": 16,
    }  # fmt: skip
    metrics, units = told["metrics"], told["units"]
    assert metrics["threads"] == torch.get_num_threads()
    assert units["threads"] == "threads of torch"
    ratio = "ratio to the step of L2 in the same round"
    expected = {
        "median": (1.5, f"{ratio}, median of 3 rounds"),
        "low": (1.0, f"{ratio}, lowest of 3 rounds"),
        "high": (2.0, f"{ratio}, highest of 3 rounds"),
        "seconds": (4.0, "seconds, median of 3 rounds"),
    }
    for name, pair in expected.items():
        assert (metrics[f"FEnVAE | {name}"], units[f"FEnVAE | {name}"]) == pair
    assert len(metrics) == 2 * 4 + 1


def test_a_table_comes_back_in_the_order_of_its_rows():
    table = pd.DataFrame(
        {"median": [2.0, 1.0], "low": [1.5, 1.0], "high": [3.0, 1.0], "seconds": [0.2, 0.1]},
        index=["L2", "AE"],
    )
    values = {name: value for name, (value, _) in step_cost.as_values(table, "ratio", 3).items()}
    found = step_cost.as_table(pd.Series({"threads": 2} | values | {"other | median": None}))
    pd.testing.assert_frame_equal(found, table)


def test_cases_of_one_record_share_their_setting():
    cases = {"L2": row("l2"), "FEnVAE": row("fenvae", 16)}
    with pytest.raises(ValueError, match="share network, latent_dim and batch_size, received"):
        step_cost.record_steps(ROUNDS, "compute-bound", cases, SHAPE)


def test_the_benchmark_says_how_it_is_called(monkeypatch, capsys):
    script = Path(__file__).parents[2] / "benchmarks" / "step_cost.py"
    monkeypatch.setattr("sys.argv", [str(script), "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(script), run_name="__main__")
    assert "--record" in capsys.readouterr().out
