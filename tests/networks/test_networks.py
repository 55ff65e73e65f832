"""The papers' networks against their listings, and the posterior's variance."""

import math

import pytest
import torch

from envae import networks
from envae.objectives import objective
from envae.training import fit


def count(vae):
    return sum(parameter.numel() for parameter in vae.parameters())


def affine(inputs, outputs):
    """Weights and biases of a fully connected layer."""
    return inputs * outputs + outputs


def filters(inputs, outputs, side):
    """Weights and biases of a convolution, or of a transposed one."""
    return inputs * outputs * side**2 + outputs


def norm(features):
    """Weights and biases of a batch normalization."""
    return 2 * features


def test_smoothness_network_is_that_of_appendix_d1():
    vae = networks.build("arelbo_smoothness", (1, 28, 28), 8)
    units = 128 * 7 * 7
    encoder = filters(1, 64, 4) + filters(64, 128, 4) + affine(units, 1024) + affine(1024, 8)
    decoder = affine(8, 1024) + affine(1024, units) + filters(128, 64, 4) + filters(64, 1, 4)
    assert count(vae) == encoder + decoder + 1  # sigma_z^2


def test_mnist_network_is_that_of_appendix_i1():
    vae = networks.build("arelbo_mnist", (1, 28, 28), 16)
    units = 128 * 7 * 7
    encoder = filters(1, 64, 5) + filters(64, 128, 5) + affine(units, 1024) + norm(1024)
    decoder = affine(16, 1024) + norm(1024) + affine(1024, units) + norm(units)
    up = filters(128, 64, 5) + norm(64) + filters(64, 1, 5)
    assert count(vae) == encoder + affine(1024, 32) + decoder + up


