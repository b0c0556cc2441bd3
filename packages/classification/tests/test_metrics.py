"""The numbers are scikit-learn's on the same predictions."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from wandb_eval.classification import ClassificationMetrics
from wandb_eval.classification.metrics import count_top_k, sample_losses


def predictions(seed, samples, classes, digits, absent=0):
    """Labels and probabilities; few digits make ties, some classes never occur."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, max(classes - absent, 1), samples)
    outputs = rng.random((samples, classes)).round(digits) + 1e-3
    return labels, outputs / outputs.sum(axis=1, keepdims=True)


def measure(labels, outputs, cuts=(), names=None, **options):
    names = names or [f"class {i}" for i in range(max(outputs.shape[1], 2))]
    measured = ClassificationMetrics(names, **options)
    for y, part in zip(np.split(labels, cuts), np.split(outputs, cuts), strict=True):
        measured.update(y, part)
    return measured.compute()


def curve_of(chart):
    """The points of a chart, by class."""
    points = {}
    for name, x, y in chart.table.data:
        points.setdefault(name, []).append((x, y))
    return points


CASES = {
    "seed": st.integers(0, 2**32 - 1),
    "samples": st.integers(1, 60),
    "classes": st.integers(2, 8),
    "digits": st.integers(0, 3),
    "absent": st.integers(0, 7),
    "top_k": st.integers(1, 10),
    "batch_size": st.integers(1, 60),
}


@settings(max_examples=150, deadline=None)
@given(case=st.fixed_dictionaries(CASES))
@pytest.mark.filterwarnings("ignore")
def test_single_label(case):
    top_k, batch_size = case.pop("top_k"), case.pop("batch_size")
    samples, classes = case["samples"], case["classes"]
    labels, outputs = predictions(**case)
    cuts = range(batch_size, samples, batch_size)
    results = measure(labels, outputs, cuts, top_k=top_k)
    predicted, everything = outputs.argmax(axis=1), range(classes)
    assert results["accuracy"] == metrics.accuracy_score(labels, predicted)
    assert results["macro_f1"] == metrics.f1_score(labels, predicted, average="macro")
    assert results["log_loss"] == pytest.approx(
        metrics.log_loss(labels, outputs, labels=everything), rel=1e-12
    )
    assert (f"top_{top_k}_accuracy" in results) == (top_k < classes)
    if (
        classes > 2 and top_k < classes
    ):  # For two classes scikit-learn wants the scores of one.
        expected = metrics.top_k_accuracy_score(
            labels, outputs, k=top_k, labels=everything
        )
        assert results[f"top_{top_k}_accuracy"] == pytest.approx(expected, rel=1e-12)

    table = results["per_class"]
    columns = ["class", "precision", "recall", "f1", "support"]
    assert table.columns[:5] == columns
    assert table.columns[5:] == (["best_threshold", "best_f1"] if classes == 2 else [])
    columns = metrics.precision_recall_fscore_support(
        labels, predicted, labels=everything, zero_division=0
    )
    names = [f"class {i}" for i in everything]
    rows = [list(row) for row in zip(names, *columns, strict=True)]
    assert [row[:5] for row in table.data] == rows

    matrix = metrics.confusion_matrix(labels, predicted, labels=everything)
    counts = [row[2] for row in results["confusion_matrix"].table.data]
    np.testing.assert_array_equal(np.reshape(counts, matrix.shape), matrix)

    with_curve = [i for i in everything if 0 < (labels == i).sum() < samples]
    assert ("roc" in results) == ("precision_recall" in results) == bool(with_curve)
    if not with_curve:
        return
    roc, precision_recall = map(curve_of, (results["roc"], results["precision_recall"]))
    assert list(roc) == list(precision_recall) == [names[i] for i in with_curve]
    for i in with_curve:
        false, true, _ = metrics.roc_curve(labels == i, outputs[:, i])
        assert roc[names[i]] == list(zip(false, true, strict=True))
        curve = metrics.precision_recall_curve(labels == i, outputs[:, i])
        expected = list(zip(curve[1], curve[0], strict=True))
        assert precision_recall[names[i]] == expected


