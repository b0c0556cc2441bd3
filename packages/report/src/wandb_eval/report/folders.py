"""Reads files of a run, and no others.

A run may come from somebody else, and its log may name any path. Pages are shared, so
they must embed only files of the run.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wandb_eval.core import offline_log

_MOST_BYTES = 2_000_000_000
_FLAGS = ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK")


class Folders:
    """The folder of a run, and the folders in which wandb stages files of artifacts.

    Args:
        run: The folder of the run.
        staging: Other folders from which files may be read by absolute paths.
    """

    def __init__(self, run: Path, *staging: Path) -> None:
        self.run = run.resolve()
        self._allowed = [self.run, *(folder.resolve() for folder in staging)]

    def read_written(self, written: str) -> bytes:
        """Reads a file by its path when the run was recorded.

        If the run was moved or copied, the file is searched for in its folder.

        Raises:
            OSError: If there is no such file, if it is outside of the folders, or if it
                is not a regular file.
        """
        if not self._is_inside(written):
            moved = offline_log.find_moved_file(written, self.run)
            if moved is None and os.path.lexists(written):
                raise OSError(
                    "the file is outside of the run's folder and of wandb's staging "
                    "folder (WANDB_DATA_DIR)"
                )
            written = moved or written
        return self._read(written)

    def read_file(self, name: str) -> bytes:
        """Reads one of the run's own files, below `files`, by its path there.

        Raises:
            OSError: In the same cases as `read_written`.
        """
        return self._read(os.path.join(self.run, "files", name), self.run / "files")

    def _is_inside(self, path: str, *folders: Path) -> bool:
        try:
            resolved = Path(path).resolve()
        except (OSError, ValueError, RuntimeError):  # Too long, NUL, a circle of links.
            return False
        return any(resolved.is_relative_to(f) for f in folders or self._allowed)

    def _read(self, path: str, *folders: Path) -> bytes:
        if not os.path.lexists(path):
            raise FileNotFoundError("the file is not there any more")
        if not self._is_inside(path, *folders):
            raise OSError("the file is outside of the run's folder")
        # Reads the resolved path, because a link could have replaced the file. Opening
        # a FIFO would wait for a writer.
        flags = sum(getattr(os, name, 0) for name in _FLAGS)
        descriptor = os.open(Path(path).resolve(), os.O_RDONLY | flags)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is no regular file")
            if status.st_size > _MOST_BYTES:
                raise OSError(f"it is larger than {_MOST_BYTES // 10**9} GB")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)
