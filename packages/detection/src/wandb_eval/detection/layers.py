"""Boxes as the layers that W&B shows over images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wandb_eval.detection.detections import Detections
from wandb_eval.engine import at_least

MAX_BOXES = 100
"""The most boxes that a layer of predictions has: those with the highest scores."""


def box_layer(
    detections: Detections,
    class_labels: dict[int, str],
    height: int,
    width: int,
    score_threshold: float = 0.0,
    *,
    kinds: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Makes a layer for `wandb.Image(image, boxes={"predictions": layer})`.

    Boxes are clipped to the image, and left out if they are outside of it. Positions
    are in pixels, rounded to hundredths. The format is that of
    https://docs.wandb.ai/guides/track/log/media/#bounding-boxes.

    Args:
        detections: The boxes. W&B filters by `score` if they have scores.
        class_labels: The name of each class id.
        height: The height of the image in pixels.
        width: The width of the image in pixels.
        score_threshold: The lowest score. Boxes with a lower score are left out.
        kinds: The error of each box; `"right"` or `""` for none. The error is the
            caption, and a box without one has no caption, because captions hide other
            boxes. `None` for captions of the name of the class and the score.

    Returns:
        A dictionary with `box_data` and `class_labels`.

    Example:

    >>> boxes = Detections([[-5, 8, 24, 16]], labels=[1], scores=[0.9])
    >>> layer = box_layer(boxes, {0: "cat", 1: "dog"}, height=32, width=32)
    >>> layer["box_data"][0]["position"]
    {'minX': 0.0, 'minY': 8.0, 'maxX': 24.0, 'maxY': 16.0}
    >>> layer["box_data"][0]["box_caption"]
    'dog 0.90'
    """
    corners = np.clip(detections.boxes, 0, [width, height, width, height])
    shown = (corners[:, 2:] > corners[:, :2]).all(axis=1)
    scores = detections.scores
    if scores is not None:
        best = np.argsort(-scores, kind="stable")
        index = best[(shown & at_least(scores, score_threshold))[best]][:MAX_BOXES]
    else:
        index = np.flatnonzero(shown)
    positions = corners[index].round(2).tolist()
    labels = detections.labels[index].tolist()
    box_data: list[dict[str, Any]] = [
        {
            "position": {"minX": left, "minY": top, "maxX": right, "maxY": bottom},
            "domain": "pixel",
            "class_id": label,
            "box_caption": class_labels[label],
        }
        for (left, top, right, bottom), label in zip(positions, labels, strict=True)
    ]
    if scores is not None:
        for box, score in zip(box_data, scores[index].round(4).tolist(), strict=True):
            box["box_caption"] += f" {score:.2f}"
            box["scores"] = {"score": score}
    if kinds is not None:
        for box, i in zip(box_data, index.tolist(), strict=True):
            # Without a caption, W&B's page would show the name of the class.
            box["box_caption"] = "" if kinds[i] == "right" else kinds[i]
    return {"box_data": box_data, "class_labels": class_labels}
