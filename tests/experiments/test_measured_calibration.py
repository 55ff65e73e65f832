"""Forecasts of a linear VAE whose posterior is exact, against their closed form."""

import functools
import math

import pytest
import torch

from envae import datasets, networks
from envae.evaluation import seeded
from envae.experiments.measures import calibration
from envae.metrics import calibration as metrics
from envae.metrics import extractor
from envae.metrics.random_convolutions import RandomConvolutions
from envae.objectives import objective

WEIGHT, SIGMA2 = 0.3, 0.01
TOTAL = WEIGHT**2 + SIGMA2
MISS, SPREAD = SIGMA2**2 / TOTAL, WEIGHT**2 * SIGMA2 / TOTAL  # of the mean, of decoded draws


@pytest.fixture(scope="module")
def exact():
    """Images x = w z + e of 64 pixels, and the model that they are from."""
    vae = networks.build("linear", (1, 8, 8), 64)
    with torch.no_grad():
        for layer, scale in ((vae.encoder.mean[1], WEIGHT / TOTAL), (vae.decoder[0], WEIGHT)):
            layer.weight.copy_(scale * torch.eye(64))
            layer.bias.zero_()
        vae.encoder.log_variance.fill_(math.log(SIGMA2 / TOTAL))
    images = math.sqrt(TOTAL) * torch.randn(1000, 1, 8, 8, generator=torch.Generator())
    return vae, images


@pytest.mark.parametrize("name", ["l2", "iso_i", "diag_i", "envae"])
def test_forecasts_of_the_true_model_spread_as_they_should(exact, name):
    """Each forecast has a variance, and a squared error of its center."""
    vae, images = exact
    minimized = objective(name, alpha=SIGMA2) if name in ("l2", "envae") else objective(name)
    found = calibration.forecasts(vae, minimized, images, images, seed=0)
    expected = {"draws": (SPREAD, MISS)}
    if name != "envae":
        # MISS + SPREAD is the error of a decoded draw, which is SIGMA2: so both is too wide.
        expected |= {"noise": (SIGMA2, MISS + SPREAD), "both": (SPREAD + SIGMA2, MISS)}
    assert set(found) == set(expected)
    k = calibration.DRAWS
    for kind, (variance, squared_error) in expected.items():
        ratio = math.sqrt((1 + 1 / k) * variance / (squared_error + variance / k))
        assert metrics.spread_skill(found[kind], images) == pytest.approx(ratio, rel=0.02), kind
    if name != "envae":
        ranks = metrics.ranks(found["noise"], images, torch.Generator())
        for level in calibration.LEVELS:
            assert metrics.coverage(ranks, calibration.DRAWS, level) == pytest.approx(
                level, abs=0.01
            )


def test_balance_of_the_true_model(exact):
    vae, images = exact
    found = {name: value for name, (value, _) in calibration.balance(vae, images, seed=0).items()}
    assert found["spread"] == pytest.approx(64 * SPREAD, rel=0.02)
    assert found["missed"] == pytest.approx(64 * MISS, rel=0.02)
    assert found["dimensions_in_use"] == pytest.approx(64 * (1 - SIGMA2 / TOTAL), rel=1e-4)


def test_noise_of_each_image_is_the_images_own():
    digits = datasets.load("digits").subset(100)
    vae = networks.build("mlp", (1, 8, 8), 4, seed=0)
    images = digits.test[:20]
    of_image = calibration.noise_variance(vae, objective("iso_d"), images, digits.train, seed=0)
    of_all = calibration.noise_variance(vae, objective("iso_i"), images, digits.train, seed=0)
    assert of_image.shape == images.shape
    assert of_image.flatten(1).std(1).max() == 0 < of_image[:, 0, 0, 0].std()
    assert of_all.shape == (1, 1, 8, 8)
    assert of_all.unique().numel() == 1
    for found, name, seen in ((of_image, "iso_d", images), (of_all, "iso_i", digits.train)):
        with seeded(0):
            torch.testing.assert_close(found, objective(name).variance(vae, seen)[: len(found)])
    assert calibration.noise_variance(vae, objective("fenvae"), images, images, seed=0) is None
    # A fixed variance is what it was fixed at.
    fixed = calibration.noise_variance(vae, objective("l2", alpha=0.03), images, images, seed=0)
    assert fixed.item() == pytest.approx(0.03)


def test_a_model_is_measured_whole_and_the_same_again():
    digits = datasets.load("digits").subset(400)
    vae = networks.build("mlp", (1, 8, 8), 4, seed=0)
    measure = functools.partial(
        calibration.measure, dataset=digits, seed=3, extractor=extractor.load("digits-cnn")[0],
        others=(RandomConvolutions(digits.train),), steps=16, images=200,
    )  # fmt: skip
    found = measure(vae, objective("iso_i"))
    assert found == measure(vae, objective("iso_i"))
    for kind in ("draws", "noise", "both"):
        bins = [found[f"{kind}_rank_{index}"][0] for index in range(calibration.BINS)]
        assert sum(bins) == pytest.approx(calibration.BINS)
    # An untrained decoder gives one image, whose error is far larger than the draws' spread.
    assert found["draws_coverage_90_test"][0] < 0.4
    assert found["noise_spread_skill_train"][0] > 10 * found["draws_spread_skill_train"][0]
    assert found["recall"][1].endswith("200 samples against the test split")
    assert "fd_generated_random_conv" in found
    without_noise = measure(vae, objective("envae"))
    assert not any(name.startswith(("noise", "both")) for name in without_noise)


def test_pixels_that_never_vary_are_left_out():
    digits = datasets.load("digits")
    kept = calibration.varying(digits.train)
    assert not kept[0, :, 0].any()  # the left edge is black
    assert kept[0, 4, 3]
    images = digits.test[:50]
    draws = images.expand(39, *images.shape)
    found = calibration.of_forecast(draws, images, digits.train, steps=16, seed=0)
    assert found["pixels"].shape == (50, int(kept.sum()))
    assert found["images"].shape == (50,)
