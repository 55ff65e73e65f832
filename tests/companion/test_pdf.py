"""The book as a PDF: two pages become one file whose links and bookmarks lead to their places."""

import shutil

import pytest
from book_scripts import BOOK, script

PAGE = """<!doctype html><html><head><title>Book</title></head><body><nav>no part of it</nav>
    <article><section id="begin"><h1>{title}</h1><p><a href="{link}">further</a></p><details
    class="hide above-input"><summary>code</summary>plumbing</details><details class="hide">
    <summary>table</summary>folded</details></section><p class="provenance">commit · ask</p>
    </article></body></html>"""
OFFER = PAGE.replace("commit", 'Here: <span id="the-pdf">nothing</span>.')


@pytest.fixture
def pdf(monkeypatch):
    pytest.importorskip("playwright", reason="the package playwright is not installed")
    pytest.importorskip("pypdf", reason="the package pypdf is not installed")
    monkeypatch.syspath_prepend(BOOK)
    return script("pdf")


@pytest.fixture
def html(tmp_path):
    for name in ("book", "notebooks", "_static"):
        (tmp_path / name).mkdir()
    first = OFFER.format(title="A first page", link="../notebooks/02.html#begin")
    (tmp_path / "book" / "reproduce.html").write_text(first)
    second = PAGE.format(title="A second", link="../book/reproduce.html")
    (tmp_path / "notebooks" / "02.html").write_text(second)
    return tmp_path


def test_two_pages_in_one_file(pdf, html):
    from check import BROWSERS

    if not any(map(shutil.which, BROWSERS)):
        pytest.skip("no Chromium here")
    assert pdf.main(html, ["book/reproduce", "notebooks/02"]) == 3  # a cover, and these
    from pypdf import PdfReader

    made = PdfReader(html / pdf.MADE)
    sheets = {mark.title: made.get_destination_page_number(mark) for mark in made.outline}
    assert sheets == {"A first page": 1, "A second": 2}
    assert all("/URI" not in str(page.get("/Annots")) for page in made.pages)
    told = "".join(page.extract_text() for page in made.pages)
    assert "folded" in told
    assert not any(word in told for word in ("plumbing", "no part", "code"))
    assert "envae.pdf</a>, 3 sheets" in (html / pdf.OFFERED).read_text()
    assert not (html / "whole.html").exists()


def test_links_lead_to_pages_inside_and_nowhere_else(pdf, html):
    whole = pdf.joined(html, ["book/reproduce", "notebooks/02"])
    links = [link["href"] for link in whole.select("section a")]
    assert links == ["#notebooks/02:begin", "#book/reproduce"]
    assert all(whole.find(id=link[1:]) for link in links)
    alone = pdf.joined(html, ["book/reproduce"])
    assert alone.select_one("section a").get("href") is None


def test_the_cover_shows_the_text_of_a_heading_and_runs_none_of_it(pdf, html):
    told = "&lt;script&gt;a &amp; &quot;b&quot;&lt;/script&gt;"
    page = PAGE.replace("commit", told).format(title=told, link="x")
    (html / "notebooks" / '"02.html').write_text(page)
    whole = pdf.joined(html, ['notebooks/"02'])
    title, built, _ = whole.article.find_all("p")
    item = whole.article.li.a
    assert [part.text for part in (title, built, item)] == 3 * ['<script>a & "b"</script>']
    assert item["href"] == '#notebooks/"02'
    assert not whole.body.find("script")


def test_without_a_book_one_line_says_so(pdf, tmp_path):
    with pytest.raises(SystemExit, match=r"there is no book in .*: make book"):
        pdf.main(tmp_path, ["book/index"])
