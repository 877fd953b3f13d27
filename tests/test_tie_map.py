"""TieMap: the paper's state and transition as a value."""

import itertools
import math
import random
import statistics
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dlt_core.tie_map import (
    ORPHANS,
    PATTERNS,
    TieMap,
    all_maps,
    expected_independent,
    from_actions,
    number_of_maps,
    random_map,
    weight_set_colour,
)  # fmt: skip
from tests.conftest import actions, tie_maps

HARMONIC_12 = 86021 / 27720  # 1 + 1/2 + ... + 1/12
maps_with_actions = tie_maps().flatmap(lambda m: st.tuples(st.just(m), actions(len(m))))


def naive_transition(tie_map: TieMap, layer: int, action: int, orphans: str) -> list[int]:
    """The transition on a partition into sets, without sources: an independent model of `with_action`."""
    groups = [set(group) for group in tie_map.groups]
    mine = next(group for group in groups if layer in group)
    theirs = next(group for group in groups if action in group)
    if action == layer:
        moves = {layer} if layer != min(mine) else set()
        target: set[int] = set()
        groups.append(target)
    else:
        moves = set(mine) if layer == min(mine) and orphans == "follow" else {layer}
        target = theirs
    mine -= moves
    target |= moves
    return [min(next(group for group in groups if i in group)) for i in range(len(tie_map))]


@given(maps_with_actions, st.sampled_from(ORPHANS))
def test_every_transition_equals_the_naive_model_and_stays_canonical(case, orphans):
    tie_map, sequence = case
    for layer, action in sequence:
        expected = naive_transition(tie_map, layer, action, orphans)
        tie_map = tie_map.with_action(layer, action, orphans=orphans)
        assert list(tie_map) == expected
        assert all(tie_map[i] <= i and tie_map[tie_map[i]] == tie_map[i] for i in range(len(tie_map)))
        assert tie_map[0] == 0


def test_orphans_follow_the_root_or_are_promoted():
    tie_map = TieMap((0, 1, 1, 1, 0))
    assert tie_map.with_action(1, 0) == TieMap((0, 0, 0, 0, 0))
    assert tie_map.with_action(1, 0, orphans="follow") == TieMap((0, 0, 0, 0, 0))
    assert tie_map.with_action(1, 0, orphans="promote") == TieMap((0, 0, 2, 2, 0))
    # A tie to a tied layer lands on that layer's root; a root that stays independent keeps its followers.
    assert tie_map.with_action(4, 3) == TieMap((0, 1, 1, 1, 1))
    assert tie_map.with_action(1, 1) == tie_map
    assert tie_map.with_action(3, 3) == TieMap((0, 1, 1, 3, 0))


@given(maps_with_actions)
def test_from_actions_is_the_fold_of_with_action_from_all_tied(case):
    tie_map, sequence = case
    for orphans in ORPHANS:
        expected = TieMap.all_tied(len(tie_map))
        for layer, action in sequence:
            expected = expected.with_action(layer, action, orphans=orphans)
        assert from_actions(len(tie_map), sequence, orphans=orphans) == expected


@given(tie_maps())
def test_groups_partition_the_layers_and_are_what_is_counted(tie_map):
    assert sorted(itertools.chain(*tie_map.groups)) == list(range(len(tie_map)))
    assert [group[0] for group in tie_map.groups] == sorted(min(group) for group in tie_map.groups)
    assert all(tie_map[i] == group[0] for group in tie_map.groups for i in group)
    assert tie_map.num_independent == len(tie_map.groups) == len(set(tie_map))


@given(st.integers(1, 60))
def test_the_two_ends(n_layer):
    assert list(TieMap.all_tied(n_layer)) == [0] * n_layer
    assert list(TieMap.independent(n_layer)) == list(range(n_layer))
    assert TieMap.all_tied(n_layer).num_independent == 1
    assert TieMap.independent(n_layer).num_independent == n_layer


@given(tie_maps(), tie_maps())
def test_equal_sharing_means_equal_value(one, other):
    def sharing(m):
        return [[m[i] == m[j] for j in range(len(m))] for i in range(len(m))]

    assert (one == other) == (sharing(one) == sharing(other))
    if one == other:
        assert hash(one) == hash(other)
    twin = TieMap(list(one))
    assert twin == one
    assert hash(twin) == hash(one)
    assert len({one, twin}) == 1


