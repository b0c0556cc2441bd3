"""The callback in `fit`, with the real wandb client."""

import functools

import keras
import numpy as np
import pytest
import wandb
from keras import ops

import small_model
from detectors import retinanet
from wandb_eval.detection import (
    ERROR_TYPES,
    BoxFormat,
    Detections,
    WandbDetectionEvalCallback,
    callback,
    count_image,
)
from wandb_eval.detection.coco import COCO_FIGURES

NAMES = ["cat", "dog", "bird"]
FORMATS = [
    "xyxy",
    "YXYX",
    "xywh",
    "Center_XYWH",
    "center_yxhw",
    "rel_xyxy",
    "REL_YXYX",
    "rel_xywh",
    "rel_center_xywh",
]
HEIGHT, WIDTH = 48, 80
PADDING = [-1.0] * 4

# Three images: two objects, none, one. Corners of boxes in pixels.
TRUE_BOXES = [
    [[4.0, 6.0, 30.0, 40.0], [41.5, 3.0, 77.0, 21.0]],
    [PADDING, PADDING],
    [[0.0, 0.0, 80.0, 48.0], PADDING],
]
TRUE_LABELS = [[0, 1], [-1, -1], [2, -1]]
FOUND_BOXES = [
    [[4.0, 6.0, 30.0, 38.0], [40.0, 3.0, 77.0, 21.0], [1.0, 1.0, 9.0, 9.0]],
    [[10.0, 10.0, 20.0, 40.0], PADDING, PADDING],
    [[5.0, 4.0, 70.0, 40.0], PADDING, PADDING],
]
FOUND_LABELS = [[0, 2, 1], [1, -1, -1], [2, -1, -1]]
FOUND_SCORES = [[0.875, 0.5, 0.25], [0.625, -1, -1], [0.75, -1, -1]]


