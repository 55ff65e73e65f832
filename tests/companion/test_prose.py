"""Files and modules that the prose and the docstrings name are there."""

import pkgutil
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [
    *ROOT.glob("*.md"),
    *(ROOT / "book").rglob("*.md"),
    *(ROOT / "data").glob("*.yaml"),
    *(ROOT / "envae").rglob("*.py"),
    *(ROOT / "benchmarks").glob("*.py"),
]
# Between backticks, whole: `notebooks/<name>.ipynb` is none.
PATH = re.compile(r"`((?:envae|book|data|notebooks|tests|benchmarks)/[\w./-]*)`")
MODULE = re.compile(r"`(envae(?:\.\w+)+)`")


def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or what a module has."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_named_is_there(file):
    text = file.read_text()
    gone = [path for path in PATH.findall(text) if not (ROOT / path).exists()]
    gone += [name for name in MODULE.findall(text) if not is_there(name)]
    assert gone == []
