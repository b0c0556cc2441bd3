"""Classes that overlap, advice, and further numbers."""

import json
import pathlib

import keras
import numpy as np
import pytest
import wandb
from scipy import ndimage

from wandb_eval.segmentation import WandbSegmentationEvalCallback
from wandb_eval.segmentation.advice import check_ids, swallowed
from wandb_eval.segmentation.boundary import BoundaryIou
from wandb_eval.segmentation.multi_label import (
    MultiLabelMetrics,
    layer_masks,
    read_multi_hot,
)
from wandb_eval.segmentation.thresholds import IouByThreshold


class Fixed(keras.Model):
    """Returns fixed outputs for each image, whatever it learns."""

    def __init__(self, outputs):
        super().__init__()
        self.by_image = np.asarray(outputs, "float32")
        self.learned = self.add_weight(shape=(), initializer="zeros", name="learned")

    def call(self, x):
        index = keras.ops.cast(x[:, 0, 0, 0], "int32")
        return keras.ops.take(self.by_image, index, axis=0) + 0 * self.learned

    def compute_loss(self, x=None, y=None, y_pred=None, *_, **__):
        return keras.ops.mean(y_pred)


@pytest.fixture(autouse=True)
def _offline(loopback):
    with wandb.init(mode="offline"):
        yield


def fit(outputs, y, *args, **options):
    count, height, width = np.shape(y)[:3]
    x = np.zeros((count, height, width, 3), "float32")
    x[:, 0, 0, 0] = np.arange(count)
    model = Fixed(outputs)
    model.compile("sgd")
    options = {"image_fn": np.uint8, "on_error": "raise", **options}
    evaluation = WandbSegmentationEvalCallback((x, y), *args, **options)
    model.fit(x, np.zeros(count), epochs=1, verbose=0, callbacks=[evaluation])
    return evaluation, evaluation.history


def overlapping():
    truth = np.zeros((2, 64, 96, 2), np.uint8)
    truth[:, :32, :48, 0] = 1
    truth[:, :32, 48:, 1] = 1
    outputs = np.where(truth == 1, 0.9, 0.1)
    outputs[:, 32:, :, 0] = 0.95
    return truth, outputs


def test_classes_that_overlap():
    truth, outputs = overlapping()
    evaluation, history = fit(outputs, truth, ["a", "b"], multi_label=True)
    assert history["eval/mean_iou"] == [pytest.approx((1536 / 4608 + 1) / 2)]
    row = dict(
        zip(evaluation.pred_table.columns, evaluation.pred_table.data[0], strict=True)
    )
    assert row["class_iou"] == "b 1.00, a 0.33"
    scores = evaluation.evaluation.scores
    assert scores["class_iou"][0] == [pytest.approx(1 / 3), 1.0]
    assert row["worst_class"] == "a"
    layers = row["image"]._masks
    assert set(layers) == {"truth_0", "truth_1", "prediction_0", "prediction_1"}
    import PIL.Image

    shown = np.asarray(PIL.Image.open(layers["prediction_0"]._path))
    np.testing.assert_array_equal(shown == 1, outputs[0, ..., 0] >= 0.5)
    assert "eval/pixel_accuracy" not in history


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((2, 4, 4)), "must be multi-hot"),
        (np.full((2, 4, 4, 2), 0.5), "zeros and ones.*0.5"),
        (np.zeros((2, 4, 4, 3)), "2 channels and masks for 3 classes"),
    ],
)
def test_multi_hot_masks_that_can_not_be_used(y, message):
    with pytest.raises(ValueError, match=message):
        fit(np.full((2, 4, 4, 2), 0.5), y, multi_label=True)


def test_classes_that_overlap_are_255_at_most():
    ids = np.arange(255)
    masks = layer_masks(np.eye(255, dtype=bool)[None, ids])
    assert [int(mask.max()) for mask in masks] == list(ids + 1)
    many = np.zeros((2, 4, 4, 256))
    with pytest.raises(ValueError, match=r"255 classes at most\. Received: 256"):
        fit(many, many, multi_label=True)
    with pytest.raises(ValueError, match=r"255 classes at most\. Received: 256"):
        WandbSegmentationEvalCallback(
            (many, many), [f"class {i}" for i in range(256)], multi_label=True
        )


# --- The hardest ------------------------------------------------------------------


