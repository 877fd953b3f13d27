"""What training costs, for notebook 09: closed forms beside measurements, and ways to train that take turns.

A *shape* is the sizes of a model and its batch: n_positions, batch_size (B), block_size (T), n_layer (L), n_head (h),
n_embd (d), vocab_size (V). A *memory* is bytes by part: weights, gradients, optimizer (Adam's averages), total (these
three: the training state), activations, and peak, the most that one optimiser step holds at any moment.
"""

from __future__ import annotations

import contextlib
import io
import socket
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dlt_core import records
from dlt_core.algorithm1 import train_dynamic
from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.experiments import Experiment, build_agent, build_env, build_learner
from dlt_core.learner import accounting, parallel
from dlt_core.learner.training import Learner
from dlt_core.records.record import RunRecord
from dlt_core.studies.tables import markdown_table
from dlt_core.tie_map import TieMap

Memory = Mapping[str, float]
NAMES = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "Adam's averages",
    "total": "training state: these three",
    "activations": "activations",
    "peak": "peak of one step",
}
COLUMNS = {
    "state, between steps": ("total", False),
    "activations": ("activations", False),
    "peak": ("peak", False),
    "peak, checkpointed": ("peak", True),
}
"""Heading in `sets_table` -> the part, and whether activations are checkpointed."""


def shape_of(experiment: Experiment, vocab_size: int) -> dict[str, int]:
    """The experiment's shape, with so many entries in the vocabulary."""
    names = ("n_positions", "batch_size", "block_size", "n_layer", "n_head", "n_embd")
    return {name: getattr(experiment, name) for name in names} | {"vocab_size": vocab_size}


def closed_form(
    shape: Mapping[str, int], sets: float, *, checkpointing: bool = False, logits_at_once: int | None = None
) -> dict[str, float]:
    """The memory of a GPT-2 in closed form, see `learner.accounting`. sets: its weight sets, or a mean number of them.
    logits_at_once: as in `accounting.model_peak_bytes`."""
    positions: dict[str, Any] = {"n_positions": shape["n_positions"], "num_groups": sets}
    step: dict[str, Any] = {name: size for name, size in shape.items() if name != "n_positions"}
    step |= {"checkpointing": checkpointing, "logits_at_once": logits_at_once}
    width = {"vocab_size": shape["vocab_size"], "n_embd": shape["n_embd"]}
    return {
        **accounting.training_bytes(accounting.gpt2_parameters(**width, **positions)),
        "activations": accounting.model_activation_bytes("gpt2", **step),
        "peak": accounting.model_peak_bytes("gpt2", **step, **positions),
    }


def measure(learner: Learner) -> dict[str, int]:
    """The memory of a live learner. Takes two optimiser steps: Adam's averages exist from the first one on."""
    learner.train(1)
    batch = torch.from_numpy(learner.batches[0]).to(learner.device)
    peak = accounting.step_peak_bytes(learner)
    state = accounting.measured_bytes(learner.model, learner.optimizer)
    return {**state, "activations": accounting.activation_bytes(learner.model, batch), "peak": peak}


def by_weight_sets(
    experiment: Experiment, data: TokenizedCorpus, counts: Iterable[int]
) -> dict[tuple[int, bool], dict[str, int]]:
    """(weight sets, checkpointing) -> the memory measured, without and with activation checkpointing."""
    found = {}
    for checkpointing in (False, True):
        learner = build_learner(experiment.replace(activation_checkpointing=checkpointing), data)
        for sets in sorted(counts, reverse=True):  # from many to few, so that each change only ties
            learner.tie(TieMap.pattern("cycle", experiment.n_layer, sets))
            found[sets, checkpointing] = measure(learner)
    return found


def by_depth(
    experiment: Experiment, data: TokenizedCorpus, depths: Iterable[int]
) -> dict[tuple[int, int], dict[str, int]]:
    """(layers, weight sets) -> the memory measured, with two weight sets and with one for each layer."""
    found = {}
    for depth in depths:
        for sets in (2, depth):
            learner = build_learner(experiment.replace(n_layer=depth), data)
            learner.tie(TieMap.pattern("cycle", depth, sets))
            found[depth, sets] = measure(learner)
    return found


def megabytes(size: float) -> str:
    return f"{size / 1e6:,.2f}"


def parts_table(closed: Memory, measured: Memory) -> str:
    """A row for each part: what is computed, what is measured, and how far they are apart."""
    return markdown_table(
        [
            {
                "part": name,
                "computed (MB)": megabytes(closed[part]),
                "measured (MB)": megabytes(measured[part]),
                "difference": f"{measured[part] / closed[part] - 1:+.3%}",
            }
            for part, name in NAMES.items()
        ]
    )


