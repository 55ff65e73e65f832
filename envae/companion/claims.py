"""The ledger: every checkable claim of both papers, and the verdicts that notebooks compute.

`data/claims.yaml` holds the claims and no verdict. A notebook settles the claims that are its own
in a :class:`Ledger`, whose last cell shows the verdicts; they are stored in the notebook's output,
and :func:`collect` reads them from there. So a verdict that no run computed cannot appear.
"""

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from envae import _checkout

HOLDS = "holds"
CAVEAT = "holds with a caveat"
FALSE = "does not hold as written"
NOT_RUN = "not run here"
OPEN = "open"
# A sign stands beside each verdict on a page: colour alone says nothing to many readers.
SIGNS = {HOLDS: "✓", CAVEAT: "≈", FALSE: "✗", NOT_RUN: "–", OPEN: "○"}
VERDICTS = tuple(SIGNS)

PAPERS = {"xu2025": "EnVAE", "takida2022": "AR-ELBO", "both": "Both papers"}
SCALES = ("closed form", "seconds", "minutes", "GPU")

MIME = "application/vnd.envae.claims+json"
_FIELDS = ("paper", "place", "statement", "scale", "notebook")


def load(path: Path | None = None) -> pd.DataFrame:
    """The claims of the ledger, indexed by id.

    Returns
    -------
    DataFrame
        Columns `paper`, `place`, `statement`, `scale`, `notebook`, in the file's order.

    Raises
    ------
    ValueError
        If a claim lacks a field or an id is given twice.
    """
    path = path or _checkout.root() / "data" / "claims.yaml"
    claims = yaml.safe_load(path.read_text())
    for claim in claims:
        missing = [field for field in ("id", *_FIELDS) if not claim.get(field)]
        if missing:
            raise ValueError(f"{path}: claim {claim.get('id', claim)} lacks {missing}")
    frame = pd.DataFrame(claims).set_index("id")
    if not frame.index.is_unique:
        twice = sorted(frame.index[frame.index.duplicated()])
        raise ValueError(f"{path}: these ids are given twice: {twice}")
    return frame[list(_FIELDS)]


