"""The outcomes of the versions of a run, and the epochs without a version."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import wandb


@dataclass
class Version:
    """The version of an epoch, and its outcome.

    Attributes:
        epoch: The epoch, from 0.
        is_logged: Whether it was handed over to W&B.
        error: The exception of the failure; `None` without one.
    """

    epoch: int
    is_logged: bool = False
    error: Exception | None = None


class MissingVersions:
    """The epochs without a version, which the summary of the run lists.

    Args:
        run: The run.
        prefix: The beginning of keys in the summary of the run.

    Attributes:
        epochs: The epochs, in the order in which they became known.
    """

    def __init__(self, run: wandb.Run | None, prefix: str) -> None:
        self._run = run
        self._key = f"{prefix}/missing_versions"
        self.epochs: list[int] = []
        self._lock = threading.Lock()  # Uploads are given up in another thread.

    def restore(self, of_summary: Callable[[str], Any]) -> None:
        """Reads the epochs that another callback, or an earlier process, has written.

        Args:
            of_summary: A function that reads a key of the summary.
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