def images(count=3, height=HEIGHT, width=WIDTH):
    """Random images; the first pixel holds the place of the image."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    x[:, 0, 0, 0] = np.arange(count)
    return x


class Detector(keras.Model):
    """Returns fixed boxes for each image, whatever it learns."""

    def __init__(self, boxes=FOUND_BOXES, labels=FOUND_LABELS, scores=FOUND_SCORES):
        super().__init__()
        self.learned = self.add_weight(shape=(), initializer="zeros", name="learned")
        self.boxes = np.asarray(boxes, "float32")
        self.labels = np.asarray(labels, "float32")
        self.scores = np.asarray(scores, "float32")

    def call(self, x):
        index = ops.cast(x[:, 0, 0, 0], "int32")
        return {
            "boxes": ops.take(ops.convert_to_tensor(self.boxes), index, axis=0),
            "labels": ops.take(ops.convert_to_tensor(self.labels), index, axis=0),
            "confidence": ops.take(ops.convert_to_tensor(self.scores), index, axis=0)
            + 0 * self.learned,
        }

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        return ops.mean(y_pred["confidence"]) + ops.square(self.learned)


class RawDetector(Detector):
    """Returns one array of the boxes, the label and the score."""

    def call(self, x):
        outputs = super().call(x)
        parts = [outputs["labels"][..., None], outputs["confidence"][..., None]]
        return ops.concatenate([outputs["boxes"], *parts], axis=-1)

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        return ops.mean(y_pred[..., 5]) + ops.square(self.learned)


def decode(outputs):
    return {
        "boxes": outputs[..., :4],
        "classes": outputs[..., 4],
        "scores": outputs[..., 5],
    }


def ground_truth(**more):
    boxes, labels = np.asarray(TRUE_BOXES, "float32"), np.asarray(TRUE_LABELS)
    return {"boxes": boxes, "labels": labels, **more}


def in_format(corners, name):
    """Corners of padded boxes, in another format."""
    corners = np.asarray(corners, "float32")
    converted = keras.utils.bounding_boxes.convert_format(
        corners, source="xyxy", target=name, height=float(HEIGHT), width=float(WIDTH)
    )
    return keras.ops.convert_to_numpy(converted)


@functools.cache
def shared_detector():
    """The model of most tests, compiled once."""
    model = Detector()
    model.compile("sgd")
    return model


def fit(*callbacks, model=None, epochs=1, x=None, batch_size=3):
    if model is None:
        model = shared_detector()
    else:
        model.compile("sgd")
    x = images() if x is None else x
    with small_model.renewed_after_errors(shared_detector):
        model.fit(
            x,
            np.zeros((len(x), 1)),
            batch_size=batch_size,
            epochs=epochs,
            verbose=0,
            callbacks=list(callbacks),
        )


@pytest.fixture
def offline(loopback):
    with wandb.init(mode="offline") as run:
        yield run


def rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.data]


def layer(image, name):
    """The boxes of a layer: `(corners, class id, caption, score)` each."""
    return [
        (
            [box["position"][side] for side in ("minX", "minY", "maxX", "maxY")],
            box["class_id"],
            box["box_caption"],
            box.get("scores", {}).get("score"),
        )
        for box in image._boxes[name]._val
    ]


# --- Rows -------------------------------------------------------------------------


def test_the_tables_of_ground_truth_and_predictions(offline):
    evaluation = WandbDetectionEvalCallback((images(), ground_truth()), NAMES)
    fit(evaluation, epochs=2)

    truth = rows(evaluation.data_table)
    assert [row["idx"] for row in truth] == [0, 1, 2]
    assert [row["num_boxes"] for row in truth] == [2, 0, 1]
    assert [row["classes"] for row in truth] == ["cat, dog", "", "bird"]
    assert layer(truth[0]["image"], "ground_truth") == [
        ([4, 6, 30, 40], 0, "cat", None),
        ([41.5, 3, 77, 21], 1, "dog", None),
    ]

    first, second, third = rows(evaluation.pred_table)
    assert {row["epoch"] for row in (first, second, third)} == {1}
    assert first["idx"] == 0
    # A cat is found, a dog is taken for a bird; a third box is below the threshold.
    assert layer(first["image"], "ground_truth") == [
        ([4, 6, 30, 40], 0, "", None),
        ([41.5, 3, 77, 21], 1, "", None),  # The box on it is captioned.
    ]
    assert layer(first["image"], "predictions") == [
        ([4, 6, 30, 38], 0, "", 0.875),
        ([40, 3, 77, 21], 2, "class", 0.5),
    ]
    assert (
        first["right"],
        first["wrong"],
        first["missed"],
    ) == (1, 1, 1)
    assert first["mean_iou"] == pytest.approx(32 / 34)
    assert first["predicted_classes"] == "cat 0.88, bird 0.50"
    assert (first["errors"], second["errors"], third["errors"]) == (
        "class 1",
        "background 1",
        "",
    )
    scores = evaluation.evaluation.scores
    assert (scores["num_boxes"], scores["num_predictions"]) == ([2, 0, 1], [2, 1, 1])
    assert scores["predicted_classes"][0] == ["cat", "bird"]
    assert scores["mean_scores"][0] == [0.875, 0.5]
    assert scores["class_errors"] == [1, 0, 0]
    assert scores["background_errors"] == [0, 1, 0]
    assert (second["wrong"], second["missed"]) == (1, 0)
    assert second["mean_iou"] is None
    assert (third["right"], third["wrong"]) == (1, 0)
    assert third["mean_iou"] == pytest.approx(65 * 36 / (80 * 48))


def test_thresholds_decide_what_counts(offline):
    evaluation = WandbDetectionEvalCallback(
        (images(), ground_truth()), NAMES, score_threshold=0.25, iou_threshold=0.95
    )
    fit(evaluation)
    first = rows(evaluation.pred_table)[0]
    assert (first["right"], first["wrong"]) == (0, 3)
    assert first["predicted_classes"] == "cat 0.88, bird 0.50, dog 0.25"


def test_raw_heads_are_decoded(offline):
    evaluation = WandbDetectionEvalCallback(
        (images(), ground_truth()), NAMES, decode_fn=decode
    )
    fit(evaluation, model=RawDetector())
    assert layer(rows(evaluation.pred_table)[2]["image"], "predictions") == [
        ([5, 4, 70, 40], 2, "", 0.75)
    ]


def test_at_most_a_hundred_boxes_are_shown_and_all_are_counted(offline):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 40, (3, 5000, 2))
    boxes = np.concatenate([corners, corners + 5], axis=-1)
    labels, scores = rng.integers(0, 3, (3, 5000)), rng.uniform(0.5, 1, (3, 5000))
    evaluation = WandbDetectionEvalCallback((images(), ground_truth()), NAMES)
    fit(evaluation, model=Detector(boxes, labels, scores))
    for i, row in enumerate(rows(evaluation.pred_table)):
        assert evaluation.evaluation.scores["num_predictions"][i] == 5000
        shown = [score for *_, score in layer(row["image"], "predictions")]
        best = np.sort(scores[i])[::-1][:100]
        np.testing.assert_allclose(shown, best, atol=1e-4)


def test_all_true_boxes_are_shown(offline):
    corners = np.random.default_rng(0).uniform(0, 20, (3, 150, 2))
    y = {
        "boxes": np.concatenate([corners, corners + 5], axis=-1),
        "labels": np.zeros((3, 150), int),
    }
    evaluation = WandbDetectionEvalCallback((images(), y), NAMES)
    fit(evaluation)
    assert evaluation.evaluation.scores["num_boxes"] == [150] * 3
    for table in (evaluation.data_table, evaluation.pred_table):
        for row in rows(table):
            assert len(layer(row["image"], "ground_truth")) == 150


def test_targets_without_names_can_not_be_named(offline):
    y = (ground_truth(), np.zeros(3))
    with pytest.raises(ValueError, match="2 targets without names"):
        WandbDetectionEvalCallback((images(), y), NAMES, output_key="boxes")
    assert WandbDetectionEvalCallback((images(), y), NAMES, output_key=0)


def test_boxes_grow_with_an_image_that_is_shown_larger(offline):
    evaluation = WandbDetectionEvalCallback(
        (images(), ground_truth()),
        NAMES,
        image_fn=lambda x: x.repeat(2, axis=0).repeat(3, axis=1),
    )
    fit(evaluation)
    third = rows(evaluation.pred_table)[2]["image"]
    assert layer(third, "ground_truth")[0][0] == [0, 0, 240, 96]
    assert layer(third, "predictions")[0][0] == [15, 8, 210, 80]
    # Only the image is scaled: the IoU is that of the boxes of the data.
    mean = rows(evaluation.pred_table)[2]["mean_iou"]
    assert mean == pytest.approx(65 * 36 / (80 * 48))


@pytest.mark.parametrize("frames", [0, 5])
def test_boxes_lie_on_images_of_any_range_and_form(offline, warned, frames):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, HEIGHT, WIDTH, 7)).astype("float32") * 3
    x[:, 0, 0, 0] = np.arange(3)
    shown = x.copy()
    shown[1, 5, 5, 1] = np.inf

    class Numbered(Detector):
        def call(self, inputs):
            return super().call(inputs[:, 0] if frames else inputs)

    if frames:
        x, shown = (np.stack([a] * frames, axis=1) for a in (x, shown))
    evaluation = WandbDetectionEvalCallback((shown, ground_truth()), NAMES)
    fit(evaluation, model=Numbered(), x=x, epochs=2)
    first, second, third = rows(evaluation.pred_table)
    assert first["image"].image.size == third["image"].image.size == (WIDTH, HEIGHT)
    assert layer(first["image"], "ground_truth")[0][0] == [4, 6, 30, 40]
    assert layer(third["image"], "predictions")[0][0] == [5, 4, 70, 40]
    assert second["image"] is None
    assert (second["idx"], second["wrong"]) == (1, 1)
    for part in ("NaN or infinity", "first three", "stretched"):
        assert sum(part in text for text in set(warned)) == 1


def test_boxes_out_of_the_image_are_clipped_counted_and_measured_as_they_are(
    offline, warned
):
    boxes = [[[-10.0, 8.0, 30.0, 60.0]], [[90.0, 0.0, 99.0, 9.0]], [PADDING]]
    labels, scores = [[0], [0], [-1]], [[0.9], [0.9], [-1]]
    truth = {"boxes": np.array(boxes), "labels": np.array(labels)}
    evaluation = WandbDetectionEvalCallback((images(), truth), NAMES, num_samples=3)
    metrics = evaluation.new_metrics()
    fit(evaluation, model=Detector(boxes, labels, scores))
    first, second, _ = rows(evaluation.pred_table)
    for name in ("ground_truth", "predictions"):
        assert layer(first["image"], name)[0][0] == [0, 8, 30, 48]
        assert layer(second["image"], name) == []
    assert first["mean_iou"] == second["mean_iou"] == 1
    metrics.update(
        *evaluation.read_batch(
            {**truth, "image_sizes": np.tile([HEIGHT, WIDTH], (3, 1))},
            {"boxes": np.array(boxes), "labels": labels, "scores": np.array(scores)},
        )
    )
    results = metrics.compute()
    assert results["outside_image"] == 2
    assert results["AP50"] == 1
    assert "left_out" not in results
    assert any("2 reaching out of the image" in text for text in warned)


# --- Forms of data ----------------------------------------------------------------


class Batches(keras.utils.PyDataset):
    """Batches that are kept in a list."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def per_image(values):
    """A list with an array for each image, without padding."""
    return [
        np.asarray(value)[np.asarray(labels) != -1]
        for value, labels in zip(values, TRUE_LABELS, strict=True)
    ]


