"""Everything this project knows of wandb's inside, in one module.

The public API of wandb has no way to refer to the media of an artifact without
downloading them, to write a file into an artifact without copying it, or to mark a
draft as used without waiting for its upload. What is private and needed for that is
used here and nowhere else; the tests run on the oldest and the newest wandb that the
package declares.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import datetime
import functools
import hashlib
import logging
import math
import os
import queue
import shutil
import tempfile
import threading
import weakref
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray
from wandb.plot.custom_chart import CustomChart
from wandb.sdk.artifacts._internal_artifact import sanitize_artifact_name
from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry
from wandb.sdk.artifacts.staging import get_staging_dir
from wandb.sdk.data_types._private import MEDIA_TMP
from wandb.sdk.data_types.base_types.media import Media, _numpy_arrays_to_lists
from wandb.sdk.data_types.utils import _json_helper
from wandb.sdk.lib.paths import LogicalPath
from wandb.sdk.wandb_run import TeardownHook, TeardownStage
from wandb.util import json_dumps_safer

logger = logging.getLogger(__name__)

MAX_NAME_LENGTH = 128
"""How many characters the name of an artifact has at most."""

IMAGE_FOLDER = "media/images"
MASK_FOLDER = "media/images/mask"


class WriteError(OSError):
    """A file that was to be logged could not be written."""


class UploadError(Exception):
    """W&B has given up an artifact that was logged."""


@dataclass(frozen=True)
class StoredFile:
    """A file that was written for an artifact, with what wandb wants to know of it.

    Attributes:
        path: Where it is on this machine.
        name: Its path in an artifact. It depends on the content alone.
        digest: The MD5 of its bytes, base64, as artifact manifests have it.
        sha256: The SHA-256 of its bytes, hexadecimal, as media JSON has it.
        size: Bytes.
    """

    path: str
    name: str
    digest: str
    sha256: str
    size: int

    def entry(self) -> ArtifactManifestEntry:
        """The file as an entry of an artifact's manifest."""
        return ArtifactManifestEntry(
            path=LogicalPath(self.name),
            digest=self.digest,
            size=self.size,
            local_path=self.path,
            skip_cache=True,
        )


