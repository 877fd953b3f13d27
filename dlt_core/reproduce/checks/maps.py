"""Checks of the exercises to notebook 13: how many maps there are, fair pairs, verdicts, choosing."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from dlt_core.records.record import RunRecord
from dlt_core.records.statistics import mean_interval
from dlt_core.reproduce.checks.common import NotYet, ask, ask_number, call_of, passed, require
from dlt_core.studies.findings import COMMITTED
from dlt_core.tie_map import all_maps

VERDICTS = ("better", "worse", "equivalent", "not told apart")


def check_num_maps(num_maps: Callable[[int, int], int]) -> None:
    """num_maps(n_layer, num_groups): how many tie maps have so many weight sets."""
    for n_layer, groups in ((1, 1), (4, 1), (4, 4), (4, 2), (5, 3), (8, 4), (6, 2), (3, 4)):
        found, call = ask_number(num_maps, n_layer, groups), call_of(num_maps, n_layer, groups)
        right = len(list(all_maps(n_layer, groups)))
        off = f"{call} gave {found:g}."
        if found == right:
            continue
        require(groups <= n_layer, f"{off} More weight sets than layers?")
        require(groups not in (1, n_layer), f"{off} All tied, and all independent: how many maps of each are there?")
        require(found != math.comb(n_layer, groups), f"{off} You choose which layers are roots. What do the others do?")
        require(found != groups**n_layer, f"{off} A set may stay empty there, and sets have no names.")
        require(found != math.comb(n_layer - 1, groups - 1), f"{off} A set need not be a run of neighbours.")
        raise NotYet(f"{off} Think of the last layer: it opens a set of its own, or joins one that is there.")
    passed("With `functools.cache` above it, ask for 48 layers and 8 weight sets: nobody tries them all.")


def load(name: str) -> RunRecord:
    """One of the project's recorded runs. Raises ValueError where there is none of that name."""
    path = COMMITTED / f"{name}.json"
    if not path.exists():
        raise ValueError(f"there is no record {name}: run this from a checkout")
    return RunRecord.load(path)


def check_fair(fair: Callable[[RunRecord, RunRecord], bool]) -> None:
    """fair(ours, theirs): whether the difference of two runs may be laid to their methods."""
    one, pair = load("agents-embedded-laptop-retrained-seed0"), load("agents-embedded-laptop-random_map-seed0")
    longer, unfinished = copy.deepcopy(pair), copy.deepcopy(pair)
    longer.budget["optimizer_steps"] *= 2
    longer.budget["tokens"] *= 2
    unfinished.status = "diverged"
    cases = {
        "a run of another seed": (load("agents-embedded-laptop-random_map-seed1"), False),
        "a run on another text": (load("agents-wikitext2-laptop-random_map-seed0"), False),
        "a run with twice the steps": (longer, False),
        "a run that broke off": (unfinished, False),
        "a run of the same seed, text and budget": (pair, True),
    }
    for name, (other, right) in cases.items():
        found = ask(fair, one, other)
        require(isinstance(found, bool), f"You gave {found!r}; True or False is asked for.")
        if found and not right:
            raise NotYet(f"You let pass {name}. Whatever differs beside the method could be the reason.")
        require(found or not right, f"You refuse {name}. The method is what may differ, and what follows from it.")
    passed("All comparisons of this course pass this test, or say where they do not.")


def check_judge(judge: Callable[[Sequence[float], float], str]) -> None:
    """judge(differences, margin): better, worse, equivalent or not told apart."""
    cases: dict[str, list[tuple[list[float], float]]] = {
        "better": [([-0.10, -0.12, -0.11, -0.09], 0.02)],
        "worse": [([0.10, 0.12, 0.11, 0.09], 0.02)],
        "not told apart": [([-0.1, 0.1, -0.05, 0.06], 0.02), ([0.003, -0.04, 0.035], 0.02)],
        "equivalent": [([0.001, -0.002, 0.0015, -0.001], 0.02), ([0.004, 0.005, 0.006, 0.005], 0.02)],
    }
    for right, of in cases.items():
        for differences, margin in of:
            found = ask(judge, differences, margin)
            require(found in VERDICTS, f"You said {found!r}; the words are {', '.join(VERDICTS)}.")
            if found == right:
                continue
            mean, half = mean_interval(differences)
            assert half is not None
            at = f"From {mean - half:+.4f} to {mean + half:+.4f}, with the margin {margin}: you said {found!r}."
            require({found, right} != {"better", "worse"}, f"{at} These are bits per byte: fewer are better.")
            if found == "equivalent":
                raise NotYet(f"{at} It still allows differences larger than the margin.")
            if right == "equivalent":
                raise NotYet(f"{at} No difference that matters is left in it. What is that called?")
            if right == "not told apart":
                raise NotYet(f"{at} It lies on both sides of zero.")
            raise NotYet(f"{at} Zero is not in it, and it reaches beyond the margin.")
    passed('"No difference was found" and "there is no difference that matters" are two sentences.')


def check_pick(pick: Callable[[Mapping[str, Sequence[tuple[float, float]]]], tuple[str, float]]) -> None:
    """pick(runs): name -> (validation, test) of each seed; the pattern to report, and its mean test result."""
    runs = {
        "cycle": [(2.10, 2.05), (2.12, 2.02), (2.11, 2.03)],
        "sandwich": [(2.02, 2.10), (2.05, 2.12), (2.03, 2.11)],
        "sequence": [(2.00, 2.20), (2.30, 2.21), (2.25, 2.19)],
    }
    found = ask(pick, runs)
    require(isinstance(found, tuple) and len(found) == 2, f"You gave {found!r}; a name and a number are asked for.")
    name, value = found
    require(name in runs, f"There is no pattern {name!r}.")
    require(
        name != "cycle", "You picked the one with the best *test*: then the test has helped to choose, and flatters."
    )
    require(name != "sequence", "One lucky seed decided. Each pattern has three: take what they have in common.")
    value = ask_number(lambda: value)
    validation, test = (fmean(pair[i] for pair in runs[name]) for i in (0, 1))
    require(abs(value - validation) > 1e-9, "The right pattern, but you report what it was picked by.")
    require(
        abs(value - min(pair[1] for pair in runs[name])) > 1e-9, "The right pattern, but you report its luckiest seed."
    )
    require(abs(value - test) < 1e-9, f"The right pattern, but its mean test result is not {value:g}.")
    passed("It looks worse than the best test result on the table. It is the one that will hold.")