def as_lists():
    return {"boxes": per_image(TRUE_BOXES), "classes": per_image(TRUE_LABELS)}


def forms():
    x, y, lists = images(), ground_truth(), as_lists()
    dicts = [
        {"boxes": b, "labels": c}
        for b, c in zip(lists["boxes"], lists["classes"], strict=True)
    ]
    tensors = {key: ops.convert_to_tensor(value) for key, value in y.items()}
    cut = slice(0, 2), slice(2, 3)
    return {
        "arrays": (x, y),
        "arrays and weights": (x, y, np.ones(3)),
        "tensors": (ops.convert_to_tensor(x), tensors),
        "lists": (x, lists),
        "a dictionary for each image": (x, dicts),
        "batches": Batches([(x[c], {k: v[c] for k, v in y.items()}) for c in cut]),
        "batches of lists": Batches(
            [(x[c], {k: v[c] for k, v in lists.items()}) for c in cut]
        ),
        "batches as KerasCV has them": [
            {"images": x[c], "bounding_boxes": {k: v[c] for k, v in y.items()}}
            for c in cut
        ],
    }


@pytest.mark.parametrize("form", forms())
def test_all_forms_of_data_make_the_same_rows(offline, form):
    evaluation = WandbDetectionEvalCallback(forms()[form], NAMES)
    fit(evaluation)
    truth, predictions = rows(evaluation.data_table), rows(evaluation.pred_table)
    assert [row["classes"] for row in truth] == ["cat, dog", "", "bird"]
    assert [len(layer(row["image"], "ground_truth")) for row in truth] == [2, 0, 1]
    assert [row["right"] for row in predictions] == [1, 0, 1]


def test_ragged_boxes_of_a_tf_data_dataset(offline):
    tf = pytest.importorskip("tensorflow")
    lists = as_lists()
    y = {
        "boxes": tf.ragged.stack([tf.constant(b, "float32") for b in lists["boxes"]]),
        "labels": tf.ragged.stack([tf.constant(c) for c in lists["classes"]]),
    }
    data = tf.data.Dataset.from_tensor_slices((images(), y))
    evaluation = WandbDetectionEvalCallback(data.ragged_batch(2), NAMES)
    fit(evaluation)
    assert [row["right"] for row in rows(evaluation.pred_table)] == [1, 0, 1]


def test_as_many_images_as_boxes_in_each_are_no_several_inputs(offline):
    boxes = [np.array([[0.0, 0, 9, 9], [9, 9, 20, 20]]) + 10 * i for i in range(2)]
    labels = [np.array([0, 1]), np.array([2, 2])]
    data = [(images(2), {"boxes": boxes, "labels": labels})]
    evaluation = WandbDetectionEvalCallback(data, NAMES)
    fit(evaluation, x=images(2), batch_size=2)
    for row, expected in zip(rows(evaluation.data_table), boxes, strict=True):
        shown = [corners for corners, *_ in layer(row["image"], "ground_truth")]
        assert shown == expected.tolist()
    assert rows(evaluation.data_table)[1]["classes"] == "bird"


