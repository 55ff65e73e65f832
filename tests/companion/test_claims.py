"""The ledger itself: every entry is whole, and notebooks settle none but their own claims."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from envae.companion import claims

ROOT = Path(__file__).parents[2]
ENTRIES = yaml.safe_load((ROOT / "data" / "claims.yaml").read_text())
FIELDS = ["id", "paper", "kind", "place", "statement", "scale", "notebook"]
OPTIONAL = ["ours", "carries", "finding"]
PAPER_OF = {"E": "xu2025", "T": "takida2022", "X": "both"}
LONGEST_STATEMENT = 400
# The paper says a part of it; "(implied)" marks the other.
SAID_IN_PART = {"E-Eq14-var"}
CHAPTERS = {path.stem: path for path in (ROOT / "notebooks").glob("*.ipynb")}
WRITTEN = sorted(set(CHAPTERS) & {entry["notebook"] for entry in ENTRIES})

NOT_REPRODUCED = "\n## Not reproduced here\n"  # the last part of the errata
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
    optional = [field for field in OPTIONAL if field in entry]
    assert list(entry) == FIELDS + optional
    assert all(entry[field] is True for field in ("ours", "carries") if field in entry)
    texts = [entry[field] for field in entry if field not in ("ours", "carries")]
    assert all(isinstance(text, str) and text == text.strip() for text in texts)
    assert entry["kind"] in claims.KINDS
    prefix, _, rest = entry["id"].partition("-")
    assert rest
    assert entry["paper"] == PAPER_OF[prefix]
    assert entry["scale"] in claims.SCALES
    assert entry["notebook"] in CHAPTERS
    assert entry["statement"].endswith(".")
    assert len(entry["statement"]) <= LONGEST_STATEMENT
    if "implied by" in entry["place"] or "(implied)" in entry["statement"]:
        assert "ours" in entry or entry["id"] in SAID_IN_PART


def test_a_finding_is_reported_by_several_claims():
    count = Counter(entry["finding"] for entry in ENTRIES if "finding" in entry)
    assert [finding for finding, claims_of_it in count.items() if claims_of_it < 2] == []
    assert not set(count) & {entry["id"] for entry in ENTRIES}


@pytest.mark.parametrize("paper", ["xu2025", "takida2022"])
def test_about_ten_claims_carry_a_paper(paper):
    carrying = [entry for entry in ENTRIES if "carries" in entry and entry["paper"] == paper]
    assert 8 <= len(carrying) <= 15
    assert not any("ours" in entry for entry in carrying)


def test_every_paper_has_a_name():
    assert set(PAPER_OF.values()) == set(claims.PAPERS)


@pytest.mark.parametrize("notebook", WRITTEN)
def test_notebook_settles_claims_that_are_its_own(notebook):
    settled = claims.collect([ROOT / "notebooks" / f"{notebook}.ipynb"])["verdict"]
    assert not settled.empty
    ledger = claims.load().loc[settled.index]
    assert set(ledger["notebook"]) == {notebook}
    assert claims.OPEN not in set(settled)


@pytest.mark.parametrize("notebook", WRITTEN)
def test_a_measurement_has_its_scale_beside_it(notebook):
    found = claims.collect([ROOT / "notebooks" / f"{notebook}.ipynb"])
    measured = found["verdict"].isin(claims.KINDS[claims.MEASUREMENT]) & (
        found["verdict"] != claims.NOT_RUN
    )
    assert (found.loc[measured, "tried_on"] != "").all()
    assert (found.loc[~measured, "tried_on"] == "").all()


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


def test_errata_cite_every_statement_of_a_paper_that_does_not_hold_as_written():
    ledger = claims.table()
    of_papers = ledger[~ledger["ours"]]  # a reading of this book is no erratum of a paper
    wrong = set(of_papers.index[of_papers["verdict"] == claims.FALSE])
    listed = cited((ROOT / "book" / "errata.md").read_text())
    assert len(listed) == len(set(listed))
    left_out = sorted(wrong - set(listed))
    assert not left_out, f"book/errata.md does not cite {left_out}, which do not hold as written"
    right = sorted(set(ledger.index[ledger["verdict"] == claims.HOLDS]) & set(listed))
    assert not right, f"book/errata.md cites {right}, which hold"


def test_an_erratum_is_no_measurement():
    """What was not reproduced at this scale is no error: the page lists it in a part of its own."""
    errata, _, rest = (ROOT / "book" / "errata.md").read_text().partition(NOT_REPRODUCED)
    kinds = claims.load()["kind"]
    measured = [claim for claim in cited(errata) if kinds[claim] == claims.MEASUREMENT]
    assert measured == []
    assert "{replications}" not in errata
    for verdict in (claims.NOT_REPRODUCED, claims.IN_PART):
        assert f"```{{replications}} {verdict}\n```" in rest


def test_every_claim_is_settled_by_a_published_chapter():
    verdicts = claims.table()["verdict"]
    unsettled = list(verdicts.index[verdicts == claims.OPEN])
    assert unsettled == [], "no chapter settles these: see CONTRIBUTING, A claim"


def test_what_no_notebook_settled_is_open():
    verdicts = claims.table()["verdict"]
    settled = claims.collect(ROOT / "notebooks" / f"{notebook}.ipynb" for notebook in WRITTEN)
    assert set(verdicts.drop(settled.index)) <= {claims.OPEN}
    assert verdicts[settled.index].equals(settled["verdict"])


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([(True, False), (True, True)], (True, True)),
        ([(True, False), (False, False)], (False, True)),
        ([(False, True), (False, False)], (False, True)),
        ([(False, False), (False, False)], (False, False)),
    ],
)
def test_several_data_sets_reproduce_what_each_of_them_does(findings, expected):
    named = {
        name: {"this": claims.Finding(*of, f"about {name}")}
        for name, of in zip("ab", findings, strict=True)
    }
    together = claims.on_all(named, "this")
    assert (together["reproduced"], together["in_part"]) == expected
    assert together["evidence"] == "a: about a; b: about b"
