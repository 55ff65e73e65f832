"""The ledger itself: every entry is whole, and notebooks settle none but their own claims."""

import json
import re
from pathlib import Path

import pytest
import yaml

from envae.companion import claims

ROOT = Path(__file__).parents[2]
ENTRIES = yaml.safe_load((ROOT / "data" / "claims.yaml").read_text())
FIELDS = ["id", "paper", "place", "statement", "scale", "notebook"]
PAPER_OF = {"E": "xu2025", "T": "takida2022", "X": "both"}
LONGEST_STATEMENT = 400
CHAPTERS = {path.stem: path for path in (ROOT / "notebooks").glob("*.ipynb")}
# Chapters that have claims to settle, or have settled one.
WRITTEN = sorted(
    set(CHAPTERS) & {entry["notebook"] for entry in ENTRIES}
    | set(claims.collect(CHAPTERS.values())["settled_in"])
)

ID = r"`([ETX]-[\w.-]+)`"  # as pages and notebooks write it


def cited(page):
    """Claims under the items of the errata."""
    return [
        claim for line in re.findall(r"^```{verdicts} (.*)$", page, re.M) for claim in line.split()
    ]


def test_ids_are_unique():
    ids = [entry["id"] for entry in ENTRIES]
    assert sorted(set(ids)) == sorted(ids)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["id"])
def test_entry_is_whole_and_without_a_verdict(entry):
    assert list(entry) == FIELDS
    assert all(isinstance(value, str) and value == value.strip() for value in entry.values())
    prefix, _, rest = entry["id"].partition("-")
    assert rest
    assert entry["paper"] == PAPER_OF[prefix]
    assert entry["scale"] in claims.SCALES
    assert entry["notebook"] in CHAPTERS
    assert entry["statement"].endswith(".")
    assert len(entry["statement"]) <= LONGEST_STATEMENT


def test_every_paper_has_a_name():
    assert set(PAPER_OF.values()) == set(claims.PAPERS)


@pytest.mark.parametrize("notebook", WRITTEN)
def test_notebook_settles_claims_that_are_its_own(notebook):
    settled = claims.collect([ROOT / "notebooks" / f"{notebook}.ipynb"])["verdict"]
    assert not settled.empty
    assert set(claims.load().loc[settled.index, "notebook"]) == {notebook}
    assert set(settled) <= set(claims.VERDICTS) - {claims.OPEN}


@pytest.mark.parametrize("notebook", WRITTEN)
def test_notebook_announces_the_claims_that_it_settles(notebook):
    path = ROOT / "notebooks" / f"{notebook}.ipynb"
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]
    (box,) = [cell for cell in cells if "Claims settled here" in cell]
    assert set(re.findall(ID, box)) == set(claims.collect([path]).index)


def test_pages_name_no_claim_that_is_not_in_the_ledger():
    pages = {path: path.read_text() for path in sorted((ROOT / "book").glob("*.md"))}
    named = {claim for text in pages.values() for claim in re.findall(ID, text)}
    named |= set(cited(pages[ROOT / "book" / "errata.md"]))
    assert named <= {entry["id"] for entry in ENTRIES}


def test_errata_cite_every_claim_that_does_not_hold_as_written():
    ledger = claims.table()
    ledger = ledger[ledger["paper"] != "both"]  # what links the papers is not said by either
    wrong = set(ledger.index[ledger["verdict"] == claims.FALSE])
    listed = cited((ROOT / "book" / "errata.md").read_text())
    assert len(listed) == len(set(listed))
    left_out = sorted(wrong - set(listed))
    assert not left_out, f"book/errata.md does not cite {left_out}, which do not hold as written"
    right = sorted(set(ledger.index[ledger["verdict"] == claims.HOLDS]) & set(listed))
    assert not right, f"book/errata.md cites {right}, which hold"


def test_every_claim_is_settled_by_a_published_chapter():
    verdicts = claims.table()["verdict"]
    unsettled = list(verdicts.index[verdicts == claims.OPEN])
    assert unsettled == [], "no chapter settles these: see CONTRIBUTING, A claim"


def test_what_no_notebook_settled_is_open():
    verdicts = claims.table()["verdict"]
    settled = claims.collect(ROOT / "notebooks" / f"{notebook}.ipynb" for notebook in WRITTEN)
    assert set(verdicts.drop(settled.index)) <= {claims.OPEN}
    assert verdicts[settled.index].equals(settled["verdict"])
