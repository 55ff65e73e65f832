"""Noise added to images in known places, so that an estimate of it can be checked.

Section 5.3 of takida2022 adds Gaussian noise of variance s_x^2 to MNIST in four patterns, made of
the images' halves and of two groups of labels. Values may leave [0, 1]: clipping them would change
the variance.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from envae._unknown import unknown
from envae.datasets import Dataset

SMALL_LABELS = 5  # labels 0 to 4 are "small", the others "big"

# The partitions that each pattern makes noisy.
PATTERNS = {
    "uniform": ("SU", "SL", "BU", "BL"),
    "spatial": ("SU", "BU"),
    "conditional": ("SU", "SL"),
    "spatial-conditional": ("SU",),
}


def partitions(labels: Tensor, image_shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """The four parts of Sec. 5.3 of takida2022: small or big label, upper or lower half.

    Parameters
    ----------
    labels
        Classes `(N,)`; below 5 they are small.
    image_shape
        `(C, H, W)`. Where H is odd the middle row belongs to the lower half.

    Returns
    -------
    dict
        Boolean masks `(N, C, H, W)` by name: `SU`, `SL`, `BU`, `BL`. Every pixel of every image
        lies in exactly one.
    """
    small = (labels < SMALL_LABELS).reshape(-1, 1, 1, 1)
    upper = (torch.arange(image_shape[1]) < image_shape[1] // 2).reshape(1, 1, -1, 1)
    parts = {"SU": small & upper, "SL": small & ~upper, "BU": ~small & upper, "BL": ~small & ~upper}
    return {name: part.expand(-1, *image_shape) for name, part in parts.items()}


def mask(pattern: str, labels: Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    """Where a pattern of `PATTERNS` puts noise: boolean `(N, C, H, W)`.

    Raises
    ------
    ValueError
        If the pattern is unknown; lists the known ones.
    """
    if pattern not in PATTERNS:
        raise ValueError(unknown("noise pattern", pattern, PATTERNS))
    parts = partitions(labels, image_shape)
    return torch.stack([parts[name] for name in PATTERNS[pattern]]).any(0)


def draw(
    shape: tuple[int, ...], variance: float, *, law: str = "gaussian", generator: torch.Generator
) -> Tensor:
    """Noise for images, of mean 0 and the same variance at every pixel.

    Parameters
    ----------
    shape
        `(N, C, H, W)`.
    variance
        s_x^2, from 0 up.
    law
        `gaussian`: independent pixels, as in the paper. `laplace`: independent too, with heavier
        tails. `correlated`: Gaussian, each pixel the mean of the 3 x 3 draws around it, scaled
        back to the variance. `shared`: Gaussian, one draw for all pixels of an image.
    generator
        Source of the random numbers.

    Raises
    ------
    ValueError
        If the law is unknown or the variance is out of range.
    """
    if law not in _LAWS:
        raise ValueError(unknown("noise law", law, _LAWS))
    if not 0 <= variance < math.inf:
        raise ValueError(f"the variance of the noise must be from 0 up, received {variance}")
    return variance**0.5 * _LAWS[law](shape, generator)


def _gaussian(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator)


def _laplace(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    # The difference of two exponential draws is Laplace, with variance 2.
    draws = torch.empty(2, *shape).exponential_(generator=generator)
    return (draws[0] - draws[1]) / 2**0.5


def _correlated(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    padded = torch.randn(*shape[:2], shape[2] + 2, shape[3] + 2, generator=generator)
    return 3 * functional.avg_pool2d(padded, 3, stride=1)


def _shared(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape[0], 1, 1, 1, generator=generator).expand(shape)


_LAWS: dict[str, Callable[[tuple[int, ...], torch.Generator], Tensor]] = {
    "gaussian": _gaussian,
    "laplace": _laplace,
    "correlated": _correlated,
    "shared": _shared,
}


def noisy(
    dataset: Dataset,
    pattern: str | Tensor,
    variance: float,
    *,
    law: str = "gaussian",
    seed: int = 0,
) -> Dataset:
    """A data set with noise in both splits, drawn once; its name says which.

    Parameters
    ----------
    dataset
        The clean images.
    pattern
        A name of `PATTERNS`, or a boolean mask `(H, W)` or `(C, H, W)` for all images alike.
    variance, law
        As :func:`draw` takes them.
    seed
        Seed of the noise. Another seed is another draw, as for noise that is drawn anew in every
        epoch.

    Raises
    ------
    ValueError
        If the pattern, law or variance is out of range, or a mask is not boolean or does not fit.
    """
    generator = torch.Generator().manual_seed(seed)
    splits = {}
    for split in ("train", "test"):
        images, labels = getattr(dataset, split), getattr(dataset, f"{split}_labels")
        where = _where(pattern, labels, dataset.image_shape)
        splits[split] = images + where * draw(images.shape, variance, law=law, generator=generator)
    name = noisy_name(dataset.name, pattern, variance, law=law, seed=seed)
    return dataclasses.replace(dataset, name=name, **splits)


def noisy_name(
    dataset: str, pattern: str | Tensor, variance: float, *, law: str = "gaussian", seed: int = 0
) -> str:
    """Name of a data set with noise; arguments as :func:`noisy` takes them."""
    return f"{dataset}+{_named(pattern)}-{law}-{variance:g}-{seed}"


def _where(pattern: str | Tensor, labels: Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    """Mask `(N, C, H, W)`, or one that all images share."""
    if isinstance(pattern, str):
        return mask(pattern, labels, image_shape)
    if pattern.dtype != torch.bool or pattern.shape not in (image_shape, image_shape[1:]):
        raise ValueError(
            f"a mask must be boolean, of shape {image_shape[1:]} or {image_shape}; "
            f"received shape {tuple(pattern.shape)} of {pattern.dtype}"
        )
    return pattern


def _named(pattern: str | Tensor) -> str:
    """The pattern's name; a mask of one's own is told by its checksum."""
    if isinstance(pattern, str):
        return pattern
    return f"mask-{hashlib.sha256(pattern.contiguous().numpy().data).hexdigest()[:6]}"
