"""Properties of the regions in an image, which define slices of samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.engine import least_samples

MECHANICAL = ("num_classes", "contours")
"""Properties on which IoU depends by its definition: pixels at contours are a larger
part of small regions."""

MOST_PIXELS = 128
"""The longest side of a mask, in pixels; larger masks are thinned out."""

_RARE_SHARE = 0.05
_MOST_RARE = 4
_SHARE_OF = "share_of_"


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
        - `contours`: the length of the lines between classes, relative to the area:
          the share of the pairs of neighboring pixels with classes that have two
          classes. NaN without such pairs.
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
    ids, counts = np.unique(mask[of_class], return_counts=True)
    shares = dict(zip(ids.tolist(), (counts / max(1, pixels)).tolist(), strict=True))
    return {
        "num_classes": float(len(ids)),
        "contours": lines / pairs if pairs else math.nan,
        **{
            f"{_SHARE_OF}{name}": shares.get(one, 0.0) if pixels else math.nan
            for one, name in rare
        },
    }


def rare_classes(shares: NDArray[Any]) -> list[int]:
    """Returns the ids of at most four rare classes, the rarest first.

    Args:
        shares: The share of each class of the pixels of each sample, of shape
            `(samples, classes)`; NaN for a sample without pixels.

    Returns:
        The classes with less than 5 % of all pixels that occur in as many samples as a
        slice needs, see `least_samples`: the shares of others could not be compared.

    Example:

    >>> rare_classes(np.array([[0.9, 0.1, 0.0], [0.97, 0.02, 0.01]] * 50))
    [2]
    """
    has_pixels = np.isfinite(shares).all(axis=1)
    totals = shares[has_pixels].sum(axis=0)
    enough = (shares > 0).sum(axis=0) >= least_samples(len(shares))
    # Several classes may have a pixel, so the shares of a sample are not 1 together.
    rare = np.flatnonzero(enough & (totals < _RARE_SHARE * has_pixels.sum()))
    return [int(one) for one in rare[np.argsort(totals[rare], kind="stable")]][
        :_MOST_RARE
    ]


def thinned(mask: NDArray[Any]) -> NDArray[Any]:
    """Keeps every nth pixel of a mask, so that its sides have at most 128 pixels."""
    step = math.ceil(max(mask.shape[:2]) / MOST_PIXELS)
    return mask[step // 2 :: step, step // 2 :: step] if step > 1 else mask


def multi_label_properties(
    masks: NDArray[Any], names: Sequence[str]
) -> dict[str, float]:
    """Returns the same properties for multi-hot masks, without contours.

    Args:
        masks: Whether each pixel has each class, of shape `(height, width, classes)`.
        names: The names of the classes.

    Example:

    >>> multi_label_properties(np.array([[[1, 0], [0, 0]]]), ["cat", "dog"])
    {'num_classes': 1.0, 'share_of_cat': 0.5, 'share_of_dog': 0.0}
    """
    shares = (thinned(masks) > 0).mean(axis=(0, 1)).tolist()
    of_classes = {
        f"{_SHARE_OF}{name}": share for name, share in zip(names, shares, strict=True)
    }
    return {"num_classes": float((masks > 0).any(axis=(0, 1)).sum()), **of_classes}


def with_rare_shares(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Returns properties of all samples, with the shares of rare classes only.

    Args:
        columns: The properties, by name, of shape `(samples,)`.
    """
    names = [name for name in columns if name.startswith(_SHARE_OF)]
    if not names:
        return dict(columns)
    shares = np.stack([columns[name] for name in names], axis=1)
    kept = {names[one] for one in rare_classes(shares)}
    return {
        name: values
        for name, values in columns.items()
        if name in kept or not name.startswith(_SHARE_OF)
    }
