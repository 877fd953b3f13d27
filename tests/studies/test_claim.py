"""Verdicts on the paper's claim: who counts, how the counts are corrected, and what is left open."""

import dataclasses
import re

import pytest

from dlt_core.records.statistics import allowed, equivalence, log_perplexity, p_value, paired_differences
from dlt_core.studies import claim
from dlt_core.studies.claim import (
    Contrast,
    agent_markdown,
    claim_markdown,
    gate_markdown,
    later_alone,
    looked_at,
    over_rows,
    primary,
    results_markdown,
)
from dlt_core.studies.tables import summary
from tests.studies.conftest import made_up, table_cells

TELLS = {"conventional": (2.0, 2.1, 2.2), "random": (2.4, 2.5, 2.61), "shallow-2": (2.5, 2.6, 2.71)}


def row(name: str, **bits):
    """Runs of one experiment, method -> bits per byte by seed; the methods of TELLS unless they are given."""
    found = []
    for method, values in (TELLS | bits).items():
        for seed, value in enumerate(values):
            found.append(made_up(method, seed, value, name=name))
            if method == "shallow-2":
                found[-1].tie_map = [0, 1]
    return found


def test_the_agent_is_compared_seed_by_seed_with_both_others_where_the_row_can_tell():
    can = row("gpt2-wikitext2", dynamic=(2.1, 2.2, 2.3))
    cannot = [made_up(m, 0, b, name="gpt2-lm1b", is_sample=True) for m, b in (("dynamic", 2.0), ("random", 2.5))]
    changed = made_up("conventional", 0, 9.0, name="gpt2-lm1b", gamma=0.5)  # no pair for the unchanged run
    text = agent_markdown([*can[::-1], *cannot, changed, made_up(name="gpt2-embedded")])
    by = {m: [r for r in can if r.method == m] for m in ("dynamic", "conventional", "random")}
    nats = {
        other: allowed([log_perplexity(a) - log_perplexity(b) for a, b in zip(by["dynamic"], by[other], strict=True)])
        for other in ("conventional", "random")
    }
    assert nats["conventional"].startswith("perplexity +4.2 to")
    assert table_cells(text) == [
        [
            "gpt2-wikitext2",
            "wikitext-2",
            "3",
            f"+0.100 ± 0.000: worse ({nats['conventional']})",
            f"-0.303 ± 0.014: better ({nats['random']})",
        ],
        ["gpt2-lm1b", "lm1b (sample)", "1", "not run", "-0.500: cannot tell (perplexity -20.0 %)"],
    ]
    assert "Of these 2 experiments 1 can tell, by the rule of the gate; only those are counted. " in text
    assert (
        "Against conventional training, by p after Holm's correction over these: better in 0, worse in 1, equal within "
        "3 % in 0, open in 0." in text
    )
    by_p = (
        "Against the random policy, one of the two contrasts that were named in advance, by p after Holm's correction"
    )
    assert f"{by_p} over all of them: better in 1, worse in 0, equal within 3 % in 0, open in 0." in text
    assert text in results_markdown(summary([*can, *cannot]), [*can, *cannot, changed])
    assert agent_markdown([made_up(), made_up("random", seed=1)]) == ""


def test_counts_are_corrected_and_pooled_over_the_rows_that_can_tell_alone():
    # p of the first is 0.04, of the second 0.5: with two tests the first does not last, all together are another thing
    slightly = (2.4 - 0.010, 2.5 - 0.02, 2.61 - 0.024)
    rows = row("gpt2-wikitext2", dynamic=slightly) + row("gpt2-lm1b", dynamic=(2.4, 2.51, 2.61))
    cannot = row("gpt2-lambada", dynamic=(9.0, 9.1, 9.2), **{"shallow-2": (1.0, 1.1, 1.2)})
    text = agent_markdown([*rows, *cannot])
    assert "Of these 3 experiments 2 can tell" in text
    against_random = text.partition("correction over all of them: ")[2]
    pooled = "on average over these 2, seed by seed (n = 3): perplexity -0.7 to +0.1 %"
    assert against_random.startswith(f"better in 0, worse in 0, equal within 3 % in 2, open in 0; {pooled}.")
    assert "none can tell" in agent_markdown(cannot)
    assert "after Holm" not in agent_markdown(cannot)


