"""What notebooks show of records and experiments: their numbers, and nothing that a browser would execute."""

import copy
from xml.etree import ElementTree

import pytest

from dlt_core import CHECKOUT, Experiment, RunRecord
from dlt_core.records.shown import records_html

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def record():
    return RunRecord.load(CHECKOUT / "figures" / "records" / "gpt2-embedded-laptop-dynamic-seed0.json")


def test_a_record_shows_its_results(record):
    shown = record._repr_html_()
    for words in (
        "<caption>gpt2-embedded, dynamic, seed 0</caption>",
        f"<th>test perplexity {record.unit}</th><td>{record.test['perplexity']:.1f}</td>",
        f"<td>{record.test['bits_per_byte']:.3f}</td>",
        f"{len(set(record.tie_map))} of 6 layers",
        "<svg ",
    ):
        assert words in shown
    ElementTree.fromstring(f"<div>{shown}</div>")
    unfinished = RunRecord({"name": "e", "preset": "p"}, "dynamic", 0, {"name": "x"})
    assert "<td>running</td>" in unfinished._repr_html_()
    assert "<td>running</td>" in records_html([unfinished])
    assert f"<td>{record.test['perplexity']:.1f} {record.unit}</td>" in records_html([record])


def test_whatever_comes_from_a_user_is_escaped(record):
    evil = copy.deepcopy(record)
    evil.method = evil.corpus["name"] = evil.error = EVIL
    evil.experiment |= {"name": EVIL, "overrides": {"corpus": EVIL, EVIL: 1}}
    evil.test["unit"] = EVIL
    experiment = Experiment.preset("gpt2-embedded", "smoke").replace(corpus="<script>alert(1)<script>")
    for shown in (evil._repr_html_(), records_html([evil]), experiment._repr_html_()):
        assert "<script" not in shown
        assert "&lt;script&gt;" in shown
        ElementTree.fromstring(f"<div>{shown}</div>")


def test_an_experiment_shows_first_what_differs_from_its_preset(tmp_path):
    (tmp_path / "my.txt").write_text("text")
    shown = Experiment.preset("gpt2-embedded", "smoke", corpus=tmp_path / "my.txt", gamma=0.5)._repr_html_()
    first, _, others = shown.partition("<details>")
    assert "<tr><th>corpus</th><td>my.txt</td></tr><tr><th>gamma</th><td>0.5</td></tr>" in first
    assert "n_layer" not in first
    assert "<th>n_layer</th><td>4</td>" in others
    assert str(tmp_path) not in shown
    assert "as the preset has it" in Experiment.preset("gpt2-embedded", "smoke")._repr_html_()
