"""Formulas of the ledger, plain text, as a page sets them: `sigma_x^2` with its indices."""

import re

from docutils import nodes

_LETTERS = {
    "alpha": "α", "beta": "β", "lambda": "λ", "mu": "μ", "sigma": "σ", "Sigma": "Σ",
}  # fmt: skip
_NAMES = "|".join(_LETTERS)
# A Greek name or a letter with an index or a power; or the power of what ends with a bracket.
_FORMULA = re.compile(
    rf"\b(?P<name>{_NAMES}|[A-Za-z](?=[_^]))(?:_(?P<below>{_NAMES}|[a-z]))?"
    rf"(?:\^(?P<above>{_NAMES}|[0-9]+|\([^()]*\)))?(?![\w^])"
    r"|(?<=[)|])\^(?P<power>[0-9]+)"
)


def typeset(text: str) -> list[nodes.Node]:
    """Text with Greek letters for their names, and with indices and powers set."""
    found: list[nodes.Node] = []
    end = 0
    for match in _FORMULA.finditer(text):
        found.append(nodes.Text(text[end : match.start()] + _letters(match["name"] or "")))
        if match["below"]:
            found.append(nodes.subscript(text=_letters(match["below"])))
        if above := match["above"] or match["power"]:
            found.append(nodes.superscript(text=_letters(above.strip("()"))))
        end = match.end()
    return [*found, nodes.Text(text[end:])]


def _letters(text: str) -> str:
    return re.sub(rf"\b({_NAMES})\b", lambda match: _LETTERS[match[0]], text)