BOX = np.float32([[4, 6, 30, 40]])


@pytest.mark.parametrize("count", [2, 3])
def test_as_many_boxes_as_images_in_a_dictionary_for_each(offline, count):
    x = images(count)
    y = [
        {"boxes": np.tile(BOX, (count, 1)), "labels": [i % 2] * count, "id": i}
        for i in range(count)
    ]
    evaluation = WandbDetectionEvalCallback([(x, y)], NAMES)
    fit(evaluation, x=x)
    truth = rows(evaluation.data_table)
    assert [row["num_boxes"] for row in truth] == [count] * count
    assert [row["classes"] for row in truth] == [NAMES[i % 2] for i in range(count)]


def test_dictionaries_with_other_keys_are_refused(offline):
    y = [{"boxes": BOX, "labels": [0]}, {"boxes": BOX}]
    with pytest.raises(ValueError, match="must have the same keys"):
        fit(WandbDetectionEvalCallback([(images(2), y)], NAMES), x=images(2))


def test_the_boxes_of_one_of_several_targets(offline):
    class Several(Detector):
        def call(self, x):
            return {"objects": super().call(x), "weather": self.learned + 0}

        def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
            return super().compute_loss(x, y, y_pred["objects"], *args, **kwargs)

    y = {"objects": ground_truth(), "weather": np.arange(3)}
    evaluation = WandbDetectionEvalCallback((images(), y), NAMES, output_key="objects")
    fit(evaluation, model=Several())
    assert [row["num_boxes"] for row in rows(evaluation.data_table)] == [2, 0, 1]
    assert rows(evaluation.pred_table)[0]["right"] == 1


def test_images_of_different_sizes_in_a_batch(offline):
    x = [images(3, 48, 80)[0], images(3, 200, 40)[1], images(3, 64, 64)[2]]
    half = np.tile([[[0.0, 0.0, 0.5, 0.5]]], (3, 1, 1))
    labels = np.zeros((3, 1), int)
    evaluation = WandbDetectionEvalCallback(
        [(x, {"boxes": half, "labels": labels})],
        NAMES,
        bounding_box_format="rel_xyxy",
    )
    model = Detector(half, labels, np.full((3, 1), 0.9))
    fit(evaluation, model=model)
    corners = [[0, 0, 40, 24], [0, 0, 20, 100], [0, 0, 32, 32]]
    for row, expected in zip(rows(evaluation.pred_table), corners, strict=True):
        assert layer(row["image"], "ground_truth")[0][0] == expected
        assert layer(row["image"], "predictions")[0][0] == expected
        assert row["right"] == 1


def test_sizes_of_ragged_images():
    tf = pytest.importorskip("tensorflow")
    x = tf.ragged.stack([tf.zeros((48, 80, 3)), tf.zeros((20, 40, 3))])
    assert callback.image_sizes(x).tolist() == [[48, 80], [20, 40]]


@pytest.mark.parametrize("count", [2, 3])
def test_inputs_in_a_list(offline, count):
    x, small = images(count), np.zeros((count, 7, 9, 3), np.uint8)
    y = {key: value[:count] for key, value in ground_truth().items()}
    for given in ([x], [x, small], [x, np.zeros((count, 4))]):
        evaluation = WandbDetectionEvalCallback((given, y), NAMES)
        [batch] = evaluation.validation_data
        assert batch.y["image_sizes"].tolist() == [[HEIGHT, WIDTH]] * count
        assert len(batch.x) == len(given)


def test_sizes_of_images_among_several_inputs():
    x = {"id": np.zeros((2, 1)), "image": np.zeros((2, 30, 50, 3))}
    assert callback.image_sizes(x).tolist() == [[30, 50]] * 2
    assert callback.image_sizes(np.zeros((1, 7, 9))).tolist() == [[7, 9]]
    assert callback.image_sizes(np.zeros((2, 5, 7, 9, 3))).tolist() == [[7, 9]] * 2
    assert callback.image_sizes(np.zeros((1, 3, 70, 90))).tolist() == [[70, 90]]
    gray = [np.zeros((7, 9)), np.zeros((5, 4))]
    assert callback.image_sizes(gray).tolist() == [[7, 9], [5, 4]]
    with pytest.raises(ValueError, match="must be images"):
        callback.image_sizes(np.zeros((2, 7)))


@pytest.mark.usefixtures("channels_first")
def test_sizes_of_images_channels_first():
    assert callback.image_sizes(np.zeros((1, 3, 7, 9))).tolist() == [[7, 9]]
    lists = [np.zeros((3, 7, 9)), np.zeros((3, 5, 4))]
    assert callback.image_sizes(lists).tolist() == [[7, 9], [5, 4]]
    with pytest.raises(ValueError, match="must be images"):
        callback.image_sizes(np.zeros((2, 7)))


# --- Numbers ----------------------------------------------------------------------


def test_the_best_f1_of_versions_is_not_that_of_the_thresholds(loopback):
    for epoch in range(2):
        with wandb.init(id="resumed", resume="allow") as run:
            evaluation = WandbDetectionEvalCallback(
                (images(), ground_truth()), NAMES, monitor="eval/f1", on_error="raise"
            )
            model = shared_detector()
            model.fit(
                images(),
                np.zeros((3, 1)),
                initial_epoch=epoch,
                epochs=epoch + 1,
                verbose=0,
                callbacks=[evaluation],
            )
        summary = loopback.summary(run.id)
        [f1] = evaluation.history["eval/f1"]
        assert summary["eval/best_f1_of_versions"] == pytest.approx(f1)
        assert summary["eval/best_f1"] == pytest.approx(16 / 20)
        assert summary["eval/best_epoch"] == 0
        assert f1 < 16 / 20


