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
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Required, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, GetPydanticSchema, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from dlt_core.corpora.files import write_text_atomically
from dlt_core.records import shown
from dlt_core.records.refusals import refusal
from dlt_core.tie_map import TieMap

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1

# What the file of a stranger is held to; a run that writes its own record is not checked. Numbers that are not finite
# are null in a file, so lists of measured values may have them.
Value = TypeVar("Value")
Columns = TypeVar("Columns", bound=Mapping[str, list[Any]])
Count = Annotated[int, Field(ge=0, lt=2**63)]
_STRICT = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")


def _as(kind: Any) -> GetPydanticSchema:
    """Check as this; to the code it is a plain dict or list."""
    return GetPydanticSchema(lambda _, schema_of: schema_of(kind))


Measured = Annotated[list[Any], _as(list[float | None])]


def _equally_long(columns: Columns) -> Columns:
    if others := [name for name, column in columns.items() if not isinstance(column, list)]:
        raise ValueError(f"must have lists, which {others[0]} is not")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"has lists of unequal length: {lengths}")
    return columns


def _canonical(sources: list[int]) -> list[int]:
    return list(TieMap(sources))


Ties = Annotated[list[Count], AfterValidator(_canonical)]


@with_config(_STRICT)
class _Settings(TypedDict, total=False):
    name: Required[str]
    preset: Required[str]
    tokenizer: str
    n_layer: Count
    overrides: dict[str, Any]


@with_config(_STRICT)
class _Corpus(TypedDict, total=False):
    name: Required[str]
    sha256: str
    is_sample: bool


@with_config(_STRICT)
class _History(TypedDict, total=False):
    episode: list[Count]
    layer: list[Count]
    action: list[Count]
    explored: list[bool]
    epsilon: Measured
    reward: Measured
    loss: Measured
    td_loss: Measured
    num_independent: list[Count]
    weight_sets: list[Count]
    tie_map: list[list[Count]]
    state: list[list[Count]]
    q_values: list[Measured | None]


@with_config(_STRICT)
class _Test(TypedDict):
    perplexity: float
    unit: str
    bits_per_byte: float


@with_config(_STRICT)
class _Parameters(TypedDict):
    unique: Annotated[int, Field(ge=1, lt=2**63)]
    conventional: Annotated[int, Field(ge=1, lt=2**63)]


