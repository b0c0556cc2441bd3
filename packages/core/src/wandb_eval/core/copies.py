"""Callbacks that can be copied, and copies that begin anew."""

from __future__ import annotations

import copy
from typing import Any, Self

import keras


class CopiedCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback that `copy.deepcopy` and `pickle` make a fresh one of.

    KerasTuner copies its callbacks for each trial; joblib and Ray pickle them.
    """

    def _reset(self) -> None:
        """Sets up what belongs to a run and a training, and not to a copy."""
        self._model: Any = None  # Keras' own, as the next one.
        self.params: Any = None

    def _take_over(self, original: Self) -> None:
        """Has what a copy in the same process may share with the original."""

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: arguments, and what a subclass has set; no run, no model."""
        blank = object.__new__(type(self))
        blank._reset()
        left_out = {*vars(blank), "data_table", "pred_table"}
        return {k: v for k, v in vars(self).items() if k not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Makes a copy that logs to the run that is active when it is used."""
        self._reset()
        self.__dict__.update(state)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy; one in the same process keeps the run that it was given."""
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        made.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        made._take_over(self)
        return made
