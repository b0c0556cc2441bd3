"""Which versions of a run are missing, and which is the best so far."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable
from typing import Any

import wandb

from wandb_eval.core.arguments import is_integer, is_number
from wandb_eval.engine.monitor import Monitor


class MissingVersions:
    """The epochs of a run that have no version, as its summary has them.

    Args:
        run: The run.
        prefix: What keys of the run's summary begin with.

    Attributes:
        epochs: The epochs, in the order that it became known.
    """

    def __init__(self, run: wandb.Run | None, prefix: str) -> None:
        self._run = run
        self._key = f"{prefix}/missing_versions"
        self.epochs: list[int] = []
        self._lock = threading.Lock()  # Uploads are given up in another thread.

    def restore(self, of_summary: Callable[[str], Any]) -> None:
        """Reads what another callback, or the run before, has left in the summary."""
        self.epochs = list(of_summary("missing_versions") or [])

    def mark(self, epoch: int, missing: bool) -> None:
        """Notes, and writes to the summary, whether an epoch's version is missing."""
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


class BestVersion:
    """Remembers how good the versions were, also those of a run that is resumed.

    Args:
        prefix: What keys of the run's summary begin with.
        monitor: Says how good a version is.
    """

    def __init__(self, prefix: str, monitor: Monitor) -> None:
        self._prefix = prefix
        self._monitor = monitor
        self._values: dict[int, float] = {}
        self._key = f"best_{str(monitor.name).rpartition('/')[2]}"

    def restore(self, of_summary: Callable[[str], Any]) -> None:
        """Reads what another callback, or the run before, has left in the summary."""
        epoch, value = of_summary("best_epoch"), of_summary(self._key)
        if is_integer(epoch) and is_number(value) and not math.isnan(value):
            self._values = {epoch: self._monitor.sign * value}

    def is_beaten_by(self, epoch: int, value: float) -> bool:
        """Whether a new version is the best one, which it is from then on.

        Args:
            epoch: Its epoch.
            value: How good it is: the more, the better; what is NaN is not good.
        """
        if not value > max(list(self._values.values()), default=-math.inf):
            return False
        self._values[epoch] = value
        return True

    def forget(self, epoch: int) -> bool:
        """Forgets a version that did not arrive; whether it was known."""
        return self._values.pop(epoch, None) is not None

    def write_summary(self, run: wandb.Run | None) -> None:
        """Writes it to the run's summary, also for a run that resumes this one."""
        entries = list(self._values.items())
        epoch, value = max(entries, key=lambda item: item[1], default=(None, None))
        with contextlib.suppress(Exception):
            assert run is not None
            run.summary[f"{self._prefix}/best_epoch"] = epoch
            run.summary[f"{self._prefix}/{self._key}"] = (
                None if value is None else self._monitor.sign * value
            )
