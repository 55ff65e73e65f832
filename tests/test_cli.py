"""The command `envae run`: what it accepts, what it refuses, and what it leaves behind."""

import json
import os
import re
import resource
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from envae import _checkout, cli
from envae.companion import claims, notebook_parameters, notebook_run

PARAMETERS = """\
epochs: int = 2  # passes over the data
lr: float = 1e-3  # learning rate
models: list[str] = ["l2"]  # objectives
limit: int | None = None  # images used, all if None
shuffle: bool = True  # new order in every pass
seeds: list[int] = [1]  # seeds of the runs
samples: int = 0  # images that are drawn; 0: as many as there are
title: str = ""  # of the figures
"""
PROGRAMS = Path(sys.executable).parent
SHOW = "print(epochs, lr, models, limit, shuffle)"


def write_notebook(path: Path, *cells: str) -> Path:
    code = [nbformat.v4.new_code_cell(cell) for cell in (PARAMETERS, *cells)]
    code[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(nbformat.v4.new_notebook(cells=code, metadata={"kernelspec": kernel}), path)
    return path


@pytest.fixture
def notebook(tmp_path):
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "small.paper.yaml").write_text("epochs: 70\nlr: 3.0e-4\n")
    (tmp_path / "params" / "small.wrong.yaml").write_text("lr: 1e-3\n")
    (tmp_path / "params" / "small.stale.yaml").write_text("epoch: 70\n")
    (tmp_path / "params" / "small.idle.yaml").write_text("epochs: 0\n")
    (tmp_path / "params" / "small.endless.yaml").write_text("lr: .inf\n")
    (tmp_path / "params" / "small.half.yaml").write_text('models: ["\\ud800"]\n')
    return write_notebook(tmp_path / "small.ipynb", SHOW)


def run(notebook, *arguments) -> tuple[int, Path]:
    output = notebook.parent / "out" / "executed.ipynb"
    return cli.main(["run", str(notebook), "-o", str(output), *arguments]), output


def printed(output: Path) -> str:
    outputs = [cell.get("outputs", []) for cell in nbformat.read(output, as_version=4).cells]
    return "".join(part["text"] for cell in outputs for part in cell)


REFUSED = {
    "misspelt parameter": (["-p", "epoch", "3"], ["'epoch'", "did you mean 'epochs'", "shuffle"]),
    "text for an int": (["-p", "epochs", "abc"], ["epochs takes int", "passes over", "'abc'"]),
    "float for an int": (["-p", "epochs", "1.5"], ["epochs takes int", "'1.5'"]),
    "text for a float": (["-p", "lr", "fast"], ["lr takes float", "'fast'"]),
    "number for a bool": (["-p", "shuffle", "2"], ["shuffle takes bool", "'2'"]),
    "text for an optional int": (["-p", "limit", "few"], ["limit takes int | None", "'few'"]),
    "unknown profile": (["--profile", "papr"], ["'papr'", "quick", "paper"]),
    "YAML that is text": (["--profile", "wrong"], ["lr takes float", "'1e-3'", "1.0e-3"]),
    "no epochs": (["-p", "epochs", "0"], ["epochs takes int, from 1 up (passes", "received 0"]),
    "a rate of nothing": (["-p", "lr", "0"], ["lr takes float, above 0 (learning rate)"]),
    "not a number": (["-p", "lr", "nan"], ["lr takes float, finite numbers", "nan"]),
    "an infinite rate": (["-p", "lr", "inf"], ["lr takes float, finite numbers", "inf"]),
    "no seeds": (["-p", "seeds", ""], ["seeds takes list[int], at least one", "received []"]),
    "a negative seed": (["-p", "seeds", "1,-1"], ["seeds takes list[int], from 0 up", "[1, -1]"]),
    "less than all": (["-p", "samples", "-1"], ["samples takes int, from 0 up", "received -1"]),
    "epochs without end": (["-p", "epochs", "1000001"], ["epochs takes int, at most 1,000,000"]),
    "more digits than Python reads": (["-p", "epochs", "9" * 5000], ["epochs takes", "(5,002 ch"]),
    "a seed too large": (
        ["-p", "seeds", f"[1, {2**32}]"],
        ["at most 4,294,967,295", "4294967296]"],
    ),
    "seeds without end": (["-p", "seeds", str([1] * 1001)], ["at most 1,000 of them"]),
    "a seed twice": (["-p", "seeds", "1,2,1"], ["seeds takes list[int], each one once"]),
    "brackets without end": (["-p", "seeds", "[" * 400], ["seeds takes list[int] (", "(402 char"]),
    "no epochs in the profile": (["--profile", "idle"], ["epochs takes int, from 1 up"]),
    "no number in the profile": (["--profile", "endless"], ["lr takes float, finite numbers"]),
    "a parameter twice": (
        ["-p", "lr", "1", "-p", "epochs", "1", "-p", "epochs", "7"],
        ["-p sets epochs more than once: give one value"],
    ),
    "a byte that is no text": (
        ["-p", "title", "a\udcff"],
        ["title takes str, in characters of UTF-8 (of the figures), received 'a\\udcff'"],
    ),
    "half a sign in the profile": (["--profile", "half"], ["models takes list[str], in"]),
    "misspelt in the profile": (["--profile", "stale"], ["'epoch'", "did you mean 'epochs'"]),
}


