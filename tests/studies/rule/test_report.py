"""The rule's test from records that never were: contrasts, margin, the gate, and the pattern picked with hindsight."""

import math
import re

import numpy as np
import pytest

from dlt_core.records.record import RunRecord
from dlt_core.studies.gate import LOOK
from dlt_core.studies.rule.report import (
    MARGIN,
    OF_AGENTS,
    OF_PATTERNS,
    alone_by_chance,
    best_pattern,
    best_within,
    charged_markdown,
    deeper_markdown,
    elsewhere_markdown,
    habits_markdown,
    more_sets_markdown,
    patterns_markdown,
    rule_markdown,
    search_by_step,
    sets_markdown,
    still_markdown,
    two_sets_markdown,
)
from dlt_core.tie_map import all_maps
from tests.studies.conftest import made_up, table_cells

OFFSETS = (0.0, 0.001, -0.001, 0.002)


def runs(method: str, bits: float, tie_map=(0, 1, 1, 1, 1, 1), loss: float = 1.0) -> list[RunRecord]:
    found = []
    for seed, offset in enumerate(OFFSETS):
        record = made_up(method, seed, bits + offset * (len(method) % 3 + 1) / 3, name="depth", independent=2)
        record.test["perplexity"] = 2 ** record.test["bits_per_byte"]
        record.tie_map = record.final_tie_map = list(tie_map)
        record.curves["validation"]["loss"] = [loss + 1, loss]
        found.append(record)
    return found


def a_study(conventional: float) -> list[RunRecord]:
    return [
        *runs("gradient-2-restart", 2.0),
        *runs("random", 2.1, (0, 0, 0, 0, 0, 5)),
        *runs("sandwich-2", 2.0),
        *runs("sequence-2", 1.9, (0, 0, 0, 3, 3, 3), loss=1.5),
        *runs("shallow-2", 2.005, (0, 1)),
        *runs("conventional", conventional, (0, 1, 2, 3, 4, 5)),
    ]


def test_where_the_gate_is_open_each_contrast_has_a_conclusion():
    rows = table_cells(rule_markdown(a_study(1.9)))
    assert [row[1] for row in rows] == ["`random`", "`sandwich-2`", "`shallow-2`", "`conventional`"]
    small = f"better, though equal within {MARGIN:g} bits per byte"
    same = "the same map, so the same run"
    assert [row[-1] for row in rows] == ["better", f"{same} but for rounding", small, "worse"]
    equal = a_study(1.9)
    for ours, theirs in zip(equal[:4], equal[8:12], strict=True):
        theirs.test["bits_per_byte"] = ours.test["bits_per_byte"]
    assert table_cells(rule_markdown(equal))[1][-1] == same
    for run in equal:
        run.seed += 105 if run.seed > 1 else 0
    added = rule_markdown(equal).partition("The later seeds alone: ")[2]
    assert re.findall(r"minus `([^`]+)` \S+ ± \S+ \(n = 2\)", added) == ["random", "shallow-2", "conventional"]
    assert [row[2] for row in rows] == ["4"] * 4
    assert rows[0][3].startswith("-0.10")


def test_changed_settings_are_a_family_of_their_own():
    deeper = a_study(1.9)
    for run in deeper:
        run.experiment["overrides"] = {"n_layer": 12}
    both = a_study(1.9) + deeper
    assert rule_markdown(both) == rule_markdown(a_study(1.9))
    rows = table_cells(rule_markdown(both, changed=True))
    assert [row[0] for row in rows] == ["depth, n_layer=12"] * 4
    assert [row[1:] for row in rows] == [row[1:] for row in table_cells(rule_markdown(both))]
    assert rule_markdown(both, changed=True).endswith(
        "\n\nIn `depth, n_layer=12` `gradient-2-restart` chose `[0, 1, 1, 1, 1, 1]` (4 of 4 seeds)."
    )
    alone = [r for r in a_study(1.9) if r.seed == 0]
    for run in alone:
        run.experiment["overrides"] = {"n_layer": 24}
    assert rule_markdown(both + alone, changed=True) == rule_markdown(both, changed=True), "one seed has no row"
    assert rule_markdown(a_study(1.9), changed=True) == ""
    for run in deeper:
        run.seed = LOOK
    assert rule_markdown(deeper, changed=True) == "", "looks count in no table"


def test_where_the_gate_is_shut_nothing_is_concluded():
    rows = table_cells(rule_markdown(a_study(2.05)))
    assert {row[-1] for row in rows} == {"cannot tell", "the same map, so the same run but for rounding"}


