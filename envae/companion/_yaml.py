"""YAML files that people write, and the one line that says what is wrong with one."""

from pathlib import Path
from typing import Any

import yaml


def read(file: Path) -> Any:
    """What a file holds.

    Raises
    ------
    ValueError
        If it is no YAML; names it.
    OSError
        If it cannot be read.
    """
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    # A date of month 13, an integer of 5,000 digits and hundreds of brackets are no YAMLError.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no YAML ({error})") from None


def entries(file: Path, like: str) -> list[dict[str, Any]]:
    """The entries that a file lists, one or more.

    Parameters
    ----------
    file
        The file.
    like
        How an entry begins, for the error.

    Raises
    ------
    ValueError
        As :func:`read`, or if it holds anything else than a list of mappings; names it.
    """
    found = read(file)
    if not found or not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"{file} must hold a list of entries like `- {like}`")
    return found
