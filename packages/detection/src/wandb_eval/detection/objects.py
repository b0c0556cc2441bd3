"""The worst mistakes of a detector, each cut out of its image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import wandb
from numpy.typing import NDArray

from wandb_eval.detection.batches import SIZES
from wandb_eval.detection.boxes import is_lost
from wandb_eval.detection.detections import Floats
from wandb_eval.detection.matching import (
    BACKGROUND_THRESHOLD,
    ERROR_TYPES,
    NO_MATCH,
    ImageMatch,
)
from wandb_eval.engine import EvaluatedSamples, charts

MAX_OBJECTS = 50
"""The highest number of mistakes in the table, half of them missed objects."""

_MARGIN = 0.25

ShownImages = Callable[[EvaluatedSamples], Sequence[Any]]
"""A function that returns the shown images of samples: uint8 arrays, or other media."""


def worst_objects(
    held: Sequence[EvaluatedSamples],
    show: ShownImages,
    encode: Callable[[Sequence[Any]], Sequence[Any]],
    class_names: Sequence[str],
) -> dict[str, wandb.Table]:
    """False positives with the highest scores, and the largest missed objects.

    Args:
        held: The samples that are held. A sample that is in several of them counts
            once.
        show: A function that returns the images of samples.
        encode: A function that converts arrays to images of W&B.
        class_names: The name of each class.

    Returns:
        The table `objects`, with the columns `idx`, `object` (the box with a margin of
        a quarter of its size), `kind`, `class`, `actual` (the class of the nearest true
        box, `None` for a prediction on the background), `score`, `iou` (with that box;
        for a missed box, with the nearest prediction); nothing without mistakes.
    """
    mistakes: list[_Mistake] = []
    seen: set[int] = set()
    for samples in held:
        new = [i for i, index in enumerate(samples.index) if index not in seen]
        seen |= {samples.index[i] for i in new}
        for i in new:
            mistakes += _mistakes(samples, i)
    chosen: list[_Mistake] = []
    for side in (False, True):
        ranked = sorted(
            (m for m in mistakes if m.missed is side), key=lambda m: -m.rank
        )
        chosen += ranked[: MAX_OBJECTS // 2]
    if not chosen:
        return {}
    shown = {id(samples): show(samples) for samples in held}
    crops, rows = [], []
    for mistake in chosen:
        samples, i = mistake.samples, mistake.sample
        box, cells = _describe(mistake, class_names)
        size = samples.y[i][SIZES]
        crops.append(_crop(shown[id(samples)][i], box, size))
        rows.append([samples.index[i], crops[-1], *cells])
    images = iter(encode([crop for crop in crops if crop is not None]))
    for row in rows:
        row[1] = None if row[1] is None else next(images)
    columns = ["idx", "object", "kind", "class", "actual", "score", "iou"]
    return {"objects": charts.table(columns, rows)}


class _Mistake(NamedTuple):
    """A wrong prediction or a missed true box."""

    missed: bool
    rank: float
    samples: EvaluatedSamples
    sample: int
    box: int


def _mistakes(samples: EvaluatedSamples, sample: int) -> list[_Mistake]:
    """The mistakes in an image, with their severity."""
    image: ImageMatch = samples.predictions[sample]
    wrong, missed = (
        np.flatnonzero((image.found == NO_MATCH) & ~is_lost(image.shown)),
        np.flatnonzero(image.missed),
    )
    sides = (
        (False, wrong, image.shown.known_scores()[wrong]),
        (True, missed, image.truth.area[missed]),
    )
    return [
        _Mistake(is_missed, rank, samples, sample, box)
        for is_missed, boxes, ranks in sides
        for box, rank in zip(boxes.tolist(), ranks.tolist(), strict=True)
    ]


def _describe(
    mistake: _Mistake, class_names: Sequence[str]
) -> tuple[Floats, list[Any]]:
    """The box, and the cells of `kind`, `class`, `actual`, `score` and `iou`."""
    image: ImageMatch = mistake.samples.predictions[mistake.sample]
    boxes = image.truth if mistake.missed else image.shown
    kind = "missed" if mistake.missed else ERROR_TYPES[image.kinds[mistake.box]]
    score = None if mistake.missed else mistake.rank
    near = np.where(image.truth.iscrowd, 0, image.pairs)
    nearest = near.max(axis=0 if mistake.missed else 1, initial=0.0)
    iou = float(nearest[mistake.box])
    name = class_names[boxes.labels[mistake.box]]
    actual: str | None = name
    if not mistake.missed:
        pairs, truth = near[mistake.box], image.truth.labels
        is_near = iou > BACKGROUND_THRESHOLD
        actual = class_names[truth[pairs.argmax()]] if is_near else None
    cells = [kind, name, actual, score, iou]
    return boxes.boxes[mistake.box], cells


def _crop(image: Any, box: Floats, size: Any) -> NDArray[np.uint8] | None:
    if not isinstance(image, np.ndarray):
        return None
    height, width = image.shape[:2]
    scale = np.tile(np.array([width, height]) / np.asarray(size)[::-1], 2)
    margin = _MARGIN * np.tile(box[2:] - box[:2], 2) * [-1, -1, 1, 1]
    corners = np.rint((box + margin) * scale)
    left, top, right, bottom = np.clip(corners, 0, [width, height] * 2).astype(int)
    if right <= left or bottom <= top:
        return None
    crop: NDArray[np.uint8] = image[top:bottom, left:right]
    return crop
