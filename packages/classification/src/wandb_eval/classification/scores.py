"""How a classifier did on each sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from wandb_eval.classification.labels import Labels, Probabilities, read_outputs
from wandb_eval.classification.metrics import predict, sample_losses
from wandb_eval.core import SampleScores

NOT_A_NUMBER = "NaN"


def score_samples(
    labels: Labels,
    probabilities: Probabilities,
    class_names: list[str],
    multi_label: bool = False,
    threshold: float = 0.5,
) -> SampleScores:
    """Scores a batch: `label`, `pred`, `score`, `correct` and `loss`.

    `score` is the probability of what is predicted: with `multi_label`, the mean over
    the predicted classes, 0 without one. `loss` is the cross-entropy, in nats, and says
    how wrong a sample is. Where outputs are NaN, so are `score` and `loss`, and `pred`
    is `"NaN"`.

    Args:
        labels: What `read_labels` returns.
        probabilities: What `read_probabilities` returns.
        class_names: The name of each class.
        multi_label: Whether a sample may have several classes, or none.
        threshold: See `ClassificationMetrics`.
    """
    one_unit = probabilities.shape[1] == 1 and not multi_label
    each = read_outputs(probabilities, multi_label=multi_label)
    finite = np.asarray(np.isfinite(each.sum(axis=1)))
    safe = each if finite.all() else np.where(finite[:, None], each, 0)
    losses = sample_losses(labels, safe, multi_label)
    losses[~finite] = np.nan
    by_threshold = multi_label or one_unit
    predicted = predict(safe, multi_label, threshold if by_threshold else None)
    names = np.array([*class_names, NOT_A_NUMBER], dtype=object)
    rows = np.arange(len(labels))
    label: Any
    pred: Any
    if multi_label:
        counts = predicted.sum(axis=1)
        score = (safe * predicted).sum(axis=1) / np.maximum(counts, 1)
        correct = (predicted == labels).all(axis=1) & finite
        label = _name_sets(labels, names)
        pred = _name_sets(predicted, names)
        for i in np.flatnonzero(~finite):
            pred[i] = [NOT_A_NUMBER]
        confidence = np.where(labels == 1, safe, 1 - safe).mean(axis=1)
    else:
        score = safe[rows, predicted]
        correct = (predicted == labels) & finite
        label = names[labels].tolist()
        pred = names[np.where(finite, predicted, len(class_names))].tolist()
        confidence = safe[rows, labels]
    score = score.astype(np.float64)
    score[~finite] = np.nan
    return SampleScores(
        {
            "label": label,
            "pred": pred,
            "score": score,
            "correct": correct,
            "loss": losses,
        },
        wrongness=losses,
        correct=correct,
        confidence=np.where(finite, confidence, 0),
    )


def _name_sets(chosen: Labels, names: Any) -> list[list[str]]:
    return [names[np.flatnonzero(row)].tolist() for row in chosen]
