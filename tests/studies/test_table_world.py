"""The world that is a table, many runs side by side: equal to the core's agent and environment, and as recorded."""

import functools
import json
import math

import numpy as np
import pytest

from dlt_core import CHECKOUT
from dlt_core.__main__ import main
from dlt_core.agents import QAgent, RandomAgent
from dlt_core.env import LayerTyingEnv
from dlt_core.experiments import Experiment, build_learner, load_data
from dlt_core.records import load_all
from dlt_core.records.record import RunRecord
from dlt_core.studies import table_world
from dlt_core.studies.diagnosis import TableLearner, rank_correlation, true_losses
from dlt_core.studies.rule.gain import use_gradients
from dlt_core.studies.rule.methods import WARM_UP
from dlt_core.studies.rule.rewards import Paired
from dlt_core.studies.table_world import (
    World,
    gains_seen,
    judgement,
    late_maps,
    measure,
    noise_and_trend,
    play,
    table_world_markdown,
)
from dlt_core.tie_map import TieMap, all_maps

LOSSES = dict(zip(all_maps(4), np.random.default_rng(0).permutation(np.linspace(4.0, 4.4, 15)).tolist(), strict=True))
GAINS = {m: 90.0 + i for i, m in enumerate(LOSSES)}
TRUTH = CHECKOUT / "figures" / "records"


class OfATable(LayerTyingEnv):
    """Rewards by what an action brings of a table of gains."""

    def transition(self, layer, action):
        before = GAINS[self.tie_map]
        after = super().transition(layer, action)
        self.brought = GAINS[after] - before
        return after

    def reward_of(self, loss):
        return self.brought


@pytest.fixture
def cheap_gains(monkeypatch):
    monkeypatch.setattr(table_world, "gains_seen", lambda experiment, seeds: GAINS)


def alone(agent, world, turns):
    """The same with the core's parts, one run after the other."""
    learner = TableLearner(
        LOSSES, noise=world.noise, trend=lambda i: (*world.trend, *[0.0] * 999)[i], seed=agent.settings["seed"]
    )
    kinds = {"paired": Paired, "first_order_gain": OfATable}
    kind = kinds.get(world.reward, LayerTyingEnv)
    env, history = kind(learner, steps_per_action=1, reward="neg_loss" if kind in kinds.values() else world.reward), []
    for _ in range(turns):
        for layer in (1, 2, 3):
            state = env.tie_map
            action = agent.act(state, layer)
            _, reward, *_ = env.step(action)
            agent.learn(state, layer, action, reward, env.tie_map)
            history.append((layer, action, agent.explored, env.tie_map))
        agent.end_episode()
    return history


def test_runs_side_by_side_are_those_of_the_core_decision_by_decision():
    worlds = [World(), World("log_improvement"), World("log_improvement", 0.2, (1.0, 0.5)), World(trend=(2.0,))]
    worlds += [World("paired"), World("first_order_gain")]
    seeds = (0, 3, 3, 1, 2, 4)

    def agents():
        return [QAgent(4, epsilon_decay=0.8, seed=seed) for seed in seeds]

    together = play(LOSSES, agents(), worlds, 20, GAINS)
    for agent, world, history in zip(agents(), worlds, together, strict=True):
        assert list(zip(*history.values(), strict=True)) == alone(agent, world, 20)
    assert together[1] != together[2], "noise and trend change what is decided"
    (blind,) = play(LOSSES, [RandomAgent(4, seed=5)], [World()], 20)
    assert list(zip(*blind.values(), strict=True)) == alone(RandomAgent(4, seed=5), World(), 20)


def test_the_late_maps_are_of_the_ends_of_the_last_quarter_of_the_turns():
    maps = [TieMap.all_tied(4)] * 24
    maps[17], maps[20], maps[23] = TieMap([0, 1, 1, 1]), TieMap([0, 1, 2, 3]), TieMap([0, 0, 2, 2])
    history = {"layer": [1, 2, 3] * 8, "tie_map": maps}
    assert late_maps(history, 24) == [maps[20], maps[23]]  # 8 turns
    assert late_maps(history, 18) == [maps[17]]
    assert late_maps(history, 3) == [maps[2]]


