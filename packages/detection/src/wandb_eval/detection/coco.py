"""COCO's own evaluation, by hotcoco."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hotcoco import StreamingEval
from numpy.typing import NDArray

from wandb_eval.detection.detections import Detections, Floats, Ints
from wandb_eval.detection.ious import as_xywh
from wandb_eval.detection.matching import BatchMatch

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


class CocoEvaluation:
    """COCO's figures, with COCO's parameters, batch by batch.

    It keeps boxes, labels and scores, but only the predictions that COCO counts.

    Args:
        class_names: The name of each class.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = list(class_names)
        # The batches so far: after a merge, their images have other numbers.
        self._batches: list[_Columns] = []
        self._begin()

    def _begin(self) -> None:
        names = enumerate(self._class_names)
        self._evaluation = StreamingEval([{"id": i, "name": n} for i, n in names])
        self._computed: Any = None
        self._num_evaluated = self._num_images = self._num_true = 0

    def __getstate__(self) -> dict[str, Any]:
        """Returns the batches, without the state of hotcoco."""
        return {"_class_names": self._class_names, "_batches": self._batches}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes the batches; hotcoco evaluates them when results are needed."""
        vars(self).update(state)
        self._begin()

    def update(self, matches: BatchMatch) -> None:
        """Takes in a batch.

        Raises:
            RuntimeError: If the figures were computed already.
        """
        self._take([_Columns.of(matches)])

    def merge(self, other: CocoEvaluation) -> None:
        """Takes in all images of another one, as if they came behind its own.

        Raises:
            RuntimeError: If the figures were computed already.
        """
        self._take(other._batches)

    def _take(self, batches: Sequence[_Columns]) -> None:
        if self._computed is not None:
            raise RuntimeError("After `compute()` there can be no further batches.")
        self._batches += batches
        self._evaluate()

    def _evaluate(self) -> None:
        for batch in self._batches[self._num_evaluated :]:
            first, before = self._num_images, self._num_true
            annotations = batch.annotations(first, before)
            self._num_evaluated += 1
            self._num_images += batch.count
            self._num_true += len(annotations)
            images = [{"id": i} for i in range(first, self._num_images)]
            self._evaluation.update(images, annotations, batch.results(first))

    def compute(self) -> tuple[dict[str, float], Floats, list[int]]:
        """COCO's figures that are defined, and precisions by class.

        Returns:
            The numbers; the precisions of shape `(10 IoUs, 101 recalls, classes)`; the
            ids of these classes, which are those with true boxes.
        """
        if self._computed is None:  # It can be finalized once.
            self._evaluate()
            self._computed = self._evaluation.finalize()
            self._computed.accumulate()
        figures = self._computed.eval  # Each access makes a copy.
        assert figures is not None
        precision = np.asarray(figures["precision"])
        numbers = _coco_figures(precision, np.asarray(figures["recall"]))
        precision = precision[:, :, :, 0, -1]
        # Undefined without true boxes, or for areas beyond COCO's limit.
        defined = np.flatnonzero((precision >= 0).all(axis=(0, 1))).tolist()
        return numbers, precision[:, :, defined], defined


def _coco_figures(precision: Floats, recall: Floats) -> dict[str, float]:
    """COCO's twelve figures, as in `COCOeval.summarize` of pycocotools.

    Args:
        precision: The precisions, of shape `(10 IoUs, 101 recalls, classes, 4 areas, 3
            limits)`; -1 where they are not defined.
        recall: The recalls, of shape `(10 IoUs, classes, 4 areas, 3 limits)`.

    Returns:
        The figures that are defined, rounded to 12 digits: pycocotools has a precision
        of 1 - 2e-16 if all predictions are right.
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


@dataclass(frozen=True)
class _Columns:
    """A batch as COCO has it, with images numbered from 0.

    Attributes:
        count: The number of images.
        true: The columns of the true boxes, by COCO's names.
        predicted: The predictions that COCO counts, as image, box, score and class, of
            shape `(n, 7)`.
    """

    count: int
    true: dict[str, NDArray[Any]]
    predicted: Floats

    @classmethod
    def of(cls, matches: BatchMatch) -> _Columns:
        true = matches.true
        columns: dict[str, NDArray[Any]] = {
            "image_id": matches.true_image,
            "category_id": true.labels,
            "bbox": as_xywh(true.boxes),
            "area": true.area,
            "iscrowd": true.iscrowd.astype(np.int64),
        }
        return cls(len(matches), columns, _as_columns(matches))

    def annotations(self, first: int, num_before: int) -> list[dict[str, Any]]:
        """Returns true boxes as annotations, with images from `first` on."""
        columns = self.true | {"image_id": self.true["image_id"] + first}
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [
            {"id": number, **dict(zip(columns, row, strict=True))}
            for number, row in enumerate(rows, start=num_before + 1)
        ]

    def results(self, first: int) -> Floats:
        """Returns predictions, with images from `first` on."""
        table = self.predicted.copy()
        table[:, 0] += first
        return table


def _as_columns(matches: BatchMatch) -> Floats:
    """The predictions that COCO counts: image, box, score and class, shape `(n, 7)`."""
    predicted, image = matches.predicted, matches.image
    kept = _countable(image, predicted)
    table = np.empty((len(predicted), 7))
    table[:, 0] = image
    table[:, 1:5] = as_xywh(predicted.boxes)
    table[:, 5] = predicted.known_scores()
    table[:, 6] = predicted.labels
    return table[kept]


def _countable(image: Ints, predicted: Detections) -> Ints | slice:
    """Selects the predictions that COCO counts: the 100 best of a class in an image.

    Args:
        image: The place of the image of each prediction, in ascending order.
        predicted: The predictions.
    """
    if np.bincount(image, minlength=1).max() <= _MAX_DETECTIONS:
        return slice(None)
    order = np.lexsort((-predicted.known_scores(), predicted.labels, image))
    group = np.stack([image, predicted.labels])[:, order]
    starts = np.append(True, (np.diff(group) != 0).any(axis=0))
    number = np.arange(len(order))
    rank = number - np.maximum.accumulate(np.where(starts, number, 0))
    return np.sort(order[rank < _MAX_DETECTIONS])
