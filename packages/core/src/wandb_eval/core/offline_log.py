"""The log of a run that was recorded offline: what `wandb sync` would send.

The format is that of LevelDB's logs behind a header of 7 bytes: blocks of 32 KiB, in
them records with a checksum, a length and a type
(https://github.com/google/leveldb/blob/main/doc/log_format.md). The checksum is plain
CRC-32 of the type and the data. Each record is a `wandb_internal_pb2.Record`.
"""

from __future__ import annotations

import math
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from wandb.proto import wandb_internal_pb2

from wandb_eval.core._wandb.runs import is_folder_of_running, is_running, staging_folder

__all__ = [
    "find_log",
    "find_moved_file",
    "moved_file",
    "read_records",
    "staging_folder",
    "wait_for_exit",
    "write_records",
]

_HEADER = b":W&B\xe1\xbe\x00"
_BLOCK = 32 * 1024
_FRAME = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_LONGEST_PATH = 4096  # Characters; Linux has no longer ones.


def find_log(folder: str | os.PathLike[str]) -> Path:
    """The log in the folder of an offline run.

    Args:
        folder: The folder, or the log itself.

    Raises:
        FileNotFoundError: If there is none, or more than one. A link to a file outside
            of the folder is none.
    """
    path = Path(folder)
    if path.suffix == ".wandb" and path.is_file():
        return path.resolve()
    inside = path.resolve()
    found = (log.resolve() for log in sorted(path.glob("*.wandb")) if log.is_file())
    logs = [log for log in found if log.parent == inside]
    if len(logs) != 1:
        raise FileNotFoundError(
            f"Expected the folder of one offline run, with a file run-<id>.wandb in it."
            f" Received: {path}, with {len(logs)} of them"
        )
    return logs[0]


def read_records(
    log: Path, on_error: Callable[[ValueError], None] | None = None
) -> Iterator[Any]:
    """The records of a log, in their order.

    Ends where the log does: after a crash, before the record that was being written.

    Args:
        log: The log.
        on_error: Called with the error of a record that is whole and can't be read, and
            the next one follows. Without it, the error is raised.

    Raises:
        ValueError: If it is no log of wandb.
    """
    content = log.read_bytes()
    if _HEADER.startswith(content):  # wandb-core has just begun it.
        return
    if not content.startswith(_HEADER):
        raise ValueError(f"{log} is no log of a run, or one of another format")
    parts: list[bytes] = []
    place = len(_HEADER)
    while place + _FRAME.size <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _FRAME.size:  # The end of a block, too short for a record.
            place += left
            continue
        checksum, length, kind = _FRAME.unpack_from(content, place)
        data = content[place + _FRAME.size : place + _FRAME.size + length]
        if (
            len(data) < length
            or zlib.crc32(data, zlib.crc32(bytes([kind]))) != checksum
        ):
            return
        place += _FRAME.size + length
        if kind in (_FULL, _FIRST):
            parts = []
        parts.append(data)
        if kind in (_FULL, _LAST):
            record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
            try:
                record.ParseFromString(b"".join(parts))
            except DecodeError as error:
                unreadable = ValueError(f"{log} has a record that can't be read")
                if on_error is None:
                    raise unreadable from error
                on_error(unreadable)
                continue
            yield record


def wait_for_exit(run: Any, timeout: float = 10.0, idle: float = 3.0) -> bool:
    """Waits until the log of a run that was just finished is whole.

    `finish()` returns before wandb-core has written all of the log of an offline run.
    The log is whole when its `exit` record is there.

    Args:
        run: The run's folder, its log, or the `wandb.Run`.
        timeout: How many seconds it waits at most.
        idle: Of a folder, it is not known whether the run was finished, still runs in
            another process, or was killed. If nothing was written into the folder for
            so many seconds, it is not waited for. A `wandb.Run` that is finished is
            waited for until `timeout`.

    Returns:
        Whether the `exit` record is there. A run of this process that still runs has
        none, and is not waited for.

    Raises:
        FileNotFoundError: If there is no log of one run in the folder.
        ValueError: If it is no log of wandb.
    """
    settings = getattr(run, "settings", None)
    log = find_log(run if settings is None else settings.sync_dir)
    if settings is not None:
        idle = math.inf
    running = is_folder_of_running(log.parent) or (settings and is_running(run))
    started = time.monotonic()
    changed = -math.inf if running else started - _seconds_since_change(log)
    seen, pause = None, 0.005
    while True:
        state = _state(log)
        if state != seen:
            if _has_exit(log):
                return True
            changed = changed if seen is None else time.monotonic()
            seen = state
        now = time.monotonic()
        left = min(started + timeout, changed + idle) - now
        if running or left <= 0:
            return False
        time.sleep(min(pause, left))
        pause = min(1.5 * pause, 0.25)


def _has_exit(log: Path) -> bool:
    records = read_records(log, on_error=lambda error: None)
    return any(record.WhichOneof("record_type") == "exit" for record in records)


def _state(log: Path) -> tuple[tuple[int, int], ...]:
    """What changes when wandb writes: the log, and wandb-core's logs beside it."""
    found = []
    for path in (log, *sorted(log.parent.glob("logs/*"))):
        try:
            status = path.lstat()  # One of them is a link to a log of all runs.
        except OSError:
            continue
        found.append((status.st_size, status.st_mtime_ns))
    return tuple(found)


def _seconds_since_change(log: Path) -> float:
    newest = max((changed for _, changed in _state(log)), default=0) / 1e9
    return max(0.0, time.time() - newest)


def write_records(log: Path, records: Iterable[Any]) -> None:
    """Writes a log, in the place of the one that may be there.

    It is there as a whole, or not at all.
    """
    unfinished = log.with_suffix(".tmp")
    try:
        with open(unfinished, "wb") as file:
            file.write(_HEADER)
            for record in records:
                for frame in _frames(record.SerializeToString(), file.tell()):
                    file.write(frame)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, log)
    finally:
        unfinished.unlink(missing_ok=True)


def _frames(data: bytes, place: int) -> Iterator[bytes]:
    """A record in as many pieces as there are blocks that it is in."""
    start, is_first = 0, True
    while is_first or start < len(data):
        left = _BLOCK - place % _BLOCK
        if left < _FRAME.size:
            yield bytes(left)
            place += left
            continue
        piece = data[start : start + left - _FRAME.size]
        start += len(piece)
        is_last = start == len(data)
        if is_first:
            kind = _FULL if is_last else _FIRST
        else:
            kind = _LAST if is_last else _MIDDLE
        yield _FRAME.pack(_checksum(kind, piece), len(piece), kind) + piece
        place += _FRAME.size + len(piece)
        is_first = False


def _checksum(kind: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(bytes([kind])))


def moved_file(path: str, folder: Path) -> str:
    """Where a file of a run is, after the run's folder was moved.

    Args:
        path: Where it was.
        folder: Where the folder is now.

    Returns:
        The path itself, if the file is there, or if it is not in the folder either.
    """
    if os.path.exists(path):
        return path
    return find_moved_file(path, folder) or path


def find_moved_file(path: str, folder: Path) -> str | None:
    """Where a file that was in the folder of a run is in the folder now.

    Args:
        path: Where it was. Its last parts are its place in the folder.
        folder: Where the folder is now.

    Returns:
        The path; `None` if no such file is in the folder.
    """
    if len(path) > _LONGEST_PATH:
        return None
    parts = Path(path.replace("\\", "/")).parts
    for start in range(1, len(parts)):
        here = os.path.join(folder, *parts[start:])
        if os.path.isfile(here):
            return here
    return None
