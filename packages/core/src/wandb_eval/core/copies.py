"""Callbacks that can be copied; copies have a fresh state."""

from __future__ import annotations

import copy
from typing import Any, Self

import keras


class CopiedCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback whose copies, by `copy.deepcopy` or `pickle`, have a fresh state.

    KerasTuner copies its callbacks for each trial; joblib and Ray pickle them.
    """

    _model: Any = None  # Keras' own, which sets it in its constructor.

    def reset_state(self) -> None:
        """Resets the state of a run and of a training, which copies do not share.

        A subclass with such a state overrides this method, and calls
        `super().reset_state()`. The method may use attributes that the constructor sets
        before `super().__init__`.
        """
        self._model = None
        self.params: Any = None

    def _take_over(self, original: Self) -> None:
        """Copies the state that copies in the same process share."""

    def __getstate__(self) -> dict[str, Any]:
        """Returns the attributes that a reset does not change: no run, no model."""
        fresh = object.__new__(type(self))
        fresh.__dict__.update(vars(self))
        fresh.reset_state()
        return {
            name: value
            for name, value in vars(self).items()
            if vars(fresh).get(name) is value
            and name not in ("data_table", "pred_table")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores a copy, which logs to the run that is active when it is used."""
        self.__dict__.update(state)
        self.reset_state()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Makes a copy, which keeps the run that was passed to the original."""
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        made.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        made._take_over(self)
        return made
