"""Compares the samples of two passes, and their order."""

from __future__ import annotations

import functools
import hashlib
import math
import zlib
from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from wandb_eval.engine.nested import (
    copy_sample,
    dense,
    leaves_of,
    on_host,
    select,
    shapes_of_samples,
    size_of,
    to_numpy,
)

Comparison = Literal["same", "reordered", "other"]

Checksums = NDArray[np.uint64]
"""A checksum of each sample, of shape `(samples,)`."""

_FEW_VALUES = 16
_PLACES = 48
_MORE_PLACES = 1024
_FEW_CHANGES = 8


class Fingerprint:
    """The identity of the samples of a pass: checksums of their inputs and targets.

    The checksum of the inputs of a sample uses the shape, and the values at some fixed
    places: it detects another image, but not each change of a pixel. The checksum of
    the targets uses all values. Checksums do not depend on the batch size, the backend,
    the process or the machine, nor on dtypes and axes of length 1, because Keras
    changes these on the way from the data to a step of `fit`.

    Attributes:
        count: The number of samples.

    Example:

    >>> walks = [Fingerprint(), Fingerprint(), Fingerprint()]
    >>> for walk, labels in zip(walks, ([3, 1, 2], [3, 2, 1], [3, 3, 1])):
    ...     _ = walk.add([np.zeros((3, 8, 8))], np.array(labels))
    >>> [walks[0].compare(walk) for walk in walks]
    ['same', 'reordered', 'other']
    """

    def __init__(self) -> None:
        self.count = 0
        self._inputs: list[Checksums] = []
        self._samples: list[Checksums] = []

    def add(self, inputs: Sequence[Any], y: Any) -> Checksums:
        """Adds batches.

        Args:
            inputs: The inputs of each batch. All samples have one shape.
            y: The concatenated targets of the batches.

        Returns:
            A checksum of the inputs and the target of each sample.
        """
        of_targets = _checksums(y)
        of_inputs = _input_checksums(inputs, len(of_targets))
        of_samples = _mix(of_inputs ^ _mix(of_targets))
        self._inputs.append(of_inputs)
        self._samples.append(of_samples)
        self.count += len(of_inputs)
        return of_samples

    def merge(self, other: Fingerprint) -> None:
        """Adds the samples of the next part of the data."""
        self.count += other.count
        self._inputs += other._inputs
        self._samples += other._samples

    @property
    def inputs(self) -> Checksums:
        """A checksum of the inputs of each sample, of shape `(count,)`."""
        return _joined(self._inputs)

    @property
    def samples(self) -> Checksums:
        """A checksum of inputs and target of each sample, of shape `(count,)`."""
        return _joined(self._samples)

    def compare(self, other: Fingerprint) -> Comparison:
        """Compares two passes: `"same"`, `"reordered"` or `"other"` samples."""
        if self.count != other.count:
            return "other"
        if np.array_equal(self.samples, other.samples):
            return "same"
        is_alike = np.array_equal(np.sort(self.samples), np.sort(other.samples))
        return "reordered" if is_alike else "other"

    def places_in(self, other: Fingerprint) -> NDArray[np.int64]:
        """Returns the place of each sample in another pass; -1 if it is not there.

        The nth one of equal samples has the place of the nth one there.

        Args:
            other: The other pass.

        Example:

        >>> walks = [Fingerprint(), Fingerprint()]
        >>> for walk, labels in zip(walks, ([3, 1, 1], [1, 4, 3])):
        ...     _ = walk.add([np.zeros((3, 8, 8))], np.array(labels))
        >>> walks[0].places_in(walks[1]).tolist()
        [2, 0, -1]
        """
        own, there = self.samples, other.samples
        if np.array_equal(own, there):
            return np.arange(self.count)
        order, order_there = (np.argsort(s, kind="stable") for s in (own, there))
        own, there = own[order], there[order_there]
        rank = np.arange(len(own)) - np.searchsorted(own, own)
        at = np.searchsorted(there, own) + rank
        known = at < np.searchsorted(there, own, side="right")
        places = np.full(len(own), -1)
        places[order[known]] = order_there[at[known]]
        return places

    def hexdigest(self) -> str:
        """Returns 48 hexadecimal digits, which are the same in every process.

        The first 16 are the count. The next 16 do not depend on the order of the
        samples; the last 16 do.

        >>> walk = Fingerprint()
        >>> _ = walk.add([np.eye(2)], np.array([0, 1]))
        >>> len(walk.hexdigest()), walk.hexdigest()[:16]
        (48, '0000000000000002')
        """
        places = _mix(np.arange(self.count, dtype=np.uint64))
        unordered = int(self.samples.sum(dtype=np.uint64))
        ordered = int(_mix(self.samples ^ places).sum(dtype=np.uint64))
        return f"{self.count:016x}{unordered:016x}{ordered:016x}"


