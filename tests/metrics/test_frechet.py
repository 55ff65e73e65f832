"""Fréchet distance against closed forms, and the extractor behind it."""

import functools
import subprocess
import sys

import numpy as np
import pytest
import torch

from envae import datasets, networks
from envae.experiments import classifiers, records, runs
from envae.experiments.measures import quality
from envae.experiments.runs import Point, Setting
from envae.metrics import extractor, frechet
from envae.metrics.random_convolutions import RandomConvolutions
from envae.objectives import objective

# ruff: noqa: I001
from pytorch_fid.fid_score import calculate_frechet_distance  # after envae._torchvision


def test_frechet_distance_of_gaussians_against_its_closed_form():
    """Means 3 apart, spreads a and b in d dimensions: 9 + d (a - b)^2."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(200_000, 5, generator=generator, dtype=torch.float64)
    second = 2 * torch.randn(200_000, 5, generator=generator, dtype=torch.float64)
    second[:, 0] += 3
    assert frechet.frechet_distance(first, second) == pytest.approx(9 + 5, rel=0.01)


def test_frechet_distance_of_a_set_with_itself_is_zero_and_it_is_symmetric():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 400, 6, generator=generator)
    assert frechet.frechet_distance(first, first) == pytest.approx(0, abs=1e-6)
    forward = frechet.frechet_distance(first, second)
    assert forward == pytest.approx(frechet.frechet_distance(second, first))
    shifted = frechet.frechet_distance(first, first + 1)
    assert shifted == pytest.approx(6, rel=1e-5)


def test_a_set_in_another_order_is_never_at_a_distance_below_zero():
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        features = torch.rand(200, 30, generator=generator)
        order = torch.randperm(200, generator=generator)
        assert 0 <= frechet.frechet_distance(features, features[order]) < 1e-9


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.rand(6, 6), "more than 6 images in each set, received 6"),
        (torch.rand(6), r"\(N, F\), received shape \(6,\)"),
        (torch.full((50, 6), torch.nan), "finite"),
        (torch.rand(50, 7), "same width"),
    ],
)
def test_bad_features_are_errors(features, message):
    with pytest.raises(ValueError, match=message):
        frechet.frechet_distance(features, torch.rand(50, 6))


class _Pixels:
    """Pixels as they are, for features."""

    name = "pixels"

    def features(self, images):
        return images.flatten(1)

    def state_dict(self):
        return {}


def test_floor_is_what_finitely_many_draws_cost():
    """Of n normal draws in F dimensions: F / n for the mean, F (F + 1) / 4n for the covariance."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(20_000, 1, 2, 2, generator=generator)
    for count in (200, 800):
        expected = 4 * (4 + 5) / (4 * count)
        assert frechet.floor(_Pixels(), images, count) == pytest.approx(expected, rel=0.15)
    with pytest.raises(ValueError, match="more than 4 images in each set, received 3"):
        frechet.floor(_Pixels(), images, 3)


def test_stored_extractor_is_as_good_as_its_manifest_says():
    digits = datasets.load("digits")
    network, manifest = extractor.load("digits-cnn")
    with torch.no_grad():
        right = (network(digits.test).argmax(1) == digits.test_labels).double().mean()
    assert right.item() == pytest.approx(manifest["test_accuracy"], abs=0.004)
    assert manifest["data"]["checksum"] == digits.checksum
    features = network.features(digits.train)
    assert features.shape == (1297, extractor.FEATURES)
    torch.testing.assert_close(features.var(0), torch.ones(extractor.FEATURES), rtol=0.1, atol=0)


