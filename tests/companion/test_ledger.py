"""The ledger at work: verdicts of two kinds, from what was computed to the table of all claims."""

import dataclasses
import json
from html import escape

import numpy as np
import pytest
import torch

from envae import cli, datasets
from envae.companion import claims
from envae.companion.scale import PUBLISHED, Scale

LEDGER = """
- {id: A, paper: xu2025, kind: statement, place: Eq. 1, statement: one, scale: seconds,
   notebook: first}
- {id: B, paper: xu2025, kind: statement, place: Eq. 2, statement: two <3, scale: seconds,
   notebook: first, ours: true}
- {id: C, paper: takida2022, kind: statement, place: Eq. 3, statement: three, scale: GPU,
   notebook: second}
- {id: D, paper: xu2025, kind: measurement, place: Table 1, statement: four, scale: GPU,
   notebook: first, carries: true, finding: it-learns}
- {id: E, paper: xu2025, kind: measurement, place: Table 2, statement: five, scale: GPU,
   notebook: first, finding: it-learns}
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "claims.yaml").write_text(LEDGER)
    monkeypatch.setattr("envae._checkout.root", lambda: tmp_path)
    return tmp_path


DIGITS = Scale("digits", "8 x 8", "mlp", 1297, 50, 3, PUBLISHED["takida2022 Sec. 4.2"])


def executed(path, ledger):
    """A notebook file whose only cell shows the ledger."""
    output = {"output_type": "execute_result", "data": ledger._repr_mimebundle_()}
    cell = {"cell_type": "code", "metadata": {}, "source": "ledger", "outputs": [output]}
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4}))
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
        ({"as_written": True, "evidence": "  "}, "must be a line of text"),
        (
            {"as_written": True, "holds": "a", "fails": "b", "caveat": "c"},
            "one for .* with corrected",
        ),
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
    ledger.settle("B", as_written=False, evidence="0 < 3")
    ledger.not_run("A", needs="a GPU")
    bundle = ledger._repr_mimebundle_()
    assert bundle["text/plain"] == "B: does not hold as written (0 < 3)\nA: not run here (a GPU)"
    assert "0 &lt; 3" in bundle["text/html"]
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
    assert table["verdict"].drop("B").eq(claims.OPEN).all()
    assert table.loc["B", "verdict"] == claims.HOLDS
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


WRONG = {
    "empty": ("", "must hold a list of entries like `- id: E-Eq1`"),
    "an empty list": ("[]", "must hold a list of entries"),
    "a mapping": ("A: {paper: xu2025}", "must hold a list of entries"),
    "a list of ids": ("- A", "must hold a list of entries"),
    "no YAML": ("- {id: A", "is no YAML"),
    "in latin-1": ("- {id: \xe4}".encode("latin-1"), "is no YAML"),
    "an unknown paper": (("paper: xu2025", "paper: xu2024"), "A: unknown paper 'xu2024', did you"),
    "an unknown kind": (("kind: statement", "kind: law"), "A: unknown kind 'law'"),
    "an unknown scale": (("scale: seconds", "scale: hours"), "A: unknown scale 'hours'"),
    "an unknown notebook": (("notebook: first", "notebook: frst"), "A: unknown notebook 'frst'"),
    "a number for an id": (("id: A", "id: 5"), "claim 5: id takes str, received 5"),
    "a list for a text": (("place: Eq. 1", "place: [1]"), "A: place takes str, received [1]"),
    "a text for a yes": (("ours: true", "ours: yess"), "B: ours takes bool, received 'yess'"),
    "a list for a finding": (("finding: it-learns", "finding: [1]"), "D: finding takes str"),
    "a verdict": (("ours: true", "verdict: 'true'"), "B: unknown key 'verdict' (known: id, paper"),
    "a slip in a key": (("carries: true", "carry: 1"), "D: unknown key 'carry', did you mean 'ca"),
    "a number for a key": (("ours: true", "1: 1"), "B: unknown key 1"),
    "a list in place of a name": (("paper: xu2025", "paper: [1]"), "A: unknown paper [1]"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_ledger_is_one_line_that_names_the_file_and_the_claim(checkout, case, capsys):
    content, message = WRONG[case]
    path = checkout / "data" / "claims.yaml"
    if isinstance(content, tuple):
        (checkout / "notebooks").mkdir()
        for name in ("first", "second"):
            (checkout / "notebooks" / f"{name}.ipynb").touch()
        content = LEDGER.replace(*content, 1)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert cli.main(["claims"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"envae: {path}")
    assert message in said
    assert said.count("\n") == 1


CELL = (
    '{{"nbformat": 4, "metadata": {{}}, '
    '"cells": [{{"metadata": {}, "source": {}, "outputs": {}}}]}}'
)
BROKEN = ["", "{", "[]", "\xe4", 10000 * "[", '{"cells": [], "metadata": {}}']
BROKEN += [
    f'{{"nbformat": {told}}}'
    for told in (
        '4, "cells": [1], "metadata": {}',
        '4, "cells": [], "metadata": [1]',
        '3, "cells": [], "metadata": {}',
    )
]
BROKEN += [
    CELL.format(*cell)
    for cell in (("[]", '""', "[]"), ("{}", "1", "[]"), ("{}", "[1]", "[]"), ("{}", '""', "[1]"))
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_notebook_is_one_line_that_names_the_file(checkout, content, capsys):
    ledgers = [claims.Ledger(name) for name in ("first", "second")]
    (checkout / "notebooks").mkdir()
    for ledger in ledgers:
        executed(checkout / "notebooks" / f"{ledger.notebook}.ipynb", ledger)
    broken = checkout / "notebooks" / "third.ipynb"
    broken.write_bytes(content.encode("latin-1"))
    assert cli.main(["claims"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"envae: {broken} is not a notebook (")
    assert said.count("\n") == 1


@pytest.mark.parametrize("settled", [None, 1, {"A": 1}, {"A": "holds"}, []])
def test_a_broken_ledger_in_a_notebook_is_one_line_that_names_it(checkout, settled):
    ledger = claims.Ledger("first")
    ledger._settled = settled
    with pytest.raises(ValueError, match=r"first\.ipynb holds a ledger that is none: execute it"):
        claims.table([executed(checkout / "first.ipynb", _Shown(ledger))])


@pytest.mark.parametrize("settled", [{"Z": {"verdict": "holds", "evidence": "seen"}}, {"A": {}}])
def test_a_verdict_that_no_claim_can_have_is_told_and_not_dropped(checkout, settled):
    ledger = claims.Ledger("first")
    ledger._settled = settled
    [claim] = settled
    with pytest.raises(ValueError, match=rf"cannot have, .*: first \({claim}, a "):
        claims.table([executed(checkout / "first.ipynb", _Shown(ledger))])


class _Shown:
    """A notebook's output, with whatever is in it."""

    def __init__(self, ledger):
        self.settled = ledger._settled

    def _repr_mimebundle_(self):
        return {claims.MIME: {"settled": self.settled}}


