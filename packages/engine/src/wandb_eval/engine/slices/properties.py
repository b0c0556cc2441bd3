"""Properties of images and targets, which define slices of samples.

Each function takes one sample, and is fast enough to call for every sample of a
validation, in threads: NumPy and OpenCV release the GIL. A property that a sample does
not have (the size of the smallest of no objects) is NaN, which slices treat as missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.engine.kit.opencv import cv2

MOST_PIXELS = 128
"""The longer side that an image or a mask is shrunk to."""

MECHANICAL = {
    "detection": ("num_objects", "smallest_object", "median_object", "largest_overlap"),
    "segmentation": ("num_classes", "contours"),
}
"""Properties of targets on which F1 and IoU depend by definition: one miss
among two objects costs more F1 than one among ten, and pixels at contours are a larger
part of small regions."""

_RARE_SHARE = 0.05
_MOST_RARE = 4


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
    return {
        name: values
        for name, values in columns.items()
        if len(np.unique(values[~np.isnan(values)])) > 1
        or 0 < np.isnan(values).sum() < len(values)
    }


def detection_properties(
    boxes: NDArray[np.floating[Any]], height: float, width: float
) -> dict[str, float]:
    """Returns properties of the objects in an image.

    Args:
        boxes: The true boxes as corners in pixels (`"xyxy"`), shape `(objects, 4)`.
        height: The height of the image.
        width: The width of the image.

    Returns:
        - `num_objects`: the number of objects.
        - `smallest_object`, `median_object`: the smallest and the median box, as shares
        of
          the image's area. NaN without objects.
        - `largest_overlap`: the largest IoU of two boxes; 0 with fewer than two.
        - `touching_border`: the share of the objects whose box comes within a pixel of
          the border. NaN without objects.

    Example:

    >>> boxes = np.array([[0, 0, 50, 40], [25, 0, 75, 40], [40, 50, 60, 60]])
    >>> for name, value in detection_properties(boxes, height=100, width=100).items():
    ...     print(name, round(value, 3))
    num_objects 3.0
    smallest_object 0.02
    median_object 0.2
    largest_overlap 0.333
    touching_border 0.667
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    corners = np.clip(corners, 0, [width, height, width, height])
    count = len(corners)
    areas = np.prod(np.maximum(corners[:, 2:] - corners[:, :2], 0), axis=1)
    near = (corners[:, :2] <= 1).any(axis=1)
    near |= (corners[:, 2:] >= np.array([width, height]) - 1).any(axis=1)
    shares = areas / (height * width)
    return {
        "num_objects": float(count),
        "smallest_object": float(shares.min()) if count else math.nan,
        "median_object": float(np.median(shares)) if count else math.nan,
        "largest_overlap": _largest_iou(corners, areas),
        "touching_border": float(near.mean()) if count else math.nan,
    }


def segmentation_properties(
    mask: NDArray[np.integer[Any]],
    rare: Sequence[tuple[int, str]] = (),
    ignore_index: int | None = None,
) -> dict[str, float]:
    """Returns properties of the regions in an image.

    A mask with a side of more than 128 pixels is thinned out first.

    Args:
        mask: The true class of each pixel, integers of shape `(height, width)`.
        rare: The ids and names of classes whose share of pixels is a separate property:
            see `rare_classes`.
        ignore_index: The id of pixels without a class.

    Returns:
        - `num_classes`: the number of classes.
        - `contours`: the length of the lines between classes, relative to the area: of
        the
          pairs of neighboring pixels with classes, the share with two classes. NaN
          without such pairs.
        - `share_of_<name>` for each rare class: its share of the pixels with classes.

    Example:

    >>> mask = np.array([[0, 0, 2], [0, 0, 2], [255, 255, 255]])
    >>> found = segmentation_properties(mask, [(2, "bike")], ignore_index=255)
    >>> for name, value in found.items():
    ...     print(name, round(value, 3))
    num_classes 2.0
    contours 0.286
    share_of_bike 0.333
    """
    mask = thinned(mask)
    of_class = (
        np.ones(mask.shape, bool) if ignore_index is None else mask != ignore_index
    )
    pixels = int(of_class.sum())
    pairs = lines = 0
    for first, second in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
        both = of_class[first] & of_class[second]
        pairs += int(both.sum())
        lines += int((both & (mask[first] != mask[second])).sum())
    return {
        "num_classes": float(len(np.unique(mask[of_class]))),
        "contours": lines / pairs if pairs else math.nan,
        **{
            f"share_of_{name}": float((mask == one).sum()) / pixels
            if pixels
            else math.nan
            for one, name in rare
        },
    }


def rare_classes(counts: NDArray[np.integer[Any]]) -> list[int]:
    """Returns the ids of at most four rare classes, the rarest first.

    Args:
        counts: The pixels of each class in each sample, of shape `(samples, classes)`.

    Returns:
        The classes with less than 5 % of all pixels that occur in as many samples as a
        slice needs, 30 and 2 %: the shares of others could not be compared.

    Example:

    >>> rare_classes(np.array([[90, 10, 0], [97, 2, 1]] * 50))
    [2]
    """
    counts = np.asarray(counts)
    totals = counts.sum(axis=0)
    enough = (counts > 0).sum(axis=0) >= max(30, 0.02 * len(counts))
    rare = np.flatnonzero(enough & (totals < _RARE_SHARE * totals.sum()))
    return [int(one) for one in rare[np.argsort(totals[rare], kind="stable")]][
        :_MOST_RARE
    ]


def thinned(mask: NDArray[Any]) -> NDArray[Any]:
    """Keeps every nth pixel of a mask, so that its sides have at most 128 pixels."""
    step = math.ceil(max(mask.shape[:2]) / MOST_PIXELS)
    return mask[step // 2 :: step, step // 2 :: step] if step > 1 else mask


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


def _largest_iou(corners: NDArray[np.float64], areas: NDArray[np.float64]) -> float:
    if len(corners) < 2:
        return 0.0
    first, second = np.triu_indices(len(corners), 1)
    low = np.maximum(corners[first, :2], corners[second, :2])
    high = np.minimum(corners[first, 2:], corners[second, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=1)
    either = areas[first] + areas[second] - common
    return float(np.max(common / np.where(either > 0, either, 1)))
