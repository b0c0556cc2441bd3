"""Draws boxes on images, for use without W&B."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.detection.detections import Bools, Detections
from wandb_eval.detection.matching import ImageMatch
from wandb_eval.engine import class_color, class_swatches, legend_strip, to_rgb
from wandb_eval.engine.kit.legend import SWATCH
from wandb_eval.engine.kit.opencv import cv2

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE = (255, 255, 255)
_LUMINANCE = (0.299, 0.587, 0.114)

_Color = tuple[int, int, int]


def draw_detections(
    image: NDArray[np.uint8],
    ground_truth: Detections | Mapping[str, Any] | None,
    predictions: Detections | Mapping[str, Any] | None,
    class_names: Sequence[str],
    scale: int = 1,
    *,
    iou_threshold: float = 0.5,
) -> NDArray[np.uint8]:
    """Draws true and predicted boxes on an image.

    True boxes have solid lines and their name below, on the colour of the class; missed
    true boxes are crossed out. Predicted boxes have dashed lines and their name and
    score above, on black. A class has the same colour in every image.

    Args:
        image: uint8 array of shape `(height, width)`, `(height, width, 1)`, or
            `(height, width, 3 or 4)`, RGB. It is not changed.
        ground_truth: The true boxes, or `None`: `Detections`, or a dictionary as for
            `Detections.from_dict`, with `xyxy` in pixels of `image`.
        predictions: The predicted boxes in the same form, or `None`. All of them are
            drawn.
        class_names: The name of each class id. OpenCV draws ASCII; other characters
            become question marks.
        scale: The factor by which the image is enlarged before drawing. Captions are
            legible from about 200 pixels a side.
        iou_threshold: The lowest IoU at which a prediction matches a true box of its
            class, as for the callback. True boxes without a match are missed, unless
            there are no predictions at all.

    Returns:
        uint8 array of shape `(scale * height, scale * width, 3)`, RGB.

    Raises:
        ValueError: If the image is not valid, or boxes have no label or no name.

    Example:

    >>> image = np.zeros((64, 96, 3), np.uint8)
    >>> truth = {"boxes": [[8, 8, 40, 40]], "labels": [0]}
    >>> found = {"boxes": [[10, 8, 42, 38]], "labels": [0], "scores": [0.8]}
    >>> draw_detections(image, truth, found, ["cat"], scale=4).shape
    (256, 384, 3)
    """
    canvas = to_rgb(image).repeat(scale, axis=0).repeat(scale, axis=1)
    truth = _read(ground_truth, class_names, scale)
    found = _read(predictions, class_names, scale)
    shorter = min(canvas.shape[:2])
    thickness = max(1, round(shorter / 200))

    missed: Bools = np.zeros(len(truth), np.bool_)
    if predictions is not None:
        missed = _missed(truth, found, iou_threshold)
    truth, found = _within_reach(truth, canvas), _within_reach(found, canvas)
    _draw_boxes(canvas, truth, _colors(truth), thickness)
    if missed.any():
        _cross_out(canvas, truth[missed], _colors(truth[missed]), thickness)
    canvas = _draw_dashed(canvas, found, _colors(found), thickness)

    font_scale = max(0.35, shorter / 700)
    _draw_captions(canvas, truth, class_names, font_scale, above=False)
    _draw_captions(canvas, found, class_names, font_scale, above=True)
    return canvas


def draw_legend(class_names: Sequence[str], width: int) -> NDArray[np.uint8]:
    """Draws a legend of the lines and colours of `draw_detections`.

    Args:
        class_names: The name of each class id, as for `draw_detections`, or an empty
            list for the lines alone.
        width: The width of the legend in pixels. The number of rows follows from it.

    Returns:
        uint8 array of shape `(height, width, 3)`, RGB: white on black.

    Example:

    >>> draw_legend(["cat", "dog"], width=600).shape
    (32, 600, 3)
    """
    nothing = np.zeros((*SWATCH, 3), np.uint8)
    box = Detections([[1, 1, SWATCH[1] - 1, SWATCH[0] - 1]], [0])
    solid = _draw_boxes(nothing.copy(), box, [_WHITE], 1)
    crossed = solid.copy()
    _cross_out(crossed, box, [_WHITE], 1)
    lines = [
        (solid, "true"),
        (crossed, "true, missed"),
        (_draw_dashed(nothing, box, [_WHITE], 1), "predicted"),
    ]
    return legend_strip([*lines, *class_swatches(class_names)], width)


def _read(
    boxes: Detections | Mapping[str, Any] | None, class_names: Sequence[str], scale: int
) -> Detections:
    if boxes is None:
        return Detections(np.zeros((0, 4)), [])
    read = boxes if isinstance(boxes, Detections) else Detections.from_dict(boxes)
    unnamed = read.labels[(read.labels < 0) | (read.labels >= len(class_names))]
    if len(unnamed):
        raise ValueError(
            f"Labels must be class ids from 0 to {len(class_names) - 1}, as there are "
            f"{len(class_names)} class names. Received: {unnamed[0]} among them"
        )
    finite = np.asarray(np.isfinite(read.boxes).all(axis=1))
    return Detections(
        read.boxes[finite] * scale,
        read.labels[finite],
        None if read.scores is None else read.scores[finite],
        read.iscrowd[finite],
    )


def _within_reach(boxes: Detections, canvas: NDArray[np.uint8]) -> Detections:
    """Clips boxes far outside of the image, because OpenCV limits coordinates."""
    side = max(canvas.shape[:2])
    corners = np.clip(boxes.boxes, -side, 2 * side)
    return Detections(corners, boxes.labels, boxes.scores, boxes.iscrowd)


def _missed(truth: Detections, found: Detections, iou_threshold: float) -> Bools:
    """Whether each true box is missed; predictions of any score count."""
    scores = np.ones(len(found)) if found.scores is None else found.scores
    scored = Detections(found.boxes, found.labels, scores)
    return ImageMatch(truth, scored, iou_threshold, score_threshold=0.0).missed


def _colors(boxes: Detections) -> list[_Color]:
    return [class_color(int(label)) for label in boxes.labels]


def _draw_boxes(
    canvas: NDArray[np.uint8],
    boxes: Detections,
    colors: Sequence[_Color],
    thickness: int,
) -> NDArray[np.uint8]:
    corners = boxes.boxes.round().astype(int).tolist()
    for (left, top, right, bottom), color in zip(corners, colors, strict=True):
        cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), color, thickness)
    return canvas


def _draw_dashed(
    canvas: NDArray[np.uint8],
    boxes: Detections,
    colors: Sequence[_Color],
    thickness: int,
) -> NDArray[np.uint8]:
    drawn = _draw_boxes(canvas.copy(), boxes, colors, thickness)
    diagonal = np.add.outer(*map(np.arange, canvas.shape[:2]))
    dash = diagonal // (4 * thickness) % 2 == 0
    return np.where(dash[..., None], drawn, canvas)


def _cross_out(
    canvas: NDArray[np.uint8],
    boxes: Detections,
    colors: Sequence[_Color],
    thickness: int,
) -> None:
    corners = boxes.boxes.round().astype(int).tolist()
    for (left, top, right, bottom), color in zip(corners, colors, strict=True):
        for start, stop in ((top, bottom - 1), (bottom - 1, top)):
            line = (left, start), (right - 1, stop)
            cv2.line(canvas, *line, color, thickness, cv2.LINE_AA)


def _draw_captions(
    canvas: NDArray[np.uint8],
    boxes: Detections,
    class_names: Sequence[str],
    font_scale: float,
    above: bool,
) -> None:
    """Writes names above boxes, coloured on black, or below, black on the colour.

    Names are white if the colour is dark.
    """
    black = (0, 0, 0)
    corners = boxes.boxes.round().astype(int).tolist()
    for i, (left, top, _, bottom) in enumerate(corners):
        text = class_names[boxes.labels[i]]
        if boxes.scores is not None:
            text += f": {boxes.scores[i]:.2f}"
        color = class_color(int(boxes.labels[i]))
        (width, height), baseline = cv2.getTextSize(text, _FONT, font_scale, 1)
        height += baseline
        # The caption is inside the image as far as possible.
        x = max(0, min(left, canvas.shape[1] - width))
        y = max(0, min(top - height if above else bottom, canvas.shape[0] - height))
        is_dark = np.dot(color, _LUMINANCE) < 110
        background = black if above else color
        ink = _WHITE if is_dark else color if above else black
        cv2.rectangle(canvas, (x, y), (x + width, y + height), background, cv2.FILLED)
        origin = (x, y + height - baseline)
        cv2.putText(canvas, text, origin, _FONT, font_scale, ink, 1, cv2.LINE_AA)
