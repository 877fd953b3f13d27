"""Everything as HTML that needs neither Python nor a network: the command `html`.

A first page, the notebooks as they are committed, the exercises with their solutions folded, all that is written in
Markdown, the API reference, and playground.html with the widgets alive in it; and the pictures and data beside them.
"""

from __future__ import annotations

import functools
import html
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlt_core import CHECKOUT
from dlt_core.corpora.files import write_atomically, write_text_atomically
from dlt_core.reproduce.front_page import front_page
from dlt_core.reproduce.links import Links
from dlt_core.reproduce.pages import markdown_page, notebook_page, plain_page, shared_style, title_of
from dlt_core.reproduce.reference import reference_pages

if TYPE_CHECKING:
    from dlt_core.records.record import RunRecord
    from dlt_core.widgets.base import Widget

NOTEBOOKS = CHECKOUT / "notebooks"
WRITTEN = {  # pages that the first page names: where they come from, and their titles
    "results": ("figures/README.md", "The results: every table and figure"),
    "guide": ("dlt_core/README.md", "The guide to the code"),
    "teaching": ("notebooks/README.md", "For whoever teaches: routes, misunderstandings, words and symbols"),
    "readme": ("README.md", "The README: how to install it, the result in numbers, the core in your own program"),
}
MEASURED = ("figures/results.md", "figures/benchmark/*.md")
"""Pages that others lead to."""
RECORDS = CHECKOUT / "figures" / "records"
LOOKS = CHECKOUT / "figures" / "looks.json"
COMPARED = ("dynamic", "random", "conventional", "sandwich-2", "shallow-2")


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
    """Write all pages to `folder`, and the pictures and data that they show or lead to; returns the paths.

    Raises ValueError, before anything is written, where there are no notebooks or a link leads to nothing."""
    notebooks = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise ValueError(f"no notebooks in {NOTEBOOKS}: run this from a checkout, installed with pip install -e .")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write to {folder} ({error}): name another folder") from error
    import nbformat

    paths = {path.stem: path for path in notebooks}
    numbered = [*paths]
    paths |= {f"exercises-{path.stem}": path for path in sorted((NOTEBOOKS / "exercises").glob("*.ipynb"))}
    nbs = {name: nbformat.read(path, as_version=4) for name, path in paths.items()}
    titles = {name: title_of(nb, name) for name, nb in nbs.items()}
    texts = {name: notebook_page(nb, titles[name], unfolded_on_paper=name in numbered) for name, nb in nbs.items()}
    for name, (path, title) in _written().items():
        paths[name], titles[name] = path, title
        texts[name] = markdown_page(path.read_text(encoding="utf-8"), title)
    links = Links({path: name for name, path in paths.items()} | {NOTEBOOKS / "playground.ipynb": "playground"})
    texts = {name: links.connect(text, paths[name]) for name, text in texts.items()}
    texts, sheet = shared_style({name: _with_way(text, name, titles) for name, text in texts.items()})
    texts["playground"] = playground_page()
    texts["index"] = front_page(nbs, {name: titles[name] for name in WRITTEN}, links)
    files = {f"{name}.html": text for name, text in texts.items()} | {"notebook.css": sheet} | reference_pages()
    for name, text in files.items():
        write_text_atomically(folder / name, text)
    copies = {folder / path.relative_to(CHECKOUT): path for path in links.files}
    for copy, path in copies.items():
        write_atomically(copy, functools.partial(shutil.copyfile, path))
    return sorted([*(folder / name for name in files), *copies])


def _written() -> dict[str, tuple[Path, str]]:
    """Name -> file and title of each page that is made of Markdown."""
    pages = {name: (CHECKOUT / path, title) for name, (path, title) in WRITTEN.items()}
    for path in [path for pattern in MEASURED for path in sorted(CHECKOUT.glob(pattern))]:
        name = "-".join(path.relative_to(CHECKOUT).with_suffix("").parts)
        pages[name] = path, path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    return pages


def _with_way(text: str, name: str, titles: Mapping[str, str]) -> str:
    """A page that leads back to the first page; that of a notebook also to the one before and the one after."""
    to = {"index": "Contents"}
    group = [other for other in titles if re.match(r"\d\d_", other)]
    if name in group:
        at = group.index(name)
        to |= {other: f"← {titles[other]}" for other in group[max(at - 1, 0) : at]}
        to |= {other: f"{titles[other]} →" for other in group[at + 1 : at + 2]}
    way = " · ".join(f'<a href="{other}.html">{html.escape(words)}</a>' for other, words in to.items())
    return re.sub(r"<body\b[^>]*>", rf'\g<0><nav class="way">{way}</nav>', text, count=1)


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
    return plain_page("Playground · Dynamic Layer Tying", body, style())


def _records(pattern: str) -> list[RunRecord]:
    """The committed records whose names match, by name."""
    from dlt_core.records.record import RunRecord

    return [RunRecord.load(path) for path in sorted(RECORDS.glob(f"{pattern}.json"))]
