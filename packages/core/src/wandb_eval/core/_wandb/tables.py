"""Fills, copies and writes tables of W&B with many rows."""

from __future__ import annotations

import copy
import datetime
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import wandb
from wandb.sdk.data_types.utils import _json_helper

from wandb_eval.core._wandb.media import by_reference


def add_rows(table: wandb.Table, rows: Iterable[Sequence[Any]]) -> None:
    """Adds rows to a table, faster than `add_data` for each row.

    `wandb.Table.add_data` merges the type of every cell into the type of its column.
    The types depend on few properties (the class of a cell, the layers of an image), so
    cells with equal properties are merged once.

    Args:
        table: The table.
        rows: The cells of each row. The table keeps lists without copying them.
    """
    lists = [row if type(row) is list else list(row) for row in rows]
    start = 0
    for i in _rows_with_new_kinds(lists, len(table.columns)):
        table.data.extend(lists[start:i])
        table.add_data(*lists[i])
        start = i + 1
    table.data.extend(lists[start:])


def infer_types(table: wandb.Table) -> None:
    """Gives columns of a table with `allow_mixed_types` the types of their cells.

    W&B's page shows the layers of images only where it knows the type of a column. A
    column whose cells are of several kinds stays as it is.
    """
    types = table._column_types.params["type_map"]
    for place, name in enumerate(table.columns):
        column = wandb.Table(columns=[name])
        try:
            add_rows(column, [[row[place]] for row in table.data])
        except TypeError:
            continue
        types[name] = column._column_types.params["type_map"][name]


def _rows_with_new_kinds(rows: list[list[Any]], width: int) -> Sequence[int]:
    """Returns the places of rows with a cell of a new kind."""
    if not rows or set(map(len, rows)) != {width}:
        return range(len(rows))
    new: set[int] = {0}
    # `zip(*rows)` would burden the garbage collector with an iterator for each row.
    cells = list(itertools.chain.from_iterable(rows))
    for start in range(width):
        column = cells[start::width]
        classes = set(map(type, column))
        if float in classes:  # The type of NaN is that of None.
            known = (type(c) is float and not math.isnan(c) for c in column)
            new.add(next((i for i, is_known in enumerate(known) if is_known), 0))
        if len(classes) == 1 and classes <= _PLAIN:
            continue
        kinds = list(map(type if classes <= _PLAIN else _kind, column))
        new.update(i for i, kind in enumerate(kinds) if kind is None)
        new.update(map(kinds.index, set(kinds)))
    return sorted(new)


_PLAIN = frozenset((bool, int, float, str, type(None)))


def _kind(cell: Any) -> Any:
    """Returns the properties that determine the type of a cell; `None` if unknown."""
    if type(cell) in _PLAIN:
        return type(cell)
    if type(cell) is list and _PLAIN.issuperset(map(type, cell)):
        return list, tuple(map(type, cell))
    if type(cell) is wandb.Image:
        boxes = tuple(
            (
                key,
                tuple(layer._class_labels),
                frozenset(name for box in layer._val for name in box.get("scores", ())),
            )
            for key, layer in (cell._boxes or {}).items()
        )
        masks = tuple(
            (key, tuple(layer._val["class_labels"]))
            for key, layer in (cell._masks or {}).items()
            if hasattr(layer, "_val")
        )
        return wandb.Image, boxes, masks, id(cell._classes)
    return None


def reference_table(table: wandb.Table, copies: Mapping[str, str]) -> wandb.Table:
    """Returns a table with the same rows; images refer to `copies`, without pixels."""
    reference = copy.copy(table)
    reference.data = [[by_reference(c, copies) for c in row] for row in table.data]
    return reference


def table_json(table: wandb.Table, artifact: wandb.Artifact) -> dict[str, Any]:
    """Returns `table.to_json(artifact)`, faster for cells that are JSON already.

    wandb checks for every number and string whether it is a tensor of a framework.
    """
    rows, width = table.data, len(table.columns)
    cells = list(itertools.chain.from_iterable(rows))
    others = [i for i in range(width) if not is_plain(cells[i::width])]
    is_regular = len(cells) == len(rows) * width and table.log_mode != "INCREMENTAL"
    if not is_regular or any(
        isinstance(cell, (np.ndarray, datetime.date))
        for i in others
        for cell in cells[i::width]
    ):
        # Arrays go into files, times become numbers, and increments are counted.
        return dict(table.to_json(artifact))
    header = copy.copy(table)
    header.data = []
    if others:
        rows = list(map(list, rows))
    for i, row in itertools.product(others, rows):
        if not _is_json(row[i]):
            row[i] = _json_helper(row[i], artifact)  # type: ignore[no-untyped-call]
    return {**header.to_json(artifact), "nrows": len(rows), "data": rows}


def is_plain(cells: Sequence[Any]) -> bool:
    """Whether all cells are plain values of JSON, such as numbers and strings."""
    kinds = set(map(type, cells))
    if kinds == {float}:
        # A sum is quick, and finite only if all numbers are.
        return math.isfinite(sum(cells)) or all(map(math.isfinite, cells))
    numbers = [cell for cell in cells if type(cell) is float] if float in kinds else []
    return kinds <= _PLAIN and (not numbers or is_plain(numbers))


def _is_json(cell: Any) -> bool:
    if type(cell) is list:
        return is_plain(cell) or all(map(_is_json, cell))
    return is_plain([cell])  # wandb writes null for NaN.
