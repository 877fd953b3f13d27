"""The command `html`: pages that lead to each other, need nothing from outside, and show what the notebooks show."""

import re
from html.parser import HTMLParser

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from dlt_core.__main__ import main
from dlt_core.reproduce import site
from dlt_core.widgets.stepper import LINES


class Page(HTMLParser):
    """What a page links to, what it fetches, what it can be led to, its scripts."""

    def __init__(self, text):
        super().__init__()
        self.links, self.fetched, self.ids, self.scripts = [], [], set(), 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids.add(values.get("id"))
        self.scripts += tag == "script"
        self.links += [values["href"]] if tag == "a" and "href" in values else []
        self.fetched += [values["src"]] if "src" in values else []
        self.fetched += [values["href"]] if tag == "link" else []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    assert main(["html", str(folder)]) == 0
    return folder


def test_everything_is_there_and_small_enough_to_mail(folder):
    names = {path.stem for path in site.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")}
    exercises = {f"exercises-{path.stem}" for path in (site.NOTEBOOKS / "exercises").glob("*.ipynb")}
    assert len(exercises) == 9
    others = {"index", "guide", "teaching", "playground"}
    assert {path.stem for path in folder.glob("*.html")} == names | exercises | others
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12e6
    assert {f"{name}.html" for name in names | exercises} <= {*Page((folder / "index.html").read_text()).links}


def test_every_link_arrives_and_nothing_comes_from_outside(folder):
    pages = {path.name: Page(path.read_text(encoding="utf-8")) for path in folder.glob("*.html")}
    for name, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if re.match("https?:", target):
                continue
            assert (target or name) in pages, f"{name} leads to {link}"
            assert not anchor or anchor in pages[target or name].ids, f"{name} leads to {link}"
        assert all(what == "notebook.css" or what.startswith("data:") for what in page.fetched), name
        assert page.scripts == 0 or name == "playground.html"
    assert not re.search(r"@import|url\(\s*['\"]?https?:", (folder / "notebook.css").read_text(encoding="utf-8"))


def test_a_notebook_leads_to_its_exercises_and_to_what_its_words_mean(folder):
    there, back = "exercises-03_algorithm_1.html", "03_algorithm_1.html"
    links = Page((folder / back).read_text(encoding="utf-8")).links
    assert {there, "teaching.html#words-and-symbols"} <= {*links}
    text = (folder / there).read_text(encoding="utf-8")
    assert back in Page(text).links
    folded = text.index("<summary>A solution of task 2</summary>")
    assert text[:folded].endswith("<details>")
    assert text.rindex("check_turn", 0, folded) > text.index("2 · A turn by hand"), "behind its check"
    assert "end_episode" in text[folded : text.index("</details>", folded)]


def test_formulas_are_mathml_and_outputs_are_there(folder):
    text = (folder / "01_tying_layers.html").read_text(encoding="utf-8")
    assert re.search('<math [^>]*display="block"', text)
    assert "<mfrac>" in text
    assert not re.search(r"\$[^$<>]*\\(frac|mathcal|sum)", text)
    nb = nbformat.read(site.NOTEBOOKS / "01_tying_layers.ipynb", as_version=4)
    figures = [o for c in nb.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert text.count("data:image/png") == len(figures)
    assert 'href="playground.html"' in text, "a widget leads to where it is alive"


def test_a_script_in_a_notebook_stays_out():
    output = new_output("display_data", {"text/html": "<b>bold</b><script src='https://example.org/x.js'></script>"})
    nb = new_notebook(cells=[new_markdown_cell("# A <script>x</script>"), new_code_cell("1 < 2", outputs=[output])])
    text = site.notebook_page(nb, "A title")
    assert "<script" not in text
    assert "<b>bold</b>" in text
    assert "<title>A title</title>" in text


def test_a_cell_that_only_reports_is_folded_and_its_output_is_not():
    output = new_output("stream", name="stdout", text="what it says")
    hidden = new_code_cell("report = 1", outputs=[output], metadata={"tags": ["hide-input"]})
    text = site.notebook_page(new_notebook(cells=[new_code_cell("shown = 1"), hidden]), "A title")
    assert text.count("<summary>show the code</summary>") == 1
    before, _, rest = text.partition('<details class="folded">')
    folded, _, after = rest.partition("</details>")
    assert "shown" in before
    assert "report" in folded
    assert "what it says" in after
    assert "<script" not in text


def test_a_drawing_has_its_text_and_its_width():
    image = {"image/png": "iVBORw0KGgo="}
    outputs = [
        new_output("display_data", image, metadata={"image/png": {"alt": "2 < 3 books", "width": 700}}),
        new_output("display_data", image),
    ]
    text = site.notebook_page(new_notebook(cells=[new_code_cell("drawing", outputs=outputs)]), "A title")
    drawing, chart = re.findall("<img [^>]+>", text)
    assert 'alt="2 &lt; 3 books"' in drawing
    assert 'width="700"' in drawing
    assert "books" not in chart


def test_the_playground_holds_state_and_modules():
    text = site.playground_page()
    page = Page(text)
    assert {f"state-{name}" for name in site.playables()} <= page.ids
    assert LINES[6] in text
    assert "export default" not in text
    assert page.fetched == []


def test_it_says_what_it_cannot_do(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        main(["html", str(tmp_path / "file")])
    monkeypatch.setattr(site, "NOTEBOOKS", tmp_path)
    with pytest.raises(SystemExit):
        main(["html", str(tmp_path / "out")])
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "cannot write to" in errors[0]
    assert "run this from a checkout" in errors[1]
