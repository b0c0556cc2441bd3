"""Boxes as W&B's layers, and drawn on arrays."""

import numpy as np
import pytest
import wandb

from wandb_eval.detection import (
    Detections,
    ImageMatch,
    box_layer,
    draw_detections,
    draw_legend,
)
from wandb_eval.detection.rows import nothing_near
from wandb_eval.engine import class_color

pytestmark = pytest.mark.any_backend

NAMES = ["cat", "dog"]
LABELS = dict(enumerate(NAMES))
BOXES = [[8.0, 8.0, 40.0, 40.0], [50.0, 10.0, 90.0, 60.0]]


def test_a_layer_is_what_wandb_takes():
    boxes = Detections(BOXES, [0, 1], [0.25, 0.98764])
    layer = box_layer(boxes, LABELS, 64, 96)
    assert layer["box_data"] == [
        {
            "position": {"minX": 50.0, "minY": 10.0, "maxX": 90.0, "maxY": 60.0},
            "domain": "pixel",
            "class_id": 1,
            "box_caption": "dog 0.99",
            "scores": {"score": 0.9876},
        },
        {
            "position": {"minX": 8.0, "minY": 8.0, "maxX": 40.0, "maxY": 40.0},
            "domain": "pixel",
            "class_id": 0,
            "box_caption": "cat 0.25",
            "scores": {"score": 0.25},
        },
    ]
    for box in layer["box_data"]:
        assert type(box["class_id"]) is int
        assert {type(side) for side in box["position"].values()} == {float}
    wandb.Image(np.zeros((64, 96, 3), np.uint8), boxes={"predictions": layer})


def test_true_boxes_have_no_scores_in_a_layer():
    layer = box_layer(Detections(BOXES, [0, 1]), LABELS, 64, 96)
    assert [box["box_caption"] for box in layer["box_data"]] == NAMES
    assert all("scores" not in box for box in layer["box_data"])


def test_a_layer_has_boxes_from_the_threshold_on():
    boxes = Detections(BOXES, [0, 1], [0.3, 0.29])
    shown = box_layer(boxes, LABELS, 64, 96, score_threshold=0.3)["box_data"]
    assert [box["class_id"] for box in shown] == [0]


def test_a_layer_is_clipped_to_the_image():
    boxes = Detections(
        [[-9, -9, 200, 300], [96, 0, 120, 9], [-5, -5, 0, 0], [3, 70, 9, 80]],
        [0, 0, 0, 0],
    )
    [box] = box_layer(boxes, LABELS, 64, 96)["box_data"]
    position = {"minX": 0.0, "minY": 0.0, "maxX": 96.0, "maxY": 64.0}
    assert box["position"] == position


# --- draw_detections --------------------------------------------------------------


def photo(height=64, width=96):
    return np.full((height, width, 3), 128, np.uint8)


def colored(image, label):
    """The pixels that have the colour of a class."""
    return (image == class_color(label)).all(axis=-1)


def test_true_boxes_are_solid_and_predictions_dashed():
    truth = Detections(BOXES[:1], [0])
    found = Detections(BOXES[1:], [1], [0.9])
    image = draw_detections(photo(256, 384), None, None, NAMES)
    np.testing.assert_array_equal(image, photo(256, 384))
    boxes = [[32, 80, 160, 200], [200, 80, 360, 240]]
    truth, found = Detections(boxes[:1], [0]), Detections(boxes[1:], [1], [0.9])
    image = draw_detections(photo(256, 384), truth, None, NAMES)
    assert (image[100:180, 60:140] == 128).all()  # Inside nothing is drawn.
    image = draw_detections(photo(256, 384), truth, found, NAMES)
    assert image.dtype == np.uint8
    assert colored(image, 0)[80, 32:160].all()  # The upper edge of the true box
    assert colored(image, 0)[80:199, 32].all()
    assert colored(image, 0)[80:199, 159].all()
    left = colored(image, 1)[100:230, 200]  # The left edge of the predicted box
    assert 0.3 < left.mean() < 0.7
    assert (np.diff(left.astype(int)) != 0).sum() > 8


def crossed(truth, found, **options):
    """Whether each true box is crossed out: something is drawn around its middle."""
    image = draw_detections(photo(256, 384), truth, found, NAMES, **options)
    middles = (truth.boxes[:, :2] + truth.boxes[:, 2:]) // 2
    return [
        bool((image[y - 5 : y + 5, x - 5 : x + 5] != 128).any())
        for x, y in middles.astype(int)
    ]


def test_missed_boxes_are_crossed_out():
    truth = Detections([[20, 40, 120, 140], [200, 40, 300, 140]], [0, 1])
    near = Detections([[30, 40, 130, 140]], [0], [0.1])
    assert crossed(truth, near) == [False, True]
    assert crossed(truth, near, iou_threshold=0.9) == [True, True]
    other_class = Detections([[20, 40, 120, 140]], [1], [0.9])
    assert crossed(truth, other_class) == [True, True]
    assert crossed(truth, Detections([], [])) == [True, True]
    assert crossed(truth, {"boxes": truth.boxes, "labels": [0, 1]}) == [False, False]
    # Where nothing was predicted, nothing can be missed.
    assert crossed(truth, None) == [False, False]
    crowd = Detections(truth.boxes, truth.labels, iscrowd=[True, False])
    assert crossed(crowd, Detections([], [])) == [False, True]


def test_a_legend_has_lines_and_the_colours_of_the_classes():
    legend = draw_legend(NAMES, width=700)
    assert legend.shape == (32, 700, 3)
    assert colored(legend, 0).sum() == colored(legend, 1).sum() == 20 * 32
    solid = (legend[6:26, 6:38] == 255).all(axis=-1)
    assert solid[1, 1:31].all()
    assert not solid[5:15, 5:27].any()
    assert draw_legend(NAMES, width=200).shape[0] > 32


