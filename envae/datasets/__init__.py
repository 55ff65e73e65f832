"""Image data sets by name, as tensors with a fixed split.

Data that do not ship with a package are looked for in `$ENVAE_DATA`, then in the cache folder
(`$XDG_CACHE_HOME/envae`, else `~/.cache/envae`); the command `envae data NAME` gets them there.
"""

import inspect
from typing import Any

from envae._unknown import unknown

# Importing a family registers its loaders.
from envae.datasets import cifar10, digits, faces, folders, mnist  # noqa: F401
from envae.datasets._dataset import LOADERS, Dataset
from envae.datasets._download import DOWNLOADS, download

__all__ = ["DOWNLOADS", "Dataset", "download", "load", "names", "options_of"]


def load(name: str, *, train_size: int | None = None, **options: Any) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name
        One of `names()`. `digits`: the 1,797 images of 8 x 8 that ship with scikit-learn. `mnist`
        and `cifar10`, `cifar10-jpeg` (a lossy copy), `celeba64`, `celebahq128`, `lsun_church64`:
        published sets at the papers' sizes. `imagefolder`: anybody's own images.
    train_size
        Keep a fixed random part of so many training images, as :meth:`Dataset.subset` does; the
        name says so (`mnist-10000`). All of them by default.
    options
        Options of that data set: `crop` of `celeba64`; `root`, `size` and `crop` of `imagefolder`.

    Raises
    ------
    ValueError
        If the name, an option or a size is unknown or out of range, or a file is truncated or
        corrupt.
    FileNotFoundError
        If the data are not there; says how to get them.
    """
    known, parameters = options_of(name), inspect.signature(LOADERS[name]).parameters
    for option in options:
        if option not in known:
            raise ValueError(unknown(f"{name} option", option, known))
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise ValueError(f"{name} needs the option {option}")
    if "train_size" in parameters:
        return LOADERS[name](train_size=train_size, **options)
    dataset = LOADERS[name](**options)
    return dataset if train_size is None else dataset.subset(train_size)


def options_of(name: str) -> dict[str, Any]:
    """Types of the options that :func:`load` takes for a data set, `train_size` among them.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in LOADERS:
        raise ValueError(unknown("data set", name, LOADERS))
    parameters = inspect.signature(LOADERS[name]).parameters.values()
    return {parameter.name: parameter.annotation for parameter in parameters} | {
        "train_size": int | None
    }


def names() -> list[str]:
    """Names that :func:`load` knows."""
    return list(LOADERS)
