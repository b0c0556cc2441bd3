"""Who measures at scale: our callbacks, and public implementations of the same numbers.

A side gets batches and gives numbers. What `prepare` does is in no figure.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import cv2
import keras
import numpy as np
from cases import Lookup, Untrained
from scale_data import CityscapesScale, CocoScale
from scipy.special import softmax
from sklearn import metrics

from wandb_eval.classification import WandbClassificationEvalCallback
from wandb_eval.detection import WandbDetectionEvalCallback
from wandb_eval.segmentation import WandbSegmentationEvalCallback

Numbers = dict[str, float]

_CALLBACKS = {
    "classification": WandbClassificationEvalCallback,
    "detection": WandbDetectionEvalCallback,
    "segmentation": WandbSegmentationEvalCallback,
}

COCO_FIGURES = ("mAP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
COCO_FIGURES += ("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large")


class Side:
    """What is given batches, and gives numbers.

    Args:
        scale: What is measured.
    """

    def __init__(self, scale: Any) -> None:
        self.scale = scale

    def prepare(self, x: Any, y: Any, outputs: Any) -> Any:
        """What the side is given of a batch."""
        return y, outputs

    def update(self, y: Any, outputs: Any) -> None:
        """Takes in a batch."""

    def compute(self) -> Numbers:
        """The numbers of all batches."""
        raise NotImplementedError


class Ours(Side):
    """What the callback of the task does with a batch, and for the metrics at the end.

    That is more than the numbers of the others: scores of each sample, calibration,
    confusion matrices, kinds of errors, tables and charts.
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
        """A batch as the walk through the validation data hands it on."""
        return self._callback.unpack_batch((x, y))[1], outputs

    def update(self, y: Any, outputs: Any) -> None:
        """Reads, measures and scores a batch."""
        truth, predictions = self._callback.read_batch(y, outputs)
        self._metrics.update(truth, predictions)
        self._callback.score_samples(truth, predictions)

    def compute(self) -> Numbers:
        """The numbers; charts and tables are made, too."""
        results = self._metrics.compute()
        return {k: v for k, v in results.items() if isinstance(v, float)}


class CocoApi(Side):
    """An implementation with the interface of pycocotools, from dictionaries."""

    def __init__(self, scale: CocoScale) -> None:
        super().__init__(scale)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._results: list[dict[str, Any]] = []
        self._interface = self.interface()

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

    def compute(self) -> Numbers:
        """Evaluates all of the dictionaries."""
        coco, evaluation = self._interface
        names = [{"id": n, "name": str(n)} for n in range(self.scale.num_classes)]
        with contextlib.redirect_stdout(io.StringIO()):
            truth = coco(
                {
                    "images": self._images,
                    "annotations": self._annotations,
                    "categories": names,
                }
            )
            found = getattr(truth, "loadRes", None) or truth.load_res
            evaluated = evaluation(truth, found(self._results), "bbox")
            evaluated.evaluate()
            evaluated.accumulate()
            evaluated.summarize()
        return dict(zip(COCO_FIGURES, map(float, evaluated.stats), strict=False))

    def interface(self) -> tuple[Any, Any]:
        """The class of data sets, and that of evaluations."""
        raise NotImplementedError


class Pycocotools(CocoApi):
    """pycocotools."""

    def interface(self) -> tuple[Any, Any]:
        """COCO's own classes."""
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        def dataset(content: dict[str, Any]) -> Any:
            coco = COCO()
            coco.dataset = content
            coco.createIndex()
            return coco

        return dataset, COCOeval


class FasterCocoEval(CocoApi):
    """faster-coco-eval."""

    def interface(self) -> tuple[Any, Any]:
        """Its classes."""
        from faster_coco_eval import COCO, COCOeval_faster

        return COCO, COCOeval_faster


class Hotcoco(CocoApi):
    """hotcoco, which ours has within."""

    def interface(self) -> tuple[Any, Any]:
        """Its classes."""
        from hotcoco import COCO, COCOeval

        return COCO, COCOeval


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

    def compute(self) -> Numbers:
        """The numbers of ours, but those of calibration."""
        y, scores = np.concatenate(self._y), np.concatenate(self._outputs)
        found, labels = scores.argmax(axis=1), range(self.scale.num_classes)
        metrics.confusion_matrix(y, found, labels=labels)
        metrics.precision_recall_fscore_support(
            y, found, labels=labels, zero_division=0
        )
        return {
            "accuracy": metrics.accuracy_score(y, found),
            "top_5_accuracy": metrics.top_k_accuracy_score(
                y, scores, k=5, labels=labels
            ),
            "log_loss": metrics.log_loss(y, scores, labels=labels),
            "macro_f1": metrics.f1_score(y, found, average="macro", zero_division=0),
        }


class KerasMetrics(Side):
    """The metrics of Keras, batch by batch."""

    def __init__(self, scale: Any) -> None:
        super().__init__(scale)
        self._metrics = {
            "accuracy": keras.metrics.SparseCategoricalAccuracy(),
            "top_5_accuracy": keras.metrics.SparseTopKCategoricalAccuracy(5),
            "log_loss": keras.metrics.SparseCategoricalCrossentropy(),
        }

    def update(self, y: Any, outputs: Any) -> None:
        """Takes in a batch."""
        for metric in self._metrics.values():
            metric.update_state(y, outputs)

    def compute(self) -> Numbers:
        """Accuracy, top-5 accuracy and log loss."""
        return {k: float(metric.result()) for k, metric in self._metrics.items()}


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

    def compute(self) -> Numbers:
        """Mean IoU and pixel accuracy."""
        right = self._counts.diagonal()
        union = self._counts.sum(axis=0) + self._counts.sum(axis=1) - right
        return {
            "mean_iou": float((right[union > 0] / union[union > 0]).mean()),
            "pixel_accuracy": float(right.sum() / self._counts.sum()),
        }


class KerasMasks(Side):
    """Keras' operations, and its `MeanIoU`."""

    def __init__(self, scale: CityscapesScale) -> None:
        super().__init__(scale)
        self._metric = keras.metrics.MeanIoU(scale.num_classes, sparse_y_pred=False)

    def update(self, y: Any, outputs: Any) -> None:
        """Takes in a batch."""
        if self.scale.step > 1:
            outputs = keras.ops.softmax(outputs)
            outputs = keras.ops.image.resize(outputs, y.shape[1:])
        self._metric.update_state(y, outputs)

    def compute(self) -> Numbers:
        """Mean IoU."""
        return {"mean_iou": float(self._metric.result())}
