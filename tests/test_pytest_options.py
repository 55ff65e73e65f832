"""What pytest is told: the same for who has the plugins, and nothing that needs them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ONE_FILE = "tests/companion/test_evidence.py"
# Prints, at the end, the options as they stand.
TELL = """
def pytest_unconfigure(config):
    names = "dist", "loadscopereorder", "nbval_current_env"
    print(*[getattr(config.option, name, None) for name in names])
"""


def told(tmp_path, *arguments):
    (tmp_path / "tell.py").write_text(TELL)
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "tell", *arguments]
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": ""}
    ended = subprocess.run(
        [*command, ONE_FILE], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()[-1]


def test_without_the_plugins_the_tests_run(tmp_path):
    assert told(tmp_path, "-p", "no:xdist", "-p", "no:nbval") == "None False True"


def test_with_them_a_file_stays_on_one_worker_and_notebooks_use_this_python(tmp_path):
    assert told(tmp_path, "-n", "1", "--nbval") == "loadscope False True"
