"""The table world's numbers in a picture and in words."""

import pytest

from dlt_core.agents import RandomAgent
from dlt_core.records.statistics import hedged
from dlt_core.studies import many_decisions
from dlt_core.studies.enough_decisions import (
    decisions_figure,
    ends_all_tied,
    numbers_markdown,
    one_reward,
    regret_after,
)
from dlt_core.tie_map import all_maps
from tests.studies.conftest import table_cells


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


def test_a_model_that_trains_has_a_panel_beside_them(measured):
    rows = [row | {"world": many_decisions.WORLD} for row in measured["rows"][:1]]
    *_, trained = decisions_figure(measured, {"decisions": [900, 3000, 14100], "rows": rows}).axes
    assert trained.get_title() == "a model that trains"
    assert trained.lines[0].get_ydata().tolist() == [0.005, 0.25, 0.5]


def test_a_panel_for_each_world_and_a_line_for_each_reward(measured):
    still, trend = decisions_figure(measured).axes
    assert [ax.get_title() for ax in (still, trend)] == ["the world stands still", "the world with noise and trend"]
    assert [line.get_ydata().tolist() for line in still.lines[:2]] == [[0.005, 0.25, 0.5], [-0.005, -0.25, -0.5]]
    assert trend.lines[0].get_ydata().tolist() == [0.01, 0.5, 1.0]
    assert len(still.lines) == 3, "and zero; other rewards are not shown"
    assert [label.get_text() for label in still.get_xticklabels()] == ["900", "3,000", "14,100"]


def test_in_numbers(measured):
    head, worse, better, twin = table_cells(numbers_markdown(measured))
    assert head[1:3] == ["regret minus the twin's, 900 decisions", "regret minus the twin's, 14,100 decisions"]
    assert head[4] == "picks the least-tried action (random agent)"
    assert (worse[0], better[0]) == ("minus perplexity", "`log_improvement`")
    assert worse[1].startswith("+0.005")
    assert worse[2] == "+0.500 ± 0.000 (worse, n = 2; perplexity +64.9 to +64.9 %)"
    assert worse[3:] == ["50 ± 0 %", "10 ± 0 % (40 ± 0 %)"]
    assert "(better, n = 2" in better[2]
    assert twin == ["nothing: the twin", "", "", "20 ± 0 %", ""]
    assert regret_after(measured, "log_improvement").startswith(f"-0.500 ± 0.000 ({hedged([-0.5, -0.5])}, n = 2;")


def test_an_agent_that_never_moves_ends_all_tied_and_one_that_moves_does_not():
    losses = dict.fromkeys(all_maps(3), 2.0)
    still, moving = ([RandomAgent(3, seed=seed) for seed in (0, 1)] for _ in range(2))
    for agent in still:
        agent.act = lambda state, layer: 0
    for agent in moving:
        agent.act = lambda state, layer: layer
    assert ends_all_tied(losses, still, 8) == [1, 1]
    assert ends_all_tied(losses, moving, 8) == [0, 0]
    assert ends_all_tied(losses, still[:1] + moving[:1], 8) == [1, 0], "a share for each agent"


def test_what_one_reward_tells_is_of_the_papers_reward_where_there_is_a_signal():
    def moment(seed, signal, noise, samples, reward="minus perplexity, its logarithm"):
        return {"seed": seed, "reward": reward, "signal": signal, "noise": noise, "samples": samples}

    rows = [moment(0, 0.01, 0.1, 300.0), moment(0, 0.04, 0.4, 12345.0), moment(3, 0.02, 0.2, 1930.0)]
    rows += [moment(4, 0.0, 0.5, None), moment(5, 9.0, 9.0, 1.0, "paired")]
    assert one_reward({"rewards": {"rows": rows}}) == (
        "Over 3 moments of 2 seeds the signal is 0.02 nats, the noise 0.2. To tell two actions apart, a test needs "
        "1,900 rewards of each (the median over the moments; the geometric mean over the seeds, with its 95 % "
        "interval: 1,900 (1,900 to 2,000; n = 2))."
    )
