"""Open every page of the built book in a real browser, in both themes and two widths.

    make check-book

Fails on errors in the console, requests that leave the page, what `check.js` lists (images that are
missing or lack a text, formulas that were not rendered or lie on their numbers, text that is cut
off, markup shown as it was written, tables cut short or without a caption), violations of
accessibility rules (axe-core), links inside the book that lead nowhere, first visits that load too
much, decoders that do not follow their sliders, and a ledger whose filter is not in its
address. Screenshots go to `_build/screenshots`.
Needs Chromium (Debian: `apt install chromium`) or Chrome.
"""

import gzip
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Page, sync_playwright

THEMES = ("light", "dark")
WIDTHS = (1300, 400)  # pixels: a desk, a phone
# Bytes of a first visit, compressed as a server does: the theme takes 1.0 MB, MathJax 0.7.
HEAVIEST = 2.25e6
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Nothing that a browser does by itself may count as a request of the page.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FORMULAS_DONE = """() => !document.querySelector('script[src*="mathjax"]')
    || (window.MathJax?.startup?.promise?.then(() => true) ?? false)"""
LOOKS = Path(__file__).with_suffix(".js").read_text()


def main(html: Path, screenshots: Path) -> int:
    """Check all pages; print what is wrong, and return how many things are."""
    pages = built_pages(html)
    screenshots.mkdir(parents=True, exist_ok=True)
    faults = [(html, fault) for fault in dead_links(pages, html)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=QUIET)
        for page in pages:
            name = page.relative_to(html).with_suffix("").as_posix().replace("/", "_")
            faults += [
                (page, fault)
                for theme in THEMES
                for width in WIDTHS
                for fault in _look_at(browser, page, theme, width, screenshots / name)
            ]
        for name, tried in TRIED.items():
            faults += [(html / name, fault) for fault in tried(browser, html / name)]
        browser.close()
    for page, fault in faults:
        print(f"{page.relative_to(html)}: {fault}")
    print(f"{len(pages)} pages in {' and '.join(THEMES)}: {len(faults) or 'nothing'} to mend")
    return len(faults)


def built_pages(html: Path) -> list[Path]:
    """Pages of the book; the one of addresses that do not exist has links for a server alone."""
    pages = sorted(
        path for path in html.rglob("*.html")
        if "_static" not in path.parts and path.name != "404.html"
    )  # fmt: skip
    if not pages:
        sys.exit(f"there is no book in {html}: make book")
    return pages


def find_browser() -> str:
    """Path of a Chromium, or the end of the program."""
    named = [os.environ["CHROMIUM"]] if "CHROMIUM" in os.environ else BROWSERS
    found = next(filter(None, map(shutil.which, named)), None)
    if found is None:
        sys.exit(f"no browser ({', '.join(named)}): apt install chromium, or CHROMIUM=/path/to/it")
    return found


def _look_at(
    browser: Browser, path: Path, theme: str, width: int, screenshot: Path
) -> Iterator[str]:
    """What is wrong with one page in one theme at one width."""
    where = f"{theme}, {width} px"
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce"
    )
    page = context.new_page()
    loaded: set[str] = set()
    page.on("request", lambda request: loaded.add(urldefrag(request.url).url))
    page, events = _opened(page, path.resolve().as_uri())
    page.wait_for_function(FORMULAS_DONE)
    page.screenshot(path=f"{screenshot}.{theme}.{width}.png", full_page=True)
    yield from (f"{where}: {event}" for event in events)
    yield from (f"{where}: {fault}" for fault in looked_at(page))
    if width == WIDTHS[0]:  # the same elements, slowly looked at
        yield from (f"{where}: {violation}" for violation in _violations(page))
        weight = sum(map(_weight, loaded))
        if weight > HEAVIEST:
            yield f"{where}: a first visit loads {weight / 1e6:.1f} MB"
    context.close()


@cache
def _weight(url: str) -> int:
    """Bytes of a file as a server sends it; what is no file of the book is part of its page."""
    path = Path(unquote(urlsplit(url).path))
    return len(gzip.compress(path.read_bytes())) if url.startswith("file:") else 0


