"""Checks thresholds, and compares scores with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.core.arguments import is_number


def check_threshold(name: str, value: Any) -> float:
    """Checks that an argument is a number of 0 to 1, and returns it as a `float`.

    Args:
        name: The name of the argument.
        value: The argument.

    Raises:
        ValueError: If it is not.
    """
    if not (is_number(value) and 0 <= value <= 1):
        raise ValueError(f"`{name}` must be a number of 0 to 1. Received: {value!r}")
    return float(value)


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