class Folder:
    """Where files are written that wandb-core uploads later, without copying them.

    Args:
        path: The folder.
        shared: Whether equal contents share a file. False where wandb-core deletes a
            file as soon as the one artifact version that it was written for is there.
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
        self._lock = threading.Lock()

    def store(self, content: bytes, name_folder: str, suffix: str) -> StoredFile:
        """Writes `content`, to be named as wandb names media: by its digest."""
        md5 = hashlib.md5(content, usedforsecurity=False)
        sha256 = hashlib.sha256(content).hexdigest()
        file_name = md5.hexdigest()[:20] + suffix
        name = f"{name_folder}/{file_name}"
        with self._lock:
            if name not in self._by_name:
                path = str(self._write(content, file_name))
                digest = base64.b64encode(md5.digest()).decode()
                file = StoredFile(path, name, digest, sha256, len(content))
                self.files[path] = self._by_name[name] = file
            return self._by_name[name]

    def _write(self, content: bytes, file_name: str) -> Path:
        path = self.path / file_name
        try:
            if self.shared and path.exists():
                return path
            written = write_file(content, self.path)
            if self.shared:
                os.replace(written, path)
                written = path
        except OSError as error:
            raise WriteError(f"can't write to {self.path}: {error}") from error
        self._written.append(written)
        return written

    def discard(self) -> None:
        """Deletes the files that were written here, and not before."""
        with self._lock:
            for path in self._written:
                # What broke the writing may be in the way of this, too.
                with contextlib.suppress(OSError):
                    path.unlink()
            self._written.clear()
            self.files.clear()
            self._by_name.clear()


def write_file(content: bytes, folder: Path, suffix: str = "") -> Path:
    """Writes a file under a name of its own; nothing is left of it if that fails."""
    descriptor, path = tempfile.mkstemp(suffix, dir=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
    except OSError:
        os.unlink(path)
        raise
    return Path(path)


def media_folder(run: wandb.Run) -> Folder:
    """Where the media of a data artifact are: in the folder of the run.

    `wandb sync` finds them there. Online the folder is deleted when the run is
    finished: all is uploaded then, or given up.
    """
    path = _folder_of(run) / "eval-media"
    if not offline(run) and not path.exists():
        remove = functools.partial(shutil.rmtree, path, ignore_errors=True)
        run._teardown_hooks.append(TeardownHook(remove, TeardownStage.LATE))
    return Folder(path, shared=True)


class MediaLibrary:
    """Knows the files of all media folders of a run, for any of its artifacts.

    wandb-core does not send a file again that an earlier version of an artifact has.
    """

    def __init__(self) -> None:
        self._folders: list[Folder] = []

    def new_folder(self, run: wandb.Run) -> Folder:
        """A media folder whose files are known from then on."""
        folder = media_folder(run)
        self._folders = [known for known in self._folders if known.files]
        self._folders.append(folder)
        return folder

    def entries(self) -> dict[str, ArtifactManifestEntry]:
        """Entries for the files, by their path on this machine."""
        return {
            path: file.entry()
            for folder in self._folders
            for path, file in folder.files.items()
            if file.name.startswith("media/")
        }


def version_folder(run: wandb.Run) -> Folder:
    """Where files that one version of predictions alone needs wait for their upload.

    Online that is wandb's staging folder: wandb-core deletes them from there when the
    version is uploaded. Offline it is the folder of the run.
    """
    if offline(run):
        return media_folder(run)
    try:
        path = Path(get_staging_dir())
    except OSError as error:
        raise WriteError(str(error)) from error
    return Folder(path, shared=False)


# --- Media ------------------------------------------------------------------------


class _LazyPixels:
    """Stands in for the PIL image of a `wandb.Image` whose file we wrote.

    `wandb.Image(image, masks=...)` opens and decodes the file of `image` only to ask
    for its `size`. This knows the size and opens the file when anything else is asked.
    """

    def __init__(self, path: str, size: tuple[int, int]) -> None:
        self.size = size
        self._path = path

    @property
    def __array_interface__(self) -> Any:
        return self._open().__array_interface__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._open(), name)

    def _open(self) -> Any:
        import PIL.Image

        with PIL.Image.open(self._path) as image:
            image.load()
            return image


def image_from_file(file: StoredFile, width: int, height: int) -> wandb.Image:
    """A `wandb.Image` on a file that `Folder.store` wrote, which is not opened again.

    Args:
        file: The encoded image.
        width: Its width in pixels.
        height: Its height in pixels.
    """
    image = wandb.Image.__new__(wandb.Image)
    Media.__init__(image)
    image._grouping = image._classes = image._boxes = image._masks = None
    image._file_type = None
    image.format = Path(file.path).suffix[1:]
    image._width, image._height = width, height
    image._image = _LazyPixels(file.path, (width, height))  # type: ignore[assignment]
    _set_file(image, file, None)
    return image


def image_from_array(array: NDArray[np.uint8], caption: str) -> wandb.Image:
    """`wandb.Image`, also where somebody has cleared wandb's temporary files."""
    os.makedirs(MEDIA_TMP.name, exist_ok=True)
    return wandb.Image(array, caption=caption)


def mask_from_file(
    file: StoredFile, key: str, class_labels: dict[int, str]
) -> wandb.data_types.ImageMask:
    """A `wandb.ImageMask` on an 8-bit image file that `Folder.store` wrote."""
    mask = wandb.data_types.ImageMask.__new__(wandb.data_types.ImageMask)
    Media.__init__(mask)
    mask._val = {"class_labels": class_labels}
    mask._key = key
    _set_file(mask, file, ".mask.png")
    return mask


def _set_file(media: Media, file: StoredFile, extension: str | None) -> None:
    media._path = file.path
    media._is_tmp = False
    media._extension = extension
    media._sha256 = file.sha256
    media._size = file.size


def with_layers(
    image: wandb.Image | None,
    classes: wandb.data_types.Classes,
    boxes: dict[str, Any] | None = None,
    masks: dict[str, Any] | None = None,
    keep: bool = False,
) -> wandb.Image | None:
    """`wandb.Image(image, boxes=..., masks=..., classes=...)`, cheap for many images.

    The class names are shared, instead of collected from the layers of each image.

    Args:
        image: The image, from `sample_images` or `data_table_ref`. `None` stays `None`.
        classes: The names of all class ids that are in the layers.
        boxes: Box layers by name, as for `wandb.Image`.
        masks: Mask layers by name, as for `wandb.Image`.
        keep: Whether the layers that the image has stay on it, below these.
    """
    if image is None:
        return None
    layered = wandb.Image(image, masks=masks)
    if boxes:
        layered._boxes = {key: _box_layer(val, key) for key, val in boxes.items()}
    if keep:
        layered._boxes = (image._boxes or {}) | (layered._boxes or {}) or None
        layered._masks = (image._masks or {}) | (layered._masks or {}) or None
    layered._classes = classes
    return layered


