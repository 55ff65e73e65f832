"""Plant faults in envae/, one at a time, and see whether the tests of the module turn red.

    python tests/plant_faults.py envae/scores.py envae/training --faults 30 --seed 1

In a copy of the repository, which goes away; the working tree is never changed. A fault that no
test notices is a test that is missing, or no fault: what it does not change cannot be tested.
"""

import argparse
import ast
import contextlib
import hashlib
import importlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_MOST = 1200.0  # seconds that tests may take: who ends later goes round in circles
ROOT = Path(__file__).parents[1]
# Their modules register what the tests of the whole room, and others that import its `names`, ask
# for by name.
ROOMS = ("objectives", "datasets", "networks")
OTHER = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
IMPORTED = (
    "pandas", "scipy.stats", "sklearn.mixture", "sklearn.manifold", "sklearn.datasets", "torch",
    "lightning_fabric", "joblib", "nbformat",
    "pytorch_msssim", "scoringrules", "safetensors.torch", "skimage.metrics", "torch.distributions",
)  # fmt: skip
PAIRS = {"test": "train", "mean": "sum", "min": "max", "argmin": "argmax", "idxmin": "idxmax"}
# Arguments that decide where things lie in a figure or on a terminal, how large letters, marks and
# lines are, or what is checked besides: no result. Colours, names and limits are results. An
# encoding is asked of every call by `test_layers.py`, which imports none of what it reads.
SHOWN = {
    "strict", "progress", "desc", "disable", "stacklevel", "optimize", "pad", "w_pad", "ha", "va",
    "rotation", "figsize", "dpi", "shrink", "anchor", "help", "metavar", "xticks", "yticks",
    "lw", "ms", "linewidth", "markersize", "markerscale", "fontsize", "loc", "bbox_to_anchor",
    "ncols", "layout", "zorder", "rect", "encoding",
}  # fmt: skip
# Calls that draw, whose `alpha` says how opaque; elsewhere it is a weight.
DRAWING = {"plot", "scatter", "stairs", "fill_between", "axhline", "axvline", "errorbar"}
SWAPPED = PAIRS | {right: left for left, right in PAIRS.items()}


def shown(call: ast.AST) -> set[str]:
    """Arguments of a call that decide how something looks."""
    match call:
        case ast.Call(ast.Attribute(_, name)) if name in DRAWING:
            return SHOWN | {"alpha"}
    return SHOWN


