"""The learning of samples, against the complete record of their scores."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wandb_eval.engine.evaluation.learning import Learning


def learned(history, epochs):
    """The first epoch from which on all are right, or None; the slow way."""
    for i, epoch in enumerate(epochs):
        if history[i:].all():
            return epoch
    return None


@pytest.mark.once
@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    samples=st.integers(0, 20),
    evaluations=st.integers(1, 8),
    share=st.sampled_from([0.2, 0.8]),
)
def test_columns(seed, samples, evaluations, share):
    rng = np.random.default_rng(seed)
    correct = rng.random((evaluations, samples)) < share
    confidence = rng.random((evaluations, samples))
    epochs = np.cumsum(rng.integers(1, 4, evaluations)).tolist()
    learning = Learning()
    for epoch, *evaluation in zip(epochs, correct, confidence, strict=True):
        expected = learning.mean_confidence(2, evaluation[1][2:5])
        learning.update(*evaluation, epoch)
        assert expected == pytest.approx(learning.columns()["mean_confidence"][2:5])
    columns = learning.columns()
    assert columns["learned_in"] == [learned(c, epochs) for c in correct.T]
    assert columns["forgotten"] == [
        sum(a and not b for a, b in itertools.pairwise(c)) for c in correct.T
    ]
    assert columns["mean_confidence"] == pytest.approx(confidence.mean(axis=0))
    spread = confidence.std(axis=0)
    assert columns["confidence_spread"] == pytest.approx(spread, abs=1e-7)


def test_what_is_not_a_number_is_no_confidence():
    learning = Learning()
    for epoch, value in enumerate([0.5, np.nan]):
        learning.update(np.array([False]), np.array([value]), epoch)
    columns = learning.columns()
    assert columns["mean_confidence"] == columns["confidence_spread"] == [0.25]


def test_before_the_first_evaluation():
    assert set(map(tuple, Learning().columns().values())) == {()}


def test_what_is_taken_in_is_not_held():
    correct = np.array([True])
    learning = Learning()
    learning.update(correct, np.array([0.9]), 0)
    correct[0] = False
    learning.update(np.array([True]), np.array([0.9]), 1)
    assert learning.columns()["forgotten"] == [0]


def test_other_data_begins_anew():
    learning = Learning()
    learning.update(np.array([True, False]), np.array([0.9, 0.1]), 0)
    learning.update(np.array([True]), np.array([0.7]), 1)
    columns = learning.columns()
    assert columns["learned_in"] == [1]
    assert columns["mean_confidence"] == [0.7]
