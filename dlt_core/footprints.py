"""The benchmark's parts about memory, and about what the machine could do at most."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from unittest import mock

import torch

from dlt_core import accounting, loss
from dlt_core.algorithm1 import build_learner
from dlt_core.contestants import noise, race
from dlt_core.experiments import Experiment
from dlt_core.tie_map import TieMap
from dlt_core.timings import GPT2_PIECES, Bench, Row, quartiles


def product_rate(bench: Bench, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, the best of ten."""
    a, b = (torch.randn(bench.product_size, bench.product_size, device=bench.device, dtype=dtype) for _ in range(2))
    seconds = race({"": lambda: _drop(a @ b)}, 10, bench.device)[""]
    return 2 * bench.product_size**3 / float(seconds.min())


def machine(bench: Bench) -> list[Row]:
    """The roofline: a large matrix product and a large copy, the best of ten. Model FLOPs utilisation is the FLOPs of a
    step (`accounting.step_flops`: forward 24 d² + 4 T d for each layer and 2 d V, for each token, and twice as much
    backward) over the step's time and the rate of the matrix product in the same precision."""
    e, size = bench.experiment, bench.product_size
    nothing = dict.fromkeys(("TFLOP/s", "GB/s", "utilisation"), "")
    rows, rate = [], 0.0
    for dtype in dict.fromkeys((torch.float32, torch.bfloat16 if e.precision == "bf16" else torch.float32)):
        rate = product_rate(bench, dtype)
        name = f"product of {size:,} x {size:,}, {dtype}".replace("torch.", "")
        rows.append({"what": name, **nothing, "TFLOP/s": rate / 1e12})
    source, target = (torch.ones(4 * size, 4 * size, device=bench.device) for _ in range(2))
    seconds = race({"": lambda: _drop(target.copy_(source))}, 10, bench.device)[""]
    moved = 2 * source.nbytes
    rows.append({"what": f"copy of {moved / 2e6:,.0f} MB", **nothing, "GB/s": moved / float(seconds.min()) / 1e9})
    tied = TieMap.all_tied(e.n_layer)
    for name, experiment, tie_map, constant in (
        ("conventional", e, None, 0),
        ("all tied, shared", e, tied, 0),
        ("all tied, source", e.replace(gradient="source"), tied, e.n_layer - 1),
    ):
        done = bench.flops(bench.shape(e), constant) / bench.median_step(bench.learner(experiment, tie_map))
        rows.append({"what": f"steps, {name}", **nothing, "TFLOP/s": done / 1e12, "utilisation": done / rate})
    return rows


def _drop(_: torch.Tensor) -> None:
    """Nothing is returned to the race, which would take it for a time."""


