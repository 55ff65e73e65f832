"""The queue of recorded runs: what the tables lack, what it costs, and the processes that run it.

A task is one row of the tables on one data set: its search, then its reported runs. They stand in
`data/evidence.yaml`, in order of value. Every process takes the first runs in that order that it
can get: one run, or the runs of one stage of a row that are trained as one stack. So two share a
row of a large network, and take a row each of a small one, whose stacks take minutes.

What a process has taken is locked, and the system gives a lock back when the process ends, however
it ends: see `runs.taken`. Nothing else is kept: a run is done when it has a record.
"""

import contextlib
import datetime
import itertools
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from envae import _checkout
from envae._unknown import unknown
from envae.companion import _yaml, notebook_run
from envae.companion.notebook_run import RunError

if TYPE_CHECKING:  # torch takes seconds to import, and a wrong file is told before
    import pandas as pd

    from envae.experiments.paper_rows import Due, Experiment
    from envae.experiments.row_costs import Costs, Left

# Whose parameters say what an experiment is, by its prefix.
NOTEBOOKS = {
    "fid_tables": "10_all_rows",
    "energy_based": "11_energy_based_models",
    "energy_based_plain": "11_energy_based_models",
}
_FIELDS = ("profile", "prefix", "rows")
_NICE = 19
_POLL = 5.0  # seconds until a process looks again whether others have ended what it waits for
_LONGEST = 500  # characters of an error: a pipe takes a short line whole
_UNMEASURED = ", without measuring"
_REPLACED = 20  # processes at most: what kills them at their start would go on for ever


class Task(NamedTuple):
    """One row of the tables on the data of one profile."""

    profile: str
    label: str
    prefix: str = "fid_tables"

    @property
    def source(self) -> str:
        """What names the experiment: the profile, and the prefix if it is not the tables'."""
        return self.profile if self.prefix == "fid_tables" else f"{self.profile}, {self.prefix}"

    def __str__(self) -> str:
        return f"{self.source}: {self.label}"


class Queue:
    """The tasks of a file, in order of value.

    Parameters
    ----------
    file
        The file; by default `data/evidence.yaml` of the checkout.
    given
        Parameters on top of every profile whose notebook has them, as the user typed them.
    tasks
        In place of the file's, which may have been edited since they were read.

    Raises
    ------
    RunError
        If the file is not as the first lines of `data/evidence.yaml` say, or a name in it or a
        parameter is unknown.
    """

    def __init__(
        self,
        file: Path | None = None,
        given: Mapping[str, str] | None = None,
        tasks: Iterable[Task] | None = None,
    ):
        self.file = file or _checkout.root() / "data" / "evidence.yaml"
        self.given = dict(given or {})
        self.not_here: dict[str, str] = {}
        self.tasks = _tasks(self.file) if tasks is None else list(tasks)
        self._experiments: dict[str, Experiment] = {}
        self._costs: dict[str, Costs] = {}
        self._parameters: dict[str, dict[str, Any]] = {}
        notebooks = {task.prefix: notebook_run.find(NOTEBOOKS[task.prefix]) for task in self.tasks}
        declared = {prefix: notebook_run.declared(path) for prefix, path in notebooks.items()}
        for task in self.tasks:
            if task.source in self._parameters:
                continue
            others = set().union(*declared.values()) - set(declared[task.prefix])
            own = {name: text for name, text in self.given.items() if name not in others}
            try:
                found = notebook_run.parameters(notebooks[task.prefix], task.profile, own)
            except RunError as error:
                raise RunError(f"{self.file}: {error}") from None
            self._parameters[task.source] = found | {"prefix": task.prefix}

    def experiment(self, source: str) -> "Experiment | None":
        """What a task's source describes; None where its data are not here: see `not_here`."""
        from envae.experiments.paper_rows import Experiment

        if source not in self._experiments and source not in self.not_here:
            try:
                self._experiments[source] = Experiment.of(**self._parameters[source])
            except FileNotFoundError as error:
                self.not_here[source] = str(error)
            except ValueError as error:
                raise RunError(f"{self.file}, {source}: {error}") from None
        return self._experiments.get(source)

    def left(self, task: Task) -> "Left | None":
        """What a task has and lacks; None where its data are not here."""
        from envae.experiments.row_costs import Costs

        experiment = self.experiment(task.source)
        if experiment is None:
            return None

        def announce(label: str) -> None:
            print(f"timing a few steps of {task.source}: {label}", file=sys.stderr)

        costs = self._costs.setdefault(task.source, Costs(experiment, announce))
        return costs.left(task.label)


