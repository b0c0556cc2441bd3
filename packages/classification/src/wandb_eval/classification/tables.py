"""The tables of confused classes and of labels that may be wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import wandb

from wandb_eval.classification.metrics import Confusion
from wandb_eval.classification.scores import as_text
from wandb_eval.engine import EvaluatedSamples, Evaluation, charts

_IMAGES = 3


def confused_pairs(
    confusions: Sequence[Confusion],
    class_names: list[str],
    held: Sequence[EvaluatedSamples],
    shown_as: str = "image",
) -> dict[str, wandb.Table]:
    """The pairs of classes that are confused most, with samples of each.

    Args:
        confusions: The pairs of classes.
        class_names: The name of each class.
        held: The samples to choose from, up to three for each pair.
        shown_as: The column that shows the sample.

    Returns:
        The table `confused`, with the columns `actual`, `predicted`, `count`, `share`
        (of the samples of the actual class), `image_1` to `image_3`; nothing if no
        classes are confused.
    """
    if not confusions:
        return {}
    images = _images_by_pair(held)
    rows = []
    for pair in confusions:
        names = class_names[pair.actual], class_names[pair.predicted]
        shown = images.get(names, [])[:_IMAGES]
        shown += [None] * (_IMAGES - len(shown))
        rows.append([*names, pair.count, pair.share, *shown])
    columns = ["actual", "predicted", "count", "share"]
    columns += [f"{shown_as}_{i + 1}" for i in range(_IMAGES)]
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


def suspect_labels(
    evaluation: Evaluation, shown_as: str = "image"
) -> dict[str, wandb.Table]:
    """The samples whose label the model has contradicted most.

    They are samples for which the model predicts another class now. The lowest mean
    probability of the label over the evaluations comes first: the self-confidence of
    Northcutt et al. 2021, https://arxiv.org/abs/1911.00068.

    Args:
        evaluation: The last evaluation.
        shown_as: The column that shows the sample.

    Returns:
        The table `suspect_labels`, with the columns `idx`, `image`, `label`,
        `suggested` and `mean_confidence`; nothing without such samples.
    """
    suspects, learning = evaluation.suspects, evaluation.learning
    if learning is None or not len(suspects):
        return {}
    means = learning.columns()["mean_confidence"]
    scores = suspects.scores
    rows = [
        [*row[:3], as_text(suggested), means[index]]
        for row, suggested, score, index in zip(
            suspects.rows, scores["pred"], scores["score"], suspects.index, strict=True
        )
        if not math.isnan(score)  # NaN says nothing about the label.
    ]
    if not rows:
        return {}
    columns = ["idx", shown_as, "label", "suggested", "mean_confidence"]
    return {"suspect_labels": charts.table(columns, rows)}
