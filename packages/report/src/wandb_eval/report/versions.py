"""The tables that a run has logged, and when each of them was."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wandb_eval.report.cells import flat, is_number
from wandb_eval.report.recorded import RecordedArtifact, RecordedRun

logger = logging.getLogger(__name__)

_TABLE = ".table.json"
_ORDER = ["eval_data", "predictions", "hardest", "scores", "confused", "objects"]
_ORDER += ["suspect_labels", "per_class"]
_BATCHES = 1_000_000  # More than an epoch has.


@dataclass(frozen=True)
class LoggedTable:
    """A table as it was logged once."""

    key: str
    artifact: RecordedArtifact
    content: dict[str, Any]
    time: float | None
    label: str


def versions_of(run: RecordedRun) -> Iterator[LoggedTable]:
    """All tables, in the order in which they were logged."""
    tables: dict[str, set[str]] = {}
    for artifact in run.artifacts:
        for path in artifact.files:
            if path.endswith(_TABLE):
                tables.setdefault(path, set()).add(artifact.name)
    rows = _rows_by_artifact(run)
    counts = Counter[str]()
    for artifact in run.artifacts:
        for path, file in artifact.files.items():
            if not path.endswith(_TABLE):
                continue
            try:
                content = json.loads(file.read())
            except (OSError, ValueError) as error:
                logger.warning("%s of %s is left out: %s", path, artifact.name, error)
                continue
            if not isinstance(content.get("data"), list) or "columns" not in content:
                continue
            key = path.removesuffix(_TABLE)
            if len(tables[path]) > 1:
                name = re.sub(rf"^run[-_]{re.escape(run.id)}[-_]", "", artifact.name)
                key = f"{key} ({name})"
            found = [rows[i] for i in artifact.ids if i in rows]
            for row in found or _rows_in_order(run, key, path, counts) or [{}]:
                when = _when(run, artifact, content, row, key)
                yield LoggedTable(key, artifact, content, *when)


def _rows_by_artifact(run: RecordedRun) -> dict[str, dict[str, Any]]:
    """The row of the history that an artifact's table was logged with."""
    found: dict[str, dict[str, Any]] = {}
    for row in run.history:
        for path in _paths(row):
            match = re.match(r"wandb(?:-client)?-artifact://([^/]+)/", path)
            if match:
                found.setdefault(match[1], row)
    return found


def _rows_in_order(
    run: RecordedRun, key: str, path: str, counts: Counter[str]
) -> list[dict[str, Any]]:
    """The rows of the nth version of a table: those with the nth of its contents.

    In W&B, a row calls an artifact by an id that only the client had, and what is
    logged twice is one version.
    """
    groups: dict[Any, list[dict[str, Any]]] = {}
    for row in run.history:
        cell = row.get(key)
        if isinstance(cell, dict):
            groups.setdefault(cell.get("sha256"), []).append(row)
    logged = sum(path in artifact.files for artifact in run.artifacts)
    counts[path] += 1
    return list(groups.values())[counts[path] - 1] if len(groups) == logged else []


def _paths(row: Mapping[str, Any]) -> Iterator[str]:
    """The places of the tables in a row of the history."""
    for value in row.values():
        if isinstance(value, dict):
            yield from _paths(value)
            if isinstance(value.get("artifact_path"), str):
                yield value["artifact_path"]


def _when(
    run: RecordedRun,
    artifact: RecordedArtifact,
    content: Mapping[str, Any],
    row: Mapping[str, Any],
    key: str,
) -> tuple[float | None, str]:
    """When a table was logged, in epochs, and in words; `None` if that is not known."""
    batch: Any = artifact.metadata.get("batch")
    axis = axis_of(run, key)
    names = [re.fullmatch(r"epoch_(\d+)", alias) for alias in artifact.aliases]
    known = [
        artifact.metadata.get("epoch"),
        None if axis == "_step" else dict(flat(row)).get(axis),
        next((int(name[1]) for name in names if name), None),
        _only_epoch(content),
    ]
    epoch: Any = next((value for value in known if is_number(value)), None)
    if epoch is None:
        step = row.get("_step")
        return (step, f"step {step}") if is_number(step) else (None, "")
    if is_number(batch):  # Before the end of that epoch.
        return epoch - 1 + batch / _BATCHES, f"epoch {epoch:g}, batch {batch:g}"
    return epoch, f"epoch {epoch:g}"


def _only_epoch(content: Mapping[str, Any]) -> Any:
    """The epoch that all rows of a table are of, if they have one."""
    if "epoch" not in content["columns"]:
        return None
    place = content["columns"].index("epoch")
    epochs = [line[place] for line in content["data"] if place < len(line)]
    return epochs[0] if epochs and epochs.count(epochs[0]) == len(epochs) else None


def axis_of(run: RecordedRun, key: str) -> str:
    """The key that a key is drawn against."""
    if key in run.x_axes:
        return run.x_axes[key]
    for pattern, axis in run.x_axes.items():
        if pattern.endswith("*") and key.startswith(pattern[:-1]):
            return axis
    shorter, _, _ = key.rpartition("_table")
    return run.x_axes.get(shorter, "_step")


def rank(name: str) -> tuple[int, str]:
    """Where a table comes among others: what is looked at first is first."""
    base = name.split(" (", maxsplit=1)[0].rpartition("/")[2]
    if base in _ORDER:
        return _ORDER.index(base), name
    return len(_ORDER) + (base == "val_data"), name
