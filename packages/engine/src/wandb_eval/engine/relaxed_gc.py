"""Python's collector of cyclic garbage, called less while many rows are made."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_MANY = 200_000


@contextlib.contextmanager
def relaxed_gc() -> Iterator[None]:
    """Has the collector wait for more objects, until the `with` statement ends.

    The rows of a table are lists, thousands of them. For each few hundred the collector
    runs, and now and then it walks all that a backend has in memory, which takes longer
    than making the rows. Garbage is still collected, where there is a lot of it.
    """
    before = gc.get_threshold()
    if before[0]:  # 0 is never.
        gc.set_threshold(max(_MANY, before[0]), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
