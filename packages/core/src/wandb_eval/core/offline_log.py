"""Reads and writes the log of an offline run, which `wandb sync` sends.

The format is that of LevelDB's logs behind a header of 7 bytes: blocks of 32 KiB, which
hold records with a checksum, a length and a type
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
    "read_records",
    "staging_folder",
    "wait_for_exit",
    "write_records",
]

_HEADER = b":W&B\xe1\xbe\x00"
_BLOCK = 32 * 1024
_FRAME = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_LONGEST_PATH = 4096  # Characters. Linux allows no longer paths.


def find_log(folder: str | os.PathLike[str]) -> Path:
    """Finds the log in the folder of an offline run.

    Args:
        folder: The folder, or the log itself.

    Returns:
        The path of the log.

    Raises:
        FileNotFoundError: If there is no log, or more than one. A link to a file
            outside of the folder does not count.
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
    """Yields the records of a log, in their order.

    After a crash, the last record may be incomplete; it is not yielded.

    Args:
        log: The log.
        on_error: A function that is called with the error of a complete record that
            can't be read. Reading then goes on. `None` raises the error.

    Raises:
        ValueError: If the file is not a log of wandb.
    """
    content = log.read_bytes()
    if _HEADER.startswith(content):  # wandb-core has just begun it.
        return
    if not content.startswith(_HEADER):
        raise ValueError(f"{log} is not a log of a run, or has another format")
    parts: list[bytes] = []
    place = len(_HEADER)
    while place + _FRAME.size <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < _FRAME.size:  # The end of a block, too short for a record.
            place += left
            continue
        checksum, length, kind = _FRAME.unpack_from(content, place)
        data = content[place + _FRAME.size : place + _FRAME.size + length]
        if len(data) < length or _checksum(kind, data) != checksum:
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
    """Waits until the log of a run that was just finished is complete.

    `finish()` returns before wandb-core has written all of the log of an offline run.
    The log is complete when it has an `exit` record.

    Args:
        run: The run's folder, its log, or the `wandb.Run`.
        timeout: The largest number of seconds to wait.
        idle: The seconds without a write after which waiting for a folder ends, because
            its run may still run in another process, or may have been killed. A
            finished `wandb.Run` is waited for until `timeout`.

    Returns:
        Whether the `exit` record is there. For a run of this process that is not
        finished, it is `False` at once.

    Raises:
        FileNotFoundError: If the folder does not have the log of one run.
        ValueError: If the file is not a log of wandb.
    """
    settings = getattr(run, "settings", None)
    log = find_log(run if settings is None else settings.sync_dir)
    if settings is not None:
        idle = math.inf
    running = is_folder_of_running(log.parent) or (settings and is_running(run))
    started = time.monotonic()
    changed = -math.inf if running else started - seconds_since_change(log)
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
    """Returns sizes and times that change when wandb writes to the folder."""
    found = []
    for path in (log, *sorted(log.parent.glob("logs/*"))):
        try:
            status = path.lstat()  # One of them links to a log of all runs.
        except OSError:
            continue
        found.append((status.st_size, status.st_mtime_ns))
    return tuple(found)


def seconds_since_change(log: Path) -> float:
    """Returns the seconds since wandb last wrote to the folder of a log."""
    newest = max((changed for _, changed in _state(log)), default=0) / 1e9
    return max(0.0, time.time() - newest)


def write_records(log: Path, records: Iterable[Any]) -> None:
    """Writes a log, and replaces an existing one.

    The file is replaced as a whole, or not at all.
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
    """Yields the frames of a record, one for each block that it is in."""
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


def find_moved_file(path: str, folder: Path) -> str | None:
    """Finds a file in the folder of a run that was moved.

    Args:
        path: The original path. Its last parts are the place in the folder.
        folder: The folder of the run now.

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
