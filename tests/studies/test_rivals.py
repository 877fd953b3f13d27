"""The rivals of the paper's agent: what a search spends and finds, prices, and what validation recommends."""

import dataclasses
import math

import pytest

from dlt_core.studies import rivals
from dlt_core.studies.findings import difference
from tests.studies.conftest import made_up, table_cells


def run(method, seed, bits, *, own=None, curve=(3.0, 2.0, 1.5), **changes):
    """A run of 12 steps, evaluated every four; of a search, the map that it chose has had `own` steps."""
    steps = [step for step in (4, 8, 12) if step <= (own or 12)]
    record = made_up(method, seed, bits, name="agents-embedded", **changes)
    maps = [[0, 0, 0], [0, 1, 1], [0, 0, 2]]
    agent = {"maps": maps, "rounds": [{"0": 2.0, "1": 3.0}, {"0": 1.0}]} if own else {}
    return dataclasses.replace(
        record, agent=agent, budget={"optimizer_steps": 12, "tokens": 300, "steps_of_the_chosen": own or 12},
        curves={"validation": {"step": steps, "bits_per_byte": list(curve[: len(steps)]),
                               "loss": [2 * x for x in curve[: len(steps)]]}},
        history={"tie_map": [maps[i] for i in (0, 1, 2, 2, 0, 0)], "num_independent": [1, 2, 2, 2, 1, 3]},
    )  # fmt: skip


def test_a_searched_map_is_held_against_a_plain_one_with_as_many_steps():
    rows = {
        "halving-4": [run("halving-4", s, 2.5, own=8, curve=(3.0, 1.75)) for s in (0, 1, 5)],
        "random_map": [run("random_map", s, 1.5, curve=(3.0, 2.0 + s, 1.0)) for s in (1, 0)],
    }
    assert rivals.at_own_steps(rows, "halving-4", "random_map") == [-0.25, -1.25]  # after 8 steps, of seeds 0 and 1
    with pytest.raises(ValueError, match=r"evaluated after the steps \[4, 8\], not after 12"):
        rivals.at_step(rows["halving-4"][0], 12)
    (row,) = table_cells(rivals.own_steps_table(rows, ["halving-4"], ["random_map"]))[1:]
    assert row[:2] == ["`halving-4`", "8"]
    assert row[2].startswith("-0.750 ± 6.353 (not told apart, n = 2; perplexity -100.0 to +")
    one = [run("random_map", 0, 1.5, curve=(3.0, 2.0, 1.0))]
    percent = 100 * math.expm1(2 * -1.0)
    assert rivals.gained(one, 4, 8) == f"-1.000 (one seed, n = 1; perplexity {percent:+.1f} %)"
    assert row[3] == difference(rows, "halving-4", "random_map")
    spent = ["`halving-4`", "3", "2 → 1", "12", "8 (67%)"]
    assert table_cells(rivals.spent_table(rows, ["halving-4"]))[1] == spent


def test_how_much_the_agents_still_move():
    rows = {"dynamic, k=3": [run("dynamic", 0, 2.0)], "random, k=3": [run("random", 0, 1.5)]}
    assert rivals.moves(rows["dynamic, k=3"][0]) == 0.5  # of the last two decisions one changed the map
    table = table_cells(rivals.oftener_table(rows, ["dynamic, k=3"], "random, k=3"))[1:]
    assert table == [
        ["`dynamic, k=3`", difference(rows, "dynamic, k=3", "random, k=3"), "50 %"],
        ["`random, k=3`", "", "50 %"],
    ]


def test_validation_recommends_and_the_test_is_quoted():
    rows = {
        "random": [run("random", s, 2.0) for s in (0, 1, 2)],
        "dqn": [run("dqn", s, 1.75, curve=(3, 2, 1.0)) for s in (0, 1, 2)],
        "thompson": [run("thompson", s, 1.0) for s in (0, 1, 2)],  # the best test
        "conventional": [run("conventional", s, 2.0) for s in (0, 1, 2)],
    }
    picked, table = rivals.recommended(rows, {"an agent": ["dqn", "thompson"], "anything": list(rows)})
    assert picked == {"an agent": "dqn", "anything": "dqn"}
    row = table_cells(table)[1]
    assert row[:4] == ["an agent", "`dqn`", difference(rows, "dqn", "random"), "better in these runs"]
    assert row[5] == "100%"


def test_the_probe_is_told_by_its_last_turns():
    table = table_cells(rivals.probe_table({"slow": {"dynamic": [[9.0, 2.0, 1.0], [9.0, 1.0, 0.0]]}}, last=2))
    assert table == [["settings", "`dynamic`"], ["slow", "1.00 ± 6.35"]]  # t is 12.706 for two


def test_figures_show_the_turns_and_the_prices():
    ax = rivals.probe_figure({"dynamic": [[2.0] * 10 + [1.0] * 10] * 2}, [12]).axes[0]
    assert ax.lines[0].get_ydata().tolist() == [2.0, 1.0]
    assert ax.lines[-1].get_xdata()[0] == 12
    ax = rivals.price_figure({0: [run("thompson", s, 2.0) for s in (0, 1)], 0.5: [run("thompson", 0, 2.0)]}).axes[0]
    assert (ax.get_xticks().tolist(), [text.get_text() for text in ax.get_xticklabels()]) == ([0, 0.5], ["0", "0.5"])
    assert len(ax.texts) == 3, "names at the lines"
    late, tested = (container.lines[0].get_ydata().tolist() for container in ax.containers)
    assert (late, tested) == ([2.0, 2.0], [2.0, 2.0])  # of the last two decisions, and of the map that is tested
