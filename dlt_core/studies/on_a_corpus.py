"""What notebooks 04 to 08 have in common: Algorithm 1, the same with random actions, and conventional training, once
each on one of the paper's texts; and beside that what the recorded seeds of the same experiment say.

The runs are those of `compare(experiment, ...)` in the order dynamic, random, conventional. What is returned to be
shown is Markdown.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from dlt_core import figures
from dlt_core.corpora.hub import CorpusUnavailable
from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.experiments import Experiment, load_data
from dlt_core.records.record import RunRecord
from dlt_core.studies.claim import difference
from dlt_core.studies.diagnosis import q_scale, shared_decisions
from dlt_core.studies.findings import COMMITTED
from dlt_core.studies.gate import Gate, gate_of, informative
from dlt_core.studies.tables import MAIN_METHODS, changes, comparison_table, markdown_table
from dlt_core.studies.texts import about
from dlt_core.tie_map import TieMap

GATE = "../figures/README.md#what-could-have-told-anything"  # as a notebook reaches it


def load_or_stop(experiment: Experiment) -> TokenizedCorpus:
    """The experiment's data. Where it is not to be had, says what would help and ends the notebook without an error."""
    try:
        return load_data(experiment)
    except CorpusUnavailable as missing:
        print(missing)
    print('Remedy 3: set corpus = "embedded" in the parameters cell: the same steps, on text that comes with Python.')
    raise SystemExit(0)


def steps_of(experiment: Experiment) -> int:
    """Optimiser steps of a run: K turns over L - 1 layers, k each."""
    return experiment.episodes * (experiment.n_layer - 1) * experiment.steps_per_action


def tokens_of(experiment: Experiment) -> int:
    """Tokens that a run trains on."""
    return steps_of(experiment) * experiment.batch_size * experiment.block_size


def passes(experiments: Iterable[Experiment], words: Mapping[str, float]) -> str:
    """How many passes over texts of so many words a run of each experiment makes, at most: a word is a token or more.

    words: name of a text -> words of its training split.
    """
    rows = []
    for e in experiments:
        row = {"preset": e.preset_name, "tokens of a run": f"{tokens_of(e):,}"}
        of = {f"passes over {name}, {n / 1e6:.3g}M words": f"{tokens_of(e) / n:.3g}" for name, n in words.items()}
        rows.append(row | of)
    return markdown_table(rows)


def setting(experiment: Experiment, data: TokenizedCorpus) -> str:
    """How large the runs are, and beside them the paper's."""
    e, limit = experiment, experiment.evaluation_tokens
    if limit is None:
        evaluated = "all tokens of validation and test"
    elif e.test_in_full:
        evaluated = f"the first {limit:,} tokens of validation and all of test"
    else:
        evaluated = f"the first {limit:,} tokens of validation and test"
    return (
        f"Preset `{e.preset_name}`: L = {e.n_layer}, width {e.n_embd}, K = {e.episodes} turns, k = "
        f"{e.steps_per_action}: **{steps_of(e):,} steps** of {e.batch_size} x {e.block_size} tokens, "
        f"{tokens_of(e) / len(data.tokens['train']):.2g} passes over the training text. Evaluated on "
        f"{evaluated}. The paper's preset takes {steps_of(Experiment.preset(e.name, 'paper')):,} steps."
    )


def results(runs: Sequence[RunRecord]) -> str:
    """The table of the runs, how long the control of the dynamic one took, and what the recorded seeds of the same
    experiment say."""
    timing = runs[0].timing
    return (
        f"{comparison_table(runs)}\n\nDeciding, tying and computing rewards took "
        f"{timing['control'] / timing['training']:.1%} of the time of the optimiser steps.\n\n"
        f"{several_seeds(runs[0].experiment['name'])}"
    )


