"""From records to rows and tables: the means by hand, the gaps said aloud."""

import csv
import dataclasses
import io

import pytest

from dlt_core.experiments import Experiment
from dlt_core.records.record import RunRecord
from dlt_core.studies import tables
from dlt_core.studies.claim import results_markdown
from dlt_core.studies.comparison import compare
from dlt_core.studies.released_code import ReleasedCode
from dlt_core.studies.tables import (
    NOT_RUN,
    UNKNOWN,
    results_csv,
    shown,
    summary,
    with_gaps,
)
from tests.studies.conftest import BPE, IMPLIED, made_up, table_cells, variant

T2 = 4.302652729911275  # Student's t of a 95 % interval with 2 degrees of freedom, from a table


def only(rows: list[dict], **identity) -> dict:
    (row,) = [row for row in rows if all(row[name] == value for name, value in identity.items())]
    return row


# --- rows ---


def test_means_and_half_widths_by_hand():
    three = [
        made_up(seed=s, bits=b, peak=p, accuracy=a, independent=n)
        for s, b, p, a, n in ((0, 1.0, 10, 0.25, 1), (2, 3.0, 30, 0.5, 3), (1, 2.0, 35, 0.75, 5))
    ]
    (row,) = summary(three)
    assert (row["experiment"], row["preset"], row["method"], row["changes"]) == (
        "gpt2-wikitext2",
        "laptop",
        "dynamic",
        "",
    )
    assert row["n"] == 3
    assert row["bits_per_byte"] == 2.0
    assert row["bits_per_byte_half_width"] == pytest.approx(T2 * 1 / 3**0.5)  # standard deviation 1
    assert row["perplexity"] == 100.0
    assert row["perplexity_half_width"] == pytest.approx(T2 * 50 / 3**0.5)
    assert row["parameters"] == 200
    assert row["of_conventional"] == pytest.approx(0.2)
    assert row["independent_layers"] == 3
    assert row["layers"] == 6
    assert row["steps"] == 30
    assert row["seconds"] == 20
    assert row["peak_bytes"] == 25
    assert row["last_word_accuracy"] == 0.5
    assert row["unit"] == BPE
    assert row["hardware"] == "x86_64 CPU, 1 of 2 cores"
    cells = shown(row)
    assert cells["test perplexity"] == f"100.0 ± 124.2 {BPE}; 50.0% of last words guessed"
    assert cells["bits per byte"] == "2.000 ± 2.484"
    assert cells["parameters"] == "0.00M (20%)"
    assert cells["independent layers"] == "3.0 of 6"
    (written,) = csv.DictReader(io.StringIO(results_csv([row])))
    assert float(written["bits_per_byte_half_width"]) == row["bits_per_byte_half_width"]
    assert written["n"] == "3"


def test_the_table_says_what_the_records_say(tiny_data):
    experiment = Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=2)
    runs = compare(experiment, ["dynamic", "random", "conventional"], data=tiny_data)
    rows = tables.comparison(runs)
    assert [row["method"] for row in rows] == ["dynamic", "random", "conventional"]
    assert rows[0]["perplexity"] == runs[0].test["perplexity"]
    assert rows[2]["of_conventional"] == 1
    table = tables.markdown_table(rows)
    assert f"| {runs[0].test['perplexity']:.1f} | per token of a 512-piece BPE |" in table
    unfinished = RunRecord(runs[0].experiment, "dynamic", 0, {}, status="stopped")
    assert tables.comparison([unfinished]) == []
    assert tables.comparison_table([unfinished]) == ""
    steps = runs[0].budget["optimizer_steps"]
    caption, _, short = tables.comparison_table(runs).partition("\n\n")
    assert caption == f"Seed 0; {steps} optimiser steps each; perplexity per token of a 512-piece BPE."
    columns = ["method", "test perplexity", "bits per byte", "parameters", "of conventional", "independent layers"]
    assert short.splitlines()[0] == " | ".join(["|", *columns, "best at step |"]).replace("| | ", "| ", 1)
    assert short.splitlines()[2].startswith(f"| dynamic | {runs[0].test['perplexity']:.1f} | ")
    other = dataclasses.replace(runs[1], seed=1)
    assert "| method | seed |" in tables.comparison_table([runs[0], other])


def test_one_seed_has_no_interval():
    rows = summary([made_up()])
    (written,) = csv.DictReader(io.StringIO(results_csv(rows)))
    assert (written["perplexity"], written["bits_per_byte"]) == ("100.0", "2.0")
    empty = ("perplexity_half_width", "bits_per_byte_half_width", "peak_bytes", "last_word_accuracy")
    assert [written[name] for name in empty] == [""] * 4
    ((*_, perplexity, bits, _, _, gate, peak, _, _, _),) = table_cells(results_markdown(rows))
    assert (perplexity, bits, gate, peak) == (f"100.0 {BPE}", "2.000", "cannot tell", "not measured")


