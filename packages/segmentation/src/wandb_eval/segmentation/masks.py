"""Reads the masks and the outputs of segmentation models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from wandb_eval.engine import (
    NOT_BATCHED,
    at_least,
    check_single,
    check_single_target,
    map_in_threads,
    to_numpy,
)
from wandb_eval.engine.kit.input_images import is_channels_first
from wandb_eval.engine.kit.opencv import cv2

Masks = NDArray[np.integer[Any]]

NOT_A_NUMBER = -1
"""The class id of pixels whose outputs are NaN. They count as wrong."""

MAX_CLASSES = 256

_FEW_CHANNELS = 32
_BAND = 2**16  # Pixels whose channels fit into a processor's cache.
_BILINEAR = cv2.INTER_LINEAR
_FAR = 2**30  # Above all class ids, and within 32 bits.
_FARTHEST = 2**62

_PARTS = 8
"""The parts of a batch that threads process at the same time."""


def read_masks(y: Any, ignore_index: int | None = None) -> Masks:
    """Reads the masks of a batch.

    Arrays of three axes are class ids, as are arrays of four axes with a single
    channel. Arrays of four axes with more channels are one-hot.

    Args:
        y: Class ids of shape `(batch, height, width)` or `(batch, height, width, 1)`,
            or one-hot of shape `(batch, height, width, num_classes)`; channels first if
            `keras.config.image_data_format()` is `"channels_first"`. Any dtype; floats
            must be whole numbers.
        ignore_index: The id for pixels of zeros in one-hot masks: `tf.one_hot` returns
            zeros for an id without a class.

    Returns:
        Class ids of shape `(batch, height, width)`. Integers of 8 or 16 bits keep their
        dtype; others become int32, or int64 for ids that need it.

    Raises:
        ValueError: If y has another form.

    Example:

    >>> read_masks(np.array([[[0, 2]]], np.uint8))
    array([[[0, 2]]], dtype=uint8)
    >>> read_masks(np.array([[[[1, 0, 0], [0, 0, 1]]]]))
    array([[[0, 2]]], dtype=int32)
    """
    array = _as_array(y)
    if array.ndim == 3:
        return _to_ids(array)
    array = channels_last(array)
    if array.shape[-1] == 1:
        return _to_ids(array[..., 0])
    ones = array.sum(axis=-1)
    wrong = ones != 1
    if ignore_index is not None:
        wrong &= ones != 0
    if array.size and (array.min() < 0 or array.max() > 1 or wrong.any()):
        hint = (
            ""
            if (ones != 0).all()
            else " If pixels of zeros are to be ignored, pass `ignore_index`."
        )
        raise ValueError(
            f"Masks of shape {array.shape} must be one-hot: a single one for each "
            "pixel, else zeros. For class ids, drop the axis of channels, or keep "
            f"one of them.{hint}"
        )
    ids = array.argmax(axis=-1)
    if ignore_index is not None:
        ids[ones == 0] = ignore_index
    return _to_ids(ids)


def num_outputs(outputs: Any) -> int:
    """The number of classes of the outputs of a model; one channel is for two classes.

    Args:
        outputs: The outputs of the model.

    Raises:
        ValueError: If they do not have the shape `(batch, height, width, channels)`.
    """
    check_single(outputs)
    if len(outputs.shape) != 4:
        raise ValueError(
            "Outputs of a segmentation model must be of shape (batch, height, width, "
            f"channels). Received: {tuple(outputs.shape)}"
        )
    channels = int(channels_last(outputs).shape[-1])
    return 2 if channels == 1 else channels


def depends_on_logits(outputs: Any, size: tuple[int, ...]) -> bool:
    """Whether it makes a difference for masks of that size if outputs are logits."""
    shape = channels_last(outputs).shape
    return shape[-1] == 1 or shape[1:3] != tuple(size)


def read_outputs(
    outputs: Any,
    size: tuple[int, int],
    from_logits: bool = True,
    threshold: float = 0.5,
) -> Masks:
    """Reads the outputs of a model as class ids.

    At the size of the masks, the best class is that of the unchanged outputs. Outputs
    of another size are resized as probabilities, by bilinear interpolation between
    pixel centres (as in `keras.ops.image.resize`), before the best class is chosen.
    Among equally good classes, the first is chosen.

    Args:
        outputs: Logits or probabilities of shape `(batch, height, width, num_classes)`;
            or one channel, the output of a sigmoid unit for class 1 of two. Channels
            first if `keras.config.image_data_format()` is `"channels_first"`.
        size: The height and width of the masks.
        from_logits: Whether outputs are logits, before softmax or sigmoid. It makes a
            difference for one channel, and for outputs of another size.
        threshold: The lowest probability at which one channel means class 1.

    Returns:
        Class ids of shape `(batch, height, width)`; `NOT_A_NUMBER` for pixels whose
        outputs, or the outputs that they are interpolated from, include NaN.

    Example:

    >>> read_outputs(np.array([[[[0.2, 0.7, 0.1]]]]), (1, 2), from_logits=False)
    array([[[1, 1]]], dtype=int32)
    """
    scores = channels_last(outputs)
    if scores.dtype not in (np.float32, np.float64):
        scores = scores.astype(np.float32)
    ids = np.empty((len(scores), *size), np.int32)

    def choose(images: slice) -> None:
        best_channel = _BestChannel()
        for image, target in zip(scores[images], ids[images], strict=True):
            has_size = image.shape[:2] == tuple(size)
            if image.shape[-1] == 1:
                _choose_of_two(image[..., 0], target, from_logits, threshold)
            elif has_size:
                best_channel.of_image(image, target)
            else:
                best_channel.of_resized(_chances(image, from_logits), target)

    share = -(-len(scores) // _PARTS) or 1
    map_in_threads(choose, [slice(i, i + share) for i in range(0, len(scores), share)])
    return ids


class _BestChannel:
    """The first of the best channels of each pixel, in half the time of `argmax`.

    It compares many pixels of a channel at once, while NumPy goes from one pixel to the
    next. All images share its arrays, because new ones would cost more than the
    comparisons.
    """

    def __init__(self) -> None:
        nothing: NDArray[Any] = np.empty((0, 0))
        self._channels = self._resized = self._best = nothing
        self._is_better = self._index = self._ids = nothing

    def of_image(self, image: NDArray[Any], target: Masks) -> None:
        """Writes class ids into `target`.

        Args:
            image: Floats of shape `(height, width, channels)`.
            target: The class ids, of shape `(height, width)`.
        """
        height, width, channels = image.shape
        if channels > _FEW_CHANNELS:
            target[...] = image.argmax(axis=-1)
            if np.isnan(image.min()):
                target[np.isnan(image).any(axis=-1)] = NOT_A_NUMBER
            return
        rows = min(height, max(1, _BAND // width))
        self._channels = _like(self._channels, (channels, rows * width), image.dtype)
        for start in range(0, height, rows):
            # All bands have one size: the last one overlaps the one before.
            band = slice(min(start, height - rows), min(start + rows, height))
            pixels = np.ascontiguousarray(image[band]).reshape(-1, channels)
            self._channels = cv2.transpose(pixels, self._channels)
            scores = self._channels.reshape(channels, rows, width)
            self._choose(scores, channels, target[band])

    def of_resized(self, channels: NDArray[Any], target: Masks) -> None:
        """Writes class ids into `target`, which has another size.

        It resizes channel by channel, which takes the least memory and time; OpenCV
        resizes at most 128 channels at once.

        Args:
            channels: Probabilities, channels first.
            target: The class ids, of another height and width.
        """
        size = target.shape[::-1]
        self._resized = _like(self._resized, target.shape, channels.dtype)
        scores = (
            cv2.resize(channel, size, self._resized, interpolation=_BILINEAR)
            for channel in channels
        )
        self._choose(scores, len(channels), target)

    def _choose(
        self, scores: Iterable[NDArray[Any]], num_channels: int, target: Masks
    ) -> None:
        """Compares the channels, each of the shape of `target`, one after the other."""
        channels = iter(scores)
        first = next(channels)
        id_type = np.uint8 if num_channels <= MAX_CLASSES else np.uint16
        self._best = _like(self._best, first.shape, first.dtype)
        self._is_better = _like(self._is_better, first.shape, np.bool_)
        self._index = _like(self._index, first.shape, id_type)
        self._ids = _like(self._ids, first.shape, id_type)
        self._best[...] = first
        self._ids[...] = 0
        shown = self._is_better.view(np.uint8)
        for index, channel in enumerate(channels, start=1):
            np.greater(channel, self._best, out=self._is_better)
            np.multiply(shown, id_type(index), out=self._index)
            np.maximum(self._ids, self._index, out=self._ids)
            np.maximum(self._best, channel, out=self._best)  # Keeps NaN.
        target[...] = self._ids
        np.isnan(self._best, out=self._is_better)
        if self._is_better.any():
            target[self._is_better] = NOT_A_NUMBER


def _like(array: NDArray[Any], shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """The array if it has the shape and dtype; else an empty array of these."""
    is_like = array.shape == shape and array.dtype == dtype
    return array if is_like else np.empty(shape, dtype)


def _choose_of_two(
    scores: NDArray[Any], target: Masks, from_logits: bool, threshold: float
) -> None:
    """Writes 1 into `target` where a single channel is high enough, else 0."""
    cut = threshold
    if scores.shape != target.shape:
        scores = expit(scores) if from_logits else scores
        scores = cv2.resize(
            np.ascontiguousarray(scores), target.shape[::-1], interpolation=_BILINEAR
        )
    elif from_logits:
        cut = float(logit(threshold))
    target[...] = at_least(scores, cut)
    target[np.isnan(scores)] = NOT_A_NUMBER


def _chances(image: NDArray[Any], from_logits: bool) -> NDArray[Any]:
    """Probabilities of shape `(channels, height, width)`.

    Those of logits equal SciPy's softmax to the last bit, but are mostly computed for
    many pixels at once.
    """
    *size, num_channels = image.shape
    pixels = np.ascontiguousarray(image).reshape(-1, num_channels)
    channels = cv2.transpose(pixels)
    if from_logits:
        with np.errstate(invalid="ignore"):  # Infinity becomes NaN, as in Keras.
            channels -= channels.max(axis=0)
            np.exp(channels, out=channels)
            sums = cv2.transpose(channels).sum(axis=-1)
            np.divide(channels, sums, out=channels)
    return np.reshape(channels, (num_channels, *size))


def _as_array(y: Any) -> NDArray[Any]:
    check_single_target(y, "masks")
    try:
        array = np.asarray(to_numpy(y))
    except ValueError as error:  # Lists of several sizes.
        raise ValueError(
            f"The masks of a batch must be of one size. Received: {error}"
        ) from error
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.ndim not in (3, 4) or array.dtype.kind not in "iuf":
        dtype = getattr(array.dtype, "name", array.dtype)
        raise ValueError(
            "Masks must be class ids of shape (batch, height, width) or (batch, "
            "height, width, 1), or one-hot of shape (batch, height, width, "
            f"num_classes), all of one size. Received: {dtype} of shape {array.shape}"
            f"{'. ' + NOT_BATCHED if array.ndim == 2 else ''}"
        )
    if array.dtype.kind == "f":
        whole = array == np.floor(array)
        if not whole.all():
            raise ValueError(
                "Masks must be class ids or one-hot, not probabilities. Received: "
                f"{array[~whole].flat[0]} among them"
            )
    return array


def _to_ids(array: NDArray[Any]) -> Masks:
    if array.dtype.kind == "f":
        array = array.astype(np.float32)  # float16 cannot hold the limits.
    if array.dtype.itemsize < 4:
        return array
    if array.size and (array.min() < -_FAR or array.max() > _FAR):
        if array.dtype.kind == "f":
            array = np.clip(array, -_FARTHEST, _FARTHEST)
        elif array.dtype == np.uint64:
            array = np.minimum(array, np.uint64(_FARTHEST))
        return np.asarray(array, np.int64)
    return np.asarray(array, np.int32)


def channels_last(batch: Any) -> NDArray[Any]:
    """A batch of shape `(batch, height, width, channels)`, for any data format."""
    array = np.asarray(batch)
    if is_channels_first():
        return np.moveaxis(array, 1, -1)
    return array
