"""The rooms of the package: who imports whom, what an import costs, what a visitor meets."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import envae

PACKAGE = Path(__file__).parents[1] / "envae"
# A room imports itself and those before it; two on one level do not know each other.
LEVELS = (
    ("library",),
    ("theory", "metrics"),
    ("experiments",),
    ("companion",),
    ("cli",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
# Not before they are needed: they take seconds, or are no part of the base install.
HEAVY = ("pandas", "sklearn", "joblib", "pytorch_fid", "lightning_fabric", "scipy", "matplotlib")


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """Modules of the package that a file imports anywhere, also for its types alone."""
    return imports_of(path.read_text())


def imports_of(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if node.module == "envae" and name not in MODULES:  # a public name's home
                    home = envae._HOMES.get(alias.name, "envae")
                    name = f"{home}.{alias.name}" if f"{home}.{alias.name}" in MODULES else home
                found.add(name if name in MODULES else node.module)
    return found & set(MODULES)


IMPORTS = {name: imports(path) - {name} for name, path in MODULES.items() if name != "envae"}


def room(module: str) -> str:
    name = module.split(".")[1]
    return name if name in LEVEL else "library"


@pytest.mark.parametrize("module", IMPORTS)
def test_no_module_imports_upwards(module):
    here = room(module)
    for other in IMPORTS[module] - {"envae"}:
        allowed = room(other) == here or LEVEL[room(other)] < LEVEL[here]
        assert allowed, f"{module} ({here}) imports {other} ({room(other)})"


@pytest.mark.parametrize("module", IMPORTS)
def test_private_modules_are_imported_from_their_own_package_only(module):
    for other in IMPORTS[module]:
        parts = other.split(".")
        private = next((i for i, part in enumerate(parts) if part.startswith("_")), None)
        if private is not None:
            owner = ".".join(parts[:private])
            assert f"{module}.".startswith(f"{owner}."), f"{module} imports {other}"


@pytest.mark.parametrize("folder", ["benchmarks", "notebooks"])
def test_what_users_read_does_with_the_public_names(folder):
    for path in (PACKAGE.parent / folder).glob("*.*"):
        assert not re.search(r"(from|import) envae(\.\w+)*( import)?[ .]_\w", path.read_text()), (
            path
        )


def test_no_circles():
    order = graphlib.TopologicalSorter(IMPORTS)
    assert len(list(order.static_order())) >= len(IMPORTS)  # raises CycleError where there is one


@pytest.mark.parametrize("module", IMPORTS)
def test_text_is_utf8_whatever_the_language_of_the_system(module):
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            told = {keyword.arg for keyword in node.keywords}
            assert node.func.attr not in ("read_text", "write_text") or "encoding" in told, (
                f"{module}, line {node.lineno}"
            )


def test_the_top_can_be_seen_at_a_glance():
    # `__main__.py` is the command again, under `python -m envae`.
    beside = ("__pycache__", "__main__.py")
    entries = [path for path in PACKAGE.iterdir() if path.name not in beside]
    assert len(entries) <= 20, sorted(path.name for path in entries)


def test_the_library_loads_nothing_that_it_may_not_need():
    library = sorted(
        name for name in IMPORTS
        if room(name) in ("library", "metrics", "theory") and name != "envae.metrics.inception"
    )  # fmt: skip
    optional = {"envae.adapters"}  # its packages are extras; for types alone
    code = f"""
import sys
for name in {sorted(set(library) - optional)!r}:
    __import__(name)
print(*[name for name in {HEAVY!r} if name in sys.modules])
"""
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert told.split() == []


def test_public_names_are_followed_home():
    code = "from envae import records, objective, datasets\n"
    found = {name for name in imports_of(code)}
    assert found == {"envae.experiments.records", "envae.objectives", "envae.datasets"}


# What the extras bring: `pip install envae` does without.
EXTRAS = ("matplotlib", "seaborn", "papermill", "nbformat", "nbclient", "pytorch_fid", "diffusers",
          "pythae", "IPython", "jupyter_core")  # fmt: skip


def test_the_base_install_measures_a_distance_and_an_extra_that_lacks_is_told(tmp_path):
    """By every module that needs it and by the command, which runs a notebook."""
    code = f"""
import sys
sys.modules.update(dict.fromkeys({EXTRAS!r}))
import torch
from envae import cli
from envae.experiments import paper_rows
from envae.experiments.measures import quality
from envae.metrics import extractor, frechet
network, _ = extractor.load("digits-cnn")
images = torch.rand(2, 200, 1, 8, 8)
print(frechet.unit(network), frechet.fd(network, *images) >= 0)
for name in {list(IMPORTS)!r}:
    try:
        __import__(name)
    except ModuleNotFoundError as error:
        assert "is not installed: pip install 'envae[book]'" in str(error), (name, error)
        print(name)
sys.exit(cli.main(["run", "17", "-o", {str(tmp_path / "out.ipynb")!r}]))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    distance, *needing = ended.stdout.splitlines()
    assert distance == "FD (digits-cnn) True"
    assert {"envae.companion.plots", "envae.metrics.inception"} < set(needing)
    others = [name for name in needing if not name.startswith("envae.companion.")]
    assert others == ["envae.metrics.inception"]
    assert ended.returncode == 2
    assert ended.stderr == "envae: nbformat is not installed: pip install 'envae[book]'\n"
    assert not list(tmp_path.iterdir())