def _box_layer(
    layer: dict[str, Any] | wandb.data_types.BoundingBoxes2D, key: str
) -> wandb.data_types.BoundingBoxes2D:
    """A `wandb.BoundingBoxes2D` for tables, without the file it writes for itself."""
    if isinstance(layer, wandb.data_types.BoundingBoxes2D):
        return layer
    boxes = wandb.data_types.BoundingBoxes2D.__new__(wandb.data_types.BoundingBoxes2D)
    Media.__init__(boxes)
    boxes._val = layer["box_data"]
    boxes._key = key
    boxes._class_labels = layer["class_labels"]
    return boxes


def _by_reference(cell: Any) -> Any:
    """The cell as `data_table_ref` shows it: an image keeps its file and layers.

    Not its pixels, unless they are asked for. `wandb.Image(image)` takes over the file
    alone, without the layers; so it is with wandb's own reference table.
    """
    if not isinstance(cell, wandb.Image):
        return cell
    reference = copy.copy(cell)
    if reference._path and reference._width and reference._height:
        size = (reference._width, reference._height)
        reference._image = _LazyPixels(reference._path, size)  # type: ignore[assignment]
    return reference


# --- Tables -----------------------------------------------------------------------


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
    reference.data = [[_by_reference(cell) for cell in row] for row in table.data]
    return reference


def _table_json(table: wandb.Table, artifact: wandb.Artifact) -> dict[str, Any]:
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


# --- Artifacts --------------------------------------------------------------------


