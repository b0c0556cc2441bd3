"""Sums over slices: over the samples that meet one or two conditions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from wandb_eval.engine.slices.conditions import Conditions, Mask

Floats = NDArray[np.float64]
Cells = NDArray[np.int32]
Pick = tuple[tuple[int, int], ...]
"""A slice: a property and a condition on it, or two of these pairs."""


class Slices:
    """All slices by one or two properties, numbered: single conditions first.

    A sample is in one cell of each property, and in one cell of each pair of
    properties. So a value is added once for each pair, for any number of conditions,
    and no array has the size of samples times slices.

    Args:
        conditions: The conditions on each property.

    Attributes:
        count: The number of slices.
        num_singles: The number of slices by one property.
    """

    def __init__(self, conditions: Sequence[Conditions]) -> None:
        self.conditions = [one for one in conditions if one.texts]
        properties = range(len(self.conditions))
        self._groups = [
            *((place,) for place in properties),
            *itertools.combinations(properties, 2),
        ]
        sizes = [
            int(np.prod([len(self.conditions[place].texts) for place in group]))
            for group in self._groups
        ]
        self._ends = np.cumsum([0, *sizes])
        self.count = int(self._ends[-1])
        self.num_singles = sum(len(one.texts) for one in self.conditions)

    def pick(self, number: int) -> Pick:
        """Returns the properties and conditions of a slice."""
        place = int(np.searchsorted(self._ends, number, side="right")) - 1
        group = self._groups[place]
        shape = [len(self.conditions[one].texts) for one in group]
        chosen = np.unravel_index(number - self._ends[place], shape)
        return tuple(zip(group, map(int, chosen), strict=True))

    def mask(self, number: int) -> Mask:
        """Returns whether each sample is in a slice, of shape `(samples,)`."""
        masks = [self.conditions[one].mask(which) for one, which in self.pick(number)]
        both: Mask = np.logical_and.reduce(masks)
        return both

    def names(self, number: int) -> tuple[str, ...]:
        """Returns the names of the properties of a slice."""
        return tuple(self.conditions[one].name for one, _ in self.pick(number))

    def text(self, number: int) -> str:
        """Returns a slice in words."""
        return " and ".join(
            self.conditions[one].texts[which] for one, which in self.pick(number)
        )

    def sums(self, values: Floats) -> Iterator[tuple[slice, Floats]]:
        """Yields sums of many values over the samples of each slice.

        Args:
            values: Values of shape `(samples, columns)`.

        Yields:
            The numbers of the slices of one property or pair, in order, and sums of
            shape `(slices, columns)`.
        """
        return self._sums(lambda cells, count: _indicator(cells, count) @ values)

    def few_sums(self, *values: Floats, kept: Mask | None = None) -> Floats:
        """Returns sums of few values over the samples of each slice.

        Args:
            values: Arrays of shape `(samples,)`.
            kept: Whether `values` have a value for each sample, bool of shape
                `(samples,)`. `None` for all samples.

        Returns:
            Sums of shape `(values, slices)`.
        """

        def of_cells(cells: Cells, count: int) -> Floats:
            return np.stack([np.bincount(cells, v, count) for v in values], axis=1)

        parts = [part for _, part in self._sums(of_cells, kept)]
        return np.concatenate(parts).T if parts else np.zeros((len(values), 0))

    def counts(
        self, strata: NDArray[np.int64], count: int, kept: Mask
    ) -> Iterator[tuple[slice, Floats]]:
        """Counts the samples of each stratum in each slice.

        Args:
            strata: The stratum of each kept sample, 0 to `count - 1`.
            count: The number of strata.
            kept: Whether each sample is kept, bool of shape `(samples,)`.

        Yields:
            The same as `sums`, with a column for each stratum.
        """

        def of_cells(cells: Cells, of: int) -> Floats:
            joint = cells.astype(np.int64) * count + strata
            found = np.bincount(joint, minlength=of * count).astype(np.float64)
            return found.reshape(of, count)

        return self._sums(of_cells, kept)

    def _sums(
        self, of_cells: Callable[[Cells, int], Floats], kept: Mask | None = None
    ) -> Iterator[tuple[slice, Floats]]:
        columns = [
            one.cells if kept is None else one.cells[kept] for one in self.conditions
        ]
        for group, start, end in zip(
            self._groups, self._ends[:-1], self._ends[1:], strict=True
        ):
            members = [self.conditions[place].members for place in group]
            sizes = [part.shape[1] for part in members]
            cells = columns[group[0]]
            if len(group) == 2:
                cells = cells * np.int32(sizes[1]) + columns[group[1]]
            found = of_cells(cells, int(np.prod(sizes)))
            width = found.shape[1]
            if len(group) == 2:
                # (cells, cells, columns) -> (cells, conditions, columns)
                found = members[1] @ found.reshape(*sizes, width)
            found = members[0] @ found.reshape(sizes[0], -1)
            yield slice(int(start), int(end)), found.reshape(-1, width)


def _indicator(cells: Cells, count: int) -> sparse.csc_array:
    """Returns a matrix of shape `(cells, samples)`, with 1 for each sample's cell."""
    samples = len(cells)
    starts = np.arange(samples + 1, dtype=np.int32)
    return sparse.csc_array((np.ones(samples), cells, starts), shape=(count, samples))
