"""Batches and samples of arrays and tensors, and of tuples and dicts of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np


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


_IS_TENSOR: dict[type, bool] = {}


def is_tensor(leaf: Any) -> bool:
    """`keras.ops.is_tensor`, asked once for each type: TensorFlow takes its time."""
    kind = type(leaf)
    if kind not in _IS_TENSOR:
        _IS_TENSOR[kind] = bool(keras.ops.is_tensor(leaf))
    return _IS_TENSOR[kind]


def map_leaves(function: Callable[[Any], Any], node: Any) -> Any:
    """Applies a function to the leaves of dicts, tuples and lists."""
    if isinstance(node, Mapping):
        return {key: map_leaves(function, value) for key, value in node.items()}
    if isinstance(node, (tuple, list)):
        if not node or np.isscalar(node[0]):
            return np.asarray(node)
        kind = tuple if isinstance(node, tuple) else list
        return kind(map_leaves(function, value) for value in node)
    return function(node)


def size_of(node: Any) -> int | None:
    """How many samples there are, or `None` if the parts do not agree."""
    if isinstance(node, list):
        return len(node)
    if isinstance(node, (dict, tuple)):
        parts = node.values() if isinstance(node, dict) else node
        sizes = {size_of(part) for part in parts}
        return sizes.pop() if len(sizes) == 1 else None
    return int(node.shape[0]) if len(node.shape) else None


def select(node: Any, index: int | slice) -> Any:
    """One sample, or some, of a batch."""
    if isinstance(node, dict):
        return {key: select(value, index) for key, value in node.items()}
    if isinstance(node, tuple):
        return tuple(select(part, index) for part in node)
    return node[index]


def select_sample(node: Any, index: int) -> Any:
    """One sample of a batch; of tensors in the machine's memory as an array.

    Slicing a tensor takes many times as long as slicing an array.
    """
    return map_leaves(lambda leaf: on_host(leaf)[index], node)


def on_host(leaf: Any) -> Any:
    """A tensor in the machine's memory as an array, not copied; others as they are."""
    on_cpu = "CPU" in str(getattr(leaf, "device", "")).upper()
    return np.asarray(leaf) if on_cpu and hasattr(leaf, "__array__") else leaf


def copy_sample(node: Any) -> Any:
    """Arrays of one sample that do not keep the arrays of their batch alive."""
    return map_leaves(lambda leaf: np.array(dense(leaf)), node)


def dense(leaf: Any) -> Any:
    """`to_numpy`; of what is ragged in one sample an array, of arrays if need be."""
    return leaf.numpy() if hasattr(leaf, "row_splits") else to_numpy(leaf)


def stack(samples: Sequence[Any]) -> Any:
    """Makes a batch of samples of equal shape: of arrays, tuples or dicts of them."""
    first = samples[0]
    if isinstance(first, dict):
        return {key: stack([sample[key] for sample in samples]) for key in first}
    if isinstance(first, (tuple, list)):
        return tuple(stack(part) for part in zip(*samples, strict=True))
    return np.stack(samples)


def stack_or_list(samples: Sequence[Any]) -> Any:
    """`stack` where the samples have one shape; else a list with an entry for each."""
    first = shapes_of(samples[0])
    alike = all(shapes_of(sample) == first for sample in samples)
    return stack(samples) if alike else list(samples)


def concatenate(batches: Sequence[Any]) -> Any:
    """Makes one batch of several: of arrays, lists, and tuples or dicts of them.

    One alone is given back as it is, not copied.

    Raises:
        ValueError: If they are not alike.
    """
    first = batches[0]
    if len(batches) == 1:
        return first
    if any(type(batch) is not type(first) for batch in batches):
        raise ValueError("They are of several types.")
    if isinstance(first, dict):
        if any(batch.keys() != first.keys() for batch in batches):
            raise ValueError("They have other keys.")
        return {key: concatenate([batch[key] for batch in batches]) for key in first}
    if isinstance(first, tuple):
        return tuple(concatenate(part) for part in zip(*batches, strict=True))
    if isinstance(first, list):
        return list(itertools.chain.from_iterable(batches))
    if not isinstance(first, np.ndarray) or any(
        (batch.dtype, batch.shape[1:]) != (first.dtype, first.shape[1:])
        for batch in batches
    ):
        raise ValueError("They are no arrays, or of several dtypes or shapes.")
    return np.concatenate(batches)


def num_values(node: Any) -> float:
    """How many numbers there are in arrays and tensors; infinitely many if unclear."""
    leaves = [node] if isinstance(node, np.ndarray) else keras.tree.flatten(node)
    if not all(hasattr(leaf, "dtype") and None not in leaf.shape for leaf in leaves):
        return math.inf
    return float(sum(math.prod(leaf.shape) for leaf in leaves))


def shapes_of(sample: Any) -> list[tuple[int, ...]]:
    """The shape of each leaf."""
    return [tuple(np.shape(leaf)) for leaf in keras.tree.flatten(sample)]


def shapes_of_samples(batch: Any) -> list[tuple[int, ...]]:
    """The shape of each leaf, without the batch dimension."""
    return [tuple(leaf.shape)[1:] for leaf in keras.tree.flatten(batch)]


def alike(samples: Sequence[Any], most: int) -> Iterator[slice]:
    """Cuts samples where their shape changes, into parts of at most `most`.

    A model takes one shape at a time; the samples of a part can be stacked.
    """
    start = 0
    for _, group in itertools.groupby(samples, shapes_of):
        stop = start + len(list(group))
        for first in range(start, stop, most):
            yield slice(first, min(first + most, stop))
        start = stop


def is_uneven(x: Any) -> bool:
    """Whether samples of a batch may be of several shapes: in lists, ragged tensors."""
    if isinstance(x, (dict, tuple)):
        return any(map(is_uneven, x.values() if isinstance(x, dict) else x))
    return isinstance(x, list) or hasattr(x, "row_splits")


def resize(batch: Any, size: int) -> Any:
    """A batch of `size` samples: cut, or with its last sample as often as it takes."""
    return keras.tree.map_structure(lambda leaf: _resize(leaf, size), batch)


def _resize(leaf: Any, size: int) -> Any:
    count = leaf.shape[0]
    if count == size:
        return leaf
    if count > size:
        return leaf[:size]
    index = np.minimum(np.arange(size), count - 1)
    if is_tensor(leaf):
        return keras.ops.take(leaf, index, axis=0)
    return to_numpy(leaf)[index]


def describe(node: Any) -> str:
    """Shapes and dtypes, for messages."""
    if isinstance(node, dict):
        return "{" + ", ".join(f"{k!r}: {describe(v)}" for k, v in node.items()) + "}"
    if isinstance(node, (tuple, list)):
        parts = ", ".join(map(describe, node[:4])) + (", ..." if len(node) > 4 else "")
        return f"({parts})" if isinstance(node, tuple) else f"[{parts}]"
    if hasattr(node, "shape"):
        dtype = getattr(node, "dtype", type(node).__name__)
        return f"{getattr(dtype, 'name', dtype)} {tuple(node.shape)}"
    return type(node).__name__
