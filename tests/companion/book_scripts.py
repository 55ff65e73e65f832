"""The book's scripts, which are in no package, as modules."""

import importlib.util
from pathlib import Path

BOOK = Path(__file__).parents[2] / "book"


def script(name):
    """`book/<name>.py` as a module."""
    specification = importlib.util.spec_from_file_location(name, BOOK / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
