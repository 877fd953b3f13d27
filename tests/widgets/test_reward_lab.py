"""The lab's JavaScript is the core's world and agent: the same decisions and Q-values from the same draws."""

import math

import numpy as np
import pytest
import torch

from dlt_core import LayerTyingEnv, QAgent, RandomAgent, TieMap
from dlt_core.studies.diagnosis import TableLearner
from dlt_core.tie_map import all_maps
from dlt_core.widgets.base import module
from dlt_core.widgets.reward_lab import RewardLab, settings_of


@pytest.fixture(scope="module")
def page(browser):
    """A page without a network."""
    opened = browser.new_page()
    yield opened
    opened.close()


SIMULATE = """async ([source, ...given]) => {
    const { default: lab } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    const { visited, actions, rewards, believed, q } = lab.simulate(...given);
    return { visited: Array.from(visited), actions, rewards, believed, q };
}"""


def table(n_layer: int = 4) -> dict[TieMap, float]:
    maps = list(all_maps(n_layer))
    return dict(zip(maps, np.random.default_rng(1).uniform(2.0, 3.0, len(maps)).tolist(), strict=True))


class Draws:
    """A random generator that reads from lists, for the agent (random, integers) and the world (normal)."""

    def __init__(self, decisions: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.explore, self.choice = rng.random(decisions), rng.random(decisions)
        self.noise = rng.normal(size=decisions)
        self.decision = 0

    def random(self) -> float:
        return self.explore[self.decision]

    def integers(self, high: int) -> int:
        return int(self.choice[self.decision] * high)

    def normal(self) -> float:
        return self.noise[self.decision]


def read(state, settings) -> list[int]:
    """What the network reads of a state."""
    return [3 - j for j in state] if settings["input"] == "mirrored" else list(state)


def python_run(losses, settings, draws, agent, *, level=0.0):
    """The core's agent in the core's world with these draws; with a level, the reward is moved instead of Q."""
    fall = settings["trend"] * settings["steps_per_action"]
    learner = TableLearner(losses, noise=settings["noise"], trend=lambda n: -min(fall * n, 0.9 * min(losses.values())))
    agent.rng = learner.rng = draws
    env = LayerTyingEnv(learner, reward=settings["reward"])
    actions, rewards, believed, visited = [], [], [], []
    for draws.decision in range(settings["decisions"]):
        state, layer = read(env.tie_map, settings), env.layer
        believed.append((agent.q_values(state, layer) + level).tolist())
        actions.append(agent.act(state, layer))
        _, reward, ended, _, _ = env.step(actions[-1])
        agent.learn(state, layer, actions[-1], reward - level * (1 - settings["gamma"]), read(env.tie_map, settings))
        rewards.append(reward)
        visited.append(list(env.tie_map))
        if ended:
            agent.end_episode()
    return actions, rewards, believed, visited


def q_agent(settings) -> QAgent:
    names = ("learning_rate", "gamma", "epsilon", "epsilon_decay", "epsilon_min")
    return QAgent(4, **{name: settings[name] for name in names}, seed=3)


def javascript_run(page, losses, settings, draws, agent):
    weights = [x for p in agent.q_network.parameters() for x in p.detach().flatten().tolist()]
    given = {"weights": weights, **{name: getattr(draws, name).tolist() for name in ("explore", "choice", "noise")}}
    pairs = [[list(m), loss] for m, loss in losses.items()]
    return page.evaluate(SIMULATE, [module("reward_lab", "table_world"), pairs, settings, 0, "q", given])


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


WORLDS = {
    "the paper's": {},
    "noise and trend": {"noise": 0.2, "trend": 2e-5, "steps_per_action": 10},
    "improvement": {"reward": "log_improvement", "noise": 0.1},
    "minus loss, fast": {"reward": "neg_loss", "learning_rate": 1e-2, "gamma": 0.5},
    "mirrored input": {"input": "mirrored"},
    "clipped": {"reward": "neg_perplexity_clipped", "epsilon_decay": 0.9, "epsilon_min": 0.02},
}


@pytest.mark.parametrize("world", WORLDS)
def test_the_same_draws_give_the_cores_decisions_and_q_values(page, double, world):
    losses, settings = table(), settings_of({**WORLDS[world], "decisions": 600})
    draws, agent = Draws(600), q_agent(settings)
    there = javascript_run(page, losses, settings, draws, agent)
    actions, rewards, believed, visited = python_run(losses, settings, draws, agent)
    assert there["actions"] == actions
    assert [list(list(losses)[m]) for m in there["visited"]] == visited
    assert there["rewards"] == pytest.approx(rewards, abs=1e-9)
    for mine, theirs in zip(believed, there["believed"], strict=True):
        assert theirs == pytest.approx(mine, abs=1e-6)
    for m, tie_map in enumerate(losses):
        for layer in range(1, 4):
            assert there["q"][m][layer] == pytest.approx(
                agent.q_values(read(tie_map, settings), layer).tolist(), abs=1e-6
            )


def test_in_single_precision_too_as_the_core_runs_it(page):
    losses, settings = table(), settings_of({"decisions": 300})
    draws, agent = Draws(300), q_agent(settings)
    there = javascript_run(page, losses, settings, draws, agent)
    actions, _, believed, _ = python_run(losses, settings, draws, agent)
    assert there["actions"] == actions
    assert there["believed"][-1] == pytest.approx(believed[-1], rel=1e-4, abs=1e-4)


def test_a_neutral_start_is_a_reward_that_is_zero_on_average(page, double):
    losses, settings = table(), settings_of({"initial": "neutral", "decisions": 300})
    level = -np.mean([math.exp(loss) for loss in losses.values()]) / (1 - settings["gamma"])
    draws, agent = Draws(300), q_agent(settings)
    there = javascript_run(page, losses, settings, draws, agent)
    actions, rewards, believed, _ = python_run(losses, settings, draws, agent, level=level)
    assert there["actions"] == actions
    assert there["rewards"] == pytest.approx(rewards, abs=1e-9)
    assert there["believed"][-1] == pytest.approx(believed[-1], abs=1e-6)


def test_its_own_random_agent_visits_each_map_as_often_as_the_cores(page):
    losses, settings = table(), settings_of({"decisions": 6000})
    pairs = [[list(m), loss] for m, loss in losses.items()]
    there = page.evaluate(SIMULATE, [module("reward_lab", "table_world"), pairs, settings, 1, "random"])["visited"]
    agent, env, seen = RandomAgent(4, seed=0), LayerTyingEnv(TableLearner(losses)), []
    for _ in range(6000):
        env.step(agent.act(env.tie_map, env.layer))
        seen.append(list(losses).index(env.tie_map))
    ours, theirs = (np.bincount(v, minlength=15) / 6000 for v in (seen, there))
    assert np.abs(ours - theirs).max() < 0.02
    assert theirs.min() > 0


def test_another_seed_is_another_run_and_the_same_seed_the_same(page):
    pairs = [[list(m), loss] for m, loss in table().items()]
    one, same, other = (
        page.evaluate(SIMULATE, [module("reward_lab", "table_world"), pairs, settings_of({"decisions": 300}), seed])[
            "visited"
        ]
        for seed in (1, 1, 2)
    )
    assert one == same != other


def test_state_is_all_that_the_page_needs():
    lab = RewardLab(table(), reward="neg_loss", seeds=4)
    state = lab.state()
    assert state["settings"]["reward"] == "neg_loss"
    assert state["settings"]["gamma"] == 0.99
    assert {tuple(sources) for sources, _ in state["losses"]} == {tuple(m) for m in all_maps(4)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"gama": 0.9}, "gama"), ({"gamma": 1.0}, "0.99"), ({"reward": "big"}, "neg_loss"), ({"initial": "x"}, "neutral")],
)
def test_settings_that_cannot_be_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        RewardLab(table(), **changes)


