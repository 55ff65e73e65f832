"""Energies, what climbs them and what descends them, against what is known in closed form."""

import math
import pickle

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from envae import networks
from envae.evaluation import seeded
from envae.objectives import Objective, base, objective
from envae.objectives.energies import Bounded, ImageEnergy, JointEnergy, langevin, maximized


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


# --- layers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [False, True])
def test_a_bounded_layer_is_that_of_torch_and_has_norm_one(images):
    def made():
        torch.manual_seed(0)
        new = {"bias": False, "dtype": torch.double}
        return nn.Conv2d(3, 8, 4, **new) if images else nn.Linear(30, 20, **new)

    layer = made()
    theirs = nn.utils.parametrizations.spectral_norm(made(), n_power_iterations=300)
    bounded = Bounded(layer).double().train()
    x = torch.randn(5, *(3, 6, 6) if images else (30,), dtype=torch.double)
    for _ in range(300):
        bounded(x)
    torch.testing.assert_close(bounded(x), theirs(x), rtol=1e-4, atol=1e-4)
    mine, its = [each(x).square().sum() for each in (bounded, theirs)]
    mine.backward()
    its.backward()
    expected = theirs.parametrizations.weight.original.grad
    torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 28), (1, 30, 17), (10,)])
def test_energies_have_one_number_for_each_and_are_pickled(shape):
    x, z = torch.rand(5, *shape), torch.randn(5, 2, 3)
    joint, images = JointEnergy(shape, 6, hidden=16).eval(), ImageEnergy(shape, hidden=16).eval()
    assert joint(x, z).shape == images(x).shape == (5,)
    assert (joint(x, z) > 0).all()
    for energy in (joint, images):
        layers = [part for part in energy.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
        assert len(layers) == sum(isinstance(part, Bounded) for part in energy.modules()) > 2
        assert layers[-1].weight.shape == (1, 16)  # every weight has a part in the number
    assert torch.equal(pickle.loads(pickle.dumps(joint))(x, z), joint(x, z))


def test_an_energy_changes_no_faster_than_the_image_and_evaluation_changes_nothing():
    energy = ImageEnergy((1, 8, 8)).train()
    x = torch.rand(200, 1, 8, 8, requires_grad=True)
    for _ in range(30):
        energy(x)
    energy.eval()
    before = {name: value.clone() for name, value in energy.named_buffers()}
    [slope] = torch.autograd.grad(energy(x).sum(), x)
    assert slope.flatten(1).norm(dim=1).max() <= 1.02
    assert all(torch.equal(value, before[name]) for name, value in energy.named_buffers())


def test_sizes_out_of_range_are_errors():
    with pytest.raises(ValueError, match="latent_dim must be an integer from 1 up, received 0"):
        JointEnergy((1, 8, 8), 0)
    with pytest.raises(ValueError, match="hidden must be an integer from 1 up, received 0"):
        ImageEnergy((1, 8, 8), hidden=0)
    with pytest.raises(ValueError, match="hidden must be an integer from 1 up, received 0"):
        JointEnergy((1, 8, 8), 2, hidden=0)


# --- maximized (oracle 2) ---------------------------------------------------------------------


def test_maximized_has_reversed_gradients_of_weights_and_those_of_arguments():
    energy = JointEnergy((1, 8, 8), 3, hidden=16).eval().double()
    x = torch.rand(4, 1, 8, 8, dtype=torch.double, requires_grad=True)
    z = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
    plain, climbed = energy(x, z), maximized(energy, x, z)
    assert torch.equal(plain, climbed)
    wanted = [*energy.parameters(), x, z]
    down = torch.autograd.grad(plain.sum(), wanted)
    up = torch.autograd.grad(climbed.sum(), wanted)
    count = len(list(energy.parameters()))
    for index, (one, other) in enumerate(zip(down, up, strict=True)):
        torch.testing.assert_close(other, -one if index < count else one)
    assert all(gradient.abs().sum() > 0 for gradient in down)


# --- Langevin (oracle 5) ----------------------------------------------------------------------


@pytest.mark.parametrize(("e", "steps"), [(0.5, 3), (0.5, 20), (0.1, 20)])
def test_langevin_on_a_gaussian_has_its_moments_after_every_step(e, steps):
    a = 0.4
    start = torch.randn(40_000, 1, generator=generator())
    points = langevin(
        lambda x: 0.5 * (x - a).square().sum(1),
        start,
        steps=steps,
        step_size=e / 2,
        noise=math.sqrt(e),
        generator=generator(1),
    )
    k = (1 - e / 2) ** steps
    variance = k**2 + e * (1 - k**2) / (1 - (1 - e / 2) ** 2)
    assert points.mean().item() == pytest.approx(a * (1 - k), abs=0.02)
    assert points.var().item() == pytest.approx(variance, rel=0.03)
    assert not torch.equal(points, start)


def test_langevin_reaches_two_modes_in_proportion():
    """E of a mixture of two Gaussians of one weight: a two-sample test against exact draws."""
    from envae.metrics.two_sample import energy_distance

    def energy(x):
        return -torch.logsumexp(-0.5 * (x - torch.tensor([-1.2, 1.2])).square() / 0.5, dim=1)

    points = langevin(
        energy,
        3 * torch.randn(1500, 1, generator=generator()),
        steps=100,
        step_size=0.04,
        noise=0.08**0.5,
        generator=generator(1),
    )
    sign = torch.randint(2, (1500, 1), generator=generator(2)) * 2.4 - 1.2
    exact = sign + 0.5**0.5 * torch.randn(1500, 1, generator=generator(3))
    assert energy_distance(points, exact) < 0.1
    assert energy_distance(3 * torch.randn(1500, 1, generator=generator()), exact) > 0.2


def test_no_steps_move_nothing_and_weights_get_no_gradient():
    energy = ImageEnergy((1, 8, 8)).train()
    start = torch.rand(3, 1, 8, 8, requires_grad=True)
    numbers = {"step_size": 0.1, "noise": 0.1}
    assert torch.equal(langevin(energy, start, steps=0, **numbers), start)
    moved = langevin(energy, start, steps=2, **numbers)
    assert not torch.equal(moved, start)
    assert not moved.requires_grad
    assert energy.training
    assert all(weight.grad is None for weight in energy.parameters())


def test_a_diverging_energy_is_an_error():
    numbers = {"steps": 200, "step_size": 1.0, "noise": 0.0}
    with pytest.raises(FloatingPointError, match="3 of 3 points are not finite after 200 Langevin"):
        langevin(lambda x: -x.square().sum(1), torch.ones(3, 2), **numbers)
    with pytest.raises(FloatingPointError, match="1 of 3 points"):
        langevin(lambda x: (x * torch.tensor([[1.0], [math.nan], [1.0]])).sum(1), torch.ones(3, 2),
                 **numbers)  # fmt: skip
    with pytest.raises(
        ValueError, match=r"one number per point, \(3,\), received a tensor of shape \(3, 2\)"
    ):
        langevin(lambda x: x, torch.ones(3, 2), **numbers)
    with pytest.raises(ValueError, match="steps must be an integer from 0 up, received -1"):
        langevin(lambda x: x.sum(1), torch.ones(3, 2), **numbers | {"steps": -1})
    for name in ("step_size", "noise"):
        with pytest.raises(ValueError, match=f"{name} must be a number from 0 up, received nan"):
            langevin(lambda x: x.sum(1), torch.ones(3, 2), **numbers | {name: math.nan})
    with pytest.raises(ValueError, match="start must be a floating-point tensor"):
        langevin(lambda x: x.sum(1), torch.ones(3, 2, dtype=torch.int64), **numbers)
    with pytest.raises(ValueError, match="start must be finite"):
        langevin(lambda x: x.sum(1), torch.full((3, 2), math.inf), **numbers)


# --- likelihood of an energy (oracle 6) -------------------------------------------------------


def test_gradient_of_a_likelihood_needs_samples_of_the_energy_itself():
    """E = (x - m)^2 / 2 has the normal density; another model's samples give another gradient."""
    m = torch.tensor(0.5, requires_grad=True)
    data = 0.4 + torch.randn(200_000, generator=generator())

    def contrast(negatives):
        return torch.autograd.grad(
            (0.5 * (data - m).square()).mean() - (0.5 * (negatives - m).square()).mean(), m
        )[0].item()

    [of_likelihood] = torch.autograd.grad(-Normal(m, 1.0).log_prob(data).mean(), m)
    own = m.detach() + torch.randn(200_000, generator=generator(1))
    others = torch.randn(200_000, generator=generator(2))
    assert contrast(own) == pytest.approx(of_likelihood.item(), abs=0.01)
    assert contrast(others) == pytest.approx(-0.4, abs=0.01)  # not even of its sign


# --- energy-based VAEs: what they refuse -------------------------------------------------------


def of_digits(**given):
    """A VAE of 8 x 8 images with a code of 3 numbers, and images."""
    return networks.build("mlp", (1, 8, 8), 3, **given), torch.rand(5, 1, 8, 8)


def test_an_energy_of_another_shape_or_code_is_told():
    vae, x = of_digits()
    for name, own in (("ec_vae", {}), ("dt_vae", {"latent_dim": 3})):
        minimized = objective(name, image_shape=(1, 4, 16), **own)
        with pytest.raises(ValueError, match=r"images of shape \(1, 4, 16\), received \(1, 8, 8\)"):
            minimized(vae, x)
    with pytest.raises(
        ValueError, match=r"latent_dim=7 for its energy, and the codes .* 3 numbers"
    ):
        objective("dt_vae", latent_dim=7, image_shape=(1, 8, 8))(vae, x)
    refine = objective("ec_vae", image_shape=(1, 8, 8)).refine
    with pytest.raises(ValueError, match=r"received \(1, 9, 9\)"):
        refine(torch.rand(5, 1, 9, 9))
    with pytest.raises(ValueError, match="start must be finite"):
        refine(torch.full((5, 1, 8, 8), math.nan))
    with pytest.raises(ValueError, match="start"):
        refine(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))


