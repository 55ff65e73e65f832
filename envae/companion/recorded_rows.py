"""The rows of the tables as they were recorded, at each scale that was run."""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from envae._unknown import unknown
from envae.companion import beside
from envae.companion.differences import Difference, simultaneous
from envae.companion.scale import PUBLISHED, Scale
from envae.companion.tables import NOTHING
from envae.experiments import floors, paper_rows, records
from envae.objectives import objective


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What all runs of a scale share.

    Attributes
    ----------
    title
        What tables call it.
    pixels, network, images, epochs
        As `Scale` takes them.
    samples
        Images generated for a distance from the test images.
    instead
        Rows whose number was not searched at this scale and whose samples came nearer at another
        one: that one's objective, options and learning rate. These runs stand beside the others.
    """

    title: str
    pixels: str
    network: str
    images: int
    epochs: int
    samples: int
    instead: Mapping[str, tuple[str, dict[str, Any], float]] = dataclasses.field(
        default_factory=dict
    )


# By the name of the data; what is furthest from a toy first.
SCALES = {
    "cifar10-jpeg-10000": Recorded("photographs", "32 x 32", "conv", 10_000, 20, 10_000),
    "mnist": Recorded(
        "MNIST",
        "28 x 28",
        "arelbo_mnist",
        60_000,
        50,
        10_000,
        {
            "L2": ("l2", {"alpha": 0.1}, 1e-3),
            "Diag-D, mle": ("diag_d", {"estimate": "mle"}, 1e-4),
        },
    ),
    "mnist-5000": Recorded("MNIST-5000", "28 x 28", "mlp", 5000, 10, 1000),
    "digits": Recorded("digits", "8 x 8", "mlp", 1297, 200, 1297),
}
TITLES = {data: of.title for data, of in SCALES.items()}
_NETWORKS = {"conv": "a convolutional network", "arelbo_mnist": "AR-ELBO's", "mlp": "an MLP"}
# Experiments that train rows of xu2025's Table 1 from scratch, each with the chapter that shows it
# and what tells the runs shown there from others that it holds.
_SMALL = {"network": "mlp", "latent_dim": 16, "lr": 1e-3, "initial_variance": 1.0}
CHAPTERS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("fid_tables_cifar10-jpeg-10000", 9, {}),
    ("fid_tables_mnist", 8, {}),
    ("fid_tables_mnist-5000", 10, {}),
    ("fenvae_mnist-5000", 12, {"epochs": 20}),
    ("fenvae_starts_mnist-5000", 13, {"epochs": 100}),
    ("energy_based_plain_digits", 11, {"epochs": 30}),
    ("fenvae_digits", 12, _SMALL | {"epochs": 30}),
    ("fid_digits", 7, {"epochs": 50}),
    ("calibration_digits", 15, {"epochs": 100}),
    ("fenvae_starts_digits", 13, _SMALL | {"epochs": 170}),
    ("fenvae_starts_digits", 13, _SMALL | {"epochs": 500}),
    ("fid_tables_digits", 10, {}),
)


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
    of = SCALES[data]
    table = f"fid_tables_{data}"
    found = paper_rows.labelled(table).assign(experiment=table)
    found = found[(found["state"] == "failed") | (found["epochs"] == of.epochs)]
    others = records.load(f"{table}_beside") if of.instead else pd.DataFrame()
    for label, (name, options, lr) in of.instead.items():
        same = (others["objective"] == name) & (others["lr"] == lr)
        same &= (others["epochs"] == of.epochs) & others["options"].map(options.__eq__)
        other = others[same].assign(label=label, state="done", experiment=f"{table}_beside")
        found = pd.concat([found[found["label"] != label], other], ignore_index=True)
    return found


def told(paper: str, scales: Iterable[str] = SCALES) -> str:
    """What stands behind the titles of scales, for a caption.

    Parameters
    ----------
    paper
        Key of `scale.PUBLISHED`: where it tells its training, the share of it is told.
    scales
        Keys of `SCALES`.
    """
    floor = floors.table()["floor"]
    parts = []
    for data in scales:
        of, seeds, theirs = SCALES[data], _seeds(data), PUBLISHED[paper]
        here = _scale(data, paper, seeds.max())
        seen = f"{here.seen:,} images seen"
        if here.share is not None:
            seen += f", {here.share} of the paper's on {theirs.smallest or theirs.data}"
        fewest = "" if seeds.min() == seeds.max() else f"{seeds.min()} to "
        parts.append(
            f"{of.title}: {of.images:,} images, {of.pixels.replace('x', '×')}, "
            f"{_NETWORKS[of.network]}, {of.epochs} epochs ({seen}), "
            f"{fewest}{seeds.max()} seeds, floor {floor[data, 'test', of.samples]:.2f}"
        )
    return "; ".join(parts)


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
    seeds = _seeds(data).reindex(list(rows)).dropna()
    return _scale(data, paper, int(seeds.min()) if len(seeds) else 0)


def _seeds(data: str) -> pd.Series:
    """For each row that was run through on some data, of how many seeds."""
    found = runs(data)
    return found[found["state"] == "done"].groupby("label")["seed"].nunique()


def _scale(data: str, paper: str, seeds: int) -> Scale:
    of = SCALES[data]
    return Scale(data, of.pixels, of.network, of.images, of.epochs, seeds, PUBLISHED[paper])


def moved(comparisons: Mapping[str, tuple[str, str, str]]) -> pd.DataFrame:
    """How a comparison of two rows moves with the scale: the ratio of their values, as text.

    Parameters
    ----------
    comparisons
        For each title the first row, the second one, and a metric of both.

    Returns
    -------
    DataFrame
        A column for each of `SCALES`, under its title: geometric mean of the first row over that of
        the second, with the 95 % interval where both have seeds enough; a dash where a row was not
        run.
    """
    found = {data: runs(data) for data in SCALES}
    return pd.DataFrame(
        {
            TITLES[data]: {title: ratio(of, *rows) for title, rows in comparisons.items()}
            for data, of in found.items()
        }
    )


def by_chapter(rows: Iterable[str]) -> pd.DataFrame:
    """In what the runs of some rows differ from chapter to chapter, and the values they have there.

    From scratch, without the runs of searches. Where runs of a row have several KL weights, those
    are taken that have the smallest mean.

    Parameters
    ----------
    rows
        Labels of rows whose free number is the KL weight.

    Returns
    -------
    DataFrame
        A row for each of `CHAPTERS`: the data's title, epochs, learning rate, seeds, samples and
        what they are compared with, then for each of `rows` the FD of samples with its KL weight,
        as text; empty where it was not run.
    """
    told = [_in_chapter(*place, list(rows)) for place in CHAPTERS]
    return pd.DataFrame(told).set_index("chapter")


def _in_chapter(
    experiment: str, chapter: int, these: Mapping[str, Any], rows: list[str]
) -> dict[str, Any]:
    data = experiment.removeprefix("fid_tables_")
    found = runs(data) if data in SCALES else records.load(experiment)
    found = found[found["objective"].notna() & (found["seed"] != paper_rows.SEARCH_SEED)]
    found = found[found.reindex(columns=["start"])["start"].isna()]
    for name, value in these.items():
        found = found[found[name] == value]
    by_row = {label: _at_best_weight(found, label) for label in rows}
    shown = pd.concat(by_row.values())
    first = shown.iloc[0]
    seeds = sorted({len(of) for of in by_row.values() if len(of)})
    return {
        "chapter": str(chapter),
        "data": TITLES[first["dataset"]],
        "epochs": str(int(first["epochs"])),
        "learning rate": f"{first['lr']:g}",
        "seeds": " to ".join(map(str, {seeds[0]: None, seeds[-1]: None})),
        "samples, split": _compared(first.get("experiment", experiment), first["key"]),
    } | {label: _with_weight(of) for label, of in by_row.items()}


def _at_best_weight(found: pd.DataFrame, label: str) -> pd.DataFrame:
    """Runs of a row with the KL weight that has the smallest mean."""
    row = paper_rows.ROWS[label]

    def is_it(name: str, options: dict[str, Any]) -> bool:
        if name != row.objective or row.free not in options:
            return False
        ours = row.options_at(row.value_in(options))
        return objective(name, **options).options == objective(name, **ours).options

    same = [is_it(*pair) for pair in zip(found["objective"], found["options"], strict=True)]
    of = found[same]
    weights = of["options"].map(lambda options: options[row.free])
    if of.empty:
        return of
    return of[weights == of["fd_generated"].groupby(weights).mean().idxmin()]


def _with_weight(of: pd.DataFrame) -> str | None:
    if of.empty:
        return None
    return f"{of['fd_generated'].mean():.2f} ({of['options'].iloc[0]['alpha']:g})"


def _compared(experiment: str, key: str) -> str:
    """What a record's unit says of its samples: `1297, test`."""
    path = records.file(experiment, f"{key}.json")
    assert path is not None
    unit = json.loads(path.read_text(encoding="utf-8"))["units"]["fd_generated"]
    found = re.search(r"(\d+) samples against the (\w+) split", unit)
    return f"{int(found[1]):,}, {found[2]}" if found else unit


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
    return NOTHING if means.isna().any() else f"{np.exp(means[first] - means[second]):.2f}"


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


def pairs_alone(
    of: pd.DataFrame, pairs: Mapping[str, str], metrics: Iterable[str]
) -> dict[tuple[str, str], Difference]:
    """The same by single intervals, each with the spread of its own two rows.

    Parameters and what is given back as of :func:`pairs_apart`.
    """
    found = {
        (first, metric): log_difference(of, first, second, metric)
        for metric in metrics
        for first, second in pairs.items()
    }
    return {key: gap for key, gap in found.items() if gap is not None}


def _logs(of: pd.DataFrame, metric: str) -> pd.DataFrame:
    values = of.reindex(columns=["label", "seed", metric]).dropna()
    return values.assign(**{metric: np.log(values[metric])})