def test_features_of_other_images_and_missing_extractors_are_errors():
    network, _ = extractor.load("digits-cnn")
    with pytest.raises(ValueError, match=r"takes images \(N, 1, 8, 8\), received \(4, 1, 9, 9\)"):
        network.features(torch.rand(4, 1, 9, 9))
    with pytest.raises(FileNotFoundError, match=r"stored are .*digits-cnn.*python -m"):
        extractor.load("imagenet-cnn")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda x: 255 * x,
            r"images must have values in \[0, 1\], received \[0, 255\]: .* x / 255",
        ),
        (lambda x: 2 * x - 1, r"received \[-1, 1\]: .* in \[-1, 1\] \(x \+ 1\) / 2"),
        (lambda x: x.clone().index_fill(0, torch.tensor([1400]), 1.01), r"received \[0, 1.01\]"),
        (lambda x: (255 * x).byte(), r"floating-point tensor, received shape .* of torch.uint8"),
        (lambda x: x.numpy(), "received numpy.ndarray: take torch.as_tensor"),
    ],
)
def test_images_of_another_range_or_type_have_no_features(change, told):
    digits = datasets.load("digits")
    images = torch.cat([digits.train, digits.test])
    network, _ = extractor.load("digits-cnn")
    with pytest.raises(ValueError, match=told):
        RandomConvolutions(change(images))
    for each in (network, RandomConvolutions(digits.train)):
        assert torch.equal(each.features(digits.test.double()), each.features(digits.test))
        with pytest.raises(ValueError, match=told):
            each.features(change(images))
        if isinstance(change(images), torch.Tensor):
            with pytest.raises(ValueError, match=told):
                frechet.fd(each, digits.test, change(images))


def test_extractor_can_be_trained_again(monkeypatch):
    monkeypatch.setitem(classifiers.RECIPES, "digits", classifiers.Recipe(3))
    network, manifest = classifiers.train(datasets.load("digits"))
    assert network.name == "digits-cnn"
    assert manifest["test_accuracy"] > 0.85


def test_fd_tells_noise_from_digits():
    digits = datasets.load("digits")
    network, _ = extractor.load("digits-cnn")
    real = frechet.fd(network, digits.test, digits.train)
    noise = frechet.fd(network, torch.rand(500, 1, 8, 8), digits.train)
    assert 20 * real < noise


def test_a_point_of_a_sweep_is_trained_measured_and_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    digits = datasets.load("digits")
    network, _ = extractor.load("digits-cnn")
    measure = functools.partial(quality.measure, extractor=network)
    point = Point("envae", {"samples": 2}, 3, Setting(epochs=2))
    outcome = runs.run(point, dataset=digits, measure=measure, experiment="try")
    record = records.load("try").iloc[0]
    assert record["seed"] == 3
    assert record["fd_generated"] == outcome.metrics["fd_generated"]
    assert len(outcome.history) == 2
    again = measure(outcome.vae, outcome.objective, digits, 3)
    assert {name: value for name, (value, _) in again.items()} == outcome.metrics


def test_points_that_are_recorded_are_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # in this process, which has this folder

    def measure(vae, objective, dataset, seed):
        return {"answer": (42.0, "none")}

    shared = {"dataset": datasets.load("digits"), "experiment": "try", "measure": measure}
    zero, one = runs.points([("l2", {})], (0, 1), Setting(epochs=1))
    first = runs.complete([zero], **shared)
    both = runs.complete([zero, one], **shared)
    assert both["done"].all()
    assert both["seed"].tolist() == [0, 1]
    assert (both["answer"] == 42).all()
    assert both["date"][0] == first["date"][0]
    written = {path.stem: path.stat().st_mtime_ns for path in tmp_path.glob("try/*.json")}
    runs.complete([one, zero], **shared)
    assert written == {path.stem: path.stat().st_mtime_ns for path in tmp_path.glob("try/*.json")}


def passes_images_on():
    """A linear model whose code is the image, and whose image is the code."""
    vae = networks.build("linear", (1, 8, 8), 64)
    with torch.no_grad():
        for layer in (vae.encoder.mean[1], vae.decoder[0]):
            layer.weight.copy_(torch.eye(64))
            layer.bias.zero_()
    return vae


