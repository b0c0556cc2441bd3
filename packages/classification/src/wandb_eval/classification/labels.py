"""Reads the labels and the outputs of classifiers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from wandb_eval.engine import check_single, number_array, to_numpy

Labels = NDArray[np.integer[Any]]
Probabilities = NDArray[np.floating[Any]]

_TOO_MANY = 2**31


def read_labels(y: Any, multi_label: bool = False) -> Labels:
    """Reads the labels of a batch.

    Args:
        y: Class ids of shape `(batch,)` or `(batch, 1)`, or one-hot of shape `(batch,
            num_classes)`; with `multi_label`, multi-hot of that shape. Any dtype.
        multi_label: Whether a sample may have several classes, or none.

    Returns:
        Ids of shape `(batch,)`; with `multi_label`, zeros and ones of shape `(batch,
        num_classes)`.

    Raises:
        ValueError: If the labels have another form.
    """
    array = _as_array(y)
    hot = array.ndim == 2 and array.shape[1] > (0 if multi_label else 1)
    ids = not multi_label and (array.ndim == 1 or array.shape[1:] == (1,))
    if not (hot or ids):
        expected = "" if multi_label else "(batch,) or, one-hot, "
        raise ValueError(
            f"Labels must be of shape {expected}(batch, num_classes). "
            f"Received: {array.shape}"
        )
    right = (array >= 0) & (array < _TOO_MANY)
    if array.dtype.kind == "f":
        right &= array == np.floor(array)
    if not right.all():
        wrong = array[~right]
        raise ValueError(
            "Labels must be class ids from 0, or one-hot. Received: "
            f"{wrong[0]} among them"
        )
    labels = array.astype(np.int64)
    if ids:
        return labels.reshape(-1)
    if labels.size and labels.max() > 1:
        raise ValueError(
            f"Labels of shape {labels.shape} must be zeros and ones. Received: "
            f"{labels.max()} among them"
        )
    if multi_label:
        return labels
    if (labels.sum(axis=1) != 1).any():
        raise ValueError(
            "One-hot labels must have a single one in each row. Received: a row with "
            f"{labels.sum(axis=1)[labels.sum(axis=1) != 1][0]}. If a sample can have "
            "several classes, pass `multi_label=True`."
        )
    return np.asarray(labels.argmax(axis=1))


def read_outputs(
    outputs: Any, from_logits: bool = False, multi_label: bool = False
) -> Probabilities:
    """Reads the outputs of a model as probabilities.

    Args:
        outputs: The outputs, of shape `(batch, num_classes)`; or `(batch, 1)` or
            `(batch,)` for one sigmoid unit, the probability of class 1 of two classes.
        from_logits: Whether the outputs are logits, before softmax or sigmoid.
        multi_label: Whether the classes do not exclude each other.

    Returns:
        Probabilities of shape `(batch, num_classes)`, or `(batch, 1)` for one sigmoid
        unit. Probabilities keep their values and their dtype; logits become float64.
        NaN stays NaN.

    Raises:
        ValueError: If the outputs have another shape.

    Example:

    >>> read_outputs(np.array([[0.0, 0.0], [800.0, -800.0]]), from_logits=True)
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    check_single(outputs)
    array: Probabilities = to_numpy(outputs)
    if from_logits or array.dtype.kind != "f":
        array = array.astype(np.float64)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(
            "Outputs of a classifier must be of shape (batch, num_classes), or (batch, "
            f"1) for one sigmoid unit. Received: {outputs.shape}"
        )
    if not from_logits:
        return array
    if multi_label or array.shape[1] == 1:
        return np.asarray(expit(array))
    with np.errstate(invalid="ignore"):  # Infinity becomes NaN, as in Keras.
        return np.asarray(softmax(array, axis=1))


def _as_array(y: Any) -> NDArray[Any]:
    array = number_array(y, "labels")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # Values that overflow are refused later.
            return array.astype(np.float64)
    return array.astype(np.int64) if array.dtype == np.bool_ else array


def sums_of_others(probabilities: Probabilities) -> tuple[float, float] | None:
    """The lowest and the highest sum of a sample's outputs, unless all sums are 1.

    Other sums occur if a classifier has a sigmoid for each class although the classes
    exclude each other.

    Args:
        probabilities: The result of `read_outputs`.

    Example:

    >>> sums_of_others(np.array([[0.5, 0.25], [0.75, 0.75]]))
    (0.75, 1.5)
    >>> sums_of_others(np.array([[0.25, 0.75]]))
    """
    sums = probabilities.sum(axis=1, dtype=np.float64)
    sums = sums[np.isfinite(sums)]
    if probabilities.shape[1] == 1 or not (np.abs(sums - 1) > 0.02).any():
        return None
    return float(sums.min()), float(sums.max())
