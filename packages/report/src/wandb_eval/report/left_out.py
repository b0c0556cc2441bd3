"""The parts of a run that a page does not show, with the reasons."""

from __future__ import annotations

from collections import Counter

_MOST_LINES = 50
_LONGEST = 200  # The most characters of a name.

ODD = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    EOFError,
)
"""The exceptions that values of unexpected types cause."""


class LeftOut:
    """Collects the parts that are left out of a page, and counts equal ones.

    Example:

    >>> left_out = LeftOut()
    >>> left_out.add("eval_data, image", "the file is not there any more")
    >>> left_out.add("eval_data, image", "the file is not there any more")
    >>> left_out.lines()
    ['eval_data, image: the file is not there any more (2 times)']
    """

    def __init__(self) -> None:
        self._counts = Counter[tuple[str, str]]()

    def add(self, part: str, reason: str) -> None:
        """Adds a part, and the reason why it is left out."""
        self._counts[_short(part), _short(reason)] += 1

    def lines(self) -> list[str]:
        """Returns a line for each part and reason, in the order of their addition."""
        lines = [
            f"{part}: {reason}" + (f" ({count} times)" if count > 1 else "")
            for (part, reason), count in self._counts.items()
        ]
        if len(lines) > _MOST_LINES:
            rest = len(lines) - _MOST_LINES
            lines[_MOST_LINES:] = [f"and {rest} more parts"]
        return lines


def _short(text: str) -> str:
    """Shortens a text, and escapes lone surrogates, which no stream takes."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def describe(error: BaseException) -> str:
    """Describes an error; that of an OSError has neither number nor path."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, (OSError, ValueError)):
        return str(error) or type(error).__name__
    return f"it has values of another type than W&B writes ({type(error).__name__})"
