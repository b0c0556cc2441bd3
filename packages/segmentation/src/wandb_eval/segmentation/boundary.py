"""Boundary IoU: the fit of contours, independent of the size of regions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.engine.kit.opencv import cv2
from wandb_eval.segmentation.metrics import Scores

DILATION = 0.02
"""The width of a boundary, as a share of the image's diagonal."""


class BoundaryIou:
    """IoU of the boundaries of each class, over many batches.

    The boundary of a class consists of the pixels of its mask within a distance of the
    contour; the edge of the image is a contour, too. IoU is that of the boundaries in
    truth and prediction, summed over all images (Cheng et al. 2021,
    https://arxiv.org/abs/2103.16562, with its distance of 2 % of the diagonal).

    Pixels that are ignored or without a class are first removed from both masks, so
    that they make the same contours in both.

    Args:
        num_classes: The number of classes.
        ignore_index: The id in the truth of pixels that are ignored.
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None) -> None:
        self._ignore_index = ignore_index
        self._counts = np.zeros((3, num_classes), np.int64)

    def update(self, truth: NDArray[Any], prediction: NDArray[Any]) -> None:
        """Takes in a batch.

        Args:
            truth: Class ids of shape `(batch, height, width)`.
            prediction: Class ids of the same shape.
        """
        num_classes = self._counts.shape[1]
        for true, predicted in zip(truth, prediction, strict=True):
            counted = (true >= 0) & (true < num_classes) & (true != self._ignore_index)
            for index in np.union1d(true[counted], predicted[counted]):
                if 0 <= index < num_classes:
                    sides = [
                        boundary((mask == index) & counted)
                        for mask in (true, predicted)
                    ]
                    both = sides[0] & sides[1]
                    for k, side in enumerate((both, *sides)):
                        self._counts[k, index] += int(side.sum())

    def merge(self, other: BoundaryIou) -> None:
        """Takes in all images of another one."""
        self._counts += other._counts

    def compute(self) -> dict[str, float]:
        """`boundary_iou`, the mean over the classes; nothing without classes."""
        mean = Scores.of_classes(*self._counts).mean_iou
        return {} if np.isnan(mean) else {"boundary_iou": float(mean)}


def boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask within the distance of its contour.

    Args:
        mask: A mask of shape `(height, width)`.

    Returns:
        Booleans of the same shape.
    """
    height, width = mask.shape
    distance = max(1, round(DILATION * float(np.hypot(height, width))))
    framed = np.pad(mask.astype(np.uint8), 1)
    kernel = np.ones((3, 3), np.uint8)
    eroded = cv2.erode(framed, kernel, iterations=distance)[1:-1, 1:-1]
    return np.asarray(mask & (eroded == 0))
