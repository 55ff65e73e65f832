"""The classifiers whose features are stored: what they are trained on, and what is stored."""

import json
import runpy
import sys
from types import SimpleNamespace

import pytest
import torch

from envae import datasets
from envae.experiments import classifiers, records
from envae.experiments.classifiers import Recipe
from envae.metrics import extractor


@pytest.fixture
def colours():
    """Images of noise, no two alike, under the name of the data set in colour.

    The test split is of one class: by its accuracy the splits cannot be taken for each other.
    """
    images = torch.rand(80, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(80) % 10
    labels[60:] = 3
    return datasets.Dataset("cifar10-jpeg", images[:60], labels[:60], images[60:], labels[60:], "")


def each(images):
    return {image.numpy().tobytes() for image in images}


def test_the_classifier_in_colour_sees_no_image_that_a_row_is_trained_on(colours, monkeypatch):
    recipe = Recipe(1, batch_size=20, one_cycle=True, augmented=True, left_out=25)
    monkeypatch.setitem(classifiers.RECIPES, "cifar10-jpeg", recipe)
    seen, augmented = set(), classifiers.augmented
    monkeypatch.setattr(
        classifiers, "augmented", lambda images: seen.update(each(images)) or augmented(images)
    )
    network, manifest = classifiers.train(colours)
    rows = each(colours.subset(25).train)
    assert (len(rows), len(seen)) == (25, 35)
    assert not seen & (rows | each(colours.test))
    assert network.name == "cifar10-cnn"
    assert manifest["data"]["name"] == "cifar10-jpeg-without-25"
    assert (manifest["data"]["train"], manifest["data"]["test"]) == (35, 20)
    assert manifest["training"]["left_out"] == 25


def test_the_stored_classifier_in_colour_left_the_images_of_the_rows_out():
    network, manifest = extractor.load("cifar10-cnn")
    assert manifest["data"]["name"] == "cifar10-jpeg-without-10000"
    assert (manifest["data"]["train"], manifest["data"]["test"]) == (40_000, 10_000)
    assert manifest["test_accuracy"] > 0.75
    features = network.features(torch.rand(3, 3, 32, 32))
    assert features.shape == (3, extractor.FEATURES)


@pytest.mark.parametrize("name", classifiers.RECIPES)
def test_stored_classifiers_are_of_their_recipes(name):
    """Manifests that are older than an option lack it where it had its default."""
    recipe = classifiers.RECIPES[name]
    _, manifest = extractor.load(extractor.name_for(name))
    kept = manifest["training"]
    older = {"one_cycle": False, "augmented": False, "left_out": 0}
    assert older | kept == vars(recipe) | {"seed": classifiers._SEED}


def test_half_of_the_images_are_mirrored_and_all_are_shifted():
    """Of a ramp, the slope tells the mirror and the middle tells the shift."""
    across = torch.arange(32.0).expand(3, 32, 32)
    images = torch.stack([across, across.mT]).repeat(500, 1, 1, 1)
    torch.manual_seed(0)
    changed = classifiers.augmented(images)
    assert changed.shape == images.shape
    middle = changed[:, :, 12:20, 12:20]
    slopes, down = middle[0::2].diff(dim=3), middle[1::2]
    assert set(slopes.unique().tolist()) == {-1.0, 1.0}
    assert (slopes[:, 0, 0, 0] < 0).double().mean() == pytest.approx(0.5, abs=0.1)
    assert (down.diff(dim=2) == 1).all()
    assert (changed[0::2].diff(dim=3).abs() == 1).all()  # from outside comes the border's mirror
    shifts = down[:, 0, 0, 0] - 12
    assert set(shifts.tolist()) == set(range(-4, 5))


@pytest.mark.parametrize("one_cycle", [True, False])
def test_a_classifier_is_trained_by_its_recipe_and_by_its_own_seed(colours, monkeypatch, one_cycle):
    recipe = Recipe(
        2, batch_size=25, lr=1e-3, weight_decay=0.3, one_cycle=one_cycle, augmented=True
    )
    monkeypatch.setitem(classifiers.RECIPES, "cifar10-jpeg", recipe)
    groups, batches, augmented = [], [], classifiers.augmented

    class Watched(torch.optim.AdamW):
        def step(self, *args):
            groups.extend(dict(group) for group in self.param_groups)
            return super().step(*args)

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    monkeypatch.setattr(
        classifiers, "augmented", lambda images: batches.append(images) or augmented(images)
    )
    followed, entropy = [], classifiers.cross_entropy
    monkeypatch.setattr(
        classifiers, "cross_entropy",
        lambda scores, labels: followed.append(labels) or entropy(scores, labels),
    )  # fmt: skip
    seeds, seeded = [], classifiers.seeded
    monkeypatch.setattr(classifiers, "seeded", lambda seed: seeds.append(seed) or seeded(seed))
    torch.manual_seed(1)
    network, manifest = classifiers.train(colours)
    assert seeds == [manifest["training"]["seed"]]
    assert {group["weight_decay"] for group in groups} == {0.3}
    rates = [group["lr"] for group in groups]
    assert rates[0] < max(rates) > 1e5 * rates[-1] if one_cycle else set(rates) == {1e-3}
    assert [len(batch) for batch in batches] == [25, 25, 10] * 2
    first, second = torch.cat(batches[:3]), torch.cat(batches[3:])
    assert each(first) == each(second) == each(colours.train)
    label_of = dict(zip(map(bytes, colours.train.numpy()), colours.train_labels, strict=True))
    assert torch.cat(followed).tolist() == [
        label_of[bytes(image)] for image in torch.cat(batches).numpy()
    ]
    assert not torch.equal(first, second)
    assert not torch.equal(first, colours.train)
    assert not network.training
    with torch.no_grad():
        right = network(colours.test).argmax(1) == colours.test_labels
    assert manifest["test_accuracy"] == right.double().mean().item()
    torch.manual_seed(2)
    again, _ = classifiers.train(colours)
    assert all(map(torch.equal, again.state_dict().values(), network.state_dict().values()))


def test_a_classifier_is_trained_as_by_a_loop_of_ones_own(colours, monkeypatch):
    recipe = Recipe(2, batch_size=25, lr=3e-3, weight_decay=0.3)
    monkeypatch.setitem(classifiers.RECIPES, "cifar10-jpeg", recipe)
    found, _ = classifiers.train(colours)
    torch.manual_seed(classifiers._SEED)
    network = extractor.Extractor("cifar10-cnn", (3, 32, 32), 10)
    adam = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.3)
    for part in (part for _ in range(2) for part in torch.randperm(60).split(25)):
        scores = network(colours.train[part])
        loss = torch.nn.functional.cross_entropy(scores, colours.train_labels[part])
        for weight, gradient in zip(
            network.parameters(), torch.autograd.grad(loss, [*network.parameters()]), strict=True
        ):
            weight.grad = gradient
        adam.step()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value)


