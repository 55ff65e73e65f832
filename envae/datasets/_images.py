"""Image files as tensors."""

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

import numpy as np
import torch
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

EXTENSIONS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".ppm", ".pgm", ".pbm",
    ".tif", ".tiff",
)  # fmt: skip
# What archivers and file servers leave beside the images; the like of .ipynb_checkpoints is hidden.
_LEFT_BEHIND = ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found")
_GREY_OF_16_BITS = ("PNG", "PPM")  # which some versions of Pillow open as integers of 32
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of a TIFF
_WHITE_IS_ZERO, _SIGNED = 0, 2


def listed(folder: Path) -> list[Path]:
    """The image files in a folder and the folders in it, as :func:`files_below` finds them."""
    return among(files_below(folder))


def among(files: Sequence[Path]) -> list[Path]:
    """The images among files that :func:`files_below` found: the way to them is meant."""
    return [path for path in files if is_image(PurePath(path.name))]


def files_below(folder: Path) -> list[Path]:
    """All files in a folder and the folders in it, sorted, through symbolic links as well.

    What is hidden, or was left behind by an archiver, is none of the set.

    Raises
    ------
    FileNotFoundError
        If a link leads nowhere: whether to a file or to a folder of them, nothing tells.
    """
    return sorted(_below(folder, frozenset()))


def _below(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    here = folder.resolve()
    if here in above:  # by a link
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if not _is_meant(entry.name):
                continue
            if entry.is_dir():
                yield from _below(path, above | {here})
            elif entry.is_file():
                yield path
            else:
                check_link(path)


def check_link(path: Path) -> None:
    """Raise a FileNotFoundError if it is a symbolic link to what is not there."""
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(
            f"{path} is a link to {os.readlink(path)}, which is not there: mend or remove it"
        )


def is_image(path: PurePath) -> bool:
    """Whether a file, by its ending and the names on the way to it, is an image of a set."""
    return path.suffix.lower() in EXTENSIONS and all(map(_is_meant, path.parts))


def _is_meant(name: str) -> bool:
    return not name.startswith(".") and name not in _LEFT_BEHIND


def read(files: Sequence[Path | tuple[str, bytes]], size: int, crop: int | None = None) -> Tensor:
    """RGB images `(N, 3, size, size)`, float32 in [0, 1]; parameters and errors as in `decode`."""
    return floats(decode(files, size, crop))


def decode(files: Sequence[Path | tuple[str, bytes]], size: int, crop: int | None = None) -> Tensor:
    """RGB images as bytes `(N, 3, size, size)`, decoded by all cores.

    They are seen as they are shown: turned as their EXIF orientation says, on white where they are
    transparent, of a moving picture the first frame, 16 bits brought to 8.

    Parameters
    ----------
    files
        Paths, or names with the content of the file.
    size
        Side after resizing (bilinear, antialiased, as Pillow has it).
    crop
        Side of the square cut from the middle first; by default the shorter side.

    Raises
    ------
    ValueError
        If a file is truncated or corrupt, smaller than the crop, larger than Pillow's limit, or of
        numbers whose range it does not tell; names it.
    OSError
        If a file cannot be read.
    """
    pixels = np.empty((len(files), 3, size, size), dtype=np.uint8)

    def fill(index: int) -> None:
        pixels[index] = _pixels(files[index], size, crop).transpose(2, 0, 1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(fill, range(len(files))):
            pass
    return torch.from_numpy(pixels)


def floats(pixels: Tensor) -> Tensor:
    """Bytes as float32 in [0, 1]."""
    return pixels.float().div_(255)


def _pixels(file: Path | tuple[str, bytes], size: int, crop: int | None) -> np.ndarray:
    """Bytes `(size, size, 3)` of one file."""
    name, source = (file, file) if isinstance(file, Path) else (file[0], io.BytesIO(file[1]))
    try:
        with Image.open(source) as opened:
            ImageOps.exif_transpose(opened, in_place=True)
            image = _in_colour(opened)
    except (_NoRange, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{name} cannot be taken: {error}") from error
    except Exception as error:  # Pillow raises a dozen kinds
        if getattr(error, "errno", None) or isinstance(error, MemoryError):
            raise  # the system's, and no fault of what the file holds
        raise ValueError(
            f"{name} is truncated or corrupt ({error}): remove it or get another copy"
        ) from error
    side = crop or min(image.size)
    if side > min(image.size):
        width, height = image.size
        raise ValueError(f"{name} has {width} x {height} pixels: too few for a crop of {side}")
    left, top = ((length - side) // 2 for length in image.size)
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))


class _NoRange(Exception):
    """Nothing says what is black and what is white."""


def _in_colour(image: Image.Image) -> Image.Image:
    """The image in RGB, as it would be seen on white paper."""
    # Pillow shows signed ones of 8 bits as if they were not.
    signed = isinstance(image, TiffImageFile) and _SIGNED in image.tag_v2.get(_SAMPLE_FORMAT, ())
    wide = image.mode == "I" and image.format not in _GREY_OF_16_BITS
    if image.mode == "F" or signed or wide:
        raise _NoRange(
            "its pixels are signed, integers of 32 bits or floating-point numbers, whose range the "
            "file does not tell; save it with 8 or 16 bits, unsigned"
        )
    if image.mode.startswith("I"):
        tags = image.tag_v2 if isinstance(image, TiffImageFile) else {_BITS_PER_SAMPLE: (16,)}
        pixels = np.asarray(image)
        hidden = pixels == image.info.get("transparency", -1)  # the one level that is no colour
        levels = np.where(hidden, 1, pixels / (2 ** tags[_BITS_PER_SAMPLE][0] - 1))
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts 8 bits alone
            levels = 1 - levels
        return Image.fromarray(np.rint(255 * levels).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")


def check_sides(**sides: int) -> None:
    """Raise a ValueError that names the first side that is no integer above 0."""
    for name, side in sides.items():
        if type(side) is not int or side < 1:
            raise ValueError(f"{name} must be an integer from 1 up, in pixels, received {side!r}")
