"""Two sets compared by the distances between their members, without a Gaussian in between.

A Fréchet distance sees means and covariances. The energy distance of the pixels is zero for equal
distributions only, and needs no network; precision and recall say whether a set of samples fails
by its quality or by its diversity.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from envae.objectives.base import check_count, check_finite

_AT_ONCE = 1000  # rows of a matrix of distances that are held together


def energy_distance(x: Tensor, y: Tensor) -> float:
    """Energy distance of two sets (Székely and Rizzo, 2013), estimated without bias.

    .. math:: 2 E\\|X - Y\\| - E\\|X - X'\\| - E\\|Y - Y'\\|

    The means are over pairs of different members (a U-statistic), so that the value may lie below
    zero where the sets have one distribution.

    Parameters
    ----------
    x, y
        Sets `(N, *event)` and `(N', *event)`, such as images `(N, C, H, W)`. The norm is Euclidean
        over all of an event.

    Returns
    -------
    float
        In the unit of the norm: for images in [0, 1], the root of a sum over pixels.

    Raises
    ------
    ValueError
        If the events differ, a member is not finite, or a set has fewer than 2.
    """
    if x.ndim < 2 or x.shape[1:] != y.shape[1:] or min(len(x), len(y)) < 2:
        raise ValueError(
            "needs two sets (N, *event) and (N', *event) of at least 2 members, received shapes "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    check_finite(x=x, y=y)
    x, y = x.flatten(1), y.flatten(1)
    between = sum(part.double().sum() for part in _distances(x, y)) / (len(x) * len(y))
    return float(2 * between - _mean_within(x) - _mean_within(y))


def precision_recall(
    generated: Tensor, real: Tensor, *, neighbours: int = 3
) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al., 2019) of generated features.

    Precision is the share of the generated that lie within the real set's manifold, recall the
    share of the real within the generated's. A set's manifold is the union of balls around its
    members, each as wide as the distance to its `neighbours`-th nearest other member. Both depend
    on how many there are; the authors take as many of either. Where the network behind the features
    was trained on one of the sets, its images lie closer together than new ones do, and a perfect
    sampler has far less than its share.

    Parameters
    ----------
    generated, real
        Features `(N, F)` and `(N', F)`.
    neighbours
        k of the authors, who take 3.

    Returns
    -------
    tuple
        Precision and recall, in [0, 1].

    Raises
    ------
    ValueError
        If the shapes do not fit, or a set does not have more members than `neighbours`.
    """
    _check_features(generated, real, neighbours)
    return _covered(generated, real, neighbours), _covered(real, generated, neighbours)


def reached(generated: Tensor, real: Tensor, *, neighbours: int = 5) -> float:
    """Share of the real that have a generated one nearby: the coverage of Naeem et al. (2020).

    Nearby is no further than the `neighbours`-th nearest other real one. Unlike recall it does not
    grow with samples that lie far from everything, around which recall draws large balls.

    Parameters
    ----------
    generated, real
        Features `(N, F)` and `(N', F)`.
    neighbours
        k of the authors, who take 5.

    Raises
    ------
    ValueError
        As for :func:`precision_recall`.
    """
    _check_features(generated, real, neighbours)
    nearest = torch.cat([part.min(1).values for part in _distances(real, generated)])
    return (nearest <= _radii(real, neighbours)).double().mean().item()


def _check_features(generated: Tensor, real: Tensor, neighbours: int) -> None:
    check_count(neighbours=neighbours)
    fits = generated.ndim == real.ndim == 2 and generated.shape[1] == real.shape[1]
    if not fits or min(len(generated), len(real)) <= neighbours:
        raise ValueError(
            f"needs features (N, F) and (N', F) of more than {neighbours} members, received shapes "
            f"{tuple(generated.shape)} and {tuple(real.shape)}"
        )
    check_finite(generated=generated, real=real)


def _distances(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Distances of rows of x `(N, D)` from all of y `(N', D)`, some rows `(n, N')` at a time.

    In double precision: they come from products, which lose digits where sets lie close together.
    """
    y = y.double()
    for rows in x.split(_AT_ONCE):
        yield torch.cdist(rows.double(), y)


def _mean_within(x: Tensor) -> Tensor:
    """Mean distance of two different rows of x."""
    # A row's distance from itself is rounded to more than 0, and left out.
    total = sum(
        part.double().sum() - part.diagonal(start).double().sum()
        for start, part in zip(range(0, len(x), _AT_ONCE), _distances(x, x), strict=True)
    )
    return torch.as_tensor(total / (len(x) * (len(x) - 1)))


def _radii(x: Tensor, neighbours: int) -> Tensor:
    """Distance of each row of x from its k-th nearest other row, `(N,)`."""
    # The nearest row is the row itself.
    return torch.cat([part.kthvalue(neighbours + 1).values for part in _distances(x, x)])


def _covered(points: Tensor, manifold: Tensor, neighbours: int) -> float:
    """Share of the points that lie in a ball around a member of the manifold."""
    radii = _radii(manifold, neighbours)
    inside = [(part <= radii).any(1) for part in _distances(points, manifold)]
    return torch.cat(inside).double().mean().item()
