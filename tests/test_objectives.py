"""Objectives: contract, errors, oracles, and whether they train."""

import math

import pytest
import torch

from envae import datasets, networks, objectives
from envae.objectives import objective
from envae.scores import energy_score
from envae.training import fit
from envae.vae import gaussian, kl_to_prior

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)]
VARIANTS = [
    *[(name, {}) for name in objectives.names()],
    ("l2", {"alpha": 0.1}),
    ("envae", {"samples": 2, "beta": 1.5}),
    ("fenvae", {"draws": "double"}),
]


def digits(count=64):
    return datasets.load("digits").train[:count]


# --- errors -----------------------------------------------------------------------------------


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown objective 'envea': known are \[.*did you mean"):
        objective("envea")


def test_unknown_option_lists_the_known_ones():
    with pytest.raises(
        ValueError, match=r"no option 'sample'.*\['samples'.*did you mean 'samples'"
    ):
        objective("envae", sample=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("envae", {"samples": 1}, "at least 2 samples"),
        ("envae", {"samples": 2.0}, "at least 2 samples"),
        ("envae", {"beta": 0}, "beta must lie"),
        ("envae", {"alpha": -1}, "alpha must be a positive number, received -1"),
        ("fenvae", {"beta": 2.5}, "beta must lie"),
        ("fenvae", {"draws": "triple"}, "'single' or 'double', received 'triple'"),
        ("l2", {"sigma2": 0}, "sigma2 must be a positive number"),
        ("l2", {"alpha": math.nan}, "alpha must be a positive number"),
        ("l2", {"sigma2": 1.0, "alpha": 1.0}, "not both"),
    ],
)
def test_options_out_of_range_are_errors(name, options, message):
    with pytest.raises(ValueError, match=message):
        objective(name, **options)


@pytest.mark.parametrize("name", objectives.names())
def test_bad_batches_are_errors_that_name_them(name):
    vae = networks.build("mlp", (1, 8, 8), 4)
    with pytest.raises(ValueError, match=r"received shape \(3, 1, 8, 8\) of torch.uint8"):
        objective(name)(vae, torch.zeros(3, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"received \(3, 1, 9, 9\)"):
        objective(name)(vae, torch.zeros(3, 1, 9, 9))
    vae.decode = lambda z: z[..., :2]
    with pytest.raises(ValueError, match=r"decoder returned images of shape \(3, 2\)"):
        objective(name)(vae, torch.zeros(3, 1, 8, 8))


# --- contract ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_loss_is_scalars_with_finite_gradients(name, options, shape):
    torch.manual_seed(0)
    vae = networks.build("conv", shape, 4)
    loss = objective(name, **options)(vae, torch.rand(2, *shape))
    assert loss.total.shape == loss.reconstruction.shape == loss.regularizer.shape == ()
    torch.testing.assert_close(loss.total, loss.reconstruction + loss.regularizer)
    assert all(part.shape == () and not part.requires_grad for part in loss.parts.values())
    assert "kl" in loss.parts
    loss.total.backward()
    assert all(parameter.grad.isfinite().all() for parameter in vae.parameters())


@pytest.mark.parametrize("name", objectives.names())
def test_any_object_with_encode_and_decode_will_do(name):
    """Not an nn.Module of ours, vectors for images, and codes that are maps."""

    class Foreign:
        weight = torch.randn(12, 10, requires_grad=True)

        def encode(self, x):
            mean = (x @ self.weight.T).reshape(-1, 3, 2, 2)
            return gaussian(mean, torch.full_like(mean, 0.5))

        def decode(self, z):
            return z.flatten(1) @ self.weight

    foreign = Foreign()
    objective(name)(foreign, torch.rand(5, 10)).total.backward()
    assert foreign.weight.grad.isfinite().all()


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_training_lowers_the_loss(name, options):
    vae = networks.build("mlp", (1, 8, 8), 4, seed=0)
    history = fit(vae, objective(name, **options), digits(640), epochs=8, progress=False)
    assert history["total"].iloc[-1] < 0.9 * history["total"].iloc[0]


# --- oracles ----------------------------------------------------------------------------------


class Frozen:
    """A decoder whose draws a test can foresee."""

    def __init__(self, x):
        self.posterior = gaussian(torch.zeros(len(x), 3), torch.full((len(x), 3), 0.7))
        self.map = torch.randn(3, x[0].numel())
        self.shape = x.shape[1:]

    def encode(self, x):
        return self.posterior

    def decode(self, z):
        return (z @ self.map).unflatten(-1, self.shape)


def drawn(model, count):
    """The draws that an objective makes after manual_seed(5), decoded."""
    torch.manual_seed(5)
    return model.decode(model.posterior.rsample((count,)))


def loss_of(model, x, name, **options):
    torch.manual_seed(5)
    return objective(name, **options)(model, x)


def test_l2_is_the_gaussian_negative_elbo_up_to_its_constant():
    x = digits(7)
    model = Frozen(x)
    sigma2 = 0.3
    decoded = drawn(model, 1)[0]
    likelihood = torch.distributions.Normal(decoded, math.sqrt(sigma2)).log_prob(x)
    constant = 0.5 * 64 * math.log(2 * math.pi * sigma2)
    expected = -likelihood.sum((1, 2, 3)).mean() - constant + kl_to_prior(model.posterior).mean()
    torch.testing.assert_close(loss_of(model, x, "l2", sigma2=sigma2).total, expected)
    torch.testing.assert_close(loss_of(model, x, "l2", alpha=sigma2).total, sigma2 * expected)


def test_envae_is_the_energy_score_of_its_draws_plus_alpha_kl():
    x = digits(7)
    model = Frozen(x)
    score = energy_score(drawn(model, 4), x, beta=1.5).mean()
    kl = kl_to_prior(model.posterior).mean()
    loss = loss_of(model, x, "envae", samples=4, beta=1.5, alpha=0.2)
    torch.testing.assert_close(loss.reconstruction, score)
    torch.testing.assert_close(loss.regularizer, 0.2 * kl)
    torch.testing.assert_close(loss.parts["kl"], kl)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_fenvae_single_is_equation_14(beta):
    x = digits(7)
    model = Frozen(x)
    torch.manual_seed(5)
    z, mean = model.posterior.rsample(), model.posterior.mean
    first = (model.decode(z) - x).flatten(1).norm(dim=1) ** beta
    spread = model.decode(mean + math.sqrt(2) * (z - mean)) - model.decode(mean)
    expected = first - 0.5 * spread.flatten(1).norm(dim=1) ** beta
    loss = loss_of(model, x, "fenvae", beta=beta, alpha=0.2)
    torch.testing.assert_close(loss.reconstruction, expected.mean())


@pytest.mark.parametrize("draws", ["single", "double"])
def test_fenvae_agrees_with_envae_in_expectation_for_an_affine_decoder(draws):
    x = digits(1).expand(20000, -1, -1, -1)
    model = Frozen(x)
    means = [
        loss_of(model, x, "fenvae", draws=draws).reconstruction.item(),
        loss_of(model, x, "envae", samples=10).reconstruction.item(),
    ]
    assert means[0] == pytest.approx(means[1], rel=0.02)


def test_envae_is_never_negative_for_beta_up_to_one():
    x = digits(64)
    model = Frozen(x)
    for beta in (0.3, 1.0):
        assert loss_of(model, x, "envae", samples=2, beta=beta).reconstruction >= 0