def test_images_of_ones_own_are_for_the_chapter_that_takes_them():
    own, takes = {"dataset": "imagefolder"}, []
    for notebook in sorted((_checkout.root() / "notebooks").glob("*.ipynb")):
        known = notebook_run.declared(notebook)
        if "root" in known:
            takes.append(notebook)
        elif "dataset" in known:
            with pytest.raises(
                notebook_run.RunError, match="does: envae run 07 -p dataset imagefolder"
            ):
                notebook_run.parameters(notebook, "quick", own)
    [seven] = takes
    assert seven.name.startswith("07")
    for name, value in {"root": "here", "size": "32", "crop": "8"}.items():
        assert notebook_run.parameters(seven, "quick", own | {name: value})
        unused = f"{name} would not be used for the data set 'digits': add"
        with pytest.raises(notebook_run.RunError, match=unused):
            notebook_run.parameters(seven, "quick", {name: value})


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_arguments_are_one_clear_line_and_nothing_is_written(case, notebook, capsys):
    arguments, expected = REFUSED[case]
    before = sorted(notebook.parent.rglob("*"))
    status, _ = run(notebook, *arguments)
    error = capsys.readouterr().err
    assert status == 2
    assert error.count("\n") == 1
    for part in expected:
        assert part in error
    assert sorted(notebook.parent.rglob("*")) == before


LISTS = {
    "l2, envae": ["l2", "envae"],
    """["Iso-D, mle", 'L2']""": ["Iso-D, mle", "L2"],  # rows of the tables have commas in them
    "[]": [],
    "": [],
}


@pytest.mark.parametrize("text", LISTS)
def test_items_of_a_list_may_be_quoted_and_hold_commas(text):
    assert notebook_parameters.declared(PARAMETERS)["models"].parse(text) == LISTS[text]


@pytest.mark.parametrize("text", ["'l2", "a: b", "[[l2]]"])
def test_what_is_no_list_is_refused(text):
    with pytest.raises(ValueError, match="models takes list"):
        notebook_parameters.declared(PARAMETERS)["models"].parse(text)