@with_config(_STRICT)
@dataclass
class RunRecord:
    """One training run. Lists under `history` have an entry for each decision, in order. Losses are in nats per token,
    sizes in bytes, times in seconds.

    >>> record = train_conventional(Experiment.preset("gpt2-embedded", "smoke", n_layer=2, episodes=1))
    >>> path = record.save("records")
    >>> RunRecord.load(path).test["unit"]
    'per token of a 512-piece BPE'
    """

    experiment: Annotated[dict[str, Any], _as(_Settings)]
    """`name`, `preset`, every other field of the Experiment, and `overrides`: those that differ from the preset's."""
    method: str
    """dynamic, conventional, random, all_tied, sequence, replay, ..."""
    seed: Count
    corpus: Annotated[dict[str, Any], _as(_Corpus)]
    """`name`, `sha256`, `is_sample`, `source`, `note`, number of `tokens` and `bytes` of each split."""
    agent: dict[str, Any] = field(default_factory=dict)
    """`class` of the agent and its settings; for a run without decisions "static" with its `tie_map`, or "schedule"."""
    status: Literal["running", "stopped", "diverged", "failed", "finished"] = "running"
    """running, stopped (by a limit, or by whoever asked for it), diverged, failed (for want of memory), finished."""
    error: str | None = None
    """What went wrong, if it diverged or failed."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of the libraries; and as `init_from` the checksum of the weights that the model began with."""
    hardware: dict[str, Any] = field(default_factory=dict)
    budget: dict[str, Count] = field(default_factory=lambda: {"optimizer_steps": 0, "tokens": 0})
    """Of the run; `search_steps` and `search_passes` went into finding its map beforehand, where a rule did."""
    tie_map: Ties | None = None
    """The ties of the best model (by validation), the one that `test` and `parameters` are about."""
    final_tie_map: Ties | None = None
    """The ties at the end of the run."""
    history: Annotated[dict[str, list[Any]], _as(_History), AfterValidator(_equally_long)] = field(default_factory=dict)
    """episode, layer, action, explored, epsilon, reward, loss (of the reward minibatch), td_loss, num_independent,
    tie_map (after the action), q_values (of the layer, before the action; null where the agent has none). explored: the
    action is not the agent's own choice, but a random one, or with `freeze_after` the tie as it was. What
    `released_code` adds is said there."""
    curves: dict[str, Annotated[dict[str, Measured], AfterValidator(_equally_long)]] = field(
        default_factory=lambda: {
            "train": {"step": [], "loss": []},
            "validation": {"step": [], "loss": [], "perplexity": [], "bits_per_byte": []},
        }
    )
    test: Annotated[dict[str, Any], _as(_Test)] | None = None
    """`perplexity`, `unit`, `bits_per_byte`, `selected_by`, ... of the best model, read once, at the end; for LAMBADA
    also `last_word` with its `accuracy`. Where the released code's rule selects, `selected_by` is "test"."""
    parameters: Annotated[dict[str, int], _as(_Parameters)] | None = None
    """`unique`: trainable parameters of the best-validation model. `conventional`: with all layers independent."""
    bytes: dict[str, Any] | None = None
    """Training state, measured and in closed form; `step_peak`, the peak of one optimiser step at the end of the run;
    `device_peak`, the peak of the whole run with its evaluations and the best weights beside it, on CUDA."""
    seconds: Annotated[float, Field(ge=0)] = 0.0
    """Wall-clock time of the run, over all its parts if it was resumed."""
    timing: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("training", "control", "validation"), 0.0))
    """Seconds in optimiser steps, in control (agent, ties, reward), in validation."""
    schema_version: int = SCHEMA_VERSION

    @property
    def key(self) -> str:
        """Name of the record's file, without its ending; a preset with changed fields has a name of its own."""
        return key(self.experiment, self.method, self.seed)

    @property
    def changes(self) -> str:
        """The settings that differ from the preset's, such as "gamma=0.5, price=1"."""
        return ", ".join(f"{k}={v}" for k, v in sorted(self.experiment.get("overrides", {}).items()))

    @property
    def passes(self) -> float:
        """How often training read its text: tokens trained on over tokens of the training split. Raises ValueError if
        these were not counted."""
        tokens: int = self.required(self.corpus.get("tokens"))["train"]
        return self.budget["tokens"] / tokens

    @property
    def best_at_the_end(self) -> bool:
        """Was the model that was tested, the best on validation, the one after the last step? Then training had not
        come to its end: it might have gone on improving. (If not, that does not show that it had.)

        Raises ValueError for a run that was not tested."""
        return bool(self.required(self.test)["selected_step"] == self.budget["optimizer_steps"])

    def stopped_by(self, patience: int) -> tuple[int, bool] | None:
        """Early stopping, after the fact: the step after which a patience of so many evaluations would have ended this
        run, since in none of the last so many was validation loss lower than the lowest before, and whether a later
        model was better than all that patience would have had to choose from. None if it would not have ended it
        before its last evaluation."""
        losses, steps = self.curves["validation"]["loss"], self.curves["validation"]["step"]
        best = 0
        for now, loss in enumerate(losses[:-1]):
            best = now if loss < losses[best] else best
            if now - best >= patience:
                return steps[now], min(losses[now:]) < losses[best]
        return None

    @property
    def unit(self) -> str:
        """What the perplexity is per; the tokenizer's name for a run that was not finished."""
        return self.test["unit"] if self.test else f"per token ({self.experiment['tokenizer']})"

    @property
    def sample_mark(self) -> str:
        """What stands behind a name, in tables and figures, if the run's corpus is only a part of it."""
        return " (sample)" if self.corpus.get("is_sample") else ""

    def required(self, value: Value | None) -> Value:
        """`value`, a field that finished runs have, such as `record.test`. Raises ValueError if it is not there."""
        if value is None:
            raise ValueError(f"{self.key} is {self.status} and lacks what a finished run has")
        return value

    def first_ties(self, n_layer: int) -> list[int]:
        """The ties before the first decision: all tied, or all independent after `init_from`."""
        return list(range(n_layer)) if self.experiment.get("init_from") else [0] * n_layer

    def transitions(self) -> dict[str, int]:
        """How often a layer went from independent to tied ("ties") and from tied to independent ("unties")."""
        maps = self.history.get("state") or self.history["tie_map"]  # of the released code what its state says
        counts = {"ties": 0, "unties": 0}
        for before, after in itertools.pairwise([self.first_ties(len(maps[0])), *maps]):
            for i, (old, new) in enumerate(zip(before, after, strict=True)):
                counts["ties"] += old == i != new
                counts["unties"] += old != i == new
        return counts

    def headline(self) -> dict[str, Any]:
        """The three numbers that matter: perplexity with bits per byte, trainable parameters, independent layers.

        Raises ValueError for a run that is not finished.
        """
        test, tie_map = self.required(self.test), TieMap(self.required(self.tie_map))
        return {
            "key": self.key,
            "experiment": self.experiment["name"],
            "preset": self.experiment["preset"],
            "method": self.method,
            "seed": self.seed,
            "perplexity": test["perplexity"],
            "unit": test["unit"],
            "bits_per_byte": test["bits_per_byte"],
            "parameters": self.required(self.parameters),
            "independent_layers": tie_map.num_independent,
            "layers": len(tie_map),
        }

    def __str__(self) -> str:
        """The headline in words; for a run that is not finished, its name and how it stands."""
        if self.status != "finished":
            return f"{self.key}: {self.status}"
        return in_words(self.headline() | {"experiment": self.experiment["name"] + self._other_text})

    @property
    def _other_text(self) -> str:
        """What stands behind the experiment's name if the run saw another text than that has."""
        other = self.experiment.get("overrides", {}).get("corpus")
        return f" on {other}" if other else ""

    def _repr_html_(self) -> str:
        """What notebooks show of it: a table of its results."""
        return shown.record_html(self)

    def path_in(self, path: str | os.PathLike[str]) -> Path:
        """`path` itself if it names a .json file, otherwise the record's own file in that folder."""
        path = Path(path)
        return path if path.suffix == ".json" else path / f"{self.key}.json"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the record to `path` (a .json file, or a folder, where it is named by its key): whole or not at all.

        The file gets a digest of itself as its last field, by which `load` sees whether it was changed.
        """
        path = self.path_in(path)
        write_text_atomically(path, _sealed(self.to_json()))
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RunRecord:
        """Read a record, also from a stranger. Raises ValueError naming file and field for what is none, or was changed
        after it was written; a record of an earlier version has no digest that could tell."""
        try:
            text = Path(path).read_bytes().decode("utf-8").replace("\r\n", "\n")  # git may write \r\n under Windows
        except (UnicodeDecodeError, IsADirectoryError) as error:
            raise ValueError(f"{path} is not a record: {error}") from error
        return cls.from_json(text, name=str(path))

    def to_json(self) -> str:
        """JSON with a line for each field; numbers that are not finite become null."""
        fields = {f.name: _finite(plain(getattr(self, f.name))) for f in dataclasses.fields(self)}
        order = ["schema_version", *(name for name in fields if name != "schema_version")]
        lines = [f"  {json.dumps(name)}: {json.dumps(fields[name], allow_nan=False)}" for name in order]
        return "{\n" + ",\n".join(lines) + "\n}"

    @classmethod
    def from_json(cls, text: str, *, name: str = "record") -> RunRecord:
        """Undo `to_json`, or read what `save` has written. name: what errors call it. Raises ValueError naming it and
        the field that is wrong."""
        constants: list[str] = []  # NaN and Infinity, which are no JSON
        try:
            fields = json.loads(text, object_pairs_hook=_each_once, parse_constant=constants.append)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name} is not a record: {error}") from error
        if not isinstance(fields, dict):
            raise ValueError(f"{name} is not a record: it must hold fields in braces, got a {type(fields).__name__}")
        if (version := fields.get("schema_version")) != SCHEMA_VERSION:
            raise ValueError(f"{name} has schema version {version!r}, this code reads {SCHEMA_VERSION}")
        digest = fields.pop("digest", None)
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(fields.keys() - known):
            raise ValueError(f"{name} has unknown fields {unknown}; known: {sorted(known)}")
        try:
            _CHECK.validate_json(text)
        except ValidationError as error:
            raise ValueError(f"{name}: {refusal(error)}") from None
        if constants:
            field = next(f for f, value in json.loads(text).items() if constants[0] in json.dumps(value))
            raise ValueError(f"{name}: {field} has {constants[0]}, which is no number in JSON")
        if fields.get("status") == "finished":
            for needed in ("test", "parameters", "tie_map"):
                if fields.get(needed) is None:
                    raise ValueError(f"{name}: {needed} is missing, and the run is finished")
        record = cls(**fields)
        if Path(record.key).name != record.key:
            raise ValueError(f"{name}: experiment, preset and method cannot name a file in a folder: {record.key!r}")
        if digest is not None and text != _sealed(_unsealed(text)):
            raise ValueError(
                f"{name} was changed after it was written: its digest is not that of its text. Copy it once more from "
                "where it was written; if the change is meant, remove the field digest"
            )
        return record


_CHECK = TypeAdapter(RunRecord)
_SEAL = ',\n  "digest": "'  # how the last line of a file begins


def _sealed(text: str) -> str:
    """A record's JSON as its file has it: with the digest of this text as one field more, and a newline."""
    return f'{text.removesuffix("}").rstrip()}{_SEAL}{hashlib.sha256(text.encode()).hexdigest()}"\n}}\n'


