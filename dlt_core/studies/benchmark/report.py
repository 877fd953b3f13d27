"""How fast the training loop is, and whether its memory is what the closed form says, on the machine at hand:

    python -m dlt_core benchmark [--scale S] [--parts P ...] [--repetitions N] [--max-seconds T] [--out DIR]

writes DIR/<device>.json, its tables beside it as <device>.md, and a figure. Every ratio is between things that took
turns in one process; medians, with quartiles. No data is needed. Parts that are there already, from the same machine
and code, stay as they are: after a call that ran out of time the next one makes the rest.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from dlt_core import figures, records
from dlt_core.corpora.files import write_json_atomically, write_text_atomically
from dlt_core.learner import parallel
from dlt_core.studies.benchmark import memory, timings
from dlt_core.studies.benchmark.timings import SCALES, Bench, Row
from dlt_core.studies.tables import markdown_table

PARTS: dict[str, Callable[[Bench], list[Row]]] = {
    "machine": memory.machine,
    "steps": timings.step_times,
    "control": timings.control,
    "ties": timings.tie_times,
    "waits": timings.waits,
    "output": memory.output_layer,
    "memory": memory.memory,
    "paper": memory.paper_shape,
    "compiled": timings.compiled,
    "scaling": timings.scaling,
    "processes": timings.processes,
}
# How a column is headed where it is shown; others are headed by their name, with spaces.
HEADINGS = {
    "tflops_per_second": "TFLOP/s", "gflops_per_second": "GFLOP/s", "gb_per_second": "GB/s",
    "ms_per_step": "ms a step", "ms_per_decision": "ms a decision", "tokens_per_second": "tokens a second",
    "us_per_action": "µs an action", "us_per_call": "µs a call", "us_per_layer_moved": "a layer moved",
    "us_per_layer_untied": "a layer on its own", "us_per_set_given_up": "a set given up",
    "ratio_to_conventional": "÷ conventional", "ratio_to_k_steps": "÷ k steps", "ratio_to_eager": "÷ eager",
    "ratio_to_flat": "÷ flat", "ratio_to_whole": "time, ÷ whole", "tokens_at_once": "at a time",
    "state_mb": "state", "closed_form_mb": "closed form", "state_ratio": "state, ÷", "peak_mb": "peak",
    "peak_ratio": "peak, ÷", "checkpointed_peak_mb": "peak, checkpointed",
    "checkpointed_peak_ratio": "peak, checkpointed, ÷", "closed_form_gb": "state, closed form",
    "closed_form_ratio": "÷", "state_gb": "state", "peak_gb": "peak", "seconds_to_compile": "s to compile",
    "new_graphs": "graphs more in 100 ties", "data_share": "data, of a step", "ms_to_wrap": "ms to wrap",
    "weight_difference": "difference of a weight",
}  # fmt: skip


def run(bench: Bench, parts: Sequence[str], path: Path, max_seconds: float | None = None) -> dict[str, Any]:
    """Measure the parts that `path` does not have yet, and write each there when it is done; what it says then.

    max_seconds: no part begins after so long. What another machine, scale or code has left there is made anew.
    """
    started = time.perf_counter()
    results: dict[str, Any] = {
        "schema_version": records.SCHEMA_VERSION,
        "scale": bench.scale,
        "repetitions": bench.repetitions,
        "steps_per_action": bench.k,
        "hardware": records.hardware(bench.device),
        "versions": records.versions(),
        "parts": {},
    }
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if all(before.get(name) == value for name, value in results.items() if name != "parts"):
            results["parts"] = before["parts"]
    for name in parts:
        if name in results["parts"]:
            continue
        if max_seconds is not None and time.perf_counter() - started > max_seconds:
            print(f"{name}: left for the next call", file=sys.stderr)
            continue
        begun = time.perf_counter()
        rows = PARTS[name](bench)
        results["parts"][name] = {"seconds": time.perf_counter() - begun, "rows": rows}
        results["parts"] = {name: results["parts"][name] for name in PARTS if name in results["parts"]}
        write_json_atomically(path, results)
        print(f"{name}: {results['parts'][name]['seconds']:.0f} s", file=sys.stderr, flush=True)
    return results


def report(results: dict[str, Any]) -> str:
    """A benchmark's tables in Markdown, each under what it measures."""
    machine, versions, e = results["hardware"], results["versions"], SCALES[results["scale"]][0]
    text = (
        f"# Benchmark: {machine['device']}\n\nScale `{results['scale']}` (the shape of the preset `{e}`), "
        f"{results['repetitions']} repetitions, {machine['threads']} threads of {machine['cores']} cores, "
        f"{machine['machine']}; torch {versions['torch']}, transformers {versions['transformers']}. "
        "Made by `python -m dlt_core benchmark`.\n"
    )
    for name, part in results["parts"].items():
        about = " ".join((PARTS[name].__doc__ or "").split())
        rows = [{_heading(column): cell for column, cell in _cells(row).items()} for row in part["rows"]]
        text += f"\n## {name}\n\n{about}\n\n{markdown_table(rows)}\n"
    return text


def _heading(name: str) -> str:
    return name if name.startswith("aten::") else HEADINGS.get(name, name.replace("_", " "))


