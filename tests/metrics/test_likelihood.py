"""The importance-sampled likelihood on a linear VAE, where it is exact, and who has a density."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from envae import networks
from envae.metrics.likelihood import negative_log_likelihood
from envae.objectives import names, objective
from envae.objectives.base import NoDensity

SHAPE, SIGMA2 = (1, 1, 4), 0.3
COLUMNS = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.5, -0.5], [0.0, 0.5]])  # orthogonal
OFFSET = torch.tensor([0.1, -0.2, 0.3, 0.0])
IMAGES = MultivariateNormal(OFFSET, COLUMNS @ COLUMNS.T + SIGMA2 * torch.eye(4))


def linear_vae(shift=0.0, wider=1.0):
    """Decoder W z + b, with its exact posterior; or one that is shifted and wider than that."""
    vae = networks.build("linear", SHAPE, 2)
    precision = (COLUMNS.T @ COLUMNS).diagonal() / SIGMA2 + 1
    to_mean = (COLUMNS / (precision * SIGMA2)).T
    with torch.no_grad():
        vae.decoder[0].weight.copy_(COLUMNS)
        vae.decoder[0].bias.copy_(OFFSET)
        vae.encoder.mean[1].weight.copy_(to_mean)
        vae.encoder.mean[1].bias.copy_(shift - to_mean @ OFFSET)
        vae.encoder.log_variance.copy_(2 * math.log(wider) - precision.log())
    return vae


def images(count, seed=0):
    torch.manual_seed(seed)
    return IMAGES.sample((count,)).reshape(-1, *SHAPE)


def exact(x):
    return -IMAGES.log_prob(x.flatten(1)).double()


def estimate(vae, x, **options):
    density = objective("l2", sigma2=SIGMA2).density(vae, x)
    return negative_log_likelihood(vae, density, x, **options)


def test_with_the_exact_posterior_one_draw_gives_the_exact_value():
    x = images(50)
    found = estimate(linear_vae(), x, draws=1)
    torch.testing.assert_close(found, exact(x), rtol=1e-5, atol=1e-5)


def test_a_correlated_posterior_is_a_proposal_too():
    """The exact posterior of a decoder whose columns are not orthogonal."""
    columns = torch.tensor([[1.0, 0.8], [0.5, 0.5], [0.5, -0.5], [0.0, 0.5]])
    precision = columns.T @ columns / SIGMA2 + torch.eye(2)

    class Correlated:
        def encode(self, x):
            mean = (x.flatten(1) - OFFSET) @ columns @ precision.inverse() / SIGMA2
            return MultivariateNormal(mean, precision_matrix=precision.expand(len(x), 2, 2))

        def decode(self, z):
            return (z @ columns.T + OFFSET).reshape(-1, *SHAPE)

    x = images(50)
    truth = MultivariateNormal(OFFSET, columns @ columns.T + SIGMA2 * torch.eye(4))
    found = [estimate(Correlated(), x, draws=1, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    for each in found:
        expected = -truth.log_prob(x.flatten(1)).double()
        torch.testing.assert_close(each, expected, rtol=1e-4, atol=1e-4)


def test_a_posterior_without_a_density_is_an_error():
    class Shifted(torch.distributions.Distribution):
        has_rsample, mean = True, torch.zeros(5, 2)

        def rsample(self, sample_shape=()):
            return torch.rand(*sample_shape, 5, 2)

    vae = linear_vae()
    vae.encode = lambda x: Shifted(torch.Size([5]), torch.Size([2]), validate_args=False)
    with pytest.raises(ValueError, match="needs densities: Shifted or _Gaussian has no log_prob"):
        estimate(vae, images(5), draws=2)


def test_upper_bound_falls_with_the_number_of_draws_to_the_exact_value():
    """Mean over 2,000 estimates of the same images at each k; k = 1 is the negative ELBO."""
    x = images(4).repeat(500, 1, 1, 1)
    vae = linear_vae(shift=0.3, wider=1.3)
    truth = exact(x).mean().item()
    found = {k: estimate(vae, x, draws=k, seed=k).mean().item() for k in (1, 5, 50, 500)}
    assert found[1] > found[5] + 0.3 > found[50] + 0.35 > truth + 0.34
    assert found[500] == pytest.approx(truth, abs=5e-3)
    posterior, proposal = linear_vae().encode(x[:4]), vae.encode(x[:4])
    gap = torch.distributions.kl_divergence(proposal, posterior).mean().item()
    assert found[1] - truth == pytest.approx(gap, abs=0.03)


@pytest.mark.parametrize("at_once", [1, 7, 100, 10_000])
def test_memory_bound_leaves_the_estimate_as_good(at_once):
    x, decoded = images(6), []
    vae = linear_vae(shift=0.1, wider=1.1)
    density = objective("l2", sigma2=SIGMA2).density(vae, x)

    def counted(x, z):
        decoded.append(z.shape[:2].numel())
        return density(x, z)

    found = negative_log_likelihood(vae, counted, x, draws=300, decoded_at_once=at_once)
    assert max(decoded) <= at_once
    assert sum(decoded) == 6 * 300
    torch.testing.assert_close(found, exact(x), atol=0.1, rtol=0)


def test_values_far_below_the_smallest_float_are_safe():
    """ln p(x) of about -10^8: its exponential is 0 in any precision."""
    x = images(3) + 1e4
    found = estimate(linear_vae(), x, draws=5)
    assert found.min() > 1e7
    torch.testing.assert_close(found, exact(x), rtol=1e-3, atol=0)


@pytest.mark.parametrize("option", ["draws", "decoded_at_once"])
def test_numbers_out_of_range_are_errors(option):
    with pytest.raises(ValueError, match=f"{option} must be an integer from 1 up, received 0"):
        estimate(linear_vae(), images(3), **{option: 0})


def test_a_deterministic_encoder_is_an_error():
    vae = networks.build("mlp", (1, 8, 8), 2, posterior=0.0)
    x = torch.rand(2, 1, 8, 8)
    density = objective("l2").density(vae, x)
    with pytest.raises(ValueError, match="posterior with a density"):
        negative_log_likelihood(vae, density, x)


# --- densities --------------------------------------------------------------------------------


def built(name, **options):
    loss = objective(name, **options)
    return networks.build("mlp", (1, 8, 8), 3, objective=loss, seed=0), loss


X = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Z = torch.randn(7, 5, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["l2", "l1", "student_t", "mol"])
def test_densities_of_fixed_form_are_those_of_the_objective(name):
    vae, loss = built(name)
    found = loss.density(vae, X)(X, Z)
    assert found.shape == (7, 5)
    image, head = vae.decode_with_head(Z[2])
    expected = -loss.per_image(X, image, head if head.shape[1] else None)
    torch.testing.assert_close(found[2], expected)


def test_bernoulli_is_a_density_of_zeros_and_ones_only():
    vae, loss = built("bernoulli")
    binary = X.round()
    expected = torch.distributions.Bernoulli(vae.decode(Z)).log_prob(binary.expand(7, *X.shape))
    density = loss.density(vae, X)
    torch.testing.assert_close(density(binary, Z), expected.flatten(2).sum(2))
    with pytest.raises(NoDensity, match="bernoulli is a likelihood of pixels that are 0 or 1"):
        density(X, Z)


@pytest.mark.parametrize("name", ["iso_i", "diag_i"])
def test_variance_by_maximum_likelihood_is_that_of_the_training_images(name):
    """The posterior's spread is taken away, so that the residuals are known."""
    vae = networks.build("mlp", (1, 8, 8), 3, posterior=0.0, seed=0)
    loss = objective(name)
    train = torch.rand(1037, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    squared = (train - vae.decode(vae.encode(train).mean)).square()
    variance = squared.mean() if name == "iso_i" else squared.mean(0) + loss.epsilon
    expected = torch.distributions.Normal(vae.decode(Z), variance.sqrt()).log_prob(X)
    found = loss.density(vae, train)(X, Z)
    torch.testing.assert_close(found, expected.flatten(2).sum(2))
    assert not torch.equal(found, loss.density(vae, train[:9])(X, Z))


@pytest.mark.parametrize("name", ["iso_i", "diag_i", "iso_d", "diag_d"])
def test_trained_variances_have_a_density(name):
    vae, loss = built(name, estimate="trainable", initial=0.2)
    found = loss.density(vae, X)(X, Z)
    image, head = vae.decode_with_head(Z)
    if head.numel() == 0:
        variance = torch.tensor(0.2)
    else:
        mean = head.mean((-3, -2, -1), keepdim=True) if name == "iso_d" else head
        variance = 0.2 * mean.exp()
    expected = torch.distributions.Normal(image, variance.sqrt()).log_prob(X)
    torch.testing.assert_close(found, expected.flatten(2).sum(2))


@pytest.mark.parametrize("name", ["iso_d", "diag_d"])
def test_a_variance_estimated_from_the_image_itself_is_refused(name):
    vae, loss = built(name)
    with pytest.raises(NoDensity, match=f"{name} by maximum likelihood has no density .*trainable"):
        loss.density(vae, X)


def test_every_other_objective_is_refused_with_its_unit():
    others = set(names()) - {"l2", "l1", "bernoulli", "student_t", "mol"}
    others -= {"iso_i", "iso_d", "diag_i", "diag_d"}
    assert {"envae", "rae", "wae_mmd"} <= others
    for name in others:
        with pytest.raises(NoDensity, match=rf"objective '{name}' has no density p\(x\|z\): its"):
            objective(name).density(None, X)
    with pytest.raises(NoDensity, match="squared data units"):
        objective("l2", alpha=0.1).density(None, X)


def test_two_methods_are_enough_for_a_likelihood():
    """Not an nn.Module: no weights, no device, no mode."""
    vae, loss = built("l2")

    class Foreign:
        encode, decode = vae.encode, vae.decode

    of_foreign = negative_log_likelihood(Foreign(), loss.density(Foreign(), X), X, draws=3)
    torch.testing.assert_close(
        of_foreign, negative_log_likelihood(vae, loss.density(vae, X), X, draws=3)
    )
