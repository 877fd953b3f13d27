"""Where sharing would help: curves against conventional training, best with best and last with last, and depth."""

import dataclasses
import math
import re
from statistics import fmean

import pytest

from dlt_core import corpora
from dlt_core.records.record import load_all
from dlt_core.records.statistics import range_in_words, verdict
from dlt_core.studies import findings, regimes
from dlt_core.studies.claim import of_pair, over_rows, primary
from dlt_core.studies.findings import against
from dlt_core.studies.gate import LOOK
from dlt_core.studies.regimes import at, depth_rows, end, head_start, regime
from dlt_core.studies.tables import grouped
from tests.studies.conftest import made_up, table_cells


def curved(method, seed, bits, *, selected=12, steps=12, train=(3.0, 2.0), train_bytes=None, **changes):
    """A run with a validation curve, of which it takes nats per token to be twice the bits."""
    run = made_up(method, seed, min(bits), name="regime", train_bytes=train_bytes, **changes)
    validation = {"step": [4, 8, 12], "bits_per_byte": bits, "loss": [2 * x for x in bits]}
    curves = {"validation": validation, "train": {"step": [6, 12], "loss": list(train)}}
    text = {"bytes": {"train": train_bytes or 8000}, "tokens": {"train": 100}}
    return dataclasses.replace(
        run, curves=curves, test=run.test | {"selected_step": selected}, corpus=run.corpus | text,
        budget={"optimizer_steps": steps, "tokens": 300},
    )  # fmt: skip


def test_the_regime_is_of_the_best_model_until_then_or_of_the_last():
    rows = {
        "dynamic": [
            curved("dynamic", 0, [3.0, 1.0, 2.0]),
            curved("dynamic", 7, [0.0, 0.0, 0.0]),
            curved("dynamic", 1, [5.0, 6.0, 4.0]),
        ],
        "conventional": [
            curved("conventional", 1, [4.0, 3.0, 3.5]),
            curved("conventional", 0, [2.0, 2.5, 1.0]),
        ],
    }
    steps, best = regime(rows, "dynamic", "conventional")
    assert steps == [4, 8, 12]
    assert best == [[1.0, -1.0, 0.0], [1.0, 2.0, 1.0]]  # of seeds 0 and 1; 7 has no partner
    assert regime(rows, "dynamic", "conventional", last=True) == (steps, [[1.0, -1.5, 1.0], [1.0, 3.0, 0.5]])
    assert regime(rows, "dynamic", "dynamic")[1] == [[0.0] * 3] * 3
    assert at(rows, "dynamic", 0.1) == [1.0, 1.0]
    assert at(rows, "dynamic", 1, last=True) == [1.0, 0.5]
    # in log perplexity, which is twice the bits here: e² - 1 and e - 1
    assert end({n: r[:1] for n, r in rows.items()}, "dynamic", "dynamic").startswith("+0.000 (exactly equal, n = 1;")
    single = {"dynamic": rows["dynamic"][:1], "conventional": rows["conventional"][1:]}
    percent = 100 * math.expm1(2 * 1.0)
    assert end(single, "dynamic", "conventional", last=True) == f"+1.000 (one seed, n = 1; perplexity {percent:+.1f} %)"


def test_the_panels_of_the_regime_are_by_dropout_and_amount_of_text():
    def run(method, dropout, train_bytes):
        bits = [3.0, 2.0, 2.5] if method == "random" else [2.5, 1.5, 2.0]
        return curved(method, 0, bits, dropout=dropout, train_bytes=train_bytes)

    records = [run(m, d, b) for m in ("random", "conventional") for d, b in ((0.0, None), (0.0, 4000), (0.2, 4000))]
    panels = regimes.regime_panels(grouped([*records, run("random", 0.2, None)], findings.label), "random")
    assert {title: list(lines) for title, lines in panels.items()} == {
        "dropout 0": ["8 kB of text (cannot tell)", "4 kB of text (cannot tell)"],
        "dropout 0.2": ["4 kB of text (cannot tell)"],  # the other has no twin
    }
    assert panels["dropout 0"]["8 kB of text (cannot tell)"][1] == [[0.5, 0.5, 0.5]]
    others = [curved(m, 0, [9.0, 8.0, 7.0], train_bytes=4000, learning_rate=1e-4) for m in ("random", "conventional")]
    assert regimes.regime_panels(grouped([*records, *others], findings.label), "random") == panels
    small = {k: v for k, v in regimes.SMALL_STEPS.items() if k != "train_bytes"}
    assert not small.keys() <= regimes.REGIME, "another row of no panel"


