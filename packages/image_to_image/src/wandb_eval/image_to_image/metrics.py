"""The errors of predicted images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.engine import map_in_threads
from wandb_eval.image_to_image.images import Images, read_outputs, read_targets
from wandb_eval.image_to_image.ssim import ssim

COUNT, ABSOLUTE, SQUARED, SSIM = range(4)

HIGHEST_PSNR = 100.0
"""The PSNR of an image without errors, in dB: infinity would have no mean."""


def compare_images(
    targets: Images, predictions: Images, span: float
) -> NDArray[np.float64]:
    """Compares each prediction of a batch with its target.

    Args:
        targets: The targets, of shape `(batch, height, width, channels)`. NaN is
            ignored.
        predictions: The predictions, of the same shape.
        span: The width of the range of values.

    Returns:
        An array of shape `(batch, 4)`: the number of values that count, the sums of
        absolute and squared errors, and the structural similarity. The errors are NaN
        if a prediction is not finite; the similarity is NaN then, and if it is
        undefined.
    """

    def compare(pair: tuple[Images, Images]) -> list[float]:
        target, prediction = pair
        valid = ~np.isnan(target)
        count = int(valid.sum())
        errors = prediction - target
        if count < target.size:
            errors = errors[valid]
            prediction = np.where(valid, prediction, 0)
        flat = errors.ravel()
        absolute = float(np.abs(flat).sum(dtype=np.float64))
        if not math.isfinite(absolute):
            return [count, math.nan, math.nan, math.nan]
        squared = float(np.square(flat, dtype=np.float64).sum())
        similarity = ssim(target, prediction, span) if count else None
        return [
            count,
            absolute,
            squared,
            math.nan if similarity is None else similarity,
        ]

    pairs = list(zip(targets, predictions, strict=True))
    return np.array(map_in_threads(compare, pairs), np.float64).reshape(-1, 4)


def psnr(compared: NDArray[np.float64], span: float) -> NDArray[np.float64]:
    """Returns the peak signal-to-noise ratio of images, in dB.

    Args:
        compared: The result of `compare_images`.
        span: The width of the range of values.

    Returns:
        The ratios, of shape `(batch,)`, at most 100 dB, which an image without errors
        has; NaN for images without values that count, or with values that are not
        finite.

    Example:

    >>> float(psnr(np.array([[100.0, 10.0, 1.0, 0.9]]), span=1)[0])
    20.0
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 10 * np.log10(span**2 / (compared[:, SQUARED] / compared[:, COUNT]))
    ratio[ratio == -np.inf] = np.nan
    return np.asarray(np.minimum(ratio, HIGHEST_PSNR))


class ImageToImageMetrics:
    """MAE, RMSE, PSNR and SSIM, over many batches.

    Args:
        value_range: The lowest and the highest value of targets.
        psnr_input: The mean PSNR of the inputs themselves; `None` if it is undefined.

    Example:

    >>> metrics = ImageToImageMetrics()
    >>> metrics.update(np.zeros((2, 4, 4, 1)), np.full((2, 4, 4, 1), 0.1))
    >>> {name: round(value, 4) for name, value in metrics.compute().items()}
    {'mae': 0.1, 'rmse': 0.1, 'psnr': 20.0}
    """

    def __init__(
        self, value_range: tuple[float, float] = (0, 1), psnr_input: float | None = None
    ) -> None:
        self._span = value_range[1] - value_range[0]
        self._psnr_input = psnr_input
        self._compared: list[NDArray[np.float64]] = []

    def update(self, truth: Any, predictions: Any) -> None:
        """Takes in a batch.

        Args:
            truth: Targets of shape `(batch, height, width[, channels])`. NaN is
                ignored.
            predictions: Images of the same shape.
        """
        sides = read_targets(truth), read_outputs(predictions)
        self.update_compared(compare_images(*sides, self._span))

    def update_compared(self, compared: NDArray[np.float64]) -> None:
        """Takes in the result of `compare_images` for a batch."""
        self._compared.append(compared)

    def merge(self, other: ImageToImageMetrics) -> None:
        """Takes in all images of another one, as if they came behind its own."""
        self._compared += other._compared

    def compute(self) -> dict[str, float]:
        """Returns the numbers to log. Undefined numbers are missing."""
        compared = np.concatenate([*self._compared, np.zeros((0, 4))])
        finite = np.isfinite(compared[:, ABSOLUTE])
        results: dict[str, float] = {}
        if not finite.all():
            results["left_out"] = float((~finite).sum())
        compared = compared[finite]
        count, absolute, squared, _ = compared.sum(axis=0)
        if count:
            results |= {"mae": absolute / count, "rmse": math.sqrt(squared / count)}
        ratios = psnr(compared, self._span)
        for name, values in (("psnr", ratios), ("ssim", compared[:, SSIM])):
            defined = values[np.isfinite(values)]
            if defined.size:
                results[name] = defined.mean()
        if self._psnr_input is not None:
            results["psnr_input"] = self._psnr_input
        return {name: float(value) for name, value in results.items()}
