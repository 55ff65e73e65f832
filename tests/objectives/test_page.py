"""The page that lists all objectives says of each what the code says."""

import re
from pathlib import Path

from envae.objectives import names, objective

PAGE = Path(__file__).parents[2] / "book" / "objectives.md"
ROWS = {row[0]: row for row in re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.read_text(), re.M)}


def test_every_objective_has_a_row_and_every_row_an_objective():
    assert sorted(ROWS) == sorted(names())


def test_rows_agree_with_the_code():
    for name, (_, row) in ROWS.items():
        loss = objective(name)
        assert f"| {loss.unit} |" in row, f"{name}: the page gives another unit than {loss.unit!r}"
        assert ("head of" in row.split("(trainable")[0]) == (loss.head_maps(3) > 0), name
        for equation in re.findall(r"[A-Z]?\.?\d+", loss.paper.split("(")[0]):
            assert equation in row, f"{name}: the page does not name {equation} of {loss.paper!r}"


def test_every_source_file_is_named():
    for name in names():
        source = type(objective(name)).__module__.replace(".", "/") + ".py"
        assert f"`{source}`" in PAGE.read_text(), name
