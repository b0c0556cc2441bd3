"""Reads the masks that segmentation models are trained on, and what they put out."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax

from wandb_eval.core import (
    NOT_BATCHED,
    WORKERS,
    at_least,
    check_single,
    check_single_target,
    cv2,
    map_in_threads,
    to_numpy,
)

Masks = NDArray[np.integer[Any]]

NOT_A_NUMBER = -1
"""The class id of pixels whose outputs are NaN. Metrics leave them out."""

MAX_CLASSES = 256

_FEW_CHANNELS = 32
_FAR = 2**30  # Beyond any class id, and within 32 bits.
_FARTHEST = 2**62


def read_masks(y: Any, ignore_index: int | None = None) -> Masks:
    """Reads the masks of a batch.

    Three axes are class ids; so are four axes with a single channel. Four axes with
    more channels are one-hot.

    Args:
        y: Class ids of shape `(batch, height, width)` or `(batch, height, width, 1)`,
            or one-hot of shape `(batch, height, width, num_classes)`; channels first if
            `keras.config.image_data_format()` is `"channels_first"`. Of any dtype,
            floats if they are whole.
        ignore_index: The id of pixels that are all zeros where masks are one-hot, as
            `tf.one_hot` makes them of an id that is no class.

    Returns:
        Class ids of shape `(batch, height, width)`: the integers of 8 or 16 bits that
        they came in, else int32, or int64 if there are ids that are larger.

    Raises:
        ValueError: If it is neither.

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
    """For how many classes a model has outputs: one channel is for two.

    Args:
        outputs: Outputs of the model.

    Raises:
        ValueError: If they are not of shape `(batch, height, width, channels)`.
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
    """Whether it matters for masks of that size if outputs are logits or not."""
    shape = channels_last(outputs).shape
    return shape[-1] == 1 or shape[1:3] != tuple(size)


def read_outputs(
    outputs: Any,
    size: tuple[int, int],
    from_logits: bool = True,
    threshold: float = 0.5,
) -> Masks:
    """Reads the outputs of a model as class ids.

    At the size of the masks, the best class is that of the outputs as they are. Outputs
    of another size are brought to it as probabilities, by bilinear interpolation
    between pixel centres (as `keras.ops.image.resize` does it), before the best class
    is chosen. Of classes that are equally good it is the first.

    Args:
        outputs: Of shape `(batch, height, width, num_classes)`, logits or
            probabilities, or with one channel the output of a sigmoid unit, which is
            for class 1 of two. Channels first if Keras says so.
        size: Height and width of the masks.
        from_logits: Whether outputs are logits, before softmax or sigmoid. It makes a
            difference for one channel, and where the size is another.
        threshold: From what probability on one channel means class 1.

    Returns:
        Class ids of shape `(batch, height, width)`; `NOT_A_NUMBER` where an output
        is, or one that a pixel is interpolated from.

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
            if image.shape[:2] != tuple(size):
                target[...] = _choose_resized(image, size, from_logits, threshold)
            elif image.shape[-1] == 1:
                cut = float(logit(threshold)) if from_logits else threshold
                target[...] = at_least(image[..., 0], cut)
                target[np.isnan(image[..., 0])] = NOT_A_NUMBER
            else:
                best_channel(image, target)

    share = -(-len(scores) // WORKERS) or 1
    map_in_threads(choose, [slice(i, i + share) for i in range(0, len(scores), share)])
    return ids


class _BestChannel:
    """`image.argmax(axis=-1)` in half the time, for a few channels.

    It compares all pixels of a channel at once, where NumPy goes from one pixel to the
    next. Its arrays are for all images: fresh ones would cost more than the comparing.
    """

    def __init__(self) -> None:
        self._channels: NDArray[Any] = np.empty((0, 0, 0))

    def __call__(self, image: NDArray[Any], target: Masks) -> None:
        """Writes the first of the best channels of each pixel into `target`.

        Args:
            image: Floats of shape `(height, width, channels)`.
            target: For class ids, of shape `(height, width)`.
        """
        *size, channels = image.shape
        if channels > _FEW_CHANNELS:
            target[...] = image.argmax(axis=-1)
            if np.isnan(image.min()):
                target[np.isnan(image).any(axis=-1)] = NOT_A_NUMBER
            return
        if self._channels.shape != (channels, *size):
            self._channels = np.empty((channels, *size), image.dtype)
            self._best = np.empty(size, image.dtype)
            self._is_best = np.empty(size, np.bool_)
            self._after = np.empty(size, np.uint8)
        cv2.split(np.ascontiguousarray(image), list(self._channels))
        np.maximum(self._channels[0], self._channels[1], out=self._best)
        for channel in self._channels[2:]:
            np.maximum(self._best, channel, out=self._best)  # Keeps NaN.
        # How many channels come after the first of the best.
        self._after[...] = 0
        for after, channel in enumerate(reversed(self._channels)):
            np.equal(channel, self._best, out=self._is_best)
            shown = self._is_best.view(np.uint8)
            np.multiply(shown, np.uint8(after), out=shown)
            np.maximum(self._after, shown, out=self._after)
        np.subtract(channels - 1, self._after, out=target, dtype=target.dtype)
        np.isnan(self._best, out=self._is_best)
        if self._is_best.any():
            target[self._is_best] = NOT_A_NUMBER


def _choose_resized(
    image: NDArray[Any], size: tuple[int, int], from_logits: bool, threshold: float
) -> Masks:
    """The best class of each pixel of one image, at another size.

    Channel by channel: that takes the least memory and time, and OpenCV resizes 128
    channels at once at most.
    """
    binary = image.shape[-1] == 1
    if from_logits:
        with np.errstate(invalid="ignore"):  # Of infinity: NaN, as with Keras.
            image = expit(image) if binary else softmax(image, axis=-1)
    channels = np.ascontiguousarray(np.moveaxis(image, -1, 0))
    ids = np.zeros(size, np.int32)
    best = _resize(channels[0], size)
    if binary:
        ids[at_least(best, threshold)] = 1
    for index, channel in enumerate(channels[1:], start=1):
        score = _resize(channel, size)
        np.copyto(ids, index, where=score > best)
        np.maximum(best, score, out=best)  # Keeps NaN.
    ids[np.isnan(best)] = NOT_A_NUMBER
    return ids


def _resize(channel: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    return cv2.resize(channel, size[::-1], interpolation=cv2.INTER_LINEAR)


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
        array = array.astype(np.float32)  # Has numbers far enough, unlike float16.
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
    """A batch of shape `(batch, height, width, channels)`, whatever Keras says."""
    array = np.asarray(batch)
    if keras.config.image_data_format() == "channels_first":
        return np.moveaxis(array, 1, -1)
    return array
