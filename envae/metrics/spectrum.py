"""Power spectra of images: how much of them is coarse, how much fine (Sec. 6.8 of xu2025)."""

import torch
from torch import Tensor

from envae.objectives.base import check_finite

HIGH = 0.25  # cycles per pixel: half of the highest frequency along an axis


def power(images: Tensor) -> Tensor:
    """Power at every spatial frequency, in the order of `torch.fft.fftfreq`.

    .. math:: P(k) = \\Big|\\frac1{\\sqrt{HW}} \\sum_p x_p\\, e^{-2\\pi i k \\cdot p}\\Big|^2

    so that the power of an image adds up to the sum of its squared values (Parseval).

    Parameters
    ----------
    images
        `(..., H, W)`.

    Returns
    -------
    Tensor
        In the shape of the images.

    Raises
    ------
    ValueError
        If there are none, or they are no floating-point tensor of finite values.
    """
    check_finite(images=images)
    if not images.numel():
        raise ValueError(f"needs images (..., H, W), received none: shape {tuple(images.shape)}")
    return torch.fft.fft2(images, norm="ortho").abs().square()


def frequency(height: int, width: int) -> Tensor:
    """Distance of every spatial frequency from zero, `(H, W)`, in cycles per pixel."""
    vertical, horizontal = torch.fft.fftfreq(height), torch.fft.fftfreq(width)
    return torch.hypot(vertical[:, None], horizontal[None, :])


def radial_power(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean power by distance from frequency zero, in rings one step of the shorter side wide.

    Parameters
    ----------
    images
        `(N, C, H, W)`; the mean is over all of them and their channels.

    Returns
    -------
    tuple
        The frequencies of the rings in cycles per pixel, and their power, `(rings,)` each. The
        first ring is the mean value alone.
    """
    side = min(images.shape[-2:])
    ring = (frequency(*images.shape[-2:]) * side).round().long().to(images.device).flatten()
    of_images = power(images).mean((0, 1)).flatten()
    count = int(ring.max()) + 1
    total = of_images.new_zeros(count).index_add(0, ring, of_images)
    return torch.arange(count) / side, total / ring.bincount(minlength=count)


def energy_above(images: Tensor, lowest: float = HIGH) -> float:
    """Power per image at frequencies from `lowest` on, in squared data units.

    Parameters
    ----------
    images
        `(N, C, H, W)`; the mean is over the images, the sum over channels and frequencies.
    lowest
        Cycles per pixel.

    Raises
    ------
    ValueError
        If no frequency is that high.
    """
    high = frequency(*images.shape[-2:]).to(images.device) >= lowest
    if not high.any():
        raise ValueError(f"images of {tuple(images.shape[-2:])} have no frequency from {lowest} on")
    return power(images)[..., high].flatten(1).sum(1).mean().item()


def decibels(images: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Radial power over that of other images, in decibels.

    Parameters
    ----------
    images, reference
        `(N, C, H, W)` and `(N', C, H, W)`, of any range, both in one unit: the ratio is that of
        their units too, 48 dB where one is in [0, 1] and the other in [0, 255].

    Returns
    -------
    tuple
        Frequencies in cycles per pixel, and 10 log10 of the ratio, as :func:`radial_power`.

    Raises
    ------
    ValueError
        If they differ in size.
    """
    if images.shape[1:] != reference.shape[1:]:
        raise ValueError(
            f"images and reference must be of one size, received {tuple(images.shape[1:])} "
            f"and {tuple(reference.shape[1:])}"
        )
    frequencies, of_images = radial_power(images)
    return frequencies, 10 * (of_images / radial_power(reference)[1]).log10()


def decibels_apart(images: Tensor, reference: Tensor) -> float:
    """Log-spectral distance: root mean square of :func:`decibels` over the rings."""
    return decibels(images, reference)[1].square().mean().sqrt().item()
