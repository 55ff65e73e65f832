"""Chapters 15 and 16: calibration of draws, and what the KL weight does to it."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from envae.companion.claims import Finding
from envae.companion.plots import colour_of, label_ticks, plain_ticks
from envae.experiments.measures.calibration import LEVELS

_SET = ["data", "beta"]
# Of coverage, at each level, that is called reliable: set after a look at two seeds on digits, and
# before those that are reported.
TOLERANCE = 0.05
_MARKERS = "osD^vPX*<>"


def rank_histograms(of_forecasts: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Histograms of ranks, a column for each forecast: `fig-rank-histograms`.

    Parameters
    ----------
    of_forecasts
        For each forecast and each kind of rank the frequencies over those of uniform ranks,
        `(seeds, bins)`; the same kinds for all.
    """
    kinds = list(next(iter(of_forecasts.values())))
    figure, axes = plt.subplots(
        len(kinds), len(of_forecasts), figsize=(10, 1.7 * len(kinds) + 0.5),
        sharex=True, sharey="row", layout="constrained", squeeze=False,
    )  # fmt: skip
    for column, (name, of_kinds) in zip(axes.T, of_forecasts.items(), strict=True):
        for axis, kind in zip(column, kinds, strict=True):
            seeds = of_kinds[kind]
            edges = np.linspace(0, 1, seeds.shape[1] + 1)
            axis.stairs(seeds.mean(0), edges, fill=True, color="C0", alpha=0.5)
            for one in seeds:
                axis.stairs(one, edges, color="C0", linewidth=0.6)
            axis.axhline(1, color="black", linewidth=1, linestyle=":")
            axis.set_xticks([0, 1])
        column[0].set_title(name.replace(", ", "\n"), fontsize="small")
        column[-1].set_xlabel("rank / K", fontsize="small")
    for axis, kind in zip(axes[:, 0], kinds, strict=True):
        axis.set_ylabel(kind)
    return figure


def coverage(of_forecasts: Mapping[str, pd.DataFrame]) -> Figure:
    """Coverage of central intervals against the nominal one, a line a forecast: `fig-coverage`.

    Parameters
    ----------
    of_forecasts
        For each forecast the coverage of each seed, a column for each nominal level.
    """
    figure, axis = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
    for number, (name, of_levels) in enumerate(of_forecasts.items()):
        line = _MARKERS[number] + ("--" if name.endswith("noise") else "-")
        axis.plot(of_levels.mean(), line, markersize=5, color=colour_of(name), label=name)
    levels = list(next(iter(of_forecasts.values())))
    axis.plot(levels, levels, color="black", linewidth=1, linestyle=":", label="calibrated")
    axis.set(xlabel="nominal coverage", ylabel="images' pixels inside", xticks=levels)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    return figure


