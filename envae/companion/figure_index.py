"""The index of the papers' figures and tables: where in the book each is, or why it is not."""

import re
from pathlib import Path

import pandas as pd

from envae import _checkout
from envae.companion import _yaml

_FIELDS = ("paper", "name", "shows")
_COLUMNS = (*_FIELDS, "places", "limits")
_NUMBER = r"(?:[A-Z]\.)?\d+(?!\.?\d)"  # 7 or D.3, and not the 4 of 4.1
_AND = r"(?:,|,? and) "
_PANELS = rf"(?:[a-z]\b(?:(?:[-–]|{_AND})[a-z]\b)*|\([a-z]\))?"  # 4a, 4a-c, 4(a)
_RANGE = rf"({_NUMBER}){_PANELS}(?: ?[-–] ?({_NUMBER}){_PANELS})?"
_ITEM = re.compile(_RANGE)
_NAMED = re.compile(rf"\b(?P<kind>Fig|Table)(?:ure)?s?\.? (?P<numbers>{_RANGE}(?:{_AND}{_RANGE})*)")


def load(path: Path | None = None) -> pd.DataFrame:
    """Every figure and table of both papers, in their order.

    Returns
    -------
    DataFrame
        `paper`; `name`, such as `Figure D.3`; `shows`, what is on it; `places`, a list of pages
        with or without a label (`notebooks/12_fenvae_examined#fig-walk`); `limits`, what differs
        from the paper's or is missing, and why, or an empty text.

    Raises
    ------
    ValueError
        If the file is no list of entries, or an entry lacks a field, or a place and a reason both,
        or has an unknown key.
    """
    path = path or _checkout.root() / "data" / "figures.yaml"
    entries = _yaml.entries(path, "paper: xu2025", "name", _COLUMNS)
    for entry in entries:
        missing = [field for field in _FIELDS if not entry.get(field)]
        if missing:
            raise ValueError(f"{path}: {entry.get('name', entry)} lacks {missing}")
        if not entry.get("places") and not entry.get("limits"):
            raise ValueError(f"{path}: {entry['name']} has neither a place nor a reason (limits)")
    rows = [[*map(entry.get, _FIELDS), entry.get("places", []), entry.get("limits", "")]
            for entry in entries]  # fmt: skip
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def named(place: str) -> list[str]:
    """Figures and tables that a place in a paper names, each once; panels of a figure are it.

    >>> named("Figs. 2 and 7-9, Sec. 4.2, Table 1, Figures D.4–D.5")
    ['Figure 2', 'Figure 7', 'Figure 8', 'Figure 9', 'Table 1', 'Figure D.4', 'Figure D.5']

    Raises
    ------
    ValueError
        If a range goes backwards, or from one appendix to another.
    """
    found = []
    for match in _NAMED.finditer(place):
        kind = "Table" if match["kind"] == "Table" else "Figure"
        for first, last in _ITEM.findall(match["numbers"]):
            found += [f"{kind} {number}" for number in _through(first, last)]
    return list(dict.fromkeys(found))


def _through(first: str, last: str) -> list[str]:
    """Numbers of a range; its end may leave the appendix out, as in D.4-6."""
    if not last:
        return [first]
    *appendix, start = first.split(".")
    *same, end = last.split(".")
    if (same and same != appendix) or int(end) < int(start):
        raise ValueError(f"the range {first}-{last} does not say what is in it: name each")
    return [".".join([*appendix, str(number)]) for number in range(int(start), int(end) + 1)]


def claims_about(ledger: pd.DataFrame, paper: str, name: str) -> pd.DataFrame:
    """The claims of a ledger whose place names a figure or table of a paper."""
    about = ledger["place"].map(lambda place: name in named(place))
    return ledger[(ledger["paper"] == paper) & about]
