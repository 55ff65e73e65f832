"""Scores against packages that we did not write, and against closed forms."""

import functools
import math

import engression.loss_func
import pytest
import scoringrules
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from envae import scores
from envae.scores import (
    EnergyScore,
    crps,
    cyclic_energy_score,
    energy_score,
    fenvae_surrogate,
    norm_power,
)

BETAS = [0.3, 1.0, 1.5, 2.0]


def random_forecast(draws, batch, event, *, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(draws, batch, *event, generator=generator, dtype=dtype)
    return samples, torch.randn(batch, *event, generator=generator, dtype=dtype)


@pytest.fixture(params=["differences", "products"])
def way(request, monkeypatch):
    """Which of its two ways the energy score takes."""
    monkeypatch.setattr(scores, "_FEW", math.inf if request.param == "differences" else 0)


def by_definition(samples, x, beta):
    """Eq. 3 of xu2025, written out with all differences in float64."""
    samples, x = samples.double().flatten(2), x.double().flatten(1)
    draws = samples.shape[0]
    to_x = (samples - x).norm(dim=-1) ** beta
    first, second = torch.triu_indices(draws, draws, offset=1)
    pairs = (samples[first] - samples[second]).norm(dim=-1) ** beta
    return to_x.mean(0) - pairs.sum(0) / (draws * (draws - 1))


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, -1.0, 2.1, math.nan])
def test_beta_outside_its_range_is_an_error(beta):
    samples, x = random_forecast(3, 2, (4,))
    with pytest.raises(ValueError, match=r"beta must lie in \(0, 2\], received"):
        energy_score(samples, x, beta=beta)
    with pytest.raises(ValueError, match="beta must lie"):
        fenvae_surrogate(x, x, x, x, beta=beta)


def test_one_sample_is_an_error():
    samples, x = random_forecast(1, 2, (4,))
    with pytest.raises(ValueError, match="M >= 2, received shape \\(1, 2, 4\\)"):
        energy_score(samples, x)
    with pytest.raises(ValueError, match="M >= 2"):
        crps(samples, x)


def test_mismatched_shapes_are_an_error():
    samples, x = random_forecast(3, 2, (4,))
    with pytest.raises(ValueError, match=r"need x of shape \(2, 4\), received \(2, 3\)"):
        energy_score(samples, x[:, :3])
    with pytest.raises(ValueError, match="must have one shape"):
        fenvae_surrogate(x, x, x[:1], x)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_integers_are_refused(dtype):
    whole = torch.ones(4, 3, 5).to(dtype)
    for call in (
        lambda: energy_score(whole, torch.rand(3, 5)),
        lambda: energy_score(torch.rand(4, 3, 5), whole[0]),
        lambda: cyclic_energy_score(whole, torch.rand(3, 5)),
        lambda: fenvae_surrogate(whole[0], whole[1], whole[2], torch.rand(3, 5)),
        lambda: scores.antithetic_score(torch.rand(3, 5), whole[1], torch.rand(3, 5)),
        lambda: crps(whole, torch.rand(3, 5)),
        lambda: crps(torch.rand(4, 3, 5), whole[0]),
        lambda: norm_power(whole[0], 1.0),
    ):
        with pytest.raises(ValueError, match=r"\w must be a floating-point tensor, received shape"):
            call()


def test_arrays_are_refused():
    samples, x = random_forecast(3, 2, (4,))
    for call in (
        lambda: energy_score(samples.numpy(), x),
        lambda: crps(samples, x.numpy()),
        lambda: fenvae_surrogate(x, x, x, x.numpy()),
    ):
        with pytest.raises(ValueError, match=r"received numpy.ndarray: take torch.as_tensor"):
            call()


