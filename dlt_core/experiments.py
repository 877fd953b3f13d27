"""The experiments as data: an Experiment is everything that decides a run, a preset is how large it is."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, WrapValidator
from pydantic.dataclasses import dataclass

from dlt_core.corpora.text import text_name
from dlt_core.records import shown
from dlt_core.records.provenance import refuse_unknown_parameters
from dlt_core.records.refusals import refusal
from dlt_core.tie_map import in_short

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dlt_core.agents import QAgent
    from dlt_core.corpora.tokenization import TokenizedCorpus
    from dlt_core.env import LayerTyingEnv
    from dlt_core.learner.training import Learner

T = TypeVar("T")

# The last form is that of a tokenizer that was given, name and checksum: nothing can load it by that.
TOKENIZERS = r"^(gpt2|characters|bpe-[0-9]+|[A-Za-z0-9][\w.-]*/[\w.-]+|[^/\\]+@[0-9a-f]{8})$"

# What a field may be, said here too so that an experiment can be described without loading PyTorch.
Architecture = Literal["gpt2", "bert"]
CorpusName = Literal["embedded", "wikitext-2", "wikitext-103", "lambada", "lm1b"]
PlainName = Annotated[str, Field(pattern="^[A-Za-z0-9_-]+$")]  # part of a file's name
TextName = Annotated[str, BeforeValidator(lambda value: os.fspath(value) if isinstance(value, os.PathLike) else value),
                     Field(min_length=1)]  # fmt: skip
LARGEST = 2**63 - 1  # what NumPy, PyTorch and JSON in other languages can hold
PositiveInt = Annotated[int, Field(ge=1, le=LARGEST)]


def _as_given(value: Any, check: Callable[[Any], float]) -> float:
    """Where a float is asked for an int will do, and stays one: a run's file is named by its settings as given."""
    if not isinstance(value, (int, float)):  # a NumPy float32 is none, and JSON could not hold it
        raise ValueError(f"must be a number, got {in_short(value)}")
    check(value)
    return value


_AS_GIVEN = WrapValidator(_as_given)
Positive = Annotated[float, Field(gt=0), _AS_GIVEN]
UpToOne = Annotated[float, Field(ge=0, le=1), _AS_GIVEN]


def _in_plain_words(cls: type[T]) -> type[T]:
    """Let a class refuse values in plain lines, instead of with pydantic's report."""
    check = cls.__init__

    @functools.wraps(check)
    def init(self: T, **fields: Any) -> None:
        try:
            check(self, **fields)
        except ValidationError as error:
            raise ValueError(refusal(error)) from None

    cls.__init__ = init  # type: ignore[method-assign, assignment]
    return cls