def several_seeds(name: str, folder: str | os.PathLike[str] = COMMITTED) -> str:
    """What the recorded seeds of an experiment, preset laptop with unchanged settings, say of dynamic tying against
    both others, paired by seed: the differences, or that the experiment cannot tell, and what is still allowed."""
    runs = _recorded(name, "laptop", folder)
    of = {method: [r for r in runs if r.method == method and r.status == "finished"] for method in MAIN_METHODS}
    gate = gate_of(informative(runs), name)
    others = [other for other in MAIN_METHODS[1:] if of["dynamic"] and of[other]]
    if not others:
        return "No runs of this experiment are recorded."
    rows = [
        {"dynamic minus": other, "n": str(len(of[other])), "bits per byte": difference(of["dynamic"], of[other], gate)}
        for other in reversed(others)
    ]
    return (
        "**All recorded seeds**, preset `laptop`: dynamic tying minus another method with the same seed. Below zero, "
        f"dynamic tying is better; ± and brackets are the 95 % interval.\n\n{markdown_table(rows)}\n\n{_why(gate)}"
    )


def _recorded(name: str, preset: str, folder: str | os.PathLike[str]) -> list[RunRecord]:
    """The recorded runs of an experiment with unchanged settings."""
    return [r for r in map(RunRecord.load, sorted(Path(folder).glob(f"{name}-{preset}-*.json"))) if not changes(r)]


def _why(gate: Gate) -> str:
    """Why an experiment cannot tell, and what follows; nothing if it can."""
    if gate.can_tell:
        return ""
    shallow = "" if gate.depth else " (no model of fewer layers was trained like these)"
    return (
        f"*Cannot tell*, by [the gate]({GATE}): {gate.reason}{shallow}. So these differences are evidence "
        "neither for the paper's claim nor against it."
    )


def pictures(runs: Sequence[RunRecord]) -> dict[str, figures.Figure]:
    """Learning curves, the ties over time, first and last maps as graphs, and how many layers were independent."""
    dynamic, random, *_ = runs
    maps = {f"{r.method}, {what}": TieMap(r.required(m)) for r in (dynamic, random)
            for what, m in (("tested", r.tie_map), ("last", r.final_tie_map))}  # fmt: skip
    return {
        "curves": figures.learning_curves(runs),
        "tie_map_evolution": figures.tie_map_evolution(dynamic),
        "map_graphs": figures.map_graphs(maps),
        "independent_layers": figures.independent_layers([dynamic, random]),
    }


def checked(runs: Sequence[RunRecord], experiment: Experiment, data: TokenizedCorpus) -> str:
    """Whether the comparison was fair and every line of Algorithm 1 at work, in numbers. Raises AssertionError."""
    assert all(run.status == "finished" for run in runs)
    assert {run.budget["tokens"] for run in runs} == {tokens_of(experiment)}, "equal token budgets"
    assert {run.corpus["sha256"] for run in runs} == {data.corpus.sha256}, "the same text"
    moves, updates = runs[0].transitions(), runs[0].history["td_loss"]
    assert moves["ties"] > 0
    assert moves["unties"] > 0
    assert max(updates) > 0, "at least one Q update"
    return f"{moves['ties']} ties, {moves['unties']} unties, {len(updates)} Q updates; equal tokens, one text"


def save(drawn: Mapping[str, figures.Figure], experiment: Experiment, out_dir: str | os.PathLike[str] | None) -> None:
    """Write the pictures to the folder, if there is one."""
    for name, figure in drawn.items() if out_dir else ():
        figures.save(figure, Path(out_dir) / f"fig_{experiment.name}_{name}.png")  # type: ignore[arg-type]


def against(one: RunRecord, other: RunRecord) -> str:
    """Test results of two runs with a seed in common, in words."""
    tests = one.required(one.test), other.required(other.test)
    return (
        f"{one.method} {tests[0]['perplexity']:.1f}, {other.method} {tests[1]['perplexity']:.1f} {one.unit} "
        f"({tests[0]['bits_per_byte']:.3f} and {tests[1]['bits_per_byte']:.3f} bits per byte)"
    )


