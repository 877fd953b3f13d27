"""Beat the agent: a student ties layers turn by turn against the Q-agent, the random agent and a fixed pattern."""

from __future__ import annotations

from statistics import fmean, stdev
from typing import Any

import traitlets

from dlt_core.agents import Agent, FixedAgent, RandomAgent
from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.env import LayerTyingEnv
from dlt_core.experiments import Experiment, build_agent, build_env, load_data
from dlt_core.records.checkpoints import Saved
from dlt_core.tie_map import TieMap
from dlt_core.widgets.base import Widget, module

YOU = "you"
# a model so small that four of them take a decision's steps in well under two seconds on two cores
SIZE = {"n_embd": 32, "batch_size": 4, "episodes": 8, "steps_per_action": 15, "learning_rate": 1e-2,
        "epsilon_decay": 0.5, "evaluation_tokens": 1024, "device": "cpu"}  # fmt: skip


STOPPED = "Stopped. What was not finished does not count; go on when you like."


class TurnStopped(KeyboardInterrupt):
    """The stop button ended a turn, which was taken back."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: no traceback, since nothing went wrong."""
        return [str(self)]


class Player:
    """One who decides, with a model of its own. agent: None for the student, whose actions come from outside."""

    def __init__(self, env: LayerTyingEnv, agent: Agent | None) -> None:
        self.env = env
        self.agent = agent
        self.losses = [self.validation()]

    def validation(self) -> float:
        """Loss on the validation split, nats per token."""
        return float(self.env.learner.evaluate("validation").loss)

    def play(self, action: int | None = None) -> None:
        """Decide about the layer at hand and train k steps: one round of Algorithm 1."""
        state, layer = self.env.tie_map, self.env.layer
        if action is None:
            if self.agent is None:
                raise ValueError("the student's action has to be given")
            action = self.agent.act(state, layer)
        _, reward, ended, _, _ = self.env.step(action)
        if self.agent is not None:
            self.agent.learn(state, layer, action, reward, self.env.tie_map)
            if ended:
                self.agent.end_episode()
        self.losses.append(self.validation())

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the player's future."""
        agent = self.agent.state_dict() if isinstance(self.agent, Saved) else None
        return {"learner": self.env.learner.state_dict(), "env": self.env.state_dict(), "agent": agent,
                "losses": list(self.losses)}  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` saved."""
        self.env.learner.load_state_dict(state["learner"])
        self.env.load_state_dict(state["env"])
        if isinstance(self.agent, Saved):
            self.agent.load_state_dict(state["agent"])
        self.losses = list(state["losses"])


class Game:
    """The student against three others: same initial weights, same batches, as many steps; lowest loss wins.

    Each player has a model of its own. In a turn each decides about the same layer, and each model is trained k steps.
    The loss that counts is that on the validation split, in nats per token.

    experiment: a tiny GPT-2 on the embedded corpus unless given. pattern: the fixed map that one player holds on to,
    `sandwich` with two weight sets unless given.
    """

    def __init__(
        self,
        experiment: Experiment | None = None,
        *,
        data: TokenizedCorpus | None = None,
        pattern: TieMap | None = None,
        **changes: Any,
    ) -> None:
        self.experiment = experiment or Experiment.preset("gpt2-embedded", "smoke", **{**SIZE, **changes})
        self.data = data or load_data(self.experiment)
        self.n_layer = self.experiment.n_layer
        self.pattern = pattern or TieMap.pattern("sandwich", self.n_layer, 2)
        self.total = self.experiment.episodes * (self.n_layer - 1)
        agents: dict[str, Agent | None] = {
            YOU: None,
            "Q-agent": build_agent(self.experiment),
            "random agent": self._random_agent(0),
            "fixed pattern": FixedAgent(self.pattern),
        }
        self.players = {name: Player(build_env(self.experiment, self.data), agent) for name, agent in agents.items()}
        self.chance: list[float] = []

    def _random_agent(self, number: int) -> RandomAgent:
        """The random agent of this seed; with a number another one, for other plays of chance."""
        return RandomAgent(self.n_layer, seed=self.experiment.seed + 1000 * number)

    @property
    def layer(self) -> int:
        """The layer that is to be decided about."""
        return self.players[YOU].env.layer

    @property
    def decision(self) -> int:
        """How many decisions have been made."""
        return len(self.players[YOU].losses) - 1

    @property
    def over(self) -> bool:
        return self.decision >= self.total

    def play(self, action: int) -> dict[str, float]:
        """One turn: the student's action for the layer at hand, and everybody else's; returns each one's loss.

        All or nothing: if it is interrupted, every player is put back to where it was before. Raises TurnStopped, a
        KeyboardInterrupt, then; ValueError for an action that the layer does not have, and when the game is over.
        """
        if self.over:
            raise ValueError(f"the game is over after {self.total} decisions: start a new one")
        if not 0 <= action <= self.layer:
            raise ValueError(f"layer {self.layer} has the actions 0..{self.layer}, got {action}")
        before: dict[str, Any] = {}
        try:
            for name, player in self.players.items():
                before[name] = player.state_dict()
                player.play(action if name == YOU else None)
        except BaseException as error:
            for name, state in before.items():
                self.players[name].load_state_dict(state)
            if isinstance(error, KeyboardInterrupt):
                raise TurnStopped(STOPPED) from None
            raise
        return {name: player.losses[-1] for name, player in self.players.items()}

    def play_by_chance(self) -> float:
        """Play a whole game at random once more, from the same weights and with the same batches; returns its loss.

        The losses of all these plays are kept in `chance`: what the game gives to those who do not think. A play that
        is interrupted does not count, and the next call begins it anew.
        """
        player = Player(build_env(self.experiment, self.data), self._random_agent(len(self.chance) + 1))
        for _ in range(self.total):
            player.play()
        self.chance.append(player.losses[-1])
        return self.chance[-1]

    def score(self) -> dict[str, Any]:
        """Each one's last loss, the best first, and how the student's compares with chance, as far as measured."""
        losses = {name: player.losses[-1] for name, player in self.players.items()}
        mine = losses[YOU]
        score: dict[str, Any] = {"losses": dict(sorted(losses.items(), key=lambda item: item[1]))}
        if self.chance:
            score["chance"] = list(self.chance)
            score["chance_mean"] = fmean(self.chance)
            score["chance_deviation"] = stdev(self.chance) if len(self.chance) > 1 else None
            score["beaten"] = sum(mine < loss for loss in self.chance)
        return score

    def to_json(self) -> dict[str, Any]:
        """What there is to see of the game."""
        return {
            "n_layer": self.n_layer,
            "layer": self.layer,
            "decision": self.decision,
            "total": self.total,
            "over": self.over,
            "steps": self.experiment.steps_per_action,
            "seed": self.experiment.seed,
            "players": [
                {"name": name, "losses": list(player.losses), "tie_map": list(player.env.tie_map)}
                for name, player in self.players.items()
            ],
            "score": self.score(),
        }


class BeatTheAgent(Widget):
    """A game to be played by click or with the keys 0, 1, 2, ...; needs a kernel, since real models are trained.

    game: a `Game`, or none for a new one with these changes, such as seed=3. `play` plays a turn from code.
    chance: how often the random agent plays the whole game when the student asks what chance alone gives.
    """

    _esm = module("beat_the_agent")
    game_state = traitlets.Dict().tag(sync=True)
    message = traitlets.Unicode().tag(sync=True)
    answered = traitlets.Int(0).tag(sync=True)  # number of the last request that was answered
    request = traitlets.Dict().tag(sync=True)  # what the page asks for: {number, kind, action, decision}

    def __init__(self, game: Game | None = None, *, chance: int = 20, **changes: Any) -> None:
        self.game = game or Game(**changes)
        self.num_chance = chance
        super().__init__(game_state=self.game.to_json(), message="Choose what layer 1 shall do.")
        self.observe(self._on_request, names="request")

    def __repr__(self) -> str:
        return "BeatTheAgent, a game: alive while the notebook runs"

    def play(self, action: int) -> dict[str, float]:
        """One turn; returns each player's validation loss."""
        losses = self.game.play(action)
        self._show(self._advice())
        return losses

    def measure_chance(self) -> dict[str, Any]:
        """Let the random agent play the game until `chance` plays are measured; returns the score."""
        while len(self.game.chance) < self.num_chance:
            self.game.play_by_chance()
            self._show(f"{len(self.game.chance)} of {self.num_chance} random plays measured.")
        self._show(self._advice())
        return self.game.score()

    def new_game(self) -> None:
        """The same game with the next seed: other weights, other batches."""
        self.game = Game(
            self.game.experiment.replace(seed=self.game.experiment.seed + 1),
            data=self.game.data,
            pattern=self.game.pattern,
        )
        self._show(self._advice())

    def _advice(self) -> str:
        game = self.game
        if not game.over:
            return f"Choose what layer {game.layer} shall do."
        place = 1 + list(game.score()["losses"]).index(YOU)
        words = f"The game is over: you are number {place} of {len(game.players)}."
        if game.chance:
            score = game.score()
            words += f" You beat {score['beaten']} of {len(game.chance)} random plays of the same game."
        return words

    def _show(self, message: str) -> None:
        self.message = message
        self.game_state = self.game.to_json()

    def _on_request(self, change: dict[str, Any]) -> None:
        """What the page asks for. The stop button ends it without a trace; so does what cannot be."""
        request = change["new"]
        try:
            if request.get("kind") == "play":
                if request.get("decision") == self.game.decision:  # not a second click on the same turn
                    self.play(int(request["action"]))
            elif request.get("kind") == "new":
                self.new_game()
            elif request.get("kind") == "chance":
                self.measure_chance()
        except KeyboardInterrupt:
            self._show(STOPPED)
        except ValueError as error:
            self._show(f"That cannot be done: {error}")
        finally:
            self.answered = int(request.get("number", 0))
