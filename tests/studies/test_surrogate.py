"""The surrogate of the world: what it is made of, how wrong it is, and that it is quick."""

import time

import gymnasium
import numpy as np
import pytest

from dlt_core import CHECKOUT
from dlt_core.experiments import Experiment
from dlt_core.records.record import RunRecord
from dlt_core.studies.diagnosis import truth
from dlt_core.studies.surrogate import SurrogateTyingEnv, fit, make_env, surrogate
from dlt_core.tie_map import TieMap, all_maps, from_actions

LOSSES = {tie_map: 4 + 0.1 * n for n, tie_map in enumerate(all_maps(4))}
RECORDS = CHECKOUT / "figures" / "records"


def recorded(seed, *, n_layer=4, weights=None, decisions=60, noise=0.0, **changes):
    """A run whose losses are known: a falling trend, 0.3 for layers 1 and 2 tied, 0.05 for a move."""
    rng = np.random.default_rng(seed)
    experiment = Experiment.preset("truth", "laptop", n_layer=n_layer, seed=seed, **changes).to_dict()
    run = RunRecord(experiment, "random", seed, {}, history={"tie_map": [], "loss": []}, status="finished")
    state = TieMap(run.first_ties(n_layer))
    for n in range(decisions):
        layer = 1 + n % (n_layer - 1)
        before, state = state, state.with_action(layer, int(rng.integers(layer + 1)))
        loss = 5 - 0.4 * np.log1p(n) + 0.3 * (state[1] == state[2]) + 0.05 * (state != before)
        run.history["tie_map"].append(list(state))
        run.history["loss"].append(loss + noise * rng.normal())
    return run


@pytest.fixture(scope="module")
def records():
    return [RunRecord.load(path) for path in sorted(RECORDS.glob("truth-laptop-*.json"))]


# --- a table ---


def test_a_table_is_played_like_the_world_with_noise_trend_and_the_cost_of_a_move():
    env = SurrogateTyingEnv(LOSSES, trend=(1.0, 0.5), move=0.25, reward="neg_loss")
    seen, info = env.reset(seed=0)
    assert (seen["layer"], info["action_mask"].tolist()) == (1, [1, 1, 0, 0])
    losses, maps = [], []
    for action in (1, 3, 3, 1, 0):  # the second is none of layer 2
        seen, reward, terminated, _, info = env.step(action)
        losses.append(-reward)
        maps.append(env.tie_map)
        assert seen["tie_map"].tolist() == list(env.tie_map)
        assert terminated == (seen["layer"] == 1)
    assert maps == env.maps == [from_actions(4, taken) for taken in (
        [(1, 1)], [(1, 1)], [(1, 1), (3, 3)], [(1, 1), (3, 3)], [(1, 1), (3, 3), (2, 0)])]  # fmt: skip
    extra = [1.0 + 0.25, 0.5, 0.5 + 0.25, 0.5, 0.5]  # after the trend its last value; no cost where nothing moves
    assert losses == pytest.approx([LOSSES[m] + more for m, more in zip(maps, extra, strict=True)])
    assert env.invalid_actions == 1
    env.reset()
    assert (env.decisions, len(env.maps)) == (5, 5), "the same world goes on"
    env.reset(seed=0)
    assert (env.decisions, env.maps, env.invalid_actions, env.tie_map) == (0, [], 0, TieMap.all_tied(4))


def test_noise_comes_from_the_seed():
    env = SurrogateTyingEnv(LOSSES, noise=0.2)
    drawn = {}
    for seed in (0, 1, 0):
        env.reset(seed=seed)
        drawn.setdefault(seed, []).append([env.step(0)[1] for _ in range(5)])
    assert drawn[0][0] == drawn[0][1] != drawn[1][0]


def test_thousands_of_decisions_a_second():
    env = gymnasium.make("dlt_core/SurrogateTying-v0")
    env.reset(seed=0)
    began = time.process_time()
    for n in range(1000):
        if env.step(n % 2)[2]:
            env.reset()
    assert 1000 / (time.process_time() - began) > 2000


# --- a fit ---


