"""The number that decides which version is the best, and its direction."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import keras
import wandb

Mode = Literal["auto", "min", "max"]

_LOWER_IS_BETTER = re.compile(
    r"loss|error|entropy|brier|cost|(?<![a-z])(ae|mae|mape|mse|msle|rmse|ece)(?![a-z])"
)
_HIGHER_IS_BETTER = re.compile(
    r"accuracy|precision|recall|pearson|spearman|within_tolerance"
    r"|(?<![a-z])(acc|ap|ar|auc|dice|f1|iou|io_u|map|psnr|r2|ssim)(?![a-z])"
)


class Monitor:
    """A number of the logs that decides which version is the best.

    Args:
        name: The name of the number, or `None`.
        mode: `"min"`, `"max"`, or `"auto"`, which infers the direction from the
            compiled metric of that name, if it declares a direction, or from the name.

    Raises:
        ValueError: If an argument can't be used.
    """

    def __init__(self, name: str | None, mode: Mode) -> None:
        if not isinstance(mode, str) or mode not in ("auto", "min", "max"):
            raise ValueError(
                f"`mode` must be 'auto', 'min' or 'max'. Received: {mode!r}"
            )
        if name is not None and not isinstance(name, str):
            raise ValueError(f"`monitor` must be a string or None. Received: {name!r}")
        self.name = name
        self._mode = mode
        self.sign = -1.0 if mode == "min" else 1.0
        self._has_warned = False

    def set_model(self, model: Any) -> None:
        """Infers the direction from the compiled metrics, or from the name.

        Raises:
            ValueError: If `mode="auto"` can't infer the direction.
        """
        self._has_warned = False
        if self.name is None or self._mode != "auto":
            return
        sign = _declared(model, self.name) or _told_by_name(self.name)
        if sign is None:
            raise ValueError(
                f"`mode='auto'` can't tell whether more of {self.name!r} is better or "
                "less. Pass `mode='min'` or `mode='max'`."
            )
        self.sign = sign

    def value(
        self, numbers: dict[str, Any], not_finite: int = 0, *, within: bool = False
    ) -> float:
        """Returns the value of an epoch; higher is better.

        Args:
            numbers: The measured numbers.
            not_finite: The number of samples with outputs that are not finite. If there
                are any, the value is minus infinity, because numbers of fewer samples
                can't be compared with those of all. A warning says so once.
            within: Whether it is a moment within an epoch, which has no number of the
                validation of `fit`.
        """
        if not_finite:
            self._warn_of(not_finite)
            return -math.inf
        if self.name is None or (within and self.name not in numbers):
            return -math.inf
        if self.name not in numbers:
            wandb.termwarn(
                f"`monitor` names {self.name!r}, which is not among the measured "
                f"numbers: {', '.join(sorted(numbers))}. No version is the best one.",
                repeat=False,
            )
            return -math.inf
        value = numbers[self.name]
        try:
            return self.sign * float(value)
        except (TypeError, ValueError):  # Keras' `F1Score` has a number for each class.
            wandb.termwarn(
                f"`monitor` must name a single number. {self.name!r} is {value!r}. No "
                "version is the best one.",
                repeat=False,
            )
            return -math.inf

    def _warn_of(self, not_finite: int) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        samples = "1 sample" if not_finite == 1 else f"{not_finite} samples"
        wandb.termwarn(
            f"For {samples} of the validation data, outputs of the model are NaN or "
            "infinite. No version with such outputs is the best one. This warning "
            "appears once; `left_out` counts them in each epoch."
        )


def infinitely_bad(numbers: Mapping[str, float]) -> dict[str, float]:
    """Returns the worst value of each number whose direction its name tells.

    Example:

    >>> infinitely_bad({"eval/mae": 0.1, "eval/r2": 0.9, "eval/left_out": 3})
    {'eval/mae': inf, 'eval/r2': -inf, 'eval/left_out': 3}
    """
    return {
        name: -math.inf * sign if (sign := _told_by_name(name)) else value
        for name, value in numbers.items()
    }


def _declared(model: Any, name: str) -> float | None:
    """Returns the direction of a compiled metric, as Keras' callbacks read it."""
    wanted = name.removeprefix("val_")
    for metric in _metrics(getattr(model, "metrics", [])):
        direction = getattr(metric, "_direction", None)
        if metric.name == wanted and direction is not None:
            return 1.0 if direction == "up" else -1.0
    return None


def _metrics(metrics: Any) -> list[Any]:
    found = []
    for metric in metrics:
        within = getattr(metric, "metrics", None)
        if within is None or isinstance(metric, keras.Model):
            found.append(metric)
            continue
        # Keras wraps the compiled metrics in one metric, which is empty until the first
        # batch.
        given = keras.tree.flatten(getattr(metric, "_user_metrics", None) or [])
        found += _metrics(within)
        found += [one for one in given if isinstance(one, keras.metrics.Metric)]
    return found


def _told_by_name(name: str) -> float | None:
    name = name.rpartition("/")[2].lower()
    lower, higher = (
        max((match.end() for match in pattern.finditer(name)), default=0)
        for pattern in (_LOWER_IS_BETTER, _HIGHER_IS_BETTER)
    )
    # The last word decides, as in "error_type_accuracy".
    return None if lower == higher else 1.0 if higher > lower else -1.0
