"""The numbers that `fit` prints and gives to other callbacks, and all of them."""

import csv
import math
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import wandb

import small_model
from wandb_eval.engine import WandbTaskEvalCallback

X = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)
Y = np.arange(6.0)


class Measured:
    def __init__(self, results):
        self.results = results

    def update(self, y, outputs):
        pass

    def compute(self):
        if isinstance(self.results, Exception):
            raise self.results
        return self.results


class Evaluation(WandbTaskEvalCallback):
    """Measures what it is told to: for each epoch in turn, from the first one again."""

    def __init__(self, *results, **options):
        super().__init__(
            (X, Y),
            data_table_columns=["idx", "image"],
            pred_table_columns=["epoch", "idx", "image"],
            num_samples=2,
            **options,
        )
        numbers = {"main": 1.0, "other": 2.0, "errors/kind": 3, "third": 4.0}
        self.results = results or [numbers]
        self.evaluations = 0

    def new_metrics(self):
        self.evaluations += 1
        return Measured(self.results[(self.evaluations - 1) % len(self.results)])


class WithHeadline(Evaluation):
    headline = ("main", "sometimes")


@pytest.fixture
def run(loopback):
    with wandb.init(mode="offline") as run:
        yield run


def fit(*callbacks, epochs=1, **options):
    history = small_model.fit(X, Y, *callbacks, epochs=epochs, **options)
    return {k: v for k, v in history.history.items() if k.startswith("eval")}


def named(*names):
    return {f"eval/{name}" for name in names}


ALL = named("main", "other", "errors/kind", "third")


class Objective:
    name, direction = "eval/other", "max"


class Several:
    name, objectives = "multi_objective", [Objective()]


class Uses(keras.callbacks.Callback):
    """A callback of somebody's, which says what it uses in an attribute."""

    def __init__(self, **attributes):
        super().__init__()
        vars(self).update(attributes)


@pytest.mark.parametrize(
    ("make", "options", "expected"),
    [
        (Evaluation, {}, ALL),
        (WithHeadline, {}, named("main")),
        (
            WithHeadline,
            {"monitor": "eval/other", "mode": "max"},
            named("main", "other"),
        ),
        (WithHeadline, {"in_logs": "all"}, ALL),
        (WithHeadline, {"in_logs": ("errors/kind",)}, named("errors/kind")),
        (WithHeadline, {"in_logs": ["eval/third", "main"]}, named("third", "main")),
        (WithHeadline, {"in_logs": []}, set()),
        (Evaluation, {"in_logs": ["main"]}, named("main")),
    ],
)
def test_what_is_in_the_logs(run, warned, make, options, expected):
    callback = make(**options)
    assert set(fit(callback)) == expected
    assert set(callback.history) == ALL | {"eval/epoch"}
    assert set(run.summary.keys()) >= ALL
    assert set(callback.evaluate(callback.model)) == ALL
    assert callback.history["eval/epoch"] == [0, 1]
    assert warned == []


@pytest.mark.parametrize(
    "make",
    [
        lambda path: keras.callbacks.EarlyStopping("eval/other", mode="max"),
        lambda path: keras.callbacks.ReduceLROnPlateau("eval/other", mode="max"),
        lambda path: keras.callbacks.ModelCheckpoint(
            path / "best.keras", monitor="eval/other", mode="max", save_best_only=True
        ),
        lambda path: keras.callbacks.ModelCheckpoint(path / "{eval/other:.2f}.keras"),
        lambda path: Uses(_monitor="eval/other"),  # Optuna's.
        lambda path: Uses(objective=Objective()),  # KerasTuner's.
        lambda path: Uses(objective=Several()),
        lambda path: Uses(_metrics=["eval/other"]),  # Ray's.
        lambda path: Uses(_metrics={"accuracy": "eval/other"}),
    ],
)
def test_what_other_callbacks_use_is_there(run, warned, tmp_path, make):
    other = make(tmp_path)
    assert set(fit(WithHeadline(), other)) == named("main", "other")
    assert warned == []


