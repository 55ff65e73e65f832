"""What a data set is, and how its loader is found by name."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from envae.datasets._images import check_sides

_TENSORS = ("train", "train_labels", "test", "test_labels")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images `(N, C, H, W)`, float32 in [0, 1], with integer labels `(N,)`, in two splits.

    Processes that it is sent to by `experiments.parallel` share one copy of the images.

    Attributes
    ----------
    name
        Name that `load` knows, and after it whatever tells these images from those that `load`
        gives without options: `mnist`, `mnist-10000`. Run records are kept under it.
    train, test
        Images.
    train_labels, test_labels
        Classes; zeros where the data have none.
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
        _, channels, height, width = self.train.shape
        return channels, height, width

    @functools.cached_property
    def checksum(self) -> str:
        """SHA-256 of all images and labels in their order, twelve hexadecimal digits."""
        digest = hashlib.sha256()
        for name in _TENSORS:
            digest.update(getattr(self, name).contiguous().numpy().data)
        return digest.hexdigest()[:12]

    @functools.cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        """The tensors as arrays, the same objects every time: joblib writes each array once."""
        return {name: getattr(self, name).numpy() for name in _TENSORS}

    def __getstate__(self) -> dict[str, Any]:
        # As arrays, since joblib's processes map arrays from one file, and copy tensors.
        return {"name": self.name, "place": self.place, "checksum": self.checksum} | self._arrays

    def __setstate__(self, state: dict[str, Any]) -> None:
        arrays = {name: state[name] for name in _TENSORS}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        self.__dict__.update(state | tensors, _arrays=arrays)

    def subset(self, train_size: int) -> "Dataset":
        """A random part of the train split, of so many images, and the whole test split.

        The part is the beginning of one fixed random order, so that a smaller part lies within a
        larger one, and sets that are sorted by class keep all their classes. The name says the
        size: `mnist-10000`.

        Raises
        ------
        ValueError
            If there are not so many images.
        """
        kept = part(self.name, len(self.train), train_size)
        return dataclasses.replace(
            self,
            name=f"{self.name}-{train_size}",
            train=self.train[kept],
            train_labels=self.train_labels[kept],
        )

    def left_out(self, train_size: int) -> "Dataset":
        """The train images that :meth:`subset` of this size leaves out, and the whole test split.

        In their own order. The name says it: `cifar10-jpeg-without-10000`.

        Raises
        ------
        ValueError
            If there are not so many images.
        """
        left = torch.ones(len(self.train), dtype=torch.bool)
        left[part(self.name, len(self.train), train_size)] = False
        return dataclasses.replace(
            self,
            name=f"{self.name}-without-{train_size}",
            train=self.train[left],
            train_labels=self.train_labels[left],
        )

    def resized(self, side: int) -> "Dataset":
        """The images resized to squares of so many pixels a side (bilinear, antialiased).

        The name says the side: `mnist-14px`. Images of that size already are left as they are.

        Raises
        ------
        ValueError
            If the side is no integer from 1 up.
        """
        check_sides(side=side)
        if self.image_shape[1:] == (side, side):
            return self
        resize = functools.partial(
            functional.interpolate, size=(side, side), mode="bilinear", antialias=True
        )
        return dataclasses.replace(
            self,
            name=f"{self.name}-{side}px",
            train=resize(self.train),
            test=resize(self.test),
        )


def part(name: str, count: int, train_size: int) -> Tensor:
    """Indices of the images that :meth:`Dataset.subset` keeps of so many, `(train_size,)`.

    Raises
    ------
    ValueError
        If there are not so many images; names the data set.
    """
    if not isinstance(train_size, int) or not 1 <= train_size <= count:
        raise ValueError(
            f"train_size must be an integer from 1 to the {count} training images "
            f"of {name}, received {train_size!r}"
        )
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:train_size]


def unlabelled(name: str, train: Tensor, test: Tensor, place: str) -> Dataset:
    """Data set of images that have no classes."""
    labels = (torch.zeros(len(images), dtype=torch.long) for images in (train, test))
    return Dataset(name, train, next(labels), test, next(labels), place)


_Item = TypeVar("_Item")


def held_out(items: Sequence[_Item], count: int) -> tuple[list[_Item], list[_Item]]:
    """Items for training, and a fixed random part of `count` for testing."""
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(0)).tolist()
    return [items[i] for i in order[count:]], [items[i] for i in order[:count]]


LOADERS: dict[str, Callable[..., Dataset]] = {}
_Loader = TypeVar("_Loader", bound=Callable[..., Dataset])


def register(name: str) -> Callable[[_Loader], _Loader]:
    """Decorator: make a loader known by name; its keyword arguments are the set's options."""

    def enter(loader: _Loader) -> _Loader:
        LOADERS[name] = loader
        return loader

    return enter
