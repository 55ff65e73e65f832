"""What this book needs of Sphinx beyond Jupyter Book.

Formulas without the internet, a line of provenance at the foot of every page, and the tables of
the ledger, whose rows, and the sections that settle them, can be linked to by the ids of claims.
"""

import importlib.util
import json
import re
import shutil
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from pathlib import Path
from textwrap import shorten
from typing import ClassVar
from urllib.parse import urlencode

from docutils import nodes
from envae_notation import typeset
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains import Domain, ObjType
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

from envae._unknown import unknown
from envae.companion import claims, figure_index, notebook_run
from envae.experiments import records, step_cost

logger = logging.getLogger(__name__)

MATHJAX = "mathjax/tex-svg-full.js"  # one file: fonts and every TeX extension are inside

# What the ledger's tables can be filtered by: column of the ledger, label, and choices.
FILTERS = {
    "paper": ("Paper", claims.PAPERS),
    "verdict": ("Verdict", {verdict: verdict for verdict in claims.VERDICTS}),
    "scale": ("Check", {scale: scale for scale in claims.SCALES}),
    "ours": ("Said by", {"False": "the papers", "True": "this book"}),
}
KIND_NAMES = {claims.STATEMENT: "Statements", claims.MEASUREMENT: "Measurements"}
OURS = "This book's own"
LEDGER_PAGE = "book/ledger"
# Scripts by what a page has that needs them.
SCRIPTS = {'class="ledger-filters"': ["ledger.js"], 'id="play"': ["decoders.js", "play.js"]}


class Claims(Domain):
    """Ids of claims as names: the search finds them, and a page refers to what they name.

    A claim names its row in the ledger (`rows`) and the section that settles it (`sections`), each
    a page and a place on it.
    """

    name, label = "claim", "Ledger"
    object_types: ClassVar = {"claim": ObjType("claim", "rows")}
    initial_data: ClassVar = {"rows": {}, "sections": {}}

    def clear_doc(self, docname: str) -> None:
        for places in (self.data["rows"], self.data["sections"]):
            for claim in [claim for claim, (page, _) in places.items() if page == docname]:
                del places[claim]

    def merge_domaindata(self, docnames, otherdata) -> None:
        for kind in self.initial_data:
            mine = {c: at for c, at in otherdata[kind].items() if at[0] in docnames}
            self.data[kind].update(mine)

    def resolve_xref(self, env, fromdocname, builder, typ, target, node, contnode):
        if target not in self.data[typ]:
            return None
        return make_refnode(builder, fromdocname, *self.data[typ][target], contnode)

    def resolve_any_xref(self, env, fromdocname, builder, target, node, contnode) -> list:
        return []  # a claim is referred to as one

    def get_objects(self):
        for claim, (page, place) in self.data["rows"].items():
            yield claim, claim, "claim", page, place, 0  # before pages that say it


def note_sections(app: Sphinx, doctree: nodes.document) -> None:
    """Note the section of a notebook that settles each of its claims: whose code names it first.

    Ids that the code puts together are not in it: theirs is the last section, of the verdicts.
    """
    page = app.env.docname
    path = Path(app.env.doc2path(page))
    if path.suffix != ".ipynb":
        return
    ledger = claims.load()
    own = ledger.index[ledger["notebook"] == path.stem]
    sections = [  # a proof is one too, without a heading
        section["ids"][0]
        for section in doctree.findall(nodes.section)
        if isinstance(section.parent, nodes.document | nodes.section)
    ]
    headings, named = 0, {}
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            headings += len(re.findall(r"^#{1,6} ", source, re.MULTILINE))
        elif cell["cell_type"] == "code":
            settled = [claim for claim in own if f'"{claim}"' in source]
            named = dict.fromkeys(settled, headings) | named
    if headings != len(sections):
        logger.warning("%s has %d headings and %d sections", path.name, headings, len(sections))
        return
    for claim in own:
        place = sections[named.get(claim, headings) - 1]
        app.env.get_domain("claim").data["sections"][claim] = (page, place)


