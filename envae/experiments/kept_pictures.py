"""Pictures of a recorded run, kept beside its record as one small file, `<key>.png`.

A model of a large run is gone when the run ends; what it draws is kept without loss in 8 bits: a
grid of tiles that can be looked at as it is, each kind of picture from the beginning of a row. The
file says in its text which record it belongs to and what its tiles are.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Generator, Tensor

from envae._files import whole
from envae._unknown import unknown
from envae.datasets import Dataset
from envae.evaluation import decode, decoded_draws, encode, evaluating
from envae.experiments import records
from envae.experiments.measures.quality import from_all_parts
from envae.objectives import Objective
from envae.priors import GaussianMixture
from envae.vae import VAE

# Images of each kind, for grey and for colour ones; no file takes 100 KB.
COUNTS = {
    1: {"prior": 60, "gmm10": 20, "test": 30, "means": 30, "draws": 30, "spread": 30, "walk": 3},
    3: {"prior": 10, "gmm10": 5, "test": 6, "means": 6, "draws": 6, "spread": 6, "walk": 1},
}
STEPS = 9  # images of a walk, its ends included
APART = {1: 8, 3: 5}  # a walk ends at the test image so many further than it began
DRAWS = 39  # of each posterior, whose spread is taken
SHOWN_DRAWS = {1: 2, 3: 1}  # of them that are kept
# A standard deviation of values in [0, 1] is at most about 1/2: it is kept doubled.
_SPREAD = 2
_COLUMNS = 20  # tiles side by side
_MODES = {1: "L", 3: "RGB"}  # of an image with so many channels


def draw(vae: VAE, objective: Objective, dataset: Dataset, seed: int) -> dict[str, Tensor]:
    """Pictures of a trained model, computed on its device, for :func:`save`; a `runs.Draw`.

    Parameters
    ----------
    vae, objective
        A trained model and what it was trained with.
    dataset, seed
        What it was trained on, and the seed of all that is drawn here.

    Returns
    -------
    dict
        Bytes on the CPU, `(N, C, H, W)` where nothing else is said; values outside [0, 1] are
        clipped. `prior`, `gmm10`: samples from the standard normal prior, and from a mixture of ten
        Gaussians fitted to the codes of the training images. `test`: the first test images, or, of
        a set that is sorted by class, test images from all parts of it.
        `means`: decoded means of their posteriors. `draws`:
        `(2, N, C, H, W)`, or `(1, ...)` in colour, decoded draws.
        `spread`: standard deviation over 39 decoded draws at every pixel, doubled. `walk`:
        `(walks, 9, C, H, W)`, along the straight line from the mean of each of the first images of
        `test` to that of the one 8 further, 5 in colour. No draws and no spread where the
        objective is deterministic.

    Raises
    ------
    ValueError
        If there are fewer test images than are kept, or a decoded value is not finite.
    """
    channels = dataset.image_shape[0]
    counts = COUNTS[channels]
    if len(dataset.test) < counts["test"]:
        raise ValueError(f"{counts['test']} test images are kept, received {len(dataset.test)}")
    test, walks = _pictured(dataset, counts["test"]), counts["walk"]
    generator = Generator().manual_seed(seed)
    with evaluating(vae), torch.no_grad():
        posterior = encode(vae, dataset.train)
        codes = posterior.mean.cpu()
        if not objective.deterministic:
            codes = codes + posterior.stddev.cpu() * torch.randn(codes.shape, generator=generator)
        mixture = GaussianMixture.fit(codes, components=10, seed=seed)
        means = encode(vae, test).mean
        ratios = torch.linspace(0, 1, STEPS).to(means)[:, None]
        apart = APART[channels]
        start, end = means[:walks, None], means[apart : apart + walks, None]
        pictures = {
            "prior": decode(vae, torch.randn(counts["prior"], vae.latent_dim, generator=generator)),
            "gmm10": decode(vae, mixture.sample(counts["gmm10"], generator)),
            "test": test,
            "means": decode(vae, means),
            "walk": decode(vae, start.lerp(end, ratios).flatten(0, 1)).unflatten(0, (walks, STEPS)),
        }
        if not objective.deterministic:
            decoded = decoded_draws(vae, test, generator, draws=DRAWS)
            pictures["draws"] = decoded[: SHOWN_DRAWS[channels]]
            pictures["spread"] = _SPREAD * decoded.std(0)
    return {kind: _bytes(images) for kind, images in pictures.items()}


def _pictured(dataset: Dataset, count: int) -> Tensor:
    """The first test images; those of a set that is sorted would all be of one class."""
    is_sorted = bool((dataset.test_labels.diff() >= 0).all())
    return from_all_parts(dataset.test, count) if is_sorted else dataset.test[:count]


def _bytes(images: Tensor) -> Tensor:
    """Values in [0, 1] in 8 bits, on the CPU."""
    if not images.isfinite().all():
        raise ValueError("a decoded image has values that are not finite")
    return (255 * images.clamp(0, 1)).round().byte().cpu()


def save(experiment: str, parameters: Mapping[str, Any], pictures: Mapping[str, Tensor]) -> Path:
    """Write `<folder>/<experiment>/<key>.png`, whole or not at all.

    Parameters
    ----------
    experiment, parameters
        Of the record, as `records.save` takes them.
    pictures
        Of some kinds in `COUNTS`, as :func:`draw` gives them, any number of images of each.

    Raises
    ------
    ValueError
        If the experiment's name is none of a folder, there are no pictures, a kind is unknown, or
        images are empty or differ in size.
    TypeError
        If images are not bytes.
    """
    key = records.key(experiment, parameters)
    path = _file(records.folder(), experiment, key)
    shape = _checked(pictures)
    text = PngInfo()
    counts = {kind: list(images.shape[:-3]) for kind, images in pictures.items()}
    for name, told in {
        "experiment": experiment,
        "key": key,
        "image": json.dumps(shape),
        "kinds": json.dumps(counts),
    }.items():
        text.add_text(name, told)
    grid = torch.cat([_grid(images.flatten(0, -4)) for images in pictures.values()])
    with whole(path) as partial:
        Image.fromarray(grid.squeeze(-1).numpy(), _MODES[shape[0]]).save(
            partial, "png", pnginfo=text, optimize=True
        )
    return path


def remove(experiment: str, parameters: Mapping[str, Any]) -> None:
    """Remove the pictures of a record that is made anew, where records are written."""
    _file(records.folder(), experiment, records.key(experiment, parameters)).unlink(missing_ok=True)


def _checked(pictures: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The size (C, H, W) that all images have."""
    if not pictures:
        raise ValueError("no pictures to keep")
    for kind, images in pictures.items():
        if kind not in COUNTS[1]:
            raise ValueError(unknown("kind of picture", kind, COUNTS[1]))
        if images.dtype != torch.uint8:
            raise TypeError(f"{kind}: images must be bytes, received {images.dtype}")
        if images.ndim < 4 or not images.numel():
            raise ValueError(f"{kind}: expected (..., C, H, W), received {tuple(images.shape)}")
    shapes = {kind: tuple(images.shape[-3:]) for kind, images in pictures.items()}
    shape = next(iter(shapes.values()))
    if len(set(shapes.values())) > 1 or shape[0] not in _MODES:
        raise ValueError(f"images must be of one size and have 1 or 3 channels, received {shapes}")
    return shape