def test_noise_and_trend_of_recorded_runs():
    rng = np.random.default_rng(0)
    falling = np.linspace(3.0, 0.0, 2000)
    runs = [
        RunRecord({}, "random", s, {}, history={"loss": (falling + rng.normal(0, 0.2, 2000)).tolist()}) for s in (0, 1)
    ]
    noise, trend = noise_and_trend(runs)
    assert noise == pytest.approx(0.2, rel=0.05)
    assert (len(trend), trend[-1]) == (2000, 0)
    assert trend[1000] == pytest.approx(1.5, abs=0.1)


def test_the_gains_are_those_that_the_rule_sees():
    experiment = Experiment.preset("truth", "smoke")
    gains = gains_seen(experiment, (0, 1))
    assert gains.keys() == set(all_maps(experiment.n_layer))
    assert gains[TieMap.independent(experiment.n_layer)] == pytest.approx(100)
    tied, one = (gains[TieMap(m)] for m in ([0, 0, 0], [0, 1, 1]))
    assert 0 < tied < one < 100, "untying never lowers it"
    learner = build_learner(experiment, load_data(experiment))
    learner.tie(TieMap.all_tied(experiment.n_layer))
    learner.train(WARM_UP)
    gradients = use_gradients(learner)
    by_hand = 100 * gradients.sum(0).abs().sum() / gradients.abs().sum()
    assert gains_seen(experiment, (0,))[TieMap.all_tied(experiment.n_layer)] == pytest.approx(float(by_hand), rel=1e-5)


def test_what_is_measured_and_its_table(cheap_gains):
    records = [RunRecord.load(path) for path in sorted(TRUTH.glob("truth-laptop-*-seed0.json"))]
    found = measure(records, decisions=(30, 60), seeds=(0, 1))
    assert len(found["rows"]) == 14
    assert [value for _, value in found["gains"]] == list(GAINS.values())
    assert found == measure(records, decisions=(30, 60), seeds=(0, 1)), "to the last digit"
    for row in found["rows"]:
        assert {n: len(values) for n, values in row["regret_minus_random"].items()} == {"30": 2, "60": 2}
        assert all(0 <= share <= 1 for share in (*row["least_tried"], *row["at_the_worst_map"]))
    lines = table_world_markdown(found).splitlines()
    assert lines[0].startswith("| reward | world | after 30 decisions | after 60 decisions |")
    assert len(lines) == 2 + 14 + 2
    with pytest.raises(ValueError, match="needs the records of study truth"):
        measure(records[:1])


def test_what_is_committed_was_measured_in_this_world():
    """The recorded noise and trend are those of the committed records; ten seeds, the three numbers of decisions."""
    committed = json.loads((CHECKOUT / "figures" / "table_world.json").read_text(encoding="utf-8"))
    runs = [RunRecord.load(path) for path in sorted(TRUTH.glob("truth-laptop-random-seed*.json"))]
    noise, trend = noise_and_trend(runs)
    assert math.isclose(committed["noise"], noise)
    assert committed["trend"] == pytest.approx(trend)
    assert (committed["decisions"], len(committed["seeds"])) == ([900, 3000, 14100], 10)
    gains = {TieMap(sources): of for sources, of in committed["gains"]}
    assert max(gains, key=gains.__getitem__) == TieMap.independent(4)
    assert rank_correlation({m: -of for m, of in gains.items()}, true_losses(load_all(TRUTH))) > 0.8


def test_the_command_writes_what_it_measured(tmp_path, monkeypatch, capsys, cheap_gains):
    small = functools.partial(measure, decisions=(30,), seeds=(0, 1))
    monkeypatch.setattr(table_world, "measure", small)
    records = [RunRecord.load(path) for path in sorted(TRUTH.glob("truth-laptop-*-seed0.json"))]
    for record in records:
        record.save(tmp_path / "records")
    assert main(["table-world", "--records", str(tmp_path / "records"), "--out", str(tmp_path / "out.json")]) == 0
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert written == small(records)
    assert table_world_markdown(written) in capsys.readouterr().out


def test_a_difference_that_is_not_shown_says_what_the_interval_allows():
    open_, shown = [0.01, -0.01, 0.03], [0.01, 0.011, 0.012]
    assert judgement(open_) == "+0.010 ± 0.050: not told apart"
    assert judgement(open_, open_) == "+0.010 ± 0.050: not told apart, perplexity -3.9 to +6.1 %"
    assert judgement(shown, shown) == "+0.011 ± 0.002: worse"
