"""What all widgets share: their modules stand alone, and their state is plain JSON."""

import json
import re

import pytest

from dlt_core import figures
from dlt_core.widgets import MemoryExplorer, TieMapEditor
from dlt_core.widgets.base import STATIC, module

MODULES = sorted(path.stem for path in STATIC.glob("*.js") if "export default" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_nothing_and_exports_once(name):
    text = module(name)
    assert not re.search(r"^\s*import\b|\bimport\(|https?://(?!www\.w3\.org)", text, re.MULTILINE)
    assert text.count("export default") == 1
    assert "</script" not in text, "it stands in a page"


def test_widgets_and_figures_have_the_same_colours():
    """One colour for each weight set in every picture of a tie map."""
    written = re.search(r"const COLOURS = (.*);", module("stepper")).group(1)
    assert tuple(json.loads(written)) == figures.COLOURS


@pytest.mark.parametrize("widget", [TieMapEditor, MemoryExplorer])
def test_the_state_is_json_and_all_that_the_widget_needs(widget):
    made = widget("laptop")
    state = json.loads(json.dumps(made.state(), allow_nan=False))
    read = set(re.findall(r'model\.get\("(\w+)"\)', made._esm))
    assert read <= state.keys()
    assert not any(name.startswith("_") for name in state)


def test_without_a_kernel_a_widget_is_a_few_words():
    assert repr(TieMapEditor()) == "TieMapEditor, a widget: alive while the notebook runs, and in playground.html"
    assert len(repr(MemoryExplorer())) < 110, "longer words are cut in a notebook"
