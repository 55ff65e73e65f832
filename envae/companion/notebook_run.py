"""Run a notebook with parameters: papermill, with checks before and nothing half-done after."""

import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TextIO

from envae._files import check_room, whole
from envae._unknown import extra, unknown
from envae.companion import _yaml, notebook_parameters
from envae.companion.notebook_parameters import Parameter

QUICK = "quick"  # the profile without a file: the defaults in the parameters cell

# With glibc's defaults every large tensor is mapped and unmapped anew, and its page faults cost
# a CPU training a third of its time. The kernel must find these set when it starts.
_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}


_STARTS_WITHIN = 600  # seconds: torch may come over a slow network


class RunError(Exception):
    """What was asked for cannot be run; the message is one line for the user."""


class CellError(Exception):
    """A cell raised; the message is one line for the user."""


class Stopped(KeyboardInterrupt):
    """The user stopped what leaves something behind; the message is one line that says what."""


def run(
    notebook: Path,
    output: Path,
    *,
    profile: str,
    given: Mapping[str, str],
    printed: TextIO | None = None,
) -> dict[str, Any]:
    """Execute a notebook and write the result, whole or not at all.

    It runs in the working directory: relative paths, in parameters and in `$ENVAE_RUNS`, are the
    user's.

    Parameters
    ----------
    notebook
        The notebook; not changed.
    output
        Where the executed notebook goes. A file that is there is replaced at the very end.
    profile
        `quick`, or the name of a file `params/<notebook>.<profile>.yaml` beside the notebook.
    given
        Parameters on top of the profile, as the user typed them.
    printed
        Where what cells print is written at once as well.

    Returns
    -------
    dict
        What the output's metadata say of the run: profile, parameters, commit, date, device,
        seconds.

    Raises
    ------
    RunError
        If the profile or a parameter is unknown, or a value has the wrong type or is out of range;
        before anything is run, if the file is no notebook or the output cannot be written there.
    CellError
        If a cell raises.
    KeyboardInterrupt
        If the run is interrupted, by Ctrl-C or by SIGTERM.
    """
    values = _values(notebook, profile, given)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_empty_folders_removed(output))
        try:
            partial = stack.enter_context(whole(output))
            check_room(partial.parent)
        except OSError as error:
            raise RunError(f"cannot write {output}: {error}") from None
        stack.enter_context(terminable())
        try:
            with tempfile.TemporaryDirectory(prefix="envae-") as scratch:
                executed = Path(scratch) / "executed.ipynb"
                origin = _execute(notebook, executed, profile, values, printed)
                shutil.copyfile(executed, partial)
        except OSError as error:  # such as a full disk
            raise RunError(f"{notebook.stem}: {error}") from None
    return origin


@contextlib.contextmanager
def _empty_folders_removed(output: Path) -> Iterator[None]:
    """Folders that are made for an output go with it if there is none."""
    new = [folder for folder in output.absolute().parents if not folder.exists()]
    try:
        yield
    finally:
        for folder in new:
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()


