"""The metrics of a segmentation model, counted pixel by pixel."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray

from wandb_eval.engine import charts

Counts = NDArray[np.int64]


def count_pixels(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    num_classes: int,
    ignore_index: int | None = None,
) -> Counts:
    """The confusion matrix of each image.

    Args:
        truth: Class ids of shape `(batch, height, width)`, of any integer type.
        prediction: Class ids of the same shape.
        num_classes: The number of classes. Pixels with an id of 0 to `num_classes - 1`
            in both masks are counted.
        ignore_index: The id in `truth` of pixels that are not counted.

    Returns:
        Counts of shape `(batch, num_classes, num_classes)`; rows are true classes.

    Example:

    >>> truth = np.array([[[0, 1, 1, 255]]])
    >>> prediction = np.array([[[0, 1, 0, 0]]])
    >>> count_pixels(truth, prediction, num_classes=2)
    array([[[1, 0],
            [1, 1]]])
    """
    counts = np.empty((len(truth), num_classes, num_classes), np.int64)
    for i, (true, predicted) in enumerate(zip(truth, prediction, strict=True)):
        counts[i] = _count_pixels(true, predicted, num_classes, ignore_index)
    return counts


def _count_pixels(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    num_classes: int,
    ignore_index: int | None,
) -> Counts:
    """The confusion matrix of one image, which fits into a cache, unlike a batch."""
    index: NDArray[np.int32] = truth.astype(np.int32)
    index *= num_classes
    index += prediction.astype(np.int32, copy=False)
    counted: Any = ...
    ignored = ignore_index is not None and 0 <= ignore_index < num_classes
    if ignored or not _are_within(num_classes, truth, prediction):
        counted = (truth >= 0) & (truth < num_classes)
        counted &= (prediction >= 0) & (prediction < num_classes)
        if ignored:
            counted &= truth != ignore_index
    counts = np.bincount(index[counted].ravel(), minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def count_lost(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    num_classes: int,
    ignore_index: int | None = None,
) -> Counts:
    """Counts the pixels of each class that are predicted as no class, such as NaN.

    Args:
        truth: Class ids of shape `(batch, height, width)`, of any integer type.
        prediction: Class ids of the same shape.
        num_classes: The number of classes.
        ignore_index: The id in `truth` of pixels that are not counted.

    Returns:
        Counts of shape `(batch, num_classes)`.

    Example:

    >>> count_lost(np.array([[[0, 1, 1]]]), np.array([[[0, -1, 1]]]), num_classes=2)
    array([[0, 1]])
    """
    lost = np.zeros((len(truth), num_classes), np.int64)
    for i, (true, predicted) in enumerate(zip(truth, prediction, strict=True)):
        if _are_within(num_classes, predicted):
            continue
        found = true[(predicted < 0) | (predicted >= num_classes)].astype(np.int64)
        found = found[(found >= 0) & (found < num_classes) & (found != ignore_index)]
        lost[i] = np.bincount(found, minlength=num_classes)
    return lost


def _are_within(num_classes: int, *masks: NDArray[Any]) -> bool:
    return all(m.size and m.min() >= 0 and m.max() < num_classes for m in masks)


class Scores:
    """The scores of confusion matrices.

    A class that is neither in the truth nor in the prediction has no IoU and no Dice:
    they are NaN, and left out of the means. Without any class, the mean is NaN.

    Args:
        counts: Confusion matrices of shape `(..., num_classes, num_classes)`; rows are
            true classes.
        lost: The number of pixels of each class that are predicted as no class, of
            shape `(..., num_classes)`. They count as wrong. `None` if there are none.

    Attributes:
        pixels: The number of pixels of each class, of shape `(..., num_classes)`.

    Example:

    >>> scores = Scores(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]))
    >>> scores.iou
    array([0.75      , 0.66666667,        nan])
    """

    def __init__(self, counts: Counts, lost: Counts | None = None) -> None:
        self._right = np.diagonal(counts, axis1=-2, axis2=-1)
        self.pixels: Counts = counts.sum(axis=-1)
        if lost is not None:
            self.pixels = self.pixels + lost
        self._predicted = counts.sum(axis=-2)

    @classmethod
    def of_classes(cls, right: Counts, true: Counts, predicted: Counts) -> Scores:
        """The scores of classes that do not exclude each other.

        Args:
            right: The number of right pixels of each class, of shape `(...,
                num_classes)`.
            true: The number of true pixels of each class.
            predicted: The number of predicted pixels of each class.
        """
        scores = cls.__new__(cls)
        scores._right, scores.pixels, scores._predicted = right, true, predicted
        return scores

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union, of shape `(..., num_classes)`."""
        return _divide(self._right, self.pixels + self._predicted - self._right)

    @cached_property
    def dice(self) -> NDArray[np.float64]:
        """Dice coefficient, which is F1 over pixels, of shape `(..., num_classes)`."""
        return _divide(2 * self._right, self.pixels + self._predicted)

    @property
    def precision(self) -> NDArray[np.float64]:
        """The share of right pixels among the predicted pixels of each class."""
        return _divide(self._right, self._predicted)

    @property
    def recall(self) -> NDArray[np.float64]:
        """The share of right pixels among the true pixels of each class."""
        return _divide(self._right, self.pixels)

    @property
    def mean_iou(self) -> NDArray[np.float64]:
        """Mean of `iou` over the classes that have one, of shape `(...)`."""
        return _mean(self.iou)

    @property
    def mean_dice(self) -> NDArray[np.float64]:
        """Mean of `dice` over the classes that have one, of shape `(...)`."""
        return _mean(self.dice)

    @property
    def pixel_accuracy(self) -> NDArray[np.float64]:
        """The share of right pixels, of shape `(...)`."""
        return _divide(self._right.sum(axis=-1), self.pixels.sum(axis=-1))

    @property
    def frequency_weighted_iou(self) -> NDArray[np.float64]:
        """Mean of `iou`, weighted by `pixels`, of shape `(...)`."""
        return _mean(self.iou, self.pixels)


