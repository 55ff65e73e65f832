"""The API reference leaves no public module out, and names none that is not there."""

import importlib
import pkgutil
import re
from pathlib import Path

import envae

PAGES = Path(__file__).parent.parent / "book" / "api"
LISTED = [
    module
    for page in sorted(PAGES.glob("*.md"))
    for module in re.findall(r"automodule:: (\S+)", page.read_text())
]


def test_every_public_module_is_listed_once():
    public = {
        module.name
        for module in pkgutil.walk_packages(envae.__path__, "envae.")
        if not any(part.startswith("_") for part in module.name.split("."))
    }
    # Packages that gather parts have no page of their own; users derive from one private part.
    gathered = {"envae.metrics", "envae.objectives"}
    inside = {name for name in public if name.startswith(("envae.datasets.", "envae.networks."))}
    assert sorted(LISTED) == sorted(public - gathered - inside | {"envae.objectives._base"})


def test_listed_modules_can_be_imported_and_say_what_they_are():
    for name in LISTED:
        assert importlib.import_module(name).__doc__, name
