"""Numbers equal those of scikit-learn and SciPy."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as theirs

from wandb_eval.regression import RegressionMetrics
from wandb_eval.regression.metrics import MAX_POINTS, choose_points, mae_by_range
from wandb_eval.regression.targets import Spread


def situation(seed):
    """Targets and outputs of random shapes, dtypes and ranges, in batches."""
    rng = np.random.default_rng(seed)
    count = int(rng.choice([1, 2, 3, 10, 57]))
    targets = int(rng.choice([1, 1, 2, 4]))
    y = rng.normal(rng.normal() * 10, 3, (count, targets))
    outputs = y + rng.normal(size=y.shape)
    if rng.random() < 0.3:
        y[:, 0] = rng.choice([0.0, 0.1, 7.3])
    if rng.random() < 0.2:
        outputs[:, 0] = y[:, 0] if rng.random() < 0.5 else 1.5
    if rng.random() < 0.3:
        y, outputs = np.round(y), np.round(outputs)  # Ties, for ranks.
    y = y.astype(rng.choice(["float64", "float32", "float16"]))
    if rng.random() < 0.3:
        y = np.clip(y, 0, 255).astype(np.uint8)
    outputs = outputs.astype(rng.choice(["float32", "float16"]))
    if rng.random() < 0.3:
        outputs[rng.integers(count), 0] = rng.choice([np.nan, np.inf])
    if targets == 1 and rng.random() < 0.5:
        y = y[:, 0]
    return y, outputs, int(rng.integers(1, count + 1))


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_numbers_are_those_of_scikit_learn(first):
    for seed in range(first, first + 50):
        y, outputs, size = situation(seed)
        ours = RegressionMetrics(tolerance=[0.5] * outputs.shape[1])
        for start in range(0, len(y), size):
            ours.update(y[start : start + size], outputs[start : start + size])
        results = ours.compute()
        numbers = {k: v for k, v in results.items() if isinstance(v, float)}
        expected = by_others(y.reshape(outputs.shape), outputs)
        assert numbers == pytest.approx(expected, rel=1e-9, abs=1e-12), seed


def by_others(y, outputs):
    y, outputs = y.astype(float), outputs.astype(float)
    valid = np.isfinite(outputs).all(axis=1)
    expected = {} if valid.all() else {"left_out": float((~valid).sum())}
    y, outputs = y[valid], outputs[valid]
    if not len(y):
        return expected
    columns = list(zip(y.T, outputs.T, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected |= {
            "mae": theirs.mean_absolute_error(y, outputs),
            "rmse": theirs.root_mean_squared_error(y, outputs),
            "median_ae": theirs.median_absolute_error(y, outputs),
            "max_error": np.mean([theirs.max_error(*pair) for pair in columns]),
            "r2": theirs.r2_score(y, outputs),
            "bias": (outputs - y).mean(),
            "within_tolerance": (abs(outputs - y) <= 0.5).mean(),
        }
        if len(y) > 1:
            for name in ("pearsonr", "spearmanr"):
                found = [getattr(stats, name)(*pair).statistic for pair in columns]
                expected[name[:-1]] = np.nanmean(found)
    return {name: value for name, value in expected.items() if np.isfinite(value)}


def test_the_table_has_each_target():
    metrics = RegressionMetrics(["x", "y"], ["mm", None])
    metrics.update(np.array([[0.0, 5.0], [2.0, 5.0]]), np.array([[1.0, 5.0], [2.0, 7]]))
    results = metrics.compute()
    table = results["per_target"]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.data]
    assert [row["target"] for row in rows] == ["x", "y"]
    assert [row["unit"] for row in rows] == ["mm", ""]
    assert [row["mae"] for row in rows] == [0.5, 1.0]
    assert [row["r2"] for row in rows] == [0.5, 0.0]  # The second one is constant.
    assert rows[1]["pearson"] is None
    assert results["pearson"] == pytest.approx(1)
    charts = ("predicted_over_true", "residuals", "mae_by_range")
    assert {f"{name}_{i}" for name in charts for i in (0, 1)} <= results.keys()


def test_points_of_charts_are_all_of_the_hardest_and_a_sample():
    difficulty = np.random.default_rng(0).random(5000)
    places = choose_points(difficulty, 20)
    assert len(places) == MAX_POINTS == len(set(places.tolist()))
    assert set(np.argsort(-difficulty)[:20].tolist()) <= set(places.tolist())
    assert 0.4 < difficulty[places].mean() < 0.6
    assert choose_points(difficulty, 20).tolist() == places.tolist()
    metrics = RegressionMetrics()
    metrics.update(difficulty, difficulty * 2)
    for key in ("predicted_over_true", "residuals"):
        assert len(metrics.compute()[key].table.data) == MAX_POINTS


def test_errors_by_ranges_of_the_target():
    true = np.array([0.0, 0.5, 5.5, 10.0, 10.0])
    middles, errors = mae_by_range(true, true + np.array([1, 3, 2, 4, -2]))
    assert middles.tolist() == [0.5, 5.5, 9.5]
    assert errors.tolist() == [2, 2, 3]
    middles, errors = mae_by_range(np.full(3, 0.1), np.full(3, 0.1))
    assert (middles.tolist(), errors.tolist()) == ([0.1], [0])


def test_a_constant_target_that_is_rounded():
    y = np.column_stack([np.arange(1000.0), np.full(1000, 0.1)])
    spread = Spread()
    for start in range(0, 1000, 30):
        spread.update(y[start : start + 30])
    assert spread.deviations() == pytest.approx([np.std(y[:, 0]), 1.0])