def _tasks(file: Path) -> list[Task]:
    try:
        entries = _yaml.entries(file, "profile: mnist", "profile", _FIELDS)
    except ValueError as error:
        raise RunError(str(error)) from None
    except OSError as error:
        raise RunError(f"{file} cannot be read ({error.strerror})") from None
    from envae.experiments.paper_rows import ROWS_OF

    tasks = []
    for entry in entries:
        prefix = entry.get("prefix", "fid_tables")
        if not isinstance(prefix, str) or prefix not in ROWS_OF:
            raise RunError(f"{file}: {unknown('prefix', prefix, ROWS_OF)}")
        profile, labels = entry.get("profile"), entry.get("rows", list(ROWS_OF[prefix]))
        if not isinstance(profile, str) or not isinstance(labels, list) or not labels:
            raise RunError(f"{file}: an entry needs a profile, and rows as a list: {entry!r}")
        for label in labels:
            if not isinstance(label, str) or label not in ROWS_OF[prefix]:
                raise RunError(f"{file}: {unknown('row', label, ROWS_OF[prefix])}")
            tasks.append(Task(profile, label, prefix))
    for task in tasks:
        if tasks.count(task) > 1:
            raise RunError(f"{file} names a task twice: {task}")
    return tasks


def default_jobs() -> int:
    """Processes that use the machine: one for a GPU, else one per core."""
    import joblib
    import torch

    return 1 if torch.cuda.is_available() else joblib.cpu_count()


def show(queue: Queue, jobs: int) -> "dict[Task, Left]":
    """Print what every task has and lacks, and when so many processes will have run it."""
    import torch

    torch.set_num_threads(1)  # as the processes have it
    found = {}
    for task in queue.tasks:
        left = queue.left(task)
        if left is not None:
            found[task] = left
            print(f"{task}: {_told(left)}", flush=True)
    for source, why in queue.not_here.items():
        count = sum(task.source == source for task in queue.tasks)
        print(f"{source}: {count} rows, no data here: {why}")
    of_what = " of what has its data here" if queue.not_here else ""
    print(f"left{of_what}: {_outlook(found, jobs)}", flush=True)
    return found


def _told(left: "Left") -> str:
    counts = [("done", left.done), ("missing", left.missing), ("failed", left.failed)]
    told = ", ".join(f"{count} {state}" for state, count in counts if count)
    if left.missing:
        told += f", {_hours(left.seconds)}"
    if left.waits_for:
        told += f", waiting for a record of it in {left.waits_for}"
    return told + (_UNMEASURED if left.without_measuring else "")


def _hours(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.0f} core minutes"
    return f"{seconds / 3600:.1f} core hours"


def _outlook(found: "Mapping[Task, Left]", jobs: int) -> str:
    """What all tasks together lack, and when it will be there."""
    missing = sum(left.missing for left in found.values())
    seconds = sum(left.seconds for left in found.values())
    if not missing:
        return "nothing"
    lacking = [left for left in found.values() if left.missing]
    longest = max(left.seconds / left.missing for left in lacking)  # of one run, which is one job
    end = datetime.datetime.now() + datetime.timedelta(seconds=max(seconds / jobs, longest))
    less = any(left.without_measuring for left in lacking)
    runs = f"{missing} run{'' if missing == 1 else 's'}"
    told = f"{runs}, {_hours(seconds)}{_UNMEASURED if less else ''}"
    when = "not before" if less else "until"
    return f"{told}, {when} {end:%a %d %b %H:%M} with {jobs} at a time"


def run(queue: Queue, jobs: int) -> None:
    """Run what is missing in so many processes, and print what is done.

    A process that is killed is replaced, and what it had taken is another's.

    Raises
    ------
    Stopped
        If the run is interrupted, by Ctrl-C or by SIGTERM; all processes have ended then.
    RunError
        If the processes ended without a run, as where records cannot be written, or if all that is
        missing waits for records that nothing here makes.
    """
    found = show(queue, jobs)
    waiting = {left.waits_for for left in found.values() if left.missing}
    if not waiting:
        return
    if "" not in waiting:
        raise RunError(f"what is missing waits for records of {', '.join(sorted(waiting))}")
    session = f"{os.getpid()}-{time.time_ns()}"
    told = {
        "file": str(queue.file), "given": queue.given, "tasks": queue.tasks, "session": session
    }  # fmt: skip
    replaced, ran, failed = 0, False, False
    with _interrupted_kindly(), contextlib.ExitStack() as stack, selectors.DefaultSelector() as out:
        for _ in range(jobs):
            _start(told, stack, out)
        while out.get_map():
            for key, _ in out.select():
                line = key.data.stdout.readline().decode()
                if line:
                    ran = True
                    _report(line, queue, found, jobs)
                    continue
                out.unregister(key.fileobj)
                status = key.data.wait()
                if status:
                    failed = True
                    print(f"{_now()} a process ended with status {status}", flush=True)
                if status < 0 and replaced < _REPLACED:  # killed
                    replaced += 1
                    _start(told, stack, out)
    if failed and not ran:
        raise RunError("no run was done: the processes ended with the errors above")
    show(queue, jobs)


