"""The command `envae`: run a notebook, look at the ledger, compare losses on images of your own.

What needs torch is imported by the command that needs it, so that help and errors come at once.
"""

import argparse
import io
import itertools
import os
import sys
from pathlib import Path
from typing import Any

from envae._unknown import extra, unknown
from envae.companion import notebook_run

# Of the first line above, which `python -OO` leaves out.
_ABOUT = "Run a notebook, look at the ledger, compare losses on images of your own."


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 (a cell failed), 2 (bad input), 130 (stopped)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever started this has closed it
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(nowhere, "w", encoding="utf-8"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a sign that the system's language has not
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
        sys.stdout.flush()  # a full disk or a closed pipe is told here, not when Python ends
    except notebook_run.CellError as error:
        return _fail(error, 1)
    except BrokenPipeError:  # whoever reads has read enough, as `head` has
        _drop_output()
        return 0
    except (notebook_run.RunError, ValueError, OSError, ModuleNotFoundError) as error:
        _drop_output()
        return _fail(error, 2)
    except MemoryError as error:
        return _fail(f"out of memory ({error or 'no more is told'}): a smaller size needs less", 2)
    except notebook_run.Stopped as stopped:
        return _fail(f"interrupted: {stopped}", 130)
    except KeyboardInterrupt:
        return _fail("interrupted: no output was written; what was recorded stays", 130)
    return 0


def _drop_output() -> None:
    """What is still to be written goes nowhere: Python would try again, and fail, at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: object, status: int) -> int:
    print(f"envae: {' '.join(str(message).split())}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="envae", description=_ABOUT)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="execute a notebook with papermill")
    run.add_argument("notebook", help="a path, or a name in notebooks/ or the beginning of one")
    run.add_argument("--profile", default=notebook_run.QUICK, help="default: %(default)s")
    run.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), dest="given",
        help="set a parameter; may be repeated",
    )  # fmt: skip
    run.add_argument("-o", "--output", type=Path, help="default: _build/run/NAME.PROFILE.ipynb")
    run.set_defaults(command=_run)

    times = commands.add_parser("times", help="print what executed notebooks and their cells took")
    times.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK",
                       help="default: those of `make book`, _build/executed/*.ipynb")  # fmt: skip
    times.add_argument("--cells", type=int, default=3, help="slowest cells of each: %(default)s")
    times.set_defaults(command=_times)

    claims = commands.add_parser("claims", help="print the ledger of claims and verdicts")
    claims.add_argument("--paper", help="only the claims of this paper: xu2025, takida2022, both")
    claims.add_argument("--kind", help="only the claims of this kind: statement, measurement")
    claims.add_argument("--verdict", help="only the claims with this verdict")
    claims.set_defaults(command=_claims)

    evidence = commands.add_parser("evidence", help="list what recorded tables lack, or run it")
    evidence.add_argument("--run", action="store_true", help="run it, at low priority")
    evidence.add_argument("--jobs", type=int, help="processes; default: one per core, or one GPU")
    evidence.add_argument("--file", type=Path, help="list of tasks; default: data/evidence.yaml")
    evidence.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), dest="given",
        help="set a parameter of every profile; may be repeated",
    )  # fmt: skip
    evidence.set_defaults(command=_evidence)

    compare = commands.add_parser("compare", help="which loss for a folder of images? one page")
    compare.add_argument("folder", type=Path, help="156 images or more, in subfolders or not")
    compare.add_argument("--minutes", type=float, default=10.0, help="it may take: %(default)s")
    compare.add_argument("--size", type=int, default=32, help="pixels of a side: %(default)s")
    compare.add_argument("-o", "--output", type=Path, help="a folder: _build/compare/NAME")
    compare.set_defaults(command=_compare)

    data = commands.add_parser("data", help="find a data set, or download it; say what it is")
    data.add_argument("name", help="as envae.datasets.load knows it; in $ENVAE_DATA or the cache")
    data.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), dest="given",
        help="set an option of the data set (root, size, crop); may be repeated",
    )  # fmt: skip
    data.set_defaults(command=_data)
    return parser


def _given(options: argparse.Namespace) -> dict[str, str]:
    """What `-p` sets, each name once."""
    names = [name for name, _ in options.given]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"-p sets {', '.join(twice)} more than once: give one value")
    return dict(options.given)


def _run(options: argparse.Namespace) -> None:
    notebook = notebook_run.find(options.notebook)
    default = Path("_build") / "run" / f"{notebook.stem}.{options.profile}.ipynb"
    output = options.output or default
    origin = notebook_run.run(notebook, output, profile=options.profile, given=_given(options))
    print(f"{output} ({origin['seconds']:.0f} s)")


def _times(options: argparse.Namespace) -> None:
    notebooks = options.notebooks or sorted(Path("_build/executed").glob("*.ipynb"))
    if not notebooks:
        raise FileNotFoundError("no notebook was executed here yet: make book")
    for notebook in sorted(notebooks, key=notebook_run.seconds, reverse=True):
        print(f"{notebook_run.seconds(notebook):6.1f} s  {notebook.stem}")
        for cell in notebook_run.cell_times(notebook)[: options.cells]:
            print(f"{cell.seconds:12.1f} s  [{cell.number}] {cell.line[:70]}")
    print(f"{sum(map(notebook_run.seconds, notebooks)):6.1f} s  in all, side by side")


def _claims(options: argparse.Namespace) -> None:
    from envae.companion import claims

    table = claims.table()
    choices = {
        "paper": list(claims.PAPERS),
        "kind": list(claims.KINDS),
        "verdict": list(claims.VERDICTS),
    }
    for column, known in choices.items():
        wanted = getattr(options, column)
        if wanted is None:
            continue
        if wanted not in known:
            raise ValueError(unknown(column, wanted, known))
        table = table[table[column] == wanted]
    if table.empty:
        print("no claim is of this choice")
    for claim, row in table.iterrows():
        print(f"{claim}  [{row.verdict}]  {row.paper}, {row.place}")
        print(f"    {row.statement}")
        print(f"    {row.evidence} ({row.notebook})")
        if row.tried_on:
            print(f"    tried on {row.tried_on}")
    for ours, said in ((False, "of the papers"), (True, "of this book's own")):
        for kind, of_kind in table[table["ours"] == ours].groupby("kind", sort=False):
            counts = of_kind["verdict"].value_counts().items()
            print(
                f"{len(of_kind)} {kind}s {said}, {claims.findings(of_kind)} findings: "
                + ", ".join(f"{count} {verdict}" for verdict, count in counts)
            )


def _evidence(options: argparse.Namespace) -> None:
    from envae.companion import queue

    if options.jobs is not None and options.jobs < 1:
        raise ValueError(f"--jobs takes an integer from 1 up, received {options.jobs}")
    tasks = queue.Queue(options.file, _given(options))
    jobs = options.jobs or queue.default_jobs()
    (queue.run if options.run else queue.show)(tasks, jobs)


_FEW = 3000  # files, which are read again in seconds


def _compare(options: argparse.Namespace) -> None:
    with extra("book"):
        import seaborn as _  # noqa: F401  # before minutes of training
    from envae.companion import compare
    from envae.objectives.base import check_positive

    check_positive(minutes=options.minutes)
    folder = Path(os.path.realpath(os.path.expanduser(options.folder)))
    if sum(1 for _ in itertools.islice(folder.rglob("*"), _FEW)) < _FEW:
        compare.load(folder, options.size)  # what is wrong with few images is told at once
    output = options.output or Path("_build") / "compare" / folder.name
    if output.resolve().is_relative_to(folder):
        raise ValueError(
            f"{output} lies in {folder}, whose images the page's own would be among: give another "
            "place by -o"
        )
    os.environ["ENVAE_RUNS"] = str(output.absolute() / "runs")
    executed = output / "compare.ipynb"
    given = {"folder": folder, "minutes": options.minutes, "size": options.size}
    try:
        notebook_run.run(
            compare.NOTEBOOK,
            executed,
            profile=notebook_run.QUICK,
            given={name: str(value) for name, value in given.items()},
            printed=sys.stdout,
        )
    except KeyboardInterrupt:
        raise notebook_run.Stopped(
            f"{output / 'runs'} keeps what was trained, and the same command goes on with it"
        ) from None
    compare.page(executed, output / "page.html")
    print(f"{output / 'page.html'}: the page; the same command goes on with what is left")


def _data(options: argparse.Namespace) -> None:
    from envae import datasets
    from envae.companion.notebook_parameters import Parameter

    known = {
        name: Parameter(name, getattr(kind, "__name__", str(kind)), kind, default=None, comment="")
        for name, kind in datasets.options_of(options.name).items()
    }
    given: dict[str, Any] = {
        name: known[name].parse(text) if name in known else text
        for name, text in _given(options).items()
    }
    try:
        data = datasets.load(options.name, **given)
    except FileNotFoundError:
        if options.name not in datasets.DOWNLOADS:
            raise
        datasets.download(options.name)
        data = datasets.load(options.name, **given)
    shape = " x ".join(map(str, data.image_shape))
    print(f"{data.name}: {len(data.train)} training and {len(data.test)} test images of {shape}")
    print(f"{data.place}; checksum {data.checksum}")
