"""Curves of each class over the probability, as scikit-learn defines them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from wandb_eval.classification.labels import Labels, Probabilities
from wandb_eval.engine import charts, map_in_threads


@dataclass(frozen=True)
class ClassCurves:
    """The curves of one class.

    Attributes:
        roc: False and true positive rates, each of shape `(points,)`.
        precision_recall: Recall and precision, each of shape `(points,)`.
        thresholds: The thresholds of the points of `precision_recall`, without the last
            point; of shape `(points - 1,)`.
        f1: F1 at each threshold. It is computed from counts, so that equal values are
            exactly equal.
    """

    roc: tuple[NDArray[Any], NDArray[Any]]
    precision_recall: tuple[NDArray[Any], NDArray[Any]]
    thresholds: NDArray[Any]
    f1: NDArray[np.float64]


def class_curves(truth: NDArray[np.bool_], scores: NDArray[Any]) -> ClassCurves:
    """`sklearn.metrics.roc_curve` and `precision_recall_curve`, sorted only once.

    Args:
        truth: Whether each sample is of the class, of shape `(samples,)`, with both
            values.
        scores: The score of each sample, of shape `(samples,)`.
    """
    false, true, thresholds = metrics.roc_curve(truth, scores, drop_intermediate=False)
    num_true = np.count_nonzero(truth)
    hits = np.rint(true * num_true)
    misses = np.rint(false * (len(truth) - num_true))
    # Between two equal steps, a point is on the line anyway. The first step is apart.
    bends = np.ones(len(hits), np.bool_)
    bends[2:-1] = (np.diff(hits[1:], 2) != 0) | (np.diff(misses[1:], 2) != 0)
    predicted = (hits + misses)[:0:-1]
    precision = hits[:0:-1] / predicted
    return ClassCurves(
        (false[bends], true[bends]),
        (np.append(true[:0:-1], 0.0), np.append(precision, 1.0)),
        thresholds[:0:-1],
        2 * hits[:0:-1] / (predicted + num_true),
    )


def curve_charts(
    labels: Labels,
    probabilities: Probabilities,
    class_names: Sequence[str],
) -> tuple[dict[str, Any], dict[str, tuple[float, float]]]:
    """Charts of the curves of all classes, and the thresholds of the best F1.

    Args:
        labels: Class ids of shape `(samples,)`, or, with `multi_label`, zeros and ones
            of shape `(samples, num_classes)`.
        probabilities: Probabilities of shape `(samples, num_classes)`, or `(samples,
            1)`.
        class_names: The name of each class.

    Returns:
        The charts by key. If classes are predicted by a threshold: by class, the lowest
        threshold with the best F1, and that F1.
    """
    one_unit = probabilities.shape[1] == 1
    multi_label = labels.ndim == 2

    def of_class(index: int) -> ClassCurves | None:
        truth = labels[:, index] == 1 if multi_label else labels == index
        if truth.all() or not truth.any():
            return None  # Undefined: all samples are of the class, or none is.
        if one_unit:  # Only the order counts: 1 - p would make small values equal.
            return class_curves(truth, probabilities[:, 0] * (1 if index else -1))
        return class_curves(truth, probabilities[:, index])

    of_all = map_in_threads(of_class, range(len(class_names)))
    named = {n: c for n, c in zip(class_names, of_all, strict=True) if c is not None}
    roc = {name: curves.roc for name, curves in named.items()}
    precision_recall = {n: curves.precision_recall for n, curves in named.items()}
    f1_curves: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
    best: dict[str, tuple[float, float]] = {}
    for name, curves in named.items():
        if multi_label or (one_unit and name == class_names[1]):
            f1 = curves.f1
            first = int(f1.argmax())
            f1_curves[name] = (curves.thresholds, f1)
            best[name] = (float(curves.thresholds[first]), float(f1[first]))
    drawn = {
        "roc": (roc, "false positive rate", "true positive rate", "ROC"),
        "precision_recall": (
            precision_recall,
            "recall",
            "precision",
            "Precision and recall",
        ),
        "f1_curve": (f1_curves, "threshold", "f1", "F1 over the threshold"),
    }
    return {
        key: charts.curves(*curves) for key, curves in drawn.items() if curves[0]
    }, best