def test_nothing_for_records_without_the_rule():
    assert rule_markdown([r for r in a_study(1.9) if r.method != "gradient-2-restart"]) == ""


def test_the_pattern_is_picked_on_validation_among_those_with_all_seeds():
    of = {
        "gradient-2-restart": runs("gradient-2-restart", 2.0),
        "sequence-2": runs("sequence-2", 1.9, (0, 0, 0, 3, 3, 3), 1.5),
    }
    assert best_pattern(of) == "sequence-2"
    of["sandwich-2"] = runs("sandwich-2", 2.0)
    assert best_pattern(of) == "sandwich-2"
    assert best_pattern(of, others=True) == "sequence-2", "the other is the rule's own choice"
    of["sandwich-2"] = of["sandwich-2"][:2]
    assert best_pattern(of) == "sequence-2"
    assert best_pattern({"gradient-2-restart": of["gradient-2-restart"]}) is None
    of["map-0-0-0-0-0-5"] = runs("map-0-0-0-0-0-5", 2.2, loss=1.2)
    of["map-0-1-2-2-2-2"] = runs("map-0-1-2-2-2-2", 1.8, loss=0.5)
    assert best_pattern(of, others=True) == "sequence-2"
    of["cycle-2"] = runs("cycle-2", 1.9, (0, 1, 0, 1, 0, 1), 1.3)[1:]
    assert best_pattern(of, others=True) == "cycle-2", "three seeds are common to all"
    del of["cycle-2"]
    of["sandwich-3"] = of["shallow-2"] = runs("sandwich-3", 1.8, loss=0.5)
    assert best_pattern(of) == "map-0-0-0-0-0-5", "three sets, or two layers, are another thing"


def test_each_named_pattern_with_another_map_of_two_sets_stands_beside_the_rule():
    others = [
        *runs("cycle-2", 2.03, (0, 1, 0, 1, 0, 1)),
        *runs("sandwich-3", 1.8, (0, 1, 1, 1, 1, 5)),
        *runs("map-0-0-0-0-0-5", 1.7, (0, 0, 0, 0, 0, 5)),
    ]
    rows = table_cells(patterns_markdown(a_study(1.9) + others))
    assert [row[1] for row in rows] == [
        "`sequence-2`, [0, 0, 0, 3, 3, 3], minus `random`",
        "`gradient-2-restart` minus `sequence-2`",
        "`cycle-2`, [0, 1, 0, 1, 0, 1], minus `random`",
        "`gradient-2-restart` minus `cycle-2`",
    ]
    assert [row[-1] for row in rows] == ["better", "worse", "better", "better"]
    assert [row[3][:6] for row in rows] == ["-0.200", "+0.100", "-0.070", "-0.030"]
    later = a_study(1.9) + others
    assert OF_PATTERNS not in patterns_markdown(later), "all were run at once"
    assert re.search(r"`shallow-2`: `sequence-2` -0\.10\d ± \S+ \(n = 4\); `cycle-2` \+0\.02", patterns_markdown(later))
    for run in later:
        run.seed += 105 if run.seed > 1 else 0
    of_later = patterns_markdown(later).partition(f"{OF_PATTERNS} The later seeds alone: ")[2]
    assert [part.split(" -0.03")[0] for part in of_later.split("; ")][1:] == ["`gradient-2-restart` minus `cycle-2`"]
    assert patterns_markdown(a_study(2.05) + others) == "", "cannot tell"
    assert patterns_markdown([r for r in a_study(1.9) if r.method != "sequence-2"]) == "", "its own map alone"


def test_the_rule_with_more_sets_stands_beside_itself_with_two():
    three = [*runs("gradient-3-restart", 1.95, (0, 1, 2, 2, 2, 2)), *runs("shallow-3", 1.97, (0, 1, 2))]
    three[0].final_tie_map = [0, 1, 1, 3, 3, 3]
    text = more_sets_markdown(a_study(1.9) + three)
    rows = table_cells(text)
    others = ("random", "gradient-2-restart", "shallow-2", "shallow-3", "conventional")
    assert [row[1] for row in rows] == [f"`gradient-3-restart` minus `{other}`" for other in others]
    assert [row[3][:6] for row in rows] == ["-0.150", "-0.050", "-0.055", "-0.020", "+0.050"]
    ends = "chose `[0, 1, 2, 2, 2, 2]` (3 of 4 seeds); `[0, 1, 1, 3, 3, 3]` (1 of 4 seeds)."
    assert text.endswith(f"`gradient-3-restart` {ends}")
    assert more_sets_markdown(a_study(1.9)) == ""
    assert more_sets_markdown(a_study(1.9) + three[:1]) == "", "one seed has no interval"
    assert more_sets_markdown(a_study(2.05) + three) == "", "cannot tell"


