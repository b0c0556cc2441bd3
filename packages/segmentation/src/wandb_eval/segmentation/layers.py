"""Masks as the layers that W&B shows over images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.segmentation.masks import MAX_CLASSES, NOT_A_NUMBER, Masks

IGNORED = "ignored"
NAN = "NaN"

_LEFT_OUT, _RIGHT, _WRONG = 252, 253, 254
ERROR_LABELS = {_RIGHT: "right", _WRONG: "wrong", _LEFT_OUT: "not counted"}
"""The ids of the layer that shows where the model errs: none that a class has."""


class MaskLayers:
    """Which ids masks are shown with, in 8 bits.

    Args:
        class_names: The name of each class.
        ignore_index: The id in masks of pixels that count nowhere.

    Raises:
        ValueError: If there is no id left for ignored pixels.
    """

    def __init__(self, class_names: list[str], ignore_index: int | None) -> None:
        self._ignore_index = ignore_index
        self.ignored_id = ignore_index
        if ignore_index is not None and not 0 <= ignore_index < MAX_CLASSES:
            if len(class_names) == MAX_CLASSES:
                raise ValueError(
                    f"With `ignore_index={ignore_index}` there is no id left to show "
                    "ignored pixels: W&B's masks have 8 bits, and there are 256 classes"
                    "."
                )
            self.ignored_id = MAX_CLASSES - 1
        self.labels = dict(enumerate(class_names))
        self._num_classes = len(class_names)
        if self.ignored_id is not None:
            self.labels.setdefault(self.ignored_id, IGNORED)
        # A free id, or 0.
        self.nan_id = min(set(range(MAX_CLASSES)) - set(self.labels), default=0)
        self.labels_with_nan = {self.nan_id: NAN} | self.labels

    def truth(self, mask: Masks) -> NDArray[np.uint8]:
        """A mask of the ground truth as it is shown."""
        if self.ignored_id is not None:
            mask = np.where(mask == self._ignore_index, self.ignored_id, mask)
        return mask.astype(np.uint8)

    def prediction(self, mask: Masks) -> tuple[NDArray[np.uint8], dict[int, str]]:
        """A predicted mask as it is shown, and the names of its ids."""
        lost = mask == NOT_A_NUMBER
        if not lost.any():
            return mask.astype(np.uint8), self.labels
        return np.where(lost, self.nan_id, mask).astype(np.uint8), self.labels_with_nan

    def errors(self, truth: Masks, prediction: Masks) -> NDArray[np.uint8] | None:
        """Where a prediction is right and wrong; `None` if there are too many classes.

        Its ids are those of `ERROR_LABELS`.
        """
        if self._num_classes > _LEFT_OUT:
            return None
        shown: Any = np.where(truth == prediction, _RIGHT, _WRONG)
        counts = (truth >= 0) & (truth < self._num_classes)
        counts &= prediction != NOT_A_NUMBER
        if self._ignore_index is not None:
            counts &= truth != self._ignore_index
        shown[~counts] = _LEFT_OUT
        return np.asarray(shown, np.uint8)
