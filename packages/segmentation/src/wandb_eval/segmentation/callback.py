"""The callback for segmentation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
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
    encode_masks,
    name_classes,
    with_layers,
)
from wandb_eval.core.arguments import check_bool, is_integer, is_number
from wandb_eval.core.evaluation.data import NOT_BATCHED
from wandb_eval.core.threads import Beside
from wandb_eval.segmentation.masks import (
    MAX_CLASSES,
    NOT_A_NUMBER,
    Masks,
    channels_last,
    depends_on_logits,
    num_outputs,
    read_masks,
    read_outputs,
)
from wandb_eval.segmentation.metrics import (
    Scores,
    SegmentationMetrics,
    count_pixels,
    or_none,
)

_IGNORED = "ignored"
_NOT_A_NUMBER = "NaN"


class WandbSegmentationEvalCallback(WandbTaskEvalCallback):
    """Shows in W&B what a segmentation model predicts, epoch by epoch.

    When training begins, it logs a table of validation samples: `idx` (the place in
    the validation data), `image` with the mask layer `ground_truth`, and `classes`, the
    names of those that are present. After each epoch it logs their predictions:
    `epoch`, `idx`, `image` with the layers `ground_truth` and `predictions`,
    `mean_iou`, `mean_dice`, `pixel_accuracy`, `classes` (present in truth or
    prediction) with their `class_iou`, and `worst_class`, the one with the lowest IoU.
    Over all of the validation data it logs `eval/mean_iou`, `eval/mean_dice`,
    `eval/pixel_accuracy`, `eval/frequency_weighted_iou`, a table of IoU, Dice,
    precision, recall and pixels by class, and the confusion matrix of pixels.

    A class that is neither in truth nor in prediction has no IoU, and is left out of
    the means. Outputs of another size than the masks are brought to their size as
    probabilities, by bilinear interpolation, before the best class is chosen. Pixels
    whose outputs are NaN are shown as a class of their own (as class 0 if there are 256
    classes), and the numbers leave them out: `eval/left_out` says how many.

    Args:
        validation_data: `(x, y)` or `(x, y, sample_weight)` of arrays or tensors, a
            batched `tf.data.Dataset`, a `keras.utils.PyDataset`, a torch `DataLoader`,
            or any iterable of batches that can be iterated again. Masks are class ids
            of shape `(batch, height, width[, 1])`, or one-hot of shape `(batch, height,
            width, num_classes)`; channels first if Keras says so.
        class_names: The name of each class id. `None`: the ids.
        ignore_index: The id in masks of pixels that count nowhere. They are shown as a
            class of their own in the ground truth, `ignored`: under their own id if it
            is one of 0 to 255, else under 255. If it is the id of a class, they are
            shown as that class. In one-hot masks, pixels of zeros are ignored.
        from_logits: Whether outputs are logits, before softmax or sigmoid. It makes a
            difference for a single output channel, and for outputs of another size than
            the masks.
        threshold: From what probability on a single output channel means class 1.
        num_samples: How many samples to show. `None` for all.
        every_n_epochs: Evaluate every so many epochs, and always after the last one.
        batch_size: For predicting; data that is batched already keeps its batches.
        image_fn: Takes one sample of x and returns the image to show: a uint8 array of
            shape `(height, width)` or `(height, width, channels)`, of the size of the
            mask. `None`: uint8, or floats of 0 to 1, -1 to 1 or 0 to 255, are shown as
            such.
        image_format: `"png"`, lossless, or `"jpg"`, which is smaller and faster. Masks
            are always lossless.
        monitor: The name of a number in the logs of `fit` (`"val_loss"`), or of one
            logged here (`"eval/mean_iou"`); the version where it improved is `best`.
        mode: `"min"`, `"max"`, or `"auto"`: told by the name.
        seed: Seed of the draw of the samples.
        **kwargs: `output_key`, `name`, `log_to_history` and `on_error`, see
            `wandb_eval.core.WandbTaskEvalCallback`.

    Raises:
        wandb.Error: If there is no active run.
        ValueError: If an argument can't be used; when training begins, if masks,
            images, outputs and class names don't fit together.

    Example:

    ```python
    wandb.init(project="streets")
    model.fit(
        x_train,
        y_train,
        epochs=5,
        validation_data=(x_val, y_val),
        callbacks=[
            WandbSegmentationEvalCallback(
                (x_val, y_val), class_names=names, ignore_index=255
            )
        ],
    )
    ```
    """

    def __init__(
        self,
        validation_data: Any,
        class_names: Sequence[str] | None = None,
        *,
        ignore_index: int | None = None,
        from_logits: bool = True,
        threshold: float = 0.5,
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
        if not (ignore_index is None or is_integer(ignore_index)):
            raise ValueError(
                f"`ignore_index` must be an integer or None. Received: {ignore_index!r}"
            )
        if not (is_number(threshold) and 0 < threshold < 1):
            raise ValueError(
                f"`threshold` must be a number between 0 and 1. Received: {threshold!r}"
            )
        check_bool("from_logits", from_logits)
        self.class_names = check_class_names(class_names)
        if self.class_names is not None:
            _check_num_classes(len(self.class_names))
        self.ignore_index = None if ignore_index is None else int(ignore_index)
        self.from_logits = from_logits
        self.threshold = threshold
        super().__init__(
            validation_data,
            data_table_columns=["idx", "image", "classes"],
            pred_table_columns=[
                "epoch",
                "idx",
                "image",
                "mean_iou",
                "mean_dice",
                "pixel_accuracy",
                "classes",
                "class_iou",
                "worst_class",
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
        self._num_labels = 0
        self._names: list[str] = []
        self._truth: list[Any] = []

    def check_batch(self, batch: Batch) -> None:
        """Checks masks against the images and the class names."""
        masks = read_masks(batch.y, self.ignore_index)
        size = _image_size(batch.x)
        if len(np.shape(batch.x)) == 3 and masks.shape[2] == 1:
            raise ValueError(
                f"x of shape {np.shape(batch.x)} and masks of shape "
                f"{np.shape(batch.y)} are no batch of images. {NOT_BATCHED}"
            )
        if self.image_fn is None and size is not None:
            _check_size(size, masks.shape[1:])
        counted = (
            masks if self.ignore_index is None else masks[masks != self.ignore_index]
        )
        if not counted.size:
            return
        low, high = int(counted.min()), int(counted.max())
        limit = MAX_CLASSES if self.class_names is None else len(self.class_names)
        if low < 0 or high >= limit:
            raise ValueError(
                f"Masks must have class ids of 0 to {limit - 1}"
                f"{'' if self.class_names is None else ', as `class_names` has them'}. "
                f"Received: {low if low < 0 else high} among them. If those pixels are "
                "to be ignored, pass their id as `ignore_index`."
            )
        self._num_labels = max(self._num_labels, high + 1)

    def check_outputs(self, outputs: Any) -> None:
        """Checks the outputs against the masks and the class names."""
        num_classes = num_outputs(outputs)
        _check_num_classes(num_classes)
        needed = max(self._num_labels, len(self.class_names or []))
        if needed > num_classes:
            raise ValueError(
                f"The model has outputs for {num_classes} classes, but masks and "
                f"`class_names` have {needed}."
            )
        self._names = name_classes(self.class_names, num_classes)
        self._ignored_id()
        self._check_logits(outputs)

    def _check_logits(self, outputs: Any) -> None:
        """Checks whether outputs can be what `from_logits` says, if that matters."""
        mask = read_masks(self.samples.y[0][None], self.ignore_index)
        if not depends_on_logits(outputs, mask.shape[1:]):
            return
        if self.from_logits:
            self.warn_of_probabilities(channels_last(outputs))
            return
        finite = outputs[np.isfinite(outputs)]
        low, high = finite.min(initial=np.inf), finite.max(initial=-np.inf)
        if low < -1e-3 or high > 1 + 1e-3:
            raise ValueError(
                f"The outputs of the model are not probabilities: they are {low:.3g} "
                f"to {high:.3g}. If its last layer has no softmax or sigmoid, pass "
                "`from_logits=True`."
            )

    def add_ground_truth(self, logs: dict[str, float] | None = None) -> None:
        """Adds the samples, with their masks, to `data_table`."""
        images = self.sample_images()
        labels = self._labels()
        classes = _classes(labels)
        masks = [
            self._shown(read_masks(y[None], self.ignore_index)[0])
            for y in self.samples.y
        ]
        for image, mask in zip(images, masks, strict=True):
            if image is not None:
                _check_size(image.image.size[::-1], mask.shape)
        layers: list[Any] = [None] * len(masks)
        if self._writes:
            progress = self.progress("Encoding masks", len(masks))
            layers = encode_masks(
                masks, self.data_folder, "ground_truth", labels, progress.add
            )
            progress.close()
        self._truth = layers
        rows = [
            [
                index,
                with_layers(image, classes, masks={"ground_truth": layer}),
                [labels[int(id_)] for id_ in np.flatnonzero(np.bincount(mask.ravel()))],
            ]
            for index, image, layer, mask in zip(
                self.samples.index, images, layers, masks, strict=True
            )
        ]
        self.add_rows(self.data_table, rows)

    def add_model_predictions(
        self, epoch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Adds what the model predicts for the samples to `pred_table`."""
        labels, nan_id = self._labels(), self._nan_id()
        labels_with_nan = {nan_id: _NOT_A_NUMBER} | labels
        shown = {
            False: (labels, _classes(labels)),
            True: (labels_with_nan, _classes(labels_with_nan)),
        }
        with Beside(self._add_predictions) as add_predictions:
            for part, outputs in self.predict_samples():
                add_predictions(epoch, part, outputs, shown, nan_id)

    def _add_predictions(
        self,
        epoch: int,
        part: slice,
        outputs: Any,
        shown: dict[bool, tuple[dict[int, str], wandb.data_types.Classes]],
        nan_id: int,
    ) -> None:
        """Adds the rows of a batch; `shown` has the classes without and with NaN."""
        masks = read_masks(np.stack(self.samples.y[part]), self.ignore_index)
        predicted = self._read(outputs, masks)
        lost = predicted == NOT_A_NUMBER
        labels, classes = shown[bool(lost.any())]
        layers = encode_masks(
            list(np.where(lost, nan_id, predicted).astype(np.uint8)),
            self.prediction_folder,
            "predictions",
            labels,
        )
        rows = [
            [
                epoch,
                row[0],
                with_layers(
                    row[1],
                    classes,
                    masks={"ground_truth": truth, "predictions": layer},
                ),
                *scores,
            ]
            for row, truth, layer, scores in zip(
                self.data_table_ref.data[part],
                self._truth[part],
                layers,
                self._sample_scores(masks, predicted),
                strict=True,
            )
        ]
        self.add_rows(self.pred_table, rows)

    def new_metrics(self) -> Metrics:
        """What is measured over all of the validation data."""
        return _BatchMetrics(self)

    def _read(self, outputs: Any, masks: Masks) -> Masks:
        size = (masks.shape[1], masks.shape[2])
        return read_outputs(outputs, size, self.from_logits, self.threshold)

    def _sample_scores(self, masks: Masks, predicted: Masks) -> list[list[Any]]:
        """The cells behind `image`, for each row."""
        counts = count_pixels(masks, predicted, len(self._names), self.ignore_index)
        scores = Scores(counts)
        means = zip(
            scores.mean_iou, scores.mean_dice, scores.pixel_accuracy, strict=True
        )
        rows: list[list[Any]] = []
        for iou, cells in zip(scores.iou, means, strict=True):
            present = np.flatnonzero(~np.isnan(iou))
            names = [self._names[int(index)] for index in present]
            values = iou[present].tolist()
            worst = names[int(np.argmin(values))] if values else None
            rows.append([*map(or_none, cells), names, values, worst])
        return rows

    def _shown(self, mask: Masks) -> NDArray[np.uint8]:
        """A mask of class ids as W&B shows it, in 8 bits."""
        ignored = self._ignored_id()
        if ignored is not None:
            mask = np.where(mask == self.ignore_index, ignored, mask)
        return mask.astype(np.uint8)

    def _ignored_id(self) -> int | None:
        """The id that ignored pixels are shown with."""
        if self.ignore_index is None or 0 <= self.ignore_index < MAX_CLASSES:
            return self.ignore_index
        if len(self._names) == MAX_CLASSES:
            raise ValueError(
                f"With `ignore_index={self.ignore_index}` there is no id left to show "
                "ignored pixels: W&B's masks have 8 bits, and there are 256 classes."
            )
        return MAX_CLASSES - 1

    def _nan_id(self) -> int:
        """The id that pixels without a prediction are shown with: a free one, or 0."""
        return min(set(range(MAX_CLASSES)) - set(self._labels()), default=0)

    def _labels(self) -> dict[int, str]:
        """The name of each id that masks are shown with."""
        names = self._names or name_classes(self.class_names, self._num_labels)
        labels = dict(enumerate(names))
        ignored = self._ignored_id()
        if ignored is not None:
            labels.setdefault(ignored, _IGNORED)
        return labels


