"""The papers' tables as they print them: numbers of the kind `published`."""

import pandas as pd

from envae import _checkout

PAPERS = ("xu2025", "takida2022")


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
        If there is no such table.
    """
    folder = _checkout.root() / "data" / "published"
    path = folder / f"{paper}_table{number}.csv"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*_table*.csv"))
        raise ValueError(f"no table {number} of {paper!r}: known are {known}")
    return pd.read_csv(path, keep_default_na=True)