class EvalArtifact(wandb.Artifact):
    """An artifact that holds one table, copies nothing and refers to known media.

    Args:
        name: The name of the artifact.
        type: The type of the artifact.
        folder: Where the files that wandb-core uploads are written. They stay there
            until they are uploaded: offline, until `wandb sync`.
        known: What media files resolve to, by their path on this machine: entries of
            another artifact, or files that `Folder.store` wrote.
        known_tables: The same for tables, by `id`.
        library: Other media files that the table may have, likewise.
        metadata: The metadata of the artifact.
    """

    def __init__(
        self,
        name: str,
        type: str,
        folder: Folder,
        *,
        known: Mapping[str, ArtifactManifestEntry] | None = None,
        known_tables: Mapping[int, ArtifactManifestEntry] | None = None,
        library: Mapping[str, ArtifactManifestEntry] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(name, type=type, metadata=_without_infinity(metadata or {}))
        self.folder = folder
        self._known = known or {}
        self._known_tables = known_tables or {}
        self._library = library or {}

    def add_table(self, table: wandb.Table, table_name: str) -> ArtifactManifestEntry:
        """Adds the table and all the media in it."""
        content = json_dumps_safer(_table_json(table, self)).encode()
        file = self.folder.store(content, "", ".table.json")
        entry = file.entry()
        entry.path = LogicalPath(type(table).with_suffix(table_name))
        self.manifest.add_entry(entry)
        table._artifact_target = None
        table._set_artifact_target(self, entry.path)
        return entry

    # The methods below are what the `to_json` of media and of tables call.

    def get_added_local_path_name(self, local_path: str) -> str | None:
        """The name of a media file in this artifact, if it is there or is known."""
        added: str | None = super().get_added_local_path_name(local_path)
        if added is not None:
            return added
        entry = self._known.get(local_path, self._library.get(local_path))
        if entry is None and local_path in self.folder.files:
            entry = self.folder.files[local_path].entry()
        if entry is None:
            return None
        self.manifest.add_entry(entry)
        self._added_local_paths[local_path] = entry
        return str(entry.path)

    def add(self, obj: Any, name: Any, overwrite: bool = False) -> Any:
        """Adds an object; the table of ground truth as what it is known to be.

        Of what is in another artifact that was logged (class names are), wandb would
        make a reference by client id, which is resolved only if that artifact is there
        before this one. They are written again instead.
        """
        entry = self._known_tables.get(id(obj))
        if entry is None:
            target, obj._artifact_target = obj._artifact_target, None
            try:
                return super().add(obj, name, overwrite=overwrite)
            finally:
                obj._artifact_target = target or obj._artifact_target
        self.manifest.add_entry(entry)
        if entry.ref is None:  # A copy of the table needs what is in it, too.
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

        It is copied once, to the folder, and is still there when wandb-core uploads it.
        """
        local_path = os.fspath(local_path)
        if local_path in self._added_local_paths:
            return self._added_local_paths[local_path]
        content = Path(local_path).read_bytes()
        name = LogicalPath(name or os.path.basename(local_path))
        head, _, file_name = name.rpartition("/")
        file = self.folder.store(content, head, "." + file_name.partition(".")[2])
        entry = file.entry()
        if not is_tmp:
            entry.path = name
        self.manifest.add_entry(entry)
        self._added_local_paths[local_path] = entry
        return entry

    def release(self) -> None:
        """Lets go of what was handed over; wandb keeps the last 100 artifacts alive."""
        self._added_objs.clear()
        self._added_local_paths.clear()
        if self._manifest is not None:  # `manifest` would fetch it from the server.
            self._manifest.entries.clear()
        self._known, self._known_tables, self._library = {}, {}, {}


def _without_infinity(numbers: dict[str, Any]) -> dict[str, Any]:
    """Infinite numbers as W&B's history has them; as metadata, wandb refuses them."""
    names = {math.inf: "Infinity", -math.inf: "-Infinity"}
    return {
        key: names.get(value, value) if isinstance(value, float) else value
        for key, value in numbers.items()
    }


Log = Callable[[EvalArtifact, str], Any]
"""Logs an artifact. The second argument says what it is, in words."""


class Upload:
    """An artifact that wandb-core was given, watched until it is there or given up.

    wandb-core uploads it in the background and retries for a while; if it gives up, it
    says so to nobody else.

    Args:
        handle: What will have the answer of wandb-core.
        what: What is uploaded, in words.
        folder: Where its files are.
        given_up: Called with the error if W&B gives it up, in a thread of its own.

    Attributes:
        done: Set when the outcome is known, and told.
        artifact_id: The id of the committed artifact.
        error: Why it was given up.
    """

    def __init__(
        self,
        handle: Any,
        what: str,
        folder: Folder,
        given_up: Callable[[UploadError], None],
    ) -> None:
        self.what = what
        self.done = threading.Event()
        self.artifact_id: str | None = None
        self.error: UploadError | None = None
        self._folder = folder
        self._given_up = given_up
        # A wait that times out can't be repeated: wandb cancels the request. So it is
        # waited for without end, in wandb's own thread, where nothing may block.
        _outcomes.start()
        handle.asyncer.run_soon(functools.partial(self._wait, handle), daemon=True)

    async def _wait(self, handle: Any) -> None:
        try:
            response = await handle.wait_async(timeout=None)
            answer = response.response.log_artifact_response
            self.artifact_id = answer.artifact_id
            if answer.error_message or not answer.artifact_id:
                self.error = UploadError(answer.error_message or "it has no id")
        except Exception as error:
            self.error = UploadError(f"{type(error).__name__}: {error}")
        except asyncio.CancelledError:
            self.error = UploadError("wandb was torn down")
            raise
        finally:
            _outcomes.tell(self)

    def tell(self) -> None:
        """Says that the outcome is known."""
        try:
            if self.error is not None:
                if not self._folder.shared:  # wandb-core would have deleted them.
                    self._folder.discard()
                self._given_up(self.error)
        finally:
            self.done.set()


class _Outcomes:
    """Tells uploads their outcomes: in one thread, which is there when Python ends."""

    def __init__(self) -> None:
        self._known: queue.SimpleQueue[Upload] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread, unless it runs."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="wandb-eval-uploads", daemon=True
                )
                self._thread.start()

    def tell(self, upload: Upload) -> None:
        """Has the thread call `tell` of an upload. Does not block."""
        self._known.put(upload)

    def _run(self) -> None:
        while True:
            upload = self._known.get()
            try:
                upload.tell()
            except Exception:
                logger.exception("The outcome of an upload could not be told")


_outcomes = _Outcomes()


