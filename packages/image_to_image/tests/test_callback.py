"""The callback, with real models, against the backend on this machine."""

import keras
import numpy as np
import pytest
import wandb

from counted import CountedBatches
from loopback.fixtures import offline_run
from wandb_eval.core import run_log
from wandb_eval.image_to_image import WandbImageToImageEvalCallback
from wandb_eval.image_to_image.images import read_targets

EPOCHS, COUNT, SIZE = 2, 8, 16


class Identity(keras.Model):
    """Returns its input."""

    def call(self, x):
        return keras.ops.cast(x, "float32")


def rows_of(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.data]


def test_what_a_run_has(loopback):
    rng = np.random.default_rng(0)
    clean = rng.random((COUNT, SIZE, SIZE, 3), dtype=np.float32)
    noisy = clean + rng.normal(0, 0.1, clean.shape).astype(np.float32)
    noisy[5] = clean[5, ::-1]
    with wandb.init(project="photos") as run:
        callback = WandbImageToImageEvalCallback(
            (noisy, clean), num_samples=4, num_hardest=2, on_error="raise"
        )
        layer = keras.layers.Dense(3, kernel_initializer="identity")
        model = keras.Sequential([layer])
        model.compile("adam", "mse")
        data = (noisy, clean)
        history = model.fit(
            *data, epochs=EPOCHS, validation_data=data, verbose=0, callbacks=[callback]
        )
        outputs = model.predict(noisy, verbose=0)
    numbers = callback.history
    assert {"eval/mae", "eval/psnr", "eval/ssim"} <= history.history.keys()
    assert numbers["eval/mae"][-1] == pytest.approx(
        abs(outputs - clean).mean(), rel=1e-4
    )
    squares = ((noisy - clean) ** 2).mean(axis=(1, 2, 3))
    expected = (-10 * np.log10(squares)).mean()
    assert numbers["eval/psnr_input"] == pytest.approx([expected] * EPOCHS, rel=1e-5)

    columns = ["epoch", "idx", "image", "target", "prediction", "error"]
    assert callback.pred_table.columns == [*columns, "mae", "rmse", "psnr", "ssim"]
    for row in rows_of(callback.pred_table):
        error = outputs[row["idx"]] - clean[row["idx"]]
        assert row["mae"] == pytest.approx(abs(error).mean(), rel=1e-4)
        assert row["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-4)
        assert row["psnr"] == pytest.approx(-20 * np.log10(row["rmse"]), rel=1e-4)
        assert 0 < row["ssim"] < 1
        caption = "Mean absolute error: 0 (dark) to 0.25 or more (bright)"
        assert row["error"]._caption == caption
    assert callback.evaluation.hardest.index[0] == 5

    versions = loopback.versions(f"run_{run.id}_pred")
    assert len(versions) == EPOCHS
    for version in versions:  # Targets are references; of the hardest, files once.
        images = [path for path in version.manifest if path.startswith("media/images")]
        own = [path for path in images if "ref" not in version.manifest[path]]
        assert len(own) <= 2 * (4 + 2) + 2 * 2


def test_one_pass_also_within_epochs_of_a_run_whose_server_fails(loopback, warned):
    clean = np.random.default_rng(0).random((20, SIZE, SIZE, 1), dtype=np.float32)
    batches = CountedBatches(clean, clean, 2)
    loopback.fail("CreateArtifact", collection="val", status=503)
    with wandb.init(project="photos") as run:
        callback = WandbImageToImageEvalCallback(
            batches, num_samples=4, num_hardest=2, every_n_batches=3
        )
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile("adam", "mse")
        model.fit(
            *(clean, clean),
            batch_size=4,  # Five batches an epoch.
            epochs=2,
            verbose=0,
            validation_data=batches,
            callbacks=[callback],
        )
    [message] = warned
    assert "ground truth could not be logged" in message
    versions = loopback.versions(f"run_{run.id}_pred")
    found = [(one.metadata["epoch"], one.metadata["batch"]) for one in versions]
    assert found == [(0, 3), (0, None), (1, 3), (1, None)]
    # One to draw samples, one within each epoch, one of `fit` after it; some are peeks.
    assert batches.reads < 6 * batches.num_batches
    # Error maps are files of each version, with their scale.
    [row, *_] = loopback.rows(versions[-1], "eval_data")
    assert row["error"]["caption"].startswith("Mean absolute error: 0 (dark) to 0.25")
    assert loopback.resolve(versions[-1], row["error"]["path"]).startswith(b"\x89PNG")


@pytest.mark.usefixtures("channels_first")
def test_channels_first(tmp_path):
    rng = np.random.default_rng(0)
    noisy, clean = rng.random((2, 3, 3, 12, 14), dtype=np.float32)
    with offline_run(tmp_path):
        callback = WandbImageToImageEvalCallback((noisy, clean), on_error="raise")
        numbers = callback.evaluate(Identity())
        [row, *_] = rows_of(callback.pred_table)
        shown = [np.asarray(row[name].image) for name in ("target", "prediction")]
    assert numbers["eval/mae"] == pytest.approx(abs(noisy - clean).mean(), rel=1e-5)
    assert numbers["eval/psnr_input"] == pytest.approx(numbers["eval/psnr"], rel=1e-5)
    for image, array in zip(shown, (clean, noisy), strict=True):
        expected = 255 * np.moveaxis(array[0], 0, -1)
        np.testing.assert_allclose(image, expected, atol=0.51)


@pytest.mark.parametrize(
    ("value_range", "channels", "colored"),
    [((0, 1), 1, False), ((0, 80), 1, True), ((0, 1), 3, True)],
    ids=["grey", "range", "color"],
)
def test_maps_are_in_false_colors_and_ignore_what_is_unknown(
    tmp_path, value_range, channels, colored
):
    x = np.random.default_rng(0).random((3, 12, 12, channels), dtype=np.float32)
    y = value_range[1] * x[..., :1]
    y[0, :6, 0] = -1  # Unknown.
    y[1] = np.nan
    model = keras.Sequential([keras.layers.Lambda(lambda x: x[..., :1] * 0.5)])
    with offline_run(tmp_path):
        callback = WandbImageToImageEvalCallback(
            (x, y), value_range=value_range, invalid=-1, on_error="raise"
        )
        numbers = callback.evaluate(model)
        rows = rows_of(callback.pred_table)
        target = np.asarray(rows[0]["target"].image)
    assert target.ndim == (3 if colored else 2)
    assert not target[:6, 0].any()
    assert target[6:].any()
    known = y[0] != -1
    expected = abs(x[0, ..., :1] * 0.5 - y[0])[known].mean()
    assert rows[0]["mae"] == pytest.approx(expected, rel=1e-5)
    assert [rows[1][name] for name in ("mae", "rmse", "psnr", "ssim")] == [None] * 4
    assert 1 not in callback.evaluation.hardest.index
    assert callback.evaluation.not_finite == 0
    assert "eval/left_out" not in numbers


def test_other_sizes_small_images_and_outputs_that_are_no_numbers(loopback):
    x = np.random.default_rng(0).random((4, 4, 4, 1), dtype=np.float32)
    y = x.repeat(2, axis=1).repeat(2, axis=2)
    x[2] = np.nan
    model = keras.Sequential([keras.layers.UpSampling2D(2)])
    with wandb.init(project="larger"):
        callback = WandbImageToImageEvalCallback((x, y[..., 0]), on_error="raise")
        numbers = callback.evaluate(model)
    errors = {"eval/mae": 0.0, "eval/rmse": 0.0}
    assert numbers == {"eval/left_out": 1.0, **errors, "eval/psnr": 100.0}
    rows = rows_of(callback.pred_table)
    assert rows[0]["ssim"] is None
    assert rows[0]["psnr"] == 100
    assert callback.evaluation.hardest.index[0] == 2
    assert callback.evaluation.not_finite == 1


X = np.zeros((3, 4, 4, 1), np.float32)


@pytest.mark.parametrize(
    ("y", "arguments", "message"),
    [
        (np.zeros((3, 4)), {}, "shape"),
        (np.zeros((3, 8, 8, 1)), {}, "same height"),
        (np.zeros((3, 4, 4), "str"), {}, "numbers"),
        (X, {"value_range": (1, 0)}, "`value_range`"),
        (X, {"value_range": 1}, "`value_range`"),
        (X, {"invalid": "no"}, "`invalid`"),
    ],
    ids=["flat", "size", "text", "range", "number", "invalid"],
)
def test_what_cant_be_used_is_said_before_training(loopback, y, arguments, message):
    with wandb.init(project="photos"), pytest.raises(ValueError, match=message):
        evaluate(y, **arguments)


def evaluate(y, **arguments):
    WandbImageToImageEvalCallback((X, y), **arguments).evaluate(Identity())


def test_a_process_without_a_run_evaluates_with_the_others(loopback, monkeypatch):
    monkeypatch.setattr(run_log, "is_alone", lambda: False)
    monkeypatch.setattr(run_log, "is_chief", lambda: False)
    images = np.random.default_rng(0).random((COUNT, SIZE, SIZE, 3), dtype=np.float32)
    evaluation = WandbImageToImageEvalCallback((images, images), on_error="raise")
    model = keras.Sequential([keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    model.fit(images, images, verbose=0, callbacks=[evaluation])
    assert evaluation.history["eval/epoch"] == [0]
    assert loopback.runs() == []


def test_targets_beyond_the_range_are_said_once(loopback, warned):
    rng = np.random.default_rng(0)
    y = rng.normal(0, 5, (40, 8, 8, 1)).astype(np.float32)
    y[:8] = 0.5  # Only later batches are beyond it.
    batches = [(y[i : i + 4], y[i : i + 4]) for i in range(0, 40, 4)]
    with wandb.init(project="depth"):
        callback = WandbImageToImageEvalCallback(batches, num_samples=2)
        callback.evaluate(Identity())
    [text] = [text for text in warned if "value_range" in text]
    assert f"The targets are {y.min():.3g} to {y.max():.3g}, which does not fit" in text


def test_a_range_that_is_far_too_wide_is_said(loopback, warned):
    y = np.random.default_rng(0).random((4, 8, 8, 1), dtype=np.float32)
    with wandb.init(project="depth"):
        callback = WandbImageToImageEvalCallback((y, y), value_range=(0, 255))
        callback.evaluate(Identity())
    assert any("does not fit `value_range`, (0.0, 255.0)" in text for text in warned)


def test_a_batch_of_blank_inputs_leaves_the_psnr_of_inputs(loopback):
    y = np.random.default_rng(0).random((4, 12, 12, 1), dtype=np.float32)
    x = y + np.float32(0.1)
    x[2] = 0
    batches = [(x[i : i + 1], y[i : i + 1]) for i in range(4)]
    with wandb.init(project="depth"):
        callback = WandbImageToImageEvalCallback(batches, on_error="raise")
        numbers = callback.evaluate(Identity())
    assert numbers["eval/psnr_input"] == pytest.approx(numbers["eval/psnr"], rel=1e-5)


def test_channels_first_where_keras_says_last():
    rng = np.random.default_rng(0)
    images = rng.random((2, 20, 24, 3), dtype=np.float32)
    np.testing.assert_array_equal(read_targets(np.moveaxis(images, -1, 1)), images)
    many = rng.random((2, 3, 20, 16), dtype=np.float32)  # As channels last has them.
    np.testing.assert_array_equal(read_targets(many), many)


@pytest.mark.parametrize("image_fn", [None, lambda x: f"code {x[0]:g}"])
def test_inputs_that_are_no_images_are_shown_as_text(loopback, image_fn):
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    y = np.zeros((3, 12, 12, 1), np.float32)
    model = keras.Sequential(
        [keras.layers.Dense(144), keras.layers.Reshape((12, 12, 1))]
    )
    with wandb.init(project="decoder"):
        callback = WandbImageToImageEvalCallback(
            (x, y), image_fn=image_fn, on_error="raise"
        )
        callback.evaluate(model)
    rows = rows_of(callback.pred_table)
    expected = ["0, 1", "2, 3", "4, 5"] if image_fn is None else ["code 0", "code 2"]
    shown = [row["input"].strip("[]") for row in rows]
    assert shown[: len(expected)] == expected
    assert rows[0]["target"].format == "png"


def test_a_value_that_float16_rounds_is_ignored():
    y = np.full((2, 4, 4, 1), 5, np.float16)
    y[:, :2] = -9999  # -10,000 in float16.
    targets = read_targets(y, -9999.0)
    assert np.isnan(targets[:, :2]).all()
    assert (targets[:, 2:] == 5).all()
    assert not np.isnan(read_targets(y, 1e9)).any()


def test_inputs_of_another_scale_have_no_psnr(tmp_path):
    x = np.random.default_rng(0).random((3, 12, 14, 3), dtype=np.float32)
    with offline_run(tmp_path):
        callback = WandbImageToImageEvalCallback(
            (x, 255 * x), value_range=(0, 255), on_error="raise"
        )
        numbers = callback.evaluate(Identity())
    assert "eval/psnr" in numbers
    assert "eval/psnr_input" not in numbers
