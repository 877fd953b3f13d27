"""A page of a notebook or of Markdown: no scripts, figures with words, and names that links find."""

import re

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from dlt_core.reproduce import pages


def test_a_script_in_a_notebook_stays_out():
    output = new_output("display_data", {"text/html": "<b>bold</b><script src='https://example.org/x.js'></script>"})
    nb = new_notebook(cells=[new_markdown_cell("# A <script>x</script>"), new_code_cell("1 < 2", outputs=[output])])
    text = pages.notebook_page(nb, "A title")
    assert "<script" not in text
    assert "<b>bold</b>" in text
    assert "<title>A title</title>" in text


def test_a_cell_that_only_reports_is_folded_and_its_output_is_not():
    output = new_output("stream", name="stdout", text="what it says")
    hidden = new_code_cell("report = 1", outputs=[output], metadata={"tags": ["hide-input"]})
    text = pages.notebook_page(new_notebook(cells=[new_code_cell("shown = 1"), hidden]), "A title")
    assert text.count("<summary>show the code</summary>") == 1
    before, _, rest = text.partition('<details class="folded">')
    folded, _, after = rest.partition("</details>")
    assert "shown" in before
    assert "report" in folded
    assert "what it says" in after
    assert "<script" not in text


def test_a_figure_has_its_words_and_a_drawing_its_width():
    image = {"image/png": "iVBORw0KGgo="}
    outputs = [
        new_output("display_data", image, metadata={"image/png": {"alt": "2 < 3 books", "width": 700}}),
        new_output("execute_result", image, metadata={"image/png": {"alt": "“a” at 1"}}),
        new_output("display_data", image),
    ]
    text = pages.notebook_page(new_notebook(cells=[new_code_cell("drawing", outputs=outputs)]), "A title")
    drawing, chart, other = re.findall("<img [^>]+>", text)
    assert 'alt="2 &lt; 3 books"' in drawing
    assert 'width="700"' in drawing
    assert 'alt="“a” at 1"' in chart
    assert "books" not in other


def test_headings_are_named_as_on_github_and_other_names_stay():
    text = (
        "# A title\n\n## What happens if ...\n\n"
        "[there](#what-happens-if-) [word](#TD-error) [notebook](a.ipynb#Any-Thing)\n\n"
        '| word | meaning |\n| --- | --- |\n| <a id="TD-error"></a>TD error | what is left |\n'
    )
    for made in (pages.markdown_page(text, "A title"), pages.in_html(text)):
        assert '<h2 id="what-happens-if-">' in made
        assert '<a id="TD-error"></a>TD error' in made
        links = re.findall('href="([^"]*#[^"]*)"', made)
        assert {"#what-happens-if-", "#TD-error"} <= {*links}
        assert any(link.endswith("#Any-Thing") for link in links)
        assert "#what-happens-if-" in re.findall('class="anchor-link" href="([^"]*)"', made)


def test_a_table_stands_in_a_box_that_scrolls():
    table = "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
    output = new_output("display_data", {"text/html": "<table><tr><td>shown</td></tr></table>"})
    text = pages.notebook_page(new_notebook(cells=[new_markdown_cell(table), new_code_cell("", outputs=[output])]), "T")
    assert text.count("<table>") == text.count('<div class="wide"><table>') == 2
    assert text.count("</table></div>") == 2


def test_darkness_is_for_screens_alone():
    for text in (pages.markdown_page("# A title", "A title"), pages.plain_page("A title", "<p>words</p>")):
        for query in re.findall(r"@media [^{]*prefers-color-scheme[^{]*", text):
            assert query.startswith("@media screen and")
        assert "@media screen { :root { color-scheme: light dark; } }" in text
    assert "prefers-color-scheme: dark" in pages.markdown_page("# A title", "A title")


@pytest.mark.parametrize("unfolded", [True, False])
def test_what_exercises_fold_stays_folded_on_paper(unfolded):
    text = pages.notebook_page(new_notebook(cells=[new_markdown_cell("# T")]), "T", unfolded_on_paper=unfolded)
    assert ("::details-content" in text) == unfolded


def test_style_sheets_that_pages_share_are_one_beside_them():
    long, short = f"<style>{'a' * 5_001}</style>", "<style>b</style>"
    made = {name: f"<title>{name}</title>{long}{short}" for name in ("one", "other")}
    shared, sheet = pages.shared_style(made)
    assert sheet == "a" * 5_001
    assert shared["other"] == f'<title>other</title><link rel="stylesheet" href="notebook.css">{short}'