@pytest.mark.parametrize(
    ("early", "late", "improving", "expected"),
    [
        ("worse", "worse", False, "no: **behind** from the start"),
        ("worse", "not told apart", True, "no: behind at first"),
        ("better", "better", True, "not decided: conventional training still improves"),
        ("better", "better", False, "no: ahead at both"),
        ("better", "borderline", False, "a lead at first, not shown at the end"),
        ("not told apart", "better", True, "no: ahead only later"),
        ("borderline", "worse", False, "behind at the end; a lead at first is **open**"),
        ("not told apart", "borderline", True, "**open**: no lead shown at first, none excluded"),
        ("one seed", "one seed", False, "one seed cannot tell"),
    ],
)
def test_what_is_behind_from_the_start_had_no_head_start(early, late, improving, expected):
    assert head_start(early, late, improving=improving) == expected


def test_tables_compare_the_best_with_the_best_and_the_last_with_the_last():
    rows = {
        "conventional": [curved("conventional", s, [3.0, 2.0, 2.2 + s / 10], selected=8) for s in (0, 1, 2)],
        "dynamic": [curved("dynamic", s, [3.5 + s / 100, 2.5 + s / 100, 2.6 + s / 100]) for s in (0, 1, 2)],
    }
    assert "at the very end in 0 of 3 seeds" in regimes.head_start_table(rows)
    (row,) = table_cells(regimes.head_start_table(rows))[1:]
    assert row[0] == "`dynamic`"
    assert [cell.split(" (")[0] for cell in row[1:4]] == ["+0.510 ± 0.025", "+0.510 ± 0.025", "+0.310 ± 0.224"]
    assert row[4] == "no: **behind** from the start"
    assert "*Best*: each by its best model so far." in regimes.head_start_table(rows)
    assert table_cells(regimes.overfitting_table({"all": rows}))[1] == [
        "all", "12", "3.0", "2.00", "4.00", "8", "0.60 ± 0.50"
    ]  # fmt: skip
    for selected, words in (((4, 4), "4, the first evaluation"), ((4, 12), "4 to 12"), ((12, 12), "12")):
        runs = [curved("conventional", s, [3.0, 2.0, 2.2], selected=step) for s, step in enumerate(selected)]
        assert table_cells(regimes.overfitting_table({"all": {"conventional": runs}}))[1][5] == words
    found = regimes.where_table({"all": rows})
    assert table_cells(found)[1][4] == "worse, worse"  # p is about 0.0001 and 0.03
    assert "Of 2 comparisons with 3 seeds each" in found
    assert "shown better in 0, shown worse in 2, open in 0" in found
    assert table_cells(regimes.where_table({"all": rows, "less": rows}))[1][4] == "worse, open"  # 0.03 twice over


@pytest.fixture
def depth(tmp_path):
    """A folder of records in which depth pays; seed 2 has only some of the methods, and shallow-3 lacks seed 3."""
    for more, method in enumerate(regimes.DEPTH):
        for seed in (0, 1, 2, 3):
            if (seed == 2 and method != "conventional") or (seed == 3 and method == "shallow-3"):
                continue
            run = made_up(method, seed, 2.0 + seed / 100 + more / 10 * (1 + seed / 100), name="depth")
            run.corpus["tokens"] = {"train": 40}
            run.curves["validation"] = {name: [2.0] * 10 for name in run.curves["validation"]} | {
                "step": list(range(10))
            }
            if method.startswith("shallow"):
                run.tie_map = list(range(int(method[-1])))
            run.save(tmp_path)
    return tmp_path