def test_unfinished_runs_make_no_row():
    broken = RunRecord(made_up().experiment, "dynamic", 1, {"name": "wikitext-2"}, status="diverged")
    (row,) = summary([made_up(), broken])
    assert row["n"] == 1
    assert summary([broken]) == []


def test_changed_settings_stand_apart_and_are_named():
    runs = [
        made_up(bits=1.0),
        made_up(bits=3.0, reward="neg_loss"),
        made_up(bits=5.0, reward="neg_loss", seed=1),
        made_up(bits=9.0, steps_per_action=5, episodes=72),
        made_up("conventional"),
    ]
    rows = summary(runs)
    names = ["dynamic", "conventional", "dynamic, episodes=72, steps_per_action=5", "dynamic, reward=neg_loss"]
    assert [shown(row)["method"] for row in rows] == names  # the plain ones first
    assert [tables.row_name(run) for run in runs[1:4:2]] == [names[3], names[2]]
    assert only(rows, method="dynamic", changes="reward=neg_loss")["bits_per_byte"] == 4.0
    assert only(rows, method="dynamic", changes="reward=neg_loss")["n"] == 2
    assert [row["paper"] == UNKNOWN for row in rows] == [False, True, True, True]


def test_units_corpora_presets_and_experiments_never_share_a_row():
    rows = summary(
        [
            made_up(bits=1.0),
            made_up(bits=2.0, seed=1, unit="per token of GPT-2's BPE"),
            made_up(bits=3.0, seed=2, is_sample=True),
            made_up(bits=4.0, seed=3, preset="gpu"),
            made_up(bits=5.0, seed=4, name="gpt2-wikitext103"),
        ]
    )
    assert sorted(row["bits_per_byte"] for row in rows) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert {row["n"] for row in rows} == {1}


def test_a_sample_is_marked():
    rows = summary([made_up(is_sample=True), made_up(name="gpt2-lm1b")])
    assert [row["corpus"] for row in rows] == ["wikitext-2 (sample)", "lm1b"]
    assert shown(rows[0])["corpus"] == "wikitext-2 (sample)"


def test_rows_come_in_the_order_of_presets_experiments_and_methods():
    runs = [
        made_up(method, name=name, preset=preset)
        for preset in ("gpu", "laptop")
        for name in ("bert-wikitext2", "gpt2-wikitext2")
        for method in ("all_tied", "conventional", "random", "dynamic")
    ]
    rows = summary(runs[::-1])
    assert [(r["preset"], r["experiment"], r["method"]) for r in rows] == [
        (preset, name, method)
        for preset in ("laptop", "gpu")
        for name in ("gpt2-wikitext2", "bert-wikitext2")
        for method in ("dynamic", "random", "conventional", "all_tied")
    ]


def test_a_row_says_how_much_of_the_test_split_was_tested():
    runs = {
        "all": made_up("dynamic", name="gpt2-embedded"),
        "32,767": made_up("dynamic", name="gpt2-lm1b"),
        "at most 32,768": made_up("random", name="gpt2-lm1b"),
    }
    runs["32,767"].test["tokens"] = 32767
    in_full = made_up("conventional", name="gpt2-wikitext2")
    short = made_up("conventional", name="gpt2-lm1b")
    short.corpus["tokens"]["test"] = 32768  # no more than what would be tested
    for words, run in [*runs.items(), ("all", in_full), ("all", short)]:
        assert tables.tokens_tested(run) == words
        assert [shown(row)["tokens tested"] for row in summary([run])] == [words]
    table = tables.main_table(summary([runs["all"], runs["32,767"]]))
    assert [(row["experiment"], row["tokens tested"]) for row in table] == [
        ("gpt2-embedded", "all"),
        ("gpt2-lm1b", "32,767"),
    ]
    another = made_up("dynamic", 1, name="gpt2-lm1b")
    another.test["tokens"] = 8191
    assert [row["test_tokens"] for row in summary([runs["32,767"], another])] == ["32,767; 8,191"]
    assert "Only some experiments are tested on all of it" in results_markdown(summary([another]))


# --- the paper, and what was not run ---