# --- equivalence ------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("event", [(), (1,), (7,), (1, 8, 8), (3, 16, 16)])
@pytest.mark.parametrize("draws", [2, 3, 10, 50])
def test_energy_score_agrees_with_scoringrules(draws, event):
    samples, x = random_forecast(draws, 5, event)
    score = energy_score(samples, x)
    assert score.shape == (5,)
    flat = samples.reshape(draws, 5, -1).transpose(0, 1).double().numpy()
    expected = scoringrules.es_ensemble(
        x.reshape(5, -1).double().numpy(), flat, m_axis=-2, v_axis=-1, estimator="fair"
    )
    torch.testing.assert_close(score.double(), torch.as_tensor(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("beta", BETAS)
def test_energy_score_agrees_with_engression(beta):
    samples, x = random_forecast(4, 6, (9,), dtype=torch.float64)
    expected = engression.loss_func.energy_loss(x, list(samples), beta=beta, verbose=False)
    score = energy_score(samples, x, beta=beta).mean()
    # It adds 1e-5 to every distance when beta is not an integer.
    torch.testing.assert_close(score, expected, rtol=1e-7 if beta.is_integer() else 1e-4, atol=0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("beta", BETAS)
def test_energy_score_agrees_with_its_definition(beta):
    samples, x = random_forecast(6, 4, (3, 5))
    score = energy_score(samples, x, beta=beta)
    torch.testing.assert_close(score.double(), by_definition(samples, x, beta), rtol=1e-5, atol=0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_energy_score_is_accurate_for_a_sharp_forecast(beta, offset):
    """Samples of size 1 with a spread of 1e-4, near x or a residual of size 1 away from it."""
    noise, residual = random_forecast(10, 4, (200,))
    samples = 1 + 1e-4 * noise
    x = 1 + (offset or 1e-4) * residual
    samples.requires_grad_()
    energy_score(samples, x, beta=beta).sum().backward()
    exact = samples.detach().double().requires_grad_()
    reference = by_definition(exact, x, beta)
    reference.sum().backward()
    torch.testing.assert_close(
        energy_score(samples, x, beta=beta).double(), reference, rtol=1e-5, atol=0
    )
    scale = exact.grad.abs().max().item()
    torch.testing.assert_close(samples.grad.double(), exact.grad, rtol=1e-3, atol=1e-5 * scale)


@pytest.mark.parametrize("by", ["differences", "products", "products unseen"])
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize(
    ("draws", "near", "far"), [(4, 3, 1.0), (4, 3, 1e3), (6, 3, 1.0), (9, 8, 1.0)]
)
def test_samples_close_together_are_told_apart_beside_one_far_away(
    by, beta, draws, near, far, monkeypatch
):
    """Products about a common centre have lost the small distances; some images have all of them.

    6 samples are two such groups, one of them around x.
    """
    monkeypatch.setattr(scores, "_FEW", math.inf if by == "differences" else 0)
    monkeypatch.setattr(scores, "_CHUNK", 2**13)  # one or two images at a time
    if by == "products unseen":
        monkeypatch.setattr(scores, "_not_looked_at", lambda samples: True)
        monkeypatch.setattr(scores, "_by_differences", None)  # would have to ask
    noise, residual = random_forecast(draws, 4, (300,))
    x = residual / 300**0.5
    samples = x + 1e-4 * noise / 300**0.5
    samples[near:, :3] += far * residual[0] / 300**0.5
    samples[:, 3] = noise[:, 3]  # an image without such a group
    samples.requires_grad_()
    score = energy_score(samples, x, beta=beta)
    score.sum().backward()
    exact = samples.detach().double().requires_grad_()
    reference = by_definition(exact, x, beta)
    reference.sum().backward()
    size = (exact.detach() - x).norm(dim=2).amax(0) ** beta  # terms of the sum may cancel
    assert ((score - reference).abs() < 1e-5 * size).all()
    error = (samples.grad - exact.grad).norm(dim=(0, 2)) / exact.grad.norm(dim=(0, 2))
    assert error.max() < 1e-2


def test_what_is_held_at_once_is_16_megabytes():
    """Of 7 samples and their x, 2^12 numbers each; and of all 8^2 differences between 8 samples."""
    samples = torch.zeros(7, 200, 2**12)
    parts = list(scores._centered(samples, samples[0]))
    assert [points.nbytes for _, points in parts] == [2**24, 72 * 2**17]
    assert [(rows.start, len(points)) for rows, points in parts] == [(0, 128), (128, 72)]
    lost = torch.arange(50) % 5 > 0  # 40 of them
    eight = torch.zeros(8, 1, 1).expand(8, 50, 2**12)
    indices = list(scores._fallen_back(lost, eight))
    assert [len(part) for part in indices] == [16, 16, 8]
    assert torch.equal(torch.cat(indices), lost.nonzero().squeeze(1))


def test_operations_written_down_on_other_samples_tell_them_apart_too(monkeypatch):
    """As `experiments.batched` writes a step down: nothing is decided by the first samples."""
    monkeypatch.setattr(scores, "_FEW", 0)
    others = random_forecast(4, 3, (50,))
    samples, x = random_forecast(4, 3, (50,), seed=1)
    samples[:3, :2] = x[:2] + 1e-5 * samples[:3, :2]

    def score_and_gradient(samples, x):
        samples = samples.detach().requires_grad_()
        score = energy_score(samples, x)
        return score, *torch.autograd.grad(score.sum(), samples)

    written = make_fx(score_and_gradient)(*others)
    torch.testing.assert_close(written(samples, x), score_and_gradient(samples, x))
    exact = by_definition(samples, x, 1.0)
    torch.testing.assert_close(written(samples, x)[0].double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("draws", [2, 3, 8])
def test_gradient_of_energy_score(draws, beta):
    samples, x = random_forecast(draws, 3, (2, 4), dtype=torch.float64)
    samples.requires_grad_()
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, o: energy_score(s, o, beta=beta), (samples, x))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("beta", BETAS)
def test_gradient_is_finite_where_points_coincide(beta):
    samples, x = random_forecast(5, 3, (300,))
    samples[1] = samples[0]  # two samples
    samples[2, 0] = x[0]  # a sample and the observation
    samples[:, 1] = samples[0, 1]  # all samples
    samples.requires_grad_()
    score = energy_score(samples, x, beta=beta)
    torch.testing.assert_close(score.double(), by_definition(samples, x, beta), rtol=1e-5, atol=0)
    score.sum().backward()
    assert samples.grad.isfinite().all()
    # No sample is pushed away by what the rounding leaves of a vanished distance.
    force = samples.grad.norm(dim=-1)  # (M, B)
    assert force[:2].max() < 20 * force[3:].max()


@pytest.mark.usefixtures("way")
def test_what_is_not_a_number_stays_so():
    samples, x = random_forecast(3, 2, (4,))
    x[0, 0] = torch.nan
    for score in (energy_score(samples, x), fenvae_surrogate(*samples, x)):
        assert score.isnan().tolist() == [True, False]


@pytest.mark.usefixtures("way")
def test_half_precision_is_computed_in_float32():
    samples, x = random_forecast(4, 3, (50,))
    half = energy_score(samples.bfloat16(), x.bfloat16())
    expected = by_definition(samples.bfloat16(), x.bfloat16(), 1.0)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), expected, rtol=1e-2, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = energy_score(samples, x)
    torch.testing.assert_close(inside.double(), by_definition(samples, x, 1.0), rtol=1e-5, atol=0)


def test_crps_agrees_with_scoringrules():
    samples, x = random_forecast(7, 5, (3, 2), dtype=torch.float64)
    expected = scoringrules.crps_ensemble(x.numpy(), samples.numpy(), m_axis=0, estimator="fair")
    torch.testing.assert_close(crps(samples, x), torch.as_tensor(expected))


@pytest.mark.usefixtures("way")
def test_crps_is_the_energy_score_in_one_dimension():
    samples, x = random_forecast(7, 5, (1,), dtype=torch.float64)
    torch.testing.assert_close(crps(samples, x).squeeze(-1), energy_score(samples, x))


# --- literal values ---------------------------------------------------------------------------


def test_literal_values():
    samples = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]]])  # 5 apart
    x = torch.tensor([[0.0, 4.0]])  # 4 and 3 away
    assert energy_score(samples, x).item() == pytest.approx(3.5 - 2.5)
    assert energy_score(samples, x, beta=2.0).item() == pytest.approx(12.5 - 12.5)
    center = torch.tensor([[0.0, 0.0]])
    stretched = torch.tensor([[6.0, 8.0]])
    surrogate = fenvae_surrogate(samples[1], stretched, center, x)
    assert surrogate.item() == pytest.approx(3 - 5)
    assert norm_power(stretched, 2.0).item() == pytest.approx(100)


