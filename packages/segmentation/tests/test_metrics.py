"""The counts, against scikit-learn, Keras and plain loops."""

import re
import warnings
from fractions import Fraction

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    jaccard_score,
    precision_score,
    recall_score,
)

from wandb_eval.engine import charts
from wandb_eval.segmentation import Scores, SegmentationMetrics, count_pixels
from wandb_eval.segmentation.boundary import BoundaryIou
from wandb_eval.segmentation.masks import NOT_A_NUMBER
from wandb_eval.segmentation.thresholds import IouByThreshold

pytestmark = pytest.mark.any_backend

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 8), st.integers(1, 8))
CLASS_COUNTS = st.integers(1, 20)


@st.composite
def mask_pairs(draw, shapes=SHAPES, class_counts=CLASS_COUNTS):
    """Truth, prediction, the number of classes, and the id to ignore."""
    num_classes = draw(class_counts)
    ignored = draw(st.sampled_from([None, -1, 0, 255]))
    ids = st.integers(0, num_classes - 1)
    true_ids = ids if ignored is None else ids | st.just(ignored)
    shape = draw(shapes)
    truth = draw(hnp.arrays(np.int32, shape, elements=true_ids))
    prediction = draw(hnp.arrays(np.int32, shape, elements=ids))
    return truth, prediction, num_classes, ignored


@pytest.mark.once
@pytest.mark.filterwarnings("ignore:A single label:UserWarning")
@settings(deadline=None, max_examples=150)
@given(mask_pairs())
def test_numbers_equal_those_of_scikit_learn(pair):
    truth, prediction, num_classes, ignored = pair
    metrics = SegmentationMetrics([f"c{i}" for i in range(num_classes)], ignored)
    for i in range(len(truth)):  # In batches.
        metrics.update(truth[i : i + 1], prediction[i : i + 1])
    counted = np.ones(truth.shape, bool) if ignored is None else truth != ignored
    t, p = truth[counted], prediction[counted]
    results = metrics.compute()
    rows = results["per_class"].data
    if not len(t):
        assert metrics.confusion_matrix.sum() == 0
        numbers = {k for k, v in results.items() if isinstance(v, float)}
        assert numbers == set()
        assert all(row[1:] == [None] * 4 + [0] for row in rows)
        return
    labels = range(num_classes)
    np.testing.assert_array_equal(
        metrics.confusion_matrix, confusion_matrix(t, p, labels=labels)
    )
    present = np.union1d(t, p)
    of = {"labels": present, "zero_division": 0}
    assert results["mean_iou"] == jaccard_score(t, p, average="macro", **of)
    assert results["mean_dice"] == f1_score(t, p, average="macro", **of)
    assert results["pixel_accuracy"] == accuracy_score(t, p)
    assert results["frequency_weighted_iou"] == jaccard_score(
        t, p, average="weighted", **of
    )
    assert "left_out" not in results
    scores = (jaccard_score, f1_score, precision_score, recall_score)
    expected = [score(t, p, average=None, **of) for score in scores]
    for index, (name, iou, dice, precision, recall, pixels) in enumerate(rows):
        assert name == f"c{index}"
        assert pixels == (t == index).sum()
        assert (precision is None) == (index not in p)
        assert (recall is None) == (index not in t)
        if index not in present:
            assert iou is dice is None
            continue
        row = [values[list(present).index(index)] for values in expected]
        assert [iou, dice, precision or 0.0, recall or 0.0] == row


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64:UserWarning")
@settings(deadline=None, max_examples=50)
@given(mask_pairs(st.just((2, 5, 4)), st.sampled_from([2, 5, 20])))
def test_mean_iou_equals_that_of_keras(pair):
    truth, prediction, num_classes, ignored = pair
    metrics = SegmentationMetrics([f"c{i}" for i in range(num_classes)], ignored)
    metrics.update(truth, prediction)
    expected = keras.metrics.MeanIoU(num_classes, ignore_class=ignored)
    expected.update_state(truth, prediction)
    mean_iou = metrics.compute().get("mean_iou", 0.0)  # Keras has 0 for nothing.
    assert mean_iou == pytest.approx(float(expected.result()), abs=1e-6)


@pytest.mark.once
@settings(deadline=None, max_examples=50)
@given(mask_pairs())
def test_each_image_is_counted_on_its_own(pair):
    truth, prediction, num_classes, ignored = pair
    counts = count_pixels(truth, prediction, num_classes, ignored)
    scores = Scores(counts)
    for i in range(len(truth)):
        kept = np.ones(truth[i].shape, bool) if ignored is None else truth[i] != ignored
        expected = np.zeros((num_classes, num_classes), int)
        np.add.at(expected, (truth[i][kept], prediction[i][kept]), 1)
        np.testing.assert_array_equal(counts[i], expected)
        alone = Scores(expected)
        for name in (
            "iou",
            "mean_iou",
            "mean_dice",
            "pixel_accuracy",
            "frequency_weighted_iou",
        ):
            np.testing.assert_array_equal(
                getattr(scores, name)[i], getattr(alone, name)
            )


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "uint64", "bool"])
def test_masks_of_every_integer_type_are_counted(dtype):
    truth = np.array([[[0, 1], [1, 1]]]).astype(dtype)
    prediction = np.array([[[0, 0], [1, 1]]]).astype(dtype)
    assert count_pixels(truth, prediction, 2).tolist() == [[[1, 0], [1, 2]]]


