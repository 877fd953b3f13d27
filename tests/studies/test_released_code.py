"""The released code's semantics: what PAPER's list of differences says, each seen on its own."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from dlt_core import records
from dlt_core.agents import RandomAgent, ReplayAgent
from dlt_core.algorithm1 import train_dynamic
from dlt_core.corpora.tokenization import marked_blocks
from dlt_core.env import REWARDS
from dlt_core.experiments import Experiment, build_learner, load_data
from dlt_core.records.record import RunRecord
from dlt_core.studies.released_code import (
    Pointers,
    ReleasedCode,
    ReleasedEnv,
    ReleasedLearner,
    apply_action,
    train,
    weight_sets,
)
from dlt_core.tie_map import TieMap
from dlt_core.tying import count_parameters


def make_blocks(n_layer: int = 6, width: int = 3) -> list[nn.Module]:
    """Equal modules with weights of their own; only the first is trained."""
    blocks = [nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.LayerNorm(width)) for _ in range(n_layer)]
    for block in blocks[1:]:
        block.requires_grad_(False)
    return blocks


def make_learner(experiment, data, released, seed=0) -> ReleasedLearner:
    return build_learner(
        experiment.replace(seed=seed), data, factory=lambda *a, **s: ReleasedLearner(*a, released=released, **s)
    )


def make_env(experiment, data, released) -> ReleasedEnv:
    return ReleasedEnv(make_learner(experiment, data, released), steps_per_action=1)


def values(block: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in block.parameters()]


def equal(block: nn.Module, kept: list[torch.Tensor]) -> bool:
    return all(torch.equal(p, k) for p, k in zip(block.parameters(), kept, strict=True))


def test_with_no_difference_it_is_algorithm_1_to_the_last_bit(smoke, tiny_data):
    """The end of the ladder: its own Parameters with hooks, and the core's shared ones, do the very same."""
    for experiment in (smoke, smoke.replace(gradient="source", seed=3), smoke.replace(architecture="bert")):
        core = train_dynamic(experiment, data=tiny_data)
        ours = train(experiment, ReleasedCode(), data=tiny_data)
        assert ours.method == "described"
        assert core.transitions()["unties"] > 3
        for name in ("curves", "test", "parameters", "budget", "tie_map", "final_tie_map"):
            assert getattr(ours, name) == getattr(core, name), name
        assert {name: ours.history[name] for name in core.history} == core.history
        assert ours.history["weight_sets"] == ours.history["num_independent"]
        assert ours.bytes["measured_at_end"] == core.bytes["measured_at_end"]


def test_500_random_actions_follow_a_model_of_the_description():
    """25 times from the start, since soon all layers are in one storage."""
    shared = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        blocks, state = make_blocks(), [0] * 6
        storage, trained, pointers = list(range(6)), [True] + [False] * 5, [0] * 6  # the model: three lists
        for _ in range(20):
            layer = int(rng.integers(6))
            action = int(rng.integers(layer + 1))
            assert apply_action(blocks, state, layer, action) is state
            if action == layer:
                trained[layer] = True  # and its storage stays where it is
            else:
                storage[layer], trained[layer] = storage[action], False
            pointers[layer] = action
            assert state == pointers
            assert [{p.requires_grad for p in block.parameters()} for block in blocks] == [{t} for t in trained]
            for k in range(4):  # each of a block's parameters, not the first alone
                where = [list(block.parameters())[k].data_ptr() for block in blocks]
                assert [where.index(w) for w in where] == [storage.index(s) for s in storage]
            shared.append(len(set(storage)))
        assert len({id(p) for block in blocks for p in block.parameters()}) == 24, "Parameters of their own, always"
    assert len(shared) == 500
    assert sum(1 < n < 6 for n in shared) > 200


def test_an_action_that_a_layer_does_not_have_changes_nothing():
    blocks, state = make_blocks(3), [0, 0, 0]
    for layer, action in ((1, 2), (1, -1), (3, 0)):
        with pytest.raises(ValueError, match=rf"layer {layer} of 3 has the actions"):
            apply_action(blocks, state, layer, action)
    with pytest.raises(ValueError, match="layers 2 and 0 are of unlike shape"):
        apply_action([*blocks[:2], make_blocks(1, width=4)[0]], state, 2, 0)
    assert state == [0, 0, 0]
    assert weight_sets(blocks) == TieMap([0, 1, 2])


