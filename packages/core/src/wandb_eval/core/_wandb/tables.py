"""Tables of W&B with many rows: filled, copied and written fast."""

from __future__ import annotations

import copy
import datetime
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import wandb
from wandb.sdk.data_types.utils import _json_helper

from wandb_eval.core._wandb.media import by_reference


def add_rows(table: wandb.Table, rows: Iterable[Sequence[Any]]) -> None:
    """Adds rows to a table as `add_data` would, inferring each kind of row once.

    `wandb.Table.add_data` merges the type of every cell of every row into the types of
    the columns. The types depend on few things (the class of a cell, the layers of an
    image), so cells that agree in those need not be merged twice.
    """
    seen: list[set[Any]] = [{None} for _ in table.columns]
    for row in rows:
        kinds = list(map(_kind, row))
        known = len(kinds) == len(seen) and None not in kinds
        if known and all(map(set.__contains__, seen, kinds)):
            table.data.append(list(row))
            continue
        table.add_data(*row)
        for column, kind in zip(seen, kinds, strict=True):
            column.add(kind)


_PLAIN = (bool, int, float, str, type(None))


def _kind(cell: Any) -> Any:
    """What the type of a cell depends on; None where it may depend on its value."""
    if type(cell) in _PLAIN:
        return type(cell)
    if type(cell) is list and all(type(item) in _PLAIN for item in cell):
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


def reference_table(table: wandb.Table) -> wandb.Table:
    """A table with the same rows whose images hold no pixels in memory."""
    reference = copy.copy(table)
    reference.data = [[by_reference(cell) for cell in row] for row in table.data]
    return reference


def table_json(table: wandb.Table, artifact: wandb.Artifact) -> dict[str, Any]:
    """`table.to_json(artifact)`, faster: cells that are JSON already are not looked at.

    wandb asks of every number and string whether it is a tensor of some framework.
    """
    if len(table.data) > wandb.Table.MAX_ARTIFACT_ROWS or any(
        isinstance(cell, (np.ndarray, datetime.date))
        for row in table.data
        for cell in row
    ):
        # Arrays go into a file of their own, and times become numbers.
        return dict(table.to_json(artifact))
    header = copy.copy(table)
    header.data = []
    content = dict(header.to_json(artifact))
    content["nrows"] = len(table.data)
    content["data"] = [
        [cell if _is_json(cell) else _json_helper(cell, artifact) for cell in row]  # type: ignore[no-untyped-call]
        for row in table.data
    ]
    return content


def _is_json(cell: Any) -> bool:
    if type(cell) is list:
        return all(map(_is_json, cell))
    if type(cell) is float:
        return math.isfinite(cell)  # wandb writes null for NaN.
    return type(cell) in _PLAIN
