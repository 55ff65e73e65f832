"""Chapter 05: tables, figures and verdicts of the sweeps over a variance."""

import dataclasses
import itertools
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

from envae.companion.claims import Finding
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
        axis.plot(_points(recorded), recorded[ours], "x", color="0.3", markersize=5)
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
        axis.plot(_points(recorded), recorded[ours], "x", color="0.3", label="recorded")
        if theirs:
            axis.plot(published[theirs], color="0.6", linestyle="--", label="published")
        axis.axvline(math.log10(threshold), color="0.8", linewidth=1, linestyle=":")
        axis.set(title=title, xlabel=r"$\log_{10}\sigma_z^2$", **scale)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=4)
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    return figure


def _points(sweep: pd.DataFrame) -> list[float]:
    """The points of a sweep, for each of its rows."""
    return sweep.index.get_level_values("point").to_list()


def _band(axis: Axes, frame: pd.DataFrame, column: str, **style: Any) -> None:
    """Mean over seeds with a band from the smallest to the largest."""
    by_point = frame[column].groupby("point")
    mean = by_point.mean()
    (line,) = axis.plot(mean.index, mean, **style)
    axis.fill_between(
        mean.index, by_point.min(), by_point.max(), alpha=0.25, color=line.get_color()
    )


# What rises (1) and falls (-1) with sigma_x^2 by Table 1, with fixed sigma_z^2 by Table E.8.
TRENDS = {
    "posterior_variance": 1, "els": -1, "gap_1e-2": -1, "mi_code_low": -1, "mi_code_high": -1,
}  # fmt: skip
_FIXED_TRENDS = {name: TRENDS[name] for name in ("els", "gap_1e-2", "mi_code_low")}
CRITERIA = {
    "posterior_variance": "σ_z²",
    "els": "ELS",
    "gap_1e-2": "gap at s² = 0.01",
    "mi_code_low": "information, lower bound",
    "mi_code_high": "information, upper bound",
}
_UPPER = -0.5  # log10 of sigma_x^2 over its unit, from which smoothing outweighs the rest
_AGREES = 0.9  # rank correlation on every seed
_EMPTY = 0.1  # nats
_CLOSER = 0.1  # of the training error, by which the held-out one exceeds it by more


def upper(sweep: pd.DataFrame) -> pd.DataFrame:
    """The upper part of a sweep over sigma_x^2, beyond Table 1 too."""
    return sweep[sweep.index.get_level_values("point") >= _UPPER]


def in_table(sweep: pd.DataFrame) -> pd.DataFrame:
    """The part of a sweep over sigma_x^2 that Table 1 has, log10 from -1 to 0."""
    point = sweep.index.get_level_values("point")
    return sweep[(point >= -1) & (point <= 0)]


def correlation(sweep: pd.DataFrame, criterion: str) -> pd.Series:
    """Rank correlation of a criterion with the variance, for each seed."""
    by_seed = sweep[criterion].unstack("seed").sort_index()
    return by_seed.corrwith(by_seed.index.to_series(), method="spearman")


def _agree(sweep: pd.DataFrame, trends: Mapping[str, int]) -> dict[str, bool]:
    """Which criteria rise or fall with the variance as they should, on every seed."""
    return {
        name: bool((sign * correlation(sweep, name) > _AGREES).all())
        for name, sign in trends.items()
    }


def of_table_one(
    stochastic: pd.DataFrame, codes: pd.DataFrame, *, pixels: int
) -> dict[str, Finding]:
    """What the sweeps over sigma_x^2 on one data set say of the claims about Table 1.

    Parameters
    ----------
    stochastic, codes
        Metrics of `measures.collapse`, indexed by `point` and `seed`, with stochastic and with
        deterministic encoding.
    pixels
        Of an image.

    Returns
    -------
    dict of str to Finding
        `trends`, `empty`, `deterministic`, `hypothesis`, `overfitting`.
    """
    whole, high = _agree(in_table(stochastic), TRENDS), _agree(upper(stochastic), TRENDS)
    exceptions = [CRITERIA[name] for name, agrees in whole.items() if not agrees]
    largest = stochastic.loc[max(_points(stochastic))]
    empty = bool((largest[["mi_code_high", "kl"]] < _EMPTY).all(axis=None))
    rises = correlation(codes, "els") > _AGREES
    tells = codes.loc[0.0, "mi_image_low"] > 3
    hypothesis = {
        "σ_z² rises and ELS falls with large σ_x²": all(high.values()),
        "the code is empty at the largest": empty,
        "without σ_z² ELS rises": bool(rises.all()),
    }
    shown = [told for told, holds in hypothesis.items() if holds]
    return {
        "trends": Finding(
            all(whole.values()),
            all(high.values()),
            f"rank correlations beyond {_AGREES} for {sum(high.values())} of {len(TRENDS)} "
            "criteria in the upper part of the range, "
            f"for {sum(whole.values())} in all of it (exceptions: "
            f"{', '.join(exceptions) or 'none'})",
        ),
        "empty": Finding(
            empty, False, f"{'' if empty else 'not '}below {_EMPTY} nats at the largest σ_x²"
        ),
        "deterministic": Finding(
            bool(rises.all() and tells.all()),
            bool(rises.all() or tells.all()),
            f"ELS grows with σ_x² on {rises.sum()} of {len(rises)} seeds, information stays "
            f"above 3 nats on {tells.sum()}",
        ),
        "hypothesis": Finding(
            len(shown) == len(hypothesis), bool(shown), ", ".join(shown) or "nothing of it"
        ),
        "overfitting": _overfitting(stochastic, pixels),
    }


