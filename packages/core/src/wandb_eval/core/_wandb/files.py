"""Files that wandb-core uploads later: their folders and names."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import wandb
from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry
from wandb.sdk.artifacts.staging import get_staging_dir
from wandb.sdk.lib.paths import LogicalPath
from wandb.sdk.wandb_run import TeardownHook, TeardownStage


class WriteError(OSError):
    """Raised if a file for the log could not be written."""


@dataclass(frozen=True)
class StoredFile:
    """A file that was written for an artifact, with the digests that wandb needs.

    Attributes:
        path: Its path on this machine.
        name: Its path in an artifact. It depends on the content alone.
        digest: The MD5 of its bytes, base64, as artifact manifests have it.
        sha256: The SHA-256 of its bytes, hexadecimal, as media JSON has it.
        size: The number of bytes.
    """

    path: str
    name: str
    digest: str
    sha256: str
    size: int

    @functools.cached_property
    def entry(self) -> ArtifactManifestEntry:
        """The file as an entry of manifests, which artifacts share."""
        return ArtifactManifestEntry(
            path=LogicalPath(self.name),
            digest=self.digest,
            size=self.size,
            local_path=self.path,
            skip_cache=True,
        )


class Folder:
    """A folder for files that wandb-core uploads later, without copying them.

    Threads write in parallel, into subfolders by the first digit of the name, because
    file systems create the files of one folder one after the other. The subfolders
    stay.

    Args:
        path: The folder.
        shared: Whether equal contents share a file. `False` for a folder in which
            wandb-core deletes a file as soon as its artifact version is committed.
    """

    def __init__(self, path: Path, shared: bool) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"can't make the folder {path}: {error}") from error
        self.path = path
        self.files: dict[str, StoredFile] = {}
        self.shared = shared
        self._written: list[Path] = []
        self._by_name: dict[str, StoredFile] = {}
        self._locks = {digit: threading.Lock() for digit in "0123456789abcdef"}

    def store(self, content: bytes, name_folder: str, suffix: str) -> StoredFile:
        """Writes `content`, under the name that wandb gives to media: its digest."""
        md5 = hashlib.md5(content, usedforsecurity=False)
        sha256 = hashlib.sha256(content).hexdigest()
        file_name = md5.hexdigest()[:20] + suffix
        name = f"{name_folder}/{file_name}"
        with self._locks[file_name[0]]:
            if name not in self._by_name:
                path = str(self._write(content, file_name))
                digest = base64.b64encode(md5.digest()).decode()
                file = StoredFile(path, name, digest, sha256, len(content))
                self.files[path] = self._by_name[name] = file
            return self._by_name[name]

    def _write(self, content: bytes, file_name: str) -> Path:
        folder = self.path / file_name[0]
        path = folder / file_name
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
                shutil.copymode(self.path, folder)  # Users may share W&B's folder.
            if self.shared and path.exists():
                return path
            written = write_file(content, folder)
            if self.shared:
                os.replace(written, path)
                written = path
        except OSError as error:
            raise WriteError(f"can't write to {self.path}: {error}") from error
        self._written.append(written)
        return written

    def discard(self) -> None:
        """Deletes the files that this object has written."""
        for path in self._written:
            # The cause of the failure may prevent this, too.
            with contextlib.suppress(OSError):
                path.unlink()
        self._written.clear()
        self.files.clear()
        self._by_name.clear()


def write_file(content: bytes, folder: Path, suffix: str = "") -> Path:
    """Writes a file under a unique name, and deletes it if writing fails."""
    descriptor, path = tempfile.mkstemp(suffix, dir=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
    except OSError:
        os.unlink(path)
        raise
    return Path(path)


def media_folder(run: wandb.Run) -> Folder:
    """Returns the folder for media of a data artifact, in the folder of the run.

    `wandb sync` finds them there. Online, the folder is deleted when the run is
    finished, unless that took longer than wandb's `finish_timeout`.
    """
    path = folder_of(run) / "eval-media"
    if not offline(run) and not path.exists():

        def remove() -> None:
            if not getattr(run, "_finish_timed_out", False):
                shutil.rmtree(path, ignore_errors=True)

        run._teardown_hooks.append(TeardownHook(remove, TeardownStage.LATE))
    return Folder(path, shared=True)


class RunFolders:
    """The folders for files of a run's tables, and the files in them.

    wandb-core does not send a file again that an earlier version of an artifact has. So
    the files of all data folders are known, for any artifact of the run.

    Args:
        run: The run; `None` if nothing will be written.
    """

    def __init__(self, run: wandb.Run | None) -> None:
        self.run = run
        self._known: dict[str, StoredFile] = {}
        self._data: Folder | None = None
        self._version: Folder | None = None

    @property
    def data(self) -> Folder:
        """The folder for media of samples, which any table may show."""
        if self._data is None:
            assert self.run is not None
            self._data = media_folder(self.run)
        return self._data

    @property
    def version(self) -> Folder:
        """The folder for media of one version of predictions."""
        if self._version is None:
            assert self.run is not None
            self._version = version_folder(self.run)
        return self._version

    def leave(self, *, data: bool = False, version: bool = False) -> None:
        """Leaves folders whose files are owned by wandb-core, or by no table."""
        if data and self._data is not None:
            self._known |= self._data.files
            self._data = None
        if version:
            self._version = None

    def discard(self) -> None:
        """Deletes the files of an artifact that was not logged."""
        for folder in (self._data, self._version):
            if folder is not None:
                folder.discard()

    def entry(self, path: str) -> ArtifactManifestEntry | None:
        """Returns the entry of a media file of samples, by its path."""
        file = self._known.get(path)
        if file is None and self._data is not None:
            file = self._data.files.get(path)
        return file.entry if file and file.name.startswith("media/") else None


def version_folder(run: wandb.Run) -> Folder:
    """Returns the folder for files of one version of predictions, until their upload.

    Online, it is wandb's staging folder, from which wandb-core deletes them when the
    version is uploaded. Offline, it is the folder of the run.
    """
    if offline(run):
        return media_folder(run)
    try:
        path = Path(get_staging_dir())
    except OSError as error:
        raise WriteError(str(error)) from error
    return Folder(path, shared=False)


def folder_of(run: wandb.Run) -> Path:
    # Absolute, because `wandb sync` and wandb-core may run in another folder.
    # `run.settings` makes a deep copy at each access.
    return Path(run._settings.sync_dir).absolute()


def offline(run: wandb.Run) -> bool:
    """Whether the run is only recorded on this machine."""
    return bool(run._settings._offline)