def test_energy_score_of_a_gaussian_against_its_closed_form():
    """E|X - x| - E|X - X'|/2 for X ~ N(0, s^2): the CRPS of a normal forecast.

    Few samples in many forecasts: with 1/M^2 for 1/(M(M-1)) the mean would be off by 25 errors.
    """
    generator = torch.Generator().manual_seed(0)
    s, x = 0.7, 1.0
    samples = s * torch.randn(10, 20000, 1, generator=generator, dtype=torch.float64)
    normal = torch.distributions.Normal(0.0, 1.0)
    w = torch.tensor(x / s, dtype=torch.float64)
    density = torch.exp(normal.log_prob(w))
    exact = s * (w * (2 * normal.cdf(w) - 1) + 2 * density - 1 / math.sqrt(math.pi))
    scores = energy_score(samples, torch.full((20000, 1), x, dtype=torch.float64))
    error = scores.std() / math.sqrt(len(scores))
    assert abs(scores.mean() - exact) < 4 * error


# --- invariance -------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
def test_order_of_samples_and_common_shift_do_not_matter():
    samples, x = random_forecast(6, 4, (5,), dtype=torch.float64)
    score = energy_score(samples, x)
    torch.testing.assert_close(energy_score(samples.flip(0), x), score)
    torch.testing.assert_close(energy_score(samples + 3, x + 3), score)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("beta", BETAS)
