"""What moving ties costs, from records that never were."""

from dlt_core import CHECKOUT
from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import log_perplexity, mean_interval, plus_minus
from dlt_core.studies.moving import frozen_markdown, moving_on_four_layers, price_markdown
from dlt_core.tie_map import all_maps
from tests.studies.conftest import made_up, table_cells


def frozen_runs():
    records = []
    for seed, noise in enumerate((0.0, 0.01, -0.01)):
        for method, moving, frozen in (("dynamic", 2.3, 2.2), ("random", 2.3, 2.25)):
            records.append(made_up(method, seed, moving + noise, name="agents-embedded"))
            records.append(
                made_up(method, seed, frozen + noise / (2 if method == "random" else 3), name="agents-embedded",
                        freeze_after=0.5)
            )  # fmt: skip
            records.append(made_up(method, seed, 9.0, name="agents-embedded", freeze_after=0.5, reward="neg_loss"))
    return records


def test_frozen_runs_are_held_against_those_that_move_to_the_end():
    records = frozen_runs()
    text = frozen_markdown(records)
    rows = table_cells(text)
    name = "agents-embedded, freeze_after=0.5 (cannot tell)"
    assert [row[:3] for row in rows] == [
        [name, "`dynamic`, frozen minus moving", "3"],
        [name, "`random`, frozen minus moving", "3"],
        [name, "frozen, `dynamic` minus `random`", "3"],
    ]
    assert [row[3][:6] for row in rows] == ["-0.100", "-0.050", "-0.050"]
    assert "By the gate `agents-embedded` cannot tell" in text
    assert frozen_markdown([r for r in records if not r.changes]) == ""


def test_a_study_that_can_tell_has_no_mark():
    told = []
    for seed in range(3):
        told.append(made_up("conventional", seed, 2.0 + seed / 1000, name="agents-embedded"))
        told.append(made_up("shallow-2", seed, 2.2, name="agents-embedded"))
        told[-1].tie_map = [0, 1]
    text = frozen_markdown([*frozen_runs(), *told])
    assert table_cells(text)[0][0] == "agents-embedded, freeze_after=0.5"
    assert "cannot tell" not in text


def four_layers():
    """All maps of four layers, the n-th at 2 + n / 100 bits per byte, and runs that move at 2.5 and 2.6."""
    records = []
    for seed, noise in enumerate((0.0, 0.01, -0.02)):
        for i, tie_map in enumerate(all_maps(4)):
            records.append(made_up("map-" + "-".join(map(str, tie_map)), seed, 2 + i / 100 + noise, name="truth"))
        records.append(made_up("dynamic", seed, 2.5 + noise, name="truth"))
        records.append(made_up("random", seed, 2.6, name="truth"))
    return records


def test_moving_on_four_layers_is_held_against_the_average_of_all_maps():
    records = four_layers()
    text = moving_on_four_layers(records)
    by = {(r.method, r.seed): log_perplexity(r) for r in records}
    maps = sorted({r.method for r in records if r.method.startswith("map-")})
    average = [sum(by[name, seed] for name in maps) / 15 for seed in range(3)]
    for method in ("dynamic", "random"):
        above = [by[method, seed] - average[seed] for seed in range(3)]
        assert f"`{method}` {plus_minus(*mean_interval(above), 3, '+')} (n = 3)" in text
    ends = [sum(by[name, seed] for seed in range(3)) / 3 for name in ("map-0-0-0-0", "map-0-1-2-3")]
    assert f"above this average, and {ends[1] - ends[0]:.3f} above the best." in text
    assert text.startswith("**Four layers**, `truth` (cannot tell). Each of the 15 maps")
    assert moving_on_four_layers([r for r in records if r.method != "map-0-1-2-1"]) == "", "a map is missing"
    assert moving_on_four_layers([r for r in records if r.method.startswith("map-")]) == ""


def test_the_price_of_moving_is_said_both_ways_where_it_was_measured():
    frozen = price_markdown(frozen_runs())
    assert frozen.startswith("**6 layers**, `agents-embedded, freeze_after=0.5` (cannot tell). *Frozen*: no tie moves ")
    assert "after 50% of the training" in frozen
    assert "`dynamic`, frozen minus moving -0.100 ± 0.017 (n = 3, p " in frozen
    four = moving_on_four_layers(four_layers())
    assert price_markdown([*frozen_runs(), *four_layers()]) == f"{four}\n\n{frozen}"
    assert price_markdown([]) == ""


def test_what_the_records_say_of_four_layers():
    """As it was computed by hand."""
    records = [RunRecord.load(path) for path in sorted((CHECKOUT / "figures" / "records").glob("truth-laptop-*.json"))]
    text = moving_on_four_layers(records)
    assert "`dynamic` +0.173 ± 0.103 (n = 5) and `random` +0.175 ± 0.068 (n = 5). The worst of the maps is " in text
    assert "is 0.096 above this average, and 0.173 above the best." in text