class LinkClaims(SphinxPostTransform):
    """Make the id of a claim, as code in prose or in a notebook's table of verdicts, a link."""

    default_priority = 5  # after myst-nb chose among an output's forms, before links are resolved
    formats = ("html",)

    def run(self, **kwargs) -> None:
        known = self.env.get_domain("claim").data["rows"]
        for literal in list(self.document.findall(nodes.literal)):
            if literal.astext() in known and not _is_within_link(literal):
                literal.replace_self(_xref(literal, self.env.docname, "claim", "rows"))
        for raw in self.document.findall(nodes.raw):
            if '<table class="dataframe ledger">' in raw.astext():
                told = re.sub(r'(?<=<th scope="row">)[^<]+', self._link, raw.astext())
                raw.replace_self(nodes.raw("", told, format="html"))

    def _link(self, found: re.Match[str]) -> str:
        page = self.app.builder.get_relative_uri(self.env.docname, LEDGER_PAGE)
        return f'<a href="{page}#{_row_id(found[0])}">{found[0]}</a>'


def _is_within_link(node: nodes.Node | None) -> bool:
    """Whether a node is a part of a link, or of a title, which links to itself."""
    linked = nodes.reference | nodes.title | addnodes.pending_xref
    return node is not None and (isinstance(node, linked) or _is_within_link(node.parent))


def _row_id(claim: str) -> str:
    """Anchor of a claim's row in the ledger."""
    return f"claim-{claim}"


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
    about = urlencode({"title": f"Question about {page}"})
    ask = f"{app.config.html_theme_options['repository_url']}/issues/new?{about}"
    context["body"] += f'<p class="provenance">{line} · <a href="{ask}">Ask about this page</a></p>'


def describe(app, page, template, context, doctree) -> None:
    """Give a page its first paragraph as description, and its title once."""
    if context.get("title") == context["docstitle"]:
        context["docstitle"] = ""
    first = doctree and next(doctree.findall(nodes.paragraph), None)
    if first and 'name="description"' not in context["metatags"]:
        told = shorten(first.astext(), 160, placeholder=" …")
        context["metatags"] += f'<meta name="description" content="{escape(told)}">'


def _of_run(path: Path) -> str:
    run = json.loads(path.read_text())["metadata"].get("envae")
    if run is None:
        logger.warning("%s does not say which run it shows: make refresh", path.name)
        return "Not executed by <code>envae run</code>."
    changed = "".join(f", {name} = {value}" for name, value in run["parameters"].items())
    return (
        f"Computed with profile <code>{escape(run['profile'])}</code>{escape(changed)} · "
        f"{_commit(run)} · {_day(run)} · {escape(run['device'])} · {run['seconds']:.0f} s"
    )


@cache
def _of_build() -> str:
    manifest = records.manifest()
    return f"Text, built from {_commit(manifest)} · {_day(manifest)}"


def _commit(manifest: dict) -> str:
    commit = manifest["commit"][:7] or "unknown"
    return f"commit <code>{escape(commit)}</code>{' (modified)' if manifest['dirty'] else ''}"


def _day(manifest: dict) -> str:
    return escape(manifest["date"][:10])


def add_scripts(app, page, template, context, doctree) -> None:
    """Load a script where there is something for it to do, and nowhere else."""
    for mark, files in SCRIPTS.items():
        if doctree is not None and mark in context["body"]:
            for file in files:
                app.add_js_file(file)


def leave_out_thebe(app, page, template, context, doctree) -> None:
    """Jupyter Book adds thebe, which nothing here uses, twice: an error on every page."""
    context["script_files"] = [
        script for script in context["script_files"] if "thebe" not in str(script).lower()
    ]


def drop_deprecated_roles(app, page, template, context, doctree) -> None:
    """Roles that docutils gives to the bibliography, and that ARIA has withdrawn."""
    for role in ("doc-biblioentry", "list"):
        context["body"] = context.get("body", "").replace(f' role="{role}"', "")


class LedgerFilters(SphinxDirective):
    """`{ledger-filters}`: a form by which `ledger.js` chooses among the rows of the ledger."""

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", _filter_form(), format="html")]