@pytest.mark.parametrize("other", [(0, 1, 0, 0, 0, 0)])
def test_another_map_is_compared_like_any_other_method(other):
    study = [r for r in a_study(1.9) if r.method != "sandwich-2"] + runs("sandwich-2", 2.0, other)
    (row,) = [row for row in table_cells(rule_markdown(study)) if row[1] == "`sandwich-2`"]
    assert row[-1] == f"equal within {MARGIN:g} bits per byte"


def test_the_agent_with_the_rules_rewards_in_deeper_models_is_judged_by_the_gate():
    of_agent = [*runs("dynamic", 2.08), *runs("dynamic_first_order_gain", 2.13), *runs("dynamic_paired", 2.0)]
    rows = table_cells(deeper_markdown(a_study(1.9) + of_agent))
    agents = ("dynamic_first_order_gain", "dynamic_paired")
    assert [row[:3] for row in rows] == [
        ["depth", f"`{agent}` minus `{other}`", "4"] for agent in agents for other in ("random", "dynamic")
    ]
    assert [row[3][:7] for row in rows[2:]] == ["-0.100 ", "-0.080 "]
    assert [row[-1] for row in rows] == ["worse", "worse", "better", "better"]
    assert OF_AGENTS not in deeper_markdown(a_study(1.9) + of_agent)
    both = [run for run in of_agent + a_study(1.9) if run.method in ("dynamic_paired", "random")]
    later = [run for run in both if run.seed > 1]
    for run in later:
        run.seed += 105
    added = deeper_markdown(both).partition("\n\n")[2]
    assert re.fullmatch(
        rf"{re.escape(OF_AGENTS)} The later seeds alone: `dynamic_paired` minus `random` -0\.100 ± \S+ \(n = 2\)\.",
        added,
    )
    for run in later:
        run.seed -= 105
    shut = table_cells(deeper_markdown(a_study(2.05) + of_agent))
    assert {row[-1] for row in shut} == {"cannot tell"}
    assert deeper_markdown(a_study(1.9)) == "", "the paper's reward alone"
    for run in of_agent:
        run.experiment["name"] = "truth"
    assert deeper_markdown(of_agent) == "", "where all maps are known, `agents_markdown` says more"


def test_what_the_agents_do_is_read_in_the_second_half_of_their_decisions():
    made = [*runs("random", 2.0), *runs("dynamic_paired", 2.0), *runs("sandwich-2", 2.0)]
    still, moving = [[0, 1, 2, 0]] * 4, [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]]
    for run in made:
        run.history["tie_map"] = still + (moving if run.method == "random" else [[0, 1, 2, 1]] * 4)
        run.budget["search_steps"] = 3 * (run.method == "dynamic_paired")
        run.parameters["unique"] = 23_456
    made += runs("shallow-2", 1.9, (0, 1))
    rows = table_cells(habits_markdown(made))[1:]
    assert [row[:-1] for row in rows] == [  # 1/7 of those with two sets, none of those with one
        ["`random`", "4", "100%", "1.5", "25%", "7%", "0.02M", "none"],
        ["`dynamic_paired`", "4", "0%", "3.0", "100%", "50%", "0.02M", "3 steps (10 % more)"],
    ]
    assert all(row[-1].startswith("+0.100 ± ") and row[-1].endswith("(n = 4)") for row in rows)
    assert habits_markdown(runs("random", 2.0)) == ""
    made[0].history["tie_map"] = still[:2]
    with pytest.raises(ValueError, match="fewer than three decisions"):
        habits_markdown(made)
    maps = list(all_maps(6))
    for sets in range(1, 7):
        of_size = [m for m in maps if m.num_independent == sets]
        assert alone_by_chance(6, sets) == pytest.approx(sum((0,) in m.groups for m in of_size) / len(of_size))
    assert 0 < alone_by_chance(48, 6) < 1, "without trying them all"


