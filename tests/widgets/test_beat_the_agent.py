"""The game: all train on the same batches from the same weights, a turn is all or nothing, chance is measured."""

import json
import statistics

import pytest
import torch

from dlt_core import FixedAgent, TieMap, build_env
from dlt_core.experiments import Experiment
from dlt_core.widgets.beat_the_agent import STOPPED, YOU, BeatTheAgent, Game, Player


@pytest.fixture
def game(tiny_data):
    tiny = Experiment.preset("gpt2-embedded", "smoke", device="cpu", n_layer=3, episodes=2, evaluation_tokens=256)
    return Game(tiny, data=tiny_data)


def weights(game: Game) -> list[dict[str, torch.Tensor]]:
    return [player.env.learner.weights() for player in game.players.values()]


def test_all_begin_with_the_same_weights_and_one_who_copies_another_stays_equal(game):
    first, *others = weights(game)
    assert all(torch.equal(first[name], other[name]) for other in others for name in first)
    assert len({player.losses[0] for player in game.players.values()}) == 1
    for layer, source in ((1, 1), (2, 1)) * 2:
        assert game.layer == layer
        game.play(game.pattern[layer])
        assert source == game.pattern[layer]
    assert game.over
    assert game.players[YOU].losses == game.players["fixed pattern"].losses
    assert game.players[YOU].losses[-1] != game.players["random agent"].losses[-1]


def test_a_turn_moves_everybody_by_as_many_steps(game):
    losses = game.play(1)
    assert list(losses) == [YOU, "Q-agent", "random agent", "fixed pattern"]
    steps = {player.env.learner.step for player in game.players.values()}
    assert steps == {game.experiment.steps_per_action}
    assert game.decision == 1
    assert list(game.players[YOU].env.tie_map) == [0, 1, 0]
    assert {player.env.layer for player in game.players.values()} == {2}


def test_a_turn_that_is_stopped_has_not_happened(game, monkeypatch):
    twin = Game(game.experiment, data=game.data)
    for one in (game, twin):
        one.play(0)
    learner = game.players["random agent"].env.learner
    train = learner.train

    def stop(steps):
        train(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(learner, "train", stop)
    with pytest.raises(KeyboardInterrupt) as stopped:
        game.play(2)
    assert stopped.value._render_traceback_() == [STOPPED], "a notebook shows this sentence alone"
    monkeypatch.undo()
    assert game.decision == 1
    assert game.to_json() == twin.to_json()
    while not game.over:
        layer = game.layer
        assert game.play(layer) == twin.play(layer), "as if nothing had been"


def test_what_cannot_be_played_is_refused(game):
    with pytest.raises(ValueError, match=r"layer 1 has the actions 0\.\.1, got 2"):
        game.play(2)
    while not game.over:
        game.play(0)
    with pytest.raises(ValueError, match="over"):
        game.play(0)


def test_chance_is_other_random_agents_on_the_same_batches(game):
    assert "chance" not in game.score()
    for _ in range(6):
        game.play_by_chance()
    assert len(set(game.chance)) > 1
    maps = [TieMap([0, 0, 0]), TieMap([0, 1, 2])]
    fixed = []
    for tie_map in maps:
        player = Player(build_env(game.experiment, game.data), FixedAgent(tie_map))
        for _ in range(game.total):
            player.play()
        fixed.append(player.losses[-1])
    assert abs(statistics.fmean(game.chance) - statistics.fmean(fixed)) < 1, "the same world"
    while not game.over:
        game.play(game.layer)
    score = game.score()
    mine = game.players[YOU].losses[-1]
    assert score["beaten"] == sum(mine < loss for loss in game.chance)
    assert score["chance_mean"] == pytest.approx(statistics.fmean(game.chance))
    assert list(score["losses"].values()) == sorted(score["losses"].values())


def test_chance_without_ties_to_the_students_play_does_not_change_it(game):
    twin = Game(game.experiment, data=game.data)
    game.play_by_chance()
    assert game.play(1) == twin.play(1)


def ask(widget: BeatTheAgent, **request) -> None:
    widget.request = {"number": widget.answered + 1, "decision": widget.game.decision, **request}


def test_the_page_asks_and_gets_an_answer(game):
    widget = BeatTheAgent(game, chance=2)
    ask(widget, kind="play", action=1)
    assert widget.game_state["decision"] == 1
    assert widget.answered == 1
    assert "layer 2" in widget.message
    ask(widget, kind="play", action=1, decision=0)
    assert widget.game_state["decision"] == 1, "a second click on the same turn is none"
    assert widget.answered == 2
    ask(widget, kind="play", action=7)
    assert "cannot be done" in widget.message
    while not widget.game.over:
        widget.play(0)
    assert "you are number" in widget.message
    ask(widget, kind="chance")
    assert len(widget.game_state["score"]["chance"]) == 2
    assert "of 2 random plays" in widget.message
    before = widget.game_state["players"][0]["losses"][0]
    ask(widget, kind="new")
    assert widget.game_state["seed"] == 1
    assert widget.game_state["players"][0]["losses"] != [before]
    json.dumps(widget.state())


def test_the_stop_button_leaves_words_and_a_game_that_goes_on(game, monkeypatch):
    widget = BeatTheAgent(game, chance=2)

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(game.players["Q-agent"], "play", stop)
    ask(widget, kind="play", action=1)
    assert "Stopped" in widget.message
    assert (widget.game_state["decision"], widget.answered) == (0, 1)
    monkeypatch.undo()
    monkeypatch.setattr(game, "play_by_chance", stop)
    ask(widget, kind="chance")
    assert "Stopped" in widget.message
    monkeypatch.undo()
    ask(widget, kind="play", action=1)
    assert widget.game_state["decision"] == 1
