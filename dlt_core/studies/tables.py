"""Records to rows and tables: what was measured, over how many seeds, and beside it what the paper says."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from statistics import fmean
from typing import Any, TypeVar

import pandas as pd

from dlt_core.corpora.tokenization import GPT2_PIECES, bpe_pieces
from dlt_core.experiments import EXPERIMENTS, PRESETS, Experiment
from dlt_core.learner.accounting import step_flops
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import mean_interval, plus_minus
from dlt_core.studies.gate import gate_of, informative, is_a_look
from dlt_core.studies.released_code import ReleasedCode
from dlt_core.tie_map import TieMap

UNKNOWN = "not available to us"
NOT_RUN = "not run"
# What we know of the paper's own results: experiment -> what, and from where.
PAPER = {
    ("gpt2-wikitext2", "dynamic"): "perplexity 49.37 per GPT-2 BPE token, 264M parameters, 13.75 h "
    "(48 layers, width 1600; quoted by Basis Sharing, arXiv 2410.03765, table 5)",
}
Item = TypeVar("Item")
MAIN_METHODS = ("dynamic", "random", "conventional")
DIFFERENCES = ("differences-embedded", "differences-wikitext2")
LEARNING = ("agents-embedded", "agents-wikitext2", "truth", "regime")
# Many short runs, shown in `contrasts` and `findings`.
STUDIES = ("ablations", *DIFFERENCES, *LEARNING, "regime-gpu", "depth", "truth-bert")
OF_THE_PAPER = tuple(name for name in EXPERIMENTS if name not in STUDIES and not name.endswith("-embedded"))
MIB = 2**20


def grouped(records: Iterable[Item], name: Callable[[Item], object]) -> dict[str, list[Item]]:
    """The records, or what else there is, by their name, in the order in which they come."""
    runs = pd.Series(list(records), dtype=object)
    return {str(key): group.tolist() for key, group in runs.groupby(runs.map(name), sort=False)}


def run_rows(records: Iterable[RunRecord]) -> pd.DataFrame:
    """A row for each finished run: what identifies it, what was measured, and the `record` itself."""
    return pd.DataFrame(
        {
            "experiment": r.experiment["name"],
            "preset": r.experiment["preset"],
            "method": r.method,
            "changes": changes(r),
            "corpus": corpus_name(r),
            "seed": r.seed,
            "test_tokens": tokens_tested(r),
            "perplexity": test["perplexity"],
            "unit": test["unit"],
            "bits_per_byte": test["bits_per_byte"],
            "last_word_accuracy": test.get("last_word", {}).get("accuracy"),
            "parameters": parameters["unique"],
            "of_conventional": parameters["unique"] / parameters["conventional"],
            "independent_layers": TieMap(r.required(r.tie_map)).num_independent,
            "layers": r.experiment["n_layer"],
            "best_at_step": test["selected_step"],
            "steps": r.budget["optimizer_steps"],
            "peak_bytes": r.required(r.bytes).get("step_peak"),
            "seconds": r.seconds,
            "hardware": _hardware(r),
            "record": r,
        }
        for r in records
        if r.status == "finished"
        for test, parameters in [(r.required(r.test), r.required(r.parameters))]
    )


def comparison(records: Sequence[RunRecord]) -> list[dict[Any, Any]]:
    """A row for each finished run: perplexity with its unit, bits per byte, parameters, independent layers, time."""
    columns = ["method", "seed", "perplexity", "unit", "bits_per_byte", "parameters", "of_conventional",
               "independent_layers", "best_at_step", "steps", "seconds"]  # fmt: skip
    return run_rows(records).reindex(columns=columns).to_dict("records")


def comparison_table(records: Sequence[RunRecord]) -> str:
    """`comparison` as a Markdown table that fits on a small screen: what all runs share, their seed, steps and unit, is
    said in a sentence above it. Seconds are left out, since other work on the machine decides them."""
    rows = comparison(records)
    said = {
        "seed": "seed {}", "steps": "{:,} optimiser steps each", "unit": "perplexity {}"
    }  # fmt: skip
    shared = [name for name in said if len({row[name] for row in rows}) == 1]
    words = "; ".join(said[name].format(rows[0][name]) for name in shared)
    left = [{name: value for name, value in row.items() if name not in (*shared, "seconds")} for row in rows]
    sentence = f"{words[0].upper()}{words[1:]}.\n\n" if words else ""
    return sentence + markdown_table(left)


HEADINGS = {
    "perplexity": "test perplexity", "bits_per_byte": "bits per byte", "of_conventional": "of conventional",
    "independent_layers": "independent layers", "best_at_step": "best at step",
}  # fmt: skip
FORMATS = {
    "test perplexity": ".1f", "bits per byte": ".3f", "parameters": ",", "of conventional": ".0%", "seconds": ".0f"
}  # fmt: skip


def in_a_row(words: Sequence[str]) -> str:
    """One after the other in a sentence: "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table, under the HEADINGS of their columns; nothing for no rows. Cells are Markdown, but what
    would break the table, or begin HTML, is shown as it is."""
    if not rows:
        return ""
    headings = {name: HEADINGS.get(name, name) for name in rows[0]}
    lines = ["| " + " | ".join(map(_cell, headings.values())) + " |", "|" + " --- |" * len(headings)]
    lines += [
        "| " + " | ".join(_formatted(row[name], FORMATS.get(head, "")) for name, head in headings.items()) + " |"
        for row in rows
    ]
    return "\n".join(lines)


def _formatted(value: Any, how: str) -> str:
    if isinstance(value, str):
        return _cell(value)
    return format(value, how or (".4g" if isinstance(value, float) else ""))


def _cell(text: str) -> str:
    """On one line, without a column's end; "<" is literal within `code` already."""
    plain_and_code = re.split(r"(`[^`]*`)", " ".join(text.splitlines()))
    plain_and_code[::2] = [part.replace("<", "&lt;") for part in plain_and_code[::2]]
    return "".join(plain_and_code).replace("|", r"\|")


