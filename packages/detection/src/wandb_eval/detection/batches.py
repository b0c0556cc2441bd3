"""Batches of images, and of boxes in a dictionary for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

_KEYS = {"boxes", "labels", "classes", "iscrowd", "area"}


def one_dict(images: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Boxes of several images, in a dictionary each, as one with lists."""
    keys = {key for image in images for key in image} & _KEYS
    for image in images:
        if not keys <= set(image):
            raise ValueError(
                "The dictionaries of a batch must have the same keys of "
                f"{sorted(_KEYS)}. Received: {sorted(keys)}, and {sorted(image)}"
            )
    return {key: [image[key] for image in images] for key in keys}


def image_sizes(x: Any) -> NDArray[np.int64]:
    """Height and width of each image of a batch.

    Args:
        x: An array of shape `(batch, height, width[, channels])`, a ragged tensor or a
            list of images, or a tuple or dict of inputs of which one is that. Channels
            come first if `keras.config.image_data_format()` says so.

    Returns:
        Array of shape `(batch, 2)`.

    Raises:
        ValueError: If there are no images in x.
    """
    first = keras.config.image_data_format() == "channels_first"
    if isinstance(x, list) and x and all(len(np.shape(image)) in (2, 3) for image in x):
        shapes = [np.shape(image) for image in x]
        sizes = [s[1:] if first and len(s) == 3 else s[:2] for s in shapes]
        return np.array(sizes, np.int64)
    for leaf in keras.tree.flatten(x):
        shape = tuple(getattr(leaf, "shape", ()))
        if len(shape) not in (3, 4):
            continue
        if hasattr(leaf, "row_splits"):
            images = [i.to_tensor() if hasattr(i, "to_tensor") else i for i in leaf]
            return image_sizes(images)
        size = shape[2:] if first and len(shape) == 4 else shape[1:3]
        return np.tile(np.array(size, np.int64), (shape[0], 1))
    raise ValueError(
        "x of `validation_data` must be images, of shape (batch, height, width, "
        f"channels). Received: {x!r:.200}"
    )
