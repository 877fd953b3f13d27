"""Wrong gains, wrong maps and wrong counts, and what is said of them."""

import pytest
import torch

from dlt_core.reproduce.checks.rule import check_choose, check_gain, check_rewards_needed
from dlt_core.studies.rule.gain import best_maps
from dlt_core.studies.rule.gain import gain as right_gain
from dlt_core.tie_map import TieMap, all_maps


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda g, groups: float(g.abs().sum()), "Add the rows first"),
        (lambda g, groups: float(sum(g[list(of)].sum() for of in groups)), "Take the absolute values"),
        (lambda g, groups: float(sum(g[list(of)].sum(0).norm() for of in groups)), "That is the length"),
        (lambda g, groups: float(sum(g[list(of)].sum(0).square().sum() for of in groups)), "Those are squares"),
        (lambda g, groups: 1.0, "By hand: |1 - 3| + |-2 + 1|"),
        (lambda g, groups: right_gain(g, groups[:1]), "For the groups"),
    ],
)
def test_gain(told, answer, said):
    assert said in told(check_gain, answer)


def test_a_right_gain(passes):
    passes(check_gain, right_gain)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda g: "no map", "which is no tie map"),
        (lambda g: None, "which is no tie map"),
        (lambda g: [0, 1], "You gave a map of 2 layers; there are 4"),
        (lambda g: list(range(len(g))) if len(g) > 2 else [0, 1], "nothing is lost, or saved"),
        (
            lambda g: min(all_maps(len(g), 2), key=lambda m: right_gain(g, m.groups)),
            "the *smallest* gain",
        ),
        (lambda g: best_maps(g, 2)[1][0] if len(g) > 2 else TieMap([0, 1]), "is not the best of 4 layers"),
    ],
)
def test_choose(told, answer, said):
    assert said in told(check_choose, answer)


def test_a_right_choice_as_a_list_of_tensors_too(passes):
    passes(check_choose, lambda g: best_maps(g, 2)[0][0])
    passes(check_choose, lambda g: [torch.tensor(source) for source in best_maps(g, 2)[0][0]])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda signal, noise: 7.84 * noise / signal, "the *root* of the number"),
        (lambda signal, noise: 7.84 * (signal / noise) ** 2, "More noise, more rewards"),
        (lambda signal, noise: 8.5 * (noise / signal) ** 2, "it is 7.84"),
    ],
)
def test_rewards_needed(told, answer, said):
    assert said in told(check_rewards_needed, answer)


def test_a_right_number(passes):
    passes(check_rewards_needed, lambda signal, noise: (1.96 + 0.84) ** 2 * (noise / signal) ** 2)
