"""Tables for a page: marks, dashes, what is escaped, and the line about records."""

import pandas as pd
import pytest

from envae.companion.tables import Captioned, source
from envae.experiments import records

TABLE = pd.DataFrame(
    {
        ("ours", "FD"): ["1.55 ± 0.10", "0.90 ± 0.20", "0.01"],
        ("theirs", "FD"): [3.0, 4.0, float("nan")],
        ("theirs", "recall"): [0.5, 0.7, 0.9],
        ("theirs", "seeds"): ["–"] * 3,
    },
    index=pd.Index(["L2", "a < b", "floor"], name="row"),
)


def marked(table: Captioned) -> set[tuple]:
    """Row and column of each cell that is marked."""
    of = table.best()
    return {(row, column) for row in of.index for column in of if of.loc[row, column]}


def test_best_is_marked_in_each_group_and_a_floor_does_not_compete():
    table = Captioned(TABLE, "Distances.", low=["FD"], high=["recall"], apart=["floor"])
    assert marked(table) == {
        ("a < b", ("ours", "FD")),
        ("L2", ("theirs", "FD")),
        ("a < b", ("theirs", "recall")),
    }
    competing = Captioned(TABLE, "Distances.", low=iter(["FD"]))
    assert ("floor", ("ours", "FD")) in marked(competing)


def test_cells_are_text_and_empty_columns_are_left_out():
    mixed = pd.DataFrame({"a": [1.234, float("nan")], "b": [True, False], "c": [3, 4]})
    assert Captioned(mixed, "").text.to_numpy().tolist() == [["1.23", "yes", "3"], ["–", "no", "4"]]
    assert Captioned(mixed, "", digits=1).text.loc[0, "a"] == "1.2"
    assert ("theirs", "seeds") not in Captioned(TABLE, "").text


def test_whatever_is_text_is_escaped():
    html = Captioned(TABLE.astype(str) + "<i>", "<b>Distances</b>", low=["FD"])._repr_html_()
    assert "<i>" not in html
    assert "<b>Dis" not in html
    assert "a &lt; b" in html
    assert html.count("<strong>") == 2
    named = TABLE.astype(str).rename_axis(index="<i>", columns=["<i>one", "<i>two"])
    for table in (named, named.droplevel(0, axis=1).iloc[:, :1]):
        assert "<i>" not in Captioned(table, "")._repr_html_()


def test_rows_and_columns_are_all_there():
    """Pandas itself leaves out what is beyond sixty rows or twenty columns."""
    large = pd.DataFrame([[f"{row}.{column}" for column in range(40)] for row in range(100)])
    table = Captioned(large, "Large.")
    assert "50.20" in table._repr_html_()
    assert "50.20" in repr(table)


@pytest.mark.parametrize("unknown", [{"low": ["FID"]}, {"high": ["FID"]}, {"apart": ["flor"]}])
def test_unknown_names_are_refused(unknown):
    with pytest.raises(ValueError, match=r"unknown (column|row)"):
        Captioned(TABLE, "", **unknown)


def test_source_tells_runs_commits_days_and_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("ENVAE_RUNS", str(tmp_path))
    for seed in (1, 2):
        records.save("some_rows", {"seed": seed}, {"fd": 1.0}, units={"fd": "FD"})
    line = source("some_rows")
    commit = records.manifest()["commit"][:7]
    assert line.startswith(f"Recorded: 2 runs at {commit}, on 20")
    assert line.endswith("; data/runs/some_rows")
    assert line in repr(Captioned(TABLE, "", recorded=["some_rows"]))
    with pytest.raises(ValueError, match="no_rows"):
        source("no_rows")
