"""Dynamic Layer Tying for Parameter-Efficient Transformers (Hay and Wolf, ICLR 2024): a teaching reproduction.

    from dlt_core import Experiment, train_dynamic

    record = train_dynamic(Experiment.preset("gpt2-embedded", "smoke"))

The names below are all that most readers need. Each is loaded when it is first used, so `TieMap` does not wait for
PyTorch. README.md in this folder is the guide to the rest.

Two environments are registered, too, as soon as gymnasium is imported, whether before or after this package:

    env = gymnasium.make("dlt_core/LayerTying-v0", experiment="gpt2-embedded", preset="smoke")
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
# Before PyTorch is loaded. Its threads wait for each other at full speed, for milliseconds: where another process wants
# the cores, a step can take twenty times as long. So they fall asleep sooner, which costs nothing that was seen on an
# idle machine (to sleep at once, OMP_WAIT_POLICY=PASSIVE, costs half as much again). A user's own setting stands.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
CHECKOUT = Path(__file__).resolve().parent.parent  # where notebooks/ and figures/ lie, unless this is an installed copy

_HOME = {
    "TieMap": "tie_map",
    "expected_independent": "tie_map",
    "find_blocks": "blocks",
    "build_gpt2": "blocks",
    "build_bert": "blocks",
    "tie_layers": "tying",
    "read_tie_map": "tying",
    "count_parameters": "tying",
    "optimizer_state": "tying",
    "load_optimizer_state": "tying",
    "QAgent": "agents",
    "RandomAgent": "agents",
    "FixedAgent": "agents",
    "ReplayAgent": "agents",
    "Learner": "learner",
    "LayerTyingEnv": "env",
    "save_pretrained": "huggingface.pretrained",
    "from_pretrained": "huggingface.pretrained",
    "DynamicLayerTyingCallback": "huggingface.trainer",
    "Experiment": "experiments",
    "load_data": "experiments",
    "build_learner": "experiments",
    "build_env": "experiments",
    "build_agent": "experiments",
    "train_dynamic": "algorithm1",
    "train_conventional": "algorithm1",
    "RunRecord": "records",
    "load_records": "records",
    "compare": "studies.comparison",
}
_ROOMS = ("corpora", "figures", "huggingface", "learner", "records", "reproduce", "studies", "widgets")
__all__ = [
    "DynamicLayerTyingCallback", "Experiment", "FixedAgent", "LayerTyingEnv", "Learner", "QAgent", "RandomAgent",
    "ReplayAgent", "RunRecord", "TieMap", "build_agent", "build_bert", "build_env", "build_gpt2", "build_learner",
    "compare", "corpora", "count_parameters", "expected_independent", "figures", "find_blocks", "from_pretrained",
    "huggingface", "learner", "load_data", "load_optimizer_state", "load_records", "optimizer_state",
    "read_tie_map", "records", "reproduce", "save_pretrained", "studies", "tie_layers", "train_conventional",
    "train_dynamic", "widgets"
]  # fmt: skip

if TYPE_CHECKING:
    from dlt_core import corpora, figures, huggingface, learner, records, reproduce, studies, widgets
    from dlt_core.agents import FixedAgent, QAgent, RandomAgent, ReplayAgent
    from dlt_core.algorithm1 import train_conventional, train_dynamic
    from dlt_core.blocks import build_bert, build_gpt2, find_blocks
    from dlt_core.env import LayerTyingEnv
    from dlt_core.experiments import Experiment, build_agent, build_env, build_learner, load_data
    from dlt_core.huggingface.pretrained import from_pretrained, save_pretrained
    from dlt_core.huggingface.trainer import DynamicLayerTyingCallback
    from dlt_core.learner import Learner
    from dlt_core.records import RunRecord, load_records
    from dlt_core.studies.comparison import compare
    from dlt_core.tie_map import TieMap, expected_independent
    from dlt_core.tying import count_parameters, load_optimizer_state, optimizer_state, read_tie_map, tie_layers


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"dlt_core.{_HOME[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"dlt_core.{name}")
    raise AttributeError(f"module 'dlt_core' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


_ENVS = {  # id for gymnasium.make -> what it calls
    "dlt_core/LayerTying-v0": "dlt_core.experiments:make_env",
    "dlt_core/SurrogateTying-v0": "dlt_core.studies.surrogate:make_env",
}


class _AfterGymnasium:
    """Registers the environments once gymnasium has been imported: gymnasium knows no entry points since 1.0, and to
    import it here would let each `import dlt_core` wait for it, and for NumPy."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name) if name == "gymnasium" else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: Any) -> None:
                execute(module)
                cls.register()

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec

    @staticmethod
    def register() -> None:
        from gymnasium.envs.registration import register, registry

        for name, entry_point in _ENVS.items():
            if name not in registry:
                register(name, entry_point=entry_point)


if "gymnasium" in sys.modules:
    _AfterGymnasium.register()
else:
    sys.meta_path.insert(0, _AfterGymnasium)
