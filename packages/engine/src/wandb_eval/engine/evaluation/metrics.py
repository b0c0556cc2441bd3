"""Metrics over all of the validation data."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


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


@runtime_checkable
class MergeableMetrics(Metrics, Protocol):
    """Metrics that can be merged, after each process has evaluated a part of the data.

    They are sent between processes by `pickle`. A reference to the task is not: in each
    process, it is the task of that process.
    """

    def merge(self, other: Any, /) -> None:
        """Accumulates all batches of other metrics of the same kind.

        Args:
            other: Metrics of the batches that follow those of this object. They are not
                used afterwards, so their parts may be taken over.
        """


def can_merge(metrics: Metrics) -> bool:
    """Whether metrics have a `merge` for all that their `update` accumulates.

    A class that overrides `update`, but not `merge`, may accumulate more.
    """
    if not isinstance(metrics, MergeableMetrics):
        return False
    kinds = type(metrics).__mro__
    updates, merges = (
        next((place for place, kind in enumerate(kinds) if name in vars(kind)), 0)
        for name in ("update", "merge")
    )
    return merges <= updates