@given(tie_maps())
def test_repr_can_be_pasted_back_and_sequence_access_agrees(tie_map):
    assert eval(repr(tie_map)) == tie_map
    assert TieMap(np.array(list(tie_map))) == tie_map
    assert list(tie_map) == [tie_map[i] for i in range(len(tie_map))]
    assert all(type(j) is int for j in TieMap(np.array(list(tie_map))))


@pytest.mark.parametrize("n_layer", [1, 2, 3, 4, 5, 6])
def test_as_many_maps_as_are_listed(n_layer):
    sizes = [m.num_independent for m in all_maps(n_layer)]
    assert [number_of_maps(n_layer, sets) for sets in range(n_layer + 2)] == [
        sizes.count(k) for k in range(n_layer + 2)
    ]
    assert number_of_maps(0, 0) == 1


def test_layers_with_equal_labels_share_weights():
    assert TieMap.from_labels("abac") == TieMap.from_labels(iter([7, -1, 7, None])) == TieMap([0, 1, 0, 3])
    with pytest.raises(ValueError, match="at least one layer"):
        TieMap.from_labels([])
    with pytest.raises(ValueError, match=r"label of layer 1 must be hashable, got \[1\]"):
        TieMap.from_labels(["a", [1]])
    with pytest.raises(ValueError, match="needs a label for each layer, got 5"):
        TieMap.from_labels(5)
    with pytest.raises(ValueError, match="action of layer 1 must be an int, got 'x'"):
        TieMap.all_tied(2).with_action(1, "x")


def test_a_tie_map_cannot_be_changed():
    tie_map = TieMap((0, 0))
    with pytest.raises((AttributeError, TypeError)):
        tie_map.sources = (0, 1)
    with pytest.raises(TypeError):
        tie_map[1] = 1
    sources = [0, 0, 2]
    kept = TieMap(sources)
    sources[2] = 0
    assert kept == TieMap((0, 0, 2))


@pytest.mark.parametrize(
    ("sources", "named"),
    [
        ([], "layer"),
        ([1], "layer 0"),
        ([0, 0, 3, 3], "layer 2"),
        ([0, 0, -1], "layer 2"),
        ([0, 0, 1], "layer 2"),
        ([0, 0.0], "layer 1"),
        ([0, 1.5], "layer 1"),
        ([0, True], "layer 1"),
        ([False, 0], "layer 0"),
        ([0, "0"], "layer 1"),
        ([0, None], "layer 1"),
        ([0, math.nan], "layer 1"),
    ],
)
def test_bad_sources_raise_and_name_the_layer(sources, named):
    with pytest.raises(ValueError, match=rf"\b{named}\b"):
        TieMap(sources)


@pytest.mark.parametrize(
    ("layer", "action", "named"),
    [
        (3, 0, "layer 3"),
        (-1, 0, "layer -1"),
        (1, 2, "layer 1"),
        (1, -1, "layer 1"),
        (1.0, 0, "layer"),
        (True, 0, "layer"),
        ("1", 0, "layer"),
        (1, 0.0, "action"),
        (1, False, "action"),
        (1, "0", "action"),
    ],
)
def test_bad_actions_raise_and_name_the_layer(layer, action, named):
    with pytest.raises(ValueError, match=rf"{named}\b"):
        TieMap.all_tied(3).with_action(layer, action)


def test_unknown_orphans_list_the_known():
    with pytest.raises(ValueError, match=r"adopt.*follow.*promote"):
        TieMap.all_tied(3).with_action(1, 1, orphans="adopt")


@pytest.mark.parametrize(
    ("name", "n_layer", "num_groups", "expected"),
    [
        ("sequence", 6, 3, [0, 0, 2, 2, 4, 4]),
        ("sequence", 6, 2, [0, 0, 0, 3, 3, 3]),
        ("cycle", 6, 3, [0, 1, 2, 0, 1, 2]),
        ("cycle", 7, 3, [0, 1, 2, 0, 1, 2, 0]),
        ("cycle_rev", 6, 3, [0, 1, 2, 2, 1, 0]),
        ("cycle_rev", 9, 3, [0, 1, 2, 0, 1, 2, 2, 1, 0]),
        ("cycle_rev", 3, 3, [0, 1, 2]),
        ("sandwich", 6, 3, [0, 1, 1, 1, 1, 5]),
        ("sandwich", 6, 2, [0, 1, 1, 1, 1, 1]),
        ("sandwich", 6, 4, [0, 1, 2, 2, 2, 5]),
        ("pairs", 6, None, [0, 0, 2, 2, 4, 4]),
        ("pairs", 5, 3, [0, 0, 2, 2, 4]),
        ("mirror", 6, None, [0, 1, 2, 2, 1, 0]),
        ("mirror", 5, 3, [0, 1, 2, 1, 0]),
    ],
)
def test_patterns_by_hand(name, n_layer, num_groups, expected):
    assert list(TieMap.pattern(name, n_layer, num_groups)) == expected


