"""Progress of work that makes the user wait, shown as Keras shows it."""

from __future__ import annotations

import time

import keras

_SECONDS_IN_SILENCE = 2.0


class Progress:
    """A Keras progress bar that appears only when the work takes a while.

    Args:
        what: What is being done; printed when the bar appears.
        total: How many steps there are, or `None`.
        verbose: Whether to show anything at all.
    """

    def __init__(self, what: str, total: int | None, verbose: bool = True) -> None:
        self._what = what
        self._verbose = verbose
        self._start = time.monotonic()
        self._done = 0
        # It counts its speed from here on, also while it can't be seen.
        self._bar = keras.utils.Progbar(total)
        self._is_shown = False

    def add(self, steps: int = 1) -> None:
        """Says that so many steps more are done."""
        self._done += steps
        waited = time.monotonic() - self._start
        if not self._is_shown and self._verbose and waited > _SECONDS_IN_SILENCE:
            # A line of its own: Keras' bar for the epoch may still be open.
            print(f"\n{self._what}", flush=True)
            self._is_shown = True
        if self._is_shown:
            self._bar.update(self._done, finalize=False)

    def close(self) -> None:
        """Ends the line of the bar."""
        if self._is_shown:
            self._bar.update(self._done, finalize=True)
