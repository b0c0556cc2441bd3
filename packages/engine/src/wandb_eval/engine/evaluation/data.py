"""Validation data in batches, and the samples that are drawn from it."""

from __future__ import annotations

import contextlib
import copy
import itertools
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from wandb_eval.core.arguments import check_positive
from wandb_eval.engine.evaluation.fingerprint import Fingerprint
from wandb_eval.engine.evaluation.samples import DrawnSamples, Samples
from wandb_eval.engine.nested import (
    alike,
    copy_sample,
    describe,
    is_tensor,
    is_uneven,
    lists_to_arrays,
    map_leaves,
    num_values,
    select,
    shapes_of_samples,
    size_of,
    stack,
    to_numpy,
)
from wandb_eval.engine.progress import Progress
from wandb_eval.engine.threads import release_in_background

NOT_BATCHED = (
    "If this is one sample, batch the data first, as with `dataset.batch(32)`."
)

# Most data sets have fewer batches, and reading so many takes seconds.
_MAX_BATCHES_WITHOUT_LENGTH = 10_000

# The number of batches of arrays that are checked at once, and the most numbers.
_TOGETHER = 16
_FEW_VALUES = 2**24

_ALL = slice(None)

_ACCEPTED = (
    "`validation_data` must be a tuple (x, y) or (x, y, sample_weight) of arrays or "
    "tensors, a batched tf.data.Dataset, a keras.utils.PyDataset, a torch DataLoader, "
    "or anything else that yields batches (x, y) each time it is iterated."
)
_ONCE = (
    "can be iterated only once. Pass a list of its batches, or an object whose "
    "`__iter__` begins anew."
)

Watch = Callable[[Any, int], None]
"""Receives a batch as the data yields it, and its number of samples."""


@dataclass(frozen=True)
class Batch:
    """One batch of validation data.

    Attributes:
        x: The inputs, as the model takes them: an array or a tensor, or a tuple or a
            dict of them.
        y: The targets, as NumPy arrays; ragged tensors, and lists with an entry for
            each sample, are left as they are.
        size: The number of samples.
    """

    x: Any
    y: Any
    size: int

    def select(self, start: int, stop: int) -> Batch:
        """Returns the samples from `start` to `stop`."""
        if (start, stop) == (0, self.size):
            return self
        cut = slice(start, stop)
        return Batch(select(self.x, cut), select(self.y, cut), stop - start)


@dataclass(frozen=True)
class DataScan:
    """The results of the scan before training.

    Attributes:
        samples: The samples that were drawn.
        fingerprint: The identity of the data, and of its order.
        shapes: For each shape of the inputs, an input, and the largest number of
            samples of that shape in a batch.
        sizes: The number of samples of each batch, as the data yields them; empty for
            arrays.
    """

    samples: Samples
    fingerprint: Fingerprint
    shapes: list[tuple[Any, int]]
    sizes: list[int]

    def identity(self) -> tuple[str | int, ...]:
        """Returns values that are equal for equal data, batches and samples."""
        return (self.fingerprint.hexdigest(), *self.samples.index, *self.sizes)


@dataclass(frozen=True)
class Part:
    """One of several parts of validation data, which have about the same size.

    Attributes:
        start: The place of its first sample in the data.
        stop: The place after its last sample.
        batches: The places of its batches, as the data yields them; for arrays, those
            of its samples.
    """

    start: int
    stop: int
    batches: slice


