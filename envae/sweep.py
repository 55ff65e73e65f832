"""Points of a table: train a model, measure it, record it; a recorded point is not run again."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping

import pandas as pd
from joblib import Parallel, delayed

from envae import networks, records
from envae.datasets import Dataset
from envae.objectives import Objective, objective
from envae.training import fit
from envae.vae import VAE

# What a measurement gives: the unit stands beside each value.
Values = Mapping[str, tuple[float, str]]
Measure = Callable[[VAE, Objective, Dataset, int], Values]


@dataclasses.dataclass(frozen=True)
class Setting:
    """What all rows of a table share, so that they differ in their objective alone.

    Attributes
    ----------
    network, latent_dim
        As `networks.build` takes them.
    epochs, batch_size, lr
        As `training.fit` takes them.
    posterior
        As `networks.build` takes it; None is the network's own.
    """

    network: str = "mlp"
    latent_dim: int = 16
    epochs: int = 60
    batch_size: int = 64
    lr: float = 1e-3
    posterior: str | float | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A trained model with its objective, parameters, metrics, training history and wall time."""

    vae: VAE
    objective: Objective
    parameters: dict
    metrics: dict[str, float]
    history: pd.DataFrame
    seconds: float


def run(
    name: str,
    options: dict,
    *,
    dataset: Dataset,
    setting: Setting,
    seed: int,
    experiment: str,
    measure: Measure,
) -> Outcome:
    """Train with an objective, measure, and write the run's record.

    Parameters
    ----------
    name, options
        The objective, as `objective(name, **options)`.
    dataset
        Trained on its train split.
    setting
        What is shared with the other rows.
    seed
        Seed of weights, order, noise and whatever `measure` draws.
    experiment
        Name under which the run is recorded.
    measure
        Called with the trained model, the objective, the data set and the seed; gives values with
        their units. With arguments of its own it is passed as `functools.partial`.
    """
    start = time.perf_counter()
    minimized = objective(name, **options)
    head = minimized.head_maps(dataset.image_shape[0])
    vae = networks.build(
        setting.network,
        dataset.image_shape,
        setting.latent_dim,
        head=head,
        posterior=setting.posterior,
        seed=seed,
    )
    history = fit(
        vae,
        minimized,
        dataset.train,
        epochs=setting.epochs,
        batch_size=setting.batch_size,
        lr=setting.lr,
        seed=seed,
        progress=False,
    )
    values = measure(vae, minimized, dataset, seed)
    seconds = time.perf_counter() - start
    parameters = point(name, options, dataset=dataset, setting=setting, seed=seed)
    metrics = {metric: value for metric, (value, _) in values.items()}
    records.save(
        experiment,
        parameters,
        metrics,
        units={metric: unit for metric, (_, unit) in values.items()},
        seconds=round(seconds, 2),
        curves={"total": history["total"]},
        data_checksum=dataset.checksum,
    )
    # Off the device: models come back from processes of their own, and meet data held in memory.
    return Outcome(vae.cpu(), minimized.cpu(), parameters, metrics, history, seconds)


def point(name: str, options: dict, *, dataset: Dataset, setting: Setting, seed: int) -> dict:
    """Parameters that a run is recorded under; the posterior only if it is not the network's."""
    shared = dataclasses.asdict(setting)
    if setting.posterior is None:
        del shared["posterior"]
    return shared | {
        "dataset": dataset.name,
        "objective": name,
        "options": options,
        "seed": seed,
    }


def run_all(points: Iterable[tuple[str, dict, int]], **shared) -> list[Outcome]:
    """Several points side by side, one process per core; in the order they are given.

    Parameters
    ----------
    points
        Objective, options and seed of each.
    shared
        The other arguments of :func:`run`, the same for all.
    """
    return Parallel(n_jobs=-1)(
        delayed(run)(name, options, seed=seed, **shared) for name, options, seed in points
    )


def complete(points: Iterable[tuple[str, dict, int]], **shared) -> pd.DataFrame:
    """Records of all points; those that have none are run first, side by side.

    A long sweep that was interrupted goes on where it stopped. Arguments as in :func:`run_all`.

    Returns
    -------
    DataFrame
        As `records.load` gives it.
    """
    points = list(points)
    told = {name: shared[name] for name in ("dataset", "setting")}
    wanted = [point(name, options, seed=seed, **told) for name, options, seed in points]
    done = records.load(shared["experiment"], wanted).set_index("key")["done"]
    keys = [records.key(shared["experiment"], parameters) for parameters in wanted]
    run_all([each for each, key in zip(points, keys, strict=True) if not done[key]], **shared)
    return records.load(shared["experiment"], wanted)
