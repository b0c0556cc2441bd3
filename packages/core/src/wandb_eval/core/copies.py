"""Callbacks that can be copied, and copies that begin anew."""

from __future__ import annotations

import copy
from typing import Any, Self

import keras


class CopiedCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback of which `copy.deepcopy` and `pickle` make a fresh one.

    KerasTuner copies its callbacks for each trial; joblib and Ray pickle them.
    """

    _model: Any = None  # Keras' own, which sets it in its constructor.

    def reset_state(self) -> None:
        """Sets up the state of a run and a training, which no copy takes over.

        A subclass with such a state overrides it, and calls `super().reset_state()`. It
        may use arguments that its constructor sets before `super().__init__`.
        """
        self._model = None
        self.params: Any = None

    def _take_over(self, original: Self) -> None:
        """Takes over the state that a copy in the same process shares."""

    def __getstate__(self) -> dict[str, Any]:
        """Returns the attributes that a reset leaves alone: no run, no model."""
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
        """Makes a copy that logs to the run that is active when it is used."""
        self.__dict__.update(state)
        self.reset_state()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Makes a copy; one in the same process keeps the run that it was given."""
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        made.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        made._take_over(self)
        return made
