"""The command `html`: pages that lead to each other, need nothing from outside, and show what the notebooks show."""

import html
import posixpath
import re
from html.parser import HTMLParser

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

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
    others = {"index", "readme", "results", "guide", "teaching", "playground", "dlt_core"}
    measured = {f"figures-benchmark-{path.stem}" for path in (site.CHECKOUT / "figures/benchmark").glob("*.md")}
    others |= {"figures-results", *measured}
    assert {path.stem for path in folder.glob("*.html")} == names | exercises | others
    assert {path.stem for path in (folder / "dlt_core").iterdir()} == {*dlt_core._ROOMS}
    reference = [folder / "dlt_core.html", *(folder / "dlt_core").iterdir()]
    assert sum(path.stat().st_size for path in reference) < 1e6
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 13e6
    copies = [path for path in files if path.suffix not in (".html", ".css")]
    assert len(copies) > 10
    for path in copies:
        assert path.read_bytes() == (site.CHECKOUT / path.relative_to(folder)).read_bytes()
    assert not (folder / "figures" / "records").exists()


def test_every_link_arrives_and_nothing_comes_from_outside(folder):
    texts = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}
    pages = {name: Page(text) for name, text in texts.items()}
    led = {}
    for name, page in pages.items():
        led[name] = set()
        for link in [link for link in page.links if not re.match("https?:", link)]:
            target, _, anchor = link.partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), target)) if target else name
            assert (folder / target).is_file(), f"{name} leads to {link}"
            assert not anchor or anchor in pages[target].ids, f"{name} leads to {link}"
            led[name].add(target)
        for source in [source for source in page.fetched if not source.startswith("data:")]:
            assert (folder / source).is_file(), f"{name} shows {source}"
        assert page.scripts == 0 or name == "playground.html"
    found, new = set(), {"index.html"}
    while new:
        found |= new
        new = {target for name in new for target in led.get(name, ())} - found
    assert pages.keys() <= found, "from the first page"
    for text in (texts["dlt_core.html"], (folder / "notebook.css").read_text(encoding="utf-8")):
        assert not re.search(r"@import|url\(\s*['\"]?https?:", text)


def test_the_first_page_has_the_picture_each_notebook_and_the_pages_beside_them(folder):
    text = (folder / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.fetched == ["figures/fig_tie_map_evolution.png"]
    beside = {"playground", "dlt_core", *site.WRITTEN}
    made = {path.stem for path in folder.glob("*.html") if re.match(r"\d\d_|exercises-", path.stem)}
    assert {f"{name}.html" for name in beside | made} <= {*page.links}
    described = re.findall(r'<li><a href="(\d\d)_[^>]*><b>.*?<p>([^<].*?)</p>', text, re.DOTALL)
    assert [number for number, _ in described] == [f"{number:02d}" for number in range(17)]
    assert all(20 < len(words) < 400 for _, words in described)


def test_links_keep_the_anchors_that_only_other_pages_name(folder):
    assert "readme.html#the-notebooks" in Page((folder / "04_gpt2_wikitext2.html").read_text(encoding="utf-8")).links
    results = {*Page((folder / "results.html").read_text(encoding="utf-8")).links}
    assert {"figures/fig_tie_map_evolution_all.png", "figures-benchmark-cpu.html", "figures-results.html"} <= results
    assert {"figures/results.csv", "figures/looks.json"} <= results
    named = {*re.findall('<a id="(.*?)">', (site.NOTEBOOKS / "README.md").read_text(encoding="utf-8"))}
    assert named <= Page((folder / "teaching.html").read_text(encoding="utf-8")).ids


def test_each_notebook_leads_to_the_first_page_and_its_neighbours(folder):
    names = sorted(path.stem for path in site.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    for before, name, after in zip([None, *names], names, [*names[1:], None], strict=False):
        nav = (folder / f"{name}.html").read_text(encoding="utf-8").partition('<nav class="way">')[2]
        to = [one and f"{one}.html" for one in ("index", before, after)]
        assert Page(nav.partition("</nav>")[0]).links == [link for link in to if link]


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
    figures = re.findall(r"!\[[^]]*\]\(([^)]*\.png)\)", written)
    assert Page(text).fetched == ["notebook.css", *(f"figures/{name}" for name in figures)]
    assert len(figures) > 5
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


def test_the_playground_holds_state_and_modules():
    text = site.playground_page()
    page = Page(text)
    assert {f"state-{name}" for name in site.playables()} <= page.ids
    assert lines()[6] in text
    assert "export default" not in text
    assert page.fetched == []


def test_a_link_that_leads_to_nothing_stops_it_before_anything_is_written(tmp_path, monkeypatch, capsys):
    cell = new_markdown_cell("# 00 · A title\n\n[words](no_such_file.md)")
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "00_a.ipynb")
    for name, value in {"NOTEBOOKS": tmp_path, "WRITTEN": {}, "MEASURED": ()}.items():
        monkeypatch.setattr(site, name, value)
    with pytest.raises(SystemExit):
        main(["html", str(tmp_path / "out")])
    assert "00_a.ipynb leads to no_such_file.md, of which the site has no page" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


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
