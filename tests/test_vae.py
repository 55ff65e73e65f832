"""The model, its posterior, and the networks by name."""

import math

import pytest
import torch

from envae import evaluation, networks
from envae.vae import VAE, gaussian, kl_to_prior

ANY_SIZE = ["linear", "mlp", "conv"]
SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (2, 9, 13)]


def test_unknown_network_is_an_error():
    with pytest.raises(
        ValueError, match=r"unknown network 'convv', did you mean 'conv'\? \(known: lin"
    ):
        networks.build("convv", (1, 8, 8), 4)


@pytest.mark.parametrize(
    ("shape", "latent_dim", "message"),
    [((8, 8), 4, "image_shape"), ((1, 8, 8), 0, "latent_dim"), ((1, 7, 8), 4, "8 x 8")],
)
def test_sizes_out_of_range_are_errors(shape, latent_dim, message):
    with pytest.raises(ValueError, match=message):
        networks.build("conv", shape, latent_dim)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ANY_SIZE)
def test_shapes(name, shape):
    vae = networks.build(name, shape, 5)
    x = torch.rand(3, *shape)
    posterior = vae.encode(x)
    assert posterior.mean.shape == posterior.stddev.shape == (3, 5)
    assert vae.decode(posterior.mean).shape == x.shape
    assert vae.decode(posterior.rsample((4,))).shape == (4, *x.shape)


def test_wrong_shapes_are_errors_that_name_them():
    vae = networks.build("mlp", (1, 8, 8), 5)
    with pytest.raises(ValueError, match=r"shape \(B, 1, 8, 8\), received \(3, 1, 9, 8\)"):
        vae.encode(torch.rand(3, 1, 9, 8))
    with pytest.raises(ValueError, match=r"shape \(..., B, 5\), received \(3, 4\)"):
        vae.decode(torch.rand(3, 4))


def test_several_draws_decode_as_each_by_itself():
    vae = networks.build("conv", (1, 8, 8), 5, seed=0)
    z = torch.randn(4, 3, 5)
    torch.testing.assert_close(vae.decode(z), torch.stack([vae.decode(draw) for draw in z]))


@pytest.mark.parametrize("name", ANY_SIZE)
def test_a_head_comes_beside_the_image(name):
    vae = networks.build(name, (3, 9, 13), 5, head=4)
    image, head = vae.decode_with_head(torch.randn(2, 6, 5))
    assert image.shape == (2, 6, 3, 9, 13)
    assert head.shape == (2, 6, 4, 9, 13)
    assert networks.build(name, (3, 9, 13), 5).decode_with_head(torch.randn(6, 5))[1].numel() == 0
    with pytest.raises(ValueError, match="head must be at least 0"):
        networks.build(name, (3, 9, 13), 5, head=-1)


def test_seed_decides_the_weights_and_leaves_the_generator_alone():
    torch.manual_seed(1)
    expected = torch.randn(3)
    torch.manual_seed(1)
    first = networks.build("mlp", (1, 8, 8), 5, seed=0).state_dict()
    torch.testing.assert_close(torch.randn(3), expected)
    second = networks.build("mlp", (1, 8, 8), 5, seed=0).state_dict()
    other = networks.build("mlp", (1, 8, 8), 5, seed=1).state_dict()
    name = "encoder.1.weight"
    assert torch.equal(first[name], second[name])
    assert not torch.equal(first[name], other[name])


def test_kl_against_its_closed_form():
    """Sec. 3.1 of takida2022: (sigma^2 + mu^2 - ln sigma^2 - 1)/2, summed over the code."""
    mean, stddev = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 2.0]])
    expected = 0.5 * (0.25 + 1 - math.log(0.25) - 1) + 0.5 * (4 + 4 - math.log(4) - 1)
    assert kl_to_prior(gaussian(mean, stddev)).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("log_variance", [-120.0, -170.0, 0.0, 40.0])
def test_kl_of_a_sharp_or_broad_posterior_is_finite_and_so_is_its_gradient(log_variance):
    """The square of exp(-60) is no float: its logarithm must not be asked for."""
    vae = networks.build("mlp", (1, 8, 8), 2, posterior="coordinate", seed=0)
    logs = vae.encoder.log_variance
    torch.nn.init.constant_(logs, log_variance)
    posterior = vae.encode(torch.zeros(1, 1, 8, 8))
    kl = kl_to_prior(posterior)
    of_mean = 0.5 * posterior.mean.double().square().sum().item()
    expected = of_mean + math.exp(log_variance) - 1 - log_variance  # two dimensions
    assert kl.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    (gradient,) = torch.autograd.grad(kl.sum(), logs)
    torch.testing.assert_close(gradient, torch.full((2,), 0.5 * (math.exp(log_variance) - 1)))
    again = evaluation.encode(vae, torch.zeros(1, 1, 8, 8))
    for stddev in (posterior.stddev, again.stddev):
        torch.testing.assert_close(stddev, torch.full((1, 2), math.exp(log_variance / 2)))
    torch.testing.assert_close(kl_to_prior(again), kl)


def test_kl_of_a_code_that_is_a_map_is_over_the_whole_map():
    mean, stddev = torch.randn(3, 2, 4, 4), torch.rand(3, 2, 4, 4) + 0.1
    flat = kl_to_prior(gaussian(mean.flatten(1), stddev.flatten(1)))
    torch.testing.assert_close(kl_to_prior(gaussian(mean, stddev)), flat)
    from_torch = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, stddev), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(flat, from_torch.flatten(1).sum(1))


def test_linear_network_is_affine_with_one_variance_for_all_images():
    vae = networks.build("linear", (1, 8, 8), 3, seed=0)
    a, b = torch.randn(2, 4, 3)
    torch.testing.assert_close(
        vae.decode(a) + vae.decode(b) - vae.decode(a + b), vae.decode(torch.zeros(4, 3))
    )
    stddev = vae.encode(torch.rand(6, 1, 8, 8)).stddev
    assert torch.equal(stddev, stddev[:1].expand_as(stddev))


def test_the_encoders_second_half_is_the_logarithm_of_the_variance():
    """A network that answers 0.5, 2, ln 9, ln 0.04: standard deviations 3 and 0.2."""
    answer = torch.tensor([0.5, 2.0, math.log(9), math.log(0.04)])
    layer = torch.nn.Linear(4, 4)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(answer)
    vae = VAE(torch.nn.Sequential(torch.nn.Flatten(), layer), torch.nn.Identity(), (1, 2, 2), 2)
    posterior = vae.encode(torch.rand(3, 1, 2, 2))
    torch.testing.assert_close(posterior.mean, torch.tensor([0.5, 2.0]).expand(3, 2))
    torch.testing.assert_close(posterior.stddev, torch.tensor([3.0, 0.2]).expand(3, 2))
    torch.manual_seed(0)
    drawn = posterior.rsample((4000,)).std((0, 1))
    torch.testing.assert_close(drawn, torch.tensor([3.0, 0.2]), rtol=0.05, atol=0)
