"""The index of the papers' figures and tables: where in the book each is, or why it is not."""

import re
from pathlib import Path

import pandas as pd
import yaml

from envae import _checkout

_FIELDS = ("paper", "name", "shows")
_NUMBER = r"(?:[A-Z]\.)?\d+"  # 7, D.3
_NAMED = re.compile(rf"\b(Fig|Table)s?\.? ({_NUMBER}[a-z]?(?:(?:, |-){_NUMBER}[a-z]?)*)")


def load(path: Path | None = None) -> pd.DataFrame:
    """Every figure and table of both papers, in their order.

    Returns
    -------
    DataFrame
        `paper`; `name`, such as `Figure D.3`; `shows`, what is on it; `places`, a list of pages
        with or without a label (`notebooks/06_fenvae_examined#fig-walk`); `limits`, what differs
        from the paper's or is missing, and why, or an empty text.

    Raises
    ------
    ValueError
        If an entry lacks a field, or has neither a place nor a reason.
    """
    path = path or _checkout.root() / "data" / "figures.yaml"
    entries = yaml.safe_load(path.read_text())
    for entry in entries:
        missing = [field for field in _FIELDS if not entry.get(field)]
        if missing:
            raise ValueError(f"{path}: {entry.get('name', entry)} lacks {missing}")
        if not entry.get("places") and not entry.get("limits"):
            raise ValueError(f"{path}: {entry['name']} has neither a place nor a reason (limits)")
    columns = [*_FIELDS, "places", "limits"]
    rows = [[*map(entry.get, _FIELDS), entry.get("places", []), entry.get("limits", "")]
            for entry in entries]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def named(place: str) -> list[str]:
    """Figures and tables that a place in a paper names.

    >>> named("Figs. 2, 7-9, Sec. 4.2, Tables 1, E.8")
    ['Figure 2', 'Figure 7', 'Figure 8', 'Figure 9', 'Table 1', 'Table E.8']
    """
    found = []
    for kind, numbers in _NAMED.findall(place):
        for part in re.sub("[a-z]", "", numbers).split(", "):
            first, _, last = part.partition("-")
            several = range(int(first), int(last) + 1) if last else [first]
            found += [f"{'Figure' if kind == 'Fig' else kind} {number}" for number in several]
    return found


def claims_about(ledger: pd.DataFrame, paper: str, name: str) -> pd.DataFrame:
    """The claims of a ledger whose place names a figure or table of a paper."""
    about = ledger["place"].map(lambda place: name in named(place))
    return ledger[(ledger["paper"] == paper) & about]