def closing(runs: Sequence[RunRecord], data: TokenizedCorpus, *more: str) -> str:
    """What was seen, a list item each: the result beside the paper's claim, the random agent's, what Q knew, `more`,
    and last how far it goes."""
    dynamic, random, conventional = runs
    tests = [run.required(run.test)["perplexity"] for run in runs]
    parameters, preset = dynamic.required(dynamic.parameters), dynamic.experiment["preset"]
    largest_q, smallest, _ = q_scale(dynamic)
    lines = [
        f"In this one run dynamic tying is {'better' if tests[0] < tests[2] else 'not better'} than conventional "
        f"training: {against(dynamic, conventional)}, with {parameters['unique'] / parameters['conventional']:.0%} of "
        "the trainable parameters. One seed decides nothing; the table above has all recorded ones. (The paper claims "
        "that it is modestly better.)",
        f"Dynamic tying beside the random agent: {against(dynamic, random)}.",
    ]
    if largest_q < smallest / 10:
        lines.append(
            f"Q never came near the scale of its rewards: no |Q| that the agent saw was above {largest_q:.2f}, no "
            f"|reward| below {smallest:.0f}. That alone does not make its choices bad: only the order of the Q-values "
            "counts. Notebook 12 measures whether the order is right."
        )
    lines += [line for line in more if line]
    gate = gate_of(
        informative(_recorded(dynamic.experiment["name"], preset, COMMITTED)), dynamic.experiment["name"], preset
    )
    cannot = "" if gate.can_tell else f", of an experiment that *cannot tell* by [the gate]({GATE})"
    nothing = " This preset only shows that everything works." if preset == "smoke" else ""
    lines.append(
        f"How far this goes: preset `{preset}`, seed {dynamic.seed}, one run of each method{cannot}. The text is "
        f"{data.corpus.name}, {about(data)}.{nothing}"
    )
    return "\n".join(f"- {line}" for line in lines)


def gaps(runs: Mapping[str, RunRecord]) -> str:
    """Training loss of the last turn, validation loss at the end, and how far they are apart, of each run by its name
    in the table."""
    rows = []
    for name, run in runs.items():
        turn = run.experiment["n_layer"] - 1
        fitted, unseen = fmean(run.curves["train"]["loss"][-turn:]), run.curves["validation"]["loss"][-1]
        rows.append(
            {
                "run": name,
                "training loss at the end": f"{fitted:.2f}",
                "validation loss at the end": f"{unseen:.2f}",
                "gap": f"{unseen - fitted:+.2f}",
                "test perplexity, best model": f"{run.required(run.test)['perplexity']:.1f}",
            }
        )
    return f"{markdown_table(rows)}\n\nLosses in nats per token."


def step_times(runs: Sequence[RunRecord]) -> str:
    """Milliseconds a step of each run, training and control, and both together against the last one's; and what the
    difference of the first two, which do nearly the same work, says about the rest."""
    each = [
        [1000 * run.timing[what] / run.budget["optimizer_steps"] for what in ("training", "control")] for run in runs
    ]
    apart = [sum(times) / sum(each[-1]) - 1 for times in each]
    rows = [
        {
            "method": run.method,
            "training, ms a step": f"{training:.1f}",
            "control, ms a step": f"{control:.2f}",
            f"both, against {runs[-1].method}": f"{more:+.0%}",
        }
        for run, (training, control), more in zip(runs, each, apart, strict=True)
    ]
    noise, control = abs(apart[0] - apart[1]), each[0][1] / each[0][0]
    first, twin, last = (run.method for run in runs)
    return (
        f"{markdown_table(rows)}\n\nA step of the {first} run, control included, took {abs(apart[0]):.0%} "
        f"{'more' if apart[0] > 0 else 'less'} time than one of the {last} run. But {first} and {twin}, which do "
        f"nearly the same work, differ by **{noise:.0%}**: so much comes from the machine alone. What the times do "
        f"show is the control: {control:.1%} of the time of the training."
    )


def decisions_on_other_texts(folder: str | os.PathLike[str] = COMMITTED) -> str:
    """How alike the agent decides on texts on which it made equally many decisions, WikiText-103, LAMBADA and One
    Billion Words, in the recorded runs, against networks that learned nothing. See `diagnosis.shared_decisions`."""
    names = ("gpt2-wikitext103", "gpt2-lambada", "gpt2-lm1b")
    paths = [path for name in names for path in sorted(Path(folder).glob(f"{name}-laptop-dynamic-seed*.json"))]
    shared = shared_decisions(map(RunRecord.load, paths))
    if shared is None:
        return "No runs on two of these texts are recorded."
    total, same, untaught = shared
    return (
        f"**{same / total:.0%} are the same**, of {total} decisions that neither run of a pair made at random; had "
        f"neither network learned anything, {untaught / total:.0%} would be. (Recorded runs on WikiText-103, LAMBADA "
        "and One Billion Words, paired by seed.)"
    )
