"""When rows of the history are closed: each epoch is there while the next one runs."""

import contextlib
import json
import time

import keras
import numpy as np
import pytest
import wandb

import small_model
from wandb_eval.core import WandbEvalCallback, add_rows, offline_log
from wandb_eval.core._wandb.tables import table_json
from wandb_eval.engine import WandbTaskEvalCallback

X = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)


class Epochs:
    """Measures the number of evaluations before it."""

    def __init__(self, count):
        self.count = count

    def update(self, y, outputs):
        pass

    def compute(self):
        return {"count": self.count}


class Evaluation(WandbTaskEvalCallback):
    def __init__(self, **options):
        super().__init__(
            (X, np.arange(6.0)),
            data_table_columns=["idx", "image"],
            pred_table_columns=["epoch", "idx", "image"],
            num_samples=2,
            **options,
        )
        self.evaluations = 0

    def new_metrics(self):
        self.evaluations += 1
        return Epochs(self.evaluations - 1)


class Base(WandbEvalCallback):
    """Logs a table, and a number in a row with it."""

    def __init__(self):
        super().__init__(["idx"], ["epoch", "idx"])

    def add_ground_truth(self, logs=None):
        self.data_table.add_data(0)

    def add_model_predictions(self, epoch, logs=None):
        self.pred_table.add_data(epoch, 0)

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        self.log_metrics({"eval/count": epoch}, epoch)


class WithoutEpochBegin(Base):
    """Overrides the hook without `super()`."""

    def on_epoch_begin(self, epoch, logs=None):
        pass


