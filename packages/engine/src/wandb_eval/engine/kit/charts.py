"""W&B's charts, made from counts over all batches."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray

from wandb_eval.core import add_rows, image_from_array
from wandb_eval.engine.kit.opencv import cv2

MANY_CLASSES = 100
"""The number of classes from which a confusion matrix is an image, too. Its chart has
a part of the classes then."""

MAX_CURVES = 20
"""The largest number of classes that curves are drawn for."""

_MOST_CONFUSED = 40
_MOST_PIXELS = 2048
_POINTS = 10_000  # W&B shows no more rows of a chart's table.
_POINTS_OF_A_CURVE = 300  # The eye can't tell more apart in a chart.


@dataclass(frozen=True, eq=False)
class PairCounts:
    """A confusion matrix, stored as the pairs of classes that occur.

    Its size depends on the samples, not on the square of the number of classes.

    Args:
        actual: The true class of each pair, of shape `(pairs,)`.
        predicted: The predicted class of each pair, of shape `(pairs,)`.
        counts: The count of each pair, of shape `(pairs,)`. Each pair occurs once.
        num_classes: The number of classes.

    Example:

    >>> pairs = PairCounts.of(np.array([0, 2, 2]), np.array([0, 1, 1]), num_classes=3)
    >>> pairs.counts
    array([1, 2])
    >>> pairs.dense()
    array([[1, 0, 0],
           [0, 0, 0],
           [0, 2, 0]])
    """

    actual: NDArray[np.int64]
    predicted: NDArray[np.int64]
    counts: NDArray[Any]
    num_classes: int

    @classmethod
    def of(
        cls,
        actual: NDArray[Any],
        predicted: NDArray[Any],
        num_classes: int,
        counts: NDArray[Any] | None = None,
    ) -> PairCounts:
        """Counts pairs, each of which may occur several times.

        Args:
            actual: True classes, of shape `(n,)`.
            predicted: Predicted classes, of shape `(n,)`.
            num_classes: The number of classes.
            counts: The weight of each pair, of shape `(n,)`. `None` for 1.
        """
        codes = actual.astype(np.int64) * num_classes + predicted
        codes, places = np.unique(codes, return_inverse=True)
        if counts is None:
            counts = np.ones(len(places), np.int64)
        sums = np.zeros(len(codes), counts.dtype)
        np.add.at(sums, places, counts)
        return cls(codes // num_classes, codes % num_classes, sums, num_classes)

    @classmethod
    def of_matrix(cls, matrix: NDArray[Any]) -> PairCounts:
        """Returns the pairs of a matrix of shape `(num_classes, num_classes)`."""
        actual, predicted = np.nonzero(matrix)
        return cls(actual, predicted, matrix[actual, predicted], len(matrix))

    def row_sums(self) -> NDArray[Any]:
        """Returns the samples of each true class, of shape `(num_classes,)`."""
        return self._sums(self.actual, self.counts)

    def shares(self) -> NDArray[np.float64]:
        """Returns the share of each pair in the samples of its true class."""
        return np.asarray(self.counts / self.row_sums()[self.actual])

    def confused(self) -> PairCounts:
        """Returns the pairs whose classes differ."""
        kept = self.actual != self.predicted
        sides = self.actual[kept], self.predicted[kept], self.counts[kept]
        return PairCounts(*sides, self.num_classes)

    def mistakes(self) -> NDArray[Any]:
        """Counts the confusions of each class, as true and as predicted class."""
        wrong = self.confused()
        rows, columns = wrong.actual, wrong.predicted
        of_both = self._sums(rows, wrong.counts) + self._sums(columns, wrong.counts)
        return np.asarray(of_both)

    def dense(self, bins: int = 1) -> NDArray[Any]:
        """Returns the matrix, with `bins` neighboring classes in each row."""
        side = -(-self.num_classes // bins)
        matrix = np.zeros((side, side), self.counts.dtype)
        np.add.at(matrix, (self.actual // bins, self.predicted // bins), self.counts)
        return matrix

    def part(self, classes: NDArray[np.int64]) -> NDArray[Any]:
        """Returns the rows and columns of some classes, `(classes, classes)`."""
        place = np.full(self.num_classes, -1)
        place[classes] = np.arange(len(classes))
        row, column = place[self.actual], place[self.predicted]
        kept = (row >= 0) & (column >= 0)
        matrix = np.zeros((len(classes), len(classes)), self.counts.dtype)
        matrix[row[kept], column[kept]] = self.counts[kept]
        return matrix

    def _sums(self, classes: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
        sums = np.zeros(self.num_classes, counts.dtype)
        np.add.at(sums, classes, counts)
        return sums


def confusion_matrix(
    matrix: NDArray[Any] | PairCounts,
    class_names: Sequence[str],
    key: str = "confusion_matrix",
    title: str = "Confusion matrix",
    normalize: bool = False,
) -> dict[str, Any]:
    """Makes W&B's chart of a confusion matrix, and an image if it has many classes.

    With `MANY_CLASSES` or more, the chart has the rows and columns of the classes with
    the most confusions, counted over their row and their column. `<key>_image` shows
    the whole matrix, with each row divided by its sum.

    Args:
        matrix: Counts of shape `(num_classes, num_classes)`, whose rows are true
            classes, or `PairCounts`.
        class_names: The name of each class.
        key: The key of the chart.
        title: The title of the chart.
        normalize: Whether the chart shows shares of each row instead of counts.

    Returns:
        The charts and images to log, by key.
    """
    pairs = _as_pairs(matrix)
    count = pairs.num_classes
    charts: dict[str, Any] = {}
    shown = np.arange(count)
    if count >= MANY_CLASSES:
        order = np.argsort(-pairs.mistakes(), kind="stable")
        shown = np.sort(order[:_MOST_CONFUSED])
        charts |= _image_of_all(pairs, key, title)
        title = f"{title} (the {_MOST_CONFUSED} most confused of {count} classes)"
    if normalize:
        pairs = replace(pairs, counts=pairs.shares())
    values = pairs.part(shown)
    names = [class_names[int(index)] for index in shown]
    charts[key] = wandb.plot_table(
        data_table=table(
            ["Actual", "Predicted", "nPredictions"],
            [
                [actual, predicted, float(value)]
                for actual, row in zip(names, values, strict=True)
                for predicted, value in zip(names, row, strict=True)
            ],
        ),
        vega_spec_name="wandb/confusion_matrix/v1",
        fields={name: name for name in ("Actual", "Predicted", "nPredictions")},
        string_fields={"title": title},
    )
    return charts


def _as_pairs(matrix: NDArray[Any] | PairCounts) -> PairCounts:
    if isinstance(matrix, PairCounts):
        return matrix
    return PairCounts.of_matrix(np.asarray(matrix))


def _image_of_all(pairs: PairCounts, key: str, title: str) -> dict[str, Any]:
    caption = f"{title}: rows are true classes"
    try:
        return {f"{key}_image": image_from_array(confusion_image(pairs), caption)}
    except OSError as error:  # It must not cost the numbers.
        wandb.termwarn(f"The image of the confusion matrix is left out: {error}")
        return {}


def row_shares(matrix: NDArray[Any]) -> NDArray[np.float64]:
    """Divides each row by its sum. A row of zeros stays as it is."""
    sums = matrix.sum(axis=1, keepdims=True)
    shares = np.zeros(matrix.shape, np.float64)
    np.divide(matrix, sums, out=shares, where=sums > 0)
    return shares


def confusion_image(matrix: NDArray[Any] | PairCounts) -> NDArray[np.uint8]:
    """Draws a confusion matrix as an RGB image of 512 to 2,048 pixels a side.

    Each row is divided by its sum. Larger values are brighter, on a square-root scale,
    because confusions are rare compared to correct predictions. If there are more
    classes than pixels, neighboring classes share a pixel.
    """
    pairs = _as_pairs(matrix)
    shares = row_shares(pairs.dense(bins=-(-pairs.num_classes // _MOST_PIXELS)))
    shares = np.rint(255 * np.sqrt(shares)).astype(np.uint8)
    scale = -(-512 // len(shares))
    large = np.kron(shares, np.ones((scale, scale), np.uint8))
    colored = cv2.applyColorMap(large, cv2.COLORMAP_VIRIDIS)
    return np.asarray(cv2.cvtColor(colored, cv2.COLOR_BGR2RGB), np.uint8)


def curves(
    points: Mapping[str, tuple[NDArray[Any], NDArray[Any]]],
    x_name: str,
    y_name: str,
    title: str,
) -> Any:
    """Makes W&B's chart of ROC or precision-recall curves, one for each class.

    Args:
        points: The x and y values of each curve, by class name. A curve of more than
            300 points, or of more than W&B can show, is thinned out: points at even
            distances along the curve, and the highest one, are kept.
        x_name: The name of the x axis.
        y_name: The name of the y axis.
        title: The title of the chart.
    """
    x_name, y_name = map(_as_field, (x_name, y_name))
    most = min(_POINTS_OF_A_CURVE, _POINTS // max(len(points), 1))
    rows: list[list[Any]] = []
    for name, (x, y) in points.items():
        kept = np.arange(len(x))
        if len(x) > most:
            kept = _along(x, y, most)
        xs, ys = (np.asarray(values, np.float64)[kept].tolist() for values in (x, y))
        rows += map(list, zip(itertools.repeat(name), xs, ys))
    return wandb.plot_table(
        data_table=table(["class", x_name, y_name], rows),
        vega_spec_name="wandb/area-under-curve/v0",
        fields={"x": x_name, "y": y_name, "class": "class"},
        string_fields={
            "title": title,
            "x-axis-title": _as_title(x_name),
            "y-axis-title": _as_title(y_name),
        },
    )


def _along(x: NDArray[Any], y: NDArray[Any], most: int) -> NDArray[np.int64]:
    """Returns the places of points at even distances along a curve, and of its top."""
    distance = np.zeros(len(x))
    for values in (np.nan_to_num(x, posinf=0, neginf=0), np.nan_to_num(y)):
        steps = np.abs(np.diff(values))
        distance[1:] += np.cumsum(steps) / max(float(np.ptp(values)), 1e-12)
    even = np.linspace(0, distance[-1], max(most - 2, 1))
    ends = [int(np.argmax(y)), len(x) - 1]
    return np.unique(np.append(np.searchsorted(distance, even), ends))


def _as_field(name: str) -> str:
    """Replaces brackets, which are no part of a name in a field of Vega."""
    return name.replace("[", "(").replace("]", ")")


def _as_title(name: str) -> str:
    return name[:1].upper() + name[1:]  # The rest may be a unit, such as "kW".


def scatter(
    x: NDArray[Any], y: NDArray[Any], x_name: str, y_name: str, title: str
) -> Any:
    """Makes W&B's chart of points.

    Args:
        x: The x values, of shape `(points,)`.
        y: The y values, of shape `(points,)`.
        x_name: The name of the x axis.
        y_name: The name of the y axis.
        title: The title of the chart.
    """
    x_name, y_name = map(_as_field, (x_name, y_name))
    pairs = np.stack([x, y], axis=1).astype(np.float64)
    return wandb.plot_table(
        data_table=table([x_name, y_name], pairs.tolist()),
        vega_spec_name="wandb/scatter/v0",
        fields={"x": x_name, "y": y_name},
        string_fields={"title": title},
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> wandb.Table:
    """Makes a `wandb.Table`, faster than its constructor for many rows.

    Args:
        columns: The names of the columns.
        rows: The cells of each row.
    """
    made = wandb.Table(columns=list(columns))
    add_rows(made, rows)
    return made
