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
from matplotlib.lines import Line2D
from torch import Tensor

from envae.experiments.variance_sweeps import COLUMNS
from envae.theory import linear


def beside(criteria: Mapping[str, str], **sources: pd.DataFrame) -> pd.DataFrame:
    """A sweep's criteria as several sources have them, the sources side by side for each criterion.

    Parameters
    ----------
    criteria
        Columns of Table 1, keys of `variance_sweeps.COLUMNS`, and how a page heads them.
    sources
        As `variance_sweeps` gives them, or metrics of `measures.collapse`, indexed by `point` and
        `seed`.

    Returns
    -------
    DataFrame
        Texts, as :func:`over_seeds` makes them, in columns (criterion, source) but for those that
        a source has not; a row for each point of the last source, the largest first.
    """
    table = {}
    for column, head in criteria.items():
        for source, sweep in sources.items():
            found = sweep.get(column, sweep.get(COLUMNS[column]))
            if found is not None and found.notna().all():
                table[head, source] = over_seeds(found.to_frame()).iloc[:, 0]
    points = sorted(set(sweep.index.get_level_values("point")), reverse=True)
    return pd.DataFrame(table).reindex(points)


def over_seeds(metrics: pd.DataFrame) -> pd.DataFrame:
    """Mean ± standard deviation over seeds, as text, of metrics indexed by `point`, or with `seed`.

    Where there is one seed, the value alone.
    """
    by_point = metrics.groupby("point", sort=False)
    mean, spread = by_point.mean().map(_told), by_point.std()
    return mean + spread.map(lambda std: "" if math.isnan(std) else f" ± {_told(std, 1)}")


def _told(value: float, digits: int = 3) -> str:
    """A number with so many significant digits and without a power of ten."""
    return f"{value:.4f}" if abs(value) < 1e-3 else f"{float(f'{value:.{digits}g}'):g}"


def table_one(
    published: Mapping[str, pd.DataFrame],
    recorded: pd.DataFrame,
    computed: Mapping[str, pd.DataFrame],
) -> Figure:
    """Table 1 as curves: `fig-table-one`.

    Parameters
    ----------
    published, computed
        Sweeps by their kind, `stochastic` and `deterministic`, as :func:`beside` takes them.
    recorded
        A stochastic sweep.
    """
    figure, axes = plt.subplots(1, 3, figsize=(10, 4))
    colours = {"stochastic": "C0", "deterministic": "C1"}
    panels = {"sigma_z2": "posterior variance", "ELS": "ELS", "MI": "information (nats)"}
    for axis, (column, title) in zip(axes, panels.items(), strict=True):
        ours = COLUMNS[column]
        for kind in colours if column == "ELS" else ["stochastic"]:
            _band(axis, computed[kind], ours, color=colours[kind])
            axis.plot(published[kind][column], "--", linewidth=1.2, color=colours[kind])
        axis.plot(recorded[ours], "x", color="0.3", markersize=5)
        axis.set(title=title, yscale="symlog" if column == "MI" else "log")
        axis.set_xlabel(r"$\log_{10}\sigma_x^2$ / unit")
    axes[1].set_ylim(bottom=1e-3)
    _band(axes[2], computed["stochastic"], "mi_code_low", color="C2")
    _note(axes[1], {"without noise": ("C1", 0.92), "with noise": ("C0", 0.03)})
    _note(axes[2], {"upper bound": ("C0", 0.1), "lower bound": ("C2", 0.03)})
    styles = [
        Line2D([], [], color="0.3", label="computed"),
        Line2D([], [], color="0.3", linestyle="--", linewidth=1.2, label="published"),
        Line2D([], [], color="0.3", linestyle="", marker="x", markersize=5, label="recorded"),
    ]
    figure.legend(handles=styles, loc="lower center", ncols=3)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    return figure


def _note(axis: Axes, notes: Mapping[str, tuple[str, float]]) -> None:
    """Name curves by their colours, at the left of an axis at these heights."""
    for name, (colour, height) in notes.items():
        axis.text(0.03, height, name, color=colour, transform=axis.transAxes, fontsize=9)


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
