"""Each objective against something that we did not write, or a closed form.

The test that does it for an objective is marked `@pytest.mark.oracle("its name")`. Where a function
below an objective is what has the oracle, such as `mmd`, the marked test is the one that shows the
objective to be made of it.
"""

import datetime
import functools
import math
import socket

import numpy as np
import pytest
import pytorch_msssim
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from focal_frequency_loss import FocalFrequencyLoss
from torch import nn
from torch.distributions import Bernoulli, Laplace, MultivariateNormal, Normal, kl_divergence

from envae import datasets, networks
from envae.objectives import Objective, names, objective
from envae.objectives.autoencoder import squared_jacobian
from envae.objectives.matching import KERNELS, mmd
from envae.objectives.mixture import MixtureOfLogistics
from envae.objectives.quantile import crps_of_quantiles, quantile_knots
from envae.scores import energy_score
from envae.vae import gaussian, kl_to_prior


def digits(count=7, channels=1):
    """Digits; in colour each channel is another digit of its own contrast, none like another."""
    grey = datasets.load("digits").train
    return torch.cat(
        [grey[step * count : (step + 1) * count] / (1 + step) for step in range(channels)], dim=1
    )


class Model:
    """An affine decoder into (0, 1), with a head, whose draws a test can foresee."""

    def __init__(self, x, head=0):
        generator = torch.Generator().manual_seed(0)
        self.posterior = gaussian(
            torch.randn(len(x), 3, generator=generator), torch.full((len(x), 3), 0.7)
        )
        self.map = 0.3 * torch.randn(3, (x.shape[1] + head) * 64, generator=generator)
        self.channels = x.shape[1]

    def encode(self, x):
        return self.posterior

    def decode(self, z):
        return self.decode_with_head(z)[0]

    def decode_with_head(self, z):
        maps = (z @ self.map).unflatten(-1, (-1, 8, 8))
        image, head = maps.tensor_split([self.channels], dim=-3)
        return 0.5 + 0.1 * image, head

    def drawn(self, count=1):
        """The draws that an objective makes after manual_seed(5), decoded, with their head."""
        torch.manual_seed(5)
        return self.decode_with_head(self.posterior.rsample((count,)))

    @property
    def kl(self):
        return kl_to_prior(self.posterior).mean()


def loss_of(model, x, name, **options):
    torch.manual_seed(5)
    return objective(name, **options)(model, x)


# --- all of them ------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _marked_for_what_it_makes(request, monkeypatch):
    """A test that is marked as the oracle of an objective must have made it."""
    made = set()
    init = Objective.__init__

    def remember(self):
        made.add(self.name)
        init(self)

    monkeypatch.setattr(Objective, "__init__", remember)
    yield
    marked = {name for mark in request.node.iter_markers("oracle") for name in mark.args}
    if hasattr(request.node, "callspec"):  # where the name is a parameter: in the case that has it
        marked = marked & set(map(str, request.node.callspec.params.values())) or marked
    assert marked <= made, f"marked as the oracle of {marked}, but made {made or 'none'}"


@pytest.mark.parametrize("name", names())
def test_every_objective_has_an_oracle(name):
    marks = [mark for test in globals().values() for mark in getattr(test, "pytestmark", [])]
    known = {name for mark in marks if mark.name == "oracle" for name in mark.args}
    assert name in known, f'no oracle for {name}: no test here is marked oracle("{name}")'