class SegmentationMetrics:
    """Mean IoU, Dice, pixel accuracy, tables and charts, over many batches.

    The metric keeps one confusion matrix. IoU is defined as in
    https://keras.io/api/metrics/segmentation_metrics/#meaniou-class and frequency
    weighted IoU as in Long et al., https://arxiv.org/abs/1411.4038, section 5.

    Pixels that are predicted as no class, such as those with outputs of NaN, count as
    wrong pixels of their true class. The confusion matrix does not include them.

    Args:
        class_names: The name of each class.
        ignore_index: The id in the truth of pixels that are ignored.

    Attributes:
        confusion_matrix: Counts of shape `(num_classes, num_classes)`; rows are true
            classes.
        lost: The number of pixels of each class that are predicted as no class.
        left_out: The number of pixels that are neither ignored nor in the confusion
            matrix, because their id in the truth or in the prediction has no class.

    Example:

    >>> metrics = SegmentationMetrics(["background", "cat"])
    >>> metrics.update(np.array([[[0, 1], [1, 1]]]), np.array([[[0, 1], [1, 0]]]))
    >>> metrics.compute()["pixel_accuracy"]
    0.75
    """

    def __init__(self, class_names: list[str], ignore_index: int | None = None) -> None:
        self.class_names = class_names
        self.ignore_index = ignore_index
        self.left_out = 0
        num_classes = len(class_names)
        self.confusion_matrix: Counts = np.zeros((num_classes, num_classes), np.int64)
        self.lost: Counts = np.zeros(num_classes, np.int64)

    def update(self, truth: NDArray[Any], prediction: NDArray[Any]) -> None:
        """Takes in a batch.

        Args:
            truth: Class ids of shape `(batch, height, width)`, of any integer type.
            prediction: Class ids of the same shape.

        Raises:
            ValueError: If the shapes differ, or if one is not of integers.
        """
        kinds = {truth.dtype.kind, prediction.dtype.kind}
        if truth.shape != prediction.shape or not kinds <= {*"bui"}:
            raise ValueError(
                "`truth` and `prediction` must be class ids of one shape. Received: "
                f"{truth.dtype} of shape {truth.shape}, and {prediction.dtype} of "
                f"shape {prediction.shape}"
            )
        sides = truth, prediction, len(self.class_names), self.ignore_index
        self.update_counts(truth, count_pixels(*sides), count_lost(*sides))

    def update_counts(self, truth: NDArray[Any], counts: Counts, lost: Counts) -> None:
        """Takes in a batch whose pixels are already counted.

        Args:
            truth: Class ids of shape `(batch, height, width)`.
            counts: The result of `count_pixels`.
            lost: The result of `count_lost`.
        """
        total = counts.sum(axis=0)
        self.confusion_matrix += total
        self.lost += lost.sum(axis=0)
        self.left_out += truth.size - int(total.sum())
        if self.ignore_index is not None:
            self.left_out -= int((truth == self.ignore_index).sum())

    def merge(self, other: SegmentationMetrics) -> None:
        """Takes in all images of another one."""
        self.confusion_matrix += other.confusion_matrix
        self.lost += other.lost
        self.left_out += other.left_out

    def compute(self) -> dict[str, Any]:
        """Returns the values to log: numbers, the per-class table, and charts.

        `mean_iou`, `mean_dice`, `pixel_accuracy` and `frequency_weighted_iou` are
        missing if no pixel was counted, `left_out` if it is 0.
        """
        scores = Scores(self.confusion_matrix, self.lost)
        numbers = {
            "mean_iou": scores.mean_iou,
            "mean_dice": scores.mean_dice,
            "pixel_accuracy": scores.pixel_accuracy,
            "frequency_weighted_iou": scores.frequency_weighted_iou,
        }
        results: dict[str, Any] = {
            name: float(value) for name, value in numbers.items() if not np.isnan(value)
        }
        if self.left_out:
            results["left_out"] = float(self.left_out)
        columns = [scores.iou, scores.dice, scores.precision, scores.recall]
        results["per_class"] = wandb.Table(
            columns=["class", "iou", "dice", "precision", "recall", "pixels"],
            data=[
                [name, *map(or_none, values), int(pixels)]
                for name, *values, pixels in zip(
                    self.class_names, *columns, scores.pixels, strict=True
                )
            ],
        )
        return results | charts.confusion_matrix(
            self.confusion_matrix,
            self.class_names,
            title="Pixels, as shares of each true class",
            normalize=True,
        )


def or_none(value: np.float64) -> float | None:
    """A number for a table; `None` for NaN."""
    return None if np.isnan(value) else float(value)


def _divide(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Divides; NaN where the divisor is 0."""
    out = np.full(np.shape(b), np.nan)
    np.divide(a, b, out=out, where=np.asarray(b) > 0)
    return out


def _mean(
    values: NDArray[np.float64], weights: Counts | None = None
) -> NDArray[np.float64]:
    """The mean over the last axis without NaN; NaN if no weight is left.

    It computes one row after the other, so that the order of additions is that of
    scikit-learn.
    """
    if weights is None:
        weights = np.ones(values.shape, np.int64)
    if values.ndim > 1:
        return np.array([_mean(*row) for row in zip(values, weights, strict=True)])
    defined = ~np.isnan(values)
    if not weights[defined].any():
        return np.array(np.nan)
    return np.asarray(np.average(values[defined], weights=weights[defined]))
