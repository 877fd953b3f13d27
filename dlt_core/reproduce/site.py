"""Everything as HTML that needs neither Python nor a network: the command `html`.

The notebooks as they are committed, the exercises with their solutions folded, a page of contents, the results, the
guide, the page for teachers, the API reference, and playground.html with the widgets alive in it.
"""

from __future__ import annotations

import base64
import functools
import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlt_core import CHECKOUT
from dlt_core.corpora.files import write_text_atomically
from dlt_core.reproduce.reference import reference_pages

if TYPE_CHECKING:
    from dlt_core.records.record import RunRecord
    from dlt_core.widgets.base import Widget

NOTEBOOKS = CHECKOUT / "notebooks"
WRITTEN = {  # pages that are no notebooks: where they come from, and their titles
    "results": ("figures/README.md", "The results: every table and figure"),
    "guide": ("dlt_core/README.md", "The guide to the code"),
    "teaching": ("notebooks/README.md", "For whoever teaches: routes, misunderstandings, words and symbols"),
}
RECORDS = CHECKOUT / "figures" / "records"
LOOKS = CHECKOUT / "figures" / "looks.json"
COMPARED = ("dynamic", "random", "conventional", "sandwich-2", "shallow-2")
# A cell that only reports shows what it says, and its code to whoever asks. A figure has words for who cannot see it.
FOLDS = """{%- extends 'lab/index.html.j2' -%}
{%- block input_group -%}
{%- if 'hide-input' in cell.metadata.get('tags', []) -%}
<details class="folded"><summary>show the code</summary>{{ super() }}</details>
{%- else -%}
{{ super() }}
{%- endif -%}
{%- endblock input_group -%}
{%- block data_png scoped -%}
{%- set alt = output | get_metadata('alt', 'image/png') -%}
{{ super() | replace('<img ', '<img alt="' ~ (alt | escape_html) ~ '" ') if alt else super() }}
{%- endblock data_png -%}
"""
_PAGE_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 880px; margin: 1.5em auto; padding: 0 16px;
  background: Canvas; color: CanvasText; }
