"""Algorithm 1, Q-learning driven dynamic layer tying, as one flat loop; and conventional training beside it.

The paper's listing could not be read for this reproduction. LISTING is rebuilt from its abstract, its experiment setup
and the authors' released code; "Deviations and interpretations" in README.md beside this file lists each interpretation
with its source. `train_dynamic` carries it out, with each line above the code that does it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from statistics import fmean
from typing import Any, Unpack

from dlt_core.agents import Agent
from dlt_core.corpora.tokenization import TokenizedCorpus
from dlt_core.env import LayerTyingEnv
from dlt_core.experiments import Experiment, build_agent, build_env, build_learner
from dlt_core.records.record import RunRecord
from dlt_core.records.run import Run, RunKeywords, RunOptions
from dlt_core.tie_map import TieMap

# A table in Markdown: notebook 03 and the stepper show this one.
LISTING = """\
| line | Algorithm 1: Q-learning driven dynamic layer tying | who does it |
| ---: | :--- | :--- |
| 1 | s ← (0, …, 0): all layers share one weight set; ε ← ε₀ | environment, agent |
| 2 | for each of K turns, for each layer i = 1, …, L−1: | the loop |
| 3 | &emsp;a ← a random one of {0, …, i} with probability ε, otherwise argmaxₐ Q(s, a) | agent |
| 4 | &emsp;s′ᵢ ← i if a = i, otherwise sₐ; tie the layers accordingly | environment |
| 5 | &emsp;train the transformer for k steps | learner |
| 6 | &emsp;r ← −perplexity on a training minibatch | environment |
| 7 | &emsp;take a step down the gradient of (Q(s, a) − (r + γ maxₐ′ Q(s′, a′)))²; s ← s′ | agent |
| 8 | after each turn: ε ← max(ε_min, ε · decay) | agent |
| 9 | keep the model if it is the best so far on the validation split | the loop |
"""


def train_dynamic(
    experiment: Experiment,
    *,
    agent: Agent | None = None,
    env: LayerTyingEnv | None = None,
    method: str | None = None,
    data: TokenizedCorpus | None = None,
    **options: Unpack[RunKeywords],
) -> RunRecord:
    """Train the experiment's transformer while an agent ties its layers; returns the record. Source: Algorithm 1.

    agent, env: the paper's unless given; an env is made of the same experiment and data, and at its start.
    method: name in the record, the agent's own by default. data: from `load_data`, to share it between runs, or
    of another text than the experiment's: the record says which.
    options: the fields of `RunOptions`, such as record_path=... and checkpoint=...
    Validation selects the best model, and the test split is read once, for that model. Raises TrainingDiverged (with
    the record as `.record`, saved before) when a loss is not finite, OutOfMemory likewise; RunStopped, a
    KeyboardInterrupt, when a signal such as Ctrl-C has stopped it at a checkpoint; ValueError for sizes that do not
    fit, files that cannot be used, or an action that is none.

    >>> record = train_dynamic(Experiment.preset("gpt2-embedded", "smoke", n_layer=2, episodes=1))
    >>> record.status, record.history["layer"]
    ('finished', [1])
    """
    run_options = RunOptions(**options)
    agent = agent or build_agent(experiment)
    env = env or build_env(experiment, data)
    name = method or str(getattr(agent, "method", type(agent).__name__))
    run = Run(experiment, name, env.learner, run_options, agent, env)
    if run.resume():
        return run.record
    share = experiment.freeze_after
    last = run.total if share is None else math.ceil(share * run.total)  # so many decisions are made
    # 1   s ← (0, …, 0): all layers share one weight set; ε ← ε₀
    # (`env` and `agent` start so, though after `init_from` all layers are independent)
    with run:
        # 2   for each of K turns, for each layer i = 1, …, L−1:
        for _ in run.decisions():
            state, layer = env.tie_map, env.layer
            # 3   a ← a random one of {0, …, i} with probability ε, otherwise argmaxₐ Q(s, a)
            q_values = agent.q_values(state, layer)
            held = run.done >= last
            # the same in all processes, if there are several
            action = state[layer] if held else run.action(agent.act(state, layer), layer)
            # 4   s′ᵢ ← i if a = i, otherwise sₐ; tie the layers accordingly
            # 5   train the transformer for k steps
            # 6   r ← −perplexity on a training minibatch
            _, reward, end_of_turn, _, info = env.step(action)
            # 7   take a step down the gradient of (Q(s, a) − (r + γ maxₐ′ Q(s′, a′)))²; s ← s′
            td_loss = 0.0 if held else agent.learn(state, layer, action, reward, env.tie_map)
            run.note_decision(layer, action, q_values, reward, td_loss, info, held=held)
            if end_of_turn:
                # 8   after each turn: ε ← max(ε_min, ε · decay)
                agent.end_episode()
                # 9   keep the model if it is the best so far on the validation split
                run.validate()
        # at the end: measure the memory of training, then test the best model
        run.finish()
    return run.record


def train_conventional(
    experiment: Experiment,
    *,
    tie_map: TieMap | Sequence[int] | Sequence[TieMap] | None = None,
    depth: int | None = None,
    method: str | None = None,
    chosen_by: dict[str, Any] | None = None,
    data: TokenizedCorpus | None = None,
    **options: Unpack[RunKeywords],
) -> RunRecord:
    """Train the same transformer on the same batches with ties that nobody decides, for the same number of steps.

    tie_map: all layers independent by default (method "conventional"). One map for the whole run, a TieMap or the list
    of its sources, or a list of maps, one for each decision of `train_dynamic`, such as those of its record: before the
    first the layers are as there. depth: so many layers instead of the experiment's, all independent; the schedule of
    steps and evaluations stays the experiment's. All three need a `method` to go by in the record. chosen_by: for the
    record, {"agent": how the tie_map was found, "budget": what that cost}. Everything else as in `train_dynamic`.
    Raises ValueError for a list of another length, or for a tie_map beside a depth.

    >>> experiment = Experiment.preset("gpt2-embedded", "smoke", n_layer=2, episodes=1)
    >>> train_conventional(experiment, tie_map=[0, 0], method="all_tied").final_tie_map
    [0, 0]
    """
    if depth is not None and tie_map is not None:
        raise ValueError("a model of another depth is trained with all layers independent: leave tie_map out")
    if method is None and (tie_map is not None or depth is not None):
        raise ValueError(
            "a run with a tie_map or a depth of its own needs a method name, such as 'all_tied' or 'shallow-3'"
        )
    run_options = RunOptions(**options)
    given: Any = tie_map
    is_one = tie_map is None or isinstance(tie_map, TieMap) or any(isinstance(m, Integral) for m in tie_map)
    one_map = TieMap(given) if is_one and tie_map is not None else None
    schedule = None if is_one else [TieMap(m) for m in given]
    decisions = experiment.episodes * (experiment.n_layer - 1)
    if schedule is not None and len(schedule) != decisions:
        raise ValueError(f"{len(schedule)} tie maps for {decisions} decisions: one is needed for each")
    learner = build_learner(experiment if depth is None else experiment.replace(n_layer=depth), data)
    if one_map is not None:
        learner.tie(one_map)
    elif schedule is not None and experiment.init_from is None:
        learner.tie(TieMap.all_tied(experiment.n_layer))
    run = Run(experiment, method or "conventional", learner, run_options)
    run.record.agent = (
        {"class": "static", "tie_map": list(learner.tie_map)}
        if schedule is None
        else {"class": "schedule", "tie_maps": [list(m) for m in schedule]}
    )
    if chosen_by is not None:
        run.record.agent = {**chosen_by["agent"], "tie_map": list(learner.tie_map)}
        run.record.budget |= chosen_by["budget"]
    if run.resume():
        return run.record
    with run:
        for decision in run.decisions():
            moved = {}
            if schedule is not None:
                learner.tie(schedule[decision])
                moved = {"tie_map": list(learner.tie_map), "num_independent": learner.tie_map.num_independent}
            run.note(fmean(learner.train(experiment.steps_per_action)), **moved)
            if (decision + 1) % (experiment.n_layer - 1) == 0:
                run.validate()
        run.finish()
    return run.record
