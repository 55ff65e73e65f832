"""Points run: trained, measured and recorded; a recorded point is not run again."""

import collections
import functools
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from torch import Tensor

from envae.datasets import Dataset
from envae.experiments import batched, kept_pictures, records
from envae.experiments.parallel import side_by_side
from envae.experiments.records import Values
from envae.experiments.runs import _kept
from envae.experiments.runs._point import Kind, Outcome, Point
from envae.experiments.runs._train import (
    AfterEpoch,
    Trained,
    of_stacks,
    stacks,
    train,
    train_stack,
)
from envae.objectives import Objective
from envae.vae import VAE

Measure = Callable[[VAE, Objective, Dataset, int], Values]
# Pictures to keep, as `kept_pictures.save` takes them; empty to keep none.
Draw = Callable[[VAE, Objective, Dataset, int], Mapping[str, Tensor]]


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

    Raises
    ------
    OSError
        Before it is trained, if no record can be written: no room, no permission.
    """
    [outcome] = run_stack([point], dataset=dataset, experiment=experiment, measure=measure)
    return outcome


def run_stack(
    points: Sequence[Kind],
    *,
    dataset: Dataset,
    experiment: str,
    measure: Measure,
    after_epoch: AfterEpoch | None = None,
) -> list[Outcome[Kind]]:
    """Points of one structure: trained together, each measured and recorded by itself.

    `after_epoch` as `train_stack` takes it, the other arguments as in :func:`run`.
    """
    records.check_room(experiment)
    trained = _trained(points, dataset, experiment, after_epoch)
    return [
        _recorded(point, one, dataset=dataset, experiment=experiment, measure=measure)
        for point, one in zip(points, trained, strict=True)
    ]


def run_all(points: Iterable[Kind], *, jobs: int = -1, **shared: Any) -> list[Outcome[Kind]]:
    """Several points, in the order they are given; stacks of them side by side, one per core.

    `shared`: the other arguments of :func:`run`, the same for all.
    """
    return of_stacks(functools.partial(run_stack, **shared), points, jobs=jobs)


def complete(
    points: Iterable[Point],
    *,
    dataset: Dataset,
    experiment: str,
    measure: Measure,
    draw: Draw | None = None,
    jobs: int = -1,
) -> pd.DataFrame:
    """Records of all points; those that have none are run first, side by side.

    A sweep that was interrupted goes on where it stopped: no recorded point is run again, and one
    that was in training by itself goes on from its last whole epoch. A point that fails does not
    stop the others, not even where the system kills its process; it is tried again the next time.

    Parameters
    ----------
    draw
        Called as the measure is, with every model that reached its last epoch; what it gives is
        kept beside the record. Where it fails, the point has a record, and the error beside it.
    points, dataset, experiment, measure, jobs
        As in :func:`run_all`.

    Returns
    -------
    DataFrame
        As :func:`progress` gives it.

    Raises
    ------
    OSError
        Before anything is run, if no record can be written: no room, no permission.
    """
    points = list(points)
    found = progress(points, dataset=dataset.name, experiment=experiment)
    left = [point for point, state in zip(points, found["state"], strict=True) if state != "done"]
    if not left:
        return found
    records.check_room(experiment)
    attempt = functools.partial(
        _attempt, dataset=dataset, experiment=experiment, measure=measure, draw=draw
    )
    waiting = collections.deque(
        [left[index] for index in group] for group in stacks(left, jobs=jobs)
    )
    while waiting:
        groups = list(waiting)
        try:
            side_by_side((delayed(attempt)(waiting.popleft()) for _ in groups), jobs=jobs)
        except TerminatedWorkerError:
            # A process died, and those beside it were ended: what they had begun, one by one.
            begun = groups[: len(groups) - len(waiting)]
            for point in itertools.chain(*begun):
                _attempt_alone(point, attempt, dataset, experiment)
    return progress(points, dataset=dataset.name, experiment=experiment)


def _trained(
    points: Sequence[Point],
    dataset: Dataset,
    experiment: str,
    after_epoch: AfterEpoch | None = None,
) -> list[Trained]:
    """Model, objective and history of points that are trained together, or were kept."""
    found = [None if after_epoch else _kept.find(point, dataset) for point in points]
    left = [point for point, trained in zip(points, found, strict=True) if trained is None]
    new = iter(_trained_now(left, dataset, experiment, after_epoch) if left else [])
    return [next(new) if trained is None else trained for trained in found]


def _trained_now(
    points: Sequence[Point],
    dataset: Dataset,
    experiment: str,
    after_epoch: AfterEpoch | None,
) -> list[Trained]:
    first = points[0]
    if len(points) == 1 and not first.stacked:
        checkpoint = _beside_record(experiment, first.parameters(dataset.name), "checkpoint")
        trained = [train(first, dataset, checkpoint=checkpoint)]
    else:
        try:
            trained = train_stack(points, dataset, after_epoch=after_epoch)
        except batched.NotTogether:
            if first.stacked:
                raise
            return [
                one for point in points for one in _trained_now([point], dataset, experiment, None)
            ]
    for point, one in zip(points, trained, strict=True):
        _kept.keep(point, dataset, one)
    return trained


def _recorded(
    point: Kind,
    trained: Trained,
    *,
    dataset: Dataset,
    experiment: str,
    measure: Measure,
    draw: Draw | None = None,
) -> Outcome[Kind]:
    """Measure a trained point and write its record, after its pictures if there are any."""
    vae, minimized, history = trained
    data, parameters = point.data(dataset), point.parameters(dataset.name)
    start = time.perf_counter()
    whole = len(history) == point.own_epochs
    values = measure(vae, minimized, data, point.seed) if whole else point.lost(len(history) + 1)
    seconds = history["seconds"].sum() + time.perf_counter() - start
    # First, since a point that has a record is not looked at again: none of an older run.
    kept_pictures.remove(experiment, parameters)
    metrics = records.save_values(
        experiment,
        parameters,
        values,
        seconds=round(seconds, 2),
        curves={"total": history["total"], "seconds": history["seconds"].round(4)},
        data_checksum=data.checksum,
    )
    for ending in ("checkpoint", "start", "checkpoint.unusable", "start.unusable", "taken"):
        _beside_record(experiment, parameters, ending).unlink(missing_ok=True)
    # Last, since pictures that fail must not lose what was trained and measured.
    if whole and draw is not None and (drawn := draw(vae, minimized, data, point.seed)):
        kept_pictures.save(experiment, parameters, drawn)
    return Outcome(point, vae, minimized, parameters, metrics, history, seconds)


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
        (of a failed point, or of the pictures of one that is done; else empty).
    """
    wanted = [point.parameters(dataset) for point in points]
    table = records.load(experiment, wanted)
    errors = [_error(experiment, parameters) for parameters in wanted]
    table["error"] = np.array(errors, dtype=object)
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
    records.check_done(rows, experiment)
    if rows.empty:
        return rows
    options = pd.DataFrame(list(rows["options"]), index=rows.index)
    return rows.drop(columns=["options", "error", "state"]).join(options)


