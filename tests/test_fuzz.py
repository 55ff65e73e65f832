"""What strangers feed in, made up by Hypothesis: one line that names it, or the right value.

A few examples in the suite; for an hour of them, ENVAE_FUZZ=100000 pytest tests/test_fuzz.py
"""

import io
import json
import os
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from PIL import Image

from envae import datasets, scores
from envae.companion import notebook_parameters
from envae.datasets import _images
from envae.experiments import records, runs

EXAMPLES = int(os.environ.get("ENVAE_FUZZ", 15))
fuzzed = hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="ENVAE_FUZZ" not in os.environ,  # the suite tries the same ones every time
    database=None,
    suppress_health_check=list(HealthCheck),  # a folder of the test's own serves all examples
)


@contextmanager
def read_or_refused(*names):
    """What cannot be read is refused in one line that has the names."""
    told = None
    try:
        yield
    except ValueError as error:
        told = str(error)
    assert told is None or ("\n" not in told and all(name in told for name in names)), told


# --- parameters of a notebook -----------------------------------------------------------------

ANNOTATIONS = ("int", "float", "bool", "str", "list", "list[int]", "list[str]", "list[float]",
               "int | None", "float | str", "list[int] | None")  # fmt: skip
NAMES = ("epochs", "seeds", "lr", "root", "x")
LINES = st.one_of(
    st.text(max_size=30),
    st.builds(
        "{}: {} = {}{}".format,
        st.sampled_from((*NAMES, "1", "a.b", "a[0]", "(x)", "é")),
        st.sampled_from((*ANNOTATIONS, "dict", "list[", "open('x')", "int or x")),
        st.one_of(
            st.integers().map(repr), st.floats().map(repr), st.text(max_size=9).map(repr),
            st.sampled_from(("None", "[1, 'a']", "exit()", "[", "-1", "{}", "9" * 5000, "(" * 300)),
        ),
        st.sampled_from(("", "  # words", "; y = 1", "\\", "\0")),
    ),
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=20),
    st.text("[]{},:'\"-+.0123456789eE_naift #&*!|>%@`\n", max_size=20),
    st.sampled_from(("9" * 5000, "[" * 400, "1e999", "&a [*a]", "[&a *a]", "!!python/name:os")),
    st.integers().map(str),
    st.floats().map(str),
)


@fuzzed
@given(st.lists(LINES, max_size=3).map("\n".join))
def test_a_parameters_cell_is_read_or_refused(source):
    with read_or_refused("parameters cell"):
        for name, parameter in notebook_parameters.declared(source).items():
            assert parameter.name == name


@fuzzed
@given(st.sampled_from(NAMES), st.sampled_from(ANNOTATIONS), TEXTS)
def test_a_text_for_a_parameter_is_parsed_to_its_type_or_refused(name, annotation, text):
    parameter = notebook_parameters.declared(f"{name}: {annotation} = 1")[name]
    with read_or_refused(f"{name} takes {annotation}"):
        value = parameter.parse(text)
        assert parameter.check(value) == value  # as a profile would have it


@fuzzed
@given(st.sampled_from(ANNOTATIONS), st.data())
def test_what_a_parameter_can_be_is_parsed_back(annotation, data):
    parameter = notebook_parameters.declared(f"x: {annotation} = 1")["x"]
    numbers = {
        "int": st.integers(1 - 2**63, 2**63 - 1),
        "float": st.floats(allow_nan=False, allow_infinity=False),
    }
    items = numbers | {"str": st.text("abc -.", min_size=1), "bool": st.booleans()}
    kind = annotation.partition(" ")[0]
    if kind.startswith("list"):
        value = data.draw(st.lists(items[kind[5:-1] or "str"], min_size=1))
        text = json.dumps(value)
    else:
        value = data.draw(items[kind])
        text = str(value)
    assert parameter.parse(text) == value


# --- records ----------------------------------------------------------------------------------

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
PARTS = ("experiment", "parameters", "metrics", "units", "curves", "manifest")


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A record in a folder of the test's own."""
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    curves = {"total": [2.0, 1.0]}
    return records.save("fuzz", {"seed": 1, "options": {"a": 1}}, {"loss": 0.5}, curves=curves)