def test_score_is_homogeneous_of_degree_beta(beta):
    samples, x = random_forecast(6, 4, (5,), dtype=torch.float64)
    scaled = energy_score(3 * samples, 3 * x, beta=beta)
    torch.testing.assert_close(scaled, 3**beta * energy_score(samples, x, beta=beta))


def test_surrogate_gradient_is_finite_where_decodes_coincide():
    x = torch.ones(2, 3)
    draw = torch.ones(2, 3, requires_grad=True)
    fenvae_surrogate(draw, draw, draw, x).sum().backward()
    assert draw.grad.isfinite().all()


# --- torch.func -------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("score", [energy_score, cyclic_energy_score])
def test_scores_of_several_models_at_once_are_those_of_each(score):
    """vmap over models, of values, of gradients by it, and of gradients through it."""
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(3, 4, 5, 2, 2, generator=generator, requires_grad=True)
    x = torch.randn(3, 5, 2, 2, generator=generator)
    each = [score(*pair).sum() for pair in zip(samples, x, strict=True)]
    (expected,) = torch.autograd.grad(sum(each), samples)

    together = torch.vmap(score)(samples, x)
    torch.testing.assert_close(together.sum(1), torch.stack(each))
    torch.testing.assert_close(torch.autograd.grad(together.sum(), samples)[0], expected)
    by_func = torch.vmap(torch.func.grad(lambda s, x: score(s, x).sum()))(samples, x)
    torch.testing.assert_close(by_func, expected)
    of_one_image = torch.vmap(score, in_dims=(0, None))(samples, x[0])
    torch.testing.assert_close(of_one_image[2], score(samples[2], x[0]))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("beta", BETAS)
