"""Each kind of fault that `make check-book` looks for, planted in a page of its own."""

import shutil

import pytest
from book_scripts import script

SOUND = """<p>A price of $5, <code>```</code> and a code in <span class="math">
    <mjx-container><svg></svg></mjx-container></span></p>
    <div class="cell_output"><figure><figcaption>Distances.</figcaption><table><tr><td>1.0</td>
    </tr></table></figure></div><div style="overflow-x: auto"><p style="width: 900px">wide</p></div>
    """
PLANTED = {
    "image without a text": '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
    "formula not rendered": '<span class="math">\\alpha</span>',
    "formula on its number": """<div class="math" style="position: relative">
        <span class="eqno" style="position: absolute; left: 10px">(21)</span>
        <mjx-container><svg width="300" height="20"></svg></mjx-container></div>""",
    "wider than the window": '<div style="width: 900px">wide</div>',
    "text or formula cut off": """<div style="overflow: hidden">
        <p style="width: 900px">a formula</p></div>""",
    "markup shown as it was written": "<p>see {ref}`the bridge`</p>",
    "table cut short": "<table><tr><td>1</td><td>...</td></tr></table>",
    "a program's word in a table": "<table><tr><td>True</td></tr></table>",
    "table without a caption": """<div class="cell_output"><table><tr><td>1</td></tr></table>
        </div>""",
}
MARKUP = ["<p>```{prf:theorem}</p>", "<td>$d_z$ of the code</td>", "<li>{admonition} Claims</li>"]


@pytest.fixture(scope="module")
def faults():
    """The kinds of faults that are found in the content of an article, 400 pixels wide."""
    pytest.importorskip("playwright", reason="the package playwright is not installed")
    check = script("check")
    if not any(map(shutil.which, check.BROWSERS)):
        pytest.skip("no Chromium here")
    with check.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=check.find_browser(), args=check.QUIET)
        page = browser.new_page(viewport={"width": 400, "height": 900})

        def found(content):
            page.set_content(f"<!doctype html><article>{content}</article>")
            return {fault.split(":")[0] for fault in check.looked_at(page)}

        yield found
        browser.close()


def test_a_sound_page_has_none(faults):
    assert faults(SOUND) == set()


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_fault_is_found(faults, kind):
    assert kind in faults(SOUND + PLANTED[kind])


@pytest.mark.parametrize("markup", MARKUP)
def test_markup_is_found_in_whatever_holds_it(faults, markup):
    assert "markup shown as it was written" in faults(f"<table>{markup}</table>{markup}")
