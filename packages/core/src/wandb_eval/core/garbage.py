"""Python's collector of cyclic garbage, out of the way while many rows are made."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collected_later() -> Iterator[None]:
    """Puts off the collector until the `with` statement ends.

    The rows of a table are lists, thousands of them. They would make the collector walk
    all that a backend has in memory, which takes longer than making the rows.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
