"""Widgets: records or a tiny live model in, a widget out.

Each name is loaded when it is first used: who edits a tie map does not wait for PyTorch.

>>> widget = widgets.TieMapEditor("laptop", [0, 0, 2, 2, 2, 5])
>>> widget.tie_map
[0, 0, 2, 2, 2, 5]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlt_core.widgets.agreement import Agreement
    from dlt_core.widgets.beat_the_agent import BeatTheAgent
    from dlt_core.widgets.compare_runs import CompareRuns
    from dlt_core.widgets.memory_explorer import MemoryExplorer
    from dlt_core.widgets.reward_lab import RewardLab
    from dlt_core.widgets.stepper import Stepper
    from dlt_core.widgets.tie_map_editor import TieMapEditor

_HOME = {
    "Agreement": "agreement",
    "BeatTheAgent": "beat_the_agent",
    "CompareRuns": "compare_runs",
    "MemoryExplorer": "memory_explorer",
    "RewardLab": "reward_lab",
    "Stepper": "stepper",
    "TieMapEditor": "tie_map_editor",
}
__all__ = ["Agreement", "BeatTheAgent", "CompareRuns", "MemoryExplorer", "RewardLab", "Stepper", "TieMapEditor"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
