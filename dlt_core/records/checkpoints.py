"""Save and resume a run, whole or not at all: one safetensors file, with everything that is no tensor as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dlt_core.corpora.files import write_atomically

FORMAT = "dlt-checkpoint-1"


def save(path: str | os.PathLike[str], parts: dict[str, dict[str, Any]], values: dict[str, Any]) -> None:
    """Write `parts` (name -> {"tensors": ..., "values": ...}) and `values` (JSON-able) beside `path`, then rename."""
    tensors = {
        f"{part}/{name}": tensor.contiguous()
        for part, state in parts.items()
        for name, tensor in state["tensors"].items()
    }
    state = {"values": values, "parts": {part: state["values"] for part, state in parts.items()}}
    metadata = {"format": FORMAT, "state": json.dumps(state)}
    write_atomically(Path(path), lambda beside: save_file(tensors, beside, metadata=metadata))


def load(path: str | os.PathLike[str]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The `parts` and `values` that `save` was given. Raises ValueError for a file that is no checkpoint of ours."""
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
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is no checkpoint of this project (format {metadata.get('format')!r})")
    state = json.loads(metadata["state"])
    parts = {part: {"tensors": {}, "values": values} for part, values in state["parts"].items()}
    for name, tensor in tensors.items():
        part, _, key = name.partition("/")
        parts[part]["tensors"][key] = tensor
    return parts, state["values"]
