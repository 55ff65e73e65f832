"""The ledger itself: every entry is whole, and notebooks settle none but their own claims."""

from pathlib import Path

import pytest
import yaml

from envae import claims

ROOT = Path(__file__).parent.parent
ENTRIES = yaml.safe_load((ROOT / "data" / "claims.yaml").read_text())
FIELDS = ["id", "paper", "place", "statement", "scale", "notebook"]
PAPER_OF = {"E": "xu2025", "T": "takida2022", "X": "both"}
NOTEBOOKS = {
    "01_theory_checks",
    "02_linear_vae_smoothness",
    "03_noisy_mnist_variance",
    "04_gpu_fid_experiments",
    "05_published_tables",
    "06_fenvae_examined",
}
LONGEST_STATEMENT = 400
WRITTEN = sorted(NOTEBOOKS & {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")})


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
    assert entry["notebook"] in NOTEBOOKS
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


def test_what_no_notebook_settled_is_open():
    verdicts = claims.table()["verdict"]
    settled = claims.collect(ROOT / "notebooks" / f"{notebook}.ipynb" for notebook in WRITTEN)
    assert set(verdicts.drop(settled.index)) <= {claims.OPEN}
    assert verdicts[settled.index].equals(settled["verdict"])