def test_unknown_notebook_lists_the_known_ones(capsys):
    assert cli.main(["run", "99"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "01_theory_checks" in error


def test_without_a_checkout_a_notebook_is_a_path(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("envae._checkout.__file__", str(tmp_path / "site" / "_checkout.py"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "07"]) == 2
    assert "'07' is no path of a notebook, and names need the" in capsys.readouterr().err


def test_ambiguous_beginning_of_a_name_is_refused(capsys):
    assert cli.main(["run", "0"]) == 2
    assert "several" in capsys.readouterr().err


def test_profile_and_overrides_reach_the_kernel_and_the_provenance(notebook, capsys):
    status, output = run(
        notebook, "--profile", "paper", "-p", "epochs", "5", "-p", "models", "l2, envae",
        "-p", "limit", "100", "-p", "shuffle", "false",
    )  # fmt: skip
    assert status == 0
    assert printed(output) == "5 0.0003 ['l2', 'envae'] 100 False\n"
    executed = nbformat.read(output, as_version=4)
    provenance = executed.metadata["envae"]
    assert provenance["profile"] == "paper"
    assert provenance["parameters"] == {
        "epochs": 5, "lr": 3e-4, "models": ["l2", "envae"], "limit": 100, "shuffle": False,
    }  # fmt: skip
    assert set(provenance) >= {"commit", "dirty", "date", "device", "seconds"}
    injected = [c for c in executed.cells if "injected-parameters" in c.metadata.get("tags", [])]
    assert [cell.metadata["tags"][-1] for cell in injected] == ["hide-input"]
    captured = capsys.readouterr()
    assert str(output) in captured.out
    assert "cell 3/3" in captured.err  # plain lines where there is no terminal


def test_quick_profile_is_the_defaults_and_output_is_free_of_run_metadata(notebook):
    status, output = run(notebook)
    assert status == 0
    assert printed(output) == "2 0.001 ['l2'] None True\n"
    executed = nbformat.read(output, as_version=4)
    assert executed.metadata["envae"]["parameters"] == {}
    assert len(executed.cells) == 2  # no cell injected
    assert '"papermill"' not in output.read_text()
    source = nbformat.read(notebook, as_version=4)
    assert [cell.id for cell in executed.cells] == [cell.id for cell in source.cells]


def test_a_run_leaves_the_environment_as_it_was(notebook, tmp_path):
    before = dict(os.environ)
    assert run(notebook)[0] == 0
    assert dict(os.environ) == before
    failing = write_notebook(tmp_path / "failing.ipynb", "1 / 0")
    assert run(failing)[0] != 0
    assert dict(os.environ) == before


def test_a_notebook_that_names_no_language_is_run_as_python(notebook):
    document = nbformat.read(notebook, as_version=4)
    document.metadata.clear()
    nbformat.write(document, notebook)
    status, output = run(notebook, "-p", "epochs", "3")
    assert (status, printed(output)) == (0, "3 0.001 ['l2'] None True\n")


def test_times_of_cells_are_told_and_stay_out_of_the_repository(tmp_path, capsys):
    slow = "__import__('time').sleep(0.3)\n1"
    _, output = run(write_notebook(tmp_path / "small.ipynb", slow, SHOW))
    assert cli.main(["times", str(output), "--cells", "1"]) == 0
    total, cell, _ = capsys.readouterr().out.splitlines()[-3:]
    assert total.endswith(" s  executed")
    assert re.fullmatch(r" +\d+\.\d s  \[2\] __import__\('time'\)\.sleep\(0\.3\)", cell)
    (tmp_path / "committed").mkdir()
    program = Path(__file__).parents[1] / "book" / "_ext" / "commit.py"
    runpy.run_path(str(program))["copy"](output, tmp_path / "committed")
    committed = tmp_path / "committed" / output.name
    assert committed.stat().st_mtime_ns == output.stat().st_mtime_ns
    document = nbformat.read(output, as_version=4)
    for cell in document.cells:
        del cell.metadata["execution"]
    assert nbformat.read(committed, as_version=4) == document


def test_chapters_begin_in_the_order_of_what_others_wait_for_and_of_what_they_took(tmp_path):
    took = {"01_quick": 5.0, "07_gpu_fid_experiments": 2.0, "09_slow": 900.5, "10_unknown": None}
    notebooks = [tmp_path / f"{name}.ipynb" for name in took]
    for path, seconds in zip(notebooks, took.values(), strict=True):
        document = nbformat.v4.new_notebook()
        document.metadata["envae"] = {} if seconds is None else {"seconds": seconds}
        nbformat.write(document, path)
    assert [notebook_run.seconds(path) for path in notebooks] == [5, 2, 900.5, 0]
    order = sorted(notebooks, key=notebook_run.priority, reverse=True)
    assert [path.stem[:2] for path in order] == ["07", "09", "01", "10"]
    assert [notebook_run.priority(path) for path in order[1:]] == [900.5, 5, 0]


def test_pieces_of_a_stream_are_one_output():
    def stream(name, text):
        return nbformat.v4.new_output("stream", name=name, text=text)

    pieces = [stream("stdout", "a"), stream("stdout", "\n"), stream("stderr", "b")]
    pieces += [nbformat.v4.new_output("display_data"), stream("stdout", "c"), stream("stdout", "d")]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("", outputs=pieces), nbformat.v4.new_markdown_cell("")]
    )
    notebook_run._join_streams(notebook)
    told = [output.get("text", "") for output in notebook.cells[0].outputs]
    assert told == ["a\n", "b", "", "cd"]


def test_kernel_is_of_this_environment_with_the_allocator_set(tmp_path):
    notebook = write_notebook(
        tmp_path / "small.ipynb",
        "import os, sys\nprint(sys.executable, os.environ.get('MALLOC_TOP_PAD_'))",
    )
    _, output = run(notebook)
    executable, top_pad = printed(output).split()
    assert Path(executable).parent == Path(sys.executable).parent
    assert (top_pad == "268435456") == (sys.platform == "linux")


def test_a_kernel_draws_into_the_page_and_is_of_this_python_whatever_is_set(tmp_path, monkeypatch):
    other = tmp_path / "jupyter" / "kernels" / "python3"
    other.mkdir(parents=True)
    (other / "kernel.json").write_text(
        '{"argv": ["/bin/false", "{connection_file}"], "display_name": "x", "language": "python"}'
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    home = tmp_path / "profile_default"
    (home / "startup").mkdir(parents=True)
    (home / "startup" / "mine.py").write_text("raise SystemExit")
    (home / "ipython_config.py").write_text('c.InteractiveShell.ast_node_interactivity = "all"')
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    (tmp_path / "matplotlibrc").write_text("figure.dpi: 7\n")
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path / "matplotlibrc"))
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    before = dict(os.environ)
    notebook = write_notebook(
        tmp_path / "small.ipynb",
        "import matplotlib.pyplot as plt\n1\nplt.plot([1, 2])\n"
        "print(__debug__, plt.rcParams['figure.dpi'])\nplt.show()",
    )
    status, output = run(notebook)
    assert status == 0
    told, shown = nbformat.read(output, as_version=4).cells[-1].outputs
    assert told["text"] == "True 100.0\n"
    assert "image/png" in shown["data"]
    assert os.environ == before


def test_help_needs_no_documentation_strings():
    code = "import sys\nfrom envae import cli\nsys.exit(cli.main(['--help']))"
    ended = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert cli._ABOUT in ended.stdout