@settings(max_examples=60, deadline=None)
@given(**{key: CASES[key] for key in ("seed", "samples", "classes", "batch_size")})
@pytest.mark.filterwarnings("ignore")
def test_multi_label(seed, samples, classes, batch_size):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (samples, classes)) * rng.integers(0, 2, classes)
    outputs = rng.random((samples, classes)).round(2)
    cuts = range(batch_size, samples, batch_size)
    results = measure(labels, outputs, cuts, multi_label=True)
    predicted = (outputs >= 0.5).astype(int)
    assert results["accuracy"] == metrics.accuracy_score(labels, predicted)
    assert results["macro_f1"] == metrics.f1_score(labels, predicted, average="macro")
    each = [
        metrics.log_loss(labels[:, i], outputs[:, i], labels=[0, 1])
        for i in range(classes)
    ]
    assert results["log_loss"] == pytest.approx(np.mean(each), rel=1e-9)
    columns = metrics.precision_recall_fscore_support(
        labels, predicted, zero_division=0
    )
    names = [f"class {i}" for i in range(classes)]
    rows = [list(row) for row in zip(names, *columns, strict=True)]
    assert [row[:5] for row in results["per_class"].data] == rows
    assert results["brier"] == pytest.approx(((outputs - labels) ** 2).mean())
    assert not any("top" in key or "confusion" in key for key in results)
    with_curve = [i for i in range(classes) if 0 < labels[:, i].sum() < samples]
    roc = curve_of(results["roc"]) if with_curve else {}
    assert list(roc) == [names[i] for i in with_curve]
    for i in with_curve:
        false, true, _ = metrics.roc_curve(labels[:, i], outputs[:, i])
        assert roc[names[i]] == list(zip(false, true, strict=True))


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("from_logits", [False, True])
def test_one_sigmoid_unit(shape, from_logits):
    rng = np.random.default_rng(0)
    labels, unit = rng.integers(0, 2, 50), rng.random(50)
    outputs = np.log(unit / (1 - unit)) if from_logits else unit
    results = measure(
        labels, outputs.reshape(shape), names=["cat", "dog"], from_logits=from_logits
    )
    predicted = (unit > 0.5).astype(int)
    assert results["accuracy"] == metrics.accuracy_score(labels, predicted)
    assert results["macro_f1"] == metrics.f1_score(labels, predicted, average="macro")
    assert results["log_loss"] == pytest.approx(metrics.log_loss(labels, unit))
    false, true, _ = metrics.roc_curve(labels, unit)
    assert curve_of(results["roc"])["dog"] == list(zip(false, true, strict=True))


def test_logits_are_measured_as_probabilities():
    labels, outputs = predictions(0, 40, 5, 3)
    expected = measure(labels, outputs)
    results = measure(labels, np.log(outputs) + 7, from_logits=True)
    for key in ("accuracy", "brier", "log_loss", "macro_f1"):
        assert results[key] == pytest.approx(expected[key], rel=1e-12)


def test_one_hot_labels_are_measured_as_ids():
    labels, outputs = predictions(0, 40, 5, 3)
    results = measure(np.eye(5, dtype="float32")[labels], outputs, [7, 20])
    expected = measure(labels, outputs)
    assert results["accuracy"] == expected["accuracy"]
    assert results["per_class"].data == expected["per_class"].data


@settings(max_examples=50, deadline=None)
@given(**{key: CASES[key] for key in ("seed", "samples", "classes", "batch_size")})
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_nan_is_left_out_and_counted(seed, samples, classes, batch_size):
    labels, outputs = predictions(seed, samples, classes, 3)
    rng = np.random.default_rng(seed)
    wrong = rng.random(samples) < rng.choice([0, 0.3, 1])
    spoiled = outputs.copy()
    spoiled[wrong, rng.integers(0, classes)] = rng.choice([np.nan, np.inf])
    results = measure(labels, spoiled, range(batch_size, samples, batch_size))
    assert results.pop("left_out", 0.0) == wrong.sum()
    if wrong.all():
        assert results == {}
        return
    expected = measure(labels[~wrong], outputs[~wrong])
    for key in ("accuracy", "brier", "log_loss", "macro_f1"):
        assert results[key] == pytest.approx(expected[key], rel=1e-12)
    assert results["per_class"].data == expected["per_class"].data


