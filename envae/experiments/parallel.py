"""Runs side by side."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from joblib import Parallel, delayed

_SETTINGS = "ENVAE_"  # how the names of variables begin that say where data and records are


def side_by_side(calls: Iterable[Any], *, jobs: int = -1) -> list[Any]:
    """Results of `joblib.delayed` calls, in their order, from so many processes; -1: one per core.

    Processes even within a process of this kind, where joblib would take threads: those would
    share torch's generator, and no run would give its own numbers. Large NumPy arrays among the
    arguments, such as those that a `Dataset` travels as, are written to one file in memory, which
    all processes map; who writes to one gets a copy of the pages in question. The processes stay
    for the next calls, which see `$ENVAE_RUNS` and the like as they are then.
    """
    settings = {name: value for name, value in os.environ.items() if name.startswith(_SETTINGS)}
    return Parallel(n_jobs=jobs, backend="loky", mmap_mode="c")(
        delayed(_under)(settings, *call) for call in calls
    )


def _under(
    settings: Mapping[str, str],
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    named: Mapping[str, Any],
) -> Any:
    """A call in a process that may have started under other settings."""
    for name in [name for name in os.environ if name.startswith(_SETTINGS)]:
        del os.environ[name]
    os.environ.update(settings)
    return function(*arguments, **named)
