"""Artifacts that copy nothing, and refer to known media."""

from __future__ import annotations

import math
import numbers
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import wandb
from wandb.sdk.artifacts._internal_artifact import sanitize_artifact_name
from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry
from wandb.sdk.lib.paths import LogicalPath
from wandb.util import json_dumps_safer

from wandb_eval.core._wandb.files import Folder
from wandb_eval.core._wandb.tables import table_json

MAX_NAME_LENGTH = 128
"""The largest number of characters in the name of an artifact."""


Find = Callable[[str], ArtifactManifestEntry | None]
"""Finds the entry of a media file by its path on this machine."""


class EvalArtifact(wandb.Artifact):
    """An artifact that holds one table, copies nothing and refers to known media.

    Args:
        name: The name of the artifact.
        type: The type of the artifact.
        folder: The folder for the files that wandb-core uploads. They stay there until
            they are uploaded: offline, until `wandb sync`.
        known: Entries of media files, by their path on this machine: entries of another
            artifact, or files that `Folder.store` wrote.
        known_tables: Entries of tables, by the `id` of the table.
        find: Finds the entries of other media files, by their path.
        metadata: The metadata of the artifact.

    Attributes:
        found: The media files that `find` has found.
    """

    def __init__(
        self,
        name: str,
        type: str,
        folder: Folder,
        *,
        known: Mapping[str, ArtifactManifestEntry] | None = None,
        known_tables: Mapping[int, ArtifactManifestEntry] | None = None,
        find: Find = lambda path: None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(name, type=type, metadata=_without_infinity(metadata or {}))
        self.folder = folder
        self._known = known or {}
        self._known_tables = known_tables or {}
        self._find = find
        self.found: list[str] = []

    def add_table(self, table: wandb.Table, table_name: str) -> ArtifactManifestEntry:
        """Adds the table and all the media in it."""
        content = json_dumps_safer(table_json(table, self)).encode()
        file = self.folder.store(content, "", ".table.json")
        path = LogicalPath(type(table).with_suffix(table_name))
        entry = file.entry.model_copy(update={"path": path})
        self.manifest.add_entry(entry)
        table._artifact_target = None
        table._set_artifact_target(self, entry.path)
        return entry

    # `to_json` of media and of tables calls the methods below.

    def get_added_local_path_name(self, local_path: str) -> str | None:
        """Returns the name of a media file in this artifact, if the file is known."""
        added: str | None = super().get_added_local_path_name(local_path)
        if added is not None:
            return added
        entry = self._known.get(local_path)
        if entry is None:
            entry = self._find(local_path)
            if entry is not None:
                self.found.append(local_path)
        if entry is None and local_path in self.folder.files:
            entry = self.folder.files[local_path].entry
        if entry is None:
            return None
        self.manifest.entries[entry.path] = entry  # `add_entry` copies the path.
        self._added_local_paths[local_path] = entry
        return str(entry.path)

    def add(self, obj: Any, name: Any, overwrite: bool = False) -> Any:
        """Adds an object; the table of ground truth by its known entry.

        If an object is in another logged artifact (class names are), wandb would refer
        to it by a client id, which is resolved only if that artifact is committed
        before this one. Such objects are written again instead.
        """
        entry = self._known_tables.get(id(obj))
        if entry is None:
            target, obj._artifact_target = obj._artifact_target, None
            try:
                return super().add(obj, name, overwrite=overwrite)
            finally:
                obj._artifact_target = target or obj._artifact_target
        self.manifest.add_entry(entry)
        if entry.ref is None:  # A copy of the table needs its media, too.
            for local_path in self._known:
                self.get_added_local_path_name(local_path)
        return entry

    def add_reference(
        self, uri: Any, name: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Adds a reference, and remembers it, so that the next artifact knows it."""
        entries = super().add_reference(uri, name, *args, **kwargs)
        if isinstance(uri, str) and len(entries) == 1:
            self._added_local_paths[uri] = entries[0]
        return entries

    def add_file(
        self,
        local_path: str,
        name: str | None = None,
        is_tmp: bool | None = False,
        *args: Any,
        **kwargs: Any,
    ) -> ArtifactManifestEntry:
        """Adds a file under a name that depends on its content alone.

        The file is copied once, to the folder, and stays there until wandb-core uploads
        it.
        """
        local_path = os.fspath(local_path)
        if local_path in self._added_local_paths:
            return self._added_local_paths[local_path]
        content = Path(local_path).read_bytes()
        name = LogicalPath(name or os.path.basename(local_path))
        head, _, file_name = name.rpartition("/")
        file = self.folder.store(content, head, "." + file_name.partition(".")[2])
        entry = file.entry if is_tmp else file.entry.model_copy(update={"path": name})
        self.manifest.add_entry(entry)
        self._added_local_paths[local_path] = entry
        return entry

    def release(self) -> None:
        """Releases the contents; wandb keeps the last 100 artifacts alive."""
        self._added_objs.clear()
        self._added_local_paths.clear()
        # Users may log a table again, by its entry. `manifest` would ask the server.
        entries = {} if self._manifest is None else self._manifest.entries
        for path in [path for path in entries if path.startswith("media/")]:
            del entries[path]
        self._known, self._known_tables = {}, {}
        self._find = lambda path: None
        del self.folder  # It holds all of its files.


def _without_infinity(value: Any) -> Any:
    """Replaces infinite numbers, which metadata can't have, like W&B's history."""
    if isinstance(value, dict):
        return {key: _without_infinity(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return list(map(_without_infinity, value))
    names: dict[Any, str] = {math.inf: "Infinity", -math.inf: "-Infinity"}
    return names.get(value, value) if isinstance(value, numbers.Real) else value


def artifact_name(wanted: str) -> str:
    """Returns a valid name for an artifact: without some characters, or shorter.

    Ids of runs and keys may have characters that names of artifacts may not have. A
    changed name ends with a checksum, so that different names stay different.

    Example:

    >>> artifact_name("run_4f3a_pred"), artifact_name("run_fold 1_pred")
    ('run_4f3a_pred', 'run_fold1_pred-D4PqmQ')
    """
    name = sanitize_artifact_name(wanted)
    if len(name) <= MAX_NAME_LENGTH:
        return name
    checksum = f"-{zlib.crc32(wanted.encode()):08x}"
    return name[: MAX_NAME_LENGTH - len(checksum)] + checksum
