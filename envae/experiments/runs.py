"""Points of a table: train a model, measure it, record it; a recorded point is not run again.

A :class:`Point` says what a run is; everything else here is the same for all of them. A point that
is stopped leaves no record, but a checkpoint after each epoch, from which the next try goes on. A
point that fails leaves the error instead of a record.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
from joblib import delayed

from envae import networks
from envae.datasets import Dataset
from envae.experiments import records
from envae.experiments.parallel import side_by_side
from envae.experiments.records import Values
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
class Point:
    """One run. A kind of run with more to it is a subclass that says what is different.

    Attributes
    ----------
    objective, options
        As `objectives.objective` takes them.
    seed
        Seed of weights, order, noise and whatever is drawn to measure.
    setting
        What it shares with other points.
    """

    objective: str
    options: Mapping[str, Any]
    seed: int
    setting: Setting = Setting()

    def parameters(self, dataset: str) -> dict[str, Any]:
        """What a run on a data set is recorded under; the posterior if it is not the network's."""
        shared = dataclasses.asdict(self.setting)
        if self.setting.posterior is None:
            del shared["posterior"]
        told = {"objective": self.objective, "options": dict(self.options), "seed": self.seed}
        return shared | told | {"dataset": dataset}

    def data(self, dataset: Dataset, epoch: int = 0) -> Dataset:
        """What the model sees of a data set in an epoch, counted from 0."""
        return dataset

    def build(self, image_shape: tuple[int, int, int]) -> tuple[VAE, Objective]:
        """Model and objective, new."""
        minimized = objective(self.objective, **self.options)
        return self.build_for(minimized, image_shape), minimized

    def build_for(self, minimized: Objective, image_shape: tuple[int, int, int]) -> VAE:
        """A new model for an objective."""
        setting = self.setting
        return networks.build(
            setting.network, image_shape, setting.latent_dim,
            objective=minimized, posterior=setting.posterior, seed=self.seed,
        )  # fmt: skip


Kind = TypeVar("Kind", bound=Point)


@dataclasses.dataclass(frozen=True)
class Outcome(Generic[Kind]):
    """A run that was done: its trained model and objective, on the CPU, and what is recorded."""

    point: Kind
    vae: VAE
    objective: Objective
    parameters: dict[str, Any]
    metrics: dict[str, float]
    history: pd.DataFrame
    seconds: float


def points(
    rows: Iterable[tuple[str, Mapping[str, Any]]], seeds: Iterable[int], setting: Setting
) -> list[Point]:
    """Each of some objectives with its options, from each of some seeds."""
    seeds = list(seeds)
    return [Point(name, options, seed, setting) for name, options in rows for seed in seeds]


def train(
    point: Point, dataset: Dataset, *, checkpoint: Path | None = None
) -> tuple[VAE, Objective, pd.DataFrame]:
    """Train a point's model; the model, the objective, both on the CPU, and the history.

    `checkpoint` as in `training.fit`.
    """
    data, setting = point.data(dataset), point.setting
    vae, minimized = point.build(data.image_shape)
    history = fit(
        vae, minimized, data.train,
        epochs=setting.epochs, batch_size=setting.batch_size, lr=setting.lr,
        seed=point.seed, checkpoint=checkpoint, progress=False,
    )  # fmt: skip
    # Models come back from processes of their own, and meet data that are held in memory.
    return vae.cpu(), minimized.cpu(), history


def run(point: Kind, *, dataset: Dataset, experiment: str, measure: Measure) -> Outcome[Kind]:
    """Train a point, measure it, and write its record.

    Parameters
    ----------
    point
        What is run.
    dataset
        Trained on its train split.
    experiment
        Name under which the run is recorded.
    measure
        Called with the trained model, the objective, the data set and the seed; gives values with
        their units. With arguments of its own it is passed as `functools.partial`.
    """
    start = time.perf_counter()
    checkpoint = _beside_record(experiment, point.parameters(dataset.name), "checkpoint")
    trained = train(point, dataset, checkpoint=checkpoint)
    outcome = _recorded_outcome(
        point,
        trained,
        dataset=dataset,
        experiment=experiment,
        measure=measure,
        seconds=time.perf_counter() - start,
    )
    checkpoint.unlink()
    return outcome


def run_all(points: Iterable[Kind], *, jobs: int = -1, **shared: Any) -> list[Outcome[Kind]]:
    """Several points side by side, one process per core; in the order they are given.

    `shared`: the other arguments of :func:`run`, the same for all.
    """
    return side_by_side((delayed(run)(point, **shared) for point in points), jobs=jobs)


# Model, objective and history of a point, and values to record in place of a measure, or none.
Trained = tuple[VAE, Objective, pd.DataFrame, Values]
GroupTrainer = Callable[[Sequence[Kind], Dataset], list[Trained]]