def looked_at(page: Page) -> Iterator[str]:
    """What check.js finds in a page that is shown."""
    for name, places in page.evaluate(LOOKS).items():
        yield from (f"{name}: {place}" for place in places)


def _opened(page: Page, address: str) -> tuple[Page, list[str]]:
    """The page at an address, and its errors and foreign requests, a list that grows."""
    events: list[str] = []
    page.on("console", lambda m: events.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: events.append(str(error)))
    page.on("request", lambda r: events.append(r.url) if _is_foreign(r.url) else None)
    page.goto(address)
    return page, events


def _decoders_follow(browser: Browser, path: Path) -> Iterator[str]:
    """What is wrong with the decoders: canvases that stay as they were, errors, requests."""
    page, events = _opened(browser.new_page(), path.resolve().as_uri())
    page.locator("#play").wait_for()
    canvases = page.locator("#play [data-model] canvas.large")
    shown = [canvas.evaluate("canvas => canvas.toDataURL()") for canvas in canvases.all()]

    first, second = page.locator("#play input[type=range]").all()
    moves: dict[str, Callable[[], object]] = {
        "first slider, by a key": lambda: first.press("PageUp"),
        "second slider, by a key": lambda: second.press("PageUp"),
        "a test image": lambda: page.locator("#play select").select_option("4"),
        "a step beside it": lambda: page.locator("#play .beside").click(),
        "at its mean": lambda: page.locator("#play .mean").click(),
    }
    for name, move in moves.items():
        move()
        now = [canvas.evaluate("canvas => canvas.toDataURL()") for canvas in canvases.all()]
        stayed = [k for k, (a, b) in enumerate(zip(shown, now, strict=True)) if a == b]
        if stayed or len(now) != 3:
            yield f"{name}: of {len(now)} decoders, these do not follow: {stayed}"
        shown = now
    yield from events
    page.close()


def _filter_is_in_address(browser: Browser, path: Path) -> Iterator[str]:
    """What is wrong with the ledger's filter: a choice that the address lacks, or does not give."""
    told = "document.querySelector('.ledger-filters output').value"
    page, events = _opened(browser.new_page(), path.resolve().as_uri())
    everything = page.evaluate(told)
    page.locator("select[name=verdict]").select_option("holds")
    address, chosen = page.url, page.evaluate(told)
    page.goto("about:blank")
    page.goto(address)
    if chosen == everything or page.evaluate(told) != chosen:
        yield f"{chosen} was chosen, and {address} gives {page.evaluate(told)}"
    yield from events
    page.close()


# Pages that do something, and what tries it.
TRIED = {"book/play.html": _decoders_follow, "book/ledger.html": _filter_is_in_address}


def _is_foreign(url: str) -> bool:
    return not url.startswith(("file:", "data:", "blob:"))


def _violations(page: Page) -> Iterator[str]:
    """Rules of WCAG 2.1 AA that axe-core finds broken, each with the first place."""
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    for rule in Axe().run(page, options=options).response["violations"]:
        nodes = rule["nodes"]
        yield f"{rule['id']} ({len(nodes)}): {nodes[0]['html'][:200]}"


def dead_links(pages: list[Path], html: Path) -> Iterator[str]:
    """Links from page to page, or to a place in one, that lead nowhere."""
    soups = {path: BeautifulSoup(path.read_text(), "html.parser") for path in pages}
    places = {path: {tag["id"] for tag in soup.find_all(id=True)} for path, soup in soups.items()}
    for path, soup in soups.items():
        for link in soup.find_all("a", href=True):
            target, place = urldefrag(unquote(link["href"]))
            target = target.partition("?")[0]  # a choice among the rows of the ledger
            if ":" in target.split("/")[0] or target.startswith("//"):
                continue  # another site
            file = (path.parent / target).resolve() if target else path.resolve()
            known = places.get(html.resolve() / file.relative_to(html.resolve()))
            if not file.exists() or (place and known is not None and place not in known):
                yield f"{path.relative_to(html)}: dead link {link['href']}"


if __name__ == "__main__":
    sys.exit(main(Path("_build/html"), Path("_build/screenshots")) > 0)