def test_measure_knows_a_perfect_reconstruction():
    digits = datasets.load("digits")
    network, _ = extractor.load("digits-cnn")
    vae = passes_images_on()
    values = quality.measure(vae, objective("l2"), digits, 0, extractor=network)
    metrics = {name: value for name, (value, _) in values.items()}
    assert metrics["squared_error"] == pytest.approx(0, abs=1e-10)
    assert metrics["fd_reconstructed"] == pytest.approx(0, abs=1e-4)
    expected = 0.5 * digits.test.square().flatten(1).sum(1).mean().item()
    assert metrics["kl"] == pytest.approx(expected, rel=1e-5)  # posterior variance 1
    # Of a decoder without bounds it is that of its pictures as files would hold them.
    codes = torch.randn(1297, 64, generator=torch.Generator().manual_seed(0))
    pictures = codes.reshape(-1, 1, 8, 8).clamp(0, 1)
    expected = frechet.fd(network, pictures, digits.train)
    assert metrics["fd_generated"] == pytest.approx(expected, rel=1e-4)


def imports(code):
    """Whether code runs in a fresh interpreter, and what it said."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return result.returncode == 0, result.stdout + result.stderr


def test_operators_are_declared_only_where_torchvision_needs_them():
    """A bare import works exactly where nothing had to be declared, and with them it works."""
    bare, said = imports("import torchvision")
    assert bare or "torchvision::nms does not exist" in said
    fine, said = imports(
        "from envae._torchvision import _library\n"
        "import torchvision.transforms, pytorch_fid.fid_score\n"
        "print(_library is not None)"
    )
    assert fine, said
    assert said.split()[-1] == str(not bare)


def test_frechet_distance_agrees_with_pytorch_fids():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 300, 12, generator=generator, dtype=torch.float64)
    second = second @ torch.randn(12, 12, generator=generator, dtype=torch.float64) + 1
    moments = [(x.numpy().mean(0), np.cov(x.numpy(), rowvar=False)) for x in (first, second)]
    expected = calculate_frechet_distance(*moments[0], *moments[1])
    assert frechet.frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)


def test_moments_do_not_depend_on_the_batches_and_are_those_of_numpy():
    network, _ = extractor.load("digits-cnn")
    images = datasets.load("digits").test + 0.0
    whole = frechet.moments(network, [images])
    parts = frechet.moments(network, images.split(37))
    features = network.features(images).double().numpy()
    for found in (whole, parts):
        np.testing.assert_allclose(found.mean, features.mean(0), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found.covariance, np.cov(features.T), rtol=1e-4, atol=1e-6)
    assert whole.count == parts.count == len(images)
    with pytest.raises(ValueError, match="at least 2 images, received 1"):
        frechet.moments(network, [images[:1]])


def test_reference_is_computed_once_for_the_same_images_and_network(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    network, _ = extractor.load("digits-cnn")
    images = datasets.load("digits").test
    first = frechet.reference(network, images)
    with monkeypatch.context() as patch:
        patch.setattr(frechet, "moments", None)  # not called again
        again = frechet.reference(network, images.clone())
    torch.testing.assert_close(again.covariance, first.covariance, rtol=0, atol=0)
    assert again.count == first.count == 500
    frechet.reference(network, 0.999 * images)
    with torch.no_grad():
        network.body[0].bias += 1
    frechet.reference(network, images)
    assert len(list(tmp_path.glob("envae/moments/*.safetensors"))) == 3


def test_columns_of_the_tables_are_measured_where_they_are_asked_for():
    digits = datasets.load("digits").subset(400)
    network, _ = extractor.load("digits-cnn")
    vae = networks.build("mlp", (1, 8, 8), 4, seed=0)
    values = quality.measure(
        vae, objective("l2"), digits, 0, extractor=network, against="test", samples=100,
        priors=["gmm10"], interpolate=True, likelihood_draws=5,
    )  # fmt: skip
    expected = {"generated", "gmm10", "midpoint", "random_ratio"}
    assert {f"fd_{name}" for name in expected} < set(values)
    assert values["fd_gmm10"][1] == "FD (digits-cnn), 100 samples against the test split"
    assert values["nll"][1].endswith("upper bound, 5 draws for each of 100 test images")
    # At best -ln of a density of variance 1 in 64 dimensions, exact with its image.
    assert values["nll"][0] > 32 * np.log(2 * np.pi)
    with pytest.raises(ValueError, match=r"unknown prior 'gmm1'.*gmm10"):
        quality.measure(vae, objective("l2"), digits, 0, extractor=network, priors=["gmm1"])


def test_a_mixture_finds_the_codes_that_the_standard_normal_prior_misses():
    """The decoder passes codes on; those of the training images lie far from zero."""
    digits = datasets.load("digits")
    network, _ = extractor.load("digits-cnn")
    vae = passes_images_on()
    values = quality.measure(vae, objective("ae"), digits, 0, extractor=network, priors=["gmm10"])
    assert 5 * values["fd_gmm10"][0] < values["fd_generated"][0]
    assert not {"kl", "squared_error_draw", "fd_reconstructed_draw"} & set(values)


def test_an_inception_score_is_measured_where_there_are_class_probabilities():
    digits = datasets.load("digits").subset(100)
    network, _ = extractor.load("digits-cnn")
    network.probabilities = lambda images: network(images).softmax(1)
    vae = networks.build("mlp", (1, 8, 8), 4, seed=0)
    score, unit = quality.measure(vae, objective("l2"), digits, 0, extractor=network)[
        "is_generated"
    ]
    assert 1 <= score <= 10  # between one class and all ten
    assert unit == "IS by digits-cnn"


def test_without_an_extractor_there_are_errors_and_no_distances():
    digits = datasets.load("digits")
    vae = networks.build("mlp", (1, 8, 8), 4, seed=0)
    values = quality.measure(vae, objective("iso_d"), digits, 0, extractor=None, likelihood_draws=5)
    assert set(values) == {"squared_error", "squared_error_draw", "kl"}  # iso_d has no density


def test_a_measure_refuses_numbers_out_of_range_and_hides_no_mistake(monkeypatch):
    digits = datasets.load("digits").subset(100)
    vae, loss = networks.build("mlp", (1, 8, 8), 2, seed=0), objective("l2")
    measure = functools.partial(quality.measure, vae, loss, digits, 0, extractor=None)
    with pytest.raises(ValueError, match=r"likelihood_draws must be an integer from 0 up.* -3"):
        measure(likelihood_draws=-3)
    with pytest.raises(ValueError, match="samples must be an integer from 2 up, received 0"):
        measure(samples=0)
    with pytest.raises(ValueError, match="unknown split 'validation'"):
        measure(against="validation")
    assert "nll" in measure(likelihood_draws=2)
    assert "nll" not in quality.measure(
        vae, objective("envae"), digits, 0, extractor=None, likelihood_draws=2
    )

    def mistaken(*_, **__):
        raise ValueError("a mistake of ours")

    monkeypatch.setattr(loss, "density", mistaken)
    with pytest.raises(ValueError, match="a mistake of ours"):
        measure(likelihood_draws=2)


def test_a_singular_covariance_has_a_distance_too():
    """Features that lie in a plane, where there is no Cholesky factor."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 300, 3, generator=generator, dtype=torch.float64)
    inside = frechet.frechet_distance(first, second)
    padded = [torch.nn.functional.pad(features, (0, 4)) for features in (first, second)]
    assert frechet.frechet_distance(*padded) == pytest.approx(inside, abs=1e-9)
    turned = torch.linalg.qr(torch.randn(7, 7, generator=generator, dtype=torch.float64)).Q
    assert frechet.frechet_distance(*[features @ turned for features in padded]) == pytest.approx(
        inside, abs=1e-6
    )