def test_depth_is_of_the_seeds_that_all_needed_methods_have(depth, monkeypatch):
    assert depth_rows("gpu", range(5), recorded=depth) == {}
    monkeypatch.setattr(findings, "COMMITTED", depth)
    rows = depth_rows("laptop", range(5))
    there = [name for name in regimes.DEPTH if name != "shallow-3"]
    assert {name: [r.seed for r in runs] for name, runs in rows.items()} == {name: [0, 1, 3] for name in there}
    ax = regimes.depth_figure(rows).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()][:2] == ["conventional (2.013)", "shallow-2 (2.115)"]
    assert ax.get_title() == "depth"
    assert "n = 3" in ax.get_xlabel()


def test_where_depth_is_not_recorded_it_is_trained(monkeypatch):
    asked = []

    def trained(*given, **how):
        asked.append((given, how))
        return {"conventional, dropout=0.2": [made_up("conventional", 4, name="depth")]}

    monkeypatch.setattr(findings, "collect", trained)
    assert list(depth_rows("smoke", [4], dropout=0.2)) == ["conventional"]
    assert asked.pop() == (
        ("depth", "smoke", regimes.DEPTH, [4]),
        {"out_dir": None, "recorded": False, "dropout": 0.2},
    )
    depth_rows("laptop", [4], recorded=False)
    assert asked.pop()[0][1] == "laptop"

    def nothing(*_, **__):
        raise corpora.CorpusUnavailable("no text")

    monkeypatch.setattr(findings, "collect", nothing)
    assert depth_rows("smoke", [4]) == {}


def test_the_same_on_a_small_text_read_many_times_is_another_study(depth):
    assert depth_rows("laptop", [], recorded=depth, **regimes.MANY_PASSES) == {}
    for more, method in enumerate(regimes.NEEDED):
        for seed in (0, 1):
            run = made_up(method, seed, 3.0 - more / 10 - seed / 100 * more, name="depth", **regimes.MANY_PASSES)
            run.corpus["tokens"] = {"train": 12}
            run.tie_map = [0, 1] if method == "shallow-2" else run.tie_map
            run.curves["validation"] = {"step": [1], "loss": [2.0]}
            run.save(depth)
    rows = depth_rows("laptop", [], recorded=depth, **regimes.MANY_PASSES)
    assert set(rows) == set(regimes.NEEDED)
    assert all([r.seed for r in runs] == [0, 1] for runs in rows.values())
    assert regimes.depth_figure(rows).axes[0].get_title() == "262 kB of text, read 25 times (cannot tell)"
    gate = findings.gate_of_rows(rows)
    assert regimes.depth_sentence(rows) == f"With the text read 25 times, it cannot tell: {gate.reason}."
    assert ", it cannot tell: " in regimes.depth_markdown(rows)
    assert "train_bytes" not in regimes.methods_markdown(rows) + regimes.depth_markdown(rows)
    assert regimes.ends_markdown(rows) == regimes.quote(rows) == ""
    methods = regimes.methods_markdown(rows)
    assert "| 262 kB of text, read 25 times (n = 2) |" in methods
    assert [line[1].endswith("cannot tell") for line in table_cells(methods)[3:]] == [False, True, False, True]
    can_tell = depth_rows("laptop", [], recorded=depth)
    assert findings.gate_of_rows(can_tell).can_tell
    assert regimes.quote(rows, can_tell, {}) == regimes.quote(can_tell)
    other = regimes.depth_of(load_all(depth), study="regime", **regimes.MANY_PASSES)
    assert other == {}, "of another study"