class ValidationData:
    """The `validation_data` of `fit`, as batches that can be iterated again.

    A list in place of x or y means several inputs or outputs, as in Keras. If the
    lengths differ from that, or if the list is in a dict, the list has an entry for
    each sample.

    x may have images of several sizes, in a list or a ragged tensor. Such a batch is
    cut where the size changes, because a model takes one size at a time.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)` of arrays or tensors (x may be an
            array, a tuple or a dict), a batched `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a torch `DataLoader`, a batched data set of Grain,
            or any iterable of batches that can be iterated again. Sample weights are
            not used, as Keras does not use them for `metrics`.
        batch_size: The size of the batches that arrays are cut into.
        unpack: A function that returns `(x, y)` of a batch.
        target: A function that selects the target from the y of a batch.

    Attributes:
        source: The data as it was passed.
        num_batches: The number of batches, or `None` if it is not known.
        prepare: A function that preprocesses a batch `(x, y)` before it is unpacked, as
            a model with a preprocessor does. `None` for no preprocessing.
        is_refilled: Whether a batch may reuse the arrays of the previous one, with new
            content. The batches of arrays and of `tf.data` do not.

    Raises:
        TypeError: If `data` is none of these, or can be iterated only once.
        ValueError: If `data` is endless, or if the lengths of x and y differ.

    Example:

    >>> import numpy as np
    >>> data = ValidationData((np.zeros((5, 8, 8)), np.arange(5)), batch_size=2)
    >>> [batch.y.tolist() for batch in data]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        data: Any,
        batch_size: int = 32,
        unpack: Callable[[Any], tuple[Any, Any]] | None = None,
        target: Callable[[Any], Any] = lambda y: y,
    ) -> None:
        batch_size = check_positive("batch_size", batch_size)
        self._data = self.source = data
        self._unpack = unpack or unpack_x_y
        self._target = target
        self._arrays: Batch | None = None
        self.batch_size = batch_size
        self._is_walked = True
        self.prepare: Callable[[Any], Any] | None = None
        self.num_batches: int | None = None
        self.is_refilled = not hasattr(data, "element_spec")
        if isinstance(data, tuple) or _is_list_of_arrays(data):
            self.is_refilled = False
            self._arrays = _batch(*self._unpack(tuple(data)))
            self.num_batches = -(-self._arrays.size // batch_size)
            self._is_walked = False
        elif isinstance(data, keras.utils.PyDataset):
            self.num_batches = _length(data, _py_dataset_length(data))
            self._is_walked = False
        elif hasattr(data, "element_spec") and hasattr(data, "cardinality"):
            cardinality = int(data.cardinality())
            self.num_batches = _length(data, None if cardinality == -1 else cardinality)
            self._is_walked = self.num_batches is None
        elif hasattr(data, "shape"):
            raise TypeError(f"{_ACCEPTED} Received: {describe(data)} alone")
        elif isinstance(data, (str, bytes, Mapping)) or not isinstance(data, Iterable):
            raise TypeError(f"{_ACCEPTED} Received: an object of {type(data)}")
        elif isinstance(data, Iterator):
            raise TypeError(f"{_ACCEPTED} Received: {type(data)}, which {_ONCE}")
        else:
            # A DataLoader on an iterable data set has the method, but no length.
            with contextlib.suppress(TypeError, NotImplementedError):
                self.num_batches = len(data) if isinstance(data, Sized) else None
            if self.num_batches == sys.maxsize:  # Of Grain's `repeat()`.
                _length(data, None)

    def __deepcopy__(self, memo: dict[int, Any]) -> ValidationData:
        """Copies all but the data itself, which nobody changes."""
        made = copy.copy(self)
        made._unpack = copy.deepcopy(self._unpack, memo)
        made._target = copy.deepcopy(self._target, memo)
        return made

    def __copy__(self) -> ValidationData:
        """Copies the object, without the preprocessing of the model."""
        made = object.__new__(type(self))
        vars(made).update(vars(self))
        made.prepare = None
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state to pickle.

        Raises:
            TypeError: If the data is a `tf.data.Dataset`.
        """
        if hasattr(self._data, "element_spec"):
            raise TypeError(
                "A callback whose `validation_data` is a tf.data.Dataset can't be "
                "pickled. Make the callback where it is used, or pass arrays or a "
                "keras.utils.PyDataset. (`copy.deepcopy` works: it shares the data.)"
            )
        return vars(self) | {"prepare": None}

    def __iter__(self) -> Iterator[Batch]:
        """Yields the batches. Raises a ValueError for a batch that can't be used."""
        return self._batches()

    def part(self, index: int, count: int, scan: DataScan) -> Part:
        """Returns one of the parts that the data is cut into.

        Parts follow each other, so that their results are joined in the order of the
        data. Arrays are cut between samples; other data is cut between its batches.

        Args:
            index: The number of the part, from 0.
            count: The number of parts.
            scan: The scan of the data.
        """
        total = scan.fingerprint.count
        start, stop = (total * i // count for i in (index, index + 1))
        if self._arrays is not None:
            return Part(start, stop, slice(start, stop))
        ends = np.cumsum([0, *scan.sizes])
        first, last = (int(np.abs(ends - place).argmin()) for place in (start, stop))
        return Part(int(ends[first]), int(ends[last]), slice(first, last))

    def batches_of(self, part: Part) -> Iterator[Batch]:
        """Yields the batches of a part; of a `PyDataset`, it reads only these."""
        if self._arrays is not None and self.prepare is None:
            for batch in self._parts(self._arrays, within=part.batches):
                yield from self._even(batch)
            return
        for raw in self._raw_batches(part.batches):
            yield from self.read(raw if self.prepare is None else self.prepare(raw))

    def _batches(
        self, together: int = 1, watch: Watch | None = None
    ) -> Iterator[Batch]:
        """Yields the batches; those of arrays joined, `together` at once if small."""
        if self._arrays is not None and self.prepare is None and watch is None:
            first = next(self._parts(self._arrays), None)
            if (
                first is None
                or is_uneven(first.x)
                or together * num_values((first.x, first.y)) > _FEW_VALUES
            ):
                together = 1
            for part in self._parts(self._arrays, together):
                yield from self._even(part)
            return
        for raw in self._raw_batches():
            size = 0
            for batch in self.read(raw if self.prepare is None else self.prepare(raw)):
                size += batch.size
                yield batch
            if watch is not None:
                watch(raw, size)

    def read(self, raw: Any) -> Iterator[Batch]:
        """Yields a batch of `fit`, cut into several if the shapes of its inputs differ.

        Args:
            raw: A batch from the data, or from a step of `fit`.
        """
        yield from self._even(_batch(*self._unpack(raw)))

    def _even(self, whole: Batch) -> Iterator[Batch]:
        y = self._target(whole.y)
        batch = whole if y is whole.y else Batch(whole.x, y, whole.size)
        if is_uneven(batch.x):
            yield from _even_batches(batch)
        elif batch.size:
            yield batch

    def _parts(
        self, arrays: Batch, together: int = 1, within: slice = _ALL
    ) -> Iterator[Batch]:
        step = together * self.batch_size
        first, last, _ = within.indices(arrays.size)
        for start in range(first, last, step):
            yield arrays.select(start, min(start + step, last))

    def _raw_batches(self, within: slice = _ALL) -> Generator[Any, None, None]:
        if self._arrays is not None:
            arrays = _batch(*unpack_x_y(tuple(self._data)))
            for part in self._parts(arrays, within=within):
                yield part.x, part.y
        elif isinstance(self._data, keras.utils.PyDataset):
            numbers = range(self.num_batches or 0)[within]
            yield from map(self._data.__getitem__, numbers)
        elif within != _ALL:
            with contextlib.closing(self._raw_batches()) as batches:
                yield from itertools.islice(batches, within.start, within.stop)
        elif hasattr(self._data, "element_spec"):
            references = [iter(self._data)]
            try:
                yield from self._limited(references[0])
                with contextlib.suppress(Exception):  # It may declare too few batches.
                    next(references[0], None)  # `cache` is complete at the end.
            finally:
                release_in_background(references)
        else:
            yield from self._limited(self._data)

    def _limited(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yields the known number of batches, or checks that there are not too many."""
        if self.num_batches is not None:
            yield from itertools.islice(batches, self.num_batches)
        else:
            for count, batch in enumerate(batches):
                if count == _MAX_BATCHES_WITHOUT_LENGTH:
                    raise ValueError(
                        "`validation_data` has no length and did not end within "
                        f"{count} batches. If it does end, give it a length: a "
                        "`__len__`, or for a tf.data.Dataset `dataset.apply(tf.data."
                        "experimental.assert_cardinality(number_of_batches))`. If it "
                        "does not, `dataset.take(number_of_batches)`."
                    )
                yield batch

    def scan(
        self,
        num_samples: int | None,
        seed: int,
        check: Callable[[Batch], None] = lambda batch: None,
        verbose: bool = True,
        watch: Watch | None = None,
    ) -> DataScan:
        """Reads the data once, draws samples, and checks all of it.

        Each sample is drawn with the same probability, without replacement. The draw
        depends on the seed and on the order of the data, not on the batch size.

        Args:
            num_samples: The number of samples to draw. `None` for all.
            seed: The seed.
            check: A function that is called with all batches of the data, and raises a
                ValueError for a batch that can't be used. Batches of arrays may be
                larger than `batch_size`.
            verbose: Whether to show progress if the scan takes long.
            watch: A function that is called with each batch as the data yields it, and
                its number of samples.

        Returns:
            The samples, in the order of the data, with the fingerprint and the shapes.

        Raises:
            ValueError: If there are no samples.
            TypeError: If the data can be iterated only once.
        """
        drawn = DrawnSamples(num_samples, seed)
        fingerprint = Fingerprint()
        shapes: dict[str, tuple[Any, int]] = {}
        progress = Progress(
            "Drawing samples of validation_data", self.num_batches, verbose
        )
        sizes: list[int] = []

        def note(raw: Any, size: int) -> None:
            sizes.append(size)
            if watch is not None and size:
                watch(raw, size)

        noted = watch if self._arrays is not None else note
        for batch in self._batches(_TOGETHER, noted):
            check(batch)
            self._note_shape(shapes, batch)
            drawn.offer(batch.x, batch.y, batch.size)
            fingerprint.add([batch.x], batch.y)
            progress.add(-(-batch.size // self.batch_size) if self._arrays else 1)
        progress.close()
        if not fingerprint.count:
            raise ValueError("`validation_data` is empty: there are no samples in it.")
        if self._is_walked and next(self._raw_batches(), None) is None:
            raise TypeError(f"{_ACCEPTED} Received: {type(self._data)}, which {_ONCE}")
        return DataScan(drawn.samples(), fingerprint, list(shapes.values()), sizes)

    def _note_shape(self, shapes: dict[str, tuple[Any, int]], batch: Batch) -> None:
        key = str(shapes_of_samples(batch.x))
        size = min(batch.size, self.batch_size) if self._arrays else batch.size
        if key not in shapes:
            shapes[key] = (copy_sample(select(batch.x, 0)), size)
        elif size > shapes[key][1]:
            shapes[key] = (shapes[key][0], size)


def unpack_x_y(batch: Any) -> tuple[Any, Any]:
    """Returns `(x, y)` of a batch, which may have sample weights, too."""
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        raise ValueError(
            f"{_ACCEPTED} Received {describe(batch)}, where (x, y) or (x, y, "
            "sample_weight) was expected."
        )
    return batch[0], batch[1]


def _batch(x: Any, y: Any) -> Batch:
    """Makes a batch; lists of several inputs or outputs become tuples."""
    if any(hasattr(one, "toarray") or hasattr(one, "dense_shape") for one in (x, y)):
        raise ValueError(
            "x and y of `validation_data` must be dense arrays. Received: x = "
            f"{type(x)}, y = {type(y)}. Pass `x.toarray()` (`tf.sparse.to_dense(x)`), "
            "or batches that are made dense one by one."
        )
    x, y = lists_to_arrays(x), lists_to_arrays(y)
    x = map_leaves(lambda leaf: leaf if is_tensor(leaf) else to_numpy(leaf), x)
    y = map_leaves(to_numpy, y)
    for x_read, y_read in itertools.product(_readings(x), _readings(y)):
        size = size_of((x_read, y_read))
        if size is not None:
            return Batch(x_read, y_read, size)
    raise ValueError(
        "x and y of `validation_data` must have the same number of samples, along "
        f"their first axis. Received: x = {describe(x)}, y = {describe(y)}. "
        + NOT_BATCHED
    )


def _readings(node: Any) -> list[Any]:
    """Returns the readings of a node: a tuple of parts, a list with a sample each."""
    return [tuple(node), node] if isinstance(node, list) else [node]


def _even_batches(batch: Batch) -> Iterator[Batch]:
    """Cuts a batch with lists or ragged tensors in x where the shape changes."""
    samples = [copy_sample(select(batch.x, i)) for i in range(batch.size)]
    for part in alike(samples, batch.size):
        y = select(batch.y, part)
        yield Batch(stack(samples[part]), y, part.stop - part.start)


def _py_dataset_length(data: Any) -> int | None:
    with contextlib.suppress(NotImplementedError):
        return None if data.num_batches is None else int(data.num_batches)
    return None


def _length(data: Any, num_batches: int | None) -> int | None:
    if num_batches is None:
        raise ValueError(
            f"`validation_data` is endless: {type(data).__name__} has no length. Give "
            "it one: a keras.utils.PyDataset by `num_batches`, a tf.data.Dataset by "
            "`dataset.take(number_of_batches)`, one of Grain by `repeat(times)`."
        )
    return num_batches if num_batches >= 0 else None


def _is_list_of_arrays(data: Any) -> bool:
    return isinstance(data, list) and bool(data) and hasattr(data[0], "shape")
