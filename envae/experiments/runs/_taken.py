"""Points taken by one process, so that no other runs them."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from envae.experiments import records
from envae.experiments.runs._point import Point
from envae.experiments.runs._record import _beside_record, progress

TRIES = 2  # processes that may die of a point in one session, before it is given up there


@dataclasses.dataclass(frozen=True)
class Taken:
    """What a process got of the points that it asked for.

    Attributes
    ----------
    points
        Nobody else's, and without a record.
    busy
        Whether another process runs some of the others.
    """

    points: list[Point]
    busy: bool


@contextlib.contextmanager
def taken(
    points: Sequence[Point], *, dataset: str, experiment: str, session: str
) -> Iterator[Taken]:
    """Take those of some points that no process has and that are still missing.

    Each is marked by a locked file beside its record, which names the sessions that took it. The
    system gives back the locks of a process that is killed, and the files stay: a point that two
    processes of one session died of is not tried again in it.

    Parameters
    ----------
    points, dataset, experiment
        As :func:`progress` takes them.
    session
        Name of the session, without white space.

    Raises
    ------
    OSError
        If nothing can be written beside the records; names their folder.
    """
    records.check_room(experiment)
    own, files, busy = [], [], False
    with contextlib.ExitStack() as stack:
        for point in points:
            path = _beside_record(experiment, point.parameters(dataset), "taken")
            file = stack.enter_context(path.open("a+"))
            if not _locked(file, path):
                busy = True
                continue
            # Asked after the lock: another process may have run it just before.
            [state] = progress([point], dataset=dataset, experiment=experiment)["state"]
            file.seek(0)
            if state != "missing":
                path.unlink()
            elif file.read().split().count(session) < TRIES:
                print(session, file=file, flush=True)
                own.append(point)
                files.append(path)
        yield Taken(own, busy)
        for path in files:
            path.unlink(missing_ok=True)  # gone already with a record; not with a failure


def _locked(file: IO[str], path: Path) -> bool:
    """Whether the file is locked now for this process, and is still the one at its path."""
    import fcntl  # not on Windows, where points are run without a queue

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:  # who had the point has just ended it
        return False
