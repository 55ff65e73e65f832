"""Mutual information and the aggregate's KL against the closed forms of Gaussian models."""

import math

import pytest
import torch

from envae.metrics import information
from envae.vae import gaussian, kl_to_prior


def posterior(count, stddev, *, slope=0.8, dim=2, seed=0):
    """q(z|x) = N(slope x, stddev^2) of x ~ N(0, I): I = dim/2 ln(1 + (slope / stddev)^2)."""
    generator = torch.Generator().manual_seed(seed)
    mean = slope * torch.randn(count, dim, generator=generator)
    return gaussian(mean, torch.full_like(mean, stddev))


def exact(stddev, *, slope=0.8, dim=2):
    return dim / 2 * math.log1p((slope / stddev) ** 2)


def draws(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("stddev", [0.2, 0.5, 1.0])
def test_both_bounds_close_in_on_the_information_of_a_gaussian_model(stddev):
    low = information.mutual_information(posterior(3000, stddev), generator=draws())
    high = information.mutual_information(
        posterior(3000, stddev), reference=posterior(3000, stddev, seed=2), generator=draws()
    )
    assert low == pytest.approx(exact(stddev), abs=0.05)
    assert high == pytest.approx(exact(stddev), abs=0.05)


@pytest.mark.parametrize("log_variance", [-35.0, -60.0, -120.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_codes_that_lie_apart_tell_every_image_however_sharp_they_are(log_variance, dtype):
    mean = posterior(300, 1.0, dim=4).mean.to(dtype)
    sharp = gaussian(mean, log_variance=torch.full_like(mean, log_variance))
    assert information.mutual_information(sharp, generator=draws()) == pytest.approx(math.log(300))
    kl = kl_to_prior(
        gaussian(mean.double(), log_variance=torch.full((300, 4), log_variance).double())
    )
    found = information.aggregate_kl(sharp, generator=draws())
    assert found == pytest.approx(kl.mean().item() - math.log(300), rel=1e-6)


def test_products_and_differences_give_one_information(monkeypatch):
    channel, reference = posterior(1200, 0.3), posterior(900, 0.4, seed=2)
    for other in (None, reference):
        by_products = information.mutual_information(channel, reference=other, generator=draws())
        with monkeypatch.context() as patch:
            patch.setattr(information, "_LOST", 0.0)
            patch.setattr(information, "_AT_ONCE", 5000)
            found = information.mutual_information(channel, reference=other, generator=draws())
        assert found == pytest.approx(by_products, rel=1e-9)


def test_few_images_bound_the_information_from_below_and_above():
    values = torch.tensor(
        [
            [
                information.mutual_information(
                    posterior(20, 0.1, seed=seed), reference=reference, generator=draws(seed)
                )
                for reference in (None, posterior(20, 0.1, seed=seed + 1000))
            ]
            for seed in range(100)
        ]
    )
    low, high = values.mean(0).tolist()
    assert values[:, 0].max() <= math.log(20)
    assert low < exact(0.1) - 0.5
    assert high > exact(0.1) + 0.5


def test_the_estimate_is_equation_d1_with_half_the_codes_dimension():
    """-E ln E exp(-||z - mu'||^2 / (2 s^2)) - d/2, from many draws of its own."""
    channel = posterior(200, 0.5, dim=3)
    generator = torch.Generator().manual_seed(3)
    mean, variance = channel.mean.double(), 0.25
    z = mean + 0.5 * torch.randn(100, *mean.shape, generator=generator, dtype=torch.float64)
    distance = torch.cdist(z.flatten(0, 1), mean).square()
    kernel = (-distance / (2 * variance)).logsumexp(1) - math.log(200)
    many = gaussian(mean.repeat(20, 1), torch.full((4000, 3), 0.5))
    estimate = information.mutual_information(many, generator=draws())
    assert estimate == pytest.approx(-kernel.mean().item() - 3 / 2, abs=0.03)


def test_variances_of_their_own_against_a_sum_over_pairs():
    generator = torch.Generator().manual_seed(0)
    mean, stddev = torch.randn(2, 30, 4, generator=generator, dtype=torch.float64)
    channel = gaussian(mean, stddev.abs() + 0.1)
    other = gaussian(mean + 1, stddev.abs() + 0.2)
    noise = torch.randn(30, 4, generator=draws(), dtype=torch.float64)
    z = channel.mean + channel.stddev * noise
    for reference in (channel, other):
        pairs = torch.stack([reference.log_prob(point) for point in z])  # (draw, Gaussian)
        expected = channel.log_prob(z) - pairs.logsumexp(1) + math.log(30)
        estimate = information.mutual_information(channel, reference=reference, generator=draws())
        assert estimate == pytest.approx(expected.mean().item(), rel=1e-9)


def test_a_collapsed_posterior_has_no_information_and_a_sharp_one_tells_all_images_apart():
    collapsed = gaussian(torch.ones(50, 3), torch.full((50, 3), 2.0))
    assert information.mutual_information(collapsed) == pytest.approx(0, abs=1e-9)
    sharp = posterior(50, 1e-4)
    assert information.mutual_information(sharp) == pytest.approx(math.log(50), abs=1e-6)


def test_mean_kl_splits_into_information_and_kl_of_the_aggregate():
    channel = posterior(3000, 0.5)
    aggregate = information.aggregate_kl(channel, generator=draws())
    variance = 0.8**2 + 0.5**2
    assert aggregate == pytest.approx(variance - math.log(variance) - 1, abs=0.05)
    low = information.mutual_information(channel, generator=draws())
    assert low + aggregate == pytest.approx(kl_to_prior(channel).mean().item(), rel=1e-5)


def test_codes_that_are_maps_count_with_all_their_coordinates():
    flat = posterior(40, 0.5, dim=8)
    maps = gaussian(flat.mean.reshape(40, 2, 2, 2), flat.stddev.reshape(40, 2, 2, 2))
    for function in (information.mutual_information, information.aggregate_kl):
        assert function(maps, generator=draws()) == pytest.approx(
            function(flat, generator=draws()), rel=1e-6
        )


def test_bad_channels_are_errors():
    with pytest.raises(ValueError, match="positive standard deviations"):
        information.mutual_information(posterior(10, 0.0))
    with pytest.raises(ValueError, match="same dimension, received 2 and 3"):
        information.mutual_information(posterior(10, 1.0), reference=posterior(10, 1.0, dim=3))
