"""Published tables, run records and the ledger."""

import json

import pytest
import torch

from envae.companion import claims
from envae.experiments import published, records

# --- published tables -------------------------------------------------------------------------


def test_published_table_holds_the_papers_numbers():
    table = published.table("xu2025", 1).set_index(["row", "dataset", "metric"])["value"]
    assert table["L2", "CelebA-64", "FID_gen"] == 98.691
    assert table["EnVAE", "CIFAR-10", "FID_gen"] == 90.132
    assert table["FEnVAE", "LSUN-Church-64", "FID_re"] == 142.226


def test_unknown_table_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown published table 'xu2025_table9'"):
        published.table("xu2025", 9)


# --- records ----------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    return tmp_path


def save(seed=0, fd=1.5, **options):
    parameters = {"seed": seed, "alpha": 0.1}
    return records.save("try", parameters, {"fd": fd}, units={"fd": "FD (x)"}, seconds=1, **options)


def test_a_record_holds_its_run(runs):
    path = save(curves={"total": range(1000)}, data_checksum="abc")
    record = json.loads(path.read_text())
    assert path.parent == runs / "try"
    assert record["metrics"] == {"fd": 1.5}
    assert record["units"] == {"fd": "FD (x)"}
    assert record["curves"]["total"][-1] == 999
    assert len(record["curves"]["total"]) <= records.CURVE_POINTS + 1
    assert {"commit", "dirty", "date", "device", "packages", "python", "seconds", "data"} == set(
        record["manifest"]
    )
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_same_parameters_same_record_others_another(runs):
    assert save(fd=1.0) == save(fd=2.0) != save(seed=1)
    table = records.load("try")
    assert sorted(table["fd"]) == [1.5, 2.0]


def test_missing_runs_are_named(runs):
    save(seed=1)
    table = records.load("try", expected=[{"seed": s, "alpha": 0.1} for s in (0, 1)])
    assert table.set_index("seed")["done"].to_dict() == {0: False, 1: True}
    assert table.set_index("seed")["fd"].isna()[0]


def test_committed_records_are_read_too_and_fresh_ones_come_first(runs, monkeypatch):
    committed = runs / "data" / "runs"
    monkeypatch.setattr("envae._checkout.root", lambda: runs)
    for place, fd in ((committed, 1.0), (runs / "fresh", 2.0)):
        monkeypatch.setenv("ENVAE_RUNS", str(place))
        save(fd=fd)
    save(seed=1, fd=3.0)
    assert records.load("try").set_index("seed")["fd"].to_dict() == {0: 2.0, 1: 3.0}


def test_bad_records_are_errors(runs):
    with pytest.raises(ValueError, match="finite"):
        save(fd=float("nan"))
    with pytest.raises(ValueError, match=r"units for \['FD'\], but the metrics are \['fd'\]"):
        records.save("try", {}, {"fd": 1.0}, units={"FD": "FD (x)"})
    with pytest.raises(TypeError):
        records.save("try", {"seed": torch.tensor(1)}, {"fd": 1.0})
    assert list(runs.rglob("*")) == []
    save().write_text("{")
    with pytest.raises(ValueError, match="not a whole run record"):
        records.load("try")


# --- the ledger -------------------------------------------------------------------------------