@pytest.mark.parametrize("name", [name for name in PATTERNS if name not in ("pairs", "mirror")])
def test_patterns_have_the_groups_asked_for(name):
    for n_layer in range(1, 25):
        for num_groups in range(1, n_layer + 1):
            tie_map = TieMap.pattern(name, n_layer, num_groups)
            assert (len(tie_map), tie_map.num_independent) == (n_layer, num_groups)
        assert TieMap.pattern(name, n_layer, 1) == TieMap.all_tied(n_layer)
        assert TieMap.pattern(name, n_layer, n_layer) == TieMap.independent(n_layer)


@pytest.mark.parametrize("name", ["pairs", "mirror"])
def test_the_two_halving_patterns_have_half_the_groups(name):
    for n_layer in range(1, 25):
        tie_map = TieMap.pattern(name, n_layer)
        assert tie_map.num_independent == (n_layer + 1) // 2
        assert max(map(len, tie_map.groups)) <= 2
        with pytest.raises(ValueError, match=name):
            TieMap.pattern(name, n_layer, (n_layer + 1) // 2 + 1)


def test_an_unknown_pattern_lists_the_known():
    with pytest.raises(ValueError, match="zigzag") as error:
        TieMap.pattern("zigzag", 4, 2)
    assert all(name in str(error.value) for name in PATTERNS)


@pytest.mark.parametrize(("n_layer", "num_groups"), [(4, 0), (4, 5), (4, -1), (4, None), (4, 2.0), (0, 1), (4.0, 2)])
def test_impossible_pattern_sizes_raise(n_layer, num_groups):
    with pytest.raises(ValueError, match=r"num_groups|n_layer"):
        TieMap.pattern("cycle", n_layer, num_groups)


def turn(tie_map: TieMap, choices) -> TieMap:
    for layer, action in enumerate(choices):
        tie_map = tie_map.with_action(layer, action)
    return tie_map


@pytest.mark.parametrize("start", [TieMap.all_tied(5), TieMap.independent(5), TieMap((0, 1, 1, 0, 1))])
def test_a_uniform_policy_leaves_each_layer_independent_with_probability_one_in_its_actions(start):
    ends = [turn(start, choices) for choices in itertools.product(*(range(i + 1) for i in range(5)))]
    for i in range(5):
        assert sum(end[i] == i for end in ends) * (i + 1) == len(ends)


@pytest.mark.parametrize(("n_layer", "published"), [(12, 3.10), (48, 4.46)])
def test_a_simulated_uniform_policy_agrees_with_the_harmonic_number(n_layer, published):
    rng = random.Random(n_layer)
    counts = []
    tie_map = TieMap.all_tied(n_layer)
    for _ in range(1500):
        tie_map = turn(tie_map, [rng.randrange(i + 1) for i in range(n_layer)])
        counts.append(tie_map.num_independent)
    standard_error = statistics.stdev(counts) / len(counts) ** 0.5
    assert abs(statistics.fmean(counts) - expected_independent(n_layer)) < 4 * standard_error
    assert round(expected_independent(n_layer), 2) == published


def test_the_harmonic_numbers_exactly():
    assert expected_independent(12) == pytest.approx(HARMONIC_12, rel=1e-14)
    assert expected_independent(1) == 1
    assert expected_independent(48) == pytest.approx(4.458797, abs=1e-6)


@pytest.mark.parametrize(("n_layer", "bell"), list(enumerate([1, 2, 5, 15, 52, 203, 877, 4140], start=1)))
def test_all_maps_are_all_partitions(n_layer, bell):
    """The Bell numbers; each map once, from all tied to all independent."""
    maps = list(all_maps(n_layer))
    assert len(maps) == len(set(maps)) == bell
    assert (maps[0], maps[-1]) == (TieMap.all_tied(n_layer), TieMap.independent(n_layer))
    assert maps == sorted(maps, key=lambda m: m.sources)


def test_the_fifteen_maps_of_four_layers_can_all_be_reached():
    """By actions, from the start."""
    turns = itertools.product(range(2), range(3), range(4))
    assert {from_actions(4, zip((1, 2, 3), turn, strict=True)) for turn in turns} == set(all_maps(4))


def test_maps_of_no_layer_do_not_exist():
    with pytest.raises(ValueError, match="at least 1"):
        next(all_maps(0))


# --- random maps ---


def stirling(n: int, m: int) -> int:
    """The number of maps of n layers with m weight sets, by inclusion and exclusion."""
    return sum((-1) ** j * math.comb(m, j) * (m - j) ** n for j in range(m + 1)) // math.factorial(m)


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))), st.integers(0, 1000))
def test_a_random_map_has_the_weight_sets_asked_for_and_is_the_generators(sizes, seed):
    n_layer, num_groups = sizes
    draws = [random_map(n_layer, num_groups, np.random.default_rng(seed).random) for _ in range(2)]
    assert draws[0] == draws[1]
    assert len(draws[0]) == n_layer
    assert draws[0].num_independent == num_groups


