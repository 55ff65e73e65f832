"""DistVAE (An and Jeon, 2023): a quantile function per pixel, scored by its CRPS."""

import itertools
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
    steps = len(slopes)
    rises = slopes / steps
    # A step lifts the mean by half its rise, and by all of it for every later step.
    lifts = (torch.arange(steps, 0, -1, device=mean.device, dtype=mean.dtype) - 0.5) / steps
    lowest = mean - (_column(lifts, mean) * rises).sum(0)
    # One after the other: cumsum takes many times as long along a first axis.
    return torch.stack(list(itertools.accumulate([lowest, *rises])))


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
    # Mean of |q - x| along a line that does not cross x: that of its middle. One line at most does,
    # since q is monotone: from a below x to b above it the mean is more, by min(a, b)^2 / (a + b).
    middles = 0.5 * (knots[:-1] + knots[1:])
    distance = (middles - x).abs().mean(0)
    last_below = (knots[1:-1] < x).sum(0, keepdim=True)
    below = (x - knots.gather(0, last_below)[0]).clamp(min=0)
    above = (knots.gather(0, last_below + 1)[0] - x).clamp(min=0)
    rise = (below + above).clamp(min=torch.finfo(x.dtype).tiny)  # of flat steps 0, as the other is
    crossing = torch.minimum(below, above).square() / rise
    # Integral of (2u - 1) q(u), linear in the knots: the trapezoid rule but at the ends.
    u = torch.linspace(0, 1, segments + 1, device=x.device, dtype=x.dtype)
    weights = (2 * u - 1) / segments
    weights[0] = 1 / (3 * segments**2) - 1 / (2 * segments)
    weights[-1] = -weights[0]
    return distance + crossing / segments - (_column(weights, x) * knots).sum(0)


def _column(values: Tensor, like: Tensor) -> Tensor:
    """Values along a first axis in front of those of a tensor."""
    return values.reshape(-1, *[1] * like.ndim)
