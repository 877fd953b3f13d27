"""Dynamic Layer Tying for Parameter-Efficient Transformers (Hay and Wolf, ICLR 2024): a teaching reproduction."""

__version__ = "0.1.0"
