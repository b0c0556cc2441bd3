"""Validation data, walked in batches, and the samples that are drawn of it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from wandb_eval.core.arguments import check_positive
from wandb_eval.core.progress import Progress

NOT_BATCHED = (
    "If this is one sample, batch the data first, as with `dataset.batch(32)`."
)

# More batches than most data sets have, and walked through within seconds.
_MAX_BATCHES_WITHOUT_LENGTH = 10_000

_ACCEPTED = (
    "`validation_data` must be a tuple (x, y) or (x, y, sample_weight) of arrays or "
    "tensors, a batched tf.data.Dataset, a keras.utils.PyDataset, a torch DataLoader, "
    "or anything else that yields batches (x, y) each time it is iterated."
)
_ONCE = (
    "can be iterated only once. Pass a list of its batches, or an object whose "
    "`__iter__` begins anew."
)


@dataclass(frozen=True)
class Batch:
    """One batch of validation data.

    Attributes:
        x: The inputs, as the model takes them: an array or a tensor, or a tuple or a
            dict of them.
        y: The targets, as NumPy arrays; ragged tensors, and lists with an entry for
            each sample, are left as they are.
        size: How many samples it has.
    """

    x: Any
    y: Any
    size: int


@dataclass(frozen=True)
class Samples:
    """The samples that are shown, the same ones in every epoch.

    Attributes:
        index: Where in the validation data each one was, counted from 0.
        x: The inputs of each sample, without a batch dimension.
        y: The targets of each sample.
    """

    index: list[int]
    x: list[Any]
    y: list[Any]
    _batches: dict[int, list[tuple[slice, Any]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __len__(self) -> int:
        return len(self.index)

    def batches(self, size: int) -> list[tuple[slice, Any]]:
        """The inputs in batches that a model takes, stacked once for all epochs.

        Args:
            size: How many samples a batch has at most; fewer where their shape changes.

        Returns:
            Which samples, and their inputs with a batch dimension. `x` has views of
            these from then on, so that each sample is in memory once.
        """
        if size not in self._batches:
            batches = self._batches[size] = []
            for part in list(alike(self.x, size)):
                stacked = stack(self.x[part])
                count = part.stop - part.start
                self.x[part] = [_select(stacked, i) for i in range(count)]
                batches.append((part, stacked))
        return self._batches[size]


class ValidationData:
    """What `fit` takes as `validation_data`, as batches that can be walked again.

    A list in place of x or y is what it is to Keras: several inputs or outputs. Where
    the lengths do not fit that, and within a dict, it has an entry for each sample.

    x may have images of several sizes, in a list or a ragged tensor; such a batch is
    cut where the size changes, because a model takes one size at a time.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)` of arrays or tensors (x may be an
            array, a tuple or a dict), a batched `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a torch `DataLoader`, or any iterable of batches
            that can be iterated again. Sample weights are not used, as Keras does not
            use them for `metrics`.
        batch_size: The size of the batches that arrays are cut into.
        unpack: How to get `(x, y)` out of a batch.
        target: What to take of the y of a batch, when it is walked.

    Attributes:
        num_batches: How many batches there are, or `None` where that is not known.

    Raises:
        TypeError: If it is none of these, or can be walked only once.
        ValueError: If it is endless, or lengths of x and y differ.

    Example:

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
        self._data = data
        self._unpack = unpack or unpack_x_y
        self._target = target
        self._arrays: Batch | None = None
        self._batch_size = batch_size
        self._is_walked = True
        self.num_batches: int | None = None
        if isinstance(data, tuple) or _is_list_of_arrays(data):
            self._arrays = _batch(*self._unpack(tuple(data)))
            self.num_batches = -(-self._arrays.size // batch_size)
            self._is_walked = False
        elif isinstance(data, keras.utils.PyDataset):
            self.num_batches = _length(data, _py_dataset_length(data))
            self._is_walked = False
        elif hasattr(data, "element_spec") and hasattr(data, "cardinality"):
            cardinality = int(data.cardinality())
            self.num_batches = _length(data, None if cardinality == -1 else cardinality)
        elif hasattr(data, "shape"):
            raise TypeError(f"{_ACCEPTED} Received: {_describe(data)} alone")
        elif isinstance(data, (str, bytes, Mapping)) or not isinstance(data, Iterable):
            raise TypeError(f"{_ACCEPTED} Received: an object of {type(data)}")
        elif isinstance(data, Iterator):
            raise TypeError(f"{_ACCEPTED} Received: {type(data)}, which {_ONCE}")
        else:
            # A DataLoader on an iterable data set has the method, but no length.
            with contextlib.suppress(TypeError, NotImplementedError):
                self.num_batches = len(data) if isinstance(data, Sized) else None

    def __iter__(self) -> Iterator[Batch]:
        """Yields the batches. What is wrong with one is raised as a ValueError."""
        for whole in self._batches():
            batch = replace(whole, y=self._target(whole.y))
            if _is_uneven(batch.x):
                yield from _even_batches(batch)
            elif batch.size:
                yield batch

    def _batches(self) -> Iterator[Batch]:
        if self._arrays is not None:
            for start in range(0, self._arrays.size, self._batch_size):
                yield _part(self._arrays, slice(start, start + self._batch_size))
            return
        for raw in self._raw_batches():
            yield _batch(*self._unpack(raw))

    def _raw_batches(self) -> Iterator[Any]:
        if isinstance(self._data, keras.utils.PyDataset):
            yield from map(self._data.__getitem__, range(self.num_batches or 0))
        elif self.num_batches is not None:
            yield from itertools.islice(self._data, self.num_batches)
        else:
            for count, batch in enumerate(self._data):
                if count == _MAX_BATCHES_WITHOUT_LENGTH:
                    raise ValueError(
                        "`validation_data` has no length and did not end within "
                        f"{count} batches. If it does end, give it a length: a "
                        "`__len__`, or for a tf.data.Dataset `dataset.apply(tf.data."
                        "experimental.assert_cardinality(number_of_batches))`. If it "
                        "does not, `dataset.take(number_of_batches)`."
                    )
                yield batch

    def draw(
        self,
        num_samples: int | None,
        seed: int,
        check: Callable[[Batch], None] = lambda batch: None,
        verbose: bool = True,
    ) -> Samples:
        """Walks the data once, to draw samples and to check all of it.

        Each sample is drawn with the same probability, without replacement. The draw
        depends on the seed and on the order of the data, not on how it is batched.

        Args:
            num_samples: How many to draw. `None` for all.
            seed: The seed.
            check: Called with each batch; raises a ValueError if something is wrong.
            verbose: Whether to show progress when it takes long.

        Returns:
            The samples, in the order of the data.

        Raises:
            ValueError: If there are no samples.
            TypeError: If the data turns out to be walked only once.
        """
        rng = np.random.default_rng(seed)
        drawn: list[tuple[float, int, Any, Any]] = []
        position, worst = 0, np.inf
        progress = Progress(
            "Drawing samples of validation_data", self.num_batches, verbose
        )
        for batch in self:
            check(batch)
            priorities = rng.random(batch.size)
            for i in np.flatnonzero(priorities < worst):
                x, y = _copy(_select(batch.x, int(i))), _copy(_select(batch.y, int(i)))
                drawn.append((float(priorities[i]), position + int(i), x, y))
            if num_samples is not None and len(drawn) > 2 * num_samples:
                drawn = sorted(drawn, key=lambda sample: sample[0])[:num_samples]
                worst = drawn[-1][0]
            position += batch.size
            progress.add()
        progress.close()
        if not position:
            raise ValueError("`validation_data` is empty: there are no samples in it.")
        if self._is_walked and next(iter(self._data), None) is None:
            raise TypeError(f"{_ACCEPTED} Received: {type(self._data)}, which {_ONCE}")
        drawn = sorted(drawn, key=lambda sample: sample[0])[:num_samples]
        drawn.sort(key=lambda sample: sample[1])
        _, index, xs, ys = zip(*drawn, strict=True)
        return Samples(list(index), list(xs), list(ys))


def unpack_x_y(batch: Any) -> tuple[Any, Any]:
    """Gets `(x, y)` out of a batch, which may have sample weights behind them."""
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
        raise ValueError(
            f"{_ACCEPTED} Received {_describe(batch)}, where (x, y) or (x, y, "
            "sample_weight) was expected."
        )
    return batch[0], batch[1]


def check_single(outputs: Any) -> None:
    """Raises a ValueError if a model has several outputs."""
    if not hasattr(outputs, "shape"):
        found = list(outputs) if isinstance(outputs, dict) else _describe(outputs)
        raise ValueError(
            f"The model has several outputs: {found}. Pass `output_key`, a key or an "
            "index, to name the one to evaluate."
        )


def check_single_target(y: Any, what: str) -> None:
    """Raises a ValueError if targets, called `what`, are those of several outputs."""
    if isinstance(y, (dict, tuple)):
        found = f"a dict of {list(y)}" if isinstance(y, dict) else f"{len(y)} of them"
        raise ValueError(
            f"There are {what} for several outputs: {found}. Pass `output_key` to name "
            "the one to evaluate."
        )


def alike(samples: Sequence[Any], most: int) -> Iterator[slice]:
    """Cuts samples where their shape changes, into parts of at most `most`.

    A model takes one shape at a time; the samples of a part can be stacked.
    """
    start = 0
    for _, group in itertools.groupby(samples, _shapes):
        stop = start + len(list(group))
        for first in range(start, stop, most):
            yield slice(first, min(first + most, stop))
        start = stop


def stack(samples: Sequence[Any]) -> Any:
    """Makes a batch of samples of equal shape: of arrays, tuples or dicts of them."""
    first = samples[0]
    if isinstance(first, dict):
        return {key: stack([sample[key] for sample in samples]) for key in first}
    if isinstance(first, (tuple, list)):
        return tuple(stack(part) for part in zip(*samples, strict=True))
    return np.stack(samples)


def to_numpy(tensor: Any) -> Any:
    """A tensor of any framework as a NumPy array; a ragged tensor as it is.

    Dtypes that NumPy itself does not have, such as bfloat16, become float32. The byte
    order becomes the machine's: NumPy before 2.2.2 crashes when it compares integers of
    the other one.
    """
    if hasattr(tensor, "row_splits"):
        return tensor
    if hasattr(tensor, "detach"):  # Torch's
        tensor = tensor.detach().cpu()
        tensor = tensor.float() if "bfloat16" in str(tensor.dtype) else tensor
        return tensor.numpy()
    array = np.asarray(tensor)
    if array.dtype.kind == "V" and np.can_cast(array.dtype, np.float32):
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _batch(x: Any, y: Any) -> Batch:
    """Makes a batch; lists of several inputs or outputs become tuples."""
    x = _map(lambda leaf: leaf if keras.ops.is_tensor(leaf) else to_numpy(leaf), x)
    y = _map(to_numpy, y)
    for x_read, y_read in itertools.product(_readings(x), _readings(y)):
        size = _size((x_read, y_read))
        if size is not None:
            return Batch(x_read, y_read, size)
    raise ValueError(
        "x and y of `validation_data` must have the same number of samples, along "
        f"their first axis. Received: x = {_describe(x)}, y = {_describe(y)}. "
        + NOT_BATCHED
    )


def _readings(node: Any) -> list[Any]:
    """What a list may mean: as a tuple several parts, as a list a sample an entry."""
    return [tuple(node), node] if isinstance(node, list) else [node]


def _map(function: Callable[[Any], Any], node: Any) -> Any:
    """Applies a function to the leaves of dicts, tuples and lists."""
    if isinstance(node, Mapping):
        return {key: _map(function, value) for key, value in node.items()}
    if isinstance(node, (tuple, list)):
        if not node or np.isscalar(node[0]):
            return np.asarray(node)
        kind = tuple if isinstance(node, tuple) else list
        return kind(_map(function, value) for value in node)
    return function(node)


def _size(node: Any) -> int | None:
    """How many samples there are, or `None` if the parts do not agree."""
    if isinstance(node, list):
        return len(node)
    if isinstance(node, (dict, tuple)):
        sizes = {_size(p) for p in (node.values() if isinstance(node, dict) else node)}
        return sizes.pop() if len(sizes) == 1 else None
    return int(node.shape[0]) if len(node.shape) else None


def _select(node: Any, index: int | slice) -> Any:
    """One sample, or some, of a part of a batch."""
    if isinstance(node, dict):
        return {key: _select(value, index) for key, value in node.items()}
    if isinstance(node, tuple):
        return tuple(_select(part, index) for part in node)
    return node[index]


def _part(batch: Batch, part: slice) -> Batch:
    size = len(range(*part.indices(batch.size)))
    return Batch(_select(batch.x, part), _select(batch.y, part), size)


def _copy(node: Any) -> Any:
    """Arrays of one sample that do not keep the arrays of their batch alive."""
    return _map(lambda leaf: np.array(_dense(leaf)), node)


def _dense(leaf: Any) -> Any:
    # What is ragged in one sample: an array if it is even, or else an array of arrays.
    return leaf.numpy() if hasattr(leaf, "row_splits") else to_numpy(leaf)


def _is_uneven(x: Any) -> bool:
    if isinstance(x, (dict, tuple)):
        return any(map(_is_uneven, x.values() if isinstance(x, dict) else x))
    return isinstance(x, list) or hasattr(x, "row_splits")


def _even_batches(batch: Batch) -> Iterator[Batch]:
    """Cuts a batch with lists or ragged tensors in x into such that a model takes."""
    samples = [_copy(_select(batch.x, i)) for i in range(batch.size)]
    for part in alike(samples, batch.size):
        y = _select(batch.y, part)
        yield Batch(stack(samples[part]), y, part.stop - part.start)


def _shapes(sample: Any) -> Any:
    return [np.shape(leaf) for leaf in keras.tree.flatten(sample)]


def _py_dataset_length(data: Any) -> int | None:
    with contextlib.suppress(NotImplementedError):
        return None if data.num_batches is None else int(data.num_batches)
    return None


def _length(data: Any, num_batches: int | None) -> int | None:
    if num_batches is None:
        raise ValueError(
            f"`validation_data` is endless: {type(data).__name__} has no length. Give "
            "it one: a keras.utils.PyDataset by `num_batches`, a tf.data.Dataset by "
            "`dataset.take(number_of_batches)`."
        )
    return num_batches if num_batches >= 0 else None


def _is_list_of_arrays(data: Any) -> bool:
    return isinstance(data, list) and bool(data) and hasattr(data[0], "shape")


def _describe(node: Any) -> str:
    if isinstance(node, dict):
        return "{" + ", ".join(f"{k!r}: {_describe(v)}" for k, v in node.items()) + "}"
    if isinstance(node, (tuple, list)):
        parts = ", ".join(map(_describe, node[:4])) + (", ..." if len(node) > 4 else "")
        return f"({parts})" if isinstance(node, tuple) else f"[{parts}]"
    if hasattr(node, "shape"):
        dtype = getattr(node, "dtype", type(node).__name__)
        return f"{getattr(dtype, 'name', dtype)} {tuple(node.shape)}"
    return type(node).__name__