def test_only_the_quoted_result_is_the_papers():
    rows = with_gaps(summary([made_up(), made_up("random"), made_up(name="gpt2-embedded"), made_up(name="ablations")]))
    for row in rows:
        quoted = (row["experiment"], row["method"]) == ("gpt2-wikitext2", "dynamic")
        assert (row["paper"] != UNKNOWN) == quoted, row
    text = only(rows, experiment="gpt2-wikitext2", method="dynamic", preset="laptop")["paper"]
    for fact in ("49.37 per GPT-2 BPE token", "264M parameters", "13.75 h", "Basis Sharing", "2410.03765, table 5"):
        assert fact in text
    markdown = table_cells(results_markdown(rows))
    assert len(markdown) == len(rows)
    assert {cells[-1] for cells in markdown} == {text, "not available to us"}


def test_experiments_of_the_paper_without_runs_are_said_to_be_not_run():
    rows = with_gaps(summary([made_up()]))
    gaps = [row for row in rows if row["n"] == 0]
    names = [f"{a}-{c}" for a in ("gpt2", "bert") for c in ("wikitext2", "wikitext103", "lambada", "lm1b")]
    expected = {(n, p, m) for n in names for p in ("laptop", "gpu", "paper") for m in ("dynamic", "conventional")}
    expected -= {("gpt2-wikitext2", "laptop", "dynamic")}
    assert len(gaps) == len(expected)
    assert {(row["experiment"], row["preset"], row["method"]) for row in gaps} == expected
    lines = [cells for cells in table_cells(results_markdown(gaps)) if cells[3] == "not run"]
    assert len(lines) == len(gaps)
    assert all(not any(cells[4:-1]) for cells in lines), "no numbers beside it"
    written = list(csv.DictReader(io.StringIO(results_csv(rows))))
    assert [row["hardware"] for row in written].count(NOT_RUN) == len(gaps)
    assert {row["perplexity"] for row in written if row["n"] == "0"} == {""}
    # with one run there is no gap any more; a changed setting does not fill one
    more = with_gaps(summary([made_up(), made_up("conventional"), made_up(name="gpt2-lm1b", gamma=0.5)]))
    assert not [
        row for row in more if row["n"] == 0 and row["experiment"] == "gpt2-wikitext2" and row["preset"] == "laptop"
    ]
    assert only(more, experiment="gpt2-lm1b", preset="laptop", method="dynamic", n=0)


# --- what training costs ---


def test_flops_of_a_run_follow_its_ties_where_tied_layers_are_constants(tiny_data):
    """By hand, step by step; with the gradient of all uses, ties save nothing."""
    for gradient in ("source", "shared"):
        experiment = Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=3, gradient=gradient)
        dynamic, shallow, conventional = compare(experiment, ["dynamic", "shallow", "conventional"], data=tiny_data)
        shape = (experiment.n_embd, experiment.block_size, tiny_data.vocab_size, experiment.batch_size)

        def step(layers, constant, shape=shape):
            d, T, V, B = shape
            return B * T * (3 * (layers * (24 * d * d + 4 * T * d) + 2 * d * V) - constant * 24 * d * d)

        tied = [4 - n if gradient == "source" else 0 for n in dynamic.history["num_independent"]]
        assert tables.training_flops(dynamic) == sum(experiment.steps_per_action * step(4, n) for n in tied)
        steps = conventional.budget["optimizer_steps"]
        assert tables.training_flops(conventional) == steps * step(4, 0)
        assert tables.training_flops(shallow) == steps * step(2, 0)
    dynamic.budget["optimizer_steps"] += 1
    with pytest.raises(ValueError, match="do not share its steps evenly"):
        tables.training_flops(dynamic)


# --- the paper as described against the code as released ---


def test_what_a_variants_name_implies_is_not_said_again():
    record = variant(ReleasedCode.all(), 0, 2.0)
    assert record.experiment["overrides"].keys() == set(IMPLIED)
    assert tables.changes(record) == ""
    alone = variant(ReleasedCode(frozen_start=True), 0, 2.0)
    alone.experiment["overrides"] = {"reward": "neg_loss", "episodes": 2}  # not what its name says
    assert tables.changes(alone) == "episodes=2, reward=neg_loss"
    record.experiment["overrides"]["reward"] = "neg_loss"
    assert tables.changes(record) == "reward=neg_loss"
    record.experiment["overrides"]["reward"] = "neg_perplexity_clipped"
    assert tables.changes(made_up(reward="neg_loss")) == "reward=neg_loss"
    record.experiment["overrides"]["gamma"] = 0.5
    assert tables.row_name(record) == "released, gamma=0.5"


def test_a_name_cannot_break_a_table():
    row = {"a|b": "one|two\nthree <script> `x < y | z` <b>", "n": 3}
    assert tables.markdown_table([row]).splitlines() == [
        r"| a\|b | n |", "| --- | --- |", r"| one\|two three &lt;script> `x < y \| z` &lt;b> | 3 |"
    ]  # fmt: skip
