"""The other callbacks of a `fit`: their numbers, and their changes of the weights."""

from __future__ import annotations

import contextlib
import math
import re
import string
import sys
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import keras
import wandb

from wandb_eval.engine.monitor import infinitely_bad


class FitCallbacks:
    """The callbacks before and behind our callback in `fit`.

    Args:
        callbacks: All callbacks of the `fit`.
        own: Our callback.
    """

    def __init__(self, callbacks: Sequence[Any], own: Any) -> None:
        self.all = list(callbacks)
        places = [i for i, other in enumerate(self.all) if other is own]
        self._before = self.all[: places[0]] if places else []

    @classmethod
    def find(cls, own: Any) -> FitCallbacks:
        """Finds the callbacks of the `fit` that calls our hook now.

        Keras offers no way to the other callbacks, so this searches the stack for the
        `CallbackList` that calls ours. A user's own loop may have none.

        Args:
            own: Our callback.

        Raises:
            ValueError: If Keras would call its hooks for batches in another thread.
        """
        found = _list_of_fit(own)
        if own.every_n_batches is not None and getattr(found, "_async_train", False):
            raise ValueError(
                "With `every_n_batches`, `callbacks` of `fit` must be a list: Keras "
                "calls a single callback in another thread, while the model trains. "
                f"Received: callbacks={type(own).__name__}(...)"
            )
        return cls(list(getattr(found, "callbacks", [])), own)

    def used(self, prefix: str) -> set[str]:
        """Returns the numbers with a prefix that a callback uses."""
        return {name for other in self.all for name in _used(other, prefix)}

    def completed(
        self,
        numbers: Mapping[str, float],
        prefix: str,
        known: Collection[str],
        are_bad: bool,
        is_due: bool,
    ) -> dict[str, float]:
        """Returns the numbers for the logs, with all that a callback needs.

        Without its number, `ModelCheckpoint` saves the model as the best one, with
        `save_best_only=True`, or can't make its file name. So it gets an infinitely bad
        number.

        Args:
            numbers: The numbers of an epoch; empty if it was not evaluated.
            prefix: The prefix of our numbers.
            known: The names of all numbers that were measured; empty before the first
                evaluation.
            are_bad: Whether the numbers leave out samples, so that none of them counts.
            is_due: Whether the epoch was to be evaluated. If not, `EarlyStopping` must
                not find a number.
        """
        needed = self._needed(f"{prefix}/")
        if not is_due:
            needed -= self._counted(f"{prefix}/")
        elif are_bad:
            needed |= self.used(f"{prefix}/")
        missing = {name for name in needed if name in known or not known}
        filled = infinitely_bad(dict.fromkeys(missing, math.nan))
        return {**filled, **(infinitely_bad(numbers) if are_bad else numbers)}

    def _needed(self, prefix: str) -> set[str]:
        """Returns the numbers that a callback needs in each epoch."""
        return {name for other in self.all for name in _needed(other, prefix)}

    def _counted(self, prefix: str) -> set[str]:
        """Returns the numbers of callbacks that count the epochs that have them."""
        patient = [other for other in self.all if hasattr(other, "patience")]
        return {name for other in patient for name in _used(other, prefix)}

    def warn_of_order(self, prefix: str) -> None:
        """Warns of callbacks that use our numbers before they are measured."""
        for other in self._before:
            for name in sorted(_used(other, prefix)):
                wandb.termwarn(
                    f"{type(other).__name__} monitors {name!r}, but stands before the "
                    "callback that measures it, and will not find it. Put it behind."
                )

    def expect_gaps(self, prefix: str) -> None:
        """Suppresses Keras' warnings of epochs without our numbers.

        Also warns if a callback needs a number in each epoch, and another callback
        counts the epochs that have it.
        """
        late = [other for other in self.all if other not in self._before]
        for name in sorted({name for other in late for name in _used(other, prefix)}):
            pattern = rf"(?s).*{re.escape(name)}.*(not available|available, skipping)"
            warnings.filterwarnings("ignore", pattern)
        for name in sorted(self._needed(prefix) & self._counted(prefix)):
            wandb.termwarn(
                f"In epochs that are not evaluated, {name!r} is missing: callbacks "
                "with `patience` skip them, but `ModelCheckpoint` saves the model as "
                "the best one, or can't make its file name. Evaluate each epoch "
                "(every_n_epochs=1), or give one of them another `monitor`."
            )

    def warn_of_columns(self, prefix: str, are_there: bool) -> None:
        """Warns of callbacks whose columns will not have our numbers.

        Args:
            prefix: The beginning of the names of our numbers.
            are_there: Whether the logs of the first epoch have numbers of ours.
        """
        for other in self.all:
            if not isinstance(other, keras.callbacks.CSVLogger):
                continue
            if other in self._before:
                why = "it stands before the callback that measures them. Put it behind"
            elif not are_there:
                why = "they have none. Evaluate the first epoch, too (every_n_epochs=1)"
            else:
                continue
            wandb.termwarn(
                f"{type(other).__name__} takes its columns from the logs of the first "
                f"epoch. Its file will have no '{prefix}...': {why}, or take the "
                "numbers from the callback's `history`."
            )

    def sync_models(self, own: Any) -> None:
        """Copies the newest weights into the models, if Keras keeps them elsewhere.

        On JAX, `fit` holds them while an epoch runs. The model of our callback may be a
        part of the trained model, which the other callbacks have.

        Args:
            own: The model of our callback.
        """
        for model in (own, *(getattr(other, "_model", None) for other in self.all)):
            if hasattr(model, "jax_state_sync"):
                model.jax_state_sync()

    @contextlib.contextmanager
    def validation_weights(self) -> Iterator[None]:
        """Gives the model the weights that `fit` validates with.

        `SwapEMAWeights` removes the averaged weights before an epoch ends. If it leaves
        them in the model (`swap_on_epoch`), nothing needs to be done.
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


def _used(callback: Any, prefix: str) -> set[str]:
    """Returns the numbers of the logs that a callback uses, as far as it is known.

    Keras' callbacks have a `monitor`, Optuna's a `_monitor`, KerasTuner's an
    `objective`, Ray's `_metrics`; `ModelCheckpoint` puts numbers into its `filepath`.
    """
    attributes = ("monitor", "_monitor", "objective", "metrics", "_metrics")
    names: list[str] = []
    for attribute in attributes:
        with contextlib.suppress(Exception):  # A property of a user's class may fail.
            names += _names(getattr(callback, attribute, None))
    names += _fields(callback)
    return {name for name in names if name.startswith(prefix)}


def _needed(callback: Any, prefix: str) -> set[str]:
    """Returns the numbers that a callback needs in the logs of each epoch."""
    names = _fields(callback)
    if getattr(callback, "save_best_only", False):
        names += _names(getattr(callback, "monitor", None))
    with contextlib.suppress(Exception):  # KerasTuner's `SaveBestEpoch`.
        names += _names(getattr(callback, "objective", None))
    return {name for name in names if name.startswith(prefix)}


def _fields(callback: Any) -> list[str]:
    """Returns the names in the file name of a `ModelCheckpoint`."""
    with contextlib.suppress(Exception):  # Or the path is not a format.
        path = getattr(callback, "filepath", None)
        if isinstance(path, str):
            return [str(field[1]) for field in string.Formatter().parse(path)]
    return []


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _names(list(value.values()))
    elif isinstance(value, (list, tuple, set)):
        for one in value:
            yield from _names(one)
    else:
        yield from _names(getattr(value, "objectives", []))  # Of KerasTuner.
        name = getattr(value, "name", None)
        if isinstance(name, str):
            yield name


def _list_of_fit(callback: Any) -> keras.callbacks.CallbackList | None:
    frame: Any = sys._getframe(1)
    while frame is not None:
        # `f_locals` of a user's function would keep its variables alive.
        if str(frame.f_globals.get("__name__", "")).startswith("keras."):
            found = frame.f_locals.get("self")
            if isinstance(found, keras.callbacks.CallbackList) and any(
                other is callback for other in getattr(found, "callbacks", [])
            ):
                return found
        frame = frame.f_back
    return None
