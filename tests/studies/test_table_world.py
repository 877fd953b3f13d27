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
from dlt_core.records.record import RunRecord
from dlt_core.studies import table_world
from dlt_core.studies.diagnosis import TableLearner
from dlt_core.studies.rule.rewards import Paired
from dlt_core.studies.table_world import World, late_maps, measure, noise_and_trend, play, table_world_markdown
from dlt_core.tie_map import TieMap, all_maps

LOSSES = dict(zip(all_maps(4), np.random.default_rng(0).permutation(np.linspace(4.0, 4.4, 15)).tolist(), strict=True))
TRUTH = CHECKOUT / "figures" / "records"


def alone(agent, world, turns):
    """The same with the core's parts, one run after the other."""
    learner = TableLearner(
        LOSSES, noise=world.noise, trend=lambda i: (*world.trend, *[0.0] * 999)[i], seed=agent.settings["seed"]
    )
    paired = world.reward == "paired"
    kind, reward = (Paired, "neg_loss") if paired else (LayerTyingEnv, world.reward)
    env, history = kind(learner, steps_per_action=1, reward=reward), []
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
    worlds.append(World("paired"))
    seeds = (0, 3, 3, 1, 2)

    def agents():
        return [QAgent(4, epsilon_decay=0.8, seed=seed) for seed in seeds]

    together = play(LOSSES, agents(), worlds, 20)
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


def test_what_is_measured_and_its_table():
    records = [RunRecord.load(path) for path in sorted(TRUTH.glob("truth-laptop-*-seed0.json"))]
    found = measure(records, decisions=(30, 60), seeds=(0, 1))
    assert len(found["rows"]) == 11
    assert found == measure(records, decisions=(30, 60), seeds=(0, 1)), "to the last digit"
    for row in found["rows"]:
        assert {n: len(values) for n, values in row["regret_minus_random"].items()} == {"30": 2, "60": 2}
        assert all(0 <= share <= 1 for share in (*row["least_tried"], *row["at_the_worst_map"]))
    lines = table_world_markdown(found).splitlines()
    assert lines[0].startswith("| reward | world | after 30 decisions | after 60 decisions |")
    assert len(lines) == 2 + 11 + 2
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


def test_the_command_writes_what_it_measured(tmp_path, monkeypatch, capsys):
    small = functools.partial(measure, decisions=(30,), seeds=(0, 1))
    monkeypatch.setattr(table_world, "measure", small)
    records = [RunRecord.load(path) for path in sorted(TRUTH.glob("truth-laptop-*-seed0.json"))]
    for record in records:
        record.save(tmp_path / "records")
    assert main(["table-world", "--records", str(tmp_path / "records"), "--out", str(tmp_path / "out.json")]) == 0
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert written == small(records)
    assert table_world_markdown(written) in capsys.readouterr().out