def test_how_a_distance_grew_is_paired_by_seed():
    def study(shared, seeds=(0, 1, 2)):
        return {
            "conventional": [made_up("conventional", seed, 2.0 + seed / 10) for seed in seeds],
            "sandwich-2": [made_up("sandwich-2", seed, shared + seed / 10 + seed / 100) for seed in seeds],
        }

    assert regimes.grown(study(2.3, (1, 2, 3)), study(2.1)).endswith(
        "grew with the steps (which was not named in advance), in bits per byte, paired by seed: `sandwich-2` +0.200 ± "
        "0.000 (n = 2)."
    )
    assert " grew from one text to the other, in bits " in regimes.grown(
        study(2.3, (2, 1)), study(2.1), "from one text to the other"
    )
    assert regimes.grown(study(2.3, (2, 3)), study(2.1)) == ""
    assert regimes.growth(study(2.3, (2, 3)), study(2.1), "sandwich-2") == pytest.approx([0.2])


def test_depth_in_words(depth):
    rows = depth_rows("laptop", [], recorded=depth)
    text = regimes.depth_markdown(rows)
    short, beside, fell, setting = text.split("\n\n")
    assert short == f"**In short.** {regimes.depth_sentence(rows)}"
    assert (
        "In 3 of 3 conventional runs the last model was the best; a patience of 5 evaluations would have ended 3. "
        in fell
    )
    assert fell.endswith("best validation loss so far fell by 0.000 ± 0.000 nats per token.")
    run = rows["conventional"][0]
    steps, k = run.budget["optimizer_steps"], run.experiment["steps_per_action"]
    assert f" {steps:,} steps of {run.experiment['batch_size']} x " in setting
    assert f"an agent decides {steps // k:,} times, every {k} steps." in setting
    falling = curved("conventional", 0, [3.0, 2.5, 2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.6, 1.25])
    falling.curves["validation"]["step"] = list(range(10))
    assert regimes.last_tenth([falling]) == pytest.approx([2 * 0.25])
    assert beside.startswith("**Beside as many weights.** `sandwich-2` minus `shallow-2`, by its own interval, ")
    assert beside.endswith(f"nothing corrects: {findings.difference(rows, 'sandwich-2', 'shallow-2')}.")
    for runs in rows.values():
        for run in runs:
            run.seed += 105 if run.seed else 0
    _, again, *_ = regimes.depth_markdown(rows).split("\n\n")
    assert re.search(r"\. The seeds that were run after a first look, alone: \+0\.\d+ ± \S+ \(n = 2\)\.$", again)
    rows["sandwich-2"][-1].test["bits_per_byte"] += 0.1
    assert regimes.depth_markdown(rows).split("\n\n")[1].endswith("(n = 2). So it is not shown again.")
    assert "not recorded" in regimes.depth_markdown({})


PAIRS = (regimes.SHARING, regimes.AGENT)


def test_the_methods_of_all_studies_stand_side_by_side(depth):
    rows = depth_rows("laptop", [], recorded=depth)
    few = {method: runs[:1] for method, runs in rows.items() if method != "dynamic"}
    text = regimes.methods_markdown(few, rows, {}, among=regimes.family(rows))
    assert "|  | depth (n = 1) | depth (n = 3) |" in text
    read, best, *table, gate = table_cells(text)[1:]
    assert read[2] == f"{rows['random'][0].passes:.3g} times"
    assert best[1:] == ["1 of 1", "3 of 3"]
    assert gate == ["by the gate", "cannot tell", "can tell"]
    assert [line[0] for line in table] == ["`shallow-2`", "`sandwich-2`", "`random`", "`dynamic`"]
    others = {name: findings.against(rows, name, "conventional") for name in ("shallow-2", "random", "dynamic")}
    words = findings.corrected(others)
    assert all(line[2].endswith(f": {words[line[0].strip('`')]}") for line in table if "sandwich" not in line[0])
    conclusion = regimes.contrast(rows, regimes.SHARING, regimes.family(rows)).conclusion
    assert table[1][2].endswith(f": {conclusion.partition(':')[0]}")
    assert table[3][1] == "not run"
    assert regimes.methods_markdown({}) == ""