def test_captions_are_below_true_boxes_and_above_predictions():
    box = [[100, 80, 250, 160]]
    plain = photo(256, 384)
    below = draw_detections(plain, Detections(box, [0]), None, NAMES) != plain
    above = draw_detections(plain, None, Detections(box, [0], [0.5]), NAMES) != plain
    assert below[165:175].any()
    assert not below[:79].any()
    assert above[70:75].any()
    assert not above[161:].any()
    # The score makes it longer.
    no_score = draw_detections(plain, None, Detections(box, [0]), NAMES) != plain
    assert above[70:75].any(axis=(0, 2)).sum() > no_score[70:75].any(axis=(0, 2)).sum()


def test_captions_can_be_read_on_and_in_dark_colours():
    names = ["a"] * 12
    for label in range(12):
        boxes = Detections([[100, 80, 250, 160]], [label], [0.5])
        predicted = draw_detections(photo(256, 384), None, boxes, names)[:79]
        white = (predicted > 200).all(axis=-1).any()
        assert white or class_color(label) @ np.array([0.299, 0.587, 0.114]) >= 110


def test_a_class_has_the_same_colour_in_all_images():
    for box in BOXES:
        image = draw_detections(photo(), Detections([box], [1]), None, NAMES)
        assert colored(image, 1).any()
        assert not colored(image, 0).any()


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 1), (40, 60, 3), (40, 60, 4)])
def test_images_of_all_kinds_become_rgb_and_stay_unchanged(shape):
    image = np.full(shape, 7, np.uint8)
    before = image.copy()
    truth = {"boxes": [[4, 4, 20, 20], [-1] * 4], "labels": [0, -1]}
    found = {"boxes": [[5, 5, 25, 25]], "classes": [1], "scores": [0.5]}
    assert draw_detections(image, truth, found, NAMES).shape == (40, 60, 3)
    assert draw_detections(image, truth, found, NAMES, scale=4).shape == (160, 240, 3)
    np.testing.assert_array_equal(image, before)


def test_scale_enlarges_before_drawing():
    truth = Detections([[10, 10, 30, 30]], [0])
    image = draw_detections(photo(), truth, None, NAMES, scale=5)
    edge = colored(image, 0)[50:149, 50]
    assert edge.all()
    assert not colored(image, 0)[:, :49].any()


def test_boxes_far_out_of_the_image_or_not_finite_do_no_harm():
    boxes = [[-1e12, -1e12, 1e12, 1e12], [np.nan, 0, 9, 9], [500, 500, 600, 600]]
    found = Detections(boxes, [0, 0, 1], [0.5, 0.5, 0.5])
    assert draw_detections(photo(), None, found, NAMES).shape == (64, 96, 3)


def test_boxes_of_large_images():
    image = np.zeros((40, 12_000, 3), np.uint8)
    box = Detections([[11_000, 5, 11_800, 35]], [0])
    drawn = draw_detections(image, box, box, NAMES)
    columns = colored(drawn, 0).any(axis=0)
    assert columns[11_000]
    assert columns[11_799]
    assert not columns[:11_000].any()
    # Nothing is crossed out.
    assert not colored(drawn, 0)[20, 11_100:11_700].any()


def test_names_that_opencv_cannot_draw_are_no_error():
    found = Detections(BOXES, [0, 1], [0.5, 0.6])
    image = draw_detections(photo(), None, found, ["고양이", "a\nb 🐶"])
    assert image.shape == (64, 96, 3)


@pytest.mark.parametrize(
    ("image", "truth", "message"),
    [
        (np.zeros((4, 4, 3)), None, "`image` must be a uint8.*float64"),
        (np.zeros((4, 4, 2), np.uint8), None, r"\(4, 4, 2\)"),
        (photo(), Detections(BOXES[:1], [2]), "0 to 1.*Received: 2"),
        (photo(), {"boxes": BOXES}, "`labels` or `classes`"),
    ],
)
def test_what_cannot_be_drawn_is_refused(image, truth, message):
    with pytest.raises(ValueError, match=message):
        draw_detections(image, truth, None, NAMES)


def test_captions_say_what_is_wrong():
    corners = [[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]]
    boxes = Detections(corners, [0, 1, 0], [0.9, 0.8, 0.7])
    kinds = ["right", "location", ""]
    shown = box_layer(boxes, LABELS, 64, 96, kinds=kinds)["box_data"]
    # A box without a caption would have the name of its class on W&B's page.
    assert [box["box_caption"] for box in shown] == ["", "location", ""]
    assert [box["scores"]["score"] for box in shown] == [0.9, 0.8, 0.7]


def test_only_boxes_with_nothing_on_them_are_captioned_missed():
    truth = Detections(
        [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]],
        [0, 0, 0, 0],
    )
    found = Detections(
        [[0, 0, 10, 10], [24, 0, 34, 10], [40, 0, 50, 10]], [0, 0, 1], [0.9, 0.8, 0.7]
    )
    image = ImageMatch(truth, found, 0.5, 0.3)
    assert image.missed.tolist() == [False, True, True, True]
    nothing = Detections(np.zeros((0, 4)), [], [])
    empty = ImageMatch(nothing, nothing, 0.5, 0.3)
    unseen = ImageMatch(truth, nothing, 0.5, 0.3)
    alone = nothing_near([unseen, empty, image])
    assert [one.tolist() for one in alone] == [
        [True] * 4,
        [],
        [False, False, False, True],
    ]
    assert nothing_near([]) == []