def test_among_two_sets_it_says_whether_there_is_an_order_and_how_good_the_choice_is():
    def scratch(study, maps_of_seeds):
        found = []
        for seed, losses in enumerate(maps_of_seeds):
            for tie_map, loss in losses.items():
                run = made_up(f"map-{'-'.join(map(str, tie_map))}", seed, name=study)
                run.test["perplexity"], run.final_tie_map = math.exp(loss), list(tie_map)
                found.append(run)
        return found

    maps = [(0, 1, 1, 1), (0, 0, 2, 2), (0, 0, 0, 3)]
    agreed = [dict(zip(maps, (3.0, 3.1, 3.2), strict=True)) for _ in range(5)]
    disagreed = [dict(zip(maps, np.roll((3.0, 3.1, 3.2), seed).tolist(), strict=True)) for seed in range(3)]
    all_independent = {(0, 1, 2, 3): 1.0}
    records = scratch("truth", [of | all_independent for of in agreed]) + scratch("truth-bert", disagreed)

    def look(warm_up, chosen, regret, gain="l1, as Adam steps"):
        return {"warm_up": warm_up, "gain": gain, "2 sets": {"chosen": chosen, "regret": regret}}

    rows = [look(0, [0, 0, 0, 3], 9.0), look(60, [0, 1, 1, 1], 0.1), look(60, [0, 0, 2, 2], 0.3)]
    rows.append(look(60, [0, 0, 0, 3], 9.0, "squared l2"))
    looks = {study: {"rows": rows} for study in ("truth", "truth-bert")}
    ours, bert = table_cells(two_sets_markdown(records, looks))[1:]
    assert ours[1:3] == ["the 3 of two sets, of 4 layers; 5 seeds", "0.200 nats"]
    assert float(ours[3]) < 0.01 < 0.9 < float(bert[3])
    assert ours[4:] == [
        "`[0, 1, 1, 1]`", "`[0, 1, 1, 1]` (1 of 2 looks); `[0, 0, 2, 2]` (1 of 2 looks)", "0.200 nats", "0.100 nats",
    ]  # fmt: skip
    assert bert[1:3] == ["the 3 of two sets, of 4 layers; 3 seeds", "0.000 nats"]
    assert len(table_cells(two_sets_markdown(records[:20], looks))) == 2, "a study that was not run has no row"


def with_curves(records, curve):
    for run in records:
        run.curves["validation"] = {"step": [10, 20, 30], "bits_per_byte": curve, "loss": [2 * x for x in curve]}
        run.budget["optimizer_steps"] = 30
    return records


def test_a_search_before_the_training_is_paid_first_and_one_for_each_move_when_it_moves():
    (rule, *_) = with_curves(runs("gradient-2-restart", 2.0), [3.0, 2.0, 1.0])
    rule.history, rule.budget = {}, {"optimizer_steps": 30, "search_steps": 4, "search_passes": 1}
    assert search_by_step(rule).tolist() == [5, 5, 5]
    assert best_within(rule, 30) == pytest.approx(1.5)  # 25 steps of training
    assert best_within(rule, 30, "loss") == pytest.approx(3.0)
    (agent, *_) = with_curves(runs("dynamic_paired", 2.0), [3.0, 2.0, 1.0])
    agent.experiment |= {"steps_per_action": 5, "n_layer": 2}
    agent.history = {"tie_map": [[0, 0], [0, 1], [0, 1], [0, 0], [0, 0], [0, 0]]}  # the 2nd and the 4th decision move
    agent.budget = {"optimizer_steps": 30, "search_steps": 10}
    assert search_by_step(agent).tolist() == [5, 10, 10]
    assert best_within(agent, 30) == pytest.approx(2.0)
    agent.budget = {"optimizer_steps": 30}
    assert search_by_step(agent).tolist() == [0, 0, 0]


def test_a_lead_is_shown_with_its_search_on_top_and_paid_out_of_the_same_steps():
    study = with_curves(a_study(1.9), [3.0, 2.0, 1.0])
    for run in study:
        run.history = {}
        if run.method == "gradient-2-restart":
            run.budget |= {"search_steps": 10}
            run.curves["validation"]["bits_per_byte"] = [2.9 - run.seed / 100, 1.9, 0.9]
    rows = table_cells(charged_markdown(study))
    others = ("random", "sequence-2", "sandwich-2", "shallow-2")
    assert [row[1] for row in rows] == [f"`gradient-2-restart` minus `{other}`" for other in others]
    assert {row[2] for row in rows} == {"10 steps (33 % more)"}
    assert {row[3] for row in rows} == {"-0.100 ± 0.000 (n = 4)"}
    assert {row[4] for row in rows} == {"+0.900 ± 0.000 (n = 4)"}
    assert charged_markdown([r for r in study if r.method != "gradient-2-restart"]) == ""
    shut = with_curves(a_study(2.05), [3.0, 2.0, 1.0])
    assert charged_markdown(shut) == "", "cannot tell"


