"""Errors and warnings about masks, with advice."""

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
        ignore_index: The id of pixels that are ignored.
        limit: The highest number of classes.
        class_names: The name of each class, if the limit follows from the names.

    Returns:
        Ids in the masks: the lowest, the highest, and one between them if there are
        more. With an `ignore_index`, all ids, and the `ignore_index` if pixels have it.

    Raises:
        ValueError: If there are ids without a class.
    """
    counted = masks if ignore_index is None else masks[masks != ignore_index]
    ids = _some_ids(counted)
    is_ignored = ignore_index is not None and counted.size < masks.size
    if not counted.size:
        return {ignore_index} if is_ignored and ignore_index is not None else ids
    low, high = int(counted.min()), int(counted.max())
    if low >= 0 and high < limit:
        if ignore_index is not None:
            ids.update(np.flatnonzero(np.bincount(counted)).tolist())
            if is_ignored:
                ids.add(ignore_index)
        return ids
    named = "" if class_names is None else ", as `class_names` has them"
    raise ValueError(
        f"Masks must have class ids of 0 to {limit - 1}{named}. Received: "
        f"{low if low < 0 else high} among them. "
        f"{advice(ids - {ignore_index}, limit)}"
    )


def _some_ids(masks: Masks) -> set[int]:
    """The lowest id, the highest id, and one id between them if there are more."""
    if not masks.size:
        return set()
    low, high = int(masks.min()), int(masks.max())
    between = (masks != low) & (masks != high)
    place = int(between.argmax())
    return {low, high} | ({int(masks.flat[place])} if between.flat[place] else set())


def advice(ids: set[int], limit: int) -> str:
    """Advice for masks that have ids without a class.

    Args:
        ids: Ids in the masks, with the lowest and the highest; more than two if there
            are more.
        limit: The number of classes.
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

    There is one if pixels are ignored and only one class is left, or exactly one class
    has no pixels; or if there is only one class besides the ignored one.

    Args:
        ids: The ids that `check_ids` found in all of the data.
        ignore_index: The id of pixels that are ignored.
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
