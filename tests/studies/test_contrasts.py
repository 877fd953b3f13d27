"""The studies of many short runs: paired with the right run, by hand, and in their tables."""

import dataclasses

import pytest

from dlt_core.studies import contrasts, findings
from dlt_core.studies.contrasts import ablation_differences, ablation_figure, ladder, put_in
from dlt_core.studies.methods import PUT_IN
from dlt_core.studies.released_code import ReleasedCode
from tests.studies.conftest import made_up, studies, table_cells, variant

# --- ablations ---


def test_ablations_are_paired_with_the_unchanged_conventional_run():
    runs = [
        made_up("conventional", 0, 2.0, name="ablations"),
        made_up("conventional", 1, 3.0, name="ablations"),
        made_up("conventional", 0, 8.0, name="ablations", gradient="source"),
        made_up("dynamic", 1, 3.5, name="ablations"),
        made_up("dynamic", 0, 2.25, name="ablations"),
        made_up("dynamic", 0, 1.5, name="ablations", reward="neg_loss"),
        made_up("random", 5, 1.0, name="ablations"),
    ]
    assert ablation_differences(runs) == {"dynamic": {1: 0.5, 0: 0.25}, "dynamic, reward=neg_loss": {0: -0.5}}
    ax = ablation_figure(runs).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["dynamic, reward=neg_loss", "dynamic"]  # best first
    assert "seeds: 1 to 2" in ax.get_xlabel()
    assert ax.get_title() == "ablations (cannot tell)"
    (interval,) = [segment[:, 0].tolist() for found in ax.collections for segment in found.get_segments()]
    half = 12.706204736432095 * 0.125  # t with 1 degree of freedom, and the standard error
    assert interval == pytest.approx([0.375 - half, 0.375 + half])


def test_a_table_of_rows_is_best_first_with_what_is_left_after_holm():
    def runs(method, *bits):
        return [made_up(method, seed, b, name="ablations") for seed, b in enumerate(bits)]

    rows = {
        "conventional": runs("conventional", 2.0, 2.0, 2.0),
        "dynamic": runs("dynamic", 2.5, 2.51, 2.5),
        "random": runs("random", 2.3, 2.5, 2.4),
        "replay": runs("conventional", 2.0, 2.0, 2.0),
    }
    table = table_cells(contrasts.rows_table(rows, ["dynamic", "random", "replay"], "conventional"))[1:]
    assert [(row[0], row[3]) for row in table] == [("replay", ""), ("random", "worse"), ("dynamic", "worse")]
    assert table[1][1:3] == ["2.400 ± 0.248", findings.difference(rows, "random", "conventional")]
    assert table[1][4] == "24%"
    three = {**rows, "x": rows["random"], "y": rows["random"]}
    found = table_cells(contrasts.rows_table(three, ["random", "x", "y"], "conventional"))[1:]
    assert {row[3] for row in found} == {"open"}, "p = 0.02 is 0.06 for three of a kind"


def test_the_share_of_other_actions():
    rows = {
        name: [dataclasses.replace(made_up(seed=s), history={"action": found}) for s, found in by_seed.items()]
        for name, by_seed in {"dynamic": {0: [0, 1], 1: [1, 1]}, "row": {1: [1, 0], 0: [0, 1]}}.items()
    }
    assert contrasts.other_actions(rows, ["row", "dynamic"]) == {"row": 0.25, "dynamic": 0.0}


# --- the paper as described against the code as released ---


def test_the_ladder_is_paired_with_the_last_rung():
    runs = studies("differences-embedded")
    rungs = ladder(runs)
    assert list(rungs)[:2] == ["as released", "... and without marked_blocks"]
    assert list(rungs)[-2:] == ["... and without kept_optimizer_state", "as described"]
    assert len(rungs) == 12
    assert rungs["as released"] == pytest.approx({0: 1.1, 1: 1.1})
    assert rungs["... and without kept_optimizer_state"] == {0: -0.5, 1: 0.5}, "which is bf16 weights alone"
    assert rungs["as described"] == {0: 0.0, 1: 0.0}
    assert put_in(runs) == {name: {0: -0.5, 1: 0.5} for name in ReleasedCode.names()}
    table = table_cells(contrasts.singles_markdown(runs))[1:]
    assert [row[:2] for row in table] == [[number, f"`{name}`"] for name, number in contrasts.NUMBERS.items()]
    assert table[0][2] == "+0.000 ± 6.353: not told apart, perplexity -96.2 to +2385.5 % (n = 2)"
    assert table[-1][2:] == ["+0.000 ± 6.353: other text (n = 2)", ""]
    assert {row[3] for row in table[:-1]} == {"open"}
    table = table_cells(contrasts.ladder_markdown([*runs, *studies("differences-wikitext2")[:2]]))[1:]
    assert table[0] == ["as released", "+1.100 ± 0.000: other text (n = 2)", "+1.100: other text (n = 1)", ""]
    equal = "exactly equal, perplexity equal"
    assert table[-1][1:-1] == [f"+0.000 ± 0.000: {equal} (n = 2)", f"+0.000: {equal} (n = 1)"]
    assert table[-1][-1] == "exactly equal, exactly equal"
    assert table[2][2:] == ["not run", "worse, not run"]
    assert list(contrasts.by_study(runs, put_in)) == ["differences-embedded (cannot tell)"]
    without_a_rung = [r for r in runs if r.method != "released-without-marked_blocks"]
    assert len(ladder(without_a_rung)) == 11
    assert ladder([r for r in runs if r.method != "dynamic"]) == {}


def test_a_difference_of_ten_is_hedged_and_corrected_over_the_whole_table():
    """n = 3: half the interval is 2.48 standard deviations. Of 20 tests Holm leaves p below 0.0025 to the smallest."""
    bits = {
        "frozen_start": (0.248, 0.04),  # p 0.009: worse alone
        "four_steps": (0.1, 0.04),  # 0.099 is half the interval: borderline
        "bf16_weights": (0.3, 0.01),  # p 0.0004
    }
    runs = []
    for study in contrasts.DIFFERENCES:
        for seed, noise in enumerate((0, 1, -1)):
            runs.append(made_up("dynamic", seed, 2.0, name=study))
            for name, switches in PUT_IN.items():
                mean, deviation = bits.get(name, (0.0, 0.04))
                runs.append(variant(switches, seed, 2.0 + mean + noise * deviation, study))
    table = {row[1].strip("`"): row for row in table_cells(contrasts.singles_markdown(runs))[1:]}
    assert "worse, perplexity" in table["frozen_start"][2]
    assert table["frozen_start"][4] == "open, open"
    assert "borderline, perplexity" in table["four_steps"][2]
    assert table["bf16_weights"][4] == "worse, worse"
    assert table["marked_blocks"][4] == ""
