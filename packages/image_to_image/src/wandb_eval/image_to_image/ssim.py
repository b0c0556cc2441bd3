"""The structural similarity of two images (Wang et al. 2004)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.engine.kit.opencv import cv2

RADIUS = 5
WINDOW = 2 * RADIUS + 1
"""The lowest height and width of an image that has a structural similarity."""

_WEIGHTS = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / 1.5) ** 2)
_WEIGHTS /= _WEIGHTS.sum()


def ssim(target: NDArray[Any], prediction: NDArray[Any], span: float) -> float | None:
    """Returns the mean structural similarity of two images.

    It is that of scikit-image with `gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False`, averaged over the channels. Windows with a NaN in the
    target are left out.

    Args:
        target: Floats of shape `(height, width, channels)`.
        prediction: Finite floats of the same shape.
        span: The width of the range of values.

    Returns:
        The similarity; `None` if the images are smaller than the window of 11 pixels,
        or if no window is left.

    Example:

    >>> image = np.random.default_rng(0).random((16, 16, 3))
    >>> ssim(image, image, span=1)
    1.0
    """
    if min(target.shape[:2]) < WINDOW:
        return None
    valid = ~np.isnan(target)
    is_whole = bool(valid.all())
    if not is_whole:
        target, prediction = np.where(valid, (target, prediction), 0)
    similar = [
        _similarity(target[..., k], prediction[..., k], span)
        for k in range(target.shape[-1])
    ]
    if is_whole:
        return float(np.mean([part.mean(dtype=np.float64) for part in similar]))
    kernel = np.ones((WINDOW, WINDOW), np.uint8)
    means = []
    for k, part in enumerate(similar):
        whole = cv2.erode(valid[..., k].astype(np.uint8), kernel)
        kept = part[_inner(whole) > 0]
        means += [kept.mean(dtype=np.float64)] if kept.size else []
    return float(np.mean(means)) if means else None


def _similarity(a: NDArray[Any], b: NDArray[Any], span: float) -> NDArray[np.float32]:
    """Returns the similarity in each window of two images of one channel."""
    # Variances of values around 0 are exact enough in float32.
    middles = [float(side.mean(dtype=np.float64)) for side in (a, b)]
    a, b = (
        np.subtract(side, middle, dtype=np.float64).astype(np.float32)
        / np.float32(span)
        for side, middle in zip((a, b), middles, strict=True)
    )
    middles = [middle / span for middle in middles]
    mean_a, mean_b = _blur(a), _blur(b)
    product = mean_a * mean_b
    squares = mean_a * mean_a + mean_b * mean_b
    covariance = _blur(a * b) - product
    variances = _blur(a * a + b * b) - squares
    full_a, full_b = mean_a + np.float32(middles[0]), mean_b + np.float32(middles[1])
    c1, c2 = np.float32(0.01**2), np.float32(0.03**2)
    top = (2 * full_a * full_b + c1) * (2 * covariance + c2)
    bottom = (full_a * full_a + full_b * full_b + c1) * (variances + c2)
    return np.asarray(top / bottom)


def _blur(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the weighted mean of each window that lies in the image."""
    blurred = cv2.sepFilter2D(image, cv2.CV_32F, _WEIGHTS, _WEIGHTS)
    return np.asarray(_inner(blurred), np.float32)


def _inner(image: NDArray[Any]) -> NDArray[Any]:
    return image[RADIUS:-RADIUS, RADIUS:-RADIUS]
