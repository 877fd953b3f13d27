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


def run(bench: Bench, parts: Sequence[str], path: Path, max_seconds: float | None = None) -> dict[str, Any]:
    """Measure the parts that `path` does not have yet, and write each there when it is done; what it says then.

    max_seconds: no part begins after so long. What another machine, scale or code has left there is made anew.
    """
    started = time.perf_counter()
    found: dict[str, Any] = {
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
        if all(before.get(name) == value for name, value in found.items() if name != "parts"):
            found["parts"] = before["parts"]
    for name in parts:
        if name in found["parts"]:
            continue
        if max_seconds is not None and time.perf_counter() - started > max_seconds:
            print(f"{name}: left for the next call", file=sys.stderr)
            continue
        begun = time.perf_counter()
        rows = PARTS[name](bench)
        found["parts"][name] = {"seconds": time.perf_counter() - begun, "rows": rows}
        found["parts"] = {name: found["parts"][name] for name in PARTS if name in found["parts"]}
        write_json_atomically(path, found)
        print(f"{name}: {found['parts'][name]['seconds']:.0f} s", file=sys.stderr, flush=True)
    return found


def report(found: dict[str, Any]) -> str:
    """A benchmark's tables in Markdown, each under what it measures."""
    machine, e = found["hardware"], SCALES[found["scale"]][0]
    text = (
        f"# Benchmark: {machine['device']}\n\nScale `{found['scale']}` (the shape of the preset `{e}`), "
        f"{found['repetitions']} repetitions, {machine['threads']} threads of {machine['cores']} cores, "
        f"{machine['machine']}; torch {found['versions']['torch']}, transformers {found['versions']['transformers']}. "
        "Made by `python -m dlt_core benchmark`.\n"
    )
    for name, part in found["parts"].items():
        about = " ".join((PARTS[name].__doc__ or "").split())
        text += f"\n## {name}\n\n{about}\n\n{markdown_table(list(map(_shown, part['rows'])))}\n"
    return text


def _shown(row: Row) -> dict[str, str]:
    """A row with its numbers to three or four digits, and the quartiles behind their median."""
    text = {name: value if isinstance(value, str) else _number(value) for name, value in row.items()}
    return {
        name: f"{shown} ({text[f'{name}, 25 %']} to {text[f'{name}, 75 %']})" if f"{name}, 25 %" in row else shown
        for name, shown in text.items()
        if not name.endswith(" %")
    }


def _number(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"


def findings(found: dict[str, Any]) -> str:
    """What a benchmark found, as a list in Markdown; of the parts that are there."""
    rows = {name: part["rows"] for name, part in found["parts"].items()}
    lines = []
    if "steps" in rows:
        of = {row["training"]: _shown(row)["÷ conventional"] for row in rows["steps"]}
        lines.append(
            f"A step of the same model takes {of['plain PyTorch loop']} times as long in a plain PyTorch loop as in "
            f"ours, and {of['Hugging Face Trainer']} times in `transformers.Trainer`. With all layers tied it takes "
            f"{of['all tied, shared']} times as long as conventionally, and {of['all tied, source']} with the gradient "
            "of the source alone."
        )
    if "control" in rows:
        of = {row["what"]: _shown(row)["÷ k steps"] for row in rows["control"]}
        lines.append(
            f"A decision with its {found['steps_per_action']} steps takes {of['decision with its k steps']} times as "
            f"long as these steps. Of that the reward is {of['reward']}, the Q update {of['Q update']}, Q-values and "
            f"action {of['Q-values and action']}, and the ties {of['ties']}."
        )
    if "ties" in rows:
        each = [f"{_shown(row)['µs an action']} µs at {row['layers']} layers" for row in rows["ties"]]
        lines.append(f"`tie_layers` takes {' and '.join(each)} for an action.")
    if "waits" in rows:
        few, many = ({n: v for n, v in row.items() if n != "steps"} for row in rows["waits"])
        more = sum(many.values()) - sum(few.values())
        cpu = ", which on a GPU would mean to wait for it" if found["hardware"]["device"] == "cpu" else ""
        what = "reads a number out of a tensor" if cpu else "waits for the device"
        lines.append(f"Within the steps the program {what} {more} times{cpu}.")
    for row in rows.get("compiled", []):
        what = f"Blocks compiled (`{row['mode']}`, gradient `{row['gradient']}`)"
        if row.get("failed"):
            lines.append(f"{what}: failed, {row['failed']}.")
        else:
            lines.append(
                f"{what}: {row['graphs more in 100 ties']} new compilations in 100 random ties and unties; a step "
                f"takes {_shown(row)['÷ eager']} times as long as without, after {_shown(row)['s to compile']} s of "
                "compiling."
            )
    if "memory" in rows:
        worst = max(row["largest difference"] for row in rows["memory"])
        depths = ", ".join(map(str, dict.fromkeys(row["layers"] for row in rows["memory"])))
        lines.append(
            f"Weights, gradients and optimiser state differ from the closed form by at most {worst:.2%}, at "
            f"{depths} layers, from one weight set to as many as layers."
        )
    if "output" in rows:
        whole, chunks = rows["output"]
        lines.append(
            "The cross entropy over 50,257 pieces in chunks: the peak of a step of two layers is "
            f"{whole['peak'] / chunks['peak']:.1f} times lower than with all logits at once, its time "
            f"{_shown(chunks)['time, ÷ whole']} times that."
        )
    if len(rows.get("processes", [])) == 2:
        ddp = _shown(rows["processes"][1])
        lines.append(
            f"With {ddp['processes']} processes a decision takes {ddp['÷ flat']} times as long with DDP wrapped anew "
            "as with one flat all-reduce, which is what we use."
        )
    return "\n".join(f"- {line}" for line in lines)


def show(path: Path) -> list[Path]:
    """Write the tables and the figure of a benchmark's JSON beside it; returns their paths."""
    found = json.loads(path.read_text(encoding="utf-8"))
    write_text_atomically(path.with_suffix(".md"), report(found))
    figure = figures.benchmark(found)
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
    bench = Bench(scale or ("gpu" if torch.cuda.is_available() else "laptop"), repetitions)
    path = out / f"{name_of(bench.device)}.json"
    text = report(run(bench, list(parts or PARTS), path, max_seconds))
    return text, [path, *show(path)]
