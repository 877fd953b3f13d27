"""Agents side by side on the surrogate."""

import functools
import json

import pytest

from dlt_core.__main__ import main
from dlt_core.agents import FixedAgent, RandomAgent
from dlt_core.experiments import Experiment
from dlt_core.studies import methods, on_surrogate
from dlt_core.studies.on_surrogate import Played, measure, measured_markdown, play, side_by_side, side_by_side_markdown
from dlt_core.studies.surrogate import SurrogateTyingEnv
from dlt_core.tie_map import TieMap, all_maps

BEST = TieMap([0, 1, 1, 3])
LOSSES = {tie_map: 4.0 if tie_map == BEST else 4.5 for tie_map in all_maps(4)}
FEW = Experiment.preset("truth", "laptop", episodes=8, reward="log_improvement", device="cpu")


def test_regret_is_of_the_late_maps_whoever_decides(monkeypatch):
    env = SurrogateTyingEnv(LOSSES, reward="neg_loss")
    monkeypatch.setitem(methods.REGISTRY, "best", methods.decided("the best map", lambda e: FixedAgent(BEST)))
    monkeypatch.setitem(methods.REGISTRY, "tied", methods.decided("none", lambda e: FixedAgent([0, 0, 0, 0])))
    assert play(env, "best", FEW) == Played(0.0, 0.0)
    assert play(env, "tied", FEW) == Played(0.5, 0.0)
    assert len(env.maps) == 24
    assert play(env, "random", FEW) == play(env, "random", FEW)
    with pytest.raises(ValueError, match="'conventional' has no agent"):
        play(env, "conventional", FEW)


def test_ours_and_theirs_make_as_many_decisions():
    env = SurrogateTyingEnv(LOSSES, reward="log_improvement")
    played = side_by_side(env, FEW, ["dynamic", "sb3_dqn"], seeds=(0, 1))
    assert {name: len(of) for name, of in played.items()} == {"dynamic": 2, "sb3_dqn": 2, "random": 2}
    for method in ("sb3_dqn", "sb3_ppo"):  # PPO would by itself collect its six to the end
        play(env, method, FEW.replace(episodes=3))
        assert len(env.maps) == 9
    assert played["sb3_dqn"] == [play(env, "sb3_dqn", FEW.replace(seed=seed)) for seed in (0, 1)]
    assert played["dynamic"][0].invalid_actions == 0 < played["sb3_dqn"][0].invalid_actions
    agent = RandomAgent(4, seed=1)
    env.reset(seed=1)
    for _ in range(8):
        for layer in (1, 2, 3):
            env.step(agent.act(env.tie_map, layer))
    assert played["random"][1].regret == pytest.approx(sum(LOSSES[m] - 4 for m in env.maps[20::3]) / 2)


def test_the_table():
    played = {"dynamic": [Played(0.1, 0.0), Played(0.2, 0.0)], "random": [Played(0.3, 0.0), Played(0.4, 0.5)]}
    lines = side_by_side_markdown(played).splitlines()
    assert lines[0] == "| method | regret | minus the random agent's | impossible actions |"
    assert lines[2].startswith("| `dynamic` | 0.150 ± ")
    assert "| -0.200 ± 0.000: better | 0 ± 0 % |" in lines[2]
    assert "| +0.000 ± 0.000: exactly equal | 25 ± " in lines[3]


def test_what_is_measured_is_what_the_command_writes(tmp_path, monkeypatch, capsys):
    with pytest.raises(ValueError, match="7 decisions are not a number of turns over layers 1 to 3"):
        measure(decisions=7)
    small = functools.partial(measure, methods=["dynamic"], seeds=(0, 1), decisions=12)
    monkeypatch.setattr(on_surrogate, "measure", small)
    assert main(["surrogate", "--out", str(tmp_path / "surrogate.json")]) == 0
    written = json.loads((tmp_path / "surrogate.json").read_text())
    assert {method: len(of) for method, of in written["played"].items()} == {"dynamic": 2, "random": 2}
    assert written["error"]["maps"] == 15, "of the committed records"
    text = measured_markdown(written)
    assert text in capsys.readouterr().out
    assert side_by_side_markdown({m: [Played(**one) for one in of] for m, of in written["played"].items()}) in text
    assert "Regret after 12 decisions, nats per token, over 2 seeds" in text
    assert f"Spearman's {written['error']['rank_correlation']:+.2f}" in text
