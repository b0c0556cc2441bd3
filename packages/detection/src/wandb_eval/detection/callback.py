"""The callback for object detection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import keras
import numpy as np
import wandb
from numpy.typing import NDArray

from wandb_eval.core import (
    Batch,
    Metrics,
    WandbTaskEvalCallback,
    check_class_names,
    with_layers,
)
from wandb_eval.detection.boxes import (
    OUTSIDE,
    BoxFormat,
    Detections,
    read_ground_truth,
    read_predictions,
)
from wandb_eval.detection.layers import box_layer
from wandb_eval.detection.metrics import DetectionMetrics, count_image

_SIZES = "image_sizes"
_KEYS = {"boxes", "labels", "classes", "iscrowd", "area"}


class WandbDetectionEvalCallback(WandbTaskEvalCallback):
    """Shows in W&B what an object detector predicts, epoch by epoch.

    When training begins, it logs a table of validation samples: `idx` (the place in
    the validation data), `image` with the true boxes as the layer `ground_truth`,
    `num_boxes`, and `classes`, the names of what is there. After each epoch it logs
    their predictions: `epoch`, `idx`, `image` with the layers `ground_truth` and
    `predictions` (up to 100 boxes of `score_threshold` or more, which W&B filters by
    `score`), `num_boxes`, `num_predictions`, `true_positives`, `false_positives`,
    `false_negatives`, `mean_iou` of the matches, and `predicted_classes` with their
    `mean_scores`.

    Over all of the validation data it logs COCO's twelve figures (`eval/mAP`,
    `eval/AP50`, `eval/AP75`, `eval/AP_small`, `_medium`, `_large`, `eval/AR_1`, `_10`,
    `_100`, `_small`, `_medium`, `_large`), `eval/precision`, `eval/recall`, `eval/f1`
    and `eval/mean_iou` at the thresholds, AP and the like by class, a confusion matrix
    with a background row and column, and for up to 20 classes precision-recall curves.
    How they are counted, `DetectionMetrics` says.

    Boxes that are not finite, reversed or of no area, predicted scores outside of 0 to
    1, and predicted labels without a name are left out: `eval/left_out` says how many
    predictions, and a warning in each epoch says why. Boxes that reach out of the image
    by more than half a pixel are clipped where they are shown, measured as they are,
    and counted in `eval/outside_image`.

    Args:
        validation_data: `(x, y)` of arrays or tensors, a batched `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a torch `DataLoader`, or any iterable of batches
            that can be iterated again. x are images; y is a dictionary of `boxes` and
            `labels` (or `classes`), and optionally `iscrowd` and `area` as in COCO:
            arrays of shape `(batch, boxes, 4)` and `(batch, boxes)`, padded with the
            label -1; ragged tensors; or lists with an array for each image. A batch may
            also be a dictionary of `images` and `bounding_boxes`, as KerasCV has it.
        class_names: The name of each class id.
        bounding_box_format: The format of the true boxes: any that
            `keras.utils.bounding_boxes.convert_format` knows, in any letter case.
            Pixels are those of x.
        prediction_format: The format of the predicted boxes. `None`: the same.
        score_threshold: Predictions with a lower score are not shown, and count only
            for COCO's figures.
        iou_threshold: From which IoU on a prediction matches a true box.
        decode_fn: Takes the outputs of the model for a batch, as NumPy arrays, and
            returns a dictionary of `boxes`, `labels` (or `classes`), `confidence` (or
            `scores`), and optionally `num_detections`. `None` if the model puts that
            out, as KerasHub's detectors do.
        num_samples: How many samples to show. `None` for all.
        every_n_epochs: Evaluate every so many epochs, and always after the last one.
        batch_size: For predicting; data that is batched already keeps its batches.
        image_fn: Takes one sample of x and returns the image to show: a uint8 array of
            shape `(height, width)` or `(height, width, channels)`. If it has another
            size than x, boxes are scaled with it. `None`: uint8, or floats of 0 to 1,
            -1 to 1 or 0 to 255, are shown as such.
        image_format: `"png"`, lossless, or `"jpg"`, which is smaller and faster.
        monitor: The name of a number in the logs of `fit` (`"val_loss"`), or of one
            logged here (`"eval/mAP"`); the version where it improved is `best`.
        mode: `"min"`, `"max"`, or `"auto"`: told by the name.
        seed: Seed of the draw of the samples.
        **kwargs: `output_key`, `name`, `log_to_history` and `on_error`, see
            `wandb_eval.core.WandbTaskEvalCallback`.

    Raises:
        wandb.Error: If there is no active run.
        ValueError: If an argument can't be used; when training begins, if boxes,
            labels, class names and outputs of the model don't fit together.

    Example:

    ```python
    wandb.init(project="pets")
    model = keras_hub.models.ObjectDetector.from_preset("retinanet_resnet50_fpn_coco")
    model.fit(
        train_ds,
        epochs=5,
        callbacks=[
            WandbDetectionEvalCallback(val_ds, names, bounding_box_format="yxyx")
        ],
    )
    ```
    """

    def __init__(
        self,
        validation_data: Any,
        class_names: Sequence[str],
        *,
        bounding_box_format: str = "xyxy",
        prediction_format: str | None = None,
        score_threshold: float = 0.3,
        iou_threshold: float = 0.5,
        decode_fn: Callable[[Any], Any] | None = None,
        num_samples: int | None = 100,
        every_n_epochs: int = 1,
        batch_size: int = 8,
        image_fn: Callable[[Any], Any] | None = None,
        image_format: str = "png",
        monitor: str | None = None,
        mode: Literal["auto", "min", "max"] = "auto",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        names = check_class_names(class_names)
        if names is None:
            raise ValueError(
                "`class_names` must be a list with one name for each class id. "
                "Received: None"
            )
        if decode_fn is not None and not callable(decode_fn):
            raise ValueError(f"`decode_fn` must be callable. Received: {decode_fn!r}")
        self.class_names = names
        self.bounding_box_format = bounding_box_format
        self.prediction_format = (
            bounding_box_format if prediction_format is None else prediction_format
        )
        self._truth_format = BoxFormat(self.bounding_box_format)
        self._prediction_format = BoxFormat(self.prediction_format)
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.decode_fn = decode_fn
        DetectionMetrics(names, iou_threshold, score_threshold)  # Checks them.
        super().__init__(
            validation_data,
            data_table_columns=["idx", "image", "num_boxes", "classes"],
            pred_table_columns=[
                "epoch",
                "idx",
                "image",
                "num_boxes",
                "num_predictions",
                "true_positives",
                "false_positives",
                "false_negatives",
                "mean_iou",
                "predicted_classes",
                "mean_scores",
            ],
            num_samples=num_samples,
            every_n_epochs=every_n_epochs,
            batch_size=batch_size,
            image_fn=image_fn,
            image_format=image_format,
            monitor=monitor,
            mode=mode,
            seed=seed,
            **kwargs,
        )
        self._class_labels = dict(enumerate(names))
        self._classes = wandb.data_types.Classes(
            [{"id": label, "name": name} for label, name in enumerate(names)]
        )
        self._left_out: Counter[str] = Counter()
        self._truth: list[Detections] = []
        self._truth_layers: list[dict[str, Any]] = []
        self._shown_sizes: list[tuple[int, int]] = []

    def unpack_batch(self, batch: Any) -> tuple[Any, Any]:
        """Gets images and boxes out of a batch, and writes down the images' sizes."""
        if isinstance(batch, Mapping) and {"images", "bounding_boxes"} <= set(batch):
            batch = (batch["images"], batch["bounding_boxes"])
        x, y = super().unpack_batch(batch)
        y = self._select_target(y)
        sizes = image_sizes(x)
        if isinstance(y, (list, tuple)) and all(isinstance(p, Mapping) for p in y):
            if len(y) != len(sizes):
                raise ValueError(
                    "x and y of `validation_data` must have the same number of "
                    f"samples. Received: {len(sizes)} images, boxes of {len(y)} images"
                )
            y = _one_dict(y)
        if not isinstance(y, Mapping):
            raise ValueError(
                "y of `validation_data` must be a dictionary of boxes, such as "
                f"{{'boxes': ..., 'labels': ...}}. Received: {y!r:.200}"
            )
        return x, {**y, _SIZES: sizes}

    def check_batch(self, batch: Batch) -> None:
        """Checks the true boxes of a batch, and counts those that are left out."""
        _, counts = self._read_truth(batch.y)
        self._left_out += counts

    def check_outputs(self, outputs: Any) -> None:
        """Checks that the outputs can be read as boxes."""
        first, _ = self.samples.batches(self.batch_size)[0]
        self._read_predictions(outputs, _sizes(self.samples.y[first]))
        if self._left_out and self._writes:
            wandb.termwarn(f"In `validation_data`, {_in_words(self._left_out)}.")
        self._left_out.clear()

    def add_ground_truth(self, logs: dict[str, float] | None = None) -> None:
        """Adds the samples to `data_table`."""
        self._truth, _ = self._read_truth(self.samples.y)
        images = self.sample_images()
        self._shown_sizes = [
            tuple(y[_SIZES]) if image is None else (image._height, image._width)
            for image, y in zip(images, self.samples.y, strict=True)
        ]
        self._truth_layers = [
            self._layer(i, truth) for i, truth in enumerate(self._truth)
        ]
        rows = [
            [
                index,
                with_layers(image, self._classes, boxes={"ground_truth": layer}),
                len(truth),
                [self.class_names[label] for label in np.unique(truth.labels)],
            ]
            for index, image, layer, truth in zip(
                self.samples.index, images, self._truth_layers, self._truth, strict=True
            )
        ]
        self.add_rows(self.data_table, rows)

    def add_model_predictions(
        self, epoch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Adds what the model predicts for the samples to `pred_table`."""
        rows: list[list[Any]] = []
        for part, outputs in self.predict_samples():
            sizes = _sizes(self.samples.y[part])
            found, _ = self._read_predictions(outputs, sizes)
            for predictions in found:
                rows.append([epoch, *self._row(len(rows), predictions)])
        self.add_rows(self.pred_table, rows)

    def new_metrics(self) -> Metrics:
        """What is measured over all of the validation data."""
        return _BatchMetrics(self)

    def _row(self, i: int, predictions: Detections) -> list[Any]:
        """The cells behind `epoch`, for one sample."""
        index, image, num_boxes, _ = self.data_table_ref.data[i]
        layers = {
            "ground_truth": self._truth_layers[i],
            "predictions": self._layer(i, predictions),
        }
        counts = count_image(
            self._truth[i], predictions, self.iou_threshold, self.score_threshold
        )
        shown = predictions.above(self.score_threshold)
        labels, inverse = np.unique(shown.labels, return_inverse=True)
        sums = np.bincount(inverse, weights=shown.scores)
        return [
            index,
            with_layers(image, self._classes, boxes=layers),
            num_boxes,
            len(shown),
            counts.true_positives,
            counts.false_positives,
            counts.false_negatives,
            counts.mean_iou,
            [self.class_names[label] for label in labels],
            (sums / np.bincount(inverse)).tolist(),
        ]

    def _layer(self, i: int, boxes: Detections) -> dict[str, Any]:
        """Boxes as a layer over the image of a sample, which may be shown enlarged."""
        height, width = self._shown_sizes[i]
        scale = np.array([width, height]) / self.samples.y[i][_SIZES][::-1]
        if (scale != 1).any():
            corners = boxes.boxes * np.tile(scale, 2)
            boxes = Detections(corners, boxes.labels, boxes.scores)
        threshold = self.score_threshold
        return box_layer(boxes, self._class_labels, height, width, threshold)

    def _read_truth(self, y: Any) -> tuple[list[Detections], Counter[str]]:
        num_classes = len(self.class_names)
        return read_ground_truth(y, _sizes(y), self._truth_format, num_classes)

    def _read_predictions(
        self, outputs: Any, sizes: Any
    ) -> tuple[list[Detections], Counter[str]]:
        if self.decode_fn is not None:
            outputs = self.decode_fn(outputs)
        num_classes = len(self.class_names)
        return read_predictions(outputs, sizes, self._prediction_format, num_classes)


class _BatchMetrics:
    """`DetectionMetrics` of batches as they come, with what was left out of them."""

    def __init__(self, callback: WandbDetectionEvalCallback) -> None:
        self._callback = callback
        self._metrics = DetectionMetrics(
            callback.class_names, callback.iou_threshold, callback.score_threshold
        )
        self._left_out: Counter[str] = Counter()

    def update(self, y: Any, outputs: Any) -> None:
        truth, _ = self._callback._read_truth(y)
        predictions, counts = self._callback._read_predictions(outputs, _sizes(y))
        self._metrics.update(truth, predictions)
        self._left_out += counts

    def compute(self) -> dict[str, Any]:
        results = self._metrics.compute()
        outside = self._left_out[OUTSIDE]
        left_out = self._left_out.total() - outside
        if left_out and self._callback._writes:
            wandb.termwarn(f"In the predictions, {_in_words(self._left_out)}.")
        return results | {
            "left_out": float(left_out),
            "outside_image": float(outside),
        }


def _one_dict(images: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Boxes of several images, in a dictionary each, as one with lists."""
    keys = {key for image in images for key in image} & _KEYS
    for image in images:
        if not keys <= set(image):
            raise ValueError(
                "The dictionaries of a batch must have the same keys of "
                f"{sorted(_KEYS)}. Received: {sorted(keys)}, and {sorted(image)}"
            )
    return {key: [image[key] for image in images] for key in keys}


def _sizes(y: Any) -> Any:
    """The sizes that `unpack_batch` wrote down."""
    return y[_SIZES] if isinstance(y, dict) else [part[_SIZES] for part in y]


def _in_words(left_out: Counter[str]) -> str:
    reasons = [f"{count} {reason}" for reason, count in left_out.items()]
    return f"these boxes were left out or clipped: {', '.join(reasons)}"


def image_sizes(x: Any) -> NDArray[np.int64]:
    """Height and width of each image of a batch.

    Args:
        x: An array of shape `(batch, height, width[, channels])`, a ragged tensor or a
            list of images, or a tuple or dict of inputs of which one is that. Channels
            come first if `keras.config.image_data_format()` says so.

    Returns:
        Array of shape `(batch, 2)`.

    Raises:
        ValueError: If there are no images in x.
    """
    first = keras.config.image_data_format() == "channels_first"
    if isinstance(x, list) and x and all(len(np.shape(image)) in (2, 3) for image in x):
        shapes = [np.shape(image) for image in x]
        sizes = [s[1:] if first and len(s) == 3 else s[:2] for s in shapes]
        return np.array(sizes, np.int64)
    for leaf in keras.tree.flatten(x):
        shape = tuple(getattr(leaf, "shape", ()))
        if len(shape) not in (3, 4):
            continue
        if hasattr(leaf, "row_splits"):
            images = [i.to_tensor() if hasattr(i, "to_tensor") else i for i in leaf]
            return image_sizes(images)
        size = shape[2:] if first and len(shape) == 4 else shape[1:3]
        return np.tile(np.array(size, np.int64), (shape[0], 1))
    raise ValueError(
        "x of `validation_data` must be images, of shape (batch, height, width, "
        f"channels). Received: {x!r:.200}"
    )
