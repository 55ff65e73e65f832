"""What codes are sampled from after training, against distributions that are known."""

import functools

import pytest
import torch

from envae import priors
from envae.vae import VAE


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(count, mean, stddev, seed=0):
    mean, stddev = torch.tensor(mean), torch.tensor(stddev)
    return mean + stddev * torch.randn(count, len(mean), generator=generator(seed))


def test_standard_normal_has_its_moments_whatever_the_codes():
    codes = priors.StandardNormal.fit(gaussian(50, [3.0, 1.0, 0.0], [0.1, 1.0, 2.0])).sample(
        40_000, generator()
    )
    torch.testing.assert_close(codes.mean(0), torch.zeros(3), atol=0.03, rtol=0)
    torch.testing.assert_close(codes.T.cov(), torch.eye(3), atol=0.03, rtol=0)


def test_mixture_is_recovered():
    """Two Gaussians of known weights, means and covariances."""
    codes = torch.cat(
        [gaussian(6000, [4.0, 0.0], [1.0, 0.5]), gaussian(2000, [-4.0, 1.0], [0.3, 2.0], seed=1)]
    )
    prior = priors.GaussianMixture.fit(codes, components=2)
    sampled = prior.sample(80_000, generator(2))
    right = sampled[:, 0] > 0
    assert right.double().mean().item() == pytest.approx(0.75, abs=0.01)
    for part, mean, stddev in [
        (sampled[right], [4.0, 0.0], [1.0, 0.5]),
        (sampled[~right], [-4.0, 1.0], [0.3, 2.0]),
    ]:
        torch.testing.assert_close(part.mean(0), torch.tensor(mean), atol=0.1, rtol=0)
        torch.testing.assert_close(part.std(0), torch.tensor(stddev), atol=0.05, rtol=0)
    halves = [half.double().mean().item() for half in right.split(40_000)]
    assert halves[0] == pytest.approx(halves[1], abs=0.02)  # not sorted by component


def test_one_component_has_the_moments_of_the_codes():
    codes = gaussian(500, [1.0, -2.0], [0.5, 1.5])
    mixture = priors.GaussianMixture.fit(codes, components=1).mixture
    torch.testing.assert_close(torch.from_numpy(mixture.means_[0]).float(), codes.mean(0))
    expected = codes.T.cov(correction=0)
    covariance = torch.from_numpy(mixture.covariances_[0]).float()
    torch.testing.assert_close(covariance, expected, rtol=1e-4, atol=1e-5)


second_stage = functools.partial(
    priors.SecondStageVAE.fit, hidden=64, batch_size=50, lr=3e-3, accelerator="cpu"
)


def test_second_stage_samples_as_the_codes_are_distributed():
    """Covariance [[5, 4], [4, 5]] about (2, 2); the standard normal is far from both."""
    along, across = torch.randn(2, 600, generator=generator(3)) * torch.tensor([[3.0], [1.0]])
    codes = 2 + torch.stack([along + across, along - across], dim=1) / 2**0.5
    sampled = second_stage(codes, epochs=40, lr=1e-3).sample(5000, generator())
    torch.testing.assert_close(sampled.mean(0), codes.mean(0), atol=0.4, rtol=0)
    torch.testing.assert_close(sampled.T.cov(), codes.T.cov(), atol=1.0, rtol=0)


def energy_distance(first, second):
    """0 for two sets from one distribution, whichever it is."""
    apart, within, across = (
        torch.cdist(*pair).mean().item()
        for pair in [(first, second), (first, first), (second, second)]
    )
    return 2 * apart - within - across


def test_second_stage_finds_what_no_gaussian_has():
    """1,500 codes in two narrow groups; a Gaussian of their moments fills the room between."""
    sign = torch.randint(2, (3000, 1), generator=generator(1)) * 2 - 1
    codes = 0.3 * torch.randn(3000, 4, generator=generator(2)) + sign * torch.tensor([1.0, 1, 0, 0])
    codes, others = codes.split(1500)
    prior = second_stage(codes, epochs=60, patience=10)
    noise = torch.randn(1500, 4, generator=generator(3))
    moments = codes.mean(0) + noise @ torch.linalg.cholesky(codes.T.cov()).T
    found = energy_distance(prior.sample(1500, generator()), others)
    # By 3.5 to 6 from five seeds, and another number wherever a step is rounded otherwise.
    assert 3 * found < energy_distance(moments, others) < energy_distance(noise, others)