def test_an_energy_that_is_no_tensor_is_told():
    with pytest.raises(ValueError, match=r"one number per point, \(3,\), received"):
        langevin(lambda x: 0.0, torch.ones(3, 2), steps=1, step_size=0.1, noise=0.0)


def test_a_posterior_without_entropy_is_told():
    class Laplacian(Normal):
        def entropy(self):
            raise NotImplementedError

    class Foreign(nn.Module):
        def encode(self, x):
            return Independent(Laplacian(x[:, 0, 0, :3], 1.0), 1)

        def decode(self, z):
            return z.new_zeros(len(z), 1, 8, 8) + z.mean()

    minimized = objective("dt_vae", latent_dim=3, image_shape=(1, 8, 8))
    with pytest.raises(ValueError, match="dt_vae needs the entropy of the posterior"):
        minimized(Foreign(), torch.rand(5, 1, 8, 8))


@pytest.mark.parametrize(("name", "own"), [("ec_vae", {}), ("dt_vae", {"latent_dim": 3})])
def test_a_vae_in_double_precision_has_an_energy_in_single(name, own):
    vae, x = of_digits()
    minimized = objective(name, image_shape=(1, 8, 8), **own)
    with seeded(1):
        expected = minimized(vae, x).total
    with seeded(1):
        found = minimized(vae.double(), x.double()).total
    assert found.dtype == torch.double
    assert found.item() == pytest.approx(expected.item(), rel=0.5)  # other draws of the same law
    found.backward()
    assert all(weight.grad is not None for weight in minimized.energy.parameters())


