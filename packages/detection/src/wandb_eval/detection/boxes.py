"""Reads boxes in the forms of Keras: in pixels, with an object for each image."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from wandb_eval.detection.detections import (
    CROWD,
    LABELS,
    OPTIONAL,
    PADDING,
    SCORES,
    Bools,
    Detections,
    Floats,
    Ints,
    Keys,
    get_key,
)
from wandb_eval.engine import to_numpy

OUTSIDE = "reaching out of the image"
"""The reason for boxes that are counted and kept, but do not fit the image."""

NOT_FINITE = "not finite"
"""The reason for boxes that are counted because they are not numbers."""

_FAR = -1e6  # In pixels: far from any image.

_FLOATS = (np.dtype(np.float16), np.dtype(np.float32))

_MAX_AREA = 1e10  # The largest area that COCO counts.


class BoxFormat:
    """A box format of `keras.utils.bounding_boxes`, which converts boxes to pixels.

    All formats of Keras are linear in their four numbers, and the relative ones also in
    the size of the image. So Keras converts the unit vectors once, and the resulting
    matrix converts all boxes in float64. That compiles no program for every number of
    boxes, and does not depend on the device of the model.

    Args:
        name: Any format that `keras.utils.bounding_boxes.convert_format` knows, in any
            letter case: `"xyxy"`, `"yxyx"`, `"xywh"`, `"center_xywh"`,
            `"center_yxhw"`, `"rel_xyxy"`, `"rel_yxyx"`, `"rel_xywh"`,
            `"rel_center_xywh"`.

    Attributes:
        name: The name, in small letters.
        is_relative: Whether boxes are shares of the size of the image.

    Raises:
        ValueError: If Keras does not know the format.

    Example:

    >>> BoxFormat("rel_xywh").to_xyxy([[0.5, 0.5, 0.25, 0.5]], [[100, 200]])
    array([[100.,  50., 150., 100.]])
    """

    def __init__(self, name: str) -> None:
        try:
            if not isinstance(name, str):
                raise ValueError("it must be a string")
            matrix, doubled = (self._ask_keras(name, size) for size in (1.0, 2.0))
        except ValueError as error:
            raise ValueError(
                "A box format must be one that `keras.utils.bounding_boxes.convert_"
                f"format` knows, such as 'xyxy'. Received: {name!r} ({error})"
            ) from error
        self.name = name.lower()
        self._matrix = matrix
        self.is_relative = bool((matrix != doubled).any())

    @staticmethod
    def _ask_keras(name: str, size: float) -> Floats:
        corners = keras.utils.bounding_boxes.convert_format(
            np.eye(4, dtype=np.float32),
            source=name.lower(),
            target="xyxy",
            height=size,
            width=size,
            dtype="float32",
        )
        return np.asarray(keras.ops.convert_to_numpy(corners), np.float64)

    def to_xyxy(self, boxes: ArrayLike, sizes: ArrayLike) -> Floats:
        """Converts boxes to `[left, top, right, bottom]` in pixels.

        Args:
            boxes: Shape `(n, 4)`.
            sizes: Height and width of the image of each box, shape `(n, 2)`.

        Returns:
            float64 of shape `(n, 4)`. Values that are not finite stay so.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            corners = np.asarray(boxes, np.float64) @ self._matrix
            if self.is_relative:
                corners *= np.asarray(sizes, np.float64)[:, [1, 0, 1, 0]]
        return np.asarray(corners)


