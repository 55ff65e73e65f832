"""What all objectives have in common: contract, errors, and that they train."""

import copy
import inspect
import itertools
import math
import re

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from envae import datasets, networks, objectives
from envae.experiments import batched
from envae.objectives import objective
from envae.training import Pair, fit, plain_numbers
from envae.vae import gaussian

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64)]
# What an objective cannot be trained without.
NEEDED = {"dt_vae": {"latent_dim": 4}}
VARIANTS = [
    *[(name, NEEDED.get(name, {})) for name in objectives.names()],
    ("l2", {"alpha": 0.1}),
    ("infovae", {"information": 1.0, "scaling": 10.0, "kernel": "rbf"}),
    ("rae_gp", {"probes": 2}),
    ("envae", {"samples": 2, "beta": 1.5}),
    ("fenvae", {"draws": "double"}),
    ("iso_i", {"estimate": "trainable"}),
    ("iso_d", {"estimate": "trainable"}),
    ("diag_i", {"estimate": "trainable", "image_shape": "of the images"}),
    ("diag_d", {"estimate": "trainable"}),
    ("diag_d", {"draws": 4}),
    ("dt_vae", {"latent_dim": 4, "loss": "envae", "weight": 0.3}),
    ("ec_vae", {"loss": "envae", "loss_options": {"samples": 4, "pairs": "mirrored"}}),
]
# Those that need no more than `encode` and `decode`.
PLAIN = [name for name in objectives.names() if objective(name).head_maps(3) == 0]


def made(name, options, shape, *, network="mlp", latent_dim=4):
    """An objective, and a model with the head that it needs."""
    options = {k: shape if v == "of the images" else v for k, v in options.items()}
    loss = objective(name, **NEEDED.get(name, {}) | options)
    return loss, networks.build(network, shape, latent_dim, objective=loss, seed=0)


# --- errors -----------------------------------------------------------------------------------


def test_help_lists_names_with_their_options():
    for name in objectives.names():
        (call,) = re.findall(rf"^        {name}\((.*)\)$", objective.__doc__, re.MULTILINE)
        for option, value in inspect.signature(type(objective(name))).parameters.items():
            if option not in ("args", "kwargs"):
                assert re.search(rf"\b{option}: [^=]* = {re.escape(repr(value.default))}", call)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(
        ValueError, match=r"unknown objective 'envea', did you mean.* \(known: .*l2"
    ):
        objective("envea")


