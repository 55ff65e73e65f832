"""Take a figure out of an executed notebook: picture.py NOTEBOOK FIGURE-NAME OUT.png

`make refresh` calls it for the pictures in the README and on the front page, so that they are of
the committed run.
"""

import base64
import json
import sys
from pathlib import Path


def picture(notebook: Path, name: str) -> bytes:
    """The PNG of the figure with this name in the cell's `mystnb.figure` metadata.

    Raises
    ------
    KeyError
        If no executed cell has a figure of that name.
    """
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") == name:
            for output in cell["outputs"]:
                if "image/png" in output.get("data", {}):
                    return base64.b64decode(output["data"]["image/png"])
    raise KeyError(f"{notebook} has no figure {name!r}")


if __name__ == "__main__":
    Path(sys.argv[3]).write_bytes(picture(Path(sys.argv[1]), sys.argv[2]))
