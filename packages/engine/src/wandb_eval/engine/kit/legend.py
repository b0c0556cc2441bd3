"""Legends for drawings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wandb_eval.core import class_color
from wandb_eval.engine.kit.images import Image
from wandb_eval.engine.kit.opencv import cv2

SWATCH = 20, 32  # Height and width.
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.5
_MARGIN = 6


def legend_strip(entries: Sequence[tuple[Image, str]], width: int) -> Image:
    """Draws a legend: small pictures with their labels, in as many rows as needed.

    Args:
        entries: Pairs of a picture, a uint8 RGB array of shape `(20, 32, 3)`, and its
            label. OpenCV draws ASCII; other characters become question marks.
        width: The width of the strip, in pixels. Longer entries are cut off.

    Returns:
        uint8 array of shape `(rows * 32, width, 3)`, RGB: white on black.

    Raises:
        ValueError: If `width` is not a positive number.

    Example:

    >>> entries = [(color_swatch((255, 0, 0)), "wrong")]
    >>> legend_strip(entries, width=300).shape
    (32, 300, 3)
    """
    if width < 1:
        raise ValueError(f"`width` must be a positive number. Received: {width!r}")
    rows: list[Image] = []
    height, swatch_width = SWATCH
    left = width
    for swatch, text in entries:
        (text_width, text_height), _ = cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)
        needed = swatch_width + text_width + 4 * _MARGIN
        if left + needed > width and (left > 0 or not rows):
            rows.append(np.zeros((height + 2 * _MARGIN, width, 3), np.uint8))
            left = 0
        place = rows[-1][_MARGIN : _MARGIN + height, left + _MARGIN :][:, :swatch_width]
        place[:] = swatch[:, : place.shape[1]]
        origin = (
            left + swatch_width + 2 * _MARGIN,
            _MARGIN + (height + text_height) // 2,
        )
        white = (255, 255, 255)
        cv2.putText(rows[-1], text, origin, _FONT, _FONT_SCALE, white, 1, cv2.LINE_AA)
        left += needed
    return np.concatenate(rows) if rows else np.zeros((0, width, 3), np.uint8)


def color_swatch(color: tuple[int, int, int]) -> Image:
    """Returns a picture of one RGB color, for `legend_strip`."""
    return np.full((*SWATCH, 3), color, np.uint8)


def class_swatches(class_names: Sequence[str]) -> list[tuple[Image, str]]:
    """Returns entries for `legend_strip`: the classes but the background."""
    return [
        (color_swatch(class_color(index)), name)
        for index, name in enumerate(class_names)
        if name.lower() != "background"
    ]
