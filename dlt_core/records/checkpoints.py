"""Save and resume a run, whole or not at all: one safetensors file, with everything that is no tensor as JSON.

The last two are kept. Each has a checksum over all that is in it, and is not used unless that is right.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dlt_core.corpora.files import write_atomically

FORMAT = "dlt-checkpoint-2"


@runtime_checkable
class Saved(Protocol):
    """What a checkpoint can keep. A state is {"tensors": name -> tensor, "values": what goes into JSON}."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def cannot_be_saved(one: object) -> str:
    """Why a checkpoint cannot keep this, in words; nothing if it can.

    >>> cannot_be_saved(())
    'tuple has no state_dict and no load_state_dict'
    """
    lacks = [name for name in ("state_dict", "load_state_dict") if not hasattr(one, name)]
    return f"{type(one).__name__} has no {' and no '.join(lacks)}" if lacks else ""


def save(path: str | os.PathLike[str], parts: dict[str, dict[str, Any]], values: dict[str, Any]) -> None:
    """Write `parts` (name -> {"tensors": ..., "values": ...}) and `values` (JSON-able) to `path`; the checkpoint that
    is there already becomes the one before."""
    tensors = {
        f"{part}/{name}": tensor.contiguous()
        for part, state in parts.items()
        for name, tensor in state["tensors"].items()
    }
    state = json.dumps({"values": values, "parts": {part: state["values"] for part, state in parts.items()}})
    metadata = {"format": FORMAT, "state": state, "checksum": _checksum(tensors, state)}

    def write(beside: Path) -> None:
        try:
            save_file(tensors, beside, metadata=metadata)
        except SafetensorError as error:  # which is no OSError, also where the disk is full
            raise OSError(f"{path} could not be written: {error}") from error

    write_atomically(Path(path), write, keep=one_before(Path(path)))


def load(path: str | os.PathLike[str]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The `parts` and `values` that `save` was given. Raises ValueError for a file that is no checkpoint of ours, or
    not as it was written."""
    tensors: dict[str, torch.Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # clones, since the tensors are otherwise views of the file, which is soon replaced
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
    except Exception as error:
        if isinstance(error, OSError):
            raise
        raise ValueError(f"{path} cannot be read as a checkpoint: {error}") from error
    if metadata.get("format") == "dlt-checkpoint-1":
        raise ValueError(f"{path} was written by an earlier version, without the checksum that this one asks for")
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is no checkpoint of this project (format {metadata.get('format')!r})")
    state = metadata.get("state", "")
    if metadata.get("checksum") != _checksum(tensors, state):
        raise ValueError(f"{path} is damaged: its checksum is not that of what is in it")
    try:
        found = json.loads(state)
        parts = {part: {"tensors": {}, "values": values} for part, values in found["parts"].items()}
        for name, tensor in tensors.items():
            part, _, key = name.partition("/")
            parts[part]["tensors"][key] = tensor
        return parts, dict(found["values"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no checkpoint of this project: {error!r}") from error


def load_last(path: str | os.PathLike[str]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """What `load` gives for the last of the checkpoints kept for `path` that is sound.

    If that is the one before the last, the last is set aside under another name, and a warning says so. Raises
    ValueError, naming what is wrong and what to do, if none is sound; FileNotFoundError if there is none.
    """
    path = Path(path)
    before = one_before(path)
    if not path.exists():  # the run ended between two renamings, or it was set aside
        return load(before if before.exists() else path)
    try:
        return load(path)
    except ValueError as error:
        if not before.exists():
            raise ValueError(f"{error}. There is none before it: delete it, and the run begins anew") from error
        try:
            found = load(before)
        except ValueError as too:
            raise ValueError(f"{error}, and {too}. Delete both, and the run begins anew") from too
        aside = path.with_name(f"{path.name}.damaged")
        os.replace(path, aside)
        warnings.warn(f"{error}. It is now called {aside.name}, and the run goes on from the one before", stacklevel=2)
        return found


def one_before(path: Path) -> Path:
    """Where the checkpoint before the last is."""
    return path.with_name(f"{path.name}.before")


def exists(path: Path) -> bool:
    """Whether a run can be taken up here."""
    return path.exists() or one_before(path).exists()


def remove(path: Path) -> None:
    """Remove both; what was set aside stays."""
    path.unlink(missing_ok=True)
    one_before(path).unlink(missing_ok=True)


def _checksum(tensors: Mapping[str, torch.Tensor], state: str) -> str:
    """Of all tensors, with their names, kinds and shapes, and of the state."""
    digest = hashlib.sha256(state.encode("utf-8", "surrogatepass"))
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
