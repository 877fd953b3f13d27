"""The benchmark's parts about memory, and about what the machine could do at most."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import torch

from dlt_core import accounting, loss
from dlt_core.algorithm1 import build_learner
from dlt_core.contestants import noise, race
from dlt_core.experiments import Experiment
from dlt_core.tie_map import TieMap
from dlt_core.timings import GPT2_PIECES, Bench, Row, quartiles


def machine(bench: Bench) -> list[Row]:
    """The roofline: a large matrix product and a large copy, the best of several. Model FLOPs utilisation is the FLOPs
    of a step (`accounting.step_flops`: forward 24 d² + 4 T d for each layer and 2 d V, for each token, and twice as
    much backward) over the step's time and the rate of the matrix product in the same precision."""
    cuda = bench.device.type == "cuda"
    size, values = (8192, 2**28) if cuda else (2048, 2**26) if bench.scale != "tiny" else (256, 2**16)
    rows = []
    dtype = torch.bfloat16 if bench.experiment.precision == "bf16" else torch.float32
    for of in dict.fromkeys((torch.float32, dtype)):
        a, b = (torch.randn(size, size, device=bench.device, dtype=of) for _ in range(2))
        product = race({"": lambda a=a, b=b: _drop(a @ b)}, 10, bench.device)[""]
        rows.append({"what": f"product of {size} x {size}, {of}".replace("torch.", ""),
                     "TFLOP/s": 2 * size**3 / float(product.min()) / 1e12, "GB/s": "", "utilisation": ""})  # fmt: skip
    rate = rows[-1]["TFLOP/s"]
    source, target = (torch.ones(values, device=bench.device) for _ in range(2))
    copied = race({"": lambda a=source, b=target: _drop(b.copy_(a))}, 10, bench.device)[""]
    del source, target
    rows.append({"what": f"copy of {4 * values / 1e6:.0f} MB", "TFLOP/s": "",
                 "GB/s": 2 * 4 * values / float(copied.min()) / 1e9, "utilisation": ""})  # fmt: skip
    e = bench.experiment
    tied = TieMap.all_tied(e.n_layer)
    for name, experiment, tie_map, constant in (
        ("conventional", e, None, 0),
        ("all tied, shared", e, tied, 0),
        ("all tied, source", e.replace(gradient="source"), tied, e.n_layer - 1),
    ):
        done = bench.flops(experiment, constant) / bench.median_step(bench.learner(experiment, tie_map)) / 1e12
        rows.append({"what": f"steps, {name}", "TFLOP/s": done, "GB/s": "", "utilisation": done / rate})
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

    def run(name: str) -> Callable[[], None]:
        def call() -> None:
            with mock.patch.object(loss, "LOGITS_AT_ONCE", limits[name]):
                learners[name].train(2)

        return call

    for name in limits:
        learners[name] = build_learner(e, data)
        learners[name].train(1)
    seconds = race({name: run(name) for name in limits}, max(2, bench.repetitions // 4), bench.device)
    for name, limit in limits.items():
        with mock.patch.object(loss, "LOGITS_AT_ONCE", limit):
            peak = accounting.step_peak_bytes(learners[name])
            chunk = loss.chunk_size(tokens, GPT2_PIECES)
        time = quartiles(seconds[name] / seconds["as a whole"], "time, ÷ whole")
        rows.append({"cross entropy": name, "tokens": tokens, "at a time": chunk, "peak": peak / 1e6, **time})
    return rows


def paper_shape(bench: Bench) -> list[Row]:
    """48 layers of width 1600: the training state in GB in closed form, 16 bytes a parameter, and on a GPU with enough
    memory the peak of a step in bf16 and its utilisation, one model after the other."""
    rows = []
    e = Experiment.preset("gpt2-wikitext2", "paper", device=str(bench.device))
    states = {}
    for sets in (48, 12, 6, 1):
        parameters = accounting.gpt2_parameters(
            vocab_size=GPT2_PIECES, n_positions=e.n_positions, n_embd=e.n_embd, num_groups=sets
        )
        states[sets] = accounting.training_bytes(parameters)["total"]
        row = {"weight sets": sets, "state, closed form": states[sets] / 1e9, "÷": states[48] / states[sets],
               "state": "", "peak": "", "peak, ÷": "", "ms a step": "", "TFLOP/s": ""}  # fmt: skip
        rows.append(row)
        if bench.device.type == "cuda" and bench.fits(states[sets], 30 * 10**9):
            learner = build_learner(e, noise(GPT2_PIECES))
            learner.tie(TieMap.pattern("cycle", e.n_layer, sets))
            step = bench.median_step(learner)
            peak = accounting.step_peak_bytes(learner)
            row["state"] = accounting.measured_bytes(learner.model, learner.optimizer)["total"] / 1e9
            row["peak"] = peak / 1e9
            row["peak, ÷"] = rows[0]["peak"] and rows[0]["peak"] / row["peak"]
            row["ms a step"] = 1e3 * step
            shape = {name: size for name, size in bench.shape(e).items() if name not in ("n_head", "vocab_size")}
            row["TFLOP/s"] = accounting.step_flops("gpt2", **shape, vocab_size=GPT2_PIECES) / step / 1e12
            del learner
    return rows
