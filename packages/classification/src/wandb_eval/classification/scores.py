"""The scores of a classifier on each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.classification.labels import Labels, Probabilities
from wandb_eval.engine import SampleScores, at_least, listed

_NOT_A_NUMBER = "NaN"


@dataclass(frozen=True)
class Scores:
    """The scores of a classifier on each sample of a batch.

    All arrays have the shape `(batch,)`, except `pred` with `multi_label`.

    Attributes:
        valid: Whether the outputs are numbers. Where they are not, `score`, `loss` and
            `confidence` are NaN, and `correct` is false.
        pred: The id of the predicted class; with `multi_label`, whether each class is
            predicted, of shape `(batch, num_classes)`.
        score: The probability of `pred`, in the dtype of the outputs; with
            `multi_label`, the mean over the predicted classes, 0 if there are none.
        correct: Whether `pred` is the label; with `multi_label`, whether all classes
            are right.
        loss: The cross-entropy, in nats; with `multi_label`, the mean over the classes.
        confidence: The probability of the label; with `multi_label`, the mean over the
            classes of the probability of the true value.
    """

    valid: NDArray[np.bool_]
    pred: NDArray[Any]
    score: NDArray[np.floating[Any]]
    correct: NDArray[np.bool_]
    loss: NDArray[np.float64]
    confidence: NDArray[np.float64]


def score_batch(
    labels: Labels,
    probabilities: Probabilities,
    multi_label: bool = False,
    threshold: float = 0.5,
) -> Scores:
    """Scores the samples of a batch.

    Losses are those of `sklearn.metrics.log_loss`: probabilities are clipped to the
    range from eps to 1 - eps, where eps is the smallest step of their dtype.
    Probabilities that do not sum to 1, as with a sigmoid for each class although only
    one is right, are first divided by their sum, as in Keras'
    `categorical_crossentropy`.

    Args:
        labels: The result of `read_labels`.
        probabilities: The result of `read_outputs`.
        multi_label: Whether a sample may have several classes, or none.
        threshold: The lowest probability at which a class is predicted, with
            `multi_label` and for one sigmoid unit. It is compared in the dtype of the
            probabilities.

    Raises:
        ValueError: If a label has no output.

    Example:

    >>> outputs = np.array([[0.9, 0.2, 0.1], [0.2, 0.1, 0.7]])
    >>> scores = score_batch(np.array([0, 2]), outputs)
    >>> scores.pred, scores.score, scores.loss.round(4)
    (array([0, 2]), array([0.9, 0.7]), array([0.2877, 0.3567]))
    """
    valid = np.asarray(np.isfinite(probabilities).all(axis=1))
    if not valid.all():
        probabilities = np.where(valid[:, None], probabilities, 0)
    chosen = at_least(probabilities, threshold)
    eps = float(np.finfo(probabilities.dtype).eps)
    if multi_label:
        truth = labels == 1
        pred = chosen
        counts = chosen.sum(axis=1)
        sums = np.where(chosen, probabilities, 0).sum(axis=1)
        score = sums / np.maximum(counts, 1).astype(sums.dtype)
        correct = (chosen == truth).all(axis=1)
        of_truth = np.where(truth, probabilities, 1 - probabilities)
        loss = _negative_log(of_truth, eps).mean(axis=1)
        confidence = of_truth.mean(axis=1, dtype=np.float64)
    else:
        both = of_all_classes(probabilities)
        _check_range(labels, both.shape[1])
        one_unit = probabilities.shape[1] == 1
        pred = chosen[:, 0].astype(np.int64) if one_unit else both.argmax(axis=1)
        samples = np.arange(len(labels))
        score = both[samples, pred]
        correct = pred == labels
        of_label = both[samples, labels]
        sums = both.sum(axis=1, dtype=np.promote_types(both.dtype, np.float32))
        share = np.divide(of_label, sums, out=np.zeros_like(sums), where=sums > 0)
        loss = _negative_log(share, eps)
        confidence = of_label.astype(np.float64)
    score, loss, confidence = (
        np.where(valid, values, values.dtype.type(np.nan))
        for values in (score, loss, confidence)
    )
    return Scores(valid, pred, score, correct & valid, loss, confidence)


def highest_loss(probabilities: Probabilities) -> float:
    """The loss of a sample whose label has the probability 0.

    >>> round(highest_loss(np.array([[1.0, 0.0]])), 2)
    36.04
    """
    return -float(np.log(np.finfo(probabilities.dtype).eps))


def of_all_classes(probabilities: Probabilities) -> Probabilities:
    """Probabilities with a column for each class, for one sigmoid unit, too.

    >>> of_all_classes(np.array([[0.25], [1.0]]))
    array([[0.75, 0.25],
           [0.  , 1.  ]])
    """
    if probabilities.shape[1] > 1:
        return probabilities
    return np.hstack([1 - probabilities, probabilities])


def in_top_k(labels: Labels, probabilities: Probabilities, k: int) -> NDArray[np.bool_]:
    """Whether each label is among the k most probable classes.

    Among equally probable classes, the one with the higher id comes first, as in
    `sklearn.metrics.top_k_accuracy_score`.

    >>> in_top_k(np.array([0, 2]), np.array([[0.3, 0.3, 0.4], [0.3, 0.3, 0.3]]), 2)
    array([False,  True])
    """
    of_label = probabilities[np.arange(len(labels)), labels][:, None]
    hits = np.count_nonzero(probabilities >= of_label, axis=1) <= k
    [unsure] = np.nonzero(~hits)  # The order of the ids decides ties.
    others, of_label = probabilities[unsure], of_label[unsure]
    higher_id = np.arange(others.shape[1]) > labels[unsure][:, None]
    before = (others > of_label) | (higher_id & (others == of_label))
    hits[unsure] = np.count_nonzero(before, axis=1) < k
    return np.asarray(hits)


def by_sample(labels: Labels, scores: Scores, class_names: list[str]) -> SampleScores:
    """Scores as columns: `label`, `pred`, `score`, `correct`, `loss`.

    The loss is the difficulty. `pred` is `"NaN"` where the outputs are not numbers.

    Args:
        labels: The result of `read_labels`.
        scores: The result of `score_batch` for these labels.
        class_names: The name of each class.
    """
    pred = named(scores.pred, class_names)
    for i in np.flatnonzero(~scores.valid):
        pred[i] = [_NOT_A_NUMBER] if scores.pred.ndim == 2 else _NOT_A_NUMBER
    return SampleScores(
        {
            "label": named(labels, class_names),
            "pred": pred,
            "score": scores.score,
            "correct": scores.correct,
            "loss": scores.loss,
        },
        difficulty=scores.loss,
        correct=scores.correct,
        confidence=scores.confidence,
    )


def named(classes: NDArray[Any], class_names: list[str]) -> list[Any]:
    """The name of each sample's class; a list of names, if it may have several.

    >>> named(np.array([1, 0]), ["cat", "dog"])
    ['dog', 'cat']
    >>> named(np.array([[1, 1], [0, 0]]), ["cat", "dog"])
    [['cat', 'dog'], []]
    """
    names = np.array(class_names, object)
    if classes.ndim == 2:
        return [names[row == 1].tolist() for row in classes]
    return list(names[classes])


def as_text(classes: str | list[str]) -> str:
    """The class or the classes of a sample, as the text of a cell."""
    return classes if isinstance(classes, str) else listed(classes)


def _negative_log(probabilities: Probabilities, eps: float) -> NDArray[np.float64]:
    return np.asarray(-np.log(np.clip(probabilities.astype(np.float64), eps, 1 - eps)))


def _check_range(labels: Labels, num_classes: int) -> None:
    if labels.max(initial=-1) >= num_classes:
        raise ValueError(
            f"There are outputs for {num_classes} classes. Received: the label "
            f"{labels.max()}"
        )
