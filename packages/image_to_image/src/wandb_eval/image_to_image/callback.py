"""The callback for models that predict images from images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import wandb
from numpy.typing import NDArray

from wandb_eval.engine import (
    Batch,
    EvaluatedSamples,
    Metrics,
    Samples,
    SampleScores,
    TaskArguments,
    WandbTaskEvalCallback,
    encode_images,
    finite_or_none,
    map_to_image,
    range_to_image,
)
from wandb_eval.image_to_image.images import (
    check_invalid,
    check_value_range,
    fits,
    read_outputs,
    read_targets,
)
from wandb_eval.image_to_image.metrics import (
    ABSOLUTE,
    COUNT,
    SQUARED,
    SSIM,
    ImageToImageMetrics,
    compare_images,
    psnr,
)

_GREY_RANGES = {(0, 1), (-1, 1), (0, 255)}
_OTHER_SCALE = 50  # Inputs of 0 to 1 beside targets of 0 to 255, say.


class WandbImageToImageEvalCallback(WandbTaskEvalCallback):
    """Shows in W&B the images that a model predicts from images, epoch by epoch.

    It is for denoising, super-resolution, colorization, autoencoders (whose targets are
    the inputs), depth and other maps. When training begins, it logs a table of
    validation samples: `idx` (the place in the validation data), `image` (the input)
    and `target`. After each epoch it logs a version of predictions: for these samples,
    and in a separate table for the hardest of all samples, `epoch`, `idx`, `image`,
    `target`, `prediction`, `error`, `mae`, `rmse`, `psnr` and `ssim`. `error` is a map
    of the mean absolute error over the channels, on the same scale in all epochs: from
    0 to a quarter of the width of `value_range`. The hardest samples are those with the
    lowest SSIM, or, for images without SSIM, those with the largest MAE.

    Over all of the validation data it measures `eval/mae` and `eval/rmse` (over all
    values), `eval/psnr` and `eval/ssim` (means over the images), and `eval/psnr_input`,
    the PSNR of the inputs themselves, if their shape and range fit the targets. SSIM is
    that of scikit-image with `gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False`. Images smaller than its window of 11 pixels have none.

    Numbers leave out samples whose outputs are NaN or infinite. `eval/left_out` is the
    number of such samples, if there are any. A version with such samples is never
    `best`.

    Args:
        validation_data: `(x, y)` or `(x, y, sample_weight)` of arrays or tensors, a
            batched `tf.data.Dataset`, a `keras.utils.PyDataset`, a torch `DataLoader`,
            a batched data set of Grain, or any iterable of batches that can be iterated
            again. Targets and outputs have the shape `(batch, height, width[,
            channels])`; channels come first if `keras.config.image_data_format()` is
            `"channels_first"`. Their size may differ from that of the inputs.
        value_range: The lowest and the highest value of targets, for PSNR, SSIM and
            colors. Images of one channel are grey if the range is (0, 1), (-1, 1) or
            (0, 255) and the input is not a color image, else in false colors.
        invalid: The value of targets that is ignored. NaN is always ignored.
        **kwargs: The arguments of all tasks, see
            `wandb_eval.engine.WandbTaskEvalCallback`.

    Raises:
        wandb.Error: If there is no active run.
        ValueError: If an argument can't be used; when training begins, if targets and
            outputs don't fit together.

    Example:

    ```python
    wandb.init(project="denoising")
    model.fit(
        noisy_train,
        clean_train,
        epochs=5,
        validation_data=(noisy_val, clean_val),
        callbacks=[WandbImageToImageEvalCallback((noisy_val, clean_val))],
    )
    ```
    """

    uses_model_preprocessing = True
    headline = ("mae", "psnr", "ssim")
    leaves_out_not_finite = True

    def __init__(
        self,
        validation_data: Any,
        *,
        value_range: tuple[float, float] = (0, 1),
        invalid: float | None = None,
        **kwargs: Unpack[TaskArguments],
    ) -> None:
        self.value_range = check_value_range(value_range)
        self.invalid = check_invalid(invalid)
        self._span = self.value_range[1] - self.value_range[0]
        self._file_format = kwargs.get("image_format", "png")
        self._of_inputs: list[NDArray[np.float64]] | None = []
        self._extremes: list[float] = []
        self._input_extremes: list[float] = []
        self._is_color = False
        columns = ["idx", "image", "target"]
        super().__init__(
            validation_data,
            data_table_columns=columns,
            pred_table_columns=[
                *("epoch", *columns, "prediction", "error"),
                *("mae", "rmse", "psnr", "ssim"),
            ],
            **kwargs,
        )

    def check_batch(self, batch: Batch) -> None:
        """Checks the targets, and compares the inputs with them."""
        targets = read_targets(batch.y, self.invalid)
        known = targets[~np.isnan(targets)]
        if known.size:
            self._extremes += [float(known.min()), float(known.max())]
        try:
            inputs = read_outputs(batch.x)
        except ValueError:  # Several inputs, or inputs that are not images.
            self._of_inputs = None
            return
        self._is_color = inputs.shape[-1] in (3, 4)
        if inputs.shape != targets.shape or not fits(inputs, self.value_range):
            self._of_inputs = None
        self._input_extremes += [float(inputs.min()), float(inputs.max())]
        if self._of_inputs is not None:
            errors = np.where(np.isnan(targets), 0, inputs - targets)
            axes = (1, 2, 3)
            compared = np.zeros((len(targets), 4))
            compared[:, COUNT] = (~np.isnan(targets)).sum(axis=axes)
            compared[:, SQUARED] = np.square(errors, dtype=np.float64).sum(axis=axes)
            self._of_inputs.append(compared)

    def check_outputs(self, outputs: Any) -> None:
        """Checks the outputs against the targets."""
        predicted = read_outputs(outputs)
        first = read_targets(np.asarray(self.samples.y[0])[None], self.invalid)
        if predicted.shape[1:] != first.shape[1:]:
            raise ValueError(
                "The model must have outputs of the same height, width and channels as "
                f"the targets. Received: outputs of {predicted.shape[1:]} and targets "
                f"of {first.shape[1:]}"
            )
        extremes = np.array(self._extremes)
        is_narrow = 0 < _OTHER_SCALE * _width(self._extremes) < self._span
        if self.is_logging and (is_narrow or not fits(extremes, self.value_range)):
            wandb.termwarn(
                f"The targets are {extremes.min():.3g} to {extremes.max():.3g}, which "
                f"does not fit `value_range`, {self.value_range}: pass their range, so "
                "that PSNR, SSIM and colors are right.",
                repeat=False,
            )

    def read_batch(self, y: Any, outputs: Any) -> tuple[Any, Any]:
        """The targets and the predictions, with their errors."""
        targets, predictions = read_targets(y, self.invalid), read_outputs(outputs)
        compared = compare_images(targets, predictions, self._span)
        return targets, {"images": predictions, "compared": compared}

    def new_metrics(self) -> Metrics:
        """The metrics over all of the validation data."""
        of_inputs = self._of_inputs or []
        if _OTHER_SCALE * _width(self._input_extremes) < _width(self._extremes):
            of_inputs = []
        ratios = psnr(np.concatenate([*of_inputs, np.zeros((0, 4))]), self._span)
        known = ratios[np.isfinite(ratios)]
        psnr_input = float(known.mean()) if known.size else None
        return _OfCallback(self.value_range, psnr_input)

    def score_samples(self, truth: Any, predictions: Any) -> SampleScores:
        """`mae`, `rmse`, `psnr`, `ssim`, with `1 - ssim` or `mae` as the difficulty."""
        compared = predictions["compared"]
        with np.errstate(divide="ignore", invalid="ignore"):
            mae = compared[:, ABSOLUTE] / compared[:, COUNT]
            rmse = np.sqrt(compared[:, SQUARED] / compared[:, COUNT])
        similarity = compared[:, SSIM]
        difficulty = np.where(np.isnan(similarity), mae / self._span, 1 - similarity)
        difficulty[compared[:, COUNT] == 0] = -np.inf  # No value counts.
        columns = {
            "mae": mae,
            "rmse": rmse,
            "psnr": psnr(compared, self._span),
            "ssim": similarity,
        }
        return SampleScores(
            {name: finite_or_none(values) for name, values in columns.items()},
            difficulty,
        )

    def ground_truth_rows(
        self, samples: Samples, images: Sequence[Any]
    ) -> list[list[Any]]:
        """The rows: `idx`, `image` and `target`."""
        targets = [
            read_targets(np.asarray(y)[None], self.invalid)[0] for y in samples.y
        ]
        shown = self._shown(targets, of_truth=True)
        return [list(row) for row in zip(samples.index, images, shown, strict=True)]

    def prediction_rows(self, evaluated: EvaluatedSamples) -> list[list[Any]]:
        """The rows of ground truth, with the prediction, the error and the scores."""
        predictions = [kept["images"] for kept in evaluated.predictions]
        pairs = zip(evaluated.truth, predictions, strict=True)
        high = self._span / 4
        maps = [
            map_to_image(np.abs(predicted - true).mean(axis=-1), 0, high)
            for true, predicted in pairs
        ]
        caption = f"Mean absolute error: 0 (dark) to {high:g} or more (bright)"
        cells = (
            self._shown(predictions),
            self._encoded(maps, caption=caption),
            *evaluated.scores.values(),
        )
        parts = zip(evaluated.rows, *cells, strict=True)
        return [[*row[:3], *rest] for row, *rest in parts]

    def _shown(
        self, images: Sequence[NDArray[Any]], *, of_truth: bool = False
    ) -> list[Any]:
        is_map = self._is_color or self.value_range not in _GREY_RANGES
        shown = [
            range_to_image(image, *self.value_range, false_colors=is_map)
            for image in images
        ]
        return self._encoded(shown, of_truth=of_truth)

    def _encoded(
        self,
        images: Sequence[NDArray[np.uint8]],
        *,
        of_truth: bool = False,
        caption: str | None = None,
    ) -> list[Any]:
        if not self.is_logging:  # There may be no run, and no folder.
            return [None] * len(images)
        folder = self.data_folder if of_truth else self.prediction_folder
        return encode_images(images, folder, self._file_format, caption=caption)


class _OfCallback(ImageToImageMetrics):
    """Metrics of batches that the callback has already compared."""

    def update(self, truth: Any, predictions: Any) -> None:
        self.update_compared(predictions["compared"])

    merge = ImageToImageMetrics.merge  # `update` accumulates nothing more.


def _width(extremes: Sequence[float]) -> float:
    return float(np.ptp(extremes)) if extremes else 0.0
