"""Widget 1: click layers into groups, and see at once what the map costs in parameters and training memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import traitlets

from dlt_core.tie_map import TieMap
from dlt_core.widgets.base import Widget, module
from dlt_core.widgets.shapes import LOGITS_AT_ONCE, memory, shape_name, shapes


class TieMapEditor(Widget):
    """Choose layers to share their weights, by clicking, dragging or with the keyboard, or take a named pattern.

    model: the beginning of a model's name, see `shapes`, such as "laptop" or "paper, GPT-2". tie_map: to begin with;
    all tied, if it is left out. Afterwards `tie_map` is what the reader has made. Raises ValueError for a model that
    is not known, or a map of another number of layers.
    """

    _esm = module("tie_map_editor", "accounting")

    shapes = traitlets.Dict().tag(sync=True)
    model = traitlets.Unicode().tag(sync=True)
    tie_map = traitlets.List(traitlets.Int()).tag(sync=True)
    batch_size = traitlets.Int(1).tag(sync=True)
    checkpointing = traitlets.Bool(False).tag(sync=True)
    logits_at_once = traitlets.Int(LOGITS_AT_ONCE).tag(sync=True)

    def __init__(self, model: str = "laptop", tie_map: TieMap | Sequence[int] | None = None, **traits: Any) -> None:
        known, name = shapes(), shape_name(model)
        layers = known[name]["n_layer"]
        ties = TieMap.all_tied(layers) if tie_map is None else TieMap(list(tie_map))
        if len(ties) != layers:
            raise ValueError(f"the model {name!r} has {layers} layers, the map {len(ties)}")
        traits = {"batch_size": known[name]["batch_size"], **traits}
        super().__init__(shapes=known, model=name, tie_map=list(ties), **traits)

    def numbers(self) -> dict[str, int]:
        """What the widget should show, computed in Python, see `shapes.memory`."""
        return memory(self.shapes[self.model], TieMap(self.tie_map), self.batch_size, self.checkpointing)
