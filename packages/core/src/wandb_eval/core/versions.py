"""The versions of a run's predictions: what became of each, and which are missing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import wandb


@dataclass
class Version:
    """The version of an epoch, and what became of it.

    Attributes:
        epoch: The epoch, from 0.
        is_logged: Whether it was handed over to W&B.
        error: The exception because of which it was not logged.
    """

    epoch: int
    is_logged: bool = False
    error: Exception | None = None


class MissingVersions:
    """The epochs of a run that have no version, kept in the summary of the run.

    Args:
        run: The run.
        prefix: The beginning of keys in the summary of the run.

    Attributes:
        epochs: The epochs, in the order in which it became known.
    """

    def __init__(self, run: wandb.Run | None, prefix: str) -> None:
        self._run = run
        self._key = f"{prefix}/missing_versions"
        self.epochs: list[int] = []
        self._lock = threading.Lock()  # Uploads are given up in another thread.

    def restore(self, of_summary: Callable[[str], Any]) -> None:
        """Reads the epochs that another callback, or an earlier process, has written.

        Args:
            of_summary: Reads a key of the summary.
        """
        self.epochs = list(of_summary("missing_versions") or [])

    def mark(self, epoch: int, missing: bool) -> None:
        """Writes to the summary whether the version of an epoch is missing."""
        with self._lock:
            if missing == (epoch in self.epochs):
                return
            if missing:
                self.epochs.append(epoch)
            else:
                self.epochs.remove(epoch)
            with contextlib.suppress(Exception):
                assert self._run is not None
                self._run.summary[self._key] = sorted(self.epochs)
