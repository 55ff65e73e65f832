"""The runs behind chapter 06: what they vary, what they watch, and their records."""

import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

from envae import datasets, fenvae_study
from envae.fenvae_study import Case, _step_cost
from envae.metrics import extractor
from envae.objectives import objective


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def features():
    return extractor.load("digits-cnn")[0]


def gradients(case, x, *, seed=0):
    """Gradients of a batch's loss by the parameters of the model, by name."""
    vae, minimized = case.build(tuple(x.shape[1:]))
    torch.manual_seed(seed)
    minimized(vae, x).total.backward()
    return {name: weight.grad.clone() for name, weight in vae.named_parameters()}


def test_batch_norm_stands_before_every_relu():
    vae, _ = Case("l2", {}, network="conv+bn").build((1, 16, 16))
    for network in (vae.encoder, vae.decoder):
        kinds = [type(layer) for layer in network]
        relus = [i for i, kind in enumerate(kinds) if kind is nn.ReLU]
        assert relus
        assert all(kinds[i - 1] in (nn.BatchNorm1d, nn.BatchNorm2d) for i in relus)
    assert vae.decode(vae.encode(torch.rand(4, 1, 16, 16)).mean).shape == (4, 1, 16, 16)


def test_initial_variance_scales_the_posterior(digits):
    shared = {"objective": "l2", "options": {}, "seed": 3}
    wide, _ = Case(**shared).build(digits.image_shape)
    sharp, _ = Case(**shared, initial_variance=1e-4).build(digits.image_shape)
    a, b = (vae.encode(digits.test[:5]) for vae in (wide, sharp))
    torch.testing.assert_close(b.variance, 1e-4 * a.variance)
    torch.testing.assert_close(b.mean, a.mean)


def test_three_calls_differ_from_one_only_under_batch_norm(digits):
    x = digits.train[:32]
    for network, alike in (("conv", True), ("conv+bn", False)):
        one, three = (gradients(Case(name, {}, network=network), x)
                      for name in ("fenvae", "three_calls"))  # fmt: skip
        same = [torch.allclose(one[name], three[name], atol=1e-5) for name in one]
        assert all(same) == alike


def test_variants_stop_the_gradient_where_they_say(digits):
    """Beside a plain first term, whose gradient the variants share."""
    x, options = digits.train[:32], {"alpha": 0.1}
    free = gradients(Case("fenvae", options), x)
    center = gradients(Case("stop_center", options), x)
    decoder = gradients(Case("stop_decoder", options), x)
    vae, _ = Case("fenvae", options).build(digits.image_shape)
    torch.manual_seed(0)
    posterior = vae.encode(x)
    first = (vae.decode(posterior.rsample()) - x).flatten(1).norm(dim=1).mean()
    first.backward()
    for name, weight in vae.decoder.named_parameters():
        torch.testing.assert_close(decoder[f"decoder.{name}"], weight.grad, atol=1e-6, rtol=1e-4)
    assert all(weight.requires_grad for weight in vae.parameters())
    for other in (center, decoder):
        assert not torch.allclose(other["decoder.0.weight"], free["decoder.0.weight"], atol=1e-5)
    # The encoder is paid for the spread as before.
    torch.testing.assert_close(decoder["encoder.1.weight"], free["encoder.1.weight"])


def test_spread_terms_of_a_linear_decoder_agree(digits):
    """The stand-in is distributed as half the distance of two draws where g is affine."""
    vae, _ = Case("l2", {}, network="linear").build(digits.image_shape)
    terms = fenvae_study.spread_terms(vae, digits.train, draws=4, seed=0)
    assert terms["stand_in"].mean().item() == pytest.approx(terms["spread"].mean().item(), rel=0.03)
    torch.testing.assert_close(terms["first"] - terms["spread"], terms["energy_score"])


def test_normalized_apart_leaves_the_model_alone(digits):
    vae, _ = Case("fenvae", {}, network="conv+bn").build(digits.image_shape)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    ratios = fenvae_study.normalized_apart(vae, digits.test, seed=0)
    assert set(ratios) == {"training, one call", "training, a call each"}
    assert all(math.isfinite(ratio) and ratio > 0 for ratio in ratios.values())
    for name, value in vae.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_gradient_noise_knows_the_reference_and_the_biased(digits):
    vae, _ = Case("envae", {}).build(digits.image_shape)
    compared = {
        "few": objective("envae", samples=2),
        "many": objective("envae", samples=8),
        "without KL": objective("envae", samples=8, alpha=1e-6),
    }
    noise = fenvae_study.gradient_noise(
        vae, compared, digits.train[:16], reference=objective("envae", samples=16), repeats=30
    )
    assert noise.loc["many", "variance"] < 0.5 * noise.loc["few", "variance"]
    assert noise.loc["many", "bias"] < 0.1
    assert noise.loc["without KL", "bias"] > 2 * noise.loc["many", "bias"]


def test_a_followed_run_ends_as_a_run_in_one_piece(digits, features):
    case = Case("envae", {"samples": 2}, latent_dim=4, seed=5)
    whole, minimized = case.build(digits.image_shape)
    case.train(whole, minimized, digits.train, epochs=2)
    pieces, frame = fenvae_study.follow(case, [1, 2], dataset=digits, extractor=features)
    assert frame["epoch"].tolist() == [1, 2]
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(pieces.state_dict()[name], value)


