"""Pictures of a run: what is drawn, that it is kept without loss, and what is refused."""

import dataclasses

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from envae import _checkout, datasets, networks
from envae.evaluation import encode
from envae.experiments import kept_pictures, records, runs
from envae.experiments.runs import Point, Setting
from envae.objectives import objective
from envae.vae import gaussian

DIGITS = datasets.load("digits").subset(150)
KEPT = sorted((_checkout.root() / "data" / "runs").glob("*/*.png"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    return tmp_path


def built(name="l2", **options):
    loss = objective(name, **options)
    return networks.build("mlp", (1, 8, 8), 4, objective=loss, seed=0).eval(), loss


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


# --- drawn ------------------------------------------------------------------------------------


def test_what_is_drawn_is_what_the_model_decodes():
    vae, loss = built()
    drawn = kept_pictures.draw(vae, loss, DIGITS, 3)
    shapes = {kind: tuple(images.shape) for kind, images in drawn.items()}
    assert shapes == {
        "prior": (60, 1, 8, 8), "gmm10": (20, 1, 8, 8), "test": (30, 1, 8, 8),
        "means": (30, 1, 8, 8), "walk": (3, 9, 1, 8, 8), "draws": (2, 30, 1, 8, 8),
        "spread": (30, 1, 8, 8),
    }  # fmt: skip
    assert {images.dtype for images in drawn.values()} == {torch.uint8}
    with torch.no_grad():
        means = encode(vae, DIGITS.test[:30]).mean
        middle = vae.decode((means[1] + means[9])[None] / 2)[0]
        decoded = vae.decode(means)

    def apart(kept, images):
        return (kept.float() - 255 * images).abs().max().item()

    assert apart(drawn["means"], decoded) <= 0.51
    assert apart(drawn["test"], DIGITS.test[:30]) <= 0.51
    assert apart(drawn["walk"][1, 4], middle) <= 0.51
    assert apart(drawn["walk"][:, 0], decoded[:3]) <= 0.51
    assert apart(drawn["walk"][:, -1], decoded[8:11]) <= 0.51


def test_pictures_of_a_sorted_set_show_all_of_its_classes():
    order = DIGITS.test_labels.sort(stable=True).indices
    by_class = dataclasses.replace(
        DIGITS, test=DIGITS.test[order], test_labels=DIGITS.test_labels[order]
    )
    test = kept_pictures.draw(*built(), by_class, 0)["test"].float() / 255
    apart = (test[:, None] - by_class.test[None]).abs().amax((2, 3, 4))
    assert set(by_class.test_labels[apart.argmin(1)].tolist()) == set(range(10))


def test_the_seed_decides_what_is_drawn():
    first, again, other = (kept_pictures.draw(*built(), DIGITS, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[kind], again[kind]) for kind in first)
    for kind in ("prior", "gmm10", "draws", "spread"):
        assert not torch.equal(first[kind], other[kind])


@pytest.mark.parametrize(("name", "stddev"), [("l2", 3.0), ("ae", 0.0)])
def test_the_mixture_is_fitted_to_codes_as_they_are_drawn(name, stddev):
    """Draws of posteriors of variance 9 I about a few pixels; of a model without draws, these."""
    vae, loss = built(name)
    vae.encode = lambda x: gaussian(x[:, 0, 3, 2:6], torch.full((len(x), 4), 3.0))
    decoded, decode = [], vae.decode
    vae.decode = lambda codes: decoded.append(codes) or decode(codes)
    kept_pictures.draw(vae, loss, DIGITS, 0)
    prior, mixture = decoded[:2]
    assert prior.shape == (60, 4)
    assert mixture.shape == (20, 4)
    assert mixture.std().item() == pytest.approx(stddev, abs=0.6)


def test_a_model_that_draws_no_codes_has_no_draws():
    drawn = kept_pictures.draw(*built("ae"), DIGITS, 0)
    assert drawn.keys() == {"prior", "gmm10", "test", "means", "walk"}


def test_colour_takes_no_more_room_than_grey():
    images = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(40, dtype=torch.long)
    data = datasets.Dataset("colour", images, labels, images, labels, "")
    loss = objective("l2")
    vae = networks.build("conv", (3, 32, 32), 4, objective=loss, seed=0)
    drawn = kept_pictures.draw(vae, loss, data, 0)
    assert drawn["prior"].shape == (10, 3, 32, 32)
    assert drawn["draws"].shape == (1, 6, 3, 32, 32)
    assert drawn["walk"].shape == (1, 9, 3, 32, 32)
    assert vae.training


def test_too_few_images_and_values_that_are_no_numbers_are_errors():
    few = dataclasses.replace(DIGITS, test=DIGITS.test[:20])
    with pytest.raises(ValueError, match="30 test images are kept, received 20"):
        kept_pictures.draw(*built(), few, 0)
    vae, loss = built()
    vae.decode = lambda codes: torch.full((*codes.shape[:-1], 1, 8, 8), torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        kept_pictures.draw(vae, loss, DIGITS, 0)


# --- kept -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 5, 3), (3, 2, 7)])
def test_pictures_come_back_as_they_were(folder, shape):
    kept = {
        "walk": noise(2, 9, *shape),
        "prior": noise(41, *shape, seed=1),  # more than two rows
        "spread": noise(20, *shape, seed=2),  # a whole row
    }
    path = kept_pictures.save("try", {"seed": 1}, kept)
    key = records.key("try", {"seed": 1})
    assert [*folder.rglob("*.*")] == [path]
    assert path == folder / "try" / f"{key}.png"
    found = kept_pictures.load("try", key)
    assert list(found) == list(kept)
    torch.testing.assert_close(found["prior"], kept["prior"] / 255, rtol=0, atol=0)
    torch.testing.assert_close(found["walk"], kept["walk"] / 255, rtol=0, atol=0)
    torch.testing.assert_close(found["spread"], kept["spread"] / 510)
    with Image.open(path) as image:
        assert (image.info["experiment"], image.info["key"]) == ("try", key)
        first = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    first = first.reshape(*image.size[::-1], shape[0])[: shape[1], : shape[2]]
    assert torch.equal(first.permute(2, 0, 1), kept["walk"][0, 0])


@pytest.mark.parametrize(
    ("experiment", "pictures", "error", "message"),
    [
        ("try", {}, ValueError, "no pictures to keep"),
        ("try", {"posterior": noise(1, 1, 8, 8)}, ValueError, "unknown kind of picture"),
        ("try", {"prior": torch.rand(1, 1, 8, 8)}, TypeError, "bytes, received torch.float32"),
        ("try", {"prior": noise(1, 8, 8)}, ValueError, r"expected \(..., C, H, W\)"),
        ("try", {"prior": noise(0, 1, 8, 8)}, ValueError, r"received \(0, 1, 8, 8\)"),
        ("try", {"prior": noise(1, 2, 8, 8)}, ValueError, "have 1 or 3 channels"),
        (
            "try",
            {"prior": noise(1, 1, 8, 8), "test": noise(1, 1, 9, 8)},
            ValueError,
            "must be of one size",
        ),
        ("../try", {"prior": noise(1, 1, 8, 8)}, ValueError, "the name of a folder"),
    ],
)
def test_what_is_no_picture_is_refused(folder, experiment, pictures, error, message):
    with pytest.raises(error, match=message):
        kept_pictures.save(experiment, {}, pictures)
    assert not any(folder.iterdir())


def test_missing_pictures_say_how_they_are_kept(folder):
    with pytest.raises(
        FileNotFoundError, match=r"0123456789ab of 'try'.*`draw=kept_pictures.draw`"
    ):
        kept_pictures.load("try", "0123456789ab")


@pytest.mark.parametrize(
    ("experiment", "key", "message"),
    [("..", "0123456789ab", "name of a folder"), ("try", "../other/0123", "hexadecimal digits")],
)
def test_names_stay_in_the_folder(folder, experiment, key, message):
    with pytest.raises(ValueError, match=message):
        kept_pictures.load(experiment, key)


def rewritten(path, **changes):
    """The file again, other texts in it."""
    with Image.open(path) as image:
        image.load()
        text = PngInfo()
        for name, told in (image.info | changes).items():
            text.add_text(name, told)
        image.save(path, pnginfo=text)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-60]), ""),
        (lambda path: path.write_text("picture"), "cannot identify"),
        (lambda path: Image.new("L", (160, 8)).save(path), "'experiment'"),
        (lambda path: rewritten(path, key="ba9876543210"), "it belongs to try/ba9876543210"),
        (lambda path: rewritten(path, kinds='{"prior": [21]}'), ""),
        (lambda path: rewritten(path, kinds="{}"), "20 tiles where 0 are told"),
        (lambda path: rewritten(path, kinds='{"prior": 3}'), ""),
        (lambda path: rewritten(path, image="[3, 8, 8]"), "holds no images"),
        (lambda path: rewritten(path, image="[1, 8, 4]"), "holds no images"),
        (lambda path: rewritten(path, image="[1, 5, 8]"), ""),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_refused(folder, spoil, message):
    path = kept_pictures.save("try", {}, {"prior": noise(20, 1, 8, 8)})
    spoil(path)
    with pytest.raises(ValueError, match=rf"{path.stem}.png is not the whole picture.*{message}"):
        kept_pictures.load("try", path.stem)


