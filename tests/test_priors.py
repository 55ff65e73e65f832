"""What codes are sampled from after training, against distributions that are known."""

import pytest
import torch

from envae import priors


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


@pytest.fixture(scope="module")
def second_stage():
    """Fitted to codes about (2, 2) that spread by 3 along the diagonal and by 1 across it."""
    along, across = torch.randn(2, 600, generator=generator(3)) * torch.tensor([[3.0], [1.0]])
    codes = 2 + torch.stack([along + across, along - across], dim=1) / 2**0.5
    prior = priors.SecondStageVAE.fit(codes, epochs=8, batch_size=50, lr=1e-3, accelerator="cpu")
    return codes, prior


def test_second_stage_samples_as_the_codes_are_distributed(second_stage):
    """Covariance [[5, 4], [4, 5]] about (2, 2); the standard normal is far from both."""
    codes, prior = second_stage
    sampled = prior.sample(5000, generator())
    torch.testing.assert_close(sampled.mean(0), codes.mean(0), atol=0.4, rtol=0)
    torch.testing.assert_close(sampled.T.cov(), codes.T.cov(), atol=1.0, rtol=0)


@pytest.mark.parametrize(("spread", "least", "most"), [(0.1, 0.9, 0.99), (5.0, 1.01, 1.1)])
def test_second_stage_learns_its_variance(spread, least, most):
    """From 1 towards what is left of the codes, in 40 steps: down for narrow, up for wide ones."""
    codes = gaussian(160, [0.0, 0.0], [spread, spread])
    prior = priors.SecondStageVAE.fit(codes, epochs=2, batch_size=8, lr=1e-3, accelerator="cpu")
    assert least < prior.gamma < most


def test_second_stage_network_is_that_of_dai_and_wipf(second_stage):
    def affine(inputs, outputs):
        return inputs * outputs + outputs

    hidden = affine(2, 1024) + 2 * affine(1024, 1024)
    expected = 2 * hidden + affine(2 + 1024, 4) + affine(2 + 1024, 2)
    assert sum(weight.numel() for weight in second_stage[1].vae.parameters()) == expected


def test_second_stage_leaves_the_generator_alone():
    torch.manual_seed(1)
    expected = torch.randn(3)
    torch.manual_seed(1)
    codes = torch.randn(20, 2, generator=generator())
    priors.SecondStageVAE.fit(codes, epochs=1, accelerator="cpu")
    assert torch.equal(torch.randn(3), expected)


@pytest.mark.parametrize(
    "fit",
    [
        priors.StandardNormal.fit,
        priors.GaussianMixture.fit,
        lambda codes: priors.SecondStageVAE.fit(codes, epochs=1, accelerator="cpu"),
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
