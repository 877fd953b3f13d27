"""The batch before it runs: what it would do is what it does, and to ask starts nothing and writes nothing."""

import json

import pytest

from dlt_core import CHECKOUT
from dlt_core.__main__ import main
from dlt_core.corpora.sources import missing
from dlt_core.experiments import EXPERIMENTS
from dlt_core.reproduce import batch, plan
from dlt_core.reproduce.jobs import Job
from tests.reproduce.test_batch import notebook


@pytest.fixture
def no_data(monkeypatch):
    monkeypatch.delenv("DLT_DATA_DIR", raising=False)


def said(capsys, *arguments) -> list[str]:
    assert main(["reproduce", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_list_names_each_execution_its_data_and_whether_it_was_done(no_data, tmp_path, monkeypatch, capsys):
    def never(*_, **__):
        raise AssertionError("nothing is executed")

    monkeypatch.setattr(batch, "execute_all", never)
    out = tmp_path / "out"
    head, *lines = said(capsys, "--list", "--out", str(out))
    assert head.split() == ["notebook", "preset", "seed", "state", "data"]
    stems = [path.stem for path in sorted((CHECKOUT / "notebooks").glob("[0-9][0-9]_*.ipynb"))]
    named = [line.split()[0] for line in lines]
    assert [stem for stem in stems if not any(name.startswith(stem) for name in named)] == []
    of = dict(zip(named, lines, strict=True))
    assert of["00_start_here"].endswith("embedded: here")
    assert "wikitext-2: not here, needs DLT_DATA_DIR with wikitext-2/wiki.train.tokens, " in of["04_gpt2_wikitext2"]
    assert "lambada: not here" in of["08_bert-lambada"]
    assert "  laptop  0     to do, about" in of["00_start_here"]
    assert "about" not in of["12_is_the_agent_learning"], "it was timed with recorded runs"
    assert not out.exists()


def test_the_plan_counts_what_is_to_do_and_says_where_all_goes(no_data, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "checkout" / "notebooks"
    monkeypatch.setattr(batch, "NOTEBOOKS", folder)
    notebook(folder / "00_quick.ipynb", "x = 1")
    notebook(folder / "01_new.ipynb", "x = 2")
    notebook(folder / "04_data.ipynb", "x = 3", more="corpus = 'lm1b'")
    out = tmp_path / "out"
    arguments = ("--preset", "smoke", "--seeds", "0", "1", "--jobs", "2", "--out", str(out))
    for seed, result in enumerate(({"status": "done", "seconds": 1.0, "seconds_from_the_start": 1.0}, {})):
        job = Job(folder / "00_quick.ipynb", "smoke", seed, {}, {}, out)
        job.folder.mkdir(parents=True)
        (job.folder / "result.json").write_text(json.dumps(result | {"fingerprint": job.fingerprint()}))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()
    lines = said(capsys, "--dry-run", *arguments)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    states = {tuple(line.split()[:3]): line for line in lines[1:7]}
    assert "  done before  " in states["00_quick", "smoke", "0"]
    assert "  to do again: " in states["00_quick", "smoke", "1"]
    assert "result.json is not a result" in states["00_quick", "smoke", "1"]
    for line in (
        "6 executions: 5 to do, 2 at a time; 1 done before, skipped",
        "04_data: what is not here is fetched from the Hugging Face hub, if it was not yet; where that cannot be, they "
        "are left out",
        f"executed notebooks, their figures and records/: {out}",
        "  smoke-seed1/04_data",
        f"summary: {out / 'summary.json'}",
        "nothing was started, and nothing written",
    ):
        assert line in lines
    notebook(folder / "00_quick.ipynb", "x = 5")
    named = said(capsys, "--dry-run", *arguments, "--notebooks", "00", "04")
    assert "to do again: the notebook, the code or the parameters changed" in named[1]
    assert any(line.endswith("where that cannot be, they fail") for line in named)


def test_what_would_be_refused_is_said(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    lines = said(capsys, "--dry-run", "--notebooks", "00", "--out", str(tmp_path / "file"))
    assert f"this would be refused: {tmp_path / 'file'} is a file; name another folder with --out" in lines


def test_what_a_large_preset_needs_counts_its_tokenizer(no_data, tmp_path):
    path = CHECKOUT / "notebooks" / "10_ablations.ipynb"
    (row,) = plan.Plan([Job(path, "gpu", 0, {}, {}, tmp_path)], {}).rows
    assert row.needs == EXPERIMENTS["ablations"]["gpu"]["corpus"] == "wikitext-2"
    assert row.lacks.startswith(missing("wikitext-2") + "; GPT-2's tokenizer not here")
    assert (CHECKOUT / "notebooks" / f"{next(iter(plan.EXPERIMENTS_OF))}.ipynb").exists()
