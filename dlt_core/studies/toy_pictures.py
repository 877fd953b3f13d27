"""The pictures of notebook 02: of a toy with four layers, and of what several seeds of an agent did in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from dlt_core import figures
from dlt_core.figures.style import BLUE, COLOURS, INK, PINK, VERMILLION
from dlt_core.records.statistics import mean_interval
from dlt_core.studies.toy import Played
from dlt_core.tie_map import TieMap, expected_independent

Move = tuple[int | None, int | None, Sequence[int]]  # layer, action (None at the start), state


def moves(trace: Sequence[Move]) -> figures.Figure:
    """States from top to bottom, a colour for each weight set, the layer that was asked in a frame."""
    figure, ax = figures.new_axes(5.2, 3.6)
    n_layer, told = len(trace[0][2]), []
    for row, (layer, action, s) in enumerate(trace):
        for i, j in enumerate(s):
            _box(ax, i, row, COLOURS[j], j)
        said = "start: all tied"
        if layer is not None:
            ax.add_patch(Rectangle((layer + 0.02, row + 0.03), 0.96, 0.94, fill=False, ec=INK, lw=2))
            said = f"a = {action}: " + ("independent" if action == layer else f"tie to layer {action}")
        ax.text(n_layer + 0.25, row + 0.5, said, va="center")
        told.append(f"{said}: {list(s)}" if layer is None else f"layer {layer}, {said}: {list(s)}")
    ax.set_label("; ".join(told))
    _ticks(ax, n_layer, len(trace))
    ax.set(xlim=(0, 7), ylim=(len(trace), 0), xlabel="layer i (number shown: s_i)", ylabel="decision")
    ax.xaxis.set_label_coords(0.29, -0.12)
    return figure


def ranking(perplexity: Mapping[TieMap, float], names: Mapping[TieMap, str]) -> figures.Figure:
    """A bar for the toy perplexity of each map, in the order given; names: of the bars that have one."""
    figure, ax = figures.new_axes(5, 3.4)
    for row, (m, value) in enumerate(perplexity.items()):
        ax.barh(row, value, color=BLUE if m in names else INK)
        ax.text(value + 0.3, row, names.get(m, ""), va="center", fontsize=8)
    _map_axis(ax, list(perplexity))
    ax.set(xlabel="toy perplexity (lower is better; the axis starts at 20)", xlim=(20, 51))
    return figure


def outputs(n_layer: int) -> figures.Figure:
    """Where the Q-values of each layer lie in the network's output vector."""
    figure = figures.new_figure(5.2, 3.6)
    rows, vector = figure.subplots(2, 1, height_ratios=[3, 1])
    for layer in range(n_layer):
        start = layer * (layer + 1) // 2
        for action in range(layer + 1):
            _box(rows, action, layer, COLOURS[layer], start + action)
            _box(vector, start + action, 0, COLOURS[layer], start + action)
        rows.text(layer + 1.2, layer + 0.5, f"starts at {layer}·{layer + 1}/2 = {start}", va="center", fontsize=9)
    rows.set_label("; ".join(f"layer {i}: {i + 1} from place {i * (i + 1) // 2} on" for i in range(n_layer)))
    vector.set_label("the same values in one row")
    _ticks(rows, n_layer, n_layer)
    _ticks(vector, 0, 0)
    rows.set(xlim=(0, n_layer + 3), ylim=(n_layer, 0), xlabel="action a", ylabel="layer i")
    vector.set(
        xlim=(0, n_layer * (n_layer + 1) // 2), ylim=(1, 0), xlabel="the network's output vector, L(L+1)/2 values"
    )
    return figure


def learning(rows: Mapping[str, Played], best: float, block: int = 10) -> figures.Figure:
    """Toy perplexity over the turns, means of `block`, with 95 % intervals over the seeds."""
    lines = {}
    for name, played in rows.items():
        values = played.perplexities
        width = min(block, values.shape[1] // 4)
        means = values.reshape(len(values), -1, width).mean(axis=2)
        lines[name] = (width * (np.arange(means.shape[1]) + 0.5), means.tolist())
    figure = figures.bands({"": lines}, f"turn (means of {width})", "toy perplexity")
    figure.axes[0].axhline(best, color=INK, linestyle=":", linewidth=1)
    figure.axes[0].annotate("best map", (0, best), xytext=(0, 3), textcoords="offset points", fontsize=8)
    return figure


def level(seen: np.ndarray, level: float) -> figures.Figure:
    """The largest Q of each decision, mean of each turn, with 95 % intervals, beside the value it has to reach.

    seen: shape (seeds, turns, layers asked)."""
    values = seen.mean(axis=2)
    middle, half = np.array([mean_interval(at) for at in values.T.tolist()], dtype=float).T
    figure, ((whole, near),) = figures.new_panels(
        ("the way it has to go", "the same line, enlarged"), width=3.2, height=2.8, margin=0
    )
    turns = np.arange(1, len(middle) + 1)
    for ax in (whole, near):
        ax.plot(turns, middle, color=BLUE, label="largest Q of the network")
        ax.fill_between(turns, middle - half, middle + half, color=BLUE, alpha=0.18, linewidth=0)
        ax.set(xlabel="turn", ylabel="Q")
    whole.axhline(level, color=INK, linestyle="--", linewidth=1, label="r / (1 - γ), best map")
    whole.legend(fontsize=8, loc="center left")
    return figure


def alike(rewards: np.ndarray, q: np.ndarray, choices: Sequence[int]) -> figures.Figure:
    """Two actions with one reward: their Q after each decision, shape (decisions, 2), and below which was taken."""
    figure, ax = figures.new_axes(5, 3)
    ax.plot(rewards, color=INK, linestyle="--", linewidth=1, label="reward of either action")
    for a, colour in enumerate((BLUE, VERMILLION)):
        ax.plot(q[:, a], color=colour, label=f"Q of action {a}")
        taken = np.flatnonzero(np.array(choices) == a)
        ax.plot(taken, np.full(len(taken), -106 - 4 * a), "|", color=colour)
    ax.set(xlabel="decision (ticks below: which action was taken)", ylabel="reward, Q", ylim=(-114, 5))
    ax.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.1))
    return figure


