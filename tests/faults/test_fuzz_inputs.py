"""Whatever is given for a tie map, a command or an experiment: a valid one, or one line that names the input."""

# ruff: noqa: PT017 - an error is allowed, not demanded

import contextlib
import dataclasses
import io
import json
import re

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dlt_core.__main__ import COMMANDS, OWN_OPTIONS, Train, _parse
from dlt_core.experiments import EXPERIMENTS, PRESETS, Experiment
from dlt_core.tie_map import ORPHANS, TieMap, as_tie_map

CASES = [200, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
FIELDS = [field.name for field in dataclasses.fields(Experiment)]


def cases(number: int):
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(max_examples=number, deadline=None, database=None, suppress_health_check=checks)


def is_one_line(error: ValueError) -> bool:
    return str(error) == " ".join(str(error).splitlines()) != "" and "pydantic" not in str(error)


# --- tie maps ---

numbers = st.one_of(
    st.integers(-3, 7), st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=3),
    st.integers(-3, 7).map(np.int64), st.integers(0, 3).map(np.array), st.integers(0, 3).map(torch.tensor),
    st.just(10**5000), st.just(torch.ones((), dtype=torch.int64, device="meta")), st.just(np.zeros((9, 9))),
)  # fmt: skip
sequences = st.lists(numbers, max_size=8) | st.lists(st.integers(-1, 7), max_size=8)
anything = st.one_of(
    sequences, sequences.map(tuple), sequences.map(iter), numbers, st.sets(st.integers(0, 3)), st.binary(max_size=4),
    st.dictionaries(st.integers(0, 3), st.integers()), st.lists(st.integers(-1, 7)).map(np.array),
    st.lists(sequences, max_size=3), st.just(range(5)), st.just(object()),
)  # fmt: skip


def is_canonical(tie_map: TieMap) -> bool:
    sources = tie_map.sources
    return (
        type(sources) is tuple
        and len(sources) > 0
        and all(type(j) is int and 0 <= j <= i and sources[j] == j for i, j in enumerate(sources))
        and tie_map.num_independent == len(tie_map.groups) == len(set(sources))
        and sorted(i for group in tie_map.groups for i in group) == [*range(len(sources))]
        and eval(repr(tie_map)) == tie_map == TieMap.from_labels(sources) == as_tie_map(list(sources))
        and hash(tie_map) == hash(TieMap(sources))
    )


@pytest.mark.parametrize("number", CASES)
def test_anything_is_a_canonical_tie_map_or_refused(number):
    @cases(number)
    @given(anything)
    def check(given):
        try:
            tie_map = as_tie_map(given)
        except ValueError as error:
            assert is_one_line(error)
            assert re.search(r"layer \d|TieMap needs", str(error))
        else:
            assert is_canonical(tie_map)

    check()


@pytest.mark.parametrize("number", CASES)
def test_any_actions_lead_from_map_to_map_or_are_refused(number):
    @cases(number)
    @given(
        st.integers(1, 8),
        st.lists(st.tuples(numbers | st.integers(0, 7), numbers | st.integers(0, 7)), max_size=9),
        st.sampled_from(ORPHANS) | st.text(max_size=3),
    )
    def check(n_layer, actions, orphans):
        tie_map = TieMap.all_tied(n_layer)
        for layer, action in actions:
            try:
                after = tie_map.with_action(layer, action, orphans=orphans)
            except ValueError as error:
                assert is_one_line(error)
                assert re.search("layer|action|orphans", str(error))
            else:
                assert is_canonical(after)
                assert after[int(layer)] == (int(layer) if action == layer else tie_map[int(action)])
                tie_map = after

    check()


# --- commands ---

