"""The best version of a run."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Container
from typing import Any

import wandb

from wandb_eval.core.arguments import is_integer, is_number
from wandb_eval.engine.monitor import Monitor


class BestVersion:
    """Tracks the values of the versions of a run, and the best one.

    Args:
        run: The run; `None` if nothing is logged.
        prefix: The beginning of keys in the summary of the run.
        monitor: The monitor of the callback.
    """

    def __init__(self, run: wandb.Run | None, prefix: str, monitor: Monitor) -> None:
        self._run = run
        self._prefix = prefix
        self._monitor = monitor
        self._values: dict[int, float] = {}
        self._key = f"best_{str(monitor.name).rpartition('/')[2]}"
        self._other_key = f"{self._key}_of_versions"

    def restore(self, of_summary: Callable[[str], Any]) -> None:
        """Reads the best version that another callback, or an earlier process, wrote.

        Args:
            of_summary: A function that reads a key of the summary.
        """
        epoch, value = of_summary("best_epoch"), of_summary(self._other_key)
        value = of_summary(self._key) if value is None else value
        if is_integer(epoch) and is_number(value) and not math.isnan(value):
            self._values = {epoch: self._monitor.sign * value}

    def avoid(self, keys: Container[str]) -> None:
        """Uses another key of the summary if one of the results has it.

        W&B puts the last results into the summary: `best_f1` of detection is one.

        Args:
            keys: The keys of the results, with the prefix.
        """
        if f"{self._prefix}/{self._key}" in keys:
            self._key = self._other_key
            if self._values:
                self.write_summary()

    def is_beaten_by(self, value: float) -> bool:
        """Whether a version with a value would be the best one.

        Args:
            value: The value. Higher is better, and NaN is never the best.
        """
        return value > max(list(self._values.values()), default=-math.inf)

    def record(self, epoch: int, value: float) -> None:
        """Records the value of a version."""
        self._values[epoch] = value

    def forget(self, epoch: int) -> None:
        """Forgets a version that is missing. May be called from any thread."""
        if self._values.pop(epoch, None) is not None:
            self.write_summary()

    def write_summary(self) -> None:
        """Writes the best version to the summary, where a resumed run reads it."""
        entries = list(self._values.items())
        epoch, value = max(entries, key=lambda item: item[1], default=(None, None))
        with contextlib.suppress(Exception):
            assert self._run is not None
            self._run.summary[f"{self._prefix}/best_epoch"] = epoch
            self._run.summary[f"{self._prefix}/{self._key}"] = (
                None if value is None else self._monitor.sign * value
            )
