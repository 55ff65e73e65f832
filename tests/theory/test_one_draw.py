"""FEnVAE's draw against the pair: exact for affine decoders, and the variance of both."""

import math

import pytest
import torch

from envae.theory import one_draw

SIGMA = 0.5


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def mean(generator):
    return 0.5 * torch.randn(3, 1, 2, generator=generator, dtype=torch.float64)


@pytest.fixture
def maps(generator):
    return torch.randn(3, 2, 5, generator=generator, dtype=torch.float64)


def test_second_terms_of_an_affine_decoder_agree_on_every_draw(maps, mean, generator):
    pair, one = one_draw.second_terms(
        lambda z: z @ maps + 1, mean, SIGMA, draws=100, generator=generator
    )
    assert pair.shape == one.shape == (3, 100)
    torch.testing.assert_close(pair, one)


def test_second_terms_have_their_mean_in_closed_form(maps, mean, generator):
    """At beta = 2 it is half of E||J (e - e')||^2 sigma^2 = sigma^2 ||J||^2."""
    pair, _ = one_draw.second_terms(
        lambda z: z @ maps, mean, SIGMA, draws=20_000, generator=generator, beta=2.0
    )
    expected = SIGMA**2 * maps.square().sum((1, 2))
    torch.testing.assert_close(pair.mean(1), expected, rtol=0.05, atol=0)


def test_draws_come_with_their_mirror_image(mean, generator):
    """Without it a term that is odd in sigma would have a mean of its own."""
    pair, one = one_draw.second_terms(
        lambda z: z + 0.1 * z.square(), mean, 1e-3, draws=20, generator=generator
    )
    # The relative error of the mean is of second order, that of a single draw of first.
    assert ((one - pair) / pair).abs().max() > 1e-5
    assert (one.mean(1) / pair.mean(1) - 1).abs().max() < 1e-6


def test_surrogate_is_the_score_of_an_affine_decoder_only(maps, mean, generator):
    for decoder, same in ((lambda z: z @ maps, True), (lambda z: (2 * z).sin() @ maps, False)):
        surrogate, score = one_draw.surrogate_and_score(
            decoder, mean, SIGMA, draws=20_000, generator=generator
        )
        assert (abs(surrogate.deviation(score)) < 4) == same


def test_surrogate_and_score_in_closed_form(generator):
    """z -> z in the plane, at x: E||s e|| - E||sqrt(2) s e|| / 2, where E||e|| = sqrt(pi / 2)."""
    estimates = one_draw.surrogate_and_score(
        lambda z: z, torch.zeros(1, 1, 2).double(), SIGMA, draws=40_000, generator=generator
    )
    expected = (1 - 0.5**0.5) * SIGMA * (math.pi / 2) ** 0.5
    for found in estimates:
        assert found.mean == pytest.approx(expected, rel=0.03)


def test_one_noise_and_two_have_one_mean(maps, mean, generator):
    single, double = one_draw.one_noise_and_two(
        lambda z: (2 * z).sin() @ maps, mean, SIGMA, draws=20_000, generator=generator
    )
    assert abs(single.deviation(double)) < 4
    assert single.mean != double.mean


def test_one_noise_and_two_in_closed_form(generator):
    """z -> 3 z: E||3 s e|| - E||3 sqrt(2) s e|| / 2 = (1 - 1 / sqrt 2) 3 s sqrt(2 / pi), d = 1."""
    estimates = one_draw.one_noise_and_two(
        lambda z: 3 * z, torch.zeros(1, 1, 1).double(), SIGMA, draws=40_000, generator=generator
    )
    expected = (1 - 0.5**0.5) * 3 * SIGMA * (2 / math.pi) ** 0.5
    for found in estimates:
        assert found.mean == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("miss", [0.0, 2.0])
def test_variance_ratios_at_beta_two_in_closed_form(miss, generator):
    """There the loss is r^2 + 2 r.a with one noise, and r^2 + 2 r.a + |a|^2 - |a'|^2 with two."""
    loss, derivative = one_draw.variance_ratios(3, miss, 2.0, draws=400_000, generator=generator)
    linear, square = 4 * 3 * miss**2, 6.0  # variances of 2 r.a and of |a|^2
    assert loss == pytest.approx(linear / (linear + 2 * square), abs=0.01)
    # The derivative: 2 (r + a).a - 2 |a|^2 and 2 (r + a).a - 2 |a'|^2.
    assert derivative == pytest.approx(linear / (linear + 8 * square), abs=0.01)


def test_variance_ratios_without_a_residual_in_closed_form(generator):
    """At beta = 1 in one dimension both are (1 - 1 / sqrt 2) |a|, or |a| - |a'| / sqrt 2."""
    found = one_draw.variance_ratios(1, 0.0, 1.0, draws=400_000, generator=generator)
    assert found == pytest.approx([(1 - 0.5**0.5) ** 2 / 1.5] * 2, rel=0.02)


def test_one_noise_is_as_good_as_two_where_the_miss_is_large(generator):
    """There the first term is linear in a, and not correlated with the length of a."""
    loss, _ = one_draw.variance_ratios(1, 1e4, 1.0, draws=400_000, generator=generator)
    assert loss == pytest.approx(1, abs=0.01)
