"""Batches of images and of their boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from wandb_eval.engine import image_size

SIZES = "image_sizes"
"""The key in y of the sizes of images, which the callback adds."""

_KEYS = {"boxes", "labels", "classes", "iscrowd", "is_crowd", "area"}


def one_dict(images: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Joins the dictionaries of several images into one dictionary of lists."""
    keys = {key for image in images for key in image} & _KEYS
    for image in images:
        if not keys <= set(image):
            raise ValueError(
                "The dictionaries of a batch must have the same keys of "
                f"{sorted(_KEYS)}. Received: {sorted(keys)}, and {sorted(image)}"
            )
    return {key: [image[key] for image in images] for key in keys}


def several_inputs(x: Any, y: Any) -> Any:
    """Returns x, or the tuple of its parts if it is a list of the inputs of a model.

    Args:
        x: The inputs of a batch.
        y: The boxes of the batch, as a dictionary, or a dictionary for each image.
    """
    boxes = y.get("boxes") if isinstance(y, Mapping) else y
    if not isinstance(x, list) or boxes is None:
        return x
    count = boxes.shape[0] if hasattr(boxes, "shape") else len(boxes)
    shapes = [np.shape(part) for part in x]
    are_images = len(x) == count and {*map(len, shapes)} in ({2}, {3})
    is_tuple = not are_images and {shape[:1] for shape in shapes} == {(count,)}
    return tuple(x) if is_tuple else x


def image_sizes(x: Any) -> NDArray[np.int64]:
    """Height and width of each image of a batch.

    Args:
        x: An array of shape `(batch, height, width[, channels])` or `(batch, frames,
            height, width, channels)`, a ragged tensor or a list of images, or a tuple
            or dict of inputs that contains one of these. Channels come before height
            and width if `keras.config.image_data_format()` is `"channels_first"`.

    Returns:
        Array of shape `(batch, 2)`.

    Raises:
        ValueError: If there are no images in x.
    """
    ranks = {len(np.shape(image)) for image in x} if isinstance(x, list) else set()
    if ranks and (ranks <= {2, 3} or ranks == {4}):
        sizes = [image_size([np.shape(image)]) for image in x]
        return np.array([size or (0, 0) for size in sizes], np.int64)
    leaves = keras.tree.flatten(x)
    for leaf in leaves:
        if hasattr(leaf, "row_splits"):
            images = [i.to_tensor() if hasattr(i, "to_tensor") else i for i in leaf]
            return image_sizes(images)
    shapes = [tuple(getattr(leaf, "shape", ())) for leaf in leaves]
    size = image_size([shape[1:] for shape in shapes])
    if size is not None:
        return np.tile(np.array(size, np.int64), (shapes[0][0], 1))
    raise ValueError(
        "x of `validation_data` must be images, of shape (batch, height, width, "
        f"channels). Received: {x!r:.200}"
    )
