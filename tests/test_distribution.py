"""What is handed to others: the source archive, the wheel that is built from it, PyPI's page."""

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHIPPED = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "envae").rglob("*")
    if path.suffix in (".py", ".ipynb", ".typed")
}


def build(folder, kind):
    """Call the hook that pip and `python -m build` call, in a process of its own."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}('out')"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
    (built,) = (folder / "out").iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the source archive alone."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("source")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    shutil.copytree(ROOT / "envae", folder / "envae", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    with tarfile.open(build(folder, "sdist")) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # not in Python 3.11.3
        archive.extractall(folder / "unpacked")
    (unpacked,) = (folder / "unpacked").iterdir()
    assert not (unpacked / "tests").exists()
    assert (unpacked / "CITATION.cff").is_file()
    with zipfile.ZipFile(build(unpacked, "wheel")) as built:
        yield built


def test_a_wheel_from_the_source_archive_has_every_file_of_the_package(wheel):
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == SHIPPED


def test_links_and_pictures_on_pypi_lead_to_the_repository(wheel):
    (metadata,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    message = message_from_bytes(wheel.read(metadata))
    assert message["Description-Content-Type"] == "text/markdown"
    page = message.get_payload()
    assert page.startswith("# envae")
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert len(links) > 5
    assert all(re.match("https://", link) for link in links), links
    own = [re.sub(r".*/envae-book/(blob/)?main/", "", x) for x in links if "envae-book" in x]
    assert len(own) == len(re.findall(r"\]\((?!https:)", (ROOT / "README.md").read_text()))
    assert all((ROOT / place).is_file() for place in own)
    (picture,) = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page)
    assert picture.startswith("https://raw.githubusercontent.com/")