def of_table_e8(fixed: pd.DataFrame) -> dict[str, Finding]:
    """What a sweep over a fixed sigma_z^2 says of the claims about Table E.8.

    Parameters
    ----------
    fixed
        Metrics of `measures.collapse`, indexed by `point`, log10 of the variance, and `seed`.

    Returns
    -------
    dict of str to Finding
        `trends`, `split`, `emptied`.
    """
    agree = _agree(fixed, _FIXED_TRENDS)
    top = max(_points(fixed))
    emptied = bool((fixed.loc[top, "mi_code_low"].abs() < _EMPTY).all())
    stays = bool((fixed.loc[top, "kl"] > 10).all())
    return {
        "trends": Finding(
            all(agree.values()),
            any(agree.values()),
            f"rank correlations beyond {_AGREES} for {sum(agree.values())} of {len(agree)} "
            "criteria: ELS, gap and information",
        ),
        "split": Finding(
            emptied and stays,
            False,
            f"at σ_z² = {10**top:g} information {'' if emptied else 'not '}below {_EMPTY} nats, KL "
            f"{'' if stays else 'not '}above 10 nats",
        ),
        "emptied": Finding(
            emptied, False, f"trained code {'' if emptied else 'not '}empty at σ_z² = {10**top:g}"
        ),
    }


def _overfitting(stochastic: pd.DataFrame, pixels: int) -> Finding:
    """Whether the smallest variance fits the training images too closely, on every seed."""
    ratio = stochastic["squared_error_test"] / stochastic["squared_error"]
    smallest = min(_points(stochastic))
    above = ratio.loc[smallest] - ratio.loc[0.0]
    closer, worse = above > _CLOSER, worse_held_out(stochastic, pixels)
    return Finding(
        bool(closer.all() and worse.all()),
        bool(closer.all() or worse.all()),
        f"at {10**smallest:g} of the unit held-out over training error is above that at the unit "
        f"on {(above > 0).sum()} of {len(above)} seeds, by the {_CLOSER} asked on {closer.sum()}; "
        f"the held-out ELBO is worse than at its best in between on {worse.sum()}",
    )


def worse_held_out(stochastic: pd.DataFrame, pixels: int) -> pd.Series:
    """For each seed, whether the held-out ELBO is worse at the smallest variance than in Table 1.

    Parameters
    ----------
    stochastic, pixels
        As :func:`of_table_one` takes them.
    """
    held_out = pixels / 2 * stochastic["squared_error_test"].map(math.log) + stochastic["kl_test"]
    best = in_table(held_out.to_frame("loss"))["loss"].groupby("seed").min()
    return held_out.loc[min(_points(stochastic))].sort_index() > best


def of_lipschitz(encoders: pd.DataFrame, decoders: pd.DataFrame) -> Finding:
    """Whether of two models the one with the flatter encoder has the flatter decoder.

    Asked of each pair that is told apart in both, every seed of one from every seed of the other.

    Parameters
    ----------
    encoders, decoders
        Lower bounds of the Lipschitz constants: a row for each model, a column for each seed.
    """
    alike, apart = pairs_alike(encoders, decoders)
    return Finding(
        0 < apart == alike,
        alike > apart / 2,
        f"the flatter encoder has the flatter decoder in {alike} of {apart} pairs of models "
        "that are told apart in both",
    )


def pairs_alike(encoders: pd.DataFrame, decoders: pd.DataFrame) -> tuple[int, int]:
    """In how many pairs the flatter encoder has the flatter decoder, of how many told apart.

    Parameters as for :func:`of_lipschitz`.
    """
    orders = [
        (_order(encoders, *pair), _order(decoders, *pair))
        for pair in itertools.combinations(encoders.index, 2)
    ]
    apart = [(encoder, decoder) for encoder, decoder in orders if encoder and decoder]
    return sum(encoder == decoder for encoder, decoder in apart), len(apart)


def _order(bounds: pd.DataFrame, one: str, other: str) -> int:
    """-1 where all seeds of a model lie below all of another one, 1 where above, else 0."""
    a, b = bounds.loc[one], bounds.loc[other]
    return -1 if a.max() < b.min() else 1 if a.min() > b.max() else 0