def test_cases_are_run_once_and_found_again(digits, features, tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    small = {"latent_dim": 2, "epochs": 1}
    shared = {"dataset": digits, "extractor": features, "experiment": "try", "jobs": 1}
    rows = {"sharp": ("envae", {"samples": 2, "beta": 0.5}), "plain": ("l2", {})}

    def lookup(cases):
        fenvae_study.complete(cases, **shared)
        return fenvae_study.recorded(cases, dataset="digits", experiment="try")

    found = fenvae_study.search(rows, [0.1, 1.0], lookup=lookup, **small)
    assert found.shape == (2, 2)
    written = sorted((tmp_path / "try").iterdir())
    assert len(written) == 4
    times = [path.stat().st_mtime_ns for path in written]
    again = lookup([fenvae_study.weighted(rows["sharp"], 0.1, seed=0, **small)])
    assert [path.stat().st_mtime_ns for path in written] == times
    assert again["alpha"].tolist() == [0.05]
    assert again["fd_generated"].tolist() == [found.loc["sharp", 0.1]]
    same, runs = fenvae_study.searched(rows, [0.1, 1.0], [4, 5], lookup=lookup, **small)
    assert same.equals(found)
    assert list(runs.index) == [(row, seed) for row in rows for seed in (4, 5)]
    best = same.idxmin(axis=1)
    assert runs["alpha"].tolist() == [0.5 * best["sharp"]] * 2 + [best["plain"]] * 2
    missing = [fenvae_study.weighted(rows["plain"], 0.1, seed=9, **small)]
    with pytest.raises(LookupError, match="1 of 1 runs of 'try' have no record"):
        fenvae_study.recorded(missing, dataset="digits", experiment="try")


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

    monkeypatch.setattr(_step_cost, "_step", fake)
    monkeypatch.setattr(_step_cost, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    cases = {"one": Case("l2", {}), "two": Case("fenvae", {})}
    seconds = fenvae_study.step_seconds(cases, (1, 8, 8), repeats=3, load=load)
    assert log == ["load", "l2", "load", "fenvae"] * (2 + 3)
    assert seconds.loc["one"].tolist() == [10 + count for count in (3, 4, 5)]
    assert seconds.loc["two"].tolist() == [10 + 3 * count for count in (3, 4, 5)]


def test_a_step_trains_and_is_timed():
    cases = {"one": Case("l2", {}, batch_size=2), "two": Case("fenvae", {}, batch_size=2)}
    seconds = fenvae_study.step_seconds(cases, (1, 8, 8), repeats=3)
    assert seconds.shape == (2, 3)
    assert (seconds > 0).all(axis=None)


# The third round is slow for both rows, which no ratio should show.
ROUNDS = pd.DataFrame([[1.0, 2.0, 40.0], [1.5, 4.0, 40.0]], index=["L2", "FEnVAE"])


def test_ratios_are_taken_within_a_round():
    ratios = fenvae_study.step_ratios(ROUNDS)
    assert ratios.loc["L2"].tolist() == [1.0, 1.0, 1.0, 2.0]
    assert ratios.loc["FEnVAE"].to_dict() == {
        "median": 1.5,
        "low": 1.0,
        "high": 2.0,
        "seconds": 4.0,
    }


def test_recorded_steps_are_those_written_last(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setattr(_step_cost, "_EXPERIMENT", "step_cost_try")
    cases = {"L2": Case("l2", {}), "FEnVAE": Case("fenvae", {})}
    other = {"L2": Case("l2", {}), "AE": Case("ae", {})}
    shape = (1, 8, 8)
    with pytest.raises(LookupError, match="0 records of data-bound steps of 'mlp'"):
        fenvae_study.recorded_steps("data-bound", "mlp")
    fenvae_study.record_steps(2 * ROUNDS + 1, "data-bound", cases, shape)
    fenvae_study.record_steps(ROUNDS, "data-bound", cases, shape)
    fenvae_study.record_steps(ROUNDS.rename({"FEnVAE": "AE"}), "variance-rows", other, shape)
    assert len(list(tmp_path.rglob("*.json"))) == 2
    found = fenvae_study.recorded_steps("data-bound", "mlp")
    pd.testing.assert_frame_equal(found, fenvae_study.step_ratios(ROUNDS), check_like=True)
    fenvae_study.record_steps(ROUNDS, "data-bound", cases, (1, 28, 28))
    with pytest.raises(LookupError, match="2 records"):
        fenvae_study.recorded_steps("data-bound", "mlp")


def test_cases_of_one_record_share_their_setting():
    cases = {"L2": Case("l2", {}), "FEnVAE": Case("fenvae", {}, batch_size=16)}
    with pytest.raises(ValueError, match="share network, latent_dim and batch_size, received"):
        fenvae_study.record_steps(ROUNDS, "compute-bound", cases, (1, 8, 8))


def test_the_benchmark_says_how_it_is_called():
    script = Path(__file__).parent.parent / "benchmarks" / "step_cost.py"
    told = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, check=True
    )
    assert "--record" in told.stdout


def test_a_latent_walk_goes_from_one_code_to_the_other(digits):
    vae, _ = Case("l2", {}).build(digits.image_shape)
    images = digits.test[:6]
    walk = fenvae_study.latent_walk(vae, images)
    assert walk.shape == (12, 3, 1, 8, 8)
    ends = vae.decode(vae.encode(images).mean).detach()
    torch.testing.assert_close(torch.cat([walk[0], walk[-1]]), ends)
