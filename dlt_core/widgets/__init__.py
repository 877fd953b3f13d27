"""Widgets: records or a tiny live model in, a widget out."""
