"""Rows of the history: ours, and those of others who log to the run."""

import datetime
import json

import keras
import numpy as np
import pytest
import wandb

import small_model
from wandb_eval.core import WandbEvalCallback
from wandb_eval.engine import WandbTaskEvalCallback

X = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)


class Error:
    total = 0.0

    def update(self, y, outputs):
        self.total += float(np.abs(outputs).sum())

    def compute(self):
        return {"error": self.total}


class Evaluation(WandbTaskEvalCallback):
    def __init__(self, **options):
        super().__init__(
            (X, np.arange(6.0)),
            data_table_columns=["idx", "image"],
            pred_table_columns=["epoch", "idx", "image"],
            **options,
        )

    def new_metrics(self):
        return Error()


class LogsWithStep(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        wandb.log({"mine": epoch}, step=epoch)


class LogsWithout(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        wandb.log({"mine": epoch})


def fit(*callbacks, epochs=5):
    small_model.fit(X, np.zeros(6), *callbacks, epochs=epochs)


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("other", [LogsWithStep, LogsWithout])
def test_rows_of_others_are_kept(loopback, sync, mode, first, other):
    with wandb.init(mode=mode) as run:
        callbacks = [Evaluation(), Evaluation(name="test")]
        fit(*([*callbacks, other()] if first else [other(), *callbacks]))
    if mode == "offline":
        sync(run.dir)
    history = loopback.history(run.id)
    assert [row["mine"] for row in history if "mine" in row] == [*range(5)]
    for prefix in ("eval", "eval_test"):
        rows = [row for row in history if f"{prefix}/error" in row]
        assert [row[f"{prefix}/epoch"] for row in rows] == [*range(5)]
        assert all(f"{prefix}/predictions" in row for row in rows)
    # Who logs without a step before ours has closed the row of the epoch.
    assert len(history) == (10 if other is LogsWithout and not first else 5)
    for row in history:
        assert len({row.get(k) for k in ("mine", "eval/epoch")} - {None}) == 1


def test_keys_of_users_are_left_alone(loopback):
    with wandb.init() as run:
        run.define_metric("eval/own", step_metric="my/step")
        fit(Evaluation(), epochs=1)
        run.log({"eval/mine": 1, "my/step": 7})
    metrics = json.dumps(loopback.config(run.id)["_wandb"]["value"]["m"])
    assert "eval/error" in metrics.replace("\\\\", "")
    assert "*" not in metrics


class Rows(WandbEvalCallback):
    """Sets its columns late, and uses in `init_data_table` what it has set last."""

    def __init__(self):
        super().__init__(None, None)
        self.data_table_columns = ["when"]
        self.pred_table_columns = ["epoch", "when"]
        self.late = True

    def init_data_table(self, column_names):
        assert self.late
        super().init_data_table(column_names)

    def add_ground_truth(self, logs=None):
        self.data_table.add_data(datetime.datetime(2026, 1, 2, 3, 4, 5))

    def add_model_predictions(self, epoch, logs=None):
        for row in self.data_table_ref.data:
            self.pred_table.add_data(epoch, *row)


def test_columns_may_be_set_late_and_times_are_what_wandb_makes_of_them(loopback):
    with wandb.init() as run:
        fit(Rows(), epochs=1)
    version = loopback.version(f"run_{run.id}_pred:latest")
    table = loopback.table(version, "eval_data")
    expected = wandb.Table(columns=["epoch", "when"])
    expected.add_data(0, datetime.datetime(2026, 1, 2, 3, 4, 5))
    artifact = wandb.Artifact("any", "any")
    made = json.loads(json.dumps(expected.to_json(artifact)))
    assert table["data"] == made["data"]
    assert table["column_types"] == made["column_types"]


class ManyRows(WandbEvalCallback):
    def add_ground_truth(self, logs=None):
        self.data_table.add_data(0)

    def add_model_predictions(self, epoch, logs=None):
        for i in range(10_001):
            self.pred_table.add_data(i)


def test_a_table_that_the_page_shows_in_part_is_named(loopback, warned):
    with wandb.init() as run:
        fit(ManyRows(["a"], ["b"]), epochs=1)
    assert any("has 10001 rows" in text and "the artifact" in text for text in warned)
    version = loopback.version(f"run_{run.id}_pred:latest")
    rows = loopback.table(version, "eval_data")["data"]
    assert len(rows) == 10_001