def told(sharing, agent, **settings):
    """A study that can tell, with these differences in log perplexity, percent in both contrasts."""
    rows = {m: [] for m in (*regimes.NEEDED, "dynamic")}
    for seed, (one, other) in enumerate(zip(sharing, agent, strict=True)):
        level = {"conventional": 0.0, "shallow-2": 50.0, "random": 60.0, "sandwich-2": one, "dynamic": 60.0 + other}
        for method, percent in level.items():
            bits = 2.0 + percent / 100 + seed / 1e4 * (method != "conventional")
            run = made_up(method, seed, bits, name="depth", **settings)
            run.test["perplexity"] = 50 * math.exp(math.log1p(percent / 100))
            run.corpus["tokens"] = {"train": 12 if settings else 150}
            run.tie_map = [0, 1] if method == "shallow-2" else run.tie_map
            run.curves["validation"] = {"step": [1, 2], "bits_per_byte": [2 + percent / 100, 3.0], "loss": [3.0, 4.0]}
            rows[method].append(run)
    return rows


@pytest.mark.parametrize(
    ("sharing", "words"),
    [
        ((5.0, 5.1, 4.9, 5.0), "costs 4.9 to 5.1 % of perplexity against no ties"),
        ((-5.0, -5.1, -4.9, -5.0), "saves 4.9 to 5.1 % of perplexity against no ties"),
        ((1.0, 1.1, 0.9, 1.0), "costs 0.9 to 1.1 % of perplexity against no ties, though equality within 3 % is shown"),
        ((5.0, -4.0, 4.0, -5.0), "is not told apart from no ties: its perplexity is between 8.1 % lower and 8.6 % "
                                 "higher, and equality within 3 % is not shown either"),
        ((0.2, -0.2, 0.1, -0.1), "is equal to no ties within 3 %: its perplexity is between 0.3 % lower and 0.3 % "
                                 "higher"),
        ((4.0, 6.0, 1.5, 9.0), "is not told apart from no ties after correction: its perplexity is 0.2 to 10.3 % "
                               "higher, and equality within 3 % is not shown either"),
    ],
)  # fmt: skip
def test_a_contrast_has_one_verdict_in_words(sharing, words):
    rows = told(sharing, (0.1, -0.1, 0.1, -0.1))
    assert findings.gate_of_rows(rows).can_tell
    sentence = regimes.depth_sentence(rows)
    assert sentence.startswith(
        f"With the text read 2 times, tying by `sandwich-2` {words}; the agent is equal to chance within 3 %: its "
    )
    assert regimes.depth_sentence({}) == "Not run."
    no_agent = {method: runs for method, runs in rows.items() if method != "dynamic"}
    assert regimes.complete(no_agent) == no_agent, "what sharing is worth can be said without it"
    assert regimes.depth_sentence(no_agent).endswith("; the agent was not run.")
    assert sentence in regimes.depth_markdown(rows)


