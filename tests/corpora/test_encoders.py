"""Tokenizers beside the BPEs: characters lose nothing of a text, and any of Hugging Face's counts its bytes."""

import numpy as np
import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors

from dlt_core import Experiment
from dlt_core.corpora import from_text, tokenize
from dlt_core.corpora.encoders import hugging_face
from dlt_core.corpora.hub import CorpusUnavailable
from dlt_core.corpora.text import SPLITS
from dlt_core.corpora.tokenization import marked_blocks

TEXT = {"train": "Ein Bär, zwei Bären\n", "validation": "née 犬 \n\n", "test": "  two  blanks "}


@pytest.fixture
def corpus():
    return from_text(TEXT["train"], TEXT["validation"], TEXT["test"], name="mine")


@pytest.fixture
def lower():
    """A tokenizer that loses much: capitals, white space, words it does not know; and adds marks, and cuts off."""
    words = ["[UNK]", "[CLS]", "[SEP]", "ein", "bär", ",", "zwei", "two", "blanks"]
    made = tokenizers.Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    made.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    made.enable_truncation(4)
    made.enable_padding(length=9)
    return made


def test_characters_lose_nothing(corpus):
    data = tokenize(corpus, "characters")
    assert (data.vocab_size, data.unit, data.tokenizer_name) == (
        len(set("".join(TEXT.values()))),
        "character",
        "characters",
    )
    for split, text in TEXT.items():
        assert len(data.tokens[split]) == len(text)
        assert data.tokenizer.decode(data.tokens[split].tolist()) == text
        assert data.token_bytes[data.tokens[split]].sum() == len(text.encode())
    assert marked_blocks(data, 4).tokenizer_name == "characters"


def test_a_tokenizer_that_loses_something_still_counts_all_bytes(corpus, lower):
    data = tokenize(corpus, lower)
    assert data.tokens["train"].tolist() == [3, 4, 5, 6, 0]
    assert data.bytes_in_place["train"].tolist() == [3, 5, 1, 5, 8]  # " Bär" has five bytes, the last line end belongs
    for split in SPLITS:
        assert data.bytes_in_place[split].sum() == len(TEXT[split].encode())
    assert data.corpus.note == f"{data.tokenizer_name} does not keep the text as it is"
    assert data.tokenizer_name.startswith("Tokenizer@")
    assert data.corpus.sha256 == corpus.sha256
    with pytest.raises(ValueError, match="marked blocks are not for the tokenizer Tokenizer@"):
        marked_blocks(data, 4)


def test_a_tokenizer_is_named_without_its_folder(lower, tmp_path, monkeypatch):
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_object=lower)
    fast.save_pretrained(tmp_path / "toys")
    encoder, name = hugging_face(tmp_path / "toys")
    assert name == f"toys@{hugging_face(fast)[1].partition('@')[2]}"
    assert encoder.encode("zwei", add_special_tokens=False).ids == [6]
    experiment = Experiment.preset("gpt2-embedded", "smoke", tokenizer=name)
    assert experiment.to_dict()["tokenizer"] == name
    for wrong in (object(), tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match=r"no tokenizer|no folder") as error:
            hugging_face(wrong)
        assert "\n" not in str(error.value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CorpusUnavailable, match=r"the tokenizer 'owner/none' is not here: HF_HUB_OFFLINE"):
        hugging_face("owner/none")


def test_a_learner_counts_bytes_where_they_are(lower, tmp_path):
    from dlt_core import build_learner

    data = tokenize(from_text("ein bär, zwei bär und mehr\n" * 60, name="bears"), lower)
    experiment = Experiment.preset("gpt2-embedded", "smoke", device="cpu", n_layer=2, batch_size=1, block_size=8)
    learner = build_learner(experiment, data)
    found = learner.evaluate("test", in_full=True)
    assert found.bytes == data.bytes_in_place["test"][1:].sum() > found.tokens
    assert np.isfinite(found.bits_per_byte)
    there = experiment.on(data)
    assert (there.corpus, there.tokenizer) == ("bears", data.tokenizer_name)
