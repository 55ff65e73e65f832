"""Whether draws know their error: ranks, coverage and spread of an ensemble beside what happened.

An ensemble of K draws for each of N observations is calibrated if an observation is like one more
draw. Then its rank among the draws is uniform on 0, ..., K (Hamill, 2001), a central interval
between two order statistics holds it as often as their ranks say, and the spread of the draws is
the error of their mean. A rank histogram with a U says that the draws lie too close together, one
with a hump that they lie too far apart.

All this is necessary, not sufficient: draws of the whole data set, the same for each observation,
are calibrated too, and useless.
"""

import torch
from torch import Generator, Tensor

from envae.objectives.base import check_count, check_finite
from envae.scores import check_floats


def as_stored(images: Tensor, steps: int) -> Tensor:
    """Images rounded to the grey levels 0, 1/steps, ..., 1 that files hold; 255 for 8 bits.

    Observed images have these levels, a decoder's output has none. Unrounded, a pixel that is
    exactly black lies below all draws, however black they are.

    Raises
    ------
    ValueError
        If the images are not of floating point, as bytes are not, or the steps no count.
    """
    check_floats(images=images)
    check_count(steps=steps)
    return (steps * images.clamp(0, 1)).round() / steps


def ranks(draws: Tensor, x: Tensor, generator: Generator) -> Tensor:
    """Rank of every number among its K draws, from 0 (below all) to K (above all).

    Parameters
    ----------
    draws
        `(K, N, *event)`.
    x
        Observations, `(N, *event)`.
    generator
        On the CPU; breaks ties at random, so that ranks are uniform for distributions with atoms
        too. Where all draws and the observation are one value, the rank is the generator's alone
        and says nothing: leave such numbers out, or they flatten every histogram.

    Returns
    -------
    Tensor
        Integers in the shape of x, on the CPU.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a value is not finite.
    """
    _check(draws, x, least=1)
    below, ties = (draws < x).sum(0).cpu(), (draws == x).sum(0).cpu()
    return below + (torch.rand(x.shape, generator=generator) * (ties + 1)).long()


def distance_ranks(draws: Tensor, x: Tensor, generator: Generator) -> Tensor:
    """Rank of every observation among its draws by mean distance from all others.

    The pre-rank of the energy score (Knüppel, Krüger and Pohle, 2022), for all pixels together: a
    small rank is an observation in the middle of the draws, which lie too far apart, a large one
    an observation that lies outside. Pixels may each be calibrated while this is not.

    Parameters and errors as for :func:`ranks`.

    Returns
    -------
    Tensor
        Integers `(N,)` in 0, ..., K, on the CPU.
    """
    _check(draws, x, least=1, axes=3)
    distances = []
    for image, of_image in zip(x.flatten(1), draws.flatten(2).unbind(1), strict=True):
        pool = torch.cat([image[None], of_image]).double()  # (K + 1, D)
        distances.append(torch.cdist(pool, pool).sum(1))
    of_all = torch.stack(distances, dim=1)  # (K + 1, N)
    return ranks(of_all[1:], of_all[0], generator)


def coverage(found: Tensor, draws: int, level: float) -> float:
    """Share of ranks within the central interval that has the nominal coverage `level`.

    Parameters
    ----------
    found
        Ranks of any shape, in 0, ..., `draws`.
    draws
        K.
    level
        Nominal, in (0, 1). (K + 1) (1 - level) / 2 must be whole: the interval lies between two
        order statistics, and then holds one more draw with this probability exactly. K = 39 does
        for 0.5, 0.8, 0.9 and 0.95.

    Raises
    ------
    ValueError
        If no interval between two order statistics has the level.
    """
    left_out = (draws + 1) * (1 - level) / 2
    each = round(left_out)
    if not 0 < level < 1 or each < 1 or abs(left_out - each) > 1e-6:
        raise ValueError(
            f"{draws} draws have no central interval of level {level}: (K + 1) (1 - level) / 2 "
            f"must be a whole number from 1 up, received {left_out:g}"
        )
    return ((found >= each) & (found <= draws - each)).double().mean().item()


def histogram(found: Tensor, draws: int, bins: int) -> Tensor:
    """Frequencies of ranks over those of uniform ones, `(bins,)`: 1 everywhere if calibrated.

    Raises
    ------
    ValueError
        If `draws` + 1 ranks do not fill so many bins evenly.
    """
    check_count(bins=bins)
    if (draws + 1) % bins:
        raise ValueError(f"{draws + 1} ranks do not fill {bins} bins evenly")
    bin_of = found.flatten().long() * bins // (draws + 1)
    return torch.bincount(bin_of, minlength=bins).double() * bins / found.numel()


def spread_skill(draws: Tensor, x: Tensor) -> float:
    """Spread of the draws over the error of their mean, 1 if calibrated, below it if too narrow.

    The root of the mean variance of K draws, times (K + 1)/K, over that of the mean squared error
    of their mean (Fortin et al., 2014). The factor is the noise that the mean of K draws has.

    Parameters
    ----------
    draws
        `(K, N, *event)`, K >= 2.
    x
        `(N, *event)`.

    Raises
    ------
    ValueError
        If the shapes do not fit, a value is not finite, or there is one draw only.
    """
    _check(draws, x, least=2)
    variance = (len(draws) + 1) / len(draws) * draws.double().var(0).mean()
    error = (draws.double().mean(0) - x).square().mean()
    return (variance / error).sqrt().item()


def _check(draws: Tensor, x: Tensor, *, least: int, axes: int = 2) -> None:
    fits = draws.ndim >= axes and draws.shape[1:] == x.shape and len(draws) >= least
    if not fits or 0 in x.shape:
        raise ValueError(
            f"needs {least} or more draws (K, N, *event) of observations (N, *event), received "
            f"shapes {tuple(draws.shape)} and {tuple(x.shape)}"
        )
    check_finite(draws=draws, x=x)