def test_what_a_callback_of_ours_monitors(run):
    test = WithHeadline(name="test", monitor="eval/third", mode="max")
    expected = named("main", "third") | {"eval_test/main"}
    assert set(fit(WithHeadline(), test)) == expected


def test_a_tuner_finds_its_objective_also_where_nothing_is_logged(loopback, tmp_path):
    keras_tuner = pytest.importorskip("keras_tuner")

    def build(hp):
        hp.Float("rate", 0.1, 0.9)
        model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    tuner = keras_tuner.RandomSearch(
        build,
        objective=keras_tuner.Objective("eval/other", "max"),
        max_trials=1,
        directory=tmp_path,
    )
    with wandb.init(mode="disabled"):
        callbacks = [WithHeadline()]
        tuner.search(X, Y, epochs=1, verbose=0, callbacks=callbacks)
    [trial] = tuner.oracle.get_best_trials()
    assert trial.score == 2.0


@pytest.mark.parametrize("names", ["main", "ALL", 3, ["main", 3], {"main": 1}])
def test_in_logs_that_can_not_be(run, names):
    with pytest.raises(
        ValueError, match=r"`in_logs` must be 'all', a list .* Received"
    ):
        Evaluation(in_logs=names)


def test_a_number_that_is_not_measured_is_said_once(run, warned):
    callback = WithHeadline(in_logs=["main", "othr"])
    assert set(fit(callback, epochs=2)) == named("main")
    [message] = warned
    assert "`in_logs` names 'othr', which the first evaluation did not" in message
    assert "It measured: errors/kind, main, other, third" in message
    with pytest.raises(ValueError, match="`in_logs` names 'othr'"):
        fit(WithHeadline(in_logs=["othr"], on_error="raise"))


# --- All numbers, by epoch --------------------------------------------------------


def test_history(run, warned):
    results = [{"main": 1.0}, {"main": 2.0, "sometimes": 5}, RuntimeError(), {"x": 1}]
    callback = Evaluation(*results)
    fit(callback, epochs=4)
    nan = math.nan
    expected = {
        "eval/epoch": [0, 1, 3],
        "eval/main": [1.0, 2.0, nan],
        "eval/sometimes": [nan, 5, nan],
        "eval/x": [nan, nan, 1],
    }
    np.testing.assert_equal(callback.history, expected)
    fit(callback, epochs=1)  # That of one training, as Keras' own.
    assert callback.history == {"eval/epoch": [0], "eval/main": [1.0]}


def test_history_has_what_is_evaluated_at_the_end_of_epochs(run):
    stop = keras.callbacks.EarlyStopping("loss", patience=0, min_delta=1e9, mode="min")
    callback = WithHeadline(every_n_epochs=5, every_n_batches=1)
    fit(callback, stop, epochs=9, batch_size=2)
    assert callback.history["eval/epoch"] == [1]
    callback = WithHeadline(every_n_batches=1)
    batches = ((X[:2], Y[:2]) for _ in range(4))  # Of a length that is not known.
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(batches, epochs=1, verbose=0, callbacks=[callback])
    assert callback.history["eval/epoch"] == [0]


# --- Files of CSV -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "is_first", "why"),
    [(1, False, None), (2, False, "every_n_epochs=1"), (1, True, "Put it behind")],
)
def test_columns_of_csv(run, warned, tmp_path, every, is_first, why):  # noqa: PLR0917
    file = tmp_path / "log.csv"
    callbacks = [WithHeadline(every_n_epochs=every), keras.callbacks.CSVLogger(file)]
    fit(*(callbacks[::-1] if is_first else callbacks), epochs=2)
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert len(rows) == 2
    assert all(("eval/main" in row) == (why is None) for row in rows)
    assert len(warned) == (why is not None)
    assert all("CSVLogger takes its columns" in text and why in text for text in warned)


# --- What is said -----------------------------------------------------------------

_FAILS = """
import logging
import sys
import keras
import wandb
from test_fit_logs import Evaluation, fit

def fail():
    with wandb.init(mode="offline"):
        fit(Evaluation(RuntimeError("one reason")))

fail()
print("--- with a handler", file=sys.stderr, flush=True)
logging.basicConfig(format="by a handler: %(message)s")
fail()
"""