def test_contrasts_are_corrected_over_a_family_and_named_for_a_reader():
    weak = told((1.5, 9.0, 4.0, 6.0), (0.5, -0.5, 0.4, -0.4))
    often = told((5.0, 5.1, 4.9, 5.0), (0.1, 0.2, 0.1, 0.0), **regimes.MANY_PASSES)
    family = regimes.family(weak, {}, others=[*often["random"], *weak["random"]])
    assert family == [*(r for runs in weak.values() for r in runs), *often["random"]], "no row twice"
    alone, together = (
        regimes.contrast(weak, regimes.SHARING, of) for of in (regimes.family(weak), regimes.family(weak, often))
    )
    assert alone.p_differ < together.p_differ
    assert regimes.contrast(weak, regimes.SHARING, often["random"]) is None
    table = table_cells(regimes.contrasts_markdown(weak, often, {}))
    assert [row[:2] for row in table] == [
        ["depth", "sharing: sandwich-2 minus conventional"],
        ["depth", "agent: dynamic minus random"],
        ["262 kB of text, read 25 times", "sharing: sandwich-2 minus conventional"],
        ["262 kB of text, read 25 times", "agent: dynamic minus random"],
    ]
    assert table_cells(regimes.contrasts_markdown(weak, among=regimes.family(weak, often)))[0] == table[0]
    assert regimes.contrasts_markdown({}) == regimes.ends_markdown({}) == regimes.quote({}) == ""
    pooled = over_rows([regimes.contrast(of, regimes.SHARING, regimes.family(weak, often)) for of in (weak, often)])
    text = regimes.quote(weak, often)
    assert text.startswith(
        "In models of 6 layers and width 64, where all layers with weights of their own are better than fewer layers, "
        f"tying by `sandwich-2` costs {range_in_words(list(pooled.nats.values())).removesuffix(' higher')} of "
        "perplexity against no ties; the agent is told apart from chance in 0 of 2 settings, and shown to be equal to "
        "it within 3 % in 2; on average over them its perplexity is between "
    )
    assert "means over 2 settings that pass the gate, by tests that nothing corrects" in text
    assert "after Holm's correction, sharing is open in 1 and worse in 1.)" in text
    assert "means over" not in regimes.quote(weak), "one row is no test of several"
    assert "; the agent is equal to chance within 3 %: its perplexity is between " in regimes.quote(weak)
    no_agent = {method: runs for method, runs in often.items() if method != "dynamic"}
    assert "means over 2 settings, for the agent 1, that pass" in regimes.quote(weak, no_agent)
    assert "after a look" not in text
    for runs in often.values():
        runs[0].seed = 102
    assert regimes.quote(weak, often).endswith(" In 1 of 2 settings some seeds were run after a look.")
    assert regimes.quote({m: runs for m, runs in often.items() if m != "dynamic"}) == "", "the agent was not run"


def test_the_best_models_stand_beside_the_last_ones():
    rows = told((5.0, 5.1, 4.9, 5.0), (1.0, 1.0, 1.0, 1.0))
    for run in rows["sandwich-2"]:
        run.curves["validation"]["bits_per_byte"][1] += 1
    sharing, agent = table_cells(regimes.ends_markdown(rows, {}))[0:2]
    assert sharing[:2] == ["depth", "`sandwich-2` minus `conventional`"]
    assert [cell.split(" ")[0] for cell in sharing[2:]] == ["+0.050", "+1.000"]
    assert [cell.split(" ")[0] for cell in agent[2:]] == ["+0.010", "+0.000"]
    assert not any(word in " ".join(sharing) for word in ("worse", "better")), "the verdict is the test's"
    del rows["dynamic"]
    assert table_cells(regimes.ends_markdown(rows)) == [sharing]


def test_small_steps_say_when_validation_was_best():
    def run(method, seed, bits, selected):
        made = curved(method, seed, bits, selected=selected, **regimes.SMALL_STEPS)
        made.tie_map = [0, 1] if method == "shallow-2" else made.tie_map
        made.corpus["bytes"]["train"] = 18425
        return made

    rows = {
        "conventional": [run("conventional", 0, [3.0, 2.0, 2.5], 8), run("conventional", 1, [3.0, 2.5, 2.2], 12)],
        "shallow-2": [run("shallow-2", 0, [3.0, 2.5, 2.5], 8), run("shallow-2", 1, [2.0, 2.5, 2.7], 4)],
        "random": [run("random", s, [2.0, 2.5, 2.7], 4) for s in (0, 1)],
    }
    text = regimes.small_steps_markdown(rows)
    full, shallow, random = table_cells(text)[1:]
    assert full == ["`conventional`", "8 to 12", "2.0 to 3.0 times", "", ""]
    assert shallow[1:3] == ["4 to 8", "1.0 to 2.0 times"]
    assert [cell.split(" ")[0] for cell in shallow[3:]] == ["+0.150", "+0.250"]
    assert random[1:3] == ["4, the first evaluation", "1.0 times"]
    assert "Learning rate 0.0001, dropout 0, 12 steps, an evaluation every 4." in text
    assert "In 1 of 2 conventional runs the best validation came after the first evaluation and before the last" in text
    assert text.endswith(
        f"By the gate, which asks the test text, these runs cannot tell: {findings.gate_of_rows(rows).reason}."
    )
    assert regimes.small_steps_markdown({}).endswith("not run.")
    records = [r for runs in rows.values() for r in runs]
    assert regimes.depth_of(records, study="regime", **regimes.SMALL_STEPS) == {}, "not all that is needed"
    records += [run(m, s, [3.0, 2.0, 2.5], 8) for m in ("sandwich-2", "dynamic") for s in (0, 1)]
    found = regimes.depth_of(records, study="regime", **regimes.SMALL_STEPS)
    assert list(found) == [name for name in regimes.DEPTH if name != "shallow-3"]
    assert regimes.study_name(found) == "regime, 18 kB of text, read 3 times"


