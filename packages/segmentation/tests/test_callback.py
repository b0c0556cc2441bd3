"""The callback in `fit`, with the real wandb client and a loopback backend."""

import gc
import io
import re
import time

import keras
import numpy as np
import PIL.Image
import pytest
import wandb
from keras import ops

from wandb_eval.core import size_of_image
from wandb_eval.core._wandb.files import StoredFile
from wandb_eval.segmentation import WandbSegmentationEvalCallback, kinds, read_outputs

NAMES = ["background", "square", "stripe"]


def scenes(count=6, size=(16, 12), seed=0):
    """Images whose classes can be told from their colours, and their masks."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, *size), np.uint8)
    for i, mask in enumerate(masks):
        mask[i % 8 : i % 8 + 5, 2:7] = 1
        mask[-2 - i % 3 : -1, :] = 2
    colors = np.array([[40, 40, 40], [220, 60, 60], [60, 60, 220]])
    noise = rng.integers(-20, 20, (count, *size, 3))
    return (colors[masks] + noise).astype(np.uint8), masks


def pixel_model(channels=3, **layer):
    """A model that predicts logits for each pixel separately."""
    model = keras.Sequential(
        [
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(16, 1, activation="relu"),
            keras.layers.Conv2D(channels, 1, **layer),
        ]
    )
    logits = "activation" not in layer
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=logits)
    if channels == 1:
        loss = keras.losses.BinaryCrossentropy(from_logits=logits)
    model.compile(keras.optimizers.Adam(0.05), loss)
    return model


@pytest.mark.parametrize("depth", [(16, 12, 1), (16, 12, 3)])
def test_several_inputs(loopback, depth):
    images, masks = scenes()
    x = images, np.zeros((6, *depth), "float32")
    inputs = [keras.Input(images.shape[1:]), keras.Input(depth)]
    both = keras.layers.Concatenate()(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1, activation="softmax")(both))
    model.compile("sgd", "sparse_categorical_crossentropy")
    with wandb.init(mode="offline"):
        callback = WandbSegmentationEvalCallback((x, masks), NAMES, on_error="raise")
        model.fit(x, masks, verbose=0, callbacks=[callback])
    assert len(callback.history["eval/mean_iou"]) == 1


class Fixed(keras.Model):
    """Returns fixed outputs, whatever it learns."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = [np.asarray(output, "float32") for output in outputs]
        self.learned = self.add_weight(shape=(), initializer="zeros", name="learned")
        self.compile("sgd")

    def call(self, x):
        index = ops.cast(x[:, 0, 0, 0], "int32")
        found = [
            ops.take(ops.convert_to_tensor(o), index, axis=0) for o in self.outputs
        ]
        return found[0] if len(found) == 1 else {"edges": found[0], "classes": found[1]}

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        return ops.square(self.learned - 1)


