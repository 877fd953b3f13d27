"""Every figure has words for those who cannot see it, made of what stands in it."""

import inspect
import re

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure as Plain
from PIL import Image

from dlt_core import figures
from dlt_core.figures.words import LONGEST, describe
from dlt_core.tie_map import TieMap
from tests.figures.conftest import LINES

MAPS = {"start": TieMap.all_tied(4), "end": TieMap([0, 1, 1, 0])}
MEMORY = {"weights": 1e9, "gradients": 1e9, "optimizer": 2e9, "activations": 6e9, "peak": 9e9, "total": 4e9}
DEEP = {(layers, sets): MEMORY for layers in (3, 6) for sets in (2, layers)}
LOSSES = dict.fromkeys(MAPS.values(), 1.5)
BARS = {"training": "plain", "ratio_to_conventional": 1.5, **dict.fromkeys(["ratio_to_conventional_q25"], 1.25)}
BENCHMARK = {
    "parts": {"steps": {"rows": [BARS | {"ratio_to_conventional_q75": 2.25}]}},
    "hardware": {"device": "cpu", "threads": 1, "cores": 2},
}
CHARTS = {
    "agent_history": lambda runs: figures.agent_history(runs[0]),
    "agreement": lambda _: figures.agreement({"early": [[1, -0.5], [-0.5, 1]], "late": np.eye(2)}),
    "bands": lambda _: figures.bands({"text": LINES}, "steps", "difference"),
    "benchmark": lambda _: figures.benchmark(BENCHMARK),
    "constant_reward": lambda _: figures.constant_reward({"table": [-1.0, -2.0]}, {"network": [0.5] * 9}, -1000),
    "differences": lambda _: figures.differences({"one": {"a": [1.0, 3.0]}, "two": {"b": [3.0]}}, "bits"),
    "front": lambda _: figures.front({"cheap": ([1.0], [2.0]), "dear": ([2.0], [1.0])}, "parameters", "bits"),
    "gradient_arrows": lambda _: figures.gradient_arrows({"agree": [[1, 2], [2, 1]], "fight": [[1, 2], [1, -2]]}),
    "independent_layers": lambda runs: figures.independent_layers(runs[:2]),
    "learning_curves": lambda runs: figures.learning_curves({"one": runs[:2], "other": runs}),
    "map_graphs": lambda _: figures.map_graphs(MAPS),
    "memory": lambda runs: figures.memory(runs),
    "memory_by_depth": lambda _: figures.memory_by_depth(DEEP, DEEP),
    "memory_by_weight_sets": lambda _: figures.memory_by_weight_sets({"kept": ({1: MEMORY, 2: MEMORY}, {1: MEMORY})}),
    "optimizer_state": lambda _: figures.optimizer_state({name: [2e6, 1e6] for name in ("none", "kept", "freed")}),
    "q_values": lambda runs: figures.q_values(runs[0], 2),
    "savings": lambda _: figures.savings({name: {1: 13.0, 48: 1.0} for name in "abc"}, 4.46),
    "seen_and_true": lambda _: figures.seen_and_true(LOSSES, LOSSES, "gain", "loss"),
    "sign_map": lambda _: figures.sign_map({"text": {"few": ([10, 20], [[1.0, -2.0]])}}, "steps", "bits"),
    "step_timeline": lambda _: figures.step_timeline({"tied": [1e6, 3e6, 1e6], "no ties": [2e6, 2e6]}),
    "step_times": lambda _: figures.step_times({"tied": [1.0, 2.0, 6.0]}, "ms a step"),
    "tie_map_evolution": lambda runs: figures.tie_map_evolution(runs[:2]),
    "tie_maps": lambda _: figures.tie_maps(MAPS),
    "weight_set_memory": lambda _: figures.weight_set_memory({1: MEMORY, 48: MEMORY}),
    "weight_set_parameters": lambda _: figures.weight_set_parameters(
        {1: 1e8, 2: 2e8}, {1: 1e8, 2: 2e8}, ("quoted", 2e8), ("reported", 1, 2)
    ),
}  # fmt: skip
# What a reader must learn of it, beside its axes.
SAID = {
    "agent_history": r"Points and lines in 3 panels, over decision. .*TD loss \(logarithmic\): from",
    "agreement": r"early: from −0.5 to 1. late: from 0 to 1. Colour: cosine",
    "bands": r"^Lines with bands: difference over steps. text: dynamic from 4 to 3 \(lowest 2\); random \(last\) from",
    "benchmark": r"a training step: plain at 1.50 \(1.25 to 2.25\). measured on: cpu",
    "constant_reward": r"decision \(logarithmic\): table from −1 to −2; r / \(1 − γ\) at −1,000. .*network at 0.5\.",
    "differences": r"^Points with error bars in 2 panels: bits. one: a at 2 ± 13. two: b at 3\.$",
    "front": r"^Points with error bars: bits over parameters. cheap at 1: 2; dear at 2: 1\.$",
    "gradient_arrows": r"agree, apart 6, shared 6: arrow of layer 0 to \(1, 2\)",
    "independent_layers": r"^Lines: independent layers of 4 over .* dynamic from 2 to \d; random from .*; mean of a",
    "learning_curves": r"^Lines in 2 panels: validation perplexity .* \(logarithmic\) over .* other: dynamic from \d+",
    "map_graphs": r"start, 1 weight set: map \[0, 0, 0, 0\]. end, 2 weight sets: map \[0, 1, 1, 0\]",
    "memory": r"^Bars: MiB in training. gpt2-embedded, dynamic: weights 0.26, Adam's averages 0.521, gradients",
    "memory_by_depth": r"peak, L weight sets at 9,000; .*; activations, either way at 6,000; ",
    "memory_by_weight_sets": r"kept: peak at 9,000; weights; Adam's averages; gradients; activations\.",
    "optimizer_state": r"none from 2 to 1; kept from 2 to 1; freed",
    "q_values": r"a = 0: as layer 0 (from|at) .*; a = 2: independent (from|at) .*; taken (between|at) ",
    "savings": r"a from 13 to 1; .*; 7 to 10 sets",
    "seen_and_true": r"^Points: loss over gain. 1 weight set at 1.5; 2 weight sets at 1.5",
    "sign_map": r"over steps. text: few from 1 to −2. Colour: bits\.",
    "step_timeline": r"tied from 1 to 1 \(highest 3\); no ties at 2",
    "step_times": r"ms a step. tied at 2.0 \(1.5 to 4.0\)",
    "tie_map_evolution": r"^Picture in 2 panels: .*, seed 0: the map after the first decision is \[0, .*, after",
    "tie_maps": r"start: \[0, 0, 0, 0\]; end: \[0, 1, 1, 0\]",
    "weight_set_memory": r"48: weights 1, Adam's averages 2, gradients 1, activations 6; peak of one step at 9; a",
    "weight_set_parameters": r"closed form from 0.1 to 0.2; counted between 0.1 and 0.2; quoted at 0.2; reported\.$",
}


