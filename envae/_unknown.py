"""One way to say that a name is not known, or a package not installed."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Message for a name that is not among the known ones, with the one that may be meant."""
    known = list(known)
    lower = {str(each).lower(): each for each in known}
    close = difflib.get_close_matches(str(name).lower(), lower, n=1)
    meant = f", did you mean {lower[close[0]]!r}?" if close else ""
    return f"unknown {kind} {name!r}{meant} (known: {', '.join(map(_listed, known)) or 'none'})"


def _listed(name: str) -> str:
    return repr(name) if "," in name else name  # such as Iso-D, mle


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Where packages are imported that come with an extra of this one.

    Raises
    ------
    ModuleNotFoundError
        If one of them is not installed; says how to install it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is not installed: pip install 'envae[{name}]'", name=error.name
        ) from error
