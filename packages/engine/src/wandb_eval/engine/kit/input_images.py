"""Finds the image in the inputs of a model, and its axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import wandb
from numpy.typing import NDArray

from wandb_eval.engine.nested import describe, to_numpy

_MOST_NUMBERS = 100
"""The largest number of values that are shown as text."""

_MANY = 16
"""With more channels, another axis may be that of the channels."""

_LARGEST_WHOLE = 1e15

_LONGEST_LINE = 64
"""The longest image that is one or two pixels wide; longer ones are signals."""


class _Axes(NamedTuple):
    """The axes of an array; `None` for an axis that it does not have."""

    frames: int | None
    height: int
    width: int
    channels: int | None


def image_size(shapes: Sequence[Sequence[int]]) -> tuple[int, int] | None:
    """Returns the size of the image that a sample is shown by.

    Args:
        shapes: The shape of each input of the sample, without the batch dimension.

    Returns:
        Height and width; `None` if none of the inputs is an image.

    Example:

    >>> image_size([(4,), (48, 80, 3)])
    (48, 80)
    """
    for place in _main_images(shapes):
        axes = _axes(shapes[place])
        if axes is not None:
            return int(shapes[place][axes.height]), int(shapes[place][axes.width])
    return None


def image_of(sample: Any) -> NDArray[Any] | None:
    """Takes the image out of a sample of x, with its values as they are.

    Args:
        sample: An array, or a tuple or dict of such.

    Returns:
        Array of shape `(height, width)` or `(height, width, 3 or 4)`; `None` if there
        is no image. A warning names once what is left out.
    """
    if isinstance(sample, np.ndarray):
        arrays = [to_numpy(sample)]
    else:
        arrays = [to_numpy(leaf) for leaf in keras.tree.flatten(sample)]
    arrays = [array for array in arrays if _is_numeric(array)]
    places = _main_images([array.shape for array in arrays])
    axes = _axes(arrays[places[0]].shape) if places else None
    if axes is None:
        return None
    array: NDArray[Any] = arrays[places[0]]
    if len(places) > 1:
        say(
            "The samples of `validation_data` have several images: the largest is "
            "shown, of equal ones the first. `image_fn` shows another, as "
            "`image_fn=lambda x: x[1]`, scaled to uint8."
        )
    if array.ndim == 3 and axes.channels == (2 if is_channels_first() else 0):
        say(
            "The images of `validation_data` have their channels "
            f"{'first' if axes.channels == 0 else 'last'}, other than "
            f"`keras.config.image_data_format()`, {keras.config.image_data_format()!r}:"
            " they are shown like that. Pass `image_fn` to show them in another way."
        )
    order = [axes.height, axes.width]
    if axes.channels is not None:
        order.append(axes.channels)
    if axes.frames is not None:
        array = array.transpose([axes.frames, *order])
        array = array[len(array) // 2]
        say(
            "Samples of `validation_data` with several frames are shown by the middle "
            "one. `image_fn` shows another one, as `image_fn=lambda x: x[0]`, or a "
            "video, `wandb.Video`."
        )
    else:
        array = array.transpose(order)
    return _few_channels(array)


def _few_channels(array: NDArray[Any]) -> NDArray[Any]:
    """Selects the channels to show, of an image with its channels last."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if channels in (3, 4) or array.ndim == 2:
        return array
    if channels == 1:
        return array[..., 0]
    kept, name = (1, "first one") if channels == 2 else (3, "first three")
    say(
        f"The images of `validation_data` have {channels} channels: they are shown by "
        f"their {name}. `image_fn` shows others, as `image_fn=lambda x: "
        f"x[..., {'1' if kept == 1 else '[3, 2, 1]'}]`, scaled to uint8."
    )
    return array[..., 0] if kept == 1 else array[..., :3]


def text_of(sample: Any) -> str | None:
    r"""Converts a sample of x to text: strings, and a few numbers.

    Args:
        sample: An array, or a tuple or dict of such.

    Returns:
        The text, with a line for each string, or for each input that has numbers;
        `None` if the sample has other values, or more than 100 numbers.

    Example:

    >>> text_of({"age": np.array(31), "size": np.array([1.5, 2.25])})
    'age: 31\nsize: 1.5, 2.25'
    """
    lines = _lines(sample, "")
    return None if lines is None else "\n".join(lines)


