"""Chapter 12: figures of runs that watch what FEnVAE's loss is paid for, and rules of verdicts."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from envae.companion.claims import Finding
from envae.companion.plots import colour_of, label_ticks, plain_ticks

# FEnVAE as printed, and the control that costs one decode less.
_PAIR = {row: colour_of(row) for row in ("FEnVAE", "EnVAE, M = 2")}
_PUBLISHED_DRAWS = range(10, 101, 10)  # of Table 6
# What takes the time of a recorded step.
STEPS = {"compute-bound": "images in memory", "data-bound": "JPEG files decoded"}


def runaway(curves: pd.DataFrame, mean_image: float) -> Figure:
    """Stand-in, spread and reconstructions along training: `fig-runaway`.

    Parameters
    ----------
    curves
        `epoch`, `stand_in`, `spread` and `squared_error`, indexed by `row`, `seed` and `stop`.
    mean_image
        Squared error of the mean training image shown for every test image.
    """
    figure, (terms, errors) = plt.subplots(1, 2, figsize=(8.5, 3.3))
    for row, color in _PAIR.items():
        of_row = curves.loc[row]
        for seed in of_row.index.unique("seed"):
            line = of_row.loc[seed]
            terms.plot(line["epoch"], line["stand_in"], color=color)
            terms.plot(line["epoch"], line["spread"], "--", color=color)
            errors.plot(line["epoch"], line["squared_error"], color=color)
        terms.plot([], [], color=color, label=f"{row}: stand-in")
        terms.plot([], [], "--", color=color, label=f"{row}: spread")
        errors.plot([], [], color=color, label=row)
    errors.axhline(mean_image, color="0.4", linestyle=":", label="mean training image")
    terms.set(xlabel="epoch", ylabel="mean over test images", ylim=(0, None))
    errors.set(xlabel="epoch", ylabel="squared error, posterior mean", yscale="log")
    plain_ticks(errors.yaxis)
    for axis in (terms, errors):
        axis.legend(fontsize="small")
    figure.tight_layout()
    return figure


def one_change_at_a_time(grid: pd.DataFrame) -> Figure:
    """Stand-in over spread, and error over the mean image's, by setting: `fig-grid`.

    Parameters
    ----------
    grid
        `ratio` and `error`, indexed by `change`, `row` and `seed`.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8.5, 6.6), sharey=True)
    height = {change: -i for i, change in enumerate(grid.index.unique("change"))}
    panels = {"ratio": "stand-in / spread", "error": "squared error / mean image's"}
    for axis, (column, label) in zip(axes, panels.items(), strict=True):
        for (row, color), shift in zip(_PAIR.items(), (0.14, -0.14), strict=True):
            values = grid.xs(row, level="row")[column]
            heights = [height[change] + shift for change in values.index.get_level_values("change")]
            axis.plot(values, heights, "o", markersize=4, color=color, label=row)
        axis.axvline(1, color="0.6", linewidth=1)
        axis.set(xscale="log", xlabel=label)
        plain_ticks(axis.xaxis)
    axes[0].set_yticks(list(height.values()), list(height))
    axes[1].legend(fontsize="small", loc="center", bbox_to_anchor=(0.68, 0.5))
    figure.tight_layout()
    return figure


def quality_and_decodes(distances: pd.Series, decodes: Mapping[str, int], *, label: str) -> Figure:
    """Quality of samples by objective, with the number of decodes: `fig-decodes`.

    Parameters
    ----------
    distances
        Indexed by `row` and `seed`.
    decodes
        By row, in the order of the figure.
    label
        What the distances are.
    """
    figure, axis = plt.subplots(figsize=(6.5, 3.8))
    for i, row in enumerate(decodes):
        values = distances.xs(row)
        axis.plot(values, [-i] * len(values), "o", markersize=5, color=colour_of(row))
    axis.set(xscale="log", xlabel=label)
    plain_ticks(axis.xaxis)
    names = [f"{row} ({count})" for row, count in decodes.items()]
    axis.set_yticks([-i for i in range(len(names))], names, fontsize="small")
    return figure


