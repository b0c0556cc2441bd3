"""The two kinds of segmentation: with one class for each pixel, and with several.

Both have the same methods, so that the callback does not need to distinguish them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import wandb

from wandb_eval.engine import Metrics, SampleScores, at_least, listed
from wandb_eval.segmentation.boundary import BoundaryIou
from wandb_eval.segmentation.layers import (
    ERROR_LABELS,
    ERRORS_UNLABELLED,
    MaskLayers,
    split_labels,
)
from wandb_eval.segmentation.masks import (
    MAX_CLASSES,
    channels_last,
    read_masks,
    read_outputs,
)
from wandb_eval.segmentation.metrics import (
    Scores,
    SegmentationMetrics,
    count_lost,
    count_pixels,
    or_none,
)
from wandb_eval.segmentation.multi_label import (
    MultiLabelMetrics,
    classes_of,
    count_hot,
    layer_labels,
    layer_masks,
    read_multi_hot,
    read_probabilities,
    surely_wrong,
)
from wandb_eval.segmentation.properties import (
    multi_label_properties,
    segmentation_properties,
)
from wandb_eval.segmentation.thresholds import IouByThreshold

Layers = Mapping[str, tuple[Any, dict[int, str]]]
"""By name, a mask of ids in 8 bits, and the names of the ids."""


class MulticlassMasks:
    """Masks with one class for each pixel.

    Args:
        names: The name of each class.
        ignore_index: The id in masks of pixels that are ignored.
        are_logits: Whether outputs are logits.
        threshold: The lowest probability at which a single channel means class 1.
        boundary_iou: Whether to measure boundary IoU.
        background: The ids of classes that get no label.

    Attributes:
        classes: The names of ids, in W&B's form.
        unlabelled: By layer, the names of the ids without a label for W&B, whose pixels
            are transparent on its page.
    """

    MAX_CLASSES = MAX_CLASSES
    SCORES = (
        "mean_iou",
        "mean_dice",
        "pixel_accuracy",
        "classes",
        "class_iou",
        "worst_class",
    )
    COLUMNS = ("mean_iou", "worst_class", "class_iou", "mean_dice", "pixel_accuracy")

    def __init__(
        self,
        names: list[str],
        ignore_index: int | None,
        are_logits: bool,
        threshold: float,
        boundary_iou: bool,
        *,
        background: Collection[int] = (),
    ) -> None:
        self._names = names
        self._ignore_index = ignore_index
        self._are_logits = are_logits
        self._threshold = threshold
        self._boundary_iou = boundary_iou
        self._layers = MaskLayers(names, ignore_index, background)
        self.classes = classes_of(self._layers.all_labels)
        self.unlabelled = {
            "ground_truth": self._layers.unlabelled,
            "predictions": self._layers.unlabelled,
            "errors": ERRORS_UNLABELLED,
        }

    def read_truth(self, y: Any) -> Any:
        """Masks of class ids."""
        return read_masks(y, self._ignore_index)

    def properties(self, truth: Any) -> dict[str, list[float]]:
        """Properties of the regions of each image, by name."""
        names = list(enumerate(self._names))
        found = [
            segmentation_properties(mask, names, self._ignore_index) for mask in truth
        ]
        return {name: [one[name] for one in found] for name in found[0]}

    def read(self, y: Any, outputs: Any) -> tuple[Any, Any]:
        """The true masks; the predicted masks, and their counts.

        For a single channel, these include the counts over the thresholds.
        """
        truth = self.read_truth(y)
        size = (truth.shape[1], truth.shape[2])
        ids = read_outputs(outputs, size, self._are_logits, self._threshold)
        sides = truth, ids, len(self._names), self._ignore_index
        predictions: dict[str, Any] = {
            "ids": ids.astype(np.int16),
            "counts": count_pixels(*sides),
            "lost": count_lost(*sides),
        }
        if channels_last(outputs).shape[-1] == 1:
            predictions["by_threshold"] = self._by_threshold(truth, outputs, size)
        return truth, predictions

    def _by_threshold(self, truth: Any, outputs: Any, size: tuple[int, int]) -> Any:
        chances = read_probabilities(outputs, size, self._are_logits)
        chances = surely_wrong((truth == 1)[..., None], chances, np.isnan(chances))
        counted = (truth >= 0) & (truth <= 1)
        if self._ignore_index is not None:
            counted &= truth != self._ignore_index
        return np.stack(
            [
                IouByThreshold.histograms(
                    (mask[kept] == 1)[None, None, :, None], chance[kept][None, None]
                )
                for mask, chance, kept in zip(truth, chances, counted, strict=True)
            ]
        )

    def new_metrics(self, warns: bool) -> Metrics:
        """The metrics over all of the data."""
        return _ExclusiveMetrics(
            self._names, self._ignore_index, self._boundary_iou, warns
        )

    def score(self, truth: Any, predictions: Any) -> SampleScores:
        """Figures of each image."""
        scores = Scores(predictions["counts"], predictions["lost"])
        columns = _columns(scores, self._names)
        columns["pixel_accuracy"] = list(map(or_none, scores.pixel_accuracy))
        difficulty = 1 - scores.mean_iou
        # An image whose pixels are all ignored has no errors.
        difficulty[np.isnan(difficulty)] = -np.inf
        difficulty[predictions["lost"].any(axis=1)] = np.nan
        return SampleScores({name: columns[name] for name in self.SCORES}, difficulty)

    def cells(self, scores: Mapping[str, Sequence[Any]]) -> list[list[Any]]:
        """The cells of `COLUMNS`, of each image."""
        return _cells(scores, self.COLUMNS)

    def present(self, mask: Any) -> list[str]:
        """The names of the classes in a mask."""
        shown = self._layers.truth(mask)
        ids = np.flatnonzero(np.bincount(shown.ravel()))
        return [self._layers.names[int(index)] for index in ids]

    def truth_layers(self, mask: Any) -> Layers:
        """The layers of the ground truth."""
        return {"ground_truth": (self._layers.truth(mask), self._layers.labels)}

    def prediction_layers(self, truth: Any, prediction: Any) -> Layers:
        """The layers of a prediction."""
        layers = {"predictions": self._layers.prediction(prediction["ids"])}
        errors = self._layers.errors(truth, prediction["ids"])
        if errors is not None:
            layers["errors"] = (errors, ERROR_LABELS)
        return layers


class MultiLabel:
    """Masks with several classes, or none, for each pixel.

    Args:
        names: The name of each class.
        are_logits: Whether outputs are logits.
        threshold: The lowest probability at which a pixel has a class.
        background: The ids of classes that get no label.

    Attributes:
        classes: As in `MulticlassMasks`.
        unlabelled: As in `MulticlassMasks`.
    """

    MAX_CLASSES = MAX_CLASSES - 1  # The id 0 is for pixels that do not have the class.
    SCORES = ("mean_iou", "mean_dice", "classes", "class_iou", "worst_class")
    COLUMNS = ("mean_iou", "worst_class", "class_iou", "mean_dice")

    def __init__(
        self,
        names: list[str],
        are_logits: bool,
        threshold: float,
        background: Collection[int] = (),
    ) -> None:
        self._names = names
        self._are_logits = are_logits
        self._threshold = threshold
        ids = {index + 1 for index in background}
        self._labels, unlabelled = split_labels(layer_labels(names), ids)
        self.classes = classes_of(self._labels)
        self.unlabelled = {
            f"{what}_{index - 1}": {index: name}
            for what in ("truth", "prediction")
            for index, name in unlabelled.items()
        }

    def read_truth(self, y: Any) -> Any:
        """Multi-hot masks."""
        return read_multi_hot(y)

    def properties(self, truth: Any) -> dict[str, list[float]]:
        """Properties of the regions of each image, by name."""
        found = [multi_label_properties(mask, self._names) for mask in truth]
        return {name: [one[name] for one in found] for name in found[0]}

    def read(self, y: Any, outputs: Any) -> tuple[Any, Any]:
        """The true multi-hot masks; the predicted masks, and their counts."""
        truth = self.read_truth(y)
        size = (truth.shape[1], truth.shape[2])
        chances = read_probabilities(outputs, size, self._are_logits)
        hot = at_least(chances, self._threshold)
        lost = np.isnan(chances)
        sure = surely_wrong(truth, chances, lost)
        by_threshold = [
            IouByThreshold.histograms(mask[None], chance[None])
            for mask, chance in zip(truth, sure, strict=True)
        ]
        return truth, {
            "hot": hot,
            "counts": count_hot(truth, at_least(sure, self._threshold)),
            "by_threshold": by_threshold,
            "lost": lost.any(axis=-1).sum(axis=(1, 2)),
        }

    def new_metrics(self, warns: bool) -> Metrics:
        """The metrics over all of the data."""
        return _HotMetrics(self._names)

    def score(self, truth: Any, predictions: Any) -> SampleScores:
        """Figures of each image."""
        scores = Scores.of_classes(*np.moveaxis(predictions["counts"], -1, 0))
        columns = _columns(scores, self._names)
        # The model is right if there are neither true nor predicted classes.
        difficulty = np.where(np.isnan(scores.mean_iou), 0.0, 1 - scores.mean_iou)
        difficulty[np.asarray(predictions["lost"]) > 0] = np.nan
        return SampleScores({name: columns[name] for name in self.SCORES}, difficulty)

    def cells(self, scores: Mapping[str, Sequence[Any]]) -> list[list[Any]]:
        """The cells of `COLUMNS`, of each image."""
        return _cells(scores, self.COLUMNS)

    def present(self, mask: Any) -> list[str]:
        """The names of the classes in a mask."""
        there = mask.any(axis=(0, 1))
        return [name for name, here in zip(self._names, there, strict=True) if here]

    def truth_layers(self, mask: Any) -> Layers:
        """A layer for each class of the ground truth."""
        return self._of_classes("truth", mask)

    def prediction_layers(self, truth: Any, prediction: Any) -> Layers:
        """A layer for each class of a prediction."""
        return self._of_classes("prediction", prediction["hot"])

    def _of_classes(self, what: str, hot: Any) -> Layers:
        layers = {}
        for index, mask in enumerate(layer_masks(hot)):
            name = self._labels.get(index + 1)
            labels = {} if name is None else {index + 1: name}
            layers[f"{what}_{index}"] = mask, labels
        return layers


class _ExclusiveMetrics:
    """`SegmentationMetrics` of counted batches, boundary IoU, and the threshold."""

    def __init__(
        self, names: list[str], ignore_index: int | None, boundary: bool, warns: bool
    ) -> None:
        self._metrics = SegmentationMetrics(names, ignore_index)
        self._boundary = BoundaryIou(len(names), ignore_index) if boundary else None
        self._by_threshold: IouByThreshold | None = None
        self._warns = warns

    def __getstate__(self) -> dict[str, Any]:
        """Returns the metrics for another process, which does not warn, too."""
        return vars(self) | {"_warns": False}

    def update(self, truth: Any, predictions: Any, /) -> None:
        self._metrics.update_counts(truth, predictions["counts"], predictions["lost"])
        if self._boundary is not None:
            self._boundary.update(truth, predictions["ids"])
        if "by_threshold" in predictions:
            if self._by_threshold is None:
                self._by_threshold = IouByThreshold(1)
            self._by_threshold.update(predictions["by_threshold"].sum(axis=0))

    def merge(self, other: _ExclusiveMetrics) -> None:
        self._metrics.merge(other._metrics)
        if self._boundary is not None and other._boundary is not None:
            self._boundary.merge(other._boundary)
        if other._by_threshold is not None:
            if self._by_threshold is None:
                self._by_threshold = IouByThreshold(1)
            self._by_threshold.merge(other._by_threshold)

    def compute(self) -> dict[str, Any]:
        of_no_class = self._metrics.left_out - int(self._metrics.lost.sum())
        if of_no_class and self._warns:
            wandb.termwarn(
                f"The numbers leave out {of_no_class} pixels of the validation data: "
                "their id in the mask is that of no class."
            )
        results = self._metrics.compute()
        if self._boundary is not None:
            results |= self._boundary.compute()
        if self._by_threshold is not None:
            [(threshold, iou)] = self._by_threshold.best()
            if threshold is not None:
                results |= {"best_threshold": threshold, "best_iou": iou}
            names = self._metrics.class_names[-1:]
            results["iou_threshold"] = self._by_threshold.chart(names)
        return results


class _HotMetrics(MultiLabelMetrics):
    """`MultiLabelMetrics` of counted batches."""

    def update(self, truth: Any, predictions: Any, /) -> None:
        self.update_counts(
            predictions["counts"],
            sum(predictions["by_threshold"]),
            int(np.sum(predictions["lost"])),
        )

    merge = MultiLabelMetrics.merge  # `update` accumulates nothing more.


def _columns(scores: Scores, names: list[str]) -> dict[str, list[Any]]:
    """The scores of each image, by name."""
    columns: dict[str, list[Any]] = {
        "mean_iou": list(map(or_none, scores.mean_iou)),
        "mean_dice": list(map(or_none, scores.mean_dice)),
        "classes": [],
        "class_iou": [],
        "worst_class": [],
    }
    for iou in scores.iou:
        present = np.flatnonzero(~np.isnan(iou))
        there = [names[int(index)] for index in present]
        values = iou[present].tolist()
        columns["classes"].append(there)
        columns["class_iou"].append(values)
        columns["worst_class"].append(there[int(np.argmin(values))] if values else None)
    return columns


def _cells(
    scores: Mapping[str, Sequence[Any]], columns: Sequence[str]
) -> list[list[Any]]:
    """The rows of scores, with the IoU of all classes as one text."""
    ious = zip(scores["classes"], scores["class_iou"], strict=True)
    shown = {**scores, "class_iou": [listed(*pair) for pair in ious]}
    return [list(row) for row in zip(*(shown[n] for n in columns), strict=True)]
