"""CIFAR-10, as torchvision reads it, and a copy of it in JPEG files."""

import functools
import hashlib
import lzma
import tarfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from envae import _torchvision as _torchvision  # before torchvision
from envae.datasets import _images, files
from envae.datasets._dataset import Dataset, part, register

_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
_JPEGS = {"train": 50_000, "test": 10_000}


@register("cifar10")
def cifar10() -> Dataset:
    """50,000 + 10,000 images of 3 x 32 x 32 in the published split; 740 MB in memory.

    Layout: `cifar-10-batches-py`, as torchvision has it. Its files are pickles, which torchvision
    opens; they are compared with their published checksums first.
    """
    from torchvision.datasets import CIFAR10  # takes seconds to import

    folder = files.find("cifar10", ["cifar-10-batches-py"])
    files.verify("cifar10", folder, _MD5)
    train, test = (CIFAR10(folder.parent, train=split) for split in (True, False))
    return Dataset(
        name="cifar10",
        train=_float(train.data),
        train_labels=torch.tensor(train.targets),
        test=_float(test.data),
        test_labels=torch.tensor(test.targets),
        place=str(folder),
    )


def _float(pixels: np.ndarray) -> Tensor:
    """Bytes `(N, H, W, 3)` as images."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float().div_(255)


@register("cifar10-jpeg")
def cifar10_jpeg(train_size: int | None = None) -> Dataset:
    """CIFAR-10 after JPEG at a quality of about 75; 740 MB in memory.

    Lossy: no number measured on it is one of CIFAR-10. Layout: `train/<class>/NNNN.jpg` and
    `test/<class>/NNNN.jpg` in a folder `cifar10-jpeg` or in `cifar10-jpeg.tar.xz`. No more is
    decoded than is asked for; of an archive it is kept as bytes in the folder `decoded` of the
    cache, 3 kB an image.
    """
    place = files.find(
        "cifar10-jpeg",
        ["cifar10-jpeg", "cifar10-jpeg.tar.xz"],
        by_hand="put the archive or the unpacked folder there",
    )
    name = "cifar10-jpeg" if train_size is None else f"cifar10-jpeg-{train_size}"
    decode = functools.partial(_decoded, place, train_size)
    if place.is_dir():  # many files: whether one of them has changed cannot be seen in a moment
        found = decode()
    else:
        with place.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
        found = files.kept(f"decoded/{name}-{digest}", decode)
    images = {split: _images.floats(found.pop(split)) for split in _JPEGS}
    return Dataset(name, **images, **found, place=str(place))


def _decoded(place: Path, train_size: int | None) -> dict[str, Tensor]:
    """Bytes and labels of both splits, by their names in a `Dataset`."""
    content = _unpacked(place) if place.is_dir() else _packed(place)
    classes = sorted({path.parent.name for path in content})
    found = {}
    for split, count in _JPEGS.items():
        paths = sorted(path for path in content if path.parts[0] == split)
        if len(paths) != count:
            raise ValueError(
                f"{place} is truncated: it holds {len(paths)} images in {split}, not {count}; "
                "get another copy"
            )
        if split == "train" and train_size is not None:
            paths = [paths[i] for i in part("cifar10-jpeg", count, train_size)]
        found[split] = _images.decode([content[path] for path in paths], 32)
        found[f"{split}_labels"] = torch.tensor([classes.index(path.parent.name) for path in paths])
    return found


def _unpacked(folder: Path) -> dict[Path, Path]:
    """Image files by their paths in the folder."""
    return {path.relative_to(folder): path for path in _images.listed(folder)}


def _packed(archive: Path) -> dict[Path, tuple[str, bytes]]:
    """Names and contents of image files by their paths in the archive."""
    try:
        with tarfile.open(archive) as packed:
            return {
                path: (f"{archive}: {member.name}", file.read())
                for member in packed
                if _images.is_image(path := Path(member.name))
                and (file := packed.extractfile(member)) is not None
            }
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise ValueError(
            f"{archive} is truncated or corrupt ({error}): get another copy"
        ) from error
