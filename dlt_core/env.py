"""Algorithm 1's world as a gymnasium environment: re-tie one layer, train k steps, report minus perplexity."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict, Discrete, MultiDiscrete

from dlt_core.learner.evaluation import perplexity
from dlt_core.learner.training import Learner
from dlt_core.tie_map import ORPHANS, TieMap, as_layer_index, weight_set_colour

BASELINE_RATE = 0.1  # log_improvement: how fast its running baseline follows

STARTS = ("tied", "independent")
SQUARE, MARGIN = 32, 6  # pixels of a picture: a layer's side, and what is around it

# reward name -> function of (loss in nats per token, running baseline of that loss)
REWARDS: dict[str, Callable[[float, float], float]] = {
    "neg_perplexity": lambda loss, baseline: -perplexity(loss),  # the paper's
    "neg_loss": lambda loss, baseline: -loss,
    "neg_perplexity_clipped": lambda loss, baseline: min(10.0, max(-10.0, -perplexity(loss))),  # the released code's
    "log_improvement": lambda loss, baseline: baseline - loss,
}


class LayerTyingEnv(gymnasium.Env[dict[str, Any], np.int64]):
    """One step: the action re-ties the current layer, the learner trains k = steps_per_action steps, and the reward
    is computed from the loss on one training minibatch, dropout off. One episode: a turn over the layers 1..L-1.

    observation: {"tie_map": int64[L] (the state s), "layer": int (the layer to decide about)}.
    action: 0..L-1; layer i has only 0..i, which `info["action_mask"]` (int8[L]) and `action_masks()` (bool[L]) say.
        An action beyond them leaves the tie as it is, trains all the same, and sets `info["invalid_action"]`. What is
        no whole number raises ValueError before anything is trained.
    reward: "neg_perplexity", "neg_loss", "neg_perplexity_clipped" (to [-10, 10]) or "log_improvement" (a running
        baseline of the loss minus the loss); less `price` for each independent layer, so that the saving is part of it.
    orphans: see `TieMap.with_action`.
    start: "tied", all layers at once (the paper's start, s = 0); "independent" to begin with the model as it is, such
        as a pretrained one, of which tying all would leave one layer.

    The world is one transformer being trained: `reset()` begins the next turn with model and ties as they are.
    `reset(seed=...)` begins a new world: a new model from that seed, at its start.
    render_mode: "rgb_array" for pictures of the map by `render()`, or None.

    `gymnasium.make("dlt_core/LayerTying-v0", experiment=..., preset=...)` makes one, see `experiments.make_env`.
    Raises ValueError for a name that is none of the above, no steps between decisions, and a model of fewer than two
    layers.

    >>> env = build_env(Experiment.preset("gpt2-embedded", "smoke"))
    >>> observation, reward, end_of_turn, _, info = env.step(1)  # layer 1 becomes independent
    >>> env.tie_map
    TieMap([0, 1, 0, 0])
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012 - gymnasium's own convention

    def __init__(
        self,
        learner: Learner,
        *,
        steps_per_action: int = 15,
        reward: str = "neg_perplexity",
        price: float = 0.0,
        orphans: str = "follow",
        start: str = "tied",
        render_mode: str | None = None,
    ) -> None:
        if reward not in REWARDS:
            raise ValueError(f"unknown reward {reward!r}; known: {', '.join(REWARDS)}")
        if orphans not in ORPHANS:
            raise ValueError(f"unknown orphans {orphans!r}; known: {', '.join(ORPHANS)}")
        if start not in STARTS:
            raise ValueError(f"unknown start {start!r}; known: {', '.join(STARTS)}")
        if steps_per_action < 1:
            raise ValueError(f"steps_per_action={steps_per_action} must be at least 1: nothing would be trained")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"unknown render_mode {render_mode!r}; known: {', '.join(self.metadata['render_modes'])}")
        self.n_layer = len(learner.tie_map)
        if self.n_layer < 2:
            raise ValueError(f"the model has {self.n_layer} layer: with fewer than 2 there is nothing to tie")
        self.learner = learner
        self.steps_per_action = steps_per_action
        self.reward = reward
        self.price = price
        self.orphans = orphans
        self.start = start
        self.render_mode = render_mode
        self.observation_space = Dict(
            {"tie_map": MultiDiscrete(np.arange(1, self.n_layer + 1)), "layer": Discrete(self.n_layer)}
        )
        self.action_space = Discrete(self.n_layer)
        self._begin()

    def _begin(self) -> None:
        self.tie_map = self.tie_all()
        self.layer = 1
        self.decisions = 0  # also the number of the next reward minibatch
        self.baseline: float | None = None  # running mean of the reward minibatches' losses

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.learner.restart(seed)
            self._begin()
        self.layer = 1
        return self._observation(), {"action_mask": self._mask()}

    def step(self, action: int | np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        valid = self.act(action)
        train_losses = self.learner.train(self.steps_per_action)
        return self.outcome(valid, fmean(train_losses))

    def act(self, action: int | np.int64) -> bool:
        """The first half of a step: re-tie the current layer. Whether the layer has this action."""
        layer, action = self.layer, as_layer_index(action, "action")
        valid = 0 <= action <= layer
        if valid:
            self.tie_map = self.transition(layer, action)
        return valid

    def outcome(
        self, valid: bool, train_loss: float | None = None
    ) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """The second half, once the k steps are taken: what `step` returns. train_loss: the mean over these steps."""
        loss = self.learner.probe(self.decisions)
        self.baseline = loss if self.baseline is None else self.baseline
        reward = self.reward_of(loss) - self.price * self.tie_map.num_independent
        self.baseline += BASELINE_RATE * (loss - self.baseline)
        self.decisions += 1
        terminated = self.layer == self.n_layer - 1
        self.layer = 1 if terminated else self.layer + 1  # after the last layer the next turn begins at layer 1
        info = {
            "action_mask": self._mask(),
            "invalid_action": not valid,
            "loss": loss,
            "perplexity": perplexity(loss),
            "train_loss": train_loss,
            "num_independent": self.tie_map.num_independent,
        }
        return self._observation(), reward, terminated, False, info

    def render(self) -> np.ndarray | None:
        """uint8[44, 38 L + 6, 3]: a square for each layer from left to right, one colour for each weight set, and a bar
        under the layer to decide about. None without a render_mode."""
        if self.render_mode is None:
            return None
        step = SQUARE + MARGIN
        picture = np.full((SQUARE + 2 * MARGIN, step * self.n_layer + MARGIN, 3), 255, dtype=np.uint8)
        for layer, colour in enumerate(weight_set_colours(self.n_layer)[list(self.tie_map)]):
            left = MARGIN + step * layer
            picture[MARGIN : MARGIN + SQUARE, left : left + SQUARE] = colour
            if layer == self.layer:
                picture[-MARGIN + 2 : -MARGIN + 5, left : left + SQUARE] = 0
        return picture

    def action_masks(self) -> np.ndarray:
        """bool[L]: which actions the current layer has (the name that sb3-contrib expects)."""
        return np.arange(self.n_layer) <= self.layer

    def state_dict(self) -> dict[str, Any]:
        """What the environment remembers beside its learner, JSON-able."""
        remembered = {"layer": self.layer, "decisions": self.decisions, "baseline": self.baseline}
        return {"tie_map": list(self.tie_map), **remembered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` saved; the learner is restored by its own."""
        self.tie_map = type(self.tie_map)(state["tie_map"])
        self.layer, self.decisions, self.baseline = state["layer"], state["decisions"], state["baseline"]

    def _mask(self) -> np.ndarray:
        return self.action_masks().astype(np.int8)  # gymnasium's sample(mask=...) takes nothing else

    def _observation(self) -> dict[str, Any]:
        return {"tie_map": np.array(self.tie_map.sources, dtype=np.int64), "layer": self.layer}

    # --- What a world of another kind may change, as that of the released code does (studies/released_code.py) ---

    def tie_all(self) -> TieMap:
        """Tie the model as it is at the start of training; returns the first state s."""
        tie_map = TieMap.all_tied(self.n_layer) if self.start == "tied" else self.learner.tie_map
        self.learner.tie(tie_map)
        return tie_map

    def transition(self, layer: int, action: int) -> TieMap:
        """Re-tie the model after an action; returns the next state s'."""
        tie_map = self.tie_map.with_action(layer, action, orphans=self.orphans)
        self.learner.tie(tie_map)
        return tie_map

    def reward_of(self, loss: float) -> float:
        """The reward, without the price of weight sets, from the loss on the reward minibatch."""
        assert self.baseline is not None
        return REWARDS[self.reward](loss, self.baseline)

    @property
    def cost(self) -> dict[str, int]:
        """For the record's `budget`: what the rewards until now have cost beside the training."""
        return {}

    @property
    def selection(self) -> str:
        """The split that selects the best model."""
        return "validation"

    @property
    def settings(self) -> dict[str, Any]:
        """For the record's `agent`: what makes this world another one than the paper's."""
        return {}

    @property
    def history(self) -> dict[str, Any]:
        """What the record's `history` gets after each decision beside the usual."""
        return {}


def weight_set_colours(n_layer: int) -> np.ndarray:
    """uint8[L, 3]: red, green and blue of the weight set that layer 0, ..., L - 1 is the lowest of."""
    codes = (weight_set_colour(layer, n_layer) for layer in range(n_layer))
    return np.array([list(bytes.fromhex(code.removeprefix("#"))) for code in codes], dtype=np.uint8)