def summary(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """A row for each experiment x preset x method x changed settings x corpus x unit: means with 95 % intervals over
    the seeds. Looks are left out.

    Student's t over the seeds; with one seed there is no interval. "gate" says whether the experiment can tell. "peak
    bytes" is the largest number of bytes held in
    tensors during one optimiser step at the end of the run.
    """
    runs = run_rows(r for r in records if not is_a_look(r))
    identity = ["experiment", "preset", "method", "changes", "corpus", "unit"]
    gates = informative(records)
    rows = [_row(group) for _, group in runs.groupby(identity, sort=False)] if len(runs) else []
    for row in rows:
        row["gate"] = gate_of(gates, row["experiment"], row["preset"], row.pop("key_changes")).word
    methods = {m: i for i, m in enumerate(MAIN_METHODS)}
    order = {name: i for i, name in enumerate(EXPERIMENTS)}
    sizes = {name: i for i, name in enumerate(PRESETS)}
    rows.sort(
        key=lambda r: (
            sizes.get(r["preset"], len(sizes)), order.get(r["experiment"], len(order)), r["changes"] != "",
            methods.get(r["method"], len(methods)), r["method"], r["changes"],
        )
    )  # fmt: skip
    return rows


def changes(record: RunRecord) -> str:
    """The settings in which a run differs from its preset, such as "steps_per_action=5"; of a variant of the released
    code without those that its name implies."""
    overrides = record.experiment["overrides"]
    implied: Collection[tuple[str, Any]] = ()
    if overrides and (switches := record.agent.get("released_code")):
        plain = Experiment.preset(record.experiment["name"], record.experiment["preset"])
        implied = dataclasses.asdict(ReleasedCode(**switches).settings(plain)).items()
    return ", ".join(f"{name}={value}" for name, value in sorted(overrides.items()) if (name, value) not in implied)


def row_name(record: RunRecord) -> str:
    """A run's method and changed settings, such as "dynamic, reward=neg_loss"."""
    return with_changes(record.method, changes(record))


def with_changes(name: str, changed: str) -> str:
    """A name of a method or an experiment with its changed settings, such as "dynamic, reward=neg_loss"."""
    return f"{name}, {changed}" if changed else name


def training_flops(record: RunRecord) -> int:
    """Floating point operations of all optimiser steps of a finished run, see `accounting.step_flops`, and of those
    that went into finding its map; without the evaluations, the reward minibatches and the agent."""
    e, last = record.experiment, record.required(record.final_tie_map)
    shape = {name: e[name] for name in ("batch_size", "block_size", "n_embd")}
    pieces = bpe_pieces(e["tokenizer"])
    mark = bool(pieces) and record.agent.get("released_code", {}).get("marked_blocks", False)  # one more in a small one
    shape |= {"vocab_size": (pieces or GPT2_PIECES) + mark, "n_layer": len(last)}
    maps = record.history.get("state") or record.history.get("tie_map") or [last]
    tied = [sum(i != j for i, j in enumerate(m)) if e["gradient"] == "source" else 0 for m in maps]
    steps, rest = divmod(record.budget["optimizer_steps"], len(maps))
    if rest:
        raise ValueError(f"{record.key}: {len(maps)} decisions do not share its steps evenly")
    searched = record.budget.get("search_steps", 0) + record.budget.get("search_passes", 0)
    of_search = searched and searched * step_flops(e["architecture"], **shape, constant_layers=0)
    return of_search + sum(steps * step_flops(e["architecture"], **shape, constant_layers=n) for n in tied)


def corpus_name(record: RunRecord) -> str:
    return record.corpus["name"] + record.sample_mark


def tokens_tested(record: RunRecord) -> str:
    """How many tokens of the test split a run was tested on, such as "8,191"; "all" where that was the whole split."""
    limit, split = record.experiment.get("evaluation_tokens"), record.corpus.get("tokens", {}).get("test")
    if limit is None or record.experiment.get("test_in_full") or (split is not None and split <= limit):
        return "all"
    tokens = record.required(record.test).get("tokens")
    return f"at most {limit:,}" if tokens is None else f"{tokens:,}"


def _row(runs: pd.DataFrame) -> dict[str, Any]:
    """One row of `summary`, from the rows of its runs."""

    def mean(column: str) -> float | None:
        values = runs[column].dropna().tolist()
        return fmean(values) if values else None

    first = runs.iloc[0]
    perplexity, perplexity_half = mean_interval(runs["perplexity"].tolist())
    bits, bits_half = mean_interval(runs["bits_per_byte"].tolist())
    return {
        **first[["experiment", "preset", "method", "changes", "corpus"]],
        "key_changes": first["record"].changes,
        "n": len(runs),
        "test_tokens": "; ".join(sorted(set(runs["test_tokens"]))),
        "perplexity": perplexity,
        "perplexity_half_width": perplexity_half,
        "unit": first["unit"],
        "bits_per_byte": bits,
        "bits_per_byte_half_width": bits_half,
        **{name: mean(name) for name in ("last_word_accuracy", "parameters", "of_conventional", "independent_layers")},
        "layers": int(first["layers"]),
        "steps": int(first["steps"]),
        "peak_bytes": mean("peak_bytes"),
        "training_flops": fmean(map(training_flops, runs["record"])),
        "seconds": mean("seconds"),
        "hardware": "; ".join(sorted(set(runs["hardware"]))),
        "paper": _paper(*first[["experiment", "method", "changes"]]),
    }


def _hardware(record: RunRecord) -> str:
    h = record.hardware
    return f"{h['machine']} CPU, {h['threads']} of {h['cores']} cores" if h["device"] == "cpu" else h["device"]


def _paper(experiment: str, method: str, changed: str) -> str:
    return PAPER.get((experiment, method), UNKNOWN) if experiment in OF_THE_PAPER and not changed else UNKNOWN


def with_gaps(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, and after them one that says "not run" for each experiment of the paper, preset and main method that
    has none."""
    there = {(r["experiment"], r["preset"], r["method"]) for r in rows if not r["changes"]}
    gaps = []
    for preset in ("laptop", "gpu", "paper"):
        for name in OF_THE_PAPER:
            for method in ("dynamic", "conventional"):
                if (name, preset, method) not in there:
                    corpus = Experiment.preset(name, preset).corpus
                    known = {"experiment": name, "preset": preset, "method": method, "changes": "", "corpus": corpus,
                             "n": 0, "hardware": NOT_RUN, "paper": _paper(name, method, "")}  # fmt: skip
                    gaps.append({column: known.get(column) for column in (rows[0] if rows else known)})
    return [*rows, *gaps]


def results_csv(rows: Sequence[dict[str, Any]]) -> str:
    """All columns, numbers in full; an empty field for what was not measured."""
    return pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n")


def shown(row: dict[str, Any]) -> dict[str, str]:
    """A row of `summary` for the eye: mean ± half width of the interval, with its unit."""
    if not row["n"]:
        empty = (
            "tokens tested",
            "test perplexity",
            "bits per byte",
            "parameters",
            "independent layers",
            "gate",
            "peak",
            "time",
            "hardware",
        )
        known = {name: row[name] for name in ("experiment", "corpus", "method")}
        return {**known, "n": NOT_RUN, **dict.fromkeys(empty, ""), "the paper": row["paper"]}
    guessed = row["last_word_accuracy"]
    words = "" if guessed is None else f"; {guessed:.1%} of last words guessed"
    return {
        "experiment": row["experiment"],
        "corpus": row["corpus"],
        "method": with_changes(row["method"], row["changes"]),
        "n": str(row["n"]),
        "tokens tested": row["test_tokens"],
        "test perplexity": f"{plus_minus(row['perplexity'], row['perplexity_half_width'], 1)} {row['unit']}{words}",
        "bits per byte": plus_minus(row["bits_per_byte"], row["bits_per_byte_half_width"], 3),
        "parameters": f"{row['parameters'] / 1e6:.2f}M ({row['of_conventional']:.0%})",
        "independent layers": f"{row['independent_layers']:.1f} of {row['layers']}",
        "gate": row["gate"],
        "peak": f"{row['peak_bytes'] / MIB:.0f} MiB" if row["peak_bytes"] else "not measured",
        "time": f"{row['seconds']:.0f} s",
        "hardware": row["hardware"],
        "the paper": row["paper"],
    }


def main_table(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Of the rows of `summary` those of unchanged laptop runs, without the studies; the columns that matter most."""
    columns = ("experiment", "corpus", "method", "n", "tokens tested", "test perplexity", "bits per byte", "parameters",
               "independent layers", "gate")  # fmt: skip
    chosen = [r for r in rows if r["preset"] == "laptop" and r["n"] and not r["changes"]]
    chosen = [shown(r) for r in chosen if r["experiment"] not in STUDIES]
    return [{column: row[column] for column in columns} for row in chosen]
