"""How the second terms of the losses go with that of many draws: Figure 6 of xu2025."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from envae.datasets import Dataset
from envae.experiments import records, runs
from envae.experiments.fenvae._case import Case
from envae.experiments.fenvae._measures import spread_terms
from envae.vae import VAE

_MANY = 100  # draws of the term that the others are held against
_PLACES = ("same network", "own network")
Key = tuple[str, int]  # a row and a seed


def second_term(vae: VAE, images: Tensor, draws: int) -> Tensor:
    """A loss's second term on images, `(B,)`: half the distance of so many draws, 0 FEnVAE's."""
    terms = spread_terms(vae, images, draws=draws or 2, seed=7)
    return terms["spread" if draws else "stand_in"]


def many_draws(vae: VAE, images: Tensor) -> Tensor:
    """The term that all others are held against, `(B,)`: of 100 draws."""
    return spread_terms(vae, images, draws=_MANY, seed=100)["spread"]


def term_correlations(
    vaes: Mapping[Key, VAE], images: Tensor, draws: Mapping[str, int], *, reference: str
) -> pd.DataFrame:
    """Pearson's r, over images, of each row's second term and that of 100 draws.

    Parameters
    ----------
    vaes
        By row and seed; the same seeds, at least two, for all rows.
    images
        `(N, C, H, W)`.
    draws
        By row, of its second term; 0 for FEnVAE's.
    reference
        Row whose networks give the term of 100 draws.

    Returns
    -------
    DataFrame
        Indexed by `row` and `seed`. `same network`: all terms on the network of the reference.
        `own network`: each on its row's, with the reference from the next seed.

    Raises
    ------
    ValueError
        If there is a single seed, which has no network beside its own.
    """
    seeds = list(dict.fromkeys(seed for _, seed in vaes))
    if len(seeds) < 2:
        raise ValueError(f"a reference of another network needs two seeds, received {seeds}")
    full = {seed: many_draws(vaes[reference, seed], images) for seed in seeds}
    next_one = dict(zip(seeds, seeds[1:] + seeds[:1], strict=True))

    def r(first: Tensor, second: Tensor) -> float:
        return float(np.corrcoef(first, second)[0, 1])

    found = {
        (row, seed): (
            r(full[seed], second_term(vaes[reference, seed], images, count)),
            r(full[next_one[seed]], second_term(vaes[row, seed], images, count)),
        )
        for row, count in draws.items()
        for seed in seeds
    }
    return pd.DataFrame(found, index=list(_PLACES)).T.rename_axis(["row", "seed"])


def record_terms(
    cases: Mapping[Key, Case],
    draws: Mapping[str, int],
    *,
    reference: str,
    dataset: Dataset,
    experiment: str,
    images: int,
) -> None:
    """Train cases and record their :func:`term_correlations`, unless all of them are recorded.

    Parameters
    ----------
    cases
        By row and seed.
    draws, reference
        As :func:`term_correlations` takes them.
    dataset
        Data set.
    experiment
        Name under which the correlations are recorded.
    images
        Test images that are measured, the first ones.
    """
    if records.load(experiment, _parameters(cases, dataset.name).values())["done"].all():
        return
    trained = runs.of_stacks(lambda stack: runs.train_stack(stack, dataset), cases.values())
    vaes = {key: vae for key, (vae, *_) in zip(cases, trained, strict=True)}
    shown = dataset.test[:images]
    found = term_correlations(vaes, shown, draws, reference=reference)
    unit = f"Pearson's r over {len(shown)} test images, with {_MANY} draws of {reference}"
    for key, told in _parameters(cases, dataset.name).items():
        values = {name: (value, unit) for name, value in found.loc[key].items()}
        records.save_values(experiment, told, values, data_checksum=dataset.checksum)


def recorded_terms(cases: Mapping[Key, Case], *, dataset: str, experiment: str) -> pd.DataFrame:
    """What :func:`record_terms` recorded, as :func:`term_correlations` gives it.

    Raises
    ------
    LookupError
        If a case was not recorded, with these seeds beside it.
    """
    told = _parameters(cases, dataset)
    found = records.load(experiment, told.values())
    records.check_done(found, experiment)
    found.index = pd.MultiIndex.from_tuples(told, names=["row", "seed"])
    return found[list(_PLACES)]


def _parameters(cases: Mapping[Key, Case], dataset: str) -> dict[Key, dict[str, Any]]:
    """A case's parameters, and the seeds that it is compared with."""
    seeds = sorted({seed for _, seed in cases})
    return {key: case.parameters(dataset) | {"seeds": seeds} for key, case in cases.items()}
