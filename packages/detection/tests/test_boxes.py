import re

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version

from wandb_eval.detection import (
    BoxFormat,
    Detections,
    read_ground_truth,
    read_predictions,
)
from wandb_eval.detection.boxes import is_lost
from wandb_eval.engine import at_least

XYXY = BoxFormat("xyxy")
SIZES = [[48, 96], [200, 30]]  # Neither square nor equal.


def keras_formats():
    """The formats of this version of Keras, which its error for others lists."""
    with pytest.raises(ValueError, match="Supported formats") as caught:
        keras.utils.bounding_boxes.convert_format(
            np.zeros((1, 4)), source="none", target="xyxy"
        )
    return re.findall(r"'(\w+)'", str(caught.value))


FORMATS = keras_formats()


def to_format(corners, name, height, width):
    """Corners of boxes in one image, in another format, converted by Keras."""
    converted = keras.utils.bounding_boxes.convert_format(
        np.asarray(corners, "float32").reshape(-1, 4),
        source="xyxy",
        target=name,
        height=height,
        width=width,
    )
    return keras.ops.convert_to_numpy(converted)


def test_keras_knows_the_formats_of_the_documentation():
    assert {"xyxy", "yxyx", "xywh", "center_xywh", "rel_xyxy", "rel_yxyx"} < set(
        FORMATS
    )
    assert len(FORMATS) >= 8


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("style", [str.lower, str.upper, str.title])
def test_every_format_is_converted_as_keras_does(name, style):
    if name == "rel_center_xywh" and Version(keras.__version__) < Version("3.15"):
        pytest.skip("Keras took the height for the width in it")
    boxes = np.random.default_rng(0).uniform(0, 40, (20, 4)).astype("float32")
    sizes = np.random.default_rng(1).integers(10, 300, (20, 2))
    ours = BoxFormat(style(name)).to_xyxy(boxes, sizes)
    keras_s = [
        keras.utils.bounding_boxes.convert_format(
            box[None], source=name, target="xyxy", height=float(h), width=float(w)
        )
        for box, (h, w) in zip(boxes, sizes, strict=True)
    ]
    theirs = np.concatenate([keras.ops.convert_to_numpy(box) for box in keras_s])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-3)


def test_x_is_scaled_by_the_width_and_y_by_the_height():
    for name, box in (
        ("rel_xyxy", [0.5, 0.25, 1.0, 0.5]),
        ("rel_yxyx", [0.25, 0.5, 0.5, 1.0]),
        ("rel_xywh", [0.5, 0.25, 0.5, 0.25]),
        ("rel_center_xywh", [0.75, 0.375, 0.5, 0.25]),
    ):
        corners = BoxFormat(name).to_xyxy([box], [[100, 400]])
        np.testing.assert_allclose(corners, [[200, 25, 400, 50]], err_msg=name)


def test_conversion_does_not_follow_mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        corners = BoxFormat("rel_xyxy").to_xyxy([[0.1, 0.2, 0.3, 1.0]], [[4000, 5001]])
    finally:
        keras.config.set_dtype_policy(before)
    np.testing.assert_allclose(corners, [[500.1, 800, 1500.3, 4000]])


@pytest.mark.parametrize("name", ["xyyx", "", "rel_", None, 3])
def test_unknown_formats_are_refused(name):
    with pytest.raises(ValueError, match=re.escape(f"Received: {name!r}")):
        BoxFormat(name)


# --- Ground truth -----------------------------------------------------------------

BOXES = [np.array([[1.0, 2.0, 11.0, 12.0], [0.0, 0.0, 20.0, 30.0]]), np.zeros((0, 4))]
LABELS = [np.array([1, 0]), np.zeros(0, int)]


def padded(labels_key="labels", dtype="float32"):
    boxes = np.full((2, 3, 4), -1.0, dtype)
    labels = np.full((2, 3), -1, dtype)
    for i in range(2):
        boxes[i, : len(BOXES[i])] = BOXES[i]
        labels[i, : len(LABELS[i])] = LABELS[i]
    return {"boxes": boxes, labels_key: labels}


def ragged():
    tf = pytest.importorskip("tensorflow")
    return {
        "boxes": tf.ragged.constant([b.tolist() for b in BOXES], ragged_rank=1),
        "labels": tf.ragged.constant([b.tolist() for b in LABELS], dtype="int64"),
    }


def ragged_to_the_last_axis():
    tf = pytest.importorskip("tensorflow")
    return {
        "boxes": tf.ragged.constant([b.tolist() for b in BOXES]),
        "classes": tf.ragged.constant([b.tolist() for b in LABELS], dtype="float32"),
    }


