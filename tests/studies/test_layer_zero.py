"""Layer 0 shares with nobody: the one bit by hand, on the recorded maps, and registered for six layers."""

import pytest

from dlt_core import CHECKOUT
from dlt_core.experiments import Experiment
from dlt_core.records.record import RunRecord
from dlt_core.studies import findings
from dlt_core.studies.layer_zero import (
    OF_FOUR,
    REGISTERED,
    in_a_sentence,
    in_bert,
    is_alone,
    layer_zero,
    maps_figure,
    registered_markdown,
)
from dlt_core.studies.methods import parse
from dlt_core.tie_map import TieMap, all_maps
from tests.studies.conftest import made_up, table_cells

RECORDS = CHECKOUT / "figures" / "records"


def test_the_bit_by_hand():
    losses = {TieMap([0, 1, 1]): 1.0, TieMap([0, 1, 2]): 2.0, TieMap([0, 0, 0]): 4.0, TieMap([0, 0, 2]): 5.0}
    # mean 3; between the two halves 4 * 1.5 ** 2 = 9 of 4 + 1 + 1 + 4 = 10
    found = layer_zero(losses)
    assert (found.alone, found.best_are_alone, found.gap) == (2, True, 3.0)
    assert found.explained == pytest.approx(0.9)
    losses[TieMap([0, 1, 0])] = 1.5
    assert not layer_zero(losses).best_are_alone
    assert sum(map(is_alone, all_maps(4))) == 5  # the other three in all ways
    with pytest.raises(ValueError, match="layer 0 is alone in 1 of 1 maps: there is nothing to compare"):
        layer_zero({TieMap([0, 1, 2]): 1.0})


def test_the_sentence_is_about_all_fifteen_maps_and_the_retrained_ones():
    names = (*("truth-laptop-map-*-seed[01].json",), "agents-embedded-laptop-retrained-*.json")
    text = in_a_sentence([RunRecord.load(path) for name in names for path in sorted(RECORDS.glob(name))])
    assert text.startswith(
        "Of the 15 maps of 4 layers the best 5 are exactly those in which layer 0 shares with nobody"
    )
    assert "Of the 10 maps of 6 layers that the agent left, trained from scratch, it is so in 2, which" in text
    assert in_a_sentence([]) == ""


def test_the_registered_maps_are_methods_for_six_layers():
    experiment = Experiment.preset("depth", "laptop")
    maps = [parse(name, experiment).recipe.arguments(experiment, *map(int, name.split("-")[1:]))["tie_map"]
            for name in REGISTERED]  # fmt: skip
    assert [is_alone(tie_map) for tie_map in maps] == [True, False, False]
    assert {tie_map.num_independent for tie_map in maps} == {2}, "one number of parameters"


def test_the_registered_maps_are_compared_in_each_corpus_once_they_are_run():
    assert registered_markdown([]).endswith("They were not run yet.")
    runs = [
        made_up(name, seed, 2.0 + place / 10 * (1 + seed / 50), name="agents-embedded")
        for place, name in enumerate(REGISTERED)
        for seed in (100, 101, 102)
    ]
    table = table_cells(registered_markdown(runs))
    rows = findings.rows_of(runs, "agents-embedded")
    assert [row[2] for row in table[1:]] == [findings.difference(rows, REGISTERED[0], name) for name in REGISTERED[1:]]
    assert [row[3] for row in table[1:]] == ["better", "better"]
    other = [made_up(name, 0, 2.0, name="agents-wikitext2") for name in REGISTERED]
    both = registered_markdown([*runs, *other])
    heads = [line.split("|")[1].strip() for line in both.splitlines() if line.endswith("| after Holm |")]
    assert heads == ["agents-embedded (cannot tell)", "agents-wikitext2 (cannot tell)"]
    assert both.endswith("counts in no verdict on the paper's claim.")
    assert "By the gate `agents-embedded` and `agents-wikitext2` cannot tell" in both


def test_a_registered_study_that_can_tell_has_no_mark():
    runs = [made_up(name, seed, 2.0, name="agents-embedded") for name in REGISTERED for seed in (100, 101)]
    for seed in (0, 1, 2):
        runs.append(made_up("conventional", seed, 2.0, name="agents-embedded"))
        runs.append(made_up("random", seed, 2.2, name="agents-embedded"))
        runs.append(made_up("shallow-2", seed, 2.1 + seed / 1000, name="agents-embedded"))
        runs[-1].tie_map = [0, 1]
    assert registered_markdown(runs).startswith("| agents-embedded | difference |")
    assert "cannot tell" not in registered_markdown(runs)


@pytest.mark.parametrize(("alone_is", "words"), [(2.0, "is seen in BERT, too"), (2.5, "is not seen in BERT")])
def test_beside_the_registered_maps_stands_what_bert_says(alone_is, words):
    runs = []
    for seed in (100, 101):
        for tie_map in all_maps(4):
            bits = (alone_is if is_alone(tie_map) else 2.25) + seed / 1000
            runs.append(made_up("map-" + "-".join(map(str, tie_map)), seed, bits, name="truth-bert"))
            runs[-1].final_tie_map = list(tie_map)
    text = in_bert(runs)
    assert text.startswith(
        f"That layer 0 is better alone {words} (`truth-bert`, which cannot tell by the gate). Of the 15"
    )
    assert text.endswith(f"{findings.difference(findings.rows_of(runs, 'truth-bert'), *OF_FOUR)}.")
    registered = [made_up(name, seed, 2.0, name="agents-embedded") for name in REGISTERED for seed in (100, 101)]
    assert registered_markdown([*registered, *runs]).endswith(text)
    assert in_bert(registered) == ""


def test_the_maps_are_drawn_from_best_to_worst_under_their_losses():
    losses = {TieMap([0, 0, 0]): 4.0, TieMap([0, 1, 1]): 1.5, TieMap([0, 1, 0]): 2.5, TieMap([0, 1, 2]): 2.0}
    for told in (False, True):
        above, below = maps_figure(losses, told=told).axes
        assert [label.get_text() for label in below.get_xticklabels()] == ["1", "2", "3", "4"]
        assert [text.get_text() for text in below.texts[-4:]] == ["1", "2", "0", "0"], "the last layers"
        alone, others = [line for line in above.lines if line.get_marker() == "o"]
        assert alone.get_xydata().tolist() == [[0, 1.5], [1, 2.0]]
        assert others.get_xydata().tolist() == [[2, 2.5], [3, 4.0]]
        assert (alone.get_color() == others.get_color()) != told
        assert [text.xy[1] for text in above.texts] == [1.75, 3.25] * told, "the means"
