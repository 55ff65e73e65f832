"""Scores of Gaussian forecasts against Monte Carlo, small fields written out, power by trial."""

import math

import pytest
import scipy.stats
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from envae.scores import energy_score
from envae.theory import discrimination
from envae.theory.discrimination import Field, Forecast

SMALL = Field(4, channels=2, length=1.5)
WRONG = {
    "mean": Forecast(shift=0.3),
    "spread": Forecast(spread=1.3),
    "correlation": Forecast(kept=0.2),
}


def covariance(field):
    """Of all pixels, by the distances between them."""
    index = [(c, i, j) for c in range(field.channels) for i in range(field.side)
             for j in range(field.side)]  # fmt: skip
    return torch.tensor(
        [
            [
                (1.0 if a[0] == b[0] else field.across)
                * math.exp(-(abs(a[1] - b[1]) + abs(a[2] - b[2])) / field.length)
                for b in index
            ]
            for a in index
        ],
        dtype=torch.float64,
    )


def distribution(forecast, field):
    truth = covariance(field)
    own = forecast.spread**2 * (forecast.kept * truth + (1 - forecast.kept) * torch.eye(len(truth)))
    return MultivariateNormal(torch.full((len(truth),), forecast.shift).double(), own.double())


def test_eigenvalues_are_those_of_the_covariance_written_out():
    expected = torch.linalg.eigvalsh(covariance(SMALL))
    torch.testing.assert_close(SMALL.eigenvalues().sort().values, expected)
    assert SMALL.pixels == 32
    assert SMALL.constant().square().sum().item() == pytest.approx(32)


@pytest.mark.parametrize("kind", WRONG)
def test_expected_scores_against_the_fair_estimator(kind):
    torch.manual_seed(0)
    truth, forecast = distribution(Forecast(), SMALL), distribution(WRONG[kind], SMALL)
    scores = energy_score(forecast.sample((2, 100_000)), truth.sample((100_000,)))
    error = scores.std().item() / math.sqrt(len(scores))
    found = discrimination.expected_score(WRONG[kind], SMALL)
    assert abs(found - scores.mean().item()) < 4 * error
    assert discrimination.relative_change(WRONG[kind], SMALL) > 0


@pytest.mark.parametrize(
    "wrong", [*WRONG.values(), Forecast(shift=0.3, spread=1.3, kept=0.5)], ids=repr
)
def test_logarithmic_score_needs_as_many_images_as_torchs_densities_say(wrong):
    torch.manual_seed(0)
    truth, forecast = distribution(Forecast(), SMALL), distribution(wrong, SMALL)
    x = truth.sample((200_000,))
    gain = kl_divergence(truth, forecast)
    spread = (truth.log_prob(x) - forecast.log_prob(x)).std()
    expected = (discrimination.DETECTION * spread / gain).square().item()
    found = discrimination.images_needed_by_likelihood(wrong, SMALL)
    assert found == pytest.approx(expected, rel=0.03)


def test_so_many_images_do_tell():
    """The test is passed in 80 % of trials."""
    forecast, draws = Forecast(shift=0.5), 4
    count = round(discrimination.images_needed(forecast, SMALL, draws=draws, images=4000))
    torch.manual_seed(0)
    trials = 2000
    truth, wrong = distribution(Forecast(), SMALL), distribution(forecast, SMALL)
    x = truth.sample((trials, count))
    gains = energy_score(wrong.sample((draws, trials, count)).flatten(1, 2), x.flatten(0, 1))
    gains -= energy_score(truth.sample((draws, trials, count)).flatten(1, 2), x.flatten(0, 1))
    gains = gains.unflatten(0, (trials, count))
    z = gains.mean(1) / gains.std(1) * math.sqrt(count)
    found = (z > scipy.stats.norm.ppf(0.95)).double().mean().item()
    assert found == pytest.approx(0.8, abs=0.06)
    quantiles = scipy.stats.norm.ppf([0.95, 0.8]).sum()
    assert quantiles == pytest.approx(discrimination.DETECTION, abs=1e-4)


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("field", [Field(28), Field(32, channels=3), Field(64, channels=3)])
def test_approximation_of_small_errors_in_many_dimensions(kind, field):
    forecast = {"mean": Forecast(shift=0.1), "spread": Forecast(spread=1.05)}.get(kind, WRONG[kind])
    exact = discrimination.relative_change(forecast, field)
    assert discrimination.approximate_change(forecast, field) == pytest.approx(exact, rel=0.1)


def test_independent_pixels_are_as_many_dimensions():
    assert discrimination.dimensions_of(Field(8, length=1e-3)) == pytest.approx(64)
    assert discrimination.dimensions_of(Field(8, length=1e6)) == pytest.approx(1, abs=1e-3)


def test_compare_tells_all_of_it():
    told = discrimination.compare(WRONG["spread"], SMALL, draws=3, images=40)
    assert told == {
        "change": discrimination.relative_change(WRONG["spread"], SMALL),
        "approximate": discrimination.approximate_change(WRONG["spread"], SMALL),
        "images": discrimination.images_needed(WRONG["spread"], SMALL, draws=3, images=40),
        "likelihood": discrimination.images_needed_by_likelihood(WRONG["spread"], SMALL),
        "dimensions": discrimination.dimensions_of(SMALL),
    }


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Field, {"side": 0}),
        (Field, {"side": 8, "channels": -1}),
        (Field, {"side": 8, "length": 0.0}),
        (Field, {"side": 8, "channels": 3, "across": -1.0}),
        (Field, {"side": 8, "channels": 3, "across": 1.0}),
        (Forecast, {"spread": 0.0}),
        (Forecast, {"kept": 1.5}),
        (Forecast, {"shift": math.nan}),
    ],
)
def test_fields_and_forecasts_that_are_none_are_refused(kind, wrong):
    with pytest.raises(ValueError, match=r"must be|needs"):
        kind(**wrong)


def test_no_number_of_images_tells_the_right_forecast_from_itself():
    told = discrimination.compare(Forecast(), SMALL, draws=3, images=40)
    assert told["change"] == 0
    assert told["images"] == told["likelihood"] == math.inf
    for few in ({"images": 1, "draws": 3}, {"images": 40, "draws": 1}):
        with pytest.raises(ValueError, match="from 2 up"):
            discrimination.images_needed(WRONG["mean"], SMALL, **few)
