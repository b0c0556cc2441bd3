"""Tables that show which classes are confused, and which labels may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray

from wandb_eval.core import EvaluatedSamples, Evaluation, charts

MAX_PAIRS = 20
"""The table of confused classes has at most so many pairs."""

_IMAGES = 3


def confused_pairs(
    matrix: NDArray[np.int64], class_names: list[str], held: Sequence[EvaluatedSamples]
) -> dict[str, wandb.Table]:
    """The pairs of classes that are confused most, the most frequent ones first.

    Args:
        matrix: Counts of shape `(num_classes, num_classes)`; rows are true classes.
        class_names: The name of each class.
        held: Samples to take images from, up to three a pair.

    Returns:
        The table `confused`, with the columns `actual`, `predicted`, `count`, `share`
        (of the samples of the actual class), `image_1` to `image_3`; nothing if no
        class is confused.
    """
    wrong = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_PAIRS]
    pairs = [divmod(int(i), len(matrix)) for i in order if wrong.flat[i]]
    if not pairs:
        return {}
    images = _images_by_pair(held)
    support = matrix.sum(axis=1)
    rows = []
    for actual, predicted in pairs:
        names = class_names[actual], class_names[predicted]
        count = int(wrong[actual, predicted])
        shown = images.get(names, [])[:_IMAGES]
        shown += [None] * (_IMAGES - len(shown))
        rows.append([*names, count, count / int(support[actual]), *shown])
    columns = ["actual", "predicted", "count", "share"]
    columns += [f"image_{i + 1}" for i in range(_IMAGES)]
    return {"confused": charts.table(columns, rows)}


def _images_by_pair(
    held: Sequence[EvaluatedSamples],
) -> dict[tuple[str, str], list[Any]]:
    images: dict[tuple[str, str], list[Any]] = {}
    seen: set[int] = set()
    for samples in held:
        for i, index in enumerate(samples.index):
            if index in seen or not samples.rows:
                continue
            seen.add(index)
            pair = samples.scores["label"][i], samples.scores["pred"][i]
            images.setdefault(pair, []).append(samples.rows[i][1])
    return images


def suspect_labels(evaluation: Evaluation) -> dict[str, wandb.Table]:
    """The samples whose label the model has contradicted most.

    The probability of the label is averaged over the evaluations; the lowest come
    first, of the samples that the model takes for another class now. That is the
    self-confidence of Northcutt et al. 2021, https://arxiv.org/abs/1911.00068.

    Returns:
        The table `suspect_labels`, with the columns `idx`, `image`, `label`,
        `suggested` and `mean_confidence`; nothing without such samples.
    """
    suspects, learning = evaluation.suspects, evaluation.learning
    if learning is None or not len(suspects):
        return {}
    means = learning.columns()["mean_confidence"]
    rows = [
        [*row[:3], suggested, means[index]]
        for row, suggested, index in zip(
            suspects.rows, suspects.scores["pred"], suspects.index, strict=True
        )
    ]
    columns = ["idx", "image", "label", "suggested", "mean_confidence"]
    return {"suspect_labels": charts.table(columns, rows)}
