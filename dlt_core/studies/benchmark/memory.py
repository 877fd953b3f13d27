"""The benchmark's parts about memory, and about what the machine could do at most."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dlt_core.corpora.tokenization import GPT2_PIECES
from dlt_core.experiments import Experiment, build_learner
from dlt_core.learner import accounting, loss
from dlt_core.studies.benchmark.timings import Bench, Row, quartiles
from dlt_core.studies.benchmark.trainers import noise, steps, take_turns
from dlt_core.tie_map import TieMap


def product_rate(bench: Bench, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product, the best of ten."""
    a, b = (torch.randn(bench.product_size, bench.product_size, device=bench.device, dtype=dtype) for _ in range(2))
    return 2 * bench.product_size**3 / _best_time(bench, lambda: a @ b)


def _best_time(bench: Bench, compute: Callable[[], torch.Tensor]) -> float:
    """Seconds of the fastest of ten calls."""

    def call() -> None:
        compute()

    return float(take_turns({"compute": call}, 10, bench.device)["compute"].min())


def machine(bench: Bench) -> list[Row]:
    """The roofline: a large matrix product and a large copy, the best of ten. Model FLOPs utilisation is the FLOPs of a
    step (`accounting.step_flops`: forward 24 d² + 4 T d for each layer and 2 d V, for each token, and twice as much
    backward) over the step's time and the rate of the matrix product in the same precision."""
    e, size = bench.experiment, bench.product_size
    nothing = dict.fromkeys(("tflops_per_second", "gb_per_second", "utilisation"), "")
    rows, rate = [], 0.0
    for dtype in dict.fromkeys((torch.float32, torch.bfloat16 if e.precision == "bf16" else torch.float32)):
        rate = product_rate(bench, dtype)
        name = f"product of {size:,} x {size:,}, {dtype}".replace("torch.", "")
        rows.append({"what": name, **nothing, "tflops_per_second": rate / 1e12})
    source, target = (torch.ones(4 * size, 4 * size, device=bench.device) for _ in range(2))
    seconds, moved = _best_time(bench, lambda: target.copy_(source)), 2 * source.nbytes
    rows.append({"what": f"copy of {moved / 2e6:,.0f} MB", **nothing, "gb_per_second": moved / seconds / 1e9})
    tied = TieMap.all_tied(e.n_layer)
    for name, experiment, tie_map, constant in (
        ("conventional", e, None, 0),
        ("all tied, shared", e, tied, 0),
        ("all tied, source", e.replace(gradient="source"), tied, e.n_layer - 1),
    ):
        done = bench.flops(bench.shape(e), constant) / bench.median_step(bench.learner(experiment, tie_map))
        rows.append({"what": f"steps, {name}", **nothing, "tflops_per_second": done / 1e12, "utilisation": done / rate})
    return rows


