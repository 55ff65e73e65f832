"""What this book needs of Sphinx beyond Jupyter Book.

Formulas without the internet, a line of provenance at the foot of every page, and the tables of
the ledger.
"""

import importlib.util
import json
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from envae import claims, records

logger = logging.getLogger(__name__)

PAPERS = {"xu2025": "EnVAE", "takida2022": "AR-ELBO"}
MATHJAX = "mathjax/tex-svg-full.js"  # one file: fonts and every TeX extension are inside


def use_installed_mathjax(app: Sphinx) -> None:
    """Copy one file of MathJax from its package, and load it instead of the CDN's."""
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    source = Path(package.origin).parent / "static" / MATHJAX
    target = Path(app.outdir) / "_static" / MATHJAX
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    app.config.mathjax_path = MATHJAX


def add_provenance(app, page, template, context, doctree) -> None:
    """End a page with the run, or the build, that it shows."""
    if doctree is None:
        return  # search, index: no content of their own
    path = Path(app.env.doc2path(page))
    line = _of_run(path) if path.suffix == ".ipynb" else _of_build()
    context["body"] += f'<p class="provenance">{line}</p>'


def _of_run(path: Path) -> str:
    run = json.loads(path.read_text())["metadata"].get("envae")
    if run is None:
        logger.warning("%s does not say which run it shows: make refresh", path.name)
        return "Not executed by <code>envae run</code>."
    changed = "".join(f", {name} = {value}" for name, value in run["parameters"].items())
    return (
        f"Computed with profile <code>{run['profile']}</code>{changed} · {_commit(run)} · "
        f"{_day(run)} · {run['device']} · {run['seconds']:.0f} s"
    )


@cache
def _of_build() -> str:
    manifest = records.manifest()
    return f"Text, built from {_commit(manifest)} · {_day(manifest)}"


def _commit(manifest: dict) -> str:
    commit = manifest["commit"][:7] or "unknown"
    return f"commit <code>{commit}</code>{' (modified)' if manifest['dirty'] else ''}"


def _day(manifest: dict) -> str:
    return manifest["date"][:10]


def leave_out_thebe(app, page, template, context, doctree) -> None:
    """Jupyter Book adds thebe, which nothing here uses, twice: an error on every page."""
    context["script_files"] = [
        script for script in context["script_files"] if "thebe" not in str(script).lower()
    ]


class LedgerTable(SphinxDirective):
    """`{ledger-table}`: every claim with its verdict, linked to the page that settles it."""

    def run(self) -> list[nodes.Node]:
        rows = [
            [
                [nodes.literal(text=claim), nodes.Text(f" {PAPERS[row.paper]}, {row.place}")],
                [nodes.Text(row.statement)],
                [nodes.strong(text=row.verdict)],
                [nodes.Text(row.evidence), nodes.Text(" "), *self._link(row.notebook)],
            ]
            for claim, row in _ledger(self).iterrows()
        ]
        heads = ["Claim", "Statement", "Verdict", "Evidence"]
        return [_table(heads, rows, [18, 34, 16, 32], classes=["ledger"])]

    def _link(self, notebook: str) -> list[nodes.Node]:
        page = f"notebooks/{notebook}"
        if page not in self.env.found_docs:
            return [nodes.Text(f"({notebook}, not written yet)")]
        link = addnodes.pending_xref(
            "",
            nodes.inline(text=notebook),
            refdomain="std",
            reftype="doc",
            reftarget=f"/{page}",
            refdoc=self.env.docname,
            refexplicit=True,
        )
        return [link]


class LedgerCounts(SphinxDirective):
    """`{ledger-counts}`: how many claims of each paper have which verdict."""

    def run(self) -> list[nodes.Node]:
        ledger = _ledger(self)
        present = [paper for paper in PAPERS if (ledger["paper"] == paper).any()]
        rows = []
        for verdict in claims.VERDICTS:
            of_verdict = ledger[ledger["verdict"] == verdict]
            numbers = [int((of_verdict["paper"] == paper).sum()) for paper in present]
            rows.append([[nodes.Text(verdict)], *[[nodes.Text(str(n))] for n in numbers]])
        heads = ["Verdict", *[PAPERS[paper] for paper in present]]
        return [_table(heads, rows, [40, *[20] * len(present)])]


def _ledger(directive: SphinxDirective):
    """The ledger, with the verdicts that the notebooks of this very book carry."""
    notebooks = sorted((Path(directive.env.srcdir) / "notebooks").glob("*.ipynb"))
    for notebook in notebooks:
        directive.env.note_dependency(str(notebook))
    return claims.table(notebooks=notebooks)


def _table(heads: list[str], rows: list, widths: list[int], classes: Sequence[str] = ()):
    """A table of cells, each a list of inline nodes."""

    def line(cells) -> nodes.row:
        entries = [nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells]
        return nodes.row("", *entries)

    group = nodes.tgroup("", *[nodes.colspec(colwidth=w) for w in widths], cols=len(widths))
    group += nodes.thead("", line([[nodes.Text(head)] for head in heads]))
    group += nodes.tbody("", *[line(row) for row in rows])
    return nodes.table("", group, classes=list(classes))


def setup(app: Sphinx) -> dict:
    app.connect("builder-inited", use_installed_mathjax, priority=100)
    app.connect("html-page-context", add_provenance)
    app.connect("html-page-context", leave_out_thebe)
    app.add_directive("ledger-counts", LedgerCounts)
    app.add_directive("ledger-table", LedgerTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
