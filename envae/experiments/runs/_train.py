"""Points trained: one alone, or several of one structure as a stack."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import joblib
import pandas as pd
import torch
from joblib import delayed
from torch import Tensor

from envae.datasets import Dataset
from envae.experiments import batched
from envae.experiments.parallel import side_by_side
from envae.experiments.runs._point import Kind, Point
from envae.objectives import Objective, objective
from envae.training import UnusableCheckpoint, fit
from envae.vae import VAE

# Networks so small that a step of one is overhead: see benchmarks/budget.py.
SMALL = ("mlp", "mlp64")
LARGEST = 32  # models of a stack; the weights of more leave the processor's cache

# Model and objective, on the CPU, and the history.
Trained = tuple[VAE, Objective, pd.DataFrame]
Result = TypeVar("Result")
AfterEpoch = Callable[[int, list[VAE], list[Objective]], None]


def stacks(points: Sequence[Kind], *, jobs: int = -1) -> list[list[int]]:
    """Which points are trained as one: the one place that decides it.

    Points of a small network that differ in seed, data or numbers of their objective; as many
    stacks as there are processes, if there is enough for each.

    Parameters
    ----------
    points
        In any order.
    jobs
        Processes, as `joblib` takes them.

    Returns
    -------
    list of list
        Indices of the points of each stack; every index is in one of them.
    """
    groups: dict[object, list[int]] = {}
    for index, point in enumerate(points):
        stackable = point.stacked or point.setting.network in SMALL
        groups.setdefault(_structure(point) if stackable else index, []).append(index)
    share = -(-len(points) // joblib.effective_n_jobs(jobs))
    return [part for group in groups.values() for part in _parts(group, min(share, LARGEST))]


def of_stacks(
    call: Callable[[list[Kind]], list[Result]], points: Iterable[Kind], *, jobs: int = -1
) -> list[Result]:
    """What a function gives for points, in their order; it is called with each stack of them.

    `jobs` as :func:`stacks` takes it; the stacks are side by side, one per core.
    """
    points = list(points)
    groups = stacks(points, jobs=jobs)
    done = side_by_side(
        (delayed(call)([points[index] for index in group]) for group in groups), jobs=jobs
    )
    found = {
        index: result
        for group, results in zip(groups, done, strict=True)
        for index, result in zip(group, results, strict=True)
    }
    return [found[index] for index in range(len(points))]


def _structure(point: Point) -> str:
    """What the points of a stack have in common."""
    variance = point.setting.posterior
    shared = dataclasses.replace(
        point.setting, posterior="fixed" if isinstance(variance, float) else variance
    )
    options = {
        name: "a number" if isinstance(value, float) else value
        for name, value in sorted(point.options.items())
    }
    return repr((type(point), point.objective, options, shared, point.start))


def _parts(group: list[int], largest: int) -> list[list[int]]:
    """As few parts as can be of at most so many, as equal as can be."""
    count = -(-len(group) // largest)
    return [group[part::count] for part in range(count)]


def train(point: Point, dataset: Dataset, *, checkpoint: Path | None = None) -> Trained:
    """Train a point's model by itself.

    `checkpoint` as in `training.fit`; a warm start has one of its own beside it. One that cannot be
    gone on from is put aside, `<name>.unusable`, with a warning: it must not be why a run fails.
    """
    data, setting, start = point.data(dataset), point.setting, point.start
    vae, minimized = point.build(data.image_shape)
    alone = functools.partial(
        _fit_anew_if_unusable,
        vae,
        images=data.train,
        batch_size=setting.batch_size,
        lr=setting.lr,
        seed=point.seed,
        progress=False,
        cuda_graph=True,
    )
    if start is not None:
        first = checkpoint and checkpoint.with_suffix(".start")
        alone(objective(start.objective, **start.options), epochs=start.epochs, checkpoint=first)
    history = alone(minimized, epochs=point.own_epochs, checkpoint=checkpoint)
    # Models come back from processes of their own, and meet data that are held in memory.
    return vae.cpu(), minimized.cpu(), history


def _fit_anew_if_unusable(
    vae: VAE, minimized: Objective, *, checkpoint: Path | None, **given: Any
) -> pd.DataFrame:
    """As `training.fit`, which changes nothing before it has read the checkpoint."""
    try:
        return fit(vae, minimized, checkpoint=checkpoint, **given)
    except UnusableCheckpoint as error:
        assert checkpoint is not None, "there was one to read"
        aside = checkpoint.replace(checkpoint.with_name(f"{checkpoint.name}.unusable"))
        warnings.warn(f"{error}; put aside as {aside.name}, and begun anew", stacklevel=2)
        return fit(vae, minimized, checkpoint=checkpoint, **given)


def train_stack(
    points: Sequence[Point], dataset: Dataset, *, after_epoch: AfterEpoch | None = None
) -> list[Trained]:
    """Train the models of points of one structure as a stack: see :func:`stacks`.

    Each as :func:`train` trains it, but without a checkpoint, and the history of a loss that left
    the finite numbers ends before.

    Parameters
    ----------
    points
        In any order.
    dataset
        As :meth:`Point.data` takes it.
    after_epoch
        Called after every epoch of the points' own objective, with the number of epochs so far,
        the models and the objectives.
    """
    setting, start = points[0].setting, points[0].start
    images = _images(points, dataset)
    built = [point.build(dataset.image_shape) for point in points]
    vaes, objectives = [vae for vae, _ in built], [minimized for _, minimized in built]
    together = functools.partial(
        batched.fit,
        vaes,
        batch_size=setting.batch_size,
        lr=setting.lr,
        seeds=[point.seed for point in points],
    )
    started = setting.epochs - points[0].own_epochs
    if start is not None:
        starting = [objective(start.objective, **start.options) for _ in points]
        together(starting, images, epochs=started)
    histories = together(
        objectives,
        lambda epoch: images(started + epoch),
        epochs=points[0].own_epochs,
        after_epoch=(
            None if after_epoch is None else lambda epoch: after_epoch(epoch, vaes, objectives)
        ),
    )
    return [
        (vae.cpu(), minimized.cpu(), history)
        for (vae, minimized), history in zip(built, histories, strict=True)
    ]


def _images(points: Sequence[Point], dataset: Dataset) -> Callable[[int], Tensor]:
    """Training images of an epoch: `(N, C, H, W)` for all points, or `(M, N, C, H, W)`."""
    first = [point.data(dataset).train for point in points]
    anew = [index for index, point in enumerate(points) if point.redraws]
    if not anew and all(images is first[0] for images in first):
        return lambda epoch: first[0]
    held = torch.stack(first)

    def of_epoch(epoch: int) -> Tensor:
        for index in anew if epoch else []:
            held[index] = points[index].data(dataset, epoch).train
        return held

    return of_epoch