def _joined(parts: list[Checksums]) -> Checksums:
    """Joins the parts in place, and returns the joined array."""
    if len(parts) != 1:
        parts[:] = [np.concatenate(parts) if parts else np.zeros(0, np.uint64)]
    return parts[0]


def content_key(x: Any) -> tuple[int, ...]:
    """Returns the identity of a sample: checksums of its arrays."""
    return tuple(_crc(dense(leaf)) for leaf in leaves_of(x))


def exact_key(x: Any) -> bytes:
    """Returns a digest of the shapes and values of the arrays of a sample."""
    digest = hashlib.blake2b(digest_size=16)
    for leaf in leaves_of(x):
        array = dense(leaf)
        digest.update(repr(np.shape(array)).encode())
        digest.update(_bytes(array).data)
    return digest.digest()


def same_content(x: Any, other: Any) -> bool:
    """Whether samples have equal `content_key`s; compares bytes, which is faster."""
    leaves, other_leaves = leaves_of(x), leaves_of(other)
    return len(leaves) == len(other_leaves) and all(
        np.array_equal(_bytes(dense(a)), _bytes(dense(b)))
        for a, b in zip(leaves, other_leaves, strict=True)
    )


def _input_checksums(batches: Sequence[Any], size: int) -> Checksums:
    """Returns a checksum of the inputs of each sample, of shape `(size,)`."""
    sums = np.zeros(size, np.uint64)
    shapes = shapes_of_samples(batches[0])
    leaves = zip(*map(leaves_of, batches), strict=True)
    for shape, parts in zip(shapes, leaves, strict=True):
        sums = _mix(sums ^ _sparse_checksums([*map(on_host, parts)], math.prod(shape)))
        lengths = np.array([n for n in shape if n != 1], np.uint64)
        sums = _mix(sums ^ _row_checksums(lengths[None]))
    return sums


def _sparse_checksums(parts: list[Any], length: int) -> Checksums:
    """Returns a checksum of each sample of arrays, from values at fixed places.

    If a sample has the same value at nearly all places, like an image on a black
    background, more places are used.
    """
    if isinstance(parts[0], np.ndarray) and parts[0].dtype.kind not in "biufcV":
        crcs = [_crc(dense(sample)) for part in parts for sample in part]
        return np.array(crcs, np.uint64)
    places, more = _places(length, _PLACES), _places(length, _MORE_PLACES)
    values = np.concatenate([_values_at(part, places) for part in parts])
    words = _words(np.asarray(to_numpy(values)))
    sums = _row_checksums(words)
    if len(more) > len(places):
        changes = np.count_nonzero(words[:, 1:] != words[:, :-1], axis=1)
        starts = np.cumsum([0, *(part.shape[0] for part in parts)])
        for i in np.flatnonzero(changes < _FEW_CHANGES).tolist():
            which = int(np.searchsorted(starts, i, side="right")) - 1
            at = i - int(starts[which])
            values = to_numpy(_values_at(parts[which][at : at + 1], more))
            sums[i] = _row_checksums(_words(values))[0]
    return sums