class _BatchMetrics:
    """`SegmentationMetrics` of batches as they come."""

    def __init__(self, callback: WandbSegmentationEvalCallback) -> None:
        self._callback = callback
        self._metrics = SegmentationMetrics(callback._names, callback.ignore_index)
        self._unread: list[ValueError] = []
        self._update_beside = Beside(self._update)

    def update(self, y: Any, outputs: Any) -> None:
        # A copy: whoever made the batch may fill its arrays with the next one.
        self._update_beside(copy.deepcopy(y), outputs)

    def _update(self, y: Any, outputs: Any) -> None:
        try:
            truth = read_masks(y, self._callback.ignore_index)
        except ValueError as error:
            self._unread.append(error)
        else:
            self._metrics.update(truth, self._callback._read(outputs, truth))

    def compute(self) -> dict[str, Any]:
        self._update_beside.close()
        left_out = self._metrics.left_out
        if left_out and self._callback._writes:
            wandb.termwarn(
                f"The numbers leave out {left_out} pixels of the validation data: "
                "their outputs are NaN, or their id in the mask is that of no class."
            )
        if self._unread and self._callback._writes:
            wandb.termwarn(
                f"The numbers leave out {len(self._unread)} batches of the validation "
                f"data that could be read before training. {self._unread[0]}"
            )
        return self._metrics.compute()


def _classes(labels: dict[int, str]) -> wandb.data_types.Classes:
    return wandb.data_types.Classes(
        [{"id": index, "name": name} for index, name in labels.items()]
    )


def _image_size(x: Any) -> tuple[int, ...] | None:
    """Height and width of a batch of images; `None` if it is something else."""
    shape = tuple(getattr(x, "shape", ()))
    if len(shape) == 4:
        first = keras.config.image_data_format() == "channels_first"
        return shape[2:] if first else shape[1:3]
    return shape[1:] if len(shape) == 3 else None


def _check_size(image: tuple[int, ...], mask: tuple[int, ...]) -> None:
    if image != mask:
        raise ValueError(
            "Image and mask must have the same height and width. Received: "
            f"{image} and {mask}. If x has another size, pass `image_fn` to show it at "
            "the size of the mask."
        )


def _check_num_classes(num_classes: int) -> None:
    if num_classes > MAX_CLASSES:
        raise ValueError(
            f"W&B's masks hold 8 bits, so there can be {MAX_CLASSES} classes at most. "
            f"Received: {num_classes}"
        )
