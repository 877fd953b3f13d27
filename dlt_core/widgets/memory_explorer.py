"""Widget 6: training memory over weight sets, batch and checkpointing, in closed form, and the paper's claim."""

from __future__ import annotations

from typing import Any

import traitlets

from dlt_core.widgets.base import Widget, module
from dlt_core.widgets.shapes import LOGITS_AT_ONCE, memory, shape_name, shapes


class MemoryExplorer(Widget):
    """A stacked bar for each number of weight sets; a line marks a tenth of the conventional model's memory.

    model: the beginning of a model's name, see `shapes`. groups: the number of weight sets that the table is about; 6
    or as many as there are layers, if left out. Raises ValueError for what there is not.
    """

    _esm = module("memory_explorer", "accounting")

    shapes = traitlets.Dict().tag(sync=True)
    model = traitlets.Unicode().tag(sync=True)
    groups = traitlets.Int(1).tag(sync=True)
    batch_size = traitlets.Int(1).tag(sync=True)
    checkpointing = traitlets.Bool(False).tag(sync=True)
    activations = traitlets.Bool(True).tag(sync=True)
    logits_at_once = traitlets.Int(LOGITS_AT_ONCE).tag(sync=True)

    def __init__(self, model: str = "paper, GPT-2", groups: int | None = None, **traits: Any) -> None:
        known, name = shapes(), shape_name(model)
        layers = known[name]["n_layer"]
        groups = min(6, layers) if groups is None else groups
        if not 1 <= groups <= layers:
            raise ValueError(f"the model {name!r} has 1 to {layers} weight sets, got {groups}")
        traits = {"batch_size": known[name]["batch_size"], **traits}
        super().__init__(shapes=known, model=name, groups=groups, **traits)

    def numbers(self) -> dict[str, int]:
        """What the widget's table should show, computed in Python, see `shapes.memory`."""
        return memory(self.shapes[self.model], self.groups, self.batch_size, self.checkpointing)

    def tenfold(self, part: str) -> int:
        """The most weight sets with which `part` ("state", "total" or "peak") is at most a tenth of the conventional
        model's; 0 if there are none."""
        shape = self.shapes[self.model]
        sizes = [memory(shape, g, self.batch_size, self.checkpointing)[part] for g in range(1, shape["n_layer"] + 1)]
        return sum(10 * size <= sizes[-1] for size in sizes)
