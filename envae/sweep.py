"""Points of a table: train a model, measure it, record it; a recorded point is not run again.

A point that is stopped leaves no record, but a checkpoint after each epoch, from which the next
try goes on. A point that fails leaves the error instead of a record.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import delayed

from envae import networks, records
from envae._parallel import side_by_side
from envae.datasets import Dataset
from envae.metrics._common import Values
from envae.objectives import Objective, objective
from envae.training import fit
from envae.vae import VAE

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


def train(
    name: str,
    options: dict,
    *,
    dataset: Dataset,
    setting: Setting,
    seed: int,
    checkpoint: Path | None = None,
) -> tuple[VAE, Objective, pd.DataFrame]:
    """Train with an objective; the model, the objective and the training history.

    Parameters as in :func:`run`; `checkpoint` as in `training.fit`.
    """
    minimized = objective(name, **options)
    vae = networks.build(
        setting.network,
        dataset.image_shape,
        setting.latent_dim,
        head=minimized.head_maps(dataset.image_shape[0]),
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
        checkpoint=checkpoint,
        progress=False,
    )
    return vae, minimized, history


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
    parameters = point(name, options, dataset=dataset, setting=setting, seed=seed)
    checkpoint = _beside_record(experiment, parameters, "checkpoint")
    vae, minimized, history = train(
        name, options, dataset=dataset, setting=setting, seed=seed, checkpoint=checkpoint
    )
    values = measure(vae, minimized, dataset, seed)
    seconds = time.perf_counter() - start
    metrics = records.save_values(
        experiment,
        parameters,
        values,
        seconds=round(seconds, 2),
        curves={"total": history["total"], "seconds": history["seconds"].round(4)},
        data_checksum=dataset.checksum,
    )
    checkpoint.unlink()
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
    return side_by_side(
        delayed(run)(name, options, seed=seed, **shared) for name, options, seed in points
    )


def complete(points: Iterable[tuple[str, dict, int]], **shared) -> pd.DataFrame:
    """Records of all points; those that have none are run first, side by side.

    A sweep that was interrupted goes on where it stopped: no recorded point is run again, and one
    that was in training goes on from its last whole epoch. A point that fails does not stop the
    others; it is tried again the next time. Arguments as in :func:`run_all`.

    Returns
    -------
    DataFrame
        As :func:`progress` gives it.
    """
    points = list(points)
    told = {name: shared[name] for name in ("dataset", "setting", "experiment")}
    done = progress(points, **told)["state"] == "done"
    side_by_side(
        delayed(_attempt)(name, options, seed=seed, **shared)
        for (name, options, seed), recorded in zip(points, done, strict=True)
        if not recorded
    )
    return progress(points, **told)


def progress(
    points: Iterable[tuple[str, dict, int]], *, dataset: Dataset, setting: Setting, experiment: str
) -> pd.DataFrame:
    """Which points are done, which are missing, and which have failed, in the order given.

    Returns
    -------
    DataFrame
        As `records.load` gives it, with the columns `state` (done, missing or failed) and `error`
        (of a failed point, else empty).
    """
    wanted = [
        point(name, options, dataset=dataset, setting=setting, seed=seed)
        for name, options, seed in points
    ]
    keys = [records.key(experiment, parameters) for parameters in wanted]
    table = records.load(experiment, wanted).set_index("key", drop=False).loc[keys]
    errors = [_error(experiment, parameters) for parameters in wanted]
    table["error"] = np.where(table["done"], "", errors)
    table["state"] = np.select([table["done"], table["error"] != ""], ["done", "failed"], "missing")
    return table.reset_index(drop=True)


def failures(experiment: str) -> pd.DataFrame:
    """Points of an experiment whose last try failed: their parameters, and `error`."""
    files = [
        file for place in records.places() for file in sorted((place / experiment).glob("*.failed"))
    ]
    told = [json.loads(file.read_text()) for file in files]
    return pd.DataFrame([failed["parameters"] | {"error": failed["error"]} for failed in told])


def _attempt(name: str, options: dict, **arguments) -> None:
    """Run a point, or write down why it failed; whichever the point's last try did is kept."""
    told = {name: arguments[name] for name in ("dataset", "setting", "seed")}
    parameters = point(name, options, **told)
    failure = _beside_record(arguments["experiment"], parameters, "failed")
    failure.unlink(missing_ok=True)
    try:
        run(name, options, **arguments)
    except Exception as error:  # whatever it is, the other points go on, and this one is listed
        failed = {"parameters": parameters, "error": f"{type(error).__name__}: {error}"}
        records.write(failure, failed)


def _error(experiment: str, parameters: dict) -> str:
    """Why a point's last try failed; empty if it did not."""
    name = _beside_record(experiment, parameters, "failed").name
    for place in records.places():
        if (place / experiment / name).is_file():
            return json.loads((place / experiment / name).read_text())["error"]
    return ""


def _beside_record(experiment: str, parameters: dict, ending: str) -> Path:
    """File `<key>.<ending>` in the folder that the point's record is written to."""
    return records.folder() / experiment / f"{records.key(experiment, parameters)}.{ending}"
