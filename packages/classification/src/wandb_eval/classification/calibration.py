"""Whether a classifier is right as often as it says."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.core import charts

NUM_BINS = 15


class Calibration:
    """The expected calibration error, and a reliability diagram, batch by batch.

    Predictions are sorted into 15 bins of equal width by the probability of the
    predicted class; a bin includes its upper edge. The error is the mean over the
    predictions of the distance between the accuracy and the mean probability of their
    bin (Guo et al. 2017, https://arxiv.org/abs/1706.04599, equation 3).

    Example:

    >>> calibration = Calibration()
    >>> calibration.update(np.array([0.9, 0.9]), np.array([True, False]))
    >>> round(calibration.compute()["ece"], 6)
    0.4
    """

    def __init__(self) -> None:
        self._confidence: list[NDArray[np.float64]] = []
        self._correct: list[NDArray[np.bool_]] = []

    def update(
        self, confidence: NDArray[np.floating[Any]], correct: NDArray[np.bool_]
    ) -> None:
        """Takes in a batch.

        Args:
            confidence: The probability of each predicted class, of shape `(batch,)`.
            correct: Whether it is right, of shape `(batch,)`.
        """
        self._confidence.append(confidence.astype(np.float64))
        self._correct.append(correct)

    def compute(self) -> dict[str, Any]:
        """`ece`, and the chart `reliability`; nothing without predictions."""
        if not any(map(len, self._confidence)):
            return {}
        confidence = np.concatenate(self._confidence)
        correct = np.concatenate(self._correct)
        edges = np.ceil(confidence * NUM_BINS).astype(np.int64)
        bins = np.clip(edges - 1, 0, NUM_BINS - 1)
        counts = np.bincount(bins, minlength=NUM_BINS)
        right = np.bincount(bins, correct, minlength=NUM_BINS)
        sums = np.bincount(bins, confidence, minlength=NUM_BINS)
        used = counts > 0
        confidence, accuracy = sums[used] / counts[used], right[used] / counts[used]
        return {
            "ece": float(np.abs(right - sums).sum() / counts.sum()),
            "reliability": charts.curves(
                {
                    "the model": (confidence, accuracy),
                    "as it should be": (np.array([0.0, 1.0]), np.array([0.0, 1.0])),
                },
                "confidence",
                "accuracy",
                "Reliability",
            ),
        }
