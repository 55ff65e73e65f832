"""Print the built book into one file: all pages of _toc.yml, in its order.

    make pdf

The pages become one document, so that links lead from page to page, sheets are numbered through and
headings become bookmarks. As a reader of a paper has it: without the code of cells that only draw
or count, with all other code, proofs and solutions. The page that says how to make the file then
leads to it. Needs the browser that `make check-book` needs.
"""

import logging
from html import escape
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import yaml
from bs4 import BeautifulSoup, Tag
from check import FORMULAS_DONE, QUIET, built_pages, find_browser
from playwright.sync_api import sync_playwright
from pypdf import PdfWriter
from pypdf.generic import NameObject, TextStringObject

MADE = Path("_static/envae.pdf")
OFFERED = Path("book/reproduce.html")  # has a place for the link
PLACE = '<span id="the-pdf">'
STYLE = Path(__file__).with_suffix(".css").resolve().as_uri()
WIDTH = 673  # pixels between the margins of a sheet
NUMBERS = '<p style="width: 100%; font-size: 8px; text-align: center" class="pageNumber"></p>'
# What is for a screen alone, and cells whose code is folded there.
LEFT_OUT = """script, noscript, #play, .headerlink, .viewcode-link, .ledger-filters,
    details.above-input, details.hide > summary"""
# Tables and formulas that are wider than the sheet become smaller.
FIT = """document.querySelectorAll("table, mjx-container[display] > svg").forEach((box) => {
    const room = box.parentElement.clientWidth, width = box.getBoundingClientRect().width;
    if (room && width > room) box.style.zoom = room / width;
})"""


def main(html: Path, names: list[str]) -> int:
    """Print the pages of these names; returns how many sheets they take."""
    built_pages(html)
    whole, document, made = joined(html.resolve(), names), html / "whole.html", html / MADE
    document.write_text(str(whole))
    try:
        _print(document, made)
    finally:
        document.unlink()
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # the browser counts objects differently
    writer = PdfWriter(clone_from=made)
    headings = whole.find_all(["h1", "h2", "h3", "h4"])
    _name(writer.get_outline_root().get("/First"), (" ".join(h.text.split()) for h in headings))
    writer.add_metadata({"/Title": headings[0].text})
    writer.write(made)
    told = f"{len(writer.pages)} sheets, {made.stat().st_size / 1e6:.1f} MB"
    if (page := html / OFFERED).exists():
        before, _, after = page.read_text().partition(PLACE)
        link = f'{PLACE}<a href="../{MADE}">{MADE.name}</a>, {told}'
        page.write_text(before + link + after[after.find("</span>") :])
    print(f"The book: file://{made.resolve()}, {told}")
    return len(writer.pages)


def joined(html: Path, names: list[str]) -> BeautifulSoup:
    """One document of the articles of the pages, whose links and ids name the page too."""
    pages = {html / f"{name}.html": name for name in names}
    soups = {path: BeautifulSoup(path.read_text(), "html.parser") for path in pages}
    for path, soup in soups.items():
        _lead_from_anywhere(soup, path, pages)
        for part in soup.article.select(LEFT_OUT):
            part.decompose()
        for part in soup.article.select("details"):
            part.name = "div"
        for part in soup.article.select(".cell"):
            if not part.text.strip() and not part.img:
                part.decompose()
        for part in soup.article.select(".math"):  # one thing with a text, not many strokes
            part["role"], part["aria-label"] = "img", part.text
        for part in soup.article.select("[id]"):
            part["id"] = f"{pages[path]}:{part['id']}"
        for part in soup.article.select("[loading]"):
            del part["loading"]
        soup.article["id"] = pages[path]
    articles = [soup.article for soup in soups.values()]
    whole = soups[html / f"{names[0]}.html"]
    for script in whole.head.find_all("script"):
        if "mathjax" not in str(script).lower():
            script.decompose()
    whole.head.append(whole.new_tag("link", rel="stylesheet", href=STYLE))
    whole.html["data-theme"] = "light"
    whole.body.clear()
    whole.body.extend([_cover(articles), *articles])
    return whole


def _cover(articles: list[Tag]) -> Tag:
    """The first sheet: title, which build this is, and the pages."""
    titles = [escape(article.h1.text) for article in articles]
    items = "".join(
        f'<li><a href="#{escape(article["id"])}">{title}</a></li>'
        for article, title in zip(articles, titles, strict=True)
    )
    built = escape(articles[0].select_one(".provenance").text.rpartition(" · ")[0])
    cover = f"""<article><p class="title">{titles[0]}</p><p>{built}</p><p>Code that only
        draws or counts is left out here; the notebooks have it.</p><ol>{items}</ol></article>"""
    return BeautifulSoup(cover, "html.parser").article


def _lead_from_anywhere(soup: BeautifulSoup, path: Path, pages: dict[Path, str]) -> None:
    """Make addresses whole, and links between the pages links inside the document."""
    for kind in ("href", "src"):
        for tag in soup.select(f"[{kind}]"):
            address, place = urldefrag(urljoin(path.as_uri(), tag[kind]))
            name = pages.get(Path(unquote(address.partition("?")[0].removeprefix("file://"))))
            if name is not None:
                tag[kind] = f"#{name}:{place}" if place else f"#{name}"
            elif tag.name == "a" and address.startswith("file:"):
                del tag[kind]  # a file beside the pages
            else:
                tag[kind] = f"{address}#{place}" if place else address


def _print(document: Path, made: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=QUIET)
        page = browser.new_page(viewport={"width": WIDTH, "height": 1000}, color_scheme="light")
        page.set_default_timeout(0)  # there are thousands of formulas
        page.emulate_media(media="print")
        page.goto(document.resolve().as_uri())
        page.wait_for_function(FORMULAS_DONE)
        page.evaluate(FIT)
        page.pdf(
            path=made, prefer_css_page_size=True, print_background=True, outline=True, tagged=True,
            display_header_footer=True, header_template="<p></p>", footer_template=NUMBERS,
        )  # fmt: skip
        browser.close()


def _name(bookmark, titles) -> None:
    """Give bookmarks the text of their headings: the browser tells lines of one twice."""
    while bookmark is not None:
        bookmark = bookmark.get_object()
        bookmark[NameObject("/Title")] = TextStringObject(next(titles))
        _name(bookmark.get("/First"), titles)
        bookmark = bookmark.get("/Next")


def names_of(contents: dict) -> list[str]:
    """Names of the pages of a table of contents, in order."""
    chapters = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    return [contents["root"], *chapters]


if __name__ == "__main__":
    main(Path("_build/html"), names_of(yaml.safe_load(Path("_toc.yml").read_text())))
