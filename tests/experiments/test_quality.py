"""How many images the likelihood is measured on; what is measured beside the first extractor."""

import dataclasses
import functools

import pytest
import torch

from envae import datasets, networks, priors
from envae.experiments.measures import quality
from envae.metrics import extractor, frechet, two_sample
from envae.metrics.interpolation import between_pairs
from envae.metrics.likelihood import negative_log_likelihood
from envae.metrics.random_convolutions import RandomConvolutions
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


def test_all_test_images_are_measured_where_fewer_are_trained_on(measure):
    vae, loss, *_ = measure.args
    few = dataclasses.replace(
        DIGITS, train=DIGITS.train[:110], train_labels=DIGITS.train_labels[:110]
    )
    network = extractor.load("digits-cnn")[0]
    found = quality.measure(vae, loss, few, 0, extractor=network, likelihood_draws=1)
    with torch.no_grad():
        images = vae.decode(vae.encode(DIGITS.test).mean)
    error = (images - DIGITS.test).square().sum((1, 2, 3)).mean().item()
    assert found["squared_error"][0] == pytest.approx(error, rel=1e-5)
    expected = frechet.fd(network, images.clamp(0, 1), DIGITS.test)
    assert found["fd_reconstructed"][0] == pytest.approx(expected, rel=1e-4)
    assert found["nll"][1].endswith("for each of 500 test images")
    assert found["fd_generated"][1].endswith("110 samples against the train split")


def test_no_images_are_an_error(measure):
    with pytest.raises(ValueError, match="likelihood_images must be an integer from 1 up, receiv"):
        measure(likelihood_images=0)


def test_other_spaces_have_columns_of_their_own_and_leave_the_first_as_they_are(measure):
    measure = functools.partial(measure, extractor=extractor.load("digits-cnn")[0], samples=200)
    wanted = {"priors": ["gmm10"], "likelihood_draws": 0}
    alone = measure(**wanted)
    other = RandomConvolutions(DIGITS.train)
    both = measure(**wanted, others=[other], two_sample=True)
    assert {name: both[name] for name in alone} == alone
    distances = {name for name in alone if name.startswith("fd_")}
    assert set(both) - set(alone) == {f"{name}_random_conv" for name in distances} | {
        "energy_distance_generated",
        *[f"{n}{end}" for n in ("precision", "recall", "reached") for end in ("", "_random_conv")],
    }  # fmt: skip
    assert both["fd_gmm10_random_conv"][1] == (
        "FD (random-conv), 200 samples against the train split"
    )
    without = measure(**wanted, extractor=None, others=[other])
    assert without["fd_generated_random_conv"] == both["fd_generated_random_conv"]


def test_reconstructions_are_compared_with_the_test_images_themselves(measure):
    network, vae = extractor.load("digits-cnn")[0], measure.args[0]
    found = measure(extractor=network, samples=200, likelihood_draws=0)["fd_reconstructed"][0]
    with torch.no_grad():
        images = vae.decode(vae.encode(DIGITS.test[:200]).mean)
    assert found == pytest.approx(frechet.fd(network, images, DIGITS.test[:200]))


def test_every_number_is_of_the_codes_that_its_name_says(measure):
    """Drawn anew, in the order in which they are measured, and decoded in one call."""
    network, vae = extractor.load("digits-cnn")[0], measure.args[0]
    found = measure(extractor=network, samples=110, priors=["gmm10"], interpolate=True,
                    likelihood_draws=0)  # fmt: skip
    generator = torch.Generator().manual_seed(0)

    def noise(count):
        return torch.randn(count, 4, generator=generator)

    generated = noise(110)
    test, train = (vae.encode(images) for images in (DIGITS.test[:110], DIGITS.train))
    drawn = test.mean + test.stddev * noise(110)
    codes = (train.mean + train.stddev * noise(len(DIGITS.train))).detach()
    mixture = priors.GaussianMixture.fit(codes, components=10, seed=0)
    new = {"generated": generated, "gmm10": mixture.sample(110, generator)}
    for name, ratio in {"midpoint": 0.5, "random_ratio": None}.items():
        new[name] = between_pairs(test.mean.detach(), generator, pairs=110, ratio=ratio)

    def decoded(codes):
        with torch.no_grad():
            return vae.decode(codes)

    for name, codes in new.items():
        expected = frechet.fd(network, decoded(codes).clamp(0, 1), DIGITS.train)
        assert found[f"fd_{name}"][0] == pytest.approx(expected, rel=1e-4), name
    for ending, codes in {"": test.mean, "_draw": drawn}.items():
        images = decoded(codes)
        error = (images - DIGITS.test[:110]).square().sum((1, 2, 3)).mean().item()
        assert found[f"squared_error{ending}"][0] == pytest.approx(error, rel=1e-5)
        expected = frechet.fd(network, images.clamp(0, 1), DIGITS.test[:110])
        assert found[f"fd_reconstructed{ending}"][0] == pytest.approx(expected, rel=1e-4)
    kl = 0.5 * (test.mean.square() + test.variance - test.variance.log() - 1).sum(1).mean()
    assert found["kl"][0] == pytest.approx(kl.item(), rel=1e-4)


