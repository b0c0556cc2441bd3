"""The boxes of one image, in pixels."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

PADDING = -1
"""The label of padding."""

Keys = tuple[str, ...]

LABELS: Keys = ("labels", "classes")
SCORES: Keys = ("confidence", "scores")
CROWD: Keys = ("iscrowd", "is_crowd")
OPTIONAL: Keys = ("iscrowd", "area")


@dataclass(frozen=True, eq=False, init=False)
class Detections:
    """The boxes of one image: true boxes, or predicted boxes, which have scores.

    Args:
        boxes: `[left, top, right, bottom]` of n boxes in pixels, shape `(n, 4)`. The
            right and the bottom edge are exclusive: a box over a whole image of 64x48
            is `[0, 0, 64, 48]`.
        labels: Class ids, shape `(n,)`.
        scores: Scores from 0 to 1, shape `(n,)`; `None` for true boxes.
        iscrowd: Whether each box marks a crowd of objects, as in COCO, shape `(n,)`.
            `None` if no box does.
        area: The area by which objects are small or large, in square pixels, shape
            `(n,)`. In COCO it is that of the object's mask. `None` for the area of the
            boxes.

    Attributes:
        boxes: The boxes, float64.
        labels: The labels, int64.
        scores: The scores, in their own float dtype, else float64; or `None`.
        iscrowd: Whether each box marks a crowd, bool.
        area: The areas, float64.

    Raises:
        ValueError: If the lengths differ.

    Example:

    >>> found = Detections([[8, 8, 24, 16]], labels=[3], scores=[0.9])
    >>> len(found), found.area
    (1, array([128.]))
    """

    boxes: Floats
    labels: Ints
    scores: Floats | None
    iscrowd: Bools
    area: Floats

    def __init__(
        self,
        boxes: ArrayLike,
        labels: ArrayLike,
        scores: ArrayLike | None = None,
        iscrowd: ArrayLike | None = None,
        area: ArrayLike | None = None,
    ) -> None:
        corners = np.asarray(boxes, np.float64).reshape(-1, 4)
        if area is None:
            area = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
        if iscrowd is None:
            iscrowd = np.zeros(len(corners), np.bool_)
        parts = {
            "boxes": corners,
            "labels": np.asarray(labels, np.int64),
            "scores": None if scores is None else _as_scores(scores),
            "iscrowd": np.asarray(iscrowd, np.bool_),
            "area": np.asarray(area, np.float64),
        }
        for name, part in parts.items():
            if part is not None and len(part) != len(corners):
                raise ValueError(
                    f"Each of the {len(corners)} boxes must have one of `{name}`. "
                    f"Received: {len(part)}"
                )
            object.__setattr__(self, name, part)

    @classmethod
    def _of(cls, **parts: Any) -> Detections:
        """Makes boxes of arrays that were checked before."""
        made = object.__new__(cls)
        vars(made).update(parts)
        return made

    def __len__(self) -> int:
        """The number of boxes."""
        return len(self.boxes)

    def __getitem__(self, index: NDArray[Any] | slice) -> Detections:
        """The boxes of a slice, of a mask, or of an array of indices."""
        return self._of(
            boxes=self.boxes[index],
            labels=self.labels[index],
            scores=None if self.scores is None else self.scores[index],
            iscrowd=self.iscrowd[index],
            area=self.area[index],
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Detections:
        """A copy of all arrays, faster than that of `copy.deepcopy`."""
        copies = {name: copy.copy(part) for name, part in vars(self).items()}
        return self._of(**copies)

    def known_scores(self) -> Floats:
        """The scores.

        Raises:
            ValueError: If there are none.
        """
        if self.scores is None:
            raise ValueError("Predicted boxes must have `scores`. Received: none")
        return self.scores

    @classmethod
    def from_dict(cls, boxes: Mapping[str, Any]) -> Detections:
        """Reads the boxes of one image from a dictionary, without padding.

        Args:
            boxes: `boxes` as `xyxy` in pixels, `labels` or `classes`, and optionally
                `confidence` or `scores`, `iscrowd`, `area`. Boxes with the label -1 are
                left out.

        Raises:
            ValueError: If a key is missing, or lengths differ.
        """
        what = "boxes of an image"
        read = cls(
            get_key(boxes, ("boxes",), what),
            get_key(boxes, LABELS, what),
            next((boxes[key] for key in SCORES if key in boxes), None),
            *(boxes.get(key) for key in OPTIONAL),
        )
        return read[np.asarray(read.labels != PADDING)]


def join(images: Sequence[Detections]) -> Detections:
    """The concatenated boxes of all images; with scores, if all images have them."""
    images = [*images] or [Detections(np.zeros((0, 4)), [], [])]
    scored = all(image.scores is not None for image in images)
    return Detections._of(
        boxes=np.concatenate([image.boxes for image in images]),
        labels=np.concatenate([image.labels for image in images]),
        scores=np.concatenate([i.known_scores() for i in images]) if scored else None,
        iscrowd=np.concatenate([image.iscrowd for image in images]),
        area=np.concatenate([image.area for image in images]),
    )


def _as_scores(scores: ArrayLike) -> Floats:
    array = np.asarray(scores)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def get_key(tree: Mapping[str, Any], keys: Keys, what: str) -> Any:
    """The value under one of several keys with the same meaning.

    Raises:
        ValueError: If there is none of the keys.
    """
    for key in keys:
        if key in tree:
            return tree[key]
    wanted = " or ".join(f"`{key}`" for key in keys)
    raise ValueError(f"The {what} must have {wanted}. Received: the keys {list(tree)}")
