"""The runs behind chapter 12: what they vary, what they watch, and their records."""

import dataclasses
import functools
import itertools
import json
import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

from envae import datasets
from envae.evaluation import seeded
from envae.experiments import fenvae, runs
from envae.experiments.fenvae import Case
from envae.experiments.runs import Setting, Start
from envae.metrics import extractor
from envae.scores import antithetic_score
from envae.vae import gaussian


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def features():
    return extractor.load("digits-cnn")[0]


@pytest.fixture
def a_second_an_epoch(monkeypatch):
    """Clocks of both trainings that go on by a second whenever somebody looks."""
    for module in ("training._loop", "experiments.batched"):
        clock = SimpleNamespace(perf_counter=itertools.count(7).__next__)
        monkeypatch.setattr(f"envae.{module}.time", clock)


def case(name, options=None, *, initial_variance=1.0, **setting):
    """A case from seed 3."""
    return Case(name, options or {}, 3, Setting(**setting), initial_variance=initial_variance)


def gradients(case, x, *, seed=0):
    """Gradients of a batch's loss by the parameters of the model, by name."""
    vae, minimized = case.build(tuple(x.shape[1:]))
    torch.manual_seed(seed)
    minimized(vae, x).total.backward()
    return {name: weight.grad.clone() for name, weight in vae.named_parameters()}


def test_batch_norm_stands_before_every_relu():
    vae, _ = case("l2", network="conv+bn").build((1, 16, 16))
    for network in (vae.encoder, vae.decoder):
        kinds = [type(layer) for layer in network]
        relus = [i for i, kind in enumerate(kinds) if kind is nn.ReLU]
        assert relus
        assert all(kinds[i - 1] in (nn.BatchNorm1d, nn.BatchNorm2d) for i in relus)
    assert vae.decode(vae.encode(torch.rand(4, 1, 16, 16)).mean).shape == (4, 1, 16, 16)


def test_initial_variance_scales_the_posterior(digits):
    wide, _ = case("l2").build(digits.image_shape)
    sharp, _ = case("l2", initial_variance=1e-4).build(digits.image_shape)
    a, b = (vae.encode(digits.test[:5]) for vae in (wide, sharp))
    torch.testing.assert_close(b.variance, 1e-4 * a.variance)
    torch.testing.assert_close(b.mean, a.mean)


def test_a_network_that_cannot_be_changed_so_is_an_error():
    """The linear network's variance is a parameter beside its layers."""
    with pytest.raises(ValueError, match="sequence of layers, received SharedVariance"):
        case("l2", network="linear+bn").build((1, 8, 8))
    with pytest.raises(ValueError, match="linear does not end with a linear layer"):
        case("l2", network="linear", initial_variance=1e-4).build((1, 8, 8))


def test_three_calls_differ_from_one_only_under_batch_norm(digits):
    x = digits.train[:32]
    for network, alike in (("conv", True), ("conv+bn", False)):
        one, three = (gradients(case(name, network=network), x)
                      for name in ("fenvae", "three_calls"))  # fmt: skip
        same = [torch.allclose(one[name], three[name], atol=1e-5) for name in one]
        assert all(same) == alike


def test_variants_stop_the_gradient_where_they_say(digits):
    """Beside a plain first term, whose gradient the variants share."""
    x, options = digits.train[:32], {"alpha": 0.1}
    free = gradients(case("fenvae", options), x)
    center = gradients(case("stop_center", options), x)
    decoder = gradients(case("stop_decoder", options), x)
    vae, _ = case("fenvae", options).build(digits.image_shape)
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


def test_a_ramp_begins_with_the_first_term_and_ends_with_the_loss(digits):
    vae, ramped = case("ramped", {"ramp": 4}).build(digits.image_shape)
    _, plain = case("fenvae").build(digits.image_shape)

    def both(x):
        with seeded(0), torch.no_grad():
            mine = ramped(vae, x)
        with seeded(0), torch.no_grad():
            return mine.reconstruction.item(), plain(vae, x)

    x = digits.train[:8]
    for step in range(6):
        found, loss = both(x)
        spread = loss.parts["spread"].item()
        left_out = max(1 - step / 4, 0) * 0.5 * spread
        assert found == pytest.approx(loss.reconstruction.item() + left_out, rel=1e-5)
    ramped.eval()
    assert ramped.steps == 6
    both(x)
    assert ramped.steps == 6


