"""Intersection over union of the boxes of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wandb_eval.detection.detections import Detections, Floats, Ints

_MOST_PAIRS = 2**20


def overlaps(
    predicted: Detections, image: Ints, true: Detections, true_image: Ints
) -> tuple[Ints, Ints, Floats]:
    """Intersection over union of predictions with true boxes of their image.

    It equals that of COCO to the last digit. For a crowd it is the share of the
    prediction that lies in the crowd.

    Args:
        predicted: The predictions of a batch.
        image: The place of the image of each prediction, in ascending order.
        true: The true boxes.
        true_image: The place of the image of each true box, in ascending order.

    Returns:
        Prediction, true box and IoU of each pair that overlaps, in the order of the
        predictions, then of the true boxes.
    """
    starts = np.searchsorted(true_image, image)
    counts = np.searchsorted(true_image, image, side="right") - starts
    boxes, true_boxes = (_edges_and_area(side.boxes) for side in (predicted, true))
    pairs: list[tuple[Ints, Ints, Floats]] = []
    # Batches that would take too much memory are computed in parts.
    for part in np.array_split(np.arange(len(image)), counts.sum() // _MOST_PAIRS + 1):
        i = np.repeat(part, counts[part])
        ends = np.cumsum(counts[part])
        j = np.arange(len(i)) + np.repeat(
            starts[part] - ends + counts[part], counts[part]
        )
        sides: list[Floats] = []
        for low, high in ((0, 2), (1, 3)):
            side = np.minimum(boxes[high][i], true_boxes[high][j])
            side -= np.maximum(boxes[low][i], true_boxes[low][j])
            common = side > 0
            i, j = i[common], j[common]
            sides = [*(before[common] for before in sides), side[common]]
        shared = sides[0] * sides[1]
        area = boxes[4][i]
        union = np.where(true.iscrowd[j], area, area + true_boxes[4][j] - shared)
        pairs.append((i, j, shared / union))
    i, j, ious = map(np.concatenate, zip(*pairs, strict=True))
    return i, j, ious


def _edges_and_area(boxes: Floats) -> Floats:
    """Left, top, right, bottom and area, each as a row, computed as in COCO."""
    left, top, width, height = as_xywh(boxes).T
    return np.stack([left, top, left + width, top + height, width * height])


def as_xywh(boxes: Floats) -> Floats:
    """Converts `[left, top, right, bottom]` to `[left, top, width, height]`."""
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def places_of(images: Sequence[Detections]) -> Ints:
    """The place of the image of each box."""
    return np.repeat(np.arange(len(images)), [len(image) for image in images])
