"""What the tests of records to tables share: runs that never were, and the cells of a Markdown text."""

import dataclasses

from dlt_core.experiments import Experiment
from dlt_core.records.record import RunRecord
from dlt_core.studies.methods import LADDER, PUT_IN
from dlt_core.studies.released_code import ReleasedCode

BPE = "per token of a 4,096-piece BPE"


def made_up(
    method: str = "dynamic",
    seed: int = 0,
    bits: float = 2.0,
    *,
    name: str = "gpt2-wikitext2",
    preset: str = "laptop",
    unit: str = BPE,
    is_sample: bool = False,
    peak: int | None = None,
    accuracy: float | None = None,
    independent: int = 2,
    **changes,
) -> RunRecord:
    """A finished run that never was; its numbers are multiples of its bits per byte."""
    experiment = Experiment.preset(name, preset, seed=seed, **changes)
    test = {"perplexity": 50 * bits, "unit": unit, "bits_per_byte": bits, "selected_step": 30}
    if accuracy is not None:
        test["last_word"] = {"accuracy": accuracy}
    return RunRecord(
        experiment.to_dict(),
        method,
        seed,
        {
            "name": experiment.corpus,
            "is_sample": is_sample,
            "tokens": {"train": 200},
            "bytes": {"train": experiment.train_bytes or 10_000_000},
        },
        status="finished",
        hardware={"device": "cpu", "machine": "x86_64", "threads": 1, "cores": 2},
        budget={"optimizer_steps": 30, "tokens": 300},
        tie_map=[min(i, independent - 1) for i in range(experiment.n_layer)],
        final_tie_map=[min(i, independent - 1) for i in range(experiment.n_layer)],
        test=test,
        parameters={"unique": int(100 * bits), "conventional": 1000},
        bytes={"step_peak": peak},
        seconds=10 * bits,
    )


def table_cells(markdown: str) -> list[list[str]]:
    """The rows of all tables in a Markdown text, without their heads."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ") and not line.startswith("| experiment")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("| ---")]


IMPLIED = ("reward", "gradient", "epsilon_min", "steps_per_action", "episodes", "evaluate_every")  # by all of them


def variant(released: ReleasedCode, seed: int, bits: float, name: str = "differences-embedded") -> RunRecord:
    settings = released.settings(Experiment.preset(name, "laptop"))
    options = {field: getattr(settings, field) for field in IMPLIED}
    record = made_up(released.method, seed, bits, name=name, **options)
    record.agent = {"released_code": dataclasses.asdict(released)}
    return record


def studies(*names: str) -> list[RunRecord]:
    """The whole ladder of each study: 0.1 bits a rung; and each difference alone."""
    found = []
    for name in names:
        for seed in (0, 1):
            found.append(made_up("dynamic", seed, 2.0, name=name))
            found += [variant(rung, seed, 3.1 - i / 10, name) for i, rung in enumerate(LADDER[:-2])]
            found += [variant(one, seed, 1.5 + seed, name) for one in PUT_IN.values()]
    return found