def log_artifact(
    run: wandb.Run,
    artifact: EvalArtifact,
    aliases: list[str],
    what: str,
    given_up: Callable[[UploadError], None],
    *,
    use: bool = False,
) -> Upload | None:
    """`run.log_artifact`, or `run.use_artifact`, that asks the server for nothing.

    wandb's own ask for the type of earlier versions, and who the user is, before they
    hand the artifact to wandb-core, which retries. While the server is away they make
    the training wait for 19 seconds in every epoch, and may raise.

    Args:
        run: The run.
        artifact: The artifact.
        aliases: The aliases of the version.
        what: What it is, in words.
        given_up: Called with the error if W&B gives it up.
        use: Whether to mark the artifact as used by the run, once it is committed.

    Returns:
        What becomes of it; `None` offline.

    Raises:
        wandb.Error: If the run is finished.
    """
    interface: Any = run._interface
    if getattr(run, "_is_finished", False) or interface is None:
        raise wandb.Error(f"run {run.id} is finished")
    artifact.finalize()
    options: dict[str, Any] = {"is_user_created": use, "use_after_commit": use}
    if offline(run):
        interface.publish_artifact(run, artifact, aliases, **options)
        return None
    # `run.step` would ask wandb-core, and there is none in shared mode.
    options["history_step"] = 0 if run.settings._shared else run._local_step
    handle = interface.deliver_artifact(run, artifact, aliases, **options)
    return Upload(handle, what, artifact.folder, given_up)


class GroundTruth:
    """A data artifact that was logged, and how predictions refer to what is in it.

    Once the artifact is committed, an entry of another artifact can refer to its files.
    Until then, and offline, where there is no id to refer to, an entry has the local
    file itself: W&B uploads that once for all the versions of one name, and a version
    is complete whatever becomes of the others.

    Args:
        artifact: The artifact, which was logged.
        table: The table in it.
        entry: The entry of the table.
        upload: What becomes of the artifact; `None` offline.

    Attributes:
        table: The table, to take cells from.
        media: Entries for its media, by their path on this machine.
        table_entry: An entry for the table itself.
    """

    def __init__(
        self,
        artifact: EvalArtifact,
        table: wandb.Table,
        entry: ArtifactManifestEntry,
        upload: Upload | None,
    ) -> None:
        self.table = reference_table(table)
        self.media = dict(artifact._added_local_paths)
        self.table_entry = copy.copy(entry)
        self.table_entry.path = LogicalPath(f"media/tables/{entry.path}")
        self._table_name = str(entry.path)
        self._artifact = artifact
        self._settled = self._copied = False
        self._upload = upload

    def check_files(self) -> None:
        """Checks that the files that the entries stand for are still there.

        Raises:
            WriteError: If somebody has deleted one.
        """
        for entry in self.media.values():
            if entry.local_path is not None and not os.path.exists(entry.local_path):
                raise WriteError(f"{entry.local_path} was deleted")

    def settle(self, patience: float) -> None:
        """Turns the entries into references, once the artifact is committed.

        If W&B has given it up, they stay the local files.

        Args:
            patience: For how many seconds at most to wait for that. It is waited for
                only once.
        """
        if self._settled:
            return
        upload = self._upload
        if upload is None or not upload.done.wait(0 if self._copied else patience):
            self._copied = True
            return
        self._settled = True
        if upload.error is not None:
            return
        artifact_id = str(upload.artifact_id)
        self.media = {
            path: reference_to(artifact_id, str(entry.path), entry)
            for path, entry in self.media.items()
        }
        self.table_entry = reference_to(artifact_id, self._table_name, self.table_entry)
        self._artifact.release()


def reference_to(
    artifact_id: str, name: str, entry: ArtifactManifestEntry
) -> ArtifactManifestEntry:
    """An entry that refers to a file of a logged artifact; nothing is downloaded."""
    if entry.ref is not None:
        return entry
    hex_id = base64.b64decode(artifact_id).hex()
    return ArtifactManifestEntry(
        path=entry.path,
        ref=f"wandb-artifact://{hex_id}/{name}",
        digest=entry.digest,
        size=0,
    )


def with_logged_tables(
    run: wandb.Run,
    values: Mapping[str, Any],
    log: Log,
    library: Mapping[str, ArtifactManifestEntry] | None = None,
) -> dict[str, Any]:
    """What to `run.log`, where each table is the cell of one that is logged already.

    `run.log` makes an artifact of a table, and asks the server first (see
    `log_artifact`). The table of a chart goes where the chart looks for it.

    Args:
        run: The run.
        values: Values for `run.log`, with tables and charts among them.
        log: Logs the artifact of a table.
        library: Media files that the tables may have, as for `EvalArtifact`.
    """
    cells = dict(values)
    for key, value in values.items():
        if isinstance(value, wandb.Table):
            _log_run_table(run, value, key, log, library)
            cells[key] = table_cell(run, value, key)
        elif isinstance(value, CustomChart):
            value.set_key(key)
            table_key = value.spec.table_key
            _log_run_table(run, value.table, table_key, log, library)
            cell = table_cell(run, value.table, table_key)
            cells[key] = CustomChart(table=cell, spec=value.spec)  # type: ignore[arg-type]
    return cells


