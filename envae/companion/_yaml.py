"""YAML files that people write, and the one line that says what is wrong with one."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from envae._unknown import unknown


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # which has no types
    """Of a key that stands twice, YAML's own would take the last one in silence.

    And 010 as eight, 1:30 as ninety, 1:30.5 as well.
    """

    def construct_decimal(self, node: yaml.ScalarNode) -> int | float:
        whole = node.tag.endswith(":int")
        if ":" in node.value or (whole and not re.fullmatch(r"[-+]?(0|[1-9][0-9_]*)", node.value)):
            raise yaml.YAMLError(
                f"{node.value} stands for another number, line {node.start_mark.line + 1}: "
                "write it in decimal digits, or a text in quotation marks"
            )
        return int(self.construct_yaml_int(node)) if whole else self.construct_yaml_float(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise yaml.YAMLError(
                f"{', '.join(twice)} stands more than once, line {node.start_mark.line + 1} on"
            )
        return super().construct_mapping(node, deep)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_decimal)


def read(file: Path) -> Any:
    """What a file holds.

    Raises
    ------
    ValueError
        If it is no YAML, or a key stands twice; names it.
    OSError
        If it cannot be read.
    """
    try:
        return yaml.load(file.read_text(encoding="utf-8"), _Loader)
    # A date of month 13, an integer of 5,000 digits and hundreds of brackets are no YAMLError.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no YAML ({error})") from None


def entries(file: Path, like: str, by: str, fields: Sequence[str]) -> list[dict[str, Any]]:
    """The entries that a file lists, one or more.

    Parameters
    ----------
    file
        The file.
    like
        How an entry begins, for the error.
    by
        The key that tells an entry from others, for the error.
    fields
        The keys that an entry may have.

    Raises
    ------
    ValueError
        As :func:`read`, or if it holds anything else than a list of mappings, or one of them an
        unknown key; names it.
    """
    found = read(file)
    if not found or not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"{file} must hold a list of entries like `- {like}`")
    for entry in found:
        for name in entry:
            if name not in fields:
                told = unknown("key", name, fields)
                raise ValueError(f"{file}: {entry.get(by, entry)}: {told}")
    return found
