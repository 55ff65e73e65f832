"""The linear EnVAE against Monte Carlo, known moments and the fair estimator."""

import math

import pytest
import scipy.stats
import torch

from envae import energy_score
from envae.theory import linear_energy
from envae.theory.minimize import minimize

SPECTRUM = torch.tensor([2.0, 1.0, 0.5, 0.2], dtype=torch.float64)


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 1.5, 1.9, 1.999, 2.0])
def test_moment_of_equal_variances_is_that_of_a_chi_distribution(beta):
    for n in (1, 3, 700):
        variances = torch.full((n,), 0.3, dtype=torch.float64)
        log_moment = math.lgamma((n + beta) / 2) - math.lgamma(n / 2) + beta / 2 * math.log(0.6)
        got = linear_energy.mean_norm_power(variances, beta).item()
        assert got == pytest.approx(math.exp(log_moment), rel=1e-9)


def test_moment_of_unequal_variances_against_monte_carlo():
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(400_000, 4, generator=generator, dtype=torch.float64) * SPECTRUM.sqrt()
    values = draws.norm(dim=1)
    error = values.std().item() / math.sqrt(len(values))
    assert abs(linear_energy.mean_norm_power(SPECTRUM, 1.0) - values.mean()) < 4 * error


@pytest.mark.parametrize("beta", [0.5, 1.0, 1.7, 2.0])
def test_moment_about_another_point_is_that_of_a_noncentral_chi_distribution(beta):
    """Equal variances s: scipy's noncentral chi-squared, by numeric integration."""
    variances = torch.full((6,), 0.3, dtype=torch.float64)
    mean = torch.tensor([0.5, -1.0, 0.0, 2.0, 0.1, 0.0], dtype=torch.float64)
    chi2 = scipy.stats.ncx2(6, mean.square().sum().item() / 0.3)
    expected = chi2.expect(lambda q: (0.3 * q) ** (beta / 2))
    got = linear_energy.mean_norm_power(variances, beta, mean=mean).item()
    assert got == pytest.approx(expected, rel=1e-7)
    zero = linear_energy.mean_norm_power(variances, beta, mean=0 * mean)
    torch.testing.assert_close(zero, linear_energy.mean_norm_power(variances, beta))


def test_moment_without_variance_in_some_directions_has_a_finite_gradient():
    variances = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    linear_energy.mean_norm_power(variances, 1.0).backward()
    assert variances.grad.isfinite().all()


@pytest.mark.parametrize("beta", [0.0, 2.1])
def test_beta_out_of_range_is_an_error(beta):
    with pytest.raises(ValueError, match="beta"):
        linear_energy.mean_norm_power(SPECTRUM, beta)


def test_expected_loss_is_the_energy_score_of_the_model_plus_kl():
    generator = torch.Generator().manual_seed(1)
    weight, code = torch.tensor([1.1, 0.6]).double(), torch.tensor([0.8, 0.3]).double()
    variance, beta, alpha, count = torch.tensor([0.4, 0.9]).double(), 1.5, 0.3, 300_000
    x = torch.randn(count, 4, generator=generator, dtype=torch.float64) * SPECTRUM.sqrt()
    noise = torch.randn(2, count, 2, generator=generator, dtype=torch.float64)
    decoded = torch.zeros(2, count, 4, dtype=torch.float64)
    decoded[..., :2] = weight * (code * x[:, :2] / SPECTRUM[:2].sqrt() + variance.sqrt() * noise)
    score = energy_score(decoded, x, beta=beta)
    kl = 0.5 * (code**2 + variance - variance.log() - 1).sum()
    got = linear_energy.expected_loss(SPECTRUM, weight, code, variance, alpha=alpha, beta=beta)
    error = score.std().item() / math.sqrt(count)
    assert abs(got - score.mean() - alpha * kl) < 4 * error


@pytest.mark.parametrize("beta", [0.5, 1.0, 1.9])
def test_optimum_is_one_and_lower_than_its_surroundings(beta):
    best = linear_energy.optimum(SPECTRUM, 2, alpha=0.3, beta=beta)
    variance = best.posterior_variance
    kl = 0.5 * ((1 - variance) + variance - variance.log() - 1)  # mean square code, variance
    torch.testing.assert_close(best.kl, kl)

    def loss(raw):
        weight, code, log_variance = raw
        return linear_energy.expected_loss(
            SPECTRUM, weight, code, log_variance.exp(), alpha=0.3, beta=beta
        )

    # Free code and variance: that their squares add up to 1 is an outcome here.
    found = minimize(loss, torch.tensor([[0.7, 0.9], [0.3, 0.2], [0.1, -0.5]]).double())
    assert loss(found).item() == pytest.approx(best.loss.item(), abs=1e-9)
    torch.testing.assert_close(found[1] ** 2 + found[2].exp(), torch.ones(2).double())
    torch.testing.assert_close(found[2].exp(), best.posterior_variance, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"beta": 2.0}, "no minimum"), ({"alpha": 0.0}, "alpha"), ({"latent_dim": 5}, "latent_dim")],
)
def test_optimum_refuses_what_has_none(change, message):
    with pytest.raises(ValueError, match=message):
        linear_energy.optimum(**{"eigenvalues": SPECTRUM, "latent_dim": 2, "alpha": 1.0} | change)


def test_minimize_finds_a_known_minimum_and_refuses_single_precision():
    start = torch.zeros(2, dtype=torch.float64)
    target = torch.tensor([1.0, -2.0], dtype=torch.float64)
    found = minimize(lambda x: ((x - target) ** 4).sum() + (x - target).square().sum(), start)
    torch.testing.assert_close(found, target)
    with pytest.raises(ValueError, match="float64"):
        minimize(torch.sum, start.float())


def test_minimize_says_so_where_there_is_no_minimum():
    with pytest.raises(FloatingPointError, match="no minimum"):
        minimize(lambda x: -x.square().square().sum(), torch.ones(1, dtype=torch.float64))
