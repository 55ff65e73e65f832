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


@pytest.mark.parametrize(
    ("runs", "line"),
    [
        ([("a" * 40, "2026-01-02T10:00", "CPU")],
         "1 run at aaaaaaa, on 2026-01-02, CPU"),
        ([("b" * 40, "2026-01-02T10:00", "CPU"), ("a" * 40, "2026-01-02T23:00", "GPU"),
          ("c" * 40, "2026-01-02T11:00", "CPU")],
         "3 runs at aaaaaaa, bbbbbbb, ccccccc, on 2026-01-02, CPU, GPU"),
        ([(letter * 40, f"2026-01-0{day}T10:00", "CPU") for letter, day in zip("dcba", (3, 2, 5, 4),
                                                                              strict=True)],
         "4 runs at 4 commits, from 2026-01-02 to 2026-01-05, CPU"),
    ],
)  # fmt: skip
def test_a_line_names_three_commits_and_counts_more(monkeypatch, runs, line):
    found = pd.DataFrame(runs, columns=["commit", "date", "device"])
    monkeypatch.setattr(records, "load", {"some_rows": found}.get)
    expected = f"Recorded: {line}; data/runs/some_rows"
    assert source("some_rows") == expected
    html = Captioned(TABLE, "Distances.", recorded=["some_rows"])._repr_html_()
    below = expected.replace("data/runs/some_rows", "<code>data/runs/some_rows</code>")
    assert f'<p class="recorded">{below}</p>' in html


def test_a_caption_says_what_is_bold_only_where_something_is():
    for given, told in (({}, ""), ({"low": ["FD"]}, " Bold: the best of its column."),
                        ({"high": ["recall"]}, " Bold: the best of its column.")):  # fmt: skip
        table = Captioned(TABLE, "Distances.", **given)
        assert repr(table).partition("\n")[0] == f"Distances.{told}"
        assert f"<figcaption>Distances.{told}</figcaption>" in table._repr_html_()


def test_lines_of_a_table_are_the_books_own():
    assert "border=" not in Captioned(TABLE, "")._repr_html_()


def test_the_name_of_the_rows_stands_in_the_corner_where_no_other_name_is():
    table = pd.DataFrame({"FD": [1.0]}, index=pd.Index(["L2"], name="row"))
    heads = Captioned(table, "")._repr_html_().partition("</thead>")[0]
    assert heads.count("<tr") == 1
    assert heads.index("<th>row</th>") < heads.index("<th>FD</th>")
    grouped = pd.concat({"ours": table}, axis=1)
    heads = Captioned(grouped, "")._repr_html_().partition("</thead>")[0]
    assert heads.count("<tr") == 2
    assert heads.rindex("<th>row</th>") > heads.index("ours</th>")
    named = Captioned(table.rename_axis(columns="measure"), "")._repr_html_()
    assert "<th>measure</th>" in named
    assert "<th>row</th>" in named