def numbered(count, size):
    """Random images; the first pixel holds the place of the image."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, *size, 3), dtype=np.uint8)
    x[:, 0, 0, 0] = np.arange(count)
    return x


def fit_fixed(outputs, validation_data, *args, x=None, epochs=1, **kwargs):
    """Fits a model that puts out `outputs`; returns the callback."""
    x = numbered(len(outputs), (4, 6)) if x is None else x
    data = (
        (x, validation_data) if hasattr(validation_data, "shape") else validation_data
    )
    evaluation = WandbSegmentationEvalCallback(
        data, *args, **{"on_error": "raise"} | kwargs
    )
    Fixed([outputs]).fit(
        x, np.zeros(len(x)), epochs=epochs, verbose=0, callbacks=[evaluation]
    )
    return evaluation


@pytest.fixture
def offline(loopback):
    with wandb.init(mode="offline") as run:
        yield run


def decode(content):
    return np.asarray(PIL.Image.open(io.BytesIO(content)))


def rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.data]


def layer(image, name):
    """The ids in a mask layer of a `wandb.Image`."""
    with PIL.Image.open(image._masks[name]._path) as mask:
        return np.asarray(mask)


# --- Logged tables and files ------------------------------------------------------


def test_what_is_logged(loopback):
    x, y = scenes()
    y[0, 0] = 255
    keras.utils.set_random_seed(0)
    model = pixel_model()
    with wandb.init() as run:
        evaluation = WandbSegmentationEvalCallback(
            (x, y), NAMES, ignore_index=255, monitor="eval/mean_iou", batch_size=4
        )
        model.fit(x, np.minimum(y, 2), epochs=3, verbose=0, callbacks=[evaluation])
        predicted = model.predict(x, verbose=0).argmax(-1)
    [data] = loopback.versions("val")
    for i, row in enumerate(loopback.rows(data, "val_data")):
        assert row["idx"] == i
        names = NAMES + (["ignored"] if i == 0 else [])
        assert row["classes"] == ", ".join(names)
        assert list(row["image"]["masks"]) == ["ground_truth"]
        path = row["image"]["masks"]["ground_truth"]["path"]
        np.testing.assert_array_equal(decode(loopback.resolve(data, path)), y[i])
        pixels = decode(loopback.resolve(data, row["image"]["path"]))
        np.testing.assert_array_equal(pixels, x[i])
    *_, last = loopback.versions(f"run_{run.id}_pred")
    assert {"epoch_2", "latest"} <= set(last.aliases)
    scores = loopback.rows(last, "scores")
    for i, row in enumerate(loopback.rows(last, "eval_data")):
        layers = row["image"]["masks"]
        assert set(layers) == {"ground_truth", "predictions", "errors"}
        masks = {
            name: decode(loopback.resolve(last, layer["path"]))
            for name, layer in layers.items()
        }
        np.testing.assert_array_equal(masks["ground_truth"], y[i])
        np.testing.assert_array_equal(masks["predictions"], predicted[i])
        expected = np.where(predicted[i] == y[i], 253, 254)
        expected[y[i] == 255] = 252
        np.testing.assert_array_equal(masks["errors"], expected)
        counted = y[i] != 255
        right = (predicted[i] == y[i])[counted].mean()
        assert row["pixel_accuracy"] == pytest.approx(right)
        classes, ious = scores[i]["classes"], scores[i]["class_iou"]
        assert row["mean_iou"] == pytest.approx(np.mean(ious))
        assert ious[classes.index(row["worst_class"])] == min(ious)
        order = np.argsort(-np.array(ious), kind="stable")
        text = ", ".join(f"{classes[k]} {ious[k]:.2f}" for k in order)
        assert row["class_iou"] == text
    counted = y != 255
    summary = loopback.summary(run.id)
    assert summary["eval/pixel_accuracy"] == pytest.approx(
        (predicted == y)[counted].mean()
    )
    mean_iou = keras.metrics.MeanIoU(3, ignore_class=255)
    mean_iou.update_state(y, predicted)
    assert summary["eval/mean_iou"] == pytest.approx(float(mean_iou.result()), abs=1e-6)
    assert last.metadata["eval/mean_iou"] == summary["eval/mean_iou"]
    assert summary["eval/epoch"] == 2
    assert "eval/left_out" not in summary
    for key in ("eval/per_class", "eval/confusion_matrix_table", "eval/predictions"):
        assert summary[key]["_type"] == "table-file"
    assert loopback.unknown == []


def test_read_back_through_the_api(loopback):
    x, y = scenes()
    model = pixel_model()
    with wandb.init() as run:
        evaluation = WandbSegmentationEvalCallback((x, y), NAMES)
        model.fit(x, y, verbose=0, callbacks=[evaluation])
        predicted = model.predict(x, verbose=0).argmax(-1)
    table = wandb.Api().artifact(f"run_{run.id}_pred:latest").get("eval_data")
    assert len(table.data) == len(x)
    for i, row in enumerate(table.data):
        image = row[2]
        np.testing.assert_array_equal(np.asarray(image.image), x[i])
        for name, expected in [("ground_truth", y), ("predictions", predicted)]:
            np.testing.assert_array_equal(layer(image, name), expected[i])


def test_the_cells_of_a_row(offline):
    truth = np.array([[[0, 0, 1, 1, 2, 9]] * 4, [[9] * 6] * 4])
    found = np.array([[[0, 0, 1, 0, 0, 0]] * 4, [[1] * 6] * 4])
    evaluation = fit_fixed(np.eye(4)[found], truth, [*"abcd"], ignore_index=9)
    first, second = rows(evaluation.pred_table)
    # a: 2 of 4, b: 1 of 2, c: none; d is nowhere. The ignored pixel counts nowhere.
    assert first["class_iou"] == "a 0.50, b 0.50, c 0.00"
    scores = evaluation.evaluation.scores
    assert scores["classes"] == [["a", "b", "c"], []]
    assert scores["class_iou"] == [[0.5, 0.5, 0.0], []]
    assert first["worst_class"] == "c"
    assert first["mean_iou"] == pytest.approx(1 / 3)
    assert first["mean_dice"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert first["pixel_accuracy"] == pytest.approx(3 / 5)
    assert [row["classes"] for row in rows(evaluation.data_table)] == [
        "a, b, c, ignored",
        "ignored",
    ]
    for name in ("mean_iou", "mean_dice", "pixel_accuracy", "worst_class"):
        assert second[name] is None
    assert second["class_iou"] == ""
    np.testing.assert_array_equal(layer(second["image"], "predictions"), 1)


class _SameForever(keras.callbacks.Callback):
    """Keeps the model as it was, so that its predictions do not change."""

    def on_train_begin(self, logs=None):
        self.weights = self.model.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        self.model.set_weights(self.weights)


def images_and_masks(transfers):
    """The paths of images and of masks, apart."""
    paths = [t.path for t in transfers if t.path.endswith(".png")]
    masks = [path for path in paths if "/mask/" in path]
    return [path for path in paths if path not in masks], masks


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_images_and_true_masks_go_up_once(loopback, sync, mode):
    x, y = scenes()
    model = pixel_model()
    with wandb.init(mode=mode) as run:
        evaluation = WandbSegmentationEvalCallback((x, y), NAMES)
        model.fit(x, y, epochs=4, verbose=0, callbacks=[evaluation])
        assert loopback.downloads() == []
    if mode == "offline":
        assert loopback.uploads() == []
        sync(run.dir)
    versions = loopback.versions(f"run_{run.id}_pred")
    assert [v.state for v in versions] == ["COMMITTED"] * 4
    predicted = set()
    for i, version in enumerate(versions):
        table = loopback.rows(version, "eval_data")
        layers = [row["image"]["masks"] for row in table]
        shown = ("predictions", "errors")
        masks = {of_row[name]["path"] for of_row in layers for name in shown}
        for path in version.manifest:
            assert loopback.resolve(version, path)
        if i:  # Predicted masks that are new, and the table: nothing else.
            assert set(version.files) - set(TABLES) == masks - predicted
        predicted |= masks
    images, masks = images_and_masks(loopback.uploads("val"))
    assert len(images) == len(set(images)) == len(x)
    assert len(masks) == len({mask.tobytes() for mask in y})
    images, _ = images_and_masks(loopback.uploads())
    assert len(images) <= len(x) * (1 if mode == "online" else 2)


TABLES = ["eval_data.table.json", "hardest.table.json", "scores.table.json"]


def test_masks_that_do_not_change_are_not_sent_again(loopback):
    x, y = scenes()
    model = pixel_model()
    model.build(x.shape)
    with wandb.init() as run:
        evaluation = WandbSegmentationEvalCallback((x, y), NAMES)
        model.fit(x, y, epochs=3, verbose=0, callbacks=[_SameForever(), evaluation])
    first, *later = loopback.versions(f"run_{run.id}_pred")
    assert len(first.files) > 1
    for version in later:
        assert set(version.files) <= set(TABLES)
        assert len(version.manifest) == len(first.manifest)


def test_disabled_training_runs_and_nothing_is_read(loopback):
    with wandb.init(mode="disabled"):
        evaluation = fit_fixed(np.zeros((2, 4, 6, 3)), np.full((2, 4, 6), 0.5), NAMES)
        assert evaluation.data_table.data == []
    assert loopback.stats()["requests"] == {}


class ReusedBuffer:
    """Batches that reuse the same two arrays."""

    def __init__(self, x, y, size):
        self.x, self.y, self.size = x, y, size

    def __len__(self):
        return len(self.x) // self.size

    def __iter__(self):
        x, y = np.empty_like(self.x[: self.size]), np.empty_like(self.y[: self.size])
        for start in range(0, len(self.x), self.size):
            x[...] = self.x[start : start + self.size]
            y[...] = self.y[start : start + self.size]
            yield x, y


def test_batches_in_arrays_that_are_used_again(loopback, monkeypatch):
    x, y = (
        numbered(6, (4, 6)),
        np.arange(6)[:, None, None] % 3 + np.zeros((6, 4, 6), int),
    )
    read = kinds.read_masks

    def read_late(*args):
        time.sleep(0.05)
        return read(*args)

    monkeypatch.setattr(kinds, "read_masks", read_late)
    with wandb.init() as run:
        fit_fixed(np.eye(3)[y], ReusedBuffer(x, y, 1), NAMES)
    assert loopback.summary(run.id)["eval/mean_iou"] == 1.0


def test_disabled_the_ground_truth_can_be_read_without_class_names(loopback):
    class Reading(WandbSegmentationEvalCallback):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            rows.append(len(self.data_table_ref.data))

    x, y = scenes()
    rows = []
    with wandb.init(mode="disabled"):
        pixel_model().fit(x, y, epochs=2, verbose=0, callbacks=[Reading((x, y))])
    assert rows == [len(x)] * 2


@pytest.mark.parametrize("ignored", [2**32 - 1, 2**30 + 5])
def test_an_id_that_is_ignored_may_be_large(loopback, ignored):
    y = np.ones((2, 4, 6), np.uint32)
    y[:, :2] = ignored
    outputs = np.eye(3)[np.ones((2, 4, 6), int)]
    with wandb.init() as run:
        fit_fixed(outputs, y, NAMES, ignore_index=ignored)
    summary = loopback.summary(run.id)
    assert summary["eval/mean_iou"] == 1.0
    assert "eval/left_out" not in summary


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.zeros((6, 6, 3), np.uint8), np.zeros((6, 6), int)),
        (np.zeros((6, 6, 3), np.uint8), np.zeros((6, 6, 1), int)),
        (np.zeros((6, 6, 1), np.uint8), np.zeros((6, 6, 1), int)),
        (np.zeros((6, 6), np.uint8), np.zeros((6, 6), int)),
    ],
)
def test_one_sample_is_no_batch(loopback, x, y):
    evaluation = None
    with wandb.init(mode="offline"):
        evaluation = WandbSegmentationEvalCallback((x, y), NAMES)
        with pytest.raises(ValueError, match="If this is one sample, batch the data"):
            evaluation.samples  # noqa: B018


def test_files_of_versions_are_known_until_the_next_one(loopback):
    """Not for as long as wandb keeps artifacts in memory: the last 100."""
    x, y = scenes()
    with wandb.init() as run:
        evaluation = WandbSegmentationEvalCallback((x, y))
        pixel_model().fit(x, y, epochs=4, verbose=0, callbacks=[evaluation])
    versions = loopback.versions(f"run_{run.id}_pred")
    assert [version.state for version in versions] == ["COMMITTED"] * 4
    gc.collect()
    files = [item for item in gc.get_objects() if type(item) is StoredFile]
    of_versions = [file for file in files if "staging" in file.path]
    assert len(of_versions) <= len(versions[-1].manifest)
    assert len(evaluation.pred_table.data) == len(x)


def test_a_version_that_is_given_up_takes_no_other_with_it(loopback, warned):
    """It is reported when the next one has its masks written already."""
    x, y = scenes()
    with wandb.init() as run:
        loopback.fail("CreateArtifact", type="evaluation", status=503, times=21)
        evaluation = WandbSegmentationEvalCallback((x, y))

        def wait(epoch, logs):
            for upload in evaluation.run_log.uploads.under_way:
                assert upload.done.wait(60)

        model = pixel_model()
        wait_for_it = keras.callbacks.LambdaCallback(on_epoch_end=wait)
        model.fit(x, y, epochs=3, verbose=0, callbacks=[evaluation, wait_for_it])
    versions = loopback.versions(f"run_{run.id}_pred")
    assert [version.metadata["epoch"] for version in versions] == [1, 2]
    for version in versions:
        for row in loopback.rows(version, "eval_data"):
            path = row["image"]["masks"]["predictions"]["path"]
            assert decode(loopback.resolve(version, path)).shape == y[0].shape
    assert loopback.summary(run.id)["eval/missing_versions"] == [0]
    assert len(warned) == 1


# --- Masks and outputs of all kinds -----------------------------------------------


@pytest.mark.parametrize(
    ("channels", "last_layer", "arguments"),
    [
        (1, {"bias_initializer": keras.initializers.Constant(-1)}, {"threshold": 0.3}),
        (1, {"activation": "sigmoid"}, {"from_logits": False, "threshold": 0.4}),
        (3, {"strides": 2}, {}),
        (3, {"strides": 2, "activation": "softmax"}, {"from_logits": False}),
        (3, {"activation": "softmax"}, {}),
    ],
    ids=["logit", "sigmoid", "half size", "softmax, half size", "softmax"],
)
def test_outputs_of_all_kinds(offline, warned, channels, last_layer, arguments):
    if keras.backend.backend() == "torch" and last_layer.get("activation") == "softmax":
        pytest.skip("Keras' loss of the probabilities of pixels fails on Torch")
    x, y = scenes()
    if channels == 1:
        y = np.minimum(y, 1)
    model = pixel_model(channels, **last_layer)
    target = y[:, ::2, ::2] if "strides" in last_layer else y
    evaluation = WandbSegmentationEvalCallback((x, y[..., None]), **arguments)
    model.fit(x, target, epochs=2, verbose=0, callbacks=[evaluation])
    outputs = model.predict(x, verbose=0)
    expected = read_outputs(outputs, y.shape[1:], **arguments)
    for i, row in enumerate(rows(evaluation.pred_table)):
        found = layer(row["image"], "predictions")
        assert (found == expected[i]).mean() > 0.99  # Batches may round otherwise.
    assert warned == []


def test_one_of_several_outputs(offline):
    x = numbered(2, (4, 6))
    truth = np.zeros((2, 4, 6), int)
    outputs = [np.zeros((2, 2)), np.eye(3)[truth]]
    data = (x, {"edges": np.zeros((2, 2)), "classes": truth})
    evaluation = WandbSegmentationEvalCallback(data, NAMES, output_key="classes")
    Fixed(outputs).fit(x, np.zeros(2), verbose=0, callbacks=[evaluation])
    assert [row["mean_iou"] for row in rows(evaluation.pred_table)] == [1.0, 1.0]
    evaluation = WandbSegmentationEvalCallback((x, truth), NAMES)
    with pytest.raises(ValueError, match=r"several outputs.*Pass `output_key`"):
        Fixed(outputs).fit(x, np.zeros(2), verbose=0, callbacks=[evaluation])


def test_one_hot_masks_of_a_tf_data_dataset(offline):
    tf = pytest.importorskip("tensorflow")
    x = numbered(5, (4, 6))
    truth = np.random.default_rng(0).integers(0, 3, (5, 4, 6))
    truth[2, 0] = 255
    data = tf.data.Dataset.from_tensor_slices((x, tf.one_hot(truth, 3))).batch(2)
    evaluation = fit_fixed(
        np.eye(3)[np.minimum(truth, 2)], data, NAMES, x=x, ignore_index=255
    )
    assert [row["pixel_accuracy"] for row in rows(evaluation.pred_table)] == [1.0] * 5
    assert rows(evaluation.data_table)[2]["classes"] == ", ".join([*NAMES, "ignored"])


def test_images_of_different_sizes(offline):
    sizes = [(4, 6), (4, 6), (8, 3)]
    x = [numbered(3, size)[i] for i, size in enumerate(sizes)]
    truth = [np.full(size, i % 2) for i, size in enumerate(sizes)]
    outputs = np.eye(2)[[[[0]], [[1]], [[0]]]]
    evaluation = WandbSegmentationEvalCallback([(x, truth)])
    Fixed([outputs]).fit(
        numbered(3, (4, 6)), np.zeros(3), verbose=0, callbacks=[evaluation]
    )
    for row, size in zip(rows(evaluation.pred_table), sizes, strict=True):
        assert layer(row["image"], "predictions").shape == size
        assert row["pixel_accuracy"] == 1.0


@pytest.mark.usefixtures("channels_first")
def test_channels_first(offline):
    x, y = scenes()
    truth = np.moveaxis(np.eye(3)[y], -1, 1)
    images = np.moveaxis(x, -1, 1)

    class Echo(Fixed):
        def call(self, x):
            return ops.convert_to_tensor(self.outputs[0])[: ops.shape(x)[0]]

    evaluation = WandbSegmentationEvalCallback((images, truth), NAMES, on_error="raise")
    model = Echo([truth])
    model.fit(images, np.zeros(6), verbose=0, callbacks=[evaluation])
    for i, row in enumerate(rows(evaluation.pred_table)):
        np.testing.assert_array_equal(layer(row["image"], "predictions"), y[i])
        assert row["mean_iou"] == 1.0


def test_images_that_are_shown_at_the_size_of_the_mask(offline):
    x, y = scenes(2)
    small = x[:, ::2, ::2]
    evaluation = WandbSegmentationEvalCallback(
        (small, y),
        NAMES,
        image_fn=lambda image: image.repeat(2, 0).repeat(2, 1),
        on_error="raise",
    )
    model = pixel_model()
    model.fit(small, y[:, ::2, ::2], verbose=0, callbacks=[evaluation])
    for row in rows(evaluation.pred_table):
        assert row["image"].image.size == (12, 16)
        assert layer(row["image"], "predictions").shape == (16, 12)


@pytest.mark.parametrize("image_fn", [None, lambda x: np.uint8(x * 20 + 100)])
def test_images_of_another_size_are_scaled_to_that_of_the_mask(
    offline, warned, image_fn
):
    """As with deep supervision at half the size."""
    x = numbered(4, (8, 12)).astype("float32")
    truth = np.random.default_rng(1).integers(0, 3, (4, 4, 6))
    evaluation = fit_fixed(np.eye(3)[truth], truth, x=x, image_fn=image_fn)
    for table in (evaluation.data_table, evaluation.pred_table):
        for row in rows(table):
            assert row["image"].image.size == (6, 4)
            np.testing.assert_array_equal(
                layer(row["image"], "ground_truth"), truth[row["idx"]]
            )
            if image_fn is None:  # The mean of four pixels each.
                mean = x[row["idx"]].reshape(4, 2, 6, 2, 3).mean((1, 3))
                np.testing.assert_allclose(row["image"].image, mean, atol=1)
    for row in rows(evaluation.pred_table):
        assert layer(row["image"], "predictions").shape == (4, 6)
        assert row["mean_iou"] == 1.0
    [text] = [text for text in warned if "scaled to" in text]
    assert "(8, 12) in `validation_data` are scaled to (4, 6)" in text


@pytest.mark.parametrize("frames", [0, 3])
def test_images_that_are_no_picture_end_no_training(offline, warned, frames):
    x = np.random.default_rng(0).normal(size=(4, 4, 6, 5)).astype("float32")
    x[:, 0, 0, 0] = np.arange(4)
    truth = np.random.default_rng(1).integers(0, 3, (4, 4, 6))

    class Numbered(Fixed):
        def call(self, inputs):
            return super().call(inputs[:, 0] if frames else inputs)

    evaluated = x.copy()
    evaluated[2, 1, 1, 1] = np.nan
    if frames:
        x, evaluated = (np.stack([a] * frames, axis=1) for a in (x, evaluated))
    evaluation = WandbSegmentationEvalCallback((evaluated, truth), num_hardest=4)
    model = Numbered([np.eye(3)[truth]])
    model.fit(x, np.zeros(4), epochs=2, verbose=0, callbacks=[evaluation])
    for table in (evaluation.data_table, evaluation.pred_table):
        assert [row["idx"] for row in rows(table)] == [0, 1, 2, 3]
        for row in rows(table):
            assert (row["image"] is None) == (row["idx"] == 2)
            if row["image"] is not None:
                assert layer(row["image"], "ground_truth").shape == (4, 6)
    assert [row["mean_iou"] for row in rows(evaluation.pred_table)] == [1.0] * 4
    for part in ("NaN or infinity", "first three", "stretched"):
        assert sum(part in text for text in set(warned)) == 1


def test_more_classes_than_opencv_resizes_at_once(offline):
    truth = np.random.default_rng(0).integers(0, 150, (2, 4, 6))
    outputs = np.eye(150)[truth[:, ::2, ::2]]
    evaluation = fit_fixed(outputs, truth)
    assert all(row["mean_iou"] > 0 for row in rows(evaluation.pred_table))


# --- Ignored pixels ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("ignored", "num_classes", "shown", "name"),
    [
        (255, 3, 255, "ignored"),
        (9, 3, 9, "ignored"),
        (-1, 255, 255, "ignored"),
        (1000, 3, 255, "ignored"),
        (255, 256, 255, "255"),
        (0, 3, 0, "0"),
    ],
)
def test_ignored_pixels_are_shown_and_not_counted(
    offline, ignored, num_classes, shown, name
):
    truth = np.ones((2, 4, 6), int)
    truth[:, 0] = ignored
    found = np.ones((2, 4, 6), int)
    found[:, :2] = 2
    outputs = np.eye(num_classes, dtype="float32")[found]
    evaluation = fit_fixed(outputs, truth, ignore_index=ignored)
    for row in rows(evaluation.data_table):
        mask = layer(row["image"], "ground_truth")
        assert (mask[0] == shown).all()
        assert (mask[1:] == 1).all()
        assert set(row["classes"].split(", ")) == {name, "1"}
        labels = row["image"]._masks["ground_truth"]._val["class_labels"]
        assert labels[shown] == name
    for row in rows(evaluation.pred_table):
        assert row["pixel_accuracy"] == pytest.approx(2 / 3)
        assert row["class_iou"].startswith("1 0.67, ")
        assert row["class_iou"].endswith(" 0.00")


def test_256_classes(offline):
    truth = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    outputs = np.eye(256, dtype="float32")[truth]
    evaluation = fit_fixed(outputs, truth, x=numbered(1, (16, 16)))
    [row] = rows(evaluation.pred_table)
    np.testing.assert_array_equal(layer(row["image"], "predictions"), truth[0])
    assert row["mean_iou"] == 1.0


# --- KerasHub ---------------------------------------------------------------------


def deeplab(num_classes):
    """A DeepLabV3 with random weights, as small as KerasHub lets it be."""
    hub = pytest.importorskip("keras_hub")
    encoder = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64, 64],
        stackwise_num_blocks=[1, 1, 1],
        stackwise_num_strides=[1, 2, 2],
        block_type="basic_block",
        image_shape=(64, 48, 3),
    )
    backbone = hub.models.DeepLabV3Backbone(
        image_encoder=encoder,
        spatial_pyramid_pooling_key="P4",
        low_level_feature_key="P2",
        dilation_rates=[2, 4, 6],
        upsampling_size=4,
    )
    return hub.models.DeepLabV3ImageSegmenter(
        backbone=backbone, num_classes=num_classes
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`shuffle=True`:UserWarning")
def test_a_segmenter_of_keras_hub_trains_with_the_callback(loopback):
    keras.utils.set_random_seed(0)
    x, y = scenes(4, size=(64, 48))
    one_hot = np.eye(3, dtype="float32")[y]
    model = deeplab(3)
    model.compile()  # As KerasHub does it: one-hot masks, logits.
    with wandb.init() as run:
        evaluation = WandbSegmentationEvalCallback((x, one_hot), NAMES, batch_size=2)
        model.fit(x, one_hot, epochs=2, verbose=0, batch_size=2, callbacks=[evaluation])
        outputs = model.predict(x, verbose=0, batch_size=2)
    versions = loopback.versions(f"run_{run.id}_pred")
    assert [v.state for v in versions] == ["COMMITTED"] * 2
    assert "epoch_1" in versions[1].aliases
    expected = read_outputs(outputs, (64, 48))
    for i, row in enumerate(loopback.rows(versions[1], "eval_data")):
        masks = {
            name: decode(loopback.resolve(versions[1], mask["path"]))
            for name, mask in row["image"]["masks"].items()
        }
        np.testing.assert_array_equal(masks["ground_truth"], y[i])
        assert (masks["predictions"] == expected[i]).mean() > 0.99
    history = [row for row in loopback.history(run.id) if "eval/mean_iou" in row]
    assert [row["eval/epoch"] for row in history] == [0, 1]
    assert all(0 <= row["eval/mean_iou"] <= 1 for row in history)


# --- Bad input --------------------------------------------------------------------


class _NeverTrained(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        pytest.fail("a batch was trained")


X, Y = scenes(2)
IDS = Y.astype(int)
LOGITS = np.eye(3)[IDS] * 4 - 2


@pytest.mark.parametrize(
    ("outputs", "y", "arguments", "message"),
    [
        (
            LOGITS,
            Y,
            {"class_names": ["a", "b"]},
            "0 to 1, as `class_names`.*Received: 2",
        ),
        (LOGITS, np.where(Y == 0, 255, Y), {"class_names": NAMES}, "`ignore_index`"),
        (LOGITS, IDS - 1, {"class_names": NAMES}, "Received: -1 among them"),
        (LOGITS, IDS + 254, {}, "0 to 255. Received: 256"),
        (LOGITS, Y + 0.5, {}, "not probabilities. Received: 0.5"),
        (LOGITS, np.ones((2, 16, 12, 3)), {}, "must be one-hot"),
        (LOGITS[..., :2], Y, {}, "outputs for 2 classes, but masks.*have 3"),
        (LOGITS[..., :2], Y % 2, {"class_names": NAMES}, "`class_names` have 3"),
        (LOGITS, Y % 2, {"class_names": NAMES[:2]}, "2 names, but there are 3"),
        (np.zeros((2, 16, 12, 257)), Y, {}, "8 bits.*256 classes at most.*257"),
        (np.zeros((2, 16, 12, 256)), Y, {"ignore_index": -1}, "no id left"),
        (LOGITS[..., 0], Y, {}, r"channels\). Received: \(2, 16, 12\)"),
        (LOGITS[..., :1], Y % 2, {"from_logits": False}, "are -2 to 2.*from_logits"),
        (LOGITS[:, ::2], Y, {"from_logits": False}, "not probabilities.*-2 to 2"),
    ],
)
def test_data_and_outputs_that_do_not_fit_are_refused_before_training(
    offline, outputs, y, arguments, message
):
    x = numbered(2, (16, 12))
    evaluation = WandbSegmentationEvalCallback((x, y), **arguments)
    model = Fixed([outputs])
    with pytest.raises(ValueError, match=message):
        model.fit(x, np.zeros(2), verbose=0, callbacks=[evaluation, _NeverTrained()])


@pytest.mark.parametrize("y", [Y, Y[:, 1:]], ids=["same size", "other size"])
def test_x_may_be_no_array_of_images_and_of_another_size(offline, y):
    x = {"image": numbered(2, (16, 12)), "id": np.zeros((2, 1))}

    class Named(Fixed):
        def call(self, x):
            return super().call(x["image"])

    evaluation = WandbSegmentationEvalCallback((x, y))
    model = Named([LOGITS])
    model.fit(x, np.zeros(2), verbose=0, callbacks=[evaluation])
    [column] = [evaluation.pred_table.columns.index("image")]
    shown = [row[column] for row in evaluation.pred_table.data]
    assert [size_of_image(image) for image in shown] == [y.shape[1:]] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_names": [str(i) for i in range(257)]}, "8 bits.*Received: 257"),
        ({"class_names": []}, "empty list"),
        ({"threshold": 1.5}, "`threshold` must be.*1.5"),
        ({"threshold": True}, "`threshold` must be.*True"),
        ({"ignore_index": 1.5}, "`ignore_index` must be.*1.5"),
        ({"ignore_index": False}, "`ignore_index` must be.*False"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(offline, arguments, message):
    with pytest.raises(ValueError, match=message):
        WandbSegmentationEvalCallback((X, Y), **arguments)


def test_probabilities_that_are_taken_for_logits_are_noticed(offline, warned):
    probabilities = np.linspace(0, 1, 24).reshape(1, 4, 6, 1)
    truth = np.zeros((1, 4, 6), int)
    fit_fixed(probabilities, truth, from_logits=True)
    [warning] = warned
    assert "0 to 1" in warning
    assert "pass `from_logits=False`" in warning
    fit_fixed(probabilities, truth, from_logits=False)
    fit_fixed(probabilities - 0.1, truth, from_logits=True)
    assert len(warned) == 1


def test_nan_is_shown_counts_as_wrong_and_is_reported_once(loopback, warned):
    truth = np.ones((2, 4, 6), int)
    outputs = np.eye(3)[truth]
    outputs[0, 0] = np.nan
    with wandb.init() as run:
        evaluation = fit_fixed(
            outputs, truth, NAMES, epochs=2, monitor="eval/pixel_accuracy"
        )
    [warning] = warned
    assert (
        "For 1 sample of the validation data, outputs of the model are NaN" in warning
    )
    summary = loopback.summary(run.id)
    assert summary["eval/left_out"] == 6
    assert summary["eval/mean_iou"] == summary["eval/pixel_accuracy"] == 42 / 48
    assert "eval/best_epoch" not in summary
    image = evaluation.pred_table.data[0][2]
    labels = image._masks["predictions"]._val["class_labels"]
    version = loopback.version(f"run_{run.id}_pred:latest")
    first, second = loopback.rows(version, "eval_data")
    assert (first["mean_iou"], second["mean_iou"]) == (18 / 24, 1.0)
    assert "best" not in version.aliases
    masks = [
        decode(loopback.resolve(version, row["image"]["masks"]["predictions"]["path"]))
        for row in (first, second)
    ]
    assert {labels[int(i)] for i in masks[0][0]} == {"NaN"}
    assert (masks[0][1:] == 1).all()
    assert (masks[1] == 1).all()
    name = f"{run.entity}/{run.project}/run_{run.id}_pred:latest"
    assert len(wandb.Api().artifact(name).get("eval_data").data) == 2


def test_all_pixels_ignored_leave_no_number(loopback):
    with wandb.init() as run:
        fit_fixed(
            np.zeros((2, 4, 6, 3)), np.full((2, 4, 6), 255), NAMES, ignore_index=255
        )
    summary = loopback.summary(run.id)
    assert summary["eval/per_class"]["nrows"] == 3
    for name in ("mean_iou", "mean_dice", "pixel_accuracy", "frequency_weighted_iou"):
        assert f"eval/{name}" not in summary


class Changing:
    """Batches that change from the fourth iteration on."""

    def __init__(self, *batches):
        self.batches = batches
        self.asked = 0

    def __len__(self):
        return 1

    def __iter__(self):
        self.asked += 1
        return iter([self.batches[self.asked > 3]])


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (np.full((2, 4, 6), 7), "leave out 48 pixels.*id in the mask"),
        (np.full((2, 4, 6), 0.5), "could not be logged.*not probabilities"),
    ],
)
def test_masks_that_turn_bad_in_training_do_not_end_it(
    loopback, warned, later, message
):
    x, truth = numbered(2, (4, 6)), np.ones((2, 4, 6), int)
    with wandb.init() as run:
        data = Changing((x, truth), (x, later))
        fit_fixed(np.eye(3)[truth], data, NAMES, epochs=3, on_error="warn")
    history = [row for row in loopback.history(run.id) if "eval/epoch" in row]
    assert [row.get("eval/mean_iou") for row in history][:1] == [1.0]
    assert "eval/mean_iou" not in history[-1] or len(history) == 1
    assert warned
    assert all(re.search(message, text) for text in warned)


def test_nan_of_a_single_channel_is_wrong_at_each_threshold(loopback):
    truth = np.zeros((2, 4, 6), int)
    truth[1] = 1
    outputs = np.where(truth == 1, 0.9, 0.1)[..., None]
    outputs[0, 0] = np.nan
    with wandb.init() as run:
        fit_fixed(outputs, truth, ["no", "yes"], from_logits=False)
    # Of the 24 pixels of the class all are found, and 6 others.
    assert loopback.summary(run.id)["eval/best_iou"] == pytest.approx(24 / 30)