def test_metrics_are_over_all_of_the_data_and_pick_the_best_version(loopback):
    x = np.tile(images(), (4, 1, 1, 1))
    y = {key: np.concatenate([value] * 4) for key, value in ground_truth().items()}
    with wandb.init() as run:
        evaluation = WandbDetectionEvalCallback(
            (x, y), NAMES, num_samples=2, monitor="eval/AP50"
        )
        fit(evaluation, epochs=2)
    [history] = [[row for row in loopback.history(run.id) if "eval/AP50" in row]]
    assert [row["eval/epoch"] for row in history] == [0, 1]
    for row in history:
        # Of 12 objects 8 are found, of 16 predictions 8 are right.
        assert row["eval/recall"] == pytest.approx(8 / 12)
        assert row["eval/precision"] == pytest.approx(8 / 16)
        assert row["eval/f1"] == pytest.approx(16 / 28)
        assert row["eval/AP50"] == pytest.approx(2 / 3)
        assert "eval/AP_large" not in row  # Nothing is that large.
        assert not {"eval/left_out", "eval/outside_image"} & set(row)
        # The right ones have 0.875 and 0.75, the wrong ones less.
        assert row["eval/best_f1"] == pytest.approx(16 / 20)
        assert row["eval/best_score_threshold"] == 0.75
        for chart in ("confusion_matrix", "precision_recall"):
            assert f"eval/{chart}_table" in row
        for curve in ("precision", "recall", "f1"):
            assert f"eval/{curve}_curve_table" in row
        assert "eval/per_class" in row
    best = loopback.version(f"run_{run.id}_pred:best")
    assert set(best.aliases) == {"best", "epoch_0"}
    assert best.metadata["eval/mAP"] == history[0]["eval/mAP"]


@pytest.mark.parametrize("figure", COCO_FIGURES)
@pytest.mark.usefixtures("offline")
def test_of_every_figure_of_coco_more_is_better(figure):
    data = images(), ground_truth()
    auto = WandbDetectionEvalCallback(data, NAMES, monitor=f"eval/{figure}")
    chosen = WandbDetectionEvalCallback(
        data, NAMES, monitor=f"eval/{figure}", mode="max"
    )
    for evaluation in (auto, chosen):
        evaluation._monitor.set_model(Detector())
    assert auto._monitor.sign == chosen._monitor.sign


def test_the_confusion_matrix_of_a_run(offline):
    evaluation = WandbDetectionEvalCallback((images(), ground_truth()), NAMES)
    metrics = evaluation.new_metrics()
    sizes = np.tile([HEIGHT, WIDTH], (3, 1))
    outputs = {"boxes": FOUND_BOXES, "labels": FOUND_LABELS, "scores": FOUND_SCORES}
    metrics.update(
        *evaluation.read_batch(
            ground_truth(image_sizes=sizes),
            {key: np.asarray(value) for key, value in outputs.items()},
        )
    )
    chart = metrics.compute()["confusion_matrix"]
    counts = {tuple(row[:2]): row[2] for row in chart.table.data if row[2]}
    assert counts == {
        ("cat", "cat"): 1,
        ("dog", "bird"): 1,
        ("bird", "bird"): 1,
        ("background", "dog"): 1,
    }


# --- W&B --------------------------------------------------------------------------


def api_table(run, name, table="eval_data"):
    artifact = wandb.Api().artifact(f"{run.entity}/{run.project}/{name}")
    return artifact.get(table)


def test_overlays_round_trip_in_all_formats(loopback):
    with wandb.init() as run:
        callbacks = []
        for name, other in zip(FORMATS, FORMATS[::-1], strict=True):
            truth = ground_truth(boxes=in_format(TRUE_BOXES, name))
            callbacks.append(
                WandbDetectionEvalCallback(
                    (images(), truth),
                    NAMES,
                    bounding_box_format=name,
                    prediction_format=other,
                    score_threshold=0.0,
                    # Each callback has its own model output: the format differs.
                    decode_fn=lambda outputs, other=other: (
                        outputs | {"boxes": in_format(outputs["boxes"], other)}
                    ),
                    name=name.lower(),
                )
            )
        fit(*callbacks)
    for name in FORMATS:
        table = api_table(run, f"run_{run.id}_{name.lower()}_pred:latest")
        assert len(table.data) == 3
        for i, row in enumerate(rows(table)):
            for key, boxes, labels in (
                ("ground_truth", TRUE_BOXES[i], TRUE_LABELS[i]),
                ("predictions", FOUND_BOXES[i], FOUND_LABELS[i]),
            ):
                expected = [
                    (label, box)
                    for label, box in zip(labels, boxes, strict=True)
                    if label != -1
                ]
                shown = layer(row["image"], key)
                assert [label for _, label, *_ in shown] == [
                    label for label, _ in expected
                ]
                for (corners, *_), (_, box) in zip(shown, expected, strict=True):
                    np.testing.assert_allclose(corners, box, atol=0.5, err_msg=name)
            assert row["image"].image.size == (WIDTH, HEIGHT)


def image_paths(version):
    return sorted(path for path in version.manifest if path.endswith(".png"))