def hardest():
    [file] = pathlib.Path(wandb.run.dir).parent.rglob("*hardest*.table.json")
    table = json.loads(file.read_text())
    place = table["columns"].index("idx")
    return [row[place] for row in table["data"]]


def test_images_without_a_class_that_are_right_are_not_the_hardest():
    y = np.zeros((8, 4, 4, 1), np.uint8)
    outputs = np.full(y.shape, 0.1)
    y[5:, :2], outputs[5:, 0] = 1, 0.9  # Half of it is found.
    outputs[3, 0, 0] = 0.9  # Found where there is nothing.
    outputs[1] = np.nan
    fit(outputs, y, ["a"], multi_label=True, num_hardest=4)
    assert hardest() == [1, 3, 5, 6]


def test_images_that_are_ignored_are_not_the_hardest():
    y = np.full((6, 4, 4), 9)
    outputs = np.tile(np.eye(2)[HALF[0]], (6, 1, 1, 1))
    outputs[1] = np.nan  # Of ignored pixels.
    outputs[2] = np.nan
    y[2:5] = HALF[0]
    y[4, 1] = 0
    fit(outputs, y, ["a", "b"], ignore_index=9, num_hardest=5, from_logits=False)
    assert hardest() == [2, 4, 3]


# --- Advice -----------------------------------------------------------------------

HALF = np.zeros((2, 4, 4), int)
HALF[:, :2] = 1


@pytest.mark.parametrize(
    ("y", "channels", "names", "message"),
    [
        (255 * HALF, 1, ["a", "b"], "divide the masks by 255"),
        (3 * HALF, 2, ["a", "b"], "divide the masks by 3"),
        (1 + HALF, 2, ["a", "b"], "subtract 1 from the masks"),
        (1 + HALF, 2, None, "subtract 1 from the masks"),
        (255 * HALF, 1, None, "divide the masks by 255"),
        (255 * HALF, 2, None, "divide the masks by 255"),
        (-HALF, 2, ["a", "b"], "must have the ids 0 and 1"),
        (2 * HALF - 1, 2, ["a", "b"], "must have the ids 0 and 1"),
        (7 * HALF, 3, None, "give it an id from 0"),
        (HALF, 1, ["a"], "Pass two, such as"),
        (7 * HALF, 3, ["a", "b", "c"], "give it an id from 0"),
    ],
)
def test_advice_that_leads_to_right_numbers(y, channels, names, message):
    outputs = np.full((2, 4, 4, channels), 0.1)
    with pytest.raises(ValueError, match=message) as error:
        fit(outputs, y, names)
    if "an id from 0" not in message:
        assert "ignore_index" not in str(error.value)


def test_ignoring_all_but_one_class_is_warned_of(warned):
    fit(np.full((2, 4, 4, 2), 0.5), HALF, ["a", "b"], ignore_index=1)
    assert any("a single class is measured" in text for text in warned)


def test_ignoring_what_is_not_background_is_warned_of(warned):
    nothing = np.eye(2)[0 * HALF]
    _, history = fit(nothing, 255 * HALF, ["a", "b"], ignore_index=255)
    assert history["eval/mean_iou"] == [1.0]
    # The class that has no pixel is named.
    assert any("no pixel of the validation data is left of 'b'" in t for t in warned)
    assert any("a single class is measured" in text for text in warned)


def test_a_class_of_several_that_is_ignored_is_named(warned):
    y = HALF.copy()
    y[:, 2] = 255
    outputs = np.eye(3)[HALF]
    fit(outputs, y, ["a", "b", "c"], ignore_index=255)
    assert any("left of 'c': it is not measured" in text for text in warned)
    warned.clear()
    fit(np.eye(4)[HALF], y, [*"abcd"], ignore_index=255)  # Some may be rare.
    fit(outputs, HALF, ["a", "b", "c"], ignore_index=255)  # Nothing is ignored.
    assert not any("no pixel" in text for text in warned)


def test_a_class_between_others_is_not_taken_for_ignored():
    """A batch without ignored pixels, where 2 is neither the lowest nor the highest."""
    first, second = np.zeros((2, 2, 8, 8), int)
    first[:, :2], first[:, 2:4], first[:, 4:6] = 1, 2, 3
    second[:, 0] = 255
    ids = check_ids(first, 255, 4, None) | check_ids(second, 255, 4, None)
    assert ids == {0, 1, 2, 3, 255}
    assert swallowed(ids, 255, [*"abcd"]) is None