def memory(bench: Bench) -> list[Row]:
    """In MB: the training state of live models after a step, and its closed form; the peak of a step, without and with
    activation checkpointing; "÷" is against as many weight sets as layers. Single precision, no dropout."""
    rows = []
    for n_layer in bench.depths:
        e = bench.still.replace(n_layer=n_layer)
        sizes = {name: value for name, value in bench.shape(e).items() if name in ("vocab_size", "n_embd")}
        counts = sorted({n_layer, n_layer // 2, n_layer // 4, n_layer // 8, 1} - {0}, reverse=True)
        found = {}
        for checkpointing in (False, True):
            learner = bench.learner(e.replace(activation_checkpointing=checkpointing))
            for sets in counts:  # from many weight sets to few, so that nothing has to be cloned
                learner.tie(TieMap.pattern("cycle", n_layer, sets))
                learner.train(1)
                peak = accounting.step_peak_bytes(learner)
                found[sets, checkpointing] = accounting.measured_bytes(learner.model, learner.optimizer), peak
            del learner
        for sets in counts:
            parameters = accounting.gpt2_parameters(**sizes, n_positions=e.n_positions, num_groups=sets)
            closed = accounting.training_bytes(parameters)
            state, peak = found[sets, False]
            rows.append({"layers": n_layer, "weight sets": sets, "state": state["total"] / 1e6,
                         "closed form": closed["total"] / 1e6,
                         "largest difference": max(abs(state[part] / closed[part] - 1) for part in closed),
                         "state, ÷": found[n_layer, False][0]["total"] / state["total"],
                         "peak": peak / 1e6, "peak, ÷": found[n_layer, False][1] / peak,
                         "peak, checkpointed": found[sets, True][1] / 1e6,
                         "peak, checkpointed, ÷": found[n_layer, True][1] / found[sets, True][1]})  # fmt: skip
    return rows


def output_layer(bench: Bench) -> list[Row]:
    """The cross entropy over GPT-2's 50,257 pieces, in chunks and as a whole, for a model of two layers: the peak of a
    step in MB, and its time."""
    e = bench.still.replace(n_layer=2, batch_size=bench.experiment.batch_size * (1 if bench.scale == "gpu" else 4))
    data = noise(GPT2_PIECES)
    learners, rows = {}, []
    tokens = e.batch_size * e.block_size
    limits = {"as a whole": 2**62, "in chunks": loss.LOGITS_AT_ONCE if bench.scale == "gpu" else 2**22}

    def at_once(limit: int) -> contextlib.AbstractContextManager:
        """On every device."""
        return mock.patch.multiple(loss, LOGITS_AT_ONCE=limit, LOGITS_AT_ONCE_ON_CUDA=limit)

    def run(name: str) -> Callable[[], None]:
        def call() -> None:
            with at_once(limits[name]):
                learners[name].train(2)

        return call

    for name in limits:
        learners[name] = build_learner(e, data)
        learners[name].train(1)
    seconds = race({name: run(name) for name in limits}, max(2, bench.repetitions // 4), bench.device)
    for name, limit in limits.items():
        with at_once(limit):
            peak = accounting.step_peak_bytes(learners[name])
            chunk = loss.chunk_size(tokens, GPT2_PIECES)
        time = quartiles(seconds[name] / seconds["as a whole"], "time, ÷ whole")
        rows.append({"cross entropy": name, "tokens": tokens, "at a time": chunk, "peak": peak / 1e6, **time})
    return rows


def paper_shape(bench: Bench) -> list[Row]:
    """48 layers of width 1600: the training state in GB in closed form, 16 bytes a parameter; on a GPU with enough
    memory also the state of live models, the peak of a step in bf16, and its utilisation, one model after the other."""
    e = Experiment.preset("gpt2-wikitext2", "paper", device=str(bench.device))
    shape = bench.shape(e) | {"vocab_size": GPT2_PIECES}
    sizes = {"vocab_size": GPT2_PIECES, "n_positions": e.n_positions, "n_embd": e.n_embd}
    states = {
        sets: accounting.training_bytes(accounting.gpt2_parameters(**sizes, num_groups=sets))["total"]
        for sets in (48, 12, 6, 1)
    }
    rows, peaks = [], {}
    for sets, state in states.items():
        row = {"weight sets": sets, "state, closed form": state / 1e9, "÷": states[48] / state}
        row |= dict.fromkeys(("state", "peak", "peak, ÷", "ms a step", "utilisation"), "not measured")
        rows.append(row)
        if not bench.fits(state + 30 * 10**9):
            continue
        learner = build_learner(e, noise(GPT2_PIECES))
        learner.tie(TieMap.pattern("cycle", e.n_layer, sets))
        step = bench.median_step(learner)
        peaks[sets] = accounting.step_peak_bytes(learner)
        row["state"] = accounting.measured_bytes(learner.model, learner.optimizer)["total"] / 1e9
        row["peak"] = peaks[sets] / 1e9
        if 48 in peaks:
            row["peak, ÷"] = peaks[48] / peaks[sets]
        row["ms a step"] = 1e3 * step
        row["utilisation"] = bench.flops(shape) / step / product_rate(bench, torch.bfloat16)
        del learner
    return rows
