"""The callback, with real models, against the backend on this machine."""

import dataclasses
import math

import keras
import numpy as np
import pytest
import wandb

from counted import CountedBatches
from wandb_eval.engine.evaluation.learning import LearnedNumbers
from wandb_eval.regression import WandbRegressionEvalCallback

EPOCHS, WRONG = 3, 7


def model(units=1):
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(units)])


@pytest.fixture(scope="module")
def data():
    """Images whose brightness is the target; one target is wrong."""
    rng = np.random.default_rng(0)
    x = rng.random((40, 4, 4, 1)).astype("float32") * rng.random((40, 1, 1, 1))
    y = 10 * x.mean(axis=(1, 2, 3))
    y[WRONG] += 40
    return x.astype("float32"), y


def rows_of(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.data]


def test_what_a_run_has(loopback, data):
    x, y = data
    with wandb.init(project="ages") as run:
        callback = WandbRegressionEvalCallback(
            (x, y),
            ["age"],
            units="years",
            tolerance=1,
            num_samples=6,
            num_hardest=4,
            on_error="raise",
        )
        trained = model()
        trained.compile(keras.optimizers.Adam(0.1), "mse")
        history = trained.fit(
            x, y, epochs=EPOCHS, validation_data=(x, y), verbose=0, callbacks=[callback]
        )
        outputs = trained.predict(x, verbose=0)[:, 0]
    assert {"eval/mae", "eval/rmse", "eval/r2"} <= history.history.keys()
    assert len(callback.history["eval/spearman"]) == EPOCHS
    error = outputs - y
    assert callback.history["eval/mae"][-1] == pytest.approx(
        abs(error).mean(), rel=1e-4
    )
    assert callback.history["eval/bias"][-1] == pytest.approx(error.mean(), abs=1e-4)

    rows = rows_of(callback.pred_table)
    columns = ["epoch", "idx", "image", "age", "predicted age", "error", "difficulty"]
    assert callback.pred_table.columns == columns
    for row in rows:
        at = row["idx"]
        assert row["age"] == pytest.approx(y[at])
        assert row["predicted age"] == pytest.approx(outputs[at], rel=1e-4, abs=1e-5)
        assert row["error"] == pytest.approx(error[at], rel=1e-4, abs=1e-4)
        expected = abs(error[at]) / y.std()
        assert row["difficulty"] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert callback.evaluation.hardest.index[0] == WRONG
    learned = callback.evaluation.learning.columns()
    assert len(learned["mean_scaled_error"]) == len(learned["scaled_error_spread"])
    assert len(learned["mean_scaled_error"]) == len(y)

    versions = loopback.versions(f"run_{run.id}_pred")
    assert len(versions) == EPOCHS
    tables = {"eval_data", "hardest", "scores"}
    assert {f"{name}.table.json" for name in tables} <= set(versions[-1].manifest)
    summary = loopback.summary(run.id)
    charts = {"predicted_over_true", "residuals", "mae_by_range", "suspect_targets"}
    kept = {key.removeprefix("eval/").removesuffix("_table") for key in summary}
    assert charts <= kept


def test_a_wrong_target_is_the_first_suspect(loopback, data):
    x, y = data
    with wandb.init(project="ages"):
        callback = WandbRegressionEvalCallback((x, y), on_error="raise")
        trained = model()
        trained.compile(keras.optimizers.Adam(0.1), "mse")
        trained.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
        table = callback.summarize(_with_rows(callback))["suspect_targets"]
    [first, *_] = rows_of(table)
    assert first["idx"] == WRONG
    assert first["error"] < 0
    assert first["mean_scaled_error"] < 0


def _with_rows(callback):
    found = callback.evaluation.suspects
    rows = callback.ground_truth_rows(found, [None] * len(found))
    return dataclasses.replace(callback.evaluation, suspects=found.with_rows(rows))