def sent_images(loopback):
    """Images of the samples, without those that are cut out of them."""
    whole = set(image_paths(loopback.version("val:latest")))
    return [item.path for item in loopback.uploads() if item.path in whole]


def test_online_each_image_goes_up_once_and_is_referenced(loopback):
    with wandb.init() as run:
        evaluation = WandbDetectionEvalCallback((images(), ground_truth()), NAMES)
        fit(evaluation, epochs=3)
        assert loopback.downloads() == []
    sent = sent_images(loopback)
    assert len(sent) == len(set(sent)) == 3
    assert [v.collection for v in loopback.used_by(run.id)] == ["val"]
    versions = loopback.versions(f"run_{run.id}_pred")
    assert [v.state for v in versions] == ["COMMITTED"] * 3
    contents = {loopback.resolve("val:v0", path) for path in sent}
    for version in versions:
        paths = [path for path in image_paths(version) if path in sent]
        assert len(paths) == 3
        assert all(version.manifest[path]["ref"] for path in paths)
        assert {loopback.resolve(version, path) for path in paths} == contents


def test_offline_each_image_goes_up_at_most_twice(loopback, sync):
    with wandb.init(mode="offline") as run:
        evaluation = WandbDetectionEvalCallback((images(), ground_truth()), NAMES)
        fit(evaluation, epochs=4)
    assert loopback.uploads(kind=None) == []
    sync(run.dir)
    sent = sent_images(loopback)
    assert len(set(sent)) == 3
    assert len(sent) <= 6
    versions = loopback.versions(f"run_{run.id}_pred")
    assert [v.state for v in versions] == ["COMMITTED"] * 4
    for version in versions:
        assert set(sent) <= set(image_paths(version))
        for path in image_paths(version):
            assert loopback.resolve(version, path)
        row = loopback.rows(version, "eval_data")[0]
        boxes = row["image"]["boxes"]
        assert {key: len(value) for key, value in boxes.items()} == {
            "ground_truth": 2,
            "predictions": 2,
        }


def test_disabled_training_runs_and_nothing_is_read(loopback):
    with wandb.init(mode="disabled"):
        evaluation = WandbDetectionEvalCallback((images(), ground_truth()), NAMES)
        fit(evaluation, model=Detector(labels=np.full((3, 3), np.nan)))
        assert evaluation.data_table.data == []
    assert loopback.stats()["requests"] == {}


# --- KerasHub ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.any_backend
@pytest.mark.filterwarnings("ignore:`shuffle=True`:UserWarning")
def test_a_retinanet_of_keras_hub_trains_with_the_callback(loopback):
    model = retinanet("yxyx", num_classes=len(NAMES))
    model.compile(optimizer=keras.optimizers.SGD(1e-4))
    x = images(4, 64, 96).astype("float32") / 255
    boxes = np.array([[[8, 10, 40, 60], [20, 30, 60, 90]], [[5, 5, 50, 50], PADDING]])
    labels = np.array([[0, 1], [2, -1]])
    y = {
        "boxes": np.tile(boxes, (2, 1, 1)).astype("float32"),
        "labels": np.tile(labels, (2, 1)).astype("float32"),
    }
    with wandb.init() as run:
        evaluation = WandbDetectionEvalCallback(
            (x, y), NAMES, bounding_box_format="yxyx", score_threshold=0.05
        )
        model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[evaluation])
    versions = loopback.versions(f"run_{run.id}_pred")
    assert [v.state for v in versions] == ["COMMITTED"] * 2
    outputs = model.predict(x, verbose=0)
    kept = np.arange(7) < outputs["num_detections"][:, None]
    assert kept.any()
    corners = BoxFormat("yxyx").to_xyxy(
        outputs["boxes"].reshape(-1, 4), np.tile([64, 96], (4 * 7, 1))
    )
    extent = (corners[:, 2:] - corners[:, :2]).reshape(4, 7, 2)
    counted = kept & (extent > 0).all(axis=-1) & (outputs["confidence"] >= 0.05)
    table = rows(api_table(run, f"run_{run.id}_pred:epoch_1", "scores"))
    assert [row["num_predictions"] for row in table] == counted.sum(axis=1).tolist()
    assert [row["num_boxes"] for row in table] == [2, 1, 2, 1]
    [first, second] = [r for r in loopback.history(run.id) if "eval/mAP" in r]
    assert 0 <= first["eval/mAP"] <= 1
    assert second["eval/epoch"] == 1


# --- Bad input --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"class_names": None}, "`class_names` must be a list.*None"),
        ({"class_names": []}, "empty list"),
        ({"bounding_box_format": "xyxyxy"}, "Received: 'xyxyxy'"),
        ({"prediction_format": "rel"}, "Received: 'rel'"),
        ({"score_threshold": 2}, "`score_threshold`.*Received: 2"),
        ({"iou_threshold": 0}, "`iou_threshold`.*Received: 0"),
        ({"decode_fn": "decode"}, "`decode_fn` must be callable.*'decode'"),
        ({"validation_data": (images(), np.zeros((3, 2, 4)))}, "dictionary"),
        ({"validation_data": (images(), [ground_truth()])}, "3 images, boxes of 1"),
        ({"validation_data": (np.zeros((3, 4)), ground_truth())}, "must be images"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(offline, kwargs, message):
    arguments = {"validation_data": (images(), ground_truth()), "class_names": NAMES}
    with pytest.raises(ValueError, match=message):
        WandbDetectionEvalCallback(**(arguments | kwargs))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (ground_truth(labels=np.full((3, 2), 3)), "class ids from 0 to 2.*Received: 3"),
        (ground_truth(labels=np.zeros((3, 1))), "2 boxes and 1 labels"),
        ({"boxes": np.zeros((3, 2, 4))}, "`labels` or `classes`"),
        (ground_truth(boxes=np.zeros((3, 2, 3))), r"boxes, 4\). Received: \(3, 2, 3\)"),
    ],
)
def test_ground_truth_that_cannot_be_right_is_refused_before_training(
    offline, y, message
):
    class Begun(keras.callbacks.Callback):
        batches = 0

        def on_train_batch_begin(self, batch, logs=None):
            self.batches += 1

    begun = Begun()
    evaluation = WandbDetectionEvalCallback((images(), y), NAMES)
    with pytest.raises(ValueError, match=message):
        fit(evaluation, begun)
    assert begun.batches == 0