def test_unknown_option_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"envae option 'sample', did you mean 'samples'\?"):
        objective("envae", sample=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("l2", {"sigma2": 0}, "sigma2 must be a positive number"),
        ("l2", {"alpha": math.nan}, "alpha must be a positive number"),
        ("l2", {"sigma2": 1.0, "alpha": 1.0}, "not both"),
        ("l1", {"scale": -1}, "scale must be a positive number, received -1"),
        ("ssim", {"alpha": 0}, "alpha must be"),
        ("ssim", {"window": 4}, "window must be an odd number"),
        ("ffl", {"weight": 0}, "weight must be"),
        ("infovae", {"information": 2}, "information <= 1"),
        ("infovae", {"information": 0.5, "scaling": 0.5}, "information \\+ scaling > 1"),
        ("wae_mmd", {"mmd_weight": -1}, "mmd_weight must be"),
        ("wae_mmd", {"kernel": "linear"}, r"unknown kernel 'linear' \(known: imq, rbf\)"),
        ("rae", {"code_weight": 0}, "code_weight must be"),
        ("rae_gp", {"gradient_weight": 0}, "gradient_weight must be"),
        ("rae_gp", {"probes": 0}, "probes must be an integer from 1 up, received 0"),
        ("rae_gp", {"exact_up_to": -1}, "exact_up_to must be an integer from 0 up"),
        ("distvae", {"segments": 0}, "segments must be"),
        ("distvae", {"alpha": 0}, "alpha must be"),
        ("bernoulli", {"alpha": 0}, "alpha must be"),
        ("student_t", {"alpha": 0}, "alpha must be"),
        ("mol", {"alpha": 0}, "alpha must be"),
        ("mol", {"components": 0}, "components must be"),
        ("mol", {"levels": 1}, "levels must be an integer from 2 up"),
        ("envae", {"samples": 1}, "samples must be an integer from 2 up, received 1"),
        ("envae", {"samples": 2.0}, "samples must be an integer from 2 up, received 2.0"),
        ("envae", {"beta": 0}, "beta must lie"),
        ("envae", {"alpha": -1}, "alpha must be a positive number, received -1"),
        ("fenvae", {"beta": 2.5}, "beta must lie"),
        ("fenvae", {"draws": "triple"}, r"unknown draws 'triple' \(known: single, double\)"),
        ("iso_i", {"estimate": "map"}, r"unknown estimate 'map' \(known: mle, trainable\)"),
        ("iso_d", {"draws": 0}, "draws must be"),
        ("diag_i", {"epsilon": -1e-6}, "epsilon must be"),
        ("diag_d", {"initial": 0}, "initial must be"),
        ("dt_vae", {"weight": 1.5}, r"weight must lie in \(0, 1\], received 1.5: above 1"),
        ("dt_vae", {"weight": math.nan}, "weight must lie"),
        ("dt_vae", {"alpha": 0}, "alpha must be"),
        ("dt_vae", {"loss": "mol"}, "without a head"),
        ("dt_vae", {"loss": "rae"}, "unknown rae option 'alpha'"),
        ("dt_vae", {"image_shape": (1, 8, 8)}, "needs latent_dim"),
        ("ec_vae", {"loss": "dt_vae"}, "an energy of its own, received 'dt_vae'"),
        ("ec_vae", {"loss_options": {"alpha": 1.0}}, "give alpha to ec_vae itself"),
        ("ec_vae", {"steps": -1}, "steps must be an integer from 0 up"),
        ("ec_vae", {"tolerance": -1.0}, "tolerance must be a number from 0 up"),
        ("ec_vae", {"noise": math.inf}, "noise must be a number from 0 up"),
    ],
)
def test_options_out_of_range_are_errors(name, options, message):
    with pytest.raises(ValueError, match=message):
        objective(name, **options)


# As their papers or their own code have them; what these leave open, as `book/objectives.md` says.
DEFAULTS = {
    "ae": {}, "rae": {"code_weight": 0.05},
    "rae_gp": {"code_weight": 0.05, "gradient_weight": 0.01, "exact_up_to": 8},
    "envae": {"samples": 10, "beta": 1.0, "alpha": 0.1}, "fenvae": {"beta": 1.0, "alpha": 0.1},
    "dt_vae": {"alpha": 0.1, "weight": 1.0},
    "ec_vae": {"alpha": 0.1, "calibration": 1.0, "tolerance": 0.01, "rate": 0.3, "steps": 5,
               "step_size": 0.1, "noise": 0.001},
    "ssim": {"alpha": 0.001}, "ffl": {"weight": 1.0, "focus": 1.0, "alpha": 0.1}, "l2": {},
    "l1": {"scale": 1.0}, "bernoulli": {"alpha": 1.0}, "student_t": {"alpha": 1.0},
    "wae_mmd": {"mmd_weight": 250.0}, "infovae": {"information": 0.0, "scaling": 1000.0},
    "mol": {"components": 10, "levels": 256, "alpha": 1.0},
    "distvae": {"segments": 10, "alpha": 0.5},
    **{name: {"draws": 1, "initial": 0.1} for name in ("iso_i", "iso_d", "diag_i", "diag_d")},
}  # fmt: skip


@pytest.mark.parametrize("name", objectives.names())
def test_numbers_left_out_are_those_of_the_source_and_not_a_number_is_none(name):
    extra = {"latent_dim": 2} if name == "dt_vae" else {}
    options = objective(name, **extra).options
    numbers = {key: value for key, value in options.items() if type(value) in (int, float)}
    assert numbers == DEFAULTS[name] | extra
    for option in numbers:
        with pytest.raises(ValueError, match=r"must|needs"):
            objective(name, **extra | {option: math.nan})


