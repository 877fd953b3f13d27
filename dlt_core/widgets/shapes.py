"""The models that widgets are about, and their memory: Python's numbers, to which the widgets' own are equal."""

from __future__ import annotations

from typing import Any

from dlt_core.experiments import Experiment
from dlt_core.tie_map import TieMap

LOGITS_AT_ONCE = 2**25  # as `learner.loss` has it for the CPU, which would load PyTorch
_MODELS = {
    "smoke": ("gpt2-embedded", "smoke"),
    "laptop": ("gpt2-embedded", "laptop"),
    "gpu": ("gpt2-wikitext2", "gpu"),
    "paper, BERT": ("bert-wikitext2", "paper"),
    "paper, GPT-2": ("gpt2-wikitext2", "paper"),
}
_FIELDS = ("architecture", "n_layer", "n_embd", "n_head", "n_positions", "block_size", "batch_size")


def shapes() -> dict[str, dict[str, Any]]:
    """The presets' models and the paper's two, by the name that a menu shows, such as "paper, GPT-2: 48 x 1600"."""
    from dlt_core.corpora.tokenization import GPT2_PIECES, bpe_pieces

    found = {}
    for name, (experiment, preset) in _MODELS.items():
        settings = Experiment.preset(experiment, preset)
        shape = {field: getattr(settings, field) for field in _FIELDS}
        shape["vocab_size"] = bpe_pieces(settings.tokenizer) or GPT2_PIECES
        found[f"{name}: {settings.n_layer} x {settings.n_embd}"] = shape
    return found


def shape_name(beginning: str) -> str:
    """The full name of the model whose name begins so. Raises ValueError, listing what there is, for none."""
    names = list(shapes())
    for name in names:
        if name.startswith(beginning):
            return name
    raise ValueError(f"no model begins with {beginning!r}; there are: {'; '.join(names)}")


def memory(shape: dict[str, Any], tie_map: TieMap | int, batch_size: int, checkpointing: bool) -> dict[str, int]:
    """Parameters, and bytes of training by their parts, in closed form; tie_map: or a number of weight sets.

    parameters, weights, gradients, optimizer (AdamW's two moments), state (these three), activations, total, and peak:
    the most that one step holds at any moment, see `learner.accounting`.
    """
    from dlt_core.learner import accounting

    groups = tie_map if isinstance(tie_map, int) else tie_map.num_independent
    sizes = {name: shape[name] for name in ("vocab_size", "n_positions", "n_embd")}
    parameters = accounting.model_parameters(shape["architecture"], **sizes, num_groups=groups)
    state = accounting.training_bytes(parameters)
    step: dict[str, Any] = {name: shape[name] for name in ("block_size", "vocab_size", "n_layer", "n_head", "n_embd")}
    step |= {"batch_size": batch_size, "checkpointing": checkpointing, "logits_at_once": LOGITS_AT_ONCE}
    activations = accounting.model_activation_bytes(shape["architecture"], **step)
    peak = accounting.model_peak_bytes(
        shape["architecture"], **step, n_positions=shape["n_positions"], num_groups=groups
    )
    return {
        "parameters": parameters,
        "weights": state["weights"],
        "gradients": state["gradients"],
        "optimizer": state["optimizer"],
        "state": state["total"],
        "activations": activations,
        "total": state["total"] + activations,
        "peak": peak,
    }