def run_group(
    points: Sequence[Kind],
    *,
    train: GroupTrainer[Kind],
    dataset: Dataset,
    experiment: str,
    measure: Measure,
) -> list[Outcome[Kind]]:
    """Points that are trained together, each measured and recorded by itself, in their order.

    Parameters
    ----------
    points
        What is run. How many they are is part of what each is recorded under, since models that
        are trained together share their noise.
    train
        Gives model, objective and history of each point, and values to record in place of a
        measure, or none: of a model whose loss left the finite numbers.
    dataset, experiment, measure
        As :func:`run` takes them.
    """
    start = time.perf_counter()
    trained = train(points, dataset)
    each = (time.perf_counter() - start) / len(points)
    return [
        _recorded_outcome(
            point,
            (vae, minimized, history),
            measure=(lambda *_, instead=instead: instead) if instead else measure,
            dataset=dataset,
            experiment=experiment,
            seconds=each,
            group=len(points),
        )
        for point, (vae, minimized, history, instead) in zip(points, trained, strict=True)
    ]


def _recorded_outcome(
    point: Kind,
    trained: tuple[VAE, Objective, pd.DataFrame],
    *,
    dataset: Dataset,
    experiment: str,
    measure: Measure,
    seconds: float,
    group: int | None = None,
) -> Outcome[Kind]:
    """Measure a trained point and write its record, after so many seconds of training."""
    vae, minimized, history = trained
    data = point.data(dataset)
    parameters = point.parameters(dataset.name) | ({} if group is None else {"ensemble": group})
    start = time.perf_counter()
    values = measure(vae, minimized, data, point.seed)
    seconds += time.perf_counter() - start
    curves = {"total": history["total"]}
    if "seconds" in history:
        curves["seconds"] = history["seconds"].round(4)
    metrics = records.save_values(
        experiment,
        parameters,
        values,
        seconds=round(seconds, 2),
        curves=curves,
        data_checksum=data.checksum,
    )
    return Outcome(point, vae, minimized, parameters, metrics, history, seconds)


def complete(
    points: Iterable[Point], *, dataset: Dataset, experiment: str, measure: Measure, jobs: int = -1
) -> pd.DataFrame:
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
    found = progress(points, dataset=dataset.name, experiment=experiment)
    left = [point for point, state in zip(points, found["state"], strict=True) if state != "done"]
    if not left:
        return found
    shared = {"dataset": dataset, "experiment": experiment, "measure": measure}
    side_by_side((delayed(_attempt)(point, **shared) for point in left), jobs=jobs)
    return progress(points, dataset=dataset.name, experiment=experiment)


def progress(points: Iterable[Point], *, dataset: str, experiment: str) -> pd.DataFrame:
    """Which points are done, which are missing, and which have failed, in the order given.

    Parameters
    ----------
    points
        What should be there; any number of them, none included.
    dataset
        Name of the data set, which need not be here.
    experiment
        Name under which the runs are recorded.

    Returns
    -------
    DataFrame
        As `records.load` gives it, with the columns `state` (done, missing or failed) and `error`
        (of a failed point, else empty).
    """
    wanted = [point.parameters(dataset) for point in points]
    table = records.load(experiment, wanted)
    errors = [_error(experiment, parameters) for parameters in wanted]
    table["error"] = np.where(table["done"], "", errors)
    table["state"] = np.select([table["done"], table["error"] != ""], ["done", "failed"], "missing")
    return table


def recorded(points: Iterable[Point], *, dataset: str, experiment: str) -> pd.DataFrame:
    """Records of points in their order, with the objectives' options as columns.

    Raises
    ------
    LookupError
        If a point was not recorded.
    """
    rows = progress(points, dataset=dataset, experiment=experiment)
    if not rows["done"].all():
        count = (~rows["done"]).sum()
        raise LookupError(f"{count} of {len(rows)} runs of {experiment!r} have no record")
    if rows.empty:
        return rows
    options = pd.DataFrame(list(rows["options"]), index=rows.index)
    return rows.drop(columns=["options", "error", "state"]).join(options)


def failures(experiment: str) -> pd.DataFrame:
    """Points of an experiment whose last try failed: their parameters, and `error`."""
    files = [
        file for place in records.places() for file in sorted((place / experiment).glob("*.failed"))
    ]
    told = [json.loads(file.read_text()) for file in files]
    return pd.DataFrame([failed["parameters"] | {"error": failed["error"]} for failed in told])


def _attempt(point: Point, *, dataset: Dataset, experiment: str, measure: Measure) -> None:
    """Run a point, or write down why it failed; whichever the point's last try did is kept."""
    parameters = point.parameters(dataset.name)
    failure = _beside_record(experiment, parameters, "failed")
    failure.unlink(missing_ok=True)
    try:
        run(point, dataset=dataset, experiment=experiment, measure=measure)
    except Exception as error:  # whatever it is, the other points go on, and this one is listed
        failed = {"parameters": parameters, "error": f"{type(error).__name__}: {error}"}
        records.write(failure, failed)


def _error(experiment: str, parameters: dict[str, Any]) -> str:
    """Why a point's last try failed; empty if it did not."""
    name = _beside_record(experiment, parameters, "failed").name
    for place in records.places():
        if (place / experiment / name).is_file():
            return json.loads((place / experiment / name).read_text())["error"]
    return ""


def _beside_record(experiment: str, parameters: dict[str, Any], ending: str) -> Path:
    """File `<key>.<ending>` in the folder that the point's record is written to."""
    return records.folder() / experiment / f"{records.key(experiment, parameters)}.{ending}"
