"""Chapter 13: figures of FEnVAE trained from warm starts, beside L2 and EnVAE."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from envae.companion.plots import colour_of, label_ticks

COLORS = {row: colour_of(row) for row in ("L2", "EnVAE, M = 2", "FEnVAE", "FEnVAE, ramp")}
_DISTANCES: list[float] = [1, 2, 3, 5, 10, 20, 40, 100]  # ticks
_OF_PIXELS: list[float] = [0.003, 0.01, 0.03, 0.1, 0.3, 1]


def by_start(runs: pd.DataFrame, columns: dict[str, str]) -> Figure:
    """Quality of samples by start, a panel for each measure: `fig-starts`.

    Parameters
    ----------
    runs
        Columns of measures, indexed by `row`, `start` and `seed`.
    columns
        What each measure is called.
    """
    starts = list(runs.index.unique("start"))
    figure, axes = plt.subplots(1, len(columns), figsize=(9.5, 3.2), sharey=True)
    for axis, (column, label) in zip(axes, columns.items(), strict=True):
        for i, (row, color) in enumerate(COLORS.items()):
            values = runs.xs(row, level="row")[column]
            heights = [
                -starts.index(start) + 0.24 - 0.16 * i
                for start in values.index.get_level_values("start")
            ]
            axis.plot(values, heights, "o", markersize=4, color=color, label=row)
        axis.set(xscale="log", xlabel=label)
        label_ticks(axis.xaxis, _OF_PIXELS if column.startswith("energy") else _DISTANCES)
    axes[0].set_yticks([-i for i in range(len(starts))], starts)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="upper center", ncols=4)
    figure.tight_layout(rect=(0, 0, 1, 0.92))
    return figure


def by_length(runs: pd.DataFrame, *, label: str) -> Figure:
    """Quality of samples by length of the whole training, a panel for each start: `fig-lengths`.

    Parameters
    ----------
    runs
        `fd_generated`, indexed by `row`, `start`, `epochs` and `seed`.
    label
        What the distances are.
    """
    starts = runs.index.unique("start")
    figure, axes = plt.subplots(1, len(starts), figsize=(8.5, 3.3), sharey=True)
    for axis, start in zip(axes, starts, strict=True):
        for row, color in COLORS.items():
            values = runs.loc[row, start]["fd_generated"].unstack("seed")
            axis.plot(values.mean(axis=1), color=color, label=row)
            axis.plot(values, "o", markersize=3, color=color)
        axis.set(xscale="log", yscale="log", xlabel="epochs, the start's among them")
        axis.set_title(f"start: {start}")
        label_ticks(axis.xaxis, values.index)
    label_ticks(axes[0].yaxis, _DISTANCES)
    axes[0].set_ylabel(label)
    axes[1].legend(fontsize="small")
    figure.tight_layout()
    return figure


def by_size(runs: pd.DataFrame, panels: dict[str, str]) -> Figure:
    """Measures by latent dimension: `fig-sizes`.

    Parameters
    ----------
    runs
        Columns of measures, indexed by `d_z`, `row` and `seed`.
    panels
        What each measure is called.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(8.5, 3.3))
    for axis, (column, label) in zip(axes, panels.items(), strict=True):
        for row in runs.index.unique("row"):
            values = runs.xs(row, level="row")[column].unstack("seed")
            axis.plot(values.mean(axis=1), color=COLORS[row], label=row)
            axis.plot(values, "o", markersize=3, color=COLORS[row])
        axis.set(xscale="log", yscale="log", xlabel="latent dimension", ylabel=label)
        label_ticks(axis.xaxis, values.index)
        label_ticks(axis.yaxis, _DISTANCES)
    axes[0].legend(fontsize="small")
    figure.tight_layout()
    return figure


def draws_and_means(values: pd.DataFrame, rows: Sequence[str], *, mean_image: float) -> Figure:
    """Squared error of reconstructions, decoded from draws and from means: `fig-means`.

    Parameters
    ----------
    values
        `squared_error_draw` and `squared_error`, indexed by `row`, `start` and `seed`.
    rows
        Shown, in the order of the legend.
    mean_image
        Squared error of the mean training image shown for every image.
    """
    figure, axis = plt.subplots(figsize=(5.2, 3.6))
    for row in rows:
        of_row = values.xs(row, level="row")
        axis.plot(of_row["squared_error_draw"], of_row["squared_error"], "o", markersize=4,
            color=COLORS[row], label=row)  # fmt: skip
    axis.axhline(mean_image, color="0.4", linestyle=":", label="mean training image")
    axis.set(xscale="log", yscale="log", xlabel="squared error, decoded draws",
        ylabel="squared error, decoded means")  # fmt: skip
    label_ticks(axis.xaxis, [1, 2, 5, 10])
    label_ticks(axis.yaxis, [1, 2, 5, 10, 20, 40])
    axis.legend(fontsize="small", loc="center right", bbox_to_anchor=(1, 0.32))
    return figure


def correlation(
    one_network: Mapping[str, tuple[Tensor, Tensor]],
    own_network: Mapping[str, tuple[Tensor, Tensor]],
) -> Figure:
    """Second terms of the loss against that of many draws, image by image: `fig-correlation`.

    Parameters
    ----------
    one_network, own_network
        For each row the term of many draws and the row's own, `(B,)` each: on the network that
        was trained with ten draws, and on the one that was trained with the row.
    """
    figure, axes = plt.subplots(1, len(own_network), figsize=(9.5, 3.2), sharex=True)
    for axis, (row, pair) in zip(axes, own_network.items(), strict=True):
        axis.plot(*one_network[row], ".", markersize=3, color="C2", alpha=0.6)
        axis.plot(*pair, ".", markersize=3, color="C0")
        axis.set(title=row, xlabel="spread of 100 draws")
    axes[0].set(ylabel="second term")
    figure.tight_layout()
    return figure