def test_core_hours_are_of_all_threads():
    runs = [made_up(), made_up("random")]
    for run, seconds, threads in zip(runs, (3600, 1800), (1, 4), strict=True):
        run.seconds, run.hardware["threads"] = seconds, threads
    assert regimes.core_hours(runs) == pytest.approx(1 + 2)


def test_what_early_stopping_would_have_done():
    def run(bits, seed, name="regime"):
        made = curved("conventional", seed, bits, steps=len(bits))
        made.experiment["name"] = name
        made.curves["validation"]["step"] = list(range(1, 1 + len(bits)))
        return made

    turned = [2.0, 1.0, *[3.0] * regimes.PATIENCE]
    runs = [run([*turned, 3.0], 0), run([*turned, 0.5], 1), run([*turned, 3.0], 2, "ablations"), run(turned, 3)]
    look = run([*turned, 3.0], LOOK, "depth")
    assert regimes.patience_markdown([*runs, look]).endswith(
        "Looks aside, a patience of 5 evaluations would have ended 3 of 4 runs before their last evaluation (2 of "
        "`regime`, 1 of `ablations`). In 2 it would have chosen the model that we test, in 1 an earlier one that is "
        "worse on validation."
    )
    assert regimes.patience_markdown(runs[3:]).endswith("would have ended 0 of 1 runs before their last evaluation.")
    assert regimes.patience_markdown([look]) == ""


