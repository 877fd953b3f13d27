"""What a batch would do, before it does anything: each execution, the data that it needs, and what is done already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dlt_core.corpora.local import local_files
from dlt_core.corpora.sources import missing
from dlt_core.corpora.tokenization import GPT2_HUB, GPT2_LOCAL
from dlt_core.experiments import Experiment, name_of
from dlt_core.reproduce.jobs import Job

# Notebooks without a parameter `corpus` that cannot do without what this experiment needs. The others have a text that
# comes with Python, and leave out what they lack.
EXPERIMENTS_OF = {"10_ablations": "ablations", "15_a_rule_that_hears": "truth"}
DONE, TO_DO = "done before", "to do"


@dataclass(frozen=True)
class Row:
    """One execution. state: DONE, TO_DO, or why it is executed again. needs: its corpus. lacks: what is not here of
    that, "" for nothing."""

    job: Job
    state: str
    needs: str
    lacks: str


class Plan:
    """The executions that are asked for. expected: seconds that a notebook takes, by its name. Writes nothing."""

    def __init__(self, jobs: Sequence[Job], expected: Mapping[str, float]) -> None:
        self.jobs, self.expected = jobs, expected

    @cached_property
    def rows(self) -> list[Row]:
        return [_row(job) for job in self.jobs]

    def table(self) -> list[str]:
        """A line for each."""
        cells = [("notebook", "preset", "seed", "data", "state")]
        for row in self.rows:
            data = f"{row.needs}: {row.lacks or 'here'}"
            cells.append((row.job.stem, row.job.preset, str(row.job.seed), data, row.state + self._usual(row)))
        # the data goes last: it may be long
        order = (0, 1, 2, 4, 3)
        widths = [max(len(line[i]) for line in cells) for i in order[:-1]]
        return [
            "  ".join([*(line[i].ljust(w) for i, w in zip(order, widths, strict=False)), line[3]]) for line in cells
        ]

    def _usual(self, row: Row) -> str:
        usual = self._seconds(row)
        return f", about {usual:.0f} s" if usual is not None and row.state != DONE else ""

    def _seconds(self, row: Row) -> float | None:
        """None for a notebook that trains what it was timed with showing."""
        return self.expected.get(row.job.notebook.stem) if row.job.more.get("recorded", True) else None

    def summary(self, out: Path, where: str, *, named: bool, in_place: bool) -> list[str]:
        """What all that comes to. where: how they are executed; named: whether notebooks were asked for by name."""
        states = Counter(row.state == DONE for row in self.rows)
        to_do = [row for row in self.rows if row.state != DONE]
        lines = [
            "",
            f"{len(self.rows)} executions: {states[False]} to do, {where}; {states[True]} done before, skipped",
        ]
        if known := [seconds for row in to_do if (seconds := self._seconds(row)) is not None]:
            lines.append(f"{len(known)} of them took {sum(known):.0f} s, one after the other on two cores")
        if lacking := [row for row in to_do if row.lacks]:
            names = ", ".join(dict.fromkeys(row.job.stem for row in lacking))
            otherwise = "fail" if named else "are left out"
            lines.append(
                f"{names}: what is not here is fetched from the Hugging Face hub, if it was not yet; where that cannot "
                f"be, they {otherwise}"
            )
        lines.append(f"executed notebooks, their figures and records/: {out}")
        lines += [f"  {folder}" for folder in sorted({str(row.job.folder.relative_to(out)) for row in self.rows})]
        lines.append(f"summary: {out / 'summary.json'}")
        if in_place:
            lines.append(
                "in place: the outputs in notebooks/, figures/ and the tables of the README files are refreshed"
            )
        if out.exists() and not out.is_dir():
            lines.append(f"this would be refused: {out} is a file; name another folder with --out")
        return [*lines, "nothing was started, and nothing written"]


def _row(job: Job) -> Row:
    try:
        before = job.before()
        done = before is not None and job.is_done(before)
        state = DONE if done else TO_DO if before is None else f"to do again: {_why(before['status'])}"
    except ValueError as error:
        state = f"to do again: {error}"
    return Row(job, state, *_data(job))


def _why(status: str) -> str:
    return (
        "the notebook, the code or the parameters changed" if status == "done" else f"the last time it was {status!r}"
    )


def _data(job: Job) -> tuple[str, str]:
    """The corpus that an execution needs, and what is not here of it and of its tokenizer."""
    corpus = (job.defaults() | job.variant).get("corpus")
    if corpus is not None:
        experiment = Experiment.preset(name_of("gpt2", corpus), job.preset)
    else:
        experiment = Experiment.preset(EXPERIMENTS_OF.get(job.notebook.stem, "gpt2-embedded"), job.preset)
    lacks = [missing(experiment.corpus)]
    if experiment.tokenizer == "gpt2" and len([path for name in GPT2_LOCAL for path in local_files(name)]) < 2:
        files = " and ".join(GPT2_LOCAL)
        lacks.append(f"GPT-2's tokenizer not here, needs DLT_DATA_DIR with {files}, or {GPT2_HUB[0]} from the hub")
    return experiment.corpus, "; ".join(filter(None, lacks))