a { color: LinkText; }
section { border-top: 1px solid #9998; margin-top: 2em; }
td, th { padding: 2px 14px 2px 0; text-align: left; vertical-align: top; }
"""


_FOLDED = (
    "details.folded { margin-left: 64px; } details.folded > summary { cursor: pointer; font-size: 12px; opacity: 0.7; }"
)


@dataclass(frozen=True)
class Playable:
    """A widget of the playground: a title, what to do with it, and how it is made."""

    title: str
    words: str
    make: Callable[[], Widget]


def playables() -> dict[str, Playable]:
    """The widgets that run without a kernel, by their module's name, in the order of the page."""
    from dlt_core import widgets
    from dlt_core.reproduce.checks.learning import true_losses

    return {
        "tie_map_editor": Playable(
            "Tie-map editor",
            "Let layers share their weights, and watch parameters and memory follow. "
            "Which map of the paper's 48 layers needs ten times less for weights, gradients and the averages of Adam?",
            lambda: widgets.TieMapEditor("laptop", [0, 0, 2, 2, 2, 5]),
        ),
        "stepper": Playable(
            "Algorithm 1, line by line",
            "A recorded run of the agent. Play it, or go on line by line and say before each step what will happen.",
            lambda: widgets.Stepper(*_records("gpt2-embedded-laptop-dynamic-seed0")),
        ),
        "memory_explorer": Playable(
            "Memory explorer",
            "Choose a number of weight sets, then a batch. "
            "Which part follows the weight sets, which the batch, and which does checkpointing take away?",
            lambda: widgets.MemoryExplorer(),
        ),
        "reward_lab": Playable(
            "Reward lab",
            "A model of four layers of which every map was trained: a world that is a table. "
            "Where does the paper's reward lead the agent, where does it with the table turned round, "
            "and which reward beats a random agent?",
            lambda: widgets.RewardLab(true_losses()),
        ),
        "compare_runs": Playable(
            "Compare runs",
            "Recorded runs of one experiment, some seeds each. Choose two and say how sure you are of the difference.",
            lambda: widgets.CompareRuns(
                [r for method in COMPARED for r in _records(f"agents-embedded-laptop-{method}-seed?")]
            ),
        ),
        "agreement": Playable(
            "Who agrees?",
            "All layers tied, and the gradient of each layer's use of the weights. Go through the training: which "
            "layer is the first to disagree? Which map would a rule choose that ties the layers that agree? In BERT?",
            lambda: widgets.Agreement(json.loads(LOOKS.read_text(encoding="utf-8")), warm_up=60),
        ),
    }


def write_site(folder: Path) -> list[Path]:
    """Write all pages to `folder`; returns their paths. Raises ValueError where there are no notebooks."""
    notebooks = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise ValueError(f"no notebooks in {NOTEBOOKS}: run this from a checkout, installed with pip install -e .")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write to {folder} ({error}): name another folder") from error
    import nbformat
    from nbformat.v4 import new_markdown_cell, new_notebook

    sources = {path.stem: path for path in notebooks}
    sources |= {f"exercises-{path.stem}": path for path in sorted((NOTEBOOKS / "exercises").glob("*.ipynb"))}
    pages, titles = {}, {}
    for name, path in sources.items():
        nb = nbformat.read(path, as_version=4)
        titles[name] = _title(nb, path.stem)
        pages[name] = notebook_page(nb, titles[name])
    for name, (written, titles[name]) in WRITTEN.items():
        sources[name] = CHECKOUT / written
        nb = new_notebook(cells=[new_markdown_cell(sources[name].read_text(encoding="utf-8"))])
        pages[name] = _small_ids(notebook_page(nb, titles[name]))
    there = {path: name for name, path in sources.items()} | {NOTEBOOKS / "playground.ipynb": "playground"}
    folders = {name: path.parent for name, path in sources.items()}
    pages = {name: _links(_with_figures(text, folders[name]), folders[name], there) for name, text in pages.items()}
    pages, sheet = _shared_style(pages)
    pages["playground"] = playground_page()
    pages["index"] = _contents(titles)
    files = {f"{name}.html": text for name, text in pages.items()} | {"notebook.css": sheet} | reference_pages()
    for name, text in files.items():
        write_text_atomically(folder / name, text)
    return [folder / name for name in sorted(files)]


def notebook_page(nb: Any, title: str) -> str:
    """A notebook as a page of HTML without scripts, dark where the reader's browser is; formulas are MathML, which
    browsers know themselves."""
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            if (found := re.match(r"\w+, a widget: ", output.get("data", {}).get("text/plain", ""))) is not None:
                output.data = {"text/html": f'<p><a href="playground.html">{found.group()}see the playground</a></p>'}
    nb.metadata["title"] = title
    exporter = _exporter()
    text, _ = exporter.from_notebook_node(nb)
    assert exporter.environment.loader is not None  # nbconvert's own, which finds its style sheets
    dark, _, _ = exporter.environment.loader.get_source(exporter.environment, "static/theme-dark.css")
    style = f":root {{ color-scheme: light dark; }} @media (prefers-color-scheme: dark) {{ {dark} }} {_FOLDED}"
    text = text.replace("</head>", f"<style>{style}</style></head>", 1)
    return re.sub(r"<script\b.*?</script>", "", text, flags=re.DOTALL)


@functools.cache
def _exporter() -> Any:
    from latex2mathml.converter import convert
    from nbconvert import HTMLExporter
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return convert(body)

        def block_math(self, body: str) -> str:
            return convert(body.strip(), display="block")

    class Exporter(HTMLExporter):
        raw_template = FOLDS

        def markdown2html(self, context: Any, source: str) -> str:
            return MarkdownWithMath(renderer=Renderer(escape=False)).render(source)

        markdown2html.jinja_pass_arg = HTMLExporter.markdown2html.jinja_pass_arg  # type: ignore[attr-defined]

    exporter = Exporter()
    exporter.register_filter("clean_html", lambda code: code)  # takes seconds a page; all scripts go anyway
    return exporter


def playground_page() -> str:
    """The page with the widgets alive: their own modules over a model that is nothing but their JSON state."""
    from dlt_core.widgets.base import STATIC, style

    sections, scripts = [], [f"<script>{(STATIC / 'page.js').read_text(encoding='utf-8')}</script>"]
    for name, playable in playables().items():
        widget = playable.make()
        state = json.dumps(widget.state(), allow_nan=False, ensure_ascii=False).replace("</", "<\\/")
        sections.append(
            f'<section id="{name}"><h2>{html.escape(playable.title)}</h2><p>{html.escape(playable.words)}</p>'
            f'<div data-widget="{name}"></div></section>'
        )
        scripts.append(f'<script type="application/json" id="state-{name}">{state}</script>')
        module = str(widget.trait_metadata("_esm", "default", None) or widget._esm)
        if module.count("export default") != 1 or "</script" in module:
            raise ValueError(f"the module of {name} cannot stand in a page: it needs one default export")
        module = module.replace("export default", "const widget =")
        scripts.append(f'<script type="module">{module}\ndltMount("{name}", widget);</script>')
    words = (
        "These widgets run in your browser, without Python and without a network. "
        '<a href="index.html">Contents</a> · the same in a notebook: <code>notebooks/playground.ipynb</code>.'
    )
    noscript = "<noscript><p>The widgets need JavaScript, which is switched off here.</p></noscript>"
    body = f"<h1>Playground</h1><p>{words}</p>{noscript}{''.join(sections)}{''.join(scripts)}"
    return _page("Playground · Dynamic Layer Tying", body, style())


def _contents(titles: dict[str, str]) -> str:
    def row(name: str) -> str:
        more = f' · <a href="exercises-{name}.html">exercises</a>' if f"exercises-{name}" in titles else ""
        return f'<li><a href="{name}.html">{html.escape(titles[name])}</a>{more}</li>'

    rows = "".join(row(name) for name in titles if name not in WRITTEN and not name.startswith("exercises-"))
    others = "".join(f'<p><a href="{name}.html">{html.escape(title)}</a></p>' for name, (_, title) in WRITTEN.items())
    body = (
        "<h1>Dynamic Layer Tying</h1><p>A teaching reproduction of Hay and Wolf, <i>Dynamic Layer Tying for "
        "Parameter-Efficient Transformers</i> (ICLR 2024). Everything here can be read offline.</p>"
        '<p><b><a href="playground.html">Playground</a></b>: the widgets, alive in the browser.</p>'
        f"<h2>Notebooks</h2><ul style='list-style: none; padding: 0'>{rows}</ul>"
        f"<p>The exercises can be read here, each solution folded behind its check; to write and check your own, open "
        f"them in <code>notebooks/exercises</code>.</p>{others}"
        '<p><a href="dlt_core.html">API reference</a>: what you can import from dlt_core, each with an example</p>'
    )
    return _page("Dynamic Layer Tying", body)


def _page(title: str, body: str, more_style: str = "") -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_PAGE_STYLE}{more_style}</style></head><body>{body}</body></html>\n"
    )


