"""Sweeps over EnVAE's KL weight: how far draws spread, and where samples are best."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from envae import datasets
from envae.experiments import records
from envae.experiments.measures import calibration
from envae.experiments.runs import Point, Setting, complete, recorded
from envae.metrics import extractor
from envae.metrics.random_convolutions import RandomConvolutions
from envae.theory import spread_balance

SUGGESTED = "suggested_weight"  # experiment of the weights that principal components suggest
OPTIONS = {"samples": 4, "pairs": "mirrored"}
_STEPS = {"digits": 16}  # grey levels but one; 8 bits elsewhere
# Judges of samples, all against the test split.
JUDGES = {
    "fd_generated_random_conv": "FD (random-conv)",
    "energy_distance_generated": "energy distance",
}


def points(
    setting: Setting, weights: Iterable[float], betas: Iterable[float], seeds: Sequence[int]
) -> list[Point]:
    """EnVAE with four mirrored draws at every weight, exponent and seed."""
    return [
        Point("envae", OPTIONS | {"alpha": alpha} | ({} if beta == 1 else {"beta": beta}), seed,
              setting)
        for beta in betas for alpha in weights for seed in seeds
    ]  # fmt: skip


def record(dataset: str, train_size: int | None, wanted: list[Point]) -> None:
    """Run the points that have no record yet, and record what weights the images suggest.

    Parameters
    ----------
    dataset, train_size
        As `datasets.load` takes them.
    wanted
        Points, as :func:`points` makes them.
    """
    data = datasets.load(dataset, train_size=train_size)
    try:
        network = extractor.load(f"{dataset}-cnn")[0]
    except FileNotFoundError:  # a space that nothing was trained on is left
        network = None
    measure = functools.partial(
        calibration.measure,
        extractor=network,
        others=(RandomConvolutions(data.train),),
        steps=_STEPS.get(dataset, 255),
    )
    complete(wanted, dataset=data, experiment=f"calibration_{data.name}", measure=measure)
    for told in _suggestions(data.name, wanted):
        alpha = spread_balance.suggested_weight(data.train, told["latent_dim"], beta=told["beta"])
        values = {"suggested": (alpha, "KL weight, data units ** beta")}
        records.save_values(SUGGESTED, told, values, data_checksum=data.checksum)


def _suggestions(name: str, wanted: Iterable[Point]) -> list[dict[str, Any]]:
    """Parameters under which the suggestions for some points are recorded, each once."""
    betas = dict.fromkeys(
        (point.setting.latent_dim, point.options.get("beta", 1.0)) for point in wanted
    )
    return [{"dataset": name, "latent_dim": d, "beta": beta} for d, beta in betas]


def table(name: str, wanted: list[Point]) -> pd.DataFrame:
    """Recorded runs on a data set, with what `theory.spread_balance` says of them.

    Parameters
    ----------
    name
        Of the data set, as records have it: `mnist-5000`.
    wanted
        Points, as :func:`points` makes them.

    Returns
    -------
    DataFrame
        Indexed by `data`, `beta`, `alpha` and `seed`; the recorded metrics, and `ratio`, the root
        of `spread` over `missed`; `predicted`, the same by `spread_balance.ratio`; `suggested`,
        the weight by `spread_balance.suggested_weight`, as it was recorded.
    """
    found = recorded(wanted, dataset=name, experiment=f"calibration_{name}")
    found = found.assign(data=name, beta=[point.options.get("beta", 1.0) for point in wanted])
    found["ratio"] = (found["spread"] / found["missed"]).pow(0.5)
    told = found[["alpha", "missed", "dimensions_in_use", "beta"]].to_numpy(float)
    found["predicted"] = [
        spread_balance.ratio(alpha, error=missed, dimensions=dimensions, beta=beta)
        for alpha, missed, dimensions, beta in told
    ]
    suggested = records.load(SUGGESTED, _suggestions(name, wanted)).set_index("beta")["suggested"]
    found["suggested"] = found["beta"].map(suggested)
    return found.set_index(["data", "beta", "alpha", "seed"])


def beside_best(runs: pd.DataFrame, judge: str, default: float) -> pd.DataFrame:
    """The suggested weight, and a default, beside the one at which samples are best.

    Parameters
    ----------
    runs
        Of several data sets, as :func:`table` gives them.
    judge
        Column that is smallest there, on average over seeds.
    default
        A weight for all sets.

    Returns
    -------
    DataFrame
        Indexed by `data` and `beta`: `suggested`; `best`, of the weights tried, and `at_end`,
        whether it is the first or last of them; at the suggested weight, by interpolation over the
        logarithm of alpha, `cost`, the judge over its smallest mean, and `share` of the latent
        dimensions in use; `cost_default`, the cost at the default. NaN where a weight lies outside
        of those tried, or a mean is not positive: estimates without bias may be below zero.
    """
    of_sets = runs.groupby(level=["data", "beta"], sort=False)
    rows = {which: _beside_best(of_set, judge, default) for which, of_set in of_sets}
    return pd.DataFrame(rows).T.rename_axis(["data", "beta"])


def _beside_best(of_set: pd.DataFrame, judge: str, default: float) -> pd.Series:
    columns = [judge, "suggested", "dimensions_in_use", "latent_dim"]
    means = of_set.groupby(level="alpha")[columns].mean().sort_index()
    suggested, best = means["suggested"].iloc[0], means[judge].idxmin()
    log_judge = np.log(means[judge].where(means[judge] > 0))
    share = means["dimensions_in_use"] / means["latent_dim"]

    def at(alpha: float, values: pd.Series) -> float:
        tried = np.log(means.index.to_numpy(float))
        return float(np.interp(np.log(alpha), tried, values, left=np.nan, right=np.nan))

    return pd.Series(
        {
            "suggested": suggested,
            "best": best,
            "at_end": best in (means.index[0], means.index[-1]),
            "cost": np.exp(at(suggested, log_judge) - log_judge.min()),
            "cost_default": np.exp(at(default, log_judge) - log_judge.min()),
            "share": at(suggested, share),
        }
    )
