"""Published tables beside our runs, agreement of their orders, and differences of our rows."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from envae._unknown import unknown
from envae.companion.differences import Difference, paired, unpaired
from envae.companion.tables import NOTHING
from envae.experiments import published
from envae.experiments.paper_rows import ALL_ROWS, ROWS
from envae.objectives import objective

# Metric of a published table: the one that `quality.measure` gives for it; samples of a row that is
# about a prior of its own are from that one, see `_metric`.
COLUMNS = {
    "FID_gen": "fd_generated",
    "FID_re": "fd_reconstructed",
    "IS": "is_generated",
    "MSE": "squared_error",
    "FID_prior": "fd_generated",
    "FID_2ndVAE": "fd_second_stage",
    "FID_GMM10": "fd_gmm10",
    "FID_GMM100": "fd_gmm100",
    "FID_mid": "fd_midpoint",
    "FID_random": "fd_random_ratio",
    "NLL_upper_bound_k500": "nll",
}
# What a column is called beside ours, where it is no longer an FID.
NAMES = {
    "FID_gen": "samples",
    "FID_re": "reconstructions",
    "FID_prior": "prior",
    "FID_2ndVAE": "second stage",
    "FID_GMM10": "mixture of 10",
    "FID_GMM100": "mixture of 100",
    "FID_mid": "mid-point",
    "FID_random": "random point",
    "NLL_upper_bound_k500": "NLL",
    "MSE": "squared error",
}
# What a row's free number is called.
FREE = {
    "alpha": "KL weight",
    "information": "KL weight",
    "scale": "scale",
    "mmd_weight": "weight of the MMD",
    "code_weight": "weight of the codes",
    "gradient_weight": "weight of the gradient",
    "lr": "learning rate",
}
# The data sets of a paper, as `datasets.load` knows them: elsewhere its numbers are not repeated.
DATASETS = {"xu2025": ("celeba64", "cifar10", "lsun_church64")}
NOT_YET = "not run yet"
# Rows that a table names otherwise than the paper's main table.
_ALSO = (
    {"FEnVAE_single": "FEnVAE"}  # Table 5 of xu2025
    | {"VAE (sigma_x^2=1.0)": "VAE, variance 1"}  # Table 7 of takida2022
    | {name: f"{name}, mle" for name in ("Iso-I", "Diag-I", "Iso-D", "Diag-D")}
)


def label(paper: str, row: str) -> str:
    """Key in `paper_rows.ALL_ROWS` of a row that a paper names so.

    Raises
    ------
    ValueError
        If it is no row of ours.
    """
    if row in _ALSO:
        return _ALSO[row]
    for name, ours in ALL_ROWS.items():
        if getattr(ours, paper) == row:
            return name
    raise ValueError(f"{row!r} is no row of {paper} that is run here")


def as_published(paper: str, number: int, dataset: str) -> pd.DataFrame:
    """A paper's table on one data set: our labels as index, its metrics as columns."""
    table = published.table(paper, number)
    table = table[(table["dataset"] == dataset) & ~table["row"].str.startswith("Impr.")]
    table = table.assign(row=[label(paper, row) for row in table["row"]])
    wide = table.pivot(index="row", columns="metric", values="value").astype(float)
    return wide.loc[table["row"].unique(), table["metric"].unique()]


def spread(runs: pd.DataFrame, metric: str) -> pd.Series:
    """Mean ± standard deviation over seeds of each row, or why there is none, as text."""
    texts = {label: _spread(group, metric) for label, group in runs.groupby("label")}
    return pd.Series(texts, dtype=object)


def _spread(of_row: pd.DataFrame, metric: str) -> str:
    if "failed" in set(of_row["state"]):
        return "failed"
    if "missing" in set(of_row["state"]):
        return NOT_YET
    return mean_and_spread(of_row[metric]) if metric in of_row else NOTHING


def mean_and_spread(values: pd.Series, digits: int = 2) -> str:
    """Mean ± standard deviation over seeds, as text; the mean alone where there is one seed.

    Parameters
    ----------
    values
        One for each seed; no number where it was not measured, and the text says for how many it
        was: `0.27 (1/2)`. A dash where it was for none.
    digits
        Digits after the point.
    """
    measured = values.dropna()
    if measured.empty:
        return NOTHING
    mean, std = f"{measured.mean():.{digits}f}", f"{measured.std():.{digits}f}"
    told = f"{mean} ± {std}" if len(measured) > 1 else mean
    lacking = len(measured) < len(values)
    return f"{told} ({len(measured)}/{len(values)})" if lacking else told


