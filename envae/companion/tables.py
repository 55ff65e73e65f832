"""Tables for a page: a caption, all rows and columns, the best values, where records lie."""

import dataclasses
import re
from collections.abc import Hashable, Iterable
from functools import cached_property
from html import escape

import pandas as pd

from envae._unknown import unknown
from envae.experiments import records

NOTHING = "–"
_NUMBER = re.compile(r"\s*([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)")
_COMMITS = 3  # that a line names one by one


@dataclasses.dataclass(frozen=True)
class Captioned:
    """A table as a page shows it; the book numbers it.

    Cells are shown as text: floats with `digits` digits after the point, booleans as yes and no,
    what is missing as a dash. Columns of nothing but dashes are left out.

    Parameters
    ----------
    table
        Its index and its axes' names become heads too.
    caption
        What the table shows, with data, network, training and seeds; text without formulas.
    low, high
        Columns whose lowest or highest number is marked as the best one, by their whole label or,
        where columns stand in groups, by its last part, which marks one in each group. A cell's
        number is what its text begins with.
    apart
        Rows that are no competitors, such as a floor.
    recorded
        Experiments whose records the table is made of: a line below tells how many there are,
        commits, days, devices, and their folders.
    digits
        Of floats, after the point.

    Raises
    ------
    ValueError
        If a column or a row that is named is not in the table, or an experiment has no record.
    """

    table: pd.DataFrame
    caption: str
    low: Iterable[Hashable] = ()
    high: Iterable[Hashable] = ()
    apart: Iterable[Hashable] = ()
    recorded: Iterable[str] = ()
    digits: int = 2

    def __post_init__(self) -> None:
        for field in ("low", "high", "apart", "recorded"):  # an iterator could be read once only
            object.__setattr__(self, field, tuple(getattr(self, field)))
        known = [*self.table.columns, *(_last(column) for column in self.table.columns)]
        for name in (*self.low, *self.high):
            if name not in known:
                raise ValueError(unknown("column", str(name), map(str, dict.fromkeys(known))))
        for name in self.apart:
            if name not in self.table.index:
                raise ValueError(unknown("row", str(name), map(str, self.table.index)))

    @cached_property
    def text(self) -> pd.DataFrame:
        """The cells as they are shown, without empty columns."""
        shown = self.table.astype(object).map(self._as_text)
        return shown.loc[:, ~(shown == NOTHING).all()]

    def _as_text(self, value: object) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if pd.api.types.is_scalar(value) and pd.isna(value):
            return NOTHING
        return f"{value:.{self.digits}f}" if isinstance(value, float) else str(value)

    def best(self) -> pd.DataFrame:
        """Whether each cell of :attr:`text` is marked: lowest or highest of its column."""
        text = self.text
        marked = pd.DataFrame(False, index=text.index, columns=text.columns)
        competing = ~text.index.isin(list(self.apart))
        for place, column in enumerate(text.columns):
            for names, extreme in ((self.low, "min"), (self.high, "max")):
                if column in names or _last(column) in names:
                    numbers = text.iloc[:, place].map(_number).where(competing)
                    marked.iloc[:, place] = numbers == getattr(numbers, extreme)()
        return marked

    @cached_property
    def _about(self) -> list[str]:
        """What the caption and the lines below say, as text."""
        marks = ["Bold: the best of its column."] if self.low or self.high else []
        return [" ".join([self.caption, *marks]), *map(source, self.recorded)]

    def __repr__(self) -> str:
        caption, *sources = self._about
        return "\n".join([caption, self.text.to_string(), *sources])

    def _repr_html_(self) -> str:
        caption, *sources = map(escape, self._about)
        cells = self.text.map(escape)
        cells = cells.where(~self.best(), "<strong>" + cells + "</strong>")
        cells = _in_corner(cells.rename(index=_escaped, columns=_escaped))
        cells = cells.rename_axis(index=_escaped, columns=_escaped)
        table = cells.to_html(escape=False, border=0)
        lines = [f'<p class="recorded">{_with_folder(line)}</p>' for line in sources]
        # Wide tables scroll by themselves, which is done from the keyboard too.
        region = '<div class="scrolling" role="region" tabindex="0" aria-label="Table">'
        head = f'<figure class="captioned">\n<figcaption>{caption}</figcaption>'
        return "\n".join([head, f"{region}{table}</div>", *lines, "</figure>"])


def source(experiment: str) -> str:
    """A line on an experiment's records: how many, commits, days, devices, folder.

    Raises
    ------
    ValueError
        If it has none.
    """
    found = records.load(experiment)
    if found.empty:
        raise ValueError(f"{experiment!r} has no records")
    commits = sorted({commit[:7] for commit in found["commit"]})
    told = f"{len(commits)} commits" if len(commits) > _COMMITS else ", ".join(commits)
    days = sorted({date[:10] for date in found["date"]})
    on = f"on {days[0]}" if len(days) == 1 else f"from {days[0]} to {days[-1]}"
    devices = ", ".join(sorted(set(found["device"])))
    runs = f"{len(found)} run{'' if len(found) == 1 else 's'}"
    return f"Recorded: {runs} at {told}, {on}, {devices}; data/runs/{experiment}"


def _in_corner(cells: pd.DataFrame) -> pd.DataFrame:
    """The index's name where a name of the columns would stand, which saves a row of heads."""
    if cells.index.nlevels > 1 or any(cells.columns.names):
        return cells
    names = [*cells.columns.names[:-1], cells.index.name]
    return cells.rename_axis(index=None, columns=names if len(names) > 1 else names[0])


def _with_folder(line: str) -> str:
    return re.sub(r"data/runs/\S+", r"<code>\g<0></code>", line)


def _last(column: Hashable) -> Hashable:
    return column[-1] if isinstance(column, tuple) else column


def _number(text: str) -> float:
    found = _NUMBER.match(text)
    return float(found[1]) if found else float("nan")


def _escaped(label: Hashable) -> Hashable:
    return escape(label) if isinstance(label, str) else label