class Does(keras.callbacks.Callback):
    """Calls functions in hooks: `Does(on_epoch_end=f)` calls `f(epoch)`."""

    def __init__(self, **functions):
        super().__init__()
        self.epoch = None
        self.functions = functions

    def _do(self, hook):
        self.functions.get(hook, lambda epoch: None)(self.epoch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self._do("on_epoch_begin")

    def on_train_batch_end(self, batch, logs=None):
        self._do("on_train_batch_end")

    def on_epoch_end(self, epoch, logs=None):
        self._do("on_epoch_end")


def logs_with_step(epoch):
    wandb.log({"mine": epoch}, step=epoch)


def compiled():
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def fit(*callbacks, epochs=3, **options):
    small_model.fit(X, np.zeros(6), *callbacks, epochs=epochs, **options)


def recorded(run):
    """The rows of an offline run, as its log has them now."""
    rows = []
    for record in offline_log.read_records(offline_log.find_log(run.settings.sync_dir)):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            names = [item.key or item.nested_key[0] for item in items]
            values = [json.loads(item.value_json) for item in items]
            rows.append(dict(zip(names, values, strict=True)))  # Of media, a part.
    return rows


def finished(run):
    """The rows of an offline run that is finished, when its log is whole."""
    log = offline_log.find_log(run.settings.sync_dir)
    kinds = []
    deadline = time.monotonic() + 60
    while "exit" not in kinds and time.monotonic() < deadline:
        records = offline_log.read_records(log)
        kinds = [record.WhichOneof("record_type") for record in records]
    assert "exit" in kinds
    return recorded(run)


def assert_one_epoch_a_row(rows, others=(), prefixes=("eval",), epochs=range(3)):
    """All epochs are there, once; no row mixes two, and none is empty."""
    steps = [f"{prefix}/epoch" for prefix in prefixes]
    for row in rows:
        assert len({row[key] for key in (*steps, *others) if key in row}) == 1, row
        assert [key for key in row if not key.startswith("_")]
    for key in (*steps, *others):
        assert [row[key] for row in rows if key in row] == [*epochs], key
    assert [row["_step"] for row in rows] == sorted({row["_step"] for row in rows})


# --- The row of an epoch ----------------------------------------------------------


@pytest.mark.parametrize("make", [Evaluation, Base, WithoutEpochBegin])
def test_an_epoch_is_there_while_the_next_one_runs_and_right_after_fit(loopback, make):
    seen = []

    def look(epoch):
        seen.append(run.summary.get("eval/count"))

    with wandb.init(mode="offline") as run:
        fit(make(), Does(on_train_batch_end=look))
        look(3)
    assert seen == [None, 0, 1, 2]
    rows = finished(run)
    assert_one_epoch_a_row(rows)
    assert all("eval/predictions" in row for row in rows)


def test_an_epoch_is_at_the_server_while_the_next_one_runs(loopback):
    seen = []

    def wait(epoch):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(Exception):  # The run itself may not be there.
                rows = loopback.history(run.id)
                seen.append([row["eval/epoch"] for row in rows if "eval/epoch" in row])
                if seen[-1] == [*range(epoch)]:
                    return

    settings = wandb.Settings(x_file_stream_transmit_interval=1)
    with wandb.init(settings=settings) as run:
        fit(Evaluation(), Does(on_train_batch_end=wait), epochs=2)
    assert seen[-1] == [0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_training_that_is_interrupted(loopback, error):
    def interrupt(epoch):
        if epoch == 2:
            raise error

    with wandb.init(mode="offline") as run:
        callback = Evaluation()
        with pytest.raises(error):
            fit(callback, Does(on_train_batch_end=interrupt))
        assert run.summary["eval/count"] == 1
        with pytest.raises(error):  # With the row of the last epoch left open.
            fit(callback, Does(on_epoch_end=interrupt), initial_epoch=2)
        fit(callback, initial_epoch=3, epochs=4)
    assert_one_epoch_a_row(finished(run), epochs=range(4))


def test_validation_freq(loopback):
    with wandb.init(mode="offline") as run:
        fit(Evaluation(), validation_data=(X, np.arange(6.0)), validation_freq=2)
        assert run.summary["eval/epoch"] == 2
    assert_one_epoch_a_row(finished(run))


def test_a_run_is_resumed(loopback):
    for start in (0, 2):
        with wandb.init(id="resumed", resume="allow") as run:
            callbacks = [Does(on_epoch_end=logs_with_step), Evaluation()]
            fit(*callbacks, initial_epoch=start, epochs=start + 2)
    rows = loopback.history(run.id)
    assert_one_epoch_a_row(rows, ["mine"], epochs=range(4))
    assert len(rows) == 4


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_train_batch_end"])
def test_another_run_within_a_training(loopback, hook, warned):
    with wandb.init(mode="offline") as first:
        replace = lambda epoch: epoch == 2 and first.finish()  # noqa: E731
        fit(Evaluation(), Does(**{hook: replace}))
    assert_one_epoch_a_row(finished(first), epochs=range(2))
    assert len(warned) == 1
    assert "epoch 2 could not be logged" in warned[0]


# --- Others who log to the run ----------------------------------------------------


@pytest.mark.tensorflow
@pytest.mark.parametrize("first", [True, False])
def test_the_order_that_wandb_documents(loopback, first):
    from wandb.integration.keras import WandbMetricsLogger

    with wandb.init(mode="offline") as run:
        ours, theirs = [Evaluation(), Evaluation(name="test")], [WandbMetricsLogger()]
        fit(*(ours + theirs if first else theirs + ours))
        assert run.summary["epoch/epoch"] == run.summary["eval_test/epoch"] == 2
    prefixes = ["eval", "eval_test"]
    assert_one_epoch_a_row(finished(run), ["epoch/epoch"], prefixes)


@pytest.mark.parametrize("make", [Evaluation, Base])
@pytest.mark.parametrize("first", [True, False])
def test_what_users_log_with_a_step_is_kept(loopback, make, first):
    hooks = ["on_epoch_begin", "on_train_batch_end", "on_epoch_end"]
    with wandb.init(mode="offline") as run:
        callbacks = [make(), Does(**dict.fromkeys(hooks, logs_with_step))]
        fit(*(callbacks if first else callbacks[::-1]))
    rows = finished(run)
    assert_one_epoch_a_row(rows, ["mine"])
    assert len(rows) == 3


@pytest.fixture
def without_tensorboard():
    """Takes back what `sync_tensorboard=True` does to a process."""
    pytest.importorskip("tensorboard")
    yield
    if wandb.patched["tensorboard"]:
        wandb.tensorboard.unpatch()


@pytest.mark.parametrize("make", [Evaluation, Base])
def test_sync_tensorboard(loopback, without_tensorboard, make):
    """W&B strips steps then, also in a run that comes later, and was not asked to."""
    for options in ({"sync_tensorboard": True}, {}):
        with wandb.init(mode="offline", **options) as run:
            callbacks = [make(), Does(on_epoch_end=logs_with_step)]
            fit(*(callbacks[::-1] if options else callbacks))
            assert run.summary["eval/count"] == 2
        rows = finished(run)
        assert [row["mine"] for row in rows if "mine" in row] == [0, 1, 2]
        assert [row["eval/count"] for row in rows if "eval/count" in row] == [0, 1, 2]
        for row in rows:
            assert len({row[key] for key in ("mine", "eval/epoch") if key in row}) == 1


# --- Other ways to evaluate -------------------------------------------------------


def test_rows_within_an_epoch(loopback):
    with wandb.init(mode="offline") as run:
        callbacks = [
            Evaluation(every_n_batches=1),
            Evaluation(every_n_batches=2, name="test"),
        ]
        fit(*callbacks, batch_size=2, epochs=2)
        assert run.summary["eval/count"] == 5
    rows = finished(run)
    assert [row["eval/count"] for row in rows] == [*range(6)]
    assert [row["eval/epoch"] for row in rows] == [0, 0, 0, 1, 1, 1]
    both = [(row["eval/count"], row.get("eval_test/count")) for row in rows]
    assert both == [(0, None), (1, 0), (2, 1), (3, None), (4, 2), (5, 3)]


def test_evaluating_without_fit(loopback):
    model = compiled()
    with wandb.init(mode="offline") as run:
        callbacks = [Evaluation(), Evaluation(name="test")]
        for epoch in range(3):
            run.log({"mine": epoch}, commit=False)
            for callback in callbacks:
                callback.evaluate(model)
            assert run.summary["eval/count"] == run.summary["eval_test/count"] == epoch
    assert_one_epoch_a_row(finished(run), ["mine"], ["eval", "eval_test"])


@pytest.mark.parametrize("hooks", [["on_train_batch_begin"], []])
def test_a_loop_of_ones_own(loopback, hooks):
    """It need not call all hooks."""
    with wandb.init(mode="offline") as run:
        callback = Base()
        callback.set_model(compiled())
        callback.on_train_begin()
        for epoch in range(3):
            for hook in hooks:
                getattr(callback, hook)(0)
                assert run.summary.get("eval/count") == (epoch - 1 if epoch else None)
            callback.on_epoch_end(epoch)
        callback.on_train_end()
        assert run.summary["eval/count"] == 2
    assert_one_epoch_a_row(finished(run))


def test_the_old_name_of_a_hook_is_called(loopback):
    """Keras calls `on_batch_begin` from `on_train_batch_begin`."""

    class Old(Base):
        batches = 0

        def on_batch_begin(self, batch, logs=None):
            self.batches += 1

    with wandb.init(mode="offline"):
        callback = Old()
        fit(callback, batch_size=2, epochs=1)
    assert callback.batches == 3


def test_more_rows_than_wandb_writes(tmp_path):
    """`wandb.Table.to_json` leaves out those beyond 200,000, with a line of logging."""
    count = wandb.Table.MAX_ARTIFACT_ROWS + 2
    table = wandb.Table(columns=["idx", "name"])
    add_rows(table, [[i, "a"] for i in range(count)])
    content = table_json(table, wandb.Artifact("table", type="run_table"))
    assert (content["nrows"], len(content["data"])) == (count, count)
    assert content["data"][-1] == [count - 1, "a"]
