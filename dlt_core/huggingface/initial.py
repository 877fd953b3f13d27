"""A run that begins with a pretrained checkpoint: the field `init_from` of an Experiment.

The checkpoint has to be what the experiment says: architecture, sizes and pieces of text are its own. Only dropout is
the experiment's. All layers begin independent, since tying them at once would leave one layer of what was learned.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import tokenizers
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from dlt_core.corpora.hub import CorpusUnavailable, offline_if_unreachable
from dlt_core.corpora.tokenization import HUB_NAME, TokenizedCorpus
from dlt_core.huggingface.pretrained import COMPACT, from_pretrained
from dlt_core.learner.accounting import model_parameters
from dlt_core.tie_map import TieMap
from dlt_core.tying import count_parameters, tie_layers

CLASSES = {"gpt2": "GPT2LMHeadModel", "bert": "BertLMHeadModel"}
SIZES = {  # field of an Experiment -> what both configurations call it
    "n_positions": "max_position_embeddings",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_embd": "hidden_size",
}
DROPOUTS = ("embd_pdrop", "attn_pdrop", "resid_pdrop", "hidden_dropout_prob", "attention_probs_dropout_prob")


def build_from(
    where: str, data: TokenizedCorpus, *, architecture: str, dropout: float, **sizes: int
) -> Callable[..., PreTrainedModel]:
    """What builds the model of a `Learner`: the checkpoint's, whatever the seed, layers independent, with this dropout.

    where: a folder that `save_pretrained` has written, ours or transformers', or owner/name on the hub. sizes:
    n_positions, n_layer, n_head and n_embd. Raises ValueError for what is no checkpoint, or not of this architecture,
    these sizes and this data's tokenizer (of a checkpoint without tokenizer.json only the number of pieces is known);
    CorpusUnavailable for a name on the hub that cannot be had.
    """
    folder = _folder(where)
    config = AutoConfig.from_pretrained(folder)
    if (name := (config.architectures or [""])[0]) != CLASSES[architecture] or not _is_causal(config):
        raise ValueError(
            f"init_from={where} is a {name or config.model_type}, the experiment's {architecture} a causal "
            f"{CLASSES[architecture]}: save it as one, or take another architecture"
        )
    there = {field: getattr(config, theirs) for field, theirs in SIZES.items()}
    if there != sizes:
        others = ", ".join(f"{field}={value}" for field, value in there.items() if value != sizes[field])
        raise ValueError(f"init_from={where} has other sizes than the experiment: set {others}")
    _refuse_other_pieces(where, folder, config.vocab_size, data)
    _weights(where, folder)
    return functools.partial(_build, where, folder, architecture, dropout)


def checksum(where: str) -> str:
    """The SHA-256 of a checkpoint's weights, in hexadecimal. Raises ValueError as `build_from`."""
    digest = hashlib.sha256()
    for path in _weights(where, _folder(where)):
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def _build(where: str, folder: Path, architecture: str, dropout: float, *, seed: int = 0) -> PreTrainedModel:
    model = from_pretrained(folder)
    config = model.config
    tie_layers(model, TieMap.independent(config.num_hidden_layers))
    shape = {name: getattr(config, theirs) for name, theirs in SIZES.items() if name in ("n_positions", "n_embd")}
    shape |= {"vocab_size": config.vocab_size, "num_groups": config.num_hidden_layers}
    if count_parameters(model) != (expected := model_parameters(architecture, **shape)):
        raise ValueError(
            f"init_from={where} has {count_parameters(model):,} parameters, {architecture} of these sizes "
            f"{expected:,}: "
            "hidden layers of another width, or an output matrix of its own, are none of ours"
        )
    config.use_cache = False
    for name in DROPOUTS:
        if hasattr(config, name):
            setattr(config, name, dropout)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    return model


def _is_causal(config: PreTrainedConfig) -> bool:
    """A BERT is, if it is a decoder."""
    return config.model_type != "bert" or bool(config.is_decoder)


def _folder(where: str) -> Path:
    """The checkpoint's folder; one of the hub is downloaded once."""
    folder = Path(where).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if folder.exists() or not re.fullmatch(HUB_NAME, where):
        raise ValueError(
            f"init_from={where}: there is no folder with a config.json. Name one that save_pretrained has written, or "
            "a model of the Hugging Face hub as owner/name"
        )
    with offline_if_unreachable() as offline:
        try:
            found = huggingface_hub.snapshot_download(
                where,
                allow_patterns=["*.json", "*.safetensors"],
                ignore_patterns=["*/*"],
                local_files_only=bool(offline),
            )
        except Exception as error:  # whatever the library in use raises
            reason = offline or f"the hub answered, but loading failed ({type(error).__name__}: {error})"
            raise CorpusUnavailable(
                f"init_from={where} is neither a folder here nor to be had from the hub: {reason}. Connect to the "
                "internet, where it is downloaded once, or name the folder of a copy"
            ) from error
    return Path(found)


def _weights(where: str, folder: Path) -> list[Path]:
    if found := sorted([*folder.glob("*.safetensors"), *folder.glob(COMPACT)]):
        return found
    raise ValueError(f"init_from={where} holds no weights: no *.safetensors, and no {COMPACT}; copy them there, too")


def _refuse_other_pieces(where: str, folder: Path, vocab_size: int, data: TokenizedCorpus) -> None:
    """Raises ValueError if a token means something else to the checkpoint than to the data."""
    remedy = "take the tokenizer that it was trained with"
    if vocab_size != data.vocab_size:
        raise ValueError(
            f"init_from={where} has a vocabulary of {vocab_size:,} tokens, the tokenizer {data.tokenizer_name} "
            f"{data.vocab_size:,}: {remedy}"
        )
    if (path := folder / "tokenizer.json").is_file():
        try:
            theirs = tokenizers.Tokenizer.from_file(str(path)).get_vocab()
        except Exception as error:  # the library's own is nothing more special
            raise ValueError(f"{path} is no tokenizer ({error}): copy it again") from error
        ours = data.tokenizer.get_vocab()
        if theirs != ours:
            piece = min(theirs.keys() ^ ours.keys() or {p for p in ours if ours[p] != theirs[p]})
            raise ValueError(
                f"init_from={where} has another vocabulary than the tokenizer {data.tokenizer_name}, such as for "
                f"{piece!r}: {remedy}"
            )
