"""The ledger: every checkable claim of both papers, and the verdicts that notebooks compute.

A claim is of one of two kinds. A *statement* is true or not, wherever it is checked: theory, a
formula, arithmetic on the papers' own tables, what a paper says of itself. A *measurement* is what
the papers report of their training on their data: here it is tried at another scale, which stands
beside its verdict, and whatever comes out refutes nobody.

`data/claims.yaml` holds the claims and no verdict. A notebook settles the statements that are its
own, and replicates the measurements, in a :class:`Ledger`, whose last cell shows the verdicts; they
are stored in the notebook's output, and :func:`collect` reads them from there. So a verdict that no
run computed cannot appear.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from envae import _checkout
from envae._unknown import unknown
from envae.companion import _yaml, notebook_run
from envae.companion.scale import Scale

STATEMENT = "statement"
MEASUREMENT = "measurement"

HOLDS = "holds"
CAVEAT = "holds with a caveat"
FALSE = "does not hold as written"
REPRODUCED = "reproduced here"
IN_PART = "reproduced in part"
NOT_REPRODUCED = "not reproduced here"
NOT_RUN = "not run here"
OPEN = "open"
# A sign stands beside each verdict on a page: colour alone says nothing to many readers. Circles,
# full to empty, are measurements: a cross says that something is wrong, and none of these does.
SIGNS = {
    HOLDS: "✓",
    CAVEAT: "≈",
    FALSE: "✗",
    REPRODUCED: "●",
    IN_PART: "◐",
    NOT_REPRODUCED: "○",
    NOT_RUN: "–",
    OPEN: "?",
}
VERDICTS = tuple(SIGNS)
# What each kind may come to, the best first.
KINDS = {
    STATEMENT: (HOLDS, CAVEAT, FALSE, NOT_RUN, OPEN),
    MEASUREMENT: (REPRODUCED, IN_PART, NOT_REPRODUCED, NOT_RUN, OPEN),
}

PAPERS = {"xu2025": "EnVAE", "takida2022": "AR-ELBO", "both": "Both papers"}
SCALES = ("closed form", "seconds", "minutes", "GPU")

MIME = "application/vnd.envae.claims+json"
_FIELDS = ("paper", "place", "statement", "scale", "notebook", "kind")
_STORED = ("verdict", "evidence", "tried_on")  # of each claim, in a notebook's output
_OPTIONAL = {"ours": False, "carries": False, "finding": ""}
_DEFAULTS = {"id": "", "place": "", "statement": ""} | _OPTIONAL


def load(path: Path | None = None) -> pd.DataFrame:
    """The claims of the ledger, indexed by id.

    Returns
    -------
    DataFrame
        In the file's order, columns `paper`, `place`, `statement`, `scale` (what checking takes),
        `notebook`; `kind`, statement or measurement; `ours`, whether it is this book's own result
        or reading and no sentence of the paper; `carries`, whether it carries its paper; `finding`,
        what several claims share that report one finding, else the claim's own id.

    Raises
    ------
    ValueError
        If the file is no list of claims, a claim lacks a field, has one of another type or one
        more, its kind, paper, scale or notebook is none, or an id is given twice.
    """
    path = path or _checkout.root() / "data" / "claims.yaml"
    claims = _yaml.entries(path, "id: E-Eq1", "id", ("id", *_FIELDS, *_OPTIONAL))
    known: dict[str, Iterable[str]] = {
        "kind": KINDS, "paper": PAPERS, "scale": SCALES, "notebook": _chapters(path),
    }  # fmt: skip
    for claim in claims:
        missing = [field for field in ("id", *_FIELDS) if not claim.get(field)]
        if missing:
            raise ValueError(f"{path}: claim {claim.get('id', claim)} lacks {missing}")
        for field, default in _DEFAULTS.items():
            if not isinstance(claim.get(field, default), type(default)):
                told = f"{field} takes {type(default).__name__}, received {claim[field]!r}"
                raise ValueError(f"{path}: claim {claim['id']}: {told}")
        for field, names in known.items():
            if names and claim[field] not in list(names):
                told = unknown(field, claim[field], names)
                raise ValueError(f"{path}: claim {claim['id']}: {told}")
    frame = pd.DataFrame(claims).set_index("id")
    if not frame.index.is_unique:
        twice = sorted(frame.index[frame.index.duplicated()])
        raise ValueError(f"{path}: these ids are given twice: {twice}")
    for field, default in _OPTIONAL.items():
        given = frame[field] if field in frame else pd.Series(index=frame.index, dtype=object)
        frame[field] = [default if pd.isna(value) else value for value in given]
    frame["finding"] = frame["finding"].where(frame["finding"] != "", frame.index.to_series())
    return frame[[*_FIELDS, *_OPTIONAL]]


def _chapters(ledger: Path) -> list[str]:
    """Names of the notebooks of the checkout that a ledger lies in."""
    return sorted(path.stem for path in (ledger.parent.parent / "notebooks").glob("*.ipynb"))


class Finding(NamedTuple):
    """What the runs on one data set say of a measurement.

    Parameters
    ----------
    reproduced, in_part
        As :meth:`Ledger.replicate` takes them, of these runs.
    told
        What was found, in one line that does not name the data.
    """

    reproduced: bool
    in_part: bool
    told: str


def on_all(findings: Mapping[str, Mapping[str, Finding]], what: str) -> dict[str, Any]:
    """What several data sets say of one measurement, as :meth:`Ledger.replicate` takes it.

    Reproduced is what is found on each of them, in part what is found, or found in part, on one.

    Parameters
    ----------
    findings
        Of each data set, by its name.
    what
        Which of its findings.
    """
    of_data = {name: found[what] for name, found in findings.items()}
    return {
        "reproduced": all(found.reproduced for found in of_data.values()),
        "in_part": any(found.reproduced or found.in_part for found in of_data.values()),
        "evidence": "; ".join(f"{name}: {found.told}" for name, found in of_data.items()),
    }


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
        """Record the verdict on a statement from what was computed.

        The line of evidence cannot contradict the verdict: it is made of the values that decided
        (`evidence`, an f-string), or there is one for each verdict that the check could reach.

        Parameters
        ----------
        claim
            Id in the ledger, of a statement.
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
            The verdict: `HOLDS`, `CAVEAT` or `FALSE`.

        Raises
        ------
        ValueError
            If the claim is not one of this notebook's, is a measurement, or was settled before; if
            a text is missing for a verdict that could have been reached.
        """
        self._must_be(claim, STATEMENT, "settle")
        verdict, said = _reached(
            claim,
            {"as_written": as_written, "corrected": corrected},
            {HOLDS: holds, CAVEAT: caveat, FALSE: fails},
            evidence,
        )
        self._enter(claim, verdict, said)
        return verdict

    def replicate(
        self,
        claim: str,
        *,
        reproduced: bool,
        in_part: bool | None = None,
        tried_on: Scale | Sequence[Scale],
        evidence: str | None = None,
        whole: str | None = None,
        part: str | None = None,
        missed: str | None = None,
    ) -> str:
        """Record the verdict on a measurement from what was found at the scale that was tried.

        Parameters
        ----------
        claim
            Id in the ledger, of a measurement.
        reproduced
            Whether the runs show what the paper reports.
        in_part
            Whether they show a part of it: of several rows, data sets or directions, some. Only
            looked at when `reproduced` is false; None where it has no parts.
        tried_on
            The scale of the runs: data, network, images seen, seeds; several where they differ.
        evidence
            One line made of what was found, as for :meth:`settle`; it need not repeat the scale.
        whole, part, missed
            Instead of `evidence`: what to say under each verdict. `part` goes with `in_part`.

        Returns
        -------
        str
            The verdict: `REPRODUCED`, `IN_PART` or `NOT_REPRODUCED`.

        Raises
        ------
        ValueError
            If the claim is not one of this notebook's, is a statement, or was settled before; if a
            text is missing for a verdict that could have been reached, or a scale.
        """
        self._must_be(claim, MEASUREMENT, "replicate")
        scales = [tried_on] if isinstance(tried_on, Scale) else list(tried_on or ())
        if not scales or not all(isinstance(scale, Scale) for scale in scales):
            raise ValueError(f"{claim!r} needs the scales that it was tried on: {tried_on!r}")
        verdict, said = _reached(
            claim,
            {"reproduced": reproduced, "in_part": in_part},
            {REPRODUCED: whole, IN_PART: part, NOT_REPRODUCED: missed},
            evidence,
        )
        self._enter(claim, verdict, said, "; ".join(map(str, scales)))
        return verdict

    def announce(self, claim: str, **check: Any) -> None:
        """Settle or replicate, and print the verdict: where a cell settles several claims.

        It replicates where the claim is a measurement.
        """
        self._must_know(claim)
        take = self.replicate if self._claims.loc[claim, "kind"] == MEASUREMENT else self.settle
        print(f"{claim}: {take(claim, **check)}")

    def not_run(self, claim: str, needs: str) -> None:
        """Record that a claim could not be checked here, and what it needs."""
        if not isinstance(needs, str) or not needs.strip():
            raise ValueError(f"{claim!r}: say what it needs, received {needs!r}")
        self._enter(claim, NOT_RUN, needs)

    def _must_be(self, claim: str, kind: str, method: str) -> None:
        self._must_know(claim)
        found = self._claims.loc[claim, "kind"]
        if found != kind:
            other = "replicate" if method == "settle" else "settle"
            raise ValueError(f"{claim!r} is a {found}: {other} takes it, {method} takes a {kind}")

    def _must_know(self, claim: str) -> None:
        if claim not in self._claims.index:
            known = list(self._claims.index)
            raise ValueError(f"{claim!r} is no claim of {self.notebook}; its claims are {known}")

    def _enter(self, claim: str, verdict: str, evidence: str, tried_on: str = "") -> None:
        self._must_know(claim)
        if claim in self._settled:
            raise ValueError(f"{claim!r} is settled already: {self._settled[claim]}")
        self._settled[claim] = {"verdict": verdict, "evidence": evidence, "tried_on": tried_on}

    def table(self) -> pd.DataFrame:
        """Verdict, evidence and scale of the claims settled so far, in the order of their settling.

        The claims of this notebook that wait are rows of the whole ledger: :func:`table`.
        """
        return pd.DataFrame.from_dict(self._settled, orient="index", columns=list(_STORED)).join(
            self._claims[["paper", "place", "statement"]]
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        table = self.table()
        lines = [
            f"{claim}: {row.verdict} ({row.evidence})"
            + (f" [{row.tried_on}]" if row.tried_on else "")
            for claim, row in table.iterrows()
        ]
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
        f'<tr><th scope="row">{escape(str(claim))}<br>'
        f"<small>{escape(row.paper)}, {escape(row.place)}</small></th>"
        f"<td>{escape(row.statement)}</td>"
        f"<td><strong>{SIGNS[row.verdict]} {row.verdict}</strong></td>"
        f"<td>{escape(row.evidence)}"
        + (f"<br><small>Tried on: {escape(row.tried_on)}</small>" if row.tried_on else "")
        + "</td></tr>"
        for claim, row in table.iterrows()
    )
    # Themes leave a table of the class `dataframe` readable on a dark page.
    return (
        f'<table class="dataframe ledger"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _reached(
    claim: str,
    findings: dict[str, bool | None],
    texts: dict[str, str | None],
    evidence: str | None,
) -> tuple[str, str]:
    """Verdict and its line of evidence, which cannot say another.

    Parameters
    ----------
    findings
        Whether all of it was found, and whether the lesser reading was; None where there is none.
    texts
        What to say under each verdict, the best first.
    evidence
        Instead of these: one line that says the values.
    """
    (_, all_of_it), (second, lesser) = findings.items()
    for name, found in findings.items():
        as_array = np.asarray(found)  # a tensor's truth value is one too; of a list, all are true
        none_allowed = found is None and name == second
        if (as_array.dtype != bool or as_array.ndim) and not none_allowed:
            raise ValueError(f"{claim!r}: {name} must be true or false, received {found!r}")
    best, middle, worst = texts
    verdict = best if all_of_it else middle if lesser else worst
    possible = [reached for reached in texts if reached != middle or lesser is not None]
    said = {reached: text for reached, text in texts.items() if text}
    if not evidence:
        missing = [reached for reached in possible if reached not in said]
        if missing:
            raise ValueError(
                f"{claim!r} needs evidence made of what was found, or a text for each verdict; "
                f"there is none for {missing}"
            )
        evidence = said[verdict]
    elif not isinstance(evidence, str) or not evidence.strip():
        raise ValueError(f"{claim!r}: evidence must be a line of text, received {evidence!r}")
    elif said:
        raise ValueError(f"{claim!r} takes evidence or a text for each verdict, not both")
    if len(set(said.values())) < len(said) or not set(said) <= set(possible):
        raise ValueError(f"{claim!r} needs texts that differ, and one for {middle!r} with {second}")
    return verdict, evidence


def collect(notebooks: Iterable[Path]) -> pd.DataFrame:
    """Verdicts stored in the outputs of executed notebooks, indexed by claim id.

    Raises
    ------
    RunError
        If a file is no notebook; names it.
    ValueError
        If two notebooks settle the same claim; if a stored verdict is none that its claim can have
        (a notebook that was executed before the ledger changed): says which to execute again.
    """
    claims = load()
    rows: dict[str, dict[str, str]] = {}
    stale: dict[str, list[str]] = {}
    for path in map(Path, notebooks):
        for claim, stored in _stored(path).items():
            if claim in rows:
                other = rows[claim]["settled_in"]
                raise ValueError(f"{claim} is settled in {path.stem} and in {other}")
            kind = claims["kind"].get(claim, "claim that the ledger has not")
            if stored.get("verdict") not in KINDS.get(kind, ()):
                told = f"{claim}, a {kind}: {stored.get('verdict')!r}"
                stale.setdefault(path.stem, []).append(told)
            rows[claim] = {"tried_on": ""} | stored | {"settled_in": path.stem}
    if stale:
        listed = "; ".join(f"{name} ({', '.join(told)})" for name, told in stale.items())
        raise ValueError(
            f"verdicts that these claims cannot have, from before the ledger changed; "
            f"execute again (make refresh): {listed}"
        )
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*_STORED, "settled_in"])


def _stored(notebook: Path) -> dict[str, dict[str, str]]:
    """What the ledgers in a notebook's outputs hold."""
    found: dict[str, dict[str, str]] = {}
    for cell in notebook_run.read(notebook)["cells"]:
        for output in cell.get("outputs", []):
            try:
                settled = output.get("data", {}).get(MIME, {"settled": {}})["settled"]
                found |= {claim: dict(told) for claim, told in settled.items()}
            except (KeyError, TypeError, ValueError, AttributeError):
                raise ValueError(
                    f"{notebook} holds a ledger that is none: execute it again (make refresh)"
                ) from None
    return found


def findings(ledger: pd.DataFrame) -> int:
    """How many findings claims report: several that report one count once."""
    return ledger["finding"].nunique()


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
    ledger["tried_on"] = ledger["tried_on"].fillna("")
    return ledger.drop(columns="settled_in")
