"""The metrics of a detector over all of its validation data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import wandb

from wandb_eval.detection.coco import CocoEvaluation
from wandb_eval.detection.detections import Detections, Floats, Ints
from wandb_eval.detection.error_costs import error_costs
from wandb_eval.detection.matching import CROWD, ERROR_TYPES, BatchMatch, ImageMatch
from wandb_eval.detection.ranking import Ranking
from wandb_eval.detection.score_curves import ScoreCurve, score_curves
from wandb_eval.engine import charts, check_class_names
from wandb_eval.engine.kit.thresholds import check_threshold

_OVER_SCORE = {"precision": "Precision", "recall": "Recall", "f1": "F1"}


class DetectionMetrics:
    """COCO's figures, precision, recall, F1 and a confusion matrix, batch by batch.

    COCO's figures are computed by hotcoco with COCO's parameters: IoU from 0.5 to 0.95,
    at most 100 predictions of a class in an image, objects below 32x32 pixels are
    small, above 96x96 large. They count predictions of any score.

    The other numbers count predictions with a score of `score_threshold` or more.
    Predictions are matched in the order of their scores (ties: in the order given).
    Each is matched with the true box of the highest IoU (ties: the first one), of
    `iou_threshold` or more, that is not yet matched. For precision, recall and F1, over
    all classes together, both boxes must have the same class. For the confusion matrix
    they need not: it shows which classes are confused. Its last row and column,
    `background`, hold predictions without an object and objects without a prediction.
    Predictions that match only a crowd are ignored, as in COCO; their IoU is the share
    of the prediction that lies in the crowd.

    Precision, recall and F1 are also computed for the score thresholds 0, 0.02 and so
    on up to 1, as curves over all classes together and, for up to 20 classes, of each
    class. `best_f1` is the highest F1 over all classes at any threshold, and
    `best_score_threshold` is its threshold; the table has both by class. The thresholds
    are the scores of all predictions that count; among equally good ones, the lowest is
    chosen. Matching and crowds are as above. Predictions of classes without true boxes
    are wrong; these classes have no curve and no best F1 of their own. Without matches,
    the best F1 is 0, and there is no best threshold.

    `errors/<kind>` counts the predictions with one kind of error, see `ERROR_TYPES`.
    `errors/<kind>_AP_cost` is the gain in AP at `iou_threshold`, over predictions of
    any score, if these errors were corrected, as in TIDE. `errors/missed` counts the
    true boxes of `errors/missed_AP_cost`: no prediction of any score finds them, and no
    prediction with a wrong class or a wrong location is on them.

    Undefined numbers are left out: figures of COCO without true boxes, such as
    `AP_large` without large objects; `recall` without true boxes; `mean_iou` without
    matches. With true boxes and without predictions, all numbers are 0, except
    `errors/missed`, the number of boxes, and `errors/missed_AP_cost`, which is 1.

    It keeps true boxes, the boxes of the predictions that COCO counts, and label, score
    and kind of all predictions but those that match only a crowd.

    Args:
        class_names: The name of each class.
        iou_threshold: The lowest IoU at which two boxes match, above 0 and up to 1.
        score_threshold: The lowest score of predictions that count, from 0 to 1.

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
        check_threshold("score_threshold", score_threshold)
        if not check_threshold("iou_threshold", iou_threshold):
            raise ValueError("`iou_threshold` must be above 0. Received: 0")
        self.class_names = list(class_names)
        self.iou_threshold = iou_threshold
        self.score_threshold = score_threshold
        num_classes = len(self.class_names)
        self._pairs: list[charts.PairCounts] = []
        self._true: Ints = np.zeros(num_classes, np.int64)
        self._predicted: Ints = np.zeros(num_classes, np.int64)
        self._matched: Ints = np.zeros(num_classes, np.int64)
        self._ious: list[Floats] = []
        self._kinds: Ints = np.zeros(len(ERROR_TYPES), np.int64)
        self._ranking = Ranking(num_classes)
        self._coco = CocoEvaluation(self.class_names)

    def update(
        self, truth: Sequence[Detections], predictions: Sequence[Detections]
    ) -> None:
        """Takes in a batch.

        Args:
            truth: The true boxes of each image.
            predictions: The predicted boxes of each image, with scores.

        Raises:
            ValueError: If there are not as many predictions as images.
        """
        if len(truth) != len(predictions):
            raise ValueError(
                "`predictions` must have the boxes of each image of `truth`. Received: "
                f"those of {len(predictions)} images, and {len(truth)} images"
            )
        thresholds = self.iou_threshold, self.score_threshold
        self.update_matches(BatchMatch(truth, predictions, *thresholds))

    def update_matches(self, matches: Sequence[ImageMatch]) -> None:
        """Takes in a batch of images that are matched already."""
        if not isinstance(matches, BatchMatch):
            sides = [i.truth for i in matches], [i.predictions for i in matches]
            matches = BatchMatch(*sides, self.iou_threshold, self.score_threshold)
        self._coco.update(matches)
        self._count(matches)
        self._ranking.update(matches)

    def merge(self, other: DetectionMetrics) -> None:
        """Takes in all images of another one, as if they came behind its own.

        Raises:
            RuntimeError: If the figures were computed already.
        """
        self._coco.merge(other._coco)
        self._ranking.merge(other._ranking)
        self._pairs += other._pairs
        self._ious += other._ious
        self._true += other._true
        self._predicted += other._predicted
        self._matched += other._matched
        self._kinds += other._kinds

    def _count(self, matches: BatchMatch) -> None:
        num_classes = len(self.class_names)
        true, labels = matches.true, matches.predicted.labels
        self._ious.append(matches.ious)
        self._true += _histogram(true.labels[~true.iscrowd], num_classes)
        counted = matches.shown & (matches.found != CROWD)
        self._predicted += _histogram(labels[counted], num_classes)
        self._matched += _histogram(labels[matches.hits], num_classes)
        self._kinds += _histogram(matches.kinds[matches.shown], len(ERROR_TYPES))

        found = matches.found_of_any_class[matches.shown]
        missed = ~true.iscrowd
        missed[found[found >= 0]] = False
        rows = np.append(true.labels, num_classes)[found]  # -1 is the background.
        counted = found != CROWD
        columns = labels[matches.shown][counted]
        missed_labels = true.labels[missed]
        background = np.full(len(missed_labels), num_classes)
        pairs = charts.PairCounts.of(
            np.append(rows[counted], missed_labels),
            np.append(columns, background),
            num_classes + 1,
        )
        self._pairs.append(pairs)

    @property
    def confusion_matrix(self) -> Ints:
        """Counts; rows are true classes, columns predicted classes, background last."""
        return np.asarray(self._confusions().dense(), np.int64)

    def _confusions(self) -> charts.PairCounts:
        """The pairs of classes that occurred."""
        pairs = self._pairs
        nothing = np.zeros(0, np.int64)
        together = charts.PairCounts.of(
            np.concatenate([nothing, *(part.actual for part in pairs)]),
            np.concatenate([nothing, *(part.predicted for part in pairs)]),
            len(self.class_names) + 1,
            np.concatenate([nothing, *(part.counts for part in pairs)]),
        )
        self._pairs = [together]
        return together

    def compute(self) -> dict[str, Any]:
        """Returns the values to log: numbers, the table by class, and charts."""
        results: dict[str, Any] = {}
        precisions: Floats = np.zeros((10, 101, 0))
        classes: list[int] = []
        if self._true.any():
            numbers, precisions, classes = self._coco.compute()
            results |= numbers
        results |= {
            f"errors/{kind}": int(count)
            for kind, count in zip(ERROR_TYPES[1:], self._kinds[1:], strict=True)
        }
        results["errors/missed"] = int(self._ranking.out_of_reach.sum())
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
        ranked = self._ranking.compute()
        curve_of_all, curves = score_curves(ranked, self._true)
        if curve_of_all is not None:
            results |= self._over_score(curve_of_all, curves)
            costs = error_costs(ranked, self._true, self._ranking.out_of_reach)
            results |= {f"errors/{name}_AP_cost": ap for name, ap in costs.items()}
        results["per_class"] = self._per_class(precisions, classes, curves)
        names = check_class_names([*self.class_names, "background"]) or []
        results |= charts.confusion_matrix(self._confusions(), names)
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

    def _over_score(
        self, curve_of_all: ScoreCurve, curves: dict[int, ScoreCurve]
    ) -> dict[str, Any]:
        """The best F1 with its threshold, and charts over the score."""
        f1, score = curve_of_all.best()
        results: dict[str, Any] = {"best_f1": f1}
        if score is not None:
            results["best_score_threshold"] = score
        names = check_class_names([*self.class_names, "all classes"]) or []
        name_of_all = names.pop()
        drawn = {name_of_all: curve_of_all.sample()}
        if len(names) <= charts.MAX_CURVES:
            drawn |= {names[label]: curve.sample() for label, curve in curves.items()}
        for key, title in _OVER_SCORE.items():
            results[f"{key}_curve"] = charts.curves(
                {name: sampled[key] for name, sampled in drawn.items()},
                "score",
                key,
                f"{title} over the score, at IoU {self.iou_threshold:g}",
            )
        return results

    def _per_class(
        self,
        precisions: Floats,
        classes: list[int],
        curves: dict[int, ScoreCurve],
    ) -> wandb.Table:
        best = {label: curve.best() for label, curve in curves.items()}
        average = dict(zip(classes, precisions.mean(axis=(0, 1)), strict=True))
        average_50 = dict(zip(classes, precisions[0].mean(axis=0), strict=True))
        columns = ["class", "AP", "AP50", "precision", "recall", "f1"]
        columns += ["best_f1", "best_score_threshold"]
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
                    *best.get(label, (None, None)),
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
) -> ImageMatch:
    """Counts right, wrong and missed boxes in one image, as `DetectionMetrics` does.

    Args:
        truth: The true boxes.
        predictions: The predicted boxes, with scores.
        iou_threshold: The lowest IoU at which two boxes of a class match.
        score_threshold: The lowest score of predictions that count.
    """
    return ImageMatch(truth, predictions, iou_threshold, score_threshold)


def _histogram(labels: Ints, num_classes: int) -> Ints:
    return np.bincount(labels, minlength=num_classes)


def _precision_recall_f1(
    matched: int, predicted: int, true: int
) -> tuple[float | None, float | None, float | None]:
    """`None` for undefined numbers; 0 if there are true boxes but no predictions."""
    return (
        float(matched / predicted) if predicted else (0.0 if true else None),
        float(matched / true) if true else None,
        float(2 * matched / (predicted + true)) if predicted + true else None,
    )
