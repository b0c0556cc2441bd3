"""The calibration of a classifier: the accuracy at each confidence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 15

_STEPS = 2.0**30  # In a float64, sums of 2**-30 are exact up to 2**23.


class Calibration:
    """The expected calibration error, and the points of a reliability chart.

    Predictions are counted by their confidence in 15 bins of equal width, each without
    its lower end and with its upper one (Guo et al. 2017, On Calibration of Modern
    Neural Networks). Only the sums of the bins are kept. Probabilities are rounded to
    nine digits, so that the sums are exact and do not depend on the batches.

    Example:

    >>> calibration = Calibration()
    >>> calibration.update(np.array([0.9, 0.9, 0.5]), np.array([True, False, True]))
    >>> round(calibration.error(), 4)  # (2 * |0.9 - 1/2| + |0.5 - 1|) / 3
    0.4333
    """

    def __init__(self) -> None:
        self._counts = np.zeros(NUM_BINS, np.int64)
        self._confidence = np.zeros(NUM_BINS)
        self._right = np.zeros(NUM_BINS)
        self._unknown = 0

    def update(
        self, confidence: NDArray[np.floating[Any]], right: NDArray[Any]
    ) -> None:
        """Takes in predictions.

        Args:
            confidence: The probability of each prediction, 0 to 1, of any shape.
            right: Whether each prediction is right, of the same shape.
        """
        confidence, right = confidence.ravel(), right.ravel()
        edges = np.linspace(0, 1, NUM_BINS + 1).astype(confidence.dtype)
        bins = np.searchsorted(edges[1:-1], confidence, side="left")
        self._counts += np.bincount(bins, minlength=NUM_BINS)
        rounded = np.rint(confidence.astype(np.float64) * _STEPS) / _STEPS
        self._confidence += np.bincount(bins, rounded, NUM_BINS)
        self._right += np.bincount(bins, right, NUM_BINS)

    def update_unknown(self, count: int) -> None:
        """Takes in predictions that are not numbers, with the highest error."""
        self._unknown += count

    def merge(self, other: Calibration) -> None:
        """Takes in all predictions that another one has taken in."""
        self._counts += other._counts
        self._confidence += other._confidence
        self._right += other._right
        self._unknown += other._unknown

    def error(self) -> float:
        """The mean over the predictions of their bin's |confidence - accuracy|."""
        gaps = np.abs(self._confidence - self._right)
        count = self._counts.sum() + self._unknown
        return float((gaps.sum() + self._unknown) / count)

    def curve(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mean confidence and the accuracy of each bin that is not empty."""
        held = self._counts > 0
        counts = self._counts[held]
        return self._confidence[held] / counts, self._right[held] / counts