def test_ignoring_the_border_of_classes_is_not_warned_of(warned):
    y = HALF.copy()
    y[:, 2] = 255
    fit(np.eye(2)[HALF], y, ["a", "b"], ignore_index=255)
    assert not any("a single class is measured" in text for text in warned)
    # It is no matter of `ignore_index` if there is a single class in any case.
    fit(np.eye(2)[0 * HALF], 0 * HALF, ["a", "b"], ignore_index=255)
    assert not any("a single class is measured" in text for text in warned)


def test_volumes_are_named():
    volumes = np.zeros((2, 4, 4, 4, 1))
    with pytest.raises(ValueError, match="Volumes are not supported: pass slices"):
        fit(np.zeros((2, 4, 4, 2)), volumes)


# --- Logits -----------------------------------------------------------------------


def test_a_model_that_ends_with_sigmoid_is_right_by_default():
    """The output of a BASNet: a channel of probabilities, 0.3 and 0.8."""
    x = np.random.default_rng(0).random((4, 8, 8, 1)).astype("float32")
    y = (x[..., 0] > 0.5).astype(int)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 1, activation="sigmoid")]
    )
    model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy")
    model.set_weights([np.full((1, 1, 1, 1), 50.0), np.full(1, -25.0)])
    evaluation = WandbSegmentationEvalCallback((x, y), on_error="raise")
    history = model.fit(x, y[..., None], verbose=0, callbacks=[evaluation]).history
    assert history["eval/mean_iou"] == [1.0]


# --- More numbers -----------------------------------------------------------------


def boundary_by_distance(mask, distance):
    """The pixels within the distance of the outside, in steps to any neighbour."""
    outside = ~np.pad(mask, 1)
    steps = ndimage.distance_transform_cdt(~outside, metric="chessboard")[1:-1, 1:-1]
    return mask & (steps <= distance)


def test_boundary_iou_against_distances():
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.normal(size=(2, 3, 80, 120)), (0, 0, 4, 4))
    truth, predicted = (noise > 0).astype(int) + (noise > 0.05)
    metric = BoundaryIou(3, ignore_index=2)
    metric.update(truth, predicted)
    distance = round(0.02 * np.hypot(80, 120))
    ious = []
    for index in range(3):
        both = either = 0
        for a, b in zip(truth, predicted, strict=True):
            sides = [
                boundary_by_distance((mask == index) & (a != 2), distance)
                for mask in (a, b)
            ]
            both += (sides[0] & sides[1]).sum()
            either += (sides[0] | sides[1]).sum()
        if either:
            ious.append(both / either)
    assert metric.compute()["boundary_iou"] == pytest.approx(np.mean(ious))
    _, history = fit(
        np.eye(2)[HALF], HALF, ["a", "b"], boundary_iou=True, from_logits=False
    )
    assert history["eval/boundary_iou"] == [1.0]


def test_iou_over_the_threshold():
    rng = np.random.default_rng(0)
    truth = rng.random((2, 9, 9, 2)) > 0.6
    chances = np.round(np.clip(truth * 0.4 + rng.random((2, 9, 9, 2)) * 0.6, 0, 1), 3)
    curve = IouByThreshold(2)
    for one in range(2):
        curve.update(curve.histograms(truth[[one]], chances[[one]].astype(np.float32)))
    for k in range(2):
        for step in range(101):
            hot = chances[..., k] >= step / 100
            expected = (hot & truth[..., k]).sum() / (hot | truth[..., k]).sum()
            assert curve.ious()[k, step] == pytest.approx(expected), step
    threshold, iou = curve.best()[0]
    assert iou == curve.ious()[0, 1:].max()
    assert curve.ious()[0, round(threshold * 100)] == iou


@pytest.mark.usefixtures("channels_first")
def test_channels_first_without_the_callback():
    truth = np.random.default_rng(0).integers(0, 2, (2, 3, 4, 5))
    metrics = MultiLabelMetrics([*"abc"])
    metrics.update(truth, 0.2 + 0.6 * truth)
    assert metrics.compute()["mean_iou"] == 1


def test_masks_of_several_sizes_are_one_clear_error():
    with pytest.raises(ValueError, match="Masks must be an array"):
        read_multi_hot([np.zeros((2, 2, 1)), np.zeros((3, 2, 1))])
