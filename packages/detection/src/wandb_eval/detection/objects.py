"""The worst mistakes of a detector, each cut out of its image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray

from wandb_eval.core import EvaluatedSamples, charts
from wandb_eval.detection.detections import Floats
from wandb_eval.detection.matching import KINDS, NO_MATCH, ImageMatch

MAX_OBJECTS = 50
"""The table of mistakes has at most so many, half of them missed objects."""

_MARGIN = 0.25

ShownImages = Callable[[EvaluatedSamples], Sequence[Any]]
"""Gives the images of samples as they are shown: uint8 arrays, or something else."""


def worst_objects(
    held: Sequence[EvaluatedSamples],
    show: ShownImages,
    encode: Callable[[Sequence[Any]], Sequence[Any]],
    class_names: Sequence[str],
) -> dict[str, wandb.Table]:
    """False positives with the highest scores, and the largest missed objects.

    Args:
        held: The samples that are held; what is in several of them counts once.
        show: Gives their images.
        encode: Makes images of W&B of arrays.
        class_names: The name of each class.

    Returns:
        The table `objects`, with the columns `idx`, `object` (the box with a quarter
        of its size around it), `kind`, `class`, `score`, `iou` (with the nearest true
        box; of a missed one with the nearest prediction); nothing without mistakes.
    """
    mistakes: list[tuple[bool, float, list[Any], Any]] = []
    seen: set[int] = set()
    for samples in held:
        new = [i for i, index in enumerate(samples.index) if index not in seen]
        seen |= {samples.index[i] for i in new}
        for i in new:
            image: ImageMatch = samples.predictions[i]
            for missed, rank, cells, box in _mistakes(image, class_names):
                place = (samples, i, box)
                mistakes.append((missed, rank, [samples.index[i], *cells], place))
    chosen = []
    for side in (False, True):
        ranked = sorted((m for m in mistakes if m[0] is side), key=lambda m: -m[1])
        chosen += ranked[: MAX_OBJECTS // 2]
    if not chosen:
        return {}
    shown = {id(samples): show(samples) for samples in held}
    crops = [
        _crop(shown[id(samples)][i], box, samples.y[i]["image_sizes"])
        for *_, (samples, i, box) in chosen
    ]
    images = iter(encode([crop for crop in crops if crop is not None]))
    rows = [
        [index, None if crop is None else next(images), *cells]
        for (*_, (index, *cells), _), crop in zip(chosen, crops, strict=True)
    ]
    columns = ["idx", "object", "kind", "class", "score", "iou"]
    return {"objects": charts.table(columns, rows)}


def _mistakes(
    image: ImageMatch, class_names: Sequence[str]
) -> Iterator[tuple[bool, float, list[Any], Floats]]:
    """Whether it is a missed object, how bad it is, its cells, and its box."""
    shown, truth = image.shown, image.truth
    nearest = image.pairs.max(axis=1, initial=0.0)
    for i in np.flatnonzero(image.found == NO_MATCH):
        name = class_names[shown.labels[i]]
        score = float(shown.known_scores()[i])
        cells = [KINDS[image.kinds[i]], name, score, float(nearest[i])]
        yield False, score, cells, shown.boxes[i]
    nearest = image.pairs.max(axis=0, initial=0.0)
    for i in np.flatnonzero(image.missed):
        name = class_names[truth.labels[i]]
        cells = ["missed", name, None, float(nearest[i])]
        yield True, float(truth.area[i]), cells, truth.boxes[i]


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
