"""The command `html`: pages that lead to each other, need nothing from outside, and show what the notebooks show."""

import html
import posixpath
import re
from html.parser import HTMLParser

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import dlt_core
from dlt_core.__main__ import main
from dlt_core.reproduce import site
from dlt_core.reproduce.reference import in_markdown
from dlt_core.widgets.stepper import lines


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
    others = {"index", "results", "guide", "teaching", "playground", "dlt_core"}
    assert {path.stem for path in folder.glob("*.html")} == names | exercises | others
    assert {path.stem for path in (folder / "dlt_core").iterdir()} == {*dlt_core._ROOMS}
    reference = [folder / "dlt_core.html", *(folder / "dlt_core").iterdir()]
    assert sum(path.stat().st_size for path in reference) < 1e6
    assert sum(path.stat().st_size for path in folder.rglob("*.*")) < 13e6
    assert {f"{name}.html" for name in names | exercises} <= {*Page((folder / "index.html").read_text()).links}


def test_every_link_arrives_and_nothing_comes_from_outside(folder):
    texts = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}
    pages = {name: Page(text) for name, text in texts.items()}
    for name, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if re.match("https?:", target):
                continue
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) if target else name
            assert target in pages, f"{name} leads to {link}"
            assert not anchor or anchor in pages[target].ids, f"{name} leads to {link}"
        assert all(what == "notebook.css" or what.startswith("data:") for what in page.fetched), name
        assert page.scripts == 0 or name == "playground.html"
    for text in (texts["dlt_core.html"], (folder / "notebook.css").read_text(encoding="utf-8")):
        assert not re.search(r"@import|url\(\s*['\"]?https?:", text)


def test_the_reference_has_each_public_name_with_its_arguments_and_an_example(folder):
    text = (folder / "dlt_core.html").read_text(encoding="utf-8")
    assert "dlt_core.html" in Page((folder / "index.html").read_text(encoding="utf-8")).links
    assert {*dlt_core._HOME} | {"Experiment.init_from", "QAgent.__init__"} <= Page(text).ids
    assert "Experiment.__init__" not in Page(text).ids, "its fields say what it takes"
    of_figures = Page((folder / "dlt_core" / "figures.html").read_text(encoding="utf-8")).ids
    assert {name for name in of_figures if (name or "").startswith("Figure")} == {"Figure", "Figure.alt"}, "ours alone"
    assert text.count("&gt;&gt;&gt;") >= len(dlt_core._HOME)
    for room in dlt_core._ROOMS:
        assert "&gt;&gt;&gt;" in (folder / "dlt_core" / f"{room}.html").read_text(encoding="utf-8")
    assert not re.search(r"object at 0x|function &lt;|FieldInfo", text), "the same in every build"


def test_a_docstring_says_each_argument_on_a_line_of_its_own():
    text = in_markdown(
        "Does it, for `a_b` < c_d.\n\nfirst, second: one\n    and two. third: three. Raises ValueError.\n\n"
        "    code = 1\n\n>>> 1 + 1\n2"
    )
    assert text == (
        "Does it, for `a_b` &lt; c\\_d.\n\n- **first, second**: one and two.\n- **third**: three.\n\n"
        "Raises ValueError.\n\n    code = 1\n\n```python\n>>> 1 + 1\n2\n```"
    )


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


def test_the_results_are_a_page_with_its_figures_in_it(folder):
    written = (site.CHECKOUT / "figures" / "README.md").read_text(encoding="utf-8")
    text = (folder / "results.html").read_text(encoding="utf-8")
    assert text.count('src="data:image/png') == len(re.findall(r"!\[[^]]*\]\([^)]*\.png\)", written)) > 5
    assert "15_a_rule_that_hears.html" in Page(text).links
    assert "results.html" in Page((folder / "index.html").read_text(encoding="utf-8")).links
    guide = Page((folder / "guide.html").read_text(encoding="utf-8")).links
    assert any(link.startswith("results.html") for link in guide), "what the guide says of it leads there"


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


def test_each_figure_of_a_notebook_has_its_words(folder):
    for path in sorted(site.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        outputs = [o for c in nbformat.read(path, as_version=4).cells for o in c.get("outputs", []) if "data" in o]
        shown = [o for o in outputs if "image/png" in o.data]
        words = [o.metadata.get("image/png", {}).get("alt", "") for o in shown]
        for output, said in zip(shown, words, strict=True):
            assert said == output.data["text/plain"] != "", path.name
        text = (folder / f"{path.stem}.html").read_text(encoding="utf-8")
        found = [image for image in re.findall("<img [^>]+>", text) if "data:image/png" in image]
        alts = [html.unescape(re.search('alt="([^"]*)"', image).group(1)) for image in found]
        assert alts == words, path.name


def test_a_figure_has_its_words_and_a_drawing_its_width():
    image = {"image/png": "iVBORw0KGgo="}
    outputs = [
        new_output("display_data", image, metadata={"image/png": {"alt": "2 < 3 books", "width": 700}}),
        new_output("execute_result", image, metadata={"image/png": {"alt": "“a” at 1"}}),
        new_output("display_data", image),
    ]
    text = site.notebook_page(new_notebook(cells=[new_code_cell("drawing", outputs=outputs)]), "A title")
    drawing, chart, other = re.findall("<img [^>]+>", text)
    assert 'alt="2 &lt; 3 books"' in drawing
    assert 'width="700"' in drawing
    assert 'alt="“a” at 1"' in chart
    assert "books" not in other


def test_the_playground_holds_state_and_modules():
    text = site.playground_page()
    page = Page(text)
    assert {f"state-{name}" for name in site.playables()} <= page.ids
    assert lines()[6] in text
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
