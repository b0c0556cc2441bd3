"""Errors about masks whose advice leads to right numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from wandb_eval.segmentation.masks import Masks


def check_ids(
    masks: Masks, ignore_index: int | None, limit: int, class_names: list[str] | None
) -> int:
    """Checks the ids in masks.

    Args:
        masks: Class ids of shape `(batch, height, width)`.
        ignore_index: The id of pixels that count nowhere.
        limit: How many classes there may be.
        class_names: The names, if they are why.

    Returns:
        The highest id, or -1.

    Raises:
        ValueError: If there are other ids than those of classes.
    """
    counted = masks if ignore_index is None else masks[masks != ignore_index]
    if not counted.size:
        return -1
    low, high = int(counted.min()), int(counted.max())
    if low >= 0 and high < limit:
        return high
    named = "" if class_names is None else ", as `class_names` has them"
    found = np.unique(counted)
    raise ValueError(
        f"Masks must have class ids of 0 to {limit - 1}{named}. Received: "
        f"{low if low < 0 else high} among them. {_advice(found, limit)}"
    )


def _advice(found: Any, limit: int) -> str:
    if limit == 2 and len(found) <= 2 and found[0] in (0, found[-1]):
        return (
            f"The ids are {' and '.join(map(str, found.tolist()))}: divide the masks "
            f"by {found[-1]}."
        )
    if found[0] == 1 and found[-1] == limit:
        return "The ids begin with 1: subtract 1 from the masks."
    return (
        "If those pixels are of no class, pass their id as `ignore_index`; if they are "
        "of a class, give it an id from 0."
    )


def check_single_name(class_names: list[str] | None) -> None:
    """Raises a ValueError if the two classes of one channel have a single name."""
    if class_names is not None and len(class_names) == 1:
        raise ValueError(
            "A model with a single output channel has two classes: that of low outputs "
            f"and that of high ones. Received: one name, {class_names[0]!r}. Pass two, "
            f"such as ['background', {class_names[0]!r}]."
        )


def is_volume(node: Any) -> bool:
    """Whether it is a batch of volumes, of shape `(batch, a, b, c, channels)`."""
    return len(getattr(node, "shape", ())) == 5
