"""A BERT that looks ahead, and one that does not: equal but for one flag, `is_decoder`. For notebook 08."""

from __future__ import annotations

import functools

import torch
from transformers import BertConfig, BertLMHeadModel

from dlt_core import corpora
from dlt_core.corpora.text import Text
from dlt_core.corpora.tokenization import TokenizedCorpus, tokenize
from dlt_core.learner.training import Learner


def one_block_bert(*, is_decoder: bool, seed: int, spread: float = 0.02) -> BertLMHeadModel:
    """A BERT of one block, width 64, for 512 tokens and 32 positions, without dropout. spread: standard deviation of
    its first weights. Two with one seed have equal weights."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=512,
        max_position_embeddings=32,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=1,
        num_attention_heads=4,
        hidden_dropout_prob=0.0,
        use_cache=False,
        attention_probs_dropout_prob=0.0,
        initializer_range=spread,
        is_decoder=is_decoder,
    )
    return BertLMHeadModel(config)


def perplexity_after(steps: int, data: TokenizedCorpus, *, is_decoder: bool, seed: int) -> float:
    """Validation perplexity of a `one_block_bert` that was trained on the beginning of a text, in 512 pieces."""
    beginning = {split: Text(text.head(2**18)) for split, text in data.corpus.splits.items()}
    small = tokenize(corpora.Corpus("beginning", beginning, data.corpus.source, is_sample=True), "bpe-512")
    learner = Learner(
        functools.partial(one_block_bert, is_decoder=is_decoder),
        small,
        seed=seed,
        batch_size=8,
        block_size=32,
        learning_rate=3e-3,
        evaluation_tokens=4096,
    )
    learner.train(steps)
    return learner.evaluate("validation").perplexity
