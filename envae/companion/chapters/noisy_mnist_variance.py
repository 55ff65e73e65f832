"""Chapter 06: figures of the noise that was put in, and of the noise that is found."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor


def deviations(cells: pd.DataFrame, levels: Sequence[float], *, tolerance: float) -> Figure:
    """How far each cell lies from its target, a panel for each variance: `fig-deviation`.

    Parameters
    ----------
    cells
        Columns `row` (where it is drawn, in the order of the lines), `s2`, `kind`, `deviation` and
        `half`, as `noise_recovery.cells` has them.
    levels
        Variances of the noise.
    tolerance
        Half the height of the grey band, relative.
    """
    figure, axes = plt.subplots(1, len(levels), figsize=(10, 3.8), sharey=True, squeeze=False)
    order = list(dict.fromkeys(cells["row"]))
    ticks = [-50, -20, -10, 0, 10, 20, 50, 200, 1000]
    for axis, s2 in zip(axes[0], levels, strict=True):
        axis.axhspan(-100 * tolerance, 100 * tolerance, color="0.88")
        of_level = cells[cells["s2"] == s2]
        for kind, colour, shift in (("noisy", "C0", -0.16), ("clean", "C1", 0.16)):
            of_kind = of_level[of_level["kind"] == kind]
            by_row = of_kind.groupby("row")["row"]
            rank = by_row.cumcount() - by_row.transform("size") / 2
            axis.errorbar(
                of_kind["row"].map(order.index) + shift + 0.022 * rank,
                100 * of_kind["deviation"],
                100 * of_kind["half"],
                fmt="o",
                ms=3,
                lw=0.8,
                color=colour,
                label=kind,
            )
        axis.set_xticks(range(len(order)), order, fontsize="small")
        axis.set_title(f"$s_x^2$ = {s2:g}")
        axis.set_yscale("symlog", linthresh=20)
        axis.set_yticks(ticks, ticks)
    axes[0, 0].set_ylabel("deviation from target, %")
    axes[0, -1].legend()
    figure.tight_layout()
    return figure


def pattern_maps(
    maps: Mapping[str, Mapping[str, Tensor]], small: Tensor, *, highest: float
) -> Figure:
    """Variances per pixel, averaged over each of two groups of images: `fig-maps`.

    Parameters
    ----------
    maps
        For each pattern (row) and title (column), a map for each image `(N, 1, H, W)`.
    small
        Which images are of the left group, boolean `(N,)`.
    highest
        Upper end of the scale of colours.
    """
    columns = len(next(iter(maps.values())))
    figure, axes = plt.subplots(len(maps), columns, figsize=(11, 4.2), layout="constrained")
    for row, (pattern, of_pattern) in zip(axes, maps.items(), strict=True):
        for axis, values in zip(row, of_pattern.values(), strict=True):
            left, right = (values[group].mean((0, 1)) for group in (small, ~small))
            gap = left.new_full((len(left), 1), float("nan"))
            drawn = axis.imshow(
                torch.cat([left, gap, right], dim=1).numpy(), vmin=0, vmax=highest, cmap="viridis"
            )
            _bare(axis)
        row[0].set_ylabel(
            pattern.replace("-", "-\n"), rotation=0, ha="right", va="center", fontsize="small"
        )
    _title(axes[0], next(iter(maps.values())))
    figure.colorbar(drawn, ax=axes, shrink=0.6, label="variance")
    return figure


def single_images(
    images: Tensor, maps: Mapping[str, Tensor], picked: Sequence[int], *, highest: float
) -> Figure:
    """Some images, and maps of each of them: `fig-single`.

    Parameters
    ----------
    images
        `(N, C, H, W)`.
    maps
        For each title, a map for each image `(N, C, H, W)`.
    picked
        Indices of the images shown, one row each.
    highest
        Upper end of the maps' scale of colours.
    """
    figure, axes = plt.subplots(
        len(picked), len(maps) + 1, figsize=(10.5, 2.9), layout="constrained"
    )
    for row, index in zip(axes, picked, strict=True):
        row[0].imshow(images[index].mean(0).numpy(), vmin=0, vmax=1, cmap="gray")
        for axis, values in zip(row[1:], maps.values(), strict=True):
            axis.imshow(values[index].mean(0).numpy(), vmin=0, vmax=highest, cmap="viridis")
        for axis in row:
            _bare(axis)
    _title(axes[0], ["noisy image", *maps])
    return figure


def _bare(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _title(row: Iterable[Axes], titles: Iterable[str]) -> None:
    """Titles above the panels of the first row."""
    for axis, title in zip(row, titles, strict=True):
        axis.set_title(title, fontsize="small")