def test_an_antithetic_pair_is_one_draw_and_its_mirror_image():
    """Of a decoder that gives its code: x beside m + s and m - s, which are 2 s apart."""

    class Codes:
        def encode(self, x):
            return gaussian(torch.full((len(x), 1), 3.0), torch.full((len(x), 1), 0.5))

        def decode(self, z):
            return z

    loss = fenvae.Antithetic(beta=1.0, alpha=0.2)
    assert (loss.samples, loss.beta, loss.kl_weight) == (2, 1.0, 0.2)
    torch.manual_seed(0)
    first, second = loss.draw(Codes().encode(torch.zeros(4, 1)))
    torch.testing.assert_close(first + second, torch.full((4, 1), 6.0))
    torch.manual_seed(0)
    found = loss(Codes(), torch.zeros(4, 1))
    near = (first.abs() + second.abs()).mean() / 2
    # A pair of draws is 2 sqrt(2) times as far apart as one draw is from the mean, not 2.
    apart = (first - second).abs().mean() / (2 * math.sqrt(2))
    assert found.reconstruction.item() == pytest.approx((near - apart).item())
    kl = 0.5 * (9 + 0.25 - math.log(0.25) - 1)
    assert found.regularizer.item() == pytest.approx(0.2 * kl)
    assert set(found.parts) == {"kl"}
    torch.manual_seed(0)
    rooted = fenvae.Antithetic(beta=0.5)(Codes(), torch.zeros(4, 1))
    expected = antithetic_score(first, second, torch.zeros(4, 1), beta=0.5).mean()
    assert rooted.reconstruction.item() == pytest.approx(expected.item())


def test_a_ramp_takes_a_step_at_least():
    with pytest.raises(ValueError, match="ramp must be an integer from 1 up, received 0"):
        fenvae.Ramped(ramp=0)


def test_a_ramp_in_a_stack_is_that_of_each_alone(digits):
    points = [
        case("ramped", {"ramp": 5, "alpha": a}, network="mlp64", epochs=1) for a in (0.1, 0.3)
    ]
    for point, (_, minimized, history) in zip(
        points, runs.train_stack(points, digits.subset(640)), strict=True
    ):
        *_, alone = runs.train(point, digits.subset(640))
        assert minimized.steps == 10
        assert history["total"].tolist() == pytest.approx(alone["total"].tolist(), rel=1e-4)


def test_spread_terms_of_a_linear_decoder_agree(digits):
    """The stand-in is distributed as half the distance of two draws where g is affine."""
    vae, _ = case("l2", network="linear").build(digits.image_shape)
    terms = fenvae.spread_terms(vae, digits.train, draws=4, seed=0)
    assert terms["stand_in"].mean().item() == pytest.approx(terms["spread"].mean().item(), rel=0.03)
    torch.testing.assert_close(terms["first"] - terms["spread"], terms["energy_score"])


class Identity(nn.Module):
    """Codes of two numbers are images; the posterior of x is N(x, diag(1, 4))."""

    latent_dim = 2

    def encode(self, x):
        return gaussian(x.flatten(1), torch.tensor([1.0, 2.0]).expand(len(x), 2))

    def decode(self, z):
        return z.reshape(*z.shape[:-1], 1, 1, 2)


def test_spread_terms_are_distances_of_the_draws_of_a_seed():
    x = torch.rand(5, 1, 1, 2, generator=torch.Generator().manual_seed(1))
    found = fenvae.spread_terms(Identity(), x, draws=3, seed=7)
    noise = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(7))
    moved = noise * torch.tensor([1.0, 2.0])
    pairs = [(moved[i] - moved[j]).norm(dim=1) for i, j in ((0, 1), (0, 2), (1, 2))]
    expected = {
        "first": moved.norm(dim=2).mean(0),
        "spread": torch.stack(pairs).mean(0) / 2,
        "stand_in": moved[0].norm(dim=1) / 2**0.5,
    }
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values)


def test_the_stand_in_is_compared_with_the_distance_of_the_two_draws_of_a_seed():
    x = torch.rand(5, 1, 1, 2)
    with seeded(7):
        first, second = Identity().encode(x).rsample((2,))
    apart = 2**0.5 * (first - x.flatten(1))
    expected = apart.norm(dim=1).mean() / (first - second).norm(dim=1).mean()
    found = fenvae.normalized_apart(Identity(), x, seed=7)
    assert list(found.values()) == pytest.approx([expected.item()] * 2)


