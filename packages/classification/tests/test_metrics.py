"""The numbers equal those of scikit-learn on the same predictions."""

import time
import tracemalloc
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from wandb_eval.classification import ClassificationMetrics
from wandb_eval.classification.calibration import Calibration
from wandb_eval.classification.curves import class_curves
from wandb_eval.classification.metrics import Confusion

pytestmark = pytest.mark.any_backend


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


NUMBERS = ["accuracy", "top_5_accuracy", "log_loss", "macro_f1", "brier", "ece"]
CASES = {
    "seed": st.integers(0, 2**32 - 1),
    "samples": st.integers(1, 60),
    "classes": st.integers(2, 8),
    "digits": st.integers(0, 3),
    "absent": st.integers(0, 7),
    "top_k": st.integers(1, 10),
    "batch_size": st.integers(1, 60),
}


@pytest.mark.once
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
    if top_k >= classes:
        assert not any(key.startswith("top_") for key in results)
    elif classes > 2:  # For two classes scikit-learn wants the scores of one.
        expected = metrics.top_k_accuracy_score(
            labels, outputs, k=top_k, labels=everything
        )
        assert results[f"top_{top_k}_accuracy"] == pytest.approx(expected, rel=1e-12)

    table = results["per_class"]
    assert table.columns == ["class", "precision", "recall", "f1", "support"]
    columns = metrics.precision_recall_fscore_support(
        labels, predicted, labels=everything, zero_division=0
    )
    names = [f"class {i}" for i in everything]
    assert table.data == [list(row) for row in zip(names, *columns, strict=True)]

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


@pytest.mark.once
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
    labels, outputs = predictions(0, 40, 7, 3)
    expected = measure(labels, outputs)
    results = measure(labels, np.log(outputs) + 7, from_logits=True)
    for key in NUMBERS:
        assert results.get(key, 0) == pytest.approx(expected.get(key, 0), rel=1e-9)


def test_one_hot_labels_are_measured_as_ids():
    labels, outputs = predictions(0, 40, 5, 3)
    results = measure(np.eye(5, dtype="float32")[labels], outputs, [7, 20])
    expected = measure(labels, outputs)
    assert results["accuracy"] == expected["accuracy"]
    assert results["per_class"].data == expected["per_class"].data


@pytest.mark.once
@settings(max_examples=50, deadline=None)
@given(**{key: CASES[key] for key in ("seed", "samples", "classes", "batch_size")})
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_nan_counts_as_wrong_and_is_counted(seed, samples, classes, batch_size):
    labels, outputs = predictions(seed, samples, classes, 3)
    rng = np.random.default_rng(seed)
    lost = rng.random(samples) < rng.choice([0, 0.3, 1])
    spoiled = outputs.copy()
    spoiled[lost, rng.integers(0, classes)] = rng.choice([np.nan, np.inf])
    cuts = range(batch_size, samples, batch_size)
    results = measure(labels, spoiled, cuts, top_k=1)
    assert results.pop("left_out", None) == (lost.sum() or None)
    # What is certain of another class is as wrong as can be.
    outputs[lost] = np.eye(classes)[(labels[lost] + 1) % classes]
    predicted = np.where(lost, -1, outputs.argmax(axis=1))
    present = np.union1d(labels, predicted[~lost])
    everything = range(classes)
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "macro_f1": metrics.f1_score(
            labels, predicted, labels=present, average="macro", zero_division=0
        ),
        "log_loss": metrics.log_loss(labels, outputs, labels=everything),
        "brier": squared_error(labels, outputs) / (2 if classes == 2 else 1),
        "top_1_accuracy": np.mean(~lost & in_top_1(labels, outputs)),
    }
    of_others = lost.sum()
    if not lost.all():
        right = predicted[~lost] == labels[~lost]
        error = error_of(outputs[~lost].max(axis=1), right)
        of_others += error * (~lost).sum()
    expected["ece"] = of_others / samples
    for key, value in expected.items():
        assert results[key] == pytest.approx(value, rel=1e-9), key
    columns = metrics.precision_recall_fscore_support(
        labels, predicted, labels=everything, zero_division=0
    )
    rows = [list(row) for row in zip(*columns, strict=True)]
    assert [row[1:] for row in results["per_class"].data] == rows
    assert ("confusion_matrix" in results) is not lost.all()
    if not lost.all():
        shown = measure(labels[~lost], outputs[~lost])["confusion_matrix"]
        assert results["confusion_matrix"].table.data == shown.table.data


