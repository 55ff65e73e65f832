"""What is defined in float32 is float32, whatever torch's default is: features, priors, samples."""

import functools
import warnings

import pytest
import torch
from torch import nn

from envae import datasets, networks, objective
from envae.evaluation import batches, decode, decoded_draws, encode, single_precision
from envae.experiments import batched, fenvae
from envae.experiments.measures import calibration, collapse, pictures, quality
from envae.metrics import extractor, frechet
from envae.metrics.random_convolutions import RandomConvolutions
from envae.priors import GaussianMixture, NoiseContrastive, SecondStageVAE, StandardNormal


@pytest.fixture
def doubles(monkeypatch):
    """torch's default for the time of a test."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def test_single_precision_ends_with_its_block_and_with_an_error(doubles):
    with single_precision():
        assert torch.zeros(1).dtype == torch.float32
    with pytest.raises(KeyError), single_precision():
        raise KeyError
    assert torch.zeros(1).dtype == torch.float64


def distances(images):
    """FD in the two spaces of features that need no download."""
    spaces = [extractor.load("digits-cnn")[0], RandomConvolutions(images)]
    return [frechet.fd(space, images, images.flip(0) * 0.9) for space in spaces]


def test_distances_are_in_the_same_space(doubles):
    images = datasets.load("digits").train[:100]
    found = [distances(images), distances(images.double())]
    torch.set_default_dtype(torch.float32)
    for each in found:
        assert each == pytest.approx(distances(images), rel=1e-5)


def priors(codes):
    """One of each kind, fitted briefly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a classifier of few updates
        contrastive = NoiseContrastive.fit(codes, updates=5, seed=1)
    return [
        StandardNormal.fit(codes), GaussianMixture.fit(codes, components=2),
        SecondStageVAE.fit(codes, epochs=1, seed=1), contrastive,
    ]  # fmt: skip


def test_priors_and_their_samples_are_the_same(doubles):
    codes = torch.randn(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = [prior.sample(20, torch.Generator().manual_seed(1)) for prior in priors(codes)]
    torch.set_default_dtype(torch.float32)
    expected = [prior.sample(20, torch.Generator().manual_seed(1)) for prior in priors(codes)]
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other)


def test_numbers_in_which_the_members_of_a_stack_differ_are_in_single_precision(doubles):
    found = batched._different_numbers([objective("l2", alpha=alpha) for alpha in (0.1, 0.5)])
    assert found
    assert {value.dtype for value in found.values()} == {torch.float32}


def test_a_model_is_given_what_its_weights_are():
    vae = networks.build("mlp", (1, 8, 8), 3, seed=0)
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    codes = StandardNormal(3).sample(5, torch.Generator().manual_seed(0))
    single = encode(vae, images).mean, decode(vae, codes)
    vae.double()
    double = encode(vae, images).mean, decode(vae, codes)
    for one, other in zip(single, double, strict=True):
        assert (one.dtype, other.dtype) == (torch.float32, torch.float64)
        torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=1e-5)
    assert decoded_draws(vae, images, draws=2).dtype == torch.float64


def test_weights_of_several_kinds_take_images_as_they_are():
    mixed = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2).double()])
    [batch] = batches(mixed, torch.zeros(3, 2))
    assert batch.dtype == torch.float32
    [batch] = batches(nn.Linear(2, 2).half(), torch.zeros(3, 2))
    assert batch.dtype == torch.float16
    [batch] = batches(nn.Linear(2, 2).half(), torch.zeros(3, 2, dtype=torch.uint8))
    assert batch.dtype == torch.uint8  # bytes are no images: who takes them says so


MEASURES = {
    "quality": functools.partial(
        quality.measure, extractor=extractor.load("digits-cnn")[0], against="test",
        priors=("gmm10",), two_sample=True, samples=60,
    ),
    "pictures": functools.partial(pictures.measure, draws=4, images=40),
    "collapse": functools.partial(collapse.measure, images=100, jacobians=20),
    "fenvae": functools.partial(
        fenvae.measure_with_lipschitz, extractor=extractor.load("digits-cnn")[0], samples=60
    ),
    "calibration": functools.partial(calibration.measure, extractor=None, steps=16, images=40),
}  # fmt: skip


@pytest.mark.parametrize("of", MEASURES)
def test_a_model_in_double_precision_is_measured_alike(of):
    digits = datasets.load("digits").subset(200)
    minimized = objective("envae", samples=2)
    vae = networks.build("mlp", digits.image_shape, 3, seed=0)
    single = MEASURES[of](vae, minimized, digits, 1)
    double = MEASURES[of](vae.double(), minimized, digits, 1)
    for name, (value, _) in single.items():
        assert double[name][0] == pytest.approx(value, rel=0.05, abs=0.05), name
