"""Progress bars of Keras for work that the user waits for."""

from __future__ import annotations

import time

import keras

_SECONDS_IN_SILENCE = 2.0


class Progress:
    """A Keras progress bar that appears only when the work takes a while.

    Args:
        what: The name of the work, which is printed when the bar appears.
        total: The number of steps, or `None` if it is not known.
        verbose: Whether to show the bar.
    """

    def __init__(self, what: str, total: int | None, verbose: bool = True) -> None:
        self._what = what
        self._verbose = verbose
        self._start = time.monotonic()
        self._done = 0
        # It measures its speed from here on, even while it is not shown.
        self._bar = keras.utils.Progbar(total)
        self._is_shown = False

    def add(self, steps: int = 1) -> None:
        """Adds steps that are done."""
        self._done += steps
        waited = time.monotonic() - self._start
        if not self._is_shown and self._verbose and waited > _SECONDS_IN_SILENCE:
            # A new line, because Keras' bar for the epoch may still be open.
            print(f"\n{self._what}", flush=True)
            self._is_shown = True
        if self._is_shown:
            self._bar.update(self._done, finalize=False)

    def close(self) -> None:
        """Ends the line of the bar."""
        if self._is_shown:
            self._bar.update(self._done, finalize=True)