def objects(rows):
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


@pytest.mark.parametrize(
    "make",
    [
        padded,
        lambda: padded("classes", "float64"),
        lambda: padded(dtype="float16"),
        ragged,
        ragged_to_the_last_axis,
        lambda: {"boxes": BOXES, "labels": LABELS},
        lambda: {"boxes": [b.tolist() for b in BOXES], "classes": LABELS},
        lambda: {"boxes": objects(BOXES), "labels": objects(LABELS)},
        lambda: [{"boxes": b, "labels": c} for b, c in zip(BOXES, LABELS, strict=True)],
        lambda: {k: keras.ops.convert_to_tensor(v) for k, v in padded().items()},
    ],
)
def test_all_forms_of_ground_truth_read_the_same(make):
    images, left_out = read_ground_truth(make(), SIZES, XYXY, 2)
    assert not left_out
    assert len(images) == 2
    for image, boxes, labels in zip(images, BOXES, LABELS, strict=True):
        np.testing.assert_array_equal(image.boxes, boxes)
        np.testing.assert_array_equal(image.labels, labels)
        assert image.boxes.shape == (len(labels), 4)
        assert image.scores is None
        assert not image.iscrowd.any()
    assert images[0].area.tolist() == [100, 600]


@pytest.mark.parametrize("area", [-1.0, np.nan, 1e11])
def test_an_area_that_is_none_is_refused(area):
    y = padded() | {"area": np.full(padded()["labels"].shape, area)}
    with pytest.raises(ValueError, match="`area` must be square pixels"):
        read_ground_truth(y, SIZES, XYXY, 2)


def test_crowds_and_areas_are_read():
    y = padded() | {
        "iscrowd": np.array([[0, 1, 0], [0, 0, 0]]),
        "area": np.array([[50.0, 60.0, 0.0], [0.0, 0.0, 0.0]]),
    }
    [first, second], _ = read_ground_truth(y, SIZES, XYXY, 2)
    assert first.iscrowd.tolist() == [False, True]
    assert first.area.tolist() == [50, 60]
    assert len(second.area) == 0


def test_each_image_has_its_own_size():
    y = {"boxes": np.tile([0.0, 0.0, 0.5, 0.5], (2, 1, 1)), "labels": [[0], [0]]}
    images, _ = read_ground_truth(y, SIZES, BoxFormat("rel_xyxy"), 1)
    assert [image.boxes.tolist() for image in images] == [
        [[0, 0, 48, 24]],
        [[0, 0, 15, 100]],
    ]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ({"boxes": np.zeros((2, 3, 4))}, "`labels` or `classes`.*'boxes'"),
        ({"labels": np.zeros((2, 3))}, "must have `boxes`"),
        (np.zeros((2, 3, 4)), "dictionary.*shape \\(2, 3, 4\\)"),
        (
            {"boxes": np.zeros((2, 3, 4)), "labels": np.zeros((2, 2))},
            "3 boxes and 2 labels, for image 0",
        ),
        ({"boxes": [BOXES[0], BOXES[0]], "labels": LABELS}, "2 boxes and 0 labels.*1"),
        (
            {"boxes": np.zeros((2, 3, 4)), "labels": np.zeros((3, 3))},
            "2 images, labels for 3",
        ),
        ({"boxes": np.zeros((3, 3, 4)), "labels": np.zeros((3, 3))}, "each of the 2"),
        ({"boxes": np.zeros((2, 3, 5)), "labels": np.zeros((2, 3))}, r"\(2, 3, 5\)"),
        ({"boxes": np.zeros((2, 4)), "labels": np.zeros((2,))}, r"\(2, 4\)"),
        ({"boxes": [np.zeros((2, 3))] * 2, "labels": LABELS}, r"\(2, 3\)"),
        ({"boxes": [["a"]] * 2, "labels": LABELS}, "must be numbers"),
        ({"boxes": None, "labels": LABELS}, "`boxes` must be"),
        (padded() | {"labels": np.full((2, 3), 2)}, "0 to 1.*Received: 2 among"),
        (padded() | {"labels": np.full((2, 3), -2)}, "Received: -2 among"),
        (padded() | {"labels": np.full((2, 3), 0.5)}, "Received: 0.5 among"),
        (padded() | {"labels": np.full((2, 3), np.nan)}, "Received: nan among"),
        (padded() | {"area": np.zeros((2, 2))}, "2 area"),
    ],
)
def test_ground_truth_that_cannot_be_right_is_refused(y, message):
    with pytest.raises(ValueError, match=message):
        read_ground_truth(y, SIZES, XYXY, 2)