@_in_plain_words
@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
class Experiment:
    """All settings of a run. Raises ValueError for values that cannot be.

    The defaults are the paper's values where they are known to us, otherwise the released code's.

    >>> experiment = Experiment.preset("gpt2-wikitext2", "paper", seed=1)
    >>> experiment.n_layer, experiment.steps_per_action
    (48, 15)
    """

    name: PlainName
    """Which experiment of the paper, see EXPERIMENTS."""
    preset_name: PlainName = "custom"
    """How large: smoke, laptop, gpu or paper; a note for the record, the fields below are what counts."""
    seed: Annotated[int, Field(ge=0, le=LARGEST)] = 0
    """Of weights, data order, dropout and agent, each from a generator of its own."""

    corpus: TextName
    """embedded, wikitext-2, wikitext-103, lambada, lm1b, or the path of a text of your own: a file or a folder."""
    tokenizer: Annotated[str, Field(pattern=TOKENIZERS)] = "gpt2"
    """gpt2, bpe-N for N pieces trained on the training split, characters, or owner/name of the Hugging Face hub."""
    train_bytes: PositiveInt | None = None
    """Learn from at most so many bytes of the training split, which then counts as a sample; None: from all."""
    architecture: Architecture = "gpt2"
    """"gpt2", or "bert": a BertLMHeadModel as a causal decoder."""
    n_layer: Annotated[int, Field(ge=2, le=LARGEST)] = 48
    """L, transformer layers. The released job scripts' "typical" WikiText-2 run."""
    n_head: PositiveInt = 25
    """Attention heads. The paper's number is not available to us; this is GPT-2 XL's."""
    n_embd: PositiveInt = 1600
    """d, width. The released job scripts'."""
    n_positions: PositiveInt = 1024
    """Length of the position table; counts in the parameters."""
    block_size: PositiveInt = 256
    """T, predicted tokens in a sequence. The released job scripts'."""
    dropout: Annotated[float, Field(ge=0, lt=1), _AS_GIVEN] = 0.2
    """In embeddings, attention and residual. The released code's."""
    init_from: TextName | None = None
    """Begin with the weights of this checkpoint, a folder or owner/name of the Hugging Face hub, and with independent
    layers, whatever the seed; tokenizer and sizes must be its own. None: random weights, all tied, as in the paper."""

    batch_size: PositiveInt = 16
    """B, sequences in a step. The paper's."""
    episodes: PositiveInt = 300
    """K, turns over the layers 1..L-1. The paper's (it calls them epochs)."""
    steps_per_action: PositiveInt = 15
    """k, optimiser steps between two decisions. The paper's."""
    learning_rate: Positive = 1e-4
    """Of the transformer (AdamW). The paper's."""
    weight_decay: Annotated[float, Field(ge=0), _AS_GIVEN] = 0.01
    """AdamW's, on all parameters. The released code's."""
    grad_clip: Positive = 1.0
    """Largest norm of the gradient. The released code's."""
    gradient: Literal["shared", "source"] = "shared"
    """What gradient a weight set gets: "shared" over all uses, "source" from the root's use alone."""

    q_hidden: PositiveInt = 128
    """Hidden units of the Q-network. The released code's."""
    q_learning_rate: Positive = 1e-3
    """Of Q (AdamW). The paper's."""
    gamma: UpToOne = 0.99
    """γ, discount. The paper's."""
    epsilon: UpToOne = 1.0
    """ε at the start. The paper's."""
    epsilon_decay: Annotated[float, Field(gt=0, le=1), _AS_GIVEN] = 0.95
    """ε is multiplied by this after each turn. The paper's."""
    epsilon_min: UpToOne = 0.1
    """ε never falls below this. The paper's."""
    reward: Literal["neg_perplexity", "neg_loss", "neg_perplexity_clipped", "log_improvement"] = "neg_perplexity"
    """Computed from one training minibatch after the k steps, see `env.REWARDS`."""
    price: Annotated[float, _AS_GIVEN] = 0.0
    """Taken off the reward for each independent layer. The paper has none that we know of."""
    orphans: Literal["follow", "promote"] = "follow"
    """What layers do whose root is tied away, see `TieMap.with_action`."""
    freeze_after: Annotated[float, Field(gt=0, lt=1), _AS_GIVEN] | None = None
    """Share of the training after which no decision is made and all ties stay; None: never. The paper has none that
    we know of."""

    evaluate_every: PositiveInt = 1
    """Turns between two evaluations on the validation split."""
    evaluation_tokens: Annotated[int, Field(ge=2, le=LARGEST)] | None = None
    """Evaluate on at most so many tokens of validation and test; None: on all."""
    test_in_full: bool = False
    """Test on the whole test split, also where `evaluation_tokens` says less for validation. (Where the test split
    selects, as in the released code, it selects by its first `evaluation_tokens`.)"""
    precision: Literal["fp32", "tf32", "bf16", "bf16-weights"] = "fp32"
    """"fp32", "tf32", "bf16" (autocast over fp32 weights) or "bf16-weights", see `learner.PRECISIONS`."""
    gradient_accumulation_steps: PositiveInt = 1
    """The batch goes through the model in so many parts, for less memory; the result is the same up to rounding."""
    activation_checkpointing: bool = False
    """Make activations again in the backward pass instead of keeping them, for less memory and more time."""
    compile_mode: Literal["default", "reduce-overhead", "max-autotune-no-cudagraphs"] | None = None
    """None, or torch.compile's mode for the blocks: "default", "reduce-overhead" (with CUDA graphs), ..."""
    cuda_graph: bool = False
    """On a GPU, capture a training step after each re-tie and replay it for the k steps, see `learner.step_graph`."""
    device: Annotated[str, Field(pattern="^(auto|(cpu|cuda|mps|xpu)(:[0-9]+)?)$")] = "auto"
    """A torch device; "auto" is CUDA where there is one."""

    def __post_init__(self) -> None:
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd={self.n_embd} must be a multiple of n_head={self.n_head}")
        if self.block_size > self.n_positions:
            raise ValueError(f"block_size={self.block_size} is longer than n_positions={self.n_positions}")
        if self.batch_size % self.gradient_accumulation_steps:
            raise ValueError(
                f"batch_size={self.batch_size} must be a multiple of "
                f"gradient_accumulation_steps={self.gradient_accumulation_steps}"
            )

    @classmethod
    def preset(cls, name: str, preset: str, **overrides: Any) -> Experiment:
        """The experiment `name` at the size `preset`, with single fields overridden.

        Raises ValueError, listing what is known, for an unknown experiment, preset or field; and in a notebook that
        papermill executes for a parameter that it does not have.
        """
        refuse_unknown_parameters()
        if name not in EXPERIMENTS:
            raise ValueError(f"unknown experiment {name!r}; known: {', '.join(EXPERIMENTS)}")
        if preset not in PRESETS:
            raise ValueError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := sorted(overrides.keys() - set(known)):
            names = ", ".join(name if name.isprintable() else repr(name) for name in unknown)
            raise ValueError(f"unknown fields {names}; known: {', '.join(known)}")
        made = cls(**{**PRESETS[preset], **EXPERIMENTS[name][preset], "name": name, "preset_name": preset, **overrides})
        known_texts = get_args(CorpusName)
        if made.corpus not in known_texts and not os.path.exists(os.path.expanduser(made.corpus)):
            raise ValueError(
                f"corpus must be {', '.join(map(repr, known_texts[:-1]))} or {known_texts[-1]!r}, got "
                f"{in_short(made.corpus)}, and there is no file or folder of this name with a text of your own"
            )
        return made

    def on(self, data: TokenizedCorpus) -> Experiment:
        """The experiment on this data, whatever it named before: what a run that is given data puts into its record."""
        corpus, tokenizer = data.corpus, data.tokenizer_name or self.tokenizer
        found = {"corpus": corpus.name, "tokenizer": tokenizer, "train_bytes": corpus.train_bytes}
        ours = {"corpus": text_name(self.corpus), "tokenizer": self.tokenizer, "train_bytes": self.train_bytes}
        changes = {name: value for name, value in found.items() if value != ours[name]}
        return self.replace(**changes) if changes else self

    def origin(self) -> dict[str, str]:
        """For a record's `versions`: the checksum of the weights that `init_from` names; {} where it names none."""
        if self.init_from is None:
            return {}
        from dlt_core.huggingface.initial import checksum

        return {"init_from": checksum(self.init_from)}

    def replace(self, **changes: Any) -> Experiment:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """`name`, `preset`, every other field, and which of them differ from the preset's, as a record holds them: of
        a text of your own, and of a checkpoint, only its name, not where it lies."""
        fields = dataclasses.asdict(self) | {"corpus": text_name(self.corpus)}
        if self.init_from is not None:
            fields["init_from"] = text_name(self.init_from)
        overrides = {}
        if self.name in EXPERIMENTS and self.preset_name in PRESETS:
            plain = dataclasses.asdict(
                Experiment.preset(self.name, self.preset_name, seed=self.seed, device=self.device)
            )
            overrides = {field: value for field, value in fields.items() if value != plain[field]}
        return {"name": fields.pop("name"), "preset": fields.pop("preset_name"), **fields, "overrides": overrides}

    def _repr_html_(self) -> str:
        """What notebooks show of it: what differs from the preset, and behind that, folded, every field."""
        fields = self.to_dict()
        overrides, title = fields.pop("overrides"), f"{fields['name']}, preset {fields['preset']}, seed {self.seed}"
        return shown.experiment_html(title, overrides, fields)


