"""One run of the chapter, and the search that fills its KL weight."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd
import torch
from torch import nn

from envae.experiments.fenvae._variants import VARIANTS, with_batch_norm
from envae.experiments.runs import Point, Setting, Start
from envae.objectives import Objective, objective
from envae.vae import VAE

Unweighted = tuple[str, Mapping[str, Any]]  # an objective and its options, without the KL weight
_BATCH_NORM = "+bn"
Lookup = Callable[[list["Case"]], pd.DataFrame]
Label = Any  # of a row: its name or number, or a pair of them where a start has one too


@dataclasses.dataclass(frozen=True)
class Case(Point):
    """A point finer than a table's row.

    Its objective may be a name of `VARIANTS`, with FEnVAE's options. Its network may have `+bn`
    after its name: batch normalization before every ReLU.

    Attributes
    ----------
    initial_variance
        Factor on the variance of the posterior before training, which is about 1.
    """

    initial_variance: float = 1.0

    def parameters(self, dataset: str) -> dict[str, Any]:
        return super().parameters(dataset) | {"initial_variance": self.initial_variance}

    def build(self, image_shape: tuple[int, int, int]) -> tuple[VAE, Objective]:
        make = VARIANTS.get(self.objective) or functools.partial(objective, self.objective)
        minimized = make(**self.options)
        network = self.setting.network
        plain = dataclasses.replace(self.setting, network=network.removesuffix(_BATCH_NORM))
        vae = dataclasses.replace(self, setting=plain).build_for(minimized, image_shape)
        if network.endswith(_BATCH_NORM):
            vae.encoder = with_batch_norm(vae.encoder)
            vae.decoder = with_batch_norm(vae.decoder)
        if self.initial_variance != 1:
            last = vae.encoder[-1] if isinstance(vae.encoder, nn.Sequential) else None
            if not isinstance(last, nn.Linear):
                raise ValueError(f"the encoder of {network} does not end with a linear layer")
            with torch.no_grad():
                last.bias[vae.latent_dim :] += math.log(self.initial_variance)
        return vae, minimized


def weighted(
    row: Unweighted,
    alpha: float,
    *,
    seed: int = 1,
    start: Start | None = None,
    initial_variance: float = 1.0,
    **setting: Any,
) -> Case:
    """Case of a row at a KL weight, which is multiplied by beta, as the loss's slope is.

    `setting`: fields of `runs.Setting`; 50 epochs by default. A start takes some of them.
    """
    name, options = row
    options = {**options, "alpha": round(float(alpha) * options.get("beta", 1.0), 4)}
    told = Setting(**{"epochs": 50} | setting)
    return Case(name, options, seed, told, start, initial_variance=initial_variance)


def searched(
    rows: Mapping[Label, Unweighted],
    alphas: Iterable[float],
    seeds: Iterable[int],
    *,
    lookup: Lookup,
    tried: Lookup | None = None,
    starts: Mapping[Label, Start | None] | None = None,
    **settings: Any,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Search every row's weight, then take the reported runs at the weight with the smallest FD.

    The search is the same for every row: runs with seed 0, judged by the FD of samples.

    Parameters
    ----------
    rows
        By label: a row's name, or a pair of a row's name and a start's.
    alphas
        Weights, as :func:`weighted` takes them.
    seeds
        Of the reported runs; not 0, which chose.
    lookup
        Gives the records of cases, such as `runs.recorded`.
    tried
        The same for the cases of the search, which may see other images; `lookup` by default.
    starts
        A warm start by label, for the rows that have one.
    settings
        What the cases share, as :func:`weighted` takes it.

    Returns
    -------
    tuple
        FD of samples by label and weight, and the records of the reported runs by label and
        `seed`; the index has the levels `row` and, where labels are pairs, `start`.
    """
    alphas, seeds, starts = list(alphas), list(seeds), starts or {}

    def case(label: Label, alpha: float, seed: int) -> Case:
        return weighted(rows[label], alpha, seed=seed, start=starts.get(label), **settings)

    trials = (tried or lookup)([case(label, alpha, 0) for label in rows for alpha in alphas])
    distances = trials["fd_generated"].to_numpy().reshape(len(rows), len(alphas))
    found = pd.DataFrame(distances, index=pd.Index(list(rows)), columns=alphas)
    found.index.names = _levels(rows)
    chosen = found.idxmin(axis=1)
    points = [(label, seed) for label in rows for seed in seeds]
    runs = lookup([case(label, chosen[label], seed) for label, seed in points])
    return found, _indexed(runs, points, [*_levels(rows), "seed"])


def at_lengths(
    rows: Mapping[Label, Unweighted],
    weights: Mapping[Label, float],
    lengths: Iterable[int],
    seeds: Iterable[int],
    *,
    lookup: Lookup,
    starts: Mapping[Label, Start | None] | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Runs of rows after trainings of several lengths, each a run of its own, at one weight.

    Parameters
    ----------
    rows, seeds, lookup, starts, settings
        As :func:`searched` takes them.
    weights
        Of each row, as :func:`weighted` takes them.
    lengths
        Epochs in all, those of a start among them.

    Returns
    -------
    DataFrame
        Records by label, `epochs` and `seed`; the index as that of :func:`searched`.
    """
    starts = starts or {}
    points = [(label, n, seed) for label in rows for n in lengths for seed in seeds]
    found = lookup(
        [
            weighted(
                rows[label], weights[label], seed=seed, start=starts.get(label),
                **settings | {"epochs": n},
            )
            for label, n, seed in points
        ]
    )  # fmt: skip
    return _indexed(found, points, [*_levels(rows), "epochs", "seed"]).sort_index()


def _levels(rows: Iterable[Label]) -> list[str]:
    """What the levels of an index of these labels are called."""
    return ["row", "start"][: len(_names(next(iter(rows))))]


def _indexed(
    records: pd.DataFrame, points: Iterable[tuple[Any, ...]], levels: list[str]
) -> pd.DataFrame:
    """Records of points, each a label and what else tells it apart, indexed by them."""
    keys = [(*_names(label), *rest) for label, *rest in points]
    return records.set_axis(pd.MultiIndex.from_tuples(keys, names=levels))


def _names(label: Label) -> tuple[str, ...]:
    """Levels of an index of labels."""
    return label if isinstance(label, tuple) else (label,)