# --- measurements -----------------------------------------------------------------------------


def test_a_measurement_is_reproduced_at_a_scale(checkout):
    for found, in_part, verdict in (
        (True, None, "reproduced here"),
        (False, True, "reproduced in part"),
        (False, False, "not reproduced here"),
        (False, None, "not reproduced here"),
    ):
        ledger = claims.Ledger("first")
        check = {"reproduced": found, "in_part": in_part, "tried_on": DIGITS, "evidence": "3 of 3"}
        assert ledger.replicate("D", **check) == verdict
        bundle = ledger._repr_mimebundle_()
        assert bundle["text/plain"] == f"D: {verdict} (3 of 3) [{DIGITS}]"
        assert f"Tried on: {escape(str(DIGITS))}" in bundle["text/html"]
        assert bundle[claims.MIME]["settled"]["D"]["tried_on"] == str(DIGITS)


def test_each_kind_has_its_own_call(checkout):
    ledger = claims.Ledger("first")
    with pytest.raises(ValueError, match="'D' is a measurement: replicate takes it"):
        ledger.settle("D", as_written=True, evidence="seen")
    with pytest.raises(ValueError, match="'A' is a statement: settle takes it"):
        ledger.replicate("A", reproduced=True, tried_on=DIGITS, evidence="seen")
    with pytest.raises(ValueError, match="'C' is no claim of first"):
        ledger.replicate("C", reproduced=True, tried_on=DIGITS, evidence="seen")