@pytest.mark.parametrize(("n_layer", "num_groups"), [(n, m) for n in (4, 5) for m in range(1, n + 1)])
def test_random_maps_are_uniform_among_all_with_as_many_weight_sets(n_layer, num_groups):
    wanted = [tie_map for tie_map in all_maps(n_layer) if tie_map.num_independent == num_groups]
    assert len(wanted) == stirling(n_layer, num_groups)
    rng, each = np.random.default_rng((n_layer, num_groups)), 150
    counts = dict.fromkeys(wanted, 0)
    for _ in range(each * len(wanted)):
        counts[random_map(n_layer, num_groups, rng.random)] += 1
    distance = sum((count - each) ** 2 / each for count in counts.values())
    assert distance <= stats.chi2.ppf(0.999, max(1, len(wanted) - 1))


@pytest.mark.parametrize("num_groups", [1, 2, 12, 24, 48])
def test_random_maps_of_48_layers(num_groups):
    """Where the numbers of maps are beyond what a float counts. In S(47, m - 1) of S(48, m) the last layer is alone."""
    rng, n = np.random.default_rng(num_groups), 300
    draws = [random_map(48, num_groups, rng.random) for _ in range(n)]
    assert {len(m) for m in draws} == {48}
    assert {m.num_independent for m in draws} == {num_groups}
    p = stirling(47, num_groups - 1) / stirling(48, num_groups) if num_groups > 1 else 0
    assert abs(sum(m[47] == 47 for m in draws) - n * p) <= 4 * math.sqrt(n * p * (1 - p))
    assert len(set(draws)) == (1 if num_groups in (1, 48) else n)


@pytest.mark.parametrize(("n_layer", "num_groups"), [(4, 0), (4, 5), (4, -1), (4, None), (4, 2.0), (0, 1), (4.0, 2)])
def test_impossible_random_maps_raise(n_layer, num_groups):
    with pytest.raises(ValueError, match=r"num_groups|n_layer"):
        random_map(n_layer, num_groups, np.random.default_rng(0).random)


@given(tie_maps(max_layers=12))
def test_the_picture_has_a_square_and_its_source_for_each_layer(tie_map):
    drawn = ElementTree.fromstring(tie_map._repr_svg_())
    name = "{http://www.w3.org/2000/svg}"
    assert [int(text.text) for text in drawn.findall(f"{name}text")] == list(tie_map)
    fills = [square.get("fill") for square in drawn.findall(f"{name}rect")]
    assert [fills.index(fill) for fill in fills] == list(tie_map), "one colour for each weight set"
    assert drawn.find(f"{name}title").text == repr(tie_map)


def test_the_colours_are_those_of_the_figures():
    from matplotlib.colors import to_hex

    from dlt_core.figures.style import weight_set_colours

    for n_layer in (1, 8, 9, 48):
        figures = weight_set_colours(n_layer)
        ours = [weight_set_colour(layer, n_layer).lower() for layer in range(n_layer)]
        assert [to_hex(figures(layer)) for layer in range(n_layer)] == ours
