"""Which rows of the results could have told anything: the rule on made-up runs, case by case."""

import pytest

from dlt_core.studies.claim import gate_markdown
from dlt_core.studies.gate import LOOK, Gate, by_plain_name, gate_of, informative, key, of_these_runs, plain_name
from dlt_core.studies.tables import summary
from tests.studies.conftest import made_up

NOISE = (0.01, -0.01, 0.0)


def runs(conventional=2.0, random=2.2, spread=1.0, **shallow):
    """Three seeds of each method, apart from each other by the noise of their seed in the first two."""
    found = [made_up("conventional", seed, conventional + spread * NOISE[seed]) for seed in range(3)]
    found += [made_up("random", seed, random) for seed in range(3)]
    for name, bits in shallow.items():
        depth = int(name[-1])
        for seed in range(3):
            found.append(made_up(f"shallow-{depth}", seed, bits))
            found[-1].tie_map = list(range(depth))
    return found


def gate(records):
    (found,) = informative(records).values()
    return found


def test_a_row_can_tell_where_depth_is_worth_something_and_chance_costs_something():
    found = gate(runs(shallow2=2.1, shallow3=2.05))
    assert (found.can_tell, found.word, found.mark, found.reason) == (True, "can tell", "", "")
    assert found.depth["shallow-2"] == pytest.approx([-0.09, -0.11, -0.1])
    assert found.dynamic_range == pytest.approx([0.19, 0.21, 0.2])
    assert gate(runs(random=1.8, shallow2=2.1)).can_tell, "chance may also be better"


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (runs(), "what depth is worth is not measured"),
        (runs(shallow2=2.1)[:3] + runs(shallow2=2.1)[6:], "what random ties cost is not measured"),
        (runs(shallow2=1.9), "conventional minus shallow-2 +0.100 ± 0.025 (n = 3): depth is not shown to be worth"),
        (runs(shallow2=2.1, shallow3=1.999), "conventional minus shallow-3 +0.001 ± 0.025 (n = 3): depth"),  # of all
        (runs(random=2.01, shallow2=2.1), "random minus conventional +0.010 ± 0.025 (n = 3): ties are not shown"),
        (runs(shallow6=2.1), "what depth is worth is not measured"),  # as deep as the conventional one
        ([r for r in runs(shallow2=2.1) if r.seed == 0], "conventional minus shallow-2 -0.090 (n = 1): depth"),
    ],
)
def test_a_row_cannot_tell_for_want_of(records, reason):
    found = gate(records)
    assert (found.can_tell, found.word, found.mark) == (False, "cannot tell", " (cannot tell)")
    assert found.reason.startswith(reason)


def test_only_finished_runs_on_equal_tokens_count_and_dynamic_tying_has_no_part():
    longer = runs(shallow2=2.1)
    for run in longer[6:]:
        run.budget["tokens"] += 1
    assert gate(longer).reason == "what depth is worth is not measured"
    unfinished = runs(shallow2=2.1)
    for run in unfinished[3:6]:
        run.status = "diverged"
    assert gate(unfinished).reason == "what random ties cost is not measured"
    with_dynamic = [*runs(shallow2=2.1), *(made_up("dynamic", seed, 9.0) for seed in range(3))]
    assert gate(with_dynamic) == gate(runs(shallow2=2.1))


def test_looks_at_settings_count_in_no_verdict():
    def depth(method, seed, bits):
        run = made_up(method, seed, bits, name="depth")
        run.tie_map = [0, 1] if method == "shallow-2" else run.tie_map
        return run

    counted = [depth("conventional", s, 2.0) for s in (1, 2)] + [depth("random", s, 2.1) for s in (1, 2)]
    counted += [depth("shallow-2", s, 2.2) for s in (1, 2)]
    looks = [depth("conventional", LOOK, 3.0), depth("shallow-2", LOOK, 2.0), depth("random", LOOK, 2.0)]
    assert informative([*counted, *looks]) == informative(counted)
    assert informative(looks) == {}
    assert gate_markdown([*counted, *looks]) == gate_markdown(counted)
    assert [row["n"] for row in summary([*counted, *looks])] == [2, 2, 2]
    elsewhere = [made_up("conventional", LOOK, 2.0), made_up("random", LOOK, 2.1)]
    assert gate(elsewhere).dynamic_range == pytest.approx([0.1]), "in another study it is a seed like others"


@pytest.mark.parametrize(
    ("method", "plain"),
    [
        ("map-0-1-2-3", "conventional"),
        ("map-0-1-1-1", "sandwich-2"),
        ("map-0-1-1-3", "sandwich-3"),
        ("map-0-0-0-3", "map-0-0-0-3"),
        ("map-0-0-0-0", "map-0-0-0-0"),  # one set is no sandwich
        ("map-0-1-1-1-1-5", "sandwich-3"),
    ],
)
def test_a_fixed_map_goes_by_its_plain_name(method, plain):
    assert plain_name(method) == plain
    assert list(by_plain_name([made_up(method, name="truth")])) == [plain]


def test_a_map_keeps_its_name_where_its_plain_one_was_run():
    two = [made_up("map-0-1-2-3", 0, name="truth"), made_up("conventional", 1, name="truth")]
    assert {name: [r.seed for r in of] for name, of in by_plain_name(two).items()} == {
        "map-0-1-2-3": [0],
        "conventional": [1],
    }
    unfinished, look = made_up("map-0-1-1-1", name="truth"), made_up("random", LOOK, name="depth")
    unfinished.status = "running"
    assert by_plain_name([unfinished, look]) == {}


def test_the_gate_takes_a_map_with_all_layers_independent_for_conventional_training():
    found = [made_up("map-0-1-2-3", seed, 2.0 + NOISE[seed], name="truth") for seed in range(3)]
    found += [made_up("random", seed, 2.2, name="truth") for seed in range(3)]
    for seed in range(3):
        found.append(made_up("shallow-2", seed, 2.1, name="truth"))
        found[-1].tie_map = [0, 1]
    assert gate(found).depth["shallow-2"] == pytest.approx([-0.09, -0.11, -0.1])
    assert gate(found).dynamic_range == pytest.approx([0.19, 0.21, 0.2])
    assert gate_markdown(found).endswith("| can tell |")
    assert gate([*found, made_up("conventional", 7, name="truth")]).dynamic_range == [], "conventional was run"


def test_below_a_table_it_is_said_which_experiments_cannot_tell():
    told, untold = Gate({"shallow-2": [-0.1, -0.11]}, [0.1, 0.11]), Gate({}, [])
    assert of_these_runs({"depth": told}) == ""
    text = of_these_runs({"a": untold, "depth": told, "b": untold})
    assert text.startswith("By the gate `a` and `b` cannot tell")
    assert "these runs alone" in text


def test_each_experiment_preset_and_change_has_a_gate_of_its_own():
    changed = [made_up(m, s, b, gamma=0.5) for m, b in (("conventional", 2.0), ("random", 2.5)) for s in (0, 1)]
    gates = informative([*runs(shallow2=2.1), *changed])
    assert {name: found.can_tell for name, found in gates.items()} == {
        ("gpt2-wikitext2", "laptop", ""): True,
        ("gpt2-wikitext2", "laptop", "gamma=0.5"): False,
    }
    assert key(changed[0]) == ("gpt2-wikitext2", "laptop", "gamma=0.5")
    assert gate_of(gates, "gpt2-wikitext2").can_tell
    assert gate_of(gates, "gpt2-lm1b").reason == "what depth is worth is not measured"
