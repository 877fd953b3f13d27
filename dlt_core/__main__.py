"""The command line: `python -m dlt_core COMMAND`, with COMMANDS below, or `dlt` once the package is installed.

Each command is a dataclass whose fields are its options. What a command needs is imported when it runs, so that --help
need not wait for PyTorch.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import io
import itertools
import json
import re
import sys
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypedDict

import tyro
from tyro.conf import OmitArgPrefixes, arg

from dlt_core.experiments import EXPERIMENTS, PRESETS, Experiment

METHODS = (
    "dynamic random conventional all_tied sequence cycle cycle_rev sandwich pairs mirror policy_cycle policy_pairs "
    "policy_mirror replay permuted retrained random_map shallow dqn dqn_plus thompson gradient gradient-restart "
    "weights-restart cka-restart share_unshare fork_commit_freeze dynamic_first_order_gain "
    "dynamic_first_order_gain_optimistic dynamic_paired dynamic_paired_optimistic maskable_ppo sb3_ppo "
    "sb3_dqn map best_of halving evolution"
)  # `known` of studies.methods, which imports PyTorch
OWN_OPTIONS = ("name", "preset_name", "seed")  # fields of Experiment that `train` has under its own names

if TYPE_CHECKING:
    ExperimentName: TypeAlias = str
    PresetName: TypeAlias = str
    Settings: TypeAlias = dict[str, Any]
else:
    ExperimentName, PresetName = Literal[tuple(EXPERIMENTS)], Literal[tuple(PRESETS)]

    def _settings() -> type:
        """The fields of Experiment as options without a default, each with the sentence that stands under it."""
        body = ast.parse(inspect.getsource(Experiment)).body[0].body
        about = {
            field.target.id: " ".join(inspect.cleandoc(sentence.value.value).split())
            for field, sentence in itertools.pairwise(body)
            if isinstance(field, ast.AnnAssign) and isinstance(sentence, ast.Expr)
        }
        kinds = typing.get_type_hints(Experiment, include_extras=True)
        names = [field.name for field in dataclasses.fields(Experiment) if field.name not in OWN_OPTIONS]
        options = {
            name: Annotated[kinds[name], arg(help=about[name], help_behavior_hint="(the preset's)")] for name in names
        }
        return TypedDict("Settings", options, total=False)

    Settings = _settings()


@dataclass(frozen=True, kw_only=True)
class Train:
    """One run, in one process or in several that torchrun starts.

    What was finished is not run again. Ctrl-C stops a run at a checkpoint, from which the same command goes on, with as
    many processes as you like: `torchrun --nproc-per-node 2 -m dlt_core train --experiment gpt2-wikitext2`.
    On a text of your own: `python -m dlt_core train --corpus my.txt`.
    """

    experiment: ExperimentName | None = None
    """Which experiment. With --corpus, gpt2-embedded on that text without this option."""
    preset: PresetName | None = None
    """How large. Without this option: gpu where there is one, otherwise laptop."""
    method: Annotated[
        str,
        arg(
            help=f"{METHODS.replace(' ', ', ')}; with a number of weight sets, layers or maps as in sequence-2 and "
            "gradient-2-restart; map with its entries, as in map-0-0-2-2."
        ),
    ] = "dynamic"
    seed: int = 0
    """Of weights, data order, dropout and agent."""
    out: Path = Path("runs")
    """Folder for records/ and checkpoints/."""
    timeout: float = 1800.0
    """Seconds that a process waits for another before the job ends with an error."""
    checkpoint_seconds: float | None = None
    """Between two checkpoints. Without this option: a minute, longer where writing one takes long."""
    settings: OmitArgPrefixes[Settings]
    """Fields of the experiment, instead of the preset's values."""

    def run(self) -> int:
        name = self.experiment or ("gpt2-embedded" if "corpus" in self.settings else None)
        if name is None:
            raise ValueError("Missing from python -m dlt_core train: --experiment, or --corpus with a text of your own")
        try:
            from dlt_core.learner import parallel
            from dlt_core.reproduce.train import train

            preset = self.preset or parallel.preset()
            experiment = Experiment.preset(name, preset, seed=self.seed, **self.settings)
            how = {option: getattr(self, option) for option in ("out", "timeout", "checkpoint_seconds")}
            return train(experiment, self.method, **how)
        except KeyboardInterrupt:  # before the first decision, or once more after it
            again = "stopped at once; the same command goes on from a checkpoint, if there is one"
            raise KeyboardInterrupt(again) from None


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Execute notebooks, presets x seeds, and collect what they leave. What is done is skipped.

    OUT/<preset>-seed<seed>/<notebook>/ holds an executed notebook, its figures and its records/; OUT/summary.json says
    what happened. The exit status is not 0 if a notebook failed. Ctrl-C stops it: what is finished is kept, and the
    same command goes on.
    """

    preset: PresetName = "laptop"
    """How large."""
    notebooks: tuple[str, ...] = ()
    """The beginnings of their names, as in 03 04, or all. Without this option: all whose data is here."""
    seeds: tuple[int, ...] = (0,)
    """A notebook is executed for each."""
    jobs: int = 1
    """Notebooks at a time."""
    dask: str | None = None
    """Instead, one at a time on each worker of the Dask cluster whose scheduler is at tcp://host:port. The workers need
    one thread each (`dask worker ADDRESS --nthreads 1`), this environment and its DLT_DATA_DIR, and this checkout, its
    data and OUT under the same paths."""
    out: Path = Path("reproduction")
    """Folder for all that is made."""
    in_place: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also refresh the outputs in notebooks/, the contents of figures/ and the tables of the README files."""
    list_only: Annotated[bool, arg(name="list"), tyro.conf.FlagCreatePairsOff] = False
    """Only list what would be executed: notebook, preset, seed, its data, and whether it was done before."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The same, and behind it what these options come to: how many, what is skipped and why, and where all goes."""

    def run(self) -> int:
        try:
            from dlt_core.reproduce.batch import reproduce
        except KeyboardInterrupt:  # reproduce itself answers to it, once it is there
            print("stopped before anything was begun")
            return 130
        return reproduce(**{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Make all tables and figures anew from records; without options those in the checkout's README files, too."""

    records: Path | None = None
    """Folder of records. Without this option: the checkout's figures/records."""
    out: Path | None = None
    """Where they are written. Without this option: the checkout's figures."""

    def run(self) -> int:
        from dlt_core.reproduce.marked_tables import write_marked_tables
        from dlt_core.reproduce.outputs import FIGURES, write_from_folder

        for path in write_from_folder(self.records or FIGURES / "records", self.out or FIGURES):
            print(path)
        if self.records is None and self.out is None:
            for path in write_marked_tables(FIGURES.parent):
                print(path)
        return 0


@dataclass(frozen=True, kw_only=True)
class TableWorld:
    """Let the agent decide 14,100 times in a world that is a table of four layers' losses, once for each reward.

    Ten seeds; minutes. The table in figures/README.md is made of what it writes.
    """

    records: Path | None = None
    """Folder with the records of study truth. Without this option: the checkout's figures/records."""
    out: Path | None = None
    """Where it is written. Without this option: the checkout's figures/table_world.json."""

    def run(self) -> int:
        from dlt_core.records import load_all
        from dlt_core.reproduce.outputs import FIGURES
        from dlt_core.studies.table_world import measure, table_world_markdown

        measured = measure(load_all(self.records or FIGURES / "records"))
        return _keep(measured, table_world_markdown(measured), self.out or FIGURES / "table_world.json")


@dataclass(frozen=True, kw_only=True)
class ManyDecisions:
    """Let the agent decide 14,100 times in a model of four layers that trains, one step after each decision.

    Five seeds of three runs; three hours of a core. What is finished is not run again, nor are seeds that OUT has
    already, and Ctrl-C stops at a checkpoint. The table in figures/README.md is made of what it writes.
    """

    records: Path | None = None
    """Folder with the records of study truth. Without this option: the checkout's figures/records."""
    runs: Path = Path("runs")
    """Folder for the records and checkpoints of these runs, 3 MB each."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Each with all runs."""
    out: Path | None = None
    """Where it is written. Without this option: the checkout's figures/many_decisions.json."""

    def run(self) -> int:
        from dlt_core.records import load_all
        from dlt_core.reproduce.outputs import FIGURES
        from dlt_core.studies.many_decisions import many_decisions_markdown, measure

        out = self.out or FIGURES / "many_decisions.json"
        known = json.loads(out.read_text(encoding="utf-8")) if out.exists() else None
        measured = measure(load_all(self.records or FIGURES / "records"), self.runs, seeds=self.seeds, known=known)
        return _keep(measured, many_decisions_markdown(measured), out)


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Look where the gradients of tied layers disagree, and at what rewards tell: early, and over seeds.

    Minutes. Parts that are in OUT already stay as they are. The tables in figures/README.md are made of what it writes.
    """

    records: Path | None = None
    """Folder with the records of study truth. Without this option: the checkout's figures/records."""
    out: Path | None = None
    """Where it is written. Without this option: the checkout's figures/looks.json."""

    def run(self) -> int:
        from dlt_core.records import load_all
        from dlt_core.reproduce.outputs import FIGURES
        from dlt_core.studies.rule import study

        out = self.out or FIGURES / "looks.json"
        measured = study.measure(load_all(self.records or FIGURES / "records"), out)
        tables = (study.maps_markdown, study.truth_markdown, study.signals_markdown)
        print(*(table(measured) for table in tables), out, sep="\n\n")
        return 0


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """Let agents, ours and those of stable-baselines3, decide 900 times on a fit of recorded runs, four layers.

    Ten seeds; minutes. The table in figures/README.md is made of what it writes. Needs what
    `pip install dlt-core[rl]` brings.
    """

    records: Path | None = None
    """Folder with the records of study truth. Without this option: the checkout's figures/records."""
    out: Path | None = None
    """Where it is written. Without this option: the checkout's figures/surrogate.json."""

    def run(self) -> int:
        from dlt_core.reproduce.outputs import FIGURES
        from dlt_core.studies.on_surrogate import measure, measured_markdown

        measured = measure(self.records or FIGURES / "records")
        return _keep(measured, measured_markdown(measured), self.out or FIGURES / "surrogate.json")


@dataclass(frozen=True, kw_only=True)
class Images:
    """Train small ViTs on images, with ties by the agent, by chance, fixed and none, in transformers' Trainer.

    Three seeds of five methods; an hour of a core. Runs that are in OUT already stay as they are. The tables in
    figures/README.md are made of what it writes.
    """

    data: Path | None = None
    """A folder with train and test, each with a folder of images for each label. Without it: CIFAR-10 from the hub."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each with all methods."""
    steps: int = 1_200
    """Of each run."""
    out: Path | None = None
    """Where it is written. Without this option: the checkout's figures/images.json."""

    def run(self) -> int:
        from dlt_core.reproduce.outputs import FIGURES
        from dlt_core.studies import images

        out = self.out or FIGURES / "images.json"
        measured = images.measure(images.load_images(self.data), out, seeds=self.seeds, steps=self.steps)
        print(images.images_markdown(measured), out, sep="\n\n")
        return 0


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Measure how fast the training loop is here, and whether its memory is what the closed form says. Needs no data.

    OUT gets <device>.json, its tables as <device>.md, and a figure. Parts that are there already, from the same machine
    and code, stay as they are: after a call that ran out of time the next one makes the rest.
    """

    scale: Literal["tiny", "laptop", "gpu"] | None = None
    """Size of the models. Without this option: gpu where there is one, otherwise laptop."""
    parts: tuple[
        Literal["machine", "steps", "control", "ties", "waits", "output", "memory", "paper", "compiled", "scaling",
                "processes"], ...
    ] = ()  # fmt: skip
    """What to measure. Without this option: everything."""
    repetitions: int = 10
    """Turns of each."""
    max_seconds: float | None = None
    """Begin no part after so long; call again to go on."""
    out: Path = Path("benchmark")
    """Folder for all that is made."""

    def run(self) -> int:
        from dlt_core.studies.benchmark.report import measure

        text, paths = measure(self.scale, self.parts or None, self.repetitions, self.max_seconds, self.out)
        print(text, *paths, sep="\n")
        return 0


@dataclass(frozen=True, kw_only=True)
class FirstLight:
    """Four minutes on a GPU that this code has never seen: does it compute what a CPU does, how fast, in what memory?

    Part by part, each in time for what it may take; one that fails is named, and the others go on. OUT/first_light.json
    has each row of a result as soon as it is there. The exit status is not 0 if a part failed.
    """

    scale: Literal["gpu", "smoke"] = "gpu"
    """Size of the models; smoke: a rehearsal on a CPU, in two minutes."""
    parts: tuple[
        Literal["machine", "agreement", "precisions", "steps", "graph", "paper", "compiled", "tests", "benchmark"], ...
    ] = ()  # fmt: skip
    """What to do. Without this option: everything."""
    max_seconds: float = 220.0
    """In all."""
    out: Path = Path("first-light")
    """Folder for first_light.json."""

    def run(self) -> int:
        from dlt_core.studies.first_light import PARTS, measure

        return bool(measure(self.scale, self.parts or tuple(PARTS), self.max_seconds, self.out))


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Several runs at a time on one device, methods x seeds, within a time limit.

    Seed by seed, and none is begun that would not finish in time. What is there already is not run again. OUT has
    records/, summary.json, and failures.txt where a run failed: then the exit status is not 0, and the others go on.
    Ctrl-C stops it: what is finished is kept, and the same command goes on.
    """

    experiment: ExperimentName
    """Which experiment."""
    preset: PresetName | None = None
    """How large. Without this option: gpu where there is one, otherwise laptop."""
    methods: tuple[str, ...]
    """As --method of train."""
    seeds: tuple[int, ...] = (0,)
    """Each with all methods."""
    jobs: int = 3
    """Runs at a time."""
    max_seconds: float = 530.0
    """In all; at the limit what still runs is stopped."""
    out: Path = Path("runs")
    """Folder for all that is made."""
    archive: Path | None = None
    """Keep it in this .tar.gz, too."""
    settings: OmitArgPrefixes[Settings]
    """Fields of the experiment, instead of the preset's values."""

    def run(self) -> int:
        from dlt_core.learner import parallel
        from dlt_core.studies.side_by_side import train

        preset = self.preset or parallel.preset()
        experiments = [Experiment.preset(self.experiment, preset, seed=s, **self.settings) for s in self.seeds]
        how = {name: getattr(self, name) for name in ("jobs", "max_seconds", "out", "archive")}
        try:
            return bool(train(experiments, self.methods, **how))
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; what is finished is kept; call again to go on") from None


@dataclass(frozen=True, kw_only=True)
class Exercises:
    """Make the students' exercise notebooks from the solved ones.

    Each task becomes a stub, and its solution stands folded behind its check.
    """

    for_marking: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Leave the solutions out. Needs --out, since the checkout's own notebooks keep theirs."""
    out: Path | None = None
    """Where they are written. Without this option: the checkout's notebooks/exercises."""

    def run(self) -> int:
        from dlt_core.reproduce.exercises import write_exercises

        for path in write_exercises(for_marking=self.for_marking, out=self.out):
            print(path)
        return 0


@dataclass(frozen=True, kw_only=True)
class Html:
    """Write notebooks and API reference as pages, and playground.html with the widgets alive, to be read without Python
    or network.

    Needs what `pip install dlt-core[site]` brings.
    """

    directory: tyro.conf.Positional[Path]
    """Folder for the pages; begin with its index.html."""

    def run(self) -> int:
        from dlt_core.reproduce.site import write_site

        paths = write_site(self.directory)
        size = sum(path.stat().st_size for path in paths)
        print(f"{len(paths)} files, {size / 1e6:.1f} MB: open {self.directory / 'index.html'}")
        return 0


def _keep(measured: dict[str, Any], table: str, out: Path) -> int:
    """Write what a study measured to `out`, and print its table and where it lies; returns the exit status."""
    from dlt_core.corpora.files import write_json_atomically

    write_json_atomically(out, measured)
    print(table, out, sep="\n\n")
    return 0


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": Train,
    "reproduce": Reproduce,
    "figures": Figures,
    "table-world": TableWorld,
    "many-decisions": ManyDecisions,
    "looks": Looks,
    "surrogate": Surrogate,
    "images": Images,
    "benchmark": Benchmark,
    "first-light": FirstLight,
    "side-by-side": SideBySide,
    "exercises": Exercises,
    "html": Html,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status, after Ctrl-C 130. For what the user got wrong one line and
    SystemExit(2)."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    prog = "dlt" if Path(sys.argv[0]).stem == "dlt" else "python -m dlt_core"
    command = _parse(prog, arguments)
    try:
        return command.run()
    except ValueError as error:
        _refuse(f"{prog} {arguments[0]}", " ".join(str(error).split()))
    except KeyboardInterrupt as stopped:
        print(str(stopped) or "stopped", file=sys.stderr)
        return 130


def _parse(prog: str, arguments: list[str]) -> Any:
    """The command with its options. What tyro says about wrong ones, under a title and in a frame, is made one line."""
    about = "Dynamic layer tying. Each command says more with --help."
    framed = io.StringIO()
    try:
        with contextlib.redirect_stderr(framed):
            return tyro.extras.subcommand_cli_from_dict(COMMANDS, prog=prog, description=about, args=arguments)
    except SystemExit as stopped:
        if stopped.code != 2:
            raise
    lines = re.sub(r"\x1b\[[\d;]*m", "", framed.getvalue()).splitlines()[1:]
    has_words = re.compile(r"\w").search
    reason = itertools.takewhile(has_words, itertools.dropwhile(lambda line: not has_words(line), lines))
    named = [name for name in arguments[:1] if name in COMMANDS]
    _refuse(" ".join([prog, *named]), " ".join(line.strip(" │") for line in reason))


def _refuse(prog: str, reason: str) -> typing.NoReturn:
    print(f"{prog}: error: {reason}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    sys.exit(main())