def test_a_table_without_some_maps_is_refused():
    losses = table()
    del losses[TieMap([0, 1, 0, 1])]
    with pytest.raises(ValueError, match="every map"):
        RewardLab(losses)


LOSSES_OF_TWO_SIDES = {
    "the worst": lambda m: 5.0 + 0.2 * (4 - m.num_independent) / 3,
    "the best": lambda m: 5.0 + 0.2 * (m.num_independent - 1) / 3,
}


def last_quarter(page, losses, **changes) -> np.ndarray:
    """Share of the last quarter of 3000 decisions at each map, mean over three seeds."""
    pairs, settings = [[list(m), loss] for m, loss in losses.items()], settings_of(changes)
    runs = [
        page.evaluate(SIMULATE, [module("reward_lab", "table_world"), pairs, settings, seed])["visited"]
        for seed in range(3)
    ]
    return np.mean([np.bincount(run[-750:], minlength=15) / 750 for run in runs], axis=0)


@pytest.mark.parametrize("what", LOSSES_OF_TWO_SIDES)
def test_minus_perplexity_drives_the_agent_to_all_tied_be_it_the_worst_map_or_the_best(page, what):
    """What the lab is there to show. All tied is where the network's input is 0; mirrored, it is smallest where no
    layer shares."""
    losses = {m: LOSSES_OF_TWO_SIDES[what](m) for m in all_maps(4)}
    maps = list(losses)
    tied, independent = maps.index(TieMap.all_tied(4)), maps.index(TieMap.independent(4))
    assert last_quarter(page, losses)[tied] > 0.5
    mirrored = last_quarter(page, losses, input="mirrored")
    assert mirrored[tied] < 0.25 < mirrored[independent]


def test_an_improvement_does_not_drive_it_there(page):
    losses = {m: LOSSES_OF_TWO_SIDES["the worst"](m) for m in all_maps(4)}
    tied = list(losses).index(TieMap.all_tied(4))
    driven = last_quarter(page, losses)[tied]
    assert last_quarter(page, losses, reward="log_improvement")[tied] < 0.5 * driven