def test_a_multiplier_at_its_limit_is_told_at_the_end():
    with pytest.raises(ValueError, match="calibration is at most 100, received 101"):
        objective("ec_vae", calibration=101.0)
    vae, x = of_digits()
    minimized = objective("ec_vae", image_shape=(1, 8, 8), tolerance=0.0, rate=1e9)
    minimized.eval().train()  # nothing has happened
    minimized(vae, x)
    with pytest.warns(RuntimeWarning, match="the multiplier of this ec_vae is at its limit, 100"):
        minimized.eval()
    minimized.eval()  # once
    stays = objective("ec_vae", image_shape=(1, 8, 8), calibration=100.0, rate=0.0)
    stays(vae, x)
    stays.eval()  # as it was asked for


@pytest.mark.parametrize(
    ("shape", "convolved"),
    [((1, 16, 16), True), ((3, 16, 40), True), ((1, 15, 40), False), ((1, 40, 15), False),
     ((20, 20), False), ((20,), False)],
)  # fmt: skip
def test_an_image_is_convolved_if_both_its_sides_are_long_enough(shape, convolved):
    layers = ImageEnergy(shape, hidden=4).modules()
    assert any(isinstance(layer, torch.nn.Conv2d) for layer in layers) == convolved


class Scaled(Objective):
    """A loss of one's own, with a weight for every pixel."""

    def __init__(self, alpha: float = 1.0):
        super().__init__()
        self.kl_weight = alpha
        self.scale = nn.UninitializedParameter()

    def prepare(self, image_shape):
        if isinstance(self.scale, nn.UninitializedParameter):
            self.scale.materialize(image_shape)
            nn.init.ones_(self.scale)

    def per_image(self, x, image, head=None):
        return (self.scale * (image - x)).square().flatten(1).sum(1)


@pytest.mark.parametrize("name", ["dt_vae", "ec_vae"])
def test_the_loss_beneath_an_energy_is_made_for_the_images_too(monkeypatch, name):
    monkeypatch.setitem(base._REGISTRY, "scaled", Scaled)
    code = {"latent_dim": 3} if name == "dt_vae" else {}
    minimized = objective(name, loss="scaled", **code)
    minimized.prepare((2, 4, 5))
    assert minimized.base.scale.shape == (2, 4, 5)
