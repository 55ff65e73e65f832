"""Mixture of discretized logistics: the likelihood of PixelCNN++ (Salimans et al., 2017)."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid, softplus

from envae.objectives.base import check_count, register
from envae.objectives.likelihood import Likelihood


@register("mol", paper="Table 4 of takida2022")
class MixtureOfLogistics(Likelihood):
    """Probability of each pixel's grey level under a mixture of logistic distributions.

    Levels are 2/(L-1) apart on [-1, 1]. A level's probability is the mixture's mass within half
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
    """

    least_log_scale = -7.0  # as PixelCNN++

    def __init__(self, components: int = 10, levels: int = 256):
        super().__init__()
        check_count(components=components)
        check_count(2, levels=levels)
        self.components, self.levels = components, levels

    def head_maps(self, channels: int) -> int:
        return self.components * (1 + 2 * channels + channels * (channels - 1) // 2)

    def per_image(self, x: Tensor, image: Tensor, head: Any = None) -> Tensor:
        log_weight, mean, log_scale = self._components(x, image, head)
        value = 2 * x.unsqueeze(1) - 1  # (B, 1, C, H, W)
        log_mass = _log_mass(value, mean, log_scale, self.levels).sum(2)  # (B, K, H, W)
        return -torch.logsumexp(log_weight + log_mass, dim=1).flatten(1).sum(1)

    def _components(self, x: Tensor, image: Tensor, head: Tensor) -> tuple[Tensor, ...]:
        """Log weights `(B, K, H, W)`, and means and log scales `(B, K, C, H, W)` given x."""
        channels = x.shape[1]
        maps = head.unflatten(1, (self.components, -1))  # (B, K, maps, H, W)
        pairs = channels * (channels - 1) // 2
        weight, offset, log_scale, slope = maps.split([1, channels, channels, pairs], dim=2)
        log_weight = log_softmax(weight.squeeze(2), dim=1)
        centered = offset - (log_weight.exp().unsqueeze(2) * offset).sum(1, keepdim=True)
        mean = 2 * image.unsqueeze(1) - 1 + centered  # (B, K, C, H, W)
        deviation = 2 * x.unsqueeze(1) - 1 - mean
        slope = torch.tanh(slope)
        conditional, used = [], 0
        for channel in range(channels):  # at most three, each on the ones before it
            of_channel = slope[:, :, used : used + channel]
            shift = (of_channel * deviation[:, :, :channel]).sum(2)
            conditional.append(mean[:, :, channel] + shift)
            used += channel
        return log_weight, torch.stack(conditional, dim=2), log_scale.clamp(self.least_log_scale)


def _log_mass(value: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """Log probability of grey levels on [-1, 1] under discretized logistics, elementwise."""
    half = 1 / (levels - 1)
    upper = (value - mean + half) * torch.exp(-log_scale)
    lower = (value - mean - half) * torch.exp(-log_scale)
    # ln(sigmoid(upper) - sigmoid(lower)), by factors that neither vanish nor cancel.
    width = (upper - lower).clamp(min=1e-12)
    between = logsigmoid(upper) - softplus(lower) + torch.log(-torch.expm1(-width))
    lowest, highest = value < half - 1, value > 1 - half
    inside = torch.where(lowest, logsigmoid(upper), between)
    return torch.where(highest, -softplus(lower), inside)
