"""Codes between codes: spherical interpolation (Shoemake, 1985; Sec. 6.2 of takida2022)."""

import numbers

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from envae.objectives.base import check_count, check_finite
from envae.scores import check_floats


def slerp(start: Tensor, end: Tensor, ratio: Tensor | float) -> Tensor:
    """Spherical interpolation between codes.

    .. math:: \\frac{\\sin((1-t)\\omega)}{\\sin\\omega} a + \\frac{\\sin(t\\omega)}{\\sin\\omega} b

    with the angle omega between a and b. Where they are parallel it is the straight line, which is
    the limit for small angles. Codes of equal length stay on their sphere.

    Parameters
    ----------
    start, end
        a and b, `(..., d_z)`.
    ratio
        t: 0 at a, 1 at b; a number or `(..., 1)`.

    Raises
    ------
    ValueError
        If the codes are no floats, the shapes do not broadcast, or the ratio has a coordinate for
        each of the codes'.
    """
    check_floats(start=start, end=end)
    ratio = torch.as_tensor(ratio, dtype=start.dtype, device=start.device)
    try:
        torch.broadcast_shapes(start.shape, end.shape, ratio.shape)
        fits = ratio.ndim == 0 or ratio.shape[-1] == 1
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            "codes (..., d_z) and ratios (..., 1) must broadcast, received "
            f"{tuple(start.shape)}, {tuple(end.shape)} and {tuple(ratio.shape)}"
        )
    a, b = normalize(start, dim=-1), normalize(end, dim=-1)
    # Kahan's form: the arc cosine loses half the digits of small angles and of those near pi.
    angle = 2 * torch.atan2((a - b).norm(dim=-1, keepdim=True), (a + b).norm(dim=-1, keepdim=True))
    sine = angle.sin()
    parallel = sine < 1e-4
    sine = torch.where(parallel, 1.0, sine)
    of_start = torch.where(parallel, 1 - ratio, ((1 - ratio) * angle).sin() / sine)
    of_end = torch.where(parallel, ratio, (ratio * angle).sin() / sine)
    return of_start * start + of_end * end


def between_pairs(
    codes: Tensor, generator: Generator, *, pairs: int = 10_000, ratio: float | None = 0.5
) -> Tensor:
    """Codes between those of random pairs of images, as Table 5 of takida2022 measures them.

    Parameters
    ----------
    codes
        `(N, d_z)`, N at least 2.
    generator
        On the CPU, for the pairs and their ratios. The two of a pair are different images.
    pairs
        Number of pairs.
    ratio
        In [0, 1]; 0.5 is the mid-point. None: uniformly random, one of each pair.

    Returns
    -------
    Tensor
        `(pairs, d_z)`.

    Raises
    ------
    ValueError
        If an argument is out of range, or a code is not finite.
    """
    check_finite(codes=codes)
    if codes.ndim != 2 or len(codes) < 2:
        raise ValueError(f"needs codes (N, d_z) with N >= 2, received shape {tuple(codes.shape)}")
    check_count(pairs=pairs)
    if ratio is not None and not (isinstance(ratio, numbers.Real) and 0 <= ratio <= 1):
        raise ValueError(f"needs a ratio in [0, 1] or None, received {ratio!r}")
    first = torch.randint(len(codes), (pairs,), generator=generator)
    further = torch.randint(1, len(codes), (pairs,), generator=generator)
    second = (first + further) % len(codes)
    if ratio is not None:
        return slerp(codes[first], codes[second], ratio)
    ratios = torch.rand(pairs, 1, generator=generator).to(codes)
    return slerp(codes[first], codes[second], ratios)