def sets_table(memory: Mapping[tuple[float, bool], Memory], whole: float) -> str:
    """A row for each number of weight sets; "÷ 2" means half of what `whole` weight sets need. memory: as
    `by_weight_sets`; a number that is no whole one is that of chance."""
    unit, name = (1e9, "GB") if memory[whole, False]["total"] > 1e9 else (1e6, "MB")
    rows = []
    for sets in dict.fromkeys(sets for sets, _ in memory):
        row = {"weight sets": str(sets) if isinstance(sets, int) else f"{sets:.2f} (chance)"}
        for column, (part, checkpointing) in COLUMNS.items():
            size = memory[sets, checkpointing][part]
            row[f"{column} ({name})"] = f"{size / unit:.2f} (÷ {memory[whole, checkpointing][part] / size:.2f})"
        rows.append(row)
    return markdown_table(rows)


def ever_trained(experiment: Experiment) -> float:
    """How many layers Algorithm 1 is expected to leave independent at some time: at least, from random actions alone.

    In turn t a random action is drawn with probability ε_t, and leaves layer i independent in one of i + 1 cases."""
    e = experiment
    epsilons = np.maximum(e.epsilon_min, e.epsilon * e.epsilon_decay ** np.arange(e.episodes))
    return float(1 + sum(1 - np.prod(1 - epsilons / (i + 1)) for i in range(1, e.n_layer)))  # layer 0 always is


def runs_table(runs: Sequence[RunRecord]) -> str:
    """A row for each run: the time of its optimiser steps, and of all that comes on top of them."""
    rows = []
    for run in runs:
        steps, timing = run.budget["optimizer_steps"], run.timing
        rows.append(
            {
                "method": run.method,
                "steps": f"{steps:,}",
                "training (ms a step)": f"{1e3 * timing['training'] / steps:.2f}",
                "control (ms a step)": f"{1e3 * timing['control'] / steps:.2f}",
                "control / training": f"{timing['control'] / timing['training']:.1%}",
            }
        )
    return markdown_table(rows)


class Conventional:
    """At each call: k optimiser steps without ties."""

    def __init__(self, experiment: Experiment, data: TokenizedCorpus) -> None:
        self.learner, self.k = build_learner(experiment, data), experiment.steps_per_action

    def __call__(self) -> None:
        self.learner.train(self.k)


class Dynamic:
    """At each call: one decision of Algorithm 1, with its k optimiser steps."""

    def __init__(self, experiment: Experiment, data: TokenizedCorpus) -> None:
        self.env, self.agent = build_env(experiment, data), build_agent(experiment)
        self.learner = self.env.learner

    def __call__(self) -> None:
        state, layer = self.env.tie_map, self.env.layer
        action = self.agent.act(state, layer)
        _, reward, end_of_turn, _, _ = self.env.step(action)
        self.agent.learn(state, layer, action, reward, self.env.tie_map)
        if end_of_turn:
            self.agent.end_episode()


def in_turns(variants: Mapping[str, Conventional | Dynamic], k: int, repetitions: int) -> dict[str, np.ndarray]:
    """Milliseconds of a step, shape (repetitions, 2): with everything, and the training alone.

    The variants take turns of k steps, in an order that alternates, after one turn each to warm up.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for repetition in range(-1, repetitions):
        for name in list(variants)[:: 1 if repetition % 2 else -1]:
            trained, started = variants[name].learner.seconds, time.perf_counter()
            variants[name]()
            spent = time.perf_counter() - started, variants[name].learner.seconds - trained
            times[name].append((1e3 * spent[0] / k, 1e3 * spent[1] / k))
    return {name: np.array(found[1:]) for name, found in times.items()}


def _train_in_each(experiment: Experiment, folder: str) -> None:
    torch.set_num_threads(1)  # also because threads do not survive a fork
    with parallel.process_group("cpu", timeout=300):
        train_dynamic(experiment, record_path=folder)  # process 0 writes the record


def in_processes(experiment: Experiment, processes: int) -> RunRecord:
    """The record of `train_dynamic` by so many processes on this machine's CPU, started from a notebook, of which they
    are forks."""
    from accelerate import notebook_launcher

    with socket.socket() as free:  # a port that nobody uses
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(io.StringIO()):  # it would speak of GPUs, even where there are none
            notebook_launcher(_train_in_each, (experiment, folder), num_processes=processes, use_port=port)
        (record,) = records.load_all(folder)
    return record
