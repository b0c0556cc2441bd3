"""Properties of the objects in an image, which define slices of samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.detection.detections import Detections
from wandb_eval.detection.ious import overlaps

MECHANICAL = ("num_objects", "smallest_object", "median_object", "largest_overlap")
"""Properties on which F1 depends by its definition: one miss among two objects costs
more than one among ten, and a shift by a pixel costs a small box more IoU."""


def detection_properties(
    boxes: NDArray[np.floating[Any]], height: float, width: float
) -> dict[str, float]:
    """Returns properties of the objects in an image.

    Args:
        boxes: The true boxes as corners in pixels (`"xyxy"`), shape `(objects, 4)`.
        height: The height of the image.
        width: The width of the image.

    Returns:
        - `num_objects`: the number of objects.
        - `smallest_object`, `median_object`: the smallest and the median box, as shares
          of the image's area. NaN without objects.
        - `largest_overlap`: the largest IoU of two boxes; 0 with fewer than two.
        - `touching_border`: the share of the objects whose box comes within a pixel of
          the border. NaN without objects.

    Example:

    >>> boxes = np.array([[0, 0, 50, 40], [25, 0, 75, 40], [40, 50, 60, 60]])
    >>> for name, value in detection_properties(boxes, height=100, width=100).items():
    ...     print(name, round(value, 3))
    num_objects 3.0
    smallest_object 0.02
    median_object 0.2
    largest_overlap 0.333
    touching_border 0.667
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    corners = np.clip(corners, 0, [width, height, width, height])
    count = len(corners)
    areas = np.prod(np.maximum(corners[:, 2:] - corners[:, :2], 0), axis=1)
    near = (corners[:, :2] <= 1).any(axis=1)
    near |= (corners[:, 2:] >= np.array([width, height]) - 1).any(axis=1)
    shares = areas / (height * width)
    return {
        "num_objects": float(count),
        "smallest_object": float(shares.min()) if count else math.nan,
        "median_object": float(np.median(shares)) if count else math.nan,
        "largest_overlap": _largest_iou(corners),
        "touching_border": float(near.mean()) if count else math.nan,
    }


def _largest_iou(corners: NDArray[np.float64]) -> float:
    boxes = Detections(corners, np.zeros(len(corners), np.int64))
    one_image = np.zeros(len(corners), np.int64)
    first, second, ious = overlaps(boxes, one_image, boxes, one_image)
    return float(ious[first < second].max(initial=0))
