"""Conditions on a property of samples: the tails of a number, and categories.

Samples that meet the same conditions on a property are in one *cell*. There are few
cells, so sums over slices are computed from sums over cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

TAILS = (0.05, 0.1, 0.2, 0.25, 0.3, 0.5)
"""Shares of the samples, at both ends of a number.

Close limits cost hardly any power, because their slices are nearly the same. But if two
tails of 30 % are weak together, those of 25 or 50 % miss them too often.
"""

MOST_WHOLE_NUMBERS = 10
"""A property with at most so many values, all whole numbers, has categories, too."""

_TAIL_TOLERANCE = 0.05
"""The relative deviation of a tail from its share, for a limit with few digits."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Conditions:
    """The conditions on one property.

    Attributes:
        name: The name of the property.
        texts: Each condition in words, such as `"brightness below 0.21"`.
        cells: The cell of each sample, int32 of shape `(samples,)`.
        members: Whether cells meet conditions: zeros and ones in float64, of shape
            `(conditions, cells)`.
    """

    name: str
    texts: tuple[str, ...]
    cells: NDArray[np.int32]
    members: NDArray[np.float64]

    def mask(self, condition: int) -> Mask:
        """Returns whether each sample meets a condition, of shape `(samples,)`."""
        met: Mask = self.members[condition].astype(bool)[self.cells]
        return met


def conditions_of(name: str, values: ArrayLike, least: float) -> Conditions:
    """Returns the conditions on a property that enough samples meet.

    A number has tails of 5, 10, 20, 25, 30 and 50 % at both ends, each with the limit
    of the fewest digits that splits off about as many samples. Strings, bools, and
    whole numbers with at most 10 values have a condition for each value. Missing values
    (`None`, NaN, infinity) meet a separate condition, and no other.

    Args:
        name: The name of the property.
        values: The value of each sample, of shape `(samples,)` or `(samples, 1)`:
            numbers, strings or bools.
        least: The smallest number of samples that meet a condition.

    Raises:
        ValueError: If the values are of another kind or shape.

    Example:

    >>> conditions_of("hour", [22, 23, 22, None, 23, 23], least=1).texts
    ('hour is 22', 'hour is 23', 'hour is missing')
    """
    column = column_of(name, values)
    found: dict[bytes, tuple[Mask, str]] = {}
    for mask, text in _masks(column, least):
        if least <= int(mask.sum()) < len(mask):
            found.setdefault(mask.tobytes(), (mask, f"{name} {text}"))
    masks = [mask for mask, _ in found.values()]
    texts = tuple(text for _, text in found.values())
    if not masks:
        return Conditions(name, (), np.zeros(len(column), np.int32), np.zeros((0, 1)))
    # At most 64: a category needs 2 % of the samples, and a number has 12 tails.
    bits = np.zeros(len(column), np.uint64)
    for place, mask in enumerate(masks):
        bits |= mask.astype(np.uint64) << np.uint64(place)
    kinds, cells = np.unique(bits, return_inverse=True)
    places = np.arange(len(masks), dtype=np.uint64)
    members = ((kinds >> places[:, None]) & np.uint64(1)).astype(np.float64)
    return Conditions(name, texts, cells.reshape(-1).astype(np.int32), members)


def codes_of(name: str, values: ArrayLike) -> NDArray[np.int64]:
    """Numbers the different values from 0 on. Missing values have one number.

    Args:
        name: The name of the values in errors.
        values: The values, as in `conditions_of`.

    Returns:
        int64 of shape `(samples,)`.
    """
    column = column_of(name, values)
    if column.dtype.kind == "f":
        return np.unique(column, return_inverse=True)[1].reshape(-1)
    codes: dict[Any, int] = {}
    return np.array([codes.setdefault(value, len(codes)) for value in column], np.int64)


