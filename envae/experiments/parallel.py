"""Runs side by side."""

from collections.abc import Iterable
from typing import Any

from joblib import Parallel


def side_by_side(calls: Iterable[Any], *, jobs: int = -1) -> list[Any]:
    """Results of `joblib.delayed` calls, in their order, from so many processes; -1: one per core.

    Processes even within a process of this kind, where joblib would take threads: those would
    share torch's generator, and no run would give its own numbers.
    """
    return Parallel(n_jobs=jobs, backend="loky")(calls)