def by_weight(
    runs: Mapping[str, pd.DataFrame], predicted: Mapping[str, pd.Series], distance: str
) -> Figure:
    """Spread over error, and quality of samples, against the KL weight: `fig-spread-by-weight`.

    Parameters
    ----------
    runs
        For each row `ratio` and `distance`, indexed by `alpha` and `seed`.
    predicted
        For each row the ratio by `theory.spread_balance`, indexed by `alpha`.
    distance
        What the distance is.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for row, of_row in runs.items():
        color = colour_of(row)
        for axis, column in zip(axes, ("ratio", "distance"), strict=True):
            values = of_row[column].unstack("seed")
            axis.plot(values.mean(axis=1), color=color, label=row, linewidth=1.5)
            axis.plot(values, "o", color=color, markersize=3)
        if row in predicted:
            axes[0].plot(predicted[row], ":", color=color, label=f"{row}: predicted")
    axes[0].axhline(1, color="black", linewidth=1)
    axes[0].set(ylabel="spread / error, test images", yscale="log")
    plain_ticks(axes[0].yaxis)
    axes[1].set(ylabel=distance, yscale="log")
    plain_ticks(axes[1].yaxis)
    for axis in axes:
        axis.set(xscale="log", xlabel=r"KL weight $\alpha$")
    _name_below(figure)
    return figure


def _name_below(figure: Figure) -> None:
    """The legend of all panels, which is that of the first, below them."""
    named = figure.axes[0].get_legend_handles_labels()
    figure.legend(*named, loc="outside lower center", ncols=3, fontsize="small")


def predicted_ratios(runs: pd.DataFrame) -> Figure:
    """Spread over error of each run against the prediction: `fig-predicted-spread`.

    Parameters
    ----------
    runs
        `ratio` and `predicted`, indexed by `data`, `beta`, `alpha` and `seed`.
    """
    figure, axis = plt.subplots(figsize=(6.2, 4), layout="constrained")
    for number, (label, of_set) in enumerate(_sets(runs).items()):
        marker, color = _MARKERS[number], f"C{number}"
        axis.plot(of_set["predicted"], of_set["ratio"], marker, color=color, label=label)
    low, high = runs[["ratio", "predicted"]].min().min(), runs[["ratio", "predicted"]].max().max()
    axis.plot([low, high], [low, high], color="black", linewidth=1, linestyle=":")
    axis.set(xscale="log", yscale="log", xlabel="predicted", ylabel="spread / error")
    for ticks in (axis.xaxis, axis.yaxis):
        plain_ticks(ticks)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    return figure


def quality_by_weight(runs: pd.DataFrame, judge: str, label: str) -> Figure:
    """Quality of samples by KL weight, as it is and in other units: `fig-quality-by-weight`.

    Parameters
    ----------
    runs
        `suggested`, `dimensions_in_use`, `latent_dim` and the judge, indexed by `data`, `beta`,
        `alpha` and `seed`.
    judge
        Column of a distance of the samples; each data set and exponent has its own unit: its
        smallest mean over seeds.
    label
        What the judge is called.
    """
    means = runs.groupby(level=["data", "beta", "alpha"], sort=False).mean(numeric_only=True)
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), sharey=True, layout="constrained")
    for number, (name, of_set) in enumerate(_sets(means).items()):
        alpha = of_set.index.get_level_values("alpha").to_numpy()
        share = of_set["dimensions_in_use"] / of_set["latent_dim"]
        height = of_set[judge] / of_set[judge].min()
        for axis, place in zip(axes, (alpha, alpha / of_set["suggested"], share), strict=True):
            axis.plot(place, height, f"{_MARKERS[number]}-", markersize=4, label=name)
    names = (r"KL weight $\alpha$", r"$\alpha$ / suggested", "share of dimensions in use")
    for axis, axis_name in zip(axes, names, strict=True):
        axis.set(xlabel=axis_name, xscale="linear" if axis is axes[2] else "log", yscale="log")
    plain_ticks(axes[0].yaxis)
    axes[0].set_ylabel(f"{label}, smallest = 1")
    _name_below(figure)
    return figure


def misses(runs: pd.DataFrame, kind: str = "draws") -> pd.Series:
    """Largest difference of a coverage, mean over seeds, and the nominal one, over the levels.

    Parameters
    ----------
    runs
        Of `measures.calibration.measure`, indexed by anything and `seed`.
    kind
        Of forecast.

    Returns
    -------
    Series
        By what else the runs are indexed by.
    """
    levels = pd.Series({f"{kind}_coverage_{100 * level:.0f}_test": level for level in LEVELS})
    others = [name for name in runs.index.names if name != "seed"]
    return (
        (runs[list(levels.index)].groupby(level=others, sort=False).mean() - levels)
        .abs()
        .max(axis=1)
    )


def in_short(runs: pd.DataFrame, forecasts: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """Coverage, its largest miss, and spread over error of several forecasts, means over seeds.

    Parameters
    ----------
    runs
        Of `measures.calibration.measure`, indexed by row and `seed`.
    forecasts
        By name: the row, and the kind of its forecast.

    Returns
    -------
    DataFrame
        A line for each forecast; shares in percent, of test images.
    """
    means = runs.groupby(level=0).mean(numeric_only=True)
    return pd.DataFrame(
        {
            name: {
                "50 % hold": 100 * means.loc[row, f"{kind}_coverage_50_test"],
                "90 % hold": 100 * means.loc[row, f"{kind}_coverage_90_test"],
                "largest miss, points": 100 * misses(runs, kind)[row],
                "spread / error": means.loc[row, f"{kind}_spread_skill_test"],
            }
            for name, (row, kind) in forecasts.items()
        }
    ).T


def of_coverage(at_samples: Mapping[str, float], by_weight: Mapping[str, pd.Series]) -> Finding:
    """Whether the draws of EnVAE and FEnVAE cover test images as often as they should.

    Parameters
    ----------
    at_samples
        By row, FEnVAE and others: the largest miss at the weight that is best for its samples.
    by_weight
        By row: the same at each weight that was tried.
    """
    reliable = {row: bool(miss <= TOLERANCE) for row, miss in at_samples.items()}
    somewhere = {row: bool(of_row.min() <= TOLERANCE) for row, of_row in by_weight.items()}
    said = {True: "yes", False: "no"}
    return Finding(
        all(reliable.values()),
        any(reliable.values()) or any(somewhere.values()),
        f"coverage misses by at most {100 * TOLERANCE:.0f} points at the weight for samples: "
        + ", ".join(f"{row} {said[found]}" for row, found in reliable.items())
        + "; at the best of the weights tried, on the same images: "
        + ", ".join(f"{row} {said[found]}" for row, found in somewhere.items()),
    )


def _sets(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows of each data set and exponent, under its label."""
    names = runs.index.droplevel([name for name in runs.index.names if name not in _SET])
    return {
        rf"{data}, $\beta$ = {beta:g}": runs.xs((data, beta), level=_SET)
        for data, beta in names.unique().tolist()
    }


def power(rows: pd.DataFrame) -> Figure:
    """Change of the score, and images needed, by dimension and error: `fig-power`.

    Parameters
    ----------
    rows
        Columns `change`, `images` and `likelihood`, indexed by `field`, `error` and `pixels`.
    """
    fields = rows.index.unique("field")
    figure, axes = plt.subplots(
        2, len(fields), figsize=(9, 6),
        sharex=True, sharey="row", layout="constrained", squeeze=False,
    )  # fmt: skip
    for column, field in zip(axes.T, fields, strict=True):
        for number, error in enumerate(rows.index.unique("error")):
            of_error = rows.loc[field].loc[error]
            style = {"color": f"C{number}", "marker": "o", "markersize": 4}
            column[0].plot(100 * of_error["change"], label=error, **style)
            column[1].plot(of_error["images"].clip(lower=1), label=error, **style)
            column[1].plot(of_error["likelihood"].clip(lower=1), linestyle=":", **style)
        column[0].set(xscale="log", yscale="log", title=field)
        column[1].set(yscale="log", xlabel="pixels times channels")
        label_ticks(column[1].xaxis, rows.index.unique("pixels"))
    axes[0, 0].set_ylabel("score rises by (%)")
    axes[1, 0].set_ylabel("images needed to see it")
    axes[0, -1].legend(fontsize="small")
    return figure
