"""The API reference as pages of the site: the public names of `dlt_core` and of its rooms, by pdoc, without scripts."""

from __future__ import annotations

import dataclasses
import inspect
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt_core

_TEMPLATE = """{% extends "default/module.html.jinja2" %}
{% block module_list_link %}
    <a class="pdoc-button module-list-button" href="{{ "../" * module.modulename.count(".") }}index.html">Contents</a>
    {% if "." in module.modulename %}<a class="pdoc-button" href="../dlt_core.html">dlt_core</a>{% endif %}
{% endblock %}
{% block attribution %}{% endblock %}
"""
_STYLE = """
@media screen { :root { color-scheme: light dark; } }
.pdoc .docstring, .pdoc .attr { overflow-wrap: anywhere; }
.pdoc pre, .pdoc .param, .pdoc .return-annotation { white-space: pre-wrap; tab-size: 4; }
.pdoc .docstring > p, .pdoc .docstring > ul { max-width: 52em; }
.pdoc .module-list-button { margin-right: 0.5em; }
@media screen and (prefers-color-scheme: dark) {
  :root { --pdoc-background: #191b1d; }
  .pdoc { --text: #e9ecef; --muted: #9d9d9d; --link: #7ab8ff; --link-hover: #a5d0ff; --code: #26292c; --active: #4a4a30;
    --accent: #2b2e31; --accent2: #4a4d50; --nav-hover: rgba(0, 0, 0, 0.2); --name: #77c1ff; --def: #5fd38d;
    --annotation: #7fd1a0; }
  nav.pdoc { background-color: #212427; }
  .pdoc .pdoc-button { border-color: var(--accent2); }
  .pdoc-code * { color: var(--text); }
  .pdoc-code :is(.k, .kn, .kc, .ow, .nb, .bp, .gp) { color: #5fd38d; }
  .pdoc-code :is(.s1, .s2, .mi, .mf) { color: #e6c07b; }
  .pdoc-code :is(.c1, .go) { color: #9d9d9d; }
  .pdoc-code a, .pdoc-code a * { color: var(--link); }
}
"""
_NAMES = r"[a-z_]\w*(?:, [a-z_]\w*)*: "
_ARGUMENT = re.compile(_NAMES)
_BEGINS = re.compile(rf"(?<=[.)]) (?={_NAMES}|Raises )")
_BEFORE = "Each example below comes after `from dlt_core import *` and `import torch`. A test runs them all."


def reference_pages() -> dict[str, str]:
    """HTML by the name of its file: dlt_core.html, and one for each room in a folder dlt_core/ beside it."""
    import pdoc.doc
    import pdoc.render

    rooms = [getattr(dlt_core, room) for room in dlt_core._ROOMS]
    for module in (dlt_core, *rooms):  # pdoc sees what is loaded late once it is there
        vars(module).update({name: getattr(module, name) for name in getattr(module, "__all__", [])})
    docs = {module.__name__: pdoc.doc.Module(module) for module in (dlt_core, *rooms)}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.filterwarnings("ignore", module="pdoc")  # about annotations that only a type checker can resolve
        (Path(folder) / "module.html.jinja2").write_text(_TEMPLATE, encoding="utf-8")
        (Path(folder) / "custom.css").write_text(_STYLE, encoding="utf-8")
        how: dict[str, Any] = {"include_undocumented": False, "search": False, "show_source": False}
        pdoc.render.configure(docformat="markdown", template_directory=Path(folder), **how)
        for doc in docs.values():
            if not hasattr(doc.obj, "__all__"):  # a room whose modules are asked for by name
                doc.submodules = []
            public = {name: doc.members[name] for name in getattr(doc.obj, "__all__", []) if name in doc.members}
            doc.members = {name: member for name, member in public.items() if _is_ours(member)}
            for one in _all_of(doc):
                _prepare(one)
        docs["dlt_core"].docstring += f"\n\n{_BEFORE}"
        return {
            f"{name.replace('.', '/')}.html": pdoc.render.html_module(doc, all_modules=docs)
            for name, doc in docs.items()
        }


def _is_ours(doc: Any) -> bool:
    """Not a name of another package, such as `set`, which matplotlib writes into each class of figures."""
    return doc.kind not in ("class", "function") or str(doc.obj.__module__).startswith("dlt_core")


def _all_of(doc: Any) -> Iterator[Any]:
    yield doc
    for member in getattr(doc, "members", {}).values():
        yield from [member] if member.kind == "module" else _all_of(member)


def _prepare(doc: Any) -> None:
    """What pdoc would show of a name that says nothing to a reader: leave it out, or put it as the source has it."""
    for name, one in doc.members.items() if doc.kind == "class" else ():
        kind = type(inspect.getattr_static(doc.obj, name, None))
        if one.kind == "variable" and one.docstring == inspect.getdoc(kind):
            one.docstring = ""  # that of traitlets, for a widget's trait
        if name == "set" and not _is_ours(one):
            one.docstring = "@private"
    if doc.kind == "class" and dataclasses.is_dataclass(doc.obj):
        written = vars(doc.obj).get("__annotations__", {})
        fields = [doc.members[name] for name in written if name in doc.members]
        for field in fields:
            field.annotation_str = f": {written[field.name]}"
        if any(field.docstring for field in fields) and "__init__" in doc.members:  # it would say the same again
            doc.members["__init__"].docstring = "@private"
    elif doc.kind == "function" and not doc.obj.__doc__ and doc.docstring != "@private":
        doc.docstring = "@public" if doc.name == "__init__" else "@private"  # its arguments; another package's words
        return
    doc.docstring = in_markdown(doc.docstring)


def in_markdown(text: str) -> str:
    """A docstring with a list item for each argument (a sentence that begins with "name: "), a paragraph for what it
    raises, and its examples as code."""
    found: list[str] = []
    for block in text.split("\n\n"):
        if block.lstrip("\n").startswith(">>>"):
            found.append(f"```python\n{block}\n```")
        elif block.startswith("    "):
            found.append(block)  # code
        else:
            for sentences in _BEGINS.split(" ".join(block.split())):
                argument = _ARGUMENT.match(sentences)
                words = f"- **{argument[0][:-2]}**: {sentences[argument.end() :]}" if argument else sentences
                of_a_list = bool(argument and found and found[-1].startswith("- **"))
                found[-1:] = [f"{found[-1]}\n{_plain(words)}"] if of_a_list else [*found[-1:], _plain(words)]
    return "\n\n".join(found)


def _plain(text: str) -> str:
    """Text whose signs are no Markdown, but for `code`."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([_\\])|(?<!\*)\*(?!\*)", r"\\\g<0>", part).replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)