def means(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of every row of the tables.

    Infinite where a run failed, so that the row comes last, and not a number where one is missing.

    Parameters
    ----------
    runs
        As `paper_rows.Experiment.all_runs` gives them.
    """
    metrics = list(dict.fromkeys(COLUMNS.values()))
    found = runs.groupby("label")["state"].agg(set).to_dict()
    states = [found.get(label, {"missing"}) for label in ROWS]
    averages = runs.reindex(columns=["label", *metrics]).groupby("label").mean().reindex(list(ROWS))
    averages[["failed" in of_row for of_row in states]] = np.inf
    averages[["missing" in of_row for of_row in states]] = np.nan
    return averages


def beside(paper: str, number: int, dataset: str, ours: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A published table with our values of the same columns at its side, as text.

    Parameters
    ----------
    paper, number, dataset
        The published table, and which of its data sets.
    ours
        For each heading (kind of number, distance, data set) runs as
        `paper_rows.Experiment.all_runs` gives them.
    """
    theirs = as_published(paper, number, dataset)
    parts = {f"published, {dataset}": theirs.map("{:.2f}".format).replace("nan", NOTHING)}
    for heading, runs in ours.items():
        columns = {name: _ours(runs, name).reindex(theirs.index) for name in theirs}
        parts[heading] = pd.DataFrame(columns).fillna("not run")
    return pd.concat(parts, axis=1).rename(columns=NAMES).rename_axis(columns=[None, None])


def by_measure(table: pd.DataFrame, measures: Iterable[str]) -> pd.DataFrame:
    """The columns of :func:`beside` in groups of one measure, whoever measured it.

    Those without a single number are left out.

    Parameters
    ----------
    table
        As :func:`beside` gives it.
    measures
        Names of its measures, in the order of the groups.
    """
    measured = table.loc[:, [table[column].str.contains(r"\d").any() for column in table]]
    return measured.swaplevel(axis=1)[list(measures)].rename_axis(None)


def _ours(runs: pd.DataFrame, column: str) -> pd.Series:
    """Our values of a published column, as :func:`spread` gives them."""
    texts = {
        label: _spread(of_row, _metric(column, str(label)))
        for label, of_row in runs.groupby("label")
    }
    return pd.Series(texts, dtype=object)


def _metric(column: str, label: str) -> str:
    # Of xu2025, whose rows are judged by samples from N(0, I), but for those with a fitted prior.
    return ALL_ROWS[label].judged_by if column == "FID_gen" else COLUMNS[column]


def difference(runs: pd.DataFrame, first: str, second: str, metric: str) -> Difference | None:
    """A row less another over the seeds, with its 95 % interval; None without two runs of each.

    Paired by the seed where that is one start: the same network, so the same weights, order and
    draws of codes. A row whose decoder has a head starts elsewhere; with it, Welch's interval.

    Parameters
    ----------
    runs
        As `paper_rows.Experiment.all_runs` gives them.
    first, second
        Labels of the rows.
    metric
        Column of `runs`.

    Raises
    ------
    ValueError
        If a row is none of the tables', or a seed of one is there more than once: an interval would
        take one run for several.
    """
    for name in (first, second):
        if name not in ROWS:
            raise ValueError(unknown("row", name, ROWS))
    values = runs.reindex(columns=["label", "seed", metric]).dropna()
    both = values[values["label"].isin([first, second])]
    if both.duplicated(["label", "seed"]).any():
        raise ValueError(f"several runs of one seed of {first!r} or {second!r}: choose among them")
    by_seed = [
        values[values["label"] == label].set_index("seed")[metric].sort_index()
        for label in (first, second)
    ]
    if min(map(len, by_seed)) < 2:
        return None
    one_start = not any(_has_head(label) for label in (first, second))
    if one_start and by_seed[0].index.equals(by_seed[1].index):
        return paired(*by_seed)
    return unpaired(*by_seed)


def _has_head(label: str) -> bool:
    row = ROWS[label]
    return objective(row.objective, **row.options_at(row.middle)).head_maps(1) > 0


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Kendall's rank correlation with the 95 % interval of a bootstrap; `rows` compared."""

    tau: float
    low: float
    high: float
    rows: int

    def __str__(self) -> str:
        return f"{self.tau:.2f} [{self.low:.2f}, {self.high:.2f}], {self.rows} rows"


def agreement(
    theirs: pd.Series, runs: pd.DataFrame, metric: str, *, resamples: int = 1000
) -> Agreement:
    """Rank correlation of a published column with our means over seeds.

    The bootstrap draws rows, and for each row one of its seeds: its interval is of the order
    that other rows and one run of each would have shown. Rows without a value on either side are
    left out.

    Parameters
    ----------
    theirs
        Published values, our labels as index.
    runs
        As `paper_rows.Experiment.all_runs` gives them.
    metric
        Column of `runs`.
    resamples
        Bootstrap samples.

    Raises
    ------
    ValueError
        If fewer than three rows can be compared.
    """
    values = runs.assign(**{metric: runs.get(metric, np.nan)}).dropna(subset=metric)
    values = values.sort_values("seed")  # in whatever order records are read
    seeds = {name: group.to_numpy() for name, group in values.groupby("label")[metric]}
    shared = [name for name in theirs.dropna().index if name in seeds]
    if len(shared) < 3:
        raise ValueError(f"a rank correlation needs at least 3 rows with values, found {shared}")
    published_values = theirs[shared].to_numpy()
    means = np.array([seeds[name].mean() for name in shared])
    random = np.random.default_rng(0)
    rows = random.integers(len(shared), size=(resamples, len(shared)))
    one_seed = np.stack([random.choice(seeds[name], resamples) for name in shared], 1)
    samples = _tau(published_values[rows], np.take_along_axis(one_seed, rows, 1))
    low, high = np.nanquantile(samples, [0.025, 0.975])  # all rows equal: no correlation
    tau = kendalltau(published_values, means).statistic
    return Agreement(float(tau), float(low), float(high), len(shared))


def _tau(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of many pairs of rankings `(resamples, rows)` at once."""
    order, other = (np.sign(ranks[:, :, None] - ranks[:, None, :]) for ranks in (first, second))
    with np.errstate(invalid="ignore"):  # no pair differs: not a number
        return (order * other).sum((1, 2)) / np.sqrt(
            (order**2).sum((1, 2)) * (other**2).sum((1, 2))
        )
