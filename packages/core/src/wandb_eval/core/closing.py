"""Hooks that close rows of the history, when all callbacks of an epoch are through."""

from __future__ import annotations

import keras

from wandb_eval.core._wandb.history import close_row
from wandb_eval.core.run_log import RunLog


class ClosesRows(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback whose rows of the history are closed in the next hook.

    Until then, others who log in the same epoch join them. The page, the summary and
    the log of an offline run have an epoch while the next one runs.
    """

    _run_log: RunLog

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Notes which epoch it is, and closes the row of the epoch before."""
        self._run_log.failures.epoch = epoch
        self._close_row()

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Closes a row that is open still: of an evaluation within the epoch, say.

        Or of the epoch before, where a subclass or a loop leaves out `on_epoch_begin`.
        """
        super().on_train_batch_begin(batch, logs)
        self._close_row()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Closes the row of the last epoch."""
        self._close_row()

    def _close_row(self) -> None:
        log = self._run_log
        if log.run is not None and log.writes:
            with log.reports.tolerate("The metrics could not be logged"):
                close_row(log.run)
