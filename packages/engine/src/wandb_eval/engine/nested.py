"""Batches and samples of arrays and tensors, nested in tuples and dicts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def to_numpy(tensor: Any) -> Any:
    """Converts a tensor of any framework to a NumPy array, but not a ragged tensor.

    Dtypes that NumPy does not have, such as bfloat16, become float32. The byte
    order becomes that of the machine, because NumPy before 2.2.2 crashes when it
    compares integers of the other order.
    """
    if hasattr(tensor, "row_splits"):
        return tensor
    if hasattr(tensor, "detach"):  # A tensor of Torch.
        tensor = tensor.detach().cpu()
        tensor = tensor.float() if "bfloat16" in str(tensor.dtype) else tensor
        return tensor.numpy()
    array = np.asarray(tensor)
    if array.dtype.kind == "V" and np.can_cast(array.dtype, np.float32):
        return array.astype(np.float32)
    if not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    return array


def outputs_to_numpy(outputs: Any) -> Any:
    """Converts the outputs of a model to arrays, and lists of outputs to tuples.

    In a batch, a list has an entry for each sample instead.
    """
    if hasattr(outputs, "shape"):
        return to_numpy(outputs)
    arrays = keras.tree.map_structure(to_numpy, outputs)
    return keras.tree.lists_to_tuples(arrays)


_IS_TENSOR: dict[type, bool] = {}


def finite_or_none(values: NDArray[np.floating[Any]]) -> list[float | None]:
    """Converts numbers to cells of a table, which are empty where one is not finite.

    Args:
        values: The numbers, of shape `(samples,)`.

    Example:

    >>> finite_or_none(np.array([0.5, np.nan]))
    [0.5, None]
    """
    return [value if math.isfinite(value) else None for value in values.tolist()]


def is_tensor(leaf: Any) -> bool:
    """Returns `keras.ops.is_tensor`, cached by type, because TensorFlow is slow."""
    kind = type(leaf)
    if kind not in _IS_TENSOR:
        _IS_TENSOR[kind] = bool(keras.ops.is_tensor(leaf))
    return _IS_TENSOR[kind]


def leaves_of(node: Any) -> list[Any]:
    """Returns the leaves, as `keras.tree.flatten` does, which is slow for one array."""
    return [node] if hasattr(node, "shape") else keras.tree.flatten(node)


def map_leaves(function: Callable[[Any], Any], node: Any) -> Any:
    """Applies a function to the leaves of dicts, tuples and lists."""
    if hasattr(node, "shape"):  # Most nodes are leaves, and this check is the fastest.
        return function(node)
    if isinstance(node, Mapping):
        return {key: map_leaves(function, value) for key, value in node.items()}
    if isinstance(node, (tuple, list)):
        kind = tuple if isinstance(node, tuple) else list
        return kind(map_leaves(function, value) for value in node)
    return function(node)


def lists_to_arrays(node: Any) -> Any:
    """Converts lists of numbers or strings, which may be nested, to arrays."""
    if hasattr(node, "shape"):
        return node
    if isinstance(node, Mapping):
        return {key: lists_to_arrays(value) for key, value in node.items()}
    if isinstance(node, (tuple, list)):
        if not node or np.isscalar(node[0]):
            return np.asarray(node)
        kind = tuple if isinstance(node, tuple) else list
        return kind(map(lists_to_arrays, node))
    return node


def size_of(node: Any) -> int | None:
    """Returns the number of samples; `None` if the parts do not agree."""
    if isinstance(node, list):
        return len(node)
    if isinstance(node, (dict, tuple)):
        parts = node.values() if isinstance(node, dict) else node
        sizes = {size_of(part) for part in parts}
        return sizes.pop() if len(sizes) == 1 else None
    return int(node.shape[0]) if len(node.shape) else None


def select(node: Any, index: int | slice) -> Any:
    """Selects one or several samples of a batch."""
    if isinstance(node, dict):
        return {key: select(value, index) for key, value in node.items()}
    if isinstance(node, tuple):
        return tuple(select(part, index) for part in node)
    return node[index]


def select_sample(node: Any, index: int) -> Any:
    """Selects one sample of a batch; tensors in the host's memory become arrays.

    Slicing a tensor takes many times longer than slicing an array.
    """
    return map_leaves(lambda leaf: on_host(leaf)[index], node)


def on_host(leaf: Any) -> Any:
    """Converts a tensor in the host's memory to an array, without a copy."""
    if isinstance(leaf, np.ndarray):
        return leaf
    on_cpu = "CPU" in str(getattr(leaf, "device", "")).upper()
    return np.asarray(leaf) if on_cpu and hasattr(leaf, "__array__") else leaf