def in_top_1(labels, outputs):
    """Among equally probable classes, the one with the higher id is the first."""
    return labels == outputs.shape[1] - 1 - outputs[:, ::-1].argmax(axis=1)


def test_nan_counts_as_wrong_for_each_of_several_classes():
    rng = np.random.default_rng(0)
    hot, outputs = rng.integers(0, 2, (30, 3)), rng.random((30, 3))
    spoiled = outputs.copy()
    spoiled[:20, 1] = np.nan
    results = measure(hot, spoiled, cuts=[25], multi_label=True)
    outputs[:20] = 1 - hot[:20]
    expected = measure(hot, outputs, multi_label=True)
    assert results["left_out"] == 20
    for key in ("accuracy", "macro_f1", "log_loss", "brier"):
        assert results[key] == pytest.approx(expected[key], rel=1e-12)
    rows, wrong = results["per_class"].data, expected["per_class"].data
    assert [row[:5] for row in rows] == [row[:5] for row in wrong]


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_an_epoch_of_nan_alone_is_as_bad_as_can_be(columns):
    results = measure(np.array([0, 1, 1]), np.full((3, columns), np.nan))
    numbers = {k: v for k, v in results.items() if type(v) is float}
    assert numbers.pop("log_loss") == pytest.approx(-np.log(np.finfo(float).eps))
    assert numbers == {
        "left_out": 3,
        "accuracy": 0,
        "macro_f1": 0,
        "brier": 2 if columns == 5 else 1,
        "ece": 1,
    }
    assert set(results) - set(numbers) == {"log_loss", "per_class"}


@pytest.mark.parametrize("all_zeros", [False, True])
def test_top_1_of_one_sigmoid_unit_is_that_of_two_classes(all_zeros):
    rng = np.random.default_rng(0)
    labels, unit = rng.integers(0, 2, 200) * (not all_zeros), rng.random((200, 1))
    unit[:50] = 0.5
    two = np.hstack([1 - unit, unit])
    for k in (1, 2, 3):
        ours = measure(labels, unit, cuts=[60], top_k=k)
        expected = measure(labels, two, top_k=k)
        key = f"top_{k}_accuracy"
        assert ours.get(key) == expected.get(key)
        assert (key in ours) is (k == 1)
    theirs = np.where(unit[:, 0] >= 0.5, 1, 0)
    assert measure(labels, unit, top_k=1)["top_1_accuracy"] == np.mean(theirs == labels)


def test_numbers_are_plain_floats():
    labels, outputs = predictions(0, 20, 4, 3)
    outputs[0] = np.nan
    results = measure(labels, outputs, top_k=2)
    numbers = ["left_out", "accuracy", "top_2_accuracy", "log_loss", "macro_f1"]
    numbers += ["brier", "ece"]
    assert {key for key, value in results.items() if type(value) is float} == {*numbers}
    assert results["left_out"] == 1.0


def test_nothing_to_measure():
    assert ClassificationMetrics(["a", "b"]).compute() == {}
    measured = ClassificationMetrics(["a", "b"])
    measured.update(np.zeros(0, int), np.zeros((0, 2)))
    assert measured.compute() == {}


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


# --- Calibration and thresholds ---------------------------------------------------


def squared_error(labels, outputs):
    """The mean over the samples of the sum over the classes."""
    return ((outputs - np.eye(outputs.shape[1])[labels]) ** 2).sum(axis=1).mean()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("classes", [2, 3, 30])
def test_brier(dtype, classes):
    labels, outputs = predictions(0, 50, classes, 3)
    results = measure(labels, outputs.astype(dtype), cuts=[20])
    expected = squared_error(labels, outputs)
    if classes == 2:  # scikit-learn's is that of one class.
        expected = metrics.brier_score_loss(labels, outputs[:, 1])
    assert results["brier"] == pytest.approx(
        expected, rel=100 * float(np.finfo(dtype).eps)
    )


def test_brier_of_one_unit_and_of_several_classes_a_sample():
    rng = np.random.default_rng(0)
    labels, unit = rng.integers(0, 2, 50), rng.random((50, 1))
    results = measure(labels, unit, cuts=[20])
    assert results["brier"] == pytest.approx(metrics.brier_score_loss(labels, unit))
    hot, outputs = rng.integers(0, 2, (50, 3)), rng.random((50, 3))
    results = measure(hot, outputs, cuts=[20], multi_label=True)
    each = [metrics.brier_score_loss(hot[:, i], outputs[:, i]) for i in range(3)]
    assert results["brier"] == pytest.approx(np.mean(each))