def test_no_verdict_of_a_measurement_looks_like_one_of_a_statement():
    statement, measurement = (set(kind) for kind in claims.KINDS.values())
    assert statement & measurement == {claims.NOT_RUN, claims.OPEN}
    assert set(claims.VERDICTS) == statement | measurement
    assert len(set(claims.SIGNS.values())) == len(claims.SIGNS)


@pytest.mark.parametrize("tried_on", [[], None, "digits", [DIGITS, "digits"]])
def test_a_measurement_needs_its_scale(checkout, tried_on):
    with pytest.raises((ValueError, TypeError)):
        claims.Ledger("first").replicate("D", reproduced=True, tried_on=tried_on, evidence="seen")


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ({"reproduced": "no", "evidence": "3 of 3"}, "reproduced must be true or false"),
        ({"reproduced": None, "evidence": "3 of 3"}, "reproduced must be true or false"),
        ({"reproduced": True, "whole": "all"}, r"none for \['not reproduced here'\]"),
        ({"reproduced": True, "in_part": False, "whole": "all", "missed": "no"}, "none for .*in p"),
        ({"reproduced": True, "whole": "all", "missed": "all"}, "texts that differ"),
        ({"reproduced": True, "whole": "a", "missed": "b", "part": "c"}, "one for .* with in_part"),
        ({"reproduced": True, "whole": "all", "evidence": "3 of 3"}, "not both"),
    ],
)
def test_replications_that_could_mean_anything_are_refused(checkout, check, message):
    with pytest.raises(ValueError, match=message):
        claims.Ledger("first").replicate("D", tried_on=DIGITS, **check)


def test_a_replication_can_be_announced_and_say_a_text_for_each_verdict(checkout, capsys):
    ledger = claims.Ledger("first")
    texts = {"whole": "all rows", "part": "some rows", "missed": "no row"}
    ledger.announce("D", reproduced=False, in_part=True, tried_on=DIGITS, **texts)
    assert capsys.readouterr().out == "D: reproduced in part\n"
    assert ledger.table().loc["D", "evidence"] == "some rows"


def test_the_whole_ledger_has_the_scale_beside_the_verdict(checkout):
    ledger = claims.Ledger("first")
    ledger.replicate("D", reproduced=True, tried_on=[DIGITS, DIGITS], evidence="seen")
    table = claims.table([executed(checkout / "first.ipynb", ledger)])
    assert table.loc["D", "tried_on"] == f"{DIGITS}; {DIGITS}"
    assert (table["tried_on"].drop("D") == "").all()
    assert table.columns[:5].tolist() == ["paper", "place", "statement", "scale", "notebook"]


def test_a_notebook_from_before_the_two_kinds_is_named(checkout):
    """Verdicts that a measurement had as if it were a statement are not translated."""
    old = {"settled": {"D": {"verdict": "holds", "evidence": "seen"}}}
    output = {"output_type": "execute_result", "data": {claims.MIME: old}}
    path = checkout / "first.ipynb"
    cell = {"cell_type": "code", "metadata": {}, "source": "ledger", "outputs": [output]}
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4}))
    with pytest.raises(ValueError, match=r"execute again .*: first .*D, a measurement: 'holds'"):
        claims.table([path])


def test_findings_count_once(checkout):
    ledger = claims.load()
    assert list(ledger.loc[["D", "E"], "finding"]) == ["it-learns"] * 2
    assert ledger.loc["A", "finding"] == "A"
    assert claims.findings(ledger) == 4
    assert ledger["ours"].tolist() == [False, True, False, False, False]
    assert ledger["carries"].tolist() == [False, False, False, True, False]


def test_a_kind_that_is_none_is_an_error(checkout):
    path = checkout / "data" / "claims.yaml"
    path.write_text(LEDGER.replace("kind: measurement", "kind: measured"))
    with pytest.raises(ValueError, match="claim D: unknown kind 'measured'"):
        claims.load()


