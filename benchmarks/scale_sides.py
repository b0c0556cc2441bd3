"""The sides at scale: our callbacks, and public implementations of the same numbers.

A side gets batches, and computes numbers, which the tests of the packages compare. The
time of `prepare` is not measured.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import cv2
import keras
import numpy as np
from cases import Lookup, Untrained
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scale_data import CityscapesScale, CocoScale
from scipy.special import softmax
from sklearn import metrics

from wandb_eval.classification import WandbClassificationEvalCallback
from wandb_eval.detection import WandbDetectionEvalCallback
from wandb_eval.segmentation import WandbSegmentationEvalCallback

_CALLBACKS = {
    "classification": WandbClassificationEvalCallback,
    "detection": WandbDetectionEvalCallback,
    "segmentation": WandbSegmentationEvalCallback,
}


class Side:
    """An implementation that computes numbers from batches.

    Args:
        scale: The data.
    """

    def __init__(self, scale: Any) -> None:
        self.scale = scale

    def prepare(self, x: Any, y: Any, outputs: Any) -> Any:
        """Converts a batch to the form that the side takes."""
        return y, outputs

    def update(self, y: Any, outputs: Any) -> None:
        """Takes in a batch."""

    def compute(self) -> None:
        """Computes the numbers of all batches."""
        raise NotImplementedError


class Ours(Side):
    """The callback of the task: its work on each batch, and on the metrics at the end.

    It does more than the other sides: scores of each sample, calibration, confusion
    matrices, kinds of errors, tables and charts.
    """

    def __init__(self, scale: Any) -> None:
        super().__init__(scale)
        x, y, outputs = next(scale.batches(1))
        names = [f"class {number}" for number in range(scale.num_classes)]
        self._callback = _CALLBACKS[scale.task]((x, y), names, num_samples=1)
        inputs = keras.Input(x.shape[1:], dtype="uint8")
        if isinstance(outputs, dict):
            found = Lookup(outputs)(inputs)
        else:
            found = Lookup({"outputs": outputs})(inputs)["outputs"]
        model = Untrained(inputs, found)
        model.compile()
        self._callback.evaluate(model)
        self._metrics = self._callback.new_metrics()

    def prepare(self, x: Any, y: Any, outputs: Any) -> Any:
        """Converts a batch as in the iteration over validation data."""
        return self._callback.unpack_batch((x, y))[1], outputs

    def update(self, y: Any, outputs: Any) -> None:
        """Reads, measures and scores a batch."""
        truth, predictions = self._callback.read_batch(y, outputs)
        self._metrics.update(truth, predictions)
        self._callback.score_samples(truth, predictions)

    def compute(self) -> None:
        """Computes the numbers, charts and tables."""
        self._metrics.compute()


class Pycocotools(Side):
    """pycocotools, which starts with dictionaries."""

    def __init__(self, scale: CocoScale) -> None:
        super().__init__(scale)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._results: list[dict[str, Any]] = []

    def prepare(self, x: Any, y: Any, outputs: Any) -> Any:
        """Makes dictionaries of a batch."""
        for i in range(len(x)):
            image = len(self._images) + 1
            self._images.append(
                {"id": image, "height": x.shape[1], "width": x.shape[2]}
            )
            true = y["labels"][i] >= 0
            for box, label, crowd in zip(
                _xywh(y["boxes"][i][true]),
                y["labels"][i][true].tolist(),
                y["iscrowd"][i][true].tolist(),
                strict=True,
            ):
                self._annotations.append(
                    {
                        "id": len(self._annotations) + 1,
                        "image_id": image,
                        "category_id": label,
                        "bbox": box,
                        "area": box[2] * box[3],
                        "iscrowd": int(crowd),
                    }
                )
            for box, label, score in zip(
                _xywh(outputs["boxes"][i]),
                outputs["labels"][i].tolist(),
                outputs["confidence"][i].tolist(),
                strict=True,
            ):
                self._results.append(
                    {
                        "image_id": image,
                        "category_id": label,
                        "bbox": box,
                        "score": score,
                    }
                )
        return None, None

    def compute(self) -> None:
        """Evaluates all of the dictionaries."""
        truth = COCO()
        truth.dataset = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": [{"id": n} for n in range(self.scale.num_classes)],
        }
        with contextlib.redirect_stdout(io.StringIO()):
            truth.createIndex()
            evaluated = COCOeval(truth, truth.loadRes(self._results), "bbox")
            evaluated.evaluate()
            evaluated.accumulate()
            evaluated.summarize()


def _xywh(boxes: Any) -> Any:
    corners = boxes.astype(np.float64)
    return np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist()


class ScikitLearn(Side):
    """scikit-learn, which needs all of the outputs at once."""

    def __init__(self, scale: Any) -> None:
        super().__init__(scale)
        self._y: list[Any] = []
        self._outputs: list[Any] = []

    def update(self, y: Any, outputs: Any) -> None:
        """Keeps a batch."""
        self._y.append(y)
        self._outputs.append(outputs)

    def compute(self) -> None:
        """Computes the numbers of `Ours`, except for calibration."""
        y, scores = np.concatenate(self._y), np.concatenate(self._outputs)
        found, labels = scores.argmax(axis=1), range(self.scale.num_classes)
        metrics.confusion_matrix(y, found, labels=labels)
        metrics.precision_recall_fscore_support(
            y, found, labels=labels, zero_division=0
        )
        metrics.accuracy_score(y, found)
        metrics.top_k_accuracy_score(y, scores, k=5, labels=labels)
        metrics.log_loss(y, scores, labels=labels)
        metrics.f1_score(y, found, average="macro", zero_division=0)


class NumpyMasks(Side):
    """`argmax` and `bincount` of NumPy; before them, SciPy's softmax and OpenCV."""

    def __init__(self, scale: CityscapesScale) -> None:
        super().__init__(scale)
        self._counts = np.zeros((scale.num_classes,) * 2, np.int64)

    def update(self, y: Any, outputs: Any) -> None:
        """Counts the pixels of a batch."""
        classes = self.scale.num_classes
        for true, scores in zip(y, outputs, strict=True):
            if self.scale.step > 1:
                resized = cv2.resize(softmax(scores, axis=-1), true.shape[::-1])
                found = resized.argmax(axis=-1)
            else:
                found = scores.argmax(axis=-1)
            pairs = true.astype(np.int64) * classes + found
            counts = np.bincount(pairs.ravel(), minlength=classes**2)
            self._counts += counts.reshape(classes, classes)

    def compute(self) -> None:
        """Computes the mean IoU."""
        right = self._counts.diagonal()
        union = self._counts.sum(axis=0) + self._counts.sum(axis=1) - right
        (right[union > 0] / union[union > 0]).mean()
