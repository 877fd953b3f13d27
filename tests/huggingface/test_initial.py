"""A run from a pretrained checkpoint: its weights, independent layers, its record; and what does not fit is refused."""

import itertools
import json
import shutil

import pytest
import torch
from torch.nn import Dropout

from dlt_core.agents import ReplayAgent
from dlt_core.algorithm1 import train_conventional, train_dynamic
from dlt_core.blocks import build_bert, build_gpt2
from dlt_core.corpora.hub import CorpusUnavailable
from dlt_core.experiments import Experiment, build_env, build_learner
from dlt_core.huggingface import initial
from dlt_core.huggingface.pretrained import save_pretrained
from dlt_core.records.record import RunRecord
from dlt_core.studies.comparison import compare
from dlt_core.studies.methods import parse
from dlt_core.tie_map import TieMap
from dlt_core.tying import tie_layers
from tests.conftest import untimed

SHAPE = {"n_positions": 32, "n_layer": 3, "n_head": 2, "n_embd": 16}
BUILT = {"gpt2": build_gpt2, "bert": build_bert}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_data):
    """A tiny GPT-2 and a tiny BERT with their tokenizer, saved with dropout and tied, in both forms."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, build in BUILT.items():
        model = build(vocab_size=tiny_data.vocab_size, **SHAPE, dropout=0.3, seed=7)
        tie_layers(model, TieMap((0, 0, 2)))
        save_pretrained(model, folder / name)
        save_pretrained(model, folder / f"{name}-compact", compact=True)
        tiny_data.tokenizer.save(str(folder / name / "tokenizer.json"))
    save_pretrained(model.bfloat16(), folder / "bert-bf16")
    return folder


@pytest.fixture
def small(folder):
    fields = {**SHAPE, "dropout": 0.0, "episodes": 2, "evaluation_tokens": 256, "device": "cpu"}
    return Experiment.preset("gpt2-embedded", "smoke", init_from=str(folder / "gpt2"), **fields)


@pytest.mark.parametrize("name", ["gpt2", "gpt2-compact", "bert", "bert-compact", "bert-bf16"])
def test_the_model_begins_as_it_was_saved_but_independent_and_with_our_dropout(name, folder, small, tiny_data):
    architecture = name.partition("-")[0]
    given = small.replace(init_from=str(folder / name), architecture=architecture)
    learner = build_learner(given, tiny_data)
    assert learner.tie_map == TieMap.independent(3)
    model = BUILT[architecture](vocab_size=tiny_data.vocab_size, **SHAPE, dropout=0.3, seed=7)
    tie_layers(model, TieMap((0, 0, 2)))
    saved = model.to(torch.bfloat16 if "bf16" in name else torch.float32).float().state_dict(keep_vars=True)
    for key, value in learner.model.state_dict(keep_vars=True).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, saved[key]), key
            assert value.dtype == torch.float32
    assert {module.p for module in learner.model.modules() if isinstance(module, Dropout)} == {0.0}
    assert not learner.model.config.use_cache
    for seed in (1, 2):  # the weights are the checkpoint's, whatever the seed
        learner.restart(seed)
        assert torch.equal(next(learner.model.parameters()), next(model.float().parameters()))
    assert build_env(given, learner=learner).tie_map == TieMap.independent(3)


def test_a_run_begins_there_says_so_and_goes_on_after_a_stop(small, folder, tiny_data, tmp_path):
    record = train_dynamic(small, data=tiny_data, record_path=tmp_path)
    (path,) = tmp_path.iterdir()
    assert record.experiment["init_from"] == record.experiment["overrides"]["init_from"] == "gpt2"
    assert str(folder) not in path.read_text()
    assert record.versions["init_from"] == initial.checksum(small.init_from)
    assert RunRecord.load(path).versions == record.versions
    assert record.first_ties(3) == [0, 1, 2]
    before = [[0, 1, 2], *record.history["tie_map"]]
    ties = sum(old[i] == i != new[i] for old, new in itertools.pairwise(before) for i in range(3))
    assert record.transitions()["ties"] == ties
    kept = tmp_path / "stopped.safetensors"
    stopped = train_dynamic(small, data=tiny_data, checkpoint=kept, max_decisions=2)
    assert stopped.status == "stopped"
    assert untimed(train_dynamic(small, data=tiny_data, checkpoint=kept)) == untimed(record)
    train_dynamic(small, data=tiny_data, checkpoint=kept, max_decisions=2)
    shutil.copytree(folder / "gpt2", tmp_path / "gpt2")
    save_pretrained(build_gpt2(vocab_size=512, **SHAPE, dropout=0.0), tmp_path / "gpt2")
    with pytest.raises(ValueError, match="belongs to another run: its init_from is "):
        train_dynamic(small.replace(init_from=str(tmp_path / "gpt2")), data=tiny_data, checkpoint=kept)


def test_all_methods_begin_with_these_weights(small, tiny_data):
    conventional, dynamic, replay = compare(small, ["conventional", "dynamic", "replay"], data=tiny_data)
    assert conventional.final_tie_map == [0, 1, 2]
    assert replay.curves == dynamic.curves
    scheduled = train_conventional(
        small, tie_map=[TieMap.independent(3)] * 4, method="never", data=tiny_data
    )  # as it is before the first decision
    assert scheduled.curves == conventional.curves
    agent = ReplayAgent([1, 2, 1, 2])
    assert train_dynamic(small, agent=agent, data=tiny_data).curves == conventional.curves
    assert train_conventional(small.replace(init_from=None), data=tiny_data).curves != conventional.curves
    for name in ("gradient-2", "share_unshare", "released", "best_of-2"):
        with pytest.raises(ValueError, match=f"{name} begins in its own way: leave init_from out"):
            parse(name, small)


def test_what_does_not_fit_is_refused_with_the_remedy(small, folder, tiny_data, tmp_path):
    def refused(match: str, error: type[Exception] = ValueError, **changes: object) -> None:
        with pytest.raises(error, match=match):
            build_learner(small.replace(**changes), tiny_data)

    refused(r"gpt2 has other sizes than the experiment: set n_layer=3, n_embd=16$", n_layer=4, n_embd=32)
    refused("is a GPT2LMHeadModel, the experiment's bert a causal BertLMHeadModel", architecture="bert")
    refused("there is no folder with a config.json. Name one", init_from=str(tmp_path))
    refused("there is no folder with a config.json. Name one", init_from="no such")
    for name in ("sees", "other", "pieces", "wide", "empty", "torn"):
        shutil.copytree(folder / ("bert" if name == "sees" else "gpt2"), tmp_path / name)
    config = tmp_path / "sees" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"is_decoder": False}))
    refused(
        "is a BertLMHeadModel, the experiment's bert a causal", init_from=str(tmp_path / "sees"), architecture="bert"
    )
    save_pretrained(build_gpt2(vocab_size=600, **SHAPE, dropout=0.0), tmp_path / "other")
    refused("has a vocabulary of 600 tokens, the tokenizer bpe-512 512: take", init_from=str(tmp_path / "other"))
    pieces = tmp_path / "pieces" / "tokenizer.json"
    changed = json.loads(pieces.read_text())
    changed["model"]["vocab"] |= {"a": changed["model"]["vocab"]["b"], "b": changed["model"]["vocab"]["a"]}
    pieces.write_text(json.dumps(changed))
    refused("another vocabulary than the tokenizer bpe-512, such as for 'a'", init_from=str(tmp_path / "pieces"))
    (tmp_path / "torn" / "tokenizer.json").write_text("{")
    refused(r"tokenizer.json is no tokenizer .*copy it again", init_from=str(tmp_path / "torn"))
    (tmp_path / "empty" / "model.safetensors").unlink()
    refused(r"holds no weights: no \*.safetensors, and no weight_sets.dlt", init_from=str(tmp_path / "empty"))
    model = build_gpt2(vocab_size=512, **SHAPE, dropout=0.0)
    model.config.n_inner = 24
    save_pretrained(type(model)(model.config), tmp_path / "wide")
    refused(r"has [0-9,]+ parameters, gpt2 of these sizes [0-9,]+: hidden layers", init_from=str(tmp_path / "wide"))


def test_a_name_of_the_hub_is_downloaded_or_refused_with_the_reason(small, folder, tiny_data, monkeypatch):
    named = small.replace(init_from="owner/gpt2")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CorpusUnavailable, match=r"owner/gpt2 is neither a folder here nor .*forbids to ask.* Connect"):
        build_learner(named, tiny_data)
    asked = []

    def downloaded(name: str, **how: object) -> str:
        asked.append((name, how["local_files_only"]))
        return str(folder / "gpt2")

    monkeypatch.setattr(initial.huggingface_hub, "snapshot_download", downloaded)
    ours = build_learner(named, tiny_data).model.state_dict()
    theirs = build_learner(small, tiny_data).model.state_dict()
    assert all(torch.equal(a, theirs[n]) for n, a in ours.items() if isinstance(a, torch.Tensor))
    assert asked == [("owner/gpt2", True)]
    assert named.to_dict()["init_from"] == "gpt2"
