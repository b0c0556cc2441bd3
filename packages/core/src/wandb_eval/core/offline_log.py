"""The log of a run that was recorded offline: what `wandb sync` would send.

The format is that of LevelDB's logs behind a header of 7 bytes: blocks of 32 KiB, in
them records with a checksum, a length and a type
(https://github.com/google/leveldb/blob/main/doc/log_format.md). The checksum is plain
CRC-32 of the type and the data. Each record is a `wandb_internal_pb2.Record`.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_HEADER = b":W&B\xe1\xbe\x00"
_BLOCK = 32 * 1024
_FRAME = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def find_log(folder: str | os.PathLike[str]) -> Path:
    """The log in the folder of an offline run.

    Args:
        folder: The folder, or the log itself.

    Raises:
        FileNotFoundError: If there is none, or more than one.
    """
    path = Path(folder)
    if path.suffix == ".wandb" and path.is_file():
        return path.resolve()
    logs = sorted(path.glob("*.wandb"))
    if len(logs) != 1:
        raise FileNotFoundError(
            f"Expected the folder of one offline run, with a file run-<id>.wandb in it."
            f" Received: {path}, with {len(logs)} of them"
        )
    return logs[0].resolve()


def read_records(log: Path) -> Iterator[Any]:
    """The records of a log, in their order.

    Ends where the log does: after a crash, before the record that was being written.

    Raises:
        ValueError: If it is no log of wandb.
    """
    content = log.read_bytes()
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
            record.ParseFromString(b"".join(parts))
            yield record


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
    parts = Path(path.replace("\\", "/")).parts
    for start in range(1, len(parts)):
        here = folder.joinpath(*parts[start:])
        if here.is_file():
            return str(here)
    return path
