"""What the rule sees and what rewards tell: measured on a small scale, and the tables of what is committed."""

import itertools
import json
import re

import numpy as np
import pytest

from dlt_core import CHECKOUT
from dlt_core.agents import RandomAgent
from dlt_core.experiments import build_env, build_learner
from dlt_core.records.record import RunRecord, load_all
from dlt_core.records.statistics import mean_interval, plus_minus
from dlt_core.studies.diagnosis import losses_after_actions, rank_correlation, regrets, signal_to_noise
from dlt_core.studies.rule import report, study
from dlt_core.studies.rule.gain import best_maps, use_gradients
from dlt_core.tie_map import TieMap, all_maps
from tests.studies.conftest import made_up, table_cells

LOOKS = json.loads((CHECKOUT / "figures" / "looks.json").read_text(encoding="utf-8"))


def maps_from_scratch() -> list[RunRecord]:
    """Runs that never were of the maps of both studies at smoke: the more weight sets, the better."""
    found = []
    for name, (number, tie_map) in itertools.product(study.TRUTHS, enumerate(all_maps(3))):
        method = f"map-{'-'.join(map(str, tie_map))}"
        record = made_up(method, 0, 3.0 - tie_map.num_independent, name=name, preset="smoke")
        record.test["perplexity"], record.final_tie_map = 50.0 - number - 5 * tie_map.num_independent, list(tie_map)
        found.append(record)
    return found


def test_all_is_measured_once_and_tables_are_made_of_it(tmp_path):
    out = tmp_path / "looks.json"
    how = {"preset": "smoke", "seeds": (0,), "warm_ups": (0, 60), "minibatches": (1, 2), "stops": (4, 6), "draws": 3}
    models = {"a small one": ("truth", {})}
    found = study.measure(maps_from_scratch(), out, models=models, **how)
    assert json.loads(out.read_text()) == found
    assert list(found) == ["maps: a small one", "truth", "truth-bert", "rewards"]
    early, late = found["maps: a small one"]["rows"]
    assert (early["warm_up"], late["warm_up"]) == (0, 60)
    assert late["gain_by_sets"][-1] == 1
    assert np.array(late["cosines"]).diagonal() == pytest.approx(1)
    assert late["by_minibatches"].keys() == {"1", "2"}
    for name in study.TRUTHS:
        (row, *_) = found[name]["rows"]
        assert -1 <= row["correlation"] <= 1
        assert row["2 sets"]["regret"] >= 0
        assert row["2 sets"]["blind"] > 0
    assert found["truth"]["rows"] != found["truth-bert"]["rows"], "another model"
    for row in found["rewards"]["rows"]:
        assert row["maps"] >= 3
        assert row["noise"] > 0
    out.write_text(json.dumps(found | {"truth": "as it was"}))
    assert study.measure(maps_from_scratch(), out, models=models, **how)["truth"] == "as it was"
    for name, rest in (("truth", []), ("truth-bert", maps_from_scratch()[:5])):
        with pytest.raises(ValueError, match=f"the maps of study {name}, preset smoke, are needed"):
            study.measure(rest, tmp_path / "x.json", models=models, **how)


def test_a_warm_up_trains_on_where_the_last_one_stopped_and_a_look_leaves_no_trace(smoke, tiny_data):
    learner, plain = (build_learner(smoke, tiny_data) for _ in range(2))
    plain.tie(TieMap.all_tied(4))
    for steps in study.warmed_up(learner, (0, 2, 3)):
        assert learner.step == steps
        best_maps(use_gradients(learner, 1), 2)
        assert learner.tie_map == TieMap.independent(4)
    plain.train(3)
    weights = plain.weights()
    assert all((weights[name] == tensor).all() for name, tensor in learner.weights().items())


