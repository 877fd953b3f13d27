"""Tied models in the Hugging Face world: save and load them, and train them with `transformers.Trainer`."""