# --- Predictions ------------------------------------------------------------------


def predicted(boxes, labels=None, scores=None, **more):
    count = len(boxes)
    return {
        "boxes": np.asarray(boxes, float)[None],
        "labels": np.asarray([[0] * count if labels is None else labels]),
        "confidence": np.asarray([[0.5] * count if scores is None else scores]),
        **more,
    }


GOOD = [1.0, 1.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        (predicted([GOOD, [np.nan, 0, 1, 1]]), "not finite"),
        (predicted([GOOD, [0, 0, np.inf, 1]]), "not finite"),
        (predicted([GOOD, [5, 5, 1, 9]]), "reversed"),
        (predicted([GOOD, [5, 9, 9, 5]]), "reversed"),
        (predicted([GOOD, [5, 5, 5, 9]]), "of no area"),
        (predicted([GOOD, GOOD], scores=[0.5, 1.5]), "score outside"),
        (predicted([GOOD, GOOD], scores=[0.5, -0.1]), "score outside"),
        (predicted([GOOD, GOOD], scores=[0.5, np.nan]), "score outside"),
        (predicted([GOOD, GOOD], labels=[0, 2]), "no name"),
        (predicted([GOOD, GOOD], labels=[0, -2]), "no name"),
        (predicted([GOOD, GOOD], labels=[0, 0.5]), "no name"),
        (predicted([GOOD, GOOD], labels=[0, np.nan]), "no name"),
    ],
)
def test_predictions_that_make_no_sense_are_left_out_and_counted(outputs, reason):
    [image], left_out = read_predictions(outputs, [[10, 10]], XYXY, 2)
    assert image.boxes.tolist() == [GOOD]
    assert image.scores.tolist() == [0.5]
    [(found, count)] = left_out.items()
    assert reason in found
    assert count == 1


@pytest.mark.parametrize("keep_lost", [False, True])
def test_a_prediction_is_counted_for_one_reason_only(keep_lost):
    outputs = predicted([[np.nan] * 4], labels=[9], scores=[np.inf])
    _, left_out = read_predictions(outputs, [[10, 10]], XYXY, 2, keep_lost)
    assert left_out.total() == 1


def test_boxes_out_of_the_image_are_kept_and_counted():
    inside = [[-0.4, 0, 10.4, 10]]
    outside = [[-3, 1, 5, 5], [1, 1, 12, 5], [1, 1, 5, 30], [-9, -9, -5, -5]]
    [image], counts = read_predictions(predicted(inside + outside), [[10, 10]], XYXY, 1)
    assert image.boxes.tolist() == inside + outside
    assert list(counts.values()) == [4]


def test_padding_is_not_counted_as_wrong():
    # The outputs of KerasHub: all values after `num_detections` are -1.
    outputs = predicted(
        [GOOD, [-1, -1, -1, -1]],
        labels=[1, -1],
        scores=[0.75, -1],
        num_detections=np.array([1], "int32"),
    )
    [image], left_out = read_predictions(outputs, [[10, 10]], XYXY, 2)
    assert (image.labels.tolist(), image.scores.tolist()) == ([1], [0.75])
    assert not left_out


def test_num_detections_decides_where_there_is_no_padding():
    outputs = predicted([GOOD] * 3, num_detections=np.array([[2]]))
    [image], left_out = read_predictions(outputs, [[10, 10]], XYXY, 2)
    assert len(image) == 2
    assert not left_out


def test_scores_may_be_called_scores():
    outputs = predicted([GOOD])
    outputs["scores"] = outputs.pop("confidence")
    outputs["classes"] = outputs.pop("labels")
    [image], _ = read_predictions(outputs, [[10, 10]], XYXY, 1)
    assert image.scores.tolist() == [0.5]


def test_predictions_need_scores():
    outputs = predicted([GOOD])
    del outputs["confidence"]
    with pytest.raises(ValueError, match="`confidence` or `scores`"):
        read_predictions(outputs, [[10, 10]], XYXY, 1)


