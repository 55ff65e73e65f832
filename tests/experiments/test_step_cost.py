"""What a training step costs beside another: timing, ratios, records."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from envae.experiments import step_cost
from envae.experiments.runs import Point, Setting

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
