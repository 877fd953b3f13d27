"""What notebooks 04 to 08 have in common: Algorithm 1, the same with random actions, and conventional training, once
each on one of the paper's texts; and beside that what the recorded seeds of the same experiment say.

The runs are those of `compare(experiment, ...)` in the order dynamic, random, conventional. Texts are Markdown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from scipy import stats

from dlt_core import figures
from dlt_core.corpora.hub import CorpusUnavailable
from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.experiments import Experiment, load_data
from dlt_core.records.record import RunRecord
from dlt_core.studies.claim import difference
from dlt_core.studies.diagnosis import q_scale, shared_decisions
from dlt_core.studies.findings import COMMITTED
from dlt_core.studies.gate import gate_of, informative
from dlt_core.studies.tables import MAIN_METHODS, changes, comparison_table, data_table, markdown_table
from dlt_core.tie_map import TieMap

_TEST = {"validation": 217_646, "test": 245_569}  # the articles of both WikiTexts
WORDS = {"wikitext-2": {"train": 2_088_628, **_TEST}, "wikitext-103": {"train": 103_227_021, **_TEST}}
"""Words of each split with each line's end as one more, as published (Merity et al. 2016)."""


def load_or_stop(experiment: Experiment) -> TokenizedCorpus:
    """The experiment's data. Where it is not to be had, says what would help and ends the notebook without an error."""
    try:
        return load_data(experiment)
    except CorpusUnavailable as missing:
        print(missing)
    print('Or set corpus = "embedded" in the parameters cell: the same steps, on text that comes with Python.')
    raise SystemExit(0)


def about(data: TokenizedCorpus) -> str:
    """Whether a text is whole, and what is particular about it."""
    if data.corpus.name == "embedded":
        return "not a data set of the paper, but the reference of the Python language"
    note = f": {data.corpus.note}" if data.corpus.note else ""
    return ("a sample" if data.corpus.is_sample else "complete") + note


def counted(data: TokenizedCorpus, **columns: Mapping[str, str]) -> str:
    """The counts of each split, beside those published, if we know them. columns: more, heading -> split -> cell.

    Raises AssertionError where a split that is complete has another number of words than was published.
    """
    published = WORDS.get(data.corpus.name, {})
    for split, words in published.items():
        if split != "train" or not data.corpus.is_sample:
            assert data.corpus.splits[split].words == words, f"{split}: {data.corpus.splits[split].words} words"
    rows = data_table(data)
    for row in rows:
        split = row["split"]
        row |= {"words, published": f"{published[split]:,}"} if published else {}
        row |= {heading.replace("_", " "): cells.get(split, "") for heading, cells in columns.items()}
    return f"{markdown_table(rows)}\n\nThe text is here **{about(data)}**."


def steps_of(experiment: Experiment) -> int:
    """Optimiser steps of a run: K turns over L - 1 layers, k each."""
    return experiment.episodes * (experiment.n_layer - 1) * experiment.steps_per_action


def tokens_of(experiment: Experiment) -> int:
    """Tokens that a run trains on."""
    return steps_of(experiment) * experiment.batch_size * experiment.block_size