@functools.lru_cache(maxsize=64)
def _places(length: int, most: int) -> NDArray[np.intp]:
    """Returns places in a sample, one at an irregular offset in each part."""
    if length <= most:
        return np.arange(length)
    at = np.arange(most)
    return np.asarray((at + at * 0.6180339887498949 % 1) * length // most, np.intp)


def _values_at(leaf: Any, places: NDArray[np.intp]) -> NDArray[Any]:
    """Returns the values of each sample at places, of shape `(batch, places)`."""
    size = leaf.shape[0]
    if not isinstance(leaf, np.ndarray):  # On a device: only these values are fetched.
        rows = keras.ops.reshape(leaf, (size, -1))
        return np.asarray(to_numpy(keras.ops.take(rows, places, axis=1)))
    if leaf.flags.c_contiguous or leaf.ndim == 1:
        rows = leaf.reshape(size, math.prod(leaf.shape[1:]))
        return rows if len(places) == rows.shape[1] else rows.take(places, axis=1)
    at: list[Any] = [slice(None), *np.unravel_index(places, leaf.shape[1:])]
    return np.asarray(leaf[tuple(at)])  # Without a copy of all.


def _row_checksums(words: Checksums) -> Checksums:
    """Returns a checksum of each row."""
    words = words * np.uint64(0x9E3779B97F4A7C15)
    words ^= words >> np.uint64(32)
    return _mix(words @ _weights(words.shape[1]))


@functools.lru_cache(maxsize=64)
def _weights(count: int) -> Checksums:
    return _mix(np.arange(count, dtype=np.uint64)) | np.uint64(1)


def _checksums(y: Any) -> Checksums:
    """Returns a checksum of each sample of targets, of shape `(batch,)`."""
    size = size_of(y) or 0
    if not _is_even(y):
        samples = (copy_sample(select(y, i)) for i in range(size))
        keys = [repr(content_key(sample)).encode() for sample in samples]
        digests = [hashlib.blake2b(key, digest_size=8).digest() for key in keys]
        return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
    sums = np.zeros(size, np.uint64)
    for leaf in leaves_of(y):
        sums = _mix(sums ^ _array_checksums(leaf))
    return sums


def _is_even(y: Any) -> bool:
    """Whether targets have only arrays, without lists or ragged tensors."""
    if isinstance(y, (dict, tuple)):
        return all(map(_is_even, y.values() if isinstance(y, dict) else y))
    return isinstance(y, np.ndarray)


def _array_checksums(array: NDArray[Any]) -> Checksums:
    rows = array.reshape(len(array), math.prod(array.shape[1:]))
    if array.dtype.kind in "biufc" and rows.shape[1] <= _FEW_VALUES:
        return _row_checksums(_words(rows))
    return np.array([_crc(row) for row in rows], np.uint64)


def _words(values: NDArray[Any]) -> Checksums:
    """Converts numbers to 64-bit words, equal for equal numbers of any dtype."""
    return _narrowed(values).astype(np.float64).view(np.uint64)


def _narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """Converts numbers to at most 32 bits, as Keras may do before a step."""
    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag], axis=-1).reshape(len(array), -1)
    if array.dtype.kind in "biu":
        return array.astype(np.int32, copy=False)
    if keras.config.floatx() == "float16":
        array = array.astype(np.float16, copy=False)
    elif keras.config.floatx() == "bfloat16":
        import ml_dtypes

        array = array.astype(ml_dtypes.bfloat16)
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def _crc(array: NDArray[Any]) -> int:
    return zlib.crc32(_bytes(array).data)


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Returns the bytes of the values, for any shape and dtype."""
    if array.dtype.kind in "OUS":  # Strings.
        return np.frombuffer(repr(_text(array.tolist())).encode(), np.uint8)
    if array.dtype.kind in "biufc" and array.dtype not in (np.uint8, np.bool_):
        array = _narrowed(np.atleast_1d(array))
        is_whole = array.dtype.kind == "i" and array.size
        if is_whole and array.min() >= 0 and array.max() <= 255:
            array = array.astype(np.uint8)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _text(value: Any) -> Any:
    """Converts strings to bytes, as TensorFlow does."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return [_text(part) for part in value]
    return value.encode() if isinstance(value, str) else value


def _mix(words: Checksums) -> Checksums:
    """Mixes 64 bits, as splitmix64 does (Steele et al. 2014)."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
