"""The moments at which a model is evaluated while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Moment:
    """The moment of an evaluation: the end of an epoch, or a batch within it.

    Attributes:
        epoch: The epoch, from 0.
        batch: The number of batches trained in the epoch; `None` at its end.
    """

    epoch: int
    batch: int | None = None

    @property
    def alias(self) -> str:
        """The alias of its version: `epoch_3`, or `epoch_3_batch_20`."""
        suffix = "" if self.batch is None else f"_batch_{self.batch}"
        return f"epoch_{self.epoch}{suffix}"


class Schedule:
    """Decides when to evaluate, and tracks the evaluations.

    Args:
        every_n_epochs: The number of epochs between evaluations.
        every_n_batches: The number of batches between evaluations within an epoch;
            `None` for no such evaluations.

    Attributes:
        is_in_fit: Whether `fit` runs.
        last_end: The last epoch that ended, and its logs; `None` before the first one.
        next_epoch: The epoch of a call of `evaluate`: the one that runs, or comes next.
    """

    def __init__(self, every_n_epochs: int, every_n_batches: int | None) -> None:
        self._every_n_epochs = every_n_epochs
        self._every_n_batches = every_n_batches
        self.is_in_fit = False
        self.last_end: tuple[int, dict[str, Any]] | None = None
        self.next_epoch = 0
        self._num_epochs: int | None = None
        self._num_batches: int | None = None
        self._batch = 0
        self._evaluated: Moment | None = None

    def begin(self, params: Mapping[str, Any] | None) -> None:
        """Begins a training.

        Args:
            params: The parameters of `fit`, as Keras passes them to callbacks.
        """
        self._num_epochs = (params or {}).get("epochs")
        self._num_batches = (params or {}).get("steps")
        self._batch, self._evaluated, self.last_end = 0, None, None
        self.next_epoch, self.is_in_fit = 0, True

    def leave_fit(self) -> None:
        """Leaves a training, which may have been interrupted."""
        self.is_in_fit, self._evaluated = False, None

    def begin_epoch(self, epoch: int) -> None:
        """Begins an epoch."""
        self._batch, self.next_epoch = 0, epoch

    def end_epoch(self, epoch: int, logs: Mapping[str, Any] | None) -> None:
        """Ends an epoch."""
        self.last_end, self.next_epoch = (epoch, dict(logs or {})), epoch + 1

    def is_last(self, epoch: int, stops: bool) -> bool:
        """Whether an epoch is the last one, as far as it is known.

        Args:
            epoch: The epoch, from 0.
            stops: Whether the training stops after this epoch.
        """
        return stops or epoch + 1 == self._num_epochs

    def ends(self, moment: Moment, is_last: bool) -> bool:
        """Whether the training ends with an evaluation at a moment."""
        return not self.is_in_fit or (is_last and moment.batch is None)

    def is_due(self, epoch: int, stops: bool) -> bool:
        """Whether to evaluate at the end of an epoch."""
        return self.is_last(epoch, stops) or (epoch + 1) % self._every_n_epochs == 0

    def moment_after(self, epoch: int, batch: int) -> Moment | None:
        """Counts a batch, and returns the moment if the model is to be evaluated now.

        Args:
            epoch: The epoch, from 0.
            batch: The batch that was trained, from 0.
        """
        before, self._batch = self._batch, batch + 1
        if self._every_n_batches is None:
            return None
        if self._num_batches is not None and self._batch >= self._num_batches:
            return None  # The end of the epoch is evaluated instead.
        # With `steps_per_execution`, several batches are trained at once.
        is_due = self._batch // self._every_n_batches > before // self._every_n_batches
        return Moment(epoch, self._batch) if is_due else None

    def note(self, moment: Moment) -> None:
        """Records an evaluation of the model."""
        self._evaluated = moment

    def missed_end(self) -> tuple[int, dict[str, Any]] | None:
        """Returns the last epoch and its logs, if it was not evaluated at its end."""
        if self.last_end is None:
            return None
        is_evaluated = self._evaluated == Moment(self.last_end[0])
        return None if is_evaluated else self.last_end