def test_numbers_are_plain_floats():
    labels, outputs = predictions(0, 20, 4, 3)
    outputs[0] = np.nan
    results = measure(labels, outputs, top_k=2)
    numbers = ["left_out", "accuracy", "top_2_accuracy", "log_loss", "macro_f1"]
    numbers += ["brier", "ece"]
    assert {key for key, value in results.items() if type(value) is float} == {*numbers}
    assert results["left_out"] == 1.0


def test_nothing_to_measure():
    assert ClassificationMetrics(["a", "b"]).compute() == {"left_out": 0.0}
    measured = ClassificationMetrics(["a", "b"])
    measured.update(np.zeros(0, int), np.zeros((0, 2)))
    assert measured.compute() == {"left_out": 0.0}


def test_a_single_class():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = measure(np.zeros(5, int), np.tile([0.75, 0.25], (5, 1)))
    assert results["accuracy"] == results["macro_f1"] == 1.0
    assert results["log_loss"] == pytest.approx(-np.log(0.75))
    assert [row[4] for row in results["per_class"].data] == [5, 0]
    assert "roc" not in results


def test_certain_mistakes_have_a_finite_loss():
    outputs = np.array([[1.0, 0.0]])
    expected = metrics.log_loss([1], outputs, labels=[0, 1])
    assert measure(np.array([1]), outputs)["log_loss"] == pytest.approx(expected)
    assert np.isfinite(expected)


@pytest.mark.parametrize(("classes", "expected"), [(20, True), (21, False)])
def test_curves_are_for_up_to_20_classes(classes, expected):
    results = measure(*predictions(0, 60, classes, 3))
    assert ("roc" in results) is expected


def test_100_classes_have_an_image_of_the_matrix():
    results = measure(*predictions(0, 300, 100, 3))
    assert "confusion_matrix_image" in results
    assert len(results["confusion_matrix"].table.data) == 40**2
    assert len(results["per_class"].data) == 100


def test_top_k_ties_are_those_of_scikit_learn():
    labels = np.array([0, 1, 2])
    outputs = np.full((3, 3), 1 / 3)
    for k in (1, 2):
        score = metrics.top_k_accuracy_score(labels, outputs, k=k, normalize=False)
        assert count_top_k(labels, outputs, k) == score == k


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("columns", [1, 3])
def test_the_loss_of_saturated_outputs_is_that_of_scikit_learn(dtype, columns):
    labels = np.array([0, 1, 1])
    outputs = np.array([[1.0], [0.7], [1.0]], dtype)
    theirs = np.hstack([1 - outputs, outputs])
    if columns == 3:
        outputs = theirs = np.hstack([theirs, np.zeros((3, 1), dtype)])
    results = measure(labels, outputs)
    expected = metrics.log_loss(labels, theirs, labels=range(theirs.shape[1]))
    assert results["log_loss"] == pytest.approx(expected, rel=1e-3)


def test_the_loss_of_saturated_logits_is_finite():
    results = measure(np.array([0]), np.array([[0, 90]], "float32"), from_logits=True)
    assert results["log_loss"] == pytest.approx(-np.log(np.finfo(float).eps))


def test_a_label_without_output_is_refused():
    with pytest.raises(ValueError, match=r"for 2 classes\. Received: the label 2"):
        measure(np.array([0, 2]), np.eye(2))


def test_losses_of_samples():
    labels, outputs = predictions(0, 10, 3, 3)
    losses = sample_losses(labels, outputs, multi_label=False)
    for label, output, loss in zip(labels, outputs, losses, strict=True):
        expected = metrics.log_loss([label], [output], labels=range(3))
        assert loss == pytest.approx(expected)
    hot = np.eye(3)[labels]
    losses = sample_losses(hot, outputs, multi_label=True)
    for truth, output, loss in zip(hot, outputs, losses, strict=True):
        assert loss == pytest.approx(metrics.log_loss(truth, output))
