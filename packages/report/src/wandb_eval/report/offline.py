"""Reads a run that was recorded offline, from its folder."""

from __future__ import annotations

import datetime
import functools
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from wandb_eval.core import offline_log
from wandb_eval.report.folders import Folders
from wandb_eval.report.left_out import ODD, LeftOut, describe
from wandb_eval.report.recorded import (
    RecordedArtifact,
    RecordedFile,
    RecordedRun,
    split_config,
)

_MOST_IN_A_MANIFEST = 500_000_000  # Unpacked bytes.


def read_offline_run(run: Any) -> RecordedRun:
    """Reads the data of a run from its log, the same that `wandb sync` would send.

    It waits for the log of a run that was just finished. After a crash, or while a run
    still runs, it reads the log so far. Parts that can't be read are left out, and
    listed in `RecordedRun.left_out`.

    Args:
        run: The folder of the run, the log itself, or the `wandb.Run`.

    Raises:
        FileNotFoundError: If the folder does not have the log of one run.
        ValueError: If the file is not a log of wandb, or has no run.
    """
    offline_log.wait_for_exit(run)
    settings = getattr(run, "settings", None)
    log = offline_log.find_log(run if settings is None else settings.sync_dir)
    reader = _Reader(Folders(log.parent, offline_log.staging_folder()))
    for record in offline_log.read_records(log, on_error=reader.skip):
        reader.take(record)
    if reader.run is None:
        raise ValueError(f"{log} has no run in it: it was cut off before it began.")
    return reader.finish(reader.run)


class _Reader:
    """Collects the records of a log."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._left_out = LeftOut()
        self._config: dict[str, Any] = {}
        self._charts: dict[str, Any] = {}
        self._rows: list[dict[str, Any]] = []
        self._axes: dict[str, str] = {}
        self._artifacts: list[RecordedArtifact] = []
        self._is_finished = False
        self.run: RecordedRun | None = None

    def skip(self, error: ValueError) -> None:
        self._left_out.add("the log", "a record can't be read")

    def take(self, record: Any) -> None:
        """Adds the readable parts of a record."""
        kind = record.WhichOneof("record_type")
        if kind == "run":
            self.run = _read_run(record.run)
            self._update("the configuration", self._config, record.run.config.update)
        elif kind == "config":
            self._update("the configuration", self._config, record.config.update)
            for item in record.config.remove:
                self._config.pop(_path(item)[0], None)
            # wandb writes `_wandb` as a whole later, without the charts.
            self._charts |= split_config(self._config)[1]
        elif kind == "metric" and record.metric.step_metric:
            name = record.metric.name or record.metric.glob_name
            self._axes[name] = record.metric.step_metric
        elif kind == "history":
            row: dict[str, Any] = {}
            self._update("the history", row, record.history.item)
            row.setdefault("_step", record.history.step.num)
            self._rows.append(row)
        elif kind == "artifact":
            self._artifacts.append(self._read_artifact(record.artifact))
        elif kind == "exit":
            self._is_finished = True

    def finish(self, run: RecordedRun) -> RecordedRun:
        """Returns the run, with all collected records."""
        run.config, run.charts = split_config(self._config)[0], self._charts
        run.history, run.x_axes, run.artifacts = self._rows, self._axes, self._artifacts
        run.is_finished, run.left_out = self._is_finished, self._left_out
        run.files = self._run_file
        if not run.is_finished:
            run.left_out.add(
                "the end of the run",
                "it still ran, or was cut off; what its log held by then is shown",
            )
        return run

    def _update(self, part: str, values: dict[str, Any], items: Iterable[Any]) -> None:
        """Sets values from items of the protobuf, which may be nested."""
        for item in items:
            path = _path(item)
            try:
                value = json.loads(item.value_json)
            except (ValueError, RecursionError) as error:
                reason = f"no JSON that can be read: {describe(error)}"
                self._left_out.add(f"{part}, {'.'.join(path)}", reason)
                continue
            place = values
            for key in path[:-1]:
                inner = place.get(key)
                if not isinstance(inner, dict):
                    inner = place[key] = {}
                place = inner
            place[path[-1]] = value

    def _read_artifact(self, record: Any) -> RecordedArtifact:
        metadata: Any = {}
        files = {}
        try:
            metadata = json.loads(record.metadata or "{}")
        except (ValueError, RecursionError) as error:
            self._left_out.add(f"{record.name}, metadata", describe(error))
        for name, digest, size, written in self._entries(record):
            if written:
                read = functools.partial(self._folders.read_written, written)
                files[name] = RecordedFile(digest, size, read)
        return RecordedArtifact(
            name=record.name,
            ids=frozenset({record.client_id}),
            aliases=tuple(record.aliases),
            metadata=metadata if isinstance(metadata, dict) else {},
            files=files,
        )

    def _entries(self, record: Any) -> Iterator[tuple[str, str, int, str]]:
        """Yields path, digest, size and place of each file; long lists are in a file.

        See wandb's `InterfaceBase._make_artifact_manifest`.
        """
        manifest = record.manifest
        for entry in manifest.contents:
            yield entry.path, entry.digest, entry.size, entry.local_path
        if not manifest.manifest_file_path:
            return
        try:
            packed = self._folders.read_written(manifest.manifest_file_path)
            with gzip.open(io.BytesIO(packed)) as file:
                content = file.read(_MOST_IN_A_MANIFEST)
        except (OSError, EOFError, zlib.error) as error:
            self._left_out.add(f"the list of files of {record.name}", describe(error))
            return
        for line in content.split(b"\n"):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                found = entry["path"], entry["digest"], entry.get("local_path") or ""
                if not all(isinstance(value, str) for value in found):
                    raise TypeError("path, digest and local_path are text")
            except ODD as error:
                self._left_out.add(
                    f"a line of the list of files of {record.name}", describe(error)
                )
                continue
            path, digest, written = found
            yield path, digest, 0, written

    def _run_file(self, name: str) -> RecordedFile | None:
        try:
            content = self._folders.read_file(name)
        except FileNotFoundError:
            return None
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return RecordedFile(digest, len(content), lambda: self._folders.read_file(name))


def _read_run(record: Any) -> RecordedRun:
    try:
        seconds = record.start_time.seconds
        started = datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        started = ""
    return RecordedRun(
        id=record.run_id,
        name=record.display_name or record.run_id,
        project="/".join(filter(None, [record.entity, record.project])),
        started=started,
    )


def _path(item: Any) -> list[str]:
    return list(item.nested_key) or [item.key]