def test_of_which_argument_a_gradient_is_asked_does_not_matter(beta):
    samples, x = (each.requires_grad_() for each in random_forecast(5, 3, (2, 4)))
    both = torch.autograd.grad(energy_score(samples, x, beta=beta).sum(), (samples, x))
    alone = torch.autograd.grad(energy_score(samples.detach(), x, beta=beta).sum(), x)
    by_func = torch.func.jacrev(lambda x: energy_score(samples, x, beta=beta).sum())(x)
    torch.testing.assert_close((*alone, both[0].sum(0)), (both[1], -both[1]))
    torch.testing.assert_close(by_func, both[1])


def hessian(function):
    """In reverse mode twice; forward mode, which torch.func.hessian has, torch refuses."""
    return torch.func.jacrev(torch.func.jacrev(function))


def gradient_through_a_graph(samples, x):
    score = energy_score(samples, x).sum()
    (gradient,) = torch.autograd.grad(score, samples, create_graph=True)
    return gradient


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("draws", [2, 3])
def test_second_derivative_of_energy_score(draws):
    samples, x = random_forecast(draws, 2, (4,), dtype=torch.float64)
    pair = (samples.requires_grad_(), x.requires_grad_())
    assert torch.autograd.gradcheck(gradient_through_a_graph, pair)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("beta", BETAS)
def test_a_penalty_on_the_gradient_counts(beta):
    """By autograd and under torch.func: as the formula with all differences has it."""
    samples, x = random_forecast(4, 2, (5,), dtype=torch.float64)

    def penalty(score, samples):
        return torch.func.grad(lambda s: score(s, x).sum())(samples).square().sum()

    ours = functools.partial(energy_score, beta=beta)
    expected = torch.func.grad(
        functools.partial(penalty, functools.partial(by_definition, beta=beta))
    )(samples)
    assert expected.abs().max() > 1e-4
    by_func = torch.func.grad(functools.partial(penalty, ours))(samples)
    torch.testing.assert_close(by_func, expected)
    samples.requires_grad_()
    (gradient,) = torch.autograd.grad(ours(samples, x).sum(), samples, create_graph=True)
    gradient.square().sum().backward()
    torch.testing.assert_close(samples.grad, expected)
    pushed = torch.vmap(hessian(lambda s, x: ours(s, x).sum()))(
        torch.stack([samples.detach()] * 2), torch.stack([x] * 2)
    )
    exact = hessian(lambda s: by_definition(s, x, beta).sum())(samples.detach())
    torch.testing.assert_close(pushed[1], exact)


def test_the_score_of_few_and_the_cyclic_score_agree_twice_over(monkeypatch):
    """At M = 2 there is one pair: what a penalty adds is the same by either score."""
    monkeypatch.setattr(scores, "_FEW", 0)
    samples, x = random_forecast(2, 3, (6,), dtype=torch.float64)
    found = [
        hessian(lambda s, score=score: score(s, x).sum())(samples)
        for score in (energy_score, cyclic_energy_score)
    ]
    torch.testing.assert_close(*found)


# --- which way --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draws", "values", "by_products"),
    [(2, 3072, False), (3, 784, False), (4, 3072, True), (8, 64, False), (32, 64, True)],
)
def test_few_numbers_are_scored_by_their_differences(draws, values, by_products):
    samples, x = random_forecast(draws, 64, (values,))
    score = energy_score(samples.requires_grad_(), x)
    assert ("_EnergyScore" in type(score.grad_fn).__name__) == by_products


# --- the loss module --------------------------------------------------------------------------


