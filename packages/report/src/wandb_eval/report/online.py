"""Reads a run that is in W&B, through W&B's public API."""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import re
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import wandb

from wandb_eval.report.left_out import LeftOut
from wandb_eval.report.recorded import (
    TABLE,
    RecordedArtifact,
    RecordedFile,
    RecordedRun,
    split_config,
)

_WORKERS = 8


def is_online_path(run: Any) -> bool:
    """Whether a run is `entity/project/run_id`, and not a path on this machine.

    If only the end of a path is mistyped, its folder exists, and W&B is not asked.
    """
    return (
        isinstance(run, str)
        and len(run.strip("/").split("/")) == 3
        and not os.path.exists(os.path.dirname(run.rstrip("/")))
    )


def read_online_run(path: str) -> RecordedRun:
    """Reads a run, and downloads its tables with their media, each file once.

    W&B caches the downloaded files.

    Args:
        path: `entity/project/run_id`.

    Raises:
        ValueError: If there is no such run, or if W&B can't be reached.
    """
    try:
        run = wandb.Api().run(path)
        return _read(run)
    except Exception as error:  # wandb's API has errors of many kinds.
        raise ValueError(
            f"{path} is neither a folder nor a run in W&B that can be read: {error}"
        ) from error


def _read(run: Any) -> RecordedRun:
    raw = dict(run.rawconfig)
    _, charts = split_config(raw)
    internal = raw.get("_wandb")
    left_out = LeftOut()
    files = _Files(left_out)
    return RecordedRun(
        id=run.id,
        name=run.name or run.id,
        project=f"{run.entity}/{run.project}",
        started=str(run.created_at or ""),
        is_finished=run.state == "finished",
        config=split_config(dict(run.config))[0],
        history=[dict(row) for row in run.scan_history()],
        x_axes=_x_axes(internal if isinstance(internal, dict) else {}),
        charts=charts,
        artifacts=[files.of(artifact) for artifact in _artifacts(run)],
        files=functools.partial(files.of_run, run),
        left_out=left_out,
    )


def _artifacts(run: Any) -> list[Any]:
    """Returns the used artifacts, such as the ground truth, then the logged ones."""
    logged = {artifact.id: artifact for artifact in run.logged_artifacts()}
    used = {a.id: a for a in run.used_artifacts() if a.id not in logged}
    return [*used.values(), *sorted(logged.values(), key=lambda a: str(a.created_at))]


def _x_axes(internal: Mapping[str, Any]) -> dict[str, str]:
    """Reads the x axes from the fields of wandb's `MetricRecord`, by number."""
    listed = internal.get("m")
    metrics = [
        m if isinstance(m, dict) else {}
        for m in (listed if isinstance(listed, list) else [])
    ]
    axes = {}
    for metric in metrics:
        name, place = metric.get("1") or metric.get("2"), metric.get("5")
        if isinstance(name, str) and isinstance(place, int):
            axis = metrics[place - 1].get("1") if 0 < place <= len(metrics) else None
            axes[name] = axis if isinstance(axis, str) else "_step"
    return axes


class _Files:
    """Downloads the files of tables, each content once."""

    def __init__(self, left_out: LeftOut) -> None:
        self._left_out = left_out
        self._folder = tempfile.TemporaryDirectory(prefix="wandb-eval-report-")
        self._places: dict[str, Path] = {}

    def of(self, artifact: Any) -> RecordedArtifact:
        """Reads an artifact, and downloads its tables and their media."""
        entries = artifact.manifest.entries
        wanted: dict[str, str] = {}
        if any(path.endswith(TABLE) for path in entries):
            wanted = {
                entry.digest: path
                for path, entry in entries.items()
                if (path.endswith(TABLE) or path.startswith("media/"))
                and self._is_safe(path, entry)
            }
        new = [item for item in wanted.items() if item[0] not in self._places]
        with ThreadPoolExecutor(_WORKERS) as pool:
            list(pool.map(lambda item: self._download(artifact, *item), new))
        return RecordedArtifact(
            name=artifact.name.rpartition(":")[0],
            ids=frozenset({base64.b64decode(artifact.id).hex()}),
            aliases=tuple(artifact.aliases),
            metadata=dict(artifact.metadata or {}),
            files={
                path: RecordedFile(
                    entry.digest,
                    entry.size or 0,
                    functools.partial(self._content, entry.digest),
                )
                for path, entry in entries.items()
                if entry.digest in wanted
            },
        )

    def _is_safe(self, path: str, entry: Any) -> bool:
        """Whether a file is read from W&B, and written inside of its folder.

        wandb "downloads" references to `file://` from this machine.
        """
        is_local = entry.ref and not re.match(r"(?!file:)\w[\w+.-]*://", entry.ref)
        if is_local or not _stays_inside(path):
            self._left_out.add(path, "it refers to a file that is not in W&B")
            return False
        return True

    def _download(self, artifact: Any, digest: str, path: str) -> None:
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        # A missing file leaves a gap, and all others are shown.
        with contextlib.suppress(Exception):
            place = artifact.get_entry(path).download(root=str(folder))
            self._places[digest] = Path(place)

    def _content(self, digest: str) -> bytes:
        if digest not in self._places:
            raise FileNotFoundError("The file could not be downloaded.")
        return self._places[digest].read_bytes()

    def of_run(self, run: Any, path: str) -> RecordedFile | None:
        """Downloads a file that was logged to the history."""
        if not _stays_inside(path):
            raise OSError("it refers to a file outside of the run")
        if path not in self._places:
            folder = tempfile.mkdtemp(dir=self._folder.name)
            try:
                with run.file(path).download(root=folder) as file:
                    self._places[path] = Path(file.name)
            except Exception:
                return None
        place = self._places[path]
        return RecordedFile(path, place.stat().st_size, place.read_bytes)


def _stays_inside(path: str) -> bool:
    parts = PurePosixPath(path.replace("\\", "/"))
    return not parts.is_absolute() and ".." not in parts.parts