def test_the_counts_against_conventional_training_are_corrected_too():
    slightly = (2.0 + 0.010, 2.1 + 0.02, 2.2 + 0.024)  # alone p is below 0.05, of two tests above
    alone = row("gpt2-wikitext2", dynamic=slightly)
    both = [*alone, *row("gpt2-lm1b", dynamic=slightly)]
    against = [agent_markdown(runs).partition("correction over these: ")[2] for runs in (alone, both)]
    assert against[0].startswith("better in 0, worse in 1, ")
    assert against[1].startswith("better in 0, worse in 0, ")
    assert [cells[3].split()[3] for cells in table_cells(agent_markdown(both))] == ["worse", "worse"], "each by its own"


def test_two_presets_of_one_experiment_count_twice_against_conventional_training():
    laptop = row("gpt2-wikitext2", dynamic=(2.1, 2.2, 2.3))
    gpu = [dataclasses.replace(r, experiment=r.experiment | {"preset": "gpu"}) for r in laptop]
    assert "correction over these: better in 0, worse in 2, " in agent_markdown([*laptop, *gpu])


def test_both_tables_say_one_thing_of_the_agent_by_the_correction_over_both_contrasts():
    close = (2.4 - 0.024, 2.5 - 0.016, 2.61 + 0.044)  # alone p of equal within 3 % is below 0.05, of two tests above
    runs = row("gpt2-wikitext2", dynamic=close, **{"sandwich-2": (2.2, 2.31, 2.4)})
    alone = equivalence(
        list(paired_differences(runs_of(runs, "dynamic"), runs_of(runs, "random"), log_perplexity).values()), 3
    )
    sharing, agent = table_cells(claim_markdown(runs))
    assert alone < 0.05 < float(agent[-2]) == pytest.approx(2 * alone, abs=1e-3)
    assert (sharing[-1], agent[-1]) == ("worse", claim.OPEN.format("3 %"))
    assert "over all of them: better in 0, worse in 0, equal within 3 % in 0, open in 1." in agent_markdown(runs)


def runs_of(runs, method):
    return [run for run in runs if run.method == method]


def test_how_alike_decisions_are_is_held_against_networks_that_learned_nothing():
    runs = row("gpt2-wikitext2", dynamic=(2.1,)) + row("gpt2-lm1b", dynamic=(2.0,))
    for run, actions in zip((r for r in runs if r.method == "dynamic"), ([0, 1], [0, 0]), strict=True):
        maps = [[0] * 6, [0] * 6]
        run.history = {"layer": [1, 2], "action": actions, "explored": [False, False], "tie_map": maps}
        run.agent = {"class": "QAgent", "hidden": 8, "seed": 0}
    assert agent_markdown(runs).endswith(
        "50% of 2 are the same. Had neither network learned anything, 100% would be."  # both were in the same states
        " So the equal start explains what they share."
    )


def test_the_gates_table_says_what_was_measured():
    runs = (
        row("gpt2-wikitext2") + [r for r in row("gpt2-lm1b") if r.method != "shallow-2"] + [made_up(name="ablations")]
    )
    runs[0].test["selected_step"] = 15
    found = table_cells(gate_markdown(runs))
    depth, chance = "-0.503 ± 0.014 (n = 3) to `shallow-2`", "+0.403 ± 0.014 (n = 3)"
    assert found == [
        ["gpt2-wikitext2", "1.5 times", "2 of 3", depth, chance, "can tell"],
        ["gpt2-lm1b", "1.5 times", "3 of 3", "not measured", chance, "cannot tell"],
    ]


