"""The calibration, against the formula written out bin by bin."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wandb_eval.classification.calibration import Calibration

pytestmark = pytest.mark.any_backend


def expected_calibration_error(confidence, right):
    """Equation 3 of Guo et al. 2017, as torchmetrics computes it (norm="l1")."""
    total = 0.0
    edges = np.linspace(0, 1, 16)
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        inside |= (low == 0) & (confidence == 0)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            total += gap * inside.mean()
    return total


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 200),
    cut=st.integers(0, 200),
    digits=st.integers(1, 5),
)
def test_against_the_formula(seed, size, cut, digits):
    rng = np.random.default_rng(seed)
    confidence = rng.random(size).round(digits)
    right = rng.random(size) < confidence
    calibration = Calibration()
    calibration.update(confidence[:cut], right[:cut])
    calibration.update(confidence[cut:], right[cut:])
    expected = expected_calibration_error(confidence, right)
    assert calibration.error() == pytest.approx(expected, abs=1e-9)


def test_the_chart_has_the_bins_that_are_not_empty():
    calibration = Calibration()
    calibration.update(np.array([0.96, 0.98, 1.0, 0.0]), np.array([1, 0, 1, 0]))
    confidence, accuracy = calibration.curve()
    assert confidence == pytest.approx([0, 0.98])
    assert accuracy == pytest.approx([0, 2 / 3])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_an_edge_belongs_to_the_bin_below(dtype):
    calibration = Calibration()
    edges = np.linspace(0, 1, 16)[1:].astype(dtype)
    calibration.update(edges, np.ones(15))
    confidence, _ = calibration.curve()
    assert confidence == pytest.approx(edges.astype(float), abs=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_batches_make_no_difference(dtype):
    rng = np.random.default_rng(0)
    confidence, right = rng.random(1000).astype(dtype), rng.random(1000) < 0.5
    errors = set()
    for size in (1, 7, 1000):
        calibration = Calibration()
        for start in range(0, 1000, size):
            part = slice(start, start + size)
            calibration.update(confidence[part], right[part])
        errors.add(calibration.error())
    assert len(errors) == 1
