"""Errors about masks whose advice leads to right numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from wandb_eval.segmentation.masks import Masks


def check_ids(
    masks: Masks, ignore_index: int | None, limit: int, class_names: list[str] | None
) -> set[int]:
    """Checks the ids in masks.

    Args:
        masks: Class ids of shape `(batch, height, width)`.
        ignore_index: The id of pixels that count nowhere.
        limit: How many classes there may be.
        class_names: The names, if they are why.

    Returns:
        Ids that are found: the lowest and the highest, one between if there are more.
        If `ignore_index` is there, it and all of the others.

    Raises:
        ValueError: If there are other ids than those of classes.
    """
    counted = masks if ignore_index is None else masks[masks != ignore_index]
    ids = _some_ids(counted)
    is_ignored = ignore_index is not None and counted.size < masks.size
    if not counted.size:
        return {ignore_index} if is_ignored and ignore_index is not None else ids
    low, high = int(counted.min()), int(counted.max())
    if low >= 0 and high < limit:
        if is_ignored and ignore_index is not None:
            ids |= {ignore_index, *np.flatnonzero(np.bincount(counted)).tolist()}
        return ids
    named = "" if class_names is None else ", as `class_names` has them"
    raise ValueError(
        f"Masks must have class ids of 0 to {limit - 1}{named}. Received: "
        f"{low if low < 0 else high} among them. "
        f"{advice(ids - {ignore_index}, limit)}"
    )


def _some_ids(masks: Masks) -> set[int]:
    """The lowest id and the highest, and one between: all of them if they are two."""
    if not masks.size:
        return set()
    low, high = int(masks.min()), int(masks.max())
    between = (masks != low) & (masks != high)
    place = int(between.argmax())
    return {low, high} | ({int(masks.flat[place])} if between.flat[place] else set())


def advice(ids: set[int], limit: int) -> str:
    """What to do about ids of which some are those of no class.

    Args:
        ids: Those that are found, the lowest and the highest among them; more than two
            if there are more.
        limit: How many classes there are.
    """
    low, high = min(ids), max(ids)
    if limit == 2 and high > 1 and ids <= {0, high}:
        found = " and ".join(map(str, sorted(ids)))
        return f"The ids are {found}: divide the masks by {high}."
    if low == 1 and high == limit:
        return "The ids begin with 1: subtract 1 from the masks."
    if limit == 2 and len(ids) <= 2:  # Ignoring one would leave a single class.
        found = " and ".join(map(str, sorted(ids)))
        return f"The ids are {found}: the classes must have the ids 0 and 1."
    return (
        "If the pixels of an id are of no class, pass it as `ignore_index`; if they "
        "are of a class, give it an id from 0."
    )


def swallowed(
    ids: set[int], ignore_index: int | None, class_names: list[str]
) -> str | None:
    """A warning of an `ignore_index` that seems to take all pixels of a class.

    That is so where pixels are ignored, and a single class is left, or but one of the
    classes has no pixel; and where there is but one class beside the ignored one.

    Args:
        ids: What `check_ids` found in all of the data.
        ignore_index: The id of pixels that count nowhere.
        class_names: The name of each class.
    """
    if ignore_index is None:
        return None
    classes, found = set(range(len(class_names))), ids - {ignore_index}
    without = [class_names[index] for index in sorted(classes - found)]
    is_single = len(classes - {ignore_index}) < 2 or len(found) < 2
    is_seen = ignore_index in ids and ignore_index not in classes
    if not (is_single and ignore_index in ids) and not (is_seen and len(without) == 1):
        return None
    names = ", ".join(map(repr, without[:3])) + (", ..." if len(without) > 3 else "")
    single = (
        "a single class is measured, and a model that puts it everywhere is right "
        "everywhere. "
    )
    return (
        f"With `ignore_index={ignore_index}`, no pixel of the validation data is left "
        f"of {names}: {single if is_single else 'it is not measured. '}If what is "
        "ignored is a class, too (the background, say), leave `ignore_index` out, and "
        "give that class an id from 0."
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
