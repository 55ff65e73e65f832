"""Where training images are held, and how batches of them get to the device."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

# Looked up rather than computed on the device: a GPU multiplies by 1 / 255 instead of dividing,
# which may change the last bit.
LEVELS = torch.arange(256).float() / 255
_AT_ONCE = 100  # images converted at once: few enough for the processor's cache


class Held:
    """Images on the device where there is room for them, else in the host's memory.

    What goes to a GPU goes as bytes where that loses nothing (:func:`as_bytes`), a quarter of the
    memory. What does not fit is streamed. Batches are float in any case, the same to the last bit.

    Parameters
    ----------
    images
        Float images `(N, ...)`.
    device
        Where the batches are wanted.
    room
        Bytes that the images may take on the device. By default half of what a GPU has free;
        images on a GPU already, and those for any other device, are then put there as they are.
    """

    def __init__(self, images: Tensor, device: torch.device, *, room: int | None = None):
        self.device = device
        self._levels: Tensor | None = None
        if room is None and (device.type != "cuda" or images.device.type != "cpu"):
            self._stored = images.to(device)
            return
        if room is None:
            room = torch.cuda.mem_get_info(device)[0] // 2
        self._stored = images
        if (stored := as_bytes(images)) is not None:
            self._stored, self._levels = stored, LEVELS.to(device)
        if self._stored.nbytes <= room:
            self._stored = self._stored.to(device)

    def __len__(self) -> int:
        return len(self._stored)

    @property
    def place(self) -> torch.device:
        """Where the images lie; batches of what lies elsewhere than on the device are streamed."""
        return self._stored.device

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[Tensor]:
        """Float batches on the device, of the images in their own order or in another.

        Parameters
        ----------
        size
            Images per batch; the last may be smaller: see :func:`batch_sizes`.
        order
            Indices of images, `(M,)`.
        """
        sizes = batch_sizes(len(self) if order is None else len(order), size)
        if order is None:
            parts = self._stored.split(sizes)
        else:
            parts = (self._stored[chosen] for chosen in order.to(self.place).split(sizes))
        for part in parts:
            if self.place.type != self.device.type:
                # From pinned memory the copy runs beside what the device still computes.
                part = part.pin_memory().to(self.device, non_blocking=True)
            yield part if self._levels is None else self._levels[part.int()]


def batches(
    parts: Sequence[Held], size: int, order: Tensor | None = None
) -> Iterator[tuple[Tensor, ...]]:
    """Batches of images and of what belongs to each of them, in one order."""
    return zip(*(part.batches(size, order) for part in parts), strict=True)


def batch_sizes(count: int, size: int) -> list[int]:
    """Sizes of the batches that so many images come in; the last may be smaller.

    One image that is left over joins the batch before it: batch normalization and a discrepancy of
    codes are not defined on one.
    """
    full, left = divmod(count, size)
    if left == 1 and full and size > 1:
        return [size] * (full - 1) + [size + 1]
    return [size] * full + [left] * bool(left)


def as_bytes(images: Tensor) -> Tensor | None:
    """Bytes `k` of images whose every value is `k / 255` to the last bit, as read from files.

    None for all other images. Done in parts, so that no second set of floats is ever held.
    """
    if images.dtype != LEVELS.dtype:
        return None
    held = torch.empty(images.shape, dtype=torch.uint8)
    for values, part in zip(images.split(_AT_ONCE), held.split(_AT_ONCE), strict=True):
        part.copy_((255 * values).round())
        if not torch.equal((part.float() / 255).view(torch.int32), values.view(torch.int32)):
            return None
    return held
