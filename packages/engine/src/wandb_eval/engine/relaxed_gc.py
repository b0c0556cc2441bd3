"""Runs Python's garbage collector less often while many rows are made."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_MANY = 200_000


@contextlib.contextmanager
def relaxed_gc() -> Iterator[None]:
    """Raises the threshold of the collector, until the `with` statement ends.

    The rows of a table are thousands of lists. The collector runs for every few hundred
    of them, and sometimes visits all objects of a backend, which takes longer than
    making the rows. Large amounts of garbage are still collected.
    """
    before = gc.get_threshold()
    if before[0]:  # 0 means never.
        gc.set_threshold(max(_MANY, before[0]), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
