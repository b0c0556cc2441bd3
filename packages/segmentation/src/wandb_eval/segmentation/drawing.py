"""Draws masks on images, for use without W&B."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.engine import (
    class_color,
    class_swatches,
    color_swatch,
    legend_strip,
    to_numpy,
    to_rgb,
)
from wandb_eval.engine.kit.opencv import cv2

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WRONG = _MISSED = (255, 30, 30)
_INVENTED = (70, 140, 255)
_CONFUSED = (255, 215, 0)
_SHARE_WITH_NAME = 0.005  # The lowest share of the image of a region with a name.


def draw_segmentation(
    image: NDArray[np.uint8],
    mask: NDArray[Any],
    class_names: Sequence[str],
    alpha: float = 0.5,
    scale: int = 1,
) -> NDArray[np.uint8]:
    """Draws a mask on an image: each class in its colour, with its name on each region.

    A class has the same colour in every picture. A class that is named "background" is
    not drawn, and neither are ids that have no name, such as that of ignored pixels.

    Args:
        image: uint8 array of shape `(height, width)`, `(height, width, 1)`, or
            `(height, width, 3 or 4)`, RGB. It is not changed.
        mask: Class ids, integers of shape `(height, width)`.
        class_names: The name of each class id. OpenCV draws ASCII; other characters
            become question marks.
        alpha: The opacity of the colours, 0 to 1.
        scale: The factor by which the image is enlarged before drawing. Names are
            legible from about 200 pixels a side.

    Returns:
        uint8 array of shape `(scale * height, scale * width, 3)`, RGB.

    Raises:
        ValueError: If image or mask is not valid, if their sizes differ, or if `alpha`
            is not between 0 and 1.

    Example:

    >>> image = np.zeros((64, 96, 3), np.uint8)
    >>> mask = np.zeros((64, 96), int)
    >>> mask[10:40, 20:60] = 1
    >>> draw_segmentation(image, mask, ["background", "cat"], scale=4).shape
    (256, 384, 3)
    """
    canvas = to_rgb(image).repeat(scale, axis=0).repeat(scale, axis=1)
    [ids] = _check_masks(image, mask)
    ids = ids.repeat(scale, axis=0).repeat(scale, axis=1)
    if not 0 <= alpha <= 1:
        raise ValueError(f"`alpha` must be a number of 0 to 1. Received: {alpha!r}")
    shown = [
        int(index)
        for index in np.unique(ids)
        if 0 <= index < len(class_names)
        and class_names[int(index)].lower() != "background"
    ]
    for index in shown:
        area = ids == index
        color = np.array(class_color(index))
        canvas[area] = np.rint((1 - alpha) * canvas[area] + alpha * color)
    for index in shown:
        _write_names(canvas, ids == index, class_names[index])
    return canvas


def draw_disagreement(
    image: NDArray[np.uint8],
    truth: NDArray[Any],
    prediction: NDArray[Any],
    ignore_index: int | None = None,
    scale: int = 1,
    *,
    background: int | None = None,
) -> NDArray[np.uint8]:
    """Draws the image in gray, with the pixels of wrong predictions in colour.

    Wrong pixels are red. If the background is known, only pixels of a class that are
    predicted as background are red. Pixels of the background that are predicted as
    another class are blue, and pixels of a class that are predicted as another one are
    yellow.

    Args:
        image: uint8 array of shape `(height, width)`, `(height, width, 1)`, or
            `(height, width, 3 or 4)`, RGB. It is not changed.
        truth: Class ids, integers of shape `(height, width)`.
        prediction: Class ids of the same shape.
        ignore_index: The id in `truth` of pixels that are never wrong.
        scale: The factor by which the picture is enlarged.
        background: The id of the background, if there is one.

    Returns:
        uint8 array of shape `(scale * height, scale * width, 3)`, RGB.

    Raises:
        ValueError: If image or masks are not valid, or if their sizes differ.

    Example:

    >>> image = np.full((1, 2, 3), 99, np.uint8)
    >>> draw_disagreement(image, np.array([[0, 1]]), np.array([[0, 0]])).tolist()
    [[[99, 99, 99], [255, 30, 30]]]
    """
    gray = cv2.cvtColor(np.ascontiguousarray(to_rgb(image)), cv2.COLOR_RGB2GRAY)
    drawn = np.repeat(np.asarray(gray, np.uint8)[..., None], 3, axis=2)
    true_ids, predicted_ids = _check_masks(image, truth, prediction)
    wrong = true_ids != predicted_ids
    if ignore_index is not None:
        wrong &= true_ids != ignore_index
    drawn[wrong] = _WRONG
    if background is not None:
        drawn[wrong & (true_ids == background)] = _INVENTED
        drawn[wrong & (true_ids != background) & (predicted_ids != background)] = (
            _CONFUSED
        )
    return drawn.repeat(scale, axis=0).repeat(scale, axis=1)


def draw_legend(
    class_names: Sequence[str], width: int, background: int | None = None
) -> NDArray[np.uint8]:
    """Draws a legend of the colours of the other functions.

    Args:
        class_names: The name of each class id, or an empty list for the colours of
            wrong pixels alone. A class that is named "background" is left out.
        width: The width of the legend in pixels. The number of rows follows from it.
        background: The id of the background, as for `draw_disagreement`.

    Returns:
        uint8 array of shape `(height, width, 3)`, RGB: white on black.

    Example:

    >>> draw_legend(["background", "cat"], width=800, background=0).shape
    (32, 800, 3)
    """
    wrong = [(_WRONG, "wrong")]
    if background is not None:
        wrong = [
            (_MISSED, "wrong: missed"),
            (_INVENTED, "wrong: nothing there"),
            (_CONFUSED, "wrong: another class"),
        ]
    kinds = [(color_swatch(color), text) for color, text in wrong]
    return legend_strip([*class_swatches(class_names), *kinds], width)


def _check_masks(image: NDArray[np.uint8], *masks: NDArray[Any]) -> list[NDArray[Any]]:
    arrays = [to_numpy(mask) for mask in masks]
    size = np.shape(image)[:2]
    for array in arrays:
        if array.dtype.kind not in "iub" or array.shape != size:
            raise ValueError(
                "A mask must have an integer for each pixel of the image, so its shape "
                f"must be {size}. Received: {array.dtype} of shape {array.shape}"
            )
    return arrays


def _write_names(canvas: NDArray[np.uint8], area: NDArray[np.bool_], name: str) -> None:
    """Writes a name in the middle of each region, white with a dark rim."""
    font_scale = max(0.4, min(canvas.shape[:2]) / 500)
    (width, height), _ = cv2.getTextSize(name, _FONT, font_scale, 1)
    count, _, stats, centers = cv2.connectedComponentsWithStats(area.astype(np.uint8))
    for region in range(1, count):
        if stats[region, cv2.CC_STAT_AREA] < _SHARE_WITH_NAME * area.size:
            continue
        x, y = centers[region] + (-width / 2, height / 2)
        # The name is inside the image as far as possible.
        left = max(0, min(int(x), canvas.shape[1] - width))
        bottom = max(height, min(int(y), canvas.shape[0] - 1))
        for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(
                canvas,
                name,
                (left, bottom),
                _FONT,
                font_scale,
                color,
                thickness,
                cv2.LINE_AA,
            )