# --- likelihoods ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "density"),
    [
        ("l2", {"sigma2": 0.3}, lambda mean: Normal(mean, math.sqrt(0.3))),
        ("l1", {"scale": 0.2}, lambda mean: Laplace(mean, 0.2)),
        ("bernoulli", {}, lambda mean: Bernoulli(mean)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.oracle("l2", "l1", "bernoulli")
def test_likelihoods_are_negative_elbos_of_their_distribution(name, options, density, channels):
    x = digits(channels=channels).round()  # pixels 0 or 1, so that the Bernoulli has a likelihood
    model = Model(x)
    expected = -density(model.drawn()[0][0]).log_prob(x).sum((1, 2, 3)).mean()
    loss = loss_of(model, x, name, **options)
    torch.testing.assert_close(loss.reconstruction, expected)
    torch.testing.assert_close(loss.regularizer, model.kl)


@pytest.mark.parametrize("name", ["bernoulli", "student_t", "mol"])
def test_alpha_weights_the_kl_term_of_a_likelihood_and_nothing_else(name):
    x = digits()
    model = Model(x, head=objective(name).head_maps(1))
    plain, weighted = loss_of(model, x, name), loss_of(model, x, name, alpha=0.03)
    torch.testing.assert_close(weighted.reconstruction, plain.reconstruction)
    torch.testing.assert_close(plain.regularizer, model.kl)
    torch.testing.assert_close(weighted.regularizer, 0.03 * model.kl)


def test_l2_with_alpha_is_sigma2_times_its_negative_elbo_without_the_constant():
    x = digits()
    model = Model(x)
    constant = 32 * math.log(2 * math.pi * 0.3)
    nats = loss_of(model, x, "l2", sigma2=0.3).total
    torch.testing.assert_close(
        loss_of(model, x, "l2", alpha=0.3).total, 0.3 * (nats - constant), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.oracle("student_t")
def test_student_t_is_scipys_per_pixel(channels):
    """The head has the precisions of all channels first, and then their degrees of freedom."""
    x = digits(channels=channels)
    model = Model(x, head=2 * channels)
    images, heads = model.drawn()
    maps = np.logaddexp(0, heads[0].double().numpy()) + 1e-4
    precision, freedom = maps[:, :channels], maps[:, channels:]
    log_density = scipy.stats.t.logpdf(x.numpy(), freedom, images[0].numpy(), precision**-0.5)
    loss = loss_of(model, x, "student_t")
    assert loss.reconstruction.item() == pytest.approx(-log_density.sum((1, 2, 3)).mean(), rel=1e-5)


def test_student_t_is_a_gaussian_with_its_precision_integrated_out():
    """Gamma(a, b) on the precision: nu = 2 a, lambda = a / b."""
    a, b, x, mean = 1.7, 0.4, 0.9, 0.2
    density = scipy.stats.gamma(a, scale=1 / b)
    integral, _ = scipy.integrate.quad(
        lambda tau: scipy.stats.norm.pdf(x, mean, tau**-0.5) * density.pdf(tau), 0, np.inf
    )
    expected = scipy.stats.t.pdf(x, 2 * a, mean, (a / b) ** -0.5)
    assert integral == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("freedom", [1e-3, 3.0, 63.9, 64.1, 1e3, 1e5, 1e7])
def test_student_t_of_any_freedom_is_scipys_in_single_precision(freedom):
    """Towards a Gaussian the normalization is a small difference of large numbers."""
    head = torch.tensor([2.0, freedom]).reshape(1, 2, 1, 1).requires_grad_()
    image, x = torch.full((1, 1, 1, 1), 0.3), torch.full((1, 1, 1, 1), 0.9)
    loss = objective("student_t").per_image(x, image, head)
    loss.sum().backward()
    precision, nu = np.logaddexp(0, [2.0, freedom]) + 1e-4
    density = functools.partial(scipy.stats.t.logpdf, 0.9, loc=0.3, scale=precision**-0.5)
    assert loss.item() == pytest.approx(-density(nu), rel=1e-5)
    slope = (density(1.001 * nu) - density(0.999 * nu)) / (0.002 * nu)
    slope *= scipy.special.expit(freedom)  # of the softplus
    assert head.grad[0, 1].item() == pytest.approx(-slope, rel=0.01, abs=1e-9)


@pytest.mark.parametrize("size", [1.0, 30.0, 100.0, 300.0])
@pytest.mark.parametrize("name", ["student_t", "distvae", "mol"])
def test_a_head_may_be_as_large_as_training_makes_it(name, size):
    """In single precision loss and gradients are those in double, whatever the decoder says."""
    loss = objective(name)
    generator = torch.Generator().manual_seed(0)
    pattern = torch.randn(15, loss.head_maps(1), 2, 3, generator=generator)
    pattern[:5], pattern[5:10] = 1.0, -1.0
    levels = torch.tensor([0.0, 0.2, 0.4, 0.8, 1.0]).repeat(3).reshape(15, 1, 1, 1)
    found = []
    for dtype in (torch.float32, torch.float64):
        head = (size * pattern).to(dtype).requires_grad_()
        image = torch.full((15, 1, 2, 3), 0.3, dtype=dtype, requires_grad=True)
        of_images = loss.per_image(levels.expand_as(image).to(dtype), image, head)
        of_images.sum().backward()
        found.append([each.double() for each in (of_images.detach(), head.grad, image.grad)])
    for single, double in zip(*found, strict=True):
        assert (single - double).norm() <= 0.01 * (1 + double.norm())


# --- mixture of logistics ---------------------------------------------------------------------


def mixture(channels, levels, *, sharp=0.0, pixels=3):
    """An objective, a decoded image and a head for a row of pixels."""
    generator = torch.Generator().manual_seed(1)
    loss = MixtureOfLogistics(components=4, levels=levels)
    image = torch.rand(1, channels, 1, pixels, generator=generator, dtype=torch.float64)
    maps = loss.head_maps(channels)
    head = torch.randn(1, maps, 1, pixels, generator=generator, dtype=torch.float64) - sharp
    return loss, image, head


@pytest.mark.parametrize(("channels", "levels"), [(1, 256), (1, 17), (2, 9), (3, 6)])
@pytest.mark.parametrize("sharp", [0.0, 3.0])
def test_probabilities_of_all_grey_levels_add_up_to_one(channels, levels, sharp):
    loss, image, head = mixture(channels, levels, sharp=sharp, pixels=1)
    grid = torch.linspace(0, 1, levels, dtype=torch.float64)
    values = torch.cartesian_prod(*[grid] * channels).reshape(-1, channels, 1, 1)
    count = len(values)
    log_probability = -loss.per_image(
        values, image.expand(count, -1, -1, -1), head.expand(count, -1, -1, -1)
    )
    assert log_probability.exp().sum().item() == pytest.approx(1, abs=1e-10)


def test_decoded_image_is_the_mean_of_the_mixture():
    """Up to what falls off the ends: small scales, an image away from them."""
    loss, image, head = mixture(1, 256, pixels=1)
    image = 0.4 + 0.2 * image
    weight, offset, _ = head.unflatten(1, (4, 3)).chunk(3, dim=2)
    scale = torch.full_like(offset, -5)
    head = torch.cat([weight, 0.1 * offset, scale], dim=2).flatten(1, 2)
    grid = torch.linspace(0, 1, 256, dtype=torch.float64).reshape(-1, 1, 1, 1)
    probability = (-loss.per_image(grid, image.expand_as(grid), head.expand(256, -1, -1, -1))).exp()
    mean = (probability * grid.flatten()).sum()
    assert mean.item() == pytest.approx(image.item(), abs=1e-3)


@pytest.mark.oracle("mol")
def test_mixture_of_logistics_against_scipy():
    """One channel: the mass of a level under a mixture of scipy's logistics."""
    loss, image, head = mixture(1, 256)
    x = torch.tensor([0.0, 100.0, 255.0], dtype=torch.float64).reshape(1, 1, 1, 3) / 255
    weight, offset, log_scale = head.unflatten(1, (4, 3)).squeeze(3).unbind(2)  # (1, 4, 3)
    weight = weight.softmax(1)
    center = 2 * image.squeeze(2) - 1 + offset - (weight * offset).sum(1, keepdim=True)
    logistic = scipy.stats.logistic(center.numpy(), log_scale.exp().numpy())
    value = 2 * x.squeeze(2).numpy() - 1
    upper = np.where(value == 1, 1, logistic.cdf(value + 1 / 255))
    lower = np.where(value == -1, 0, logistic.cdf(value - 1 / 255))
    expected = -np.log((weight.numpy() * (upper - lower)).sum(1)).sum()
    assert loss.per_image(x, image, head).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("log_scale", [-7.0, 3.0, 14.9, 15.1, 60.0, 90.0, 120.0, 500.0])
def test_a_component_without_weight_may_drift_to_any_width(log_scale):
    """Its gradient is no number where the mass of a level is zero in single precision."""
    grid = torch.tensor([0.0, 0.2, 1.0]).reshape(1, 1, 1, 3)
    maps = torch.zeros(1, 2, 3, 1, 3)  # components; of each weight, offset, log scale
    maps[:, 0, 0] = -30.0
    maps[:, 0, 2] = log_scale
    head = maps.flatten(1, 2).requires_grad_()
    image = torch.full((1, 1, 1, 3), 0.4).requires_grad_()
    MixtureOfLogistics(components=2).per_image(grid, image, head).sum().backward()
    assert image.grad.isfinite().all()
    assert head.grad.isfinite().all()


@pytest.mark.parametrize("log_scale", [14.9, 15.1, 60.0, 90.0, 120.0, 500.0])
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_wide_logistic_has_half_its_mass_at_each_end_and_its_density_between(levels, log_scale):
    grid = torch.linspace(0, 1, levels).reshape(-1, 1, 1, 1)
    head = torch.zeros(levels, 3, 1, 1)
    head[:, 2] = log_scale
    loss = MixtureOfLogistics(components=1, levels=levels)
    nats = loss.per_image(grid, torch.full_like(grid, 0.4), head)
    expected = torch.full((levels,), log_scale + math.log(2 * (levels - 1)))
    expected[[0, -1]] = math.log(2)
    torch.testing.assert_close(nats, expected, rtol=1e-5, atol=1e-5)


def test_a_logistic_is_no_narrower_than_in_pixelcnn():
    loss, image, head = mixture(1, 256)
    of_scale = {}
    for log_scale in (-6.0, -7.0, -9.0):
        maps = head.unflatten(1, (4, 3)).clone()
        maps[:, :, 2] = log_scale
        of_scale[log_scale] = loss.per_image(image.round(decimals=2), image, maps.flatten(1, 2))
    assert of_scale[-9.0] == of_scale[-7.0] != of_scale[-6.0]


def test_mixture_of_logistics_in_colour_is_that_of_its_channels_one_after_the_other():
    """The mean of green moves with red, that of blue with red and with green: by its definition."""
    loss, image, head = mixture(3, 9)
    image = 0.3 + 0.4 * image
    x = torch.tensor([[0, 3, 8], [2, 8, 5], [7, 0, 4]]).double().reshape(1, 3, 1, 3) / 8
    maps = head.reshape(4, -1, 3).numpy()  # by component: a weight, 3 offsets, 3 scales, 3 slopes
    weight = np.exp(maps[:, 0]) / np.exp(maps[:, 0]).sum(0)
    offset, scale, slope = maps[:, 1:4], np.exp(maps[:, 4:7]), np.tanh(maps[:, 7:])
    value, center = 2 * x[0, :, 0].numpy() - 1, 2 * image[0, :, 0].numpy() - 1  # (3, pixels)
    mean = center + offset - (weight[:, None] * offset).sum(0)  # (4, 3, pixels)
    red, green, _ = (value - mean).swapaxes(0, 1)
    mean[:, 1] += slope[:, 0] * red
    mean[:, 2] += slope[:, 1] * red + slope[:, 2] * green
    logistic = scipy.stats.logistic(mean, scale)
    upper = np.where(value == 1, 1, logistic.cdf(value + 1 / 8))
    lower = np.where(value == -1, 0, logistic.cdf(value - 1 / 8))
    expected = -np.log((weight * (upper - lower).prod(1)).sum(0)).sum()
    assert loss.per_image(x, image, head).item() == pytest.approx(expected, rel=1e-9)


# --- image losses -----------------------------------------------------------------------------


class Constant:
    """A decoder that returns one image, whatever the code."""

    def __init__(self, image, batch):
        self.image, self.batch = image, batch

    def encode(self, x):
        return gaussian(torch.zeros(self.batch, 2), torch.ones(self.batch, 2))

    def decode(self, z):
        return self.image.expand(len(z), *self.image.shape)


@pytest.mark.parametrize("side", [8, 28])
@pytest.mark.oracle("ssim")
def test_ssim_of_two_grey_images_against_its_closed_form(side):
    """No variance: SSIM = (2 a b + C1) / (a^2 + b^2 + C1), C1 = 0.01^2."""
    a, b = 0.3, 0.8
    x = torch.full((2, 3, side, side), a)
    loss = objective("ssim")(Constant(torch.full((3, side, side), b), 2), x)
    expected = 1 - (2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4)
    assert loss.reconstruction.item() == pytest.approx(expected, rel=1e-3)
    same = objective("ssim")(Constant(x[0], 2), x)
    assert same.reconstruction.item() == pytest.approx(0, abs=1e-6)


def test_ssim_of_dark_images_is_that_of_a_range_of_one():
    """Where the constant 0.01^2, of the range, is what counts."""
    a, b = 0.01, 0.03
    loss = objective("ssim")(Constant(torch.full((1, 8, 8), b), 2), torch.full((2, 1, 8, 8), a))
    expected = 1 - (2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4)
    assert loss.reconstruction.item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("side", "window", "taken"), [(28, None, 11), (11, None, 11), (10, None, 9), (28, 5, 5)]
)
def test_ssim_has_the_window_of_its_package_or_the_largest_that_fits(side, window, taken):
    x, image = torch.rand(2, 3, 1, side, side, generator=torch.Generator().manual_seed(0))
    found = objective("ssim", window=window).per_image(x, image)
    expected = pytorch_msssim.ssim(image, x, data_range=1, size_average=False, win_size=taken)
    torch.testing.assert_close(found, 1 - expected)


def test_ssim_in_colour_is_the_mean_of_its_channels():
    a, b = torch.tensor([[0.3, 0.5, 0.9], [0.8, 0.5, 0.1]]).reshape(2, 3, 1, 1).expand(-1, 3, 8, 8)
    loss = objective("ssim")(Constant(b, 2), a.expand(2, -1, -1, -1))
    of_each = 1 - (2 * a * b + 1e-4) / (a.square() + b.square() + 1e-4)
    assert loss.reconstruction.item() == pytest.approx(of_each.mean().item(), rel=1e-3)


@pytest.mark.parametrize("focus", [0.5, 1.0, 2.0])
@pytest.mark.oracle("ffl")
def test_focal_frequency_loss_is_that_of_its_authors(focus):
    x, image = torch.rand(2, 4, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    image[1, 0] = x[1, 0]  # without any error
    image.requires_grad_()
    loss, parts = objective("ffl", focus=focus, weight=2.0).reconstruct(x, image[None], None)
    theirs = FocalFrequencyLoss(alpha=focus)(image, x) * x[0].numel()
    torch.testing.assert_close(parts["frequency"].mean(), theirs)
    total = 0.5 * (x - image).square().sum() / 4 + 2.0 * theirs
    torch.testing.assert_close(loss.mean(), total)
    gradients = [torch.autograd.grad(each, image)[0] for each in (loss.mean(), total)]
    torch.testing.assert_close(*gradients)


@pytest.mark.oracle("ffl")
def test_focal_frequency_loss_of_a_shift_against_its_closed_form():
    """A constant difference d has one frequency, of weight 1: n d^2 beside n d^2 / 2."""
    x = digits(2)
    difference = 0.1
    loss = objective("ffl", weight=3.0)(Constant(x[0] + difference, 2), x[:1].expand(2, -1, -1, -1))
    expected = (0.5 + 3.0) * 64 * difference**2
    assert loss.reconstruction.item() == pytest.approx(expected, rel=1e-4)


# --- matching ---------------------------------------------------------------------------------


def test_rbf_mmd_of_gaussians_against_its_closed_form():
    """In one dimension, with quantiles for samples, so that the comparison has no noise."""
    s, shift = 0.5, 1.0
    u = (torch.arange(2000, dtype=torch.float64).unsqueeze(1) + 0.5) / 2000
    prior = Normal(0.0, 1.0).icdf(u)
    codes = s * prior + shift

    def mean_kernel(variance, mean=0.0):
        """Mean of exp(-d^2 / 2) for a difference d ~ N(mean, variance)."""
        return (1 + variance) ** -0.5 * math.exp(-(mean**2) / (2 * (1 + variance)))

    expected = mean_kernel(2 * s**2) + mean_kernel(2) - 2 * mean_kernel(1 + s**2, shift)
    assert mmd(codes, prior, KERNELS["rbf"]).item() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_mmd_agrees_with_pythae(kernel):
    pythae = pytest.importorskip("pythae.models")
    config = pythae.WAE_MMD_Config(input_dim=(1, 8, 8), latent_dim=4, kernel_choice=kernel)
    theirs = pythae.WAE_MMD(config)
    codes, prior = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(0))
    codes = 2 * codes + 0.5
    compute = theirs.imq_kernel if kernel == "imq" else theirs.rbf_kernel
    within = [compute(p, p) for p in (codes, prior)]
    expected = sum((k - k.diag().diag()).sum() / (30 * 29) for k in within)
    expected = expected - 2 * compute(codes, prior).mean()
    torch.testing.assert_close(mmd(codes, prior, KERNELS[kernel]), expected)


@pytest.mark.parametrize(
    ("name", "options", "mmd_weight", "kl_weight"),
    [
        ("wae_mmd", {"mmd_weight": 3.0}, 3.0, 0.0),
        ("infovae", {"information": 0.25, "scaling": 5.0}, 4.25, 0.75),
    ],
)
def test_a_discrepancy_is_that_of_the_codes_that_are_decoded_from_normal_draws(
    name, options, mmd_weight, kl_weight
):
    """WAE decodes the posterior's mean, InfoVAE a draw."""
    x = digits(40)
    model = Model(x)
    torch.manual_seed(5)
    codes = model.posterior.mean if name == "wae_mmd" else model.posterior.rsample((1,))[0]
    discrepancy = mmd(codes, torch.randn(40, 3), KERNELS["imq"])
    loss = loss_of(model, x, name, **options)
    torch.testing.assert_close(loss.parts["mmd"], discrepancy)
    torch.testing.assert_close(loss.regularizer, mmd_weight * discrepancy + kl_weight * model.kl)
    squared_error = (x - model.decode(codes)).square().flatten(1).sum(1).mean()
    torch.testing.assert_close(loss.reconstruction, 0.5 * squared_error)


@pytest.mark.parametrize(("name", "kl_weight"), [("wae_mmd", 0.0), ("infovae", 1.0)])
@pytest.mark.oracle("wae_mmd", "infovae")
def test_matching_objectives_add_up(name, kl_weight):
    x = digits(40)
    model = Model(x)
    loss = loss_of(model, x, name)
    weight = {"wae_mmd": 250.0, "infovae": 999.0}[name]
    expected = weight * loss.parts["mmd"] + kl_weight * model.kl
    torch.testing.assert_close(loss.regularizer, expected)
    torch.testing.assert_close(loss.reconstruction, 0.5 * loss.parts["squared_error"])
    code = model.posterior.mean if name == "wae_mmd" else None
    if code is not None:
        squared_error = (x - model.decode(code)).square().flatten(1).sum(1).mean()
        torch.testing.assert_close(loss.parts["squared_error"], squared_error)


# --- autoencoders -----------------------------------------------------------------------------


@pytest.mark.oracle("ae", "rae", "rae_gp")
def test_gradient_penalty_is_the_jacobians_squared_frobenius_norm():
    vae = networks.build("conv", (1, 8, 8), 5, seed=0).double()
    x = digits(4).double()
    code = vae.encode(x).mean.detach()
    jacobian = torch.autograd.functional.jacobian(lambda z: vae.decode(z).sum(0), code)
    expected = jacobian.square().sum((0, 1, 2, 4))  # (1, 8, 8, B, d_z) to (B,)
    axes = torch.eye(5, dtype=torch.float64).unsqueeze(1).expand(5, 4, 5)
    torch.testing.assert_close(squared_jacobian(vae, code, axes), expected)
    loss = objective("rae_gp", code_weight=0.3, gradient_weight=0.2)(vae, x)
    penalty = 0.5 * (0.3 * code.square().sum(1) + 0.2 * expected).mean()
    torch.testing.assert_close(loss.regularizer, penalty)
    ae, rae = objective("ae")(vae, x), objective("rae", code_weight=0.3)(vae, x)
    torch.testing.assert_close(ae.reconstruction, rae.reconstruction)
    assert ae.regularizer == 0
    torch.testing.assert_close(rae.regularizer, 0.15 * code.square().sum(1).mean())


def test_penalty_of_codes_that_are_maps_takes_all_of_their_axes():
    """g(z) = A z on the pixels of a map of codes: ||A||_F^2 of every image."""
    generator = torch.Generator().manual_seed(0)
    across = torch.randn(6, 8, generator=generator)

    class Maps:
        def encode(self, x):
            code = x.reshape(-1, 6) @ across
            return gaussian(code.reshape(-1, 2, 2, 2), torch.ones(len(x), 2, 2, 2))

        def decode(self, z):
            return (z.flatten(1) @ across.T).reshape(-1, 1, 2, 3)

    x = torch.rand(5, 1, 2, 3, generator=generator)
    exact = objective("rae_gp")(Maps(), x).parts["jacobian"]
    torch.testing.assert_close(exact, across.square().sum())
    # By columns of A for axes; of random directions the length is right on average alone.
    assert objective("rae_gp", exact_up_to=7)(Maps(), x).parts["jacobian"] != exact
    torch.testing.assert_close(objective("rae_gp", exact_up_to=8)(Maps(), x).parts["jacobian"],
                               exact)  # fmt: skip


def test_hutchinson_estimate_is_unbiased():
    torch.manual_seed(0)
    vae = networks.build("mlp", (1, 8, 8), 40, seed=0)
    x = digits(4)
    exact = objective("rae_gp", exact_up_to=40)
    target = exact(vae, x).parts["jacobian"].item()
    one_probe = objective("rae_gp")
    estimates = torch.stack([one_probe(vae, x).parts["jacobian"] for _ in range(400)])
    error = estimates.std().item() / 20
    assert 0 < error < 0.1 * target
    assert abs(estimates.mean().item() - target) < 4 * error
    several = torch.stack(
        [objective("rae_gp", probes=30)(vae, x).parts["jacobian"] for _ in range(50)]
    )
    assert several.mean().item() == pytest.approx(target, rel=0.05)


# --- quantile functions -----------------------------------------------------------------------


def test_crps_of_quantiles_against_numeric_integration():
    """Twice the pinball loss, integrated over probability."""
    generator = torch.Generator().manual_seed(0)
    slopes = torch.rand(10, 30, generator=generator, dtype=torch.float64) ** 3
    slopes[3, 5:] = 0  # flat steps
    mean = torch.randn(30, generator=generator, dtype=torch.float64)
    x = mean + 0.3 * torch.randn(30, generator=generator, dtype=torch.float64)  # in and outside
    knots = quantile_knots(mean, slopes)
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    quantile = torch.stack(
        [
            torch.as_tensor(np.interp(u.numpy(), np.linspace(0, 1, 11), knots[:, i].numpy()))
            for i in range(30)
        ]
    )
    below = (x[:, None] < quantile).double()
    expected = 2 * ((below - u) * (quantile - x[:, None])).mean(1)
    torch.testing.assert_close(crps_of_quantiles(knots, x), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(quantile.mean(1), mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("mean", "slopes", "knots", "scores"),
    [
        # Half of it uniform on [-1, 0], half on [0, 2]: E|X - X'| / 2 is 1/2.
        (0.25, [2.0, 4.0], [-1, 0, 2],
         {1.0: 0.5, -0.5: 0.375, 0.0: 0.25, -2.0: 1.75, 3.0: 2.25, 2.0: 1.25, -1.0: 0.75}),
        (0.0, [3.0, 3.0, 3.0], [-1.5, -0.5, 0.5, 1.5], {0.5: 1 / 3, 0.0: 0.25, 2.0: 1.5}),
        (0.5, [1.0], [0, 1], {0.5: 1 / 12, 1.5: 1 - 1 / 6, -0.5: 1 - 1 / 6}),
    ],
)  # fmt: skip
def test_knots_and_crps_of_few_steps_are_those_worked_out_by_hand(mean, slopes, knots, scores):
    """A step lifts by its slope over the number of steps; CRPS is E|X - x| - E|X - X'| / 2."""
    means = torch.full((len(scores),), mean, dtype=torch.float64)
    every = torch.tensor(slopes, dtype=torch.float64)[:, None].expand(-1, len(scores))
    found = quantile_knots(means, every)
    expected = torch.tensor(knots, dtype=torch.float64)[:, None].expand(-1, len(scores))
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
    x, crps = torch.tensor(list(scores.items()), dtype=torch.float64).T
    torch.testing.assert_close(crps_of_quantiles(found, x), crps, rtol=1e-13, atol=1e-13)


def test_crps_of_a_point_is_the_absolute_error_with_a_finite_gradient():
    x = torch.tensor([0.2, 0.7])
    knots = torch.full((11, 2), 0.7, requires_grad=True)
    score = crps_of_quantiles(knots, x)
    torch.testing.assert_close(score, torch.tensor([0.5, 0.0]), rtol=1e-5, atol=1e-6)
    score.sum().backward()
    assert knots.grad.isfinite().all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.oracle("distvae")
def test_distvae_adds_up_the_pixels(channels):
    """The head has the slopes of one step of all channels, and then of the next."""
    x = digits(channels=channels)
    model = Model(x, head=10 * channels)
    images, heads = model.drawn()
    slopes = torch.nn.functional.softplus(heads[0]).reshape(7, 10, channels, 8, 8).movedim(1, 0)
    score = crps_of_quantiles(quantile_knots(images[0], slopes), x).sum((1, 2, 3)).mean()
    loss = loss_of(model, x, "distvae", alpha=0.2)
    torch.testing.assert_close(loss.reconstruction, score)
    torch.testing.assert_close(loss.regularizer, 0.2 * model.kl)


# --- energy -----------------------------------------------------------------------------------


@pytest.mark.oracle("envae")
def test_envae_is_the_energy_score_of_its_draws_plus_alpha_kl():
    x = digits()
    model = Model(x)
    score = energy_score(model.drawn(4)[0], x, beta=1.5).mean()
    loss = loss_of(model, x, "envae", samples=4, beta=1.5, alpha=0.2)
    torch.testing.assert_close(loss.reconstruction, score)
    torch.testing.assert_close(loss.regularizer, 0.2 * model.kl)
    torch.testing.assert_close(loss.parts["kl"], model.kl)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_fenvae_single_is_equation_14(beta):
    x = digits()
    model = Model(x)
    torch.manual_seed(5)
    z, mean = model.posterior.rsample(), model.posterior.mean
    first = (model.decode(z) - x).flatten(1).norm(dim=1) ** beta
    spread = model.decode(mean + math.sqrt(2) * (z - mean)) - model.decode(mean)
    expected = first - 0.5 * spread.flatten(1).norm(dim=1) ** beta
    loss = loss_of(model, x, "fenvae", beta=beta, alpha=0.2)
    torch.testing.assert_close(loss.reconstruction, expected.mean())
    torch.testing.assert_close(loss.parts["spread"], spread.flatten(1).norm(dim=1).mean())


@pytest.mark.parametrize("draws", ["single", "double"])
@pytest.mark.oracle("fenvae")
def test_fenvae_agrees_with_envae_in_expectation_for_an_affine_decoder(draws):
    model = Model(digits(1))
    mean, stddev = model.posterior.mean, model.posterior.stddev
    model.posterior = gaussian(mean.expand(20000, -1), stddev.expand(20000, -1))
    x = digits(1).expand(20000, -1, -1, -1)
    fast = loss_of(model, x, "fenvae", draws=draws).reconstruction.item()
    assert fast == pytest.approx(loss_of(model, x, "envae").reconstruction.item(), rel=0.02)


def test_envae_is_never_negative_for_beta_up_to_one():
    x = digits(64)
    model = Model(x)
    for beta in (0.3, 1.0):
        assert loss_of(model, x, "envae", samples=2, beta=beta).reconstruction >= 0


# --- variance ---------------------------------------------------------------------------------

SHARED_BY = {"iso_i": (0, 1, 2, 3, 4), "iso_d": (0, 2, 3, 4), "diag_i": (0, 1), "diag_d": (0,)}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("draws", [1, 5])
@pytest.mark.parametrize("name", SHARED_BY)
@pytest.mark.oracle("iso_i", "iso_d", "diag_i", "diag_d")
def test_maximum_likelihood_is_the_gaussian_likelihood_at_its_best_variance(name, draws, channels):
    """The plug-in identity of Eq. 10: Table 2's objectives, and no variance does better."""
    x = digits(channels=channels)
    model = Model(x)
    images, _ = model.drawn(draws)
    squared = (x - images).square()  # (K, B, 1, 8, 8)
    best = squared.mean(SHARED_BY[name], keepdim=True)

    def nats(variance):
        return -Normal(images, variance.sqrt()).log_prob(x).sum((2, 3, 4)).mean()

    loss = loss_of(model, x, name, draws=draws, epsilon=0)
    torch.testing.assert_close(loss.reconstruction, nats(best))
    assert nats(1.02 * best) > nats(best) < nats(0.98 * best)
    torch.manual_seed(5)
    estimated = objective(name, draws=draws).variance(model, x)
    torch.testing.assert_close(estimated, best[0].expand_as(x))


def test_table_2_as_printed_up_to_constants():
    x = digits()
    model = Model(x)
    squared = (x - model.drawn()[0]).square()[0].flatten(1)  # (B, 64), one draw
    constant = 32 * (1 + math.log(2 * math.pi))
    printed = {
        "iso_i": 32 * torch.log(squared.sum(1).mean() / 64),
        "iso_d": 32 * torch.log(squared.sum(1) / 64 + 1e-6).mean(),
        "diag_i": 0.5 * torch.log(squared.mean(0) + 1e-6).sum(),
        "diag_d": 0.5 * torch.log(squared + 1e-6).sum(1).mean(),
    }
    for name, expected in printed.items():
        value = loss_of(model, x, name).reconstruction
        torch.testing.assert_close(value, expected + constant, msg=name)


def test_freer_variances_never_have_a_larger_loss():
    """Jensen: Diag-D <= Diag-I <= Iso-I and Diag-D <= Iso-D <= Iso-I, at the same network."""
    x = digits(50)
    model = Model(x)
    value = {name: loss_of(model, x, name, draws=3).reconstruction for name in SHARED_BY}
    assert value["diag_d"] < value["diag_i"] < value["iso_i"]
    assert value["diag_d"] < value["iso_d"] < value["iso_i"]


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", SHARED_BY)
def test_trainable_is_the_gaussian_likelihood_at_its_variance(name, channels, draws):
    x = digits(channels=channels)
    loss = objective(
        name, estimate="trainable", initial=0.2, image_shape=(channels, 8, 8), draws=draws
    )
    model = Model(x, head=loss.head_maps(channels))
    images, heads = model.drawn(draws)
    expected_log = torch.tensor(0.2).log()
    if name == "iso_d":
        assert heads.shape[2] == 1
        expected_log = expected_log + heads.mean((2, 3, 4), keepdim=True)
    elif name == "diag_d":
        assert heads.shape[2] == channels
        expected_log = expected_log + heads
    density = Normal(images, (0.5 * expected_log).exp())
    torch.manual_seed(5)
    expected = -density.log_prob(x).sum((2, 3, 4)).mean()
    value = loss(model, x)
    torch.testing.assert_close(value.reconstruction, expected)
    squared_error = (x - images).square().sum((2, 3, 4)).mean()
    torch.testing.assert_close(value.parts["squared_error"], squared_error)
    torch.manual_seed(5)
    variance = loss.variance(model, x)
    torch.testing.assert_close(variance, expected_log.exp().expand(draws, *x.shape).mean(0))


class Given:
    """A model that decodes the images and the head that it is given, whatever the code."""

    def __init__(self, image, head):
        self.image, self.head = image, head

    def encode(self, x):
        return gaussian(torch.zeros(len(x), 2), torch.ones(len(x), 2))

    def decode(self, z):
        return self.image

    def decode_with_head(self, z):
        return self.image, self.head


@pytest.mark.parametrize(
    ("event", "head"),
    [((5,), (1,)), ((4, 5), (1, 5)), ((4, 5), (1,)), ((3, 4, 5), (1, 4, 5)), ((3, 4, 5), (1,))],
)
def test_iso_d_has_a_variance_of_each_image_whatever_the_axes(event, head):
    """Three images whose variances are 1, 100 and 10,000 times the initial one."""
    noise = torch.randn(3, *event, generator=torch.Generator().manual_seed(0))
    x = torch.rand(3, *event, generator=torch.Generator().manual_seed(1))
    log_ratio = math.log(100) * torch.arange(3.0)
    wave = torch.randn(3, *head, generator=torch.Generator().manual_seed(2))
    wave = wave - wave.flatten(1).mean(1).reshape(3, *[1] * len(head))
    model = Given(x + 0.1 * noise, log_ratio.reshape(3, *[1] * len(head)) + wave)
    loss = objective("iso_d", estimate="trainable", initial=0.01)
    stddev = (0.01 * 100 ** torch.arange(3.0)).sqrt().reshape(3, *[1] * len(event))
    expected = -Normal(model.image, stddev).log_prob(x).flatten(1).sum(1).mean()
    torch.testing.assert_close(loss(model, x).reconstruction, expected)
    torch.testing.assert_close(loss.variance(model, x), stddev.square().expand_as(x))
    density = loss.density(model, x)(x, torch.zeros(1, 3, 2))
    torch.testing.assert_close(-density.mean(), expected)


@pytest.mark.parametrize("name", ["iso_d", "diag_d", "student_t", "distvae", "mol"])
def test_numbers_for_a_head_are_maps_that_are_the_same_everywhere(name):
    """Of as many images as they have channels and pixels, where axes could be mistaken."""
    loss = objective(name, **({"estimate": "trainable"} if name.endswith("_d") else {}))
    x, image = torch.rand(2, 4, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    numbers = torch.randn(4, loss.head_maps(4), generator=torch.Generator().manual_seed(1))
    maps = numbers[..., None, None].expand(-1, -1, 4, 4)
    expected = loss(Given(image, maps), x).reconstruction
    torch.testing.assert_close(loss(Given(image, numbers), x).reconstruction, expected)
    with pytest.raises(
        ValueError, match=r"received maps of shape \(4, \d+, 4, 2\) for x of \(4, 4"
    ):
        loss(Given(image, maps[..., :2]), x)
    with pytest.raises(ValueError, match=r"received maps of shape \(4, \d+, 4, 4, 1\) for x of"):
        loss(Given(image, maps[..., None]), x)


@pytest.mark.parametrize("name", ["iso_i", "diag_i"])
def test_trained_variance_settles_at_the_maximum_likelihood(name):
    x = digits(200)
    model = Model(x)
    loss = objective(name, estimate="trainable", image_shape=(1, 8, 8))
    with torch.no_grad():
        torch.manual_seed(5)
        best = objective(name).variance(model, x)[0]
        loss.log_variance.copy_(best.log().mean() if name == "iso_i" else best.log())
    torch.manual_seed(5)
    loss(model, x).total.backward()
    torch.testing.assert_close(
        loss.log_variance.grad, torch.zeros_like(loss.log_variance), atol=1e-3, rtol=0
    )


SPLIT = ("iso_i", "diag_i")  # those whose variance all images share


def _gradients_on_a_part(rank, port):
    """Gradients on a part of a batch, averaged over two processes, and the losses."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2,
        timeout=datetime.timedelta(minutes=2),
    )  # fmt: skip
    try:
        if rank == 0:  # validates alone, which must wait for nobody
            alone = [objective(name).eval()(Model(digits(8)), digits(8)) for name in SPLIT]
            with torch.no_grad():
                alone += [objective(name)(Model(digits(8)), digits(8)) for name in SPLIT]
            assert all(loss.total.isfinite() for loss in alone)
        found = [_gradient(name, slice(None, 3) if rank == 0 else slice(3, None)) for name in SPLIT]
        for gradient, _ in found:
            torch.distributed.all_reduce(gradient)
    finally:
        torch.distributed.destroy_process_group()
    return [(gradient.item() / 2, value) for gradient, value in found]


def _gradient(name, part):
    """Gradient with respect to the decoder's scale, and the loss, on a part of eight images."""
    scale = torch.tensor(1.0, requires_grad=True)
    x = digits(8, channels=2)

    class Scaled(Model):
        def encode(self, _):
            # No noise: the processes would draw other numbers than one that has the whole batch.
            mean = self.posterior.mean[part]
            return gaussian(mean, torch.zeros_like(mean))

        def decode(self, z):
            return scale * super().decode(z)

    loss = objective(name)(Scaled(x), x[part])
    loss.reconstruction.backward()
    return scale.grad, loss.reconstruction.item()


def test_mean_inside_the_logarithm_is_over_all_devices():
    """Parts of 3 and 5 images on two processes give the gradient of the 8 on one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    other = torch.multiprocessing.get_context("spawn").Process(
        target=_gradients_on_a_part, args=(1, port)
    )
    other.start()
    found = _gradients_on_a_part(0, port)
    other.join()
    assert other.exitcode == 0
    for name, (gradient, value) in zip(SPLIT, found, strict=True):
        whole, whole_value = _gradient(name, slice(None))
        assert gradient == pytest.approx(whole.item(), rel=1e-5), name
        assert value == pytest.approx(whole_value, rel=1e-5), name


# --- energy-based -----------------------------------------------------------------------------


class Quadratic(nn.Module):
    """Energy of a Gaussian, (v - m)' A (v - m) / 2, of images joined with their codes if any."""

    def __init__(self, dimensions, scale=1.0):
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        root = torch.randn(dimensions, dimensions, generator=generator, dtype=torch.double)
        self.precision = nn.Parameter(scale * (root @ root.T / dimensions + torch.eye(dimensions)))
        self.mean = nn.Parameter(torch.randn(dimensions, generator=generator, dtype=torch.double))

    def forward(self, x, *z):
        off = torch.cat([x.flatten(1), *z], dim=1) - self.mean
        return 0.5 * ((off @ self.precision) * off).sum(1)


def points_of(dimensions):
    """Points with the mean 0 and the covariance I: quadratic means over them are exact."""
    axes = dimensions**0.5 * torch.eye(dimensions, dtype=torch.double)
    return torch.cat([axes, -axes])


class AffineGaussians:
    """Data of 3 pixels, codes of 2 dimensions, all Gaussian: every expectation is a closed form."""

    def __init__(self):
        torch.manual_seed(4)
        new = dict(dtype=torch.double)
        self.data = MultivariateNormal(torch.randn(3, **new), scale_tril=torch.randn(3, 3, **new)
                                       .tril(-1) + torch.eye(3, **new))  # fmt: skip
        self.weights = [
            (0.5 * torch.randn(shape, **new)).requires_grad_()
            for shape in [(2, 3), (2,), (2,), (3, 2), (3,)]
        ]
        of_x, of_z = points_of(3), points_of(2)
        self.x = (self.data.mean + of_x @ self.data.scale_tril.T).repeat_interleave(4, 0)
        self.of_z = of_z.repeat(6, 1)

    def encode(self, x):
        across, shift, log_stddev, *_ = self.weights
        posterior = gaussian(x @ across.T + shift, log_stddev.exp().expand(len(x), 2))
        drawn = posterior.mean + posterior.stddev * self.of_z
        posterior.rsample = lambda shape: drawn[None]
        return posterior

    def decode(self, z):
        *_, up, offset = self.weights
        return z @ up.T + offset

    def joint(self, variance):
        """Q and P as Gaussians of image and code; pixels have this variance in P."""
        across, shift, log_stddev, up, offset = self.weights
        covariance, zero = self.data.covariance_matrix, torch.zeros(2, dtype=torch.double)
        of_code = across @ covariance @ across.T + (2 * log_stddev).exp().diag()
        q = _stacked(covariance, covariance @ across.T, of_code)
        p = _stacked(
            up @ up.T + variance * torch.eye(3, dtype=torch.double), up, zero.add(1).diag()
        )
        return (
            MultivariateNormal(torch.cat([self.data.mean, across @ self.data.mean + shift]), q),
            MultivariateNormal(torch.cat([offset, zero]), p),
        )


def _stacked(first, across, second):
    return torch.cat([torch.cat([first, across], 1), torch.cat([across.T, second], 1)])


@pytest.fixture
def affine(monkeypatch):
    model = AffineGaussians()
    zeros = torch.zeros_like  # for the noise of a chain, which has none here
    monkeypatch.setattr(
        torch, "randn_like", lambda one: model.of_z if one.shape[1] == 2 else zeros(one)
    )
    return model


@pytest.mark.oracle("dt_vae")
def test_the_triangle_is_that_of_three_divergences(affine):
    """KL(Q|P) + KL(P|Pi) - KL(Q|Pi), up to what depends on neither encoder nor decoder."""
    loss = objective("dt_vae", alpha=0.2, latent_dim=2)
    loss.energy = energy = Quadratic(5)
    mine = loss(affine, affine.x).total / 0.2
    q, p = affine.joint(0.2)
    pi = MultivariateNormal(energy.mean, precision_matrix=energy.precision)
    triangle = kl_divergence(q, p) + kl_divergence(p, pi) - kl_divergence(q, pi)
    # The decoder's samples are its means, as in the authors' code: without the pixels' variance.
    noise = 0.5 * 0.2 * energy.precision[:3, :3].trace()
    constant = 1.5 + math.log(2 * math.pi * math.e)
    torch.testing.assert_close(mine, triangle - noise + constant, rtol=1e-12, atol=1e-12)
    gradients, expected = [
        torch.autograd.grad(value, affine.weights, retain_graph=True) for value in (mine, triangle)
    ]
    torch.testing.assert_close(gradients, expected, rtol=1e-10, atol=1e-12)
    # The energy climbs what the others descend.
    climbed = torch.autograd.grad(mine, list(energy.parameters()), retain_graph=True)
    plain = torch.autograd.grad(triangle - noise, list(energy.parameters()))
    for one, other in zip(climbed, plain, strict=True):
        assert other.abs().sum() > 0.1
        torch.testing.assert_close(one, -0.5 * (other + other.mT) if other.ndim == 2 else -other)


@pytest.mark.oracle("dt_vae")
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_the_entropy_of_the_posterior_cancels_in_the_triangle(affine, weight):
    loss = objective("dt_vae", alpha=0.2, latent_dim=2, weight=weight)
    loss.energy = Quadratic(5)
    value = loss(affine, affine.x)
    log_stddev = affine.weights[2]
    posterior = affine.encode(affine.x)
    code = posterior.rsample(())[0]
    without = 0.5 * (posterior.mean.square() + posterior.variance).sum(1).mean()
    gap = loss.energy(affine.decode(affine.of_z), affine.of_z) - loss.energy(affine.x, code)
    half_error = 0.5 * (affine.x - affine.decode(code)).square().sum(1).mean()
    [mine] = torch.autograd.grad(value.total, log_stddev)
    [other] = torch.autograd.grad(half_error + 0.2 * (without + weight * gap.mean()), log_stddev)
    torch.testing.assert_close(mine - other, torch.full_like(mine, -0.2 * (1 - weight)))
    torch.testing.assert_close(value.parts["energy_gap"], gap.mean().detach())


@pytest.mark.oracle("dt_vae")
def test_where_model_and_data_agree_the_energy_gets_no_gradient(affine):
    loss = objective("dt_vae", latent_dim=2)
    loss.energy = Quadratic(5)
    code = affine.encode(affine.x).rsample(())[0].detach()
    affine.of_z, affine.decode = code, lambda z: affine.x + 0 * z.sum()
    affine.encode = lambda x: _of_draws(code)
    loss(affine, affine.x).total.backward()
    assert all(weight.grad.abs().max() < 1e-12 for weight in loss.energy.parameters())


def _of_draws(code):
    posterior = gaussian(torch.zeros_like(code), torch.ones_like(code))
    posterior.rsample = lambda shape: code[None]
    return posterior


def calibrated(**options):
    """An `ec_vae` on a Gaussian energy of 3 pixels, without noise."""
    loss = objective("ec_vae", noise=0.0, **options).double().train()
    loss.energy = Quadratic(3, scale=0.5)
    return loss


@pytest.mark.oracle("ec_vae")
def test_samples_are_moved_as_gradient_descent_on_a_gaussian_moves_them(affine):
    loss = calibrated(alpha=0.2, steps=4, step_size=0.3, calibration=0.7, tolerance=0.5, rate=0.1)
    sample = affine.decode(affine.of_z)
    factor = torch.linalg.matrix_power(
        torch.eye(3, dtype=torch.double) - 0.3 * loss.energy.precision, 4
    )
    refined = loss.energy.mean + (sample - loss.energy.mean) @ factor
    torch.testing.assert_close(loss.refine(sample), refined)
    moved = (refined - sample).square().sum(1).mean()
    value = loss(affine, affine.x)
    torch.testing.assert_close(value.parts["moved"], moved.detach())
    base = objective("l2", alpha=0.2)(affine, affine.x).total
    torch.testing.assert_close(value.total, base + 0.35 * moved)
    assert value.parts["multiplier"] == pytest.approx(0.7)
    assert loss.multiplier.item() == pytest.approx(0.7 + 0.1 * (moved.item() - 0.5))
    loss.eval()(affine, affine.x)  # looks, and changes nothing
    assert loss.multiplier.item() == pytest.approx(0.7 + 0.1 * (moved.item() - 0.5))
    # The decoder is drawn after a fixed target; the energy descends its own loss.
    expected = base + 0.35 * (refined.detach() - sample).square().sum(1).mean()
    for mine, its in zip(
        torch.autograd.grad(value.total, affine.weights, retain_graph=True),
        torch.autograd.grad(expected, affine.weights),
        strict=True,
    ):
        torch.testing.assert_close(mine, its)
    own = (loss.energy(affine.x) - loss.energy(refined.detach())).mean()
    wanted = list(loss.energy.parameters())
    for mine, its in zip(
        torch.autograd.grad(value.total, wanted), torch.autograd.grad(own, wanted), strict=True
    ):
        torch.testing.assert_close(mine, its)


@pytest.mark.oracle("ec_vae")
def test_without_steps_or_calibration_the_gradient_is_that_of_the_loss_alone(affine):
    base = torch.autograd.grad(objective("l2", alpha=0.1)(affine, affine.x).total, affine.weights)
    for options in ({"steps": 0}, {"calibration": 0.0, "rate": 0.0}):
        value = calibrated(**options)(affine, affine.x)
        assert (value.parts["moved"] == 0) == ("steps" in options)
        for mine, its in zip(torch.autograd.grad(value.total, affine.weights), base, strict=True):
            torch.testing.assert_close(mine, its)


@pytest.mark.parametrize("name", ["dt_vae", "ec_vae"])
def test_an_energy_that_does_nothing_is_seen(affine, name):
    """Constant: no gap, nothing moved, no multiplier that grows."""
    loss = objective(name, noise=0.0) if name == "ec_vae" else objective(name, latent_dim=2)
    loss.double().energy = Quadratic(3 if name == "ec_vae" else 5, scale=0.0)
    parts = loss(affine, affine.x).parts
    assert parts["energy_gap"] == 0
    if name == "ec_vae":
        assert parts["moved"] == 0
        assert loss.multiplier < 1
    loss.energy = None
    with pytest.raises(ValueError, match="no energy yet: call its prepare"):
        loss(affine, affine.x)


def test_an_energy_keeps_to_its_images_and_a_chain_that_diverges_is_an_error():
    loss = objective("ec_vae", image_shape=(1, 8, 8))
    with pytest.raises(ValueError, match=r"shape \(1, 8, 8\), received \(1, 9, 9\)"):
        loss.prepare((1, 9, 9))
    loss.energy.last.bias.data.fill_(math.nan)
    loss.energy.last.layer.weight.data.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="2 of 2 points are not finite after 5 Langevin"):
        loss.refine(torch.rand(2, 1, 8, 8))
    with pytest.raises(ValueError, match="no energy yet: train it first"):
        objective("ec_vae").refine(torch.rand(2, 1, 8, 8))
