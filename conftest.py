"""What every run of pytest needs, the notebooks' comparison by nbval included."""

import os
import tempfile

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
    """Send the run records of everything that the tests execute to a folder that goes away."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # inherits the folder
    folder = tempfile.TemporaryDirectory(prefix="envae-runs-")
    os.environ["ENVAE_RUNS"] = folder.name
    config.add_cleanup(folder.cleanup)


def pytest_collectstart(collector):
    """Leave out of nbval's comparison what no two runs have in common."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += _NOT_COMPARED
