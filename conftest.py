"""What every run of pytest needs, the notebooks' comparison by nbval included."""

import collections
import os
import tempfile

import pytest

from envae.companion import notebook_run

# Differs from machine to machine, or is drawn anew: nbval compares text and tables alone. Glued
# numbers have all their digits, and the last ones depend on the number of threads.
_NOT_COMPARED = (
    "stderr",
    "application/papermill.record/text/plain",
    "application/papermill.record/image/png",
    "image/png",
    "image/svg+xml",
)


def pytest_configure(config):
    """Send records and models of everything that the tests execute to folders that go away.

    Two notebooks that ask for one model train it once, and none takes what an earlier run left.
    And share the cores: what one worker executes starts processes on its part of them only.
    """
    _set_options_of_plugins(config.option)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0))
    if workers:
        share = max(1, (os.cpu_count() or 1) // workers)
        os.environ.setdefault("LOKY_MAX_CPU_COUNT", str(share))
        return  # inherits the folders
    folder = tempfile.TemporaryDirectory(prefix="envae-")
    for name in ("runs", "models"):
        os.environ[f"ENVAE_{name.upper()}"] = f"{folder.name}/{name}"
    config.add_cleanup(folder.cleanup)


def _set_options_of_plugins(option):
    """Here and not in addopts, where they would be errors for who has not installed the plugin."""
    option.nbval_current_env = True
    # The cells of a notebook, and the tests of a file, stay on one worker, in the order below.
    if getattr(option, "dist", "no") == "load":  # as -n has it
        option.dist = "loadscope"
    option.loadscopereorder = False


@pytest.fixture(autouse=True)
def _every_test_trains_for_itself(monkeypatch):
    """Only notebooks, which have no fixtures, share what they train."""
    monkeypatch.delenv("ENVAE_MODELS", raising=False)


def pytest_collection_modifyitems(items):
    """Begin with the notebooks, in the order in which the book executes them."""
    first = {item.path: 0.0 for item in items}
    first |= {path: notebook_run.priority(path) for path in first if path.suffix == ".ipynb"}
    items.sort(key=lambda item: -first[item.path])


def pytest_terminal_summary(terminalreporter):
    """Say what each notebook took, and the tests, with the slowest of their files."""
    took = collections.Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if hasattr(report, "duration"):
                took[report.nodeid.partition("::")[0]] += report.duration
    if len(took) < 2:
        return
    notebooks = {name: took.pop(name) for name in list(took) if name.endswith(".ipynb")}
    terminalreporter.section("seconds, added up over the workers")
    for kind, files in (("unit tests", took), ("notebooks", notebooks)):
        terminalreporter.line(f"{kind}: {sum(files.values()):.0f} s in {len(files)} files")
        for name, seconds in collections.Counter(files).most_common(12):
            terminalreporter.line(f"{seconds:10.1f} s  {name}")


def pytest_collectstart(collector):
    """Leave out of nbval's comparison what no two runs have in common."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += _NOT_COMPARED