class Ledger:
    """The verdicts of one notebook; shown as a table when it ends a cell.

    Parameters
    ----------
    notebook
        Name of the notebook without its ending, as `data/claims.yaml` writes it.
    """

    def __init__(self, notebook: str):
        claims = load()
        self.notebook = notebook
        self._claims = claims[claims["notebook"] == notebook]
        if self._claims.empty:
            known = sorted(claims["notebook"].unique())
            raise ValueError(f"no claim belongs to {notebook!r}; the ledger knows {known}")
        self._settled: dict[str, dict[str, str]] = {}

    def settle(
        self,
        claim: str,
        *,
        as_written: bool,
        corrected: bool | None = None,
        evidence: str | None = None,
        holds: str | None = None,
        caveat: str | None = None,
        fails: str | None = None,
    ) -> str:
        """Record the verdict on a claim from what was computed.

        The line of evidence cannot contradict the verdict: it is made of the values that decided
        (`evidence`, an f-string), or there is one for each verdict that the check could reach.

        Parameters
        ----------
        claim
            Id in the ledger.
        as_written
            Whether the check found the statement true as the paper writes it.
        corrected
            Whether it found true what the paper evidently meant: the statement with a condition
            added or a slip mended. Only looked at when `as_written` is false; None where there is
            no such reading.
        evidence
            One line that says what was found, with numbers coarse enough to be the same on any
            machine.
        holds, caveat, fails
            Instead of `evidence`: what to say under each verdict. `caveat` goes with `corrected`.

        Returns
        -------
        str
            The verdict: one of the first three of `VERDICTS`.

        Raises
        ------
        ValueError
            If the claim is not one of this notebook's, or was settled before; if a text is missing
            for a verdict that could have been reached.
        """
        for name, found in {"as_written": as_written, "corrected": corrected}.items():
            if isinstance(found, str | float) or (found is None and name == "as_written"):
                raise ValueError(f"{claim!r}: {name} must be true or false, received {found!r}")
        verdict = HOLDS if as_written else CAVEAT if corrected else FALSE
        texts = {HOLDS: holds, FALSE: fails} | ({} if corrected is None else {CAVEAT: caveat})
        said = {reached: text for reached, text in texts.items() if text}
        if not evidence:
            missing = [reached for reached in texts if reached not in said]
            if missing:
                raise ValueError(
                    f"{claim!r} needs evidence made of what was found, or a text for each verdict; "
                    f"there is none for {missing}"
                )
            evidence = said[verdict]
        elif any((holds, caveat, fails)) or not evidence.strip():
            raise ValueError(f"{claim!r} takes evidence or a text for each verdict, not both")
        if len(set(said.values())) < len(said) or (caveat and corrected is None):
            raise ValueError(f"{claim!r} needs texts that differ, and caveat with corrected")
        self._enter(claim, verdict, evidence)
        return verdict

    def announce(self, claim: str, **check: Any) -> None:
        """:meth:`settle`, and print the verdict: where a cell settles several claims."""
        print(f"{claim}: {self.settle(claim, **check)}")

    def not_run(self, claim: str, needs: str) -> None:
        """Record that a claim could not be checked here, and what it needs."""
        self._enter(claim, NOT_RUN, needs)

    def _enter(self, claim: str, verdict: str, evidence: str) -> None:
        if claim not in self._claims.index:
            known = list(self._claims.index)
            raise ValueError(f"{claim!r} is no claim of {self.notebook}; its claims are {known}")
        if claim in self._settled:
            raise ValueError(f"{claim!r} is settled already: {self._settled[claim]}")
        self._settled[claim] = {"verdict": verdict, "evidence": evidence}

    def table(self) -> pd.DataFrame:
        """Verdict and evidence of the claims settled so far, in the order of their settling.

        The claims of this notebook that wait are rows of the whole ledger: :func:`table`.
        """
        columns = ["verdict", "evidence"]
        return pd.DataFrame.from_dict(self._settled, orient="index", columns=columns).join(
            self._claims[["paper", "place", "statement"]]
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        table = self.table()
        lines = [f"{claim}: {row.verdict} ({row.evidence})" for claim, row in table.iterrows()]
        return {
            "text/plain": "\n".join(lines),
            "text/html": _html(table),
            MIME: {"notebook": self.notebook, "settled": self._settled},
        }


def _html(table: pd.DataFrame) -> str:
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("Claim", "Statement", "Verdict", "Evidence")
    )
    body = "".join(
        f'<tr><th scope="row">{claim}<br><small>{escape(row.paper)}, {escape(row.place)}</small>'
        f"</th><td>{escape(row.statement)}</td>"
        f"<td><strong>{SIGNS[row.verdict]} {row.verdict}</strong></td>"
        f"<td>{escape(row.evidence)}</td></tr>"
        for claim, row in table.iterrows()
    )
    # Themes leave a table of the class `dataframe` readable on a dark page.
    return (
        f'<table class="dataframe ledger"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def collect(notebooks: Iterable[Path]) -> pd.DataFrame:
    """Verdicts stored in the outputs of executed notebooks, indexed by claim id.

    Raises
    ------
    ValueError
        If two notebooks settle the same claim.
    """
    rows: dict[str, dict[str, str]] = {}
    for path in map(Path, notebooks):
        for cell in json.loads(path.read_text())["cells"]:
            for output in cell.get("outputs", []):
                stored = output.get("data", {}).get(MIME)
                for claim, verdict in (stored or {"settled": {}})["settled"].items():
                    if claim in rows:
                        other = rows[claim]["settled_in"]
                        raise ValueError(f"{claim} is settled in {path.stem} and in {other}")
                    rows[claim] = verdict | {"settled_in": path.stem}
    columns = ["verdict", "evidence", "settled_in"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def table(notebooks: Sequence[Path] | None = None) -> pd.DataFrame:
    """The whole ledger with its verdicts; a claim without evidence is `open`.

    Parameters
    ----------
    notebooks
        Executed notebooks to read the verdicts from; by default the committed ones.
    """
    if notebooks is None:
        notebooks = sorted((_checkout.root() / "notebooks").glob("*.ipynb"))
    ledger = load().join(collect(notebooks))
    unsettled = ledger["verdict"].isna()
    ledger.loc[unsettled, "verdict"] = OPEN
    ledger.loc[unsettled, "evidence"] = "waits for " + ledger.loc[unsettled, "notebook"]
    return ledger.drop(columns="settled_in")