def faults_at(node: ast.AST) -> Iterator[tuple[str, ast.AST | None]]:
    """Kinds of faults at a node, and what stands there instead; None is nothing."""
    match node:
        case ast.Compare(left, [operator], values) if type(operator) in OTHER:
            yield "comparison", ast.Compare(left, [OTHER[type(operator)]()], values)
        case ast.BinOp(left, operator, right) if type(operator) in OTHER:
            yield "operator", ast.BinOp(left, OTHER[type(operator)](), right)
        case ast.BoolOp(operator, values):
            yield "and/or", ast.BoolOp(OTHER[type(operator)](), values)
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            yield "sign", operand
        case ast.If(test) | ast.IfExp(test):
            yield "condition", ast.UnaryOp(ast.Not(), test)
        case ast.Constant(bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(int(value)):
            yield "constant", ast.Constant(value + 1)
        case ast.Constant(float(value)):
            yield "constant", ast.Constant(2 * value or 0.5)
        case ast.Constant(str(value)) if value in SWAPPED:
            yield "name", ast.Constant(SWAPPED[value])
        case ast.Attribute(value, name) if name in SWAPPED:
            yield "name", ast.Attribute(value, SWAPPED[name])
        case ast.Call(function, arguments, keywords):
            for index, keyword in enumerate(keywords):
                if keyword.arg not in shown(node):
                    left = keywords[:index] + keywords[index + 1 :]
                    yield "argument", ast.Call(function, arguments, left)
        case ast.Expr(ast.Call(ast.Attribute(_, "tight_layout"))):
            return
        case ast.AugAssign() | ast.Expr(ast.Call()):
            yield "statement", ast.Pass()
        case ast.Return(ast.Call(_, [first, *_])):
            yield "return", ast.Return(first)


class Fault(NamedTuple):
    """A place in a module, in bytes, and what stands there instead."""

    line: int
    function: str
    kind: str
    first: int
    last: int
    text: str

    def planted(self, source: bytes) -> bytes:
        return source[: self.first] + self.text.encode() + source[self.last :]


def faults_in(source: str) -> list[Fault]:
    """All faults of a module; a few of them may be no Python. No text of errors, no types."""
    found = []
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def visit(node: ast.AST, around: str, inside: str) -> None:
        if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
            return
        match node:  # as many at once, which are put together again: memory and time
            case ast.Call(ast.Attribute(_, "split") as method, [ast.Constant(int())], []):
                visit(method, around, inside)
                return
        for kind, new in faults_at(node):
            old = node.test if kind == "condition" else node  # type: ignore[attr-defined]
            first = starts[old.lineno - 1] + old.col_offset
            last = starts[old.end_lineno - 1] + old.end_col_offset
            text = ast.unparse(new) if isinstance(new, ast.stmt) else f"({ast.unparse(new)})"
            found.append(Fault(old.lineno, inside, kind, first, last, text))
        for name, value in ast.iter_fields(node):
            if isinstance(node, ast.ClassDef) and name == "body":
                around = f"{around}{node.name}."
            elif isinstance(node, ast.FunctionDef) and name == "body":
                inside = f"{around}{node.name}"
                around = f"{inside}.<locals>."
            if name not in ("annotation", "returns", "decorator_list"):
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.keyword) and child.arg in shown(node):
                        continue
                    if isinstance(child, ast.AST):
                        visit(child, around, inside)

    visit(ast.parse(source), "", "")
    return found


def tests_of(path: Path, root: Path) -> list[Path]:
    """Test files that import a module, or are in its room or ask for all of it; its own first."""
    *folders, stem = path.relative_to(root).with_suffix("").parts
    if stem.startswith("_") and len(folders) > 1:  # private, or a package
        *folders, stem = folders
    package = re.escape(".".join(folders))
    among = r"import (\([^)]*|[^#\n]*)"  # on one line, or in brackets
    imported = re.compile(
        rf"^\s*((from|import) {package}\.{stem}\b|from {package} {among}\b{stem}\b)", re.M
    )
    rooms = {*ROOMS} & {*folders, stem}
    named = re.compile(rf"^from envae\.({'|'.join(rooms) or '-'}) {among}\bnames\b", re.M)
    found = [
        file
        for file in sorted((root / "tests").rglob("test_*.py"))
        if file.parent.name in rooms
        or imported.search(text := file.read_text())
        or named.search(text)
    ]
    if not found:  # known to the package alone
        for other in sorted((root / "envae").rglob("*.py")):
            found += tests_of(other, root) if imported.search(other.read_text()) else []
    found.sort(key=lambda file: (file.stem != f"test_{stem}", file.parent.name not in ROOMS))
    return list(dict.fromkeys(found))


_PROCESSES = "other processes"  # among what a test calls: what is called there is not seen


def starts_python(code: types.CodeType, given: dict[str, Any]) -> bool:
    """Whether a call starts a process that may run envae/, or gives work to one; git does not."""
    if code.co_filename == subprocess.__file__ and code.co_qualname == "Popen.__init__":
        command = given["args"]
        return Path(command if isinstance(command, str | os.PathLike) else command[0]).name != "git"
    started = code.co_filename.endswith("multiprocessing/process.py") and code.co_name == "start"
    return started or code.co_filename.endswith("loky/reusable_executor.py")


_IMPORT = ""  # what a file calls when it is imported, among its tests


