"""The first page: the beginning of README.md, what came out, the routes, and a line for each notebook."""

import re

import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from dlt_core import CHECKOUT
from dlt_core.reproduce import front_page
from dlt_core.reproduce.links import Links
from dlt_core.reproduce.pages import in_html


def notebook(*paragraphs):
    return new_notebook(cells=[new_markdown_cell("\n\n".join(paragraphs))])


@pytest.fixture
def links():
    pages = {path: path.stem for path in (CHECKOUT / "notebooks").glob("*.ipynb")}
    more = {"README.md": "readme", "notebooks/README.md": "teaching", "figures/README.md": "results"}
    return Links(pages | {CHECKOUT / path: name for path, name in more.items()})


@pytest.fixture
def readmes(tmp_path, monkeypatch):
    """README.md and notebooks/README.md of our own, to be written."""
    (tmp_path / "notebooks").mkdir()
    for name, path in {"README": tmp_path / "README.md", "TEACHING": tmp_path / "notebooks" / "README.md"}.items():
        monkeypatch.setattr(front_page, name, path)
    front_page.README.write_text(
        "# A title\n\nWhat it is.\n\n## Install\n\nLeft out.\n\n## Found\n\n<!-- result: begin -->\n- **It is so.**\n\n"
        "<details><summary>More</summary>\n\n- a *word*\n\n</details>\n\nLast.\n<!-- result: end -->\n"
        "[Numbers](#numbers).\n\n## Numbers\n\nLeft out.\n"
    )
    front_page.TEACHING.write_text(
        "# Teaching\n\n## Ways\n\n[here](00_a.ipynb)\n\n<!-- routes: begin -->\n| route |\n| --- |\n| short |\n"
        "<!-- routes: end -->\n\n## Other\n\nLeft out.\n"
    )
    return Links({front_page.README: "readme", tmp_path / "notebooks" / "00_a.ipynb": "00_a"})


def test_it_is_made_of_the_parts_that_the_files_hold(readmes):
    goal = notebook("# 00 · A < B", "**Goal.** To [begin](00_a.ipynb), and *then* to see.")
    text = front_page.front_page({"00_a": goal, "exercises-00_a": goal}, {"guide": "The guide"}, readmes)
    assert "<title>A title</title>" in text
    shown = ("What it is.", "It is so.", "<summary>More</summary>", "<em>word</em>", "</details>", "short")
    places = [text.index(words) for words in (*shown, "00 · A &lt; B", "playground.html", "guide.html")]
    assert places == sorted(places)
    assert "Left out" not in text
    assert '<a href="readme.html#numbers">Numbers</a>' in text, "another part of the same file"
    assert '<a href="00_a.html">here</a>' in text
    assert '<a href="00_a.html">begin</a>, and <em>then</em> to see.' in text
    assert text.count('href="exercises-00_a.html"') == 1
    assert re.findall('<a href="#(.*?)">', text)[:4] == ["found", "ways", "notebooks", "more"]


@pytest.mark.parametrize(("file", "mark"), [("README", "result"), ("TEACHING", "routes")])
def test_a_file_without_the_marks_is_refused(readmes, file, mark):
    path = getattr(front_page, file)
    path.write_text(path.read_text().replace(f"{mark}: begin", "gone: begin"))
    with pytest.raises(ValueError, match=f"lacks the marks of its table '{mark}'"):
        front_page.front_page({}, {}, readmes)


def test_the_committed_files_give_picture_sentences_and_routes(links):
    text = front_page.front_page({}, {}, links)
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert CHECKOUT / "figures" / "fig_tie_map_evolution.png" in links.files
    picture = text.index('src="figures/fig_tie_map_evolution.png"')
    caption = in_html(re.search(r"^\*(?!\*)(.+)\*$", readme, re.MULTILINE).group(1))
    assert re.sub("<[^>]*>", "", caption).strip() in re.sub("<[^>]*>", "", text[picture:])
    _, _, rest = readme.partition("<!-- result: begin -->")
    sentences = re.findall(r"^- (\*\*.+)$", rest.partition("<!-- result: end -->")[0], re.MULTILINE)
    assert len(sentences) >= 3
    assert 'href="results.html#what-could-have-told-anything">' in text, "a link in a sentence leads to the page"
    for sentence in sentences:
        assert re.sub("<[^>]*>", "", in_html(sentence)).strip() in re.sub("<[^>]*>", "", text)
    _, _, rest = (CHECKOUT / "notebooks" / "README.md").read_text(encoding="utf-8").partition("<!-- routes: begin -->")
    rows = rest.partition("<!-- routes: end -->")[0].strip().splitlines()[2:]
    assert len(rows) == 3
    for cell in [cell.strip() for row in rows for cell in row.strip("|").split("|")]:
        assert f"<td>{cell}</td>" in text


def test_a_line_about_a_notebook_is_the_first_sentences_of_its_goal():
    long = "A sentence that is long enough to say alone what the whole notebook is about, from its first word on."
    assert front_page.about(notebook("# Title", f"**Goal.** {long} Another one.", "More.")) == long
    short = "Two data sets. Which of the two?\nThat\nis it."
    assert (
        front_page.about(notebook("# Title", f"**Goal.** {short}", long))
        == "Two data sets. Which of the two? That is it."
    )
    assert front_page.about(notebook("# Title", long)) == ""