def test_num_detections_must_be_one_an_image():
    outputs = predicted([GOOD], num_detections=np.array([1, 1]))
    with pytest.raises(ValueError, match=r"num_detections.*1 images. Received: 2"):
        read_predictions(outputs, [[10, 10]], XYXY, 1)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(width=32), min_size=4, max_size=4),
            st.one_of(st.floats(width=32), st.integers(-3, 5)),
            st.floats(width=32),
        ),
        max_size=8,
    ),
    st.sampled_from(FORMATS),
)
def test_no_numbers_whatever_break_the_reading(boxes, name):
    count = len(boxes)
    outputs = {
        "boxes": np.array([box for box, _, _ in boxes]).reshape(1, count, 4),
        "labels": np.array([[label for _, label, _ in boxes]], float),
        "scores": np.array([[score for _, _, score in boxes]], float),
    }
    [image], left_out = read_predictions(outputs, [[30, 50]], BoxFormat(name), 3)
    assert np.isfinite(image.boxes).all()
    assert (image.boxes[:, 2:] > image.boxes[:, :2]).all()
    assert ((image.scores >= 0) & (image.scores <= 1)).all()
    assert ((image.labels >= 0) & (image.labels < 3)).all()
    padding = int((outputs["labels"] == -1).sum())
    out = left_out.pop("reaching out of the image", 0)
    assert out <= len(image)
    assert len(image) + left_out.total() + padding == count


# --- Detections -------------------------------------------------------------------


def test_detections_say_which_length_is_wrong():
    with pytest.raises(ValueError, match=r"Each of the 1 boxes.*`scores`. Received: 2"):
        Detections([GOOD], [0], [0.5, 0.6])


def test_detections_are_read_from_a_dictionary_without_padding():
    read = Detections.from_dict(
        {"boxes": [GOOD, [-1] * 4], "classes": [3, -1], "confidence": [0.5, -1]}
    )
    assert (read.boxes.tolist(), read.labels.tolist()) == ([GOOD], [3])
    with pytest.raises(ValueError, match="`labels` or `classes`"):
        Detections.from_dict({"boxes": [GOOD]})


def test_detections_can_be_selected():
    both = Detections([GOOD, [0, 0, 2, 2]], [0, 1], [0.2, 0.8], iscrowd=[True, False])
    one = both[at_least(both.known_scores(), 0.5)]
    assert (one.labels.tolist(), one.iscrowd.tolist()) == ([1], [False])
    assert one.area.tolist() == [4]
    with pytest.raises(ValueError, match="must have `scores`"):
        Detections([GOOD], [0]).known_scores()


@pytest.mark.parametrize("shape", [(2, 0), (2, 0, 0), (2, 0, 4)])
def test_arrays_of_images_without_boxes(shape):
    y = {"boxes": np.zeros(shape), "labels": np.zeros((2, 0))}
    images, left_out = read_ground_truth(y, SIZES, XYXY, 2)
    assert [image.boxes.shape for image in images] == [(0, 4)] * 2
    assert not left_out
    with pytest.raises(ValueError, match="labels"):
        read_ground_truth({**y, "labels": np.zeros((2, 1))}, SIZES, XYXY, 2)


def test_a_crowd_in_one_image_of_several():
    box = {"boxes": [GOOD], "labels": [0]}
    images, _ = read_ground_truth(
        [box | {"iscrowd": [1]}, box], [[10, 10]] * 2, XYXY, 1
    )
    assert [image.iscrowd.tolist() for image in images] == [[True], [False]]


def test_a_score_that_is_infinite_counts_as_wrong():
    outputs = predicted([GOOD], labels=[1], scores=[np.inf])
    [image], left_out = read_predictions(outputs, [[10, 10]], XYXY, 2, keep_lost=True)
    assert is_lost(image).tolist() == [True]
    assert left_out.total() == 1
    outputs = predicted([GOOD], labels=[1], scores=[-np.inf])  # Such as padding.
    [image], left_out = read_predictions(outputs, [[10, 10]], XYXY, 2, keep_lost=True)
    assert (len(image), left_out.total()) == (0, 1)


@pytest.mark.parametrize("key", ["iscrowd", "is_crowd"])
def test_columns_without_the_padding_of_the_boxes(key):
    """Preprocessors of Keras pad boxes and labels alone."""
    boxes = [[GOOD, GOOD, [-1] * 4], [GOOD, [-1] * 4, [-1] * 4]]
    y = {
        "boxes": np.array(boxes, float),
        "labels": np.array([[0, 0, -1], [0, -1, -1]]),
        key: [np.array([0, 1]), np.array([1])],
    }
    images, _ = read_ground_truth(y, SIZES, XYXY, 1)
    assert [image.iscrowd.tolist() for image in images] == [[False, True], [True]]
    y[key] = [np.array([0, 1]), np.array([1, 1])]
    with pytest.raises(ValueError, match="as many iscrowd as boxes"):
        read_ground_truth(y, SIZES, XYXY, 1)