def read(path):
    for reader in (records.load, lambda name: records.curves(name, path.stem), runs.failures):
        with read_or_refused(str(path.parent)):
            reader("fuzz")


@fuzzed
@given(st.data())
def test_a_record_with_other_parts_is_read_or_named(recorded, data):
    whole = recorded.read_bytes()
    content = json.loads(whole)
    for part in data.draw(st.sets(st.sampled_from(PARTS), min_size=1)):
        content[part] = data.draw(JSON)
    recorded.write_text(json.dumps(data.draw(st.one_of(st.just(content), JSON))))
    failure = recorded.with_suffix(".failed")
    failure.write_bytes(recorded.read_bytes())
    read(recorded)
    failure.unlink()
    recorded.write_bytes(whole)


def damaged(data, whole):
    """Some bytes changed, and the end cut off."""
    changed = bytearray(whole)
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        changed[place] = data.draw(st.integers(0, 255))
    return bytes(
        changed[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else changed
    )


@fuzzed
@given(st.data())
def test_a_damaged_record_is_read_or_named(recorded, data):
    whole = recorded.read_bytes()
    recorded.write_bytes(damaged(data, whole))
    recorded.with_suffix(".failed").write_bytes(recorded.read_bytes())
    read(recorded)
    recorded.write_bytes(whole)


@fuzzed
@given(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans()),
    st.dictionaries(st.text("ab", min_size=1), st.floats(allow_nan=False, allow_infinity=False)),
)
def test_a_record_holds_what_was_saved(recorded, parameters, metrics):
    if {*parameters} & {*metrics, "done", "key", *records._ORIGIN}:
        with pytest.raises(ValueError, match="names of their own"):
            records.save("saved", parameters, metrics)
        return
    path = records.save("saved", parameters, metrics)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["parameters"], content["metrics"]) == (parameters, metrics)
    [found] = records.load("saved", [parameters]).to_dict("records")
    assert found["done"]
    path.unlink()


# --- images -----------------------------------------------------------------------------------

FORMATS = {"png": "RGB", "jpeg": "RGB", "tiff": "L", "webp": "RGBA", "bmp": "P", "ppm": "RGB"}


@fuzzed
@given(st.sampled_from(tuple(FORMATS)), st.data())
def test_a_damaged_image_is_read_or_named(kind, data):
    content = io.BytesIO()
    Image.linear_gradient("L").resize((9, 7)).convert(FORMATS[kind]).save(content, kind)
    name = f"a.{kind}"
    with read_or_refused(name):
        assert _images.decode([(name, damaged(data, content.getvalue()))], 5).shape == (1, 3, 5, 5)


def as_seen(pixels, mode, hidden):
    """Values in [0, 1] on white paper, float64, `(H, W, 3)`."""
    if mode == "I;16":
        levels = np.where(pixels == hidden, 65535, pixels) / 65535
        return np.repeat(levels[..., None], 3, 2)
    values = pixels.reshape(*pixels.shape[:2], -1) / 255
    colours = values[..., : 3 if mode.startswith("RGB") else 1]
    alpha = values[..., -1:] if mode.endswith("A") else 1.0
    return np.broadcast_to(alpha * colours + (1 - alpha), (*pixels.shape[:2], 3))


@fuzzed
@given(
    st.sampled_from(("L", "LA", "RGB", "RGBA", "I;16")),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
)
def test_pixels_are_those_of_the_file(mode, side, seed):
    random = np.random.default_rng(seed)
    levels, kind = (2**16, np.uint16) if mode == "I;16" else (2**8, np.uint8)
    shape = (side, side) if mode in ("L", "I;16") else (side, side, len(mode))
    pixels = random.integers(levels, size=shape, dtype=kind)
    hidden = int(pixels.flat[0]) if mode == "I;16" and seed % 2 else None
    content = io.BytesIO()
    told = {} if hidden is None else {"transparency": hidden}
    Image.fromarray(pixels).save(content, "png", **told)
    found = _images.read([("a.png", content.getvalue())], side)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, as_seen(pixels, mode, hidden), atol=1.01 / 255)