def setting(experiment: Experiment, data: TokenizedCorpus) -> str:
    """How large the runs are, and beside them the paper's."""
    e, limit = experiment, experiment.evaluation_tokens
    return (
        f"Preset `{e.preset_name}`: L = {e.n_layer}, width {e.n_embd}, K = {e.episodes} turns, k = "
        f"{e.steps_per_action}: **{steps_of(e):,} steps** of {e.batch_size} x {e.block_size} tokens, "
        f"{tokens_of(e) / len(data.tokens['train']):.2g} passes over the training text. Evaluated on "
        f"{f'the first {limit:,} tokens' if limit else 'all tokens'} of validation and test. The paper's preset takes "
        f"{steps_of(Experiment.preset(e.name, 'paper')):,} steps."
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
    runs = [r for r in map(RunRecord.load, sorted(Path(folder).glob(f"{name}-laptop-*.json"))) if not changes(r)]
    of = {method: [r for r in runs if r.method == method and r.status == "finished"] for method in MAIN_METHODS}
    gate = gate_of(informative(runs), name)
    others = [other for other in MAIN_METHODS[1:] if of["dynamic"] and of[other]]
    if not others:
        return "No runs of this experiment are recorded."
    rows = [
        {"dynamic minus": other, "n": str(len(of[other])), "bits per byte": difference(of["dynamic"], of[other], gate)}
        for other in reversed(others)
    ]
    why = f" Why this experiment cannot tell: {gate.reason}." if gate.reason else ""
    return f"Recorded, preset `laptop`, paired by seed:\n\n{markdown_table(rows)}\n\nBelow zero dynamic is better.{why}"


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


def against(ours: RunRecord, theirs: RunRecord) -> str:
    """Test results of two runs with a seed in common, in words."""
    return (
        f"{ours.required(ours.test)['perplexity']:.1f} against {theirs.required(theirs.test)['perplexity']:.1f} "
        f"{ours.unit}, {ours.required(ours.test)['bits_per_byte']:.3f} against "
        f"{theirs.required(theirs.test)['bits_per_byte']:.3f} bits per byte"
    )


def closing(runs: Sequence[RunRecord], data: TokenizedCorpus, *more: str) -> str:
    """What was seen, a list item each: against the paper's claim first, against the random agent, what Q knew, `more`,
    and how far it goes."""
    dynamic, random, conventional = runs
    tests = [run.required(run.test)["perplexity"] for run in runs]
    parameters = dynamic.required(dynamic.parameters)
    largest_q, smallest, _ = q_scale(dynamic)
    lines = [
        f"The paper claims a modestly better perplexity than conventional training. In this run (preset "
        f"`{dynamic.experiment['preset']}`, seed {dynamic.seed}) dynamic tying is "
        f"**{'better' if tests[0] < tests[2] else 'not better'}**: {against(dynamic, conventional)}, with "
        f"{parameters['unique'] / parameters['conventional']:.0%} of the trainable parameters.",
        f"The random agent in its place: {against(dynamic, random)}.",
    ]
    if largest_q < smallest / 10:
        lines.append(
            f"No |Q| that the agent saw was above {largest_q:.2f}, and no |reward| below {smallest:.0f}: Q never came "
            "near the scale of its rewards, so the map says more about the seed than about the text."
        )
    lines += [line for line in more if line]
    lines.append(
        f"The text is {data.corpus.name}, **{about(data)}**. One seed decides nothing "
        "([03](03_algorithm_1.ipynb)); what the recorded seeds allow to say stands under the table. Preset `smoke`'s "
        "numbers mean nothing."
    )
    return "\n".join(f"- {line}" for line in lines)


def gaps(runs: Sequence[RunRecord]) -> str:
    """Training loss of the last turn, validation loss at the end, and how far they are apart, for each run."""
    rows = []
    for run in runs:
        turn = run.experiment["n_layer"] - 1
        fitted, unseen = fmean(run.curves["train"]["loss"][-turn:]), run.curves["validation"]["loss"][-1]
        rows.append(
            {
                "method": run.method,
                "training loss at the end": f"{fitted:.2f}",
                "validation loss at the end": f"{unseen:.2f}",
                "gap": f"{unseen - fitted:+.2f}",
                "test perplexity, best model": f"{run.required(run.test)['perplexity']:.1f}",
            }
        )
    return markdown_table(rows)


def last_words(runs: Sequence[RunRecord]) -> str:
    """How many last words were guessed, with the 95 % interval of the accuracy (exact binomial, over the passages, for
    one model), of runs on LAMBADA."""
    rows = []
    for run in runs:
        words = run.required(run.test)["last_word"]
        hits = round(words["accuracy"] * words["passages"])
        low, high = stats.binomtest(hits, words["passages"]).proportion_ci()
        rows.append(
            {
                "method": run.method,
                "guessed": f"{hits} of {words['passages']:,}",
                "accuracy": f"{words['accuracy']:.2%}",
                "95 % interval": f"{low:.2%} to {high:.2%}",
                "perplexity per last word": f"{words['perplexity']:,.0f}",
                "truncated": f"{words['truncated']:,}",
            }
        )
    return markdown_table(rows)


def step_times(runs: Sequence[RunRecord]) -> str:
    """Milliseconds a step of each run, training and control, against the last one's; and what the difference of the
    first two, which do nearly the same work, says about the rest."""
    each = [
        [1000 * run.timing[what] / run.budget["optimizer_steps"] for what in ("training", "control")] for run in runs
    ]
    apart = [sum(times) / sum(each[-1]) - 1 for times in each]
    rows = [
        {
            "method": run.method,
            "training, ms a step": f"{training:.1f}",
            "control, ms a step": f"{control:.2f}",
            f"against {runs[-1].method}": f"{more:+.0%}",
        }
        for run, (training, control), more in zip(runs, each, apart, strict=True)
    ]
    noise, control = abs(apart[0] - apart[1]), each[0][1] / each[0][0]
    return (
        f"{markdown_table(rows)}\n\n{runs[0].method} and {runs[1].method} differ by **{noise:.0%}**, and hardly by "
        "their work: a difference of that size says nothing here. What can be read off is the control, "
        f"{control:.1%} of the time of the training."
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
        f"Recorded runs on WikiText-103, LAMBADA and One Billion Words, in pairs of one seed: of {total} decisions "
        f"that neither made at random, {same / total:.0%} are the same. Had neither network learned anything, "
        f"{untaught / total:.0%} would be."
    )
