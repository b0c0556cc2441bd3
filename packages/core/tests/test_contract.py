"""The documented examples of W&B's class, word for word, in every W&B mode."""

import io
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
import wandb

import documented_example
from documented_example import ENGLISH_CLASS, KOREAN_CLASS
from wandb_eval.core import WandbEvalCallback

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

EXAMPLES = pytest.mark.parametrize(
    "example", [KOREAN_CLASS, ENGLISH_CLASS], ids=["korean", "english"]
)


def run_example(text):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (12, 8, 8, 3)).astype("float32")
    y = np.arange(12) % 3
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    documented_example.run_example(WandbEvalCallback, text, model, x, y)
    return x, y


def assert_complete(loopback, run_id, x, y):
    """Both tables are there, and every image of every version is that of x."""
    [data] = loopback.versions("val")
    assert data.state == "COMMITTED"
    assert data.type == "dataset"
    table = loopback.table(data, "val_data")
    assert table["columns"] == ["idx", "image", "label"]
    assert [row[0] for row in table["data"]] == list(range(len(x)))
    assert [row[2] for row in table["data"]] == y.tolist()
    versions = loopback.versions(f"run_{run_id}_pred")
    assert [v.index for v in versions] == [0, 1]
    for epoch, version in enumerate(versions):
        assert version.state == "COMMITTED"
        assert version.type == "evaluation"
        table = loopback.table(version, "eval_data")
        assert table["columns"] == ["epoch", "idx", "image", "label", "pred"]
        for i, row in enumerate(table["data"]):
            assert [row[0], row[1], row[3]] == [epoch, i, y[i]]
            content = loopback.resolve(version, row[2]["path"])
            image = np.asarray(PIL.Image.open(io.BytesIO(content)))
            np.testing.assert_array_equal(image, x[i].astype(np.uint8))
    assert versions[-1].aliases == ["latest"]


@EXAMPLES
def test_online(loopback, example):
    with wandb.init() as run:
        x, y = run_example(example)
    assert_complete(loopback, run.id, x, y)
    assert [v.collection for v in loopback.used_by(run.id)] == ["val"]
    images = [u for u in loopback.uploads() if u.path.endswith(".png")]
    assert len(images) == len(x)
    assert {u.collection for u in images} == {"val"}
    for version in loopback.versions(f"run_{run.id}_pred"):
        media = {p: e for p, e in version.manifest.items() if p.startswith("media/")}
        assert len(media) == len(x)
        assert all(e["ref"].startswith("wandb-artifact://") for e in media.values())
    assert loopback.downloads(kind=None) == []
    assert loopback.unknown == []


@EXAMPLES
def test_offline_then_sync(loopback, sync, example):
    with wandb.init(mode="offline") as run:
        x, y = run_example(example)
    assert loopback.runs() == []
    sync(run.dir)
    assert_complete(loopback, run.id, x, y)
    assert [v.collection for v in loopback.used_by(run.id)] == ["val"]
    images = [u for u in loopback.uploads() if u.path.endswith(".png")]
    assert len(images) == 2 * len(x)


@EXAMPLES
def test_disabled(loopback, tmp_path, monkeypatch, example):
    monkeypatch.chdir(tmp_path)
    before = set(Path(tmp_path).rglob("*"))
    with wandb.init(mode="disabled"):
        run_example(example)
    assert set(Path(tmp_path).rglob("*")) == before
    assert loopback.stats()["requests"] == {}


def test_disabled_calls_nothing_and_still_has_a_reference_table(loopback):
    calls = []

    class Callback(WandbEvalCallback):
        def add_ground_truth(self, logs=None):
            calls.append("add_ground_truth")
            for i in range(3):
                self.data_table.add_data(i, f"name {i}")

        def add_model_predictions(self, epoch, logs=None):
            calls.append("add_model_predictions")

        def on_train_batch_end(self, batch, logs=None):
            index = self.data_table_ref.get_index()
            self.seen = [self.data_table_ref.data[i][1] for i in index]

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with wandb.init(mode="disabled"):
        callback = Callback(["idx", "name"], ["epoch"])
        callback.set_model(model)
        callback.set_params({})
        callback.on_train_begin()
        callback.on_epoch_end(0)
        assert calls == []
        model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0, callbacks=[callback])
    assert callback.seen == ["name 0", "name 1", "name 2"]
    assert calls == ["add_ground_truth"]


def test_without_a_run():
    class Callback(WandbEvalCallback):
        def add_ground_truth(self):
            pass

        def add_model_predictions(self, epoch):
            pass

    assert wandb.run is None
    with pytest.raises(wandb.Error, match=r"wandb\.init\(\)"):
        Callback(["a"], ["b"])


def test_abstract_method_left_out(loopback):
    class Callback(WandbEvalCallback):
        def add_ground_truth(self):
            pass

    with (
        wandb.init(mode="disabled"),
        pytest.raises(TypeError, match="must implement add_model_predictions"),
    ):
        Callback(["a"], ["b"])