class _Watch:
    """Plugin of pytest: which functions of envae/ each test calls, and how long it takes."""

    def __init__(self, root: Path):
        self.package = f"{root / 'envae'}{os.sep}"
        self.root = root
        self.seen: dict[str, tuple[float, list[list[str]]]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Iterator[None]:
        with self._watching(_IMPORT):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        with self._watching(item.nodeid):
            return (yield)

    @contextlib.contextmanager
    def _watching(self, name: str) -> Iterator[None]:
        called: set[tuple[str, str]] = set()

        def trace(frame: types.FrameType, event: str, _: object) -> None:
            if frame.f_code.co_filename.startswith(self.package):
                called.add((frame.f_code.co_filename, frame.f_code.co_qualname))
            elif starts_python(frame.f_code, frame.f_locals):
                called.add((str(self.root / _PROCESSES), ""))

        began = time.perf_counter()
        threading.settrace(trace)
        sys.settrace(trace)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            functions = [[str(Path(file).relative_to(self.root)), at] for file, at in called]
            self.seen[name] = time.perf_counter() - began, functions


class _Chosen:
    """Plugin of pytest: without some tests, others last; the one that fails is written down."""

    def __init__(self, last: Sequence[str], without: Collection[str], failed: Path):
        self.place = {name: place for place, name in enumerate(last)}
        self.without, self.failed = without, failed

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        kept = [item for item in items if item.nodeid not in self.without]
        items[:] = sorted(kept, key=lambda item: self.place.get(item.nodeid, -1))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.write_text(report.nodeid, encoding="utf-8")


def _pytest(root: Path, files: Sequence[str], plugin: object, told: Path | None) -> None:
    os.setsid()
    os.chdir(root)
    sys.path.insert(0, str(root))
    os.environ["PYTHONPATH"] = str(root)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    status = pytest.main(["-qx", "-p", "no:cacheprovider", *files], plugins=[plugin])
    if told is not None and isinstance(plugin, _Watch):
        told.write_text(json.dumps(plugin.seen), encoding="utf-8")
    os._exit(status)


def end(
    root: Path, files: Sequence[str], plugin: object, seconds: float, told: Path | None = None
) -> str:
    """How tests end: `green`, `red`, or `late`."""
    arguments = (root, files, plugin, told)
    child = multiprocessing.get_context("fork").Process(target=_pytest, args=arguments)
    child.start()
    try:
        child.join(seconds)
        return "late" if child.exitcode is None else "red" if child.exitcode else "green"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.join()


class Tests:
    """The tests of a copy of the repository, and what is known of them.

    Parameters
    ----------
    root
        The copy.
    kept
        File with the seconds and the functions of tests, from run to run: those that are known not
        to call a function are not asked about it. A file of tests that has changed since is not
        known. None, and nothing is known.
    """

    def __init__(self, root: Path, kept: Path | None):
        self.root, self.kept = root, kept
        self.failed, self.faults = root / ".failed", 0
        self.known: dict[str, dict[str, tuple[float, list[list[str]]]]] = {}
        if kept is not None and kept.exists():
            before = json.loads(kept.read_text(encoding="utf-8"))
            same = {name: told for name, (of, told) in before.items() if of == self._sum(name)}
            self.known.update(same)

    def _sum(self, name: str) -> str:
        file = self.root / name
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""

    def learn(self, file: Path) -> None:
        """Run a file of tests as it is, and keep what it calls and takes."""
        name, told = str(file.relative_to(self.root)), self.root / ".told.json"
        if (
            name not in self.known
            and end(self.root, [name], _Watch(self.root), _MOST, told) == "green"
        ):
            self.known[name] = json.loads(told.read_text(encoding="utf-8"))
            if self.kept is not None:
                sums = {name: (self._sum(name), told) for name, told in self.known.items()}
                self.kept.write_text(json.dumps(sums), encoding="utf-8")

    def notice(self, module: Path, function: str, source: bytes) -> str:
        """How the tests of a module end with another source: `green`, `red`, or `late`.

        And those of other modules that are known to call the function. Red is a test that is green
        without it.

        Parameters
        ----------
        module
            The module, in the copy.
        function
            Qualified name of the function that is another; empty for all of the module.
        source
            What stands in the module meanwhile.
        """
        name = str(module.relative_to(self.root))
        files = [str(file.relative_to(self.root)) for file in tests_of(module, self.root)]
        calling = {
            test: seconds
            for file, tests in self.known.items()
            for test, (seconds, called) in tests.items()
            if any(where == name and at.startswith(function) for where, at in called)
        }
        # What a file calls when it is imported may turn each of its tests red: all are asked.
        whole = set(files) if calling.pop(_IMPORT, None) is not None else set(files) - {*self.known}
        without: set[str] = set()
        if calling:  # or else all are asked: nothing is known
            calling |= {
                test: seconds
                for file in files
                for test, (seconds, called) in self.known.get(file, {}).items()
                if [_PROCESSES, ""] in called
            }
            within = {test.partition("::")[0] for test in calling}
            files = [file for file in files if file in whole] + sorted(within - whole)
            without = {test for file in within - whole for test in self.known[file]} - {*calling}
        rest = (test for file in whole for test in self.known.get(file, {}) if test not in calling)
        last = [*sorted(calling, key=calling.__getitem__), *rest]
        while True:
            with self._planted(module, source):
                ended = self._end(files, last, without)
            if ended != "red" or not self.failed.exists():
                return ended
            told = self.failed.read_text(encoding="utf-8")
            if self._end([told], [], ()) == "green":
                return "red"
            print("left out, not green without a fault:", told, flush=True)
            without.add(told)

    @contextlib.contextmanager
    def _planted(self, module: Path, source: bytes) -> Iterator[None]:
        before = module.read_bytes()
        module.write_bytes(source)
        self.faults += 1
        os.utime(module, (self.faults, self.faults))  # or Python takes what it compiled before
        try:
            yield
        finally:
            module.write_bytes(before)

    def _end(self, files: Sequence[str], last: Sequence[str], without: Collection[str]) -> str:
        self.failed.unlink(missing_ok=True)
        return end(self.root, files, _Chosen(last, without, self.failed), _MOST)


def copy(to: Path) -> None:
    """The repository's files as they are now, without those that git ignores."""
    told = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, told.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="*", type=Path, default=[ROOT / "envae"])
    parser.add_argument("--faults", type=int, default=30, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which ones (default: %(default)s)")
    parser.add_argument(
        "--kept", type=Path,
        help="file for what tests call, from run to run: learnt first, of files that it lacks",
    )  # fmt: skip
    asked = parser.parse_args()
    for name in IMPORTED:  # once, for all children
        with contextlib.suppress(ImportError):
            importlib.import_module(name)

    modules = [
        file.resolve().relative_to(ROOT)
        for path in asked.paths
        for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])
    ]
    tested = [name for name in modules if tests_of(ROOT / name, ROOT)]
    print("without unit tests:", *(str(name) for name in modules if name not in tested))
    every = [(name, fault) for name in tested for fault in faults_in((ROOT / name).read_text())]
    drawn = []
    for name, fault in random.Random(asked.seed).sample(every, len(every))[: asked.faults]:
        with contextlib.suppress(SyntaxError):
            ast.parse(fault.planted((ROOT / name).read_bytes()))
            drawn.append((name, fault))
    print(f"{len(drawn)} of {len(every)} faults", flush=True)
    ends = {"red": 0, "late": 0, "green": 0}
    with tempfile.TemporaryDirectory(prefix="envae-faults-") as folder:
        root = Path(folder)
        copy(root)
        tests = Tests(root, asked.kept)
        if asked.kept is not None:
            for file in sorted({file for name, _ in drawn for file in tests_of(root / name, root)}):
                tests.learn(file)
        for name, fault in drawn:
            source = fault.planted((root / name).read_bytes())
            ended = tests.notice(root / name, fault.function, source)
            ends[ended] += 1
            changed = source.decode().splitlines()[fault.line - 1].strip()
            print(f"{ended:5}  {name}:{fault.line}  {fault.kind}: {changed}", flush=True)
    caught = ends["red"]  # a busy machine is late without a fault too
    print(f"{ends}: caught {caught} of {len(drawn)}, {caught / len(drawn):.0%}")


if __name__ == "__main__":
    main()
