"""Notebook 09's helpers, on a tiny model: what is computed is what is measured, and turns are taken in fairness."""

from types import SimpleNamespace

import pytest

from dlt_core import Experiment, figures
from dlt_core.studies.benchmark import costs
from dlt_core.studies.benchmark.trainers import noise
from dlt_core.tie_map import expected_independent


@pytest.fixture(scope="module")
def small():
    return Experiment.preset(
        "gpt2-embedded", "smoke", device="cpu", precision="fp32", dropout=0.0, n_layer=3, batch_size=2, block_size=16
    )


@pytest.fixture(scope="module")
def data():
    return noise(512)


@pytest.fixture(scope="module")
def measured(small, data):
    return costs.by_weight_sets(small, data, (1, 3))


def test_state_and_activations_are_the_closed_forms_and_the_peak_is_near(small, data, measured):
    shape = costs.shape_of(small, data.vocab_size)
    assert set(measured) == {(sets, checkpointing) for sets in (1, 3) for checkpointing in (False, True)}
    for (sets, checkpointing), found in measured.items():
        closed = costs.closed_form(shape, sets, checkpointing=checkpointing)
        assert closed.keys() == found.keys() == costs.NAMES.keys()
        for part in ("weights", "gradients", "activations"):
            assert found[part] == closed[part], part
        assert found["total"] == pytest.approx(closed["total"], rel=0.01)
        assert found["peak"] == pytest.approx(closed["peak"], rel=0.15)
    deep = costs.by_depth(small, data, (2,))
    assert deep == {(2, 2): deep[2, 2]}
    assert deep[2, 2]["weights"] == costs.closed_form(shape | {"n_layer": 2}, 2)["weights"]


def test_tables_say_what_is_computed_what_is_measured_and_how_many_times_less(measured):
    rows = costs.parts_table(measured[1, False], measured[1, False]).splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(costs.NAMES.values())
    assert all("+0.000%" in row for row in rows)
    memory = {
        (sets, again): {**dict.fromkeys(costs.NAMES, 10**6 * sets), "activations": 10**6}
        for sets in (4, 2.5, 2)
        for again in (False, True)
    }
    whole, chance, two = costs.sets_table(memory, 4).splitlines()[2:]
    assert whole.count("(÷ 1.00)") == 4
    assert chance.startswith("| 2.50 (chance) | 2.50 (÷ 1.60) | 1.00 (÷ 1.00)")
    assert two.startswith("| 2 | 2.00 (÷ 2.00) | 1.00 (÷ 1.00)")


def test_layers_ever_trained_are_those_of_one_turn_at_least_and_all_at_last(small):
    one = small.replace(episodes=1, epsilon=1.0)
    assert costs.ever_trained(one) == pytest.approx(expected_independent(3))
    assert costs.ever_trained(small.replace(episodes=1000, epsilon_min=0.5)) == pytest.approx(3)


def test_variants_take_turns_in_an_order_that_alternates_and_the_first_turn_only_warms_up(small, data):
    order, variants = [], {}
    for name in ("a", "b"):
        learner = SimpleNamespace(seconds=0.0)

        def call(name=name, learner=learner):
            order.append(name)
            learner.seconds += 2.0

        variants[name] = type("Variant", (), {"learner": learner, "__call__": staticmethod(call)})()
    times = costs.in_turns(variants, 4, 2)
    assert "".join(order) == "abbaab"
    assert {name: found.shape for name, found in times.items()} == {"a": (2, 2), "b": (2, 2)}
    assert times["a"][:, 1] == pytest.approx([500, 500]), "2 s are 500 ms for each of 4 steps"
    dynamic, conventional = costs.Dynamic(small, data), costs.Conventional(small, data)
    dynamic(), conventional()
    assert dynamic.learner.step == conventional.learner.step == small.steps_per_action
    assert (dynamic.env.layer, dynamic.agent.epsilon) == (2, small.epsilon)
    dynamic()
    assert dynamic.agent.epsilon < small.epsilon, "the end of a turn"


def test_figures_show_what_is_given(measured):
    by_sets = {sets: measured[sets, False] for sets in (1, 3)}
    ax = figures.memory_by_weight_sets({"kept": (by_sets, by_sets)}).axes[0]
    peak, *_, dots = ax.lines
    assert list(peak.get_ydata()) == list(dots.get_ydata()) == [by_sets[sets]["peak"] / 1e6 for sets in (1, 3)]
    deep = {(n, sets): {"peak": 3e6 * n, "activations": 2e6, "total": 1e6 * sets} for n in (3, 4) for sets in (2, n)}
    lines = figures.memory_by_depth(deep, deep).axes[0]
    ends = {line.get_label(): line.get_xydata()[-1].tolist() for line in lines.lines if line.get_label()[0] != "_"}
    assert [text.get_text() for text in lines.texts] == list(ends)
    assert ends == {
        "peak, L weight sets": [4, 12], "peak, 2 weight sets": [4, 12], "activations, either way": [4, 2],
        "state, L weight sets": [4, 4], "state, 2 weight sets": [4, 2],
    }  # fmt: skip
    held = figures.optimizer_state({"conventional": [4, 4], "kept": [1, 2], "freed": [1, 1]}).axes[0]
    assert [list(line.get_ydata()) for line in held.lines] == [[4e-6, 4e-6], [1e-6, 2e-6], [1e-6, 1e-6]]
    start, dotted, *_ = figures.step_timeline({"a": [1_000_000, 3_000_000], "b": [1, 2]}).axes[0].lines
    assert (list(start.get_ydata()), dotted.get_ydata()[0]) == ([1, 3], 1)
    times = figures.step_times({"a": [1.0, 2.0, 6.0]}, "ms").axes[0]
    assert [label.get_text() for label in times.get_yticklabels()] == ["a"]
    assert times.lines[1].get_xdata()[0] == 2
    saved = figures.savings({name: {1: 13.0, 48: 1.0} for name in "abc"}, 4.46).axes[0]
    assert saved.get_xlim() == (1, 48)
