"""The other callbacks of a `fit`: what they monitor, and do to the weights."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import wandb


class Neighbours:
    """The callbacks that stand before and behind one of ours in `fit`.

    Keras gives a callback no way to the others. The `CallbackList` that calls it is
    looked for on the stack; in a loop of a user's own there is none.

    Args:
        callback: Ours. To be made in one of its hooks.
    """

    def __init__(self, callback: Any) -> None:
        self.all = _callbacks_of_fit(callback)
        places = [i for i, other in enumerate(self.all) if other is callback]
        self._before = self.all[: places[0]] if places else []

    def monitors(self, prefix: str) -> bool:
        """Whether one of them monitors a number whose name begins so."""
        return any(_monitored(other).startswith(prefix) for other in self.all)

    def warn_of_order(self, prefix: str) -> None:
        """Names those that monitor a number of ours before it is there."""
        for other in self._before:
            name = _monitored(other)
            if name.startswith(prefix):
                wandb.termwarn(
                    f"{type(other).__name__} monitors {name!r}, but stands before the "
                    "callback that measures it: it will not find it. Put it behind."
                )

    def expect_gaps(self, prefix: str) -> None:
        """Keeps Keras from warning of epochs that have no such number on purpose."""
        late = [other for other in self.all if other not in self._before]
        names = {_monitored(other) for other in late}
        for name in sorted(names):
            if name.startswith(prefix):
                pattern = rf"(?s).*{name}.*(not available|available, skipping)"
                warnings.filterwarnings("ignore", pattern)

    @contextlib.contextmanager
    def validation_weights(self) -> Iterator[None]:
        """Gives the model the weights that `fit` validates with.

        `SwapEMAWeights` takes the averaged weights back before an epoch ends. Where it
        leaves them in the model (`swap_on_epoch`), nothing is to be done.
        """
        swaps = [
            other
            for other in self.all
            if isinstance(other, keras.callbacks.SwapEMAWeights)
            and not getattr(other, "_ema_weights_in_model", False)
        ]
        for swap in swaps:
            swap.on_test_begin()
        try:
            yield
        finally:
            for swap in swaps:
                swap.on_test_end()


def _monitored(callback: Any) -> str:
    return str(getattr(callback, "monitor", None) or "")


def _callbacks_of_fit(callback: Any) -> list[Any]:
    frame: Any = sys._getframe(1)
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, keras.callbacks.CallbackList):
            others = list(getattr(found, "callbacks", []))
            if any(other is callback for other in others):
                return others
        frame = frame.f_back
    return []
