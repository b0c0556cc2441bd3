"""Compares scores with thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def at_least(scores: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Returns whether scores reach a threshold, compared in the dtype of the scores.

    0.7 in float32 is a little less than 0.7 in Python, which is a float64. Users mean
    the float32 value.

    Args:
        scores: Floats of any shape.
        threshold: The threshold.

    Returns:
        A bool array of the same shape.

    Example:

    >>> at_least(np.array([0.7, 0.69], np.float32), 0.7)
    array([ True, False])
    """
    if scores.dtype.kind != "f":
        return np.asarray(scores >= threshold)
    return np.asarray(scores >= scores.dtype.type(threshold))