def test_measured_spreads_are_means_over_the_test_images(digits):
    vae, minimized = case("l2", latent_dim=3).build(digits.image_shape)
    found = fenvae.measure(vae, minimized, digits, 2, extractor=None, samples=40)
    terms = fenvae.spread_terms(vae, digits.test[:40], draws=10, seed=2)
    for name in ("spread", "stand_in", "energy_score"):
        assert found[name][0] == pytest.approx(terms[name].mean().item())
    posterior = vae.encode(digits.test[:40])
    assert found["posterior_variance"][0] == pytest.approx(posterior.variance.mean().item())
    assert found["mean_variance"][0] == pytest.approx(posterior.mean.var(0).mean().item())


def test_normalized_apart_leaves_the_model_alone(digits):
    vae, _ = case("fenvae", network="conv+bn").build(digits.image_shape)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    ratios = fenvae.normalized_apart(vae, digits.test, seed=0)
    assert set(ratios) == {"training, one call", "training, a call each"}
    assert all(math.isfinite(ratio) and ratio > 0 for ratio in ratios.values())
    for name, value in vae.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_a_followed_run_ends_as_a_run_in_one_piece(digits, features, a_second_an_epoch):
    point = case("envae", {"samples": 2}, latent_dim=4, epochs=2)
    whole, *_ = runs.train(point, digits)
    pieces, frame = fenvae.follow(point, [1, 2], dataset=digits, extractor=features)
    assert frame["epoch"].tolist() == [1, 2]
    assert frame["seconds"].tolist() == [1, 2]  # so far
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(pieces.state_dict()[name], value)


def test_cases_followed_as_a_stack_are_those_followed_alone(
    digits, features, monkeypatch, a_second_an_epoch
):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # for two, they would be a stack each
    start = Start("l2", {"alpha": 0.03}, 1)
    cases = [
        fenvae.weighted(
            ("envae", {"samples": 2}), 0.1, seed=seed, start=start, latent_dim=4, epochs=9
        )
        for seed in (1, 2)
    ]
    found = fenvae.follow_all(cases, [2, 3, 4], dataset=digits, extractor=features)
    for point, (_, frame) in zip(cases, found, strict=True):
        _, alone = fenvae.follow(point, [2, 3, 4], dataset=digits, extractor=features)
        # Of the row's own epochs, not of the start's; two models of a stack share a second.
        assert alone["seconds"].tolist() == [1, 2, 3]
        assert frame["seconds"].tolist() == [0.5, 1, 1.5]
        pd.testing.assert_frame_equal(
            frame.drop(columns="seconds"), alone.drop(columns="seconds"), rtol=1e-3
        )


