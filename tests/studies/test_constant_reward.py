"""A constant reward: what is known beforehand of a table, and of an agent that learns nothing."""

import pytest

from dlt_core import FixedAgent, QAgent, TieMap
from dlt_core.studies.constant_reward import TableAgent, ask


def test_a_table_takes_what_was_tried_least_and_falls_towards_r_over_1_minus_gamma():
    agent = TableAgent(4, gamma=0.5, learning_rate=0.5)
    found = ask(agent, 4, 300)
    assert set(found.ranks) == {0.0}
    assert found.mean_q[-1] == pytest.approx(-20, rel=0.01)
    assert found.mean_q == sorted(found.mean_q, reverse=True)
    assert len(found.mean_q) == len(found.as_at_first) == 300


def test_a_tables_td_error_is_what_it_should_have_said_minus_what_it_said():
    agent = TableAgent(3, gamma=0.9, learning_rate=0.1)
    assert [agent.learn([0, 0, 0], 2, 1, -10.0, [0, 0, 1]) for _ in range(2)] == pytest.approx([-10, -9])
    assert list(agent.q_values([0, 0, 0], 2)) == pytest.approx([0, -1.9, 0])
    assert agent.act([0, 0, 0], 2) == 0


def test_who_always_does_the_same_takes_what_was_tried_most():
    found = ask(FixedAgent(TieMap.independent(3)), 3, 6, every_choice=True)
    assert found.ranks == [0, 0, 1, 1, 1, 1]


def test_a_network_that_learns_nothing_chooses_as_at_first():
    found = ask(QAgent(4, hidden=8, epsilon=0.0, epsilon_min=0.0, seed=0), 4, 12, learns=False)
    assert len(found.as_at_first) == 12
    assert all(found.as_at_first)
