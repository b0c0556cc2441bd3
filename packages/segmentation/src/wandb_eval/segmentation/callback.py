"""The callback for segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
import wandb
from numpy.typing import NDArray

from wandb_eval.core import with_layers
from wandb_eval.core.arguments import check_bool, is_integer
from wandb_eval.engine import (
    NOT_BATCHED,
    Batch,
    EvaluatedSamples,
    FromLogits,
    Metrics,
    Samples,
    SampleScores,
    TaskArguments,
    WandbTaskEvalCallback,
    check_class_names,
    check_from_logits,
    encode_masks,
    infer_from_logits,
    listed,
    name_classes,
)
from wandb_eval.engine.kit.input_images import is_channels_first
from wandb_eval.engine.kit.thresholds import check_threshold
from wandb_eval.segmentation.advice import (
    advice,
    check_ids,
    check_single_name,
    is_volume,
    swallowed,
)
from wandb_eval.segmentation.kinds import MulticlassMasks, MultiLabel
from wandb_eval.segmentation.layers import background_ids, check_background
from wandb_eval.segmentation.masks import (
    MAX_CLASSES,
    channels_last,
    depends_on_logits,
    num_outputs,
)
from wandb_eval.segmentation.properties import MECHANICAL, with_rare_shares


class WandbSegmentationEvalCallback(WandbTaskEvalCallback):
    """Shows in W&B what a segmentation model predicts, epoch by epoch.

    When training begins, it logs a table of validation samples: `idx` (the place in
    the validation data), `image` with the mask layer `ground_truth`, and `classes`, the
    names of the classes in the mask. After each epoch it logs their predictions:
    `epoch`, `idx`, `image` with the layers `ground_truth` and `predictions`,
    `mean_iou`, `worst_class` (the class with the lowest IoU), `class_iou` (the IoU of
    each class that is present in truth or prediction, as text), `mean_dice` and
    `pixel_accuracy`. A third layer, `errors`, shows the pixels with wrong predictions.
    A version also has the same rows for the hardest of all samples, and a table with
    the scores of every sample, without images.

    Over all of the validation data it logs `eval/mean_iou`, `eval/mean_dice`,
    `eval/pixel_accuracy`, `eval/frequency_weighted_iou`, a table of IoU, Dice,
    precision, recall and pixels by class, and the confusion matrix of pixels.

    A class that is neither in truth nor in prediction has no IoU, and is left out of
    the means. Outputs of another size than the masks are resized to their size as
    probabilities, by bilinear interpolation, before the best class is chosen. Pixels
    whose outputs are NaN are shown as a separate class (as class 0 if there are 256
    classes), and count as wrong. `eval/left_out` is the number of pixels that are not
    in the confusion matrix, if there are any. A version with such outputs is never
    `best`.

    Args:
        validation_data: `(x, y)` or `(x, y, sample_weight)` of arrays or tensors, a
            batched `tf.data.Dataset`, a `keras.utils.PyDataset`, a torch `DataLoader`,
            a batched data set of Grain, or any iterable of batches that can be iterated
            again. Masks are class ids of shape `(batch, height, width[, 1])`, or
            one-hot of shape `(batch, height, width, num_classes)`; channels come first
            if `keras.config.image_data_format()` is `"channels_first"`.
        class_names: The name of each class id, as a list, `{id: name}` or `{name: id}`.
            `None` uses the ids as names.
        ignore_index: The id in masks of pixels that are ignored. The ground truth shows
            them as a separate class, `ignored`: under their own id if it is 0 to 251 or
            255, else under 255. If it is the id of a class, they are shown as that
            class. In one-hot masks, pixels of zeros are ignored.
        from_logits: Whether outputs are logits, before softmax or sigmoid. It makes a
            difference for a single output channel, for `multi_label`, and for outputs
            of another size than the masks. `"auto"` infers it from a softmax or sigmoid
            at the end of the model, else from the loss that the model is compiled with,
            else from the outputs.
        multi_label: Whether a pixel may have several classes, or none: masks are
            multi-hot of shape `(batch, height, width, num_classes)`, outputs are those
            of a sigmoid unit for each class. Each class has a separate layer, in the
            truth and in the prediction; there is no confusion matrix and no pixel
            accuracy.
        threshold: The lowest probability at which a single output channel means class
            1; with `multi_label`, the lowest probability at which a pixel has a class.
        boundary_iou: Whether to measure `eval/boundary_iou`, too (Cheng et al. 2021):
            the IoU of the pixels within 2 % of the image's diagonal of the contours.
        background: The id or the name of the class that has no label in the layers:
            W&B's page leaves its pixels transparent. It counts as any other class.
            `None` selects each class that is called `background`, `_background_`, `bg`
            or `void`, in any letter case.
        **kwargs: The arguments of all tasks, see
            `wandb_eval.engine.WandbTaskEvalCallback`. An image of another size than the
            mask, including one that `image_fn` returns, is resized to that of the mask.

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

    uses_model_preprocessing = True
    draws_on_images = True
    headline = ("mean_iou", "mean_dice")
    mechanical_properties = MECHANICAL

    def __init__(
        self,
        validation_data: Any,
        class_names: Sequence[str] | Mapping[Any, Any] | None = None,
        *,
        ignore_index: int | None = None,
        from_logits: FromLogits = "auto",
        multi_label: bool = False,
        threshold: float = 0.5,
        boundary_iou: bool = False,
        background: int | str | None = None,
        **kwargs: Unpack[TaskArguments],
    ) -> None:
        if not (ignore_index is None or is_integer(ignore_index)):
            raise ValueError(
                f"`ignore_index` must be an integer or None. Received: {ignore_index!r}"
            )
        check_threshold("threshold", threshold)
        check_bool("multi_label", multi_label)
        check_bool("boundary_iou", boundary_iou)
        if multi_label and (ignore_index is not None or boundary_iou):
            raise ValueError(
                "With `multi_label=True` there is no `ignore_index` and no "
                "`boundary_iou`. Received: "
                f"ignore_index={ignore_index!r}, boundary_iou={boundary_iou!r}"
            )
        kind = MultiLabel if multi_label else MulticlassMasks
        self.class_names = check_class_names(class_names)
        if self.class_names is not None:
            _check_num_classes(len(self.class_names), kind.MAX_CLASSES)
        is_known = len(self.class_names or []) > 1  # One name may be only class 0's.
        self.background = check_background(
            background, self.class_names if is_known else None
        )
        self.ignore_index = None if ignore_index is None else int(ignore_index)
        self.from_logits = check_from_logits(from_logits)
        self.multi_label = multi_label
        self.threshold = threshold
        self.boundary_iou = boundary_iou
        kwargs.setdefault("batch_size", 8)
        super().__init__(
            validation_data,
            data_table_columns=["idx", "image", "classes"],
            pred_table_columns=["epoch", "idx", "image", *kind.COLUMNS],
            **kwargs,
        )
        self._num_labels = 0
        self._ids: set[int] = set()
        self._names: list[str] = []
        self._kind = self._new_kind(False)

    def _new_kind(self, are_logits: bool) -> MulticlassMasks | MultiLabel:
        names = self._names or name_classes(self.class_names, self._num_labels)
        background = background_ids(names, self.background)
        if self.multi_label:
            return MultiLabel(names, are_logits, self.threshold, background)
        return MulticlassMasks(
            names,
            self.ignore_index,
            are_logits,
            self.threshold,
            self.boundary_iou,
            background=background,
        )

    def unlabelled(self) -> Mapping[str, Mapping[int, str]]:
        """The background in the layers of masks, and the right pixels in `errors`."""
        return self._kind.unlabelled

    def check_batch(self, batch: Batch) -> None:
        """Checks masks against the images and the class names."""
        shape = tuple(getattr(batch.x, "shape", ()))  # Of several inputs, none.
        # x may have frames even if masks have none.
        if is_volume(batch.y) or (
            is_volume(batch.x) and np.shape(batch.y)[:4] == shape[:4]
        ):
            raise ValueError(
                "Volumes are not supported: pass slices, of shape (batch, height, "
                f"width, channels). Received: x of shape {shape}, masks of shape "
                f"{np.shape(batch.y)}"
            )
        masks = self._kind.read_truth(batch.y)
        if len(shape) == 3 and masks.shape[2] == 1:
            raise ValueError(
                f"x of shape {shape} and masks of shape "
                f"{np.shape(batch.y)} are no batch of images. {NOT_BATCHED}"
            )
        if self.multi_label:
            self._num_labels = masks.shape[3]
            return
        # A single name may belong to one of two classes: the outputs decide that later.
        limit = MAX_CLASSES if self.class_names is None else len(self.class_names)
        limit = max(limit, 2)
        self._ids |= check_ids(masks, self.ignore_index, limit, self.class_names)
        self._num_labels = 1 + max(self._ids - {self.ignore_index}, default=-1)

    def check_outputs(self, outputs: Any) -> None:
        """Checks the outputs against the masks and the class names."""
        channels = int(channels_last(outputs).shape[-1]) if _has_4_axes(outputs) else 0
        num_classes = num_outputs(outputs)
        if self.multi_label:
            num_classes = channels
            if channels != self._num_labels:
                raise ValueError(
                    "With `multi_label=True` the model must have an output channel for "
                    f"each class of the masks. Received: {channels} channels and "
                    f"masks for {self._num_labels} classes"
                )
        elif channels == 1:
            check_single_name(self.class_names)
        _check_num_classes(num_classes, self._kind.MAX_CLASSES)
        needed = max(self._num_labels, len(self.class_names or []))
        if needed > num_classes:
            hint = ""
            if self._num_labels > num_classes:
                hint = f" {advice(self._ids - {self.ignore_index}, num_classes)}"
            raise ValueError(
                f"The model has outputs for {num_classes} classes, but masks and "
                f"`class_names` have {needed}.{hint}"
            )
        self._names = name_classes(self.class_names, num_classes)
        check_background(self.background, self._names)
        warning = swallowed(self._ids, self.ignore_index, self._names)
        if warning is not None and self.is_logging:
            wandb.termwarn(warning)
        self._kind = self._new_kind(self._find_out_logits(outputs))

    def _find_out_logits(self, outputs: Any) -> bool:
        """Whether outputs are logits, if it makes a difference."""
        mask = self._kind.read_truth(self.samples.y[0][None])
        if self.multi_label or depends_on_logits(outputs, mask.shape[1:3]):
            scores, one_class = channels_last(outputs), not self.multi_label
            return self.resolve_from_logits(self.from_logits, scores, one_class)
        if self.from_logits == "auto":
            return bool(infer_from_logits(self.model, self.output_key))
        return self.from_logits

    def read_batch(self, y: Any, outputs: Any) -> tuple[Any, Any]:
        """The true masks, and the predicted masks with their counts."""
        return self._kind.read(y, outputs)

    def new_metrics(self) -> Metrics:
        """The metrics over all of the validation data."""
        return self._kind.new_metrics(self.is_logging)

    def score_samples(self, truth: Any, predictions: Any) -> SampleScores:
        """The scores of each image, with 1 - mean IoU as the difficulty.

        An image without classes to measure is never among the hardest, unless its
        outputs are NaN.
        """
        return self._kind.score(truth, predictions)

    def target_properties(self, y: Any, truth: Any) -> dict[str, Any]:
        """The classes of each image, their contours, and their shares of the image."""
        return self._kind.properties(truth)

    def choose_properties(
        self, properties: Mapping[str, NDArray[Any]]
    ) -> Mapping[str, NDArray[Any]]:
        """Leaves out the shares of classes that are not rare."""
        return with_rare_shares(properties)

    def shown_size(self, y: Any) -> tuple[int, int] | None:
        """The size of the masks, because W&B shows a mask over an image of its size."""
        shape = np.shape(y)
        is_first = is_channels_first() and len(shape) == 3
        height, width = shape[1:] if is_first else shape[:2]
        return int(height), int(width)

    def ground_truth_rows(
        self, samples: Samples, images: Sequence[Any]
    ) -> list[list[Any]]:
        """The rows: `idx`, `image` with the true masks, and `classes`."""
        if not self._names:  # If it is disabled, the outputs were not checked.
            self._kind = self._new_kind(False)
        masks = [self._kind.read_truth(y[None])[0] for y in samples.y]
        rows = []
        pairs = zip(images, masks, strict=True)
        layers = [
            {} if image is None else self._kind.truth_layers(mask)
            for image, mask in pairs
        ]
        encoded = self._encode(layers, self.data_folder) if self.is_logging else None
        for i, (index, image) in enumerate(zip(samples.index, images, strict=True)):
            shown = None if encoded is None else encoded[i]
            names = listed(self._kind.present(masks[i]))
            rows.append(
                [index, with_layers(image, self._kind.classes, masks=shown), names]
            )
        return rows

    def prediction_rows(self, evaluated: EvaluatedSamples) -> list[list[Any]]:
        """The image with the predictions and errors, and the scores."""
        pairs = zip(evaluated.truth, evaluated.predictions, strict=True)
        layers = [
            {} if row[1] is None else self._kind.prediction_layers(*pair)
            for row, pair in zip(evaluated.rows, pairs, strict=True)
        ]
        encoded = self._encode(layers, self.prediction_folder)
        cells = self._kind.cells(evaluated.scores)
        return [
            [
                row[0],
                with_layers(row[1], self._kind.classes, masks=shown, keep=True),
                *values,
            ]
            for row, shown, values in zip(evaluated.rows, encoded, cells, strict=True)
        ]

    def _encode(
        self, layers: Sequence[Mapping[str, Any]], folder: Any
    ) -> list[dict[str, Any]]:
        """Writes layers of masks to files: those of one name and labels together."""
        progress = self.progress("Encoding masks", sum(map(len, layers)))
        encoded: list[dict[str, Any]] = [{} for _ in layers]
        groups: dict[Any, list[tuple[int, Any]]] = {}
        labels_by_group = {}
        for i, of_image in enumerate(layers):
            for key, (mask, labels) in of_image.items():
                group = (key, tuple(labels))
                labels_by_group[group] = labels
                groups.setdefault(group, []).append((i, mask))
        for group, members in groups.items():
            key, labels = group[0], labels_by_group[group]
            masks = [mask for _, mask in members]
            files = encode_masks(masks, folder, key, labels, progress.add)
            for (i, _), file in zip(members, files, strict=True):
                encoded[i][key] = file
        progress.close()
        return encoded


def _has_4_axes(outputs: Any) -> bool:
    return len(getattr(outputs, "shape", ())) == 4


def _check_num_classes(num_classes: int, limit: int) -> None:
    if num_classes > limit:
        raise ValueError(
            f"W&B's masks hold 8 bits, so there can be {limit} classes at most. "
            f"Received: {num_classes}"
        )