def test_a_fit_finds_the_losses_of_maps_the_trend_and_the_cost_of_a_move():
    found = fit([recorded(seed) for seed in range(3)])
    assert found.noise < 1e-6
    assert found.move == pytest.approx(0.05)
    assert found.trend == pytest.approx((-0.4 * np.log1p(np.arange(60)) + 0.4 * np.log1p(59)).tolist())
    for tie_map in all_maps(4):  # also those that no run was in
        assert found.losses[tie_map] == pytest.approx(5 - 0.4 * np.log(60) + 0.3 * (tie_map[1] == tie_map[2]))
    new = recorded(9)
    np.testing.assert_allclose(found.predicted(new), new.history["loss"], rtol=1e-6)


def test_runs_from_a_checkpoint_begin_with_independent_layers_and_so_does_their_surrogate():
    runs = [recorded(seed, init_from="a/checkpoint") for seed in range(3)]
    for run in runs:
        assert run.history["tie_map"][0][2:] == [2, 3]
    assert fit(runs).noise < 1e-6, "no first decision that leaves all as it is counts as a move"
    env = surrogate(runs, Experiment.preset("truth", "laptop", init_from="a/checkpoint"))
    for _ in range(2):
        assert env.reset(seed=0)[0]["tie_map"].tolist() == [0, 1, 2, 3]
        assert env.step(0)[0]["tie_map"].tolist() == [0, 0, 2, 3]


def test_the_surrogate_of_runs_says_how_far_it_is_from_runs_it_has_not_seen():
    experiment = Experiment.preset("truth", "laptop", reward="log_improvement", price=0.1, seed=4)
    runs = [recorded(seed, noise=0.2) for seed in range(5)]
    env = surrogate(runs, experiment)
    assert (env.reward, env.price, env.error.runs) == ("log_improvement", 0.1, 2)
    assert env.learner.noise == pytest.approx(0.2, rel=0.15)
    assert env.error.rms == pytest.approx(0.2, rel=0.15)
    assert env.error.rms_of_trend > env.error.rms + 0.02, "the maps make a difference here"
    assert env.error.maps == 0
    assert np.isnan(env.error.rank_correlation)
    shifted = [*runs[:3], *(recorded(seed, noise=0.2) for seed in (3, 4))]
    for run in shifted[3:]:
        run.history["loss"] = [loss + 1 for loss in run.history["loss"]]
    assert surrogate(shifted, experiment).error.rms > 0.9, "held-out seeds are not fitted"
    assert surrogate(runs, experiment, noise=0.0, trend=()).learner.noise == 0


def test_other_settings_of_training_are_other_worlds_and_too_few_runs_are_refused():
    runs = [recorded(0), recorded(1, n_layer=5), recorded(1, learning_rate=0.1), recorded(0, gamma=0.5)]
    with pytest.raises(
        ValueError, match=r"at least two seeds .* there are 1: name a folder .*records=.* or give a table"
    ):
        surrogate(runs, Experiment.preset("truth", "laptop"))
    assert surrogate([*runs, recorded(1, gamma=0.5)], Experiment.preset("truth", "laptop")).error.runs == 1


def test_without_records_it_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="there are 0: name a folder that has them"):
        gymnasium.make("dlt_core/SurrogateTying-v0", records=str(tmp_path))


# --- of the project's records ---


def test_the_table_of_study_truth_is_its_maps_from_scratch_and_its_error_is_stated(records):
    env = surrogate(records, Experiment.preset("truth", "laptop"))
    assert {m: [loss] for m, loss in env.losses.items()} == {
        m: [pytest.approx(np.mean(of))] for m, of in truth(records).items()
    }
    assert len(env.losses) == 15
    assert (env.error.maps, env.error.runs) == (15, 12)
    assert env.error.rank_correlation > 0.8, "three seeds order the maps as the other two do"
    assert 0.1 < env.learner.noise < 0.3
    assert env.error.rms < 1.5 * env.learner.noise


def test_an_experiment_of_more_maps_than_were_trained_is_fitted():
    env = make_env("agents-embedded", "laptop", reward="log_improvement")
    assert env.n_layer == 6
    assert env.error.rms < 1.5 * env.learner.noise
    assert env.error.rank_correlation > 0.3
    assert env.error.maps > 10