def cost(
    steps: Mapping[str, pd.DataFrame], draws: Sequence[int], published: pd.DataFrame
) -> Figure:
    """Cost of a step beside the VAE's against the number of draws: `fig-cost`.

    Parameters
    ----------
    steps
        By kind, as `step_cost.recorded_steps` gives them.
    draws
        Numbers of draws that were timed.
    published
        Time per epoch of Table 6: a row for each model, a column for each data set.
    """
    figure, axis = plt.subplots(figsize=(6.5, 3.8))
    timed = [f"EnVAE, M = {m}" for m in draws]
    for color, (kind, table) in zip(("C0", "C2"), steps.items(), strict=True):
        median = table["median"]
        axis.plot(draws, median[timed], "o-", color=color, label=f"recorded, {STEPS[kind]}")
        axis.plot(3, median["FEnVAE"], "x", color=color, markersize=9)
    of_vae = published / published.loc["VAE"]
    for style, name in zip(("-", "--", ":"), published, strict=True):
        line = of_vae.filter(like="M=", axis=0)[name]
        axis.plot(_PUBLISHED_DRAWS, line, style, color="0.5", label=f"published, {name}")
        axis.plot(3, of_vae.loc["FEnVAE", name], "x", color="0.5")
    axis.set(xscale="log", yscale="log", xlabel="draws $M$", ylabel="cost, VAE = 1")
    label_ticks(axis.xaxis, draws)
    plain_ticks(axis.yaxis)
    axis.legend(fontsize="small")
    return figure


def convergence(curves: pd.DataFrame, rows: Sequence[str], *, label: str) -> Figure:
    """Quality of samples per epoch and per second, means over the seeds: `fig-convergence`.

    Parameters
    ----------
    curves
        `epoch`, `seconds` and `fd_generated`, indexed by `row`, `seed` and `stop`.
    rows
        In the order of the legend.
    label
        What the distances are.
    """
    average = curves.groupby(level=["row", "stop"])[["epoch", "seconds", "fd_generated"]].mean()
    figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.3), sharey=True)
    for axis, x in zip(axes, ("epoch", "seconds"), strict=True):
        for row in rows:
            line = average.loc[row]
            values = line["fd_generated"]
            axis.plot(line[x], values, "o-", markersize=4, color=colour_of(row), label=row)
    axes[0].set(xlabel="epoch", ylabel=label, yscale="log")
    plain_ticks(axes[0].yaxis)
    axes[1].set(xlabel="seconds of training")
    axes[1].legend(fontsize="small", loc="upper right")
    figure.tight_layout()
    return figure


def number_of_draws(
    distances: Mapping[str, pd.DataFrame],
    published: pd.DataFrame,
    *,
    best_l2: Mapping[str, float],
    spaces: Mapping[str, str],
) -> Figure:
    """Quality of samples against the number of draws, ours and published: `fig-draws`.

    Parameters
    ----------
    distances
        By data set: a row for each number of draws, a column for each seed.
    published
        FID of samples of Table 6: a row for each model, a column for each data set.
    best_l2
        By data set: the distance of L2 at its best weight.
    spaces
        By data set: what its distances are.
    """
    count = len(distances) + 1
    figure, axes = plt.subplots(1, count, figsize=(3.4 * count, 3.3))
    for axis, (name, of_seeds) in zip(axes[:-1], distances.items(), strict=True):
        axis.plot(of_seeds.mean(axis=1), "o-", color="C0")
        axis.plot(of_seeds, ".", color="0.5")
        axis.axhline(best_l2[name], color="0.4", linestyle=":", label="L2, best weight")
        axis.set(xscale="log", title=name, xlabel="draws $M$", ylabel=f"{spaces[name]} of samples")
        plain_ticks(axis.xaxis)
    rows = [f"EnVAE M={m}" for m in _PUBLISHED_DRAWS]
    for name, line in (published.loc[rows] / published.loc["VAE"]).items():
        axes[-1].plot(_PUBLISHED_DRAWS, line, "o-", label=name)
    axes[-1].set(title="published", xlabel="draws $M$", ylabel="FID / FID of the VAE")
    for axis in axes:
        axis.legend(fontsize="small")
    figure.tight_layout()
    return figure


def exponent(by_beta: Mapping[str, pd.DataFrame], *, spaces: Mapping[str, str]) -> Figure:
    """Quality of samples, and spread, over the exponent: `fig-beta`.

    Parameters
    ----------
    by_beta
        By data set: `fd_generated` and `spread`, indexed by `row`, `beta` and `seed`.
    spaces
        By data set: what its distances are.
    """
    rows = len(by_beta)
    figure, axes = plt.subplots(rows, 2, figsize=(8.5, 3.1 * rows), squeeze=False)
    for pair, (name, runs) in zip(axes, by_beta.items(), strict=True):
        panels = {
            "fd_generated": f"{spaces[name]} of samples",
            "spread": "half the distance of two draws",
        }
        for axis, (column, ylabel) in zip(pair, panels.items(), strict=True):
            for row, color in _PAIR.items():
                of_seeds = runs.loc[row][column].unstack("seed")
                axis.plot(of_seeds.mean(axis=1), color=color, label=row)
                axis.plot(of_seeds, "o", markersize=4, color=color)
            axis.set(title=name, xlabel=r"$\beta$", ylabel=ylabel, yscale="log")
            plain_ticks(axis.yaxis)
    axes[0, 0].legend()
    figure.tight_layout()
    return figure


