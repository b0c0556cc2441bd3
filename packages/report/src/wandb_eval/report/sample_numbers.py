"""The numbers of samples in tables `scores`, and the rule for right samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.report.cells import NOT_FINITE
from wandb_eval.report.matching import Side
from wandb_eval.report.measures import HIGHER_IS_BETTER, is_higher_better
from wandb_eval.report.paired import Floats
from wandb_eval.report.score_tables import Columns

_SHARES = ("f1", "mean_iou", "mean_dice", "pixel_accuracy", "ssim")  # Of 0 to 1.
_OF_CLASSES = ("mean_iou", "mean_dice")
_COUNTS = ("true_positives", "false_positives", "false_negatives")
# Columns on the earlier training, the samples, or the predictions.
_NO_NUMBERS = {"idx", "epoch", "batch", "content", "learned_in", "forgotten", "label"}
_NO_NUMBERS |= {"score", "mean_confidence", "confidence_spread"}
_NO_NUMBERS |= {"mean_scaled_error", "scaled_error_spread"}
_NO_NUMBERS_BEGIN = ("pred", "num_")


def as_number(cell: Any) -> float:
    """Returns a cell as a number; NaN if it is not a number."""
    return float(cell) if isinstance(cell, (bool, int, float)) else math.nan


def names_of_numbers(tables: Sequence[Columns]) -> list[str]:
    """Returns the columns with numbers in all tables, the deciding one first.

    Columns that are equal in all tables, such as properties of the samples, are
    skipped; but equal numbers of the tasks are kept, because they mean that nothing has
    changed.
    """
    first = tables[0]
    shared = [
        name
        for name in first
        # A regression has each target, by the name that the user gives it.
        if f"predicted {name}" not in first and all(name in table for table in tables)
    ]
    if "f1" not in shared and all(name in shared for name in _COUNTS):
        shared.append("f1")
    known = [name for name in HIGHER_IS_BETTER if name in shared]
    others = [
        name
        for name in shared
        if name not in HIGHER_IS_BETTER
        and name not in _NO_NUMBERS
        and not name.startswith(_NO_NUMBERS_BEGIN)
    ]
    changed = [
        name for name in others if any(table[name] != first[name] for table in tables)
    ]
    return [
        name
        for name in (known + changed or others)
        if name not in first or all(_is_numeric(table[name]) for table in tables)
    ]


def _is_numeric(cells: list[Any]) -> bool:
    """Whether there are cells that are not empty, and all of them are numbers."""
    words = (None, *NOT_FINITE)
    return any(isinstance(cell, (bool, int, float)) for cell in cells) and all(
        isinstance(cell, (bool, int, float)) or cell in words for cell in cells
    )


def numbers_of(a: Side, b: Side, name: str) -> tuple[Floats, Floats]:
    """Returns a number in A and in B, of shape `(runs, samples)`.

    It is NaN if a sample has no number. For signed errors it is the absolute value.
    """
    in_a, in_b = (
        np.array([_numbers(columns, name) for columns in side.columns])
        for side in (a, b)
    )
    if name in _OF_CLASSES:
        has_none = [_of_cells(side, lambda classes: classes == []) for side in (a, b)]
        _fill_absent((in_a, has_none[0]), (in_b, has_none[1]))
    return in_a, in_b


def _fill_absent(*sides: tuple[Floats, NDArray[np.bool_]]) -> None:
    """Counts absent classes as right in samples where another run has predicted them.

    A class that is neither in the truth nor in the prediction has no IoU. If another
    run predicts it there, with an IoU of 0, the sample must not be left out.

    Args:
        sides: The values of each side, of shape `(runs, samples)`, which are changed in
            place; and whether the classes of a sample are known and absent.
    """
    is_known = np.isfinite(np.concatenate([values for values, _ in sides])).any(axis=0)
    for values, is_absent in sides:
        values[np.isnan(values) & is_absent & is_known] = 1.0


def _of_cells(side: Side, test: Callable[[Any], bool]) -> NDArray[np.bool_]:
    """Tests the classes of each sample in each run, of shape `(runs, samples)`."""
    return np.array([list(map(test, _classes(run))) for run in side.columns])


def _classes(columns: Columns) -> list[Any]:
    """Returns the cells with the classes of each sample; `None` if there are none."""
    return columns.get("classes", [None] * len(columns["idx"]))


def _numbers(columns: Columns, name: str) -> Floats:
    if name not in columns:  # F1, from the counts of a detector.
        right, wrong, missed = (_numbers(columns, count) for count in _COUNTS)
        total = 2 * right + wrong + missed
        return np.where(total == 0, 1.0, 2 * right / np.maximum(total, 1))
    values = np.array([as_number(cell) for cell in columns[name]], np.float64)
    values[np.isinf(values)] = np.nan
    # Of several targets, a regression has a column `error <target>` each.
    is_error = name.endswith("error") or name.startswith("error ")
    return np.abs(values) if is_error else values


def rule_of(
    numbers: Mapping[str, tuple[Floats, Floats]], threshold: float | None
) -> tuple[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Returns the rule for right samples in words, and whether samples are right.

    Most of several runs must have a sample right. Of the side with more runs, the first
    ones vote, as many as the other side has: more votes are more often right. If the
    two errors of a sample are swapped, the median of the errors of both sides does not
    change, so McNemar's test holds.

    Args:
        numbers: The numbers of A and of B; the first one decides.
        threshold: The value from which a sample is right.

    Returns:
        The words are empty, and no sample is right, if it is not known whether more of
        the number is better.
    """
    name, (a, b) = next(iter(numbers.items()))
    higher = is_higher_better(name)
    if higher is None:
        none = np.zeros(a.shape[1], bool)
        return "", (none, none)
    if name == "correct":
        words, threshold = name, 0.5
    else:
        if threshold is None:
            both = np.concatenate([a, b])
            threshold = 0.5 if name in _SHARES else float(np.nanmedian(both))
        words = f"{name} of at {'least' if higher else 'most'} {threshold:.4g}"
    sides, votes = [], min(len(a), len(b))
    for side in (a, b):
        with np.errstate(invalid="ignore"):
            right = side >= threshold if higher else side <= threshold
        sides.append(right[:votes].mean(0) > 0.5)
    kept = np.isfinite(a).all(0) & np.isfinite(b).all(0)
    # A sample without a number on a side is neither fixed nor broken.
    return words, (sides[0] & kept, sides[1] & kept)


