"""Validation data that counts how often it is read."""

from typing import Any

import keras


class CountedBatches(keras.utils.PyDataset):
    """Batches of arrays.

    Args:
        x: The inputs.
        y: The targets.
        batch_size: The number of samples of a batch. Samples that are left are not in
            the data.

    Attributes:
        reads: The number of batches that were read.
    """

    def __init__(self, x: Any, y: Any, batch_size: int) -> None:
        super().__init__()
        self.reads = 0
        self._x, self._y, self._batch_size = x, y, batch_size

    @property
    def num_batches(self) -> int:
        """The number of batches."""
        return len(self._x) // self._batch_size

    def __getitem__(self, place: int) -> tuple[Any, Any]:
        """Counts a batch, and returns it."""
        self.reads += 1
        part = slice(place * self._batch_size, (place + 1) * self._batch_size)
        return self._x[part], self._y[part]
