"""The benchmark's parts about time: how long steps, decisions and ties take, each against a named alternative."""

from __future__ import annotations

import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlt_core.blocks import find_blocks
from dlt_core.corpora.tokenization import GPT2_PIECES
from dlt_core.experiments import Experiment, build_learner
from dlt_core.learner import accounting, parallel
from dlt_core.learner.training import Learner
from dlt_core.studies.benchmark.trainers import (
    Decision,
    HuggingFaceTrainer,
    PlainLoop,
    Stopwatch,
    noise,
    steps,
    take_turns,
    wait_for,
)
from dlt_core.tie_map import TieMap
from dlt_core.tying import tie_layers

# name -> (preset, vocabulary, depths of the table of memory)
SCALES = {
    "tiny": ("smoke", 512, (2, 4)),
    "laptop": ("laptop", 2048, (12, 24, 48)),
    "gpu": ("gpu", GPT2_PIECES, (12, 24, 48)),
}
Row = dict[str, Any]


class Bench:
    """What a part of the benchmark is given."""

    def __init__(self, scale: str, repetitions: int, device: str = "auto") -> None:
        preset, vocab_size, self.depths = SCALES[scale]
        self.scale = scale
        self.repetitions = repetitions
        self.device = parallel.device(device)
        self.experiment = Experiment.preset("gpt2-embedded", preset, device=str(self.device))
        self.still = self.experiment.replace(dropout=0.0, precision="fp32")  # what the closed forms are about
        self.data = noise(vocab_size)
        self.k = self.experiment.steps_per_action
        self.product_size = {"tiny": 256, "laptop": 2048, "gpu": 8192}[scale]  # of the matrices that show the roofline

    def learner(self, experiment: Experiment | None = None, tie_map: TieMap | None = None) -> Learner:
        """A learner with these ties, independent layers by default."""
        learner = build_learner(experiment or self.experiment, self.data)
        if tie_map is not None:
            learner.tie(tie_map)
        return learner

    def shape(self, experiment: Experiment) -> dict[str, int]:
        """The sizes that the closed forms ask for."""
        names = ("batch_size", "block_size", "n_layer", "n_head", "n_embd")
        return {name: getattr(experiment, name) for name in names} | {"vocab_size": self.data.vocab_size}

    def flops(self, shape: Mapping[str, int], constant_layers: int = 0) -> int:
        """Of one step, see `accounting.step_flops`; shape as above."""
        sizes = {name: size for name, size in shape.items() if name != "n_head"}
        return accounting.step_flops("gpt2", **sizes, constant_layers=constant_layers)

    def fits(self, size: int) -> bool:
        """Whether so many bytes are free on the GPU, with a tenth to spare; on a CPU nothing large is tried."""
        if self.device.type != "cuda":
            return False
        gc.collect()
        torch.cuda.empty_cache()
        return size < 0.9 * torch.cuda.mem_get_info(self.device)[0]

    def median_step(self, learner: Learner, repetitions: int = 3) -> float:
        """Seconds of a step."""
        seconds = take_turns({"steps": steps(learner, self.k)}, repetitions, self.device)["steps"]
        return float(np.median(seconds)) / self.k


def quartiles(values: Iterable[float], name: str) -> Row:
    """Median and quartiles, as cells of a row."""
    low, median, high = np.quantile(np.asarray(values, dtype=float), [0.25, 0.5, 0.75])
    return {name: float(median), f"{name}_q25": float(low), f"{name}_q75": float(high)}


def step_times(bench: Bench) -> list[Row]:
    """The same steps, taken by different code. Dynamic is a whole decision with its k steps, divided by k; its ties are
    drawn at random. Ratios are those of turns."""
    e, k = bench.experiment, bench.k
    source, tied = e.replace(gradient="source"), TieMap.all_tied(e.n_layer)
    trainers: dict[str, Callable[[], float | None]] = {
        "conventional": steps(bench.learner(), k),
        "dynamic, shared": Decision(e, bench.data),
        "dynamic, source": Decision(source, bench.data),
        "all tied, shared": steps(bench.learner(tie_map=tied), k),
        "all tied, source": steps(bench.learner(source, tied), k),
        "plain PyTorch loop": PlainLoop(e, bench.data),
        "Hugging Face Trainer": HuggingFaceTrainer(e, bench.data),
    }
    seconds = take_turns(trainers, bench.repetitions, bench.device)
    tokens = e.batch_size * e.block_size * k
    return [
        {
            "training": name,
            **quartiles(1e3 / k * spent, "ms_per_step"),
            **quartiles(spent / seconds["conventional"], "ratio_to_conventional"),
            "tokens_per_second": tokens / float(np.median(spent)),
        }
        for name, spent in seconds.items()
    ]