def read_ground_truth(
    y: Any, sizes: ArrayLike, box_format: BoxFormat, num_classes: int
) -> tuple[list[Detections], Counter[str]]:
    """Reads the true boxes of a batch.

    Args:
        y: A dictionary of `boxes` and `labels` (or `classes`), and optionally `iscrowd`
            and `area`: arrays of shape `(images, boxes, 4)` and `(images, boxes)`,
            padded with the label -1; ragged tensors; or lists with an array for each
            image. Or a list of such dictionaries, one for each image.
        sizes: Height and width of each image, shape `(images, 2)`.
        box_format: The format of the boxes.
        num_classes: The number of classes.

    Returns:
        The boxes of each image, and the number of boxes that were left out, by reason:
        they are not finite, reversed, or have no area. The boxes that are `OUTSIDE` are
        counted, too, but kept.

    Raises:
        ValueError: If keys are missing, shapes or counts don't fit, a label has no
            name, or an area is not valid.
    """
    batch = _Batch(y, sizes, "ground truth", OPTIONAL)
    labels = batch.labels
    present = _is_present(labels)
    area = batch.columns.get("area", np.zeros(len(labels)))[present]
    wrong = area[~((area >= 0) & (area <= _MAX_AREA))]
    if len(wrong):
        raise ValueError(
            f"`area` must be square pixels, from 0 to {_MAX_AREA:g}. Received: "
            f"{wrong[0]:g} among them. Leave it out to have the areas of the boxes."
        )
    unnamed = present & ~_named(labels, num_classes)
    if unnamed.any():
        raise ValueError(
            f"Labels must be class ids from 0 to {num_classes - 1}, as there are "
            f"{num_classes} class names, or {PADDING} where there is no box. Received: "
            f"{labels[unnamed][0]:g} among them"
        )
    return batch.split(box_format, present, {})


def read_predictions(
    outputs: Any,
    sizes: ArrayLike,
    box_format: BoxFormat,
    num_classes: int,
    keep_lost: bool = False,
) -> tuple[list[Detections], Counter[str]]:
    """Reads the predicted boxes of a batch.

    Args:
        outputs: The same as `y` of `read_ground_truth`, with `confidence` (or `scores`)
            and optionally `num_detections` of shape `(images,)`; further boxes of an
            image are padding. The object detectors of KerasHub have this output.
        sizes: Height and width of each image, shape `(images, 2)`.
        box_format: The format of the boxes.
        num_classes: The number of classes.
        keep_lost: Whether boxes that are not finite, or whose score is NaN or infinity,
            are kept as boxes outside of everything, see `is_lost`, so that they count
            as wrong. Such a score becomes 1, the most certain mistake. These boxes are
            counted as `NOT_FINITE`, too.

    Returns:
        The boxes of each image, and the number of boxes that were left out, by reason:
        they are not finite, reversed, have no area, a score outside of 0 to 1, or a
        label without a name. The boxes that are `OUTSIDE` are counted, too, but kept.

    Raises:
        ValueError: If keys are missing, or shapes or counts don't fit.
    """
    batch = _Batch(outputs, sizes, "predictions", (), SCORES)
    labels, scores = batch.labels, batch.columns["scores"]
    present = _is_present(labels)
    if "num_detections" in batch.tree:
        limits = np.asarray(to_numpy(batch.tree["num_detections"])).reshape(-1)
        if len(limits) != len(batch.sizes):
            raise ValueError(
                "`num_detections` must have one number for each of the "
                f"{len(batch.sizes)} images. Received: {len(limits)}"
            )
        present &= batch.place < limits[batch.image]
    if keep_lost:
        unknown = np.isnan(scores) | (scores == np.inf)
        batch.columns["scores"] = scores = np.where(
            unknown, scores.dtype.type(1), scores
        )
        batch.boxes = np.where(unknown[:, None], np.nan, batch.boxes)
    wrong = {
        "with a score outside of 0 to 1": ~((scores >= 0) & (scores <= 1)),
        "with a label that has no name": ~_named(labels, num_classes),
    }
    return batch.split(box_format, present, wrong, keep_lost)


def is_lost(boxes: Detections) -> Bools:
    """Whether each box was not finite, and was kept as a wrong one."""
    return np.asarray(boxes.boxes[:, 0] == _FAR)


