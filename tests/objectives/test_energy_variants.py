"""Scores from fewer pairs, and mirrored draws: against the full energy score and closed forms."""

import itertools
import math

import pytest
import torch

from envae import datasets, networks
from envae.objectives import objective
from envae.objectives.energy import mirrored_draws
from envae.scores import antithetic_score, cyclic_energy_score, energy_score, norm_power
from envae.vae import gaussian

BETAS = [0.3, 1.0, 1.5, 2.0]


def random_forecast(draws, batch, event, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(draws, batch, *event, generator=generator, dtype=torch.float64)
    return samples, torch.randn(batch, *event, generator=generator, dtype=torch.float64)


class Curved:
    """A VAE of two codes and three pixels whose decoder is not affine; its posterior is fixed."""

    def __init__(self, stddev=1.0):
        self.stddev = stddev

    def encode(self, x):
        ones = torch.ones(len(x), 2, dtype=x.dtype)
        return gaussian(0.3 * ones, self.stddev * ones)

    def decode(self, z):
        return torch.stack([z[:, 0] ** 2, z[:, 0] * z[:, 1], z[:, 1].exp()], dim=1)


# --- errors -----------------------------------------------------------------------------------


def test_bad_samples_are_errors():
    samples, x = random_forecast(3, 2, (4,))
    with pytest.raises(ValueError, match=r"M >= 2, received shape \(1, 2, 4\)"):
        cyclic_energy_score(samples[:1], x)
    with pytest.raises(ValueError, match=r"need x of shape \(2, 4\), received \(2, 3\)"):
        cyclic_energy_score(samples, x[:, :3])
    with pytest.raises(ValueError, match="first, second and x must have one shape"):
        antithetic_score(x, x[:1], x)
    for score in (lambda: cyclic_energy_score(samples, x, beta=0),
                  lambda: antithetic_score(x, x, x, beta=2.1)):  # fmt: skip
        with pytest.raises(ValueError, match=r"beta must lie in \(0, 2\]"):
            score()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": "mirored"}, "unknown pairs 'mirored', did you mean 'mirrored'"),
        ({"pairs": "mirrored", "samples": 2}, "even number of samples from 4 up, received 2"),
        ({"pairs": "mirrored", "samples": 5}, "even number of samples from 4 up, received 5"),
    ],
)
def test_bad_pairs_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        objective("envae", **options)


# --- against the full score -------------------------------------------------------------------


@pytest.mark.parametrize("beta", BETAS)
def test_cyclic_score_over_all_orders_is_the_energy_score(beta):
    samples, x = random_forecast(5, 3, (2, 4))
    orders = torch.tensor(list(itertools.permutations(range(5))))
    cyclic = torch.stack([cyclic_energy_score(samples[o], x, beta=beta) for o in orders])
    assert cyclic.shape == (120, 3)
    assert (cyclic.std(0) > 1e-3).all()
    torch.testing.assert_close(cyclic.mean(0), energy_score(samples, x, beta=beta))


@pytest.mark.parametrize("draws", [2, 3])
def test_cyclic_score_of_few_samples_is_the_energy_score(draws):
    samples, x = random_forecast(draws, 3, (7,))
    torch.testing.assert_close(cyclic_energy_score(samples, x), energy_score(samples, x))


def test_mirrored_draws_are_mirrored_and_their_neighbours_are_not():
    torch.manual_seed(0)
    posterior = Curved().encode(torch.zeros(5, 3))
    codes = mirrored_draws(posterior, 6)
    assert codes.shape == (6, 5, 2)
    torch.testing.assert_close(codes[:3] + codes[3:], (2 * posterior.mean).expand(3, 5, 2))
    middle = 0.5 * (codes + codes.roll(1, 0))
    assert ((middle - posterior.mean).norm(dim=-1) > 1e-3).all()


@pytest.mark.parametrize("beta", BETAS)
def test_four_mirrored_draws_push_apart_all_pairs_but_the_mirrored(beta):
    samples, x = random_forecast(4, 6, (3,))
    first = torch.stack([norm_power(sample - x, beta) for sample in samples]).mean(0)
    cross = [(0, 1), (0, 3), (2, 1), (2, 3)]  # draws 0, 1 and their images 2, 3
    second = torch.stack([norm_power(samples[i] - samples[j], beta) for i, j in cross]).mean(0)
    torch.testing.assert_close(cyclic_energy_score(samples, x, beta=beta), first - 0.5 * second)