def test_the_module_reduces_the_scores_as_torchs_losses_do():
    samples, x, weight = torch.randn(5, 4, 3), torch.randn(4, 3), torch.tensor([1.0, 0.0, 2.0, 0.5])
    scores = energy_score(samples, x, beta=0.7)
    of = functools.partial(EnergyScore, 0.7)
    torch.testing.assert_close(of()(samples, x), scores.mean())
    torch.testing.assert_close(of(reduction="sum")(samples, x), scores.sum())
    torch.testing.assert_close(of(reduction="none")(samples, x), scores)
    torch.testing.assert_close(of()(samples, x, weight), (weight * scores).sum() / 3.5)
    torch.testing.assert_close(of(reduction="sum")(samples, x, weight), (weight * scores).sum())
    assert of(reduction="sum")(samples, x, 0 * weight) == 0
    for dim in (1, 2, -1):
        torch.testing.assert_close(of(dim=dim)(samples.movedim(0, dim), x), scores.mean())
    assert repr(of(dim=1)) == "EnergyScore(beta=0.7, reduction='mean', dim=1)"


def test_the_module_is_what_other_packages_call_the_same():
    energy_loss = engression.loss_func.energy_loss_two_sample
    samples, x = torch.randn(4, 6, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    theirs = scoringrules.es_ensemble(x.numpy(), samples.numpy(), estimator="fair")
    ours = EnergyScore(dim=1, reduction="none")(samples, x)
    torch.testing.assert_close(ours, torch.as_tensor(theirs))
    first, second = samples[:, 0], samples[:, 1]
    value = energy_loss(x, first, second, verbose=False)
    torch.testing.assert_close(EnergyScore()(torch.stack([first, second]), x), value)


def weighted(*weight):
    return EnergyScore()(torch.rand(2, 2, 3), torch.rand(2, 3), torch.tensor(weight))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: EnergyScore(3.0), "beta must lie"),
        (lambda: EnergyScore(reduction="men"), "unknown reduction 'men', did you mean 'mean'"),
        (
            lambda: EnergyScore()(torch.rand(2, 4, 3), torch.rand(4, 3), torch.rand(3)),
            r"for each ob.*\(4,\)",
        ),
        (
            lambda: weighted(-1.0, 2.0),
            r"weight must hold finite numbers from 0 up, received \[-1, 2\]",
        ),
        (lambda: weighted(1.0, torch.inf), "weight must hold finite numbers from 0 up"),
        (lambda: weighted(torch.nan, 1.0), "weight must hold finite numbers from 0 up"),
        (lambda: weighted(0.0, 0.0), "weight must hold a number above 0 to take a mean"),
        (lambda: EnergyScore("1"), r"beta must lie in \(0, 2\], received '1'"),
        (
            lambda: EnergyScore()(torch.rand(4, 2, 3), torch.rand(4, 3)),
            r"shape \(4, 2, 3\), of which axis 0 holds .* x of shape \(4, 3\).* EnergyScore\(dim=1",
        ),
        (
            lambda: EnergyScore(dim=1)(torch.rand(2, 4, 3), torch.rand(4, 3)),
            r"shape \(2, 4, 3\), of which axis 1 holds .* EnergyScore\(dim=0\)",
        ),
        (
            lambda: EnergyScore(dim=5)(torch.rand(2, 4, 3), torch.rand(4, 3)),
            r"of which axis 5 holds the draws, do not fit",
        ),
        (
            lambda: EnergyScore()(torch.rand(4, 3), torch.rand(2, 4, 3)),
            "samples come first, and x after them",
        ),
        (
            lambda: EnergyScore()(torch.rand(2, 4, 3), torch.rand(4, 3, device="meta")),
            "samples are on cpu and x on meta: move one of them",
        ),
        (
            lambda: EnergyScore()(torch.rand(2, 4), torch.rand(4), [1.0] * 4),
            "weight must be a floating-point tensor, received builtins.list",
        ),
    ],
)
def test_what_the_module_cannot_do_is_told(make, told):
    with pytest.raises(ValueError, match=told):
        make()