@contextlib.contextmanager
def _interrupted_kindly() -> Iterator[None]:
    with notebook_run.terminable():
        try:
            yield
        except KeyboardInterrupt:
            raise notebook_run.Stopped(
                "what has a record stays; what was in training goes on from its last epoch, or "
                "begins anew where several small networks are trained as one"
            ) from None


def _start(
    told: Mapping[str, Any], stack: contextlib.ExitStack, out: selectors.BaseSelector
) -> None:
    """Start a process that ends with this one, whatever ends this one."""
    command = [sys.executable, "-m", "envae.companion.queue", json.dumps(told)]
    threads = {"OMP_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "1"}
    # Unbuffered: a line that waits in a buffer is no event for the selector.
    worker = stack.enter_context(
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | threads,
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others
        )
    )
    stack.callback(worker.kill)
    assert worker.stdout is not None, "it is a pipe"
    out.register(worker.stdout, selectors.EVENT_READ, worker)


def _report(line: str, queue: Queue, found: "dict[Task, Left]", jobs: int) -> None:
    """Print a line of a process, with what is left after it."""
    index, text = line.rstrip("\n").split("\t", 1)
    task = queue.tasks[int(index)]
    left = queue.left(task)
    assert left is not None, "the process had the data"
    found[task] = left
    print(f"{_now()} {task}, {text}; left: {_outlook(found, jobs)}", flush=True)


def _now() -> str:
    return f"{datetime.datetime.now():%H:%M:%S}"


def work(queue: Queue, session: str, out: IO[str]) -> None:
    """What each of the processes does: run what is missing and nobody else's, in order of value.

    Ends when there is nothing that it could run, now or after what others are running.
    """
    unfinished = dict(enumerate(queue.tasks))
    while unfinished:
        busy = False
        for index, task in list(unfinished.items()):
            experiment = queue.experiment(task.source)
            due = None if experiment is None else experiment.due(task.label)
            if due is None:
                del unfinished[index]
                continue
            ran, others = _run_some(due, session)
            for text in ran:
                print(f"{index}\t{text}", file=out, flush=True)
            if ran:
                break  # what is of more value may have become possible
            busy |= others
        else:
            if not busy:
                return
            time.sleep(_POLL)


def _run_some(due: "Due", session: str) -> tuple[list[str], bool]:
    """Run what can be had of it at once; a line for each run, and whether others have some."""
    from envae.experiments import runs

    busy = False
    for stack in runs.stacks(due.points, jobs=1):
        points = [due.points[index] for index in stack]
        with runs.taken(
            points, dataset=due.dataset, experiment=due.experiment, session=session
        ) as mine:
            if mine.points:
                return [_line(found) for _, found in due.run(mine.points).iterrows()], False
            busy |= mine.busy
    return [], busy


def _line(found: "pd.Series") -> str:
    """What became of a run, in one line."""
    if found["state"] == "done":
        return f"{found['run']}: done, {found['seconds']:.0f} s"
    return f"{found['run']}: {found['state']}, {' '.join(found['error'].split())[:_LONGEST]}"


def _end_with_parent() -> None:
    # Nothing comes: it ends when the other process does. Not `sys.stdin`, whose lock a thread that
    # reads would keep when the interpreter ends.
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    os.nice(_NICE)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _told_by_parent = json.loads(sys.argv[1])
    _lines, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed is no line of a run
    try:
        work(
            Queue(
                Path(_told_by_parent["file"]),
                _told_by_parent["given"],
                itertools.starmap(Task, _told_by_parent["tasks"]),
            ),
            _told_by_parent["session"],
            _lines,
        )
    except (OSError, RunError) as error:
        sys.exit(f"envae: {error}")
