"""Stretches values of any range to levels of gray, from the lowest to the highest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_FEW = 1 / 8
"""A channel with a smaller share of the range of all channels looks flat."""

_FAR = 2.0
"""The distance of means, in standard deviations, from which channels differ much."""


class Stretch:
    """Stretches images to 0 to 255, by the lowest and highest value of some images.

    Color images are stretched as a whole, which keeps their colors. If the means of two
    channels are farther apart than two standard deviations, or if a channel has less
    than an eighth of the range of all, each channel is stretched by itself.

    Args:
        arrays: The images that determine the range, of shape `(height, width)` or
            `(height, width, 3)`, of finite numbers.

    Attributes:
        low: The lowest value of all.
        high: The highest value of all.
        by_channel: Whether each channel is stretched by itself.
    """

    def __init__(self, arrays: Sequence[NDArray[Any]]) -> None:
        self.low = float(min(float(array.min()) for array in arrays))
        self.high = float(max(float(array.max()) for array in arrays))
        self._lows = self._highs = np.zeros(0)
        self.by_channel = False
        if all(array.ndim == 3 for array in arrays):
            pixels = [array.reshape(-1, array.shape[2]) for array in arrays]
            self._lows = _float64(np.min([part.min(axis=0) for part in pixels], axis=0))
            self._highs = _float64(
                np.max([part.max(axis=0) for part in pixels], axis=0)
            )
            self.by_channel = self._differ(pixels)

    def _differ(self, pixels: Sequence[NDArray[Any]]) -> bool:
        """Whether the channels differ too much for one range."""
        widths = self._highs - self._lows
        varied = widths > 0
        if not varied.any():
            return False
        if widths[varied].min() < _FEW * (self.high - self.low):
            return True
        means, deviations = moments(pixels)
        with np.errstate(over="ignore", invalid="ignore"):
            deviation = np.sqrt(np.mean(np.square(deviations[varied])))
            apart = means[varied].max() - means[varied].min()
        return bool(apart > _FAR * deviation)

    def __call__(self, array: NDArray[Any]) -> NDArray[np.uint8]:
        """Stretches an image. Values beyond the range are clipped."""
        low: Any = self.low
        high: Any = self.high
        if self.by_channel and array.ndim == 3 and array.shape[2] == len(self._lows):
            low, high = self._lows, self._highs
        # Halves, because the difference of two floats may overflow.
        values = _float64(array) / 2
        values -= low / 2
        width = np.asarray(high / 2 - low / 2)
        values /= np.where(width > 0, width, 1.0)
        np.clip(values, 0, 1, out=values)
        values *= 255
        return np.asarray(np.rint(values), np.uint8)


def moments(pixels: Sequence[NDArray[Any]]) -> tuple[Floats, Floats]:
    """Returns means and standard deviations over the first axis of all arrays."""
    count = sum(len(part) for part in pixels)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sum(part.sum(axis=0, dtype=np.float64) for part in pixels) / count
        squares = sum(np.square(part - mean).sum(axis=0) for part in pixels) / count
        return np.asarray(mean, np.float64), np.asarray(np.sqrt(squares), np.float64)


def are_standardised(arrays: Sequence[NDArray[Any]]) -> bool:
    """Whether the mean is about 0, and the standard deviation about 1."""
    mean, deviation = moments([array.reshape(-1) for array in arrays])
    return bool(abs(mean) < 0.5 and 0.5 < deviation < 4)


def _float64(array: NDArray[Any]) -> Floats:
    return np.array(array, np.float64)
