"""The gymnasium environment: its contract, its transition, its rewards."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from dlt_core.env import BASELINE_RATE, MARGIN, SQUARE, LayerTyingEnv, weight_set_colours
from dlt_core.experiments import build_env
from dlt_core.figures import style
from dlt_core.tie_map import TieMap

TINY = {"n_embd": 8, "n_head": 1, "n_positions": 8, "block_size": 8, "batch_size": 1, "steps_per_action": 1}
IDS = {"dlt_core/LayerTying-v0": TINY | {"device": "cpu"}, "dlt_core/SurrogateTying-v0": {}}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", IDS)
def test_what_is_registered_passes_gymnasiums_checker_and_draws_its_map(name):
    env = gymnasium.make(name, render_mode="rgb_array", **IDS[name]).unwrapped
    assert isinstance(env, LayerTyingEnv)
    check_env(env)  # renders, too, and makes it again from its spec
    env.reset(seed=3)
    env.step(1)
    picture = env.render()
    assert (picture.shape, picture.dtype) == ((SQUARE + 2 * MARGIN, 4 * (SQUARE + MARGIN) + MARGIN, 3), np.uint8)
    middles = [MARGIN + SQUARE // 2 + (SQUARE + MARGIN) * layer for layer in range(4)]
    colours = weight_set_colours(4)
    assert picture[SQUARE // 2, middles].tolist() == colours[[0, 1, 0, 0]].tolist()
    assert [picture[-MARGIN + 3, at].tolist() == [0, 0, 0] for at in middles] == [False, False, True, False]


@pytest.mark.parametrize("name", IDS)
def test_several_worlds_at_once_have_seeds_of_their_own(name):
    env = gymnasium.make_vec(name, num_envs=2, vectorization_mode="sync", **IDS[name])
    env.reset(seed=5)
    actions = np.array([1, 0])
    seen, rewards, *_ = env.step(actions)
    assert seen["tie_map"].tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]
    alone = gymnasium.make(name, **IDS[name])
    for number, action in enumerate(actions):
        alone.reset(seed=5 + number)
        assert alone.step(action)[1] == rewards[number]
    assert rewards[0] != rewards[1]


@pytest.mark.parametrize("n_layer", [4, 8, 12, 48])
def test_weight_sets_have_the_colours_of_the_figures(n_layer):
    figures = style.weight_set_colours(n_layer)(range(n_layer))[:, :3] * 255
    assert np.array_equal(weight_set_colours(n_layer), figures.round())
    assert len({*map(tuple, weight_set_colours(n_layer))}) == n_layer


def test_without_a_render_mode_nothing_is_drawn(smoke, tiny_data):
    assert build_env(smoke, tiny_data).render() is None


def test_one_episode_is_one_turn_over_the_layers(smoke, tiny_data):
    env = build_env(smoke, tiny_data)
    for turn in range(2):
        observation, info = env.reset()
        expected = env.tie_map
        for layer in range(1, 4):
            assert observation["layer"] == layer
            assert info["action_mask"].dtype == np.int8
            assert info["action_mask"].tolist() == [int(a <= layer) for a in range(4)]
            assert env.action_masks().tolist() == [a <= layer for a in range(4)]
            action = layer if turn == 0 else 0
            expected = expected.with_action(layer, action)
            observation, reward, terminated, truncated, info = env.step(action)
            assert observation["tie_map"].tolist() == list(expected) == list(env.learner.tie_map)
            assert reward == pytest.approx(-info["perplexity"])
            assert info["num_independent"] == expected.num_independent
            assert terminated == (layer == 3)
            assert not truncated
        assert env.learner.step == (turn + 1) * 3 * smoke.steps_per_action
    assert env.tie_map == TieMap.all_tied(4)


def test_reset_goes_on_and_reset_with_a_seed_starts_anew(smoke, tiny_data):
    env = build_env(smoke, tiny_data)
    env.reset(seed=7)
    first = env.step(1)[1]
    env.step(2)
    env.reset()
    assert env.learner.step == 2 * smoke.steps_per_action
    assert env.tie_map == TieMap([0, 1, 2, 0])
    env.reset(seed=7)
    assert env.learner.step == 0
    assert env.tie_map == env.learner.tie_map == TieMap.all_tied(4)
    assert env.step(1)[1] == first


@pytest.mark.parametrize("action", [2, 3, -1])
def test_an_action_beyond_the_mask_keeps_the_tie_and_says_so(smoke, tiny_data, action):
    env = build_env(smoke, tiny_data)
    *_, info = env.step(action)
    assert info["invalid_action"]
    assert env.tie_map == TieMap.all_tied(4)
    assert env.learner.step == smoke.steps_per_action


@pytest.mark.parametrize("action", [np.int64(1), np.int8(1), np.array(1), np.argmax([0.0, 1.0])])
def test_an_action_may_be_an_integer_of_numpys(smoke, tiny_data, action):
    env = build_env(smoke, tiny_data)
    *_, info = env.step(action)
    assert (info["invalid_action"], env.tie_map) == (False, TieMap([0, 1, 0, 0]))
    assert type(env.tie_map[1]) is int


@pytest.mark.parametrize("action", [1.0, np.float32(1), True, "1", None, [1], np.array([1, 0])])
def test_an_action_that_is_no_whole_number_is_refused_before_anything_is_trained(smoke, tiny_data, action):
    env = build_env(smoke, tiny_data)
    with pytest.raises(ValueError, match="action must be an int, got ") as refused:
        env.step(action)
    assert "\n" not in str(refused.value)
    assert (env.learner.step, env.decisions, env.layer, env.tie_map) == (0, 0, 1, TieMap.all_tied(4))


def test_rewards_are_the_same_losses_seen_differently(smoke, tiny_data):
    rewards, losses = {}, {}
    for reward in ("neg_perplexity", "neg_loss", "neg_perplexity_clipped", "log_improvement"):
        env = build_env(smoke.replace(reward=reward), tiny_data)
        steps = [env.step(a) for a in (1, 2, 0)]
        rewards[reward] = np.array([step[1] for step in steps])
        losses[reward] = np.array([step[4]["loss"] for step in steps])
    loss = losses["neg_loss"]
    assert all((found == loss).all() for found in losses.values())
    np.testing.assert_allclose(rewards["neg_loss"], -loss)
    np.testing.assert_allclose(rewards["neg_perplexity"], -np.exp(loss))
    assert rewards["neg_perplexity_clipped"].tolist() == [-10, -10, -10]  # every perplexity above 10
    baseline, expected = loss[0], []
    for value in loss:
        expected.append(baseline - value)
        baseline += BASELINE_RATE * (value - baseline)
    np.testing.assert_allclose(rewards["log_improvement"], expected)


def test_orphans_reach_the_transition(smoke, tiny_data):
    for orphans, expected in (("follow", [0, 0, 0, 3]), ("promote", [0, 0, 2, 3])):
        env = build_env(smoke.replace(orphans=orphans), tiny_data)
        for action in (1, 1, 3):
            env.step(action)
        env.step(0)  # layer 1 is tied away; layer 2 was tied to it
        assert list(env.tie_map) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reward": "profit"}, "unknown reward 'profit'; known: neg_perplexity, neg_loss"),
        ({"orphans": "adopt"}, "unknown orphans 'adopt'; known: follow, promote"),
        ({"steps_per_action": 0}, "steps_per_action=0"),
        ({"render_mode": "human"}, "unknown render_mode 'human'; known: rgb_array"),
    ],
)
def test_bad_arguments(smoke, tiny_data, arguments, message):
    learner = build_env(smoke, tiny_data).learner
    with pytest.raises(ValueError, match=message):
        LayerTyingEnv(learner, **arguments)


def test_each_reward_is_of_a_new_minibatch(smoke, tiny_data, monkeypatch):
    env = build_env(smoke, tiny_data)
    seen = []
    monkeypatch.setattr(env.learner, "probe", lambda index: seen.append(index) or 1.0)
    for _ in range(2):
        env.reset()
        for action in (0, 1, 2):
            env.step(action)
    assert seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("reward", ["neg_perplexity", "log_improvement"])
def test_a_price_is_taken_off_for_each_independent_layer(reward, smoke, tiny_data):
    free, priced = (build_env(smoke.replace(reward=reward, price=price), tiny_data) for price in (0.0, 0.25))
    for action in (1, 2, 0, 0):
        _, without, _, _, info = free.step(action)
        assert priced.step(action)[1] == pytest.approx(without - 0.25 * info["num_independent"])
    assert priced.learner.last_loss == free.learner.last_loss, "training is not touched"
