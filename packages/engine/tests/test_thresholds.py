"""A score is at a threshold that it was written as, in whatever dtype it is held."""

import numpy as np
import pytest

from wandb_eval.engine import at_least
from wandb_eval.engine.kit.thresholds import check_threshold

THRESHOLDS = [round(i / 100, 2) for i in range(101)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_scores_are_compared_in_their_own_dtype(dtype):
    scores = np.array(THRESHOLDS, dtype)
    for place, threshold in enumerate(THRESHOLDS):
        reached = at_least(scores, threshold)
        assert reached.dtype == np.bool_
        assert reached.tolist() == [i >= place for i in range(101)]


def test_shapes_and_what_is_no_score():
    scores = np.array([[0.7, np.nan], [np.inf, 0.6]], np.float32)
    assert at_least(scores, 0.7).tolist() == [[True, False], [True, False]]
    assert at_least(np.array(0.7, np.float32), 0.7).shape == ()
    assert at_least(np.zeros((0, 3)), 0.5).shape == (0, 3)


def test_integers_are_compared_as_numbers():
    assert at_least(np.array([0, 1, 2]), 0.5).tolist() == [False, True, True]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan, True, "0.5", None])
def test_values_that_are_no_threshold(threshold):
    with pytest.raises(ValueError, match="`limit` must be a number of 0 to 1"):
        check_threshold("limit", threshold)


@pytest.mark.parametrize("threshold", [0, np.float32(0.25), 1])
def test_a_threshold_is_a_float(threshold):
    assert type(check_threshold("limit", threshold)) is float
