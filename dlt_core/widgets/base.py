"""What all widgets share: one ES module each, drawn as SVG, with state in JSON, alive with or without a kernel."""

from __future__ import annotations

from pathlib import Path

import anywidget

STATIC = Path(__file__).parent / "static"


def module(name: str, *parts: str) -> str:
    """The text of a widget's ES module: what all share, the `parts` that some share, then its own. It imports nothing,
    so that a page without a network can hold it. Its default export is {render({model, el})}, where model has get,
    set, on and save_changes."""
    return "\n".join((STATIC / f"{part}.js").read_text(encoding="utf-8") for part in ("common", *parts, name))


def style() -> str:
    """The style sheet of all widgets; colours follow the page's own, light or dark."""
    return (STATIC / "widgets.css").read_text(encoding="utf-8")


class Widget(anywidget.AnyWidget):
    """A widget whose synced traits are all that its module needs."""

    _css = style()

    def state(self) -> dict[str, object]:
        """The traits that the module reads, as JSON has them; what a page without a kernel starts from."""
        inherited = {*anywidget.AnyWidget.class_trait_names(), "_esm", "_css", "_anywidget_id"}
        return {name: getattr(self, name) for name in self.trait_names(sync=True) if name not in inherited}

    def __repr__(self) -> str:
        """What a reader without a kernel sees in the widget's place."""
        return f"{type(self).__name__}, a widget: alive while the notebook runs, and in playground.html"
