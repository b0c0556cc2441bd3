"""Work in threads: side by side, or beside the model's predicting."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS = min(8, os.cpu_count() or 1)


def map_in_threads(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    done: Callable[[], None] = lambda: None,
) -> list[Result]:
    """`list(map(function, items))` in a pool of threads.

    Args:
        function: One that lets threads run side by side, as NumPy and OpenCV do.
        items: What to call it with.
        done: Called after each of them, in their order.
    """
    results = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for result in pool.map(function, items):
            results.append(result)
            done()
    return results


def release_in_background(references: list[Any]) -> None:
    """Drops references in a thread of its own, which the end of the process waits for.

    Who drops the last one to an iterator of a `tf.data.Dataset` waits, every other time
    or so, until a thread of TensorFlow's wakes: it sleeps for as long as the iterator
    has lived, a minute at most.

    Args:
        references: What refers to it, and nothing else does. It is emptied.
    """
    if sys.is_finalizing():  # No thread begins then.
        references.clear()
    else:
        threading.Thread(target=references.clear).start()


class BackgroundWorker:
    """Calls a function in a thread beside this one: one call at a time, in order.

    So a batch of predictions is looked at while the model predicts the next one. What
    is called is done when the `with` statement ends, however it ends.

    Args:
        function: What to call. What it raises is raised by the next call, or by `join`.

    Example:

    >>> with BackgroundWorker(print) as print_beside:
    ...     print_beside("one")
    ...     print_beside("two")
    one
    two
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function
        self._thread = ThreadPoolExecutor(1)
        self._under_way: Future[None] | None = None

    def __call__(self, *args: Any) -> None:
        """Waits until the call before is done, and begins this one."""
        self.join()
        self._under_way = self._thread.submit(self._function, *args)

    def join(self) -> None:
        """Waits until the last call is done."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def close(self) -> None:
        """Waits until the last call is done, and ends the thread."""
        self._thread.shutdown()
        self.join()

    def __enter__(self) -> BackgroundWorker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._thread.shutdown()
