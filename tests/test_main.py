"""The command line: what it prints, what its help lists and how fast, and what it refuses in one line."""

import dataclasses
import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import torch

from dlt_core import CHECKOUT
from dlt_core import __main__ as commands
from dlt_core.__main__ import COMMANDS, main
from dlt_core.corpora.hub import CorpusUnavailable
from dlt_core.experiments import EXPERIMENTS, PRESETS, Experiment
from dlt_core.learner import parallel
from dlt_core.records.record import RunRecord
from dlt_core.reproduce import exercises, train
from dlt_core.studies import first_light, methods
from dlt_core.studies.benchmark import report, timings

SMOKE = ["train", "--experiment", "gpt2-embedded", "--preset", "smoke"]


def refused(arguments, capsys) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([*SMOKE, *arguments])
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("python -m dlt_core train: error: ")
    assert err.count("\n") == 1
    return err


def test_a_run_prints_the_three_numbers_and_its_record(tiny_data, tmp_path, capsys):
    arguments = [*SMOKE, "--seed", "3", "--out", str(tmp_path)]
    settings = ["--n-layer", "3", "--dropout", "0.1", "--tokenizer", "bpe-512", "--precision", "bf16",
                "--evaluation-tokens", "None", "--gradient", "source", "--activation-checkpointing",
                "--device", "cpu"]  # fmt: skip
    assert main([*arguments, *settings]) == 0
    printed = capsys.readouterr().out
    (path,) = (tmp_path / "records").iterdir()
    record = RunRecord.load(path)
    assert (record.status, record.method, record.seed) == ("finished", "dynamic", 3)
    changed = {"n_layer": 3, "dropout": 0.1, "precision": "bf16", "evaluation_tokens": None, "gradient": "source",
               "activation_checkpointing": True}  # fmt: skip
    assert record.experiment["overrides"] == changed
    assert printed.splitlines() == [
        "gpt2-embedded, dynamic, seed 3:",
        f"  test perplexity       {record.test['perplexity']:.1f} per token of a 512-piece BPE "
        f"({record.test['bits_per_byte']:.3f} bits per byte)",
        f"  trainable parameters  {record.parameters['unique']:,}, "
        f"{record.parameters['unique'] / record.parameters['conventional']:.0%} of "
        f"{record.parameters['conventional']:,} conventional",
        f"  independent layers    {len(set(record.tie_map))} of 3",
        f"  record                {path}",
    ]


@pytest.mark.parametrize(("there", "preset"), [(True, "gpu"), (False, "laptop")])
def test_without_options_it_is_the_dynamic_run_of_a_size_for_this_machine(monkeypatch, capsys, tmp_path, there, preset):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    seen = []

    def note(*arguments, **places) -> None:
        seen.append((arguments, places))
        raise ValueError("enough")

    monkeypatch.setattr(train, "compare", note)
    for options in ([], ["--preset", "paper", "--seed", "2", "--out", str(tmp_path), "--checkpoint-seconds", "5"]):
        with pytest.raises(SystemExit, match="2"):
            main(["train", "--experiment", "bert-wikitext2", *options])
        assert "error: enough" in capsys.readouterr().err
    plain, paper = (Experiment.preset("bert-wikitext2", name, seed=s) for name, s in ((preset, 0), ("paper", 2)))
    assert seen == [
        ((plain, ["dynamic"]), {"out_dir": Path("runs"), "checkpoint_seconds": None}),
        ((paper, ["dynamic"]), {"out_dir": tmp_path, "checkpoint_seconds": 5.0}),
    ]


def test_a_text_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = "".join(f"line {number} of a secret\n" for number in range(400))
    Path("my.txt").write_text(text)
    small = ["--corpus", "my.txt", "--preset", "smoke", "--tokenizer", "characters", "--n-layer", "2",
             "--episodes", "2", "--evaluation-tokens", "200"]  # fmt: skip
    assert main(["train", *small]) == 0
    assert capsys.readouterr().out.startswith("gpt2-embedded on my.txt, dynamic, seed 0:\n  test perplexity")
    (path,) = Path("runs", "records").iterdir()
    written, record = path.read_text(), RunRecord.load(path)
    assert record.experiment["corpus"] == record.corpus["name"] == "my.txt"
    assert record.experiment["tokenizer"] == "characters"
    assert (record.corpus["source"], record.corpus["note"][:45]) == (
        "own", "no validation and no test split was given: 10"
    )  # fmt: skip
    assert "secret" not in written
    assert str(tmp_path) not in written
    assert main(["train", *small]) == 0
    assert path.read_text() == written, "what was finished is not run again"
    Path("my.txt").write_text(text.replace("secret", "public"))
    assert main(["train", *small]) == 0
    assert [*Path("runs", "records").iterdir()] == [path]
    assert RunRecord.load(path).corpus["sha256"] != record.corpus["sha256"], "another text is another run"
    capsys.readouterr()
    Path("short.txt").write_text("one two three four five\n" * 10)
    Path("latin.txt").write_bytes(b"caf\xe9 au lait\n" * 99)
    Path("empty.txt").write_text("")
    for corpus, said in {
        "short.txt": "split of short.txt has 24 tokens, too few for one batch of 4 x 32, which needs 129",
        "latin.txt": "latin.txt is not UTF-8 text (byte 0xe9 at 3): copy it again, or convert it",
        "empty.txt": "empty.txt is empty",
        "none.txt": "there is no file or folder of this name",
    }.items():
        assert said in refused(["--corpus", corpus, "--tokenizer", "characters", "--n-layer", "2"], capsys)


