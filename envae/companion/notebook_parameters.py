"""The parameters that a notebook declares, and the check of every value given for one.

A notebook declares them in one cell tagged `parameters`, each as an annotated literal with a
comment: `epochs: int = 60  # passes over the training set`. papermill reads no union types from
such a cell and only warns of an unknown name; here both are exact. What a name counts is known from
its words: a chapter that could not run with a value is not begun.
"""

import ast
import dataclasses
import io
import json
import math
import tokenize
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import yaml

from envae._unknown import unknown

TAG = "parameters"
_TYPES = {"int": int, "float": float, "bool": bool, "str": str, "list": list}
_TRUTH = {"true": True, "false": False}
# Words in the names of parameters that count something: from 1 up, or from 0 up where the default
# is 0 and stands for all or none of it. A list of them, or of seeds, has one or more.
_COUNTED = frozenset(
    {"epochs", "batch", "dim", "draws", "images", "side", "size", "sizes", "samples", "crop"}
    | {"steps", "stops", "lengths", "longest", "ramp", "shown"}
)
_FROM_ZERO = frozenset({"seed", "seeds", "epsilon", "levels"})
# More is a slip of the pen, and a run without end. No data set here has as many images; NumPy and
# scikit-learn take no larger seeds, torch no larger integers.
_MOST, _LARGEST_SEED, _LARGEST = 10**6, 2**32 - 1, 2**63 - 1
_MOST_ITEMS = 1000
_SHOWN = 200  # characters of a value, in an error
# Objectives refuse these themselves, but a chapter may have trained others before.
_ABOVE_ZERO = frozenset({"lr", "alpha", "alphas", "weights", "betas"})


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One declared parameter.

    Attributes
    ----------
    name
        Its name.
    annotation
        Its type as the notebook writes it: `"int"`, `"list[str]"`, `"float | None"`.
    type
        The type itself.
    default
        Value in the quick profile.
    comment
        What it is, in the notebook's words; empty if it says nothing.
    """

    name: str
    annotation: str
    type: object
    default: object
    comment: str

    def parse(self, text: str) -> object:
        """The value that a text from the command line stands for.

        Raises
        ------
        ValueError
            If the text is none of the declared type, or stands for a value out of its range.
        """
        try:
            value = _parse(text, self.type)
        except ValueError:
            raise ValueError(self._complaint(text)) from None
        return self._in_range(value)

    def check(self, value: object) -> object:
        """A value from a profile, if it has the declared type.

        Raises
        ------
        ValueError
            If it has not, or is out of its range.
        """
        if _matches(value, self.type):
            return self._in_range(value)
        hint = ""
        if isinstance(value, str) and _is_number(value):
            hint = "; YAML reads this as text: write numbers without quotes, and 1.0e-3, not 1e-3"
        raise ValueError(self._complaint(value) + hint)

    def check_written(self, value: object) -> None:
        """Raise a ValueError for a text that no notebook can hold, as the name of a file may be."""
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError(self._complaint(value, "in characters of UTF-8")) from None

    @property
    def range(self) -> str:
        """What the numbers of its name can be, in words; empty for any finite numbers."""
        words = set(self.name.split("_"))
        if words & _ABOVE_ZERO:
            return "above 0"
        if words & _FROM_ZERO or (words & _COUNTED and self.default == 0):
            return "from 0 up"
        return "from 1 up" if words & _COUNTED else ""

    def _in_range(self, value: object) -> object:
        """The value, of the declared type, if a chapter can run with it."""
        given = value if isinstance(value, list) else [value]
        numbers = [number for number in given if isinstance(number, int | float)]
        if not all(math.isfinite(number) for number in numbers if isinstance(number, float)):
            raise ValueError(self._complaint(value, "finite numbers"))
        possible = _POSSIBLE[self.range]
        if not all(map(possible, numbers)):
            raise ValueError(self._complaint(value, self.range))
        if self.range and not given:
            raise ValueError(self._complaint(value, "at least one"))
        if any(abs(number) > self._most for number in numbers if isinstance(number, int)):
            raise ValueError(self._complaint(value, f"at most {self._most:,}"))
        if len(given) > _MOST_ITEMS:
            raise ValueError(self._complaint(value, f"at most {_MOST_ITEMS:,} of them"))
        # One run would be taken for two.
        if "seeds" in self.name.split("_") and len(set(given)) < len(given):
            raise ValueError(self._complaint(value, "each one once"))
        return value

    @property
    def _most(self) -> int:
        words = set(self.name.split("_"))
        return _LARGEST_SEED if words & _FROM_ZERO else _MOST if words & _COUNTED else _LARGEST

    def _complaint(self, value: object, which: str = "") -> str:
        meaning = f" ({self.comment})" if self.comment else ""
        wanted = f"{self.annotation}, {which}" if which else self.annotation
        received = repr(value)
        if len(received) > _SHOWN:
            received = f"{received[:_SHOWN]}... ({len(received):,} characters)"
        return f"{self.name} takes {wanted}{meaning}, received {received}"


_POSSIBLE: dict[str, Callable[[float], bool]] = {
    "above 0": lambda number: number > 0,
    "from 0 up": lambda number: number >= 0,
    "from 1 up": lambda number: number >= 1,
    "": lambda number: True,
}


def declared(source: str) -> dict[str, Parameter]:
    """The parameters that a `parameters` cell declares, by name.

    Raises
    ------
    ValueError
        If a line is anything but `name: type = literal`, or no Python. Nothing of it is executed.
    """
    if "\0" in source:  # a SyntaxError without a line, and before Python 3.11.4 a ValueError
        raise ValueError("the parameters cell is no Python (it holds a null byte)")
    try:
        nodes = ast.parse(source).body
        comments = {
            token.start[0]: token.string.removeprefix("#").strip()
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
        parameters = [_parameter(node, comments) for node in nodes]
    except (RecursionError, MemoryError):  # of thousands of signs, the parser's own stack
        raise ValueError("the parameters cell is no Python (nested too deeply)") from None
    except SyntaxError as error:
        told = f"line {error.lineno} of the parameters cell is no Python ({error.msg})"
        raise ValueError(told) from None
    return {parameter.name: parameter for parameter in parameters}


def _parameter(node: ast.stmt, comments: Mapping[int, str]) -> Parameter:
    try:
        if not isinstance(node, ast.AnnAssign) or node.value is None:
            raise ValueError
        if not isinstance(node.target, ast.Name):
            raise ValueError
        annotation, kind = ast.unparse(node.annotation), _type(node.annotation)
        default = ast.literal_eval(node.value)
        name = node.target.id
    except (ValueError, TypeError, MemoryError):
        line = ast.unparse(node).partition("\n")[0]
        raise ValueError(
            f"the parameters cell must hold lines like `epochs: int = 60  # comment`, of the types "
            f"{', '.join(_TYPES)} and `... | None`; received `{line[:_SHOWN]}`"
        ) from None
    return Parameter(
        name, annotation, kind, default, comments.get(node.end_lineno or node.lineno, "")
    )


def _type(node: ast.expr) -> Any:
    """The type that an annotation names, read and not evaluated: a notebook may be a stranger's."""
    if isinstance(node, ast.Name) and node.id in _TYPES:
        return _TYPES[node.id]
    if isinstance(node, ast.Constant) and node.value is None:
        return types.NoneType
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _type(node.left) | _type(node.right)
    if isinstance(node, ast.Subscript) and _type(node.value) is list:
        return types.GenericAlias(list, (_type(node.slice),))
    raise ValueError


