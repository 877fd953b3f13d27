"""The first page of the site, made of what is committed: the beginning of README.md and what came out, the routes of
notebooks/README.md, and the notebooks, each with what its first sentences say."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlt_core import CHECKOUT
from dlt_core.reproduce.links import Links
from dlt_core.reproduce.pages import in_html, plain_page, title_of

README = CHECKOUT / "README.md"
TEACHING = CHECKOUT / "notebooks" / "README.md"
ENOUGH = 80
"""Letters after which no further sentence says what a notebook is about."""
_STYLE = """
a.anchor-link { display: none; }
h1 { line-height: 1.2; }
h2 { border-top: 1px solid #9998; margin-top: 1.6em; padding-top: 0.8em; }
td, th { padding: 4px 14px 4px 0; }
ul { padding-left: 1.4em; }
ul.notebooks { list-style: none; padding: 0; }
ul.notebooks li { margin-bottom: 0.7em; }
ul.notebooks p { margin: 0; }
details > summary { cursor: pointer; }
"""


def front_page(notebooks: Mapping[str, Any], others: Mapping[str, str], links: Links) -> str:
    """The page.

    notebooks: name of its page -> a notebook; those of the exercises are named "exercises-" and their notebook's name.
    others: name -> title of the pages beside them. links: lead from here to all of them.
    Raises ValueError if a file lacks the section that the page shows."""
    readme, teaching = (path.read_text(encoding="utf-8") for path in (README, TEACHING))
    beginning = _sections(readme)[0]
    rows = "".join(
        _row(name, nb, notebooks, links) for name, nb in notebooks.items() if not name.startswith("exercises-")
    )
    beside = {"playground": "Playground: the widgets, alive in the browser", **others}
    beside["dlt_core"] = "API reference: what you can import from dlt_core, each with an example"
    more = "".join(f'<li><a href="{name}.html">{html.escape(title)}</a></li>' for name, title in beside.items())
    parts = [
        _part(_with_table(readme, "result", README), README, links),
        _part(_with_table(teaching, "routes", TEACHING), TEACHING, links),
        f'<h2 id="notebooks">The notebooks</h2><ul class="notebooks">{rows}</ul>',
        "<p>Everything here can be read offline, the exercises, too, each solution folded behind its check. To write "
        "and check your own, open them in <code>notebooks/exercises</code>.</p>",
        f'<h2 id="more">More</h2><ul>{more}</ul>',
    ]
    to = [f'<a href="#{id}">{title}</a>' for id, title in re.findall(r'<h2 id="(.*?)">(.*?)<', "".join(parts))]
    way = f'<nav class="way">{" · ".join(to)}</nav>'
    title = beginning.splitlines()[0].removeprefix("# ")
    return plain_page(title, "\n".join([way, _part(beginning, README, links), *parts]), _STYLE)


def _row(name: str, nb: Any, notebooks: Mapping[str, Any], links: Links) -> str:
    """A notebook's entry: its title, its exercises if it has some, and what it is about."""
    exercises = f"exercises-{name}"
    more = f' · <a href="{exercises}.html">exercises</a>' if exercises in notebooks else ""
    link = f'<a href="{name}.html"><b>{html.escape(title_of(nb, name))}</b></a>'
    return f"<li>{link}{more}{_part(about(nb), TEACHING.parent / f'{name}.ipynb', links)}</li>"


def _part(text: str, source: Path, links: Links) -> str:
    """A part of the file `source` as HTML. What leads to another part of that file leads to the file's own page."""
    return links.connect(in_html(text.replace("](#", f"]({source.name}#")), source)


def _sections(text: str) -> list[str]:
    """What comes before the first heading of the second level, and each such heading with what follows it."""
    return re.split(r"^(?=## )", text, flags=re.MULTILINE)


def _with_table(text: str, mark: str, source: Path) -> str:
    """The section that holds the marks of a table that the command `figures` writes."""
    for section in _sections(text):
        if f"<!-- {mark}: begin -->" in section:
            return section
    raise ValueError(f"{source} lacks the marks of its table {mark!r}")


def about(nb: Any) -> str:
    """The first sentences of a notebook's goal, in Markdown; none if its first cell names no goal."""
    found = re.search(r"\*\*Goal\.\*\* (.+?)(?:\n\n|\Z)", nb.cells[0].source, re.DOTALL)
    said = ""
    for sentence in re.split(r"(?<=[.?!])\s+", found.group(1)) if found else []:
        if len(said) < ENOUGH:
            said = f"{said} {' '.join(sentence.split())}".lstrip()
    return said