@pytest.mark.parametrize("ignored", [255, 0, None])
def test_what_is_ignored_makes_no_boundary_of_its_own(ignored):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :96]
    truth = 1 + ((y - 48) ** 2 + (x - 48) ** 2 < 30**2)
    found = np.stack([truth, truth])
    masks = found.copy()
    other = 7 if ignored is None else ignored  # 7 is no class.
    masks[0, 20:60, 30:70] = other  # A part of the disc, and single pixels.
    masks[1][rng.random((96, 96)) < 0.01] = other
    found[masks == other] = rng.integers(1, 3, (masks == other).sum())
    boundaries = BoundaryIou(3, ignored)
    boundaries.update(masks, found)
    assert boundaries.compute() == {"boundary_iou": 1.0}
    found[0, 40:60, 70:90] = 1
    boundaries.update(masks, found)
    assert boundaries.compute()["boundary_iou"] < 1


def test_the_best_threshold_is_the_lowest_of_equals():
    rng = np.random.default_rng(0)
    for _ in range(200):
        chances = rng.integers(0, 101, (1, 3, 5, 1)) / 100
        truth = rng.random(chances.shape) < 0.5
        truth[0, 0, 0] = True
        by_threshold = IouByThreshold(1)
        by_threshold.update(IouByThreshold.histograms(truth, chances))
        ious = {}
        for step in range(1, 101):
            found = np.rint(chances * 100) >= step
            both, either = (found & truth).sum(), (found | truth).sum()
            ious[step] = Fraction(int(both), int(either))
        best = max(ious.values())
        lowest = min(step for step, iou in ious.items() if iou == best)
        assert by_threshold.best() == [(lowest / 100, float(best))]


def test_256_classes_are_counted():
    truth = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    assert (count_pixels(truth, truth, 256)[0] == np.eye(256)).all()


def test_pixels_of_no_class_count_nowhere_and_nan_is_wrong():
    metrics = SegmentationMetrics(["a", "b"], ignore_index=9)
    truth = np.array([[[0, 1, 1, 0, 7, -2, 9, 9]]])
    prediction = np.array([[[0, 1, NOT_A_NUMBER, NOT_A_NUMBER, 0, 0, 0, -1]]])
    metrics.update(truth, prediction)
    results = metrics.compute()
    assert results["left_out"] == 4.0
    # Of four pixels of a class, two are predicted as none: they are not found.
    assert results["pixel_accuracy"] == results["mean_iou"] == 0.5
    assert results["mean_dice"] == pytest.approx(2 / 3)
    assert [row[3:] for row in results["per_class"].data] == [[1.0, 0.5, 2]] * 2
    assert metrics.confusion_matrix.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "uint64"])
def test_pixels_that_are_nan_in_masks_of_every_integer_type(dtype):
    metrics = SegmentationMetrics(["a", "b"])
    metrics.update(np.ones((1, 1, 2), dtype), np.array([[[NOT_A_NUMBER, 1]]]))
    assert metrics.lost.tolist() == [0, 1]


@pytest.mark.parametrize(
    "prediction",
    [np.full((1, 2, 2), 0.9), np.zeros((1, 2, 1), int), np.zeros((1, 2, 2, 1), int)],
)
def test_predictions_that_are_no_class_ids(prediction):
    shape = re.escape(str(prediction.shape))
    with pytest.raises(ValueError, match=f"ids of one shape.* of shape {shape}"):
        SegmentationMetrics(["a", "b"]).update(np.zeros((1, 2, 2), int), prediction)


def test_nothing_to_count_is_no_number_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = Scores(np.zeros((2, 3, 3), np.int64))
        for name in ("mean_iou", "mean_dice", "pixel_accuracy", "recall", "precision"):
            assert np.isnan(getattr(scores, name)).all()


def test_the_confusion_matrix_is_charted_by_row_and_in_part_if_it_is_large():
    metrics = SegmentationMetrics(["a", "b"])
    metrics.update(np.array([[[0, 0, 0, 0, 1]]]), np.array([[[0, 0, 0, 1, 1]]]))
    chart = metrics.compute()["confusion_matrix"]
    shares = {tuple(row[:2]): row[2] for row in chart.table.data}
    assert shares == {("a", "a"): 0.75, ("a", "b"): 0.25, ("b", "a"): 0, ("b", "b"): 1}

    many = charts.MANY_CLASSES
    metrics = SegmentationMetrics([str(i) for i in range(many)])
    ids = np.arange(many).reshape(1, 1, many)
    metrics.update(ids, np.roll(ids, 1))
    results = metrics.compute()
    assert len(results["confusion_matrix"].table.data) < many**2
    assert results["confusion_matrix_image"].image.size >= (many, many)
