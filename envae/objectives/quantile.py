"""DistVAE (An and Jeon, 2023): a quantile function per pixel, scored by its CRPS."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from envae.objectives.base import Objective, check_count, check_positive, register


@register("distvae", paper="Table 1 and Sec. 6.4.2 of xu2025 (An and Jeon, 2023)")
class DistVAE(Objective):
    """CRPS of a monotone piecewise-linear quantile function per pixel, plus the weighted KL term.

    DistVAE was published for tables; for images every pixel gets a quantile function of its own:
    linear on equal steps of probability, with slopes from the decoder's head (made positive by a
    softplus), `segments * C` maps. Its constant is chosen so that the decoded image is the mean of
    the distribution. The loss is summed over pixels.

    Parameters
    ----------
    segments
        Steps of probability; 10, as in DistVAE's own code.
    alpha
        Weight of the KL term; 0.5 there. xu2025 does not say which it used.
    """

    unit = "data units per image (sum over pixels)"

    def __init__(self, segments: int = 10, alpha: float = 0.5):
        super().__init__()
        check_positive(alpha=alpha)
        check_count(segments=segments)
        self.segments, self.kl_weight = segments, alpha

    def head_maps(self, channels: int) -> int:
        return self.segments * channels

    def per_image(self, x: Tensor, image: Tensor, head: Any = None) -> Tensor:
        slopes = softplus(head.unflatten(1, (self.segments, -1)))  # (B, S, C, H, W)
        knots = quantile_knots(image, slopes.movedim(1, 0))
        return crps_of_quantiles(knots, x).flatten(1).sum(1)


def quantile_knots(mean: Tensor, slopes: Tensor) -> Tensor:
    """Values of a piecewise-linear quantile function at equal steps of probability.

    Parameters
    ----------
    mean
        Mean of the distribution, any shape.
    slopes
        Slopes on S steps of probability from 0 to 1, `(S, *shape of mean)`, not negative.

    Returns
    -------
    Tensor
        `(S + 1, *shape of mean)`, from the smallest to the largest value.
    """
    rises = slopes / len(slopes)
    above = torch.cat([torch.zeros_like(mean)[None], rises.cumsum(0)])  # above the lowest value
    average = 0.5 * (above[:-1] + above[1:]).mean(0)
    return mean - average + above


def crps_of_quantiles(knots: Tensor, x: Tensor) -> Tensor:
    """CRPS of distributions with piecewise-linear quantile functions, in closed form.

    The energy score in one dimension, with X = q(U) for a uniform U:

    .. math:: E|X - x| - \\tfrac12 E|X - X'|
              = \\int_0^1 |q(u) - x|\\, du - \\int_0^1 (2u - 1)\\, q(u)\\, du

    Parameters
    ----------
    knots
        Values of q at S + 1 equal steps of probability from 0 to 1, `(S + 1, *shape of x)`.
    x
        Observations, any shape.

    Returns
    -------
    Tensor
        Shape of x, in units of the data.
    """
    segments = len(knots) - 1
    below, above = knots[:-1] - x, knots[1:] - x  # (S, *shape)
    # Mean of |.| along a line from `below` to `above`: they agree in sign, or cross zero.
    crosses = (below < 0) & (above > 0)
    rise = torch.where(crosses, above - below, 1)
    crossing = (below.square() + above.square()) / (2 * rise)
    distance = torch.where(crosses, crossing, 0.5 * (below + above).abs()).mean(0)
    # Integral of (2u - 1) q(u) over the step from u to u + h, for a linear q.
    step = 1 / segments
    start = torch.arange(segments, device=x.device, dtype=x.dtype) * step
    start = start.reshape(-1, *[1] * x.ndim)
    low, high = knots[:-1], knots[1:]
    moment = (2 * start - 1) * (low + high) / 2 + 2 * step * (low / 6 + high / 3)
    return distance - (step * moment).sum(0)
