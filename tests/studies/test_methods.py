"""The registry: what a name means, what is refused before anything runs, and what each entry trains."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlt_core.agents import AGENT, RandomAgent
from dlt_core.experiments import Experiment
from dlt_core.learner.training import Learner
from dlt_core.studies.comparison import compare
from dlt_core.studies.methods import (
    COLLAPSE,
    LADDER,
    PUT_IN,
    REGISTRY,
    RELEASED,
    TAKEN_OUT,
    TAKEN_OUT_IN_TURN,
    base_name,
    decided,
    parse,
    permutation,
    permuted,
)
from dlt_core.studies.released_code import ReleasedCode
from dlt_core.tie_map import TieMap, random_map
from tests.conftest import tie_maps

SMALL = Experiment.preset("gpt2-embedded", "smoke", device="cpu", episodes=2, evaluation_tokens=256)  # 6 decisions


# --- names and refusals ---


def test_a_name_says_what_it_is_and_what_follows():
    assert parse("sequence-2", SMALL).numbers == (2,)
    assert parse("map-0-0-2-2", SMALL).numbers == (0, 0, 2, 2)
    names = ("sequence-2", "random", "random-3", "map-0-1", "halving-8", COLLAPSE.method, "released-random")
    assert [base_name(name) for name in names] == ["sequence", "random", "random", "map", "halving", *names[-2:]]
    assert [parse(name, SMALL).in_one_process for name in ("dynamic", "best_of-2", "released")] == [False, True, True]


@pytest.mark.parametrize(
    "method",
    [
        *(
            "genius",
            "map",
            "sequence-x",
            "sequence-",
            "sequence--1",
            "random-two",
            "random-",
            "dynamic-2",
            "random_map-2",
        ),
        *("map-", "map-0-x-0-0", "map-0--1-0-0", "evolution-four", "-2", ""),
    ],
)
def test_unknown_methods_are_refused_before_anything_runs(method, tiny_data, monkeypatch):
    monkeypatch.setattr(Learner, "train", None)  # would fail if it trained
    known = "known: dynamic, random, conventional, all_tied, sequence, .*, permuted, .*, sb3_dqn, .*, evolution, "
    known += "with a number of weight sets as in sequence-2 and gradient-2-restart"
    known += ", and the variants of the released code"
    with pytest.raises(ValueError, match=f"unknown method '{method}'; {known}"):
        compare(SMALL, ["dynamic", method], data=tiny_data)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("cycle-5", "between 1 and n_layer=4"),
        ("pairs-3", "always has 2"),
        ("random-0", "between 1 and n_layer=4"),
        ("random-5", "between 1 and n_layer=4"),
        ("map-0-0", "'map-0-0' has 2 layers, the experiment has 4"),
        ("map-0-0-0-0-0", "has 5 layers, the experiment has 4"),
        ("map-0-2-0-0", "layer 1 has source 2"),
        ("map-0-0-1-0", "not canonical"),
        ("evolution", "2 turns cannot be shared by 4 maps in 3 parts"),
        ("evolution-3", "power of two"),
    ],
)
def test_impossible_patterns_are_refused_before_anything_runs(method, message, tiny_data, monkeypatch):
    monkeypatch.setattr(Learner, "train", None)
    with pytest.raises(ValueError, match=message):
        compare(SMALL, ["dynamic", method], data=tiny_data)


def test_settings_that_a_variant_does_not_have_are_refused_before_anything_runs(tiny_data, monkeypatch):
    monkeypatch.setattr(Learner, "train", None)
    with pytest.raises(ValueError, match="do not make whole turns"):
        compare(SMALL.replace(episodes=3, steps_per_action=1), ["dynamic", "released"], data=tiny_data)
    with pytest.raises(ValueError, match="orphans='promote'"):
        compare(SMALL.replace(orphans="promote"), ["dynamic", "described"], data=tiny_data)


# --- the registry ---


def test_a_new_method_is_one_entry_in_the_registry(tiny_data, monkeypatch):
    monkeypatch.setitem(REGISTRY, "mine", decided("Algorithm 1 with mine", lambda e: RandomAgent(e.n_layer, seed=9)))
    (record,) = compare(SMALL.replace(episodes=1), ["mine"], data=tiny_data)
    assert (record.method, record.agent["seed"]) == ("mine", 9)


def test_shallow_models_of_any_depth(tiny_data):
    (three,) = compare(SMALL, ["shallow-3"], data=tiny_data)
    assert three.tie_map == [0, 1, 2]
    assert three.method == "shallow-3"
    for method in ("shallow-0", "shallow-1"):
        with pytest.raises(ValueError, match="n_layer must be greater than or equal to 2"):
            compare(SMALL, [method], data=tiny_data)


def test_a_pattern_with_another_number_of_weight_sets(tiny_data):
    six = SMALL.replace(n_layer=6, episodes=1)
    half, two, five = compare(six, ["sequence", "sequence-2", "sandwich-5"], data=tiny_data)
    assert TieMap(half.tie_map).num_independent == 3
    assert TieMap(two.tie_map).groups == ((0, 1, 2), (3, 4, 5))
    assert five.tie_map == [0, 1, 2, 2, 4, 5]
    assert two.method == "sequence-2"


def test_the_random_agent_over_maps_with_as_many_weight_sets_by_name(tiny_data):
    one, two, again, three = (
        compare(SMALL.replace(seed=seed, episodes=4), [method], data=tiny_data)[0]
        for seed, method in ((0, "random-1"), (0, "random-2"), (0, "random-2"), (1, "random-3"))
    )
    for record, groups in ((one, 1), (two, 2), (three, 3)):
        assert record.method == f"random-{groups}"
        assert record.agent == {"class": "RandomAgent", "seed": record.seed, "num_groups": groups}
        rng = np.random.default_rng((record.seed, AGENT))
        drawn = [list(random_map(4, groups, rng.random)) for _ in range(4)]
        assert record.history["tie_map"][2::3] == drawn, "after each turn another map"
        assert all(record.history["explored"])
    assert two.curves == again.curves
    assert two.history == again.history


def test_variants_of_the_released_code_run_by_name(tiny_data, tmp_path):
    experiment = SMALL.replace(episodes=4)
    names = ["released", "described", "dynamic", "released-random", COLLAPSE.method, "described-with-frozen_start"]
    released, described, dynamic, random, collapse, frozen = compare(
        experiment, names, data=tiny_data, out_dir=tmp_path
    )
    assert [r.method for r in (released, described, dynamic, random, collapse, frozen)] == names
    assert described.curves == dynamic.curves
    assert random.agent["class"] == "RandomAgent"
    assert random.agent["released_code"] == released.agent["released_code"] == dict.fromkeys(ReleasedCode.names(), True)
    assert [name for name, there in frozen.agent["released_code"].items() if there] == ["frozen_start"]
    assert len({tuple(r.budget.items()) for r in (released, described, dynamic, random, collapse, frozen)}) == 1
    seconds = [r.seconds for r in compare(experiment, names, data=tiny_data, out_dir=tmp_path)]
    assert seconds == [r.seconds for r in (released, described, dynamic, random, collapse, frozen)], "not run again"


def test_the_ladder_takes_out_one_difference_at_a_time():
    names = ReleasedCode.names()
    assert sorted(TAKEN_OUT_IN_TURN) == sorted(names)
    assert (LADDER[0], LADDER[-1]) == (ReleasedCode.all(), ReleasedCode())
    for i, (above, below) in enumerate(itertools.pairwise(LADDER)):
        assert below == above.without(TAKEN_OUT_IN_TURN[i]) != above
    assert [v.method for v in PUT_IN.values()] == [f"described-with-{name}" for name in names]
    assert [v.method for v in TAKEN_OUT.values()] == [f"released-without-{name}" for name in names]
    assert len(RELEASED) == 12 + 11 + 11 - 2 + 2  # the second rung is a TAKEN_OUT, the last but one a PUT_IN


# --- permutations ---


@given(st.integers(1, 10).flatmap(lambda n: st.tuples(tie_maps(n), st.permutations(range(n)))))
def test_permuting_renames_the_layers_of_the_partition(case):
    tie_map, order = case
    renamed = permuted(tie_map, order)
    assert {frozenset(group) for group in renamed.groups} == {
        frozenset(order[layer] for layer in group) for group in tie_map.groups
    }
    assert sorted(map(len, renamed.groups)) == sorted(map(len, tie_map.groups))
    back = [order.index(layer) for layer in range(len(order))]
    assert permuted(renamed, back) == tie_map  # a bijection
    assert permuted(tie_map, range(len(tie_map))) == tie_map


@given(st.integers(2, 12), st.integers(0, 1000))
def test_a_permutation_moves_something_and_is_the_seeds(n_layer, seed):
    order = permutation(n_layer, seed)
    assert sorted(order) == list(range(n_layer))
    assert order != list(range(n_layer))
    assert permutation(n_layer, seed) == order


def test_seeds_permute_differently():
    assert permutation(2, 0) == permutation(2, 1) == [1, 0]
    assert len({tuple(permutation(6, seed)) for seed in range(20)}) > 15