def _values(notebook: Path, profile: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Checked values of the parameters that differ from the notebook's defaults."""
    known = declared(notebook)
    profiled = read_profile(notebook, profile)
    try:
        values = {
            name: notebook_parameters.find(name, known).check(profiled[name]) for name in profiled
        }
        values |= {name: notebook_parameters.find(name, known).parse(given[name]) for name in given}
        for name, value in values.items():
            known[name].check_written(value)
        _check_own_images(known, values)
        return values
    except ValueError as error:
        raise RunError(f"{notebook.stem}: {error}") from None


def _check_own_images(known: Mapping[str, Parameter], values: Mapping[str, Any]) -> None:
    """Raise a ValueError where a folder of images is asked for that would not be looked at."""
    defaults = {name: parameter.default for name, parameter in known.items()}
    data = values.get("dataset", defaults.get("dataset"))
    asked = data == _OWN_IMAGES
    if asked and "root" not in known:
        told = f"envae run 07 -p dataset {_OWN_IMAGES} -p root DIR"
        raise ValueError(f"it takes no images of your own; this does: {told}")
    if asked or "root" not in known:
        return
    changed = {name for name, value in values.items() if value != defaults[name]}
    if unused := [name for name in _OF_OWN_IMAGES if name in changed]:
        told = f"{', '.join(unused)} would not be used for the data set {data!r}"
        raise ValueError(f"{told}: add `-p dataset {_OWN_IMAGES}`")


_OWN_IMAGES = "imagefolder"
_OF_OWN_IMAGES = ("root", "size", "crop")  # parameters of it alone


def parameters(notebook: Path, profile: str, given: Mapping[str, str]) -> dict[str, Any]:
    """All parameters of a notebook under a profile, checked; arguments as in :func:`run`.

    Raises
    ------
    RunError
        If the profile or a parameter is unknown, or a value has the wrong type.
    """
    defaults = {name: parameter.default for name, parameter in declared(notebook).items()}
    return defaults | _values(notebook, profile, given)


def find(name: str) -> Path:
    """The notebook of a path, of a name in `notebooks/`, or of the beginning of one.

    Raises
    ------
    RunError
        If there is none, or more than one.
    """
    from envae import _checkout

    if Path(name).is_file():
        return Path(name)
    checkout = _checkout.here()
    if checkout is None:
        raise RunError(f"{name!r} is no path of a notebook, and names need the project's checkout")
    known = sorted((checkout / "notebooks").glob("*.ipynb"))
    found = [path for path in known if path.stem.startswith(name.removesuffix(".ipynb"))]
    if len(found) != 1:
        what = "is no notebook" if not found else "is the beginning of several notebooks"
        raise RunError(f"{name!r} {what}: known are {[path.stem for path in known]}, or a path")
    return found[0]


def declared(notebook: Path) -> dict[str, Parameter]:
    """The parameters that a notebook declares in its cell tagged `parameters`.

    Raises
    ------
    RunError
        If the file is no notebook, or its parameters cell declares none.
    """
    cells = read(notebook)["cells"]
    tagged = [cell for cell in cells if notebook_parameters.TAG in cell["metadata"].get("tags", [])]
    try:
        return notebook_parameters.declared("".join("".join(cell["source"]) for cell in tagged))
    except ValueError as error:
        raise RunError(f"{notebook}: {error}") from None


def seconds(notebook: Path) -> float:
    """What the run took whose outputs a notebook holds; 0 if it says nothing of it.

    Raises
    ------
    RunError
        If what it says is no number, or it is no notebook; names it.
    """
    metadata = read(notebook)["metadata"]
    with _told_as_broken(notebook, _NO_TIMES, _EXECUTE):
        return float(metadata.get("envae", {}).get("seconds", 0))


def priority(notebook: Path) -> float:
    """The higher, the earlier it begins: where others find their models, then what takes longest.

    What is begun last would be waited for alone.
    """
    return (_BEFORE_ALL if notebook.stem in _TRAINS_FOR_OTHERS else 0) + seconds(notebook)


_TRAINS_FOR_OTHERS = ("07_gpu_fid_experiments",)  # chapter 14 shows the same models
_BEFORE_ALL = 1e6


class CellTime(NamedTuple):
    """A cell's execution count, what it took, and its first line."""

    number: int
    seconds: float
    line: str


def cell_times(executed: Path) -> list[CellTime]:
    """Times of the cells of a notebook that `run` executed, the slowest first.

    Raises
    ------
    RunError
        If what a cell says is no time, or the file is no notebook; names it.
    """
    times = []
    for cell in read(executed)["cells"]:
        told = cell["metadata"].get("execution")
        if not told:
            continue
        with _told_as_broken(executed, _NO_TIMES, _EXECUTE):
            start, end = (
                datetime.fromisoformat(told[name])
                for name in ("iopub.execute_input", "shell.execute_reply")
            )
            line = "".join(cell["source"]).partition("\n")[0]
            times.append(CellTime(cell["execution_count"], (end - start).total_seconds(), line))
    return sorted(times, key=lambda cell: -cell.seconds)


_NO_TIMES, _EXECUTE = "does not say what its run took", "execute it again (envae run)"
_NO_NOTEBOOK, _COPY = "is not a notebook", "get another copy"
_FORMAT = 4  # of Jupyter's notebooks; older ones list no cells


def read(notebook: Path) -> dict[str, Any]:
    """Cells and metadata of a notebook's file.

    Raises
    ------
    RunError
        If it is no notebook; names it.
    """
    with _told_as_broken(notebook, _NO_NOTEBOOK, _COPY):
        document = json.loads(notebook.read_text(encoding="utf-8"))
        if document["nbformat"] != _FORMAT:
            raise ValueError(f"nbformat {document['nbformat']!r}, and {_FORMAT} is read here")
        if not all(map(_is_cell, document["cells"])):
            raise ValueError("what it lists as cells are none")
        return {"cells": document["cells"], "metadata": dict(document["metadata"])}


@contextlib.contextmanager
def _told_as_broken(notebook: Path, what: str, mend: str) -> Iterator[None]:
    """Where something is read that a notebook lacks, or has of another type.

    Raises
    ------
    RunError
        In place of what reading it raises: names the notebook, what is wrong, and the mend.
    """
    try:
        yield
    except KeyError as error:
        raise RunError(f"{notebook} {what} (it has no {error}): {mend}") from None
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RunError(f"{notebook} {what} ({error}): {mend}") from None


def _must_be_valid(notebook: Path) -> None:
    """Raise a RunError, which names it, for a notebook that papermill or a kernel cannot take."""
    import nbformat

    with _told_as_broken(notebook, _NO_NOTEBOOK, _COPY), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what nbformat mends by itself, such as ids of cells
        document = json.loads(notebook.read_text(encoding="utf-8"))
        json.dumps(document, ensure_ascii=False).encode()  # half a sign, escaped, is read as text
        try:
            nbformat.validate(document, version=_FORMAT, relax_add_props=True)
        except nbformat.ValidationError as error:
            raise ValueError(textwrap.shorten(error.message, 200, placeholder=" ...")) from None
        except AssertionError:  # nbformat's own
            raise ValueError("nbformat_minor is no integer") from None


def _is_cell(cell: Any) -> bool:
    """Whether it has what is asked of a cell here."""
    return (
        isinstance(cell, dict)
        and isinstance(cell["metadata"], dict)
        and isinstance(cell["metadata"].get("tags", []), list)
        and all(isinstance(line, str) for line in cell["source"])
        and all(isinstance(output, dict) for output in cell.get("outputs", []))
    )


def read_profile(notebook: Path, profile: str) -> dict[str, Any]:
    """Parameters of a profile; those of `quick` are the notebook's own defaults.

    Raises
    ------
    RunError
        If there is no such profile, or its file does not hold parameters.
    """
    if profile == QUICK:
        return {}
    stem = f"{notebook.stem}."
    files = sorted((notebook.parent / "params").glob(f"{stem}*.yaml"))
    known = {file.stem.removeprefix(stem): file for file in files}
    if profile not in known:
        raise RunError(f"{notebook.stem}: {unknown('profile', profile, [QUICK, *known])}")
    try:
        values = _yaml.read(known[profile]) or {}
    except ValueError as error:
        raise RunError(str(error)) from None
    if not isinstance(values, dict):
        raise RunError(
            f"{known[profile]} must hold lines like `epochs: 60`, not a {type(values).__name__}"
        )
    return values


@contextlib.contextmanager
def _environment_of_kernels() -> Iterator[None]:
    """What a kernel inherits: this Python's kernels, figures that are shown in pages, settings."""
    before = dict(os.environ)
    if sys.platform == "linux":
        for name, value in _MALLOC.items():
            os.environ.setdefault(name, value)
    # Frozen modules stop the kernel's debugger from working, and it says so on every start.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    # Whoever draws into windows or files elsewhere would get a page without pictures.
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    # Whatever the language of the system is: notebooks and records are UTF-8.
    os.environ["PYTHONUTF8"] = "1"
    # Its kernels may be of another Python, and so may those of the user.
    os.environ.pop("JUPYTER_PATH", None)
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    # Conclusions are assertions.
    os.environ.pop("PYTHONOPTIMIZE", None)
    try:
        # What the user runs and sets at home, such as other forms of figures, is not a chapter's.
        with tempfile.TemporaryDirectory(prefix="envae-home-") as home:
            settings = Path(home) / "matplotlibrc"
            settings.touch()
            os.environ |= {"IPYTHONDIR": home, "MATPLOTLIBRC": str(settings)}
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _execute(
    notebook: Path,
    executed: Path,
    profile: str,
    values: dict[str, Any],
    printed: TextIO | None,
) -> dict[str, Any]:
    """Run papermill and stamp the result with where it comes from."""
    with extra("book"):
        import nbformat
        import papermill
        from nbclient.exceptions import DeadKernelError

    _must_be_valid(notebook)
    from envae.experiments import records

    # It calls every parameter of a type that it cannot parse unknown; ours are checked above.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    # After Ctrl-C it would print the whole traceback of the cell that was running.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    manifest = records.manifest()
    start = time.perf_counter()
    try:
        with _environment_of_kernels():
            papermill.execute_notebook(
                _literally(notebook),
                _literally(executed),
                values,
                kernel_name="python3",
                language="python",
                progress_bar=_progress(notebook.stem),
                start_timeout=_STARTS_WITHIN,
                stdout_file=printed,
                extra_arguments=["--log-level=CRITICAL"],  # what a cell raises is reported below
            )
    except papermill.PapermillExecutionError as error:
        raise CellError(
            f"{notebook.stem}: cell {error.exec_count} raised {error.ename}: "
            f"{error.evalue.strip()} (open the notebook and run it there to see more)"
        ) from None
    except DeadKernelError:
        raise CellError(f"{notebook.stem}: the kernel died, perhaps out of memory") from None
    except RuntimeError as error:  # jupyter_client's, of a kernel that did not start
        raise CellError(f"{notebook.stem}: {error}") from None
    origin = {
        "profile": profile,
        "parameters": values,
        **{name: manifest[name] for name in ("commit", "dirty", "date", "device")},
        "seconds": round(time.perf_counter() - start, 1),
    }
    document = nbformat.read(executed, as_version=4)
    document.metadata["envae"] = origin
    for cell in document.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("hide-input")  # a reader sees the defaults above it
    _join_streams(document)
    _strip(document)
    nbformat.write(document, executed)
    return origin


def _literally(path: Path) -> str:
    """A path as papermill takes it, which fills in what stands in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _join_streams(document: Any) -> None:
    """Make one output of consecutive pieces of a stream: where they break depends on the load."""
    for cell in document.cells:
        joined: list[Any] = []
        for output in cell.get("outputs", []):
            last: Any = joined[-1] if joined else {}
            if output.output_type == "stream" and last.get("name") == output.name:
                last.text += output.text
            else:
                joined.append(output)
        if "outputs" in cell:
            cell.outputs = joined


def _strip(document: Any) -> None:
    """Remove the metadata that say nothing that `envae` and the times of the cells do not."""
    for metadata in (document.metadata, *(cell.metadata for cell in document.cells)):
        for key in ("papermill", "lines_to_next_cell"):
            metadata.pop(key, None)
        if metadata.get("tags") == []:
            del metadata["tags"]  # papermill adds it to every cell
    document.metadata.get("language_info", {}).pop("version", None)


def _progress(label: str) -> dict[str, Any]:
    """Options of papermill's bar: a bar on a terminal, else a line every few seconds."""
    if sys.stderr.isatty():
        return {"desc": label, "unit": "cell"}
    return {
        "desc": label,
        "mininterval": 5,
        "file": _Lines(),
        "bar_format": "{desc}  {percentage:3.0f} %  cell {n_fmt}/{total_fmt}  {elapsed}",
    }


class _Lines:
    """Stream that ends every state of a progress bar with a line break."""

    def write(self, text: str) -> None:
        text = text.strip("\r\n \x1b[A")
        if text:
            sys.stderr.write(text + "\n")

    def flush(self) -> None:
        sys.stderr.flush()


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into KeyboardInterrupt, so that it ends the kernel and clears up as well."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
