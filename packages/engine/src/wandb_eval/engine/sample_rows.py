"""The rows of samples in the tables of a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import wandb

from wandb_eval.engine.evaluation.samples import EvaluatedSamples, Samples

MakeRows = Callable[[Samples], Sequence[Sequence[Any]]]
"""Makes rows of ground truth, with images that are written to the run's folder."""


class SampleRows:
    """Makes the row of ground truth of each sample once, and caches it.

    So an image is encoded once per run, however often its sample is shown.

    Args:
        make: Makes the rows of samples that have none yet.
    """

    def __init__(self, make: MakeRows) -> None:
        self.make = make
        self._rows: dict[int, list[Any]] = {}

    def forget(self) -> None:
        """Forgets all rows, which belong to another run."""
        self._rows = {}

    def know(self, index: Sequence[int], rows: Sequence[Sequence[Any]]) -> None:
        """Adds rows that were made already, such as those of the fixed samples."""
        self._rows |= {place: list(row) for place, row in zip(index, rows, strict=True)}

    def rows_of(self, evaluated: EvaluatedSamples) -> list[list[Any]]:
        """Returns the rows of samples, and makes the missing ones."""
        new = [i for i, at in enumerate(evaluated.index) if at not in self._rows]
        if new:
            samples = Samples(
                [evaluated.index[i] for i in new],
                [evaluated.x[i] for i in new],
                [evaluated.y[i] for i in new],
            )
            self.know(samples.index, self.make(samples))
        return [self._rows[at] for at in evaluated.index]


@dataclass
class TaskColumns:
    """The columns of a task's tables; a subclass may have added others.

    Attributes:
        num_data: The number of columns of the task in the table of ground truth.
        predictions: The names of the columns of the task in tables of predictions.
    """

    num_data: int
    predictions: list[str]

    def added(self, data_table: wandb.Table) -> list[str]:
        """Returns the columns that were added to the table of ground truth."""
        return list(map(str, data_table.columns[self.num_data :]))

    def with_added(self, columns: list[str], data_table: wandb.Table) -> list[str]:
        """Returns columns of predictions, with the added columns behind them."""
        added = self.added(data_table)
        return [*columns, *(name for name in added if name not in columns)]

    def rows(
        self,
        table: wandb.Table,
        data_table: wandb.Table,
        cells: Sequence[Sequence[Any]],
        ground_truth: Sequence[Sequence[Any]],
    ) -> list[list[Any]]:
        """Makes rows for a table of predictions.

        Args:
            table: The table, for its columns.
            data_table: The table of ground truth, for its columns.
            cells: The task's cells of each row.
            ground_truth: The row of ground truth of each sample.
        """
        added = self.added(data_table)
        rows = []
        for predicted, truth in zip(cells, ground_truth, strict=True):
            row = dict(zip(self.predictions, predicted, strict=False))
            more = truth[self.num_data :] or [None] * len(added)
            row |= dict(zip(added, more, strict=False))
            rows.append([row[str(n)] for n in table.columns if str(n) in row])
        return rows
