"""Tied models in the Hugging Face world: save and load them, and train them with `transformers.Trainer`.

>>> save_pretrained(build_gpt2(vocab_size=31, n_positions=8, n_layer=4, n_head=2, n_embd=8, dropout=0.0), "tied")
>>> type(from_pretrained("tied")).__name__
'GPT2LMHeadModel'
"""
