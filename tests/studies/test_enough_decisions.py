"""The table world's numbers in a picture and in words."""

import pytest

from dlt_core.records.statistics import hedged
from dlt_core.studies.enough_decisions import decisions_figure, in_words, regret_after


@pytest.fixture
def measured():
    def row(reward, world, sign):
        regret = {"900": [sign * 0.01, 0.0], "3000": [sign * 0.2, sign * 0.3], "14100": [sign * 0.5, sign * 0.5]}
        shares = {"at_the_worst_map": [0.5, 0.5], "least_tried": [0.1, 0.1], "least_tried_by_chance": [0.4, 0.4]}
        return {"reward": reward, "world": world, "regret_minus_random": regret, **shares}

    rewards = {"neg_perplexity": 1, "log_improvement": -1, "another": 9}
    worlds = {"still": 1, "noise and trend": 2}
    rows = [row(reward, world, sign * n) for reward, sign in rewards.items() for world, n in worlds.items()]
    return {"decisions": [900, 3000, 14100], "random_at_the_worst_map": [0.2, 0.2], "rows": rows}


def test_a_panel_for_each_world_and_a_line_for_each_reward(measured):
    still, trend = decisions_figure(measured).axes
    assert [ax.get_title() for ax in (still, trend)] == ["the world stands still", "the world with noise and trend"]
    assert [line.get_ydata().tolist() for line in still.lines[:2]] == [[0.005, 0.25, 0.5], [-0.005, -0.25, -0.5]]
    assert trend.lines[0].get_ydata().tolist() == [0.01, 0.5, 1.0]
    assert len(still.lines) == 3, "and zero; other rewards are not shown"
    assert [label.get_text() for label in still.get_xticklabels()] == ["900", "3,000", "14,100"]


def test_in_words(measured):
    worse, better, chance = in_words(measured).splitlines()
    assert worse.startswith("- minus perplexity: regret minus the twin's, nats per token, after 900 decisions +0.005")
    assert "after 14,100 decisions +0.500 ± 0.000 (worse, n = 2; perplexity +64.9 to +64.9 %)" in worse
    assert "50 ± 0 % end at the worst map; it takes what was tried least in 10 ± 0 %" in worse
    assert "by chance 40 ± 0 %" in worse
    assert "(better, n = 2" in better
    assert chance == "- The random agent ends 20 ± 0 % of its turns there."
    assert regret_after(measured, "log_improvement").startswith(f"-0.500 ± 0.000 ({hedged([-0.5, -0.5])}, n = 2;")
