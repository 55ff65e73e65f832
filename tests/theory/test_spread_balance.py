"""Spread at a KL weight, against the exact optimum of the linear EnVAE and by differences."""

import math

import pytest
import torch

from envae.theory import linear_energy, spread_balance
from envae.theory.minimize import minimize

# As images have them: a few large eigenvalues and many small ones.
SPECTRUM = 1 / torch.arange(1, 201, dtype=torch.float64) ** 1.2


@pytest.mark.parametrize(("alpha", "beta"), [(0.02, 1.0), (0.1, 1.0), (0.02, 0.5), (0.05, 1.5)])
def test_the_linear_envae_spreads_as_far(alpha, beta):
    best = linear_energy.optimum(SPECTRUM, 8, alpha=alpha, beta=beta)
    code = (1 - best.posterior_variance).sqrt()
    missed = (SPECTRUM[:8].sqrt() - best.weight * code).square().sum() + SPECTRUM[8:].sum()
    spread = (best.weight.square() * best.posterior_variance).sum()
    told = {"error": missed.item(), "dimensions": code.square().sum().item(), "beta": beta}
    exact = math.sqrt(spread / missed)
    assert exact > 1.05
    assert spread_balance.ratio(alpha, **told) == pytest.approx(exact, rel=0.05)
    assert spread_balance.weight(exact, **told) == pytest.approx(alpha, rel=0.35)


@pytest.mark.parametrize("beta", [0.3, 1.0, 1.7])
def test_a_stretch_of_the_posterior_changes_nothing_to_first_order(beta):
    error, spread = 3.0, 4.0
    variances = torch.tensor([0.1, 0.3, 0.2, 0.5, 0.9], dtype=torch.float64)
    dimensions = (1 - variances).sum().item()
    alpha = spread_balance.weight(
        math.sqrt(spread / error), error=error, dimensions=dimensions, beta=beta
    )
    log_stretch = torch.zeros((), dtype=torch.float64, requires_grad=True)
    squared = (2 * log_stretch).exp()
    score = (error + squared * spread) ** (beta / 2) - 0.5 * (2 * squared * spread) ** (beta / 2)
    kl = 0.5 * (squared * variances - (squared * variances).log()).sum()
    (score + alpha * kl).backward()
    assert log_stretch.grad.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("beta", [0.5, 1.0, 1.5])
def test_weight_and_ratio_are_inverse_and_scale_with_the_error(beta):
    told = {"error": 2.0, "dimensions": 6.0, "beta": beta}
    alpha = spread_balance.weight(1.6, **told)
    assert spread_balance.ratio(alpha, **told) == pytest.approx(1.6)
    larger = spread_balance.weight(1.6, error=2.0 * 49, dimensions=6.0, beta=beta)
    assert larger == pytest.approx(alpha * 7**beta)
    assert spread_balance.ratio(1e-9, **told) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("alpha", "beta"), [(0.02, 1.0), (0.1, 1.0), (0.05, 1.5)])
def test_linear_optimum_is_that_of_the_exact_model(alpha, beta):
    best = linear_energy.optimum(SPECTRUM, 8, alpha=alpha, beta=beta)
    exact = (1 - best.posterior_variance).sum().item()
    code = (1 - best.posterior_variance).sqrt()
    missed = (SPECTRUM[:8].sqrt() - best.weight * code).square().sum() + SPECTRUM[8:].sum()
    spread = (best.weight.square() * best.posterior_variance).sum()
    found = spread_balance.linear_optimum(SPECTRUM, 8, alpha=alpha, beta=beta)
    assert found.alpha == pytest.approx(alpha)
    assert found.dimensions == pytest.approx(exact, rel=0.1)
    assert found.ratio == pytest.approx((spread / missed).sqrt().item(), rel=0.05)


@pytest.mark.parametrize(
    ("alpha", "beta", "latent_dim"), [(0.1, 1.0, 8), (3e-4, 0.5, 3), (2.0, 1.5, 6), (30.0, 1.0, 8)]
)
def test_linear_optimum_is_that_of_a_minimizer(alpha, beta, latent_dim):
    """The loss of many pixels written out, and minimized by general means from its start."""
    scale, discarded = SPECTRUM[:latent_dim].sqrt(), SPECTRUM[latent_dim:].sum()

    def parts(raw):
        weight, code, variance = raw[0] * scale, torch.sigmoid(raw[1]), torch.sigmoid(-raw[1])
        missed = (scale - weight * code.sqrt()).square().sum() + discarded
        return missed, (weight.square() * variance).sum(), variance

    def loss(raw):
        missed, spread, variance = parts(raw)
        score = (missed + spread) ** (beta / 2) - 0.5 * (2 * spread) ** (beta / 2)
        return score - 0.5 * alpha * variance.log().sum()

    start = torch.tensor([[1.0], [0.0]], dtype=torch.float64).expand(2, latent_dim)
    missed, spread, variance = parts(minimize(loss, start))
    found = spread_balance.linear_optimum(SPECTRUM, latent_dim, alpha=alpha, beta=beta)
    assert found.dimensions == pytest.approx((1 - variance).sum().item(), rel=2e-3, abs=1e-3)
    assert found.ratio == pytest.approx((spread / missed).sqrt().item(), rel=2e-3)