def test_storages_never_become_more_and_soon_there_is_one_while_the_state_says_several():
    turns_needed, said = [], []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        blocks, state = make_blocks(), [0] * 6
        counts = [weight_sets(blocks).num_independent]
        while counts[-1] > 1:
            for layer in range(1, 6):
                apply_action(blocks, state, layer, int(rng.integers(layer + 1)))
                counts.append(weight_sets(blocks).num_independent)
        assert all(after <= before for before, after in itertools.pairwise(counts))
        for layer in range(1, 6):  # once there is one storage, there is one for ever
            apply_action(blocks, state, layer, int(rng.integers(layer + 1)))
        assert weight_sets(blocks) == TieMap.all_tied(6)
        turns_needed.append((len(counts) - 1) // 5)
        said.append(Pointers(state).num_independent)
    assert np.median(turns_needed) <= 4
    assert max(turns_needed) <= 12
    assert np.mean(said) > 1.5
    assert max(said) >= 3


def test_a_run_of_the_released_code_shows_both_counts(smoke):
    experiment = smoke.replace(n_layer=6, steps_per_action=4, episodes=8)
    record = train(experiment, agent=RandomAgent(6, seed=1))
    sets, independent = record.history["weight_sets"], record.history["num_independent"]
    assert sets[-1] == 1
    assert all(after <= before for before, after in itertools.pairwise(sets))
    assert max(independent[sets.index(1) :]) >= 3, "the state goes on counting several"
    assert independent == [Pointers(s).num_independent for s in record.history["state"]]
    assert [TieMap(m).num_independent for m in record.history["tie_map"]] == sets
    assert record.final_tie_map == [0] * 6
    assert record.agent["released_code"] == dataclasses.asdict(ReleasedCode.all())


def test_stepping_one_independent_layer_moves_its_former_root(smoke, tiny_data):
    for aliased in (True, False):
        env = make_env(smoke, tiny_data, ReleasedCode(aliased_storage=aliased, source_gradient=True))
        learner = env.learner
        env.step(0)  # layer 1 is tied to 0
        env.step(2)  # layer 2 becomes independent
        assert learner.state == [0, 0, 2, 0]
        assert weight_sets(learner.blocks) == TieMap([0, 0, 0, 0] if aliased else [0, 0, 2, 0])
        kept = values(learner.blocks[0])
        learner.optimizer.zero_grad()
        for p in learner.blocks[2].parameters():
            p.grad = torch.ones_like(p)
        learner.optimizer.step()  # of layer 2 alone
        assert equal(learner.blocks[0], kept) != aliased
        assert equal(learner.blocks[2], values(learner.blocks[0])) == aliased
        assert count_parameters(learner.model) == sum(
            p.numel() for p in {p.data_ptr(): p for p in learner.model.parameters()}.values()
        )


def test_without_the_untie_difference_storage_is_separate_again(smoke, tiny_data):
    actions = [int(a) for a in np.random.default_rng(5).integers(0, [2, 3, 4] * 8)]
    released = ReleasedCode.all().without("four_steps")
    with_it = train(smoke, released, data=tiny_data, agent=ReplayAgent(actions))
    taken_out = train(smoke, released.without("aliased_storage"), data=tiny_data, agent=ReplayAgent(actions))
    assert with_it.history["state"] == taken_out.history["state"]
    assert with_it.history["weight_sets"][-1] == 1
    assert max(taken_out.history["weight_sets"][12:]) > 1
    # each independent layer has a storage of its own then (and a tied one may keep what its source has left)
    pairs = zip(taken_out.history["num_independent"], taken_out.history["weight_sets"], strict=True)
    assert all(sets >= independent for independent, sets in pairs)


def test_the_reward_is_one_value_while_perplexity_is_above_10(smoke, tiny_data):
    record = train(smoke, data=tiny_data)
    assert min(map(math.exp, record.history["loss"])) > 10
    assert set(record.history["reward"]) == {-10.0}
    other = train(smoke, ReleasedCode.all().without("clipped_reward"), data=tiny_data)
    assert len(set(other.history["reward"])) == len(other.history["reward"])
    clipped = REWARDS["neg_perplexity_clipped"]
    assert clipped(math.log(10.001), 0.0) == clipped(math.log(1000.0), 0.0) == -10
    assert clipped(math.log(9.0), 0.0) == pytest.approx(-9)


def test_a_tied_position_gives_its_gradient_to_the_layer_that_trains_its_storage(smoke, tiny_data):
    """One step from equal weights: "shared" sums over the uses, "source" has the root's own alone."""
    gradients = {}
    for source in (True, False):
        released = ReleasedCode(source_gradient=source)
        learner = make_learner(released.settings(smoke.replace(grad_clip=1e9)), tiny_data, released)
        learner.train(1)
        gradients[source] = [p.grad for p in learner.blocks[0].parameters()]
        assert all(p.grad is None for block in learner.blocks[1:] for p in block.parameters())
    assert not any(torch.allclose(a, b) for a, b in zip(gradients[True], gradients[False], strict=True))


def test_gradient_and_moments_go_by_the_source_if_it_trains_the_storage(smoke, tiny_data):
    """All in one storage, layers 0 and 2 independent: layer 3 belongs to 2, and layer 1 to 0."""
    env = make_env(smoke, tiny_data, ReleasedCode(aliased_storage=True))
    learner = env.learner
    for action in (0, 2, 2):
        env.step(action)
    assert learner.state == [0, 0, 2, 2]
    assert learner.tie_map == TieMap.all_tied(4)
    assert learner._trainer(3) is learner.blocks[2]
    assert learner._trainer(1) is learner.blocks[0]
    pointers = make_env(smoke, tiny_data, ReleasedCode(aliased_storage=True, stale_pointers=True)).learner
    pointers.obey([0, 0, 1, 2])
    assert pointers._trainer(3) is pointers.blocks[0], "2 is not independent: the lowest"


def test_a_storage_that_nobody_trains_stands_still(smoke, tiny_data):
    """Layer 2 points at 1; when 1 is tied to 0, 2 keeps 1's old storage, and no gradient reaches it."""
    released = ReleasedCode(stale_pointers=True, frozen_start=True)
    env = make_env(smoke, tiny_data, released)
    for action in (1, 1, 0, 0):  # 1 independent; 2 as 1; 3 as 0; then 1 as 0
        env.step(action)
    assert list(env.tie_map) == [0, 0, 1, 0]
    assert env.learner.tie_map == TieMap([0, 0, 2, 0])
    kept = values(env.learner.blocks[2])
    env.learner.train(2)
    assert equal(env.learner.blocks[2], kept)


def test_the_start_is_frozen_and_random_or_tied(smoke, tiny_data):
    frozen = make_learner(smoke, tiny_data, ReleasedCode(frozen_start=True))
    assert frozen.state == [0, 0, 0, 0]
    assert frozen.tie_map == TieMap.independent(4)
    kept = [values(block) for block in frozen.blocks]
    frozen.train(1)
    assert [equal(block, k) for block, k in zip(frozen.blocks, kept, strict=True)] == [False, True, True, True]
    assert make_learner(smoke, tiny_data, ReleasedCode()).tie_map == TieMap.all_tied(4)


def test_pointers_go_stale_and_a_canonical_state_does_not():
    actions = [(1, 1), (2, 1), (1, 0), (3, 2)]
    pointers, canonical = Pointers.all_tied(4), TieMap.all_tied(4)
    for layer, action in actions:
        pointers, canonical = pointers.with_action(layer, action), canonical.with_action(layer, action)
    assert list(pointers) == [0, 0, 1, 2]
    assert repr(pointers) == "Pointers([0, 0, 1, 2])"
    assert list(canonical) == [0, 0, 0, 0]


def test_moments_are_kept_or_freed_and_copied(smoke, tiny_data):
    for kept in (True, False):
        env = make_env(smoke, tiny_data, ReleasedCode(kept_optimizer_state=kept))
        learner = env.learner
        env.step(1)  # layer 1 becomes independent: with the moments of layer 0, or with none
        first = [next(block.parameters()) for block in learner.blocks]
        env.step(0)
        env.step(0)
        learner.train(2)
        steps = {
            i: float(learner.optimizer.state[p]["step"]) for i, p in enumerate(first) if p in learner.optimizer.state
        }
        assert steps == {0: 5, 1: 5}
        env.step(0)  # layer 1 is tied again
        assert (first[1] in learner.optimizer.state) is kept
        env.step(2)  # layer 2 becomes independent
        begun = float(learner.optimizer.state[first[2]]["step"])
        assert begun == (1 if kept else 7)


def test_a_step_in_bf16_weights_is_often_lost_to_rounding(smoke, tiny_data):
    """AdamW's first step is the learning rate long, 1e-4, and lost where that is less than half the distance to the
    next bfloat16: where |w| > 2^-5. Of GPT-2's matrices 7/12 are drawn from N(0, 0.02²), where that is a share of 12 %,
    and the others, projections to the residual stream, from a narrower one. Later steps are shorter."""
    experiment = smoke.replace(learning_rate=1e-4, weight_decay=0.0, n_embd=64)
    lost = {}
    for released in (ReleasedCode(), ReleasedCode(bf16_weights=True)):
        learner = make_learner(experiment, tiny_data, released)
        block = learner.blocks[0]
        shares = []
        for _ in range(12):
            before = values(block)
            learner.train(1)
            changed, total = 0, 0
            for p, old in zip(block.parameters(), before, strict=True):
                if p.ndim == 2:
                    pushed = p.grad != 0
                    changed += int(((p != old) & pushed).sum())
                    total += int(pushed.sum())
            shares.append(1 - changed / total)
        lost[released.bf16_weights] = shares
        assert {p.dtype for p in learner.model.parameters()} == {
            torch.bfloat16 if released.bf16_weights else torch.float32
        }
    tail = math.erfc(2**-5 / 0.02 / math.sqrt(2))
    assert tail == pytest.approx(0.118, abs=0.001)
    assert lost[True][0] == pytest.approx(tail * 7 / 12, abs=0.005)
    assert lost[True][-1] > 0.3
    assert max(lost[False]) < 0.01


def test_the_test_split_selects(smoke, tiny_data):
    record = train(smoke, ReleasedCode(test_selects=True), data=tiny_data)
    plain = train(smoke, ReleasedCode(), data=tiny_data)
    assert record.curves["train"] == plain.curves["train"], "selection does not touch training"
    assert record.test["selected_by"] == "test"
    assert record.curves["validation"]["step"] == []
    curve = record.curves["test"]
    assert record.test["perplexity"] == pytest.approx(min(curve["perplexity"]))
    assert record.test["perplexity"] <= plain.test["perplexity"]
    assert "test" not in plain.curves


def test_the_test_split_selects_by_its_beginning_and_is_tested_in_full(smoke, tiny_data):
    limited = smoke.replace(evaluation_tokens=64, test_in_full=True)
    record = train(limited, ReleasedCode(test_selects=True), data=tiny_data)
    beginning = train(limited.replace(test_in_full=False), ReleasedCode(test_selects=True), data=tiny_data)
    assert record.curves == beginning.curves, "what selects is the same"
    assert beginning.test["tokens"] == 63
    assert record.test["tokens"] == len(tiny_data.tokens["test"]) - 1
    assert record.test["test_perplexity"] == beginning.test["perplexity"] != record.test["perplexity"]


def test_marked_blocks_are_bos_tokens_eos(smoke, tiny_data):
    T = 8
    marked = marked_blocks(tiny_data, T)
    mark = tiny_data.vocab_size
    assert marked.vocab_size == tiny_data.vocab_size + 1
    assert marked.token_bytes[mark] == 0
    for split in ("train", "validation", "test"):
        text = str(marked.corpus.splits[split])
        lines = str(tiny_data.corpus.splits[split]).splitlines(keepends=True)
        assert text == "".join(line for line in lines if line.strip())
        tokens = marked.tokens[split]
        assert tokens[0] == tokens[-1] == mark
        assert np.array_equal(np.flatnonzero(tokens == mark)[:-1], np.arange(0, len(tokens) - 1, T))
        assert marked.tokenizer.decode(tokens[tokens != mark].tolist()) == text
        assert marked.token_bytes[tokens].sum() == len(text.encode())
    assert "blank lines dropped" in marked.corpus.note
    assert marked.corpus.sha256 != tiny_data.corpus.sha256
    assert marked.unit != tiny_data.unit
    with pytest.raises(ValueError, match="block_size=1"):
        marked_blocks(tiny_data, 1)
    learner = build_learner(smoke.replace(block_size=T), marked)
    for batch in (learner.batches[0], learner.probes[3]):
        assert (batch[:, 0] == mark).all()
        assert (batch[:, -1] == mark).all()
        assert (batch[:, 1:-1] != mark).all()


def test_gpt2s_own_mark_is_used_where_the_vocabulary_has_it(tiny_data, monkeypatch):
    class WithMark:
        def __getattr__(self, name):
            return getattr(tiny_data.tokenizer, name)

        def token_to_id(self, token):
            return {"<|endoftext|>": 300}[token]

    marked = marked_blocks(dataclasses.replace(tiny_data, tokenizer=WithMark()), 8)
    assert marked.vocab_size == tiny_data.vocab_size
    assert marked.token_bytes[300] == 0
    assert tiny_data.token_bytes[300] > 0, "the original is left alone"
    assert (marked.tokens["test"][:-1:8] == 300).all()


def test_each_difference_can_be_put_in_and_taken_out_alone():
    everything = ReleasedCode.all()
    assert len(ReleasedCode.names()) == 11
    assert dataclasses.asdict(everything) == dict.fromkeys(ReleasedCode.names(), True)
    assert dataclasses.asdict(ReleasedCode()) == dict.fromkeys(ReleasedCode.names(), False)
    names = {everything.method, ReleasedCode().method}
    for name in ReleasedCode.names():
        out, alone = everything.without(name), ReleasedCode(**{name: True})
        assert [n for n, there in dataclasses.asdict(out).items() if not there] == [name]
        names |= {out.method, alone.method}
    assert len(names) == 24
    assert "released-without-bf16_weights" in names
    assert "described-with-bf16_weights" in names
    assert everything.without(*ReleasedCode.names()) == ReleasedCode()
    with pytest.raises(dataclasses.FrozenInstanceError):
        everything.bf16_weights = False
    with pytest.raises(TypeError):
        everything.without("bf17_weights")


def test_every_variant_evaluates_as_often_on_as_much_text_and_counts_what_is_in_memory(smoke, tiny_data):
    experiment = smoke.replace(n_layer=6, steps_per_action=8, episodes=4, evaluation_tokens=512)
    block = sum(p.numel() for p in build_learner(experiment, tiny_data).model.transformer.h[0].parameters())
    plain = train(experiment, ReleasedCode(), data=tiny_data)
    outside = plain.parameters["unique"] - TieMap(plain.tie_map).num_independent * block
    for name in ("aliased_storage", "stale_pointers", "four_steps", "bf16_weights", "marked_blocks"):
        record = train(experiment, ReleasedCode(**{name: True}), data=tiny_data)
        assert len(record.curves["validation"]["step"]) == len(plain.curves["validation"]["step"])
        sets = TieMap(record.tie_map).num_independent
        mark = experiment.n_embd if name == "marked_blocks" else 0  # a row of the embedding
        assert record.parameters["unique"] == outside + mark + sets * block
        per_value = 2 if name == "bf16_weights" else 4
        assert record.bytes["closed_form_at_end"]["weights"] % per_value == 0
        assert record.bytes["measured_at_end"]["weights"] == record.bytes["closed_form_at_end"]["weights"]
        assert record.test["bytes"] == pytest.approx(plain.test["bytes"], rel=0.01)


def test_bf16_weights_are_trained_without_autocast(smoke, tiny_data, monkeypatch):
    made = []
    tie_all = ReleasedEnv.tie_all
    monkeypatch.setattr(ReleasedEnv, "tie_all", lambda self: made.append(self.learner) or tie_all(self))
    experiment = smoke.replace(precision="bf16", episodes=1)
    train(experiment, ReleasedCode(bf16_weights=True), data=tiny_data)
    described = train(experiment, ReleasedCode(), data=tiny_data)
    assert [learner.precision for learner in made] == ["bf16-weights", "bf16"]
    core = train_dynamic(experiment, data=tiny_data)
    # under autocast a shared Parameter is cast once, and its uses' gradients are added in bfloat16
    assert described.test["perplexity"] == pytest.approx(core.test["perplexity"], rel=1e-3)


def test_a_price_is_part_of_its_reward_too(smoke, tiny_data):
    free, priced = (train(smoke.replace(price=p), ReleasedCode(), data=tiny_data).history for p in (0.0, 5.0))
    assert priced["reward"][0] == free["reward"][0] - 5.0 * free["num_independent"][0]


def test_an_agent_that_is_given_is_in_the_name(smoke, tiny_data):
    record = train(smoke, ReleasedCode(frozen_start=True), agent=RandomAgent(4, seed=0), data=tiny_data)
    assert record.method == "described-with-frozen_start-random"


def test_ties_and_unties_are_counted_by_the_state(smoke, tiny_data):
    one_turn = smoke.replace(episodes=1)
    record = train(one_turn, ReleasedCode(frozen_start=True), data=tiny_data, agent=ReplayAgent([0, 2, 0]))
    assert record.transitions() == {"ties": 0, "unties": 1}


def test_options_of_the_core_are_used_and_the_number_of_steps_is_kept():
    for preset in ("smoke", "laptop", "gpu", "paper"):
        for name in ("differences-embedded", "differences-wikitext2", "gpt2-wikitext2"):
            experiment = Experiment.preset(name, preset)
            assert ReleasedCode().settings(experiment) == experiment
            as_released = ReleasedCode.all().settings(experiment)
            assert as_released.reward == "neg_perplexity_clipped"
            assert as_released.gradient == "source"
            assert as_released.epsilon_min == 0.01
            assert as_released.steps_per_action == 4
            assert as_released.episodes * 4 == experiment.episodes * experiment.steps_per_action
    with pytest.raises(ValueError, match=r"9 turns of k = 15 do not make whole turns of k = 4"):
        ReleasedCode.all().settings(Experiment.preset("ablations", "laptop", episodes=9))
    with pytest.raises(ValueError, match="orphans='promote'"):
        ReleasedCode().settings(Experiment.preset("ablations", "laptop", orphans="promote"))
    with pytest.raises(ValueError, match=r"freeze_after=0.5: these variants decide to the end, leave it out"):
        ReleasedCode().settings(Experiment.preset("ablations", "laptop", freeze_after=0.5))


@pytest.mark.parametrize(
    "released",
    [
        ReleasedCode.all(),
        ReleasedCode(aliased_storage=True),
        ReleasedCode(stale_pointers=True, frozen_start=True, kept_optimizer_state=True),
    ],
    ids=lambda released: released.method,
)
def test_a_run_resumes_where_it_stopped(released, smoke, tiny_data, tmp_path):
    experiment = smoke.replace(steps_per_action=4, episodes=4)
    whole = train(experiment, released, data=tiny_data)
    places = {"record_path": tmp_path, "checkpoint": tmp_path / "run.safetensors", "data": tiny_data}
    for n in (1, 4, 3):
        assert train(experiment, released, **places, max_decisions=n).status == "stopped"
    parts = train(experiment, released, **places)
    assert parts.status == "finished"
    assert parts.history == whole.history
    assert parts.curves == whole.curves
    assert parts.test == whole.test
    assert RunRecord.load(tmp_path / f"{parts.key}.json").agent["released_code"] == dataclasses.asdict(released)
    again = train(experiment, released, **places)
    assert again.seconds == RunRecord.load(tmp_path / f"{parts.key}.json").seconds, "not run again"


def test_another_difference_is_another_run(smoke, tiny_data, tmp_path):
    """The differences are part of what a checkpoint belongs to, even under one name."""
    places = {"record_path": tmp_path, "checkpoint": tmp_path / "run.safetensors", "data": tiny_data, "method": "mine"}
    train(smoke, ReleasedCode(frozen_start=True), **places, max_decisions=2)
    with pytest.raises(ValueError, match="belongs to another run: its agent"):
        train(smoke, ReleasedCode(), **places)


def test_its_own_study_runs_at_the_smallest_size(tmp_path):
    experiment = Experiment.preset("differences-embedded", "smoke")
    record = train(experiment, data=load_data(experiment), record_path=tmp_path)
    assert record.status == "finished"
    assert record.budget["optimizer_steps"] == experiment.episodes * 3 * experiment.steps_per_action
    assert "marks of blocks counted" in record.unit
    assert records.load_all(tmp_path)[0].history["state"] == record.history["state"]