def _lines(node: Any, name: str) -> list[str] | None:
    if isinstance(node, (Mapping, tuple, list)):
        parts = node.items() if isinstance(node, Mapping) else (("", x) for x in node)
        found = [_lines(x, f"{name}.{key}" if name else str(key)) for key, x in parts]
        lines = [line for part in found if part is not None for line in part]
        is_all = bool(found) and None not in found and len(lines) <= _MOST_NUMBERS
        return lines if is_all else None
    array = to_numpy(node)
    label = f"{name}: " if name else ""
    if not isinstance(array, np.ndarray):
        return None
    if array.dtype.kind in "OUS":
        items = array.ravel().tolist()
        if not all(isinstance(item, (str, bytes)) for item in items):
            return None
        return [label + _decoded(item) for item in items]
    if array.dtype.kind not in "buifc" or not 0 < array.size <= _MOST_NUMBERS:
        return None
    digits = 9 if array.dtype == np.float64 else 6
    values = array.ravel().tolist()
    return [label + ", ".join(_written(value, digits) for value in values)]


def _written(value: Any, digits: int) -> str:
    if isinstance(value, int):
        return str(value)
    is_float = isinstance(value, float)  # Others are complex.
    if is_float and value.is_integer() and abs(value) < _LARGEST_WHOLE:
        return f"{value:.0f}"
    return f"{value:.{digits}g}"


def _decoded(item: str | bytes) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else item


def received(sample: Any) -> str:
    """Describes a sample, for messages."""
    arrays = [to_numpy(leaf) for leaf in keras.tree.flatten(sample)]
    found = " and ".join(
        f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else describe(x)
        for x in arrays
    )
    return found or "nothing"


def say(text: str) -> None:
    """Prints a warning, once."""
    wandb.termwarn(text, repeat=False)


# --- Shapes -----------------------------------------------------------------------


def _is_numeric(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind in "buif"


def _main_images(shapes: Sequence[Sequence[int]]) -> list[int]:
    """Returns the places of the images to show, among several inputs; the best first.

    Inputs with the shape of an image are preferred to videos and to many channels. Of
    these, color images are preferred, then the largest ones.
    """
    ranks: dict[int, tuple[bool, bool, int]] = {}
    for place, shape in enumerate(shapes):
        axes = _axes(shape)
        if axes is not None:
            channels = 1 if axes.channels is None else shape[axes.channels]
            is_plain = axes.frames is None and channels in (1, 3, 4)
            area = shape[axes.height] * shape[axes.width]
            ranks[place] = (is_plain, is_plain and len(shape) == 3, area)
    order = sorted(ranks, key=lambda place: ranks[place], reverse=True)
    return [place for place in order if ranks[place][:2] == ranks[order[0]][:2]]


def _axes(shape: Sequence[int]) -> _Axes | None:
    """Returns the axes of an image, a video or a volume; `None` for another shape."""
    first = is_channels_first()
    if 0 in shape:
        return None
    if len(shape) == 2:
        is_signal = min(shape) <= 2 and max(shape) > _LONGEST_LINE
        return None if is_signal else _Axes(None, 0, 1, None)
    if len(shape) == 3:
        return _three_axes(shape, first)
    if len(shape) == 4:
        if not first:
            return _Axes(0, 1, 2, 3)
        # The layout of `Conv3D`, or that of `ConvLSTM2D` and `TimeDistributed`.
        is_few = [length in (1, 3, 4) for length in shape]
        return _Axes(1, 2, 3, 0) if is_few[0] and not is_few[1] else _Axes(0, 2, 3, 1)
    return None


def _three_axes(shape: Sequence[int], first: bool) -> _Axes:
    """Returns the axes of a shape of three lengths.

    If the channels are more than usual, and only the last two axes are equally long,
    the array has frames without channels.
    """
    if channels_come_first(shape):
        return _Axes(None, 1, 2, 0)
    if not first and shape[2] > _MANY and shape[0] != shape[1] == shape[2]:
        return _Axes(0, 1, 2, None)
    return _Axes(None, 0, 1, 2)


def channels_come_first(shape: Sequence[int]) -> bool:
    """Whether the channels of an image come before height and width.

    Args:
        shape: The shape of the image, of three lengths. If Keras' data format implies
            more channels than usual, and the other format implies 1, 3 or 4, the image
            has the other format.
    """
    first = is_channels_first()
    usual, other = (shape[0], shape[2]) if first else (shape[2], shape[0])
    return first != (usual > _MANY and other in (1, 3, 4))


def is_channels_first() -> bool:
    """Whether Keras expects the channels before height and width."""
    return bool(keras.config.image_data_format() == "channels_first")
