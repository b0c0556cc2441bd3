"""The scores of each sample, against scikit-learn and Keras."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from wandb_eval.classification.scores import (
    at_least,
    in_top_k,
    score_batch,
)


def predictions(seed, samples, classes, digits):
    """Labels and outputs that sum to 1; few digits make ties."""
    rng = np.random.default_rng(seed)
    outputs = rng.random((samples, classes)).round(digits) + 1e-3
    return rng.integers(0, classes, samples), outputs / outputs.sum(1, keepdims=True)


@pytest.mark.once
@settings(max_examples=200, deadline=None)
@given(
    case=st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2**32 - 1),
            "samples": st.integers(1, 30),
            "digits": st.integers(0, 3),
        }
    ),
    classes=st.integers(3, 9),
    k=st.integers(1, 8),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_top_k_is_that_of_scikit_learn(case, classes, k, dtype):
    labels, outputs = predictions(classes=classes, **case)
    outputs = outputs.astype(dtype)
    hits = in_top_k(labels, outputs, k)
    for label, output, hit in zip(labels, outputs, hits, strict=True):
        expected = metrics.top_k_accuracy_score(
            [label], [output], k=k, labels=range(classes)
        )
        assert hit == expected


def test_of_equal_scores_the_higher_id_is_first():
    labels, outputs = np.array([0, 1, 2]), np.full((3, 3), 1 / 3)
    assert in_top_k(labels, outputs, 1).tolist() == [False, False, True]
    assert in_top_k(labels, outputs, 2).tolist() == [False, True, True]
    assert in_top_k(labels, outputs, 3).all()


def test_scores_of_one_class_a_sample():
    labels, outputs = predictions(0, 20, 4, 3)
    scores = score_batch(labels, outputs)
    assert scores.valid.all()
    assert scores.pred.tolist() == outputs.argmax(axis=1).tolist()
    assert scores.score.tolist() == outputs.max(axis=1).tolist()
    assert scores.correct.tolist() == (outputs.argmax(axis=1) == labels).tolist()
    assert scores.confidence.tolist() == outputs[np.arange(20), labels].tolist()
    for label, output, loss in zip(labels, outputs, scores.loss, strict=True):
        expected = metrics.log_loss([label], [output], labels=range(4))
        assert loss == pytest.approx(expected)


def test_scores_of_several_classes_a_sample():
    rng = np.random.default_rng(0)
    hot, outputs = rng.integers(0, 2, (20, 4)), rng.random((20, 4))
    outputs[0] = 0.1
    scores = score_batch(hot, outputs, multi_label=True, threshold=0.25)
    assert scores.pred.tolist() == (outputs >= 0.25).tolist()
    assert scores.score[0] == 0
    for i, (truth, output) in enumerate(zip(hot, outputs, strict=True)):
        chosen = output >= 0.25
        if chosen.any():
            assert scores.score[i] == pytest.approx(output[chosen].mean())
        assert scores.correct[i] == (chosen == truth).all()
        loss = metrics.log_loss(truth, output, labels=[0, 1])
        assert scores.loss[i] == pytest.approx(loss)
        expected = np.where(truth, output, 1 - output).mean()
        assert scores.confidence[i] == pytest.approx(expected)


def test_one_unit():
    scores = score_batch(np.array([1, 0, 1]), np.array([[0.75], [0.75], [0.125]]))
    assert scores.pred.tolist() == [1, 1, 0]
    assert scores.score.tolist() == [0.75, 0.75, 0.875]
    assert scores.correct.tolist() == [True, False, False]
    assert scores.confidence.tolist() == [0.75, 0.25, 0.125]
    assert scores.loss == pytest.approx(-np.log([0.75, 0.25, 0.125]))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.7])
def test_a_score_is_at_the_threshold_that_it_equals(dtype, threshold):
    below = np.nextafter(np.array(threshold, dtype), np.array(0, dtype))
    outputs = np.array([[threshold], [below]], dtype)
    assert at_least(outputs, threshold).tolist() == [[True], [False]]
    scores = score_batch(np.array([1, 1]), outputs, threshold=threshold)
    assert scores.pred.tolist() == [1, 0]
    scores = score_batch(np.ones((2, 1), int), outputs, True, threshold)
    assert scores.pred.tolist() == [[True], [False]]


def test_the_threshold_is_not_for_classes_that_exclude_each_other():
    scores = score_batch(np.array([0]), np.array([[0.6, 0.4]]), threshold=0.9)
    assert scores.pred.tolist() == [0]


def test_a_sigmoid_for_each_of_the_classes_of_which_one_is_right():
    labels = np.array([0, 2])
    outputs = np.array([[0.9, 0.2, 0.1], [0.2, 0.1, 0.7]], "float32")
    scores = score_batch(labels, outputs)
    assert scores.score.tolist() == outputs.max(axis=1).tolist()
    assert scores.loss.mean() == pytest.approx(0.322, abs=5e-4)
    expected = keras.ops.categorical_crossentropy(
        np.eye(3, dtype="f4")[labels], outputs
    )
    np.testing.assert_allclose(scores.loss, expected, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 6))
def test_losses_are_those_of_keras(seed, classes):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, 8)
    outputs = rng.uniform(0.01, 0.99, (8, classes)).astype("float32")
    hot = np.eye(classes, dtype="float32")[labels]
    expected = keras.ops.categorical_crossentropy(hot, outputs)
    np.testing.assert_allclose(score_batch(labels, outputs).loss, expected, rtol=1e-4)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_outputs_that_are_all_zero_have_a_finite_loss():
    [loss] = score_batch(np.array([1]), np.zeros((1, 3))).loss
    assert loss == pytest.approx(-np.log(np.finfo(float).eps))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("multi_label", [False, True])
def test_what_is_not_a_number(columns, value, multi_label):
    outputs = np.full((2, columns), 0.75, "float32")
    outputs[0, 0] = value
    labels = np.ones((2, columns), int) if multi_label else np.array([0, 0])
    scores = score_batch(labels, outputs, multi_label)
    assert scores.valid.tolist() == [False, True]
    assert not scores.correct[0]
    for values in (scores.score, scores.loss, scores.confidence):
        assert np.isnan(values).tolist() == [True, False]


def test_no_samples():
    for multi_label, labels in ((False, np.zeros(0, int)), (True, np.zeros((0, 3)))):
        scores = score_batch(labels, np.zeros((0, 3)), multi_label)
        assert len(scores.valid) == len(scores.loss) == len(scores.pred) == 0


def test_a_label_without_output_is_refused():
    with pytest.raises(ValueError, match=r"for 2 classes\. Received: the label 2"):
        score_batch(np.array([0, 2]), np.array([[0.5], [0.5]]))
