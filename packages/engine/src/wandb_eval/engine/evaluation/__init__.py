"""Evaluating a model on validation data; nothing here knows of W&B."""
