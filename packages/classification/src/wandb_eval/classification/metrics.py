"""What is measured of a classifier over all of its validation data."""

from __future__ import annotations

from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray
from sklearn import metrics

from wandb_eval.classification.calibration import Calibration
from wandb_eval.classification.labels import (
    SUM_TOLERANCE,
    Labels,
    Probabilities,
    read_labels,
    read_outputs,
)
from wandb_eval.core import at_least, charts


class ClassificationMetrics:
    """Accuracy, top-k accuracy, log loss, macro F1 and what explains them.

    Numbers are scikit-learn's. Of each sample it keeps the label, the prediction, a few
    numbers and, for up to `charts.MAX_CURVES` classes, the probabilities.

    With `multi_label`, accuracy is the share of samples all of whose classes are right,
    and log loss the mean over samples and classes; there is no top-k accuracy. Where
    the probabilities of a sample do not sum to 1, as those of a sigmoid unit for each
    class, log loss is of the normalised ones, as Keras' `categorical_crossentropy`.

    `ece` is the expected calibration error of 15 bins (see `Calibration`), and `brier`
    the mean over samples of the squared differences of probabilities and one-hot
    label, summed over the classes (Brier 1950): 0 to 2; with `multi_label`, and for one
    sigmoid unit, the mean over the classes: 0 to 1, scikit-learn's.

    With `multi_label` and for two classes, the table by class has the threshold of the
    best F1, and there are curves of F1 over the threshold.

    Args:
        class_names: The name of each class.
        top_k: k of the top-k accuracy, which is left out where there are no more
            classes.
        from_logits: Whether the outputs are logits, before softmax or sigmoid.
        multi_label: Whether a sample may have several classes, or none.
        threshold: From which probability on a class is predicted, with `multi_label`
            and for one sigmoid unit.

    Attributes:
        left_out: How many samples had outputs that are not finite.
        confusion_matrix: Counts of shape `(num_classes, num_classes)` once `compute`
            was called, rows are true classes; `None` with `multi_label`.

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
        self.threshold = threshold
        self.left_out = 0
        self.confusion_matrix: NDArray[np.int64] | None = None
        self._labels: list[Labels] = []
        self._predictions: list[Labels] = []
        self._probabilities: list[Probabilities] = []
        self._top_k_hits = 0
        # One by one: the sum of all does not depend on the batches that they came in.
        self._losses: list[NDArray[np.float64]] = []
        self._briers: list[NDArray[np.float64]] = []
        self._calibration = Calibration()

    def update(self, y: Any, outputs: Any) -> None:
        """Takes in a batch.

        Args:
            y: Labels, as `read_labels` takes them.
            outputs: Outputs of the model, as `read_outputs` takes them. Rows with NaN
                are left out, and counted.
        """
        labels = read_labels(y, self.multi_label)
        probabilities = read_outputs(outputs, self.from_logits, self.multi_label)
        one_unit = np.size(outputs) == len(labels) and not self.multi_label
        if not self.multi_label and labels.max(initial=-1) >= probabilities.shape[1]:
            raise ValueError(
                f"There are outputs for {probabilities.shape[1]} classes. Received: "
                f"the label {labels.max()}"
            )
        valid = np.isfinite(probabilities.sum(axis=1))
        self.left_out += int((~valid).sum())
        if not valid.all():
            labels, probabilities = labels[valid], probabilities[valid]
        self._losses.append(sample_losses(labels, probabilities, self.multi_label))
        self._briers.append(sample_briers(labels, probabilities))
        by_threshold = self.multi_label or one_unit
        threshold = self.threshold if by_threshold else None
        predictions = predict(probabilities, self.multi_label, threshold)
        if self.multi_label:  # For each class: in eight bits.
            labels, predictions = labels.astype(np.int8), predictions.astype(np.int8)
        else:
            if self.top_k < probabilities.shape[1]:
                self._top_k_hits += count_top_k(labels, probabilities, self.top_k)
            scores = np.take_along_axis(probabilities, predictions[:, None], axis=1)
            self._calibration.update(scores[:, 0], predictions == labels)
        self._labels.append(labels)
        self._predictions.append(predictions)
        if len(self.class_names) <= charts.MAX_CURVES:
            self._probabilities.append(probabilities)

    def compute(self) -> dict[str, Any]:
        """What to log: numbers, the per-class table, and charts.

        Without a valid sample there is nothing but `left_out`.
        """
        results: dict[str, Any] = {"left_out": float(self.left_out)}
        if not any(map(len, self._labels)):
            return results
        labels = np.concatenate(self._labels)
        predictions = np.concatenate(self._predictions)
        results["accuracy"] = float(metrics.accuracy_score(labels, predictions))
        results["log_loss"] = float(np.concatenate(self._losses).mean())
        results["brier"] = float(np.concatenate(self._briers).mean())
        results["macro_f1"] = float(
            metrics.f1_score(labels, predictions, average="macro", zero_division=0)
        )
        if not self.multi_label:
            if self.top_k < len(self.class_names):
                results[f"top_{self.top_k}_accuracy"] = self._top_k_hits / len(labels)
            self.confusion_matrix = metrics.confusion_matrix(
                labels, predictions, labels=range(len(self.class_names))
            )
            results |= charts.confusion_matrix(self.confusion_matrix, self.class_names)
            results |= self._calibration.compute()
        thresholds: dict[str, tuple[float, float]] = {}
        if self._probabilities:
            probabilities = np.concatenate(self._probabilities)
            curves, thresholds = self._curves(labels, probabilities)
            results |= curves
        results["per_class"] = self._per_class(labels, predictions, thresholds)
        return results

    @property
    def _has_threshold(self) -> bool:
        return self.multi_label or len(self.class_names) == 2

    def _per_class(
        self,
        labels: Labels,
        predictions: Labels,
        thresholds: dict[str, tuple[float, float]],
    ) -> wandb.Table:
        columns = metrics.precision_recall_fscore_support(
            labels,
            predictions,
            labels=range(len(self.class_names)),
            zero_division=0,
        )
        names = ["class", "precision", "recall", "f1", "support"]
        if self._has_threshold:
            names += ["best_threshold", "best_f1"]
        rows = []
        for name, precision, recall, f1, support in zip(
            self.class_names, *columns, strict=True
        ):
            row = [name, float(precision), float(recall), float(f1), int(support)]
            if self._has_threshold:
                row += thresholds.get(name, (None, None))
            rows.append(row)
        return charts.table(names, rows)

    def _curves(
        self, labels: Labels, probabilities: Probabilities
    ) -> tuple[dict[str, Any], dict[str, tuple[float, float]]]:
        """The charts, and by class the threshold of the best F1 and that F1."""
        roc, precision_recall, f1s, best = {}, {}, {}, {}
        for index, name in enumerate(self.class_names):
            truth = labels[:, index] if self.multi_label else labels == index
            if truth.all() or not truth.any():
                continue  # Undefined: there is nothing to tell the class from.
            score = probabilities[:, index]
            false, true, _ = metrics.roc_curve(truth, score)
            roc[name] = (false, true)
            precision, recall, at = metrics.precision_recall_curve(truth, score)
            precision_recall[name] = (recall, precision)
            if self._has_threshold:
                total = np.maximum(precision + recall, 1e-300)
                f1 = (2 * precision * recall / total)[: len(at)]
                f1s[name] = (at, f1)
                best[name] = (float(at[f1.argmax()]), float(f1.max()))
        if not roc:
            return {}, {}
        results = {
            "roc": charts.curves(
                roc, "false positive rate", "true positive rate", "ROC"
            ),
            "precision_recall": charts.curves(
                precision_recall, "recall", "precision", "Precision and recall"
            ),
        }
        if f1s:
            title = "F1 over the threshold"
            results["f1_threshold"] = charts.curves(f1s, "threshold", "f1", title)
        return results, best


def predict(
    probabilities: Probabilities, multi_label: bool, threshold: float | None
) -> NDArray[np.int64]:
    """The classes that are predicted.

    Args:
        probabilities: Of shape `(batch, num_classes)`.
        multi_label: Whether the classes do not exclude each other.
        threshold: From which probability on a class is predicted: with `multi_label`
            each class, else class 1 of two. `None`: the most probable one is.

    Returns:
        Ids of shape `(batch,)`; with `multi_label`, zeros and ones of shape `(batch,
        num_classes)`.
    """
    if threshold is None:
        return np.asarray(probabilities.argmax(axis=1))
    reached = at_least(probabilities, threshold).astype(np.int64)
    return reached if multi_label else reached[:, 1]


def sample_losses(
    labels: Labels, probabilities: Probabilities, multi_label: bool
) -> NDArray[np.float64]:
    """The cross-entropy of each sample, of shape `(batch,)`, in nats.

    With `multi_label` it is the mean of the classes' binary cross-entropies.
    Probabilities are clipped as `sklearn.metrics.log_loss` clips them: to the smallest
    step of their dtype at least, and 1 minus that at most. Before, those that do not
    sum to 1 are normalised, where classes exclude each other.
    """
    eps = float(np.finfo(probabilities.dtype).eps)
    if multi_label:
        clipped = np.clip(probabilities.astype(np.float64), eps, 1 - eps)
        each = labels * np.log(clipped) + (1 - labels) * np.log1p(-clipped)
        return np.asarray(-each.mean(axis=1))
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    sums = probabilities.sum(axis=1, dtype=np.float64)
    uneven = (np.abs(sums - 1) > SUM_TOLERANCE) & (sums > 0)
    own[uneven] /= sums[uneven]
    return np.asarray(-np.log(np.clip(own, eps, 1 - eps)))


def sample_briers(labels: Labels, probabilities: Probabilities) -> NDArray[np.float64]:
    """The Brier score of each sample, of shape `(batch,)`, as in `brier`."""
    if labels.ndim == 2:
        return np.asarray(((probabilities - labels) ** 2).mean(axis=1, dtype=float))
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    if probabilities.shape[1] == 2:
        return (1 - own) ** 2
    squares = np.einsum("ij,ij->i", probabilities, probabilities).astype(np.float64)
    return np.asarray(squares - 2 * own + 1)


def count_top_k(labels: Labels, probabilities: Probabilities, k: int) -> int:
    """How many labels are among the k most probable classes.

    Of classes that are equally probable, the one with the higher id comes first, as
    in `sklearn.metrics.top_k_accuracy_score`.
    """
    own = probabilities[np.arange(len(labels)), labels][:, None]
    at_least_as_good = np.count_nonzero(probabilities >= own, axis=1)
    hits = at_least_as_good <= k
    # Where more are, those that are as good may be what is too many.
    unclear = np.flatnonzero(~hits)
    better = np.count_nonzero(probabilities[unclear] > own[unclear], axis=1)
    unclear = unclear[(better < k) & (at_least_as_good[unclear] > better + 1)]
    ids = np.arange(probabilities.shape[1])
    rows, own = probabilities[unclear], own[unclear]
    first = (rows > own) | ((rows == own) & (ids > labels[unclear, None]))
    return int(hits.sum() + (first.sum(axis=1) < k).sum())