def _unsealed(text: str) -> str:
    return text.rpartition(_SEAL)[0] + "\n}"


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a name in it twice is an error, since one of the two values would be lost."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError(f"a field is there twice among {[name for name, _ in pairs]}")
    return fields


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


def load_all(folder: str | os.PathLike[str]) -> list[RunRecord]:
    """The records in a folder, by file name."""
    return [RunRecord.load(path) for path in sorted(Path(folder).glob("*.json"))]


def load_records(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """The records in a folder as a table, a row a run, by file name; without records it has its columns and no row.

    experiment, preset: names, as in `Experiment.preset`. changes: what differs from them, as in "gamma=0.5, price=1".
    method, seed, corpus, status: as in `RunRecord`. perplexity (per what `unit` says) and bits_per_byte: of the test
    split. parameters, conventional_parameters: trainable ones of the best model, and with all layers independent.
    independent_layers of `layers`: in the best model. steps: of the optimiser. seconds: of the run. record: the
    RunRecord itself. What an unfinished run does not have is missing.

    Raises ValueError naming the file that is not a record, NotADirectoryError if there is no such folder.

    >>> experiment = Experiment.preset("gpt2-embedded", "smoke", n_layer=2, episodes=1)
    >>> record = train_conventional(experiment, record_path="records")
    >>> load_records("records")["method"].tolist()
    ['conventional']
    """
    import pandas as pd

    if not Path(folder).is_dir():
        raise NotADirectoryError(f"no folder of records: {folder}")
    table = pd.DataFrame([_row(record) for record in load_all(folder)], columns=list(_COLUMNS))
    return table.astype(_COLUMNS)


_COLUMNS = {
    **dict.fromkeys(("experiment", "preset", "changes", "method"), "object"),
    "seed": "int64",
    **dict.fromkeys(("corpus", "status"), "object"),
    **{"perplexity": "float64", "unit": "object", "bits_per_byte": "float64"},
    **dict.fromkeys(("parameters", "conventional_parameters", "independent_layers", "layers", "steps"), "Int64"),
    **{"seconds": "float64", "record": "object"},
}


def _row(record: RunRecord) -> dict[str, Any]:
    test, parameters = record.test or {}, record.parameters or {}
    return {
        "experiment": record.experiment["name"],
        "preset": record.experiment["preset"],
        "changes": record.changes,
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
        "layers": record.experiment.get("n_layer"),
        "steps": record.budget.get("optimizer_steps"),
        "seconds": record.seconds,
        "record": record,
    }


def plain(value: Any) -> Any:
    """Scalars and arrays of NumPy and PyTorch as numbers and lists, also within lists and dicts."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return value
