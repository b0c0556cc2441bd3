"""The numbers that go into the logs of `fit`, and lists of all numbers by epoch."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, Literal

InLogs = Literal["all"] | Sequence[str] | None


class FitLogs:
    """Chooses the numbers that `fit` prints and its other callbacks see.

    Args:
        names: The argument of the user: `"all"`, a list of names, with or without the
            prefix, or `None` for the headline numbers of the task.

    Raises:
        ValueError: If `names` is something else.
    """

    def __init__(self, names: Any) -> None:
        is_list = isinstance(names, (list, tuple, set, frozenset))
        if not (
            names is None
            or (isinstance(names, str) and names == "all")
            or (is_list and all(isinstance(name, str) for name in names))
        ):
            raise ValueError(
                "`in_logs` must be 'all', a list of names of numbers, or None for the "
                f"headline numbers of the task. Received: {names!r:.200}"
            )
        self._names = list(names) if is_list else names
        self._checked = False

    def choose(
        self,
        numbers: dict[str, float],
        prefix: str,
        headline: Sequence[str] | None,
        used: Collection[str],
    ) -> dict[str, float]:
        """Returns the numbers of an evaluation that go into the logs.

        Args:
            numbers: All numbers, by key.
            prefix: The beginning of the keys.
            headline: The names of the task's headline numbers. `None` for all of them.
            used: The keys of numbers that a callback of this `fit` needs.
        """
        names = self._names if self._names is not None else headline
        if names is None or names == "all":
            return dict(numbers)
        wanted = {_key(name, prefix) for name in names} | set(used)
        return {key: value for key, value in numbers.items() if key in wanted}

    def check(self, numbers: dict[str, float], prefix: str) -> None:
        """Checks the names of the list, when the first numbers are known.

        Raises:
            ValueError: If a name is not that of a number.
        """
        if self._checked or not numbers or not isinstance(self._names, list):
            return
        self._checked = True
        unknown = [name for name in self._names if _key(name, prefix) not in numbers]
        if unknown:
            known = ", ".join(sorted(key.removeprefix(f"{prefix}/") for key in numbers))
            raise ValueError(
                f"`in_logs` names {', '.join(map(repr, unknown))}, which the first "
                f"evaluation did not measure. It measured: {known}"
            )


def add_epoch(history: dict[str, list[float]], numbers: dict[str, float]) -> None:
    """Adds the numbers of an epoch to lists by epoch, which keep equal lengths.

    If a number is missing in an epoch, its list has NaN.
    """
    count = max(map(len, history.values()), default=0)
    for key in {**history, **numbers}:
        history.setdefault(key, [math.nan] * count).append(numbers.get(key, math.nan))


def _key(name: str, prefix: str) -> str:
    return name if name.startswith(f"{prefix}/") else f"{prefix}/{name}"
