"""The errors of predicted numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import r2_score

from wandb_eval.engine import charts
from wandb_eval.regression.targets import Numbers, name_targets, read_targets

MAX_CHARTS = 4
"""The number of targets, in their order, for which charts are drawn."""

MAX_POINTS = 1000
NUM_RANGES = 10


class RegressionMetrics:
    """Metrics of predicted numbers, over many batches.

    It keeps all targets and outputs, 16 bytes for each number, because medians and
    ranks need them. Samples with outputs that are not finite are left out.

    Args:
        target_names: The name of each target.
        units: The unit of each target, for the charts and the table; `None` or `""` for
            none.
        tolerance: The largest |error| of each target that counts as right; `None` to
            count none.
        deviations: The standard deviation of each target, which scales the errors for
            choosing the points of charts. `None` for 1.
        num_hardest: The number of samples with the largest errors that charts always
            show.

    Example:

    >>> metrics = RegressionMetrics(["age"])
    >>> metrics.update(np.array([20.0, 30.0, 40.0]), np.array([[22.0], [30.0], [37.0]]))
    >>> results = metrics.compute()
    >>> round(results["mae"], 4), round(results["r2"], 4), round(results["bias"], 4)
    (1.6667, 0.935, -0.3333)
    """

    def __init__(
        self,
        target_names: Sequence[str] | None = None,
        units: Sequence[str | None] | None = None,
        tolerance: Sequence[float] | None = None,
        deviations: Numbers | None = None,
        num_hardest: int = 20,
    ) -> None:
        self.target_names = None if target_names is None else list(target_names)
        self.left_out = 0
        self._units = units
        self._tolerance = tolerance
        self._deviations = deviations
        self._num_hardest = num_hardest
        self._true: list[Numbers] = []
        self._predicted: list[Numbers] = []

    def update(self, truth: Any, predictions: Any) -> None:
        """Takes in a batch.

        Args:
            truth: Finite numbers of shape `(batch,)` or `(batch, targets)`.
            predictions: Numbers of the same shape.
        """
        true = read_targets(truth)
        predicted = np.asarray(predictions, np.float64).reshape(true.shape)
        valid = np.isfinite(predicted).all(axis=1)
        self.left_out += int((~valid).sum())
        self._true.append(true[valid])
        self._predicted.append(predicted[valid])

    def merge(self, other: RegressionMetrics) -> None:
        """Takes in all samples of another one, as if they came behind its own."""
        self.left_out += other.left_out
        self._true += other._true
        self._predicted += other._predicted

    def compute(self) -> dict[str, Any]:
        """Returns the values to log: numbers, the table by target, and charts.

        Undefined numbers are missing, such as the correlation with a constant target.
        `left_out` is missing if it is 0.
        """
        results: dict[str, Any] = {}
        if self.left_out:
            results["left_out"] = float(self.left_out)
        if not sum(map(len, self._true)):
            return results
        true, predicted = map(np.concatenate, (self._true, self._predicted))
        self._true, self._predicted = [true], [predicted]  # One copy in memory.
        by_target = measure(true, predicted, self._tolerance)
        for name, values in by_target.items():
            defined = values[np.isfinite(values)]
            if defined.size:
                results[name] = float(defined.mean())
        names = name_targets(self.target_names, true.shape[1])
        units = self._units or [None] * len(names)
        results["per_target"] = charts.table(
            ["target", "unit", *by_target],
            [
                [name, unit or "", *(_or_none(v[i]) for v in by_target.values())]
                for i, (name, unit) in enumerate(zip(names, units, strict=True))
            ],
        )
        return results | self._charts(true, predicted, names, units)

    def _charts(
        self,
        true: Numbers,
        predicted: Numbers,
        names: list[str],
        units: Sequence[str | None],
    ) -> dict[str, Any]:
        deviations = 1.0 if self._deviations is None else self._deviations
        difficulty = (np.abs(predicted - true) / deviations).mean(axis=1)
        shown = choose_points(difficulty, self._num_hardest)
        made: dict[str, Any] = {}
        for i, (name, unit) in enumerate(zip(names[:MAX_CHARTS], units, strict=False)):
            x, y = true[:, i], predicted[:, i]
            suffix = "" if len(names) == 1 else f"_{i}"
            in_unit = f" ({unit})" if unit else ""
            axes = f"{name}{in_unit}", f"predicted {name}{in_unit}", f"error{in_unit}"
            title = f"Predicted over true {name}{in_unit}"
            made[f"predicted_over_true{suffix}"] = charts.scatter(
                x[shown], y[shown], axes[0], axes[1], title
            )
            made[f"residuals{suffix}"] = charts.scatter(
                y[shown],
                (y - x)[shown],
                axes[1],
                axes[2],
                f"Error over predicted {name}{in_unit}",
            )
            made[f"mae_by_range{suffix}"] = charts.curves(
                {name: mae_by_range(x, y)},
                axes[0],
                f"mean absolute {axes[2]}",
                f"Mean absolute error by ranges of {name}{in_unit}",
            )
        return made


def measure(
    true: Numbers, predicted: Numbers, tolerance: Sequence[float] | None = None
) -> dict[str, Numbers]:
    """Measures each target.

    The numbers are defined as in scikit-learn, and the correlations as in SciPy.

    Args:
        true: Finite numbers of shape `(samples, targets)`, of one sample or more.
        predicted: Finite numbers of the same shape.
        tolerance: The largest |error| of each target that counts as right.

    Returns:
        The numbers by name, of shape `(targets,)`; NaN where a number is undefined.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        errors = predicted - true
        distances = np.abs(errors)
        undefined = np.full(true.shape[1], np.nan)
        r2 = undefined
        if len(true) > 1:
            r2 = np.asarray(r2_score(true, predicted, multioutput="raw_values"))
        ranks = rankdata(true, axis=0), rankdata(predicted, axis=0)
        measured = {
            "mae": distances.mean(axis=0),
            "rmse": np.sqrt((errors**2).mean(axis=0)),
            "r2": r2,
            "median_ae": np.median(distances, axis=0),
            "max_error": distances.max(axis=0),
            "bias": errors.mean(axis=0),
            "pearson": correlation(true, predicted),
            "spearman": correlation(*ranks),
        }
        if tolerance is not None:
            measured["within_tolerance"] = (distances <= tolerance).mean(axis=0)
    return measured