def memory(bench: Bench) -> list[Row]:
    """In MB: the training state of live models after a step, and its closed form; the peak of a step, without and with
    activation checkpointing; "÷" is against as many weight sets as layers. Single precision, no dropout."""
    rows = []
    for n_layer in bench.depths:
        e = bench.still.replace(n_layer=n_layer)
        sizes = {name: value for name, value in bench.shape(e).items() if name in ("vocab_size", "n_embd")}
        counts = sorted({n_layer, n_layer // 2, n_layer // 4, n_layer // 8, 1} - {0}, reverse=True)
        held = {}  # (weight sets, checkpointing) -> training state and peak
        for checkpointing in (False, True):
            learner = bench.learner(e.replace(activation_checkpointing=checkpointing))
            for sets in counts:  # from many weight sets to few, so that nothing has to be cloned
                learner.tie(TieMap.pattern("cycle", n_layer, sets))
                learner.train(1)
                peak = accounting.step_peak_bytes(learner)
                held[sets, checkpointing] = accounting.measured_bytes(learner.model, learner.optimizer), peak
            del learner
        for sets in counts:
            parameters = accounting.gpt2_parameters(**sizes, n_positions=e.n_positions, num_groups=sets)
            closed = accounting.training_bytes(parameters)
            state, peak = held[sets, False]
            rows.append({"layers": n_layer, "weight_sets": sets, "state_mb": state["total"] / 1e6,
                         "closed_form_mb": closed["total"] / 1e6,
                         "largest_difference": max(abs(state[part] / closed[part] - 1) for part in closed),
                         "state_ratio": held[n_layer, False][0]["total"] / state["total"],
                         "peak_mb": peak / 1e6, "peak_ratio": held[n_layer, False][1] / peak,
                         "checkpointed_peak_mb": held[sets, True][1] / 1e6,
                         "checkpointed_peak_ratio": held[n_layer, True][1] / held[sets, True][1]})  # fmt: skip
    return rows


def output_layer(bench: Bench) -> list[Row]:
    """The cross entropy over GPT-2's 50,257 pieces, in chunks and as a whole, for a model of two layers: the peak of a
    step in MB, and its time."""
    e = bench.still.replace(n_layer=2, batch_size=bench.experiment.batch_size * (1 if bench.scale == "gpu" else 4))
    data = noise(GPT2_PIECES)
    tokens = e.batch_size * e.block_size
    limits = {"as a whole": 2**62, "in chunks": loss.LOGITS_AT_ONCE if bench.scale == "gpu" else 2**22}
    learners = {}
    for name, limit in limits.items():
        learners[name] = build_learner(e, data)
        learners[name].logits_at_once = limit
        learners[name].train(1)
    trainers = {name: steps(learner, 2) for name, learner in learners.items()}
    seconds = take_turns(trainers, max(2, bench.repetitions // 4), bench.device)
    return [
        {
            "cross_entropy": name,
            "tokens": tokens,
            "tokens_at_once": loss.chunk_size(tokens, GPT2_PIECES, limit),
            "peak_mb": accounting.step_peak_bytes(learners[name]) / 1e6,
            **quartiles(seconds[name] / seconds["as a whole"], "ratio_to_whole"),
        }
        for name, limit in limits.items()
    ]


def paper_shape(bench: Bench) -> list[Row]:
    """48 layers of width 1600: the training state in GB in closed form, 16 bytes a parameter; on a GPU with enough
    memory also the state of a live model, the peak of a step in bf16, and its utilisation, tied more and more."""
    e = Experiment.preset("gpt2-wikitext2", "paper", device=str(bench.device))
    shape = bench.shape(e) | {"vocab_size": GPT2_PIECES}
    sizes = {"vocab_size": GPT2_PIECES, "n_positions": e.n_positions, "n_embd": e.n_embd}
    states = {
        sets: accounting.training_bytes(accounting.gpt2_parameters(**sizes, num_groups=sets))["total"]
        for sets in (48, 12, 6, 1)
    }
    rows, peaks = [], {}
    learner = None
    for sets, state in states.items():
        row: Row = {"weight_sets": sets, "closed_form_gb": state / 1e9, "closed_form_ratio": states[48] / state}
        row |= dict.fromkeys(("state_gb", "peak_gb", "peak_ratio", "ms_per_step", "utilisation"), "not measured")
        rows.append(row)
        if learner is None:
            if not bench.fits(state + 30 * 10**9):
                continue
            rate = product_rate(bench, torch.bfloat16)
            with bench.device:  # drawing 1.5 billion weights on the CPU would take minutes
                learner = build_learner(e, noise(GPT2_PIECES))
        learner.tie(TieMap.pattern("cycle", e.n_layer, sets))  # each refines the next, so nothing is cloned
        step = bench.median_step(learner)
        peaks[sets] = accounting.step_peak_bytes(learner)
        row["state_gb"] = accounting.measured_bytes(learner.model, learner.optimizer)["total"] / 1e9
        row["peak_gb"] = peaks[sets] / 1e9
        if 48 in peaks:
            row["peak_ratio"] = peaks[48] / peaks[sets]
        row["ms_per_step"] = 1e3 * step
        row["utilisation"] = bench.flops(shape) / step / rate
    return rows
