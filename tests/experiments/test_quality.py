"""How many images the likelihood of a model is measured on."""

import functools

import pytest

from envae import datasets, networks
from envae.experiments.measures import quality
from envae.metrics.likelihood import negative_log_likelihood
from envae.objectives import objective

DIGITS = datasets.load("digits")


@pytest.fixture(scope="module")
def measure():
    """Of a model that was not trained, with three draws."""
    vae = networks.build("mlp", (1, 8, 8), 4, seed=0)
    return functools.partial(
        quality.measure, vae, objective("l2"), DIGITS, 0, extractor=None, likelihood_draws=3
    )


def test_likelihood_of_some_images_is_that_of_some_from_all_parts_of_the_set(measure):
    value, unit = measure(likelihood_images=50)["nll"]
    vae, loss = measure.args[:2]
    nats = negative_log_likelihood(vae, loss.density(vae, DIGITS.train), DIGITS.test[::10], draws=3)
    assert value == pytest.approx(nats.mean().item())
    assert unit == "nats per image, upper bound, 3 draws for each of 50 test images"


def test_all_images_are_measured_where_there_are_no_more(measure):
    everything = measure()["nll"]
    assert everything[1].endswith("for each of 500 test images")
    assert measure(likelihood_images=500)["nll"] == everything
    assert measure(likelihood_images=10_000)["nll"] == everything


def test_no_images_are_an_error(measure):
    with pytest.raises(ValueError, match="likelihood_images must be an integer from 1 up, receiv"):
        measure(likelihood_images=0)
