"""Where data lie on this machine, and whether a file is the one that was published."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path


def places() -> list[Path]:
    """Folders that are searched, in order; a download goes to the first.

    `$ENVAE_DATA` where it is set, then the cache folder.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "envae"
    configured = os.environ.get("ENVAE_DATA")
    return [Path(configured), cache] if configured else [cache]


def find(name: str, relative: Sequence[str], by_hand: str | None = None) -> Path:
    """First of some paths, each relative to a place, that exists.

    Parameters
    ----------
    name
        The data set's name, for the error.
    relative
        Paths that would do, in order.
    by_hand
        How to get the data, where `envae data NAME` cannot.

    Raises
    ------
    FileNotFoundError
        If there is none; says where it was looked for and how to get the data.
    """
    for place in places():
        for path in relative:
            if (place / path).exists():
                return place / path
    searched = " and in ".join(map(str, places()))
    raise FileNotFoundError(
        f"no {name} data: looked for {' or '.join(relative)} in {searched}; "
        f"{by_hand or f'run `envae data {name}`'}, or set $ENVAE_DATA to the folder that holds it"
    )


def verify(name: str, folder: Path, md5: Mapping[str, str]) -> None:
    """Compare files with their published checksums.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is truncated or corrupt; names it.
    """
    remedy = f"remove {folder} and run `envae data {name}`, or set $ENVAE_DATA to another copy"
    for file, expected in md5.items():
        path = folder / file
        if not path.exists():
            raise FileNotFoundError(f"{name} is not complete: {path} is missing; {remedy}")
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest()
        if found != expected:
            raise ValueError(
                f"{path} ({path.stat().st_size} bytes) is truncated or corrupt: its MD5 is "
                f"{found}, not {expected}; {remedy}"
            )
