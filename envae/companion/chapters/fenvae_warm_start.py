"""Chapter 13: figures of FEnVAE trained from warm starts, and rules of verdicts."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from envae.companion.claims import Finding
from envae.companion.differences import paired
from envae.companion.plots import colour_of, label_ticks, plain_ticks

COLORS = {row: colour_of(row) for row in ("L2", "EnVAE, M = 2", "FEnVAE", "FEnVAE, ramp")}


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
    figure, [axes] = plt.subplots(1, len(columns), figsize=(9.5, 3.2), sharey=True, squeeze=False)
    for axis, (column, label) in zip(axes, columns.items(), strict=True):
        for i, (row, color) in enumerate(COLORS.items()):
            values = runs.xs(row, level="row")[column]
            heights = [
                -starts.index(start) + 0.24 - 0.16 * i
                for start in values.index.get_level_values("start")
            ]
            axis.plot(values, heights, "o", markersize=4, color=color, label=row)
        axis.set(xscale="log", xlabel=label)
        plain_ticks(axis.xaxis)
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
    figure, [axes] = plt.subplots(1, len(starts), figsize=(8.5, 3.3), sharey=True, squeeze=False)
    for axis, start in zip(axes, starts, strict=True):
        for row, color in COLORS.items():
            values = runs.loc[row, start]["fd_generated"].unstack("seed")
            axis.plot(values.mean(axis=1), color=color, label=row)
            axis.plot(values, "o", markersize=3, color=color)
        axis.set(xscale="log", yscale="log", xlabel="epochs, the start's among them")
        axis.set_title(f"start: {start}")
        label_ticks(axis.xaxis, values.index)
    plain_ticks(axes[0].yaxis)
    axes[0].set_ylabel(label)
    axes[0].legend(fontsize="small", loc="upper right")
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
    figure, [axes] = plt.subplots(1, len(panels), figsize=(8.5, 3.3), squeeze=False)
    for axis, (column, label) in zip(axes, panels.items(), strict=True):
        for row in runs.index.unique("row"):
            values = runs.xs(row, level="row")[column].unstack("seed")
            axis.plot(values.mean(axis=1), color=COLORS[row], label=row)
            axis.plot(values, "o", markersize=3, color=COLORS[row])
        axis.set(xscale="log", yscale="log", xlabel="latent dimension", ylabel=label)
        label_ticks(axis.xaxis, values.index)
        plain_ticks(axis.yaxis)
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
    plain_ticks(axis.xaxis)
    plain_ticks(axis.yaxis)
    axis.legend(fontsize="small", loc="center right", bbox_to_anchor=(1, 0.69))
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
    figure, [axes] = plt.subplots(
        1, len(own_network), figsize=(9.5, 3.2), sharex=True, squeeze=False
    )
    for axis, (row, pair) in zip(axes, own_network.items(), strict=True):
        axis.plot(*one_network[row], ".", markersize=3, color="C2", alpha=0.6)
        axis.plot(*pair, ".", markersize=3, color="C0")
        axis.set(title=row, xlabel="spread of 100 draws", ylabel="second term")
    figure.tight_layout()
    return figure


# --- what the runs on one data set say of the claims -------------------------------------------

_PAIRS = (("FEnVAE", "L2"), ("EnVAE, M = 2", "L2"), ("FEnVAE", "EnVAE, M = 2"))
_TERMS = ["EnVAE, M = 2", "EnVAE, M = 10"]  # that FEnVAE's second term is held against


def orders(fd: pd.Series) -> pd.DataFrame:
    """FD of samples of one row beside another, by the 95 % interval of the difference.

    Parameters
    ----------
    fd
        Indexed by `row`, `start`, `epochs` and `seed`; the same seeds for all rows.

    Returns
    -------
    DataFrame
        Below, above or not apart, a column for each pair; indexed by `start` and `epochs`.
    """
    by_seed = fd.unstack("seed").sort_index()
    courses = by_seed.groupby(level=["start", "epochs"], sort=False).groups
    return pd.DataFrame(
        {
            (start, epochs): {
                f"{row} beside {other}": paired(
                    by_seed.loc[row, start, epochs], by_seed.loc[other, start, epochs]
                ).apart
                for row, other in _PAIRS
            }
            for _, start, epochs in (rows[0] for rows in courses.values())
        }
    ).T.rename_axis(["start", "epochs"])


def of_courses(orders: pd.DataFrame) -> dict[str, Finding]:
    """Whether EnVAE, FEnVAE and L2 come in this order at every length, and FEnVAE before L2.

    Parameters
    ----------
    orders
        As :func:`orders` gives them.

    Returns
    -------
    dict of str to Finding
        `order`, `fast`.
    """
    fast_l2, two_l2, _ = (orders[f"{row} beside {other}"] for row, other in _PAIRS)
    ahead = (two_l2 == "below").groupby(level="start").all()
    below, above = (fast_l2 == "below").sum(), (fast_l2 == "above").sum()
    told = (
        f"FEnVAE's FD of samples below L2's at {below} of {len(orders)} starts and lengths, above "
        f"at {above}"
    )
    return {
        "order": Finding(
            bool(ahead.all()) and below == len(orders),
            bool(ahead.any()),
            f"EnVAE with 2 draws below L2 at every length from {ahead.sum()} of {len(ahead)} "
            f"starts; {told}",
        ),
        "fast": Finding(below == len(orders), bool(below), told),
    }


def of_sizes(by_size: pd.DataFrame) -> Finding:
    """Whether FEnVAE's samples match EnVAE's at a small code and fall behind at a large one.

    Parameters
    ----------
    by_size
        `fd_generated` and `posterior_variance`, indexed by `d_z` (8 and 128 among them), `row`
        and `seed`.
    """
    mean = by_size.groupby(level=["row", "d_z"])[["fd_generated", "posterior_variance"]].mean()
    gap = mean.loc["FEnVAE", "fd_generated"] / mean.loc["EnVAE, M = 2", "fd_generated"]
    matches, widens = bool(gap[8] < 1.1), bool(gap[128] > gap[8])
    return Finding(
        matches and widens,
        matches or widens,
        f"FEnVAE's FD {'within' if matches else 'not within'} 10 % of EnVAE's at d_z 8, the ratio "
        f"of the two {'larger' if widens else 'not larger'} at 128; EnVAE's posterior variance at "
        f"8 is {mean.loc[('EnVAE, M = 2', 8), 'posterior_variance']:.1f}",
    )


def of_terms(correlations: pd.DataFrame) -> Finding:
    """Whether FEnVAE's second term goes with that of many draws as those of EnVAE do.

    Parameters
    ----------
    correlations
        As `fenvae.term_correlations` gives them, means over the seeds.
    """
    below = {place: bool(r["FEnVAE"] < r[_TERMS].min() - 0.02) for place, r in correlations.items()}
    told = {True: "below", False: "not below"}
    return Finding(
        not any(below.values()),
        not all(below.values()),
        f"r {told[below['same network']]} that of M = 2 and M = 10 on one network for all, "
        f"{told[below['own network']]} it on each one's own",
    )
