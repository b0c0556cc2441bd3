"""Metrics over all of the validation data."""

from __future__ import annotations

from typing import Any, Protocol


class Metrics(Protocol):
    """Metrics over all of the validation data, batch by batch."""

    def update(self, truth: Any, predictions: Any, /) -> None:
        """Accumulates one batch.

        Args:
            truth: The truth, as the task's `read_batch` returns it. Without a
                `read_batch`, the targets as NumPy arrays.
            predictions: The predictions, as `read_batch` returns them. Without a
                `read_batch`, the outputs of the model.
        """

    def compute(self) -> dict[str, Any]:
        """Returns the results by name: numbers, tables, charts, images."""
