"""The papers' tables as they print them: numbers of the kind `published`."""

import hashlib
import io
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from envae import _checkout
from envae._unknown import unknown


def table(paper: str, number: str | int) -> pd.DataFrame:
    """One table of a paper in long format.

    Parameters
    ----------
    paper
        `"xu2025"` or `"takida2022"`.
    number
        As the paper counts: `1`, `"7"`, `"E8"`.

    Returns
    -------
    DataFrame
        Columns `row`, `dataset`, `metric`, `value`, `unit`, `note` (what was unclear in the
        source). Values are text where the paper prints a formula.

    Raises
    ------
    ValueError
        If there is no such table, or its file is not as it was transcribed, by its checksum.
    """
    return _read(f"{paper}_table{number}")


def printed(name: str) -> pd.DataFrame:
    """A published table with the digits it was printed with.

    Parameters
    ----------
    name
        File in `data/published/` without its ending: `"xu2025_table1"`, `"takida2022_prose"`.

    Returns
    -------
    DataFrame
        The file's columns, `value` as a float; beside it `text`, the value as it is printed, and
        `half_unit`, half a unit of its last printed digit. Cells without a value are dropped.

    Raises
    ------
    ValueError
        If there is no such file, it is not as it was transcribed, or a value is no number.
    """
    frame = _read(name, dtype=str, keep_default_na=False).rename(columns={"value": "text"})
    frame = frame[frame["text"] != ""].reset_index(drop=True)
    try:
        return frame.assign(value=frame["text"].map(float), half_unit=frame["text"].map(half_unit))
    except ValueError as error:
        raise ValueError(f"{name}.csv holds a value that is no number: {error}") from error


def wide(name: str, dataset: str | None = None) -> pd.DataFrame:
    """A published table with a row for each row and a column for each metric, in its order.

    Columns are `(dataset, metric)`, or `metric` alone if one `dataset` is asked for. Cells that the
    paper leaves empty are NaN.
    """
    frame = printed(name)
    if dataset is not None:
        frame = frame[frame["dataset"] == dataset]
        return frame.pivot(index="row", columns="metric", values="value").loc[
            frame["row"].unique(), frame["metric"].unique()
        ]
    cells = frame.set_index(["row", "dataset", "metric"])["value"]
    return cells.unstack(["dataset", "metric"], sort=False).loc[frame["row"].unique()]


def half_unit(text: str) -> float:
    """Half a unit of the last digit of a printed number: 0.005 for `0.10`, 0.5e-4 for `9.56e-2`."""
    exponent = Decimal(text).as_tuple().exponent
    if not isinstance(exponent, int):  # a letter tells infinity and not-a-number
        raise ValueError(f"needs a finite number, received {text!r}")
    return 0.5 * 10.0**exponent


def _read(name: str, **options: Any) -> pd.DataFrame:
    """A file of `data/published/`."""
    folder = _checkout.root() / "data" / "published"
    path = folder / f"{name}.csv"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.csv"))
        raise ValueError(unknown("published table", name, known))
    content = path.read_bytes().replace(b"\r\n", b"\n")  # as git may have it elsewhere
    found, expected = hashlib.sha256(content).hexdigest(), _transcribed(folder, path.name)
    if found != expected:
        raise ValueError(
            f"{path} ({len(content)} bytes) is not as it was transcribed: its SHA-256 is {found}, "
            f"not {expected}; get it from the repository again, or, if it was corrected, "
            f"{_WRITE_ANEW}"
        )
    return pd.read_csv(io.BytesIO(content), **options)


_SUMS = "SHA256SUMS"  # of the tables
_WRITE_ANEW = f"write `sha256sum *.csv > {_SUMS}` there"


def _transcribed(folder: Path, name: str) -> str:
    """Checksum that a table of `data/published/` should have."""
    path = folder / _SUMS
    sums = {}
    lines = path.read_bytes().decode(errors="replace").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        told = re.fullmatch(r"([0-9a-f]{64}) [ *](\S+\.csv)", line)
        if told is None:
            raise ValueError(
                f"{path} is damaged: line {number} holds no checksum of a table; get it from the "
                f"repository again, or {_WRITE_ANEW}"
            )
        sums[told[2]] = told[1]
    if name not in sums:
        raise ValueError(
            f"{path} holds no checksum of {name}: get both from the repository again, or, if the "
            f"table is your own, {_WRITE_ANEW}"
        )
    return sums[name]