def copy_sample(node: Any) -> Any:
    """Copies the arrays of one sample, so that its batch can be freed."""
    return map_leaves(lambda leaf: np.array(dense(leaf)), node)


def dense(leaf: Any) -> Any:
    """Converts a leaf of one sample to an array, also if it is ragged."""
    return leaf.numpy() if hasattr(leaf, "row_splits") else to_numpy(leaf)


def stack(samples: Sequence[Any]) -> Any:
    """Stacks samples of equal shape, which may be nested, to a batch."""
    first = samples[0]
    if isinstance(first, dict):
        return {key: stack([sample[key] for sample in samples]) for key in first}
    if isinstance(first, (tuple, list)):
        return tuple(stack(part) for part in zip(*samples, strict=True))
    return np.stack(samples)


def stack_or_list(samples: Sequence[Any]) -> Any:
    """Stacks samples of equal shape; makes a list of other samples."""
    first = shapes_of(samples[0])
    alike = all(shapes_of(sample) == first for sample in samples)
    return stack(samples) if alike else list(samples)


def concatenate(batches: Sequence[Any]) -> Any:
    """Concatenates batches of arrays and lists, which may be nested.

    A single batch is returned without a copy.

    Raises:
        ValueError: If the batches are not alike.
    """
    first = batches[0]
    if len(batches) == 1:
        return first
    if any(type(batch) is not type(first) for batch in batches):
        raise ValueError("The batches have several types.")
    if isinstance(first, dict):
        if any(batch.keys() != first.keys() for batch in batches):
            raise ValueError("The batches have different keys.")
        return {key: concatenate([batch[key] for batch in batches]) for key in first}
    if isinstance(first, tuple):
        return tuple(concatenate(part) for part in zip(*batches, strict=True))
    if isinstance(first, list):
        return list(itertools.chain.from_iterable(batches))
    if not isinstance(first, np.ndarray) or any(
        (batch.dtype, batch.shape[1:]) != (first.dtype, first.shape[1:])
        for batch in batches
    ):
        raise ValueError(
            "The batches are not arrays, or have several dtypes or shapes."
        )
    return np.concatenate(batches)


def num_values(node: Any) -> float:
    """Counts the values in arrays and tensors; infinity if a shape is not known."""
    leaves = leaves_of(node)
    if not all(hasattr(leaf, "dtype") and None not in leaf.shape for leaf in leaves):
        return math.inf
    return float(sum(math.prod(leaf.shape) for leaf in leaves))


def shapes_of(sample: Any) -> list[tuple[int, ...]]:
    """Returns the shape of each leaf."""
    return [tuple(np.shape(leaf)) for leaf in leaves_of(sample)]


def shapes_of_samples(batch: Any) -> list[tuple[int, ...]]:
    """Returns the shape of each leaf, without the batch dimension."""
    return [tuple(leaf.shape)[1:] for leaf in leaves_of(batch)]


def alike(samples: Sequence[Any], most: int) -> Iterator[slice]:
    """Cuts samples where their shape changes, into parts of at most `most`.

    So the samples of a part can be stacked.
    """
    start = 0
    for _, group in itertools.groupby(samples, shapes_of):
        stop = start + len(list(group))
        for first in range(start, stop, most):
            yield slice(first, min(first + most, stop))
        start = stop


def is_uneven(x: Any) -> bool:
    """Whether a batch has lists or ragged tensors, so that shapes may differ."""
    if isinstance(x, (dict, tuple)):
        return any(map(is_uneven, x.values() if isinstance(x, dict) else x))
    return isinstance(x, list) or hasattr(x, "row_splits")


def resize(batch: Any, size: int) -> Any:
    """Cuts a batch to `size` samples, or fills it up with its last sample."""
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
    """Describes shapes and dtypes, for messages."""
    if isinstance(node, dict):
        return "{" + ", ".join(f"{k!r}: {describe(v)}" for k, v in node.items()) + "}"
    if isinstance(node, (tuple, list)):
        parts = ", ".join(map(describe, node[:4])) + (", ..." if len(node) > 4 else "")
        return f"({parts})" if isinstance(node, tuple) else f"[{parts}]"
    if hasattr(node, "shape"):
        dtype = getattr(node, "dtype", type(node).__name__)
        return f"{getattr(dtype, 'name', dtype)} {tuple(node.shape)}"
    return type(node).__name__
