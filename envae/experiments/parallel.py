"""Runs side by side."""

from collections.abc import Iterable
from typing import Any

from joblib import Parallel


def side_by_side(calls: Iterable[Any], *, jobs: int = -1) -> list[Any]:
    """Results of `joblib.delayed` calls, in their order, from so many processes; -1: one per core.

    Processes even within a process of this kind, where joblib would take threads: those would
    share torch's generator, and no run would give its own numbers. Large NumPy arrays among the
    arguments, such as those that a `Dataset` travels as, are written to one file in memory, which
    all processes map; who writes to one gets a copy of the pages in question.
    """
    return Parallel(n_jobs=jobs, backend="loky", mmap_mode="c")(calls)
