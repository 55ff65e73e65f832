"""Forecasts known to be calibrated, too narrow and too wide."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import scoringrules
import torch

from envae.metrics import calibration

K = 39
LEVELS = (0.5, 0.8, 0.9, 0.95)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def forecasts(spread, n=20_000, event=(), seed=0):
    """Observations N(m, 1) and draws N(m, spread^2), each with a mean of its own."""
    source = generator(seed)
    mean = 3 * torch.randn(n, *event, generator=source)
    x = mean + torch.randn(n, *event, generator=source)
    draws = mean + spread * torch.randn(K, n, *event, generator=source)
    return draws, x


def probability(rank, spread):
    """Of a rank of N(0, 1) among K draws of N(0, spread^2), by numeric integration."""

    def density(value):
        below = scipy.stats.norm.cdf(value / spread)
        return scipy.stats.binom.pmf(rank, K, below) * scipy.stats.norm.pdf(value)

    return scipy.integrate.quad(density, -8, 8)[0]


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_ranks_have_the_probabilities_of_their_closed_form(spread):
    draws, x = forecasts(spread)
    found = calibration.ranks(draws, x, generator())
    expected = np.array([probability(rank, spread) for rank in range(K + 1)])
    frequencies = torch.bincount(found, minlength=K + 1).numpy()
    assert scipy.stats.chisquare(frequencies, len(x) * expected / expected.sum()).pvalue > 1e-3
    for level in LEVELS:
        each = round((K + 1) * (1 - level) / 2)
        inside = expected[each : K + 1 - each].sum()
        error = 4 * math.sqrt(inside * (1 - inside) / len(x))
        assert calibration.coverage(found, K, level) == pytest.approx(inside, abs=error)
        if spread == 1:
            assert inside == pytest.approx(level)


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_spread_over_skill_against_its_closed_form(spread):
    """The mean of K draws misses by 1 + spread^2 / K."""
    draws, x = forecasts(spread)
    expected = spread * math.sqrt((1 + 1 / K) / (1 + spread**2 / K))
    assert calibration.spread_skill(draws, x) == pytest.approx(expected, rel=0.02)
    if spread == 1:
        assert expected == 1


def test_spread_over_skill_by_hand():
    """Two draws with variance 2 and mean 1, of which 3 misses by 2; and twice as far apart by 4."""
    draws, x = torch.tensor([[0.0, 0.0], [2.0, 4.0]]), torch.tensor([3.0, 6.0])
    variance, error = (2 + 8) / 2, (2**2 + 4**2) / 2
    assert calibration.spread_skill(draws, x) == pytest.approx((3 / 2 * variance / error) ** 0.5)


def test_histograms_have_a_u_a_hump_or_neither():
    narrow, flat, wide = (
        calibration.histogram(calibration.ranks(*forecasts(spread), generator()), K, 8)
        for spread in (0.5, 1.0, 2.0)
    )
    assert min(narrow[0], narrow[-1]) > 1.5 > 1 > narrow[3]
    assert (flat - 1).abs().max() < 0.1
    assert max(wide[0], wide[-1]) < 0.5 < 1 < wide[3]
    assert narrow.mean() == flat.mean() == pytest.approx(1)


def test_ties_are_broken_evenly():
    """Pixels that are black with probability 0.7 in truth and in the draws."""
    source = generator()
    draws, x = (torch.rand(k, 4000, 5, generator=source) for k in (K, 1))
    draws, x = (torch.where(values < 0.7, 0, values) for values in (draws, x[0]))
    found = calibration.ranks(draws, x, generator(1)).flatten()
    frequencies = torch.bincount(found, minlength=K + 1).numpy()
    assert scipy.stats.chisquare(frequencies).pvalue > 1e-3
    assert calibration.ranks(torch.zeros(2, 9), torch.zeros(9), generator()).unique().numel() == 3


def test_ranks_without_ties_are_counts():
    draws = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    found = calibration.ranks(draws, torch.tensor([0.5, 2.5]), generator())
    assert found.tolist() == [0, 2]


def test_distance_ranks_are_those_of_the_energy_scores():
    """Of each member of the pool, against the pool: scoringrules, as the authors of the rank."""
    draws, x = forecasts(1.0, n=50, event=(2, 3))
    pool = torch.cat([x[None], draws]).flatten(2).double().numpy()  # (K + 1, N, D)
    members = np.moveaxis(pool, 0, 1)  # (N, K + 1, D)
    scores = np.stack([scoringrules.es_ensemble(one, members) for one in pool])
    expected = (scores[1:] < scores[0]).sum(0)
    found = calibration.distance_ranks(draws, x, generator())
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize(("spread", "bin_of_most"), [(0.6, -1), (1.0, None), (1.6, 0)])
def test_distance_ranks_tell_too_narrow_from_too_wide(spread, bin_of_most):
    draws, x = forecasts(spread, n=2000, event=(8,))
    found = calibration.histogram(calibration.distance_ranks(draws, x, generator()), K, 4)
    if bin_of_most is None:
        assert (found - 1).abs().max() < 0.25
    else:
        assert found[bin_of_most] > 2.5


def test_pixels_may_be_calibrated_where_the_image_is_not():
    """Every pixel of an observation deviates alike, and those of a draw independently."""
    source = generator()
    x = torch.randn(1000, 1, generator=source).expand(-1, 16)
    draws = torch.randn(K, 1000, 16, generator=source)
    ranks = calibration.ranks(draws, x, source)
    assert calibration.coverage(ranks, K, 0.9) == pytest.approx(0.9, abs=0.04)
    together = calibration.histogram(calibration.distance_ranks(draws, x, source), K, 4)
    assert together[0] + together[-1] > 3


def test_images_are_rounded_as_they_are_stored():
    images = torch.tensor([-0.3, 0.02, 0.04, 0.51, 1.2])
    expected = torch.tensor([0.0, 0.0, 1 / 16, 0.5, 1.0])
    torch.testing.assert_close(calibration.as_stored(images, 16), expected)


def test_what_does_not_fit_is_an_error():
    for function in (calibration.ranks, calibration.distance_ranks):
        with pytest.raises(ValueError, match=r"received shapes \(3, 4, 5\) and \(4, 6\)"):
            function(torch.rand(3, 4, 5), torch.rand(4, 6), generator())
    with pytest.raises(ValueError, match=r"2 or more draws.*\(1, 4\) and \(4,\)"):
        calibration.spread_skill(torch.rand(1, 4), torch.rand(4))
    with pytest.raises(ValueError, match=r"50 draws have no central interval of level 0\.9"):
        calibration.coverage(torch.zeros(3), 50, 0.9)
    with pytest.raises(ValueError, match="40 ranks do not fill 7 bins evenly"):
        calibration.histogram(torch.zeros(3, dtype=torch.long), 39, 7)
    with pytest.raises(ValueError, match="bins must be an integer from 1 up, received 0"):
        calibration.histogram(torch.zeros(3, dtype=torch.long), 39, 0)
    with pytest.raises(ValueError, match="steps must be an integer from 1 up"):
        calibration.as_stored(torch.rand(3), 0)
    with pytest.raises(ValueError, match=r"of torch\.uint8: of 8-bit images take x / 255"):
        calibration.as_stored(torch.arange(9).byte(), 255)


@pytest.mark.parametrize("measure", [calibration.ranks, calibration.distance_ranks])
@pytest.mark.parametrize("fault", ["no draws", "no images", "a NaN draw", "a NaN image"])
def test_ranks_of_what_is_no_number_are_refused(measure, fault):
    draws, x = torch.rand(5, 3, 4), torch.rand(3, 4)
    if fault == "no draws":
        draws = draws[:0]
    elif fault == "no images":
        draws, x = draws[:, :0], x[:0]
    elif fault == "a NaN draw":
        draws[2, 1, 0] = torch.nan
    else:
        x[1, 0] = torch.nan
    with pytest.raises(ValueError, match=r"must be finite|or more draws"):
        measure(draws, x, torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"must be finite|or more draws"):
        calibration.spread_skill(draws, x)


def test_small_integers_do_not_overflow_in_a_histogram():
    found = torch.arange(200, dtype=torch.uint8)
    expected = calibration.histogram(found.long(), 199, 10)
    torch.testing.assert_close(calibration.histogram(found, 199, 10), expected)