def drift(rewards: Mapping[str, Sequence[float]]) -> figures.Figure:
    """Rewards over the decisions, a panel for each kind, every second one as a dot."""
    figure, (axes,) = figures.new_panels(rewards, width=3.2, height=2.8, margin=0)
    for ax, values in zip(axes, rewards.values(), strict=True):
        ax.plot(np.arange(0, len(values), 2), values[::2], ".", markersize=2.5, color=BLUE)
        ax.set(xlabel="decision", ylabel="reward")
    return figure


def late(rows: Mapping[str, Played], best: float) -> figures.Figure:
    """Mean toy perplexity of the last quarter with its 95 % interval; the dotted line: the first row's."""
    figure, ax = figures.new_axes(5.6, 3)
    for row, played in enumerate(rows.values()):
        mean, half = mean_interval(played.late)
        ax.errorbar(mean, row, xerr=half, fmt="o", color=BLUE if row else VERMILLION, capsize=4)
    ax.axvline(best, color=INK, linestyle="--", linewidth=1)
    ax.text(best + 0.15, len(rows) - 0.55, "best map", fontsize=8, va="center")
    ax.axvline(fmean(next(iter(rows.values())).late), color=VERMILLION, linestyle=":", linewidth=1)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel="toy perplexity without drift, last quarter", ylim=(len(rows) - 0.2, -0.6))
    return figure


def places(rows: Mapping[str, Played], ranking: Sequence[TieMap]) -> figures.Figure:
    """At which maps the agents were in the last quarter: a bar for the mean, a dot for each seed."""
    figure, (axes,) = figures.new_panels(rows, width=2.2, height=3.2, margin=0, sharey=True)
    for ax, played in zip(axes, rows.values(), strict=True):
        shares = 100 * played.places(ranking)
        ax.barh(range(len(ranking)), shares.mean(axis=0), color=BLUE)
        ax.plot(shares.T, range(len(ranking)), ".", color=VERMILLION, markersize=3)
        ax.set(xlabel="% of the decisions", xlim=(0, 105))
    _map_axis(axes[0], ranking)
    axes[0].set_ylabel("tie map s, best at the top")
    return figure


def uniform(counts: Mapping[int, np.ndarray], derived: Mapping[int, np.ndarray]) -> figures.Figure:
    """How many layers a uniform policy leaves independent. For each depth, counts: of simulated turns; derived: the
    probability of 0, 1, ..., L layers."""
    names = {n_layer: f"L = {n_layer}" for n_layer in counts}
    figure, (axes,) = figures.new_panels(names.values(), width=3.3, height=2.8, margin=0, sharey=True)
    for ax, (n_layer, found) in zip(axes, counts.items(), strict=True):
        x = np.arange(1, min(14, n_layer + 1))
        share = np.array([(found == k).mean() for k in x])
        half = 1.96 * np.sqrt(share * (1 - share) / len(found))
        ax.bar(x, share, yerr=half, color=BLUE, ecolor=INK, label="simulated")
        ax.plot(x, derived[n_layer][x], "o", markersize=4, color=VERMILLION, label="derived")
        ax.axvline(expected_independent(n_layer), color=INK, linestyle="--", linewidth=1, label="mean, Σ 1/(i+1)")
        ax.set(xlabel="independent layers", xticks=x[::2])
    axes[-1].axvspan(6.5, 10.5, color=PINK, alpha=0.25, linewidth=0, zorder=0, label="reviews: 7-10")
    axes[0].set_ylabel("share of turns")
    axes[-1].legend(fontsize=8)
    return figure


def _box(ax: Axes, x: float, y: float, colour: str, text: object) -> None:
    ax.add_patch(Rectangle((x + 0.06, y + 0.1), 0.88, 0.8, color=colour, lw=0))
    ax.text(x + 0.5, y + 0.5, str(text), color=figures.ink_on(colour), ha="center", va="center", weight="bold")


def _ticks(ax: Axes, columns: int, rows: int) -> None:
    """A tick in the middle of each box, and no frame."""
    figures.tidy(ax)
    ax.set_xticks(np.arange(columns) + 0.5, map(str, range(columns)))
    ax.set_yticks(np.arange(rows) + 0.5, map(str, range(rows)))
    ax.spines[:].set_visible(False)


def _map_axis(ax: Axes, maps: Sequence[TieMap]) -> None:
    """Maps downwards, as 0101 for [0, 1, 0, 1]."""
    ax.set_yticks(range(len(maps)), ["".join(map(str, m)) for m in maps], fontsize=7, family="monospace")
    ax.set_ylabel("tie map s")
    ax.invert_yaxis()