class _Batch:
    """The boxes of all images of a batch, concatenated."""

    def __init__(
        self,
        tree: Any,
        sizes: ArrayLike,
        what: str,
        optional: Keys,
        scores: Keys = (),
    ) -> None:
        self.tree = _as_dict(tree, what)
        self.sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
        self.boxes, counts = _flatten(
            get_key(self.tree, ("boxes",), what), "boxes", (4,)
        )
        if len(counts) != len(self.sizes):
            raise ValueError(
                f"The {what} must have boxes for each of the {len(self.sizes)} images "
                f"of the batch. Received: boxes for {len(counts)}"
            )
        wanted = [("labels", LABELS)]
        wanted += [(one, CROWD if one == "iscrowd" else (one,)) for one in optional]
        wanted += [("scores", scores)] if scores else []
        self.columns: dict[str, Floats] = {}
        for name, keys in wanted:
            if name in optional and not any(key in self.tree for key in keys):
                continue
            flat, each = _flatten(get_key(self.tree, keys, what), name, ())
            if name in optional:
                flat, each = _filled_up(flat, each, self.columns["labels"], counts)
            _check_counts(counts, each, name, what)
            self.columns[name] = flat
        self.labels = self.columns["labels"]
        self.image: Ints = np.repeat(np.arange(len(counts)), counts)
        starts = np.cumsum(counts) - counts
        self.place: Ints = np.arange(len(self.image)) - starts[self.image]

    def split(
        self,
        box_format: BoxFormat,
        present: Bools,
        wrong: Mapping[str, Bools],
        keep_lost: bool = False,
    ) -> tuple[list[Detections], Counter[str]]:
        """The valid boxes of each image, and the number of the others, by reason."""
        sizes = self.sizes[self.image]
        corners = box_format.to_xyxy(self.boxes, sizes)
        finite = np.asarray(np.isfinite(corners).all(axis=1))
        nowhere = [_FAR, _FAR, _FAR + 1, _FAR + 1]
        corners = np.where(finite[:, None], corners, nowhere)
        extent = corners[:, 2:] - corners[:, :2]
        reasons = {
            NOT_FINITE: ~finite,
            "reversed": (extent < 0).any(axis=1),
            "of no area": (extent == 0).any(axis=1),
            **wrong,
        }
        counts: Counter[str] = Counter()
        kept = present.copy()
        if keep_lost:  # Only those that are not left out for another reason.
            reasons[NOT_FINITE] = reasons.pop(NOT_FINITE)
        for reason, mask in reasons.items():
            counts[reason] = int((kept & mask).sum())
            if reason != NOT_FINITE or not keep_lost:
                kept &= ~mask
        # Half a pixel of tolerance: rounding is no reason to tell the user.
        limits = sizes[:, ::-1] + 0.5
        out = (corners[:, :2] < -0.5) | (corners[:, 2:] > limits)
        counts[OUTSIDE] = int((kept & finite & out.any(axis=1)).sum())

        per_image = np.bincount(self.image[kept], minlength=len(self.sizes))
        ends = np.cumsum(per_image)
        columns = {name: column[kept] for name, column in self.columns.items()}
        flat = Detections(corners[kept], **columns)
        places = zip((ends - per_image).tolist(), ends.tolist(), strict=True)
        return [flat[start:stop] for start, stop in places], +counts


def _is_present(labels: Floats) -> Bools:
    return np.asarray(labels != PADDING)


def _named(labels: Floats, num_classes: int) -> Bools:
    in_range = (labels >= 0) & (labels < num_classes)
    return np.asarray(in_range & (labels == np.floor(labels)))


def _as_dict(tree: Any, what: str) -> Mapping[str, Any]:
    """One dictionary for all images, even if there is one for each image."""
    if isinstance(tree, (list, tuple)) and all(isinstance(t, Mapping) for t in tree):
        keys = set.intersection(*(set(part) for part in tree)) if tree else set()
        joined = {key: [part[key] for part in tree] for key in keys}
        if "boxes" in keys and any("iscrowd" in part for part in tree):
            joined["iscrowd"] = [
                part.get("iscrowd", np.zeros(len(part["boxes"]))) for part in tree
            ]
        return joined
    if not isinstance(tree, Mapping):
        raise ValueError(
            f"The {what} must be a dictionary with the boxes of a batch, such as "
            "{'boxes': ..., 'labels': ...}. Received: " + _describe(tree)
        )
    return tree