class LedgerTable(SphinxDirective):
    """`{ledger-table} KIND`: every claim of a kind with its verdict, linked to what settles it.

    Rows carry their paper, verdict and scale as classes, by which `ledger.js` filters them.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        kind = self.arguments[0]
        if kind not in claims.KINDS:
            raise self.error(unknown("kind", kind, claims.KINDS))
        ledger = _ledger(self)
        ledger = ledger[ledger["kind"] == kind]
        rows = [
            [
                [*_name(claim, row), nodes.Text(f" ({row.scale}{', ours' if row.ours else ''})")],
                typeset(row.statement),
                [_verdict(row)],
                _evidence(self, row),
            ]
            for claim, row in ledger.iterrows()
        ]
        heads = ["Claim", "Statement", "Verdict", "Evidence"]
        table = _table(heads, rows, [23, 35, 16, 26], classes=["ledger"])
        named = self.env.get_domain("claim").data["rows"]
        for line, (claim, row) in zip(table.findall(_is_body_row), ledger.iterrows(), strict=True):
            line["ids"].append(_row_id(claim))
            named[claim] = (self.env.docname, _row_id(claim))
            line["classes"] += [_filter_class(column, str(row[column])) for column in FILTERS]
        return [table]


class LedgerCarrying(SphinxDirective):
    """`{ledger-carrying}`: the claims that carry the papers, with their verdicts."""

    def run(self) -> list[nodes.Node]:
        ledger = _ledger(self)
        rows = [
            [_name(claim, row), typeset(row.statement), [_verdict(row), *_scale(row)]]
            for claim, row in ledger[ledger["carries"]].iterrows()
        ]
        return [_table(["Claim", "Statement", "Verdict"], rows, [20, 46, 34], ["ledger-carrying"])]


class Replications(SphinxDirective):
    """`{replications} VERDICT`: the measurements with a verdict, a line for each with its scale."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        verdict = self.arguments[0]
        possible = claims.KINDS[claims.MEASUREMENT]
        if verdict not in possible:
            raise self.error(unknown("verdict of a measurement", verdict, possible))
        ledger = _ledger(self)
        chosen = ledger[(ledger["kind"] == claims.MEASUREMENT) & (ledger["verdict"] == verdict)]
        if chosen.empty:
            return [nodes.paragraph(text=f"None is {verdict}.")]
        listed = nodes.bullet_list(classes=["verdicts"])
        for claim, row in chosen.iterrows():
            said = [*_name(claim, row), *typeset(f": {row.statement} ")]
            line = nodes.paragraph("", "", *said, _verdict(row), nodes.Text(": "))
            line += _evidence(self, row)
            listed += nodes.list_item("", line)
        return [listed]


class LedgerCounts(SphinxDirective):
    """`{ledger-counts}`: how many claims have which verdict, as bars and a table for each kind.

    What the papers say and what is this book's own stand apart; several claims that report one
    finding are counted once in the bars, and the table says where it is so.
    """

    def run(self) -> list[nodes.Node]:
        ledger = _ledger(self)
        own = ledger["ours"]
        counted = [_claims_and_findings(ledger[~own]), _claims_and_findings(ledger[own])]
        told = f"Of the papers: {counted[0]}. Of this book's own: {counted[1]}."
        shown: list[nodes.Node] = [nodes.paragraph(text=told)]
        for kind, name in KIND_NAMES.items():
            shown += self._of_kind(name, ledger[ledger["kind"] == kind], claims.KINDS[kind])
        return shown

    def _of_kind(self, name: str, ledger, possible: Sequence[str]) -> list[nodes.Node]:
        """Bars and table of the claims of one kind, with a column for whoever says them."""
        groups = {
            label: ledger[~ledger["ours"] & (ledger["paper"] == paper)]
            for paper, label in claims.PAPERS.items()
        } | {OURS: ledger[ledger["ours"]]}
        groups = {label: group for label, group in groups.items() if not group.empty}
        verdicts = [v for v in possible if v != claims.OPEN or (ledger["verdict"] == v).any()]
        rows = [
            [
                [nodes.Text(f"{claims.SIGNS[verdict]} {verdict}")],
                *[[self._chosen(group, verdict)] for group in groups.values()],
            ]
            for verdict in verdicts
        ]
        bars = "".join(
            _bar(label, {v: claims.findings(group[group["verdict"] == v]) for v in verdicts})
            for label, group in groups.items()
        )
        return [
            nodes.paragraph("", "", nodes.strong(text=name)),
            nodes.raw(
                "", f'<div class="ledger-bars" aria-hidden="true">{bars}</div>', format="html"
            ),
            _table([name, *groups], rows, [34, *[22] * len(groups)]),
        ]

    def _chosen(self, group, verdict: str) -> nodes.Node:
        """How many claims of a paper, or of ours, have a verdict, and a link to these rows."""
        count = _count(group, verdict)
        if count == "0":
            return nodes.Text(count)
        first = group.iloc[0]
        chosen = {"verdict": verdict, "ours": str(first["ours"])}
        if not first["ours"]:
            chosen["paper"] = first["paper"]
        query = urlencode({name: nodes.make_id(value) for name, value in chosen.items()})
        page = self.env.app.builder.get_relative_uri(self.env.docname, LEDGER_PAGE)
        place = nodes.make_id(KIND_NAMES[first["kind"]])  # the heading above these rows
        return nodes.reference("", count, internal=True, refuri=f"{page}?{query}#{place}")