_logged: weakref.WeakKeyDictionary[wandb.Run, tuple[int, set[str]]] = (
    weakref.WeakKeyDictionary()
)
"""The step that rows of ours were logged to last, of each run, and their keys."""


def log_row(run: wandb.Run, row: dict[str, Any]) -> None:
    """Logs values as a part of the row of the history that is open.

    Without that, each row of ours would close one, and what a user logs with a `step`
    of his own would be dropped: W&B's steps only go forward.

    Args:
        run: The run.
        row: The values, by key. If the row that is open has one of these keys from a
            callback of ours, a new one is begun.
    """
    if run.settings._shared:  # Of several processes, each has its own steps.
        run.log(row)
        return
    step, keys = _logged.get(run, (-1, set()))
    if step == run._local_step and keys & row.keys():
        run.log(row, step=step + 1)
    else:
        run.log(row, commit=False)
    before = keys if step == run._local_step else set()
    _logged[run] = int(run._local_step), before | row.keys()


def artifact_name(wanted: str) -> str:
    """The name itself, or one that W&B takes: without some characters, or shorter.

    Ids of runs and keys may have what the names of artifacts may not. Other names stay
    other names: what is changed has a checksum at its end.

    Example:

    >>> artifact_name("run_4f3a_pred"), artifact_name("run_fold 1_pred")
    ('run_4f3a_pred', 'run_fold1_pred-D4PqmQ')
    """
    name = sanitize_artifact_name(wanted)
    if len(name) <= MAX_NAME_LENGTH:
        return name
    checksum = f"-{zlib.crc32(wanted.encode()):08x}"
    return name[: MAX_NAME_LENGTH - len(checksum)] + checksum


def _log_run_table(
    run: wandb.Run,
    table: wandb.Table,
    key: str,
    log: Log,
    library: Mapping[str, ArtifactManifestEntry] | None,
) -> None:
    """Logs a table as the artifact that `run.log({key: table})` makes of it.

    Unless it is in one already.
    """
    if table._artifact_target is not None:
        return
    name = artifact_name(f"run-{run.id}-{key}")
    folder = version_folder(run)
    try:
        artifact = EvalArtifact(name, "table", folder, library=library)
        artifact._type = "run_table"  # A type of W&B's own, refused above.
        artifact.add_table(table, key)
        log(artifact, f"the table '{key}'")
        artifact.release()
    except BaseException:
        folder.discard()
        raise


def table_cell(run: wandb.Run, table: wandb.Table, key: str) -> dict[str, Any]:
    """What the run's history holds of a table that is in an artifact.

    `run.log({key: table})` would make a second artifact of it, with all its media. The
    cell that it writes into the history names an artifact by its client id; here it is
    the one that the table is in already.

    Args:
        run: The run.
        table: A table in an artifact that was logged.
        key: The key of the history.
    """
    target = table._artifact_target
    assert target is not None
    if len(table.data) > table.MAX_ROWS:
        wandb.termwarn(
            f"The table '{key}' has {len(table.data)} rows. The run's page shows the "
            f"first {table.MAX_ROWS}; the artifact has all of them.",
            repeat=False,
        )
    bound: Any = copy.copy(table)
    _bind_to_run(bound, run, key)
    cell: dict[str, Any] = bound.to_json(run)
    artifact = target.artifact
    path = target.name
    cell["artifact_path"] = f"wandb-client-artifact://{artifact._client_id}/{path}"
    cell["_latest_artifact_path"] = (
        f"wandb-client-artifact://{artifact._sequence_client_id}:latest/{path}"
    )
    return cell


def _bind_to_run(table: wandb.Table, run: wandb.Run, key: str) -> None:
    """`table.bind_to_run(run, key, step)`: writes the table's file for the run.

    Beside it, not in wandb's folder for temporary files: in long trainings, that is
    cleared by others.
    """
    content = json_dumps_safer(_numpy_arrays_to_lists(table._to_table_json(warn=False)))
    suffix = ".table.json"
    path = write_file(content.encode(), _folder_of(run), suffix)
    table._set_file(str(path), is_tmp=True, extension=suffix)
    Media.bind_to_run(table, run, key, run._local_step)


def _folder_of(run: wandb.Run) -> Path:
    # Absolute: `wandb sync`, and wandb-core, may be anywhere.
    return Path(run.settings.sync_dir).absolute()


def offline(run: wandb.Run) -> bool:
    """Whether what the run logs is only recorded on this machine."""
    return bool(run.settings._offline)
