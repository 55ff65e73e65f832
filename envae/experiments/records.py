"""Run records: one run in, one JSON file out; and back as a table.

A record holds what was run (experiment, parameters), what came out (metrics with their units,
curves) and where (the manifest). Its file name is a hash of experiment and parameters, so that a
sweep finds what it has already done.
"""

import datetime
import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envae import _checkout
from envae._files import check_room as _check_room
from envae._files import whole

if TYPE_CHECKING:
    import pandas as pd

# What a measurement gives: the unit beside each value.
Values = dict[str, tuple[float, str]]

PACKAGES = ("envae", "torch", "numpy", "lightning-fabric", "scikit-learn", "pytorch-fid")
CURVE_POINTS = 200  # a curve is thinned to about as many points before it is stored


def folder() -> Path:
    """Where records are written and read: `$ENVAE_RUNS`, else `data/runs` of the checkout."""
    if configured := os.environ.get("ENVAE_RUNS"):
        return Path(configured)
    try:
        return _committed(_checkout.root())
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}, or set $ENVAE_RUNS to a folder for records") from None


def places() -> list[Path]:
    """Where records are read: `data/runs` of the checkout, then :func:`folder` if it is another.

    Outside of a checkout, :func:`folder` alone.
    """
    here = _checkout.here()
    committed = [] if here is None else [_committed(here)]
    return list(dict.fromkeys([*committed, folder()]))


def _committed(checkout: Path) -> Path:
    return checkout / "data" / "runs"


def within(place: Path, experiment: str) -> Path:
    """Folder of an experiment in a place.

    Raises
    ------
    ValueError
        If the experiment's name would lead out of it, or into a folder of its own.
    """
    if experiment in ("", ".", "..") or set(experiment) & set("/\\\0"):
        raise ValueError(f"an experiment's name is the name of a folder, received {experiment!r}")
    return place / experiment