def test_the_primary_contrasts_are_those_of_rows_that_can_tell():
    good = {"sandwich-2": (2.0005, 2.1, 2.2005), "dynamic": (2.3, 2.41, 2.51)}
    runs = row("gpt2-wikitext2", **good)
    found = table_cells(claim_markdown(runs))
    assert [line[1] for line in found] == ["sharing: sandwich-2 minus conventional", "agent: dynamic minus random"]
    assert [line[-1] for line in found] == ["equal within 3 %", "better"]
    assert {line[2] for line in found} == {"3"}
    cannot = row("gpt2-lm1b", **good, **{"shallow-2": (1.0, 1.1, 1.2)})
    assert claim_markdown([*runs, *cannot]) == claim_markdown(runs)
    assert claim_markdown(cannot).startswith("No experiment here can tell")


@pytest.mark.parametrize(
    ("mean", "differ", "equal", "expected"),
    [
        (0.01, 0.01, 0.2, "worse"),
        (-0.01, 0.01, 0.01, "better, though equal within 3 %"),
        (0.0, 0.5, 0.04, "equal within 3 %"),
        (0.0, 0.5, 0.06, "open: neither a difference nor equality within 3 % is shown"),
    ],
)
def test_a_contrast_in_words(mean, differ, equal, expected):
    assert claim.conclusion(mean, differ, equal) == expected


def test_below_the_rows_stands_one_test_over_all_of_them_with_the_seed_as_unit():
    one = row("gpt2-wikitext2", dynamic=(2.41, 2.5, 2.61), **{"sandwich-2": (2.2, 2.31, 2.4)})
    two = row("gpt2-lm1b", dynamic=(2.4, 2.518, 2.6))
    text = claim_markdown([*one, *two])
    assert text.count("over the 3 seeds that all of 2 rows have") == 1, "sharing was run in one row alone"
    agent = [c for (_, method, _), c in primary([*one, *two]).items() if method == "dynamic"]
    nats = [sum(c.nats[seed] for c in agent) / 2 for seed in range(3)]
    bits = [(0.01 + 0.0) / 2, (0.0 + 0.018) / 2, (0.0 - 0.01) / 2]
    assert list(over_rows(agent).bits.values()) == pytest.approx(bits)
    assert over_rows(agent).p_differ == pytest.approx(p_value(nats))
    assert over_rows(agent).p_equal == pytest.approx(equivalence(nats, 3))
    assert "- The agent, `dynamic` minus `random`, over the 3 seeds that all of 2 rows have: +0.003 ± 0.018 " in text
    assert f"({allowed(nats)}); p of a difference {p_value(nats):.3f}, p of equal within 3 % " in text
    assert (
        "So: equal within 3 %. In 2 of the 2 rows the 95 % interval lies within ±2 % of perplexity, in 2 within ±5 %."
        in text
    )
    assert "together" not in claim_markdown(one), "one row is no pool"
    apart = [*one, *two]
    for run in two:
        run.seed += 7
    assert "over the 6 seeds that any of 2 rows have" in claim_markdown(apart), "no seed in common"


def test_the_rows_that_exclude_an_effect_are_counted():
    wide = row("gpt2-wikitext2", dynamic=(2.4, 2.5, 2.71))
    narrow = row("gpt2-lm1b", dynamic=(2.4, 2.501, 2.611))
    middle = row("gpt2-lambada", dynamic=(2.46, 2.57, 2.682))
    assert "lies within ±2 % of perplexity, in 2 within ±5 %." in claim_markdown([*wide, *narrow, *middle])


def test_a_pooled_contrast_of_rows_with_few_seeds_in_common_takes_all_their_seeds():
    one, two = (Contrast(values, values, 0.5, 0.5) for values in ({0: 0.1, 1: 0.3}, {1: 0.1, 2: 0.2}))
    assert over_rows([one, two]).bits == pytest.approx({0: 0.1, 1: 0.2, 2: 0.2})
    assert claim.average_in_words([one, two]).endswith(") over 3 seeds"), "there are no others"


