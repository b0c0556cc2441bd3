"""Checks of the arguments that several constructors take."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np


def check_bool(name: str, value: Any) -> None:
    """Checks that an argument is a bool; raises a ValueError if not."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"`{name}` must be True or False. Received: {value!r:.200}")


def check_positive(name: str, value: Any, or_none: bool = False) -> int:
    """Checks that an argument is a positive integer, and returns it as an `int`.

    Args:
        name: The name of the argument.
        value: The value of the argument.
        or_none: Whether the error says that it may be `None`.

    Raises:
        ValueError: If the value is not a positive integer.
    """
    if not (is_integer(value) and value > 0):
        raise ValueError(
            f"`{name}` must be a positive integer{' or None' if or_none else ''}. "
            f"Received: {value!r}"
        )
    return int(value)


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, of Python or NumPy, and not a `bool`."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is an integer or a float, and not a `bool`."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