def test_looks_for_a_setting_are_of_one_seed_and_go_by_size():
    def look(method, size, bits, seed=LOOK):
        run = made_up(method, seed, bits, name="depth")
        run.corpus |= {"bytes": {"train": size}, "tokens": {"train": size // 10}}
        return run

    runs = [look("conventional", 9000, 2.0), look("shallow-2", 9000, 1.9), look("conventional", 70, 4.0)]
    runs += [look("shallow-2", 800, 3.25), look("conventional", 800, 3.0), look("conventional", 800, 1.0, seed=0)]
    runs[0].test["selected_step"] = 15
    assert table_cells(regimes.looks_markdown(runs))[1:] == [
        ["1 kB", "0", "30", "3.8 times", "30", "3.000", "3.250", "-0.250"],
        ["9 kB", "0", "30", "0.3 times", "15", "2.000", "1.900", "+0.100"],
    ]
    assert regimes.looks_markdown(runs[:1]) == ""


def test_the_last_map_and_the_tested_one():
    def run(method, seed, tested, last):
        return dataclasses.replace(curved(method, seed, [2.0, 1.0, 1.5]), tie_map=tested, final_tie_map=last)

    a, b = [0, 0, 0], [0, 1, 1]
    rows = {
        "dynamic": [run("dynamic", 0, a, a), run("dynamic", 1, b, a)],
        "retrained": [run("retrained", 0, a, a), run("retrained", 1, a, a)],
        "random_map": [run("random_map", 0, a, a), run("random_map", 1, b, b)],
    }
    text = regimes.same_map(rows)
    assert text.startswith("In 1 of 2 dynamic runs the tested model, the best on validation, has the last map.")
    assert "validation: +0.000 ± 0.000 (exactly equal, n = 2; perplexity equal)." in text
    assert "In 2 of 2 seeds the agent left all layers tied, or none." in text
    some = {name: [run(name, 0, b, b)] for name in rows}
    assert "of 1 seeds" not in regimes.same_map(some)
    kept = findings.with_choice(rows)["random_map"]
    assert [run.final_tie_map for run in kept] == [b], "of one weight set there is one map"
    assert "random_map" not in findings.with_choice(rows | {"random_map": rows["random_map"][:1]})
    assert findings.with_choice({}) == {}


def test_what_notebook_13_says_of_ties_that_stop_holds_of_the_recorded_runs():
    committed = load_all(findings.COMMITTED)
    for study in ("agents-embedded", "depth"):
        of = findings.rows_of(committed, study)
        stopped = {name: of[f"{name}, freeze_after=0.5"] for name in ("random", "dynamic")}
        assert verdict(against(of, "random, freeze_after=0.5", "random")) == "better"
        assert verdict(against(of, "dynamic, freeze_after=0.5", "dynamic")) == "not told apart"
        assert verdict(against(stopped, "dynamic", "random")) == ("worse" if study == "depth" else "not told apart")


def test_what_notebook_13_says_where_more_layers_pay_holds_of_the_recorded_runs():
    committed = [r for r in load_all(findings.COMMITTED) if r.experiment["preset"] == "laptop"]
    settings = ({}, *regimes.PARTS_OF_THE_TEXT)
    studies = depth, seldom, often, ended, longest = [regimes.depth_of(committed, **changed) for changed in settings]
    family = regimes.family(*studies, others=committed)
    fields = ("n_layer", "n_embd", "learning_rate")
    assert {tuple(r.experiment[field] for field in fields) for r in depth["conventional"]} == {(6, 64, 2e-3)}
    for of in studies:
        assert regimes.contrast(of, regimes.SHARING, family).conclusion == "worse"
        assert regimes.contrast(of, regimes.AGENT, family).p_differ > 0.05
        assert verdict(against(of, "sandwich-2", "shallow-2")) != "better"
    for of in (seldom, often):
        assert verdict(against(of, "sandwich-2", "shallow-2")) == "not told apart"
    for of, before in ((seldom, depth), (often, seldom), (longest, ended)):
        assert verdict(regimes.growth(of, before, "sandwich-2")) == "not told apart"
    sharing = [fmean(against(of, *regimes.SHARING)) for of in (depth, seldom, often)]
    assert sharing[1] == max(sharing)
    assert verdict(regimes.growth(often, seldom, "dynamic")) == "better"
    assert fmean(regimes.last_tenth(ended["conventional"])) < fmean(regimes.last_tenth(often["conventional"])) / 2
    for pair in (regimes.SHARING, ("shallow-2", "conventional")):
        assert fmean(against(ended, *pair)) > fmean(against(often, *pair))
    assert all(r.stopped_by(regimes.PATIENCE) for r in longest["conventional"])


def test_what_notebook_13_says_of_two_seeds_that_began_badly_holds_of_the_recorded_runs():
    committed = [r for r in load_all(findings.COMMITTED) if r.experiment["preset"] == "laptop"]
    seldom = regimes.depth_of(committed, **regimes.FEW_PASSES)
    for name in regimes.AGENT:
        start = {r.seed: r.curves["validation"]["bits_per_byte"][0] for r in seldom[name]}
        assert set(sorted(start, key=start.get)[-2:]) == {102, 103}
    agent, chance = ({r.seed: r.test["bits_per_byte"] for r in seldom[name]} for name in regimes.AGENT)
    assert min(chance[102], chance[103]) > max(*agent.values(), chance[100], chance[101], chance[104])
    bad = next(r for r in seldom["random"] if r.seed == 103)
    averages = [
        over_rows(of_pair(primary(runs), *regimes.AGENT), any_row=True).conclusion
        for runs in (committed, [r for r in committed if r is not bad])
    ]
    assert [words.startswith("equal") for words in averages] == [False, True]