def test_relative_paths_are_the_users_and_braces_in_a_path_are_braces(tmp_path, monkeypatch):
    folder = tmp_path / "sub{x}"
    (folder / "pictures").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ENVAE_RUNS", "runs")
    monkeypatch.setenv("PYTHONUTF8", "0")
    show = (
        "import pathlib, sys\nfrom envae import records\n"
        "print(pathlib.Path(models[0]).resolve(), sys.flags.utf8_mode, '{y}')\n"
        "print(records.folder().resolve())"
    )
    (tmp_path / "elsewhere").mkdir()
    notebook = write_notebook(tmp_path / "elsewhere" / "{0}.ipynb", show)
    output = Path("out{z}.ipynb")
    assert cli.main(["run", str(notebook), "-p", "models", "pictures", "-o", str(output)]) == 0
    assert printed(output) == f"{folder / 'pictures'} 1 {{y}}\n{folder / 'runs'}\n"


def test_a_kernel_may_be_slow_to_start_and_one_that_does_not_is_one_line(
    tmp_path, monkeypatch, capfd
):
    import papermill

    def execute(*_, start_timeout, **__):
        assert start_timeout >= 600
        raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    status, _ = run(write_notebook(tmp_path / "small.ipynb", SHOW))
    assert status == 1
    assert capfd.readouterr().err == "envae: small: Kernel died before replying to kernel_info\n"


def test_failing_cell_is_named_and_nothing_is_written(tmp_path, capfd):
    notebook = write_notebook(tmp_path / "small.ipynb", SHOW, "1 / 0")
    status, _ = run(notebook)
    assert status == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("envae: ")]
    assert len(lines) == 1
    assert "cell 3" in lines[0]
    assert "ZeroDivisionError: division by zero" in lines[0]
    assert list(tmp_path.iterdir()) == [notebook]


def test_failed_run_leaves_an_older_output_as_it_was(tmp_path):
    _, output = run(write_notebook(tmp_path / "small.ipynb", SHOW))
    before = output.read_bytes()
    status, _ = run(write_notebook(tmp_path / "small.ipynb", "1 / 0"))
    assert status == 1
    assert output.read_bytes() == before


def test_kernel_that_dies_is_one_line(tmp_path, capfd):
    notebook = write_notebook(tmp_path / "small.ipynb", "import os; os._exit(9)")
    status, _ = run(notebook)
    assert status == 1
    assert "kernel died" in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_ends_the_kernel_and_leaves_nothing(number, tmp_path):
    started = tmp_path / "started"
    busy = f"import os, pathlib, time\npathlib.Path({str(started)!r}).write_text(str(os.getpid()))"
    notebook = write_notebook(tmp_path / "small.ipynb", f"{busy}\ntime.sleep(60)")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [PROGRAMS / "envae", "run", notebook, "-o", tmp_path / "out.ipynb"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(scratch)},
        # A shell starts background jobs, such as a whole CI run, with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: started.exists() and started.read_text(), "the cell has not started")
    process.send_signal(number)
    error = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    lines = [line for line in error.splitlines() if "%" not in line]  # all but the progress
    assert lines == ["envae: interrupted: no output was written; what was recorded stays"]
    kernel = Path("/proc") / started.read_text()
    if Path("/proc").is_dir():
        wait_until(lambda: not kernel.exists(), "the kernel still runs")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scratch", "small.ipynb", "started"]
    assert list(scratch.iterdir()) == []


