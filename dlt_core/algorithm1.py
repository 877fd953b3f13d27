"""Algorithm 1, Q-learning driven dynamic layer tying, as one flat loop; and conventional training beside it.

The paper's listing could not be read for this reproduction. The numbered lines below are rebuilt from its abstract,
its experiment setup and the authors' released code; README.md lists each interpretation with its source.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from dlt_core import corpora, parallel, tokenization
from dlt_core.agents import Agent, QAgent
from dlt_core.blocks import build_model
from dlt_core.env import LayerTyingEnv
from dlt_core.learner import Learner
from dlt_core.records import RunRecord
from dlt_core.run import Run
from dlt_core.tie_map import TieMap

if TYPE_CHECKING:
    from dlt_core.experiments import Experiment


def load_data(experiment: Experiment) -> tokenization.TokenizedCorpus:
    """The experiment's corpus, tokenised."""
    with parallel.one_first():  # of several processes; the others find it cached
        corpus = corpora.load(experiment.corpus, train_bytes=experiment.train_bytes)
        return tokenization.tokenize(corpus, experiment.tokenizer)


def build_learner(
    experiment: Experiment,
    data: tokenization.TokenizedCorpus | None = None,
    *,
    factory: Callable[..., Learner] = Learner,
) -> Learner:
    """The experiment's transformer at step 0, all layers independent, with its optimiser and data.

    factory: what is called with all that; a learner of another kind is made by its class.
    """
    data = data or load_data(experiment)
    build = functools.partial(
        build_model,
        experiment.architecture,
        vocab_size=data.vocab_size,
        n_positions=experiment.n_positions,
        n_layer=experiment.n_layer,
        n_head=experiment.n_head,
        n_embd=experiment.n_embd,
        dropout=experiment.dropout,
    )
    return factory(
        build,
        data,
        seed=experiment.seed,
        batch_size=experiment.batch_size,
        block_size=experiment.block_size,
        learning_rate=experiment.learning_rate,
        weight_decay=experiment.weight_decay,
        grad_clip=experiment.grad_clip,
        gradient=experiment.gradient,
        precision=experiment.precision,
        device=experiment.device,
        evaluation_tokens=experiment.evaluation_tokens,
        gradient_accumulation_steps=experiment.gradient_accumulation_steps,
        activation_checkpointing=experiment.activation_checkpointing,
        compile_mode=experiment.compile_mode,
    )


def build_env(
    experiment: Experiment,
    data: tokenization.TokenizedCorpus | None = None,
    *,
    learner: Learner | None = None,
    factory: Callable[..., LayerTyingEnv] = LayerTyingEnv,
) -> LayerTyingEnv:
    """The experiment's world: its learner, unless another is given, all layers tied. factory: as in `build_learner`."""
    return factory(
        learner or build_learner(experiment, data),
        steps_per_action=experiment.steps_per_action,
        reward=experiment.reward,
        price=experiment.price,
        orphans=experiment.orphans,
    )


def build_agent(experiment: Experiment, *, factory: Callable[..., QAgent] = QAgent) -> QAgent:
    """The experiment's Q-agent. factory: as in `build_learner`."""
    return factory(
        experiment.n_layer,
        hidden=experiment.q_hidden,
        learning_rate=experiment.q_learning_rate,
        gamma=experiment.gamma,
        epsilon=experiment.epsilon,
        epsilon_decay=experiment.epsilon_decay,
        epsilon_min=experiment.epsilon_min,
        seed=experiment.seed,
    )