def _claims_and_findings(ledger) -> str:
    """12 claims, 9 findings."""
    return f"{len(ledger)} claims, {claims.findings(ledger)} findings"


def _count(ledger, verdict: str) -> str:
    """How many claims have a verdict, and how many findings where that is fewer."""
    chosen = ledger[ledger["verdict"] == verdict]
    found = claims.findings(chosen)
    fewer = f" ({found} finding{'s' if found > 1 else ''})" if found < len(chosen) else ""
    return f"{len(chosen)}{fewer}"


def _bar(name: str, counts: dict[str, int]) -> str:
    """A bar of as many parts as there are verdicts, by findings; the table below it has more."""
    parts = "".join(
        f'<span class="{_filter_class("verdict", verdict)}" style="flex-grow: {count}">'
        f"{claims.SIGNS[verdict]} {count}</span>"
        for verdict, count in counts.items()
        if count
    )
    return f'<div><b>{name}</b><div class="ledger-bar">{parts}</div></div>'


class Verdicts(SphinxDirective):
    """`{verdicts} ID ID ...`: what the ledger says of some claims, with links to the evidence."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        ledger = _ledger(self)
        listed = nodes.bullet_list(classes=["verdicts"])
        for claim in self.arguments[0].split():
            if claim not in ledger.index:
                raise self.error(unknown("claim", claim, ledger.index))
            row = ledger.loc[claim]
            said = [
                nodes.literal(text=claim),
                nodes.Text(" "),
                _verdict(row),
            ]
            line = nodes.paragraph("", "", *said, nodes.Text(": "), *_evidence(self, row))
            listed += nodes.list_item("", line)
        return [listed]


def _verdict(row) -> nodes.Node:
    return nodes.strong(text=f"{claims.SIGNS[row.verdict]} {row.verdict}")


def _name(claim: str, row) -> list[nodes.Node]:
    """Id of a claim, its paper, and the place in it."""
    return [nodes.literal(text=claim), nodes.Text(f" {claims.PAPERS[row.paper]}, {row.place}")]


def _scale(row) -> list[nodes.Node]:
    """On what a measurement was tried; nothing for a statement."""
    return [nodes.inline(text=f" on {row.tried_on}", classes=["tried-on"])] if row.tried_on else []


class FigureIndex(SphinxDirective):
    """`{figure-index} PAPER`: where the book has each figure and table of a paper."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        index, ledger = figure_index.load(), _ledger(self)
        paper = self.arguments[0]
        if paper not in set(index["paper"]):
            raise self.error(unknown("paper", paper, sorted(set(index["paper"]))))
        rows = []
        for row in index[index["paper"] == paper].itertuples():
            links = _joined(_link_to_place(self, place) for place in row.places)
            stop = [nodes.Text(". ")] if links and row.limits else []
            about = figure_index.claims_about(ledger, paper, row.name)
            by_kind = [about[about["kind"] == kind] for kind in KIND_NAMES]
            verdicts = [_joined(map(_id_and_verdict, of_kind.itertuples())) for of_kind in by_kind]
            what = [nodes.strong(text=row.name), nodes.Text(f" {row.shows}")]
            rows.append([what, links + stop + _with_literals(row.limits), *verdicts])
        self.env.note_dependency(str(Path(self.env.srcdir) / "data" / "figures.yaml"))
        heads = ["Figure or table", "In this book", *KIND_NAMES.values()]
        return [_table(heads, rows, [22, 28, 25, 25], classes=["figure-index"])]