def error_of(confidence, right):
    calibration = Calibration()
    calibration.update(confidence, right)
    return calibration.error()


def test_calibration_is_that_of_what_is_predicted():
    labels, outputs = predictions(0, 50, 4, 3)
    results = measure(labels, outputs, cuts=[20])
    right = outputs.argmax(axis=1) == labels
    assert results["ece"] == pytest.approx(error_of(outputs.max(axis=1), right))
    chart = curve_of(results["reliability"])
    assert chart["perfect"] == [(0, 0), (1, 1)]
    for confidence, accuracy in chart["model"]:
        assert 0 <= accuracy <= 1
        assert 1 / 4 <= confidence <= 1

    rng = np.random.default_rng(0)
    hot, outputs = rng.integers(0, 2, (50, 3)), rng.random((50, 3))
    results = measure(hot, outputs, cuts=[20], multi_label=True)
    assert results["ece"] == pytest.approx(error_of(outputs, hot))


def best_f1(truth, scores):
    """The lowest threshold of the best F1, of all that make a difference."""
    f1 = {}
    for threshold in np.unique(scores):
        predicted = scores >= threshold
        hits, count = int((predicted & (truth == 1)).sum()), int(predicted.sum())
        f1[threshold] = Fraction(2 * hits, count + int((truth == 1).sum()))
    best = max(f1.values())
    return min(t for t, value in f1.items() if value == best), best, f1


@pytest.mark.once
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), one_unit=st.booleans())
def test_the_threshold_of_the_best_f1(seed, one_unit):
    rng = np.random.default_rng(seed)
    labels, outputs = rng.integers(0, 2, (20, 3)), rng.random((20, 3)).round(2)
    labels[:2] = [[0], [1]]
    if one_unit:
        labels, outputs = labels[:, 0], outputs[:, :1]
    results = measure(labels, outputs, cuts=[7], multi_label=not one_unit)
    table = results["per_class"]
    assert table.columns[5:] == ["best_threshold", "best_f1"]
    curves = curve_of(results["f1_curve"])
    if one_unit:
        assert table.data[0][5:] == [None, None]
        truth, scores, rows = [labels], outputs.T, table.data[1:]
    else:
        truth, scores, rows = labels.T, outputs.T, table.data
    assert list(curves) == [row[0] for row in rows]
    for t, s, row in zip(truth, scores, rows, strict=True):
        threshold, f1, points = best_f1(t, s)
        assert row[5:] == [threshold, float(f1)]
        by_scikit_learn = metrics.f1_score(t, s >= threshold)
        assert row[6] == pytest.approx(by_scikit_learn)
        for threshold, value in curves[row[0]]:
            assert value == float(points[threshold])


@pytest.mark.once
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_of_equally_good_thresholds_it_is_the_lowest(dtype):
    """Against exact rational numbers; rounded ones choose a higher one now and then."""
    rng = np.random.default_rng(0)
    for _ in range(2000):
        truth = rng.random(rng.integers(2, 60)) < rng.choice([0.1, 0.5, 0.9])
        truth[:2] = [True, False]
        scores = rng.random(len(truth)).round(rng.integers(1, 4)).astype(dtype)
        curves = class_curves(truth, scores)
        threshold, f1, _ = best_f1(truth, scores)
        place = int(curves.f1.argmax())
        assert curves.thresholds[place] == threshold
        assert curves.f1[place] == float(f1)


def test_classes_that_exclude_each_other_have_no_threshold():
    results = measure(*predictions(0, 30, 3, 3))
    assert "f1_curve" not in results
    assert len(results["per_class"].columns) == 5


def test_the_threshold_decides():
    labels, unit = np.array([0, 1, 1]), np.array([[0.6], [0.7], [0.2]], "float32")
    assert measure(labels, unit, threshold=0.7)["accuracy"] == pytest.approx(2 / 3)
    assert measure(labels, unit, threshold=0.5)["accuracy"] == pytest.approx(1 / 3)
    hot = np.array([[1, 0], [1, 1]])
    outputs = np.array([[0.7, 0.6], [0.7, 0.7]], "float32")
    options = {"multi_label": True}
    assert measure(hot, outputs, threshold=0.7, **options)["accuracy"] == 1
    assert measure(hot, outputs, threshold=0.5, **options)["accuracy"] == 0.5
    with pytest.raises(ValueError, match="`threshold` must be"):
        ClassificationMetrics(["a", "b"], threshold=2)