@fuzzed
@given(
    st.sets(
        st.builds(
            "{}{}{}".format,
            st.sampled_from(
                ("", "train/", "test/", "val/", "Train/", "a/", "b/c/", "__MACOSX/", ".x/")
            ),
            st.sampled_from(("1", "2", "é", "._3", "a b")),
            st.sampled_from((".png", ".PNG", ".txt", "")),
        ),
        max_size=6,
    )
)
def test_a_folder_is_split_or_named(tmp_path, names):
    folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    for level, name in enumerate(sorted(names)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 20 * level).save(folder / name, "png")
    with read_or_refused(str(folder)):
        found = datasets.load("imagefolder", root=str(folder), size=4)
        together = torch.cat([found.train, found.test])
        levels = together.mul(255 / 20).round()[:, 0, 0, 0].long().tolist()
        assert len(set(levels)) == len(levels)  # no image is in both
        seen = {sorted(names)[level] for level in levels}
        assert all(Path(name).suffix.lower() == ".png" for name in seen)
        assert not any("__MACOSX" in name or "/." in f"/{name}" for name in seen)


# --- scores -----------------------------------------------------------------------------------


@st.composite
def forecasts(draw):
    """Samples and images in float32: of many sizes, far from the origin, equal to each other."""
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    count, batch = draw(st.integers(2, 5)), draw(st.integers(1, 3))
    event = draw(st.sampled_from(((), (1,), (7,), (2, 3))))
    scale, spread, offset = (draw(st.sampled_from((1e-6, 1e-3, 1.0, 1e3))) for _ in range(3))
    samples = torch.randn(count, batch, *event, generator=random) * spread
    x = torch.randn(batch, *event, generator=random) * scale
    if draw(st.booleans()):
        samples[1] = samples[0]
    if draw(st.booleans()):
        samples[0] = x
    return samples + offset, x + offset


def direct(samples, x, beta):
    """Eq. 3 of xu2025 from all differences."""
    count = len(samples)
    pairs = [(i, j) for i in range(count) for j in range(i)]
    to_x = scores.norm_power(samples - x, beta, axes=2).mean(0)
    between = sum(scores.norm_power(samples[i] - samples[j], beta) for i, j in pairs)
    return to_x - between / (count * (count - 1))


@fuzzed
@given(forecasts(), st.sampled_from((0.3, 1.0, 1.5, 2.0)), st.sampled_from((0, 10**9)))
def test_the_energy_score_and_its_gradient_are_those_of_differences(forecast, beta, few):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "_FEW", few)  # the way by products, and that by differences
        leaves = [each.requires_grad_() for each in forecast]
        score = scores.energy_score(*leaves, beta=beta)
        found = torch.autograd.grad(score.sum(), leaves)
    exact = [each.detach().double().requires_grad_() for each in forecast]
    expected = direct(*exact, beta)
    # Errors are relative to the terms, which may cancel.
    to_x = scores.norm_power(exact[0] - exact[1], beta, axes=2).mean(0)
    assert ((score - expected).abs() <= 1e-5 * (to_x + expected.abs()) + 1e-30).all()
    size = torch.autograd.grad(to_x.sum(), exact, retain_graph=True)[0].abs().max().item()
    for one, other in zip(found, torch.autograd.grad(expected.sum(), exact), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-2, atol=1e-3 * size + 1e-30)


@fuzzed
@given(forecasts())
def test_the_crps_is_that_of_differences(forecast):
    samples, x = (each.double() for each in forecast)
    pairs = (samples[:, None] - samples).abs().sum((0, 1)) / (2 * len(samples) * (len(samples) - 1))
    size = (samples - x).abs().mean(0)
    error = (scores.crps(*forecast) - (size - pairs)).abs()
    assert (error <= 1e-5 * (size + samples.abs().max())).all()