# --- with runs --------------------------------------------------------------------------------


def constant(vae, minimized, dataset, seed):
    return {"answer": (42.0, "none")}


def fails_for_seed_1(vae, minimized, dataset, seed):
    if seed == 1:
        raise ValueError("no answer")
    return constant(vae, minimized, dataset, seed)


@pytest.mark.parametrize("network", ["mlp", "conv"])  # as a stack, and each by itself
def test_pictures_are_kept_with_the_runs_that_are_measured(folder, monkeypatch, network):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    points = [Point("l2", {}, seed, Setting(network, 4, epochs=1)) for seed in (0, 1)]
    found = runs.complete(
        points,
        dataset=DIGITS,
        experiment="try",
        measure=fails_for_seed_1,
        draw=kept_pictures.draw,
    )
    assert found["state"].tolist() == ["done", "failed"]
    assert [path.stem for path in folder.glob("try/*.png")] == [found["key"][0]]
    vae, minimized, _ = runs.train(points[0], DIGITS)
    expected = kept_pictures.draw(vae, minimized, DIGITS, 0)["means"]
    kept = 255 * kept_pictures.load("try", found["key"][0])["means"]
    assert (kept - expected.float()).abs().max() <= 2  # a stack's weights differ in the last digits


def test_a_run_whose_pictures_fail_has_its_record_and_tells_the_error(folder):
    def fails(*_):
        raise ValueError("no picture")

    points = [Point("l2", {}, 0, Setting(epochs=1))]
    shared = {"dataset": DIGITS, "experiment": "try", "measure": constant, "jobs": 1}
    [found] = runs.complete(points, draw=fails, **shared).to_dict("records")
    assert (found["state"], found["error"]) == ("done", "ValueError: no picture")
    assert sorted(path.suffix for path in folder.glob("try/*")) == [".failed", ".json"]
    assert runs.failures("try").empty
    # It is not run again; without its record, it is, and the error goes.
    [path] = folder.glob("try/*.json")
    assert runs.complete(points, draw=fails, **shared)["done"].tolist() == [True]
    path.unlink()
    [again] = runs.complete(points, draw=lambda *_: {}, **shared).to_dict("records")
    assert (again["state"], again["error"]) == ("done", "")
    assert [*folder.glob("try/*")] == [path]


@pytest.mark.parametrize("fails", [True, False])
def test_pictures_of_an_older_run_do_not_stand_beside_a_new_record(folder, fails):
    def nothing(*_):
        if fails:
            raise ValueError("no picture")
        return {}

    points = [Point("l2", {}, 0, Setting(epochs=1))]
    shared = {"dataset": DIGITS, "experiment": "try", "measure": constant, "jobs": 1}
    runs.complete(points, draw=lambda *_: {"prior": noise(2, 1, 8, 8)}, **shared)
    [picture] = folder.glob("try/*.png")
    picture.with_suffix(".json").unlink()
    assert runs.complete(points, draw=nothing, **shared)["done"].tolist() == [True]
    assert not picture.exists()


# --- committed --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_committed_pictures_are_whole_and_lie_beside_their_record(path):
    assert path.with_suffix(".json").is_file()
    found = kept_pictures.load(path.parent.name, path.stem)
    assert {"prior", "gmm10", "test", "means", "walk"} <= found.keys()
    assert all(0 <= images.min() <= images.max() <= 1 for images in found.values())
    assert path.stat().st_size < 100_000