def _id_and_verdict(claim) -> nodes.Node:
    return nodes.inline("", "", nodes.literal(text=claim.Index), nodes.Text(" "), _verdict(claim))


class Ratios(SphinxDirective):
    """`{ratios} EXPERIMENT KIND`: what `benchmarks/` recorded, and where, the smallest first.

    The content is the table's caption.
    """

    required_arguments = 1
    optional_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        stored = records.load(self.arguments[0])
        if not stored.empty and len(self.arguments) > 1:
            stored = stored[stored["kind"] == self.arguments[1]]
        if len(stored) != 1:
            raise self.error(f"{len(stored)} records of {' '.join(self.arguments)}, not one")
        record = stored.iloc[0]
        rows = [
            [
                [nodes.Text(row.Index)],
                [nodes.Text(f"{row.median:.2f}")],
                [nodes.Text(f"{row.low:.2f} to {row.high:.2f}")],
            ]
            for row in step_cost.as_table(record).sort_values("median").itertuples()
        ]
        where = f"Recorded on {record['device']}, one thread, {record['date'][:10]}, commit "
        told = nodes.paragraph(
            "", "", nodes.Text(where), nodes.literal(text=record["commit"][:7]), nodes.Text(".")
        )
        table = _table(["What", "Median ratio", "Lowest to highest"], rows, [60, 18, 22])
        return [_captioned(table, self), told]


class ChapterTimes(SphinxDirective):
    """`{chapter-times}`: seconds of the executions whose outputs this book shows.

    The content is the table's caption.
    """

    has_content = True

    def run(self) -> list[nodes.Node]:
        paths = sorted((Path(self.env.srcdir) / "notebooks").glob("*.ipynb"))
        times = {path: notebook_run.seconds(path) for path in paths}
        rows = [
            [[_link_to_place(self, f"notebooks/{path.stem}")], [nodes.Text(f"{times[path]:.0f} s")]]
            for path in sorted(paths, key=lambda path: -times[path])
        ]
        for path in paths:
            self.env.note_dependency(str(path))
        total = [[nodes.strong(text="together")], [nodes.Text(f"{sum(times.values()):.0f} s")]]
        return [_captioned(_table(["Chapter", "Time"], [*rows, total], [75, 25]), self)]


def _joined(parts: Iterable[nodes.Node]) -> list[nodes.Node]:
    """Inline nodes with a comma between them."""
    separated = [node for part in parts for node in (nodes.Text(", "), part)]
    return separated[1:]


def _with_literals(text: str) -> list[nodes.Node]:
    """Text, with what stands between backticks as code."""
    parts = text.split("`")
    return [nodes.literal(text=t) if i % 2 else nodes.Text(t) for i, t in enumerate(parts) if t]


def _link_to_place(directive: SphinxDirective, place: str) -> nodes.Node:
    """Link to a page, after the number of a figure of it or to a section; plain until written."""
    page, _, label = place.partition("#")
    name = page.removeprefix("notebooks/").removeprefix("book/")
    if page not in directive.env.found_docs:
        return nodes.Text(f"{name} (not written yet)")
    if label.startswith("fig-"):
        number = _link(directive, label, kind="numref")
        return nodes.inline("", "", number, nodes.Text(" in "), _link_to_place(directive, page))
    if label:
        return _link(directive, label, text=name, kind="ref")
    return _link(directive, f"/{page}", text=name, kind="doc")


def _link(directive: SphinxDirective, target: str, *, kind: str, text: str = "") -> nodes.Node:
    """Reference that says `text`, or what its target is called."""
    said = nodes.inline(text=text or target)
    return _xref(said, directive.env.docname, "std", kind, target, explicit=bool(text))


