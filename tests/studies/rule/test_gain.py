"""The gradient rule by hand on few layers: agreeing gradients gain nothing by untying, opposing ones do."""

import numpy as np
import pytest
import torch

from dlt_core.blocks import find_blocks
from dlt_core.experiments import build_learner
from dlt_core.studies.comparison import compare
from dlt_core.studies.rule import gain as rule_gain
from dlt_core.studies.rule.gain import balanced, best_maps, cosines, gain, gain_by_sets, use_gradients, worth_having
from dlt_core.tie_map import TieMap, all_maps


def by_hand(gradients: torch.Tensor, tie_map: TieMap) -> float:
    return sum(float(gradients[list(group)].sum(0).abs().sum()) for group in tie_map.groups)


def some_gradients(n_layer: int, size: int = 50) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(n_layer, size)).astype(np.float32))


def test_agreeing_gradients_gain_nothing_by_untying_and_opposing_ones_do():
    agree = torch.tensor([[1.0, -2.0], [3.0, -1.0]])
    assert gain(agree, [(0, 1)]) == gain(agree, [(0,), (1,)]) == 7
    fight = torch.tensor([[1.0, -2.0], [-3.0, 1.0]])
    assert gain(fight, [(0, 1)]) == 3
    assert gain(fight, [(0,), (1,)]) == 7
    three = torch.tensor([[1.0, -2.0], [-3.0, 1.0], [2.0, -2.0]])  # the first and the last agree
    assert best_maps(three, 2)[0] == (TieMap([0, 1, 0]), 11.0)


@pytest.mark.parametrize(("n_layer", "num_groups"), [(1, 1), (4, 2), (5, 3), (6, 6)])
def test_maps_with_so_many_weight_sets_are_all_there_once(n_layer, num_groups):
    expected = [m for m in all_maps(n_layer) if m.num_independent == num_groups]
    assert list(all_maps(n_layer, num_groups)) == expected


@pytest.mark.parametrize("num_groups", [1, 2, 3, 5])
def test_the_best_map_is_that_of_brute_force_in_chunks_too(num_groups, monkeypatch):
    monkeypatch.setitem(rule_gain.VALUES_AT_ONCE, "cpu", 64)
    gradients = some_gradients(5)
    gains = {m: by_hand(gradients, m) for m in all_maps(5) if m.num_independent == num_groups}
    found = best_maps(gradients, num_groups)
    assert found[0][0] == max(gains, key=gains.__getitem__)
    for tie_map, value in found:
        assert value == pytest.approx(gains[tie_map], rel=1e-5)


def test_merging_greedily_finds_two_clear_groups(monkeypatch):
    monkeypatch.setattr(rule_gain, "ALL_MAPS", 3)
    base = some_gradients(1)[0]
    gradients = torch.stack([base, -base, base, -base, base]) + 0.1 * some_gradients(5)
    ((tie_map, value),) = best_maps(gradients, 2)
    assert tie_map == TieMap([0, 1, 0, 1, 0])
    assert value == pytest.approx(by_hand(gradients, tie_map), rel=1e-5)
    shares = [best_maps(gradients, sets)[0][1] / by_hand(gradients, TieMap.independent(5)) for sets in range(1, 6)]
    assert gain_by_sets(gradients) == pytest.approx(shares, rel=1e-5)


def test_an_impossible_number_of_sets_is_refused(smoke, tiny_data):
    with pytest.raises(ValueError, match="num_groups must be between 1 and n_layer=4, got 5"):
        best_maps(some_gradients(4), 5)
    with pytest.raises(ValueError, match="num_groups"):
        compare(smoke, ["gradient-5-restart"], data=tiny_data)
    with pytest.raises(ValueError, match="num_groups"):
        compare(smoke, ["gradient-5"], data=tiny_data)


def test_the_gradients_of_the_uses_sum_to_the_shared_gradient(smoke, tiny_data):
    learner = build_learner(smoke, tiny_data)
    learner.tie(TieMap.all_tied(4))
    learner.train(2)
    learner.optimizer.zero_grad()
    for index in range(3):
        learner.probe_gradient(index)
    shared = torch.cat([p.grad.flatten() for p in find_blocks(learner.model)[0].parameters()]) / 3
    learner.optimizer.zero_grad()
    before = learner.weights()
    found = use_gradients(learner, 3)
    assert found.shape == (4, shared.numel())
    torch.testing.assert_close(found.sum(0), shared, atol=1e-7, rtol=1e-4)
    assert learner.step == 2
    learner.tie(TieMap.all_tied(4))
    assert all(torch.equal(before[name], tensor) for name, tensor in learner.weights().items())


def test_squared_l2_is_the_norm_of_gradient_descent_and_another_is_refused():
    gradients = some_gradients(3)
    of = gradients.double()
    expected = float((of[0] + of[2]).square().sum() + of[1].square().sum())
    assert gain(gradients, [(0, 2), (1,)], norm="l2_squared") == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="unknown norm 'l3'; known: l1, l2_squared"):
        gain(gradients, [(0,)], norm="l3")


def test_a_weight_set_is_worth_having_while_it_brings_a_quarter_of_what_all_would():
    assert worth_having([1.0, 1.197, 1.238, 1.247, 1.250, 1.250]) == 2
    assert worth_having([0.5, 0.7, 0.9, 1.0]) == 3
    assert worth_having([1.0, 1.0, 1.0]) == 1
    base = some_gradients(1)[0]
    by_sets = gain_by_sets(torch.stack([base, -base, base]))
    assert by_sets == pytest.approx([1 / 3, 1, 1])
    assert worth_having(by_sets) == 2


def test_balanced_tensors_have_the_same_say_whatever_their_size():
    small, large = torch.tensor([[1.0, -1.0], [1.0, 1.0]]), 100 * some_gradients(2, 30)
    together = torch.cat([small, large], dim=1)
    for norm in ("l1", "l2_squared"):
        own = [gain(part, [(0, 1)], norm=norm) / gain(part, [(0,), (1,)], norm=norm) for part in (small, large)]
        assert gain(balanced(together, [2, 30], norm=norm), [(0, 1)], norm=norm) == pytest.approx(sum(own), rel=1e-5)
    nothing = torch.zeros(2, 3)
    assert torch.equal(balanced(nothing, [1, 2]), nothing)


def test_cosines_are_one_where_layers_agree_and_minus_one_where_they_fight():
    found = cosines(torch.tensor([[1.0, 2.0], [2.0, 4.0], [-1.0, -2.0], [-2.0, 1.0]]))
    assert found[0].tolist() == pytest.approx([1, 1, -1, 0])