# --- what the runs on one data set say of the claims -------------------------------------------

_PAPER_FROM = 8  # smallest latent dimension of Tables 4 and 7
_SMALL_SHARE = 0.3  # of a code's variance, of one image: "much smaller"


def of_draws(distances: pd.DataFrame) -> Finding:
    """Whether EnVAE's samples get better with more draws, and whether the gain levels off.

    Parameters
    ----------
    distances
        A row for each number of draws, 2 and 10 among them, a column for each seed.
    """
    largest = max(distances.index)
    few, ten, most = distances.mean(axis=1)[[2, 10, largest]]
    better = bool(few > ten and few > most)
    return Finding(
        better and bool(few - ten > ten - most),
        better,
        f"FD {few:.2f} with 2 draws, {ten:.2f} with 10, {most:.2f} with {largest}",
    )


def of_dimensions(energy: pd.DataFrame) -> Finding:
    """Whether the posterior widens and the encoder's coefficient falls with the dimension.

    Parameters
    ----------
    energy
        Means over seeds of EnVAE's `posterior_variance` and `lipschitz_encoder`, by d_z.
    """
    of_paper = energy.sort_index().loc[_PAPER_FROM:]
    wider = of_paper["posterior_variance"].is_monotonic_increasing
    lower = of_paper["lipschitz_encoder"].is_monotonic_decreasing
    return Finding(
        wider and lower,
        wider or lower,
        f"variance {'grows' if wider else 'does not grow'} throughout, Lipschitz coefficient of "
        f"the encoder {'falls' if lower else 'does not fall'} throughout",
    )


def worse_ends(distances: pd.DataFrame) -> list[float]:
    """Exponents 0.1 and 2 at which every seed is worse than all at the better of 0.5 and 1.

    Parameters
    ----------
    distances
        A row for each exponent, a column for each seed.
    """
    middle = distances.loc[[0.5, 1.0]]
    best = middle.loc[middle.mean(axis=1).idxmin()].max()
    return [end for end in (0.1, 2.0) if distances.loc[end].min() > best]


def of_exponents(by_row: Mapping[str, pd.DataFrame]) -> Finding:
    """Whether both ends of the exponent make FEnVAE's samples worse.

    Parameters
    ----------
    by_row
        By the row's name, FEnVAE and others: as :func:`worse_ends` takes them.
    """
    found = {row: worse_ends(distances) for row, distances in by_row.items()}
    told = [f"{row} at β = {end:g}" for row, ends in found.items() for end in ends]
    return Finding(
        len(found["FEnVAE"]) == 2,
        bool(found["FEnVAE"]),
        f"every seed worse than in the middle: {', '.join(told) or 'none'}",
    )


def of_shares(shares: pd.Series) -> Finding:
    """Whether one image's posterior has a small share of the variance of codes.

    Parameters
    ----------
    shares
        Means over seeds, indexed by `latent_dim` and `alpha`.
    """
    small = shares[shares < _SMALL_SHARE]
    places = "; ".join(f"α {alpha:g}, d_z {size}" for size, alpha in small.index)
    return Finding(
        len(small) == len(shares),
        len(small) > 0,
        f"below {_SMALL_SHARE} in {len(small)} of {len(shares)} settings ({places or 'none'})",
    )


def of_walks(walks: pd.DataFrame, *, fast_decodes: bool) -> Finding:
    """Whether images between two codes are sharper than L2's, and change as smoothly.

    Parameters
    ----------
    walks
        `sharpness` and `unevenness`, as `fenvae.walked` gives them, indexed by `row` and `seed`:
        L2, FEnVAE, and rows of EnVAE.
    fast_decodes
        Whether FEnVAE's posterior means, the ends of its walks, decode to images at all.
    """
    mean = walks.groupby(level=0).mean()
    sharper = mean["sharpness"] > mean.loc["L2", "sharpness"]
    smooth = mean["unevenness"] < 1.25 * mean.loc["L2", "unevenness"]
    energy = [row for row in mean.index if row.startswith("EnVAE")]
    holds = bool((sharper & smooth)[energy].all())
    fast = bool(sharper["FEnVAE"] and smooth["FEnVAE"] and fast_decodes)
    return Finding(
        holds and fast,
        holds,
        f"EnVAE's walks {'sharper' if sharper[energy].all() else 'not sharper'} than L2's, their "
        "largest step over the mean one "
        f"{'within' if smooth[energy].all() else 'not within'} 25 % of L2's; FEnVAE's, from "
        f"scratch, of {'images' if fast_decodes else 'no images, as the ends are posterior means'}",
    )
