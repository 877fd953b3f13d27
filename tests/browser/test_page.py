"""The page without a kernel and without a network, in a browser."""

import json
import re

import pytest

from dlt_core.records.record import RunRecord
from dlt_core.reproduce import pages, site
from dlt_core.tie_map import TieMap
from dlt_core.widgets.base import module
from dlt_core.widgets.shapes import LOGITS_AT_ONCE, memory, shapes
from tests.browser import operate


@pytest.fixture(scope="module")
def playground(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "playground.html"
    path.write_text(site.playground_page(), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, playground):
    """The page in a browser without a network; whatever goes wrong in it ends the test."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, offline=True)
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: wrong.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(playground.as_uri())
    yield page
    context.close()
    assert wrong == []


def test_every_widget_can_be_operated(opened):
    operate.tie_map_editor(opened.locator('[data-dlt="tie_map_editor"]'))
    record = RunRecord.load(site.RECORDS / "gpt2-embedded-laptop-dynamic-seed0.json")
    operate.stepper(opened.locator('[data-dlt="stepper"]'), record)
    operate.memory_explorer(opened.locator('[data-dlt="memory_explorer"]'))


def test_nothing_is_wider_than_the_page(browser, playground, picture):
    for width, height in ((1400, 900), (900, 800), (480, 800)):
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            page.goto(playground.as_uri())
            picture(page, f"page-{width}-{scheme}", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            for root in page.locator("[data-dlt]").all():
                assert root.evaluate("el => el.scrollWidth <= el.clientWidth + 1"), root.get_attribute("data-dlt")
            ink, paper = page.locator("[data-dlt]").first.evaluate(
                "el => [getComputedStyle(el).color, getComputedStyle(document.body).backgroundColor]"
            )
            assert ("255, 255, 255" in ink) == (scheme == "dark"), (ink, paper)
            context.close()


def test_every_control_has_a_name(opened):
    for control in opened.locator("[data-dlt] :is(button, input, select, [role=button], [role=radio])").all():
        named = control.evaluate("el => el.ariaLabel || el.innerText || el.closest('label')?.innerText")
        assert named, control.evaluate("el => el.outerHTML")


def test_the_widgets_closed_forms_are_pythons(opened):
    """For every model, number of weight sets, and a few batches; and every pattern of every depth up to 13."""
    text = module("tie_map_editor", "accounting").replace("export default", "const widget =")
    asked = [
        [shape, groups, batch, checkpointing]
        for shape in shapes().values()
        for groups in range(1, shape["n_layer"] + 1)
        for batch in (1, 2, 5, 16, 64)
        for checkpointing in (False, True)
    ]
    found = opened.evaluate(
        f"([asked, atOnce]) => {{ {text}\n return asked.map((question) => memoryOf(...question, atOnce)); }}",
        [asked, LOGITS_AT_ONCE],
    )
    for question, numbers in zip(asked, found, strict=True):
        assert numbers == memory(*question), json.dumps(question)
    named = [
        [name, n, m]
        for n in range(1, 14)
        for m in range(1, n + 1)
        for name in ("sequence", "cycle", "cycle_rev", "sandwich")
    ] + [[name, n, 1] for n in range(1, 14) for name in ("pairs", "mirror")]
    patterns = opened.evaluate(f"(named) => {{ {text}\n return named.map((of) => pattern(...of)); }}", named)
    for (name, n, m), sources in zip(named, patterns, strict=True):
        assert sources == list(TieMap.pattern(name, n, None if name in ("pairs", "mirror") else m)), (name, n, m)


def test_a_notebooks_page_reads_offline_and_follows_the_theme(browser, tmp_path, picture):
    import nbformat

    nb = nbformat.read(site.NOTEBOOKS / "01_tying_layers.ipynb", as_version=4)
    path = tmp_path / "01_tying_layers.html"
    path.write_text(pages.notebook_page(nb, "01"), encoding="utf-8")
    context = browser.new_context(viewport={"width": 900, "height": 800}, offline=True, color_scheme="dark")
    page = context.new_page()
    page.goto(path.as_uri())
    formula = page.locator("math[display=block] mfrac").first
    formula.scroll_into_view_if_needed()
    numerator, denominator = (formula.locator("> *").nth(i).bounding_box() for i in (0, 1))
    assert numerator["y"] + numerator["height"] <= denominator["y"] + 1, "drawn as a fraction"
    assert page.locator("img").first.evaluate("el => el.naturalWidth") > 100
    for scheme, paper in (("dark", "rgb(17, 17, 17)"), ("light", "rgb(255, 255, 255)")):
        page.emulate_media(color_scheme=scheme)
        picture(page, f"notebook-900-{scheme}")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
        words = page.locator(".jp-RenderedMarkdown p").first.evaluate("el => getComputedStyle(el).color")
        assert (int(re.search(r"\d+", words).group()) > 127) == (scheme == "dark"), words
    context.close()


ROWS = [[f"column {i}" for i in range(11)], ["---"] * 11, ["+0.047 ± 0.025"] * 11]
WIDE = "\n".join(f"| {' | '.join(row)} |" for row in ROWS)
WIDE += "\n\n[a link](other.html)\n\n<details><summary>More</summary>\n\nfolded\n\n</details>\n"


@pytest.mark.parametrize("kind", ["notebook", "plain"])
def test_on_a_narrow_screen_a_wide_table_scrolls_and_the_page_does_not(browser, tmp_path, kind):
    path = tmp_path / "page.html"
    made = pages.markdown_page(WIDE, "A page") if kind == "notebook" else pages.plain_page("", pages.in_html(WIDE))
    path.write_text(made, encoding="utf-8")
    page = browser.new_page(viewport={"width": 380, "height": 800})
    page.goto(path.as_uri())
    table = page.locator(".wide")
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    assert table.bounding_box()["x"] + table.bounding_box()["width"] <= 380
    assert table.evaluate("el => { el.scrollLeft = 9999; return el.scrollLeft; }") > 100
    page.close()


@pytest.mark.parametrize("kind", ["notebook", "plain"])
def test_on_paper_a_wide_table_fits_nothing_is_folded_or_dark_and_links_are_words(browser, tmp_path, kind):
    path = tmp_path / "page.html"
    made = pages.markdown_page(WIDE, "A page") if kind == "notebook" else pages.plain_page("", pages.in_html(WIDE))
    path.write_text(made, encoding="utf-8")
    page = browser.new_page(viewport={"width": 680, "height": 800}, color_scheme="dark")  # A4 without its margins
    page.goto(path.as_uri())
    folded = page.get_by_text("folded")
    table = page.locator(".wide").evaluate_handle("el => el.firstElementChild")
    assert not folded.is_visible()
    assert table.evaluate("el => el.getBoundingClientRect().right") > 680
    page.emulate_media(media="print", color_scheme="dark")
    assert folded.is_visible()
    assert table.evaluate("el => el.getBoundingClientRect().right") <= 680
    ink = "el => ['color', 'backgroundColor', 'textDecorationLine'].map((name) => getComputedStyle(el)[name])"
    words, paper, _ = page.locator("body").evaluate(ink)
    assert paper in ("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)")
    assert "255" not in words
    link, _, line = page.get_by_text("a link").evaluate(ink)
    assert (link, line) == (page.locator("p", has_text="a link").evaluate(ink)[0], "none")
    page.close()