def test_only_the_actions_that_are_asked_for_are_tried(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    learner.tie(TieMap.all_tied(4))
    every = losses_after_actions(learner, 2, steps=1, minibatches=2)
    assert losses_after_actions(learner, 2, steps=1, minibatches=2, actions=[2, 0]).tolist() == [
        every[2].tolist(), every[0].tolist()
    ]  # fmt: skip


def test_what_two_actions_share_is_no_noise_in_pairs():
    hardness = np.random.default_rng(0).normal(size=200)
    rest = 0.01 * np.random.default_rng(1).normal(size=(3, 200))
    losses = hardness + np.array([[0.0], [0.02], [0.04]]) + rest
    alone, paired = signal_to_noise(losses), signal_to_noise(losses, paired=True)
    assert alone.signal == paired.signal == pytest.approx(0.02, rel=0.1)
    assert alone.noise == pytest.approx(1, rel=0.15)
    assert paired.noise == pytest.approx(0.01, rel=0.15)
    assert paired.samples == pytest.approx(7.84 * (paired.noise / paired.signal) ** 2, rel=0.01)


def test_the_committed_looks_say_what_the_tables_say():
    assert {name.removeprefix("maps: ") for name in LOOKS if name.startswith("maps")} == set(study.MODELS)
    maps = table_cells(study.maps_markdown(LOOKS))[1:]
    assert len(maps) == len(study.SETS) * len(study.MODELS)
    assert maps[0][2].startswith("`[0, 1, 1, 1, 1, 1]` (")
    correlations = {row[1]: row[2] for row in table_cells(study.truth_markdown(LOOKS))[1:] if "Adam" in row[0]}
    assert float(correlations["60 steps"].split(" ")[0]) > 0.8
    needed = {row[0]: row for row in table_cells(study.signals_markdown(LOOKS))[1:]}
    assert set(needed) == {"minus perplexity, its logarithm", "paired", "first_order_gain"}
    assert all(row[-1].endswith("(n = 5)") for row in needed.values()), "an interval over the seeds"
    assert needed["minus perplexity, its logarithm"][5] == "100,000 (58,000 to 170,000; n = 5)", "likewise"
    assert len(table_cells(study.sets_markdown(LOOKS))[1:]) == len(study.MODELS)
    assert len(table_cells(study.minibatches_markdown(LOOKS))[1:]) == len(study.MODELS)
    lines = study.gain_lines(LOOKS)
    assert all(of[-1] == 1 for panel in lines.values() for _, values in panel.values() for of in values)


def test_what_is_chosen_seldom_is_counted_with_the_others():
    assert study._counted("aaabbcde") == "a (3 times); b (2 times); c (once); others (2)"
    assert study._counted("aab") == "a (2 times); b (once)"


def test_a_map_of_many_layers_is_written_as_its_groups():
    assert study.in_short([0, 1, 1]) == "`[0, 1, 1]`"
    assert study.in_short([0, 0, *[2] * 46]) == "0 to 1 / 2 to 47"
    assert study.in_short([0, *[1] * 47]) == "0 / 1 to 47"
    assert study.in_short([0, 1, 0, *[3] * 10]).startswith("0, 2 / 1 / 3, 4, ")


def test_the_closing_sentences_are_made_of_the_measurements():
    table_world = json.loads((CHECKOUT / "figures" / "table_world.json").read_text(encoding="utf-8"))
    text = report.in_words(LOOKS, [], table_world)
    both = r"two sets: GPT-2 \+0\.9\d ± \S+ and \+0\.\d\d ± \S+; BERT \+0\.\d\d ± \S+ and -0\.\d\d ± \S+\.\n"
    assert re.search(both, text), text
    assert "\n  - `paired`, γ = 0: -0.0" in text
    assert text.count("decisions, ") == len(report.REWARDED), "all of them were measured"
    assert "the test" not in text
    records = [r for r in load_all(CHECKOUT / "figures" / "records") if r.experiment["preset"] == "laptop"]
    text = report.in_words(LOOKS, records, table_world)
    first, *others = text.splitlines()
    assert first.startswith("- **`depth`, the test.** The rule's bits per byte minus those of `random` -0.0")
    assert "`cycle_rev-2` -0.0" in others[0]
    assert re.search(r"of the same steps,\*\* minus `random`, validation: `gradient-2-restart` -0\.0", others[1])
    assert re.search(r"BERT \S+ ± \S+ and \S+ ± \S+ \(the bare number of sets: \+0\.9\d over all\)", text)


def test_rankings_without_a_look_stand_below_those_of_the_gain():
    true = {m: float(-m.num_independent - 10 * ((0,) in m.groups)) for m in all_maps(4)}
    rows = table_cells(study.truth_markdown(LOOKS, true=true))[1:]
    assert [row[2] for row in rows[-2:]] == ["+0.87", "+1.00"]
    assert rows[:-2] == table_cells(study.truth_markdown(LOOKS))[1:]
    sets = {m: float(-m.num_independent) for m in true}
    *rewards, none = table_cells(study.signals_markdown(LOOKS, sets))[1:]
    assert rewards == table_cells(study.signals_markdown(LOOKS))[1:]
    assert none[:2] == ["none: the number of weight sets", "12"]
    assert none[-1] == "+1.00 ± 0.00 (n = 5)"


def test_the_ties_of_the_moments_are_those_of_the_random_run(tiny_data, smoke):
    env = build_env(smoke, tiny_data)
    agent = RandomAgent(4, seed=3)
    for _ in range(7):
        env.step(agent.act(env.tie_map, env.layer))
    reached = {env.tie_map.with_action(3, action) for action in range(4)}
    assert len({m.num_independent for m in reached}) > 1
    true = {m: float(n) for n, m in enumerate(all_maps(4))}
    expected = rank_correlation({m: -m.num_independent for m in reached}, true)
    assert study.counting(true, [{"seed": 3, "decision": 7}] * 2) == [expected]


def test_peers_and_agents_are_held_against_the_random_agent_and_the_truth():
    folder = CHECKOUT / "figures" / "records"
    four = {
        name: [RunRecord.load(folder / f"truth-laptop-{name}-seed{seed}.json") for seed in (0, 1)]
        for name in ("random", "dynamic", "gradient-2")
    }
    true = {m: float(n) for n, m in enumerate(all_maps(4))}
    rows = {row[0]: row for row in table_cells(report.peers_markdown(four, true))}
    assert rows["`random`"][3] == ""
    assert rows["`gradient-2`"][4] == "2.0"
    assert rows["`gradient-2`"][-1] == "16 backward passes"
    assert rows["`dynamic`"][-1] == "none"
    _, agent = table_cells(
        report.agents_markdown({"dynamic": four["dynamic"], "random": four["random"]}, "random", true)
    )
    assert agent[:2] == ["`dynamic`", "2"]
    (ours, _), (always, _) = (regrets(four["dynamic"][0], true, always_untie=of) for of in (False, True))
    assert ours.tolist() != always.tolist()
    untied = report.late_regret(four["dynamic"], true, always_untie=True)
    assert agent[3] == plus_minus(*mean_interval(untied), 3, "+") != agent[2]
    _, blind = table_cells(report.agents_markdown({name: four[name] for name in ("random", "dynamic")}, "random"))
    assert blind == agent[:2] + agent[4:], "without a truth there is no regret"
