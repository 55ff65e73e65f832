"""What every published notebook must be, so that nbval cannot pass on an empty one."""

import ast
import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest
import yaml

from envae.companion import notebook_parameters, notebook_run, tables

ROOT = Path(__file__).parents[2]
PUBLISHED = re.findall(r"file: (notebooks/\S+)", (ROOT / "_toc.yml").read_text())
PROFILES = sorted((ROOT / "notebooks" / "params").glob("*.yaml"))
FORBIDDEN = ("warnings.filterwarnings", "sys.path", "chdir")
SETTLING = {"settle", "replicate", "announce", "announce_if_recorded"}  # calls with evidence
# A cell is read in one look; what is longer has a name, a docstring and a place in the package.
LONGEST_CELL = 25  # lines that are neither empty nor imports
LONGEST_FUNCTION = 10  # a formula of a paper, beside the text that explains it
# Chapter 18 is about writing them.
SHOWN_CLASSES = {"MyVAE", "Conditional", "LearnedPrior", "TwoGroups", "Hierarchical"}
HEAD = ["Answer", "Evidence", "But", "Read before"]
# A path of somebody's machine.
MACHINE = re.compile(r"/(home|Users|root|tmp|var|work)/\w|site-packages")


def faults(notebook: nbformat.NotebookNode) -> list[str]:
    """What keeps a notebook from being published, one line each."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = []
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        found.append("not executed from its first cell to its last: make refresh")
    if not any(cell.outputs for cell in code):
        found.append("no outputs: make refresh")
    if any(output.output_type == "error" for cell in code for output in cell.outputs):
        found.append("an error among the outputs")
    found += [f"contains {text}" for text in FORBIDDEN if any(text in cell.source for cell in code)]
    if any(MACHINE.search(str(cell.outputs)) for cell in code):
        found.append("a path of somebody's machine among the outputs")
    if any(_is_bare_table(output) for cell in code for output in cell.outputs):
        found.append("a table without a caption: show it as a tables.Captioned")
    found += _faults_of_parameters(code)
    found += [
        fault
        for number, cell in enumerate(code, 1)
        for fault in _faults_of_cell(cell.source, number)
    ]
    if notebook.metadata.get("envae", {}).get("profile") != notebook_run.QUICK:
        found.append("its metadata do not say that this is a run of the quick profile")
    return found


def _is_bare_table(output: nbformat.NotebookNode) -> bool:
    html = output.get("data", {}).get("text/html", "")
    return "<table" in html and "<figcaption>" not in html and "ledger" not in html


def _faults_of_parameters(code: list) -> list[str]:
    tagged = [cell for cell in code if notebook_parameters.TAG in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        return [f"{len(tagged)} cells tagged `{notebook_parameters.TAG}` instead of one"]
    try:
        declared = notebook_parameters.declared(tagged[0].source)
    except ValueError as error:
        return [str(error)]
    return [f"no comment on {p.name}" for p in declared.values() if not p.comment]


def definitions(source: str) -> list[ast.stmt]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node for node in ast.parse(source).body if isinstance(node, kinds)]


def _faults_of_cell(source: str, number: int) -> list[str]:
    found = []
    imports = sum(
        node.end_lineno - node.lineno + 1
        for node in ast.parse(source).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    )
    lines = [line for line in source.splitlines() if line.strip()][imports:]
    if len(lines) > LONGEST_CELL:
        found.append(f"cell {number} has {len(lines)} lines, more than {LONGEST_CELL}")
    for node in definitions(source):
        if isinstance(node, ast.ClassDef):
            if node.name not in SHOWN_CLASSES:
                found.append(f"cell {number} defines a class, {node.name}")
        elif node.end_lineno - node.lineno >= LONGEST_FUNCTION:
            found.append(f"cell {number}: {node.name} is longer than {LONGEST_FUNCTION} lines")
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        evidence = [key.value for key in node.keywords if key.arg == "evidence"]
        if called in SETTLING and evidence and _written_in_advance(*evidence):
            found.append(f"cell {number}: evidence of {ast.unparse(node.args[0])} is not computed")
    return found


def _written_in_advance(evidence: ast.expr) -> bool:
    """Whether a text holds no value at all."""
    return not any(
        isinstance(part, ast.FormattedValue | ast.Name | ast.Call) for part in ast.walk(evidence)
    )


def test_no_two_notebooks_define_the_same_function():
    count = Counter(
        node.name
        for name in PUBLISHED
        for cell in nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells
        if cell.cell_type == "code"
        for node in definitions(cell.source)
    )
    assert [name for name, times in count.items() if times > 1] == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_notebook_is_whole(name):
    assert faults(nbformat.read(ROOT / f"{name}.ipynb", as_version=4)) == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_chapter_answers_first(name):
    """Its number and title, its question in bold, and the box with the answer."""
    number = int(Path(name).name[:2])
    opening = nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells[0].source
    assert re.match(
        rf"# {number}\. \S[^\n]*\n\n\*\*[^*]+\?\*\*\n\n```{{admonition}} In short\n", opening
    )
    box = re.search(r":class: tip chapter-head\n(.*?)\n```", opening, re.DOTALL)
    assert re.findall(r"^(.+)\n: ", box[1], re.MULTILINE) == HEAD


def test_chapters_are_numbered_in_the_order_of_the_contents():
    assert [int(Path(name).name[:2]) for name in PUBLISHED] == list(range(1, len(PUBLISHED) + 1))


def test_every_notebook_is_published():
    assert sorted(PUBLISHED) == sorted(
        f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")
    )


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_profile_fits_its_notebook(path):
    stem, _, profile = path.stem.rpartition(".")
    assert profile != notebook_run.QUICK, "the quick profile is the defaults: it has no file"
    known = notebook_run.declared(path.parent.parent / f"{stem}.ipynb")
    for name, value in yaml.safe_load(path.read_text()).items():
        notebook_parameters.find(name, known).check(value)


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_a_chapter_counts_has_a_range_that_its_default_is_in(name):
    for parameter in notebook_run.declared(ROOT / f"{name}.ipynb").values():
        assert parameter.check(parameter.default) == parameter.default
        if parameter.type in (int, list[int]):
            assert parameter.range, f"{parameter.name}: no word of it is in notebook_parameters"


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_a_page_says_of_its_records_is_so(name):
    """Or it shows numbers of before: its chapter has to be executed again."""
    outputs = (ROOT / f"{name}.ipynb").read_text(encoding="utf-8")
    said = set(re.findall(r"(Recorded: \d[^;]*; data/runs/([\w-]+))", outputs))
    assert {line for line, experiment in said if line != tables.source(experiment)} == set()


@pytest.fixture
def whole():
    """The least notebook that may be published."""
    cell = nbformat.v4.new_code_cell(
        "epochs: int = 60  # passes over the data",
        execution_count=1,
        outputs=[nbformat.v4.new_output("stream", text="done\n")],
        metadata={"tags": [notebook_parameters.TAG]},
    )
    return nbformat.v4.new_notebook(cells=[cell], metadata={"envae": {"profile": "quick"}})


def test_whole_notebook_has_no_faults(whole):
    assert faults(whole) == []


def strip(notebook):
    notebook.cells[0].outputs = []
    notebook.cells[0].execution_count = None


def add_unexecuted_cell(notebook):
    notebook.cells.append(nbformat.v4.new_code_cell("1 + 1"))


def show_bare_table(notebook):
    data = {"text/html": "<table><tr><td>1</td></tr></table>"}
    notebook.cells[0].outputs.append(nbformat.v4.new_output("display_data", data))


def forget_provenance(notebook):
    del notebook.metadata["envae"]


def show_home(notebook):
    notebook.cells[0].outputs[0].text = "/home/ada/envae\n"


def source(text):
    def change(notebook):
        notebook.cells[0].source = text

    return change


def add_cell(text):
    def change(notebook):
        notebook.cells.append(nbformat.v4.new_code_cell(text))

    return change


BROKEN = {
    "stripped of outputs": (strip, "no outputs"),
    "one cell not executed": (add_unexecuted_cell, "not executed"),
    "no provenance": (forget_provenance, "quick profile"),
    "a bare table": (show_bare_table, "a table without a caption"),
    "home in an output": (show_home, "machine"),
    "silenced warnings": (source('warnings.filterwarnings("ignore")'), "filterwarnings"),
    "no annotation": (source("epochs = 60  # passes"), "must hold lines"),
    "computed default": (source("epochs: int = 2 * n  # passes"), "must hold lines"),
    "no comment": (source("epochs: int = 60"), "no comment on epochs"),
    "a long cell": (add_cell("x = 1\n" * 26), "26 lines"),
    "a long function": (add_cell("def f():\n" + "    x = 1\n" * 10), "f is longer than 10 lines"),
    "a class": (add_cell("class A:\n    pass"), "defines a class, A"),
    "evidence in advance": (
        add_cell('ledger.settle("E-Eq1", as_written=x, evidence="it is so")'),
        "evidence of 'E-Eq1' is not computed",
    ),
    "evidence of a replication in advance": (
        add_cell('announce_if_recorded("E-F1", rows, reproduced=x, evidence="it is so")'),
        "evidence of 'E-F1' is not computed",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_fault_is_found(case, whole):
    change, expected = BROKEN[case]
    change(whole)
    assert any(expected in fault for fault in faults(whole))