@pytest.mark.parametrize("name", objectives.names())
def test_bad_batches_are_errors_that_name_them(name):
    loss, vae = made(name, {}, (1, 8, 8))
    with pytest.raises(ValueError, match=r"received shape \(3, 1, 8, 8\) of torch.uint8"):
        loss(vae, torch.zeros(3, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"x must be a floating-point tensor, received numpy"):
        loss(vae, np.zeros((3, 1, 8, 8), dtype=np.float32))
    with pytest.raises(ValueError, match=r"received \(3, 1, 9, 9\)"):
        loss(vae, torch.zeros(3, 1, 9, 9))


@pytest.mark.parametrize("name", PLAIN)
def test_decoder_of_another_shape_is_an_error(name):
    loss, vae = made(name, {}, (1, 8, 8))
    vae.decode = lambda z: z[..., :2]
    with pytest.raises(ValueError, match=r"decoder returned images of shape \(3, 2\)"):
        loss(vae, torch.zeros(3, 1, 8, 8))


@pytest.mark.parametrize("name", sorted(set(objectives.names()) - set(PLAIN)))
def test_missing_head_is_an_error_that_says_how_to_get_it(name):
    loss = objective(name)
    needed = loss.head_maps(1)
    without = networks.build("mlp", (1, 8, 8), 4)
    with pytest.raises(ValueError, match=f"head={needed}\\); received 0"):
        loss(without, torch.zeros(3, 1, 8, 8))

    class Foreign:
        encode = without.encode

    with pytest.raises(ValueError, match="Foreign has no method decode_with_head"):
        loss(Foreign(), torch.zeros(3, 1, 8, 8))


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_what_is_logged_holds_no_graph(name, options):
    loss, vae = made(name, options, (1, 8, 8))
    x = torch.rand(8, 1, 8, 8)
    assert not any(part.requires_grad for part in loss(vae, x).parts.values())
    told = Pair(vae, loss)(x)
    assert [part for part, value in told.items() if value.requires_grad] == ["total"]


def test_values_outside_their_range_are_errors():
    loss, vae = made("bernoulli", {}, (1, 8, 8))
    with pytest.raises(ValueError, match=r"x must have values in \[0, 1\], received \[0, 3\]"):
        loss(vae, 3 * torch.eye(8).expand(2, 1, 8, 8))
    loss, vae = made("ssim", {"window": 11}, (1, 8, 8))
    with pytest.raises(ValueError, match="window of 11 pixels"):
        loss(vae, torch.zeros(2, 1, 8, 8))
    loss, vae = made("wae_mmd", {}, (1, 8, 8))
    with pytest.raises(ValueError, match=r"wae_mmd takes x of shape .* B >= 2, received \(1, 1"):
        loss(vae, torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("name", ["bernoulli", "mol", "ssim"])
@pytest.mark.parametrize(("slope", "offset"), [(255, 0), (2, -1), (1, 1e-3)])
def test_images_of_another_range_are_refused_where_the_loss_is_made_for_one(name, slope, offset):
    loss, vae = made(name, {}, (1, 8, 8))
    x = torch.linspace(0, 1, 128).reshape(2, 1, 8, 8)
    assert loss(vae, x).total.isfinite()
    told = r"x must have values in \[0, 1\], received \[.*\]: of images in \[0, 255\] take x / 255"
    with pytest.raises(ValueError, match=told):
        loss(vae, slope * x + offset)
    together = [vae, copy.deepcopy(vae)], [loss, copy.deepcopy(loss)]
    with pytest.raises(ValueError, match=told):
        batched.fit(*together, slope * x + offset, epochs=1, seeds=(0, 1))


@pytest.mark.parametrize("name", ["mol", "ssim"])
def test_what_is_not_a_number_passes_the_check_of_the_range(name):
    """Training tells it, with its epoch, step and part."""
    loss, x = objective(name), torch.rand(2, 1, 8, 8)
    x[1, 0, 0, 0] = torch.nan
    nats = loss.per_image(x, torch.rand(2, 1, 8, 8), torch.zeros(2, loss.head_maps(1), 8, 8))
    assert nats.isnan().tolist() == [False, True]


# --- contract ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_loss_is_scalars_with_finite_gradients(name, options, shape):
    torch.manual_seed(0)
    loss, vae = made(name, options, shape, network="conv")
    value = loss(vae, torch.rand(2, *shape))
    assert value.total.shape == value.reconstruction.shape == value.regularizer.shape == ()
    torch.testing.assert_close(value.total, value.reconstruction + value.regularizer)
    assert all(part.shape == () and not part.requires_grad for part in value.parts.values())
    value.total.backward()
    parameters = [*vae.decoder.parameters(), *loss.parameters()]
    assert all(parameter.grad.isfinite().all() for parameter in parameters)
    encoder = [parameter.grad for parameter in vae.encoder.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in encoder)


@pytest.mark.parametrize("name", [name for name in PLAIN if name not in ("ssim", "ffl")])
def test_any_object_with_encode_and_decode_will_do(name):
    """Not an nn.Module of ours, vectors for images, and codes that are maps."""

    class Foreign:
        weight = torch.randn(12, 10, requires_grad=True)

        def encode(self, x):
            mean = (x @ self.weight.T).reshape(-1, 3, 2, 2)
            return gaussian(mean, torch.full_like(mean, 0.5))

        def decode(self, z):
            return torch.sigmoid(z.flatten(1) @ self.weight)

    foreign = Foreign()
    loss = objective(name, **{"latent_dim": 12} if name == "dt_vae" else {})
    loss.prepare((10,))
    loss(foreign, torch.rand(5, 10)).total.backward()
    assert foreign.weight.grad.isfinite().all()


class Casts(torch.nn.Module):
    """A model that takes what has another precision than its weights."""

    def __init__(self, vae):
        super().__init__()
        self.vae, self.dtype = vae, vae.decoder[0].weight.dtype

    def encode(self, x):
        return self.vae.encode(x.to(self.dtype))

    def decode(self, z):
        return self.vae.decode(z.to(self.dtype))

    def decode_with_head(self, z):
        return self.vae.decode_with_head(z.to(self.dtype))


@pytest.mark.parametrize("name", objectives.names())
@pytest.mark.parametrize(
    ("of_x", "of_model"),
    [(torch.float64, torch.float32), (torch.float32, torch.float64),
     (torch.float16, torch.float32), (torch.bfloat16, torch.float32),
     (torch.float16, torch.float16)],
)  # fmt: skip
def test_images_of_another_precision_than_the_models_are_scored_in_the_finer(name, of_x, of_model):
    loss, vae = made(name, {}, (1, 16, 16))
    x = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    expected = loss(vae, x.to(of_x).float()).total.item()
    torch.manual_seed(0)
    total = loss(Casts(vae.to(of_model)), x.to(of_x)).total
    assert total.dtype == max(of_x, of_model, torch.float32, key=lambda kind: kind.itemsize)
    if of_model == torch.float32:  # else the draws are others
        assert total.item() == pytest.approx(expected, rel=1e-3)
    total.backward()
    assert all(weight.grad.isfinite().all() for weight in vae.decoder.parameters())


@pytest.mark.parametrize("of_x", [torch.float64, torch.float16])
def test_a_density_takes_images_of_another_precision(of_x):
    loss, vae = made("bernoulli", {}, (1, 8, 8))
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(6, 1, 8, 8, generator=generator).round()
    density, codes = loss.density(vae, x), torch.randn(2, 6, 4, generator=generator)
    torch.testing.assert_close(density(x.to(of_x), codes).float(), density(x, codes))


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_training_lowers_the_loss(name, options):
    loss, vae = made(name, options, (1, 8, 8))
    images = datasets.load("digits").train[:640]
    total = fit(vae, loss, images, epochs=6, progress=False)["total"]
    assert total.iloc[-1] < total.iloc[0] - 0.02 * abs(total.iloc[0])


def test_a_gradient_penalty_takes_batch_normalization_and_leaves_its_statistics():
    vae = networks.build("arelbo_mnist", (1, 28, 28), 4, seed=0).train()
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    objective("rae", code_weight=0.05)(vae, x)
    once = {name: value.clone() for name, value in vae.named_buffers()}
    again = networks.build("arelbo_mnist", (1, 28, 28), 4, seed=0).train()
    loss = objective("rae_gp", probes=2)(again, x)
    loss.total.backward()
    assert loss.parts["jacobian"] > 0
    for name, value in again.named_buffers():
        torch.testing.assert_close(value, once[name])


class LossOf(torch.nn.Module):
    """A model that returns its loss and the loss's parts."""

    def __init__(self, loss, vae):
        super().__init__()
        self.loss, self.vae = loss, vae

    def forward(self, x):
        value = self.loss(self.vae, x)
        return value.total, value.parts


@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("name", objectives.names())
def test_several_models_at_once_have_the_losses_and_gradients_of_each(name, network):
    """Under torch.func.vmap, with weights and images of their own and one noise for all."""
    members = [LossOf(*made(name, {}, (1, 8, 8), network=network)) for _ in range(3)]
    torch.manual_seed(0)
    for weight in itertools.chain.from_iterable(member.parameters() for member in members):
        weight.data += 0.05 * torch.randn_like(weight)
    x = torch.rand(3, 5, 1, 8, 8).mul(16).round().div(16)

    def together(weights, buffers, x):
        torch.manual_seed(0)
        return torch.func.functional_call(members[0], (weights, buffers), (x,))

    weights, buffers = torch.func.stack_module_state(members)
    totals, parts = torch.func.vmap(together, randomness="same")(weights, buffers, x)
    totals.sum().backward()
    for index, member in enumerate(members):
        torch.manual_seed(0)
        total, its_parts = member(x[index])
        total.backward()
        torch.testing.assert_close(totals[index], total)
        torch.testing.assert_close({part: parts[part][index] for part in its_parts}, its_parts)
        for weight, its in zip(weights.values(), member.parameters(), strict=True):
            torch.testing.assert_close(weight.grad[index], its.grad, rtol=1e-4, atol=1e-4)


class Asked(TorchDispatchMode):
    """Operations that give the processor a value, for which it would wait for a GPU."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function._schema.name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal"):
            self.found.append(function._schema.name)
        return function(*args, **kwargs or {})


@pytest.mark.parametrize("name", ["dt_vae", "ec_vae"])
def test_a_step_with_an_energy_can_be_recorded(name):
    """It asks for no value and changes no plain number, so that a GPU can replay it."""
    loss, vae = made(name, {"loss": "envae"}, (1, 16, 16), network="conv")
    before = plain_numbers(loss)
    with Asked() as asked:
        loss(vae, torch.rand(5, 1, 16, 16)).total.backward()
    assert not asked.found
    assert plain_numbers(loss) == before
    with Asked() as asked:
        torch.ones(1).item()
    assert asked.found  # such a question is seen


def test_bernoulli_refuses_values_of_one_of_several_models():
    loss = objective("bernoulli")
    x = torch.rand(3, 5, 64)
    x[1, 2, 3] = 1.5
    with pytest.raises(ValueError, match=r"x must have values in \[0, 1\], received \[.*, 1.5\]"):
        torch.func.vmap(loss.per_image)(x, torch.rand(3, 5, 64))


def test_bernoulli_of_values_outside_that_nobody_read_is_not_a_number(monkeypatch):
    """On a GPU, which waits where it is asked for a value: after the first batch it is not."""
    loss = objective("bernoulli")
    monkeypatch.setattr("envae.objectives.base.check_images", lambda **images: None)
    x, image = torch.rand(2, 4, 8)
    x[1, 0], image[2, 0], image[3, 0] = 1.5, -0.1, torch.nan
    image.requires_grad_()
    assert loss.per_image(x, image).isnan().tolist() == [False, True, True, True]
