"""The properties of samples that a user gives as `slice_by`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.engine.evaluation.data import Watch
from wandb_eval.engine.nested import to_numpy
from wandb_eval.engine.slices.conditions import column_of

GivenProperties = Mapping[str, Any] | Callable[[Any], Mapping[str, Any]] | None
"""A value for each sample, by name; or a function of a batch that returns that."""

Columns = dict[str, NDArray[Any]]


class SliceBy:
    """Reads `slice_by`: values for all samples, or a function of a batch.

    Args:
        given: The argument of the user.

    Raises:
        ValueError: If it is of another kind, or has values of another kind.

    Example:

    >>> given = SliceBy(lambda batch: {"is_odd": batch[1] % 2 == 1})
    >>> given.watch()((np.zeros((3, 8)), np.array([4, 1, 3])), 3)
    >>> given.columns(3)
    {'is_odd': array([False, True, True], dtype=object)}
    """

    def __init__(self, given: GivenProperties) -> None:
        self._function: Callable[[Any], Mapping[str, Any]] | None = None
        self._parts: list[Columns] = []
        if given is None:
            return
        if isinstance(given, Mapping):
            self._parts = [_columns(given)]
        elif callable(given):
            self._function = given
        else:
            raise ValueError(
                "`slice_by` must be a mapping of names to a value for each sample, or "
                "a function of a batch that returns such a mapping. Received: "
                f"{given!r:.200}"
            )

    @property
    def is_ordered(self) -> bool:
        """Whether the values are in the order of the data, which must not change."""
        return self._function is None and bool(self._parts)

    @property
    def is_unread(self) -> bool:
        """Whether there is a function that has seen no batch."""
        return self._function is not None and not self._parts

    def watch(self) -> Watch | None:
        """Returns a function that reads each batch; `None` if none is needed."""
        if self._function is None:
            return None
        self._parts = []
        return self._read

    def columns(self, count: int) -> Columns:
        """Returns the values of all samples.

        Args:
            count: The number of samples.

        Raises:
            ValueError: If there is another number of values.
        """
        if not self._parts:
            return {}
        first = self._parts[0]
        if len(self._parts) == 1:
            joined = first
        else:
            joined = {
                name: _joined(name, [part[name] for part in self._parts])
                for name in first
            }
        _check_lengths(joined, count, "the samples of `validation_data`")
        return joined

    def _read(self, raw: Any, size: int) -> None:
        assert self._function is not None
        returned = self._function(raw)
        if not isinstance(returned, Mapping):
            raise ValueError(
                "The function `slice_by` must return a mapping of names to a value for "
                f"each sample of the batch. Received: {returned!r:.200}"
            )
        columns = _columns(returned)
        _check_lengths(columns, size, "the samples of the batch")
        if self._parts and columns.keys() != self._parts[0].keys():
            raise ValueError(
                "The function `slice_by` must return the same names for all batches. "
                f"Received: {list(self._parts[0])}, then {list(columns)}"
            )
        self._parts.append(columns)


def _columns(given: Mapping[str, Any]) -> Columns:
    columns = {}
    for name, values in given.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"Names in `slice_by` must be text. Received: {name!r}")
        try:
            columns[name] = column_of(name, _values(values))
        except (TypeError, ValueError) as error:
            raise ValueError(f"In `slice_by`, {error}") from error
    return columns


def _values(values: Any) -> Any:
    """Converts series and tensors to arrays, and keeps lists, which may mix kinds."""
    if isinstance(values, (list, tuple)):
        return list(values)
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__len__"):
        raise ValueError(
            f"each entry must have one value for each sample. Received: {values!r:.200}"
        )
    if hasattr(values, "to_numpy"):  # Of pandas and Polars.
        return values.to_numpy()
    return np.asarray(to_numpy(values))


def _joined(name: str, parts: list[NDArray[Any]]) -> NDArray[Any]:
    """Joins the values of batches; a batch may have only missing ones."""
    if all(part.dtype.kind == "f" for part in parts):
        return np.concatenate(parts)
    values = [value for part in parts for value in part.tolist()]
    return column_of(name, np.array([*values, None], object)[:-1])


def _check_lengths(columns: Columns, count: int, what: str) -> None:
    wrong = {name: len(values) for name, values in columns.items()}
    wrong = {name: length for name, length in wrong.items() if length != count}
    if wrong:
        received = ", ".join(f"{length} of {name!r}" for name, length in wrong.items())
        raise ValueError(
            f"`slice_by` must have as many values as {what}: {count}. Received: "
            f"{received}"
        )
