"""Masks as the layers that W&B shows over images."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.core.arguments import is_integer
from wandb_eval.segmentation.masks import MAX_CLASSES, NOT_A_NUMBER, Masks

IGNORED = "ignored"
NAN = "NaN"

_LEFT_OUT, _RIGHT, _WRONG = 252, 253, 254
ERROR_LABELS = {_WRONG: "wrong"}
"""The labelled ids of the layer of errors, which differ from those of classes."""
ERRORS_UNLABELLED = {_RIGHT: "right", _LEFT_OUT: "not counted"}
"""The other ids of the layer of errors. W&B leaves ids without a label transparent."""

_BACKGROUND = re.compile(r"(background|_background_|bg|void)( \(\d+\))?", re.IGNORECASE)


def background_ids(
    class_names: Sequence[str], background: int | str | None
) -> frozenset[int]:
    """The ids of the classes that are background.

    Args:
        class_names: The name of each class.
        background: The id or the name of the class. `None` selects each class that is
            called `background`, `_background_`, `bg` or `void`, in any letter case.

    Example:

    >>> sorted(background_ids(["Background", "cat"], None))
    [0]
    >>> sorted(background_ids(["cat", "sky"], "sky"))
    [1]
    """
    return frozenset(
        index
        for index, name in enumerate(class_names)
        if (
            _BACKGROUND.fullmatch(name)
            if background is None
            else background in (index, name)
        )
    )


def check_background(
    background: Any, class_names: Sequence[str] | None
) -> int | str | None:
    """Returns a background as an `int`, a `str` or `None`.

    Args:
        background: The argument of the user.
        class_names: The name of each class, if the names are known.

    Raises:
        ValueError: If it is neither an id nor a name, or not that of a class.
    """
    checked: int | str | None
    if is_integer(background):
        checked = int(background)
    elif background is None or isinstance(background, str):
        checked = background
    else:
        raise ValueError(
            "`background` must be the id or the name of a class, or None. Received: "
            f"{background!r}"
        )
    if checked is None or class_names is None:
        return checked
    if not background_ids(class_names, checked):
        raise ValueError(
            f"`background` must be one of the {len(class_names)} classes, by id or "
            f"name: {', '.join(class_names)!r:.200}. Received: {background!r}"
        )
    return checked


class MaskLayers:
    """The ids of 8 bits that masks are shown with.

    Args:
        class_names: The name of each class.
        ignore_index: The id in masks of pixels that are ignored.
        background: The ids of classes that get no label.

    Attributes:
        names: The name of each id.
        labels: The names of the ids that have a label for W&B.
        labels_with_nan: The same, with the id of pixels whose outputs are NaN.
        all_labels: The same, with those of the layer of errors, if there is one.
        unlabelled: The names of the other ids, whose pixels are transparent.

    Raises:
        ValueError: If there is no id left for ignored pixels.
    """

    def __init__(
        self,
        class_names: list[str],
        ignore_index: int | None,
        background: Collection[int] = (),
    ) -> None:
        self._ignore_index = ignore_index
        self.ignored_id = ignore_index
        self._has_errors = len(class_names) <= _LEFT_OUT
        taken = (_LEFT_OUT, _RIGHT, _WRONG) if self._has_errors else ()
        if ignore_index is not None and (
            not 0 <= ignore_index < MAX_CLASSES or ignore_index in taken
        ):
            if len(class_names) == MAX_CLASSES:
                raise ValueError(
                    f"With `ignore_index={ignore_index}` there is no id left to show "
                    "ignored pixels: W&B's masks have 8 bits, and there are 256 classes"
                    "."
                )
            self.ignored_id = MAX_CLASSES - 1
        self.names = dict(enumerate(class_names))
        self._num_classes = len(class_names)
        if self.ignored_id is not None:
            self.names.setdefault(self.ignored_id, IGNORED)
        # The lowest free id, or 0.
        self.nan_id = min(set(range(MAX_CLASSES)) - set(self.names), default=0)
        self.labels, self.unlabelled = split_labels(self.names, background)
        with_nan = {self.nan_id: NAN} | self.names
        self.labels_with_nan, _ = split_labels(with_nan, background)
        self.all_labels = self.labels_with_nan
        if self._has_errors:
            self.all_labels = self.labels_with_nan | ERROR_LABELS

    def truth(self, mask: Masks) -> NDArray[np.uint8]:
        """The shown mask of the ground truth."""
        shown = mask.astype(np.uint8)
        if self.ignored_id is not None:
            shown[mask == self._ignore_index] = self.ignored_id
        return shown

    def prediction(self, mask: Masks) -> tuple[NDArray[np.uint8], dict[int, str]]:
        """The shown mask of a prediction, and the names of its ids."""
        lost = mask == NOT_A_NUMBER
        if not lost.any():
            return mask.astype(np.uint8), self.labels
        return np.where(lost, self.nan_id, mask).astype(np.uint8), self.labels_with_nan

    def errors(self, truth: Masks, prediction: Masks) -> NDArray[np.uint8] | None:
        """The mask of right and wrong pixels; `None` if there are too many classes.

        Its ids are those of `ERROR_LABELS` and `ERRORS_UNLABELLED`.
        """
        if not self._has_errors:
            return None
        shown: Any = np.where(truth == prediction, _RIGHT, _WRONG)
        counts = (truth >= 0) & (truth < self._num_classes)
        if self._ignore_index is not None:
            counts &= truth != self._ignore_index
        shown[~counts] = _LEFT_OUT
        return np.asarray(shown, np.uint8)


def split_labels(
    names: dict[int, str], background: Collection[int]
) -> tuple[dict[int, str], dict[int, str]]:
    """The names of the ids with a label for W&B, and those of the background."""
    return (
        {index: name for index, name in names.items() if index not in background},
        {index: name for index, name in names.items() if index in background},
    )
