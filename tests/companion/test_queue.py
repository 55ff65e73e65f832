"""The queue of recorded runs: its list, what is left of it, and that nothing is run twice."""

import ast
import collections
import dataclasses
import datetime
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch

from envae import cli
from envae.companion import notebook_run, queue
from envae.companion.queue import Queue, Task
from envae.experiments import paper_rows, runs
from envae.experiments.row_costs import Left
from envae.experiments.runs import Setting

# Seconds of a run, and no second stage: that alone would take half a minute.
SMALL = {
    "train_size": "200", "samples": "100", "epochs": "1", "seeds": "1,2", "priors": "[]",
    "likelihood_draws": "2", "likelihood_images": "10",
}  # fmt: skip
# The name of each experiment in its notebook.
MADE = {"fid_tables": "experiment", "energy_based": "experiment", "energy_based_plain": "beneath"}
ONE_ROW = "- profile: quick\n  rows: [L1]\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Records go to a folder of the test's own, and runs stay in its process."""
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    return tmp_path / "runs"


def listed(tmp_path, text=ONE_ROW):
    file = tmp_path / "evidence.yaml"
    file.write_text(text)
    return file


WRONG = {
    "no YAML": ("- profile: [quick", ["is no YAML"]),
    "a key twice": ("- rows: [L2]\n  profile: a\n  rows: [L1]", ["(rows stands more than once"]),
    "a month too many": ("- profile: 2024-13-01", ["is no YAML (month must be in 1..12)"]),
    "brackets without end": ("[" * 500, ["is no YAML (maximum recursion depth exceeded"]),
    "nothing": ("[]", ["list of entries"]),
    "an entry of no rows": ("- profile: quick\n  rows: []", ["rows as a list"]),
    "labels with commas": ("- profile: quick\n  rows: [Iso]", ["known: ", "'Iso-D, mle', "]),
    "no list": ("profile: quick", ["list of entries"]),
    "a list of names": ("- quick", ["list of entries"]),
    "an unknown key": ("- profile: quick\n  row: [L2]", ["'row'", "did you mean 'rows'"]),
    "no profile": ("- rows: [L2]", ["needs a profile"]),
    "rows that are none": ("- profile: quick\n  rows: L2", ["rows as a list"]),
    "an unknown profile": ("- profile: mnits", ["'mnits'", "did you mean 'mnist'"]),
    "an unknown prefix": ("- profile: quick\n  prefix: energy", ["unknown prefix 'energy'"]),
    "a prefix that is no text": ("- profile: quick\n  prefix: [fid_tables]", ["unknown prefix"]),
    "another's row": (
        "- profile: quick\n  prefix: energy_based\n  rows: [L2]",
        ["unknown row 'L2'", "EC-VAE"],
    ),
    "a row that is none": ("- profile: quick\n  rows: [{L2: 1}]", ["unknown row", "L2"]),
    "an unknown row": ("- profile: quick\n  rows: [L3]", ["unknown row 'L3'", "L2"]),
    "a task twice": ("- profile: quick\n- profile: quick\n  rows: [L1]", ["twice", "quick: L1"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_list_is_one_clear_line(case, tmp_path, capsys):
    text, expected = WRONG[case]
    file = listed(tmp_path, text)
    assert cli.main(["evidence", "--file", str(file)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for part in [str(file), *expected]:
        assert part in said


def test_a_wrong_parameter_or_number_of_processes_is_one_clear_line(tmp_path, capsys):
    file = str(listed(tmp_path))
    for given, expected in ((["-p", "epoch", "1"], "'epochs'"), (["--jobs", "0"], "from 1 up")):
        assert cli.main(["evidence", "--file", file, *given]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert expected in said


def test_the_committed_list_begins_with_what_every_machine_has():
    tasks = Queue().tasks
    assert tasks[: len(paper_rows.ROWS)] == [Task("quick", label) for label in paper_rows.ROWS]
    listed_too = {(task.prefix, task.label) for task in tasks}
    assert {("energy_based", label) for label in paper_rows.ENERGY_BASED} <= listed_too


@pytest.mark.parametrize("prefix", queue.NOTEBOOKS)
def test_an_experiment_of_parameters_is_that_of_the_notebook(prefix):
    notebook = notebook_run.find(queue.NOTEBOOKS[prefix])
    parameters = notebook_run.parameters(notebook, "quick", {})
    cells = [cell.source for cell in nbformat.read(notebook, as_version=4).cells]
    [cell] = [source for source in cells if "paper_rows.Experiment(" in source]
    made = [
        node for node in ast.parse(cell).body
        if isinstance(node, ast.Assign) and node.targets[0].id in MADE.values()
    ]  # fmt: skip
    found = paper_rows.Experiment.of(**parameters, prefix=prefix)
    names = parameters | {"data": found.dataset, "setting": found.setting, "Setting": Setting}
    names |= {"paper_rows": paper_rows, "replace": dataclasses.replace}
    exec("\n".join(map(ast.unparse, made)), names)
    theirs, ours = vars(names[MADE[prefix]]), vars(found)
    assert theirs.pop("extractor").state_dict().keys() == ours.pop("extractor").state_dict().keys()
    assert theirs == ours


def test_rows_of_another_notebook_are_run_under_their_prefix(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(paper_rows, "TRIED", 1)
    monkeypatch.setattr(paper_rows, "MORE", 0)
    file = listed(
        tmp_path,
        "- {profile: quick, prefix: energy_based, rows: [DT-VAE]}\n"
        "- {profile: quick, prefix: energy_based_plain, rows: [L2]}\n",
    )
    shared = {name: SMALL[name] for name in ("train_size", "samples", "epochs", "seeds")}
    tasks = Queue(file, shared)
    queue.work(tasks, "one", io.StringIO())
    assert [tasks.left(task).done for task in tasks.tasks] == [3, 3]
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{prefix}_digits-200{ending}"
        for prefix in ("energy_based", "energy_based_plain")
        for ending in ("", "_search")
    ]
    assert str(tasks.tasks[0]) == "quick, energy_based: DT-VAE"


def test_a_parameter_is_given_to_the_notebooks_that_have_it(tmp_path):
    tasks = Queue(listed(tmp_path, ONE_ROW + "- {profile: quick, prefix: energy_based}\n"), SMALL)
    assert tasks.experiment("quick").priors == ()
    other = tasks.experiment("quick, energy_based")
    assert (other.priors, other.seeds) == (("gmm10",), (1, 2))


def test_what_is_left_is_counted_and_a_step_is_timed_once(tmp_path, capsys):
    tasks = Queue(listed(tmp_path), SMALL)
    [task] = tasks.tasks
    before = tasks.left(task)
    assert (before.done, before.missing, before.failed) == (0, paper_rows.TRIED + 2, 0)
    assert before.seconds > 0
    assert before.without_measuring
    tasks.left(task)
    assert capsys.readouterr().err.count("timing a few steps of quick: L1") == 1
    due = tasks.experiment("quick").due("L1")
    assert due.run(due.points[:2])["run"].tolist() == ["scale 0.01", "scale 0.03"]
    after = tasks.left(task)
    assert (after.done, after.missing) == (2, paper_rows.TRIED)
    queue.show(tasks, 2)
    told = capsys.readouterr()
    assert re.match(r"quick: L1: 2 done, 5 missing, \d+ core minutes, without meas", told.out)
    assert "left: 5 runs, " in told.out
    assert told.err == ""


@pytest.fixture
def afternoon(monkeypatch):
    """A clock that stands at 14:30:05 on a Friday, the last of November."""
    now = datetime.datetime(2026, 11, 27, 14, 30, 5)
    stands = types.SimpleNamespace(now=lambda: now)
    monkeypatch.setattr(
        queue, "datetime", types.SimpleNamespace(datetime=stands, timedelta=datetime.timedelta)
    )


def of_lefts(lefts, not_here=()):
    """A queue of tasks that have and lack what is made up; None where the data are not here."""
    return types.SimpleNamespace(
        tasks=list(lefts), left=lefts.get, not_here=dict(not_here), file="evidence.yaml", given={}
    )


TASKS = [Task("quick", "L1"), Task("mnist", "L2", "energy_based"), Task("gone", "CE"),
         Task("gone", "L1"), Task("gone", "FFL")]  # fmt: skip


def test_what_is_left_is_told_for_each_row_and_for_all_that_can_be_run(
    afternoon, monkeypatch, capsys
):
    threads = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    lefts = {
        TASKS[0]: Left(2, 3, 0, 1800.0, without_measuring=False),
        TASKS[1]: Left(1, 4, 2, 5400.0, without_measuring=True),
    }
    tasks = of_lefts(lefts | dict.fromkeys(TASKS[2:]), {"gone": "get them"})
    assert queue.show(tasks, 2) == lefts
    assert capsys.readouterr().out.splitlines() == [
        "quick: L1: 2 done, 3 missing, 30 core minutes",
        "mnist, energy_based: L2: 1 done, 4 missing, 2 failed, 1.5 core hours, without measuring",
        "gone: 3 rows, no data here: get them",
        "left of what has its data here: 7 runs, 2.0 core hours, without measuring, not before Fri "
        "27 Nov 15:30 with 2 at a time",
    ]
    assert threads == [1]  # as the processes have it, whose steps are timed
    done = {TASKS[0]: Left(5, 0, 1, 0.0, without_measuring=False)}
    queue.show(of_lefts(done), 1)
    assert capsys.readouterr().out == "quick: L1: 5 done, 1 failed\nleft: nothing\n"
    last = {TASKS[0]: Left(4, 1, 0, 7200.0, without_measuring=False)}  # a run is not divided
    queue.show(of_lefts(last), 2)
    assert capsys.readouterr().out.splitlines()[1] == (
        "left: 1 run, 2.0 core hours, until Fri 27 Nov 16:30 with 2 at a time"
    )


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (90.0, "2 core minutes"),
        (3599.0, "60 core minut"),
        (3600.0, "1.0 core hours"),
        (9000.0, "2.5 core h"),
    ],
)
def test_seconds_are_told_in_minutes_and_hours(seconds, told):
    assert queue._hours(seconds).startswith(told)


def test_a_line_of_a_process_is_printed_with_what_is_left_after_it(afternoon, capsys):
    after = Left(1, 1, 0, 3600.0, without_measuring=False)
    other = Left(0, 2, 0, 7200.0, without_measuring=False)
    found = {TASKS[0]: other, TASKS[1]: other}
    queue._report(
        "1\tseed 1: failed, a\tb\n", of_lefts({TASKS[0]: other, TASKS[1]: after}), found, 3
    )
    assert capsys.readouterr().out == (
        "14:30:05 mnist, energy_based: L2, seed 1: failed, a\tb; left: 3 runs, 3.0 core hours, "
        "until Fri 27 Nov 15:30 with 3 at a time\n"
    )
    assert found == {TASKS[0]: other, TASKS[1]: after}


class Told(io.StringIO):
    """What is written, and what had been written whenever somebody could read it."""

    def __init__(self):
        super().__init__()
        self.flushed = []

    def flush(self):
        self.flushed.append(self.getvalue())


def test_every_line_can_be_read_as_soon_as_it_is_known(monkeypatch):
    """Timing the next row takes a while, and who watches reads a pipe or a file."""
    out = Told()
    monkeypatch.setattr(sys, "stdout", out)
    lefts = {task: Left(2, 3, 0, 1800.0, without_measuring=False) for task in TASKS[:2]}
    queue.show(of_lefts(lefts), 2)
    queue._report("0\tseed 1: done, 3 s\n", of_lefts(lefts), lefts, 2)
    lines = out.getvalue().splitlines(keepends=True)
    assert len(lines) == 4
    assert out.flushed == ["".join(lines[: count + 1]) for count in range(4)]


def test_what_became_of_a_run_is_one_short_line():
    run = {"run": "seed 1", "state": "done", "seconds": 2.6, "error": ""}
    assert queue._line(pd.Series(run)) == "seed 1: done, 3 s"
    failed = run | {"state": "failed", "error": " no\n  number " + 600 * "x"}
    assert queue._line(pd.Series(failed)) == f"seed 1: failed, no number {490 * 'x'}"


def test_there_is_a_process_for_each_core_or_one_for_a_gpu(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 7)
    for there, jobs in ((False, 7), (True, 1)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert queue.default_jobs() == jobs


def test_where_nothing_is_missing_no_process_is_started(monkeypatch, capsys):
    monkeypatch.setattr(queue, "_start", None)
    queue.run(of_lefts({TASKS[0]: Left(5, 0, 1, 0.0, without_measuring=False)}), 2)
    assert capsys.readouterr().out.count("left: nothing") == 1


def test_a_profile_without_data_is_named_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("ENVAE_DATA", raising=False)
    file = listed(tmp_path, "- profile: mnist\n  rows: [L2, CE]\n- profile: quick\n  rows: [L1]\n")
    assert cli.main(["evidence", "--file", str(file)]) == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("quick: L1: 10 done")
    assert second.startswith("mnist: 2 rows, no data here: ")
    assert "envae data mnist" in second


def test_what_a_source_describes_is_made_once(tmp_path, monkeypatch):
    made, of = [], paper_rows.Experiment.of

    def counted(**parameters):
        made.append(parameters["dataset"])
        if parameters["dataset"] == "mnist":
            raise FileNotFoundError("not here")
        return of(**parameters)

    monkeypatch.setattr(paper_rows.Experiment, "of", counted)
    tasks = Queue(listed(tmp_path, ONE_ROW + "- {profile: mnist, rows: [L1]}\n"))
    for source in ("quick", "mnist") * 2:
        found = tasks.experiment(source)
        assert (found is None) == (source == "mnist") == (source in tasks.not_here)
    assert made == ["digits", "mnist"]


def test_processes_that_end_without_a_run_are_an_error_and_killed_ones_are_replaced_a_few_times(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(paper_rows.Experiment, "step_seconds", lambda self, label: 0.1)
    monkeypatch.setattr(queue, "_REPLACED", 3)
    program = tmp_path / "python"
    monkeypatch.setattr(queue.sys, "executable", str(program))
    for ending, status, count in (("exit 3", 3, 2), ("kill -9 $$", -9, 2 + 3)):
        program.write_text(f"#!/bin/sh\n{ending}\n")
        program.chmod(0o755)
        with pytest.raises(notebook_run.RunError, match="no run was done: the processes ended"):
            queue.run(Queue(listed(tmp_path), SMALL), 2)
        assert capsys.readouterr().out.count(f"a process ended with status {status}\n") == count


def test_a_list_that_is_edited_while_it_is_run_is_still_the_one_that_was_read(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(paper_rows.Experiment, "step_seconds", lambda self, label: 0.1)
    file, program, told = listed(tmp_path), tmp_path / "python", tmp_path / "told"
    tasks = Queue(file, SMALL)
    listed(tmp_path, "- profile: quick\n  rows: [L2, L1]\n")
    program.write_text(f'#!/bin/sh\necho "$3" > {told}\n')
    program.chmod(0o755)
    monkeypatch.setattr(queue.sys, "executable", str(program))
    queue.run(tasks, 1)
    given = json.loads(told.read_text())
    assert [Task(*task) for task in given["tasks"]] == [Task("quick", "L1")]
    assert Queue(file, given["given"], [Task("quick", "L1")]).tasks == [Task("quick", "L1")]


def test_what_waits_for_records_that_nothing_makes_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(paper_rows.Experiment, "step_seconds", lambda self, label: 0.1)
    tasks = Queue(listed(tmp_path), SMALL | {"numbers_of": "nope"})
    with pytest.raises(notebook_run.RunError, match="waits for records of nope"):
        queue.run(tasks, 1)
    line = "quick: L1: 2 missing, 0 core minutes, waiting for a record of it in nope"
    assert line in capsys.readouterr().out


def test_where_nothing_can_be_written_the_folder_is_named(tmp_path, monkeypatch):
    due = Queue(listed(tmp_path), SMALL).experiment("quick").due("L1")
    (tmp_path / "file").touch()
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path / "file"))
    with pytest.raises(OSError, match=f"'{tmp_path}/file/{due.experiment}'"), take(due):
        pytest.fail("nothing is taken")


class Scripted:
    """A queue of rows whose runs end as they are told to: what was run, and whether others run."""

    def __init__(self, monkeypatch, script):
        self.tasks = [Task("quick", label) for label in script]
        self.script = {label: list(turns) for label, turns in script.items()}
        self.asked, self.slept, self.out = [], [], io.StringIO()
        monkeypatch.setattr(queue, "_run_some", self.run_some)
        monkeypatch.setattr(queue, "time", types.SimpleNamespace(sleep=self.slept.append))

    def experiment(self, source):
        assert source == "quick"
        return types.SimpleNamespace(due=lambda label: label if self.script[label] else None)

    def run_some(self, due, session):
        assert session == "one"
        self.asked.append(due)
        return self.script[due].pop(0)


def test_what_is_of_more_value_is_asked_again_after_every_run_and_others_are_waited_for(
    monkeypatch,
):
    others, nothing = ([], True), ([], False)
    tasks = Scripted(
        monkeypatch,
        {
            "L1": [others, others, (["a: done", "b: done"], False)],
            "L2": [(["c: done"], False)],
            "CE": [others],
        },
    )
    queue.work(tasks, "one", tasks.out)
    assert tasks.asked == ["L1", "L2", "L1", "CE", "L1"]
    assert tasks.slept == [5.0]  # once, where others had all that was left
    assert tasks.out.getvalue() == "1\tc: done\n0\ta: done\n0\tb: done\n"
    given_up = Scripted(monkeypatch, {"L1": [nothing, nothing], "L2": [nothing]})
    queue.work(given_up, "one", given_up.out)
    assert (given_up.asked, given_up.slept) == (["L1", "L2"], [])


def test_rows_without_their_data_are_left_out(monkeypatch):
    tasks = Scripted(monkeypatch, {"L1": [([], True)]})
    monkeypatch.setattr(tasks, "experiment", lambda source: None)
    queue.work(tasks, "one", tasks.out)
    assert (tasks.asked, tasks.slept) == ([], [])


@pytest.mark.parametrize(
    ("script", "lines", "status"),
    [
        ("exit 0", 0, 0),  # what is missing may be another call's, which has it locked
        ("printf '0\\tseed 1: done, 3 s\\n'", 2, 0),
        ("printf '0\\tseed 1: done, 3 s\\n'; exit 3", 2, 2),  # some was done
    ],
)
def test_processes_that_end_early_are_no_error_where_something_was_done_or_nothing_failed(
    tmp_path, monkeypatch, capsys, script, lines, status
):
    monkeypatch.setattr(paper_rows.Experiment, "step_seconds", lambda self, label: 0.1)
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(queue.sys, "executable", str(program))
    queue.run(Queue(listed(tmp_path), SMALL), 2)
    told = capsys.readouterr().out
    assert told.count("quick: L1, seed 1: done, 3 s; left: 7 runs, ") == lines
    assert told.count("a process ended with status 3") == status
    assert told.count("quick: L1: 7 missing") == 2  # before and after


def take(due, session="one", count=2):
    return runs.taken(
        due.points[:count], dataset=due.dataset, experiment=due.experiment, session=session
    )


def test_a_point_is_of_one_process_and_is_given_back(tmp_path, folder):
    due = Queue(listed(tmp_path), SMALL).experiment("quick").due("L1")
    with take(due) as mine:
        assert (mine.points, mine.busy) == (due.points[:2], False)
        with take(due, count=3) as others:
            assert (others.points, others.busy) == (due.points[2:3], True)
        due.run(mine.points[:1])
    with take(due) as mine:
        assert (mine.points, mine.busy) == (due.points[1:2], False)  # the first has a record
    assert not list(folder.rglob("*.taken"))


def test_a_point_that_two_processes_died_of_is_left_to_the_next_session(tmp_path, folder):
    due = Queue(listed(tmp_path), SMALL).experiment("quick").due("L1")
    for tries in range(runs.TRIES + 1):
        with take(due, count=1) as mine:
            assert len(mine.points) == (tries < runs.TRIES)
            files = {path: path.read_text() for path in folder.rglob("*.taken")}
        for path, text in files.items():  # as if it had been killed
            path.write_text(text)
    with take(due, "two", count=1) as mine:
        assert len(mine.points) == 1


def test_a_run_that_fails_is_one_line_and_not_tried_again(tmp_path, monkeypatch):
    def measure(*_, **__):
        raise ValueError("no\nnumber")

    monkeypatch.setattr(paper_rows.quality, "measure", measure)
    tasks, told = Queue(listed(tmp_path), SMALL), Told()
    for session in ("one", "two"):
        queue.work(tasks, session, told)
    values = [f"{value:g}" for value in paper_rows.ROWS["L1"].values]
    assert told.getvalue().splitlines() == [
        f"0\tscale {value}: failed, ValueError: no number" for value in values
    ]
    assert told.flushed[-1] == told.getvalue()  # who is killed later has told of them
    assert tasks.left(Task("quick", "L1")).failed == len(values) + 2


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks Linux for the processes")
def test_nothing_is_run_twice_whatever_is_killed(tmp_path, folder, request):
    file, given = listed(tmp_path), SMALL | {"network": "conv", "epochs": "3"}
    command = [sys.executable, "-c", "import sys; from envae import cli; sys.exit(cli.main())"]
    command += ["evidence", "--run", "--jobs", "2", "--file", str(file)]
    command += [word for name, value in given.items() for word in ("-p", name, value)]

    def records():
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}

    def start(log):
        with log.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        request.addfinalizer(process.wait)  # after it was killed
        request.addfinalizer(process.kill)
        return process

    def children(process):
        return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()

    logs = [tmp_path / "killed", tmp_path / "stopped"]
    first = start(logs[0])
    wait_until(records)
    one, other = children(first)
    os.kill(int(one), signal.SIGKILL)
    wait_until(lambda: one not in children(first) and len(children(first)) == 2)  # replaced
    left = children(first)
    assert other in left
    first.kill()
    first.wait()
    wait_until(lambda: not any(Path("/proc", pid).exists() for pid in left))
    before = records()

    second = start(logs[1])
    wait_until(lambda: len(records()) > len(before))
    second.terminate()
    assert second.wait() == 130
    assert "Traceback" not in logs[1].read_text()
    between = records()

    rest = io.StringIO()
    queue.work(Queue(file, given), "third", rest)
    assert before.items() <= between.items() <= records().items()
    told = [log.read_text() for log in logs]
    assert "ended with status -9" in told[0]
    lines = "".join([*told, rest.getvalue()])
    ended = collections.Counter(re.findall(r"(\w+ [\d.]+): done, ", lines))
    assert set(ended.values()) == {1}
    assert len(rest.getvalue().splitlines()) == len(records()) - len(between)
    assert Queue(file, given).left(Task("quick", "L1")).missing == 0


def wait_until(condition, seconds=400):
    """Long, since processes at the lowest priority may get nothing on a busy machine."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
