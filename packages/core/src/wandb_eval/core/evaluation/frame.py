"""What a model's own preprocessor makes of the data, as KerasHub's tasks do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from wandb_eval.core.evaluation.trees import to_numpy


def preprocessing(model: Any) -> Callable[[Any], Any] | None:
    """What `fit` and `evaluate` of a model do to a batch first; `None` for nothing."""
    preprocess = getattr(model, "preprocess_samples", None)
    if preprocess is None or getattr(model, "preprocessor", None) is None:
        return None

    def prepare(raw: Any) -> Any:
        if not isinstance(raw, (tuple, list)) or len(raw) not in (2, 3):
            return raw
        # Of a batch with a list in it, KerasHub's layers make a tensor.
        return keras.tree.map_structure(
            lambda leaf: leaf if leaf is None else to_numpy(leaf), preprocess(*raw)
        )

    return prepare


def before_rescaling(model: Any, x: Any) -> Any:
    """A preprocessed image with the values that it had: resized, but not rescaled.

    KerasHub's `ImageConverter` resizes an image, multiplies it by `scale` and adds
    `offset`. Shown is what lies before these two.
    """
    converter = getattr(getattr(model, "preprocessor", None), "image_converter", None)
    scale, offset = (
        getattr(converter, "scale", None),
        getattr(converter, "offset", None),
    )
    if not isinstance(x, np.ndarray) or (scale is None and offset is None):
        return x
    axis = (-1, 1, 1) if _channels_first(converter) else (1, 1, -1)
    shown: Any = x.astype(np.float32)
    if offset is not None:
        shown = shown - np.reshape(np.asarray(offset, np.float32), _fit(offset, axis))
    if scale is not None:
        shown = shown / np.reshape(np.asarray(scale, np.float32), _fit(scale, axis))
    return shown


def _channels_first(converter: Any) -> bool:
    return getattr(converter, "data_format", None) == "channels_first"


def _fit(value: Any, axis: tuple[int, ...]) -> tuple[int, ...]:
    return axis if np.ndim(value) else (1, 1, 1)