def _grid(images: Tensor) -> Tensor:
    """Images `(N, C, H, W)` in rows, the last one filled up with zeros: `(H', W', C)`."""
    count, channels, height, width = images.shape
    rows = -(-count // _COLUMNS)
    tiles = images.new_zeros(rows * _COLUMNS, channels, height, width)
    tiles[:count] = images
    grid = tiles.unflatten(0, (rows, _COLUMNS)).permute(0, 3, 1, 4, 2)
    return grid.reshape(rows * height, _COLUMNS * width, channels)


def _tiles(grid: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The images `(N, C, H, W)` of a grid, those that fill it up included."""
    channels, height, width = shape
    tiles = grid.reshape(-1, height, _COLUMNS, width, channels).permute(0, 2, 4, 1, 3)
    return tiles.flatten(0, 1)


def load(experiment: str, key: str) -> dict[str, Tensor]:
    """Pictures of a record, as :func:`draw` gives them, but float, `spread` in data units.

    Those that lie beside the record which `records.load` gives, or, without one, in any place.
    `gmm10` is drawn from a mixture of its own, fitted like the one whose distance is recorded.

    Raises
    ------
    ValueError
        If a name leads out of the folder, or the file is not the whole picture of this record.
    FileNotFoundError
        If no pictures of this record were kept.
    """
    possible = [_file(place, experiment, key) for place in reversed(records.places())]
    record = records.file(experiment, f"{key}.json")
    if record is not None:
        possible = [record.with_suffix(".png")]
    path = next((path for path in possible if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"no pictures of run {key} of {experiment!r} in {', '.join(map(str, possible))}: they "
            "are kept when it is recorded by `runs.complete` with `draw=kept_pictures.draw`"
        )
    try:
        kinds = _read(path, experiment, key)
    except (
        OSError, SyntaxError, LookupError, TypeError, ValueError, RuntimeError,
        Image.DecompressionBombError,
    ) as error:  # fmt: skip
        raise ValueError(
            f"{path} is not the whole picture of its record ({error}): remove it"
        ) from error
    pictures = {kind: images.float() / 255 for kind, images in kinds.items()}
    if "spread" in pictures:
        pictures["spread"] = pictures["spread"] / _SPREAD
    return pictures


def _read(path: Path, experiment: str, key: str) -> dict[str, Tensor]:
    """The images of a file, in bytes; raises what its parts raise where it is not as written."""
    with Image.open(path, formats=["png"]) as image:
        values = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        text = image.info  # some of it may stand behind the pixels
        mode, (width, height) = image.mode, image.size
    if (text["experiment"], text["key"]) != (experiment, key):
        raise ValueError(f"it belongs to {text['experiment']}/{text['key']}")
    shape, counts = json.loads(text["image"]), json.loads(text["kinds"])
    if mode != _MODES[shape[0]] or width != _COLUMNS * shape[2]:
        raise ValueError(f"{mode} of {width} x {height} holds no images of {shape}")
    tiles = _tiles(values.reshape(height, width, shape[0]), tuple(shape))
    found, first = {}, 0
    for kind, count in counts.items():
        images = torch.Size(count).numel()
        found[kind] = tiles[first : first + images].reshape(*count, *shape)
        first += -(-images // _COLUMNS) * _COLUMNS
    if first != len(tiles):
        raise ValueError(f"{len(tiles)} tiles where {first} are told")
    return found


def _file(place: Path, experiment: str, key: str) -> Path:
    if not re.fullmatch(r"[0-9a-f]{12}", key):
        raise ValueError(f"a key is twelve hexadecimal digits, received {key!r}")
    return records.within(place, experiment) / f"{key}.png"
