"""Mixture of discretized logistics: the likelihood of PixelCNN++ (Salimans et al., 2017)."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import hardtanh, log_softmax, logsigmoid, threshold

from envae.objectives.base import (
    WITH_CHANNELS,
    Takes,
    check_count,
    check_positive,
    register,
    stacked,
)
from envae.objectives.likelihood import Likelihood

_FAR = 1e30  # endless, but zero when multiplied by zero
_WIDE = 15.0  # log scale of a logistic that is flat over all levels, to rounding


@register("mol", paper="Table 4 of takida2022")
class MixtureOfLogistics(Likelihood):
    """Probability of each pixel's grey level under a mixture of logistic distributions.

    Images lie in [0, 1], as everywhere here; the levels of their pixels, scaled to the formula's
    [-1, 1], are 2/(L-1) apart. A level's probability is the mixture's mass within half
    that distance; the lowest and the highest level take the tails. The channels of a pixel share
    their component; the mean of a later channel moves with the values of the earlier ones.

    The decoded image is the mean of the mixture, so that `decode` needs no sampling: components
    are given as offsets from it, and the coupling of channels as a slope on the earlier channel's
    deviation from its own mean. Both are changes of variables of the form in the paper. The head
    has `components * (1 + 2 C + C (C - 1) / 2)` maps: weights, offsets, log scales, slopes.

    Parameters
    ----------
    components
        Number of logistics.
    levels
        Number of grey levels L of the data: 256 for 8-bit images, 17 for digits.
    alpha
        Weight of the KL term; the paper has none here.
    """

    takes = Takes(WITH_CHANNELS, unit_range=True)
    least_log_scale = -7.0  # as PixelCNN++

    def __init__(self, components: int = 10, levels: int = 256, alpha: float = 1.0):
        super().__init__()
        check_positive(alpha=alpha)
        check_count(components=components)
        check_count(2, levels=levels)
        self.components, self.levels, self.kl_weight = components, levels, alpha

    def head_maps(self, channels: int) -> int:
        return self.components * (1 + 2 * channels + channels * (channels - 1) // 2)

    def per_image(self, x: Tensor, image: Tensor, head: Any = None) -> Tensor:
        if not stacked(x):
            self.check_range(x=x)
        value = 2 * x.unsqueeze(1) - 1  # (B, 1, C, H, W)
        center = 2 * image.unsqueeze(1) - 1
        log_weight, deviation, log_scale = self._components(value - center, head)
        log_mass = _log_mass(value, deviation, log_scale, self.levels).sum(2)  # (B, K, H, W)
        return -torch.logsumexp(log_weight + log_mass, dim=1).flatten(1).sum(1)

    def _components(self, residual: Tensor, head: Tensor) -> tuple[Tensor, ...]:
        """Log weights `(B, K, H, W)`; deviations from each mean, log scales `(B, K, C, H, W)`.

        `residual` is the deviation from the mixture's mean, `(B, 1, C, H, W)`.
        """
        channels = residual.shape[2]
        maps = head.unflatten(1, (self.components, -1))  # (B, K, maps, H, W)
        pairs = channels * (channels - 1) // 2
        weight, offset, log_scale, slope = maps.split([1, channels, channels, pairs], dim=2)
        log_weight = log_softmax(weight.squeeze(2), dim=1)
        mean_offset = (log_weight.exp().unsqueeze(2) * offset).sum(1, keepdim=True)
        deviation = (residual + mean_offset) - offset
        if channels > 1:
            slopes = torch.tanh(slope).split(list(range(channels)), dim=2)
            shifts = [  # of a channel, on the ones before it
                (of_channel * deviation[:, :, :channel]).sum(2)
                for channel, of_channel in enumerate(slopes)
            ]
            deviation = deviation - torch.stack(shifts, dim=2)
        # As `clamp`, whose gradient is several operations.
        least = self.least_log_scale
        return log_weight, deviation, threshold(log_scale, least, least)


def _log_mass(value: Tensor, deviation: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """Log probability of grey levels on [-1, 1] under discretized logistics, elementwise.

    `deviation` is the level's value less the logistic's mean.
    """
    half = 1 / (levels - 1)
    # How far a level reaches to both sides of its value.
    lowest, highest = value < half - 1, value > 1 - half
    down = torch.full_like(value, half).masked_fill(lowest, _FAR)
    up = torch.full_like(value, half).masked_fill(highest, _FAR)
    capped = hardtanh(log_scale, -_WIDE, _WIDE)  # at the upper end; the lower one is out of reach
    precision = torch.exp(-capped)
    # ln(sigmoid(a) - sigmoid(-b)) = ln(sigmoid(a) sigmoid(b) (1 - exp(-a - b))), whose factors
    # neither vanish nor cancel; where a or b is far, its factor and the last one are 1. Where the
    # logistic is wide, the last one is a + b, which would underflow if it were wider still.
    inside = (~(lowest | highest)).to(log_scale.dtype)
    return (
        logsigmoid((up + deviation) * precision)
        + logsigmoid((down - deviation) * precision)
        + torch.log(-torch.expm1(-(up + down) * precision))
        - inside * (log_scale - capped)
    )