def test_one_pass_also_within_epochs_of_a_run_whose_server_fails(
    loopback, warned, data
):
    batches = CountedBatches(*data, 4)
    loopback.fail("CreateArtifact", collection="val", status=503)
    with wandb.init(project="ages") as run:
        callback = WandbRegressionEvalCallback(
            batches, num_samples=4, num_hardest=2, every_n_batches=3
        )
        trained = model()
        trained.compile("adam", "mse")
        trained.fit(
            *data,
            batch_size=8,  # Five batches an epoch.
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
    assert all("eval/mae" in one.metadata or "mae" in one.metadata for one in versions)
    # One to draw samples, one within each epoch, one of `fit` after it; some are peeks.
    assert batches.reads < 6 * batches.num_batches


def test_several_targets_of_numbers_without_names(loopback):
    x = np.random.default_rng(0).random((12, 3)).astype("float32")
    y = np.stack([x[:, 0], np.full(12, 2.0)], axis=1)
    with wandb.init(project="ages"):
        callback = WandbRegressionEvalCallback((x, y), on_error="raise")
        trained = model(2)
        numbers = callback.evaluate(trained)
        outputs = trained.predict(x, verbose=0)
    assert callback.data_table.columns == ["idx", "input", "target 0", "target 1"]
    [row, *_] = rows_of(callback.pred_table)
    assert row["error target 1"] == pytest.approx(
        row["predicted target 1"] - 2, abs=1e-5
    )
    assert numbers["eval/mae"] == pytest.approx(abs(outputs - y).mean(), rel=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_left_out(loopback, value):
    x = np.arange(6, dtype="float32").reshape(6, 1)
    x[2] = 1e30

    class Spoilt(keras.Model):
        def call(self, inputs):
            return keras.ops.where(inputs > 1e29, value, inputs)

    with wandb.init(project="ages"):
        callback = WandbRegressionEvalCallback((x, np.arange(6)), on_error="raise")
        numbers = callback.evaluate(Spoilt())
    assert numbers["eval/left_out"] == 1
    assert numbers["eval/mae"] == 0
    assert callback.evaluation.hardest.index[0] == 2
    assert callback.evaluation.not_finite == 1
    assert not np.isfinite(rows_of(callback.pred_table)[2]["predicted target"])


@pytest.mark.parametrize("lost", [6, 4])
def test_an_epoch_that_leaves_out_samples_is_not_the_best_of_keras(
    loopback, tmp_path, lost
):
    """In the second epoch, the outputs of most samples, or of all, are NaN."""
    x = np.arange(6, dtype="float32").reshape(6, 1)

    class Diverges(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.spoilt.assign(float(epoch == 1))

    class Spoilt(keras.Model):
        def __init__(self):
            super().__init__()
            self.spoilt = self.add_weight(shape=(), trainable=False)
            self.offset = self.add_weight(shape=(), initializer="ones")

        def call(self, inputs):
            outputs = inputs + self.offset * inputs
            is_lost = (inputs >= 6 - lost) & (self.spoilt > 0)
            return keras.ops.where(is_lost, np.nan, outputs)

    path = str(tmp_path / "best.weights.h5")
    best = keras.callbacks.ModelCheckpoint(
        path, "eval/mae", mode="min", save_best_only=True, save_weights_only=True
    )
    with wandb.init(project="ages"):
        callback = WandbRegressionEvalCallback(
            (x, np.arange(6)), in_logs="all", on_error="raise"
        )
        model = Spoilt()
        model.compile(keras.optimizers.SGD(0.0), "mse")
        history = model.fit(
            x, np.zeros(6), epochs=3, verbose=0, callbacks=[Diverges(), callback, best]
        ).history
    assert history["eval/mae"] == [2.5, np.inf, 2.5]
    assert best.best == 2.5
    measured = callback.history["eval/mae"]
    if lost == 6:
        assert math.isnan(measured[1])
    else:
        assert measured == [2.5, 0.5, 2.5]
        assert history["eval/r2"][1] == -np.inf
    learned = callback.evaluation.learning.columns()
    assert learned["mean_scaled_error"][0] == 0


def test_a_sample_without_a_finite_output_has_no_learning():
    learning = LearnedNumbers()
    for _ in range(2):
        learning.update(np.array([[np.nan], [1.0]]))
    columns = learning.columns()
    assert columns["mean_scaled_error"] == [None, 1.0]
    assert columns["scaled_error_spread"] == [None, 0.0]


X = np.zeros((4, 2), "float32")


@pytest.mark.parametrize(
    ("y", "arguments", "message"),
    [
        ([0.0, np.nan, 1, 2], {}, "finite"),
        (np.zeros((4, 2, 2)), {}, "shape"),
        (np.array(["a"] * 4), {}, "numbers"),
        (np.zeros((4, 2)), {}, "1 outputs and 2 targets"),
        (np.zeros(4), {"target_names": ["a", "b"]}, "`target_names`"),
        (np.zeros(4), {"target_names": ["idx"]}, "other columns"),
        (np.zeros(4), {"target_names": ["a", "a"]}, "different names"),
        (np.zeros(4), {"units": ["m", "m"]}, "`units`"),
        (np.zeros(4), {"units": 3}, "`units`"),
        (np.zeros(4), {"tolerance": [1, 2]}, "`tolerance`"),
        (np.zeros(4), {"tolerance": -1}, "`tolerance`"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, (str, dict)) else "y",
)
def test_what_cant_be_used_is_said_before_training(loopback, y, arguments, message):
    with wandb.init(project="ages"), pytest.raises(ValueError, match=message):
        evaluate(np.asarray(y), **arguments)


def evaluate(y, **arguments):
    WandbRegressionEvalCallback((X, y), **arguments).evaluate(model())
