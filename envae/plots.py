"""One style for every figure."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from torch import Tensor

# Opaque, since a transparent figure is unreadable on a dark page.
_STYLE = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 110,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "legend.frameon": False,
    "lines.linewidth": 2,
}


def use_style() -> None:
    """Make the book's style the default of this process."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", rc=_STYLE)


def image_rows(rows: dict[str, Tensor], *, columns: int = 10) -> Figure:
    """Images in labelled rows.

    Parameters
    ----------
    rows
        For each label, images `(N, C, H, W)` in [0, 1] with C = 1 or 3.
    columns
        Images shown of each row, the first ones.
    """
    strips = {label: _strip(images[:columns]) for label, images in rows.items()}
    figure, axes = plt.subplots(
        len(rows), 1, squeeze=False, figsize=(0.72 * columns + 1.2, 0.74 * len(rows) + 0.1)
    )
    for axis, (label, strip) in zip(axes[:, 0], strips.items(), strict=True):
        axis.imshow(strip, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
    figure.tight_layout(pad=0.3)
    return figure


def _strip(images: Tensor) -> np.ndarray:
    """Images side by side with a light gap, `(H, W')` or `(H, W', 3)`."""
    images = images.detach().cpu().clamp(0, 1)
    gap = images.new_full((*images.shape[1:3], 1), 0.85)
    tiles = [part for image in images for part in (image, gap)][:-1]
    strip = np.concatenate([tile.numpy() for tile in tiles], axis=2)  # (C, H, W')
    return strip.transpose(1, 2, 0) if strip.shape[0] == 3 else strip[0]
