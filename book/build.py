"""Build the book's HTML of settings, prose and executed notebooks: build.py HTML NOTEBOOK...

Sphinx keeps what it has read, reads the pages that changed and writes all of them: reading takes
longer, and writing only some would leave old titles, numbers and commits on the others. Whatever
else a page may show begins the build anew, and so does a build that failed, since Sphinx does not
repeat the warnings of pages that it does not read again.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

SOURCE = Path("_build/source")  # what Sphinx reads; its memory is in `_build` inside it
MEMORY = SOURCE / "_build"
SEEN = MEMORY / "settings.sha256"
SETTINGS = [Path("_config.yml"), Path("_toc.yml")]
# Records that a page shows without a notebook between them: what benchmarks/ measured.
RATIOS = [
    file for name in ("budget", "step_cost") for file in Path("data/runs", name).glob("*.json")
]


def main(html: Path, notebooks: list[Path]) -> int:
    """Build; returns the exit status, 0 when no page has a warning."""
    pages = [path for path in Path("book").rglob("*") if _is_source(path)]
    sources = {path: path for path in SETTINGS + pages}
    sources |= {Path("notebooks", path.name): path for path in notebooks}
    data = [*Path("data").glob("*.yaml"), *RATIOS]
    seen = _digest(
        [*SETTINGS, *data, Path("requirements.lock"), *Path("envae").rglob("*.py")]
        + [page for page in pages if page.suffix != ".md"]
    )
    if not SEEN.exists() or SEEN.read_text() != seen:
        shutil.rmtree(SOURCE, ignore_errors=True)
    SEEN.unlink(missing_ok=True)
    _mirror(sources)
    shutil.rmtree(MEMORY / "html", ignore_errors=True)  # what is not there is written
    status = subprocess.run(
        ["jupyter-book", "build", "-n", "-W", "--keep-going", "--quiet", str(SOURCE)],
        stdout=subprocess.DEVNULL,
    ).returncode
    if status == 0:
        shutil.rmtree(html, ignore_errors=True)
        (MEMORY / "html").rename(html)
        SEEN.write_text(seen)
    return status


def _is_source(path: Path) -> bool:
    return path.is_file() and path.suffix != ".pyc"


def _digest(paths: Iterable[Path]) -> str:
    """Hash of the names and contents of files."""
    digests = [(str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in sorted(paths)]
    return hashlib.sha256(repr(digests).encode()).hexdigest()


def _mirror(sources: dict[Path, Path]) -> None:
    """Make `SOURCE` hold copies of these files and no others, and touch those alone that differ."""
    for target in [path for path in SOURCE.rglob("*") if MEMORY not in path.parents]:
        if target.is_file() and target.relative_to(SOURCE) not in sources:
            target.unlink()
    for name, source in sources.items():
        target = SOURCE / name
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]))
