"""IoU over the threshold, for channels with a separate decision each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.engine import charts

NUM_STEPS = 100
"""The number of steps: thresholds are multiples of a hundredth."""

Histograms = NDArray[np.int64]


class IouByThreshold:
    """Counts probabilities in a hundred bins, for true pixels and for the others.

    The counts give the IoU for each threshold that is a multiple of 0.01, and need
    constant memory. The IoU is exact, except for probabilities within rounding of the
    threshold.

    Args:
        num_classes: The number of channels.
    """

    def __init__(self, num_classes: int) -> None:
        self._counts: Histograms = np.zeros((num_classes, 2, NUM_STEPS + 1), np.int64)

    @staticmethod
    def histograms(
        truth: NDArray[np.bool_], probabilities: NDArray[np.floating[Any]]
    ) -> Histograms:
        """The counts of a batch, which `update` takes.

        Args:
            truth: Multi-hot masks of shape `(batch, height, width, num_classes)`.
            probabilities: The probabilities, of the same shape; NaN counts as 0.

        Returns:
            Counts of shape `(num_classes, 2, 101)`: of other pixels, of true pixels.
        """
        size = NUM_STEPS + 1
        counts = []
        for k in range(truth.shape[-1]):  # All classes at once would take gigabytes.
            steps = np.nan_to_num(probabilities[..., k]) * NUM_STEPS
            # 0.7 in float32 is a little less than 0.7, but belongs to the bin of 0.7.
            bins = np.clip(np.floor(steps + 1e-4), 0, NUM_STEPS).astype(np.int64)
            bins += size * truth[..., k]
            counts.append(np.bincount(bins.ravel(), minlength=2 * size))
        return np.reshape(counts, (-1, 2, size))

    def update(self, histograms: Histograms) -> None:
        """Takes in a batch."""
        self._counts += histograms

    def merge(self, other: IouByThreshold) -> None:
        """Takes in all batches of another one."""
        self._counts += other._counts

    def ious(self) -> NDArray[np.float64]:
        """IoU of shape `(num_classes, 101)`, for the thresholds 0, 0.01, ... 1."""
        reached = self._counts[..., ::-1].cumsum(axis=-1)[..., ::-1]
        wrong, right = reached[:, 0], reached[:, 1]
        union = self._counts[:, 1].sum(axis=-1, keepdims=True) + wrong
        return np.asarray(right / np.maximum(union, 1))

    def best(self) -> list[tuple[float | None, float | None]]:
        """The threshold above 0 with the highest IoU, and this IoU, for each class."""
        found: list[tuple[float | None, float | None]] = []
        for ious, counts in zip(self.ious(), self._counts, strict=True):
            if not counts[1].any():
                found.append((None, None))
                continue
            place = int(ious[1:].argmax()) + 1
            found.append((place / NUM_STEPS, float(ious[place])))
        return found

    def chart(self, class_names: list[str]) -> Any:
        """A chart of W&B with the curves, for up to `charts.MAX_CURVES` classes."""
        thresholds = np.arange(NUM_STEPS + 1) / NUM_STEPS
        curves = zip(class_names[: charts.MAX_CURVES], self.ious(), strict=False)
        return charts.curves(
            {name: (thresholds, ious) for name, ious in curves},
            "threshold",
            "iou",
            "IoU over the threshold",
        )