def train_dynamic(
    experiment: Experiment,
    *,
    agent: Agent | None = None,
    env: LayerTyingEnv | None = None,
    method: str | None = None,
    data: tokenization.TokenizedCorpus | None = None,
    record_path: str | os.PathLike | None = None,
    checkpoint: str | os.PathLike | None = None,
    max_seconds: float | None = None,
    max_decisions: int | None = None,
    on_decision: Callable[[RunRecord], None] | None = None,
) -> RunRecord:
    """Train the experiment's transformer while an agent ties its layers.

    agent: the paper's Q-agent unless another is given. env: another world than the paper's, made of the same experiment
        (and data) and at its start. method: name in the record, the agent's own by default.
    data: from `load_data`, to share it between runs. record_path: .json file or folder to write the record to.
    checkpoint: file that the run resumes from if it exists, is saved to now and then, and that is removed at the end.
        With a checkpoint, a run whose finished record is at `record_path` already is not run again.
    max_seconds, max_decisions: stop this call at a checkpoint after so long or so many (status "stopped"); call again
        to go on. on_decision: called with the record after each decision.

    Returns the record; validation selects the best model, and the test split is read once, for that model.
    Raises TrainingDiverged (with the record as `.record`, saved before) when a loss is not finite; ValueError for
    sizes that do not fit or a checkpoint of another experiment.
    """
    agent = agent or build_agent(experiment)
    env = env or build_env(experiment, data)
    run = Run(experiment, method or agent.method, env.learner, record_path, checkpoint, max_seconds, max_decisions)
    run.record.agent = {"class": type(agent).__name__, **agent.settings, **env.settings}
    if run.resume({"agent": agent, "env": env}):
        return run.record
    # 1   s <- (0, ..., 0): all layers share one weight set;  ε <- ε_0  (done: `env` and `agent` start so)
    with run:
        # 2   for each of K turns, for each layer i = 1, ..., L - 1:
        for _ in run.decisions():
            state, layer, epsilon = env.tie_map, env.layer, agent.epsilon
            # 3   a <- a random one of {0..i} with probability ε, otherwise argmax_a Q(s, a)
            q_values = agent.q_values(state, layer)
            action = parallel.from_rank_0(agent.act(state, layer))  # the same in all processes, if there are several
            # 4   s'_i <- i if a = i, otherwise s_a;  tie the layers accordingly
            # 5   train the transformer for k steps
            # 6   r <- -perplexity on a training minibatch
            _, reward, end_of_turn, _, info = env.step(action)
            next_state = env.tie_map
            # 7   take a step down the gradient of (Q(s, a) - (r + γ max_a' Q(s', a')))²
            td_loss = agent.learn(state, layer, action, reward, next_state)
            run.note(
                info["train_loss"],
                layer=layer,
                action=action,
                explored=agent.explored,
                epsilon=epsilon,
                reward=reward,
                loss=info["loss"],
                td_loss=td_loss,
                num_independent=info["num_independent"],
                tie_map=list(env.learner.tie_map),
                q_values=None if np.isnan(q_values).all() else [float(f"{q:.6g}") for q in q_values],
                **info["history"],
            )
            if end_of_turn:
                # 8   ε <- max(ε_min, ε · decay)
                agent.end_episode()
                # 9   keep the model if it is the best so far on the validation split
                run.validate()
            if on_decision is not None:
                on_decision(run.record)
    return run.record


def train_conventional(
    experiment: Experiment,
    *,
    tie_map: TieMap | Sequence[TieMap] | None = None,
    depth: int | None = None,
    method: str | None = None,
    chosen_by: dict[str, Any] | None = None,
    data: tokenization.TokenizedCorpus | None = None,
    record_path: str | os.PathLike | None = None,
    checkpoint: str | os.PathLike | None = None,
    max_seconds: float | None = None,
    max_decisions: int | None = None,
    on_decision: Callable[[RunRecord], None] | None = None,
) -> RunRecord:
    """Train the same transformer on the same batches with ties that nobody decides, for the same number of steps.

    tie_map: all layers independent by default (method "conventional"). One map for the whole run, or a list with one
    for each decision of `train_dynamic`, such as those of its record: like there, all layers are tied before the
    first. depth: so many layers instead of the experiment's, all independent; the schedule of steps and evaluations
    stays the experiment's. All three need a `method` to go by in the record. chosen_by: for the record,
    how the tie_map was found: `agent` says, and `budget` what it cost. Everything else as in `train_dynamic`.
    Raises ValueError for a list of another length, or for a tie_map beside a depth.
    """
    if depth is not None and tie_map is not None:
        raise ValueError("a model of another depth is trained with all layers independent: leave tie_map out")
    if method is None:
        if tie_map is not None or depth is not None:
            raise ValueError(
                "a run with a tie_map or a depth of its own needs a method name, such as 'all_tied' or 'shallow-3'"
            )
        method = "conventional"
    learner = build_learner(experiment if depth is None else experiment.replace(n_layer=depth), data)
    schedule = None if tie_map is None or isinstance(tie_map, TieMap) else [TieMap(m) for m in tie_map]
    if schedule or tie_map:
        learner.tie(TieMap.all_tied(experiment.n_layer) if schedule else tie_map)
    run = Run(experiment, method, learner, record_path, checkpoint, max_seconds, max_decisions)
    if schedule and len(schedule) != run.total:
        raise ValueError(f"{len(schedule)} tie maps for {run.total} decisions: one is needed for each")
    run.record.agent = (
        {"class": "schedule", "tie_maps": [list(m) for m in schedule]}
        if schedule
        else {"class": "static", "tie_map": list(learner.tie_map)}
    )
    if chosen_by is not None:
        run.record.agent = {**chosen_by["agent"], "tie_map": list(learner.tie_map)}
        run.record.budget |= chosen_by["budget"]
    if run.resume({}):
        return run.record
    with run:
        for decision in run.decisions():
            if schedule:
                learner.tie(schedule[decision])
            losses = learner.train(experiment.steps_per_action)
            ties = learner.tie_map
            moved = {"tie_map": list(ties), "num_independent": ties.num_independent}
            run.note(fmean(losses), **(moved if schedule else {}))
            if (decision + 1) % (experiment.n_layer - 1) == 0:
                run.validate()
            if on_decision is not None:
                on_decision(run.record)
    return run.record