def find(name: str, known: Mapping[str, Parameter]) -> Parameter:
    """The parameter of a name.

    Raises
    ------
    ValueError
        If there is none; says which there are and what may have been meant.
    """
    if name in known:
        return known[name]
    raise ValueError(unknown("parameter", name, known))


def _parse(text: str, kind: Any) -> object:
    options = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        none_first = sorted(options, key=lambda option: option is not types.NoneType)
        return _parse_as_first(text, none_first)
    if kind is types.NoneType:
        if text.lower() != "none":
            raise ValueError
        return None
    if kind is list or typing.get_origin(kind) is list:
        inside = text.strip().removeprefix("[").removesuffix("]").strip()
        of_item = options[0] if options else str
        return [_parse(item, of_item) for item in _items(inside)]
    if kind is bool:
        if text.lower() not in _TRUTH:
            raise ValueError
        return _TRUTH[text.lower()]
    return kind(text)


def _items(inside: str) -> list[str]:
    """Items of a list as text; one that holds a comma is quoted, as in YAML."""
    try:
        items = yaml.load(f"[{inside}]", yaml.BaseLoader)  # it leaves every item as text
    except (yaml.YAMLError, RecursionError):  # of hundreds of brackets
        raise ValueError from None
    if not all(isinstance(item, str) for item in items):
        raise ValueError
    return items


def _parse_as_first(text: str, kinds: Iterable[object]) -> object:
    for kind in kinds:
        try:
            return _parse(text, kind)
        except ValueError:
            continue
    raise ValueError


def _matches(value: object, kind: object) -> bool:
    options = typing.get_args(kind)
    if isinstance(kind, types.UnionType):
        return any(_matches(value, option) for option in options)
    if typing.get_origin(kind) is list:
        return isinstance(value, list) and all(_matches(item, options[0]) for item in value)
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