def control(bench: Bench) -> list[Row]:
    """What Algorithm 1 does beside the k steps. First whole decisions against a twin that takes the same steps with the
    same ties and decides nothing, in turns; then each piece by itself, against the k steps. The ties contain the
    optimiser's part: what they take beyond those of a model without an optimiser."""
    decision, twin = Decision(bench.experiment, bench.data), bench.learner()
    twin_is_behind = itertools.cycle([False, True])  # its turn is after its decision, then before it, and so on

    def twins_steps() -> float:
        twin.tie(decision.next_map if next(twin_is_behind) else decision.env.tie_map)
        wait_for(bench.device)
        started = time.perf_counter()
        twin.train(bench.k)
        wait_for(bench.device)
        return time.perf_counter() - started

    seconds = take_turns({"decision": decision, "twin": twins_steps}, 2 * bench.repetitions, bench.device)
    whole = {
        "what": "decision with its k steps",
        **quartiles(1e3 * seconds["decision"], "ms_per_decision"),
        **quartiles(seconds["decision"] / seconds["twin"], "ratio_to_k_steps"),
    }
    stopwatch = Stopwatch(bench.device)
    decision = Decision(bench.experiment, bench.data, stopwatch)
    twin.tie(decision.env.tie_map)
    decision()
    stopwatch.seconds.clear()  # what it takes to warm up
    for _ in range(bench.repetitions):
        with stopwatch("ties without an optimiser"):
            tie_layers(twin.model, decision.next_map, gradient=bench.experiment.gradient)
        decision()
    pieces = {name: np.array(spent) for name, spent in stopwatch.seconds.items()}
    pieces["the optimiser's part of the ties"] = np.maximum(
        pieces["ties"] - pieces.pop("ties without an optimiser"), 0.0
    )
    order = ("k steps", "Q-values and action", "ties", "the optimiser's part of the ties", "reward", "Q update")
    return [whole] + [
        {
            "what": name,
            **quartiles(1e3 * pieces[name], "ms_per_decision"),
            **quartiles(pieces[name] / pieces["k steps"], "ratio_to_k_steps"),
        }
        for name in order
    ]


def tie_times(bench: Bench) -> list[Row]:
    """`tie_layers` with AdamW, in microseconds: of single actions; and of up to L random actions at once, to which a
    line is fitted: so much for a call, for each layer that uses other weights of the model, for each that gets its own,
    and for each weight set that is given up with its moments. (The tenth that lies farthest above the line, disturbed
    by other programs, is left out.)"""
    rows = []
    rng = np.random.default_rng(0)
    for n_layer in (12, 48):
        learner = bench.learner(bench.still.replace(n_layer=n_layer, batch_size=1))
        learner.train(1)  # there is a state to take along
        tie_map, stopwatch, changes = learner.tie_map, Stopwatch(bench.device), []
        for i in range(20 * bench.repetitions):
            layer = 1 + i % (n_layer - 1)
            tie_map = tie_map.with_action(layer, int(rng.integers(layer + 1)))
            with stopwatch("one action"):
                learner.tie(tie_map)
        for _ in range(20 * bench.repetitions):
            old = [next(block.parameters()) for block in find_blocks(learner.model)]  # held, so that no id comes twice
            for layer in rng.permutation(np.arange(1, n_layer))[: rng.integers(n_layer)].tolist():
                tie_map = tie_map.with_action(layer, int(rng.integers(layer + 1)))
            with stopwatch("several actions"):
                learner.tie(tie_map)
            new = [next(block.parameters()) for block in find_blocks(learner.model)]
            own, given_up = len({*new} - {*old}), len({*old} - {*new})
            moved = sum(a is not b for a, b in zip(old, new, strict=True))
            changes.append((1, moved - own, own, given_up))
        several, x = 1e6 * np.array(stopwatch.seconds["several actions"]), np.array(changes, dtype=float)
        late = several - x @ np.linalg.lstsq(x, several, rcond=None)[0]
        several, x = (values[late <= np.quantile(late, 0.9)] for values in (several, x))
        call, moved, own, given_up = np.linalg.lstsq(x, several, rcond=None)[0].tolist()
        unexplained = np.var(several - x @ [call, moved, own, given_up]) / np.var(several)
        rows.append({"layers": n_layer, **quartiles(1e6 * np.array(stopwatch.seconds["one action"]), "us_per_action"),
                     "us_per_call": call, "us_per_layer_moved": moved, "us_per_layer_untied": own,
                     "us_per_set_given_up": given_up, "variance_explained": float(1 - unexplained)})  # fmt: skip
    return rows


