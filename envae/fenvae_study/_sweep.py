"""Cases run side by side, each recorded once, and their records as a table."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import pandas as pd
from joblib import delayed

from envae import records
from envae._parallel import side_by_side
from envae.datasets import Dataset
from envae.fenvae_study._case import Case, Row, weighted
from envae.fenvae_study._measures import lipschitz, measure
from envae.metrics.extractor import Extractor


def run(
    case: Case,
    *,
    dataset: Dataset,
    extractor: Extractor,
    experiment: str,
    samples: int | None = None,
) -> None:
    """Train, measure and record a case; `samples` as :func:`measure` takes them."""
    vae, minimized = case.build(dataset.image_shape)
    history = case.train(vae, minimized, dataset.train)
    values = measure(vae, minimized, dataset, case.seed, extractor=extractor, samples=samples)
    values |= lipschitz(vae, dataset.test[:500])
    records.save_values(
        experiment,
        parameters(case, dataset.name),
        values,
        seconds=round(history["seconds"].sum(), 2),
        curves={"total": history["total"]},
        data_checksum=dataset.checksum,
    )


def parameters(case: Case, dataset: str) -> dict:
    """What a case is recorded under."""
    return dataclasses.asdict(case) | {"dataset": dataset}


def complete(
    cases: Iterable[Case], *, dataset: Dataset, experiment: str, jobs: int = -1, **shared
) -> None:
    """Run the cases that have no record yet, side by side. See :func:`run`."""
    cases = list(cases)
    rows = records.load(experiment, [parameters(case, dataset.name) for case in cases])
    done = set(rows.loc[rows["done"], "key"])
    left = [
        case
        for case in cases
        if records.key(experiment, parameters(case, dataset.name)) not in done
    ]
    side_by_side(
        (delayed(run)(case, dataset=dataset, experiment=experiment, **shared) for case in left),
        jobs=jobs,
    )


def recorded(cases: Iterable[Case], *, dataset: str, experiment: str) -> pd.DataFrame:
    """Records of the cases in their order, with the options as columns.

    Raises
    ------
    LookupError
        If a case was not recorded.
    """
    rows = records.load(experiment, [parameters(case, dataset) for case in cases])
    if not rows["done"].all():
        count = (~rows["done"]).sum()
        raise LookupError(f"{count} of {len(rows)} runs of {experiment!r} have no record")
    options = pd.DataFrame(list(rows["options"]), index=rows.index)
    return rows.drop(columns="options").join(options)


def search(
    rows: Mapping[str, Row],
    alphas: Iterable[float],
    *,
    lookup: Callable[[list[Case]], pd.DataFrame],
    **settings,
) -> pd.DataFrame:
    """FD of samples by row and weight, from runs with seed 0: the same search for every row.

    Parameters
    ----------
    rows
        By label.
    alphas
        Weights, as :func:`weighted` takes them.
    lookup
        Gives the records of cases, such as :func:`recorded`.
    settings
        What the cases share.
    """
    alphas = list(alphas)
    cases = [weighted(row, alpha, seed=0, **settings) for row in rows.values() for alpha in alphas]
    found = lookup(cases)["fd_generated"].to_numpy().reshape(len(rows), len(alphas))
    return pd.DataFrame(found, index=list(rows), columns=alphas)


def searched(
    rows: Mapping[str, Row],
    alphas: Iterable[float],
    seeds: Iterable[int],
    *,
    lookup: Callable[[list[Case]], pd.DataFrame],
    **settings,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Search every row's weight, then take the reported runs at the weight with the smallest FD.

    Parameters
    ----------
    rows, alphas, lookup, settings
        As :func:`search` takes them.
    seeds
        Of the reported runs; not 0, which chose.

    Returns
    -------
    tuple
        What :func:`search` gives, and the records by `row` and `seed`.
    """
    found, seeds = search(rows, alphas, lookup=lookup, **settings), list(seeds)
    chosen = found.idxmin(axis=1)
    points = [(label, seed) for label in rows for seed in seeds]
    runs = lookup(
        [weighted(rows[label], chosen[label], seed=seed, **settings) for label, seed in points]
    )
    runs.index = pd.MultiIndex.from_tuples(points, names=["row", "seed"])
    return found, runs
