"""Rows of ground truth for samples that are not among the fixed ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from wandb_eval.core.evaluation.samples import EvaluatedSamples, Samples

MakeRows = Callable[[Samples], Sequence[Sequence[Any]]]
"""Makes rows of ground truth, with images that are written to the run's folder."""


class SampleRows:
    """Gives any sample its row of ground truth, and each sample the same one again.

    So an image is encoded once in a run, however often its sample turns up.

    Args:
        make: Makes the rows of samples that have none yet.
    """

    def __init__(self, make: MakeRows) -> None:
        self._make = make
        self._rows: dict[int, list[Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """A copy has no rows: they belong to a run."""
        return {"_make": self._make, "_rows": {}}

    def forget(self) -> None:
        """Makes all rows anew: those that there are belong to another run."""
        self._rows = {}

    def know(self, index: Sequence[int], rows: Sequence[Sequence[Any]]) -> None:
        """Takes over rows that are there already: of the fixed samples."""
        self._rows |= {place: list(row) for place, row in zip(index, rows, strict=True)}

    def give(self, evaluated: EvaluatedSamples) -> None:
        """Gives samples their rows, as `evaluated.rows`."""
        new = [i for i, at in enumerate(evaluated.index) if at not in self._rows]
        if new:
            samples = Samples(
                [evaluated.index[i] for i in new],
                [evaluated.x[i] for i in new],
                [evaluated.y[i] for i in new],
            )
            self.know(samples.index, self._make(samples))
        evaluated.rows = [self._rows[at] for at in evaluated.index]
