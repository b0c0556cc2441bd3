"""Charts of W&B's own kinds, made of numbers that were counted batch by batch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray

from wandb_eval.core._wandb.media import image_from_array
from wandb_eval.core._wandb.tables import add_rows
from wandb_eval.core.opencv import cv2

MANY_CLASSES = 100
"""From so many classes on, a confusion matrix is shown in part, and as an image."""

MAX_CURVES = 20
"""Curves are drawn for at most so many classes."""

_MOST_CONFUSED = 40
_MOST_PIXELS = 2048
_POINTS = 10_000  # What W&B shows of a chart's table.
_POINTS_OF_A_CURVE = 300  # More than the eye tells apart in a chart.


def confusion_matrix(
    matrix: NDArray[Any],
    class_names: Sequence[str],
    key: str = "confusion_matrix",
    title: str = "Confusion matrix",
    normalize: bool = False,
) -> dict[str, Any]:
    """A confusion matrix as W&B's chart, and as an image if there are many classes.

    With `MANY_CLASSES` or more the chart has the rows and columns of the classes that
    are confused most, counted over their row and their column, and `<key>_image` the
    whole matrix, each row divided by its sum.

    Args:
        matrix: Counts of shape `(num_classes, num_classes)`; rows are true classes.
        class_names: The name of each class.
        key: The key of the chart.
        title: The title of the chart.
        normalize: Whether the chart shows shares of each row, not counts.

    Returns:
        What to log, by key.
    """
    matrix = np.asarray(matrix)
    charts: dict[str, Any] = {}
    shown = np.arange(len(matrix))
    if len(matrix) >= MANY_CLASSES:
        wrong = matrix - np.diag(np.diag(matrix))
        order = np.argsort(-(wrong.sum(0) + wrong.sum(1)), kind="stable")
        shown = np.sort(order[:_MOST_CONFUSED])
        charts |= _image_of_all(matrix, key, title)
        title = f"{title} (the {_MOST_CONFUSED} most confused of {len(matrix)} classes)"
    values = (row_shares(matrix) if normalize else matrix)[np.ix_(shown, shown)]
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


def _image_of_all(matrix: NDArray[Any], key: str, title: str) -> dict[str, Any]:
    caption = f"{title}: rows are true classes"
    try:
        return {f"{key}_image": image_from_array(confusion_image(matrix), caption)}
    except OSError as error:  # The numbers are not to be lost for it.
        wandb.termwarn(f"The image of the confusion matrix is left out: {error}")
        return {}


def row_shares(matrix: NDArray[Any]) -> NDArray[np.float64]:
    """Each row divided by its sum; a row of zeros stays one."""
    sums = matrix.sum(axis=1, keepdims=True)
    shares = np.zeros(matrix.shape, np.float64)
    np.divide(matrix, sums, out=shares, where=sums > 0)
    return shares


def confusion_image(matrix: NDArray[Any]) -> NDArray[np.uint8]:
    """A confusion matrix as an RGB image of 512 to 2,048 pixels a side.

    Each row is divided by its sum; brighter is more, on the scale of the square root,
    because confusions are small beside what is right. With more classes than pixels,
    classes that are neighbours share one.
    """
    bins = -(-len(matrix) // _MOST_PIXELS)
    if bins > 1:
        starts = np.arange(0, len(matrix), bins)
        matrix = np.add.reduceat(np.add.reduceat(matrix, starts, 0), starts, 1)
    shares = np.rint(255 * np.sqrt(row_shares(matrix))).astype(np.uint8)
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
    """Curves by class, as W&B's chart for ROC and PR curves.

    Args:
        points: The x and y values of each curve, by class name. Of more than 300,
            or more than W&B shows of all, every so many are left out.
        x_name: The name of the x axis.
        y_name: The name of the y axis.
        title: The title of the chart.
    """
    most = min(_POINTS_OF_A_CURVE, _POINTS // max(len(points), 1))
    rows: list[list[Any]] = []
    for name, (x, y) in points.items():
        kept = np.arange(len(x))
        if len(x) > most:
            kept = np.unique(np.linspace(0, len(x) - 1, most).round().astype(int))
        xs, ys = (np.asarray(values, np.float64)[kept].tolist() for values in (x, y))
        rows += map(list, zip(itertools.repeat(name), xs, ys))
    return wandb.plot_table(
        data_table=table(["class", x_name, y_name], rows),
        vega_spec_name="wandb/area-under-curve/v0",
        fields={"x": x_name, "y": y_name, "class": "class"},
        string_fields={
            "title": title,
            "x-axis-title": x_name.capitalize(),
            "y-axis-title": y_name.capitalize(),
        },
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> wandb.Table:
    """`wandb.Table(columns, rows)`, faster for many rows.

    Args:
        columns: The names of the columns.
        rows: The cells of each row.
    """
    made = wandb.Table(columns=list(columns))
    add_rows(made, rows)
    return made
