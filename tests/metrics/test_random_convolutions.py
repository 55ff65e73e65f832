"""Features that nothing was trained on."""

import subprocess
import sys

import pytest
import torch
from torch.nn.functional import avg_pool2d

from envae import datasets
from envae.metrics import frechet
from envae.metrics.random_convolutions import FEATURES, FEWEST, RandomConvolutions

DIGITS = datasets.load("digits")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (2, 64, 64)])
def test_images_of_any_size_and_channels_have_standardized_features(shape):
    images = torch.rand(50, *shape, generator=torch.Generator().manual_seed(0))
    network = RandomConvolutions(images)
    features = network.features(images)
    assert features.shape == (50, FEATURES)
    assert not features.requires_grad
    torch.testing.assert_close(features.mean(0), torch.zeros(FEATURES), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.std(0), torch.ones(FEATURES), atol=1e-4, rtol=0)


def test_fewer_features_are_the_means_of_the_four_quarters_and_take_fewer_images():
    few, many = (RandomConvolutions(DIGITS.train, few=few) for few in (True, False))
    assert (few.name, many.name) == ("random-conv-few", "random-conv")
    quarters = (many.features(DIGITS.test) * many.scale + many.mean).unflatten(1, (FEWEST, 4))
    expected = (quarters.mean(2) - few.mean) / few.scale
    torch.testing.assert_close(few.features(DIGITS.test), expected, atol=1e-4, rtol=1e-4)
    assert frechet.fd(few, DIGITS.train[:40], DIGITS.test[:40]) > 0
    with pytest.raises(ValueError, match="more than 96 images"):
        frechet.fd(many, DIGITS.train[:40], DIGITS.test[:40])


def test_features_are_those_of_the_layers_written_out():
    network = RandomConvolutions(DIGITS.train)
    weights = network.state_dict()
    hidden = DIGITS.test
    for layer in (0, 3, 6):
        hidden = torch.nn.functional.conv2d(
            hidden, weights[f"body.{layer}.weight"], weights[f"body.{layer}.bias"], padding=1
        )
        hidden = avg_pool2d(hidden.relu(), 2) if layer < 6 else hidden
    expected = (hidden.flatten(1) - weights["mean"]) / weights["scale"]
    torch.testing.assert_close(network.features(DIGITS.test), expected)


def test_weights_have_hes_variance_and_those_of_a_filter_no_sum():
    """Over all its channels together: of each alone they see differences between channels."""
    state = RandomConvolutions(torch.rand(4, 3, 16, 16)).state_dict()
    weights = [state[f"body.{layer}.weight"] for layer in (0, 3, 6)]
    assert [tuple(weight.shape[:2]) for weight in weights] == [(32, 3), (32, 32), (24, 32)]
    for weight in weights:
        assert weight.sum((1, 2, 3)).abs().max() < 1e-5
        assert weight.sum((2, 3)).abs().max() > 0.01
        expected = (2 / weight[0].numel()) ** 0.5
        assert weight.std().item() == pytest.approx(expected, rel=0.1)
    biases = torch.cat([state[f"body.{layer}.bias"] for layer in (0, 3, 6)])
    assert biases.std().item() == pytest.approx(0.1, rel=0.25)


def test_weights_are_the_same_in_every_process_and_others_with_another_seed():
    code = (
        "import torch; from envae import datasets;"
        "from envae.metrics.random_convolutions import RandomConvolutions as R;"
        "torch.manual_seed({seed}); d = datasets.load('digits');"
        "print(R(d.train).features(d.test[:5]).double().sum().item())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code.format(seed=seed)], capture_output=True, text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }  # fmt: skip
    assert len(told) == 1
    state = torch.random.get_rng_state()
    zero, one = RandomConvolutions(DIGITS.train), RandomConvolutions(DIGITS.train, seed=1)
    assert (zero.name, one.name) == ("random-conv", "random-conv-1")
    assert not torch.allclose(zero.features(DIGITS.test), one.features(DIGITS.test))
    assert frechet.unit(zero) == "FD (random-conv)"
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_distance_of_them_sees_noise_blur_and_a_missing_class():
    network = RandomConvolutions(DIGITS.train)
    images, labels = DIGITS.test, DIGITS.test_labels
    floor = frechet.fd(network, images, DIGITS.train)
    noise = 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    blurred = avg_pool2d(images, 3, 1, padding=1)
    assert frechet.fd(network, (images + noise).clamp(0, 1), DIGITS.train) > 1.3 * floor
    assert frechet.fd(network, blurred, DIGITS.train) > 5 * floor
    assert frechet.fd(network, images[labels != 1], DIGITS.train) > 1.3 * floor


def test_a_feature_that_no_image_moves_is_left_out():
    """Of images that differ in their upper left corner alone the other quarters say nothing."""
    images = torch.full((10, 1, 32, 32), 0.5)
    images[:, 0, :4, :4] = torch.rand(10, 4, 4, generator=torch.Generator().manual_seed(0))
    features = RandomConvolutions(images).features(torch.rand(5, 1, 32, 32)).reshape(5, 24, 4)
    assert (features[..., 1:] == 0).all()
    assert (features[..., 0] != 0).all()


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_images_that_are_all_alike_are_an_error(value):
    """All features would be 0, and so would every distance."""
    with pytest.raises(ValueError, match="needs images that differ, received 10 alike"):
        RandomConvolutions(torch.full((10, 3, 16, 16), value))


def test_images_that_are_not_numbers_are_an_error():
    images = torch.rand(10, 1, 8, 8)
    images[3, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="features must be finite"):
        RandomConvolutions(images)


@pytest.mark.parametrize("shape", [(50, 1, 7, 8), (1, 1, 8, 8), (50, 8, 8)])
def test_images_that_are_too_small_or_too_few_are_errors(shape):
    with pytest.raises(ValueError, match=r"2 or more images .* of at least 8 x 8 pixels, received"):
        RandomConvolutions(torch.rand(shape))


def test_other_channels_are_an_error():
    network = RandomConvolutions(DIGITS.train)
    with pytest.raises(ValueError, match=r"takes images \(N, 1, H, W\).*received \(4, 3, 8, 8\)"):
        network.features(torch.rand(4, 3, 8, 8))