def test_tables_within_an_epoch_are_of_that_epoch(loopback):
    class EveryBatch(WandbEvalCallback):
        def add_ground_truth(self):
            self.data_table.add_data(0)

        def add_model_predictions(self, epoch):
            self.pred_table.add_data(epoch)

        def on_train_batch_end(self, batch, logs=None):
            self.init_pred_table(self.pred_table_columns)
            self.add_model_predictions(batch)
            self.log_pred_table(name="batches", metadata={"batch": batch})

    x = np.zeros((4, 8, 8), np.uint8)
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    with wandb.init() as run:
        callback = EveryBatch(["idx"], ["epoch"])
        model.fit(x, np.zeros((4, 2)), 2, 3, verbose=0, callbacks=[callback])
    epochs = [row["eval/epoch"] for row in loopback.history(run.id)]
    assert epochs == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(loopback.versions("batches")) == 2


def test_parameters_of_the_contract(loopback):
    """Names, types, table names and aliases are what the hooks are given."""

    class Callback(WandbEvalCallback):
        def add_ground_truth(self):
            self.data_table.add_data(1)

        def add_model_predictions(self, epoch):
            self.pred_table.add_data(epoch)

        def on_train_begin(self, logs=None):
            self.init_data_table(column_names=["n"])
            self.add_ground_truth()
            self.log_data_table(name="mine", type="data", table_name="truth")

        def on_epoch_end(self, epoch, logs=None):
            self.init_pred_table(column_names=["epoch"])
            self.add_model_predictions(epoch)
            self.log_pred_table("judged", "seen", aliases=["a", f"e{epoch}"])

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with wandb.init() as run:
        callback = Callback([], [])
        model.fit(
            np.ones((2, 1)), np.ones((2, 1)), epochs=2, verbose=0, callbacks=[callback]
        )
    [data] = loopback.versions("mine")
    assert data.type == "data"
    assert loopback.table(data, "truth")["data"] == [[1]]
    first, second = loopback.versions(f"run_{run.id}_pred")
    assert first.type == "judged"
    assert set(first.aliases) == {"e0"}
    assert set(second.aliases) == {"a", "e1", "latest"}
    assert loopback.table(second, "seen")["data"] == [[1]]


class LogsByItself(WandbEvalCallback):
    """Logs the ground truth as the source of W&B's class does it."""

    def __init__(self, x, data_table_columns, pred_table_columns):
        super().__init__(data_table_columns, pred_table_columns)
        self.x = x
        for name in ("data_table_ref", "data_table", "pred_table", "validation_data"):
            setattr(self, name, None)  # As anybody may begin.

    def add_ground_truth(self, logs=None):
        for idx, image in enumerate(self.x):
            self.data_table.add_data(idx, wandb.Image(image))

    def add_model_predictions(self, epoch, logs=None):
        for idx in self.data_table_ref.get_index():
            row = self.data_table_ref.data[idx]
            self.pred_table.add_data(epoch, row[0], row[1], 2 * row[0])

    def log_data_table(self, name="val", type="dataset", table_name="val_data"):
        data_artifact = wandb.Artifact(name, type=type)
        data_artifact.add(self.data_table, table_name)

        # Calling `use_artifact` uploads the data to W&B.
        assert wandb.run is not None
        wandb.run.use_artifact(data_artifact)
        data_artifact.wait()

        # We get the reference table.
        self.data_table_ref = data_artifact.get(table_name)


class AssignsItsOwnTable(LogsByItself):
    """Needs no server."""

    def log_data_table(self, *args, **kwargs):
        self.data_table_ref = self.data_table


def train_with(kind):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (4, 8, 8, 3)).astype("float32")
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    callback = kind(x, ["idx", "image"], ["epoch", "idx", "image", "twice"])
    model.fit(x, np.zeros((4, 3)), epochs=2, verbose=0, callbacks=[callback])
    return x


def assert_versions_have(loopback, run_id, x):
    versions = loopback.versions(f"run_{run_id}_pred")
    assert [version.state for version in versions] == ["COMMITTED"] * 2
    for epoch, version in enumerate(versions):
        rows = loopback.table(version, "eval_data")["data"]
        assert [[row[0], row[1], row[3]] for row in rows] == [
            [epoch, i, 2 * i] for i in range(4)
        ]
        for image, row in zip(x, rows, strict=True):
            content = loopback.resolve(version, row[2]["path"])
            shown = np.asarray(PIL.Image.open(io.BytesIO(content)))
            np.testing.assert_array_equal(shown, image.astype(np.uint8))


def test_a_subclass_logs_the_ground_truth_as_the_source_of_wandb_does(loopback):
    with wandb.init() as run:
        x = train_with(LogsByItself)
        assert "eval/missing_versions" not in dict(run.summary)
    [data] = loopback.versions("val")
    assert len(loopback.table(data, "val_data")["data"]) == 4
    assert_versions_have(loopback, run.id, x)


def test_a_subclass_assigns_the_table_that_rows_are_taken_from(loopback, sync):
    with wandb.init(mode="offline") as run:
        x = train_with(AssignsItsOwnTable)
        assert "eval/missing_versions" not in dict(run.summary)
    sync(run.dir)
    assert_versions_have(loopback, run.id, x)


def test_a_loop_that_skips_on_train_begin_is_told_so(loopback):
    with wandb.init(mode="offline"):
        callback = LogsByItself(np.zeros((1, 2, 2)), ["idx", "image"], ["epoch"])
        with pytest.raises(RuntimeError, match="`on_train_begin` was called"):
            callback.on_epoch_end(0)
