"""What is measured of a classifier over all of its validation data."""

from __future__ import annotations

from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray
from sklearn import metrics

from wandb_eval.classification.labels import (
    Labels,
    Probabilities,
    read_labels,
    read_outputs,
    smallest_step,
)
from wandb_eval.core import charts


class ClassificationMetrics:
    """Accuracy, top-k accuracy, log loss, macro F1 and what explains them.

    Numbers are scikit-learn's. Of each sample it keeps the label, the prediction and,
    for up to `charts.MAX_CURVES` classes, the probabilities.

    With `multi_label`, accuracy is the share of samples all of whose classes are right,
    and log loss the mean over samples and classes; there is no top-k accuracy.

    Args:
        class_names: The name of each class.
        top_k: k of the top-k accuracy, which is 1 where there are no more classes.
        from_logits: Whether the outputs are logits, before softmax or sigmoid.
        multi_label: Whether a sample may have several classes, or none.

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
    ) -> None:
        self.class_names = class_names
        self.top_k = top_k
        self.from_logits = from_logits
        self.multi_label = multi_label
        self.left_out = 0
        self._labels: list[Labels] = []
        self._predictions: list[Labels] = []
        self._probabilities: list[Probabilities] = []
        self._top_k_hits = 0
        self._loss = 0.0

    def update(self, y: Any, outputs: Any) -> None:
        """Takes in a batch.

        Args:
            y: Labels, as `read_labels` takes them.
            outputs: Outputs of the model, as `read_outputs` takes them. Rows with NaN
                are left out, and counted.
        """
        labels = read_labels(y, self.multi_label)
        probabilities = read_outputs(outputs, self.from_logits, self.multi_label)
        if not self.multi_label and labels.max(initial=-1) >= probabilities.shape[1]:
            raise ValueError(
                f"There are outputs for {probabilities.shape[1]} classes. Received: "
                f"the label {labels.max()}"
            )
        valid = np.isfinite(probabilities).all(axis=1)
        self.left_out += int((~valid).sum())
        labels, probabilities = labels[valid], probabilities[valid]
        eps = smallest_step(outputs, self.from_logits)
        losses = sample_losses(labels, probabilities, self.multi_label, eps)
        self._loss += float(losses.sum())
        if self.multi_label:  # For each class: in eight bits.
            labels = labels.astype(np.int8)
            predictions = (probabilities >= 0.5).astype(np.int8)
        else:
            predictions = probabilities.argmax(axis=1)
            self._top_k_hits += count_top_k(labels, probabilities, self.top_k)
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
        results["log_loss"] = self._loss / len(labels)
        results["macro_f1"] = float(
            metrics.f1_score(labels, predictions, average="macro", zero_division=0)
        )
        results["per_class"] = self._per_class(labels, predictions)
        if not self.multi_label:
            results[f"top_{self.top_k}_accuracy"] = self._top_k_hits / len(labels)
            matrix = metrics.confusion_matrix(
                labels, predictions, labels=range(len(self.class_names))
            )
            results |= charts.confusion_matrix(matrix, self.class_names)
        if self._probabilities:
            results |= self._curves(labels, np.concatenate(self._probabilities))
        return results

    def _per_class(self, labels: Labels, predictions: Labels) -> wandb.Table:
        columns = metrics.precision_recall_fscore_support(
            labels,
            predictions,
            labels=range(len(self.class_names)),
            zero_division=0,
        )
        return wandb.Table(
            columns=["class", "precision", "recall", "f1", "support"],
            data=[
                [name, float(precision), float(recall), float(f1), int(support)]
                for name, precision, recall, f1, support in zip(
                    self.class_names, *columns, strict=True
                )
            ],
        )

    def _curves(self, labels: Labels, probabilities: Probabilities) -> dict[str, Any]:
        roc, precision_recall = {}, {}
        for index, name in enumerate(self.class_names):
            truth = labels[:, index] if self.multi_label else labels == index
            if truth.all() or not truth.any():
                continue  # Undefined: there is nothing to tell the class from.
            score = probabilities[:, index]
            false, true, _ = metrics.roc_curve(truth, score)
            roc[name] = (false, true)
            precision, recall, _ = metrics.precision_recall_curve(truth, score)
            precision_recall[name] = (recall, precision)
        if not roc:
            return {}
        return {
            "roc": charts.curves(
                roc, "false positive rate", "true positive rate", "ROC"
            ),
            "precision_recall": charts.curves(
                precision_recall, "recall", "precision", "Precision and recall"
            ),
        }


def sample_losses(
    labels: Labels, probabilities: Probabilities, multi_label: bool, eps: float
) -> NDArray[np.float64]:
    """The cross-entropy of each sample, of shape `(batch,)`, in nats.

    With `multi_label` it is the mean of the classes' binary cross-entropies.
    Probabilities are clipped as `sklearn.metrics.log_loss` clips them: to `eps` at
    least, the smallest step of the dtype in which the model puts them out, and 1 - eps
    at most.
    """
    clipped = np.clip(probabilities, eps, 1 - eps)
    if multi_label:
        each = labels * np.log(clipped) + (1 - labels) * np.log1p(-clipped)
        return np.asarray(-each.mean(axis=1))
    return np.asarray(-np.log(clipped[np.arange(len(labels)), labels]))


def count_top_k(labels: Labels, probabilities: Probabilities, k: int) -> int:
    """How many labels are among the k most probable classes.

    Of classes that are equally probable, the one with the higher id comes first, as
    in `sklearn.metrics.top_k_accuracy_score`.
    """
    order = np.argsort(probabilities, axis=1, kind="mergesort")[:, ::-1][:, :k]
    return int((order == labels[:, None]).any(axis=1).sum())
