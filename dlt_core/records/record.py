"""What a run leaves behind: a RunRecord, in JSON, versioned, written atomically.

Figures, tables and notebooks are made from records and from nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlt_core.corpora.files import write_text_atomically
from dlt_core.tie_map import TieMap

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1


@dataclass
class RunRecord:
    """One training run. Lists under `history` have an entry for each decision, in order."""

    experiment: dict[str, Any]
    """`name`, `preset`, every other field of the Experiment, and `overrides`: those that differ from the preset's."""
    method: str
    """dynamic, conventional, random, all_tied, sequence, replay, ..."""
    seed: int
    corpus: dict[str, Any]
    """`name`, `sha256`, `is_sample`, `source`, `note`, number of `tokens` and `bytes` of each split."""
    agent: dict[str, Any] = field(default_factory=dict)
    """`class` of the agent and its settings; for a run without decisions "static" with its `tie_map`, or "schedule"."""
    status: str = "running"
    """running, stopped (at a checkpoint), diverged, finished."""
    error: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    budget: dict[str, int] = field(default_factory=lambda: {"optimizer_steps": 0, "tokens": 0})
    """Of the run; `search_steps` and `search_passes` went into finding its map beforehand, where a rule did."""
    tie_map: list[int] | None = None
    """The ties of the best model (by validation), the one that `test` and `parameters` are about."""
    final_tie_map: list[int] | None = None
    """The ties at the end of the run."""
    history: dict[str, list] = field(default_factory=dict)
    """episode, layer, action, explored, epsilon, reward, loss (of the reward minibatch), td_loss, num_independent,
    tie_map (after the action), q_values (of the layer, before the action; null where the agent has none). What
    `released_code` adds is said there."""
    curves: dict[str, dict[str, list]] = field(
        default_factory=lambda: {
            "train": {"step": [], "loss": []},
            "validation": {"step": [], "loss": [], "perplexity": [], "bits_per_byte": []},
        }
    )
    test: dict[str, Any] | None = None
    """`perplexity`, `unit`, `bits_per_byte`, `selected_by`, ... of the best model, read once, at the end; for LAMBADA
    also `last_word` with its `accuracy`. Where the released code's rule selects, `selected_by` is "test"."""
    parameters: dict[str, int] | None = None
    """`unique`: trainable parameters of the best-validation model. `conventional`: with all layers independent."""
    bytes: dict[str, Any] | None = None
    """Training state, measured and in closed form; `step_peak`, the peak of one optimiser step at the end of the run;
    `device_peak`, the peak of the whole run with its evaluations and the best weights beside it, on CUDA."""
    seconds: float = 0.0
    """Wall-clock time of the run, over all its parts if it was resumed."""
    timing: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("training", "control", "validation"), 0.0))
    """Seconds in optimiser steps, in control (agent, ties, reward), in validation."""
    schema_version: int = SCHEMA_VERSION

    @property
    def key(self) -> str:
        """Name of the record's file, without its ending; a preset with changed fields has a name of its own."""
        return key(self.experiment, self.method, self.seed)

    @property
    def unit(self) -> str:
        """What the perplexity is per; the tokenizer's name for a run that was not finished."""
        return self.test["unit"] if self.test else f"per token ({self.experiment['tokenizer']})"

    @property
    def sample_mark(self) -> str:
        """What stands behind a name, in tables and figures, if the run's corpus is only a part of it."""
        return " (sample)" if self.corpus.get("is_sample") else ""

    def transitions(self) -> dict[str, int]:
        """How often a layer went from independent to tied ("ties") and from tied to independent ("unties")."""
        maps = self.history.get("state") or self.history["tie_map"]  # of the released code what its state says
        found = {"ties": 0, "unties": 0}
        for before, after in itertools.pairwise([[0] * len(maps[0]), *maps]):  # the start is all tied
            for i, (old, new) in enumerate(zip(before, after, strict=True)):
                found["ties"] += old == i != new
                found["unties"] += old != i == new
        return found

    def headline(self) -> dict[str, Any]:
        """The three numbers that matter: perplexity with bits per byte, trainable parameters, independent layers."""
        return {
            "key": self.key,
            "experiment": self.experiment["name"],
            "preset": self.experiment["preset"],
            "method": self.method,
            "seed": self.seed,
            "perplexity": self.test["perplexity"],
            "unit": self.test["unit"],
            "bits_per_byte": self.test["bits_per_byte"],
            "parameters": self.parameters,
            "independent_layers": TieMap(self.tie_map).num_independent,
            "layers": len(self.tie_map),
        }

    def __str__(self) -> str:
        """The headline in words; for a run that is not finished, its name and how it stands."""
        if self.status != "finished":
            return f"{self.key}: {self.status}"
        return in_words(self.headline())

    def path_in(self, path: str | os.PathLike) -> Path:
        """`path` itself if it names a .json file, otherwise the record's own file in that folder."""
        path = Path(path)
        return path if path.suffix == ".json" else path / f"{self.key}.json"

    def save(self, path: str | os.PathLike) -> Path:
        """Write the record to `path` (a .json file, or a folder, where it is named by its key): whole or not at all."""
        path = self.path_in(path)
        write_text_atomically(path, self.to_json() + "\n")
        return path

    @classmethod
    def load(cls, path: str | os.PathLike) -> RunRecord:
        """Read a record. Raises ValueError if it is of another schema version or has unknown fields."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"), name=str(path))

    def to_json(self) -> str:
        """JSON with a line for each field; numbers that are not finite become null."""
        fields = {f.name: _finite(getattr(self, f.name)) for f in dataclasses.fields(self)}
        order = ["schema_version", *(name for name in fields if name != "schema_version")]
        lines = [f"  {json.dumps(name)}: {json.dumps(fields[name], allow_nan=False)}" for name in order]
        return "{\n" + ",\n".join(lines) + "\n}"

    @classmethod
    def from_json(cls, text: str, *, name: str = "record") -> RunRecord:
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name} is not a record: {error}") from error
        if fields.get("schema_version") != SCHEMA_VERSION:
            found = fields.get("schema_version")
            raise ValueError(f"{name} has schema version {found}, this code reads {SCHEMA_VERSION}")
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(fields.keys() - known):
            raise ValueError(f"{name} has unknown fields {unknown}; known: {sorted(known)}")
        return cls(**fields)


def in_words(run: dict[str, Any]) -> str:
    """What `RunRecord.headline` returns, in words."""
    unique, conventional = run["parameters"]["unique"], run["parameters"]["conventional"]
    return (
        f"{run['experiment']}, {run['method']}, seed {run['seed']}:\n"
        f"  test perplexity       {run['perplexity']:.1f} {run['unit']} ({run['bits_per_byte']:.3f} bits per byte)\n"
        f"  trainable parameters  {unique:,}, {unique / conventional:.0%} of {conventional:,} conventional\n"
        f"  independent layers    {run['independent_layers']} of {run['layers']}"
    )


def key(experiment: dict[str, Any], method: str, seed: int) -> str:
    """What a run is called; experiment as in a record."""
    changed = experiment.get("overrides")
    mark = "-" + hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:8] if changed else ""
    return f"{experiment['name']}-{experiment['preset']}{mark}-{method}-seed{seed}"


def load_all(folder: str | os.PathLike) -> list[RunRecord]:
    """The records in a folder, by file name."""
    return [RunRecord.load(path) for path in sorted(Path(folder).glob("*.json"))]


def load_records(folder: str | os.PathLike) -> pd.DataFrame:
    """The records in a folder as a table, a row a run: name, size and settings of the experiment (`experiment`,
    `preset`, `changes`), `method`, `seed`, `corpus`, `status`, and of finished runs what was
    measured. The record itself is in the column `record`.
    """
    import pandas as pd

    rows = []
    for record in load_all(folder):
        test, parameters = record.test or {}, record.parameters or {}
        rows.append(
            {
                "experiment": record.experiment["name"],
                "preset": record.experiment["preset"],
                "changes": ", ".join(f"{k}={v}" for k, v in sorted(record.experiment.get("overrides", {}).items())),
                "method": record.method,
                "seed": record.seed,
                "corpus": record.corpus["name"],
                "status": record.status,
                "perplexity": test.get("perplexity"),
                "unit": test.get("unit"),
                "bits_per_byte": test.get("bits_per_byte"),
                "parameters": parameters.get("unique"),
                "conventional_parameters": parameters.get("conventional"),
                "independent_layers": None if record.tie_map is None else len(set(record.tie_map)),
                "layers": record.experiment["n_layer"],
                "steps": record.budget["optimizer_steps"],
                "seconds": record.seconds,
                "record": record,
            }
        )
    return pd.DataFrame(rows)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
