"""What is measured of a detector over all of its validation data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import wandb
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval import mask as coco_mask

from wandb_eval.core import charts, check_class_names
from wandb_eval.core.arguments import is_number
from wandb_eval.detection.boxes import Bools, Detections, Floats, Ints

COCO_FIGURES = (
    "mAP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR_1",
    "AR_10",
    "AR_100",
    "AR_small",
    "AR_medium",
    "AR_large",
)
"""The twelve figures of COCO, in COCO's order."""

_MAX_DETECTIONS = 100  # COCO's own limit, for each class in an image.
_NO_MATCH = -1
_CROWD = -2


@dataclass(frozen=True)
class ImageCounts:
    """How a model did on one image.

    Attributes:
        true_positives: Predictions that match a true box of their class.
        false_positives: Predictions that match none.
        false_negatives: True boxes that no prediction matches.
        ious: The IoU of each match.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    ious: Floats

    @property
    def mean_iou(self) -> float | None:
        """The mean IoU of the matches; `None` if there are none."""
        return float(self.ious.mean()) if len(self.ious) else None


class DetectionMetrics:
    """COCO's figures, precision, recall, F1 and a confusion matrix, batch by batch.

    COCO's figures are faster-coco-eval's, with COCO's parameters: IoU from 0.5 to 0.95,
    at most 100 predictions of a class in an image, objects below 32x32 pixels are
    small, above 96x96 large. They count predictions of any score.

    The others count predictions with a score of `score_threshold` or more. Predictions
    are matched in the order of their scores (ties: in the order given), each with the
    true box of highest IoU (ties: the first one), of `iou_threshold` or more, that no
    other one took. For precision, recall and F1, over all classes together, both must
    be of one class. For the confusion matrix they need not: so it shows what is taken
    for what. Its last row and column, `background`, hold predictions without an object
    and objects without a prediction. Predictions that match only a crowd count for
    nothing, as in COCO; their IoU is the share of them that lies in the crowd.

    What can't be told is left out: figures of COCO for which there is no true box, such
    as `AP_large` without large objects; `recall` without true boxes; `mean_iou` without
    matches. With true boxes and no predictions all is 0.

    It keeps boxes, labels and scores, and of predictions only those that COCO counts.

    Args:
        class_names: The name of each class.
        iou_threshold: From which IoU on two boxes match, above 0 and up to 1.
        score_threshold: From which score on predictions count, from 0 to 1.

    Raises:
        ValueError: If a threshold is out of range.

    Example:

    >>> metrics = DetectionMetrics(["cat", "dog"])
    >>> truth = Detections([[0, 0, 40, 40], [50, 50, 90, 90]], [0, 1])
    >>> metrics.update([truth], [Detections([[0, 0, 40, 40]], [0], scores=[0.9])])
    >>> results = metrics.compute()
    >>> results["AP50"], results["precision"], results["recall"]
    (0.5, 1.0, 0.5)
    """

    def __init__(
        self,
        class_names: Sequence[str],
        iou_threshold: float = 0.5,
        score_threshold: float = 0.3,
    ) -> None:
        if not (is_number(iou_threshold) and 0 < iou_threshold <= 1):
            raise ValueError(
                "`iou_threshold` must be above 0 and at most 1. "
                f"Received: {iou_threshold!r}"
            )
        if not (is_number(score_threshold) and 0 <= score_threshold <= 1):
            raise ValueError(
                f"`score_threshold` must be from 0 to 1. Received: {score_threshold!r}"
            )
        self.class_names = list(class_names)
        self.iou_threshold = iou_threshold
        self.score_threshold = score_threshold
        num_classes = len(self.class_names)
        self.confusion_matrix: Ints = np.zeros((num_classes + 1,) * 2, np.int64)
        """Counts; rows are true classes, columns predicted ones, background last."""
        self._true: Ints = np.zeros(num_classes, np.int64)
        self._predicted: Ints = np.zeros(num_classes, np.int64)
        self._matched: Ints = np.zeros(num_classes, np.int64)
        self._ious: list[Floats] = []
        self._truth: list[Detections] = []
        self._predictions: list[Detections] = []

    def update(
        self, truth: Sequence[Detections], predictions: Sequence[Detections]
    ) -> None:
        """Takes in a batch.

        Args:
            truth: The true boxes of each image.
            predictions: The predicted boxes of each image, with scores.
        """
        for true, predicted in zip(truth, predictions, strict=True):
            self._truth.append(true)
            self._predictions.append(_countable(predicted))
            shown = predicted.above(self.score_threshold)
            self._count(true, shown)

    def _count(self, true: Detections, predicted: Detections) -> None:
        ious = box_ious(predicted, true)
        by_class = _match_classes(ious, predicted, true, self.iou_threshold)
        hits = by_class >= 0
        self._ious.append(ious[hits, by_class[hits]])
        num_classes = len(self.class_names)
        self._true += _histogram(true.labels[~true.iscrowd], num_classes)
        self._predicted += _histogram(predicted.labels[by_class != _CROWD], num_classes)
        self._matched += _histogram(predicted.labels[hits], num_classes)

        found = _match(ious, predicted.known_scores(), true.iscrowd, self.iou_threshold)
        missed = ~true.iscrowd
        missed[found[found >= 0]] = False
        rows = np.append(true.labels, num_classes)[found]  # -1 is the background.
        np.add.at(self.confusion_matrix, (rows, predicted.labels), found != _CROWD)
        self.confusion_matrix[:, -1] += _histogram(true.labels[missed], num_classes + 1)

    def compute(self) -> dict[str, Any]:
        """What to log: numbers, the table by class, and charts."""
        stats, precisions, classes = self._evaluate_coco()
        results: dict[str, Any] = {
            name: float(value)
            for name, value in zip(COCO_FIGURES, stats, strict=True)
            if value >= 0
        }
        sums = [counts.sum() for counts in (self._matched, self._predicted, self._true)]
        results |= {
            name: value
            for name, value in zip(
                ("precision", "recall", "f1"), _precision_recall_f1(*sums), strict=True
            )
            if value is not None
        }
        ious = np.concatenate([np.zeros(0), *self._ious])
        if len(ious):
            results["mean_iou"] = float(ious.mean())
        results["per_class"] = self._per_class(precisions, classes)
        names = check_class_names([*self.class_names, "background"]) or []
        results |= charts.confusion_matrix(self.confusion_matrix, names)
        if len(classes) and len(self.class_names) <= charts.MAX_CURVES:
            recall = np.linspace(0, 1, precisions.shape[1])
            results["precision_recall"] = charts.curves(
                {
                    self.class_names[label]: (recall, precision)
                    for label, precision in zip(classes, precisions[0].T, strict=True)
                },
                "recall",
                "precision",
                "Precision and recall at IoU 0.5",
            )
        return results

    def _evaluate_coco(self) -> tuple[Floats, Floats, list[int]]:
        """COCO's twelve figures, with -1 for what is not defined; and by class.

        Returns:
            The figures; the precisions of shape `(10 IoUs, 101 recalls, classes)`; the
            ids of these classes, the ones with true boxes. The others don't count.
        """
        classes = np.flatnonzero(self._true).tolist()
        if not classes:
            return np.full(len(COCO_FIGURES), -1.0), np.zeros((10, 101, 0)), []
        images = [{"id": index} for index in range(len(self._truth))]
        sides = []
        for boxes in (self._truth, self._predictions):
            side = COCO()
            side.dataset = {
                "images": images,
                "categories": [{"id": label} for label in classes],
                "annotations": _annotations(boxes),
            }
            side.createIndex()
            sides.append(side)
        evaluator = COCOeval_faster(*sides, iouType="bbox", print_function=_ignore)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
        precision = np.asarray(evaluator.eval["precision"])[:, :, :, 0, -1]
        # Not defined for areas that are beyond COCO's.
        defined = np.flatnonzero((precision >= 0).all(axis=(0, 1))).tolist()
        known = [classes[index] for index in defined]
        return np.asarray(evaluator.stats)[:12], precision[:, :, defined], known

    def _per_class(self, precisions: Floats, classes: list[int]) -> wandb.Table:
        average = dict(zip(classes, precisions.mean(axis=(0, 1)), strict=True))
        average_50 = dict(zip(classes, precisions[0].mean(axis=0), strict=True))
        columns = ["class", "AP", "AP50", "precision", "recall", "f1"]
        return wandb.Table(
            columns=[*columns, "true_boxes", "predictions"],
            data=[
                [
                    name,
                    float(average[label]) if label in average else None,
                    float(average_50[label]) if label in average else None,
                    *_precision_recall_f1(
                        self._matched[label], self._predicted[label], self._true[label]
                    ),
                    int(self._true[label]),
                    int(self._predicted[label]),
                ]
                for label, name in enumerate(self.class_names)
            ],
        )


def count_image(
    truth: Detections,
    predictions: Detections,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.3,
) -> ImageCounts:
    """Counts what is right and wrong in one image, as `DetectionMetrics` does.

    Args:
        truth: The true boxes.
        predictions: The predicted boxes, with scores.
        iou_threshold: From which IoU on two boxes of a class match.
        score_threshold: From which score on predictions count.
    """
    shown = predictions.above(score_threshold)
    ious = box_ious(shown, truth)
    found = _match_classes(ious, shown, truth, iou_threshold)
    hits = np.flatnonzero(found >= 0)
    return ImageCounts(
        true_positives=len(hits),
        false_positives=int((found == _NO_MATCH).sum()),
        false_negatives=int((~truth.iscrowd).sum()) - len(hits),
        ious=ious[hits, found[hits]],
    )


def box_ious(predictions: Detections, truth: Detections) -> Floats:
    """Intersection over union of each prediction with each true box, as in COCO.

    For a crowd it is the share of the prediction that lies in it.

    Returns:
        Array of shape `(predictions, true boxes)`.
    """
    shape = len(predictions), len(truth)
    if 0 in shape:
        return np.zeros(shape)
    ious = coco_mask.iou(
        _as_xywh(predictions.boxes), _as_xywh(truth.boxes), truth.iscrowd.tolist()
    )
    return np.asarray(ious)


def _histogram(labels: Ints, num_classes: int) -> Ints:
    return np.bincount(labels, minlength=num_classes)


def _as_xywh(boxes: Floats) -> Floats:
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def _match_classes(
    ious: Floats, predictions: Detections, truth: Detections, iou_threshold: float
) -> Ints:
    """Matches as `_match` does, but only boxes of the same class."""
    same = predictions.labels[:, None] == truth.labels
    return _match(
        np.where(same, ious, 0.0),
        predictions.known_scores(),
        truth.iscrowd,
        iou_threshold,
    )


def _match(ious: Floats, scores: Floats, iscrowd: Bools, iou_threshold: float) -> Ints:
    """Gives each prediction, from the highest score on, the best free true box.

    Args:
        ious: Shape `(predictions, true boxes)`.
        scores: Shape `(predictions,)`.
        iscrowd: Shape `(true boxes,)`.
        iou_threshold: The least IoU of a match.

    Returns:
        The index of the true box, `_NO_MATCH`, or `_CROWD`, of shape `(predictions,)`.
    """
    threshold = min(iou_threshold, 1 - 1e-10)  # COCO's way to make 1 reachable.
    close = np.asarray(ious >= threshold)
    in_crowd = close[:, iscrowd].any(axis=1)
    found = np.where(in_crowd, _CROWD, _NO_MATCH)
    free = np.where(close & ~iscrowd, ious, 0.0)
    order = np.argsort(-scores, kind="stable")
    for i in order[np.asarray(free.any(axis=1))[order]]:
        best = int(free[i].argmax())
        if free[i, best] > 0:
            found[i] = best
            free[:, best] = 0.0
    return found


def _precision_recall_f1(
    matched: int, predicted: int, true: int
) -> tuple[float | None, float | None, float | None]:
    """`None` where nothing can be told; 0 for predicting nothing of what is there."""
    return (
        float(matched / predicted) if predicted else (0.0 if true else None),
        float(matched / true) if true else None,
        float(2 * matched / (predicted + true)) if predicted + true else None,
    )


def _countable(predictions: Detections) -> Detections:
    """A copy of what COCO counts: the 100 best of each class, in their order.

    A view would keep all predictions of the batch.
    """
    kept = np.arange(len(predictions))
    if len(predictions) > _MAX_DETECTIONS:
        order = np.lexsort((-predictions.known_scores(), predictions.labels))
        labels = predictions.labels[order]
        rank = kept - np.searchsorted(labels, labels)
        kept = np.sort(order[rank < _MAX_DETECTIONS])
    return predictions[kept]


def _annotations(images: Sequence[Detections]) -> list[dict[str, Any]]:
    """All boxes as COCO has them, with ids from 1."""
    counts = [len(image) for image in images]
    columns = (
        np.repeat(np.arange(len(images)), counts),
        np.concatenate([image.labels for image in images]),
        _as_xywh(np.concatenate([image.boxes for image in images])),
        np.concatenate([image.area for image in images]),
        np.concatenate([image.iscrowd for image in images]).astype(np.int64),
        np.concatenate(
            [np.zeros(len(i)) if i.scores is None else i.scores for i in images]
        ),
    )
    return [
        {
            "id": index,
            "image_id": image,
            "category_id": label,
            "bbox": box,
            "area": area,
            "iscrowd": iscrowd,
            "score": score,
        }
        for index, (image, label, box, area, iscrowd, score) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), start=1
        )
    ]


def _ignore(message: Any) -> None:
    """Takes what the evaluator would print."""
