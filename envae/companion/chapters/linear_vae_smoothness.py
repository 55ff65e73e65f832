"""Chapter 05: tables and figures of the sweeps over a variance."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from envae.experiments.variance_sweeps import COLUMNS
from envae.theory import linear


def beside(published: pd.DataFrame, recorded: pd.DataFrame, computed: pd.DataFrame) -> pd.DataFrame:
    """Published, recorded and computed values of a sweep, the columns of Table 1 side by side.

    Parameters
    ----------
    published, recorded
        As `variance_sweeps` gives them.
    computed
        Metrics of `measures.collapse`, indexed by `point` and `seed`.

    Returns
    -------
    DataFrame
        Texts, mean ± standard deviation over the seeds where computed; a row for each computed
        point, the largest first.
    """
    by_point = computed.groupby("point")
    mean, spread = by_point.mean(), by_point.std().fillna(0)
    table = {
        ("published", column): published[column].map("{:.3g}".format)
        for column in COLUMNS
        if column in published
    }
    for column, ours in COLUMNS.items():
        if recorded[ours].notna().any():
            table["recorded", column] = recorded[ours].map("{:.3g}".format)
    for column, ours in COLUMNS.items():
        if ours in computed and mean[ours].notna().all():
            text = mean[ours].map("{:.3g}".format) + spread[ours].map(" ± {:.1g}".format)
            table["computed", column] = text
    points = sorted(mean.index, reverse=True)
    return pd.DataFrame(table).reindex(points).fillna("–").rename_axis("log10")


def table_one(
    published: Mapping[str, pd.DataFrame],
    recorded: Mapping[str, pd.DataFrame],
    computed: Mapping[str, pd.DataFrame],
) -> Figure:
    """Table 1 as curves: `fig-table-one`.

    Parameters
    ----------
    published, computed
        Sweeps by their kind, `stochastic` and `deterministic`, as :func:`beside` takes them.
    recorded
        Two stochastic sweeps by the name that the legend gives them.
    """
    figure, axes = plt.subplots(2, 3, figsize=(10, 6), sharex=True)
    titles = {
        "MSE": "squared error",
        "KL": "KL (nats)",
        "sigma_z2": r"$\sigma_z^2$",
        "gap_1e2": r"expected gap, $s_z^2 = 10^{-2}$",
        "ELS": "ELS",
    }
    of_runs = ({"marker": "x", "color": "0.3", "ms": 5}, {"marker": "+", "color": "C4", "ms": 6})
    of_paper = {"color": "0.6", "ls": "--", "label": "published, stochastic"}
    without_noise = {"color": "C1", "alpha": 0.6, "ls": "--", "label": "published, deterministic"}
    for axis, (column, title) in zip(axes.flat, titles.items(), strict=False):
        ours = COLUMNS[column]
        _band(axis, computed["stochastic"], ours, color="C0", label="computed, stochastic")
        for (name, frame), style in zip(recorded.items(), of_runs, strict=True):
            axis.plot(frame[ours], ls="", label=f"recorded, {name}", **style)
        axis.plot(published["stochastic"][column], **of_paper)
        if ours in computed["deterministic"]:
            _band(
                axis, computed["deterministic"], ours, color="C1", label="computed, deterministic"
            )
            axis.plot(published["deterministic"][column], **without_noise)
        axis.set(title=title, yscale="linear" if column == "KL" else "log")
        if column in ("gap_1e2", "ELS"):
            axis.set_ylim(bottom=1e-4)
    _information(axes[1, 2], published["stochastic"], computed["stochastic"])
    for axis in axes[1]:
        axis.set_xlabel(r"$\log_{10}\sigma_x^2$ / unit")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower center", ncols=3)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    return figure


def _information(axis: Axes, published: pd.DataFrame, computed: pd.DataFrame) -> None:
    """The last panel of :func:`table_one`: three estimates, and the published one."""
    named = {
        "mi_code_low": ("code, same images", "C0"),
        "mi_code_high": ("code, other images", "C2"),
        "mi_image_high": ("image, other images", "C3"),
    }
    for column, (_, colour) in named.items():
        _band(axis, computed, column, color=colour)
    axis.plot(published["MI"], color="0.6", linestyle="--")
    axis.set(title="mutual information (nats)", yscale="symlog")
    for place, (name, colour) in enumerate([("published", "0.6"), *reversed(named.values())]):
        height = 0.02 + 0.08 * place
        axis.text(0.02, height, name, color=colour, transform=axis.transAxes, fontsize=9)


def table_e8(
    published: pd.DataFrame,
    recorded: pd.DataFrame,
    computed: pd.DataFrame,
    *,
    spectrum: Tensor,
    latent_dim: int,
    threshold: float,
) -> Figure:
    """Table E.8 as curves: `fig-table-e8`.

    Parameters
    ----------
    published, recorded, computed
        As :func:`beside` takes them.
    spectrum, latent_dim
        Eigenvalues `(n,)` of the data, and d_z, for the linear model's curves.
    threshold
        Posterior variance from which the linear model is empty.
    """
    grid = torch.linspace(-1, 1, 60, dtype=torch.float64).tolist()
    exact = pd.DataFrame(
        [
            dataclasses.asdict(linear.optimum_at_posterior_variance(spectrum, latent_dim, 10**t))
            for t in grid
        ],
        index=grid,
    )
    figure, axes = plt.subplots(1, 3, figsize=(10, 4))
    panels = {
        "els": ("ELS", "expected_local_smoothness", {"yscale": "log", "ylim": (1e-4, None)}),
        "kl": ("KL", "kl", {}),
        "mi_code_low": (None, "information", {}),
    }
    titles = ("ELS", "KL (nats)", r"$I(x; z)$, same images (nats)")
    for axis, title, (ours, (theirs, closed_form, scale)) in zip(
        axes, titles, panels.items(), strict=True
    ):
        _band(axis, computed, ours, color="C0", label="computed")
        axis.plot(exact[closed_form], color="C0", linewidth=1, linestyle=":", label="linear model")
        axis.plot(recorded[ours], "x", color="0.3", label="recorded")
        if theirs:
            axis.plot(published[theirs], color="0.6", linestyle="--", label="published")
        axis.axvline(math.log10(threshold), color="0.8", linewidth=1, linestyle=":")
        axis.set(title=title, xlabel=r"$\log_{10}\sigma_z^2$", **scale)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=4)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    return figure


def _band(axis: Axes, frame: pd.DataFrame, column: str, **style: Any) -> None:
    """Mean over seeds with a band from the smallest to the largest."""
    by_point = frame[column].groupby("point")
    mean = by_point.mean()
    (line,) = axis.plot(mean.index, mean, **style)
    axis.fill_between(
        mean.index, by_point.min(), by_point.max(), alpha=0.25, color=line.get_color()
    )