# --- Confusions -------------------------------------------------------------------


def test_confused():
    labels = np.array([0] * 6 + [1] * 4 + [2] * 2)
    predicted = np.array([0, 0, 0, 1, 1, 2, 1, 1, 2, 2, 0, 2])
    measured = ClassificationMetrics(["a", "b", "c"])
    assert measured.confused() == []
    for part in (slice(5), slice(5, None)):
        measured.update(labels[part], np.eye(3)[predicted[part]])
    assert measured.confused() == [
        Confusion(1, 2, 2, 0.5),
        Confusion(0, 1, 2, 2 / 6),
        Confusion(2, 0, 1, 0.5),
        Confusion(0, 2, 1, 1 / 6),
    ]
    assert len(measured.confused(3)) == 3


def test_several_classes_a_sample_are_not_confused():
    measured = ClassificationMetrics(["a", "b"], multi_label=True)
    measured.update(np.array([[1, 0]]), np.array([[0.1, 0.9]]))
    assert measured.confused() == []


@pytest.mark.parametrize("classes", [2, 5, 50])
def test_the_batches_make_no_difference(classes):
    labels, outputs = predictions(0, 60, classes, 9)
    outputs = outputs.astype("float32")
    numbers = [
        {k: v for k, v in measure(labels, outputs, cuts).items() if type(v) is float}
        for cuts in ([], range(1, 60), [7, 30])
    ]
    assert numbers[0] == numbers[1] == numbers[2]


def test_memory_is_that_of_labels_and_predictions():
    outputs = np.random.default_rng(0).random((1000, 100)).astype("float32")
    measured = ClassificationMetrics([str(i) for i in range(100)])
    tracemalloc.start()
    try:
        measured.update(np.zeros(1000, int), outputs)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < outputs.nbytes / 4


# --- Many classes -----------------------------------------------------------------


@pytest.mark.once
def test_what_20_000_classes_cost_depends_on_the_samples():
    rng = np.random.default_rng(0)
    names = [f"class {i}" for i in range(20_000)]
    labels = rng.integers(0, len(names), 500)
    predicted = np.where(rng.random(500) < 0.5, labels, rng.permutation(labels))
    outputs = np.zeros((500, len(names)), "float32")
    outputs[np.arange(500), predicted] = 1
    measured = ClassificationMetrics(names)
    tracemalloc.start()
    try:
        measured.update(labels, outputs)
        results, confused = measured.compute(), measured.confused()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 300e6  # A matrix of all pairs would be 3.2 GB.
    expected = metrics.confusion_matrix(labels, predicted, labels=np.unique(labels))
    np.fill_diagonal(expected, 0)
    assert confused[0].count == expected.max()
    rows = results["confusion_matrix"].table.data
    assert len(rows) == 40**2
    assert sum(row[2] for row in rows if row[0] != row[1]) > 0
    assert results["confusion_matrix_image"].image.size == (2000, 2000)
    support = {row[0]: row[4] for row in results["per_class"].data}
    assert sum(support.values()) == 500
    assert len(support) == len(names)
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        measured.compute()
        seconds.append(time.process_time() - begun)
    assert min(seconds) < 5  # About half a second; with all pairs, a minute.


@pytest.mark.parametrize(
    ("columns", "names", "multi_label"), [(3, 2, False), (1, 3, False), (1, 2, True)]
)
def test_as_many_names_as_classes(columns, names, multi_label):
    found = ClassificationMetrics([*"abcd"[:names]], multi_label=multi_label)
    y = np.zeros((1, columns), int) if multi_label else np.zeros(1, int)
    with pytest.raises(ValueError, match=f"{columns} columns, and {names} names"):
        found.update(y, np.full((1, columns), 1 / columns))


@pytest.mark.filterwarnings("error")
def test_many_classes_are_not_warned_of(monkeypatch):
    """As scikit-learn 1.7 warns of them."""
    compute = metrics.precision_recall_fscore_support

    def warning(*args, **options):
        warnings.warn("The number of unique classes is greater than 50%", stacklevel=2)
        return compute(*args, **options)

    monkeypatch.setattr(metrics, "precision_recall_fscore_support", warning)
    found = ClassificationMetrics([str(i) for i in range(30)])
    found.update(np.arange(30), np.eye(30))
    assert found.compute()["accuracy"] == 1
