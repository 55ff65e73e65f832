"""Fréchet distance between two sets of images in the feature space of a network.

.. math:: \\|\\mu_1 - \\mu_2\\|^2
          + \\mathrm{tr}(\\Sigma_1 + \\Sigma_2 - 2 (\\Sigma_1 \\Sigma_2)^{1/2})

for the means and covariances of the features: Eq. 24 of xu2025, Eq. 12 of takida2022. With the
Inception network of pytorch-fid it is called FID; with any other network, FD (name).
"""

import dataclasses
from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor

from envae.datasets import files
from envae.scores import check_floats


class HasFeatures(Protocol):
    """A network whose features are compared: `inception.Inception`, `extractor.Extractor`."""

    name: str

    def features(self, images: Tensor) -> Tensor:
        """Features `(N, F)` of images `(N, C, H, W)` in [0, 1]."""
        ...

    def state_dict(self) -> dict[str, Tensor]: ...


@dataclasses.dataclass(frozen=True)
class Moments:
    """Mean `(F,)` and covariance `(F, F)` of the features of `count` images, in float64."""

    mean: Tensor
    covariance: Tensor
    count: int


def unit(extractor: HasFeatures) -> str:
    """`FID` with pytorch-fid's weights of Inception, `FD (name)` with anything else."""
    return "FID" if getattr(extractor, "measures_fid", False) else f"FD ({extractor.name})"


def moments(extractor: HasFeatures, batches: Iterable[Tensor]) -> Moments:
    """Moments of the features of images, which are seen a batch at a time and never kept.

    Parameters
    ----------
    extractor
        Gives the features.
    batches
        Images `(N, C, H, W)` in [0, 1], in batches of any size.

    Raises
    ------
    ValueError
        If a feature is not finite, or there are not two images.
    """
    return _moments(extractor.features(batch) for batch in batches)


def _moments(batches: Iterable[Tensor]) -> Moments:
    count = 0
    shift: Tensor | None = None
    total = products = torch.zeros((), dtype=torch.float64)
    for batch in batches:
        batch = batch.double().cpu()
        if not batch.isfinite().all():
            raise ValueError("features must be finite: the images behind them are not")
        # Moments about the first batch's mean, so that nothing large is subtracted at the end.
        shift = batch.mean(0) if shift is None else shift
        batch = batch - shift
        count += len(batch)
        total = total + batch.sum(0)
        products = products + batch.T @ batch
    if shift is None or count < 2:
        raise ValueError(f"a covariance needs at least 2 images, received {count}")
    outer = torch.outer(total, total) / count
    return Moments(shift + total / count, (products - outer) / (count - 1), count)


def reference(extractor: HasFeatures, images: Tensor) -> Moments:
    """Moments of the features of a data set's images, kept on disk by the images' checksum.

    A file per network and set of images, in the folder `moments` of the cache: however many models
    and processes are compared with the images, their features are computed once.
    """

    def compute() -> dict[str, Tensor]:
        found = moments(extractor, images.split(1000))
        return {"mean": found.mean, "covariance": found.covariance}

    weights = files.digest(*extractor.state_dict().values())
    name = f"moments/{weights}-{files.digest(images)}"
    return Moments(**files.kept(name, compute), count=len(images))


def distance(first: Moments, second: Moments) -> float:
    """Fréchet distance between two Gaussians.

    The eigenvalues of the product of the covariances are those of the symmetric matrix
    R^T Sigma_2 R for any R with R R^T = Sigma_1, so that their roots add up to the trace: as exact
    as the general matrix root that pytorch-fid takes, and several times faster. R is the Cholesky
    factor, or the symmetric root where a covariance is singular.

    Raises
    ------
    ValueError
        If the widths differ, or a set has too few images: no more of them than features cannot
        give a covariance of full rank, and the distance would depend on how few there are.
    """
    width = len(first.mean)
    if width != len(second.mean):
        raise ValueError(
            f"features and reference need the same width, received {width} and {len(second.mean)}"
        )
    for count in (first.count, second.count):
        if count <= width:
            raise ValueError(
                f"a Fréchet distance of {width} features needs more than {width} images in each "
                f"set, received {count}"
            )
    root, failed = torch.linalg.cholesky_ex(first.covariance)
    if failed:
        values, vectors = torch.linalg.eigh(first.covariance)
        root = vectors * values.clamp_min(0).sqrt()
    product = torch.linalg.eigvalsh(root.T @ second.covariance @ root)
    traces = first.covariance.trace() + second.covariance.trace()
    apart = (first.mean - second.mean).square().sum()
    # Of two equal sets what is left of the traces may be a rounding error below zero.
    return (apart + traces - 2 * product.clamp_min(0).sqrt().sum()).clamp_min(0).item()


def frechet_distance(features: Tensor, other: Tensor) -> float:
    """Fréchet distance between two sets of features, `(N, F)` and `(N', F)`; see :func:`distance`.

    Raises
    ------
    ValueError
        If the shapes do not fit, there are too few rows, or a value is not finite.
    """
    check_floats(features=features, other=other)
    for values in (features, other):
        if values.ndim != 2:
            raise ValueError(f"features must be (N, F), received shape {tuple(values.shape)}")
    return distance(_moments([features]), _moments([other]))


def fd(extractor: HasFeatures, images: Tensor, against: Tensor) -> float:
    """Fréchet distance of images from a data set's, both `(N, C, H, W)` in [0, 1]."""
    check_floats(images=images, against=against)
    return distance(moments(extractor, images.split(1000)), reference(extractor, against))


def floor(
    extractor: HasFeatures, images: Tensor, count: int, *, draws: int = 50, seed: int = 0
) -> float:
    """Mean distance of so many draws of images from the images themselves.

    The moments of finitely many draws are not those that they estimate, and the distance adds the
    squares of these errors up: for F features about F (F + 5) / (4 count), were they normal and
    uncorrelated. Draws are with replacement, since a sampler too may give an image twice. A sampler
    of the distribution that the images come from has more, since they too are a finite sample:
    1 / count + 1 / N in the place of 1 / count.

    Parameters
    ----------
    extractor
        Gives the features.
    images
        The data set that samples are compared with, `(N, C, H, W)` in [0, 1].
    count
        Samples that are compared with it.
    draws
        How often so many are drawn.
    seed
        Of the draws.

    Raises
    ------
    ValueError
        As for :func:`distance`.
    """
    features = torch.cat([extractor.features(batch).cpu() for batch in images.split(1000)])
    reference = _moments([features])
    generator = torch.Generator().manual_seed(seed)
    picked = (torch.randint(len(images), (count,), generator=generator) for _ in range(draws))
    return sum(distance(_moments([features[these]]), reference) for these in picked) / draws
