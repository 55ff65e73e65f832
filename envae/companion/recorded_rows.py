"""The rows of the tables as they were recorded, at each scale that was run."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from envae._unknown import unknown
from envae.companion import beside
from envae.companion.differences import Difference, simultaneous
from envae.companion.scale import PUBLISHED, Scale
from envae.experiments import paper_rows, records


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What all runs of a scale share.

    Attributes
    ----------
    pixels, network, images, epochs
        As `Scale` takes them.
    instead
        Rows whose number was not searched at this scale and whose samples came nearer at another
        one: that one's objective, options and learning rate. These runs stand beside the others.
    """

    pixels: str
    network: str
    images: int
    epochs: int
    instead: Mapping[str, tuple[str, dict[str, Any], float]] = dataclasses.field(
        default_factory=dict
    )


# By the name of the data; what is furthest from a toy first.
SCALES = {
    "cifar10-jpeg-10000": Recorded("32 x 32", "conv", 10_000, 20),
    "mnist": Recorded(
        "28 x 28",
        "arelbo_mnist",
        60_000,
        50,
        {
            "L2": ("l2", {"alpha": 0.1}, 1e-3),
            "Diag-D, mle": ("diag_d", {"estimate": "mle"}, 1e-4),
        },
    ),
    "mnist-5000": Recorded("28 x 28", "mlp", 5000, 10),
    "digits": Recorded("8 x 8", "mlp", 1297, 200),
}


def runs(data: str) -> pd.DataFrame:
    """Reported runs of every row on some data, done or failed.

    Parameters
    ----------
    data
        Key of `SCALES`.

    Returns
    -------
    DataFrame
        As `paper_rows.labelled` gives it; `experiment` is where a run is recorded.

    Raises
    ------
    ValueError
        If there is no such scale.
    """
    if data not in SCALES:
        raise ValueError(unknown("scale", data, SCALES))
    of, name = SCALES[data], f"fid_tables_{data}"
    found = paper_rows.labelled(name).assign(experiment=name)
    others = records.load(f"{name}_beside") if of.instead else pd.DataFrame()
    for label, (objective, options, lr) in of.instead.items():
        same = (others["objective"] == objective) & (others["lr"] == lr)
        same &= (others["epochs"] == of.epochs) & others["options"].map(options.__eq__)
        other = others[same].assign(label=label, state="done", experiment=f"{name}_beside")
        found = pd.concat([found[found["label"] != label], other], ignore_index=True)
    return found


def scale(data: str, paper: str, rows: Iterable[str]) -> Scale:
    """The scale of a claim about some rows: as many seeds as every one of those run there has.

    Parameters
    ----------
    data
        Key of `SCALES`.
    paper
        Key of `scale.PUBLISHED`.
    rows
        Labels.
    """
    of, found = SCALES[data], runs(data).query("state == 'done'")
    seeds = found.groupby("label")["seed"].nunique().reindex(list(rows)).dropna()
    fewest = int(seeds.min()) if len(seeds) else 0
    return Scale(data, of.pixels, of.network, of.images, of.epochs, fewest, PUBLISHED[paper])


def moved(comparisons: Mapping[str, tuple[str, str, str]]) -> pd.DataFrame:
    """How a comparison of two rows moves with the scale: the ratio of their values, as text.

    Parameters
    ----------
    comparisons
        For each title the first row, the second one, and a metric of both.

    Returns
    -------
    DataFrame
        A column for each of `SCALES`: geometric mean of the first row over that of the second, with
        the 95 % interval where both have seeds enough; a dash where a row was not run.
    """
    found = {data: runs(data) for data in SCALES}
    return pd.DataFrame(
        {
            data: {title: ratio(of, *rows) for title, rows in comparisons.items()}
            for data, of in found.items()
        }
    )


def ratio(of: pd.DataFrame, first: str, second: str, metric: str) -> str:
    """The ratio of one row's values to another's, as :func:`moved` tells it.

    Parameters
    ----------
    of
        As :func:`runs` gives them.
    first, second, metric
        As `beside.difference` takes them.
    """
    for label in (first, second):
        if "failed" in set(of.loc[of["label"] == label, "state"]):
            return f"{label}: failed"
    gap = log_difference(of, first, second, metric)
    if gap is not None:
        return as_ratio(gap)
    means = _logs(of, metric).groupby("label")[metric].mean().reindex([first, second])
    return "–" if means.isna().any() else f"{np.exp(means[first] - means[second]):.2f}"


def as_ratio(gap: Difference) -> str:
    """A difference of logarithms as the ratio of geometric means, with its interval."""
    return "{:.2f} [{:.2f}, {:.2f}]".format(*np.exp([gap.mean, gap.low, gap.high]))


def log_difference(of: pd.DataFrame, first: str, second: str, metric: str) -> Difference | None:
    """Logarithm of that ratio with its 95 % interval; None without two seeds of each row."""
    return beside.difference(_logs(of, metric), first, second, metric)


def pairs_apart(
    of: pd.DataFrame, pairs: Mapping[str, str], metrics: Iterable[str]
) -> dict[tuple[str, str], Difference]:
    """Logarithm of the ratio of the rows of several pairs, in intervals that hold all at once.

    For each metric Tukey and Kramer's, with one spread for all rows of the pairs. A pair of which a
    row has fewer than two seeds is left out.

    Parameters
    ----------
    of
        As :func:`runs` gives them.
    pairs
        For each first row the second one.
    metrics
        Columns of `of`.

    Returns
    -------
    dict
        For each first row and metric, the first row less the second.
    """
    found: dict[tuple[str, str], Difference] = {}
    for metric in metrics:
        logs = {label: rows[metric] for label, rows in _logs(of, metric).groupby("label")}
        several = {
            first: second
            for first, second in pairs.items()
            if min(len(logs.get(first, ())), len(logs.get(second, ()))) > 1
        }
        rows = {label: logs[label] for pair in several.items() for label in pair}
        gaps = simultaneous(rows) if rows else {}
        found |= {(first, metric): gaps[first, second] for first, second in several.items()}
    return found


def _logs(of: pd.DataFrame, metric: str) -> pd.DataFrame:
    values = of.reindex(columns=["label", "seed", metric]).dropna()
    return values.assign(**{metric: np.log(values[metric])})