def test_unbiased_for_a_curved_decoder_where_the_antithetic_pair_is_not():
    torch.manual_seed(0)
    vae, x = Curved(), torch.tensor([0.5, -0.2, 1.0], dtype=torch.float64).expand(200_000, 3)

    def value(name, **options):
        reconstruction = objective(name, **options)(vae, x).reconstruction
        return reconstruction.item()

    exact = value("envae", samples=8)
    tolerance = 0.015  # about four standard errors of the noisiest
    assert value("envae", samples=4, pairs="cyclic") == pytest.approx(exact, abs=tolerance)
    assert value("envae", samples=4, pairs="mirrored") == pytest.approx(exact, abs=tolerance)
    pair = vae.decode(mirrored_draws(vae.encode(x), 2).flatten(0, 1)).unflatten(0, (2, -1))
    assert abs(antithetic_score(*pair, x).mean().item() - exact) > 3 * tolerance


def test_mirrored_draws_have_less_noise():
    torch.manual_seed(0)
    vae, x = Curved(stddev=0.1), torch.full((20_000, 3), 2.0, dtype=torch.float64)
    posterior = vae.encode(x)
    variance = {}
    for label, codes in (("independent", posterior.rsample((4,))),
                         ("mirrored", mirrored_draws(posterior, 4))):  # fmt: skip
        decoded = vae.decode(codes.flatten(0, 1)).unflatten(0, (4, -1))
        variance[label] = cyclic_energy_score(decoded, x).var().item()
    assert variance["mirrored"] < 0.7 * variance["independent"]


# --- closed forms -----------------------------------------------------------------------------


def test_antithetic_score_at_beta_two_is_the_error_of_the_mean():
    residual, delta = random_forecast(1, 5, (4,))
    score = antithetic_score(residual[0] + delta, residual[0] - delta, torch.zeros(5, 4), beta=2)
    torch.testing.assert_close(score, residual[0].square().sum(1))


def test_antithetic_score_of_a_normal_forecast():
    """One pixel, x at the mean: the energy score is E|a| (1 - 1/sqrt(2)), with E|a| known."""
    torch.manual_seed(0)
    a = torch.randn(1_000_000, 1, dtype=torch.float64)
    score = antithetic_score(a, -a, torch.zeros_like(a)).mean().item()
    exact = math.sqrt(2 / math.pi) * (1 - 1 / math.sqrt(2))
    assert score == pytest.approx(exact, abs=1e-3)


@pytest.mark.parametrize("beta", BETAS)
def test_neither_score_is_negative(beta):
    size = torch.exp(2 * torch.randn(1, 5000, 1, generator=torch.Generator().manual_seed(1)))
    samples, x = random_forecast(4, 5000, (3,))
    pair = size * samples[:2]
    assert antithetic_score(*pair, x, beta=beta).min() >= 0
    cyclic = cyclic_energy_score(size * samples, x, beta=beta)
    assert (cyclic.min() >= 0) == (beta <= 1)


# --- gradients --------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", BETAS)
def test_gradients(beta):
    samples, x = random_forecast(4, 3, (5,))
    samples.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: cyclic_energy_score(s, x, beta=beta), samples)
    assert torch.autograd.gradcheck(lambda s: antithetic_score(*s[:2], x, beta=beta), samples)


def test_gradients_are_finite_where_points_coincide():
    x = torch.zeros(2, 3)
    samples = torch.zeros(4, 2, 3, requires_grad=True)
    (cyclic_energy_score(samples, x) + antithetic_score(*samples[:2], x)).sum().backward()
    assert samples.grad.isfinite().all()


def test_pairs_train_alike():
    digits = datasets.load("digits")
    vae = networks.build("mlp", digits.image_shape, 4, seed=0)
    values = {}
    for pairs in ("all", "cyclic", "mirrored"):
        torch.manual_seed(0)
        loss = objective("envae", samples=6, pairs=pairs)(vae, digits.train)
        loss.total.backward()
        values[pairs] = loss.reconstruction.item()
    assert values["cyclic"] == pytest.approx(values["all"], rel=0.02)
    assert values["mirrored"] == pytest.approx(values["all"], rel=0.02)


@pytest.mark.parametrize("draws", ["single", "double"])
def test_the_stretched_draw_has_the_noise_of_the_draw_or_its_own(draws):
    posterior = gaussian(torch.zeros(500, 2), torch.ones(500, 2))
    draw, stretched, center = objective("fenvae", draws=draws).draw(posterior)
    assert not center.any()
    if draws == "single":
        torch.testing.assert_close(stretched, 2**0.5 * draw)
    else:
        alike = torch.corrcoef(torch.stack([draw.flatten(), stretched.flatten()]))[0, 1]
        assert abs(alike) < 0.2
        assert stretched.std().item() == pytest.approx(2**0.5, rel=0.1)
