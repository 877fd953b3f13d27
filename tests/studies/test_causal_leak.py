"""The flag alone lets a BERT look ahead. What that is worth in training, notebook 08 asserts itself."""

import torch

from dlt_core.studies import causal_leak


def test_equal_weights_and_only_one_sees_the_future():
    honest, seeing = (causal_leak.one_block_bert(is_decoder=flag, seed=1, spread=0.2).eval() for flag in (True, False))
    assert all(torch.equal(p, q) for p, q in zip(honest.parameters(), seeing.parameters(), strict=True))
    ids = torch.arange(6)[None]
    other = ids.clone()
    other[0, 4] = 99
    with torch.no_grad():
        moved = [(model(ids).logits - model(other).logits)[0, :4].abs().max() for model in (honest, seeing)]
    assert moved[0] < 1e-6
    assert moved[1] > 1e-2
