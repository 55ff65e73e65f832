"""Points of a table: train a model, measure it, record it; a recorded point is not run again.

A :class:`Point` says what a run is; everything else here is the same for all of them. Points of a
small network are trained as one stack. A point that is stopped leaves no record, but, trained by
itself, a checkpoint after each epoch, from which the next try goes on. A point that fails leaves
the error instead of a record.
"""

from envae.experiments.runs._point import Kind, Outcome, Point, Setting, Start, points
from envae.experiments.runs._record import (
    Draw,
    Measure,
    complete,
    failures,
    progress,
    recorded,
    run,
    run_all,
    run_stack,
)
from envae.experiments.runs._taken import TRIES, Taken, taken
from envae.experiments.runs._train import (
    AfterEpoch,
    Trained,
    of_stacks,
    stacks,
    train,
    train_stack,
)

__all__ = [
    "TRIES",
    "AfterEpoch",
    "Draw",
    "Kind",
    "Measure",
    "Outcome",
    "Point",
    "Setting",
    "Start",
    "Taken",
    "Trained",
    "complete",
    "failures",
    "of_stacks",
    "points",
    "progress",
    "recorded",
    "run",
    "run_all",
    "run_stack",
    "stacks",
    "taken",
    "train",
    "train_stack",
]
