"""Properties of images, which define slices of samples.

They are fast enough to compute for every sample of a validation, in threads: NumPy and
OpenCV release the GIL. Tasks have properties of targets. A property that a sample does
not have (the size of the smallest of no objects) is NaN, which slices treat as missing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.engine.kit.opencv import cv2

MOST_PIXELS = 128
"""The longer side that an image is shrunk to."""


def image_properties(image: NDArray[np.uint8]) -> dict[str, float]:
    """Returns properties of an image.

    An image with a side of more than 128 pixels is shrunk first, by averaging whole
    blocks of pixels. Luma is Y' of ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B.

    Args:
        image: uint8 of shape `(height, width)` or `(height, width, channels)` with 1,
            3 (RGB) or 4 channels (RGBA, whose opacity is ignored).

    Returns:
        - `brightness`: the mean of luma, 0 to 1.
        - `contrast`: the standard deviation of luma, 0 to 0.5 (RMS contrast: Peli 1990,
          Contrast in Complex Images). 0 if the image is blank.
        - `sharpness`: log(1 + variance of the Laplacian of luma), with luma from 0 to
          255 (Pech-Pacheco et al. 2000, Diatom Autofocusing in Brightfield
          Microscopy). 0 if the image is blank; noise is sharp, too.
        - `colorfulness`: of Hasler and Süsstrunk (2003, Measuring Colourfulness in
          Natural Images): with rg = R - G and yb = (R + G) / 2 - B, the root of the sum
          of their variances, and 0.3 times that of their squared means. 0 for gray; 33
          is moderately colorful, 82 highly. Only for images with colors.
        - `width`, `height`, `aspect_ratio` (width / height): those of the original
        image.

    Raises:
        ValueError: If the image is another array, or empty.

    Example:

    >>> red = np.zeros((40, 80, 3), np.uint8)
    >>> red[..., 0] = 255
    >>> found = image_properties(red)
    >>> {name: round(value, 3) for name, value in found.items()}
    {'brightness': 0.298, 'contrast': 0.0, 'sharpness': 0.0, 'colorfulness': 85.53, \
'width': 80.0, 'height': 40.0, 'aspect_ratio': 2.0}
    """
    channels = image.shape[2] if image.ndim == 3 else 1
    if (
        image.dtype != np.uint8
        or image.ndim not in (2, 3)
        or channels not in (1, 3, 4)
        or not image.size
    ):
        raise ValueError(
            "An image must be uint8 of shape (height, width[, 1, 3 or 4]). Received: "
            f"{image.dtype} of shape {image.shape}"
        )
    height, width = image.shape[:2]
    small = _shrunk(np.ascontiguousarray(image[..., :3] if channels == 4 else image))
    found = {}
    if channels == 1:
        luma = small.reshape(small.shape[:2])
    else:
        luma = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
        found["colorfulness"] = _colorfulness(small)
    mean, deviation = _mean_and_deviation(luma)
    _, edges = _mean_and_deviation(cv2.Laplacian(luma, cv2.CV_16S))
    return {
        "brightness": mean / 255,
        "contrast": deviation / 255,
        "sharpness": math.log1p(edges**2),
        **found,
        "width": float(width),
        "height": float(height),
        "aspect_ratio": width / height,
    }


def varying(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Returns the properties that differ among samples.

    Example:

    >>> list(varying({"width": np.array([32, 32]), "brightness": np.array([0.1, 0.2])}))
    ['brightness']
    """
    return {name: values for name, values in columns.items() if _differ(values)}


def _differ(values: NDArray[Any]) -> bool:
    if values.dtype.kind != "f":
        return len(set(values.tolist())) > 1
    missing = np.isnan(values)
    differ = len(np.unique(values[~missing])) > 1
    return bool(differ or 0 < missing.sum() < len(values))


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # Means of whole blocks are many times faster in OpenCV than other interpolations.
    step = math.ceil(max(image.shape[:2]) / MOST_PIXELS)
    if step == 1:
        return image
    height, width = (max(1, side // step) for side in image.shape[:2])
    whole = image[: height * step, : width * step]
    size = (width, height)
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)


def _mean_and_deviation(values: Any) -> tuple[float, float]:
    mean, deviation = cv2.meanStdDev(values)
    return float(mean[0, 0]), float(deviation[0, 0])


def _colorfulness(image: NDArray[np.uint8]) -> float:
    red, green, blue = cv2.split(image)
    depth = cv2.CV_16S
    rg = cv2.subtract(red, green, dtype=depth)
    twice_blue = cv2.add(blue, blue, dtype=depth)
    twice_yb = cv2.subtract(cv2.add(red, green, dtype=depth), twice_blue, dtype=depth)
    (rg_mean, rg_spread), (yb_mean, yb_spread) = (
        _mean_and_deviation(rg),
        _mean_and_deviation(twice_yb),
    )
    return math.hypot(rg_spread, yb_spread / 2) + 0.3 * math.hypot(rg_mean, yb_mean / 2)
