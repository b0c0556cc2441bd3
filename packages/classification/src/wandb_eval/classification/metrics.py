"""The metrics of a classifier over all of its validation data."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray
from sklearn import metrics

from wandb_eval.classification.calibration import Calibration
from wandb_eval.classification.curves import curve_charts
from wandb_eval.classification.labels import (
    Labels,
    Probabilities,
    read_labels,
    read_outputs,
)
from wandb_eval.classification.scores import (
    Scores,
    highest_loss,
    in_top_k,
    of_all_classes,
    score_batch,
)
from wandb_eval.engine import charts
from wandb_eval.engine.kit.thresholds import check_threshold

_OF_NO_CLASS = -1
"""The predicted class of samples whose outputs are not numbers."""


@dataclass(frozen=True)
class Confusion:
    """A pair of classes that the model confuses.

    Attributes:
        actual: The id of the actual class.
        predicted: The id of the predicted class.
        count: The number of samples with these classes.
        share: Their share of the samples of the actual class, 0 to 1.
    """

    actual: int
    predicted: int
    count: int
    share: float


class ClassificationMetrics:
    """Accuracy, top-k accuracy, log loss, macro F1, calibration, tables and charts.

    The numbers are those of scikit-learn. The metric keeps the label and the prediction
    of each sample, two numbers and, for up to `charts.MAX_CURVES` classes, the
    probabilities.

    Samples whose outputs are NaN or infinite count as wrong, so that all numbers cover
    all samples: such a sample has none of the right classes and the highest possible
    loss, Brier score and calibration error. `left_out` is the number of such samples,
    if there are any; charts show only the others.

    `ece` is the expected calibration error of the probability of the predicted class,
    see `Calibration`. `brier` is the squared error of the probabilities: summed over
    the classes, 0 to 2, and half of that for two classes, 0 to 1.

    With `multi_label`, accuracy is the share of samples all of whose classes are right;
    log loss and Brier score are means over samples and classes; the calibration counts
    each class of each sample; there is no top-k accuracy.

    With `multi_label` and for one sigmoid unit, the table by class has the threshold of
    the best F1, and there are curves of F1 over the threshold.

    Args:
        class_names: The name of each class.
        top_k: The k of the top-k accuracy, which needs more than k classes.
        from_logits: Whether the outputs are logits, before softmax or sigmoid.
        multi_label: Whether a sample may have several classes, or none.
        threshold: The lowest probability at which a class is predicted, with
            `multi_label` and for one sigmoid unit.

    Raises:
        ValueError: If `threshold` is not between 0 and 1.

    Example:

    >>> metrics = ClassificationMetrics(["cat", "dog"])
    >>> metrics.update(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    >>> metrics.compute()["accuracy"]
    0.5
    """

    def __init__(
        self,
        class_names: list[str],
        top_k: int = 5,
        from_logits: bool = False,
        multi_label: bool = False,
        threshold: float = 0.5,
    ) -> None:
        self.class_names = class_names
        self.top_k = top_k
        self.from_logits = from_logits
        self.multi_label = multi_label
        self.threshold = check_threshold("threshold", threshold)
        self.left_out = 0
        self._labels: list[Labels] = []
        self._predictions: list[Labels] = []
        self._valid: list[NDArray[np.bool_]] = []
        self._probabilities: list[Probabilities] = []
        self._calibration = Calibration()
        self._confusion: charts.PairCounts | None = None
        self._hits = self._top_k_hits = 0
        # One value for each sample, so that the sum does not depend on the batches.
        self._losses: list[NDArray[np.float64]] = []
        self._briers: list[NDArray[np.float64]] = []

    def update(self, y: Any, outputs: Any) -> None:
        """Takes in a batch.

        Args:
            y: The labels, in a form that `read_labels` takes.
            outputs: The outputs of the model, in a form that `read_outputs` takes.
                Samples with NaN count as wrong.

        Raises:
            ValueError: If labels or outputs can't be used, or if the number of their
                classes is not that of the names.
        """
        self._confusion = None
        labels = read_labels(y, self.multi_label)
        probabilities = read_outputs(outputs, self.from_logits, self.multi_label)
        columns = probabilities.shape[1]
        num_classes = 2 if columns == 1 and not self.multi_label else columns
        if num_classes != len(self.class_names):
            raise ValueError(
                "`outputs` must have a column for each class name, or one for two. "
                f"Received: {columns} columns, and {len(self.class_names)} names"
            )
        scores = score_batch(labels, probabilities, self.multi_label, self.threshold)
        valid, predictions = scores.valid, scores.pred
        self._hits += int(scores.correct.sum())
        if self.multi_label:  # There is a value for each class: eight bits save memory.
            labels, predictions = labels.astype(np.int8), predictions.astype(np.int8)
        self._losses.append(np.where(valid, scores.loss, highest_loss(probabilities)))
        unknown = int((~valid).sum())
        if unknown:
            self.left_out += unknown
            self._calibration.update_unknown(unknown * labels[0].size)
            wrong = 1 - labels[~valid] if self.multi_label else _OF_NO_CLASS
            predictions[~valid] = wrong
        self._update_valid(labels, probabilities, scores)
        self._labels.append(labels)
        self._predictions.append(predictions)
        self._valid.append(valid)
        if len(self.class_names) <= charts.MAX_CURVES:
            self._probabilities.append(probabilities)

    def merge(self, other: ClassificationMetrics) -> None:
        """Takes in all samples of another one, as if they came behind its own."""
        self._confusion = None
        self.left_out += other.left_out
        self._hits += other._hits
        self._top_k_hits += other._top_k_hits
        self._calibration.merge(other._calibration)
        self._labels += other._labels
        self._predictions += other._predictions
        self._valid += other._valid
        self._probabilities += other._probabilities
        self._losses += other._losses
        self._briers += other._briers

    def _update_valid(
        self, labels: Labels, probabilities: Probabilities, scores: Scores
    ) -> None:
        """Takes in the samples of a batch whose outputs are numbers."""
        valid = scores.valid
        briers = np.full(len(labels), 1.0 if self.multi_label else self._worst_brier)
        if not valid.all():
            labels, probabilities = labels[valid], probabilities[valid]
        if self.multi_label:
            self._calibration.update(probabilities, labels)
        else:
            self._calibration.update(scores.score[valid], scores.correct[valid])
        if self._counts_top_k:
            hits = in_top_k(labels, of_all_classes(probabilities), self.top_k)
            self._top_k_hits += int(hits.sum())
        briers[valid] = _squared_errors(labels, probabilities)
        self._briers.append(briers)

    def compute(self) -> dict[str, Any]:
        """Returns the values to log: numbers, the per-class table, and charts.

        There are none without samples. Charts need a sample with valid outputs.
        """
        results: dict[str, Any] = {}
        if self.left_out:
            results["left_out"] = float(self.left_out)
        if not any(map(len, self._labels)):
            return results
        labels = np.concatenate(self._labels)
        predictions = np.concatenate(self._predictions)
        results["accuracy"] = self._hits / len(labels)
        results["log_loss"] = float(np.concatenate(self._losses).mean())
        classes = np.arange(len(self.class_names))
        with warnings.catch_warnings():
            # Some versions of scikit-learn take many classes for a regression.
            warnings.filterwarnings("ignore", "The number of unique classes")
            of_classes = metrics.precision_recall_fscore_support(
                labels, predictions, labels=classes, zero_division=0
            )
        if not self.multi_label:  # Only the classes that occur.
            classes = np.intersect1d(classes, np.union1d(labels, predictions))
        results["macro_f1"] = float(of_classes[2][classes].mean())
        results["brier"] = float(np.concatenate(self._briers).mean())
        results["ece"] = self._calibration.error()
        if self._counts_top_k:
            results[f"top_{self.top_k}_accuracy"] = self._top_k_hits / len(labels)
        drawn, best = self._charts(labels)
        results |= drawn
        results["per_class"] = self._per_class(of_classes, best)
        return results

    def _charts(
        self, labels: Labels
    ) -> tuple[dict[str, Any], dict[str, tuple[float, float]]]:
        """Charts of the samples with valid outputs; the best thresholds by class."""
        valid = np.concatenate(self._valid)
        if not valid.any():
            return {}, {}
        drawn: dict[str, Any] = {
            "reliability": charts.curves(
                {
                    "model": self._calibration.curve(),
                    "perfect": (np.array([0.0, 1.0]), np.array([0.0, 1.0])),
                },
                "confidence",
                "accuracy",
                "Reliability",
            )
        }
        if not self.multi_label:
            drawn |= charts.confusion_matrix(self._pairs(), self.class_names)
        if not self._probabilities:
            return drawn, {}
        probabilities = np.concatenate(self._probabilities)
        if not valid.all():
            labels, probabilities = labels[valid], probabilities[valid]
        of_classes, best = curve_charts(labels, probabilities, self.class_names)
        return drawn | of_classes, best

    def confused(self, most: int = 20) -> list[Confusion]:
        """The pairs of classes that are confused most, the most frequent first.

        Among equally frequent pairs, the one with the higher share of its actual class
        is first. With `multi_label` there are none.

        Args:
            most: The highest number of pairs.
        """
        if self.multi_label or not any(map(len, self._labels)):
            return []
        pairs = self._pairs()
        shares = pairs.shares()
        order = np.lexsort((pairs.predicted, pairs.actual, -shares, -pairs.counts))
        order = order[pairs.actual[order] != pairs.predicted[order]][:most]
        return [
            Confusion(
                int(pairs.actual[i]),
                int(pairs.predicted[i]),
                int(pairs.counts[i]),
                float(shares[i]),
            )
            for i in order
        ]

    @property
    def _worst_brier(self) -> float:
        return 1.0 if len(self.class_names) == 2 else 2.0

    @property
    def _counts_top_k(self) -> bool:
        return not self.multi_label and self.top_k < len(self.class_names)

    def _pairs(self) -> charts.PairCounts:
        """The pairs of classes that occur among the samples with valid outputs."""
        if self._confusion is None:
            valid = np.concatenate(self._valid)
            labels = np.concatenate(self._labels)[valid]
            predictions = np.concatenate(self._predictions)[valid]
            self._confusion = charts.PairCounts.of(
                labels, predictions, len(self.class_names)
            )
        return self._confusion

    def _per_class(
        self,
        columns: Sequence[NDArray[Any]],
        best: dict[str, tuple[float, float]],
    ) -> wandb.Table:
        """Precision, recall, F1, support and, if there is one, the best threshold."""
        rows: list[list[Any]] = [
            [name, float(precision), float(recall), float(f1), int(support)]
            for name, precision, recall, f1, support in zip(
                self.class_names, *columns, strict=True
            )
        ]
        names = ["class", "precision", "recall", "f1", "support"]
        if best:
            names += ["best_threshold", "best_f1"]
            rows = [[*row, *best.get(row[0], (None, None))] for row in rows]
        return charts.table(names, rows)


def _squared_errors(
    labels: Labels, probabilities: Probabilities
) -> NDArray[np.float64]:
    """The Brier score of each sample, of shape `(batch,)`.

    It is that of scikit-learn: the sum of the squared errors of all classes, half of it
    for two classes, and the mean for classes that do not exclude each other.
    """
    probabilities = of_all_classes(probabilities)
    dtype = np.promote_types(probabilities.dtype, np.float32)
    exact = probabilities.astype(dtype, copy=False)
    if labels.ndim == 2:
        return np.asarray(((exact - labels) ** 2).mean(axis=1, dtype=np.float64))
    of_label = exact[np.arange(len(labels)), labels].astype(np.float64)
    sums = np.vecdot(exact, exact) - 2 * of_label + 1
    return np.asarray(sums / 2 if exact.shape[1] == 2 else sums)
