"""Save a tied model and load it again, in full or with each weight set once.

The full form is a plain Hugging Face checkpoint in which tied layers have equal values: anything loads it, without the
ties. The compact form holds each weight set once, in a file that nothing else looks for: a loader that would fill the
missing layers with random numbers finds no weights, and says so.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from dlt_core.blocks import Blocks, find_blocks
from dlt_core.corpora.files import write_atomically
from dlt_core.tie_map import TieMap
from dlt_core.tying import TIES_KEY, block_keys, read_tie_map, tie_layers, ties_of_values

COMPACT = "weight_sets.dlt"  # a safetensors file by another name, so that no other loader takes it for a whole model
FORMAT = "dlt-weight-sets-1"
TIES, BLOCKS = "dlt_tie_map", "dlt_blocks"  # fields of config.json: the sources, and the names of the blocks


def save_pretrained(
    model: PreTrainedModel,
    directory: str | os.PathLike[str],
    *,
    compact: bool = False,
    blocks: Blocks | None = None,
    **options: Any,
) -> None:
    """Save a model whose layers may be tied, for `from_pretrained`.

    compact: False for a checkpoint that plain `AutoModel...from_pretrained` loads exactly, though without the ties;
    True for each weight set once, which only ours loads. blocks: see `find_blocks`. options: of
    `PreTrainedModel.save_pretrained`, for the full form.
    Raises ValueError where the blocks cannot be found, if the directory already holds weights of the other form, and
    for options beside compact=True.

    >>> model = build_gpt2(vocab_size=31, n_positions=8, n_layer=4, n_head=2, n_embd=8, dropout=0.0)
    >>> tie_layers(model, [0, 0, 2, 2])
    >>> save_pretrained(model, "tied", compact=True)
    """
    directory = Path(directory)
    found = find_blocks(model, blocks)
    other = sorted(directory.glob("*.safetensors" if compact else COMPACT))
    if other:
        raise ValueError(f"{directory} already holds {other[0].name}, weights of another form: save elsewhere")
    with _ties_in_config(model, found):
        if not compact:
            state = options.pop("state_dict", None) or model.state_dict()
            type(model).save_pretrained(model, directory, state_dict=_without_sharing(model, found, state), **options)
            return
        if options:
            raise ValueError(f"the compact form has no option {next(iter(options))}")
        directory.mkdir(parents=True, exist_ok=True)
        model.config.dtype = str(model.dtype).split(".")[1]
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(directory)
        if model.can_generate():
            model.generation_config.save_pretrained(directory)
    once, alias = _each_once(model.state_dict())
    metadata = {"format": FORMAT, "alias": json.dumps(alias)}
    write_atomically(directory / COMPACT, lambda beside: save_file(once, beside, metadata=metadata))


def from_pretrained(
    directory: str | os.PathLike[str], *, model_class: type[PreTrainedModel] | None = None, **options: Any
) -> PreTrainedModel:
    """The model that `save_pretrained` saved, in either form, tied as it was, in evaluation mode.

    A checkpoint that says nothing of ties, such as a published one, is loaded with independent layers. model_class: for
    a model that is not of transformers. options: of `PreTrainedModel.from_pretrained`.
    Raises ValueError for a file that is not as it was written, or whose tied layers have different values.

    >>> model = build_gpt2(vocab_size=31, n_positions=8, n_layer=4, n_head=2, n_embd=8, dropout=0.0)
    >>> save_pretrained(model, "plain")
    >>> read_tie_map(from_pretrained("plain"))
    TieMap([0, 1, 2, 3])
    """
    directory = Path(directory)
    if not (directory / "config.json").is_file():
        raise ValueError(f"{directory} holds no config.json: it was not saved by save_pretrained")
    config = AutoConfig.from_pretrained(directory)
    model_class = model_class or _class_of(config)
    tie_map, names = getattr(config, TIES, None), getattr(config, BLOCKS, None)
    if (directory / COMPACT).exists():
        state = _all_names(directory / COMPACT)
        model = model_class.from_pretrained(None, config=config, state_dict=state, **options)
    else:
        model = model_class.from_pretrained(directory, **options)
    for field in (TIES, BLOCKS):
        if hasattr(model.config, field):
            delattr(model.config, field)
    if tie_map is not None and names is not None:
        blocks = [model.get_submodule(name) for name in names]
        found = ties_of_values(block_keys(model, blocks), model.state_dict())
        if apart := [i for i, source in enumerate(tie_map) if found[source] != found[i]]:
            raise ValueError(
                f"{directory} says that layer {apart[0]} is tied to layer {tie_map[apart[0]]}, and has different "
                "values for them: its weights were changed after it was saved"
            )
        tie_layers(model, TieMap(tie_map), blocks=blocks)
    return model


def _class_of(config: PreTrainedConfig) -> type[PreTrainedModel]:
    name = (config.architectures or [""])[0]
    if not (found := getattr(transformers, name, None)):
        raise ValueError(f"transformers has no class {name!r}, which the checkpoint names: give it as model_class")
    return found


@contextlib.contextmanager
def _ties_in_config(model: PreTrainedModel, blocks: Sequence[nn.Module]) -> Iterator[None]:
    """The ties as fields of the config, while it is written: afterwards the model's own Parameters say it."""
    name_of = {module: name for name, module in model.named_modules()}
    fields = {TIES: list(read_tie_map(model, blocks=blocks)), BLOCKS: [name_of[block] for block in blocks]}
    try:
        model.config.update(fields)
        yield
    finally:
        for field in fields:
            delattr(model.config, field)


def _without_sharing(
    model: PreTrainedModel, blocks: Sequence[nn.Module], state: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """A state dict in which each layer has tensors of its own. What is shared outside the blocks, such as an output
    matrix that is the embedding, stays so: transformers knows of it."""
    state = {key: value for key, value in state.items() if key != TIES_KEY}
    seen: set[int] = set()
    for layer in block_keys(model, blocks):
        pointers = {key: state[key].data_ptr() for key in layer if key in state}
        state |= {key: state[key].clone() for key, pointer in pointers.items() if pointer in seen}
        seen |= {*pointers.values()}
    return state


def _each_once(state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Each tensor under its first name, and the other names that it goes by."""
    once: dict[str, torch.Tensor] = {}
    alias: dict[str, str] = {}
    name_of: dict[tuple[Any, ...], str] = {}
    for name, tensor in state.items():
        if name == TIES_KEY:
            continue
        place = tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride()
        first = name_of.setdefault(place, name) if tensor.numel() else name
        if first == name:
            once[name] = tensor.contiguous()
        else:
            alias[name] = first
    return once, alias


def _all_names(path: Path) -> dict[str, torch.Tensor]:
    """A state dict in which each tensor has all its names, from a file of the compact form."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
        if metadata.get("format") != FORMAT:
            raise ValueError(f"format {metadata.get('format')!r}")
        return state | {name: state[first] for name, first in json.loads(metadata["alias"]).items()}
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path} cannot be read as weight sets: {error}") from error