def test_a_followed_case_of_a_stack_that_is_lost_is_an_error(digits, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    cases = [case("l2", {"sigma2": sigma2}, latent_dim=2, epochs=2) for sigma2 in (1.0, 1e-39)]
    with pytest.raises(FloatingPointError, match="not finite at epoch 1"):
        fenvae.follow_all(cases, [1, 2], dataset=digits.subset(64), extractor=None)


def test_a_search_may_see_other_images_and_rows_may_start_warm():
    rows = {"warm": ("fenvae", {}), "cold": ("fenvae", {})}
    start = Start("l2", {"alpha": 0.03}, 2)
    asked = {"tried": [], "reported": []}

    def lookup(cases, kind):
        asked[kind] += cases
        return pd.DataFrame({"fd_generated": [case.options["alpha"] for case in cases]})

    found, reported = fenvae.searched(
        rows, [0.3, 0.1], [4, 5], epochs=3, starts={"warm": start},
        lookup=functools.partial(lookup, kind="reported"),
        tried=functools.partial(lookup, kind="tried"),
    )  # fmt: skip
    assert [case.seed for case in asked["tried"]] == [0] * 4
    assert [case.seed for case in asked["reported"]] == [4, 5] * 2
    for cases in asked.values():
        half = len(cases) // 2
        assert [case.start for case in cases] == [start] * half + [None] * half
        assert [case.own_epochs for case in cases] == [1] * half + [3] * half
    assert found.idxmin(axis=1).tolist() == [0.1, 0.1]
    assert reported["fd_generated"].tolist() == [0.1] * 4
    assert reported.index.names == ["row", "seed"]


def test_labels_of_a_search_may_be_pairs_and_numbers():
    def lookup(cases):
        return pd.DataFrame({"fd_generated": [case.options["alpha"] for case in cases]})

    rows = {("FEnVAE", "warm"): ("fenvae", {}), ("FEnVAE", "cold"): ("fenvae", {})}
    found, reported = fenvae.searched(rows, [0.3, 0.1], [4, 5], lookup=lookup)
    assert found.loc[("FEnVAE", "cold")].tolist() == [0.3, 0.1]
    assert reported.index.names == ["row", "start", "seed"]
    assert reported.index.tolist() == [(*pair, seed) for pair in rows for seed in (4, 5)]
    by_beta = {0.5: ("fenvae", {"beta": 0.5}), 2.0: ("fenvae", {"beta": 2.0})}
    _, reported = fenvae.searched(by_beta, [0.1], [4], lookup=lookup)
    assert reported.index.tolist() == [(0.5, 4), (2.0, 4)]


def test_a_row_at_a_weight_is_a_case_of_what_it_is_given():
    given = {"seed": 3, "start": Start("l1", {}, 2), "initial_variance": 0.5}
    found = fenvae.weighted(("envae", {"beta": 0.5}), 0.3, latent_dim=4, **given)
    assert found == Case(
        "envae", {"beta": 0.5, "alpha": 0.15}, setting=Setting(latent_dim=4, epochs=50), **given
    )


def test_cases_are_run_once_and_found_again(digits, features, tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    small = {"latent_dim": 2, "epochs": 1}
    measure = functools.partial(fenvae.measure_with_lipschitz, extractor=features)
    part = digits.subset(256)
    told = {"dataset": part.name, "experiment": "try"}
    rows = {"sharp": ("envae", {"samples": 2, "beta": 0.5}), "plain": ("l2", {})}

    def lookup(cases):
        runs.complete(cases, dataset=part, experiment="try", measure=measure, jobs=1)
        return runs.recorded(cases, **told)

    found, _ = fenvae.searched(rows, [0.1, 1.0], [], lookup=lookup, **small)
    assert found.shape == (2, 2)
    written = sorted((tmp_path / "try").iterdir())
    assert len(written) == 4
    units = json.loads(written[0].read_text())["units"]
    assert f"at {min(100, len(digits.test))} posterior means" in units["lipschitz_decoder"]
    assert f"pairs of {min(500, len(digits.test))} test images" in units["lipschitz_encoder"]
    times = [path.stat().st_mtime_ns for path in written]
    again = lookup([fenvae.weighted(rows["sharp"], 0.1, seed=0, **small)])
    assert [path.stat().st_mtime_ns for path in written] == times
    assert again["alpha"].tolist() == [0.05]
    assert again["fd_generated"].tolist() == [found.loc["sharp", 0.1]]
    same, reported = fenvae.searched(rows, [0.1, 1.0], [4, 5], lookup=lookup, **small)
    assert same.equals(found)
    assert list(reported.index) == [(row, seed) for row in rows for seed in (4, 5)]
    best = same.idxmin(axis=1)
    assert reported["alpha"].tolist() == [0.5 * best["sharp"]] * 2 + [best["plain"]] * 2
    missing = [fenvae.weighted(rows["plain"], 0.1, seed=9, **small)]
    with pytest.raises(LookupError, match="1 of 1 runs of 'try' have no record"):
        runs.recorded(missing, **told)


def test_a_latent_walk_goes_from_one_code_to_the_other(digits):
    vae, _ = case("l2").build(digits.image_shape)
    images = digits.test[:6]
    walk = fenvae.latent_walk(vae, images)
    assert walk.shape == (12, 3, 1, 8, 8)
    means = vae.encode(images).mean.detach()
    torch.testing.assert_close(torch.cat([walk[0], walk[-1]]), vae.decode(means).detach())
    first = vae.decode(means[:3] + (means[3:] - means[:3]) / 11).detach()
    torch.testing.assert_close(walk[1], first)


def test_how_sharp_and_even_walks_are(digits):
    vae, minimized = case("l2").build(digits.image_shape)
    images = digits.test[:4]
    walk = fenvae.latent_walk(vae, images)  # two walks of twelve images
    between = walk[1:-1]
    sharp = [(between[..., 1:, :] - between[..., :-1, :]).abs().mean().item(),
             (between[..., 1:] - between[..., :-1]).abs().mean().item()]  # fmt: skip
    uneven = []
    for one in walk.unbind(1):
        steps = [(b - a).norm().item() for a, b in itertools.pairwise(one)]
        uneven.append(max(steps) / (sum(steps) / 11))
    found = fenvae.walked(vae, images)
    assert found["sharpness"] == pytest.approx(sum(sharp) / 2, rel=1e-5)
    assert found["unevenness"] == pytest.approx(sum(uneven) / 2, rel=1e-4)

    few = dataclasses.replace(digits, test=images, test_labels=digits.test_labels[:4])
    values = fenvae.measure_walks(vae, minimized, few, 1)
    assert values["sharpness"][0] == found["sharpness"]
    error = (digits.train.mean(0) - images).square().sum().item() / 4
    assert values["mean_image"][0] == pytest.approx(error, rel=1e-5)


def test_lengths_are_runs_of_their_own_at_the_weight_given():
    asked = []

    def lookup(cases):
        asked.extend(cases)
        return pd.DataFrame({"fd_generated": [case.setting.epochs for case in cases]})

    start = Start("l2", {"alpha": 0.03}, 2)
    rows = {("FEnVAE", "warm"): ("fenvae", {}), ("L2", "cold"): ("l2", {})}
    found = fenvae.at_lengths(
        rows, {("FEnVAE", "warm"): 0.3, ("L2", "cold"): 0.1}, [9, 4], [1, 2],
        starts={("FEnVAE", "warm"): start}, lookup=lookup, network="linear", epochs=7,
    )  # fmt: skip
    assert found.index.names == ["row", "start", "epochs", "seed"]
    assert found.loc[("L2", "cold")]["fd_generated"].tolist() == [4, 4, 9, 9]
    told = [(case.objective, case.options["alpha"], case.start) for case in asked]
    assert told == [("fenvae", 0.3, start)] * 4 + [("l2", 0.1, None)] * 4
    assert [case.seed for case in asked] == [1, 2] * 4
    assert {case.setting.network for case in asked} == {"linear"}


TERMS = {"FEnVAE": 0, "EnVAE, M = 2": 2, "EnVAE": 4}


def term_cases():
    """A case for each row of the terms and each of two seeds."""
    rows = {"FEnVAE": ("fenvae", {}), "EnVAE, M = 2": ("envae", {"samples": 2}),
            "EnVAE": ("envae", {"samples": 4})}  # fmt: skip
    small = {"latent_dim": 2, "epochs": 1}
    return {(row, seed): fenvae.weighted(rows[row], 0.1, seed=seed, **small)
            for row in TERMS for seed in (3, 5)}  # fmt: skip


def test_terms_are_correlated_with_those_of_many_draws(digits):
    vaes = {key: case.build(digits.image_shape)[0] for key, case in term_cases().items()}
    images = digits.test[:40]
    found = fenvae.term_correlations(vaes, images, TERMS, reference="EnVAE")
    assert found.index.tolist() == [(row, seed) for row in TERMS for seed in (3, 5)]
    full = {seed: fenvae.many_draws(vaes["EnVAE", seed], images) for seed in (3, 5)}
    of_spread = fenvae.spread_terms(vaes["EnVAE", 3], images, draws=100, seed=100)["spread"]
    assert torch.equal(full[3], of_spread)
    for row, key in {"FEnVAE": "stand_in", "EnVAE, M = 2": "spread", "EnVAE": "spread"}.items():
        for seed, other in ((3, 5), (5, 3)):
            same, own = (
                fenvae.spread_terms(vae, images, draws=TERMS[row] or 2, seed=7)[key]
                for vae in (vaes["EnVAE", seed], vaes[row, seed])
            )
            expected = [torch.corrcoef(torch.stack(pair))[0, 1].item()
                        for pair in ((full[seed], same), (full[other], own))]  # fmt: skip
            assert found.loc[(row, seed)].tolist() == pytest.approx(expected, abs=1e-4)
    one = {key: vae for key, vae in vaes.items() if key[1] == 3}
    with pytest.raises(ValueError, match="needs two seeds, received"):
        fenvae.term_correlations(one, images, TERMS, reference="EnVAE")


def test_terms_are_recorded_once(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    part, cases = digits.subset(200), term_cases()
    where = {"dataset": part.name, "experiment": "terms"}
    with pytest.raises(LookupError, match="6 of 6 runs of 'terms' have no record"):
        fenvae.recorded_terms(cases, **where)
    given = {"reference": "EnVAE", "dataset": part, "experiment": "terms", "images": 30}
    fenvae.record_terms(cases, TERMS, **given)
    trained = [runs.train_stack([case], part)[0][0] for case in cases.values()]
    expected = fenvae.term_correlations(
        dict(zip(cases, trained, strict=True)), part.test[:30], TERMS, reference="EnVAE"
    )
    found = fenvae.recorded_terms(cases, **where)
    assert (found - expected).abs().max(axis=None) < 1e-3
    monkeypatch.setattr(runs, "train_stack", None)  # nothing is trained again
    fenvae.record_terms(cases, TERMS, **given)
    more = cases | {("EnVAE", 6): cases["EnVAE", 5]}  # beside another seed it is another number
    with pytest.raises(LookupError):
        fenvae.recorded_terms(more, **where)
