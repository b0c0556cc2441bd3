"""What is measured of a detector over all of its validation data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import wandb
from hotcoco import StreamingEval

from wandb_eval.core import charts, check_class_names, is_number
from wandb_eval.detection.detections import Detections, Floats, Ints
from wandb_eval.detection.matching import CROWD, KINDS, BatchMatch, ImageMatch, as_xywh

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

_TIDE_NAMES = {
    "class": "Cls",
    "location": "Loc",
    "both": "Both",
    "duplicate": "Dupe",
    "background": "Bkg",
    "missed": "Miss",
}

_MAX_DETECTIONS = 100  # COCO's own limit, for each class in an image.


class DetectionMetrics:
    """COCO's figures, precision, recall, F1 and a confusion matrix, batch by batch.

    COCO's figures are hotcoco's, with COCO's parameters: IoU from 0.5 to 0.95,
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
        self._kinds: Ints = np.zeros(len(KINDS), np.int64)
        self._kinds_missed = self._num_images = self._num_true = 0
        categories = [{"id": i, "name": n} for i, n in enumerate(self.class_names)]
        self._coco = StreamingEval(categories)

    def update(
        self, truth: Sequence[Detections], predictions: Sequence[Detections]
    ) -> None:
        """Takes in a batch.

        Args:
            truth: The true boxes of each image.
            predictions: The predicted boxes of each image, with scores.
        """
        thresholds = self.iou_threshold, self.score_threshold
        self.update_matches(BatchMatch(truth, predictions, *thresholds))

    def update_matches(self, matches: Sequence[ImageMatch]) -> None:
        """Takes in a batch of images that are matched already: best a `BatchMatch`."""
        if not isinstance(matches, BatchMatch):
            sides = [i.truth for i in matches], [i.predictions for i in matches]
            matches = BatchMatch(*sides, self.iou_threshold, self.score_threshold)
        self._stream(matches)
        self._count(matches)

    def _stream(self, matches: BatchMatch) -> None:
        """Hands a batch to COCO's evaluation."""
        first, self._num_images = self._num_images, self._num_images + len(matches)
        images = [{"id": i} for i in range(first, self._num_images)]
        annotations = _annotations(matches, first, self._num_true)
        self._num_true += len(annotations)
        self._coco.update(images, annotations, _as_columns(matches, first))

    def _count(self, matches: BatchMatch) -> None:
        num_classes = len(self.class_names)
        true, labels = matches.true, matches.predicted.labels
        self._ious.append(matches.ious)
        self._true += _histogram(true.labels[~true.iscrowd], num_classes)
        counted = matches.shown & (matches.found != CROWD)
        self._predicted += _histogram(labels[counted], num_classes)
        self._matched += _histogram(labels[matches.hits], num_classes)
        self._kinds += _histogram(matches.kinds[matches.shown], len(KINDS))
        self._kinds_missed += int(matches.missed.sum())

        found = matches.found_of_any_class[matches.shown]
        missed = ~true.iscrowd
        missed[found[found >= 0]] = False
        rows = np.append(true.labels, num_classes)[found]  # -1 is the background.
        counted = found != CROWD
        columns = labels[matches.shown]
        np.add.at(self.confusion_matrix, (rows[counted], columns[counted]), 1)
        self.confusion_matrix[:, -1] += _histogram(true.labels[missed], num_classes + 1)

    def compute(self) -> dict[str, Any]:
        """What to log: numbers, the table by class, and charts."""
        numbers, precisions, classes = self._evaluate_coco()
        results: dict[str, Any] = dict(numbers)
        results |= {
            f"errors/{kind}": int(count)
            for kind, count in zip(KINDS[1:], self._kinds[1:], strict=True)
        }
        results["errors/missed"] = self._kinds_missed
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

    def _evaluate_coco(self) -> tuple[dict[str, float], Floats, list[int]]:
        """COCO's figures that are defined, what errors cost, and precisions by class.

        Returns:
            The numbers; the precisions of shape `(10 IoUs, 101 recalls, classes)`; the
            ids of these classes, the ones with true boxes. The others don't count.
        """
        if not self._true.any():
            return {}, np.zeros((10, 101, 0)), []
        evaluator = self._coco.finalize()
        evaluator.accumulate()
        assert evaluator.eval is not None
        precision = np.asarray(evaluator.eval["precision"])
        numbers = _coco_figures(precision, np.asarray(evaluator.eval["recall"]))
        costs = evaluator.tide_errors()["delta_ap"]
        numbers |= {
            f"errors/{kind}_AP_cost": float(costs[name])
            for kind, name in _TIDE_NAMES.items()
        }
        precision = precision[:, :, :, 0, -1]
        # Not defined without true boxes, or for areas that are beyond COCO's.
        defined = np.flatnonzero((precision >= 0).all(axis=(0, 1))).tolist()
        return numbers, precision[:, :, defined], defined

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