@pytest.mark.any_backend
def test_a_failure_is_said_once(loopback, monkeypatch):
    """In a process of its own: pytest sets handlers."""
    monkeypatch.delenv("WANDB_SILENT", raising=False)
    done = subprocess.run(
        [sys.executable, "-c", _FAILS],
        env=os.environ | {"KERAS_BACKEND": "jax"},  # It starts in half the time.
        cwd=str(__file__).rpartition("/")[0],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=True,
    )
    parts = done.stdout.split("--- with a handler")
    for handler, printed in zip([False, True], parts, strict=True):
        said = printed.count("could not be logged: RuntimeError: one reason")
        assert said == 1 + handler
        assert ("Traceback" in printed) == handler
        assert ("by a handler: The predictions of epoch 0" in printed) == handler


FAILS = RuntimeError("no numbers")


@pytest.mark.parametrize(
    ("results", "every", "saved"),
    [
        ([3.0, 1.0, 2.0], 2, {2, 4}),
        ([1.0, FAILS, 0.5, FAILS, FAILS, FAILS], 1, {1, 3}),
    ],
    ids=["not evaluated", "failed"],
)
def test_an_epoch_without_numbers_is_not_saved_as_the_best(
    run, tmp_path, results, every, saved
):
    """Keras' callback saves each epoch whose number is missing, since 3.15."""
    numbers = [r if isinstance(r, Exception) else {"mae": r} for r in results]
    evaluation = Evaluation(*numbers, every_n_epochs=every)
    checkpoint = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "{epoch}.weights.h5"),
        "eval/mae",
        mode="min",
        save_best_only=True,
        save_weights_only=True,
    )
    small_model.fit(X, Y, evaluation, checkpoint, epochs=6)
    found = {int(path.name.split(".")[0]) for path in tmp_path.glob("*.h5")}
    assert saved <= found <= saved | {1}  # Keras may save the first one anyway.
    measured = [r for r in results if not isinstance(r, Exception)]
    assert checkpoint.best == min(measured)


def test_patience_counts_evaluations_also_beside_a_checkpoint(run, warned, tmp_path):
    path = str(tmp_path / "best.weights.h5")
    options = {"monitor": "eval/mae", "mode": "min"}
    checkpoint = keras.callbacks.ModelCheckpoint(
        path, save_best_only=True, save_weights_only=True, **options
    )
    stops = keras.callbacks.EarlyStopping(patience=2, **options)
    numbers = [{"mae": 1.0}, {"mae": 2.0}, {"mae": 3.0}, {"mae": 4.0}]
    evaluation = Evaluation(*numbers, every_n_epochs=3)
    small_model.fit(X, Y, evaluation, stops, checkpoint, epochs=12)
    assert stops.stopped_epoch == 8  # After the third evaluation.
    [text] = warned
    assert "In epochs that are not evaluated, 'eval/mae' is missing" in text


def test_a_file_name_with_a_number_that_is_not_measured_in_each_epoch(run, tmp_path):
    evaluation = Evaluation({"mae": 3.0, "count": 2.0}, every_n_epochs=2)
    path = str(tmp_path / "{epoch}-{eval/mae:.1f}-{eval/count:.1f}.weights.h5")
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    small_model.fit(X, Y, evaluation, checkpoint, epochs=2)
    names = {path.name.removesuffix(".weights.h5") for path in tmp_path.glob("*.h5")}
    assert names == {"1-inf-nan", "2-3.0-2.0"}


def test_an_evaluation_after_an_interrupt_has_the_epoch_that_ran(run):
    class Stops(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                raise KeyboardInterrupt

    evaluation = Evaluation(every_n_epochs=5)
    with pytest.raises(KeyboardInterrupt):
        small_model.fit(X, Y, evaluation, Stops(), epochs=8)
    evaluation.evaluate(evaluation.model)
    assert evaluation.history["eval/epoch"] == [3]