def test_outputs_that_are_no_boxes_are_refused_before_training(offline):
    evaluation = WandbDetectionEvalCallback((images(), ground_truth()), NAMES)
    with pytest.raises(ValueError, match=r"predictions must be a dict.*\(3, 3, 6\)"):
        fit(evaluation, model=RawDetector())


def test_predictions_that_make_no_sense_are_reported_once_an_epoch(offline, warned):
    boxes = np.array(FOUND_BOXES)
    boxes[0, 0, 0] = np.nan
    boxes[0, 1] = [30, 30, 10, 40]
    labels, scores = np.array(FOUND_LABELS), np.array(FOUND_SCORES)
    labels[1, 0], scores[2, 0] = 7, 1.5
    evaluation = WandbDetectionEvalCallback((images(), ground_truth()), NAMES)
    fit(evaluation, model=Detector(boxes, labels, scores), epochs=2)
    reports = [text for text in warned if "predictions" in text]
    assert len(reports) == 2
    for reason in ("1 reversed", "no name", "score outside"):
        assert all(reason in text for text in reports)
    assert not any("not finite" in text for text in reports)
    [warning] = [text for text in warned if "NaN" in text]
    assert "For 1 sample of the validation data" in warning
    # A prediction of NaN counts as a wrong one.
    assert evaluation.evaluation.scores["num_predictions"] == [1, 0, 0]


@pytest.mark.parametrize("lost", ["boxes", "scores"])
def test_predictions_that_are_nan_are_wrong_and_such_a_version_is_not_the_best(
    loopback, lost
):
    boxes, scores = np.array(FOUND_BOXES), np.array(FOUND_SCORES)
    {"boxes": boxes, "scores": scores}[lost][1] = np.nan
    with wandb.init() as run:
        evaluation = WandbDetectionEvalCallback(
            (images(), ground_truth()), NAMES, monitor="eval/precision"
        )
        fit(evaluation, model=Detector(boxes, scores=scores))
    metrics = evaluation.evaluation.metrics.compute()
    right = sum(row["right"] for row in rows(evaluation.pred_table))
    wrong = sum(row["wrong"] for row in rows(evaluation.pred_table))
    assert metrics["precision"] == right / (right + wrong)
    nan = rows(evaluation.pred_table)[1]
    present = int((np.array(FOUND_LABELS)[1] >= 0).sum())
    assert nan["wrong"] == metrics["left_out"] == present
    assert nan["right"] == 0
    assert nan["predicted_classes"] == ""
    version = loopback.version(f"run_{run.id}_pred:latest")
    assert "best" not in version.aliases
    assert "eval/best_epoch" not in loopback.summary(run.id)


def test_true_boxes_that_make_no_sense_are_reported_before_training(offline, warned):
    y = ground_truth()
    y["boxes"][0, 0] = np.nan
    evaluation = WandbDetectionEvalCallback((images(), y), NAMES)
    fit(evaluation, epochs=2)
    reports = [text for text in warned if "validation_data" in text]
    assert len(reports) == 1
    assert "1 not finite" in reports[0]
    assert rows(evaluation.data_table)[0]["num_boxes"] == 1


def test_no_box_in_the_whole_set_and_none_predicted(loopback):
    y = ground_truth(labels=np.full((3, 2), -1))
    with wandb.init() as run:
        evaluation = WandbDetectionEvalCallback((images(), y), NAMES)
        fit(evaluation, model=Detector(labels=np.full((3, 3), -1)))
    assert evaluation.evaluation.scores["num_boxes"] == [0, 0, 0]
    history = {k: v for row in loopback.history(run.id) for k, v in row.items()}
    assert "eval/predictions" in history
    assert not {"eval/mAP", "eval/precision", "eval/recall"} & set(history)


# --- Boxes in another unit --------------------------------------------------------


def relative():
    corners = np.array(TRUE_BOXES) / [WIDTH, HEIGHT, WIDTH, HEIGHT]
    labels = np.array(TRUE_LABELS)
    return {"boxes": np.where(labels[..., None] < 0, -1, corners), "labels": labels}


def test_relative_boxes_under_an_absolute_format_are_refused(offline):
    beyond = relative()
    beyond["boxes"][2, 0, 2] += 1e-6  # By rounding.
    for y in (relative(), beyond):
        evaluation = WandbDetectionEvalCallback((images(), y), NAMES)
        with pytest.raises(ValueError, match="Pass 'rel_xyxy'"):
            fit(evaluation)
    evaluation = WandbDetectionEvalCallback(
        (images(), relative()),
        NAMES,
        bounding_box_format="rel_xyxy",
        prediction_format="xyxy",
    )
    fit(evaluation)
    assert rows(evaluation.pred_table)[0]["right"] == 1


