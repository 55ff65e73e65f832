"""Where the project's files lie: `data/` and `notebooks/` beside the package, in a checkout."""

from pathlib import Path


def here() -> Path | None:
    """:func:`root`, or None where there is no checkout."""
    try:
        return root()
    except FileNotFoundError:
        return None


def root() -> Path:
    """Folder of the checkout: the one that holds `data/claims.yaml`.

    Looks beside the package first (an editable install), then in the working directory and its
    parents (an installed package, used inside a checkout).

    Raises
    ------
    FileNotFoundError
        If there is no checkout at any of these places.
    """
    places = [Path(__file__).resolve().parent.parent, Path.cwd(), *Path.cwd().parents]
    for place in places:
        if (place / "data" / "claims.yaml").is_file():
            return place
    raise FileNotFoundError(
        "this needs the project's checkout (the folder with data/claims.yaml): "
        f"not found beside the package in {places[0]}, nor in {Path.cwd()} or above it; "
        "clone the repository and run from inside it"
    )