# What a size means for every experiment. `paper` is the defaults, in bf16.
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {  # seconds on any machine: every mechanism once, results meaningless
        "n_layer": 4, "n_head": 2, "n_embd": 32, "n_positions": 32, "block_size": 32, "dropout": 0.0, "batch_size": 4,
        "episodes": 8, "steps_per_action": 2, "learning_rate": 1e-3, "evaluation_tokens": 1024,
    },
    "laptop": {  # minutes on two cores
        "n_layer": 6, "n_head": 4, "n_embd": 96, "n_positions": 64, "block_size": 64, "dropout": 0.0, "batch_size": 8,
        "episodes": 12, "steps_per_action": 15, "learning_rate": 1e-3, "epsilon_decay": 0.8,
    },
    "gpu": {  # one modern GPU; the paper's K, k and batch on a model of GPT-2's smallest shape
        "n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 256, "block_size": 256, "precision": "bf16",
        "evaluate_every": 5,
    },
    "paper": {"precision": "bf16"},  # the paper's setting
}  # fmt: skip

# Corpus by corpus, what differs from the presets. Small sizes take a small vocabulary and, from a large corpus, only
# the beginning; the others take GPT-2's tokenizer and everything.
_EMBEDDED = {"corpus": "embedded", "tokenizer": "bpe-2048"}
_CORPORA: dict[str, dict[str, dict[str, Any]]] = {
    "embedded": {
        **dict.fromkeys(PRESETS, _EMBEDDED),
        "smoke": {**_EMBEDDED, "tokenizer": "bpe-512"},
        "gpu": {**_EMBEDDED, "episodes": 60},
    },
    **{
        name: {
            "smoke": {"corpus": name, "tokenizer": "bpe-512", "train_bytes": train_bytes and 2**20},
            "laptop": {
                "corpus": name,
                "tokenizer": "bpe-4096",
                "train_bytes": train_bytes,
                "evaluation_tokens": 32768,
                "test_in_full": name != "lm1b",  # its held-out text has eight million words, and shuffled sentences
            },
            "gpu": {"corpus": name},
            "paper": {"corpus": name},
        }
        for name, train_bytes in {"wikitext-2": None, "wikitext-103": 2**24, "lambada": 2**24, "lm1b": 2**24}.items()
    },
}


