"""Checks of the arguments that several constructors take."""

from __future__ import annotations

from typing import Any


def check_bool(name: str, value: Any) -> None:
    """Raises a ValueError unless an argument is `True` or `False`."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False. Received: {value!r:.200}")


def check_positive(name: str, value: Any, none: bool = False) -> None:
    """Raises a ValueError unless an argument is an integer above 0.

    Args:
        name: The name of the argument.
        value: What was passed.
        none: Whether it may be `None`.
    """
    if (none and value is None) or (is_integer(value) and value > 0):
        return
    raise ValueError(
        f"`{name}` must be a positive integer{' or None' if none else ''}. "
        f"Received: {value!r}"
    )


def is_integer(value: Any) -> bool:
    """Whether it is an `int`, and not a `bool`."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is an `int` or a `float`, and not a `bool`."""
    return isinstance(value, float) or is_integer(value)