def test_relative_predictions_under_an_absolute_format_are_warned_of(offline, warned):
    boxes = np.array(FOUND_BOXES) / [WIDTH, HEIGHT, WIDTH, HEIGHT]
    evaluation = WandbDetectionEvalCallback((images(), ground_truth()), NAMES)
    fit(evaluation, model=Detector(boxes=np.abs(boxes)))
    assert any("`prediction_format='rel_xyxy'`" in text for text in warned)


def test_predictions_in_pixels_under_a_relative_format_are_warned_of(offline, warned):
    evaluation = WandbDetectionEvalCallback(
        (images(), relative()), NAMES, bounding_box_format="rel_xyxy"
    )
    fit(evaluation)
    [line] = [text for text in warned if "far outside of the images" in text]
    assert "`prediction_format='xyxy'`" in line


def test_pixels_under_a_relative_format_name_the_format(offline, warned):
    evaluation = WandbDetectionEvalCallback(
        (images(), ground_truth()), NAMES, bounding_box_format="rel_xyxy"
    )
    fit(evaluation)
    assert any("They were read as 'rel_xyxy'" in text for text in warned)


def test_a_score_is_at_the_threshold_that_it_was_given_as(offline):
    scores = np.where(np.array(FOUND_SCORES) == 0.875, 0.7, 0.1)
    evaluation = WandbDetectionEvalCallback(
        (images(), ground_truth()), NAMES, score_threshold=0.7
    )
    fit(evaluation, model=Detector(scores=scores))
    assert rows(evaluation.pred_table)[0]["right"] == 1


# --- Errors of predictions --------------------------------------------------------


class KeepsTables(WandbDetectionEvalCallback):
    """Keeps the further tables of the last version."""

    def log_pred_table(self, *args, more_tables=None, **options):
        super().log_pred_table(*args, more_tables=more_tables, **options)
        self.tables = more_tables


def test_kinds_of_errors_and_objects(offline):
    evaluation = KeepsTables((images(), ground_truth()), NAMES, num_samples=1)
    fit(evaluation)
    tables = evaluation.tables
    hardest = rows(tables["hardest"])
    assert [row["idx"] for row in hardest] == [1, 0, 2]
    assert (hardest[0]["errors"], hardest[1]["errors"]) == ("background 1", "class 1")
    assert set(hardest[1]["image"]._boxes) == {"ground_truth", "predictions"}
    objects = rows(tables["objects"])
    assert {(row["kind"], row["class"], row["idx"]) for row in objects} == {
        ("background", "dog", 1),
        ("class", "bird", 0),
        ("missed", "dog", 0),
    }
    scores = rows(tables["scores"])
    assert [row["num_boxes"] for row in scores] == [2, 0, 1]


def test_predictions_in_a_crowd_have_no_actual_class(offline):
    y = ground_truth(iscrowd=np.array([[0, 0], [0, 0], [1, 0]]))
    labels = [*FOUND_LABELS[:2], [0, -1, -1]]
    evaluation = KeepsTables((images(), y), NAMES)
    fit(evaluation, model=Detector(labels=labels))
    [row] = [row for row in rows(evaluation.tables["objects"]) if row["idx"] == 2]
    assert (row["kind"], row["actual"], row["iou"]) == ("background", None, 0)


def kinds_by_hand(truth, predictions, ious):
    """TIDE's kinds of false positives, from the paper, one by one."""
    order = np.argsort(-predictions.scores, kind="stable")
    used, kinds = set(), {}
    for i in order:
        candidates = [
            (ious[i, j], -j)
            for j in range(len(truth))
            if truth.labels[j] == predictions.labels[i]
            and j not in used
            and ious[i, j] >= 0.5
        ]
        if candidates:
            used.add(-max(candidates)[1])
            kinds[i] = "right"
    for i in order:
        if i in kinds:
            continue
        same = [
            ious[i, j]
            for j in range(len(truth))
            if truth.labels[j] == predictions.labels[i]
        ]
        other = [
            ious[i, j]
            for j in range(len(truth))
            if truth.labels[j] != predictions.labels[i]
        ]
        best_same, best_other = max(same, default=0), max(other, default=0)
        if 0.1 <= best_same < 0.5:
            kinds[i] = "location"
        elif best_other >= 0.5:
            kinds[i] = "class"
        elif best_same >= 0.5:
            kinds[i] = "duplicate"
        elif max(best_same, best_other) <= 0.1:
            kinds[i] = "background"
        else:
            kinds[i] = "both"
    return [kinds[i] for i in range(len(predictions))]


@pytest.mark.parametrize("seed", range(20))
def test_kinds_against_the_paper(seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (6, 2))
    truth = Detections(np.hstack([corners, corners + 20]), rng.integers(0, 3, 6))
    near = truth.boxes[rng.integers(0, 6, 30)] + rng.normal(0, 6, (30, 4))
    near = np.hstack([near[:, :2], near[:, :2] + 20])
    found = Detections(near, rng.integers(0, 3, 30), rng.uniform(0.3, 1, 30))
    image = count_image(truth, found)
    expected = kinds_by_hand(truth, found, image.pairs)
    assert [ERROR_TYPES[kind] for kind in image.kinds] == expected


def test_images_of_an_online_version_have_their_format(loopback):
    with wandb.init() as run:
        fit(WandbDetectionEvalCallback((images(), ground_truth()), NAMES))
    version = loopback.version(f"run_{run.id}_pred:latest")
    objects = loopback.rows(version, "objects")
    assert {row["object"]["format"] for row in objects} == {"png"}
