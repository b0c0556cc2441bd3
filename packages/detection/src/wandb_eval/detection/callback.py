"""The callback for object detection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import keras
import numpy as np
import wandb

from wandb_eval.core import size_of_image, with_layers
from wandb_eval.detection.batches import (
    SIZES,
    image_sizes,
    one_dict,
    several_inputs,
)
from wandb_eval.detection.boxes import (
    NOT_FINITE,
    OUTSIDE,
    BoxFormat,
    is_lost,
    read_ground_truth,
    read_predictions,
)
from wandb_eval.detection.detections import Detections
from wandb_eval.detection.layers import box_layer
from wandb_eval.detection.matching import ERROR_TYPES, BatchMatch
from wandb_eval.detection.metrics import DetectionMetrics
from wandb_eval.detection.objects import worst_objects
from wandb_eval.detection.properties import MECHANICAL, detection_properties
from wandb_eval.detection.rows import (
    COLUMNS,
    image_scores,
    nothing_near,
    table_cells,
)
from wandb_eval.engine import (
    Batch,
    EvaluatedSamples,
    Evaluation,
    Metrics,
    Samples,
    SampleScores,
    TaskArguments,
    WandbTaskEvalCallback,
    check_class_names,
    encode_images,
    listed,
)

_ONE_PIXEL = 1.5  # With rounding; boxes in pixels reach farther.
_FAR_OUTSIDE = 10.0  # In sizes of the image.


class WandbDetectionEvalCallback(WandbTaskEvalCallback):
    """Shows in W&B what an object detector predicts, epoch by epoch.

    When training begins, it logs a table of validation samples: `idx` (the place in
    the validation data), `image` with the true boxes as the layer `ground_truth`,
    `num_boxes`, and `classes`, the names of the true classes. After each epoch it logs
    their predictions: `epoch`, `idx`, `image` with the layers `ground_truth` and
    `predictions` (up to 100 boxes with a score of `score_threshold` or more, which W&B
    filters by `score`; the caption of a wrong box names its error), the numbers of
    boxes that are `missed`, `wrong` and `right`, the `errors` of the wrong boxes,
    `mean_iou` of the matches, and `predicted_classes` with their mean scores.

    Over all of the validation data it logs COCO's twelve figures (`eval/mAP`,
    `eval/AP50`, `eval/AP75`, `eval/AP_small`, `_medium`, `_large`, `eval/AR_1`, `_10`,
    `_100`, `_small`, `_medium`, `_large`), `eval/precision`, `eval/recall`, `eval/f1`
    and `eval/mean_iou` at the thresholds, AP and other numbers by class, a confusion
    matrix with a background row and column, for up to 20 classes precision-recall
    curves, and precision, recall and F1 over the score, with `eval/best_f1` and
    `eval/best_score_threshold`. `DetectionMetrics` describes how they are counted.

    Boxes that are reversed or have no area, predicted scores outside of 0 to 1, and
    predicted labels without a name are left out, and a warning in each epoch gives the
    reasons. Predictions that are not numbers count as wrong, and a version with such
    predictions is never `best`. `eval/left_out` is the number of all these boxes, if
    there are any. Boxes that extend beyond the image by more than half a pixel are
    clipped in the layers, measured unchanged, and counted in `eval/outside_image`.

    Args:
        validation_data: `(x, y)` of arrays or tensors, a batched `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a torch `DataLoader`, a batched data set of Grain,
            or any iterable of batches that can be iterated again. x are images; y is a
            dictionary of `boxes` and `labels` (or `classes`), and optionally `iscrowd`
            and `area` as in COCO: arrays of shape `(batch, boxes, 4)` and `(batch,
            boxes)`, padded with the label -1; ragged tensors; or lists with an array
            for each image. A batch may also be a dictionary of `images` and
            `bounding_boxes`, as in KerasCV.
        class_names: The name of each class id.
        bounding_box_format: The format of the true boxes: any format that
            `keras.utils.bounding_boxes.convert_format` knows, in any letter case.
            Coordinates in pixels are those of x.
        prediction_format: The format of the predicted boxes. `None` for the same.
        score_threshold: The lowest score of predictions that are shown. Predictions
            with a lower score count only for COCO's figures.
        iou_threshold: The lowest IoU at which a prediction matches a true box.
        decode_fn: A function that takes the outputs of the model for a batch, as NumPy
            arrays, and returns a dictionary of `boxes`, `labels` (or `classes`),
            `confidence` (or `scores`), and optionally `num_detections`. `None` if the
            model returns such a dictionary itself, as KerasHub's detectors do.
        **kwargs: The arguments of all tasks, see
            `wandb_eval.engine.WandbTaskEvalCallback`. If `image_fn` returns an image of
            another size than x, boxes are scaled with the image.

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

    uses_model_preprocessing = True
    draws_on_images = True
    headline = ("mAP", "AP50", "f1")
    mechanical_properties = MECHANICAL

    def __init__(
        self,
        validation_data: Any,
        class_names: Sequence[str] | Mapping[Any, Any],
        *,
        bounding_box_format: str = "xyxy",
        prediction_format: str | None = None,
        score_threshold: float = 0.3,
        iou_threshold: float = 0.5,
        decode_fn: Callable[[Any], Any] | None = None,
        **kwargs: Unpack[TaskArguments],
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
        DetectionMetrics(names, iou_threshold, score_threshold)  # Checks arguments.
        kwargs.setdefault("batch_size", 8)
        super().__init__(
            validation_data,
            data_table_columns=["idx", "image", "num_boxes", "classes"],
            pred_table_columns=["epoch", "idx", "image", *COLUMNS],
            **kwargs,
        )
        self._class_labels = dict(enumerate(names))
        self._classes = wandb.data_types.Classes(
            [{"id": label, "name": name} for label, name in enumerate(names)]
        )
        self._left_out: Counter[str] = Counter()
        self._farthest = 0.0
        self._shown_sizes: dict[int, tuple[int, int]] = {}

    def unpack_batch(self, batch: Any) -> tuple[Any, Any]:
        """Returns the images and boxes of a batch, with the sizes of images in y."""
        if isinstance(batch, Mapping) and {"images", "bounding_boxes"} <= set(batch):
            batch = (batch["images"], batch["bounding_boxes"])
        x, y = super().unpack_batch(batch)
        y = self.select_target(y)
        x = several_inputs(x, y)
        sizes = image_sizes(x)
        if isinstance(y, (list, tuple)) and all(isinstance(p, Mapping) for p in y):
            if len(y) != len(sizes):
                raise ValueError(
                    "x and y of `validation_data` must have the same number of "
                    f"samples. Received: {len(sizes)} images, boxes of {len(y)} images"
                )
            y = one_dict(y)
        if not isinstance(y, Mapping):
            raise ValueError(
                "y of `validation_data` must be a dictionary of boxes, such as "
                f"{{'boxes': ..., 'labels': ...}}. Received: {y!r:.200}"
            )
        return x, {**y, SIZES: sizes}

    def check_batch(self, batch: Batch) -> None:
        """Checks the true boxes of a batch, and counts those that are left out."""
        truth, counts = self._read_truth(batch.y)
        self._left_out += counts
        self._farthest = max([self._farthest, *map(_farthest, truth)])

    def check_outputs(self, outputs: Any) -> None:
        """Checks that the outputs can be read as boxes."""
        name = self._truth_format.name
        if 0 < self._farthest <= _ONE_PIXEL and not self._truth_format.is_relative:
            raise ValueError(
                "All true boxes lie within one pixel: they look relative to the size "
                f"of the image, but `bounding_box_format` is {name!r}. Pass "
                f"'rel_{_base(name)}'."
            )
        first = self.samples.y[: len(keras.tree.flatten(outputs)[0])]
        sizes = _sizes(first)
        found, _ = self._read_predictions(outputs, sizes)
        farthest = max(map(_farthest, found), default=0.0)
        name = self._prediction_format.name
        is_relative = self._prediction_format.is_relative
        if 0 < farthest <= _ONE_PIXEL and not is_relative and self.is_logging:
            wandb.termwarn(
                "All predicted boxes lie within one pixel: they look relative to the "
                f"size of the image, but the format is {name!r}. If they are, pass "
                f"`prediction_format='rel_{_base(name)}'`."
            )
        shown = [one[~is_lost(one)] for one in found]
        pairs = zip(shown, np.reshape(sizes, (-1, 2)).max(axis=1), strict=True)
        far = [_farthest(one) / side for one, side in pairs if len(one) and side]
        if is_relative and far and np.median(far) > _FAR_OUTSIDE and self.is_logging:
            wandb.termwarn(
                "The predicted boxes lie far outside of the images: they look "
                f"absolute, but the format is {name!r}. If they are, pass "
                f"`prediction_format={name.removeprefix('rel_')!r}`."
            )
        if self._left_out and self.is_logging:
            words = _in_words(self._left_out, self._truth_format)
            wandb.termwarn(f"In `validation_data`, {words}.")
        self._left_out.clear()

    def read_batch(self, y: Any, outputs: Any) -> tuple[Any, Any]:
        """The true boxes and the matched predictions, with an object for each image."""
        truth, _ = self._read_truth(y)
        predictions, counts = self._read_predictions(outputs, _sizes(y))
        thresholds = self.iou_threshold, self.score_threshold
        matches = _Matches(truth, predictions, *thresholds)
        matches.left_out = counts
        return truth, matches

    def new_metrics(self) -> Metrics:
        """The metrics over all of the validation data."""
        return _BatchMetrics(self)

    def score_samples(self, truth: Any, predictions: Any) -> SampleScores:
        """The scores of each image, with 1 - F1 as the difficulty.

        Among images with the same F1, the one whose false positive has the highest
        score is the hardest.
        """
        matches: BatchMatch = predictions
        right, wrong, missed = matches.counts
        total = 2 * right + wrong + missed
        # F1 is 1 if there are neither true nor predicted boxes.
        f1 = np.where(total > 0, 2 * right / np.maximum(total, 1), 1.0)
        columns = image_scores(truth, matches, self.class_names)
        difficulty = np.column_stack([1 - f1, matches.surest_mistakes])
        difficulty[matches.image[is_lost(matches.predicted)], 0] = np.nan
        return SampleScores(columns, difficulty)

    def target_properties(self, y: Any, truth: Any) -> dict[str, Any]:
        """The number, size, overlap and place of the objects in each image."""
        found = [
            detection_properties(boxes.boxes, *map(float, size))
            for boxes, size in zip(truth, _sizes(y), strict=True)
        ]
        return {name: [one[name] for one in found] for name in found[0]}

    def target_content(self, target: Any) -> Any:
        """The true boxes of an image, in any order."""
        rows = np.column_stack([target.labels, target.iscrowd, target.boxes])
        return rows[np.lexsort(rows.T)]

    def ground_truth_rows(
        self, samples: Samples, images: Sequence[Any]
    ) -> list[list[Any]]:
        """The rows: `idx`, `image` with the true boxes, `num_boxes` and `classes`."""
        read, _ = self._read_truth(samples.y)
        rows = []
        for index, image, truth, y in zip(
            samples.index, images, read, samples.y, strict=True
        ):
            height, width = y[SIZES]
            if image is not None:
                height, width = size_of_image(image)
            self._shown_sizes[index] = int(height), int(width)
            layer = self._layer(index, truth, y[SIZES])
            names = [self.class_names[label] for label in np.unique(truth.labels)]
            shown = with_layers(image, self._classes, boxes={"ground_truth": layer})
            rows.append([index, shown, len(truth), listed(names)])
        return rows

    def prediction_rows(self, evaluated: EvaluatedSamples) -> list[list[Any]]:
        """The image with predictions, the scores, and the predicted classes."""
        rows = []
        alone = nothing_near(evaluated.predictions)
        for i, image in enumerate(evaluated.predictions):
            index, shown, *_ = evaluated.rows[i]
            size = evaluated.y[i][SIZES]
            there = ~is_lost(image.shown)
            kinds = [ERROR_TYPES[kind] for kind in image.kinds[there]]
            missed = ["missed" if one else "" for one in alone[i].tolist()]
            boxes = {
                "ground_truth": self._layer(index, image.truth, size, missed),
                "predictions": self._layer(index, image.shown[there], size, kinds),
            }
            shown = with_layers(shown, self._classes, boxes=boxes, keep=True)
            rows.append([index, shown, *table_cells(evaluated.scores, i)])
        return rows

    def extra_results(self, evaluation: Evaluation) -> dict[str, Any]:
        """The worst mistakes, as crops of the images that are held."""
        if not self.is_logging:
            return {}
        held = [evaluation.hardest, evaluation.fixed]
        return worst_objects(held, self.images_of, self._encode, self.class_names)

    def _encode(self, images: Sequence[Any]) -> Sequence[Any]:
        return encode_images(list(images), self.prediction_folder)

    def _layer(
        self,
        index: int,
        boxes: Detections,
        size: Any,
        kinds: Sequence[str] | None = None,
    ) -> dict[str, Any]:
        """A layer of boxes over the image of a sample, which may be enlarged."""
        height, width = self._shown_sizes[index]
        scale = np.array([width, height]) / np.asarray(size)[::-1]
        if (scale != 1).any():
            corners = boxes.boxes * np.tile(scale, 2)
            boxes = Detections(corners, boxes.labels, boxes.scores)
        return box_layer(
            boxes,
            self._class_labels,
            height,
            width,
            self.score_threshold,
            kinds=kinds,
        )

    def _read_truth(self, y: Any) -> tuple[list[Detections], Counter[str]]:
        num_classes = len(self.class_names)
        if self.validation_data.prepare is not None and isinstance(y, dict):
            # Areas are those before the preprocessor has resized the images.
            y = {key: value for key, value in y.items() if key != "area"}
        return read_ground_truth(y, _sizes(y), self._truth_format, num_classes)

    def _read_predictions(
        self, outputs: Any, sizes: Any
    ) -> tuple[list[Detections], Counter[str]]:
        if self.decode_fn is not None:
            outputs = self.decode_fn(outputs)
        num_classes = len(self.class_names)
        return read_predictions(
            outputs, sizes, self._prediction_format, num_classes, keep_lost=True
        )


class _Matches(BatchMatch):
    """The images of a batch, and the number of boxes that were left out, by reason."""

    left_out: Counter[str]


class _BatchMetrics:
    """`DetectionMetrics` of matched batches, with the boxes that were left out."""

    def __init__(self, callback: WandbDetectionEvalCallback) -> None:
        self._callback = callback
        self._metrics = DetectionMetrics(
            callback.class_names, callback.iou_threshold, callback.score_threshold
        )
        self._left_out: Counter[str] = Counter()

    def update(self, truth: Any, predictions: Any, /) -> None:
        self._metrics.update_matches(predictions)
        self._left_out += predictions.left_out

    def merge(self, other: _BatchMetrics) -> None:
        self._metrics.merge(other._metrics)
        self._left_out += other._left_out

    def compute(self) -> dict[str, Any]:
        results = self._metrics.compute()
        outside = self._left_out[OUTSIDE]
        left_out = self._left_out.total() - outside
        if left_out > self._left_out[NOT_FINITE] and self._callback.is_logging:
            reasons = self._left_out.copy()
            del reasons[NOT_FINITE]  # The engine warns of these, for all tasks.
            words = _in_words(reasons, self._callback._prediction_format)
            wandb.termwarn(f"In the predictions, {words}.")
        counts = {"left_out": float(left_out), "outside_image": float(outside)}
        return results | {name: count for name, count in counts.items() if count}


def _sizes(y: Any) -> Any:
    """The sizes that `unpack_batch` stored."""
    return y[SIZES] if isinstance(y, dict) else [part[SIZES] for part in y]


def _in_words(left_out: Counter[str], box_format: BoxFormat) -> str:
    reasons = [f"{count} {reason}" for reason, count in left_out.items()]
    return (
        f"these boxes were left out or clipped: {', '.join(reasons)}. They were read "
        f"as {box_format.name!r}"
    )


def _farthest(boxes: Detections) -> float:
    """The highest coordinate, in pixels; 0 without boxes."""
    return float(boxes.boxes.max(initial=0.0))


def _base(name: str) -> str:
    """The part of a format's name that has a relative form."""
    return {"center_yxhw": "yxyx"}.get(name, name)