# A passage of LAMBADA has about 75 words: room for most of them in one sequence, with as many tokens in a step.
_CORPORA["lambada"]["laptop"] |= {"n_positions": 128, "block_size": 128, "batch_size": 4}


def _bert(corpus: str) -> dict[str, dict[str, Any]]:
    """The same with BERT; at the paper's scale in BERT-base's shape, with 512 positions."""
    bert = {preset: {**settings, "architecture": "bert"} for preset, settings in _CORPORA[corpus].items()}
    bert["paper"] |= {"n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 512}
    return bert


# For many short runs instead of few long ones.
_SHORT = {"n_embd": 64, "n_positions": 32, "block_size": 32, "epsilon_decay": 0.5}


def _differences(corpus: str) -> dict[str, dict[str, Any]]:
    short = {**_SHORT, "episodes": 8, "evaluate_every": 2, "evaluation_tokens": 8192, "test_in_full": True}
    return {
        **_CORPORA[corpus],
        "laptop": {**_CORPORA[corpus]["laptop"], **short},
        "gpu": {**_CORPORA[corpus]["gpu"], "episodes": 20, "epsilon_decay": 0.75},
    }


def _agents(corpus: str, **laptop: Any) -> dict[str, dict[str, Any]]:
    """Agents and searches at equal budget; 12 divides the turns, so that searches over 4 maps can share them."""
    of = _CORPORA[corpus]
    return {
        **of,
        "smoke": {**of["smoke"], "episodes": 12},
        "laptop": {**of["laptop"], **_SHORT, **laptop},
        "gpu": {**of["gpu"], "episodes": 60, "epsilon_decay": 0.9},
    }


_REGIME = {"corpus": "wikitext-2", "tokenizer": "gpt2"}

_DEPTH: dict[str, Any] = {
    **_CORPORA["wikitext-2"]["laptop"],
    "tokenizer": "bpe-512",
    "n_embd": 64,
    "batch_size": 16,
    "learning_rate": 2e-3,
    "episodes": 40,
    "evaluate_every": 2,
    "epsilon_decay": 0.9,
}

EXPERIMENTS: dict[str, dict[str, dict[str, Any]]] = {
    "gpt2-embedded": _CORPORA["embedded"],
    "gpt2-wikitext2": {
        **_CORPORA["wikitext-2"],
        "laptop": {**_CORPORA["wikitext-2"]["laptop"], "episodes": 24, "epsilon_decay": 0.9},
    },
    "gpt2-wikitext103": _CORPORA["wikitext-103"],
    "gpt2-lambada": _CORPORA["lambada"],
    "gpt2-lm1b": _CORPORA["lm1b"],
    "bert-embedded": _bert("embedded"),
    "bert-wikitext2": _bert("wikitext-2"),
    "bert-wikitext103": _bert("wikitext-103"),
    "bert-lambada": _bert("lambada"),
    "bert-lm1b": _bert("lm1b"),
    "ablations": {
        "smoke": _CORPORA["embedded"]["smoke"],
        "laptop": {**_EMBEDDED, **_SHORT, "episodes": 10},
        "gpu": {"corpus": "wikitext-2", "episodes": 20, "epsilon_decay": 0.75},
        "paper": {"corpus": "wikitext-2"},
    },
    # the paper as described against the code as released; 4 divides the steps that a layer gets, K k
    "differences-embedded": _differences("embedded"),
    "differences-wikitext2": _differences("wikitext-2"),
    # does the agent learn anything?
    "agents-embedded": _agents("embedded"),
    "agents-wikitext2": _agents("wikitext-2", evaluation_tokens=8192),
    "truth": {  # so few layers that every map can be trained from scratch
        "smoke": {**_CORPORA["embedded"]["smoke"], "n_layer": 3},
        "laptop": {**_EMBEDDED, **_SHORT, "n_layer": 4, "episodes": 20, "evaluate_every": 4},
        "gpu": {"corpus": "wikitext-2", "n_layer": 4, "episodes": 120, "epsilon_decay": 0.9},
        "paper": {"corpus": "wikitext-2", "n_layer": 4},
    },
    "regime": {  # so many steps that validation stops improving
        "smoke": _CORPORA["embedded"]["smoke"],
        "laptop": {**_EMBEDDED, **_SHORT, "episodes": 50, "evaluate_every": 2},
        "gpu": {"corpus": "wikitext-2", "episodes": 120, "epsilon_decay": 0.95},
        "paper": {"corpus": "wikitext-2"},
    },
    # where depth is worth something within minutes: pieces so small that words must be put together, and layers so
    # narrow that two of them are soon full
    "depth": {
        "smoke": _CORPORA["wikitext-2"]["smoke"],
        "laptop": _DEPTH,
        "gpu": {"corpus": "wikitext-2", "episodes": 60, "epsilon_decay": 0.9},
        "paper": {"corpus": "wikitext-2"},
    },
    # the same for BERT, whose blocks normalise after the sum, with so few layers that every map can be trained
    "truth-bert": {
        "smoke": {**_CORPORA["embedded"]["smoke"], "n_layer": 3, "architecture": "bert"},
        "laptop": {
            **_DEPTH,
            "architecture": "bert",
            "n_layer": 4,
            "episodes": 24,
            "evaluate_every": 4,
            "epsilon_decay": 0.85,
        },
        "gpu": {"corpus": "wikitext-2", "architecture": "bert", "n_layer": 4, "episodes": 120, "epsilon_decay": 0.9},
        "paper": {"corpus": "wikitext-2", "architecture": "bert", "n_layer": 4},
    },
    # the paper's claim in its own regime: 650 parameters for each token of text, here 190k tokens for 124M parameters
    "regime-gpu": {
        "smoke": {**_REGIME, "tokenizer": "bpe-512", "train_bytes": 2**16, "episodes": 3, "dropout": 0.2},
        "laptop": {**_REGIME, "train_bytes": 2**16, "dropout": 0.2, "evaluation_tokens": 32768},
        "gpu": {**_REGIME, "train_bytes": 846_000, "evaluate_every": 1, "episodes": 18, "epsilon_decay": 0.8},
        "paper": _REGIME,
    },
}


def name_of(architecture: str, corpus: str) -> str:
    """The experiment that trains this architecture on this corpus. Raises ValueError, listing the known ones."""
    architectures, corpora = get_args(Architecture), get_args(CorpusName)
    if architecture not in architectures or corpus not in corpora:
        raise ValueError(
            f"no experiment trains {architecture!r} on {corpus!r}; known: {', '.join(architectures)} on "
            f"{', '.join(corpora)}"
        )
    return f"{architecture}-{corpus.replace('-', '')}"


def load_data(experiment: Experiment) -> TokenizedCorpus:
    """The experiment's corpus, as tokens. Raises ValueError and CorpusUnavailable as `corpora.load` and
    `corpora.tokenize`, for what cannot be had, read or cut into these pieces.

    >>> data = load_data(Experiment.preset("gpt2-embedded", "smoke"))
    >>> data.vocab_size
    512
    """
    from dlt_core.corpora.sources import load
    from dlt_core.corpora.tokenization import bpe_pieces, tokenize
    from dlt_core.learner import parallel

    bpe_pieces(experiment.tokenizer)  # can it be, before a text is fetched
    with parallel.one_first():  # of several processes; the others find it cached
        corpus = load(experiment.corpus, train_bytes=experiment.train_bytes)
        return tokenize(corpus, experiment.tokenizer)


def build_learner(
    experiment: Experiment,
    data: TokenizedCorpus | None = None,
    *,
    factory: Callable[..., Learner] | None = None,
) -> Learner:
    """The experiment's transformer at step 0, all layers independent, with its optimiser and data.

    Raises ValueError for data too short for a batch, and for an `init_from` that is no checkpoint of this architecture,
    these sizes and this data's tokenizer.
    factory: what is called with all that, the class Learner by default; a learner of another kind is made by its
    class.

    >>> learner = build_learner(Experiment.preset("gpt2-embedded", "smoke"))
    >>> learner.tie_map
    TieMap([0, 1, 2, 3])
    """
    from dlt_core.blocks import build_model
    from dlt_core.learner import parallel
    from dlt_core.learner.out_of_memory import naming_remedies
    from dlt_core.learner.training import Learner

    parallel.device(experiment.device)  # is it there, before the text is read
    data = data or load_data(experiment)
    data.refuse_too_few(
        **{name: getattr(experiment, name) for name in ("batch_size", "block_size", "evaluation_tokens")}
    )
    of_the_model = ("architecture", "n_positions", "n_layer", "n_head", "n_embd", "dropout")
    sizes = {name: getattr(experiment, name) for name in of_the_model}
    build: Callable[..., PreTrainedModel]
    if experiment.init_from is None:
        build = functools.partial(build_model, vocab_size=data.vocab_size, **sizes)
    else:
        from dlt_core.huggingface.initial import build_from

        with parallel.one_first():  # of several processes; the others find it downloaded
            build = build_from(experiment.init_from, data, **sizes)
    with naming_remedies(experiment):
        return (factory or Learner)(
            build,
            data,
            seed=experiment.seed,
            batch_size=experiment.batch_size,
            block_size=experiment.block_size,
            learning_rate=experiment.learning_rate,
            weight_decay=experiment.weight_decay,
            grad_clip=experiment.grad_clip,
            gradient=experiment.gradient,
            precision=experiment.precision,
            device=experiment.device,
            evaluation_tokens=experiment.evaluation_tokens,
            gradient_accumulation_steps=experiment.gradient_accumulation_steps,
            activation_checkpointing=experiment.activation_checkpointing,
            compile_mode=experiment.compile_mode,
            cuda_graph=experiment.cuda_graph,
        )


def build_env(
    experiment: Experiment,
    data: TokenizedCorpus | None = None,
    *,
    learner: Learner | None = None,
    factory: Callable[..., LayerTyingEnv] | None = None,
) -> LayerTyingEnv:
    """The experiment's world: its learner, unless another is given; all layers tied, or independent after `init_from`.
    factory: as in `build_learner`, whose errors it raises.

    >>> env = build_env(Experiment.preset("gpt2-embedded", "smoke"))
    >>> env.tie_map, env.layer
    (TieMap([0, 0, 0, 0]), 1)
    """
    from dlt_core.env import LayerTyingEnv

    return (factory or LayerTyingEnv)(
        learner or build_learner(experiment, data),
        steps_per_action=experiment.steps_per_action,
        reward=experiment.reward,
        price=experiment.price,
        orphans=experiment.orphans,
        start="tied" if experiment.init_from is None else "independent",
    )


def make_env(
    experiment: str = "gpt2-embedded", preset: str = "smoke", *, render_mode: str | None = None, **overrides: Any
) -> LayerTyingEnv:
    """The world of `Experiment.preset(experiment, preset, **overrides)`: what gymnasium.make("dlt_core/LayerTying-v0",
    ...) calls with the same keywords, and gymnasium.make_vec for each of several worlds. `seed`, a field of the
    experiment, is that of the first world; `reset(seed=...)` begins another. Raises ValueError as `Experiment.preset`,
    `load_data` and `LayerTyingEnv`."""
    from dlt_core.env import LayerTyingEnv

    factory = functools.partial(LayerTyingEnv, render_mode=render_mode)
    return build_env(Experiment.preset(experiment, preset, **overrides), factory=factory)


def build_agent(experiment: Experiment, *, factory: Callable[..., QAgent] | None = None) -> QAgent:
    """The experiment's Q-agent. factory: as in `build_learner`.

    >>> agent = build_agent(Experiment.preset("gpt2-embedded", "smoke"))
    >>> agent.epsilon, agent.gamma
    (1.0, 0.99)
    """
    from dlt_core.agents import QAgent

    return (factory or QAgent)(
        experiment.n_layer,
        hidden=experiment.q_hidden,
        learning_rate=experiment.q_learning_rate,
        gamma=experiment.gamma,
        epsilon=experiment.epsilon,
        epsilon_decay=experiment.epsilon_decay,
        epsilon_min=experiment.epsilon_min,
        seed=experiment.seed,
    )