LEDGER = """
- {id: A, paper: xu2025, place: Eq. 1, statement: one, scale: seconds, notebook: first}
- {id: B, paper: xu2025, place: Eq. 2, statement: two <3, scale: seconds, notebook: first}
- {id: C, paper: takida2022, place: Eq. 3, statement: three, scale: GPU, notebook: second}
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "claims.yaml").write_text(LEDGER)
    monkeypatch.setattr("envae._checkout.root", lambda: tmp_path)
    return tmp_path


def executed(path, ledger):
    """A notebook file whose only cell shows the ledger."""
    output = {"output_type": "execute_result", "data": ledger._repr_mimebundle_()}
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "outputs": [output]}]}))
    return path


def test_verdicts_come_from_what_was_computed(checkout):
    ledger = claims.Ledger("first")
    assert ledger.settle("A", as_written=True, evidence="seen") == claims.HOLDS
    assert (
        claims.Ledger("first").settle("A", as_written=False, corrected=True, evidence="seen")
        == claims.CAVEAT
    )
    assert claims.Ledger("first").settle("A", as_written=False, evidence="seen") == claims.FALSE
    bundle = ledger._repr_mimebundle_()
    assert bundle["text/plain"] == "A: holds (seen)"
    assert "two &lt;3" not in bundle["text/html"]


def test_evidence_says_what_the_verdict_says(checkout):
    """The same call with the opposite finding has the opposite text."""
    texts = {"holds": "all equal", "fails": "one differs"}
    for found, text in ((True, "all equal"), (False, "one differs")):
        ledger = claims.Ledger("first")
        ledger.settle("A", as_written=found, **texts)
        assert ledger.table().loc["A", "evidence"] == text
    with pytest.raises(ValueError, match=r"'A' needs evidence .* none for \['holds with a caveat'"):
        claims.Ledger("first").settle("A", as_written=True, corrected=False, **texts)
    with pytest.raises(ValueError, match=r"none for .*does not hold as written"):
        claims.Ledger("first").settle("A", as_written=True, holds="all equal")
    with pytest.raises(ValueError, match="needs evidence"):
        claims.Ledger("first").settle("A", as_written=True, evidence="")
    with pytest.raises(ValueError, match="not both"):
        claims.Ledger("first").settle("A", as_written=True, evidence="0 of 3 differ", **texts)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ({"as_written": "no", "evidence": "3 of 3"}, "as_written must be true or false"),
        ({"as_written": float("nan"), "evidence": "3 of 3"}, "as_written must be true or false"),
        ({"as_written": None, "evidence": "3 of 3"}, "as_written must be true or false"),
        ({"as_written": True, "holds": "same", "fails": "same"}, "texts that differ"),
        ({"as_written": True, "evidence": "  "}, "takes evidence or a text"),
        ({"as_written": True, "holds": "a", "fails": "b", "caveat": "c"}, "caveat with corrected"),
    ],
)
def test_checks_that_could_mean_anything_are_refused(checkout, check, message):
    with pytest.raises(ValueError, match=message):
        claims.Ledger("first").settle("A", **check)


def test_a_verdict_can_be_announced(checkout, capsys):
    claims.Ledger("first").announce("A", as_written=True, evidence="3 of 3")
    assert capsys.readouterr().out == "A: holds\n"


def test_a_notebook_shows_what_it_settled_in_that_order(checkout):
    ledger = claims.Ledger("first")
    assert ledger._repr_mimebundle_()["text/plain"] == ""
    ledger.settle("B", as_written=False, evidence="seen")
    ledger.not_run("A", needs="a GPU")
    bundle = ledger._repr_mimebundle_()
    assert bundle["text/plain"] == "B: does not hold as written (seen)\nA: not run here (a GPU)"
    assert "two &lt;3" in bundle["text/html"]
    assert list(ledger.table().index) == ["B", "A"]


def test_a_notebook_settles_only_its_own_claims_and_once(checkout):
    ledger = claims.Ledger("first")
    with pytest.raises(ValueError, match="'C' is no claim of first"):
        ledger.settle("C", as_written=True, evidence="seen")
    ledger.not_run("A", needs="a GPU")
    with pytest.raises(ValueError, match="settled already"):
        ledger.settle("A", as_written=True, evidence="seen")
    with pytest.raises(ValueError, match="no claim belongs to 'third'"):
        claims.Ledger("third")


def test_the_whole_ledger_reads_verdicts_from_executed_notebooks(checkout):
    ledger = claims.Ledger("first")
    ledger.settle("B", as_written=True, evidence="seen")
    table = claims.table([executed(checkout / "first.ipynb", ledger)])
    assert table["verdict"].to_dict() == {"A": "open", "B": "holds", "C": "open"}
    assert table.loc["C", "evidence"] == "waits for second"
    twice = [executed(checkout / f"{name}.ipynb", ledger) for name in ("first", "other")]
    with pytest.raises(ValueError, match="B is settled in other and in first"):
        claims.table(twice)


def test_claims_without_a_field_or_with_the_same_id_are_errors(checkout):
    path = checkout / "data" / "claims.yaml"
    path.write_text("- {id: A, paper: xu2025}")
    with pytest.raises(ValueError, match="claim A lacks"):
        claims.load()
    path.write_text(LEDGER + LEDGER)
    with pytest.raises(ValueError, match="given twice"):
        claims.load()
