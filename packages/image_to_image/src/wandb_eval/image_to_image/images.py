"""Reads images of targets and outputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.core.arguments import is_number
from wandb_eval.engine import check_single, target_array, to_numpy
from wandb_eval.engine.kit.input_images import channels_come_first

Images = NDArray[np.floating[Any]]


def read_targets(y: Any, invalid: float | None = None) -> Images:
    """Reads the targets of a batch.

    Args:
        y: Numbers of shape `(batch, height, width[, channels])`; channels first if
            `keras.config.image_data_format()` is `"channels_first"`.
        invalid: The value that is ignored.

    Returns:
        Floats of shape `(batch, height, width, channels)`, with NaN for ignored values.

    Raises:
        ValueError: If they are not images.
    """
    array = target_array(y, "targets")
    if hasattr(array, "row_splits"):
        raise ValueError(
            "Targets must be images of one size. Received: a ragged tensor"
        )
    targets = _read(array, "Targets")
    unknown = ~np.isfinite(targets)
    if invalid is not None:
        if array.dtype.kind == "f":  # -9999 is -10,000 in float16.
            with np.errstate(over="ignore"):
                invalid = float(np.asarray(invalid, array.dtype))
        unknown |= targets == np.asarray(invalid, targets.dtype)
    return np.where(unknown, np.nan, targets) if unknown.any() else targets


def read_outputs(outputs: Any) -> Images:
    """Reads the outputs of a model, which may have the same shapes as targets.

    Raises:
        ValueError: If they are not images.
    """
    check_single(outputs)
    return _read(to_numpy(outputs), "Outputs of an image-to-image model")


def _read(array: NDArray[Any], what: str) -> Images:
    is_image = array.ndim in (3, 4) and 0 not in array.shape[1:]
    if not is_image or array.dtype.kind not in "biuf":
        raise ValueError(
            f"{what} must be numbers of shape (batch, height, width[, channels]). "
            f"Received: {array.dtype} of shape {array.shape}"
        )
    if array.ndim == 3:
        array = array[..., None]
    elif channels_come_first(array.shape[1:]):
        array = np.moveaxis(array, 1, -1)
    if array.dtype not in (np.float32, np.float64):
        exact = array.dtype.kind in "iu" and array.dtype.itemsize > 2
        array = array.astype(np.float64 if exact else np.float32)
    return array


def check_value_range(value_range: Any) -> tuple[float, float]:
    """Returns a range as two floats; raises a ValueError if it is not valid."""
    is_pair = isinstance(value_range, (tuple, list)) and len(value_range) == 2
    if not (
        is_pair
        and all(is_number(v) and math.isfinite(v) for v in value_range)
        and value_range[0] < value_range[1]
    ):
        raise ValueError(
            "`value_range` must be the lowest and the highest value of targets, such "
            f"as (0, 1). Received: {value_range!r:.200}"
        )
    return float(value_range[0]), float(value_range[1])


def check_invalid(invalid: Any) -> float | None:
    """Returns the value to ignore; raises a ValueError if it is not a number."""
    if invalid is not None and not is_number(invalid):
        raise ValueError(
            f"`invalid` must be a number or None. Received: {invalid!r:.200}"
        )
    return None if invalid is None else float(invalid)


def fits(images: Images, value_range: tuple[float, float]) -> bool:
    """Whether images fit a range, which they may exceed by half of its width."""
    low, high = value_range
    known = images[np.isfinite(images)]
    margin = (high - low) / 2
    return not known.size or bool(
        low - margin <= known.min() and known.max() <= high + margin
    )
