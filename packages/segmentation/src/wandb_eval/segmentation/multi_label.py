"""Masks with a channel for each class, for classes that may overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray
from scipy.special import expit

from wandb_eval.engine import at_least as reaches
from wandb_eval.engine import charts, check_single, target_array
from wandb_eval.engine.kit.opencv import cv2
from wandb_eval.segmentation.masks import channels_last
from wandb_eval.segmentation.metrics import Scores, or_none
from wandb_eval.segmentation.thresholds import IouByThreshold

Hot = NDArray[np.bool_]


def read_multi_hot(y: Any) -> Hot:
    """Reads multi-hot masks.

    Args:
        y: Zeros and ones of shape `(batch, height, width, num_classes)`, of any dtype;
            channels first if `keras.config.image_data_format()` is `"channels_first"`.

    Returns:
        Booleans of shape `(batch, height, width, num_classes)`.

    Raises:
        ValueError: If y is not a multi-hot mask.
    """
    array = np.asarray(target_array(y, "masks"))
    if array.ndim != 4 or array.dtype.kind not in "buif":
        raise ValueError(
            "With `multi_label=True`, masks must be multi-hot, of shape (batch, height,"
            f" width, num_classes). Received: {array.dtype} of shape {array.shape}"
        )
    array = channels_last(array)
    wrong = array[(array != 0) & (array != 1)]
    if wrong.size:
        raise ValueError(
            "With `multi_label=True`, masks must be zeros and ones. Received: "
            f"{wrong.flat[0]} among them"
        )
    return np.asarray(array != 0)


def read_probabilities(
    outputs: Any, size: tuple[int, int], from_logits: bool
) -> NDArray[np.floating[Any]]:
    """Reads the outputs of sigmoid units, at the size of the masks.

    Args:
        outputs: The outputs, of shape `(batch, height, width, num_classes)`; channels
            first if `keras.config.image_data_format()` is `"channels_first"`. Outputs
            of another size are resized bilinearly, as probabilities.
        size: The height and width of the masks.
        from_logits: Whether outputs are logits, before sigmoid.

    Returns:
        Probabilities of shape `(batch, *size, num_classes)`. NaN stays NaN.
    """
    check_single(outputs)
    scores = channels_last(outputs)
    if scores.dtype.kind != "f" or scores.dtype.itemsize == 2:
        scores = scores.astype(np.float32)
    if from_logits:
        scores = expit(scores)
    if scores.shape[1:3] == tuple(size):
        return np.asarray(scores)
    resized = np.empty((len(scores), *size, scores.shape[-1]), scores.dtype)
    for image, target in zip(scores, resized, strict=True):
        for channel in range(scores.shape[-1]):
            plane = np.ascontiguousarray(image[..., channel])
            target[..., channel] = cv2.resize(plane, size[::-1])
    return resized


def surely_wrong(
    truth: Hot, probabilities: NDArray[Any], lost: Hot
) -> NDArray[np.floating[Any]]:
    """Replaces probabilities that are NaN by those with the highest error.

    Args:
        truth: Multi-hot masks of shape `(batch, height, width, num_classes)`.
        probabilities: The probabilities, of the same shape.
        lost: Whether each probability is NaN, of the same shape.
    """
    if not lost.any():
        return probabilities
    return np.where(lost, (~truth).astype(probabilities.dtype), probabilities)


def count_hot(truth: Hot, predicted: Hot) -> NDArray[np.int64]:
    """Counts the right, true and predicted pixels of each class.

    Args:
        truth: Multi-hot masks of shape `(batch, height, width, num_classes)`.
        predicted: Multi-hot masks of the same shape.

    Returns:
        Counts of shape `(batch, num_classes, 3)`.

    Example:

    >>> truth = np.array([[[[True, False], [True, True]]]])
    >>> predicted = np.array([[[[True, True], [False, True]]]])
    >>> count_hot(truth, predicted)
    array([[[1, 2, 1],
            [1, 1, 2]]])
    """
    sides = (truth & predicted, truth, predicted)
    return np.stack([side.sum(axis=(1, 2)) for side in sides], axis=-1)


class MultiLabelMetrics:
    """IoU, Dice, precision and recall of each class, over many batches.

    A class that is neither in the truth nor in the prediction has no IoU and no Dice,
    and is left out of the means. There is no confusion matrix, because classes do not
    exclude each other.

    Args:
        class_names: The name of each class.
        threshold: The lowest probability at which a pixel has a class.

    Example:

    >>> metrics = MultiLabelMetrics(["lung", "heart"])
    >>> truth = np.array([[[[1, 0], [1, 1]]]])
    >>> metrics.update(truth, np.array([[[[0.9, 0.2], [0.1, 0.8]]]]))
    >>> metrics.compute()["mean_iou"]
    0.75
    """

    def __init__(self, class_names: list[str], threshold: float = 0.5) -> None:
        self.class_names = class_names
        self.threshold = threshold
        self.left_out = 0
        self._counts = np.zeros((len(class_names), 3), np.int64)
        self._by_threshold = IouByThreshold(len(class_names))

    def update(self, y: Any, probabilities: NDArray[Any]) -> None:
        """Takes in a batch.

        Args:
            y: The masks, in a form that `read_multi_hot` takes.
            probabilities: The probabilities, of the same shape.
        """
        truth = read_multi_hot(y)
        probabilities = channels_last(probabilities)
        lost = np.isnan(probabilities)
        probabilities = surely_wrong(truth, probabilities, lost)
        self.update_counts(
            count_hot(truth, reaches(probabilities, self.threshold)),
            self._by_threshold.histograms(truth, probabilities),
            int(lost.any(axis=-1).sum()),
        )

    def update_counts(
        self, counts: NDArray[Any], histograms: NDArray[Any], lost: int
    ) -> None:
        """Takes in the counts of a batch.

        Args:
            counts: The result of `count_hot`, of shape `(batch, num_classes, 3)`.
            histograms: The result of `IouByThreshold.histograms`.
            lost: The number of pixels that have a probability of NaN.
        """
        self.left_out += lost
        self._counts += counts.sum(axis=0)
        self._by_threshold.update(histograms)

    def merge(self, other: MultiLabelMetrics) -> None:
        """Takes in all images of another one."""
        self.left_out += other.left_out
        self._counts += other._counts
        self._by_threshold.merge(other._by_threshold)

    def compute(self) -> dict[str, Any]:
        """Returns the values to log: numbers, the table by class, and charts."""
        scores = Scores.of_classes(*self._counts.T)
        means = {"mean_iou": scores.mean_iou, "mean_dice": scores.mean_dice}
        results: dict[str, Any] = {
            name: float(value) for name, value in means.items() if not np.isnan(value)
        }
        if self.left_out:
            results["left_out"] = float(self.left_out)
        best = self._by_threshold.best()
        rows = [
            [name, *map(or_none, values), int(pixels), *of_class]
            for name, *values, pixels, of_class in zip(
                self.class_names,
                scores.iou,
                scores.dice,
                scores.precision,
                scores.recall,
                scores.pixels,
                best,
                strict=True,
            )
        ]
        columns = ["class", "iou", "dice", "precision", "recall", "pixels"]
        results["per_class"] = charts.table(
            [*columns, "best_threshold", "best_iou"], rows
        )
        results["iou_threshold"] = self._by_threshold.chart(self.class_names)
        return results


def layer_masks(hot: Hot) -> list[NDArray[np.uint8]]:
    """Makes a mask for each class of a multi-hot mask.

    The input has the shape `(height, width, num_classes)`. Pixels of class k have the
    id k + 1, the others 0.
    """
    ids = np.arange(1, hot.shape[-1] + 1, dtype=np.uint8)
    return [np.where(hot[..., k], ids[k], np.uint8(0)) for k in range(len(ids))]


def layer_labels(class_names: list[str]) -> dict[int, str]:
    """The names of the ids of `layer_masks`."""
    return {index + 1: name for index, name in enumerate(class_names)}


def classes_of(labels: dict[int, str]) -> wandb.data_types.Classes:
    """The names of ids, in W&B's form."""
    return wandb.data_types.Classes(
        [{"id": index, "name": name} for index, name in labels.items()]
    )
