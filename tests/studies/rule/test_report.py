"""The rule's test from records that never were: contrasts, margin, the gate, and the pattern picked with hindsight."""

import pytest

from dlt_core.records.record import RunRecord
from dlt_core.studies.rule.report import MARGIN, best_pattern, rule_markdown
from tests.studies.conftest import made_up, table_cells

OFFSETS = (0.0, 0.001, -0.001, 0.002)


def runs(method: str, bits: float, tie_map=(0, 1, 1, 1, 1, 1), loss: float = 1.0) -> list[RunRecord]:
    found = []
    for seed, offset in enumerate(OFFSETS):
        record = made_up(method, seed, bits + offset * (len(method) % 3 + 1) / 3, name="depth", independent=2)
        record.test["perplexity"] = 2 ** record.test["bits_per_byte"]
        record.tie_map = record.final_tie_map = list(tie_map)
        record.curves["validation"]["loss"] = [loss + 1, loss]
        found.append(record)
    return found


def a_study(conventional: float) -> list[RunRecord]:
    return [
        *runs("gradient-2-restart", 2.0),
        *runs("random", 2.1, (0, 0, 0, 0, 0, 5)),
        *runs("sandwich-2", 2.0),
        *runs("sequence-2", 1.9, (0, 0, 0, 3, 3, 3), loss=1.5),
        *runs("shallow-2", 2.005, (0, 1)),
        *runs("conventional", conventional, (0, 1, 2, 3, 4, 5)),
    ]


def test_where_the_gate_is_open_each_contrast_has_a_conclusion():
    rows = table_cells(rule_markdown(a_study(1.9)))
    assert [row[1] for row in rows] == ["`random`", "`sandwich-2`", "`shallow-2`", "`conventional`"]
    small = f"better, though equal within {MARGIN:g}"
    assert [row[-1] for row in rows] == ["better", "the same map, so the same run", small, "worse"]
    assert [row[2] for row in rows] == ["4"] * 4
    assert rows[0][3].startswith("-0.10")


def test_where_the_gate_is_shut_nothing_is_concluded():
    rows = table_cells(rule_markdown(a_study(2.05)))
    assert {row[-1] for row in rows} == {"cannot tell", "the same map, so the same run"}


def test_nothing_for_records_without_the_rule():
    assert rule_markdown([r for r in a_study(1.9) if r.method != "gradient-2-restart"]) == ""


def test_the_pattern_is_picked_on_validation_among_those_with_all_seeds():
    of = {"gradient-2-restart": runs("gradient-2-restart", 2.0), "sequence-2": runs("sequence-2", 1.9, loss=1.5)}
    assert best_pattern(of) == "sequence-2"
    of["sandwich-2"] = runs("sandwich-2", 2.0)
    assert best_pattern(of) == "sandwich-2"
    of["sandwich-2"] = of["sandwich-2"][:2]
    assert best_pattern(of) == "sequence-2"
    assert best_pattern({"gradient-2-restart": of["gradient-2-restart"]}) is None
    of["map-0-0-0-0-0-5"] = runs("map-0-0-0-0-0-5", 2.2, loss=1.2)
    of["map-0-1-2-2-2-2"] = runs("map-0-1-2-2-2-2", 1.8, loss=0.5)
    of["sandwich-3"] = of["shallow-2"] = runs("sandwich-3", 1.8, loss=0.5)
    assert best_pattern(of) == "map-0-0-0-0-0-5", "three sets, or two layers, are another thing"


@pytest.mark.parametrize("other", [(0, 1, 0, 0, 0, 0)])
def test_another_map_is_compared_like_any_other_method(other):
    study = [r for r in a_study(1.9) if r.method != "sandwich-2"] + runs("sandwich-2", 2.0, other)
    (row,) = [row for row in table_cells(rule_markdown(study)) if row[1] == "`sandwich-2`"]
    assert row[-1] == f"equal within {MARGIN:g}"
