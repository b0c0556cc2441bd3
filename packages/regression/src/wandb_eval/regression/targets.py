"""Targets and outputs of regression models, and the arguments that name them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.core.arguments import is_number
from wandb_eval.engine import check_single, number_array, to_numpy

Numbers = NDArray[np.float64]

_RESERVED = {
    *("batch", "class", "content", "difficulty", "epoch", "error", "idx", "image"),
    *("input", "mean_scaled_error", "scaled_error_spread"),
}


def read_targets(y: Any) -> Numbers:
    """Reads the targets of a batch.

    Args:
        y: Numbers of shape `(batch,)`, `(batch, 1)` or `(batch, targets)`.

    Returns:
        float64 of shape `(batch, targets)`.

    Raises:
        ValueError: If the shape differs, or if a target is not finite.

    Example:

    >>> read_targets(np.array([1, 2], np.uint8))
    array([[1.],
           [2.]])
    """
    targets = _as_matrix(number_array(y, "targets"), "Targets")
    wrong = targets[~np.isfinite(targets)]
    if wrong.size:
        raise ValueError(
            f"Targets must be finite. Received: {wrong[0]} among them. Leave samples "
            "without a target out of `validation_data`."
        )
    return targets


def read_outputs(outputs: Any) -> Numbers:
    """Reads the outputs of a model, which may have the same shapes as targets.

    Returns:
        float64 of shape `(batch, targets)`. NaN and infinity are kept.

    Raises:
        ValueError: If the shape differs.
    """
    check_single(outputs)
    return _as_matrix(to_numpy(outputs), "Outputs of a regression model")


def _as_matrix(array: NDArray[Any], what: str) -> Numbers:
    if array.ndim not in (1, 2) or array.shape[1:] == (0,):
        raise ValueError(
            f"{what} must be of shape (batch,) or (batch, targets). "
            f"Received: {array.shape}"
        )
    return array.reshape(len(array), -1 if array.size else 1).astype(np.float64)


def check_target_names(names: Any) -> list[str] | None:
    """Returns the names of targets as a list, or `None` for `None`.

    Raises:
        ValueError: If they are not distinct strings, or are names of other columns.
    """
    if names is None:
        return None
    found = [names] if isinstance(names, str) else names
    found = found.tolist() if isinstance(found, np.ndarray) else found
    is_list = isinstance(found, Sequence) and not isinstance(found, bytes)
    found = list(found) if is_list else []
    texts = bool(found) and all(isinstance(name, str) and name for name in found)
    if not texts or len(set(found)) < len(found):
        raise ValueError(
            "`target_names` must be a list of different names, one for each target. "
            f"Received: {names!r:.200}"
        )
    columns = columns_of(found)
    taken = sorted(_RESERVED & set(found))
    if taken or len(set(columns)) < len(columns):
        raise ValueError(
            "`target_names` must differ from the names of other columns. "
            f"Received: {taken[0] if taken else found!r}"
        )
    return [str(name) for name in found]


def name_targets(names: list[str] | None, count: int) -> list[str]:
    """Returns the name of each target: `target`, or `target 0` and so on, for `None`.

    Raises:
        ValueError: If there are not as many names as targets.

    Example:

    >>> name_targets(None, 2)
    ['target 0', 'target 1']
    """
    if names is None:
        return ["target"] if count == 1 else [f"target {i}" for i in range(count)]
    if len(names) != count:
        raise ValueError(
            f"`target_names` must have a name for each of the {count} targets. "
            f"Received: {len(names)} names"
        )
    return names


def columns_of(names: Sequence[str]) -> list[str]:
    """Returns the columns of the targets: true, predicted, and the signed error.

    >>> columns_of(["age"])
    ['age', 'predicted age', 'error']
    >>> columns_of(["x", "y"])[:3]
    ['x', 'predicted x', 'error x']
    """
    error = "error" if len(names) == 1 else "error {}"
    return [
        column
        for name in names
        for column in (name, f"predicted {name}", error.format(name))
    ]


def check_units(units: Any) -> str | list[str] | None:
    """Returns the units of targets; raises a ValueError if they are not strings."""
    is_list = isinstance(units, (list, tuple))
    if units is None or isinstance(units, str):
        return units
    if not (is_list and units and all(isinstance(unit, str) for unit in units)):
        raise ValueError(
            "`units` must be a text, or a list of texts, one for each target. "
            f"Received: {units!r:.200}"
        )
    return list(units)


def check_tolerance(tolerance: Any) -> float | list[float] | None:
    """Returns tolerances as floats.

    Raises:
        ValueError: If they are not numbers from 0.
    """
    if tolerance is None:
        return None
    is_list = isinstance(tolerance, (list, tuple))
    values = list(tolerance) if is_list else [tolerance]
    if not (values and all(is_number(v) and 0 <= v < math.inf for v in values)):
        raise ValueError(
            "`tolerance` must be a number of 0 or more, or a list of them, one for "
            f"each target. Received: {tolerance!r:.200}"
        )
    return [float(value) for value in values] if is_list else float(values[0])


def for_each(name: str, value: Any, count: int) -> list[Any]:
    """Returns an argument as a list with an entry for each target.

    Raises:
        ValueError: If it is a list of another length.
    """
    if not isinstance(value, list):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"`{name}` must have an entry for each of the {count} targets. "
            f"Received: {len(value)} entries"
        )
    return value


class Spread:
    """The standard deviation of each target, over many batches.

    Example:

    >>> spread = Spread()
    >>> spread.update(np.array([[1.0, 5.0], [2.0, 5.0]]))
    >>> spread.update(np.array([[3.0, 5.0], [4.0, 5.0]]))
    >>> spread.deviations()  # 1 for a constant target.
    array([1.11803399, 1.        ])
    """

    def __init__(self) -> None:
        self._count = 0
        self._mean: Any = 0.0
        self._squares: Any = 0.0
        self._lowest: Any = np.inf
        self._highest: Any = -np.inf

    @property
    def num_targets(self) -> int:
        """The number of targets; 0 before the first batch."""
        return int(np.size(self._mean)) if self._count else 0

    def update(self, targets: Numbers) -> None:
        """Adds the targets of a batch, of shape `(batch, targets)`."""
        if not len(targets):
            return
        with np.errstate(over="ignore", invalid="ignore"):
            count = self._count + len(targets)
            mean = targets.mean(axis=0)
            apart = mean - self._mean
            self._squares += ((targets - mean) ** 2).sum(axis=0)
            self._squares += apart**2 * self._count * len(targets) / count
            self._mean = self._mean + apart * len(targets) / count
            self._count = count
            self._lowest = np.minimum(self._lowest, targets.min(axis=0))
            self._highest = np.maximum(self._highest, targets.max(axis=0))

    def deviations(self) -> Numbers:
        """Returns the standard deviations, of shape `(targets,)`."""
        deviations = np.sqrt(self._squares / max(self._count, 1))
        usable = np.isfinite(deviations) & (deviations > 0)
        # Rounded means leave a constant target a deviation.
        usable &= np.asarray(self._highest > self._lowest)
        return np.asarray(np.where(usable, deviations, 1.0))
