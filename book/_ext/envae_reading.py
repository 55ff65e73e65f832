"""What helps in reading: minutes, numbers of tables, words that lead to the glossary, sources."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from textwrap import dedent

from bs4 import BeautifulSoup
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

WORDS_A_MINUTE, FIGURES_A_MINUTE = 200, 4
CAPTION = "<figcaption>"  # in the outputs of notebooks, where tables alone have one
WIDE = 75  # letters across a table that does not fit beside the page's contents
GLOSSARY = "book/notation"
# Pages of prose: the glossary's own, and lists of what is called so in programs, need no links.
EXPLAINED = ("notebooks/", "book/index", "book/findings", "book/errata", "book/objectives")
# Where a word is none of a sentence, or leads elsewhere already.
APART = (
    nodes.reference | nodes.title | nodes.literal | nodes.math | nodes.caption | nodes.rubric
    | nodes.term | nodes.raw | addnodes.pending_xref
)  # fmt: skip


def tell_reading_time(app: Sphinx, doctree: nodes.document) -> None:
    """Say in the box at a chapter's head how long its prose and its figures take to read."""
    for head in doctree.findall(nodes.admonition):
        if "chapter-head" in head["classes"]:
            paragraphs = doctree.findall(nodes.paragraph)
            words = sum(len(paragraph.astext().split()) for paragraph in paragraphs)
            figures = len(list(doctree.findall(nodes.figure)))
            minutes = round(words / WORDS_A_MINUTE + figures / FIGURES_A_MINUTE)
            head += nodes.paragraph("", f"About {minutes} minutes to read.", classes=["minutes"])


def number_tables(app: Sphinx, doctree: nodes.document) -> None:
    """Number a chapter's tables in their captions, link their records, and give wide ones room."""
    chapter = Path(app.env.doc2path(app.env.docname)).stem[:2]
    folders = f"{app.config.html_theme_options['repository_url']}/tree/main/"
    tables = (raw for raw in doctree.findall(nodes.raw) if CAPTION in raw.astext())
    for count, raw in enumerate(tables, 1):
        html = raw.astext()
        number = f'<span class="caption-number">Table {int(chapter)}.{count}</span> '
        html = html.replace(CAPTION, CAPTION + number, 1)
        html = re.sub(r"<code>(data/runs/\S+)</code>", rf'<a href="{folders}\1">\1</a>', html)
        raw.replace_self(nodes.raw("", html, format="html"))
        output = raw.parent
        if _letters_across(html) > WIDE:
            while output is not None and "cell_output" not in output.get("classes", []):
                output = output.parent
            if output is not None:
                output["classes"].append("full-width")


def _letters_across(html: str) -> int:
    """Letters in the widest row of a table; heads break between their words."""
    widths = [0]
    for row in BeautifulSoup(html, "html.parser").find_all("tr"):
        cells = [cell.get_text() for cell in row.find_all(["td", "th"])]
        if row.find("td") is None:
            cells = [max(cell.split(), key=len, default="") for cell in cells]
        widths.append(sum(len(cell) + 2 for cell in cells))
    return max(widths)


def load_lazily(app: Sphinx, page: str, template: str, context: dict, doctree) -> None:
    """Let a browser load a picture when it comes near: a chapter has a dozen of them."""
    first, image, rest = context.get("body", "").partition("<img ")
    context["body"] = first + image + rest.replace("<img ", '<img loading="lazy" ')


class LinkTerms(SphinxPostTransform):
    """Link the first use of each word of the glossary on a page, and show its meaning there."""

    default_priority = 6  # after myst-nb chose among an output's forms
    formats = ("html",)

    def run(self, **kwargs) -> None:
        page = self.env.docname
        if not page.startswith(EXPLAINED):
            return
        meanings = _meanings(self.env.get_doctree(GLOSSARY))
        address = self.app.builder.get_relative_uri(page, GLOSSARY)
        longest_first = sorted(map(re.escape, meanings), key=len, reverse=True)
        words = re.compile(rf"(?<![\w-])({'|'.join(longest_first)})(?![\w-])")
        for text in list(self.document.findall(nodes.Text)):
            if not _is_prose(text.parent):
                continue
            parts = []
            for piece in words.split(text.astext()):
                if (found := meanings.pop(piece, None)) is None:
                    parts.append(nodes.Text(piece))
                    continue
                anchor, meaning = found
                link = nodes.reference("", piece, internal=True, refuri=f"{address}#{anchor}")
                link["reftitle"] = meaning
                link["classes"].append("term")
                parts.append(link)
            if len(parts) > 1:
                text.parent.replace(text, parts)


def _meanings(glossary: nodes.document) -> dict[str, tuple[str, str]]:
    """For each word its anchor and its meaning."""
    found = {}
    for item in glossary.findall(nodes.definition_list_item):
        term = item.next_node(nodes.term)
        meaning = item.next_node(nodes.definition)
        if term["ids"]:  # of the glossary, not of another list
            found[term.astext()] = (term["ids"][0], meaning.astext())
    return found


def _is_prose(node: nodes.Node | None) -> bool:
    """Whether a node is a part of a paragraph, and of nothing that stands apart in it."""
    if node is None or isinstance(node, APART):
        return False
    return isinstance(node, nodes.paragraph) or _is_prose(node.parent)


def link_sources(app: Sphinx, config) -> None:
    """Let each function and class of the API pages lead to its lines in the repository."""
    files = f"{config.html_theme_options['repository_url']}/blob/main/"

    def resolve(domain: str, info: dict[str, str]) -> str | None:
        """Address of an object's source; none for what has no lines of its own."""
        if not info["module"]:
            return None
        found = importlib.import_module(info["module"])
        for name in info["fullname"].split("."):
            found = getattr(found, name, None)
        found = inspect.unwrap(getattr(found, "fget", None) or found)
        try:
            lines, first = inspect.getsourcelines(found)
            path = Path(inspect.getsourcefile(found))
        except TypeError:  # an attribute, a constant
            return None
        inside = path.as_posix().rpartition("/envae/")[2]
        return f"{files}envae/{inside}#L{first}-L{first + len(lines) - 1}"

    config.linkcode_resolve = resolve


class Source(SphinxDirective):
    """`{source} NAME`: the lines of a function or class, by its dotted name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        lines = dedent(inspect.getsource(pkgutil.resolve_name(self.arguments[0])))
        return [nodes.literal_block(lines, lines, language="python")]


def setup(app: Sphinx) -> dict:
    app.setup_extension("sphinx.ext.linkcode")
    app.connect("config-inited", link_sources)
    app.connect("html-page-context", load_lazily)
    app.connect("doctree-read", number_tables)
    app.connect("doctree-read", tell_reading_time)
    app.add_post_transform(LinkTerms)
    app.add_directive("source", Source)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
