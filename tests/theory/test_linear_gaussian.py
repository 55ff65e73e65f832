"""The linear VAE's closed forms against Monte Carlo means and the optimum of `linear`."""

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from envae.theory import linear, linear_gaussian
from envae.theory.linear_gaussian import LinearVAE

SPECTRUM = torch.tensor([3.0, 1.5, 0.5, 0.2], dtype=torch.float64)
DRAWS = 200_000


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def model(generator):
    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    root = normal(4, 4)
    covariance = root @ root.mT / 4 + 0.1 * torch.eye(4, dtype=torch.float64)
    return LinearVAE(covariance, 0.4 * normal(2, 4), normal(2).exp(), normal(4, 2), 0.7)


def draw(covariance, generator):
    root = torch.linalg.cholesky(covariance)
    noise = torch.randn(DRAWS, len(covariance), generator=generator, dtype=torch.float64)
    return noise @ root.mT


def within_four_errors(values, expected):
    error = values.std() / len(values) ** 0.5
    return abs(values.mean() - expected) < 4 * error


def test_negative_elbo_is_its_monte_carlo_mean(model, generator):
    xz = draw(model.encoded(), generator)
    x, z = xz[:, model.image], xz[:, model.code]
    posterior = Independent(Normal(x @ model.encoder.mT, model.posterior_variance.sqrt()), 1)
    prior = Independent(Normal(torch.zeros(2), torch.ones(2)), 1)
    kl = kl_divergence(posterior, prior)
    assert within_four_errors(kl, model.expected_kl())
    squared = (x - z @ model.decoder.mT).square().sum(1)
    assert within_four_errors(squared, model.expected_error())
    decoder = Independent(Normal(z @ model.decoder.mT, model.sigma2**0.5), 1)
    assert within_four_errors(kl - decoder.log_prob(x), model.negative_elbo())


def test_conditional_kl_is_what_the_chain_rule_leaves(model):
    first, second = model.encoded(), model.modelled()
    whole = linear_gaussian.kl(first, second)
    for of, given in [(model.image, model.code), (model.code, model.image)]:
        rest = whole - linear_gaussian.kl(first[given, given], second[given, given])
        part = linear_gaussian.conditional_kl(first, second, of, given)
        torch.testing.assert_close(part, rest)


def test_mutual_information_is_divergence_from_independence(model):
    joint = model.encoded()
    apart = torch.block_diag(joint[model.image, model.image], joint[model.code, model.code])
    expected = linear_gaussian.kl(joint, apart)
    found = linear_gaussian.mutual_information(joint, model.image, model.code)
    torch.testing.assert_close(found, expected)


def test_conditional_is_the_posterior_of_the_model(model):
    gain, covariance = linear_gaussian.conditional(model.modelled(), model.code, model.image)
    precision = torch.eye(2, dtype=torch.float64) + model.decoder.mT @ model.decoder / 0.7
    torch.testing.assert_close(covariance, torch.linalg.inv(precision))
    torch.testing.assert_close(gain, covariance @ model.decoder.mT / 0.7)


def test_at_the_optimum_it_is_the_negative_log_likelihood():
    best = linear.optimum(SPECTRUM, 3, 0.3)  # the third dimension is active, 0.5 > 0.3
    model = linear_gaussian.at_optimum(SPECTRUM, 3, 0.3)
    assert model.negative_elbo().item() == pytest.approx(best.negative_elbo.item())
    assert model.expected_kl().item() == pytest.approx(best.kl.sum().item())
    data = MultivariateNormal(torch.zeros(4, dtype=torch.float64), model.covariance)
    marginal = model.modelled()[model.image, model.image]
    likelihood = data.entropy() + linear_gaussian.kl(model.covariance, marginal)
    assert likelihood.item() == pytest.approx(best.negative_elbo.item())


def test_a_collapsed_dimension_has_no_weight():
    model = linear_gaussian.at_optimum(SPECTRUM, 3, 1.0)
    assert (model.decoder[:, 2] == 0).all()
    assert (model.encoder[2] == 0).all()
    assert model.posterior_variance[2] == 1


def test_a_batch_of_models_is_each_of_them(model):
    batch = LinearVAE(
        model.covariance,
        torch.stack([model.encoder, 2 * model.encoder]),
        model.posterior_variance.expand(2, 2),
        model.decoder.expand(2, 4, 2),
        torch.tensor([0.7, 1.3]).double(),
    )
    twice = LinearVAE(
        model.covariance, 2 * model.encoder, model.posterior_variance, model.decoder, 1.3
    )
    expected = torch.stack([model.negative_elbo(), twice.negative_elbo()])
    torch.testing.assert_close(batch.negative_elbo(), expected)
