"""Copy executed notebooks into the repository: commit.py FOLDER NOTEBOOK...

`make refresh` calls it. The times of the cells stay in `_build`: they would make every refresh a
difference of every cell. So does the error stream, with its progress bars and paths of a machine.
Time stamps are kept, so that the copies do not count as newer than what they were copied from.
"""

import shutil
import sys
from pathlib import Path

import nbformat


def copy(notebook: Path, folder: Path) -> None:
    """A copy without the times of the cells and the error stream."""
    document = nbformat.read(notebook, as_version=4)
    for cell in document.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    nbformat.write(document, folder / notebook.name)
    shutil.copystat(notebook, folder / notebook.name)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        copy(Path(name), Path(sys.argv[1]))