def test_priors_are_what_their_names_say():
    codes = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    assert quality.PRIORS["gmm10"](codes, seed=0).mixture.n_components == 10
    assert quality.PRIORS["gmm100"].keywords == {"components": 100}
    fitted = {name: quality.PRIORS[name](codes, seed=0, updates=1) for name in ("ncp", "ncp_sir")}
    assert {name: prior.draws for name, prior in fitted.items()} == {
        "ncp": "langevin", "ncp_sir": "sir"
    }  # fmt: skip


def test_samples_are_compared_with_the_split_that_is_named(measure):
    vae = measure.args[0]
    network = extractor.load("digits-cnn")[0]
    found = measure(
        extractor=network, against="test", samples=300, likelihood_draws=0, two_sample=True
    )
    codes = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        images = vae.decode(codes)
    value, unit = found["energy_distance_generated"]
    assert value == pytest.approx(two_sample.energy_distance(images, DIGITS.test))
    assert unit.endswith("root of a sum over pixels, 300 samples against the test split")
    expected = two_sample.precision_recall(network.features(images), network.features(DIGITS.test))
    assert (found["precision"][0], found["recall"][0]) == expected
    assert expected[1] < 0.1  # an untrained decoder's images are all alike
    assert found["reached"][0] < 0.1
    assert found["reached"][1].startswith("share, 5 nearest neighbours in digits-cnn, 300 samples")
    for name in ("precision", "recall"):
        assert found[name][1].startswith("share, 3 nearest neighbours in digits-cnn, 300 samples")
    assert found["fd_generated"][0] == pytest.approx(frechet.fd(network, images, DIGITS.test))


def test_a_contrastive_prior_leaves_reconstructions_and_tells_of_itself(measure):
    measure = functools.partial(
        measure, extractor=extractor.load("digits-cnn")[0], samples=100, likelihood_draws=0
    )
    alone, fitted = measure(), measure(priors=["ncp", "ncp_sir"])
    assert {name: fitted[name] for name in alone} == alone
    told = {"loss", "mean_ratio", "effective", "moved"}
    expected = {f"{prior}_{name}" for prior in ("ncp", "ncp_sir") for name in told}
    assert set(fitted) - set(alone) == expected | {"fd_ncp", "fd_ncp_sir"}
    assert 0 < fitted["ncp_loss"][0] < 1.4


@pytest.mark.parametrize("steps", [0, 2])
def test_what_an_energy_does_is_measured(steps, monkeypatch):
    loss = objective("ec_vae", steps=steps)
    vae = networks.build("mlp", (1, 8, 8), 4, objective=loss, seed=0)
    found = quality.measure(
        vae, loss, DIGITS, 0, extractor=extractor.load("digits-cnn")[0], samples=200
    )
    assert (found["moved"][0] > 0) == (found["fd_refined"][0] != found["fd_generated"][0])
    assert (found["moved"][0] > 0) == (steps > 0)
    assert found["multiplier"][0] == 1
    monkeypatch.setattr(loss, "refine", lambda images, generator: images + 2)  # out of [0, 1]
    found = quality.measure(
        vae, loss, DIGITS, 0, extractor=extractor.load("digits-cnn")[0], samples=200
    )
    white = torch.ones(200, 1, 8, 8)
    assert found["fd_refined"][0] == pytest.approx(
        frechet.fd(extractor.load("digits-cnn")[0], white, DIGITS.train)
    )
    triangle = objective("dt_vae", latent_dim=4, image_shape=(1, 8, 8))
    found = quality.measure(vae, triangle, DIGITS, 0, extractor=None, samples=200)
    assert {"energy_gap", "stddev"} < set(found)
