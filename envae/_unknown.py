"""One way to say that a name is not known."""

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Message for a name that is not among the known ones, with the one that may be meant."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=1)
    meant = f", did you mean {close[0]!r}?" if close else ""
    return f"unknown {kind} {name!r}{meant} (known: {', '.join(known) or 'none'})"
