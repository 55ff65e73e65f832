"""Readings of trained models as the cells of Table 3, and the cells as they are printed."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import scipy.stats

from envae.datasets import Dataset
from envae.datasets.noise import PATTERNS, partitions
from envae.experiments import published, records
from envae.experiments.noise_recovery._train import NoisyPoint
from envae.experiments.runs import Outcome, Setting

# The columns of Table 3: the partitions over which each parameterization shares its variance.
COLUMNS = {
    "Iso-I": ["SU+SL+BU+BL"],
    "Diag-I": ["SU+BU", "SL+BL"],
    "Iso-D": ["SU+SL", "BU+BL"],
    "Diag-D": ["SU", "SL", "BU", "BL"],
}
_KEYS = ["model", "pattern", "s2", "part"]


def table(runs: dict[str, Sequence[Outcome[NoisyPoint]]]) -> pd.DataFrame:
    """All readings of the outcomes of :func:`train`, one per line.

    Returns
    -------
    DataFrame
        Columns `model` (key of `runs`), `pattern`, `s2`, `law`, `redraw`, `seed`, `map`, `split`,
        `part`, `value`. Models that left the finite numbers have no lines.
    """
    lines = [
        (
            model,
            noise.pattern,
            noise.variance,
            noise.law,
            noise.redraw,
            noise.seed,
            *key.split("_"),
            value,
        )
        for model, outcomes in runs.items()
        for outcome in outcomes
        for noise in [outcome.point.noise]
        for key, value in outcome.metrics.items()
        if "diverged_epoch" not in outcome.metrics
    ]
    columns = ["model", "pattern", "s2", "law", "redraw", "seed", "map", "split", "part", "value"]
    return pd.DataFrame(lines, columns=columns)


def recorded_readings(experiment: str, data: str, setting: Setting) -> pd.DataFrame:
    """Readings of recorded runs on Gaussian noise that is drawn once, on the training images.

    An experiment may hold other runs too: on fewer images, with other noise, of objectives that
    report no variance.

    Parameters
    ----------
    experiment
        Name of the experiment.
    data
        Name of the clean images.
    setting
        That of the runs.

    Returns
    -------
    DataFrame
        Columns `how` (MLE, trainable; floor or draws, of Diag-D by maximum likelihood), `model` (as
        in `COLUMNS`), `pattern`, `s2`, `seed`, `part`, `value`, which is NaN where the run left the
        finite numbers; empty where nothing is recorded.
    """
    stored = records.load(experiment)
    if stored.empty:
        return stored
    told = stored.join(stored["dataset"].str.extract(_NOISY)).assign(
        how=stored["options"].map(_how), model=stored["objective"].map(_MODELS)
    )
    kept = (told["clean"] == data) & told["model"].notna() & ~told["redraw"].astype(bool)
    for name, value in dataclasses.asdict(setting).items():
        column = told.get(name, pd.Series(index=told.index, dtype=object))
        kept &= column.isna() if value is None else column == value
    told = told[kept].astype({"s2": float})
    parts = {f"variance_train_{part}": part for part in COLUMNS["Diag-D"]}
    return told.rename(columns=parts).melt(
        ["how", "model", "pattern", "s2", "seed"], list(parts.values()), "part"
    )


_NOISY = r"^(?P<clean>.*)\+(?P<pattern>.*)-gaussian-(?P<s2>[\d.]+)-\d+$"
_MODELS = {name.lower().replace("-", "_"): name for name in COLUMNS}  # by their objectives
_VARIANTS = {"epsilon": "floor", "draws": "draws"}


def _how(options: Mapping[str, Any]) -> str:
    """How a variance was found that an objective with these options reports."""
    if "estimate" in options:
        return str(options["estimate"])
    return next((name for option, name in _VARIANTS.items() if option in options), "MLE")


def cells(readings: pd.DataFrame, sizes: Mapping[str, float]) -> pd.DataFrame:
    """The cells of Table 3 from readings of one map and one split.

    Parameters
    ----------
    readings
        Lines of :func:`table`, whose `model` are the keys of `COLUMNS`. Lines of the pattern
        `uniform` at s2 = 0 are the clean images: every cell is compared with s_x^2, times the
        share of its pixels that are noisy, plus the same model's estimate there.
    sizes
        Of the partitions, as :func:`sizes` has them.

    Returns
    -------
    DataFrame
        Indexed by `model`, `pattern`, `s2`, `part`: `value` (mean over seeds), `clean` and
        `target`; `deviation` (mean, relative to the target) and `half` (half the width of its
        95 % interval by Student's t); `share`; `kind` (noisy, clean or mixed) and `sufficient`,
        whether no cell of this model and pattern is mixed.
    """
    wide = readings.pivot(index=["model", "pattern", "s2", "seed"], columns="part", values="value")
    means = {
        (model, part): wide.xs(model)[part.split("+")].mean(axis=1)
        for model, of_model in COLUMNS.items()
        if model in wide.index
        for part in of_model
    }
    each = pd.concat(list(means.values()), keys=list(means), names=["model", "part"])
    each = each.rename("value").reset_index()
    without = each[each["s2"] == 0].set_index(["model", "part", "seed"])["value"]
    each = each[each["s2"] > 0].join(without.rename("clean"), on=["model", "part", "seed"])
    shares = {
        (pattern, part): share(pattern, part.split("+"), sizes)
        for pattern in PATTERNS
        for part in set(each["part"])
    }
    each["share"] = [shares[key] for key in zip(each["pattern"], each["part"], strict=True)]
    each["target"] = each["share"] * each["s2"] + each["clean"]
    each["deviation"] = each["value"] / each["target"] - 1
    grouped = each.groupby(_KEYS, sort=False)
    frame = grouped[["value", "clean", "target", "deviation", "share"]].mean()
    quantile = scipy.stats.t.ppf(0.975, grouped.size() - 1)
    frame["half"] = quantile * grouped["deviation"].std() / grouped.size() ** 0.5
    frame["kind"] = frame["share"].map({0: "clean", 1: "noisy"}).fillna("mixed")
    in_order = [
        (model, pattern, s2, part)
        for model, parts in COLUMNS.items()
        for pattern in PATTERNS
        for s2 in sorted(set(each["s2"]))
        for part in parts
    ]
    frame = frame.loc[[key for key in in_order if key in frame.index]]
    mixed = (frame["kind"] == "mixed").groupby(["model", "pattern"]).transform("any")
    return frame.assign(sufficient=~mixed)


def against_level(cells: pd.DataFrame, model: str, level: float) -> pd.DataFrame:
    """Cells whose targets hold, for one model, another clean-data variance than its own.

    Parameters
    ----------
    cells
        As :func:`cells` gives them.
    model
        Key of `COLUMNS`, such as that of a model which has collapsed on clean images as well.
    level
        The clean-data variance that it is compared with instead.
    """
    of_model = cells.index.get_level_values("model") == model
    own = cells["target"]
    other = cells["share"] * cells.index.get_level_values("s2") + level
    return cells.assign(
        clean=cells["clean"].mask(of_model, level),
        target=own.mask(of_model, other),
        deviation=cells["deviation"].mask(of_model, cells["value"] / other - 1),
        half=cells["half"].mask(of_model, cells["half"] * own / other),
    )


def sizes(data: Dataset) -> dict[str, float]:
    """The share of the training images' pixels that lies in each partition, by its name."""
    parts = partitions(data.train_labels, data.image_shape)
    return {name: part.double().mean().item() for name, part in parts.items()}


def share(pattern: str, parts: list[str], sizes: Mapping[str, float]) -> float:
    """Share of the pixels in these partitions that a pattern makes noisy."""
    noisy = [part for part in parts if part in PATTERNS[pattern]]
    return sum(sizes[part] for part in noisy) / sum(sizes[part] for part in parts)


def printed() -> pd.Series:
    """Table 3 as it is printed, indexed as :func:`cells`."""
    table3 = published.table("takida2022", 3)
    names = table3["row"].str.split(" | ", regex=False, expand=True)
    return pd.Series(
        table3["value"].to_numpy(),
        index=pd.MultiIndex.from_arrays(
            [
                names[2],
                names[0].str.lower(),
                names[1].str.removeprefix("s_x^2=").astype(float),
                table3["metric"].str.extract(r"\[(.*)\]")[0],
            ],
            names=_KEYS,
        ),
        name="published",
    )
