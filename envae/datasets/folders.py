"""Folders of image files: LSUN Church, and anybody's own."""

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from envae.datasets import _images, files
from envae.datasets._dataset import Dataset, held_out, register, unlabelled

_CHURCH = "church_outdoor_train"
_CHURCHES, _CHURCHES_HELD_OUT = 126_227, 10_000


@register("lsun_church64")
def lsun_church64() -> Dataset:
    """LSUN Church at 3 x 64 x 64, cut square: 126,227 images, 6.2 GB in memory.

    A seeded 10,000 of the training images are held out: the published validation split has 300,
    too few for a Fréchet distance, and xu2025 does not say which it used. Layout: a folder
    `lsun/church_outdoor_train` of image files. LSUN comes as an LMDB database, which would need
    the package lmdb; its own script exports the files.
    """
    folder = files.find(
        "lsun_church64",
        [f"lsun/{_CHURCH}"],
        by_hand=f"with the script of github.com/fyu/lsun, `python3 download.py -c church_outdoor` "
        f"and `python3 data.py export {_CHURCH}_lmdb --out_dir {_CHURCH}`, and move it there",
    )
    images = _images.listed(folder)
    if len(images) != _CHURCHES:
        raise ValueError(
            f"{folder} holds {len(images)} images, not the {_CHURCHES} of LSUN Church: export them "
            "again"
        )
    train, test = held_out(images, _CHURCHES_HELD_OUT)
    return unlabelled(
        "lsun_church64", _images.read(train, 64), _images.read(test, 64), place=str(folder)
    )


@register("imagefolder")
def imagefolder(root: str, size: int = 64, crop: int | None = None) -> Dataset:
    """Any folder of images, in colour: 12 bytes of memory a pixel.

    With subfolders `train` and `test` that is the split, and what else lies there is left out; so
    it is with `train` and `val` where there is no `test`. Otherwise a seeded tenth is held out. The
    folder below that, where there is one, is the class. The name holds the folder's name, the size
    and the beginning of the checksum: run records of other images are other records.

    Images are taken as they are shown: turned as their EXIF orientation says, on white where they
    are transparent. Symbolic links are followed; hidden files and folders are not seen. A class
    that has files, and none that is read as an image, is an error.

    Parameters
    ----------
    root
        The folder.
    size
        Side in pixels after resizing.
    crop
        Side of the square cut from the middle before resizing; by default the shorter side.
    """
    _images.check_sides(size=size)
    if crop is not None:
        _images.check_sides(crop=crop)
    if not isinstance(root, str | os.PathLike):
        raise ValueError(f"root must be the path of a folder of images, received {root!r}")
    folder = Path(os.path.expanduser(root))  # as it is where there is no such user
    if not root or not folder.is_dir():
        if folder.is_file():
            raise NotADirectoryError(f"{folder} is a file: give the folder that it lies in")
        raise FileNotFoundError(f"imagefolder needs root, a folder of images; there is no {root!r}")
    train, test = _split(folder)
    if not train or not test:
        raise ValueError(
            f"{folder} has {len(train)} images for training and {len(test)} for testing: it needs "
            f"some of each, and {_READ}"
        )
    classes = sorted({name for _, name in train + test})
    dataset = Dataset(
        name="imagefolder",
        train=_images.read([path for path, _ in train], size, crop),
        train_labels=torch.tensor([classes.index(name) for _, name in train]),
        test=_images.read([path for path, _ in test], size, crop),
        test_labels=torch.tensor([classes.index(name) for _, name in test]),
        place=str(folder),
    )
    name = f"imagefolder-{folder.resolve().name}-{size}-{dataset.checksum[:6]}"
    return dataclasses.replace(dataset, name=name)


_READ = f"reads files ending in {', '.join(_images.EXTENSIONS)}"
# A split's folder, in letters of either case, the first that is there.
_TRAINING = ("train", "training")
_TESTING = ("test", "testing", "val", "valid", "validation")
# What else means one: train2017, test_set, trainA. A class alone may be called so, not all of them.
_SPLIT = re.compile(r"(train|test|val|dev|eval|holdout)", re.IGNORECASE)


def _split(folder: Path) -> tuple[list[tuple[Path, str]], list[tuple[Path, str]]]:
    """Image files with their classes, for training and for testing."""
    below = {}
    for path in folder.iterdir():
        if (name := path.name.lower()) in _TRAINING + _TESTING:
            _images.check_link(path)
            if path.is_dir():
                below[name] = path
    train, test = (
        next((below[name] for name in names if name in below), None)
        for names in (_TRAINING, _TESTING)
    )
    if train and test:
        return _classified(train), _classified(test)
    files = _images.files_below(folder)
    ways = [path.relative_to(folder).parts[:-1] for path in _images.among(files)]
    for depth in range(max(map(len, ways), default=0)):
        names = {way[depth] if len(way) > depth else "" for way in ways}
        if all(map(_SPLIT.match, names)) and (depth == 0 or len(names) > 1):
            found = sorted({"/".join(way[: depth + 1]) for way in ways})
            raise ValueError(
                f"{folder} has the folders {', '.join(found[:4])}: a split needs train and test "
                "(or val) in the folder that is given; images that are not split lie there "
                "themselves, or in folders of classes"
            )
    images = _classified(folder, files)
    return held_out(images, max(len(images) // 10, 1))


def _classified(folder: Path, files: Sequence[Path] | None = None) -> list[tuple[Path, str]]:
    """Image files with their classes; `files`: those below the folder, where they are known."""
    files = _images.files_below(folder) if files is None else files
    images = [(path, _class(folder, path)) for path in _images.among(files)]
    classes = {name for _, name in images}
    for path in files:
        name = _class(folder, path)
        if name and name not in classes:
            raise ValueError(
                f"{folder / name} has files, such as {path.name}, and no image: as a class it "
                f"needs some, else it belongs elsewhere; imagefolder {_READ}"
            )
    return images


def _class(folder: Path, path: Path) -> str:
    """The first folder on the way to a file, empty if there is none."""
    return "".join(path.relative_to(folder).parts[:-1][:1])