def _flatten(value: Any, name: str, row: tuple[int, ...]) -> tuple[Floats, Ints]:
    """The concatenated rows of all images, and the number of rows of each image."""
    if hasattr(value, "row_splits"):
        counts = np.diff(np.asarray(value.row_splits))
        flat = _numbers(value.flat_values, name)
        # Keras makes boxes ragged up to the last axis, though its size is always 4.
        if flat.size != counts.sum() * math.prod(row):
            raise _wrong_shape(name, ("images", "boxes", *row), value.shape)
        return flat.reshape(-1, *row), counts
    if not isinstance(value, (list, tuple)):
        array = to_numpy(value)
        if array.dtype != object or not array.ndim:
            array = _numbers(array, name)
            if array.ndim and not array.size:  # Of images without boxes.
                counts = np.zeros(len(array), np.int64)
                return np.zeros((0, *row), array.dtype), counts
            if array.ndim < 2 or array.shape[2:] != row:
                raise _wrong_shape(name, ("images", "boxes", *row), array.shape)
            counts = np.full(array.shape[0], array.shape[1])
            return array.reshape(-1, *row), counts
    rows = [_numbers(part, name) for part in value]
    for part in rows:
        if part.size and (part.ndim == 0 or part.shape[1:] != row):
            raise _wrong_shape(name, ("boxes", *row), part.shape)
    rows = [
        part.reshape(-1, *row) if part.size else np.zeros((0, *row), part.dtype)
        for part in rows
    ]
    counts = np.array([len(part) for part in rows], np.int64)
    return np.concatenate(rows) if rows else np.zeros((0, *row)), counts


def _numbers(value: Any, name: str) -> Floats:
    try:
        array = to_numpy(value)
        # Scores keep their dtype, in which they are compared with thresholds.
        if name == "scores" and getattr(array, "dtype", None) in _FLOATS:
            return np.asarray(array)
        return np.asarray(array, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be numbers. Received: {_describe(value)} ({error})"
        ) from error


def _wrong_shape(name: str, wanted: Sequence[Any], shape: Any) -> ValueError:
    wanted_text = ", ".join(map(str, wanted)) + ("," if len(wanted) == 1 else "")
    return ValueError(f"`{name}` must be of shape ({wanted_text}). Received: {shape}")


def _filled_up(
    column: Floats, counts: Ints, labels: Floats, num_boxes: Ints
) -> tuple[Floats, Ints]:
    """Fills up a column without padding, where labels have it.

    Preprocessors of Keras pad boxes and labels, and leave other columns ragged.
    """
    present = _is_present(labels)
    image = np.repeat(np.arange(len(num_boxes)), num_boxes)[present]
    if np.array_equal(counts, num_boxes) or not np.array_equal(
        counts, np.bincount(image, minlength=len(num_boxes))
    ):
        return column, counts
    filled = np.zeros(len(labels))
    filled[present] = column
    return filled, num_boxes


def _check_counts(boxes: Ints, others: Ints, name: str, what: str) -> None:
    if len(boxes) != len(others):
        raise ValueError(
            f"The {what} must have boxes and {name} for the same images. Received: "
            f"boxes for {len(boxes)} images, {name} for {len(others)}"
        )
    for i in np.flatnonzero(boxes != others):
        raise ValueError(
            f"The {what} must have as many {name} as boxes. Received: {boxes[i]} boxes "
            f"and {others[i]} {name}, for image {i} of a batch"
        )


def _describe(tree: Any) -> str:
    shape = getattr(tree, "shape", None)
    return (
        f"an array of shape {tuple(shape)}" if shape else f"an object of {type(tree)}"
    )