def test_other_data_sets_have_no_recipe(colours):
    with pytest.raises(ValueError, match="trained on digits, mnist, cifar10-jpeg, received cifar1"):
        classifiers.train(colours.subset(5))


def test_a_manifest_says_what_was_trained_on_what(colours, monkeypatch):
    """Nothing is trained: a recipe without an epoch."""
    recipe = Recipe(0, batch_size=7, lr=0.3, weight_decay=0.2, left_out=25)
    monkeypatch.setitem(classifiers.RECIPES, "cifar10-jpeg", recipe)
    clock = SimpleNamespace(perf_counter=iter([10.0, 12.34]).__next__)
    monkeypatch.setattr(classifiers, "time", clock)
    _, manifest = classifiers.train(colours)
    seen = colours.left_out(25)
    expected = {
        "name": "cifar10-cnn", "image_shape": [3, 32, 32], "classes": 10, "features": 32,
        "training": {"epochs": 0, "batch_size": 7, "lr": 0.3, "weight_decay": 0.2,
                     "one_cycle": False, "augmented": False, "left_out": 25, "seed": 0},
        "data": {"name": "cifar10-jpeg-without-25", "checksum": seen.checksum, "train": 35,
                 "test": 20},
        "seconds": 2.3,
    }  # fmt: skip
    assert {name: manifest[name] for name in expected} == expected
    assert records.manifest().keys() <= manifest.keys()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the module is imported already
def test_the_module_is_a_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["classifiers", "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("envae.experiments.classifiers", run_name="__main__")
    assert "usage" in capsys.readouterr().out


def test_the_command_trains_on_a_data_set_with_a_recipe_and_stores_what_it_got(
    colours, monkeypatch, capsys
):
    trained = []
    monkeypatch.setattr(datasets, "load", lambda name: (name, colours))
    monkeypatch.setattr(
        classifiers, "train", lambda data: trained.append(data) or ("it", {"test_accuracy": 0.9876})
    )
    monkeypatch.setattr(classifiers, "store", lambda *it: f"weights of {it[0]}")
    classifiers.main(["cifar10-jpeg"])
    assert trained == [("cifar10-jpeg", colours)]
    assert capsys.readouterr().out == "weights of it: test accuracy 0.988\n"
    with pytest.raises(SystemExit, match="2"):
        classifiers.main(["celeba64"])
    assert "invalid choice: 'celeba64'" in capsys.readouterr().err


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Weights and manifest of an extractor for the digits, in a checkout of the test's own."""
    network, manifest = extractor.load("digits-cnn")
    monkeypatch.setattr("envae._checkout.root", lambda: tmp_path)
    extractor.store(network, manifest)
    return extractor.files("digits-cnn")


def test_an_extractor_that_was_stored_is_loaded_with_its_manifest(stored):
    weights, description = stored
    assert sorted(path.name for path in weights.parent.iterdir()) == [
        description.name, weights.name
    ]  # fmt: skip
    first, manifest = extractor.load("digits-cnn")
    extractor.store(first, manifest)
    again, same = extractor.load("digits-cnn")
    assert same == manifest
    assert all(map(torch.equal, again.state_dict().values(), first.state_dict().values()))


def test_one_wrong_bit_of_the_weights_is_an_error_that_names_the_file(stored):
    weights, _ = stored
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in (content, content[:-100], b""):
        weights.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"digits-cnn\.safetensors \(\d+ bytes\) is truncated"):
            extractor.load("digits-cnn")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"classes": 10}', '{"image_shape": 8}'])
def test_a_manifest_that_is_none_is_an_error_that_names_the_file(stored, content):
    _, description = stored
    description.write_text(content)
    with pytest.raises(ValueError, match=r"digits-cnn\.json is no manifest .*classifiers digits"):
        extractor.load("digits-cnn")


@pytest.mark.parametrize("change", [{"image_shape": [3, 32, 32]}, {"classes": 11}])
def test_weights_for_other_images_are_one_line(stored, change):
    _, description = stored
    description.write_text(json.dumps(json.loads(description.read_text()) | change))
    with pytest.raises(
        ValueError, match=r"digits-cnn\.safetensors does not hold weights for"
    ) as told:
        extractor.load("digits-cnn")
    assert "\n" not in str(told.value)