def column_of(name: str, values: ArrayLike) -> NDArray[Any]:
    """Converts values to float64 with NaN, or to objects: strings, bools, `None`.

    Args:
        name: The name of the values in errors.
        values: The values, as in `conditions_of`.

    Raises:
        ValueError: If the values are of another kind or shape.
    """
    array = np.asarray(values)
    if array.dtype.kind in "US" and not hasattr(values, "dtype"):
        array = np.asarray(values, object)  # Otherwise NaN would become 'nan'.
    if array.ndim > 1 and array.size == len(array):
        array = array.reshape(-1)
    if array.ndim != 1:
        raise ValueError(
            f"{name!r} must have one value for each sample. Received: shape "
            f"{array.shape}"
        )
    if array.dtype.kind in "iuf":
        numbers = array.astype(np.float64)
    elif array.dtype.kind in "bUSO":
        column = np.array([_plain(name, value) for value in array], object)
        kinds = {type(value) for value in column} - {type(None)}
        if not kinds <= {int, float} or not kinds:
            return column
        numbers = column.astype(np.float64)
    else:
        raise ValueError(
            f"{name!r} must be numbers, strings or bools. Received: {array.dtype}"
        )
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def _plain(name: str, value: Any) -> str | bool | float | None:
    """Converts one value to a Python value; `None` if it is missing."""
    if isinstance(value, np.generic | np.ndarray) and np.ndim(value) == 0:
        value = value.item()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | float):
        return value if math.isfinite(value) else None
    if type(value).__name__ in ("NAType", "NaTType"):  # Of pandas.
        return None
    raise ValueError(f"{name!r} must be numbers, strings or bools. Received: {value!r}")


def _masks(column: NDArray[Any], least: float) -> Iterator[tuple[Mask, str]]:
    """Yields all conditions with their texts; simple ones first.

    Strings that fewer than `least` samples have are left out: each may have its own.
    """
    if column.dtype.kind == "f":
        held = np.isfinite(column)
        values, counts = np.unique(column[held], return_counts=True)
        if len(values) <= MOST_WHOLE_NUMBERS and (values == np.rint(values)).all():
            for value in values:
                yield column == value, f"is {_number(value)}"
        for share in TAILS:
            for limit in _limits(values, counts, share):
                yield column < limit, f"below {_number(limit)}"
            for limit in _limits(-values[::-1], counts[::-1], share):
                yield column > -limit, f"above {_number(-limit)}"
    else:
        held = np.array([value is not None for value in column], bool)
        # 1, True and '1' are different values, as for a user.
        codes: dict[str, int] = {}
        numbers = np.array(
            [codes.setdefault(repr(value), len(codes)) for value in column], np.int64
        )
        counts = np.bincount(numbers[held], minlength=len(codes))
        for text, number in sorted(codes.items()):
            if counts[number] >= least:
                yield numbers == number, f"is {text}"
    yield ~held, "is missing"


def _limits(
    values: NDArray[np.float64], counts: NDArray[np.int64], share: float
) -> Iterator[float]:
    """Yields the limit below which about a share of the samples lie, if values differ.

    Args:
        values: The different values, in order.
        counts: The number of samples with each value.
        share: The share.
    """
    below = np.concatenate([[0], np.cumsum(counts)])
    if len(values) < 2:
        return
    wanted = share * below[-1]
    # `below[i]` samples are below the limit `values[i]`.
    place = 1 + int(np.argmin(np.abs(below[1:-1] - wanted)))
    near = np.abs(below[1:-1] - wanted) <= _TAIL_TOLERANCE * wanted
    places = 1 + np.flatnonzero(near) if near.any() else np.array([place])
    yield _simplest(values[places[0] - 1], values[places[-1]], values[place])


def _simplest(low: float, high: float, best: float) -> float:
    """Returns the number with the fewest digits above `low` and up to `high`.

    Example:

    >>> _simplest(0.2071, 0.2234, 0.2146), _simplest(1150, 1210, 1160)
    (0.21, 1200.0)
    """
    largest = max(abs(low), abs(high))
    first = -math.floor(math.log10(largest)) if largest > 0 else 0
    for digits in range(first, first + 17):
        step = 10.0**-digits
        for number in (best, best - step, best + step, high):
            rounded = round(float(number), digits)
            if low < rounded <= high:
                return rounded
    return float(high)


def _number(value: float) -> str:
    text = repr(float(value) + 0.0)  # Not -0.
    return text.removesuffix(".0")
