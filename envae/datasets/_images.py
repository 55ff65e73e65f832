"""Image files as tensors."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff")


def listed(folder: Path) -> list[Path]:
    """All image files in a folder and the folders in it, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)


def read(files: Sequence[Path | tuple[str, bytes]], size: int, crop: int | None = None) -> Tensor:
    """RGB images `(N, 3, size, size)`, float32 in [0, 1]; parameters and errors as in `decode`."""
    return floats(decode(files, size, crop))


def decode(files: Sequence[Path | tuple[str, bytes]], size: int, crop: int | None = None) -> Tensor:
    """RGB images as bytes `(N, 3, size, size)`, decoded by all cores.

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
        If a file is truncated or corrupt or smaller than the crop; names it.
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
            image = opened.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
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


def check_sides(**sides: int | None) -> None:
    """Raise a ValueError that names the first side that is neither None nor an integer above 0."""
    for name, side in sides.items():
        if side is not None and (not isinstance(side, int) or side < 1):
            raise ValueError(f"{name} must be an integer from 1 up, in pixels, received {side!r}")