def classes_of(side: Side) -> dict[str, NDArray[np.int64]]:
    """Returns the places of the samples of each class, by one or several `label`s."""
    places: dict[str, list[int]] = {}
    for place, cell in enumerate(side.columns[0].get("label", [])):
        for label in cell if isinstance(cell, list) else [cell]:
            if isinstance(label, (str, int)):
                places.setdefault(str(label), []).append(place)
    if len(places) > len(side.index) / 2:
        return {}  # The labels are not classes.
    return {name: np.array(places[name]) for name in sorted(places)}


def class_values(a: Side, b: Side) -> dict[str, tuple[Floats, Floats]]:
    """Returns the IoU of each class in A and in B, of shape `(runs, samples)`."""
    sides = [[_by_class(columns) for columns in side.columns] for side in (a, b)]
    names = sorted({name for side in sides for run in side for name in run})
    nothing = np.full(len(a.index), np.nan)
    are_known = [_of_cells(side, lambda it: isinstance(it, list)) for side in (a, b)]
    found = {}
    for name in names:
        in_a, in_b = (
            np.array([run.get(name, nothing) for run in side]) for side in sides
        )
        _fill_absent((in_a, are_known[0]), (in_b, are_known[1]))
        found[name] = in_a, in_b
    return found


def _by_class(columns: Columns) -> dict[str, Floats]:
    """Reads a number for each class, from lists of classes and of their IoU."""
    count = len(columns["idx"])
    found: dict[str, Floats] = {}
    rows = zip(_classes(columns), columns.get("class_iou", []), strict=False)
    for place, (names, values) in enumerate(rows):
        if isinstance(names, list) and isinstance(values, list):
            for name, value in zip(names, values, strict=False):
                column = found.setdefault(str(name), np.full(count, np.nan))
                column[place] = as_number(value)
    return found
