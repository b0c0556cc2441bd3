"""Reads a run that was recorded offline, from its folder."""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from wandb_eval.core import offline_log
from wandb_eval.report.recorded import (
    RecordedArtifact,
    RecordedFile,
    RecordedRun,
    split_config,
)


def read_offline_run(folder: str | os.PathLike[str]) -> RecordedRun:
    """Reads the log of a run, as `wandb sync` would send it.

    After a crash, that is what is in the log.

    Args:
        folder: The folder of the run, or the log itself.

    Raises:
        FileNotFoundError: If there is no log of one run in the folder.
        ValueError: If it is no log of wandb, or has no run in it.
    """
    log = offline_log.find_log(folder)
    run: RecordedRun | None = None
    config: dict[str, Any] = {}
    finished = False
    rows: list[dict[str, Any]] = []
    axes: dict[str, str] = {}
    artifacts: list[RecordedArtifact] = []
    for record in offline_log.read_records(log):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = _read_run(record.run)
            _update(config, record.run.config.update)
        elif kind == "config":
            _update(config, record.config.update)
            for item in record.config.remove:
                config.pop(_path(item)[0], None)
        elif kind == "metric" and record.metric.step_metric:
            name = record.metric.name or record.metric.glob_name
            axes[name] = record.metric.step_metric
        elif kind == "history":
            row: dict[str, Any] = {}
            _update(row, record.history.item)
            row.setdefault("_step", record.history.step.num)
            rows.append(row)
        elif kind == "artifact":
            artifacts.append(_read_artifact(record.artifact, log.parent))
        elif kind == "exit":
            finished = True
    if run is None:
        raise ValueError(f"{log} has no run in it: it was cut off before it began.")
    run.config, run.charts = split_config(config)
    run.history, run.x_axes, run.is_finished = rows, axes, finished
    run.artifacts = artifacts
    run.files = lambda path: _run_file(log.parent / "files", path)
    return run


def _read_run(record: Any) -> RecordedRun:
    started = datetime.datetime.fromtimestamp(record.start_time.seconds, datetime.UTC)
    return RecordedRun(
        id=record.run_id,
        name=record.display_name or record.run_id,
        project="/".join(filter(None, [record.entity, record.project])),
        started=started.isoformat(),
    )


def _path(item: Any) -> list[str]:
    return list(item.nested_key) or [item.key]


def _update(values: dict[str, Any], items: Iterable[Any]) -> None:
    """Sets values of the protobuf's items, also nested ones."""
    for item in items:
        *way, last = _path(item)
        place = values
        for key in way:
            inner = place.get(key)
            if not isinstance(inner, dict):
                inner = place[key] = {}
            place = inner
        place[last] = json.loads(item.value_json)


def _read_artifact(record: Any, folder: Path) -> RecordedArtifact:
    metadata = json.loads(record.metadata) if record.metadata else {}
    files = {}
    for name, digest, size, written in _entries(record.manifest):
        if written:
            path = Path(offline_log.moved_file(written, folder))
            files[name] = RecordedFile(digest, size, path.read_bytes)
    return RecordedArtifact(
        name=record.name,
        ids=frozenset({record.client_id}),
        aliases=tuple(record.aliases),
        metadata=metadata if isinstance(metadata, dict) else {},
        files=files,
    )


def _entries(manifest: Any) -> Iterator[tuple[str, str, int, str]]:
    """Path, digest, size and place of each file; many of them are in one of their own.

    See wandb's `InterfaceBase._make_artifact_manifest`.
    """
    for entry in manifest.contents:
        yield entry.path, entry.digest, entry.size, entry.local_path
    if manifest.manifest_file_path and os.path.exists(manifest.manifest_file_path):
        with gzip.open(manifest.manifest_file_path, "rt") as lines:
            for entry in map(json.loads, lines):
                size, place = entry.get("size") or 0, entry.get("local_path") or ""
                yield entry["path"], entry["digest"], size, place


def _run_file(folder: Path, name: str) -> RecordedFile | None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        return None
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return RecordedFile(digest, path.stat().st_size, path.read_bytes)