# --- the line of a scale ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "line"),
    [
        (DIGITS, "digits 8 x 8, mlp, 64,850 images seen, 0.54 % of the paper's (MNIST), 3 seeds"),
        (
            Scale("mnist-5000", "28 x 28", "mlp", 5000, 30, 1, PUBLISHED["takida2022 Sec. 6"]),
            "mnist-5000 28 x 28, mlp, 150,000 images seen, "
            "2.5 % of the paper's on MNIST (of MNIST and CelebA), 1 seed",
        ),
        (
            Scale("digits", "8 x 8", "mlp", 1297, 50, 3, PUBLISHED["xu2025"]),
            "digits 8 x 8, mlp, 64,850 images seen, the paper (CelebA, CIFAR-10 and LSUN Church) "
            "gives no training length, 2.6 % of CIFAR-10's training images, 3 seeds",
        ),
        (
            Scale("mnist", "28 x 28", "mlp", 60_000, 10, 3, PUBLISHED["takida2022 Sec. 5.3"]),
            "mnist 28 x 28, mlp, 600,000 images seen, the paper (MNIST) gives no training length, "
            "100 % of its training images, 3 seeds",
        ),
        (
            Scale("digits", "8 x 8", "mlp", 10, 2, 3, None),
            "digits 8 x 8, mlp, 20 images seen, 3 seeds",
        ),
        (
            Scale("random images", "8 x 8", "mlp", 0, None, 0, PUBLISHED["xu2025"]),
            "random images 8 x 8, mlp, single steps, no training, "
            "the paper's data: CelebA, CIFAR-10 and LSUN Church",
        ),
    ],
)
def test_a_scale_is_one_line(scale, line):
    assert str(scale) == line


@pytest.mark.parametrize(
    ("images", "told"),
    [(5976, "10 %"), (59_340, "99 %"), (59_760, "100 %"), (180_000, "300 %"), (126, "0.21 %")],
)
def test_a_share_has_two_digits_or_all_before_the_point(images, told):
    scale = Scale("any", "8 x 8", "mlp", images, 1, 1, PUBLISHED["takida2022 Sec. 5.3"])
    assert f", {told} of its training images, 1 seed" in str(scale)


@pytest.mark.parametrize("wrong", [{"images": -1}, {"epochs": -1}, {"seeds": float("nan")},
                                   {"paper": "xu2025"}])  # fmt: skip
def test_a_scale_has_counts_and_what_a_paper_did(wrong):
    with pytest.raises(ValueError, match="a scale has counts and a Published or None, received"):
        dataclasses.replace(DIGITS, **wrong)


def test_a_scale_reads_the_data_set():
    data = datasets.load("digits")
    paper = "takida2022 Sec. 4.2"
    assert Scale.of(data, "mlp", epochs=50, seeds=3, paper=paper) == DIGITS
    told = str(DIGITS.on_mnist(10_000, epochs=20, seeds=2))
    assert told.startswith("mnist-10000 28 x 28, mlp, 200,000 images seen")
    assert told.endswith("2 seeds")
    with pytest.raises(ValueError, match="unknown paper 'takida'"):
        Scale.of(data, "mlp", epochs=50, seeds=3, paper="takida")


@pytest.mark.parametrize(
    "found", [[False], np.float32("nan"), torch.tensor(float("nan")), lambda: False, 1, "yes", None]
)
def test_only_a_truth_value_is_a_finding(checkout, found):
    ledger = claims.Ledger("first")
    with pytest.raises(ValueError, match="must be true or false"):
        ledger.settle("A", as_written=found, evidence="seen")
    with pytest.raises(ValueError, match="must be true or false"):
        ledger.replicate("D", reproduced=found, tried_on=DIGITS, evidence="seen")
    assert ledger.settle("A", as_written=np.bool_(True), evidence="seen") == claims.HOLDS
    assert ledger.settle("B", as_written=torch.tensor(True), evidence="seen") == claims.HOLDS


@pytest.mark.parametrize("text", ["  ", 5, ["a"]])
def test_evidence_and_needs_are_text(checkout, text):
    ledger = claims.Ledger("first")
    with pytest.raises(ValueError, match="evidence must be a line of text"):
        ledger.settle("A", as_written=True, evidence=text)
    with pytest.raises(ValueError, match="say what it needs"):
        ledger.not_run("A", text)


def test_announce_takes_what_the_claim_is(checkout):
    ledger = claims.Ledger("first")
    with pytest.raises(TypeError, match="replicate"):
        ledger.announce("D", reproduce=True, tried_on=DIGITS, evidence="seen")


@pytest.mark.parametrize(
    "change",
    [{"images": -1}, {"epochs": -1}, {"seeds": -2}, {"images": float("nan")}, {"paper": "x"}],
)
def test_a_scale_has_counts(change):
    with pytest.raises(ValueError, match="a scale has counts"):
        dataclasses.replace(DIGITS, **change)
