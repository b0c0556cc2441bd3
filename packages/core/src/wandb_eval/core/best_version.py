"""Which version of a run is the best so far."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import wandb

from wandb_eval.core.arguments import is_integer, is_number
from wandb_eval.core.monitor import Monitor


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

    def recall(self, of_summary: Callable[[str], Any]) -> None:
        """Reads what another callback, or the run before, has left in the summary."""
        epoch, value = of_summary("best_epoch"), of_summary(self._key)
        if is_integer(epoch) and is_number(value):
            self._values = {epoch: self._monitor.sign * value}

    def is_beaten_by(self, epoch: int, value: float) -> bool:
        """Whether a new version is the best one, which it is from then on.

        Args:
            epoch: Its epoch.
            value: How good it is: the more, the better.
        """
        if value <= max(list(self._values.values()), default=-math.inf):
            return False
        self._values[epoch] = value
        return True

    def forget(self, epoch: int) -> bool:
        """Forgets a version that did not arrive; whether it was known."""
        return self._values.pop(epoch, None) is not None

    def say(self, run: wandb.Run | None) -> None:
        """Writes it to the run's summary, also for a run that resumes this one."""
        entries = list(self._values.items())
        epoch, value = max(entries, key=lambda item: item[1], default=(None, None))
        with contextlib.suppress(Exception):
            assert run is not None
            run.summary[f"{self._prefix}/best_epoch"] = epoch
            run.summary[f"{self._prefix}/{self._key}"] = (
                None if value is None else self._monitor.sign * value
            )
