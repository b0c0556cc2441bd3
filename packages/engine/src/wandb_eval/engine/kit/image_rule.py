"""The rule by which the values of images become levels of 0 to 255."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.engine.kit.input_images import (
    image_of,
    is_channels_first,
    received,
    say,
)
from wandb_eval.engine.kit.stretching import Stretch, are_standardised

Levels = NDArray[np.uint8]

HINT = (
    "Pass `image_fn`, a function that takes one sample of x and returns its cell: "
    "a uint8 array of shape (height, width) or (height, width, channels), text, or "
    "media of W&B. `wandb_eval.engine.map_to_image` shows a map of any range, such as "
    "depth."
)

_BEYOND = 0.25
"""The share of a range by which values may exceed it."""

_FLAT = 16
"""Images whose levels, of 255, are all closer together than this look flat."""


class ImageRule:
    """The rule of `to_images`, inferred from some samples and applied to any sample.

    Args:
        samples: The samples from which the rule is inferred. Those that are not images,
            or not finite, are skipped.

    Attributes:
        is_known: Whether the rule could be inferred.
    """

    def __init__(self, samples: Sequence[Any]) -> None:
        self._scale, self._offset = 1.0, 0.0
        self._stretch: Stretch | None = None
        self._is_shown_as_it_is = True
        self._drops_fourth = False
        images = [image for image in map(_finite_image, samples) if image is not None]
        self.is_known = bool(images)
        if not images:
            return
        arrays = [_without_fourth(image) for image in images]
        low = min(float(array.min()) for array in arrays)
        high = max(float(array.max()) for array in arrays)
        dtype = np.result_type(*{array.dtype for array in arrays})
        scale = _scale(low, high, dtype)
        if scale == (1.0, 0.0) and low < 0 and are_standardised(arrays):
            scale = None
        if scale is None:
            self._set_stretch(arrays, dtype)
        else:
            self._scale, self._offset = scale
        self._is_shown_as_it_is = dtype == np.uint8 and scale == (1.0, 0.0)
        if dtype.kind in "iu" and self._scale == 255:
            say(
                "The images of `validation_data` are integers, all of them 0 or 1: "
                "they are shown as black and white."
            )
        fourth = [image[..., 3] for image in images if image.shape[2:] == (4,)]
        self._drops_fourth = bool(fourth) and not self._is_opacity(fourth)
        if self._drops_fourth:
            say(
                "The images of `validation_data` have a fourth channel that is not "
                "opacity: they are shown without it. Pass `image_fn` to show it."
            )

    def _set_stretch(
        self, arrays: Sequence[NDArray[Any]], dtype: np.dtype[Any]
    ) -> None:
        stretch = self._stretch = Stretch(arrays)
        each = ", each channel by itself" if stretch.by_channel else ""
        say(
            f"The images of `validation_data` have the dtype {dtype} and values from "
            f"{stretch.low:g} to {stretch.high:g}: they are shown stretched from the "
            f"lowest to the highest{each}. To show them as they were before they were "
            "scaled, pass `image_fn`, as `image_fn=lambda x: np.uint8(np.clip(255 * "
            "(x * std + mean), 0, 255))`. `wandb_eval.engine.map_to_image` shows a "
            "map, such as depth."
        )

    def __call__(self, sample: Any) -> Levels | None:
        """Converts a sample to a uint8 image; `None` if it can't be shown."""
        array = _finite_image(sample)
        if array is None:
            return None
        if self._drops_fourth:
            array = _without_fourth(array)
        return self._apply(array)

    def _apply(self, array: NDArray[Any]) -> Levels:
        if self._stretch is not None:
            return self._stretch(_without_fourth(array))
        if self._is_shown_as_it_is and array.dtype == np.uint8:
            return np.asarray(array, np.uint8)
        # Values beyond the range of float32 become infinite, and are clipped.
        with np.errstate(over="ignore"):
            scaled = array.astype(np.float32) * self._scale + self._offset
        scaled = np.nan_to_num(np.rint(np.clip(scaled, 0, 255)))
        return np.asarray(scaled, np.uint8)

    def _is_opacity(self, channels: list[NDArray[Any]]) -> bool:
        """Whether nearly all pixels are either transparent or fully opaque."""
        highest = [float(c.max()) * self._scale + self._offset for c in channels]
        in_range = all(level <= 255 * (1 + _BEYOND) for level in highest)
        if self._stretch is not None or not in_range:
            return False  # For example, depth beside colors of 0 to 1.
        shown = [self._apply(channel) for channel in channels]
        count = sum(channel.size for channel in shown)
        opaque = [int((channel == 255).sum()) for channel in shown]
        hidden = sum(int((channel == 0).sum()) for channel in shown)
        partly = count - sum(opaque) - hidden
        return all(opaque) and partly <= min(0.1 * count, sum(opaque))


def _scale(low: float, high: float, dtype: np.dtype[Any]) -> tuple[float, float] | None:
    """Returns the factor and offset that map to 0 to 255; `None` if no rule applies."""
    if dtype == np.bool_ or (dtype.kind in "iu" and (low, high) in ((0, 1), (1, 1))):
        return 255.0, 0.0
    if dtype.kind != "f":
        return (1.0, 0.0) if low >= 0 and high <= 255 else None
    scale = _scale_of_floats(low, high)
    is_flat = scale is not None and 0 < (high - low) * scale[0] < _FLAT
    return None if is_flat else scale


def _scale_of_floats(low: float, high: float) -> tuple[float, float] | None:
    # Images of 0 to 1 have few values below 0: -0.2 to 0.2 is another range.
    if low >= -min(_BEYOND, max(high, 0) / 2) and high <= 1 + _BEYOND:
        return 255.0, 0.0
    reaches_down = low < _BEYOND - 1 or (low < 0 and high <= 1 + _BEYOND)
    if low >= -1 - 2 * _BEYOND and high <= 1 + 2 * _BEYOND and reaches_down:
        return 127.5, 127.5
    # Likewise, -3 to 3 is another range. Values up to 5 of 255 would be nearly black.
    fits = -low <= _BEYOND * min(high, 255) and high <= 255 * (1 + _BEYOND)
    is_bright = high >= 64 or (low == high and high > 2)
    return (1.0, 0.0) if fits and is_bright else None


def _finite_image(sample: Any) -> NDArray[Any] | None:
    """Returns the image of a sample; `None` if there is none, or it is not finite."""
    image = image_of(sample)
    if image is None:
        return None
    shown = _without_fourth(image)
    # The minimum and maximum of an array with NaN are NaN.
    if (
        shown.dtype.kind == "f"
        and not np.isfinite([float(shown.min()), float(shown.max())]).all()
    ):
        return None
    return image


def _without_fourth(array: NDArray[Any]) -> NDArray[Any]:
    return array[..., :3] if array.shape[2:] == (4,) else array


def why_not(sample: Any) -> str:
    """Returns the reason why a sample has no image."""
    if image_of(sample) is not None:
        return f"There are images with NaN or infinity in them. {HINT}"
    channels = "(height, width, channels)"
    if is_channels_first():
        channels = "(channels, height, width)"
    return (
        "Expected an image in each sample of x, of shape (height, width) or "
        f"{channels}. Received: {received(sample)}. {HINT}"
    )