def key(experiment: str, parameters: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that stand for one point of an experiment.

    Equal parameters have one key, however a number was written: 1 and 1.0 are the same.
    """
    content = [experiment, _one_kind_of_number(parameters)]
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _one_kind_of_number(value: Any) -> Any:
    """The same JSON value with whole numbers as integers."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: _one_kind_of_number(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_one_kind_of_number(part) for part in value]
    return value


def save(
    experiment: str,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    *,
    units: Mapping[str, str] | None = None,
    seconds: float | None = None,
    curves: Mapping[str, Iterable[float]] | None = None,
    data_checksum: str | None = None,
) -> Path:
    """Write one run as `<folder>/<experiment>/<key>.json`, whole or not at all.

    Parameters
    ----------
    experiment
        Name of the experiment, which is also the name of the folder.
    parameters
        Everything that tells this run from another, the seed included. JSON values only.
    metrics, units
        Results and, for each of them, its unit (`"nats per image"`, `"FD (digits-cnn)"`, ...). A
        metric without one is stored as `"unit not given"`.
    seconds
        Wall time of the run.
    curves
        Series over epochs; long ones are thinned.
    data_checksum
        Checksum of the data that were used, as `datasets` gives it.

    Raises
    ------
    ValueError
        If the experiment's name is none of a folder, a metric is not finite, there is a unit for a
        metric that is not there, or two columns of :func:`load` would have one name.
    TypeError
        If a parameter is not a JSON value.
    """
    units = units or {}
    _check_names(parameters, metrics)
    if unknown := sorted(set(units) - set(metrics)):
        raise ValueError(f"units for {unknown}, but the metrics are {sorted(metrics)}")
    not_finite = {name: value for name, value in metrics.items() if not math.isfinite(value)}
    if not_finite:
        raise ValueError(f"metrics must be finite numbers, received {not_finite}")
    record = {
        "experiment": experiment,
        "parameters": dict(parameters),
        "metrics": {name: float(value) for name, value in metrics.items()},
        "units": {name: units.get(name, "unit not given") for name in metrics},
        "curves": {name: _thin(values) for name, values in (curves or {}).items()},
        "manifest": manifest() | {"seconds": seconds, "data": data_checksum},
    }
    path = within(folder(), experiment) / f"{key(experiment, parameters)}.json"
    write(path, record)
    return path


def check_room(experiment: str) -> None:
    """Raise an OSError that names an experiment's folder, if no record can be written there."""
    _check_room(within(folder(), experiment))


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all; its folder is made if it is not there."""
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def save_values(
    experiment: str, parameters: Mapping[str, Any], values: Values, **about: Any
) -> dict[str, float]:
    """Write one run whose metrics come as pairs of value and unit; give back the values alone.

    `about`: the other arguments of :func:`save`.
    """
    metrics = {name: value for name, (value, _) in values.items()}
    units = {name: unit for name, (_, unit) in values.items()}
    save(experiment, parameters, metrics, units=units, **about)
    return metrics


def check_done(rows: "pd.DataFrame", experiment: str) -> None:
    """Raise a LookupError if :func:`load` found no record of some of the runs expected."""
    if not rows["done"].all():
        count = (~rows["done"]).sum()
        raise LookupError(f"{count} of {len(rows)} runs of {experiment!r} have no record")


def load(experiment: str, expected: Iterable[Mapping[str, Any]] | None = None) -> "pd.DataFrame":
    """All records of an experiment, one row each.

    Records of the checkout, in `data/runs`, and those in `$ENVAE_RUNS`, which come first where a
    run is recorded in both.

    Parameters
    ----------
    experiment
        Name of the experiment.
    expected
        Parameters of every run that should be there; no other record is read. The rows come in
        this order. The runs that are missing are rows with `done = False` and no metrics, so that
        a table names them instead of hiding them.

    Returns
    -------
    DataFrame
        Columns: `done`, `key`, the parameters, the metrics, and `device`, `date`, `commit`,
        `seconds` of the manifest.

    Raises
    ------
    ValueError
        If a file is not a whole record, or that of another point.
    """
    import pandas as pd  # slow to import, and not needed to write a record

    if expected is None:
        files = {
            path.stem: path
            for place in places()
            for path in sorted(within(place, experiment).glob("*.json"))
        }
        return pd.DataFrame([_row(path) for path in files.values()])
    rows = []
    for parameters in expected:
        name = key(experiment, parameters)
        there = file(experiment, f"{name}.json")
        missing = {"done": False, "key": name} | dict(parameters)
        rows.append(missing if there is None else _row(there))
    # Columns of a table without rows too, so that it can be asked which of its rows are done.
    empty = pd.DataFrame(columns=["done", "key", *_ORIGIN]).astype({"done": bool})
    return pd.DataFrame(rows) if rows else empty


def curves(experiment: str, name: str) -> dict[str, list[float]]:
    """The thinned curves of a record, by its key.

    Raises
    ------
    FileNotFoundError
        If there is no such record.
    """
    path = file(experiment, f"{name}.json")
    if path is None:
        raise FileNotFoundError(f"{experiment} has no record {name}")
    with told_as_damaged(path):
        return json.loads(path.read_text(encoding="utf-8"))["curves"]


def file(experiment: str, name: str) -> Path | None:
    """A file in an experiment's folder, such as `<key>.json`; of `$ENVAE_RUNS` if it is in both."""
    possible = [within(place, experiment) / name for place in reversed(places())]
    return next((path for path in possible if path.exists()), None)


def _row(path: Path) -> dict[str, Any]:
    """A record as a row of a table."""
    with told_as_damaged(path):
        record = json.loads(path.read_text(encoding="utf-8"))
        parameters, metrics = record["parameters"], record["metrics"]
        origin = {name: record["manifest"][name] for name in _ORIGIN}
        _check_names(parameters, metrics)
        if metrics.keys() != record["units"].keys():
            raise ValueError(f"metrics {[*metrics]}, but units for {[*record['units']]}")
        if not_finite := {name: value for name, value in metrics.items() if not _finite(value)}:
            raise ValueError(f"metrics are no finite numbers: {not_finite}")
        if path.stem != key(path.parent.name, parameters):
            raise ValueError("its name is that of another point")
        return {"done": True, "key": path.stem} | parameters | metrics | origin


def _finite(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _check_names(parameters: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Raise a ValueError if a column of a table would have to be two things."""
    own = {"done", "key", *_ORIGIN}
    if taken := sorted((own | set(parameters)) & set(metrics) | own & set(parameters)):
        raise ValueError(f"parameters, metrics and {sorted(own)} need names of their own: {taken}")


@contextmanager
def told_as_damaged(path: Path) -> Iterator[None]:
    """Turn what goes wrong in reading a file of an experiment into one line that names it.

    Raises
    ------
    ValueError
        If the file is none, is not text in UTF-8 or lacks something.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a whole run record ({error}): remove it") from error


_ORIGIN = ("device", "date", "commit", "seconds")


def manifest() -> dict[str, Any]:
    """Where and with what this process runs: commit, date, device, versions.

    The commit is empty, and whether the code differs from it None, where this is no checkout of its
    own: without git, unpacked into another repository, or installed and used within a checkout.
    """
    own = _checkout.here()
    if own is not None and (
        (own / "envae").resolve() != _PACKAGE
        or _git(own, "rev-parse", "--show-toplevel") != str(own.resolve())
    ):
        own = None
    # Whatever the user's own settings say of files that are not tracked.
    asked = ("status", "--porcelain", "--untracked-files=normal", "--", *_CODE)
    changes = _git(own, *asked) if own else None
    return {
        "commit": _git(own, "rev-parse", "HEAD") or "" if own else "",
        "dirty": None if changes is None else bool(changes),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": device_name(),
        "python": platform.python_version(),
        "packages": _versions(),
    }


_PACKAGE = Path(__file__).resolve().parents[1]
# What decides a result. Notebooks and records are left out: `make refresh` itself rewrites them.
_CODE = ("envae", "data/features", "data/published", "data/claims.yaml", "requirements.lock")


def device_name() -> str:
    """Name of the accelerator, or of the processor with the number of its cores."""
    # torch takes a second to import, and where no driver is there is nothing to ask it.
    driver = any(Path("/dev").glob("nvidia*")) or any(Path("/dev").glob("kfd"))
    if driver or "torch" in sys.modules or sys.platform != "linux":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {os.cpu_count()} cores"


def _git(checkout: Path, *arguments: str) -> str | None:
    """Output of a git command in the checkout; None where there is no git or no answer."""
    # A hook of another repository, or its `git rebase --exec`, has variables that lead to that one.
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        result = subprocess.run(
            ["git", *arguments],
            cwd=checkout,
            env=own,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


@functools.cache
def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _thin(values: Iterable[float]) -> list[float]:
    """At most about `CURVE_POINTS` of the values, evenly spaced, the last one always kept."""
    values = [float(value) for value in values]
    step = math.ceil(len(values) / CURVE_POINTS) or 1
    return values[:-1:step] + values[-1:]
