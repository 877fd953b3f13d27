"""How a page of the site is made: of a notebook, of Markdown, or of plain HTML.

It can be read on a narrow screen, in the dark and on paper."""

from __future__ import annotations

import functools
import html
import re
from typing import Any

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

# Where code or a table is wider than the page, it scrolls, and the page does not.
_ON_SCREENS = """
:root { color-scheme: light; }
@media screen { :root { color-scheme: light dark; } }
.wide { overflow-x: auto; }
@media screen {
  .wide table:has(tr > :nth-child(4)) { min-width: 30em; }
  .wide table:has(tr > :nth-child(7)) { min-width: 56em; }
  .wide table:has(tr > :nth-child(12)) { min-width: 110em; }
}
img { max-width: 100%; height: auto; }
details { margin-bottom: 1em; }
tr:has(:target) { outline: 2px solid #d55e00; }
.way { font: 14px/1.5 system-ui, sans-serif; margin-bottom: 1.5em; }
"""
# Printed links are words, and a wide table gets smaller type. What is folded is shown, but no code, and no solution.
_ON_PAPER = """
@page { margin: 15mm; }
@media print {
  body, main { max-width: none; margin: 0; padding: 0; }
  a { color: inherit !important; text-decoration: none; }
  nav { display: none; }
  h1, h2, h3, h4 { break-after: avoid; }
  tr, img { break-inside: avoid; }
  .wide { overflow: visible; }
  .wide table { font-size: 9pt; }
  .wide table:has(tr > :nth-child(5)) { font-size: 8pt; }
  .wide table:has(tr > :nth-child(7)) { font-size: 6pt; }
  .wide table:has(tr > :nth-child(12)) td { overflow-wrap: anywhere; }
  .wide table:not(:has(tr > :nth-child(5))) td:has(code) { overflow-wrap: anywhere; min-width: 9em; }
  .wide :is(td, th) { padding: 2px 3px; }
  .wide :is(td, th) code { padding: 0; background: none; }
  pre { font-size: 8pt !important; white-space: pre-wrap !important; overflow-wrap: anywhere; }
}
"""
_UNFOLDED = "@media print { details:not(.folded)::details-content { content-visibility: visible; block-size: auto; } }"
_PLAIN = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 880px; margin: 1.5em auto; padding: 0 16px;
  background: Canvas; color: CanvasText; }
a { color: LinkText; }
section { border-top: 1px solid #9998; margin-top: 2em; }
td, th { padding: 2px 14px 2px 0; text-align: left; vertical-align: top; }
"""
_NOTEBOOK = """
main, .way { max-width: 1050px; margin-left: auto; margin-right: auto; }
.way a { color: var(--jp-content-link-color); }
@media (min-width: 761px) { .way { box-sizing: border-box; padding-left: 86px; } }
.jp-InputArea-editor { overflow-x: auto; }
.jp-RenderedMarkdown .highlight { margin-bottom: 1em; }
@media screen and (prefers-color-scheme: dark) { :root { --jp-mirror-editor-comment-color: #7fb8b8; } }
details.folded { margin: 0 0 0 64px; }
details.folded > summary { cursor: pointer; font: 12px system-ui, sans-serif; opacity: 0.7; }
@media print { .jp-InputPrompt, .jp-OutputPrompt { display: none !important; } details.folded { margin-left: 0; } }
"""


def plain_page(title: str, body: str, more_style: str = "") -> str:
    """A page with this title around the HTML of its body; more_style: CSS after the site's own."""
    style = f"{_ON_SCREENS}{_PLAIN}{_ON_PAPER}{_UNFOLDED}{more_style}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{style}</style></head><body>{body}</body></html>\n"
    )


def notebook_page(nb: Any, title: str, *, unfolded_on_paper: bool = True) -> str:
    """A notebook as a page of HTML without scripts, dark where the reader's browser is; formulas are MathML, which
    browsers know themselves.

    unfolded_on_paper: print what the text folds, such as an answer, but not what an exercise does."""
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            if (found := re.match(r"\w+, a widget: ", output.get("data", {}).get("text/plain", ""))) is not None:
                output.data = {"text/html": f'<p><a href="playground.html">{found.group()}see the playground</a></p>'}
    nb.metadata["title"] = title
    exporter = _exporter()
    text, _ = exporter.from_notebook_node(nb)
    assert exporter.environment.loader is not None  # nbconvert's own, which finds its style sheets
    dark, _, _ = exporter.environment.loader.get_source(exporter.environment, "static/theme-dark.css")
    dark = f"@media screen and (prefers-color-scheme: dark) {{ {dark} }}"
    more = f"<style>{_UNFOLDED}</style>" if unfolded_on_paper else ""
    style = f"<style>{_ON_SCREENS}{dark}{_NOTEBOOK}{_ON_PAPER}</style>{more}"
    text = _tables_that_scroll(text.replace("</head>", f"{style}</head>", 1))
    return re.sub(r"<script\b.*?</script>", "", text, flags=re.DOTALL)


def markdown_page(text: str, title: str) -> str:
    """A text in Markdown as a page that looks like a notebook's. Its headings are named as GitHub names them."""
    from nbformat.v4 import new_markdown_cell, new_notebook

    return _small_ids(notebook_page(new_notebook(cells=[new_markdown_cell(text)]), title))


def in_html(text: str) -> str:
    """A text in Markdown as a part of a page, with its headings named as on GitHub."""
    return _small_ids(_tables_that_scroll(_exporter().markdown2html(None, text)))


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


def title_of(nb: Any, otherwise: str) -> str:
    """A notebook's first heading; `otherwise` where it has none."""
    for cell in nb.cells:
        if cell.cell_type == "markdown" and (found := re.match(r"# (.+)", cell.source)):
            return found.group(1)
    return otherwise


def _tables_that_scroll(text: str) -> str:
    return re.sub(r"<table\b.*?</table>", r'<div class="wide">\g<0></div>', text, flags=re.DOTALL)


def _small_ids(text: str) -> str:
    """Headings named as GitHub names them, so that links arrive; other names stay as they are."""

    def small(found: re.Match[str]) -> str:
        plain = re.sub(r"[^\w\- ]", "", found.group(2).lower()).replace(" ", "-")
        return f'{found.group(1)}{plain}"'

    return re.sub(r'(<h\d id="|class="anchor-link" href="#)([^"]*)"', small, text)


def shared_style(pages: dict[str, str]) -> tuple[dict[str, str], str]:
    """The pages with one style sheet beside them in place of the copies within them, and that sheet."""
    pattern = re.compile(r"<style\b[^>]*>(.*?)</style>", re.DOTALL)
    sheets = {sheet: None for sheet in pattern.findall(next(iter(pages.values()))) if len(sheet) > 5_000}

    def without(found: re.Match[str]) -> str:
        return "" if found.group(1) in sheets else found.group(0)

    head = '</title><link rel="stylesheet" href="notebook.css">'
    shared = {name: pattern.sub(without, text).replace("</title>", head, 1) for name, text in pages.items()}
    return shared, "\n".join(sheets)