def _title(nb: Any, otherwise: str) -> str:
    """The first heading."""
    for cell in nb.cells:
        if cell.cell_type == "markdown" and (found := re.match(r"# (.+)", cell.source)):
            return found.group(1)
    return otherwise


def _links(text: str, folder: Path, there: dict[Path, str]) -> str:
    """Links from a page of `folder` to what is `there` lead to its page; what leads elsewhere is only its words."""

    def lead(found: re.Match[str]) -> str:
        before, target, after, words = found.groups()
        path, _, anchor = target.partition("#")
        if re.match(r"https?:|mailto:", target) or not path or path == "playground.html":
            return found.group(0)
        # nbconvert has already made .html of .ipynb
        name = there.get((folder / re.sub(r"\.html$", ".ipynb", path)).resolve())
        if name is None:
            return words
        return f'<a{before}href="{name}.html{"#" + anchor if anchor else ""}"{after}>{words}</a>'

    return re.sub(r'<a\b([^>]*?)href="([^"]*)"([^>]*)>(.*?)</a>', lead, text, flags=re.DOTALL)


def _with_figures(text: str, folder: Path) -> str:
    """The committed figures that a page of `folder` shows as parts of it."""

    def within(found: re.Match[str]) -> str:
        data = base64.b64encode((folder / found.group(2)).read_bytes()).decode()
        return f'{found.group(1)}data:image/png;base64,{data}"'

    return re.sub(r'(<img\b[^>]*?src=")([^":]+\.png)"', within, text)


def _small_ids(text: str) -> str:
    """Headings named as GitHub names them, so that links into the guide arrive."""

    def small(found: re.Match[str]) -> str:
        plain = re.sub(r"[^\w\- ]", "", found.group(2).lower()).replace(" ", "-")
        return f'{found.group(1)}{plain}"'

    return re.sub(r'(<h\d id="|href="#)([^"]*)"', small, text)


def _shared_style(pages: dict[str, str]) -> tuple[dict[str, str], str]:
    """The pages with one style sheet beside them in place of the copies within them, and that sheet."""
    pattern = re.compile(r"<style\b[^>]*>(.*?)</style>", re.DOTALL)
    sheets = {sheet: None for sheet in pattern.findall(next(iter(pages.values()))) if len(sheet) > 5_000}

    def without(found: re.Match[str]) -> str:
        return "" if found.group(1) in sheets else found.group(0)

    head = '</title><link rel="stylesheet" href="notebook.css">'
    shared = {name: pattern.sub(without, text).replace("</title>", head, 1) for name, text in pages.items()}
    return shared, "\n".join(sheets)


def _records(pattern: str) -> list[RunRecord]:
    """The committed records whose names match, by name."""
    from dlt_core.records.record import RunRecord

    return [RunRecord.load(path) for path in sorted(RECORDS.glob(f"{pattern}.json"))]