def compiled(bench: Bench) -> list[Row]:
    """The blocks compiled one by one, against the same blocks as they are, both all tied. Graphs are counted by Dynamo:
    after a first round of training, probe, tie and untie, and then over 100 random ties and unties."""
    stats = torch._dynamo.utils.counters["stats"]
    rows = []
    for gradient in ("shared", "source"):
        row: Row = {"mode": "default", "gradient": gradient}
        rows.append(row)
        torch._dynamo.reset()
        e = bench.experiment.replace(gradient=gradient)
        try:
            learner, plain = bench.learner(e.replace(compile_mode="default")), bench.learner(e)
            started = time.perf_counter()
            for tie_map in (learner.tie_map, TieMap.all_tied(e.n_layer), learner.tie_map):
                learner.tie(tie_map)
                learner.train(1)
                learner.probe(0)
            row["seconds_to_compile"] = time.perf_counter() - started
            row["graphs"] = before = stats["unique_graphs"]
            rng = np.random.default_rng(0)
            tie_map = learner.tie_map
            for i in range(100):
                layer = 1 + i % (e.n_layer - 1)
                tie_map = tie_map.with_action(layer, int(rng.integers(layer + 1)))
                learner.tie(tie_map)
                learner.train(1)
            row["new_graphs"] = stats["unique_graphs"] - before
            for one in (learner, plain):
                one.tie(TieMap.all_tied(e.n_layer))
            trainers = {"compiled": steps(learner, bench.k), "eager": steps(plain, bench.k)}
            seconds = take_turns(trainers, bench.repetitions, bench.device)
            row |= quartiles(seconds["compiled"] / seconds["eager"], "ratio_to_eager")
        except Exception as error:  # no compiler here: that is the result
            row["failed"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name, "") for name in names} for row in rows]


def scaling(bench: Bench) -> list[Row]:
    """Tokens a second as depth, width and batch grow, conventional; and how long the data take, of a step."""
    e = bench.experiment
    rows = []
    sizes = [{"n_layer": e.n_layer * f // 2} for f in (1, 2, 4)] + [{"n_embd": e.n_embd * f // 2} for f in (1, 4)]
    for change in [*sizes, *({"batch_size": e.batch_size * f} for f in (2, 4))]:
        larger = e.replace(**change)
        learner = bench.learner(larger)
        step = bench.median_step(learner)
        stopwatch = Stopwatch(bench.device)
        for i in range(20):
            with stopwatch("data"):
                learner.on_device(learner.batches[i])
        rows.append({"layers": larger.n_layer, "width": larger.n_embd, "batch": larger.batch_size,
                     "ms_per_step": 1e3 * step, "tokens_per_second": larger.batch_size * larger.block_size / step,
                     "gflops_per_second": bench.flops(bench.shape(larger)) / step / 1e9,
                     "data_share": float(np.median(stopwatch.seconds["data"])) / step})  # fmt: skip
    return rows


# What waiting looks like in a profile.
WAITS = ("aten::item", "aten::_local_scalar_dense", "cudaStreamSynchronize", "cudaDeviceSynchronize",
         "cudaEventSynchronize", "cudaMemcpy")  # fmt: skip


def waits(bench: Bench) -> list[Row]:
    """How often the program waits for the device in some steps and in twice as many: if as often, then not within the
    steps. (On a CPU: how often it reads a number out of a tensor, but for AdamW its step counters, which lie there.)"""
    learner = bench.learner()
    learner.train(bench.k)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if bench.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    rows = []
    for steps_taken in (3, 6):
        with torch.profiler.profile(activities=activities) as profiler:
            learner.train(steps_taken)
        names = [event.name for event in profiler.events() if event.name in WAITS and not _in_adamw(event)]
        rows.append({"steps": steps_taken, **{name: names.count(name) for name in WAITS}})
    return rows


def _in_adamw(event: Any) -> bool:
    return event.cpu_parent is not None and (
        event.cpu_parent.name == "aten::_fused_adamw_" or _in_adamw(event.cpu_parent)
    )


def processes(bench: Bench) -> list[Row]:
    """Two processes on the CPU, or one on each GPU: decisions with their k steps, gradients averaged in one flat
    all-reduce, or by DDP wrapped anew after each change of ties."""
    number = torch.cuda.device_count() if bench.device.type == "cuda" else 2
    if number < 2:
        return [{"left_out": "there is only one GPU"}]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        arguments = ["dlt_core.studies.benchmark.ddp", bench.scale, str(bench.repetitions), str(bench.device), str(out)]
        command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}", "-m", *arguments]
        environment = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // number)), **os.environ}
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment)
        if done.returncode:
            return [{"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}]
        return json.loads(out.read_text(encoding="utf-8"))
