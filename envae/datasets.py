"""Image data sets by name, as tensors with a fixed split."""

import dataclasses
import hashlib
from collections.abc import Callable

import sklearn.datasets
import torch
from torch import Tensor

from envae._names import unknown


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images `(N, C, H, W)`, float32 in [0, 1], with integer labels `(N,)`, in two splits.

    Attributes
    ----------
    name
        Name that :func:`load` knows.
    train, test
        Images.
    train_labels, test_labels
        Classes.
    place
        Where the data lie.
    """

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    place: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(C, H, W)`."""
        return tuple(self.train.shape[1:])

    @property
    def checksum(self) -> str:
        """SHA-256 of all images and labels in their order, twelve hexadecimal digits."""
        digest = hashlib.sha256()
        for tensor in (self.train, self.train_labels, self.test, self.test_labels):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]


def load(name: str) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name
        One of `names()`. `digits`: the 1,797 images of 8 x 8 that ship with scikit-learn.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in _LOADERS:
        raise ValueError(unknown("data set", name, _LOADERS))
    return _LOADERS[name]()


def names() -> list[str]:
    """Names that :func:`load` knows."""
    return list(_LOADERS)


def _digits() -> Dataset:
    """Every image once; a seeded third of 500 held out, since scikit-learn ships no split."""
    bunch = sklearn.datasets.load_digits()
    images = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16  # 17 grey levels, 0 to 16
    labels = torch.from_numpy(bunch.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    test, train = order[:500], order[500:]
    return Dataset(
        name="digits",
        train=images[train],
        train_labels=labels[train],
        test=images[test],
        test_labels=labels[test],
        place="inside scikit-learn",
    )


_LOADERS: dict[str, Callable[[], Dataset]] = {"digits": _digits}