def correlation(a: Numbers, b: Numbers) -> Numbers:
    """Returns Pearson's correlation of each column; NaN for constant columns."""
    varies = (a != a[0]).any(axis=0) & (b != b[0]).any(axis=0)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    lengths = [np.sqrt((side**2).sum(axis=0)) for side in (a, b)]
    product = (a / lengths[0] * (b / lengths[1])).sum(axis=0)
    return np.asarray(np.where(varies, np.clip(product, -1, 1), np.nan))


def mae_by_range(true: Numbers, predicted: Numbers) -> tuple[Numbers, Numbers]:
    """Returns the mean absolute error in ten ranges of a target, of equal width.

    Args:
        true: The targets, of shape `(samples,)`.
        predicted: The predictions, of the same shape.

    Returns:
        The middle of each range that has samples, and the mean error in the range.

    Example:

    >>> middles, errors = mae_by_range(np.array([0.0, 10.0]), np.array([1.0, 12.0]))
    >>> middles, errors
    (array([0.5, 9.5]), array([1., 2.]))
    """
    low, high = float(true.min()), float(true.max())
    width = high / NUM_RANGES - low / NUM_RANGES
    if width > 0:
        bins = np.minimum((true / width - low / width).astype(int), NUM_RANGES - 1)
    else:
        bins = np.zeros(len(true), int)
    counts = np.bincount(bins, minlength=NUM_RANGES)
    sums = np.bincount(bins, np.abs(predicted - true), NUM_RANGES)
    held = np.flatnonzero(counts)
    return np.asarray(low + width * (held + 0.5)), sums[held] / counts[held]


def choose_points(difficulty: Numbers, num_hardest: int) -> Any:
    """Chooses samples for a chart: the hardest, and a sample of the others.

    Args:
        difficulty: The error of each sample, of shape `(samples,)`.
        num_hardest: The number of the hardest samples; up to 1,000 of them are chosen.

    Returns:
        The places of at most 1,000 samples, in ascending order. Equal errors give equal
        places.
    """
    if len(difficulty) <= MAX_POINTS:
        return np.arange(len(difficulty))
    order = np.argsort(-difficulty, kind="stable")
    hardest = order[: min(num_hardest, MAX_POINTS)]
    others = np.sort(order[len(hardest) :])
    rng = np.random.default_rng(0)
    drawn = rng.choice(others, MAX_POINTS - len(hardest), replace=False)
    return np.sort(np.concatenate([hardest, drawn]))


def _or_none(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
