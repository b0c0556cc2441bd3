"""The columns of tables for the predictions of a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wandb_eval.detection.boxes import is_lost
from wandb_eval.detection.detections import Bools, Detections, join
from wandb_eval.detection.ious import overlaps, places_of
from wandb_eval.detection.matching import (
    BACKGROUND_THRESHOLD,
    ERROR_TYPES,
    NO_MATCH,
    BatchMatch,
    ImageMatch,
)
from wandb_eval.engine import listed

COLUMNS = ("missed", "wrong", "errors", "right", "mean_iou", "predicted_classes")
"""The columns of tables with images, the most important first."""

_COUNTS = {
    "missed": "false_negatives",
    "wrong": "false_positives",
    "right": "true_positives",
}


def image_scores(
    truth: Sequence[Detections], matches: BatchMatch, class_names: Sequence[str]
) -> dict[str, Any]:
    """The columns of `scores`, with lists that code can read.

    Args:
        truth: The true boxes of each image.
        matches: The matches of the predictions.
        class_names: The name of each class.
    """
    right, wrong, missed = matches.counts
    kinds = np.zeros((len(matches), len(ERROR_TYPES)), np.int64)
    np.add.at(kinds, (matches.image[matches.shown], matches.kinds[matches.shown]), 1)
    names, means = _predicted(matches, class_names)
    return {
        "num_boxes": [len(boxes) for boxes in truth],
        "num_predictions": matches.per_image(matches.image[matches.shown]),
        "true_positives": right,
        "false_positives": wrong,
        "false_negatives": missed,
        "mean_iou": matches.mean_ious,
        **{f"{name}_errors": kinds[:, i] for i, name in _errors()},
        "predicted_classes": names,
        "mean_scores": means,
    }


def _errors() -> list[tuple[int, str]]:
    return list(enumerate(ERROR_TYPES))[1:]


def _predicted(
    matches: BatchMatch, class_names: Sequence[str]
) -> tuple[list[list[str]], list[list[float]]]:
    """The predicted classes of each image, and the mean score of each class."""
    there = matches.shown & ~is_lost(matches.predicted)
    places = matches.image[there], matches.predicted.labels[there]
    counts = np.zeros((len(matches), len(class_names)))
    sums = np.zeros_like(counts)
    np.add.at(counts, places, 1)
    np.add.at(sums, places, matches.predicted.known_scores()[there])
    names, means = [], []
    for count, total in zip(counts, sums, strict=True):
        labels = np.flatnonzero(count)
        names.append([class_names[label] for label in labels.tolist()])
        means.append((total[labels] / count[labels]).tolist())
    return names, means


def nothing_near(images: Sequence[ImageMatch]) -> list[Bools]:
    """Whether each true box is missed, and has no wrong prediction on it.

    The caption of a wrong prediction names the error, and a second caption would hide
    it.

    Args:
        images: The matches of each image.

    Returns:
        For each image, an array of shape `(true,)`.
    """
    if not images:
        return []
    wrong = [image.shown[image.found == NO_MATCH] for image in images]
    truth = [image.truth for image in images]
    _, boxes, ious = overlaps(
        join(wrong), places_of(wrong), join(truth), places_of(truth)
    )
    alone = np.concatenate([image.missed for image in images])
    alone[boxes[ious > BACKGROUND_THRESHOLD]] = False
    return np.split(alone, np.cumsum([len(boxes) for boxes in truth])[:-1])


def table_cells(scores: Mapping[str, Sequence[Any]], place: int) -> list[Any]:
    """The cells of `COLUMNS` for one image.

    Args:
        scores: The result of `image_scores`.
        place: The place of the image.
    """
    of_image = {name: column[place] for name, column in scores.items()}
    cells = {name: of_image[column] for name, column in _COUNTS.items()}
    counts = [(name, int(of_image[f"{name}_errors"])) for _, name in _errors()]
    most = sorted(counts, key=lambda pair: -pair[1])
    cells["errors"] = ", ".join(f"{name} {count}" for name, count in most if count)
    cells["mean_iou"] = of_image["mean_iou"]
    cells["predicted_classes"] = listed(
        of_image["predicted_classes"], of_image["mean_scores"]
    )
    return [cells[name] for name in COLUMNS]
