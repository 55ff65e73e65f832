"""The decoders to play with decode as what was trained; the picture of the front page."""

import base64
import json

import numpy as np
import pytest
import torch
from book_scripts import BOOK, script

from envae import networks

STATIC = BOOK / "_static"


@pytest.fixture(scope="module")
def decoders():
    return script("decoders")


def test_front_picture_has_samples_of_every_row_at_both_scales():
    cells = script("front").cells()
    assert len(cells) == 5
    for groups in cells.values():
        assert [images.shape[1:] for images in groups.values()] == [(1, 28, 28), (3, 32, 32)]
        assert all(len(images) >= 6 for images in groups.values())


def test_weights_of_eight_bits_decode_as_torch_does_up_to_their_steps(decoders):
    vae = networks.build("mlp64", (1, 8, 8), 2, seed=0)
    codes = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    layers, weights = decoders.packed(vae)
    start = 0
    with torch.no_grad():
        exact = vae.decode(codes).flatten(1).numpy()
        # The same network with the weights that were stored, decoded by torch in double precision.
        linear = [module for module in vae.decoder if hasattr(module, "weight")]
        for layer, stored in zip(linear, layers, strict=True):
            size = layer.weight.numel()
            integers = np.frombuffer(weights, np.int8, size, start).reshape(layer.weight.shape)
            rounded = stored["step"] * integers.astype(float)
            assert np.abs(rounded - layer.weight.numpy()).max() <= 0.501 * stored["step"]
            layer.weight.copy_(torch.from_numpy(rounded))
            layer.bias.copy_(torch.tensor(stored["bias"]))
            start += size
        stored_weights = vae.double().decode(codes.double()).flatten(1).numpy()
    assert start == len(weights)
    found = decoders.decoded(layers, weights, codes.numpy())
    np.testing.assert_allclose(found, stored_weights, atol=1e-6)
    np.testing.assert_allclose(found, exact, atol=0.01)


def test_the_stored_decoders_are_those_that_were_trained(decoders):
    content, weights = decoders.read(STATIC / "decoders.js")
    told = json.loads((STATIC / "decoders.json").read_text())
    assert (STATIC / "decoders.js").stat().st_size < 900_000
    assert len(weights) == told["weights"]
    assert len(base64.b64decode(content["images"])) == 10 * 28 * 28
    assert list(content["models"]) == list(decoders.ROWS) == list(told["rows"])
    start = 0
    for name, model in content["models"].items():
        size = sum(layer["inputs"] * layer["outputs"] for layer in model["layers"])
        own, start = weights[start : start + size], start + size
        found = decoders.decoded(model["layers"], own, np.array(model["means"][:1]))[0]
        torchs = np.frombuffer(base64.b64decode(told["rows"][name]["first"]), np.uint8) / 255
        allowed = told["rows"][name]["quantization_error"]["largest"] + 0.5 / 255
        assert np.abs(found - torchs).max() <= allowed + 1e-6, name
        assert np.ptp(torchs) > 0.5, name  # an image, and not a grey plane
    assert start == len(weights)


def test_the_stored_decoders_say_what_they_were_trained_with(decoders):
    rows = json.loads((STATIC / "decoders.json").read_text())["rows"]
    for name, point in decoders.ROWS.items():
        expected = json.loads(json.dumps(point.parameters("mnist")))
        assert {key: rows[name][key] for key in expected} == expected
