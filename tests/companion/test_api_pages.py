"""The API reference leaves no public module out, and names none that is not there."""

import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import envae

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
    # Rooms that gather others have no page of their own; what these two gather is told with them.
    gathered = {
        name for name in public if importlib.util.find_spec(name).submodule_search_locations
    }
    whole = {"envae.datasets", "envae.networks", "envae.experiments.fenvae"}
    whole |= {"envae.experiments.noise_recovery"}
    loaders = {"cifar10", "digits", "faces", "folders", "mnist"}
    inside = {f"envae.datasets.{name}" for name in loaders}
    inside |= {name for name in public if name.startswith("envae.networks.")}
    assert sorted(LISTED) == sorted(public - (gathered - whole) - inside)


def test_listed_modules_can_be_imported_and_say_what_they_are():
    for name in LISTED:
        assert importlib.import_module(name).__doc__, name
