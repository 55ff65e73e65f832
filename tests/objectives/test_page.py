"""The page that lists all objectives says of each what the code says."""

import re
from pathlib import Path

from envae.objectives import names, objective
from envae.objectives.base import Takes

PAGE = Path(__file__).parents[2] / "book" / "objectives.md"
ROW = r"^\| \{py:class\}`(\w+) <[\w.]+>` \| (.*) \|$"
ROWS = {row[0]: row for row in re.findall(ROW, PAGE.read_text(), re.M)}


def test_every_objective_has_a_row_and_every_row_an_objective():
    assert not (without := set(names()) - set(ROWS)), f"no row in {PAGE} for {sorted(without)}"
    assert not (unknown := set(ROWS) - set(names())), f"rows without an objective: {unknown}"


def test_rows_agree_with_the_code():
    for name, (_, row) in ROWS.items():
        loss = objective(name)
        assert f"| {loss.unit} |" in row, f"{name}: the page gives another unit than {loss.unit!r}"
        says_head = "head of" in row.split("(trainable")[0]
        assert says_head == (loss.head_maps(3) > 0), f"{name}: needs {loss.head_maps(3)} maps"
        for equation in re.findall(r"[A-Z]?\.?\d+", loss.paper.split("(")[0]):
            assert equation in row, f"{name}: the page does not name {equation} of {loss.paper!r}"


def test_every_source_file_is_named():
    for name in names():
        source = type(objective(name)).__module__.replace(".", "/") + ".py"
        assert f"`{source}`" in PAGE.read_text(), f"{name}: the page does not name {source}"


def test_shapes_and_ranges_on_the_page_are_those_that_are_checked():
    part = PAGE.read_text().partition("(shapes-and-ranges)=")[2].partition("\n## ")[0]
    told = {}
    for shape, values, batch, which in re.findall(
        r"^\| (\(B.*) \| (.*) \| (\d) \| (.*) \|$", part, re.M
    ):
        for name in re.findall(r"`(\w+)`", which):
            told[name] = Takes(
                shape.replace("`", ""), unit_range=values == "[0, 1]", least=int(batch)
            )
    assert told == {
        name: objective(name).takes for name in names() if objective(name).takes != Takes()
    }