def _xref(
    said: nodes.Node, page: str, domain: str, kind: str, target: str = "", *, explicit: bool = True
) -> nodes.Node:
    """Reference on a page that shows a node; its target is what the node says, if not given."""
    return addnodes.pending_xref(
        "",
        said.deepcopy(),
        refdomain=domain,
        reftype=kind,
        reftarget=target or said.astext(),
        refdoc=page,
        refexplicit=explicit,
        refwarn=True,
    )


def _evidence(directive: SphinxDirective, row) -> list[nodes.Node]:
    link = _link_to_place(directive, f"notebooks/{row.notebook}")
    if isinstance(link, addnodes.pending_xref):  # that notebook is a page: to its section
        link = _xref(link[0], directive.env.docname, "claim", "sections", row.name)
    if row.verdict == claims.OPEN:
        return [nodes.Text("waits for "), link]
    tried = "; tried" if row.tried_on else ""
    return [*typeset(row.evidence + tried), *_scale(row), nodes.Text(" "), link]


def _filter_class(column: str, value: str) -> str:
    return nodes.make_id(f"{column}-{value}")


def _filter_form() -> str:
    """Hidden until `ledger.js` shows it: without JavaScript the whole table stands alone."""
    labels = []
    for column, (label, choices) in FILTERS.items():
        options = "".join(
            f'<option value="{nodes.make_id(value)}">{name}</option>'
            for value, name in choices.items()
        )
        chosen = f'<select name="{column}"><option value="">all</option>{options}</select>'
        labels.append(f"<label>{label} {chosen}</label>")
    return (
        '<form class="ledger-filters" aria-label="Filter the claims" hidden>'
        f"{''.join(labels)}<output></output></form>"
    )


def _is_body_row(node: nodes.Node) -> bool:
    return isinstance(node, nodes.row) and isinstance(node.parent, nodes.tbody)


def _ledger(directive: SphinxDirective):
    """The ledger, with the verdicts that the notebooks of this very book carry."""
    notebooks = sorted((Path(directive.env.srcdir) / "notebooks").glob("*.ipynb"))
    for notebook in notebooks:
        directive.env.note_dependency(str(notebook))
    return _read_ledger(tuple(notebooks))


@cache  # each of a hundred directives asks, and reading the notebooks takes a second
def _read_ledger(notebooks: tuple[Path, ...]):
    return claims.table(notebooks=notebooks)


def _table(heads: list[str], rows: list, widths: list[int], classes: Sequence[str] = ()):
    """A table of cells, each a list of inline nodes."""

    def line(cells) -> nodes.row:
        entries = [nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells]
        return nodes.row("", *entries)

    group = nodes.tgroup("", *[nodes.colspec(colwidth=w) for w in widths], cols=len(widths))
    group += nodes.thead("", line([[nodes.Text(head)] for head in heads]))
    group += nodes.tbody("", *[line(row) for row in rows])
    return nodes.table("", group, classes=["colwidths-given", *classes])


def _captioned(table: nodes.table, directive: SphinxDirective) -> nodes.table:
    """The table with the directive's content as its caption, and a number, which needs an id."""
    table.insert(0, nodes.title("", " ".join(directive.content)))
    table["ids"].append(nodes.make_id(" ".join([directive.name, *directive.arguments])))
    return table


def setup(app: Sphinx) -> dict:
    app.add_domain(Claims)
    app.add_post_transform(LinkClaims)
    app.connect("doctree-read", note_sections)
    app.connect("builder-inited", use_installed_mathjax, priority=100)
    app.connect("html-page-context", add_provenance)
    app.connect("html-page-context", add_scripts)
    app.connect("html-page-context", describe)
    app.connect("html-page-context", leave_out_thebe)
    app.connect("html-page-context", drop_deprecated_roles)
    app.add_directive("chapter-times", ChapterTimes)
    app.add_directive("figure-index", FigureIndex)
    app.add_directive("ledger-carrying", LedgerCarrying)
    app.add_directive("ledger-counts", LedgerCounts)
    app.add_directive("ledger-filters", LedgerFilters)
    app.add_directive("ledger-table", LedgerTable)
    app.add_directive("ratios", Ratios)
    app.add_directive("replications", Replications)
    app.add_directive("verdicts", Verdicts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
