"""Lists as the text of a cell."""

from __future__ import annotations

import math
from collections.abc import Sequence


def listed(names: Sequence[str], values: Sequence[float] | None = None) -> str:
    """Writes names as the text of a cell in a table of W&B.

    W&B's page draws a list as a bar chart, which can't be read in a row of normal
    height.

    Args:
        names: The names.
        values: The value of each, to be written behind it. The highest comes first,
            NaN last.

    Example:

    >>> listed(["three", "two"], [0.021, 0.94])
    'two 0.94, three 0.02'
    >>> listed(["cat", "dog"])
    'cat, dog'
    """
    if values is None:
        return ", ".join(names)
    pairs = sorted(
        zip(names, values, strict=True),
        key=lambda pair: math.inf if math.isnan(pair[1]) else -pair[1],
    )
    return ", ".join(f"{name} {value:.2f}" for name, value in pairs)
