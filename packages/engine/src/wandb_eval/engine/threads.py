"""Work in threads: in parallel, or while the model predicts."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = min(8, os.cpu_count() or 1)


def map_in_threads(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    done: Callable[[], None] = lambda: None,
) -> list[Result]:
    """Applies a function to items, in a pool of threads.

    Args:
        function: The function. It should release the GIL, as NumPy and OpenCV do.
        items: The arguments of the calls.
        done: A function that is called after each item, in their order.

    Returns:
        The results, in the order of the items.
    """
    results = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for result in pool.map(function, items):
            results.append(result)
            done()
    return results


def release_in_background(references: list[Any]) -> None:
    """Drops references in a separate thread, which the process waits for at its end.

    Dropping the last reference to an iterator of a `tf.data.Dataset` blocks in about
    half of the cases, until a thread of TensorFlow wakes. That thread sleeps for as
    long as the iterator has lived, up to a minute.

    Args:
        references: A list with the only references to the object. It is emptied.
    """
    if sys.is_finalizing():  # No thread can start then.
        references.clear()
    else:
        threading.Thread(target=references.clear).start()


class BackgroundWorker:
    """Calls a function in another thread: one call at a time, in order.

    So a batch of predictions is evaluated while the model predicts the next one.
    `close` waits for the last call, and ends the thread.

    Args:
        function: The function. Its exceptions are raised by the next call, or by
            `join`.

    Example:

    >>> beside = BackgroundWorker(print)
    >>> try:
    ...     beside("one")
    ...     beside("two")
    ... finally:
    ...     beside.close()
    one
    two
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function
        self._thread = ThreadPoolExecutor(1)
        self._under_way: Future[None] | None = None

    def __call__(self, *args: Any) -> None:
        """Waits for the previous call, and begins a new one."""
        self.join()
        self._under_way = self._thread.submit(self._function, *args)

    def join(self) -> None:
        """Waits for the last call."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def close(self) -> None:
        """Waits for the last call, and ends the thread."""
        self._thread.shutdown()
        self.join()