def test_a_pooled_contrast_of_some_seeds_stands_beside_that_of_all():
    common = {0: 0.05, 1: 0.06, 2: 0.055}
    one, two = (Contrast(values, values, 0.5, 0.5) for values in (common, common | {3: -0.9}))
    assert over_rows([one, two]).conclusion == "worse"
    assert re.fullmatch(
        r"\S+ to \S+ % higher \(worse\) over the 3 runs that all of them have, and between \S+ % lower and \S+ % "
        r"higher \(open\) over all 4, of which one setting alone has 1; that hangs on which are taken, so we "
        r"conclude nothing",
        claim.average_in_words([one, two], "runs"),
    )
    alike = [one, Contrast(*[common | {3: 0.05}] * 2, 0.5, 0.5)]
    assert claim.average_in_words(alike).endswith(" (worse) over all 4, of which one setting alone has 1")


def test_maps_under_their_plain_names_are_primary_contrasts():
    runs = row("truth", dynamic=(2.3, 2.41, 2.51), **{"map-0-1-1-1": (2.0005, 2.1, 2.2005), "map-0-0-0-3": (9, 9, 9)})
    for run in runs:
        run.method = "map-0-1-2-3" if run.method == "conventional" else run.method
    found = table_cells(claim_markdown(runs))
    assert [line[1] for line in found] == ["sharing: sandwich-2 minus conventional", "agent: dynamic minus random"]
    assert table_cells(gate_markdown(runs))[0][-1] == "can tell"
    assert table_cells(agent_markdown(runs))[0][3].startswith("+0.307 ± 0.014: worse")


def test_seeds_that_were_added_after_a_look_need_not_be_the_last():
    small = {"dropout": 0.2, "train_bytes": 262144}
    runs = [made_up("dynamic", seed, 2.0, name="depth", **small) for seed in (100, 101, 103, 104)]
    assert looked_at(runs) == "", "all of them were there when we looked"
    runs.append(made_up("dynamic", 102, 2.0, name="depth", **small))
    assert looked_at(runs) == "after four"
    others = [made_up("random", seed, 2.0 - seed / 1000, name="depth", **small) for seed in range(100, 105)]
    assert later_alone(runs, others) == [], "one seed has no interval"
    assert later_alone(runs, others, (102, 104)) == pytest.approx([0.104, 0.102])
    bert = [made_up("random", seed, 2.0 + seed / 1000, name="truth-bert") for seed in range(100, 105)]
    assert looked_at(bert) == "after three"
    assert later_alone(bert, bert) == [0.0, 0.0]
    assert looked_at(bert[:3]) == looked_at(bert[3:]) == looked_at([]) == ""


def test_rows_that_were_looked_at_are_named_once_and_their_later_seeds_stand_alone(monkeypatch):
    assert claim.looked({"a": "after two"}).startswith("We looked at the seeds of `a` after two, and then ran more")
    assert "of `a` after two, of `b` after three and of `c` after four, and" in claim.looked(
        {"a": "after two", "b": "after three", "c": "after four"}
    )
    runs = row("depth", dynamic=(2.1, 2.2, 2.3)) + row("truth-bert", dynamic=(2.1, 2.25, 2.3))
    assert "We looked at" not in claim_markdown(runs)
    monkeypatch.setattr(
        claim, "LOOKED_AT", {("depth", ""): ({2}, "after two"), ("truth-bert", ""): ({1, 2}, "after one")}
    )
    text = claim_markdown(runs)
    assert text.count("We looked at the seeds of `depth` after two and of `truth-bert` after one, and") == 1
    assert text.endswith(
        "The later seeds alone, bits per byte:\n\n- `truth-bert`: `dynamic` minus `random` -0.280 ± 0.381 (n = 2)"
    ), "one seed of depth has no interval"