def test_no_public_figure_is_forgotten():
    public = {name: getattr(figures, name) for name in figures.__all__}
    draw = {name for name, one in public.items() if inspect.isfunction(one)
            and inspect.signature(one).return_annotation == "Figure"}  # fmt: skip
    drawings = {name for name in draw if public[name].__module__.endswith(".drawings")}
    assert draw - drawings - {"new_figure"} == CHARTS.keys()
    assert len(drawings) == 6


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_names_its_axes_and_says_what_it_shows(name, runs):
    figure = CHARTS[name](runs)
    assert re.search(SAID[name], figure.alt), figure.alt
    assert len(figure.alt) <= LONGEST
    axes = [label for ax in figure.axes for label in (ax.get_xlabel(), ax.get_ylabel(), ax.get_title())]
    for label in [*axes, figure.get_supxlabel(), figure.get_supylabel()]:
        assert " ".join(label.replace("\n", ", " if label in axes[2::3] else " ").split()) in figure.alt
    assert "  " not in figure.alt.replace("\n", "  "), "one line"


def test_a_notebook_gets_the_words_and_a_caller_may_have_its_own(tmp_path):
    figure = figures.tie_maps(MAPS)
    data, metadata = DisplayFormatter().format(figure)
    assert metadata["image/png"] == {"alt": figure.alt}
    assert data["text/plain"] == figure.alt
    figure.alt = "Two maps: “2 < 3”."
    data, metadata = DisplayFormatter().format(figure)
    assert (data["text/plain"], metadata["image/png"]["alt"]) == (figure.alt, "Two maps: “2 < 3”.")
    assert Image.open(figures.save(figure, tmp_path / "a.png")).text == {"Description": figure.alt}
    assert "<title>Two maps: “2 &lt; 3”.</title>" in figures.save(figure, tmp_path / "a.svg").read_text(
        encoding="utf-8"
    )


def test_a_figure_from_elsewhere_is_saved_with_words(tmp_path):
    figure = Plain()
    figure.subplots().plot([1, 2], [3, 0.00004])
    figure.axes[0].set(xlabel="$x_0$", yscale="log", ylabel="a\nb")
    text = Image.open(figures.save(figure, tmp_path / "a.png")).text
    assert text == {"Description": "Lines: a b (logarithmic) over x_0. from 3 to 0.00004."}


def test_of_much_the_first_is_said_and_of_very_much_the_titles():
    figure, ax = figures.new_axes()
    for i in range(60):
        ax.plot([1, 2], [i, i + 1], label=f"method {i}")
    assert re.search(r"method 0 from 0 to 1; .*; and 40 more\.$", figure.alt)
    figure, axes = figures.new_panels([f"the text of the number {i}" for i in range(6)])
    for ax in axes.flat:
        ax.plot([1, 2], [1, 2], label="a name as long as a sentence, " * 3)
    words = figure.alt
    assert re.search(r"the text of the number 5\. In each: a name as", words)
    assert "from 1 to 2" not in words
    axes[0, 0].set_title("without end " * 60)
    assert figure.alt.endswith(" end …")
    assert max(map(len, (words, figure.alt))) <= LONGEST


def test_bars_are_named_by_the_axis_along_which_they_stand():
    figure, ax = figures.new_axes()
    ax.bar([0, 1], [5, 3], label="tied")
    assert describe(figure) == "Bars. tied from 5 to 3."
    ax.set_xticks([0, 1], ["one", "two"])
    assert describe(figure) == "Bars. one: tied 5; two: tied 3."