def test_what_a_set_brings_by_the_gain_stands_beside_the_truth():
    losses = {1: 4.0, 2: 3.0, 3: 2.5, 4: 2.0}
    study = [
        made_up(f"map-{'-'.join(map(str, m))}", seed, losses[m.num_independent], name="truth-bert")
        for m in all_maps(4)
        for seed in (0, 1)
    ]
    for run in study:
        run.final_tie_map = run.tie_map = [int(i) for i in run.method.split("-")[1:]]
        run.curves["validation"]["loss"] = [run.test["bits_per_byte"]]
        run.test["perplexity"] = math.exp(run.test["bits_per_byte"])
    rule = [made_up("gradient-2-restart", seed, 3.0, name="truth-bert") for seed in (0, 1)]
    for run, third in zip(rule, (0.95, 0.96), strict=True):
        run.agent = {"gain_by_sets": [0.5, 0.9, third, 1.0]}
    _, row = table_cells(sets_markdown(study + rule))
    of_sets = ["80 %", "50 %", "10 to 12 %", "25 %", "8 to 10 %", "25 %"]
    assert row == ["truth-bert", "2", *of_sets, "2 (2 of 2)", "4"]
    assert sets_markdown(study) == sets_markdown(rule) == ""


def test_ties_that_never_move_stand_beside_the_random_agents():
    study = [*runs("random", 2.5), *runs("gradient-2-restart", 2.0, (0, 0, 2))]
    for n, tie_map in enumerate(all_maps(3)):
        study += runs(f"map-{'-'.join(map(str, tie_map))}", 2.0 + n / 10, tuple(tie_map))
    for run in study:
        run.experiment |= {"name": "truth"}
    of_one, of_two, rules, of_three = table_cells(still_markdown(study))
    assert [row[1] for row in (of_one, of_three)] == ["the map with 1 set", "the map with 3 sets"]
    assert (of_two[1], rules[1]) == ("the mean of the 3 maps with 2 sets", "of these, the rule's, [0, 0, 2]")
    two = {str(list(m)): n for n, m in enumerate(all_maps(3)) if m.num_independent == 2}
    assert float(of_two[2].split(" ")[0]) == pytest.approx(sum(two.values()) / 30 - 0.5, abs=0.002)
    assert float(rules[2].split(" ")[0]) == pytest.approx(two["[0, 0, 2]"] / 10 - 0.5, abs=0.002)
    assert {row[3] for row in (of_one, of_two, rules, of_three)} == {"cannot tell"}
    drawn = [*runs("random_map", 2.4, (0, 1, 1)), *runs("random", 2.5)]
    for run in drawn[:2]:
        run.final_tie_map = [0, 0, 0]
    (row,) = table_cells(still_markdown(drawn))
    assert row[1] == "`random_map`"
    assert row[2].endswith("(n = 2)"), "of two seeds there was one map only"


def test_where_all_looks_chose_a_pattern_that_was_run_its_runs_are_the_rules():
    chosen = {
        "maps: GPT-2, 6 layers, width 64, embedded": {"rows": [{"warm_up": 60, "maps": {"2": [0, 1, 1, 1, 1, 1]}}]}
    }
    study = [r for r in a_study(2.05) if r.method not in ("gradient-2-restart", "sequence-2")]
    for run in study:
        run.experiment["name"] = "agents-embedded"
    (row,) = table_cells(elsewhere_markdown(study, chosen))
    assert row[:3] == ["agents-embedded", "1", "`[0, 1, 1, 1, 1, 1]`"]
    assert [cell[:6] for cell in row[3:6]] == ["-0.100", "-0.005", "-0.050"]
    assert row[-1] == "cannot tell"
    assert elsewhere_markdown(a_study(1.9), chosen) == "", "there the rule itself was run"
    chosen["maps: GPT-2, 6 layers, width 64, embedded"]["rows"][0]["maps"]["2"] = [0, 0, 0, 3, 3, 3]
    assert elsewhere_markdown(study, chosen) == "", "another map"
