"""The index of figures and tables: complete, and every place that it names exists."""

import json
import re
from pathlib import Path

import pytest

from envae.companion import claims, figure_index

ROOT = Path(__file__).parents[2]
INDEX = figure_index.load()
# How many each paper has. AR-ELBO counts on through its appendices: Figure J.10 is the tenth.
COUNTS = {
    ("xu2025", "Figure"): 26,
    ("xu2025", "Table"): 7,
    ("takida2022", "Figure"): 10,
    ("takida2022", "Table"): 8,
}


@pytest.mark.parametrize(("paper", "kind"), COUNTS)
def test_index_is_complete_and_in_order(paper, kind):
    names = INDEX.loc[INDEX["paper"] == paper, "name"]
    numbers = [int(re.sub(r".*[ .]", "", name)) for name in names if name.startswith(kind)]
    assert numbers == list(range(1, COUNTS[paper, kind] + 1))


def test_index_has_nothing_else():
    assert len(INDEX) == sum(COUNTS.values())
    assert not INDEX[["paper", "name"]].duplicated().any()


def test_every_published_table_is_listed():
    names = set(INDEX["paper"] + " " + INDEX["name"])
    files = [path.stem for path in (ROOT / "data" / "published").glob("*_table*.csv")]
    assert files
    for file in files:
        paper, number = re.fullmatch(r"(\w+?)_table(\w+)", file).groups()
        number = number.upper()
        number = f"{number[0]}.{number[1:]}" if number[0].isalpha() else number
        assert f"{paper} Table {number}" in names, file


@pytest.mark.parametrize("place", sorted({place for places in INDEX["places"] for place in places}))
def test_place_exists(place):
    page, _, label = place.partition("#")
    notebook, text = ROOT / f"{page}.ipynb", ROOT / f"{page}.md"
    assert notebook.is_file() or text.is_file()
    if label and text.is_file():
        assert f":name: {label}" in text.read_text()
    elif label:
        cells = json.loads(notebook.read_text())["cells"]
        names = {cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") for cell in cells}
        sources = "".join("".join(cell["source"]) for cell in cells)
        assert label in names or f"({label})=" in sources


@pytest.mark.parametrize(
    ("place", "names"),
    [
        ("Fig. 4a, Sec. 4.2", ["Figure 4"]),
        ("Figs. 4a, b and 5(a)", ["Figure 4", "Figure 5"]),
        ("Figs. 4a-c, 5", ["Figure 4", "Figure 5"]),
        ("Figs. 2, 3, 7-9", ["Figure 2", "Figure 3", "Figure 7", "Figure 8", "Figure 9"]),
        ("Eq. 6, Tables 1, E.8, Eq. D.1", ["Table 1", "Table E.8"]),
        ("App. E, Table E.8", ["Table E.8"]),
        ("Figs. D.4-D.6", ["Figure D.4", "Figure D.5", "Figure D.6"]),
        ("Figs. D.4–6", ["Figure D.4", "Figure D.5", "Figure D.6"]),
        ("Figs. 9 - 11", ["Figure 9", "Figure 10", "Figure 11"]),
        ("Figure 7", ["Figure 7"]),
        ("Figures 2 and 3", ["Figure 2", "Figure 3"]),
        ("Tables 4, 5, and 6", ["Table 4", "Table 5", "Table 6"]),
        ("Tables 4 and 5 and Fig. 2", ["Table 4", "Table 5", "Figure 2"]),
        ("Fig. 2, Sec. 6.1, Fig. 2b", ["Figure 2"]),
        ("Table 4 and 4.3 above, Table 3, 6.1", ["Table 4", "Table 3"]),
        ("App. D.2, Eqs. 13 and 14, Secs. 4-6", []),
    ],
)
def test_names_in_the_place_of_a_claim(place, names):
    assert figure_index.named(place) == names


@pytest.mark.parametrize("place", ["Figs. 9-J.10", "Figs. D.4-E.6", "Tables 7-4"])
def test_a_range_whose_members_are_not_known_is_an_error(place):
    with pytest.raises(ValueError, match=r"the range \S+ does not say what is in it: name each"):
        figure_index.named(place)


def test_every_figure_that_the_ledger_names_is_in_the_index():
    known = set(INDEX["paper"] + " " + INDEX["name"])
    ledger = claims.load()
    for paper in ("xu2025", "takida2022"):
        places = ledger.loc[ledger["paper"] == paper, "place"]
        assert {
            f"{paper} {name}" for place in places for name in figure_index.named(place)
        } <= known
    about = figure_index.claims_about(ledger, "xu2025", "Figure 4")
    assert list(about.index) == ["E-F4a", "E-F4b"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"paper": "xu2025", "name": "Figure 1", "limits": "none"}, r"Figure 1 lacks \['shows'\]"),
        ({"paper": "xu2025", "name": "Figure 1", "shows": "it"}, "neither a place nor a reason"),
        ({"name": "Figure 1", "place": "it"}, "Figure 1: unknown key 'place', did you mean 'plac"),
    ],
)
def test_an_entry_that_is_not_whole_is_an_error(entry, message, tmp_path):
    path = tmp_path / "figures.yaml"
    path.write_text(json.dumps([entry]))
    with pytest.raises(ValueError, match=message):
        figure_index.load(path)
