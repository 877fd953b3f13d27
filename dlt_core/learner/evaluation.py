"""How good a language model is: perplexity per token with bits per byte beside it, and LAMBADA's last words.

Perplexities over different tokenizers cannot be compared; bits per byte can.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dlt_core.learner import parallel
from dlt_core.learner.loss import logits_at, token_losses


@dataclass(frozen=True)
class Evaluation:
    """Sum of the negative log-likelihoods (nats) of `tokens` predicted tokens that stand for `bytes` bytes of text."""

    nll: float
    tokens: int
    bytes: int

    @property
    def loss(self) -> float:
        """Mean cross entropy, nats per token."""
        return self.nll / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(loss), per token."""
        return perplexity(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """Bits needed for each byte of the original text."""
        return self.nll / math.log(2) / self.bytes


def perplexity(loss: float) -> float:
    """exp of a mean cross entropy in nats; infinity where that is too large for a float."""
    return math.exp(loss) if loss < 700 else math.nan if math.isnan(loss) else math.inf


@contextlib.contextmanager
def training_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """The model in training mode (dropout on) or in evaluation mode within the block, afterwards as before."""
    before = model.training
    model.train(training)
    try:
        yield
    finally:
        model.train(before)


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    tokens: np.ndarray,
    *,
    block_size: int,
    batch_size: int,
    token_bytes: np.ndarray,
    autocast: contextlib.AbstractContextManager[None] | None = None,
    logits_at_once: int | None = None,
) -> Evaluation:
    """Predict each token but the first once, in windows of `block_size` that do not overlap, dropout off.

    tokens: (N,) ids with N >= 2. token_bytes: (vocab_size,) bytes of each token. logits_at_once: see `token_losses`.
    Several processes share the batches, and all get the result. The model's training mode is restored.
    Raises ValueError for fewer than 2 tokens.
    """
    if len(tokens) < 2:
        raise ValueError(f"cannot evaluate on {len(tokens)} tokens: at least 2 are needed")
    device = next(model.parameters()).device
    sums: list[torch.Tensor] = []  # one for each batch; they stay on the device until the end
    whole = (len(tokens) - 1) // block_size * block_size
    windows = tokens[np.arange(0, whole, block_size)[:, None] + np.arange(block_size + 1)].astype(np.int64)
    batches = [windows[i : i + batch_size] for i in range(0, len(windows), batch_size)]
    if whole < len(tokens) - 1:  # the shorter window at the end
        batches.append(np.asarray(tokens[whole:], dtype=np.int64)[None])
    with training_mode(model, False), autocast or contextlib.nullcontext():
        for batch in batches[parallel.rank() :: parallel.world_size()]:
            sums.append(token_losses(model, torch.from_numpy(batch).to(device), logits_at_once).sum())
    nll = math.fsum(torch.stack(sums).tolist()) if sums else 0.0  # more processes than batches
    nll = parallel.total(torch.tensor(nll, dtype=torch.float64)).item()
    return Evaluation(nll, len(tokens) - 1, int(token_bytes[tokens[1:]].sum()))


@dataclass(frozen=True)
class LastWords:
    """How well the last words of passages are guessed (LAMBADA, Paperno et al. 2016).

    passages: those that give something to guess from, and are counted. nll: sum over them of the negative
    log-likelihood (nats) of the last word. truncated: those longer than the model's sequence, whose beginning the model
    does not see.
    """

    passages: int
    correct: int
    nll: float
    truncated: int

    @property
    def accuracy(self) -> float:
        """Share of passages whose last word is the most likely one, piece by piece."""
        return self.correct / self.passages

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-likelihood, per last word."""
        return perplexity(self.nll / self.passages)


@torch.inference_mode()
def last_words(
    model: nn.Module,
    passages: Sequence[tuple[Sequence[int], Sequence[int]]],
    *,
    block_size: int,
    batch_size: int,
    autocast: contextlib.AbstractContextManager[None] | None = None,
) -> LastWords:
    """Guess each passage's last word from what stands before it, dropout off.

    passages: (ids of the context, ids of the last word's own BPE pieces). A word is guessed if each of its pieces is
    the most likely one after the context and the pieces before it. Of a passage with more than `block_size` + 1 tokens
    the end is used. A passage without a context or a word, or whose word is longer than `block_size`, cannot be guessed
    and is left out. The model's training mode is restored. Raises ValueError if no passage is left.
    """
    given = len(passages)
    passages = [(context, word) for context, word in passages if len(context) and 0 < len(word) <= block_size]
    if not passages:
        raise ValueError(
            f"there are no passages with a last word and something before it to guess it from ({given} given)"
        )
    device = next(model.parameters()).device
    nlls, hits = [], []  # for each batch; they stay on the device until the end
    with training_mode(model, False), autocast or contextlib.nullcontext():
        for start in range(0, len(passages), batch_size):
            rows = [[*context, *word][-block_size - 1 :] for context, word in passages[start : start + batch_size]]
            pieces = [len(word) for _, word in passages[start : start + batch_size]]
            width = max(map(len, rows))
            padded = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=device)
            ends = torch.tensor([len(row) - 1 for row in rows], device=device)[:, None]
            # only the last words' pieces need logits; counted from the end, since words differ in length
            back = torch.arange(max(pieces), 0, -1, device=device)[None]
            place = (ends - back).clamp(min=0)  # (B, pieces): of the token before
            ours = back <= torch.tensor(pieces, device=device)[:, None]
            logits = logits_at(model, padded[:, :-1], place)  # (B, pieces, vocab_size)
            wanted = padded.gather(1, place + 1)
            losses = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view_as(ours)
            nlls.append((losses * ours).sum())
            hits.append(((logits.argmax(-1) == wanted) | ~ours).all(dim=1).sum())
    truncated = sum(len(context) + len(word) > block_size + 1 for context, word in passages)
    return LastWords(len(passages), int(sum(hits)), float(sum(nlls)), truncated)