def _coco_figures(precision: Floats, recall: Floats) -> dict[str, float]:
    """COCO's twelve figures, as `COCOeval.summarize` of pycocotools has them.

    Args:
        precision: Shape `(10 IoUs, 101 recalls, classes, 4 areas, 3 limits)`; -1 for
            what is not defined.
        recall: Shape `(10 IoUs, classes, 4 areas, 3 limits)`.

    Returns:
        Those that are defined, rounded to 12 digits: pycocotools has a precision of
        1 - 2e-16 where all is right.
    """
    parts = [
        precision[:, :, :, 0, 2],
        precision[0, :, :, 0, 2],
        precision[5, :, :, 0, 2],
    ]
    parts += [precision[:, :, :, area, 2] for area in (1, 2, 3)]
    parts += [recall[:, :, 0, limit] for limit in (0, 1, 2)]
    parts += [recall[:, :, area, 2] for area in (1, 2, 3)]
    known = [part[part > -1] for part in parts]
    return {
        name: round(float(np.mean(part)), 12)
        for name, part in zip(COCO_FIGURES, known, strict=True)
        if part.size
    }


def count_image(
    truth: Detections,
    predictions: Detections,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.3,
) -> ImageMatch:
    """Counts what is right and wrong in one image, as `DetectionMetrics` does.

    Args:
        truth: The true boxes.
        predictions: The predicted boxes, with scores.
        iou_threshold: From which IoU on two boxes of a class match.
        score_threshold: From which score on predictions count.
    """
    return ImageMatch(truth, predictions, iou_threshold, score_threshold)


def _histogram(labels: Ints, num_classes: int) -> Ints:
    return np.bincount(labels, minlength=num_classes)


def _precision_recall_f1(
    matched: int, predicted: int, true: int
) -> tuple[float | None, float | None, float | None]:
    """`None` where nothing can be told; 0 for predicting nothing of what is there."""
    return (
        float(matched / predicted) if predicted else (0.0 if true else None),
        float(matched / true) if true else None,
        float(2 * matched / (predicted + true)) if predicted + true else None,
    )


def _annotations(
    matches: BatchMatch, first: int, num_before: int
) -> list[dict[str, Any]]:
    """True boxes as COCO has them, with ids from 1."""
    true = matches.true
    columns = {
        "image_id": matches.true_image + first,
        "category_id": true.labels,
        "bbox": as_xywh(true.boxes),
        "area": true.area,
        "iscrowd": true.iscrowd.astype(np.int64),
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [
        {"id": number, **dict(zip(columns, row, strict=True))}
        for number, row in enumerate(rows, start=num_before + 1)
    ]


def _as_columns(matches: BatchMatch, first: int) -> Floats:
    """What COCO counts, as image, box, score and class, of shape `(n, 7)`."""
    predicted, image = matches.predicted, matches.image
    kept = _countable(image, predicted)
    table = np.empty((len(predicted), 7))
    table[:, 0] = image + first
    table[:, 1:5] = as_xywh(predicted.boxes)
    table[:, 5] = predicted.known_scores()
    table[:, 6] = predicted.labels
    return table[kept]


def _countable(image: Ints, predicted: Detections) -> Ints | slice:
    """Which predictions COCO counts: in each image the 100 best of each class.

    Args:
        image: The place of each one's image, in order.
        predicted: The predictions.
    """
    if _histogram(image, 1).max() <= _MAX_DETECTIONS:
        return slice(None)
    order = np.lexsort((-predicted.known_scores(), predicted.labels, image))
    group = np.stack([image, predicted.labels])[:, order]
    starts = np.append(True, (np.diff(group) != 0).any(axis=0))
    number = np.arange(len(order))
    rank = number - np.maximum.accumulate(np.where(starts, number, 0))
    return np.sort(order[rank < _MAX_DETECTIONS])