def test_another_method_and_a_pattern(tiny_data, tmp_path, capsys):
    for method in ("all_tied", "sequence-2"):
        assert main([*SMOKE, "--method", method, "--episodes", "1", "--out", str(tmp_path)]) == 0
        assert f"gpt2-embedded, {method}, seed 0:" in capsys.readouterr().out
    maps = {record.method: record.tie_map for record in map(RunRecord.load, (tmp_path / "records").iterdir())}
    assert maps == {"all_tied": [0, 0, 0, 0], "sequence-2": [0, 0, 2, 2]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "3"], "Unrecognized options: --layers"),
        (["--n-layer"], "--n-layer"),
        (["--n-layer", "1"], "n_layer must be greater than or equal to 2, got 1"),
        (["--n-layer", "2.5"], "Error parsing --n-layer: invalid literal for int() with base 10: '2.5'"),
        (["--learning-rate", "fast"], "Error parsing --learning-rate: could not convert string to float: 'fast'"),
        (["--dropout", "None"], "Error parsing --dropout"),
        (["--precision", "fp8"], "fp8"),
        (["--gradient-accumulation-steps", "3"], "batch_size=4 must be a multiple"),
        (["--batch-size", "10000"], "too few for one batch"),
        (["--method", "magic"], "unknown method 'magic'; known: dynamic, random"),
        (["--method", "sequence-9"], "num_groups must be between 1 and n_layer=4, got 9"),
        (["--preset", "huge"], "invalid choice 'huge' for argument '--preset'. Expected one of ("),
        (["--seed", "-1"], "seed must be greater than or equal to 0, got -1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_reason(tiny_data, tmp_path, capsys, arguments, message):
    assert message in refused([*arguments, "--out", str(tmp_path)], capsys)
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize("method", ["halving", "evolution-2", "released", "released-random"])
def test_methods_for_one_process_are_refused_in_two(monkeypatch, capsys, method):
    monkeypatch.setattr(parallel, "world_size", lambda: 2)
    assert f"the method {method} runs in one process only" in refused(["--method", method, "--episodes", "12"], capsys)


def test_without_data_the_remedies_are_named(monkeypatch, tmp_path, capsys):
    def nothing_there(*_, **__):
        raise CorpusUnavailable("not here.\nRemedy 1: this.\nRemedy 2: that.")

    monkeypatch.setattr(train, "compare", nothing_there)
    assert "error: not here. Remedy 1: this. Remedy 2: that." in refused(["--out", str(tmp_path)], capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "python -m dlt_core: error: Expected one of {train, reproduce, figures, table-world, many-decisions"),
        (["dance"], "python -m dlt_core: error: Unrecognized options: dance"),
        (["train"], "python -m dlt_core train: error: Missing from python -m dlt_core train: --experiment"),
        (
            ["side-by-side", "--experiment", "gpt2-embedded", "--methods", "dynamic", "--jobs", "0"],
            "python -m dlt_core side-by-side: error: --jobs, --seeds and --methods must be at least one each",
        ),
        (["benchmark", "--repetitions", "0"], "python -m dlt_core benchmark: error: --repetitions must be at least 1"),
        (["benchmark", "--parts", "nothing"], "python -m dlt_core benchmark: error: invalid choice 'nothing'"),
    ],
)
def test_each_command_says_in_one_line_what_is_wrong(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1


@pytest.mark.parametrize(("options", "own"), [([], True), (["--out", "elsewhere"], False)])
def test_the_tables_in_the_readme_files_are_made_with_the_checkouts_own_figures(options, own, monkeypatch, capsys):
    monkeypatch.setattr("dlt_core.reproduce.outputs.write_from_folder", lambda records, out: [out / "results.md"])
    monkeypatch.setattr("dlt_core.reproduce.marked_tables.write_marked_tables", lambda root: [root / "README.md"])
    assert main(["figures", *options]) == 0
    written = capsys.readouterr().out.split()
    assert [Path(path).name for path in written] == ["results.md", "README.md"][: 1 + own]


def test_a_command_that_only_works_through_its_list_stops_with_one_line_too(capsys, monkeypatch):
    def press(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(exercises, "write_exercises", press)
    assert main(["exercises"]) == 130
    assert capsys.readouterr() == ("", "stopped\n")


def help_of(*arguments: str, capsys) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--help"])
    assert stopped.value.code == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_help_lists_experiments_presets_methods_and_documents_each_field(capsys):
    text = help_of("train", capsys=capsys)
    for name in (*EXPERIMENTS, *PRESETS, *methods.known()):
        assert name in text.replace(", ", ",").replace(",", ", ")
    assert commands.METHODS.split() == methods.known()
    for field in dataclasses.fields(Experiment):
        if field.name not in commands.OWN_OPTIONS:
            after = (
                text.partition(f"--{field.name.replace('_', '-')} ")[2]
                or text.partition(f"--no-{field.name.replace('_', '-')} ")[2]
            )
            assert len(after.partition("(the preset's)")[0].split()) > 2, field.name
    assert "L, transformer layers." in text


def test_help_lists_scales_and_parts():
    for command, parts in ((commands.Benchmark, report.PARTS), (commands.FirstLight, first_light.PARTS)):
        assert typing.get_args(typing.get_args(typing.get_type_hints(command)["parts"])[0]) == tuple(parts)
    scales = typing.get_args(typing.get_type_hints(commands.Benchmark)["scale"])[0]
    assert typing.get_args(scales) == tuple(timings.SCALES)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_does_not_wait_for_pytorch(command):
    code = (
        "import sys\nfrom dlt_core.__main__ import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as stopped:\n"
        "    assert stopped.code == 0\n"
        "heavy = {'torch', 'transformers', 'pandas', 'matplotlib', 'scipy', 'papermill'}\n"
        "print(heavy & {*sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split(), "--help"],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
    )  # fmt: skip
    assert done.stdout.startswith("usage: python -m dlt_core")
    assert done.stderr == "set()\n"