def failures(experiment: str) -> pd.DataFrame:
    """Points without a record whose last try failed: their parameters, and `error`."""
    files = [
        file
        for place in records.places()
        for file in sorted(records.within(place, experiment).glob("*.failed"))
        if records.file(experiment, f"{file.stem}.json") is None  # its pictures failed
    ]
    return pd.DataFrame(
        [failed["parameters"] | {"error": failed["error"]} for failed in map(_failure, files)]
    )


def _attempt(points: Sequence[Point], *, dataset: Dataset, experiment: str, **shared: Any) -> None:
    """Run points as a stack, or write down why one failed; what its last try did is kept."""
    with _noted(points, dataset, experiment):
        for point, trained in zip(points, _trained(points, dataset, experiment), strict=True):
            with _noted([point], dataset, experiment):
                _recorded(point, trained, dataset=dataset, experiment=experiment, **shared)


def _attempt_alone(
    point: Point, attempt: Callable[[list[Point]], None], dataset: Dataset, experiment: str
) -> None:
    """Run a point without a record in a process of its own, whose death is the point's failure."""
    [state] = progress([point], dataset=dataset.name, experiment=experiment)["state"]
    if state != "done":
        with _noted([point], dataset, experiment):
            side_by_side([delayed(attempt)([point])], jobs=2)  # of one job there is no process


@contextmanager
def _noted(points: Sequence[Point], dataset: Dataset, experiment: str) -> Iterator[None]:
    """An error of the block becomes each point's failure, and the other points go on."""
    each = [point.parameters(dataset.name) for point in points]
    files = [_beside_record(experiment, parameters, "failed") for parameters in each]
    for file in files:
        file.unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        for file, parameters in zip(files, each, strict=True):
            with suppress(OSError):  # a full disk must not end the other points
                records.write(file, {"parameters": parameters, "error": told})


def _error(experiment: str, parameters: dict[str, Any]) -> str:
    """Why a point's last try failed; empty if it did not."""
    name = _beside_record(experiment, parameters, "failed").name
    for place in records.places():
        if (place / experiment / name).is_file():
            return _failure(place / experiment / name)["error"]
    return ""


def _failure(file: Path) -> dict[str, Any]:
    """Parameters and error of a point whose last try failed."""
    with records.told_as_damaged(file):
        found = json.loads(file.read_text(encoding="utf-8"))
        return {"parameters": dict(found["parameters"]), "error": str(found["error"])}


def _beside_record(experiment: str, parameters: dict[str, Any], ending: str) -> Path:
    """File `<key>.<ending>` in the folder that the point's record is written to."""
    name = f"{records.key(experiment, parameters)}.{ending}"
    return records.within(records.folder(), experiment) / name