def wait_until(condition, otherwise: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


def test_plain_papermill_takes_the_same_parameters(notebook, tmp_path):
    output = tmp_path / "plain.ipynb"
    subprocess.run(
        [PROGRAMS / "papermill", notebook, output, "-p", "epochs", "5"],
        check=True,
        capture_output=True,
    )
    assert printed(output).startswith("5 0.001")


def test_wrong_arguments_do_not_wait_for_torch(notebook):
    code = (
        "import sys; from envae import cli; "
        f"status = cli.main(['run', {str(notebook)!r}, '-p', 'epoch', '1']); "
        "print(status, 'torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["2", "False"]


@pytest.mark.parametrize(
    ("shell", "said"),
    [("{envae} claims | head -1; exit ${{PIPESTATUS[0]}}", ""),
     ("! {envae} claims > /dev/full", "envae: [Errno 28] No space left on device\n")],
)  # fmt: skip
def test_a_reader_who_leaves_is_no_error_and_a_full_disk_is_one_line(shell, said):
    command = shell.format(envae=PROGRAMS / "envae")
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert ended.stderr == said


@pytest.mark.parametrize(("closed", "status"), [("claims >&-", 0), ("claims --kind x 2>&-", 2)])
def test_what_a_shell_has_closed_takes_what_is_printed_and_nothing_else_does(closed, status):
    command = f"{PROGRAMS / 'envae'} {closed}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (status, "", "")


def test_images_that_no_memory_holds_are_one_line(tmp_path, capsys):
    images = tmp_path / "pictures"
    images.mkdir()
    for number in range(156):
        Image.new("L", (4, 4)).save(images / f"{number}.png")
    commands = ["data imagefolder -p size 1000000 -p root", "compare --size 1000000"]
    for command in commands:
        assert cli.main([*command.split(), str(images)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("envae: out of memory (Unable to allocate ")
        assert said.endswith("): a smaller size needs less\n")
        assert said.count("\n") == 1


def test_a_locale_without_utf8_is_enough(tmp_path, notebook):
    """Claims and notebooks hold signs that ASCII has not."""
    said = notebook.read_text().replace("passes over", "p\u00e4sses \u2265")
    notebook.write_text(said, encoding="utf-8")
    plain = os.environ | {"PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "LC_ALL": "C"}
    for arguments, status in ((["claims"], 0), (["run", notebook, "-p", "epochs", "x"], 2)):
        ended = subprocess.run([PROGRAMS / "envae", *arguments], env=plain, capture_output=True)
        assert ended.returncode == status, ended.stderr
    assert b"epochs takes int (p\\xe4sses \\u2265" in ended.stderr


@pytest.mark.parametrize("column", ["paper", "kind", "verdict"])
def test_an_empty_filter_of_claims_is_refused(column, capsys):
    assert cli.main(["claims", f"--{column}", ""]) == 2
    assert f"unknown {column} ''" in capsys.readouterr().err


def test_where_no_claim_is_left_it_is_said(capsys):
    assert cli.main(["claims", "--kind", "measurement", "--verdict", "holds"]) == 0
    assert capsys.readouterr().out == "no claim is of this choice\n"


def test_claims_can_be_chosen_by_paper_and_verdict(capsys):
    assert cli.main(["claims", "--paper", "xu2025"]) == 0
    assert "E-Eq1-strict" in capsys.readouterr().out
    assert cli.main(["claims", "--verdict", "maybe"]) == 2
    assert "does not hold as written" in capsys.readouterr().err


def test_measurements_are_printed_with_their_scale(capsys):
    assert cli.main(["claims", "--kind", "measurement"]) == 0
    printed = capsys.readouterr().out
    assert "E-Eq1-strict" not in printed
    assert "T-T3-emp  [" in printed
    assert "    tried on mnist-10000 28 x 28, mlp64, " in printed
    assert "measurements of the papers, " in printed
    assert cli.main(["claims", "--kind", "guess"]) == 2
    assert "statement, measurement" in capsys.readouterr().err


def test_every_claim_is_printed_with_its_evidence_and_all_are_counted(capsys):
    table = claims.table()
    assert cli.main(["claims"]) == 0
    printed = capsys.readouterr().out
    for claim, row in table.iterrows():
        told = [f"{claim}  [{row.verdict}]  {row.paper}, {row.place}", f"    {row.statement}"]
        told += [f"    {row.evidence} ({row.notebook})"]
        told += [f"    tried on {row.tried_on}"] if row.tried_on else []
        assert "\n".join([*told, ""]) in printed
    for ours, said in ((False, "of the papers"), (True, "of this book's own")):
        for kind, found in table[table["ours"] == ours].groupby("kind"):
            counts = found["verdict"].value_counts().items()
            told = ", ".join(f"{count} {verdict}" for verdict, count in counts)
            findings = claims.findings(found)
            assert f"\n{len(found)} {kind}s {said}, {findings} findings: {told}\n" in printed


@pytest.mark.parametrize("command", ["data digits", "evidence"])
def test_a_name_that_is_set_twice_is_refused_wherever_one_can_be(command, capsys):
    assert cli.main([*command.split(), "-p", "a", "1", "-p", "a", "1"]) == 2
    assert capsys.readouterr().err == "envae: -p sets a more than once: give one value\n"


def test_data_says_what_a_data_set_is(capsys):
    assert cli.main(["data", "digits"]) == 0
    assert "1297" in capsys.readouterr().out
    assert cli.main(["data", "digit"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["2024-01-01", "123", "no", "1e3", "[a"])
def test_options_of_data_are_of_their_declared_types(name, tmp_path, monkeypatch, capsys):
    """Whatever YAML would take the name of a folder for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    for number in range(4):
        Image.new("L", (4, 4)).save(tmp_path / name / f"{number}.png")
    whole = {"root": name, "size": "4", "crop": "none"}

    def find(given):
        words = [word for option, value in given.items() for word in ("-p", option, value)]
        return cli.main(["data", "imagefolder", *words])

    assert find(whole) == 0
    assert "3 training and 1 test images of 3 x 4 x 4" in capsys.readouterr().out
    wrong = {"size": "0", "crop": "wide", "train_size": "1.5"}
    for option, value in wrong.items():
        assert find(whole | {option: value}) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"{option} takes int" in said
        assert repr(value) in said or f"received {value}" in said
    assert cli.main(["data", "imagefolder", "-p", "rot", name]) == 2
    assert "did you mean 'root'" in capsys.readouterr().err


def test_a_command_has_to_be_given(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 2
    assert "the following arguments are required: COMMAND" in capsys.readouterr().err


HOSTILE = {
    "a call": "x: __import__('pathlib').Path('evaluated').touch() = 1",
    "a walk to builtins": "x: [c for c in ().__class__.__base__.__subclasses__()] = 1",
    "a lambda": "x: (lambda: 1)() = 1",
    "an unknown type": "x: dict[str, int] = 1",
    "a subscript of no list": "x: int[str] = 1",
    "a function": "def open():\n    pass",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_types_of_parameters_are_read_and_not_evaluated(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^the parameters cell must hold lines like.*`$"):
        notebook_parameters.declared(source)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("slip", ["b: str = (\n\n", 'b: str = """\n', "b: int = = 2"])
def test_a_slip_in_a_parameters_cell_is_named_by_its_line(slip):
    with pytest.raises(ValueError, match=r"^line 3 of the parameters cell is no Python"):
        notebook_parameters.declared(f"a: int = 1\n\n{slip}")


WHOLE = {
    "a: int | None = 1": {"none": None, "None": None, "3": 3},
    "a: str | None = None": {"none": None, "3": "3"},
    "a: None = None": {"none": None},
    "a: list[int | None] = []": {"1, none": [1, None], "": []},
    "a: list = []": {"1, b": ["1", "b"]},
    "a: int = 0": {str(2**63 - 1): 2**63 - 1},
}
TEXTS = (
    "",
    "1",
    "none",
    "1e400",
    "nan",
    "[",
    "a: b",
    "'",
    "\0",
    "*a",
    "&a [*a]",
    "1,,2",
    "9" * 5000,
)


@pytest.mark.parametrize("source", WHOLE)
def test_any_text_is_a_value_of_the_declared_type_or_refused(source):
    [parameter] = notebook_parameters.declared(source).values()
    for text, value in WHOLE[source].items():
        assert parameter.parse(text) == value
        assert parameter.check(value) == value
    for text in TEXTS:
        try:
            value = parameter.check(parameter.parse(text))
        except ValueError as error:
            assert str(error).startswith(f"a takes {parameter.annotation}")  # noqa: PT017
        else:
            assert parameter.parse(text) == value


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ("run 01", {"notebook": "01", "profile": "quick", "given": [], "output": None}),
        ("run 01 -p a 1 -p b 2", {"given": [["a", "1"], ["b", "2"]]}),
        ("times", {"notebooks": [], "cells": 3}),
        ("times a b --cells 1", {"notebooks": [Path("a"), Path("b")], "cells": 1}),
        ("claims", {"paper": None, "kind": None, "verdict": None}),
        ("evidence", {"run": False, "jobs": None, "file": None, "given": []}),
        ("evidence --run --jobs 2 -p a 1", {"run": True, "jobs": 2, "given": [["a", "1"]]}),
        ("compare a", {"folder": Path("a"), "minutes": 10.0, "size": 32, "output": None}),
        ("data mnist -p size 8", {"name": "mnist", "given": [["size", "8"]]}),
    ],
)
def test_a_command_takes_its_words_and_what_is_left_out(words, taken):
    found = vars(cli._parser().parse_args(words.split()))
    assert found["command"] is getattr(cli, f"_{words.split()[0]}")
    assert {name: found[name] for name in taken} == taken


@pytest.mark.parametrize(
    ("words", "called"),
    [
        ("", ("show", 5)),
        ("--jobs 1", ("show", 1)),
        ("--run", ("run", 5)),
        ("--run --jobs 2", ("run", 2)),
    ],
)
def test_evidence_is_shown_or_run_in_so_many_processes(monkeypatch, words, called):
    from envae.companion import queue

    calls = []
    monkeypatch.setattr(queue, "default_jobs", lambda: 5)
    monkeypatch.setattr(queue, "Queue", lambda file, given: (file, given))
    for name in ("run", "show"):
        monkeypatch.setattr(queue, name, lambda *told, name=name: calls.append((name, *told)))
    assert cli.main(["evidence", *words.split(), "--file", "a", "-p", "epochs", "3"]) == 0
    name, jobs = called
    assert calls == [(name, (Path("a"), {"epochs": "3"}), jobs)]


# Of each kind of name: values that are still in its range, and those beyond with what is said.
LIMITS = {
    "epochs: int = 60": ([1, 10**6], {0: "from 1 up", 10**6 + 1: "at most 1,000,000"}),
    "max_epochs: int = 0": ([0, 10**6], {-1: "from 0 up", 10**6 + 1: "at most 1,000,000"}),
    "seed: int = 1": ([0, 2**32 - 1], {-1: "from 0 up", 2**32: "at most 4,294,967,295"}),
    "lr: float = 0.1": ([1e-300, 1e300], {0.0: "above 0", float("inf"): "finite numbers"}),
    "alpha_l2: float = 0.1": ([1e-300, 1e300], {0.0: "above 0", -0.1: "above 0"}),
    "betas: list[float] = [1.0]": ([[2.0, 0.5]], {(): "at least one", (1.0, 0.0): "above 0"}),
    "weights: list[float] = [1.0]": ([[0.1]], {(0.1, -0.1): "above 0"}),
    "levels: list[float] = [0.1]": ([[0.0]], {(): "at least one", (0.1, -0.1): "from 0 up"}),
    "epsilon: float = 0.1": ([0.0, 1e300], {-1e-300: "from 0 up"}),
    "weight: float = 1.0": ([-1e300, 0.0], {float("nan"): "finite numbers"}),
    "level: int = 1": (
        [1 - 2**63, 2**63 - 1], {2**63: "at most 9,223,372", -(2**63): "at most 9,223,372"}
    ),
    "sizes: list[int] = [1]": ([[1, 1], 1000 * [2]], {(): "at least one", (1, 0): "from 1 up",
                                                      1001 * (2,): "at most 1,000 of them"}),
    "seeds: list[int] = [1]": ([[0], [2, 1]], {(): "at least one", (2, 1, 2): "each one once"}),
    "names: list[str] = []": ([[], ["a", "a"]], {}),
}  # fmt: skip


@pytest.mark.parametrize("source", LIMITS)
def test_a_number_is_as_large_as_its_name_allows_and_no_larger(source):
    [parameter] = notebook_parameters.declared(source).values()
    within, beyond = LIMITS[source]
    for value in within:
        assert parameter.check(value) == value
    for value, told in beyond.items():
        wrong = list(value) if isinstance(value, tuple) else value
        with pytest.raises(ValueError, match=rf"{parameter.name} takes .*, {told}"):
            parameter.check(wrong)


@pytest.mark.parametrize("length", [198, 199])
def test_a_long_value_is_told_by_its_beginning(length):
    [parameter] = notebook_parameters.declared("epochs: int = 3  # passes").values()
    with pytest.raises(ValueError, match="epochs takes int") as told:
        parameter.parse(length * "x")
    shown = f"'{length * 'x'}'" if length == 198 else f"'{199 * 'x'}... (201 characters)"
    assert str(told.value) == f"epochs takes int (passes), received {shown}"


BROKEN = {
    "a null byte": "epochs: int = 5\0",
    "a slip": "epochs: int = 5 5",
    "an open bracket": "epochs: list[int] = [5",
    "a magic": "%matplotlib inline",
    "hundreds of signs": f"epochs: int = {500 * '-'}5",
    "thousands of signs": f"epochs: int = {6000 * '-'}5",
    "hundreds of types": f"epochs: int{500 * ' | int'} = 5",
    "an indentation": "  epochs: int = 5\n x: int = 3",
}


@pytest.mark.parametrize("source", BROKEN.values(), ids=BROKEN)
def test_a_broken_parameters_cell_is_one_line_that_names_the_file(source, tmp_path, capsys):
    document = nbformat.v4.new_notebook()
    document.cells = [nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})]
    path = tmp_path / "broken.ipynb"
    nbformat.write(document, path)
    assert cli.main(["run", str(path), "-o", str(tmp_path / "out.ipynb")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "broken.ipynb" in said
    assert "no Python" in said


NO_NOTEBOOKS = {
    "without its format": ({"nbformat": None}, "nbformat None, and 4 is read here"),
    "of an old format": ({"nbformat": 3}, "nbformat 3, and 4 is read here"),
    "without the rest of its format": ({"nbformat_minor": "x"}, "nbformat_minor is no integer"),
    "of a later format than any": ({"nbformat_minor": -1}, "No schema for validating v4.-1"),
    "a kernel that is none": ({"metadata": {"kernelspec": 3}}, "3 is not of type 'object'"),
    "a cell of no kind": ({"cells": [{"metadata": {}, "source": "1"}]}, "is not valid under any"),
    "half a sign": ({"metadata": {"title": "\ud800"}}, "'utf-8' codec can't encode"),
}


@pytest.mark.parametrize("case", NO_NOTEBOOKS)
def test_a_notebook_that_cannot_be_run_is_one_line_that_names_the_file(case, notebook, capsys):
    change, told = NO_NOTEBOOKS[case]
    notebook.write_text(json.dumps(json.loads(notebook.read_text()) | change))
    status, output = run(notebook)
    said = capsys.readouterr().err
    assert status == 2
    assert said.startswith(f"envae: {notebook} is not a notebook (")
    assert told in said
    assert said.endswith("): get another copy\n")
    assert said.count("\n") == 1
    assert not output.parent.exists()


def test_a_notebook_may_have_keys_of_a_later_format_and_cells_without_ids(notebook, capsys):
    document = json.loads(notebook.read_text())
    for cell in document["cells"]:
        del cell["id"]
        cell["later"] = 1
    notebook.write_text(json.dumps(document))
    notebook_run._must_be_valid(notebook)
    assert capsys.readouterr().err == ""


STAMPS = {"iopub.execute_input": "2024-01-01T00:00:00Z", "shell.execute_reply": "2024-13-01"}
NO_TIMES = {
    "a number for a run": ({"envae": 3}, {}, "'int' object has no attribute 'get'"),
    "a text for seconds": ({"envae": {"seconds": "abc"}}, {}, "could not convert string to float"),
    "no seconds": ({"envae": {"seconds": None}}, {}, "float() argument"),
    "more seconds than numbers go": ({"envae": {"seconds": 10**400}}, {}, "too large"),
    "another stamp": ({}, {"execution": {"a": 1}}, "it has no 'iopub.execute_input'"),
    "a number for stamps": ({}, {"execution": 1}, "not subscriptable"),
    "a month 13": ({}, {"execution": STAMPS}, "month must be in 1..12"),
    "one stamp without a zone": (
        {}, {"execution": STAMPS | {"shell.execute_reply": "2024-12-01"}}, "can't subtract offset"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_TIMES)
def test_times_that_are_none_are_one_line_that_names_the_file(case, notebook, capsys):
    of_run, of_cell, told = NO_TIMES[case]
    document = json.loads(notebook.read_text())
    document["metadata"] |= of_run
    document["cells"][0]["metadata"] |= of_cell
    notebook.write_text(json.dumps(document))
    assert cli.main(["times", str(notebook)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"envae: {notebook} does not say what its run took (")
    assert told in said
    assert said.endswith("): execute it again (envae run)\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    [
        "a: [1",
        "\ta: 1",
        "- 1",
        "text",
        b"\xff\xfe\xff",
        "epochs: 010",
        "epochs: 1:30",
        "lr: 1:30.5",
        "epochs: 0x10",
    ],
)
def test_a_broken_profile_is_one_line_that_names_the_file(content, notebook, capsys):
    profile = notebook.parent / "params" / f"{notebook.stem}.broken.yaml"
    profile.parent.mkdir(exist_ok=True)
    profile.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert cli.main(["run", str(notebook), "--profile", "broken"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert profile.name in said


def test_an_output_that_cannot_be_written_is_told_before_the_run(notebook, tmp_path, capsys):
    device = tmp_path / "device"
    os.mkfifo(device)  # as a device, something that is no file and must stay what it is
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(device)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    wrong = {
        tmp_path / "circle": "too many levels of symbolic links",
        tmp_path / "circle" / "out.ipynb": "file exists",
        device: "it is no file",
        tmp_path / "link": "it is no file",
        tmp_path: "it is no file",
        tmp_path / "file" / "out.ipynb": "file exists",
        tmp_path / f"{300 * 'x'}.ipynb": "name too long",
    }
    for output, reason in wrong.items():
        start = time.perf_counter()
        assert cli.main(["run", str(notebook), "-o", str(output)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("envae: cannot write")
        assert reason in said.lower()
        assert time.perf_counter() - start < 5  # no kernel was started
    assert device.is_fifo()
    assert (tmp_path / "circle").is_symlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # as a full disk
    try:
        assert cli.main(["run", str(notebook), "-o", str(tmp_path / "full" / "out.ipynb")]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "out.ipynb: [Errno 27] File too large: " in capsys.readouterr().err
    assert not (tmp_path / "full").exists()


@pytest.mark.parametrize("folder", ["circle", "~nobody-of-this-name/pictures"])
def test_folders_that_lead_nowhere_are_one_line(tmp_path, monkeypatch, capsys, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for command in (["compare", folder], ["data", "imagefolder", "-p", "root", folder]):
        assert cli.main(command) == 2
        assert "needs root, a folder of images; there is no" in capsys.readouterr().err


def test_anybodys_images_go_through_the_chapter_on_samples(tmp_path, monkeypatch):
    """Drawn discs in colour, higher than wide: 500 to train on, enough to hold a fifth out."""
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path / "runs"))
    random = np.random.default_rng(0)
    down, across = np.mgrid[-1:1:14j, -1:1:10j]
    for split, count in (("train", 500), ("test", 97)):
        (tmp_path / "own" / split).mkdir(parents=True)
        for index in range(count):
            inside = np.hypot(*([down, across] - random.uniform(-0.5, 0.5, (2, 1, 1)))) < 0.5
            image = np.where(inside[..., None], random.integers(256, size=3), 0).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / "own" / split / f"{index}.png")
    out = tmp_path / "out.ipynb"
    own = {"dataset": "imagefolder", "root": str(tmp_path / "own"), "size": "8", "crop": "10"}
    given = own | {"epochs": "2", "seeds": "[1, 2]"}
    arguments = [word for name, value in given.items() for word in ("-p", name, value)]
    assert cli.main(["run", "07", *arguments, "-o", str(out)]) == 0
    outputs = [output for cell in nbformat.read(out, 4).cells for output in cell.get("outputs", [])]
    said = "\n".join(output["text"] for output in outputs if "text" in output)
    assert re.search(r"imagefolder-own-8-\w{6}: 500 \+ 97 images", said)
    assert "random convolutions, trained on nothing" in said
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3


def test_the_command_is_the_module_too():
    told = subprocess.run(
        [sys.executable, "-m", "envae", "data", "nothing"], capture_output=True, text=True
    )
    assert told.returncode == 2
    assert told.stderr.startswith("envae: unknown data set 'nothing'")
