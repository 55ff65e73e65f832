"""The API reference leaves no public module out, and names none that is not there."""

import importlib
import pkgutil
import re
from pathlib import Path

import envae
from envae import datasets

PAGES = Path(__file__).parents[2] / "book" / "api"
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
    # Rooms that gather public modules have no page of their own; these two are told whole.
    gathered = {name.rpartition(".")[0] for name in public}
    whole = {"envae.datasets", "envae.networks"}
    inside = {loader.__module__ for loader in datasets.LOADERS.values()}
    inside |= {name for name in public if name.startswith("envae.networks.")}
    due = public - (gathered - whole) - inside
    missing, gone = sorted(due - set(LISTED)), sorted(set(LISTED) - due)
    assert not missing, f"no page of book/api has an automodule for {missing}"
    assert not gone, f"book/api has an automodule for {gone}: no public module with a page"
    assert len(LISTED) == len(due), "a module is listed twice"


def test_listed_modules_can_be_imported_and_say_what_they_are():
    for name in LISTED:
        assert importlib.import_module(name).__doc__, name
