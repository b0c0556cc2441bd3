"""Converts arrays to images that look as a user of the model expects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import wandb
from numpy.typing import NDArray

from wandb_eval.core import Folder, write_image, write_mask
from wandb_eval.engine.kit.image_rule import ImageRule, why_not
from wandb_eval.engine.kit.input_images import is_channels_first
from wandb_eval.engine.kit.opencv import cv2
from wandb_eval.engine.nested import to_numpy
from wandb_eval.engine.threads import map_in_threads

ImageFormat = Literal["png", "jpg"]
Image = NDArray[np.uint8]

# The files should be no larger than Pillow's. In photographs, PNG's row filters leave
# only runs for zlib to find. Searching for runs alone takes a quarter of the time, for
# a file of the same size. Masks of class ids compress best unfiltered. The JPEG quality
# is the default of Pillow.
_RUNS = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
_ENCODING = {
    "png": [cv2.IMWRITE_PNG_COMPRESSION, 1, *_RUNS],
    "jpg": [cv2.IMWRITE_JPEG_QUALITY, 75],
}
_MASK_ENCODING = list(_ENCODING["png"])
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV 4.12
    _MASK_ENCODING += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]


def to_images(samples: Sequence[Any]) -> list[Image]:
    """Converts samples to images, by one rule for all of them.

    | dtype, range over all the samples | shown as |
    |---|---|
    | bool, and integers that are only 0 and 1 | black and white |
    | other integers, 0 to 255 | unchanged |
    | floats, 0 to 1 | times 255 |
    | floats, -1 to 1 | (x + 1) times 127.5 |
    | floats, 0 to 255, of which one is 64 or more | rounded |
    | any other range | stretched from its lowest value (black) to its highest (white) |

    Values may exceed a range by a quarter of it, as after bicubic resizing, a change of
    contrast, or noise; they are clipped. Floats are also stretched if

    - they would look flat: all of them would be within 16 of 255 levels;
    - they are standardized: some are negative, their mean is within 0.5 of 0, and
      their standard deviation is 0.5 to 4. On a black background they may go from -0.4
      to 5 (no value is 64 or more), or to 100, if few pixels are bright;
    - the range is 0 to 1, but they go nearly as far below 0 as above: by more than half
      of the highest value. If they reach -1, their range is taken for -1 to 1.

    Stretched color images keep their colors if their channels are similar. If the means
    of two channels are more than two standard deviations apart, or if one channel has
    less than an eighth of the range of all, each channel is stretched by itself.

    The middle one of several frames is shown. Two channels are shown by the first one,
    five or more by the first three; only these determine the range. Four channels are
    RGBA if the fourth is fully opaque or transparent nearly everywhere, if it is
    opaque somewhere in each image, and if the range is not stretched. Otherwise the
    fourth channel is not opacity (but near infrared, for example), and is not shown. A
    warning names once what was stretched or left out.

    Args:
        samples: Samples of x: arrays of shape `(height, width)`, `(height, width,
            channels)` or `(frames, height, width, channels)`, with the channels before
            height and width if `keras.config.image_data_format()` is
            `"channels_first"`. For a sample with several inputs (a tuple or dict), the
            image among them is shown: of those with channels, or else of the others,
            the largest one, or the first of equal size.

    Returns:
        For each sample a uint8 array of shape `(height, width)`, `(height, width, 3)`
        or `(height, width, 4)`.

    Raises:
        ValueError: If a sample is not an image, or has NaN or infinity. The message
            names `image_fn`.

    Example:

    >>> [image] = to_images([np.array([[0.0, 1.0]])])
    >>> image
    array([[  0, 255]], dtype=uint8)
    """
    rule = ImageRule(samples)
    images: list[Image] = []
    for sample in samples:
        image = rule(sample)
        if image is None:
            raise ValueError(why_not(sample))
        images.append(image)
    return images


def map_to_image(
    values: Any, low: float | None = None, high: float | None = None
) -> Image:
    """Converts a map of numbers, such as depth, to an image in false colors.

    Args:
        values: Numbers of any range, of shape `(height, width)` or `(height, width,
            1)`; with the channel first if `keras.config.image_data_format()` is
            `"channels_first"`. NaN and infinity are black.
        low: The value of the darkest color. `None` for the lowest value of this map.
            Pass it to compare several maps.
        high: The value of the brightest color. `None` for the highest value of this
            map.

    Returns:
        uint8 array of shape `(height, width, 3)`, RGB, in the colors of Viridis.

    Raises:
        ValueError: If the shape differs, or if `low` is above `high`.

    Example:

    As `image_fn`, for depth in meters: `image_fn=lambda x: map_to_image(x, 0, 80)`.

    >>> map_to_image(np.array([[0.5, 80.0]]), low=0, high=80).shape
    (1, 2, 3)
    """
    array: NDArray[Any] = _channels_last(to_numpy(values))
    if array.ndim != 2 or not array.size or array.dtype.kind not in "buif":
        raise ValueError(
            "`values` must be numbers, an image of one channel. Received: "
            f"{array.dtype} of shape {array.shape}"
        )
    if low is not None and high is not None and not low <= high:
        raise ValueError(f"`low` must not be above `high`. Received: {low} and {high}")
    array = array.astype(np.float64)
    finite = np.isfinite(array)
    known = array[finite] if finite.any() else np.zeros(1)
    if low is None:
        low = float(known.min() if high is None else min(known.min(), high))
    high = max(float(known.max()), low) if high is None else high
    shares = (np.where(finite, array, low) - low) / max(high - low, 1e-300)
    levels = np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
    colored = cv2.cvtColor(
        cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB
    )
    colored[~finite] = 0
    return np.asarray(colored, np.uint8)


def range_to_image(
    values: NDArray[Any], low: float, high: float, false_colors: bool = False
) -> Image:
    """Converts an array to an image, from a range of values that is known.

    Args:
        values: Numbers of shape `(height, width, channels)`. Three channels or more are
            shown by the first three, as RGB; one or two by the first. NaN is black.
        low: The darkest value.
        high: The brightest value.
        false_colors: Whether one channel is shown as `map_to_image` does, not in gray.

    Returns:
        uint8 array of shape `(height, width)` or `(height, width, 3)`.

    Example:

    >>> range_to_image(np.array([[[-1.0], [0.0], [2.0]]]), -1, 1)
    array([[  0, 128, 255]], dtype=uint8)
    """
    shown = values[..., :3] if values.shape[-1] > 2 else values[..., 0]
    if false_colors and shown.ndim == 2:
        return map_to_image(shown, low, high)
    shares = (np.asarray(shown, np.float64) - low) / (high - low)
    return np.rint(255 * np.clip(np.nan_to_num(shares), 0, 1)).astype(np.uint8)


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 3 and is_channels_first():
        array = np.moveaxis(array, 0, -1)
    return array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array


def check_image(image: Any) -> Image:
    """Validates the return value of a user's `image_fn`.

    Raises:
        ValueError: If the value is not a uint8 image.
    """
    array = np.asarray(image)
    shown = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3, 4))
    if array.dtype != np.uint8 or not shown or array.size == 0:
        raise ValueError(
            "`image_fn` must return a uint8 array of shape (height, width) or (height, "
            "width, 1, 3 or 4), text, or media of W&B. "
            f"Received: {array.dtype} of shape {array.shape}"
        )
    return array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array


def to_rgb(image: Any) -> Image:
    """Converts a gray, RGB or RGBA image to RGB, to draw on it.

    Args:
        image: uint8 array of shape `(height, width)` or `(height, width, 1, 3 or 4)`.

    Returns:
        uint8 array of shape `(height, width, 3)`.

    Raises:
        ValueError: If `image` is not such an array.
    """
    array = np.asarray(image)
    gray = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 1)
    color = array.ndim == 3 and array.shape[-1] in (3, 4)
    if array.dtype != np.uint8 or not (gray or color):
        raise ValueError(
            "`image` must be a uint8 array of shape (height, width) or (height, width, "
            f"1, 3 or 4). Received: {array.dtype} of shape {array.shape}"
        )
    if gray:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=-1)
    return array[..., :3]


def check_image_format(image_format: str) -> None:
    """Checks that images can be written in a format; raises a ValueError if not."""
    if not isinstance(image_format, str) or image_format not in _ENCODING:
        raise ValueError(
            "`image_format` must be 'png' (lossless) or 'jpg'. "
            f"Received: {image_format!r}"
        )


def encode(image: Image, image_format: str) -> bytes:
    """Encodes a uint8 image, gray, RGB or RGBA, as a PNG or JPEG file."""
    if image.ndim == 3:
        opaque = image.shape[-1] == 3 or image_format == "jpg"
        code = cv2.COLOR_RGBA2BGRA
        if opaque:
            code = cv2.COLOR_RGB2BGR if image.shape[-1] == 3 else cv2.COLOR_RGBA2BGR
        image = np.asarray(cv2.cvtColor(np.ascontiguousarray(image), code), np.uint8)
    return _imencode(f".{image_format}", image, _ENCODING[image_format])


def _imencode(suffix: str, image: Image, parameters: list[int]) -> bytes:
    try:
        done, content = cv2.imencode(suffix, image, parameters)
    except cv2.error:  # Older releases of OpenCV raise.
        done = False
    if not done:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape}")
    return content.tobytes()


def encode_images(
    images: Sequence[Image],
    folder: Folder,
    image_format: str = "png",
    done: Callable[[], None] = lambda: None,
    *,
    caption: str | None = None,
) -> list[wandb.Image]:
    """Encodes images in a pool of threads, and writes the files.

    Args:
        images: uint8 arrays of shape `(height, width[, 3 or 4])`.
        folder: The folder to write to: `data_folder` or `prediction_folder`.
        image_format: `"png"` or `"jpg"`.
        done: A function that is called after each image.
        caption: The caption below each image.

    Returns:
        The images, in the order of `images`.
    """

    def encoded(image: Image) -> wandb.Image:
        content = encode(image, image_format)
        height, width = image.shape[:2]
        place = width, height, folder
        return write_image(content, image_format, *place, caption=caption)

    return map_in_threads(encoded, images, done)


def encode_masks(
    masks: Sequence[NDArray[np.uint8]],
    folder: Folder,
    key: str,
    class_labels: dict[int, str],
    done: Callable[[], None] = lambda: None,
) -> list[wandb.data_types.ImageMask]:
    """Encodes masks of class ids as 8-bit PNG files, in a pool of threads.

    Args:
        masks: uint8 arrays of shape `(height, width)`.
        folder: The folder to write to: `data_folder` or `prediction_folder`.
        key: The name of the layer, such as `"predictions"`.
        class_labels: The names of the class ids.
        done: A function that is called after each mask.

    Returns:
        The masks, in the order of `masks`.
    """

    def encoded(mask: NDArray[np.uint8]) -> wandb.data_types.ImageMask:
        content = _imencode(".png", mask, _MASK_ENCODING)
        return write_mask(content, key, class_labels, folder)

    return map_in_threads(encoded, masks, done)
