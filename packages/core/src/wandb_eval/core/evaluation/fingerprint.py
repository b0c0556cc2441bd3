"""Tells whether two walks saw the same samples, and whether in the same order."""

from __future__ import annotations

import zlib
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from wandb_eval.core.evaluation.trees import (
    concatenate,
    copy_sample,
    dense,
    num_values,
    select,
    size_of,
)

Comparison = Literal["same", "reordered", "other"]

_FEW_BYTES = 64
_FEW_VALUES = 2**14
_Checksums = NDArray[np.uint64]


class Fingerprint:
    """How many samples a walk saw, and checksums of their targets.

    One checksum depends on the order of the samples, one does not. They do not depend
    on how the samples were batched, nor on dtypes and axes of length 1, because Keras
    changes these on the way from the data to a step of `fit`.

    Attributes:
        count: How many samples there were.

    Example:

    >>> walks = [Fingerprint(), Fingerprint(), Fingerprint()]
    >>> for walk, labels in zip(walks, ([3, 1, 2], [3, 2, 1], [3, 3, 1])):
    ...     walk.add(np.array(labels))
    >>> [walks[0].compare(walk) for walk in walks]
    ['same', 'reordered', 'other']
    """

    def __init__(self) -> None:
        self.count = 0
        self._ordered = self._unordered = 0
        self._waiting: list[Any] = []
        self._values_waiting = 0.0
        self._taken_in = 0

    def add(self, y: Any) -> None:
        """Takes in the targets of a batch; small ones with those that follow."""
        self.count += size_of(y) or 0
        values = num_values(y)
        if values > _FEW_VALUES:
            self._take_in_waiting()
            self._take_in(y)
            return
        self._waiting.append(copy_sample(y))  # It may be changed, or refilled.
        self._values_waiting += values
        if self._values_waiting > _FEW_VALUES:
            self._take_in_waiting()

    def _take_in_waiting(self) -> None:
        waiting, self._waiting, self._values_waiting = self._waiting, [], 0.0
        if not waiting:
            return
        try:
            together = [concatenate(waiting)]
        except ValueError:
            together = waiting
        for y in together:
            self._take_in(y)

    def _take_in(self, y: Any) -> None:
        sums = _checksums(y)
        places = np.arange(self._taken_in, self._taken_in + len(sums), dtype=np.uint64)
        self._taken_in += len(sums)
        self._unordered = _add(self._unordered, sums)
        self._ordered = _add(self._ordered, _mix(sums ^ _mix(places)))

    def compare(self, other: Fingerprint) -> Comparison:
        """Whether the other walk saw the same, the same in another order, or other."""
        self._take_in_waiting()
        other._take_in_waiting()
        if (self.count, self._unordered) != (other.count, other._unordered):
            return "other"
        return "same" if self._ordered == other._ordered else "reordered"


def content_key(x: Any) -> tuple[int, ...]:
    """What tells one sample from another: checksums of its arrays."""
    return tuple(_crc(dense(leaf)) for leaf in keras.tree.flatten(x))


def same_content(x: Any, other: Any) -> bool:
    """Whether they have one `content_key`; faster, as it compares their bytes."""
    leaves, other_leaves = keras.tree.flatten(x), keras.tree.flatten(other)
    return len(leaves) == len(other_leaves) and all(
        np.array_equal(_bytes(dense(a)), _bytes(dense(b)))
        for a, b in zip(leaves, other_leaves, strict=True)
    )


def _checksums(y: Any) -> _Checksums:
    """A checksum of each sample of a batch, of shape `(batch,)`."""
    size = size_of(y) or 0
    if not _is_even(y):
        samples = (copy_sample(select(y, i)) for i in range(size))
        keys = [hash(content_key(sample)) for sample in samples]
        return np.array(keys, np.int64).view(np.uint64)
    sums = np.zeros(size, np.uint64)
    for leaf in keras.tree.flatten(y):
        sums = _mix(sums ^ _array_checksums(leaf))
    return sums


def _is_even(y: Any) -> bool:
    """Whether it is made of arrays alone, without lists or ragged tensors."""
    if isinstance(y, (dict, tuple)):
        return all(map(_is_even, y.values() if isinstance(y, dict) else y))
    return isinstance(y, np.ndarray)


def _array_checksums(array: NDArray[Any]) -> _Checksums:
    rows = array.reshape(len(array), -1)
    if array.dtype.kind in "biuf" and rows.nbytes <= _FEW_BYTES * len(rows):
        # Numbers of up to 32 bits are the same in float64, whatever dtype they have.
        words = rows.astype(np.float32).astype(np.float64).view(np.uint64)
        sums = np.zeros(len(rows), np.uint64)
        for column in words.T:
            sums = _mix(sums ^ column)
        return sums
    return np.array([_crc(row) for row in rows], np.uint64)


def _crc(array: NDArray[Any]) -> int:
    return zlib.crc32(_bytes(array).data)


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """What is in it, whatever shape and dtype it is in."""
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    elif array.dtype.kind == "O":  # Strings.
        return np.frombuffer(repr(array.tolist()).encode(), np.uint8)
    elif array.dtype.kind in "biu" and array.dtype.itemsize != 1:
        array = array.astype(np.int32, copy=False)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _mix(words: _Checksums) -> _Checksums:
    """Scatters 64 bits, as splitmix64 does (Steele et al. 2014)."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _add(total: int, words: _Checksums) -> int:
    return (total + int(words.sum(dtype=np.uint64))) % 2**64