def test_linear_optimum_is_balanced():
    """The error follows from the two numbers that it gives, and is that of some linear model."""
    found = spread_balance.linear_optimum(SPECTRUM, 8, alpha=0.1)
    unit = spread_balance.weight(found.ratio, error=1.0, dimensions=found.dimensions)
    error = (0.1 / unit) ** 2
    assert SPECTRUM[8:].sum() < error < SPECTRUM.sum()


@pytest.mark.parametrize(("shape", "beta"), [((400, 1, 6, 6), 0.5), ((50, 3, 8, 8), 1.0)])
def test_suggested_weight_uses_the_share_and_scales_as_the_score_does(shape, beta):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(shape, generator=generator).cumsum(2).cumsum(3)
    images = images + 9 * torch.rand(shape[1:], generator=generator)  # a mean of each pixel's own
    alpha = spread_balance.suggested_weight(images, 6, beta=beta)
    x = images.flatten(1).double()
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T)).flip(0).clamp_min(0)
    found = spread_balance.linear_optimum(eigenvalues, 6, alpha=alpha, beta=beta)
    assert found.dimensions == pytest.approx(2, rel=0.01)
    assert spread_balance.suggested_weight(images.flatten(1), 6, beta=beta) == alpha
    larger = spread_balance.suggested_weight(5 * images, 6, beta=beta)
    assert larger == pytest.approx(alpha * 5**beta, rel=0.01)


def test_out_of_range_is_an_error():
    images = torch.randn(50, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"use 0\.999 of 6 latent dimensions: at most"):
        spread_balance.suggested_weight(images, 6, share=0.999)
    with pytest.raises(ValueError, match=r"share must be in \(0, 1\)"):
        spread_balance.suggested_weight(torch.rand(5, 1, 4, 4), 2, share=1.0)
    with pytest.raises(ValueError, match="has no optimum"):
        spread_balance.linear_optimum(SPECTRUM, 8, alpha=0.1, beta=2.0)
    for wrong in (torch.ones(9, 1, 4, 4), torch.full((9, 1, 4, 4), torch.nan)):
        with pytest.raises(ValueError, match="all the same, or not finite"):
            spread_balance.suggested_weight(wrong, 2)
    for wrong in (images[:6], images.flatten()):
        with pytest.raises(ValueError, match="more than latent_dim = 6 among"):
            spread_balance.suggested_weight(wrong, 6)
    for wrong in ((255 * images).byte(), images.numpy()):
        with pytest.raises(ValueError, match="images must be a floating-point tensor, received"):
            spread_balance.suggested_weight(wrong, 6)
    with pytest.raises(ValueError, match="latent_dim must be an integer"):
        spread_balance.suggested_weight(images, 1.5)
    with pytest.raises(ValueError, match="alpha must lie between"):
        spread_balance.linear_optimum(SPECTRUM, 8, alpha=1e60)
    told = {"error": 2.0, "dimensions": 6.0}
    with pytest.raises(ValueError, match="ratio must be above 1"):
        spread_balance.weight(1.0, **told)
    with pytest.raises(ValueError, match="does not depend on the spread"):
        spread_balance.ratio(0.1, **told, beta=2.0)
    with pytest.raises(ValueError, match="error must be a positive number"):
        spread_balance.ratio(0.1, error=0.0, dimensions=6.0)
    for name in told:
        with pytest.raises(ValueError, match=f"{name} must be a positive number"):
            spread_balance.weight(1.5, **told | {name: -1.0})
    for name in ("alpha", "error", "dimensions"):
        with pytest.raises(ValueError, match=f"{name} must be a positive number"):
            spread_balance.ratio(**{"alpha": 0.1} | told | {name: -1.0})
    assert spread_balance.weight(1.5, **told, beta=2.0) == 0


@pytest.mark.parametrize("wrong", [torch.nan, -1.0, torch.inf])
def test_what_is_no_spectrum_is_refused(wrong):
    values = SPECTRUM.clone()
    values[3] = wrong
    with pytest.raises(ValueError, match="finite, none negative"):
        spread_balance.linear_optimum(values, 4, alpha=0.1)
    with pytest.raises(ValueError, match="finite, none negative"):
        spread_balance.linear_optimum(torch.zeros(5), 4, alpha=0.1)


def test_more_latent_dimensions_than_pixels_are_refused():
    images = torch.rand(90, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="of as many numbers, received"):
        spread_balance.suggested_weight(images, 65)
