"""The tables that a run has logged, and their times."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wandb_eval.report.cells import DEEPEST, as_text, flat, is_near
from wandb_eval.report.custom_charts import table_of
from wandb_eval.report.left_out import ODD, LeftOut, describe
from wandb_eval.report.recorded import TABLE, RecordedArtifact, RecordedRun

_ORDER = ["eval_data", "predictions", "hardest", "broken", "scores", "confused"]
_ORDER += ["objects", "suspect_labels", "per_class"]
_BATCHES = 1_000_000  # An epoch has fewer.


@dataclass(frozen=True)
class LoggedTable:
    """A table in one version of an artifact."""

    key: str
    artifact: RecordedArtifact
    content: dict[str, Any]
    time: float | None
    label: str


def versions_of(run: RecordedRun) -> Iterator[LoggedTable]:
    """Yields all tables, in the order in which they were logged."""
    tables: dict[str, set[str]] = {}
    for artifact in run.artifacts:
        for path in artifact.files:
            if path.endswith(TABLE):
                tables.setdefault(path, set()).add(artifact.name)
    of_run = rf"run[-_]{re.escape(run.id)}[-_]"
    ours = re.compile(rf"run_{re.escape(run.id)}_(.+_)?pred")
    predicted = {a.name for a in run.artifacts if ours.fullmatch(a.name)}
    rows = _rows_by_artifact(run)
    rows_of = functools.cache(functools.partial(_rows_in_order, run))
    logged = Counter(path for artifact in run.artifacts for path in artifact.files)
    counts = Counter[str]()
    for artifact in run.artifacts:
        for path, file in artifact.files.items():
            if not path.endswith(TABLE):
                continue
            counts[path] += 1
            try:
                content = read_table(file.read(), path, run.left_out)
                _only_epoch(content)
            except ODD as error:
                run.left_out.add(f"{path} of {artifact.name}", describe(error))
                continue
            key = path.removesuffix(TABLE)
            # A table of one of several evaluations, which the others may not have.
            is_part = len(predicted) > 1 and artifact.name in predicted
            if len(tables[path]) > 1 or is_part:
                key = f"{key} ({re.sub(f'^{of_run}', '', artifact.name)})"
            found = [rows[i] for i in artifact.ids if i in rows]
            groups = [] if found else rows_of(key)
            if len(groups) == logged[path]:
                found = groups[counts[path] - 1]
            for row in found or [{}]:
                when = _when(run, artifact, content, row, key)
                yield LoggedTable(key, artifact, content, *when)
                for other in _other_keys(run, row, key):
                    yield LoggedTable(other, artifact, dict(content), *when)


def _other_keys(run: RecordedRun, row: Mapping[str, Any], key: str) -> Iterator[str]:
    """Yields the keys of charts that draw a table with a separate key."""
    own = row.get(key)
    path = own.get("path") if isinstance(own, dict) else None
    for chart, panel in run.charts.items() if isinstance(path, str) else ():
        other = table_of(chart, panel)
        cell = row.get(other)
        if other != key and isinstance(cell, dict) and cell.get("path") == path:
            yield other


def read_table(raw: bytes, name: str, left_out: LeftOut) -> dict[str, Any]:
    """Reads a table of W&B, in which each row has a cell for each column.

    Args:
        raw: The JSON of the table.
        name: The path of the table in the artifact.
        left_out: Collects the rows that are left out.

    Returns:
        The table's `columns` (unique names), `data` (rows), and unchanged
        `column_types`.

    Raises:
        ValueError: If it is not a table, or has no columns.
    """
    content = json.loads(raw)
    if not isinstance(content, dict):
        raise ValueError("it is not a table")
    columns, data = content.get("columns"), content.get("data")
    if not isinstance(columns, list) or not columns:
        raise ValueError("it has no columns")
    if not isinstance(data, list):
        raise ValueError("it has no rows")
    rows = [row for row in data if isinstance(row, list)]
    for _ in range(len(data) - len(rows)):
        left_out.add(f"a row of {name}", "it is no list of cells")
    width = len(columns)
    for place, row in enumerate(rows):
        if len(row) < width:
            left_out.add(f"the last cells of a row of {name}", "the row is too short")
            rows[place] = [*row, *[None] * (width - len(row))]
        elif len(row) > width:
            left_out.add(f"the last cells of a row of {name}", "they have no column")
            rows[place] = row[:width]
    return {
        "columns": _each_once([as_text(column) for column in columns]),
        "data": rows,
        "column_types": content.get("column_types"),
    }


def _each_once(names: list[str]) -> list[str]:
    """Makes names unique by adding a number to repeated ones."""
    counts = Counter[str]()
    unique: dict[str, None] = {}
    for name in names:
        counts[name] += 1
        other = name
        while other in unique:
            counts[name] += other != name
            other = f"{name} ({counts[name]})"
        unique[other] = None
    return list(unique)


def _rows_by_artifact(run: RecordedRun) -> dict[str, dict[str, Any]]:
    """Returns the row of the history for each artifact with a table."""
    found: dict[str, dict[str, Any]] = {}
    for row in run.history:
        for path in _paths(row):
            match = re.match(r"wandb(?:-client)?-artifact://([^/]+)/", path)
            if match:
                found.setdefault(match[1], row)
    return found


def _rows_in_order(run: RecordedRun, key: str) -> list[list[dict[str, Any]]]:
    """Returns the rows of each version of a table: those with one content.

    In W&B, a row refers to an artifact by an id that only the client had. Equal
    contents are one version.
    """
    groups: dict[Any, list[dict[str, Any]]] = {}
    for row in run.history:
        cell = row.get(key)
        if isinstance(cell, dict):
            groups.setdefault(as_text(cell.get("sha256")), []).append(row)
    return list(groups.values())


def _paths(row: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """Yields the paths of the tables in a row of the history."""
    for value in row.values():
        if isinstance(value, dict) and depth < DEEPEST:
            yield from _paths(value, depth + 1)
            if isinstance(value.get("artifact_path"), str):
                yield value["artifact_path"]


def _when(
    run: RecordedRun,
    artifact: RecordedArtifact,
    content: Mapping[str, Any],
    row: Mapping[str, Any],
    key: str,
) -> tuple[float | None, str]:
    """Returns the time of a table, in epochs and in words; `None` if it is unknown."""
    batch: Any = artifact.metadata.get("batch")
    axis = axis_of(run, key)
    names = [re.fullmatch(r"epoch_([0-9]{1,12})", alias) for alias in artifact.aliases]
    known = [
        artifact.metadata.get("epoch"),
        None if axis == "_step" else dict(flat(row)).get(axis),
        next((int(name[1]) for name in names if name), None),
        _only_epoch(content),
    ]
    epoch: Any = next((value for value in known if is_near(value)), None)
    if epoch is None:
        step = row.get("_step")
        return (step, f"step {step}") if is_near(step) else (None, "")
    if is_near(batch):  # Before the end of the epoch.
        return epoch - 1 + batch / _BATCHES, f"epoch {epoch:g}, batch {batch:g}"
    return epoch, f"epoch {epoch:g}"


def _only_epoch(content: Mapping[str, Any]) -> Any:
    """Returns the epoch of all rows of a table, if they have the same one."""
    if "epoch" not in content["columns"]:
        return None
    place = content["columns"].index("epoch")
    epochs = [line[place] for line in content["data"]]
    return epochs[0] if epochs and epochs.count(epochs[0]) == len(epochs) else None


def axis_of(run: RecordedRun, key: str) -> str:
    """Returns the key of the x axis of a key."""
    if key in run.x_axes:
        return run.x_axes[key]
    for pattern, axis in run.x_axes.items():
        if pattern.endswith("*") and key.startswith(pattern[:-1]):
            return axis
    shorter, _, _ = key.rpartition("_table")
    return run.x_axes.get(shorter, "_step")


def rank(name: str) -> tuple[int, str]:
    """Returns the sort key of a table, which puts important tables first."""
    base = name.split(" (", maxsplit=1)[0].rpartition("/")[2]
    if base in _ORDER:
        return _ORDER.index(base), name
    return len(_ORDER) + (base == "val_data"), name