@pytest.mark.parametrize(
    ("name", "side", "latent_dim"), [("arelbo_celeba", 64, 64), ("arelbo_celebahq", 128, 256)]
)
def test_celeba_networks_are_those_of_appendices_i2_and_i3(name, side, latent_dim):
    with torch.device("meta"):  # up to 90 million weights: counted, not allocated
        vae = networks.build(name, (3, side, side), latent_dim)
    down = filters(3, 128, 5) + filters(128, 256, 5) + filters(256, 512, 5) + filters(512, 1024, 5)
    encoder = down + norm(256 + 512 + 1024) + affine(1024 * (side // 16) ** 2, 2 * latent_dim)
    decoder = affine(latent_dim, 1024 * (side // 8) ** 2)
    up = filters(1024, 512, 5) + filters(512, 256, 5) + filters(256, 128, 5) + filters(128, 3, 5)
    assert count(vae) == encoder + decoder + up + norm(256 + 128)


LISTED = {  # sizes after each convolution, as the listings give them
    "arelbo_smoothness": [(1, 28, 28), (64, 14, 14), (128, 7, 7)],
    "arelbo_mnist": [(1, 28, 28), (64, 14, 14), (128, 7, 7)],
    "arelbo_celeba": [(3, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (1024, 4, 4)],
    "arelbo_celebahq": [(3, 128, 128), (128, 64, 64), (256, 32, 32), (512, 16, 16), (1024, 8, 8)],
}
LISTED_BACK = {
    "arelbo_smoothness": [(64, 14, 14), (1, 28, 28)],
    "arelbo_mnist": [(64, 14, 14), (1, 28, 28)],
    "arelbo_celeba": [(512, 16, 16), (256, 32, 32), (128, 64, 64), (3, 64, 64)],
    "arelbo_celebahq": [(512, 32, 32), (256, 64, 64), (128, 128, 128), (3, 128, 128)],
}


@pytest.mark.parametrize("name", LISTED)
def test_maps_have_the_listed_sizes(name):
    with torch.device("meta"):
        vae = networks.build(name, LISTED[name][0], 4)
        sizes = []
        for layer in vae.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                layer.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[1:])))
        vae.decode(vae.encode(torch.rand(2, *LISTED[name][0])).mean)
    assert sizes == LISTED[name][1:] + LISTED_BACK[name]


CELEBA = (
    "Conv2d ReLU" + 3 * " Conv2d BatchNorm2d ReLU" + " Flatten Linear",
    "Linear Unflatten ConvTranspose2d ReLU"
    + 2 * " ConvTranspose2d BatchNorm2d ReLU"
    + " ConvTranspose2d",
)
LAYERS = {
    "linear": ("Flatten Linear", "Linear Unflatten"),
    **dict.fromkeys(
        ("mlp", "mlp64"),
        ("Flatten Linear ReLU Linear ReLU Linear", "Linear ReLU Linear ReLU Linear Unflatten"),
    ),
    "conv": (
        "Conv2d ReLU Conv2d ReLU Conv2d ReLU Flatten Linear",
        "Linear ReLU Unflatten ConvTranspose2d ReLU ConvTranspose2d ReLU ConvTranspose2d",
    ),
    "arelbo_smoothness": (
        "Conv2d ReLU Conv2d ReLU Flatten Linear ReLU Linear",
        "Linear ReLU Linear ReLU Unflatten ConvTranspose2d ReLU ConvTranspose2d",
    ),
    "arelbo_mnist": (
        "Conv2d ReLU Conv2d ReLU Flatten Linear BatchNorm1d ReLU Linear",
        "Linear BatchNorm1d ReLU Linear BatchNorm1d ReLU Unflatten"
        " ConvTranspose2d BatchNorm2d ReLU ConvTranspose2d",
    ),
    "arelbo_celeba": CELEBA,
    "arelbo_celebahq": CELEBA,
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_come_in_the_listed_order(name):
    with torch.device("meta"):
        vae = networks.build(name, (1, 32, 32), 4)
    found = (
        [type(layer).__name__ for layer in part.modules() if not list(layer.children())]
        for part in (vae.encoder, vae.decoder)
    )
    assert tuple(map(" ".join, found)) == LAYERS[name]


WIDTHS = {  # of 3 x 64 x 64 images with a head of two maps, and of codes of five dimensions
    "linear": [5, 5 * 64 * 64],
    "mlp": [256, 256, 10, 256, 256, 5 * 64 * 64],
    "mlp64": [64, 64, 10, 64, 64, 5 * 64 * 64],
    "conv": [32, 64, 128, 256, 10, 256 * 4 * 4, 128, 64, 32, 5],
}


@pytest.mark.parametrize("name", WIDTHS)
def test_layers_are_as_wide_as_their_description_says(name):
    with torch.device("meta"):
        vae = networks.build(name, (3, 64, 64), 5, head=2)
    layers = [layer for part in (vae.encoder, vae.decoder) for layer in part.modules()]
    found = [getattr(layer, "out_features", getattr(layer, "out_channels", None))
             for layer in layers]  # fmt: skip
    assert [width for width in found if width is not None] == WIDTHS[name]
    if name == "conv":
        with torch.device("meta"):  # no wider than 256
            wide = networks.build("conv", (3, 128, 128), 5).encoder
        assert [layer.out_channels for layer in wide if hasattr(layer, "out_channels")][-2:] == [
            256, 256
        ]  # fmt: skip
        assert {layer.kernel_size for layer in layers if hasattr(layer, "kernel_size")} == {(4, 4)}


@pytest.mark.parametrize("name", LAYERS)
def test_pixels_go_through_a_sigmoid_and_a_head_does_not(name):
    vae = networks.build(name, (1, 16, 16), 4, head=2, seed=0).eval()
    codes = 10 * torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (image, head), maps = vae.decode_with_head(codes), vae.decoder(codes)
    assert torch.equal(image, maps[:, :1] if name == "linear" else maps[:, :1].sigmoid())
    assert torch.equal(head, maps[:, 1:])


@pytest.mark.parametrize("name", LISTED)
def test_other_sizes_and_a_head_fit(name):
    vae = networks.build(name, (1, 16, 32), 5, head=2, posterior="image")
    posterior = vae.encode(torch.rand(3, 1, 16, 32))
    image, head = vae.decode_with_head(posterior.rsample((2,)))
    assert image.shape == (2, 3, 1, 16, 32)
    assert head.shape == (2, 3, 2, 16, 32)
    assert image.min() >= 0
    assert image.max() <= 1


@pytest.mark.parametrize("name", LISTED)
def test_sizes_that_cannot_be_halved_are_errors(name):
    with pytest.raises(ValueError, match=r"sides divisible by \d+, received \(1, 30, 28\)"):
        networks.build(name, (1, 30, 28), 8)


# --- the posterior's variance -----------------------------------------------------------------

SHAPE = (1, 8, 8)


@pytest.mark.parametrize("name", ["linear", "mlp", "conv", "arelbo_smoothness"])
@pytest.mark.parametrize(
    ("posterior", "learned", "first"),
    [("coordinate", 5, 1.0), ("isotropic", 1, 1.0), (0.25, 0, 0.5), (1, 0, 1.0), (0, 0, 0.0)],
)
def test_shared_variance(name, posterior, learned, first):
    vae = networks.build(name, SHAPE, 5, posterior=posterior)
    encoded = vae.encode(torch.rand(3, *SHAPE))
    torch.testing.assert_close(encoded.stddev, torch.full((3, 5), first))
    assert count(vae.encoder) - count(vae.encoder.mean) == learned
    own_variances = networks.build(name, SHAPE, 5, posterior="image")
    last_layer = [layer for layer in vae.encoder.mean][-1]
    wider = affine(last_layer.in_features, 10) - affine(last_layer.in_features, 5)
    assert count(own_variances) == count(vae) - learned + wider


@pytest.mark.parametrize(
    ("name", "own"),
    [("linear", "coordinate"), ("mlp", "image"), ("arelbo_smoothness", "isotropic")],
)
def test_default_is_the_networks_own_posterior(name, own):
    default, told = (networks.build(name, SHAPE, 5, posterior=p, seed=0) for p in (None, own))
    for (key, weight), (_, other) in zip(
        default.state_dict().items(), told.state_dict().items(), strict=True
    ):
        assert torch.equal(weight, other), key


def test_deterministic_encoder_draws_its_mean_and_is_no_part_of_a_negative_elbo():
    vae = networks.build("mlp", SHAPE, 5, posterior=0.0, seed=0)
    images = torch.rand(16, *SHAPE)
    encoded = vae.encode(images)
    assert torch.equal(encoded.rsample((2,)), encoded.mean.expand(2, -1, -1))
    history = fit(vae, objective("rae"), images, epochs=2, progress=False, accelerator="cpu")
    assert history["total"].iloc[1] < history["total"].iloc[0]
    with pytest.raises(FloatingPointError, match="kl"):
        fit(vae, objective("l2"), images, epochs=1, progress=False, accelerator="cpu")


def test_isotropic_variance_is_learned():
    """KL alone, with mean zero: its minimum is at variance one."""
    vae = networks.build("mlp", SHAPE, 5, posterior="isotropic", seed=0)
    with torch.no_grad():
        vae.encoder.log_variance.fill_(1.0)
    fit(
        vae, objective("l2", sigma2=1e6), torch.rand(64, *SHAPE), epochs=60, lr=0.05,
        progress=False, accelerator="cpu",
    )  # fmt: skip
    assert vae.encode(torch.rand(1, *SHAPE)).stddev[0, 0].item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("posterior", [-1.0, math.inf, math.nan])
def test_a_variance_out_of_range_is_an_error(posterior):
    with pytest.raises(ValueError, match="posterior variance must be a number from 0 up, received"):
        networks.build("mlp", SHAPE, 5, posterior=posterior)


def test_unknown_posterior_lists_the_known_ones():
    with pytest.raises(
        ValueError, match=r"unknown posterior 'isotropc', did you mean 'isotropic'\? .*a variance"
    ):
        networks.build("mlp", SHAPE, 5, posterior="isotropc")