settings_of = [name for name in FIELDS if name not in OWN_OPTIONS]
options = {
    name: [field.name for field in dataclasses.fields(command) if field.name != "settings"]
    + (settings_of if "settings" in {field.name for field in dataclasses.fields(command)} else [])
    for name, command in COMMANDS.items()
}
values = [*EXPERIMENTS, *PRESETS, "sequence-2", "0", "1", "-1", "3", "1e-3", "2.5", "None", "nan", "True", ""]
words = st.one_of(
    st.sampled_from(values), st.text(max_size=8), st.integers().map(str), st.floats().map(str),
    st.sampled_from([*COMMANDS, "--help", "--", "--experiment-name"]),
)  # fmt: skip


@st.composite
def command_lines(draw) -> list[str]:
    """Mostly options that the command has, each with a value or two; a stranger is the exception, and takes longer."""
    name = draw(st.sampled_from([*COMMANDS, "train", "train"]))
    line = [name, "--experiment", draw(st.sampled_from([*EXPERIMENTS]))] if "experiment" in options[name] else [name]
    for option in draw(st.lists(st.sampled_from(options[name]), max_size=3)):
        line += [f"--{option.replace('_', '-')}", *draw(st.lists(words, min_size=1, max_size=2))]
    if draw(st.integers(0, 9)) == 9:
        line.insert(draw(st.integers(0, len(line))), draw(words))
    return line


@pytest.mark.parametrize("number", CASES)
def test_any_command_line_is_a_command_or_one_line_of_error(number):
    @cases(number)
    @given(command_lines())
    @example(["train", "--experiment", "gpt2-embedded", "--n-layer", "1_0"])
    def check(words):
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                command = _parse("dlt", words)
        except SystemExit as stopped:
            if stopped.code == 0:
                assert {"-h", "--help"} & {*words}
                assert out.getvalue().startswith("usage: dlt")
            else:
                assert stopped.code == 2
                assert out.getvalue() == ""
                assert re.fullmatch(r"dlt( [a-z-]+)?: error: [^\n]*\w[^\n]*\n", err.getvalue()), err.getvalue()
        else:
            assert type(command) in COMMANDS.values()
            assert out.getvalue() == err.getvalue() == ""
            if isinstance(command, Train):
                of(command.experiment, command.preset or "smoke", {"seed": command.seed, **command.settings})

    check()


# --- experiments ---

fields = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-2, 64), st.floats(), st.text(max_size=9),
    st.lists(st.integers(), max_size=2), st.sampled_from([10**400, -(10**400), 10**5000, np.int64(3), np.float32(0.5)]),
    st.sampled_from(["gpt2", "bpe-512", "bpe-0", "bpe-" + "9" * 30, "cpu", "cuda:0", "shared", "bf16", "bert", "lm1b"]),
    st.builds(object), st.builds(lambda: np.zeros((30, 30))),
)  # fmt: skip


def of(name: str, preset: str, overrides: dict) -> None:
    """The experiment with these overrides, which is as told, or a refusal that names one of them."""
    try:
        experiment = Experiment.preset(name, preset, **overrides)
    except ValueError as error:
        assert is_one_line(error)
        assert any(field in str(error) or repr(field) in str(error) for field in overrides)
    else:
        written = json.loads(json.dumps(experiment.to_dict(), allow_nan=False))
        assert written == experiment.to_dict()
        assert {field: getattr(experiment, field) for field in overrides} == overrides
        plain = {**written, "preset_name": written["preset"]}
        assert Experiment(**{field: plain[field] for field in FIELDS}) == experiment


@pytest.mark.parametrize("number", CASES)
def test_any_overrides_make_an_experiment_or_a_refusal_that_names_one_of_them(number):
    unknown = st.text(max_size=9).filter(lambda name: name not in ("name", "preset", "cls"))

    @cases(number)
    @given(
        st.sampled_from([*EXPERIMENTS]),
        st.sampled_from([*PRESETS]),
        st.dictionaries(st.sampled_from([field for field in FIELDS if field != "name"]) | unknown, fields, max_size=4),
    )
    def check(name, preset, overrides):
        of(name, preset, overrides)

    check()