def test_second_stage_stops_before_it_knows_a_small_set_by_heart():
    codes = torch.randn(20, 8, generator=generator())
    early, late = (second_stage(codes, epochs=500, patience=patience) for patience in (10, None))
    assert late.gamma < 0.5 * early.gamma


@pytest.mark.parametrize(("spread", "least", "most"), [(0.1, 0.9, 0.99), (5.0, 1.01, 1.1)])
def test_second_stage_learns_its_variance_as_the_authors_do(spread, least, most):
    """From 1 towards what is left of the codes, in 40 steps: down for narrow, up for wide ones."""
    codes = gaussian(160, [0.0, 0.0], [spread, spread])
    prior = second_stage(
        codes, estimate="trainable", patience=None, epochs=2, batch_size=8, lr=1e-3
    )
    assert least < prior.gamma < most


def test_second_stage_by_maximum_likelihood_is_as_narrow_as_the_codes():
    codes = gaussian(400, [0.0, 0.0], [0.1, 0.1])
    assert second_stage(codes, epochs=20).gamma <= 0.012


def test_second_stage_network_is_that_of_dai_and_wipf():
    def affine(inputs, outputs):
        return inputs * outputs + outputs

    hidden = affine(2, 1024) + 2 * affine(1024, 1024)
    expected = 2 * hidden + affine(2 + 1024, 4) + affine(2 + 1024, 2)
    vae = second_stage(torch.randn(50, 2), hidden=1024, epochs=1).vae
    assert sum(weight.numel() for weight in vae.parameters()) == expected


def test_second_stage_adds_noise_of_variance_gamma_to_what_it_decodes():
    """A decoder of one point: all that is left of a sample is the noise."""
    point = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Unflatten(1, (2, 1, 1)))
    torch.nn.init.zeros_(point[0].weight)
    sampled = priors.SecondStageVAE(VAE(point, point, (2, 1, 1), 2), 0.09).sample(
        20_000, generator()
    )
    expected = point[0].bias.detach()
    torch.testing.assert_close(sampled.mean(0), expected, atol=0.01, rtol=0)
    torch.testing.assert_close(sampled.T.cov(), 0.09 * torch.eye(2), atol=0.004, rtol=0)


def test_second_stage_leaves_the_generator_alone():
    torch.manual_seed(1)
    expected = torch.randn(3)
    torch.manual_seed(1)
    codes = torch.randn(20, 2, generator=generator())
    second_stage(codes, epochs=1)
    assert torch.equal(torch.randn(3), expected)


@pytest.mark.parametrize(
    "fit",
    [
        priors.StandardNormal.fit,
        priors.GaussianMixture.fit,
        functools.partial(second_stage, epochs=1),
    ],
)
def test_same_seeds_same_codes_and_other_generators_others(fit):
    codes = gaussian(60, [1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    first, second, other = (fit(codes).sample(5, generator(seed)) for seed in (0, 0, 1))
    assert first.shape == (5, 3)
    assert first.dtype == torch.float32
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.randn(9, 3), r"N >= 10, received shape \(9, 3\)"),
        (torch.randn(30), r"\(N, d_z\)"),
        (torch.ones(30, 2, dtype=torch.int64), "float codes"),
        (torch.full((30, 2), torch.nan), "finite"),
    ],
)
def test_bad_codes_are_errors(codes, message):
    with pytest.raises(ValueError, match=message):
        priors.GaussianMixture.fit(codes)


def test_number_of_components_out_of_range_is_an_error():
    with pytest.raises(ValueError, match="components must be an integer from 1 up, received 0"):
        priors.GaussianMixture.fit(torch.randn(30, 2), components=0)
