"""Objectives that compare images as images: structural similarity and focal frequency loss."""

from typing import Any

import torch
from pytorch_msssim import ssim
from torch import Tensor

from envae.objectives.base import (
    IMAGES,
    Objective,
    Parts,
    Takes,
    check_positive,
    register,
    stacked,
)


@register("ssim", paper="Table 1 and Eqs. 22-23 of xu2025")
class SSIM(Objective):
    """1 - SSIM(x, g(z)) of images in [0, 1], by pytorch-msssim, plus the weighted KL term.

    Parameters
    ----------
    alpha
        Weight of the KL term.
    window
        Side of the Gaussian window in pixels, odd. By default 11, as the package has it, or the
        largest odd number of pixels that fits into the image.
    """

    takes = Takes(IMAGES, unit_range=True)
    unit = "1 - SSIM per image"

    def __init__(self, alpha: float = 1e-3, window: int | None = None):
        super().__init__()
        check_positive(alpha=alpha)
        if window is not None and (window < 3 or window % 2 == 0):
            raise ValueError(f"window must be an odd number of pixels from 3 up, received {window}")
        self.kl_weight, self.window = alpha, window

    def per_image(self, x: Tensor, image: Tensor, head: Any = None) -> Tensor:
        fits = min(x.shape[-2:]) - 1 + min(x.shape[-2:]) % 2
        window = self.window or min(11, fits)
        if window > fits or window < 3:
            raise ValueError(
                f"ssim with a window of {max(window, 3)} pixels needs images (B, C, H, W) of at "
                f"least that size, received {tuple(x.shape)}"
            )
        if not stacked(x):
            self.check_range(x=x)
        return 1 - ssim(image, x, data_range=1, size_average=False, win_size=window)


@register("ffl", paper="Table 1 of xu2025 (Jiang et al., 2021)")
class FFL(Objective):
    """Half the squared error plus the focal frequency loss, plus the weighted KL term.

    The focal frequency loss weighs the squared error of each spatial frequency by its own size, so
    that what is hard to reconstruct counts more. It is that of its authors' package, whose code
    looks at values and so cannot be evaluated for several models at once; the package returns a
    mean over pixels, here it is times the number of pixels, like the squared error beside it.

    Parameters
    ----------
    weight
        Weight of the focal frequency loss beside the squared error. Its authors use 100 in an
        autoencoder; xu2025 does not say which it used.
    focus
        Exponent of the frequency weights (alpha of focal-frequency-loss).
    alpha
        Weight of the KL term.
    """

    takes = Takes(IMAGES)
    unit = "squared data units per image"

    def __init__(self, weight: float = 1.0, focus: float = 1.0, alpha: float = 0.1):
        super().__init__()
        check_positive(weight=weight, focus=focus, alpha=alpha)
        self.weight, self.focus, self.kl_weight = weight, focus, alpha

    def reconstruct(self, x: Tensor, images: Tensor, heads: Any) -> tuple[Tensor, Parts]:
        difference = x - images[0]
        squared_error = difference.square().flatten(1).sum(1)
        frequency = focal_frequency_loss(difference, self.focus)
        parts = {"squared_error": squared_error, "frequency": frequency}
        return 0.5 * squared_error + self.weight * frequency, parts


def focal_frequency_loss(difference: Tensor, focus: float) -> Tensor:
    """Squared error of each spatial frequency times its weight, summed, `(B,)`.

    Eqs. 8-9 of Jiang et al. (2021), in squared data units per image.

    Parameters
    ----------
    difference
        Of observed and decoded images, `(B, C, H, W)`.
    focus
        Exponent of the weights: sizes of the errors over the largest of their image and channel.
    """
    dtype = torch.promote_types(difference.dtype, torch.float32)
    frequency = torch.fft.fft2(difference.to(dtype), norm="ortho")
    squared = frequency.real.square() + frequency.imag.square()
    with torch.no_grad():
        size = squared ** (focus / 2)
        largest = size.amax((-2, -1), keepdim=True)
        weight = size / largest.masked_fill(largest == 0, 1)
    return (weight * squared).flatten(1).sum(1)