def _cells(row: Row) -> dict[str, str]:
    """A row with three or four digits, and the quartiles behind their median."""
    text = {name: value if isinstance(value, str) else _number(value) for name, value in row.items()}
    return {
        name: f"{value} ({text[f'{name}_q25']} to {text[f'{name}_q75']})" if f"{name}_q25" in row else value
        for name, value in text.items()
        if not name.endswith(("_q25", "_q75"))
    }


def _number(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"


def findings(results: dict[str, Any]) -> str:
    """What a benchmark says, as a list in Markdown; of the parts that are there."""
    rows = {name: part["rows"] for name, part in results["parts"].items()}
    lines = []
    if "steps" in rows:
        of = {row["training"]: _cells(row)["ratio_to_conventional"] for row in rows["steps"]}
        lines.append(
            f"A step of the same model takes {of['plain PyTorch loop']} times as long in a plain PyTorch loop as in "
            f"ours, and {of['Hugging Face Trainer']} times in `transformers.Trainer`. With all layers tied it takes "
            f"{of['all tied, shared']} times as long as conventionally, and {of['all tied, source']} with the gradient "
            "of the root alone."
        )
    if "control" in rows:
        of = {row["what"]: _cells(row)["ratio_to_k_steps"] for row in rows["control"]}
        lines.append(
            f"A decision with its {results['steps_per_action']} steps takes {of['decision with its k steps']} times as "
            f"long as these steps. Of that the reward is {of['reward']}, the Q update {of['Q update']}, Q-values and "
            f"action {of['Q-values and action']}, and the ties {of['ties']}."
        )
    if "ties" in rows:
        each = [f"{_cells(row)['us_per_action']} µs at {row['layers']} layers" for row in rows["ties"]]
        lines.append(f"`tie_layers` takes {' and '.join(each)} for an action.")
    if "waits" in rows:
        few, many = ({n: v for n, v in row.items() if n != "steps"} for row in rows["waits"])
        more = sum(many.values()) - sum(few.values())
        cpu = ", which on a GPU would mean to wait for it" if results["hardware"]["device"] == "cpu" else ""
        what = "reads a number out of a tensor" if cpu else "waits for the device"
        lines.append(f"Within the steps the program {what} {more} times{cpu}.")
    for row in rows.get("compiled", []):
        what = f"Blocks compiled (`{row['mode']}`, gradient `{row['gradient']}`)"
        if row.get("failed"):
            lines.append(f"{what}: failed, {row['failed']}.")
        else:
            lines.append(
                f"{what}: {row['new_graphs']} new compilations in 100 random ties and unties; a step takes "
                f"{_cells(row)['ratio_to_eager']} times as long as without, after "
                f"{_cells(row)['seconds_to_compile']} s of compiling."
            )
    if "memory" in rows:
        worst = max(row["largest_difference"] for row in rows["memory"])
        depths = ", ".join(map(str, dict.fromkeys(row["layers"] for row in rows["memory"])))
        lines.append(
            f"Weights, gradients and optimiser state differ from the closed form by at most {worst:.2%}, at "
            f"{depths} layers, from one weight set to as many as layers."
        )
    if "output" in rows:
        whole, chunks = rows["output"]
        lines.append(
            "The cross entropy over 50,257 pieces in chunks: the peak of a step of two layers is "
            f"{whole['peak_mb'] / chunks['peak_mb']:.1f} times lower than with all logits at once, its time "
            f"{_cells(chunks)['ratio_to_whole']} times that."
        )
    if len(rows.get("processes", [])) == 2:
        ddp = _cells(rows["processes"][1])
        lines.append(
            f"With {ddp['processes']} processes a decision takes {ddp['ratio_to_flat']} times as long with DDP wrapped "
            "anew as with one flat all-reduce, which is what we use."
        )
    return "\n".join(f"- {line}" for line in lines)


def show(path: Path) -> list[Path]:
    """Write the tables and the figure of a benchmark's JSON beside it; returns their paths."""
    results = json.loads(path.read_text(encoding="utf-8"))
    write_text_atomically(path.with_suffix(".md"), report(results))
    figure = figures.benchmark(results)
    return [path.with_suffix(".md"), *(figures.save(figure, path.with_suffix(end)) for end in (".png", ".svg"))]


def name_of(device: torch.device) -> str:
    """A device's name, as part of a file's: "cpu", "nvidia-h200"."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return "-".join(name.lower().split())


def measure(
    scale: str | None = None,
    parts: Sequence[str] | None = None,
    repetitions: int = 10,
    max_seconds: float | None = None,
    out: Path = Path("benchmark"),
) -> tuple[str, list[Path]]:
    """Measure what is not there yet; the tables, and the files that hold them.

    scale: None for "gpu" where there is one, otherwise "laptop". parts: None for all. max_seconds: see `run`.
    Raises ValueError for no repetitions.
    """
    if repetitions < 1:
        raise ValueError(f"--repetitions must be at least 1, got {repetitions}")
    bench = Bench(scale or parallel.preset(), repetitions)
    path = out / f"{name_of(bench.device)}.json"
    text = report(run(bench, list(parts or PARTS), path, max_seconds))
    return text, [path, *show(path)]
