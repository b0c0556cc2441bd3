"""The common behavior of the callbacks of all tasks, with a task for the tests."""

import gc
import math
import re

import keras
import numpy as np
import pytest
import wandb

import small_model
from wandb_eval.core import run_log
from wandb_eval.core._wandb.artifacts import artifact_name
from wandb_eval.engine import WandbTaskEvalCallback, callback, encode_masks, progress
from wandb_eval.engine.relaxed_gc import relaxed_gc

X = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), dtype=np.uint8)
Y = np.arange(6.0)


class Measured:
    """Measures nothing, and says what it is told to."""

    def __init__(self, results):
        self.results = results

    def update(self, y, outputs):
        pass

    def compute(self):
        return self.results


class Evaluation(WandbTaskEvalCallback):
    """Logs the images; `results` has what is measured, for each epoch."""

    def __init__(self, results=(), **options):
        columns = {
            "data_table_columns": ["image"],
            "pred_table_columns": ["e", "image"],
        }
        super().__init__((X, Y), **columns, **{"on_error": "raise", **options})
        self.results = list(results)

    def add_ground_truth(self, logs=None):
        self.add_rows(self.data_table, [[image] for image in self.sample_images()])

    def add_model_predictions(self, epoch, logs=None):
        for part, _ in self.predict_samples():
            rows = [[epoch, *row] for row in self.data_table_ref.data[part]]
            self.add_rows(self.pred_table, rows)

    def new_metrics(self):
        return Measured(self.results.pop(0)) if self.results else None


def fit(*callbacks, **options):
    small_model.fit(X, Y, *callbacks, **{"epochs": 1, **options})


def probabilities(classes, dtype="float32"):
    scores = np.random.default_rng(0).normal(size=(1, 3, 3, classes)).astype(dtype)
    function = keras.ops.sigmoid if classes == 1 else keras.ops.softmax
    return keras.ops.convert_to_numpy(function(scores))


LOGITS = np.random.default_rng(0).normal(size=(1, 3, 3, 4))


@pytest.mark.parametrize(
    ("outputs", "one_class", "expected"),
    [
        (probabilities(4), True, ["sigmoid", None]),
        (probabilities(4, "float16"), True, ["sigmoid", None]),
        # Also the logits of a linear layer may happen to be from 0 to 1.
        (probabilities(1), True, ["sigmoid"]),
        (np.array([0.2, 0.9]), True, ["sigmoid"]),
        (np.array([[[[np.nan], [0.25]]]]), True, ["sigmoid"]),
        (np.array([[0.5, 0.9, 0.0]]), False, ["sigmoid"]),
        (np.array([[0.5, 0.9, 0.0]]), True, []),
        (LOGITS, True, []),
        (LOGITS, False, []),
        (np.zeros((1, 3, 3, 1)), True, []),
        (np.full((1, 3, 3, 1), np.nan), True, []),
        (np.zeros((0, 3)), True, []),
    ],
)
@pytest.mark.usefixtures("loopback")
def test_probabilities_in_place_of_logits_are_noticed(
    warned, outputs, one_class, expected
):
    noticed = []
    with wandb.init(mode="offline"):
        evaluation = Evaluation()
        for activation in ("sigmoid", None):
            layer = keras.layers.Dense(1, activation=activation)
            evaluation.set_model(keras.Sequential([layer]))
            evaluation.resolve_from_logits(True, outputs, one_class)
            noticed += [activation] * len(warned)
            assert all("pass `from_logits=False`" in text for text in warned)
            warned.clear()
    assert noticed == expected


@pytest.mark.parametrize(
    ("name", "run_id"), [("val", "fold 1 (a)"), ("val", "x" * 120), ("n" * 128, None)]
)
def test_names_that_artifacts_can_not_have(loopback, name, run_id):
    with wandb.init(id=run_id) as run:
        evaluation = Evaluation([{"table": wandb.Table(["a"], [[1]])}] * 2, name=name)
        fit(evaluation, epochs=2)
    for name_of in ("predictions", "table"):
        key = f"{evaluation.prefix}/{name_of}"
        assert len([row for row in loopback.history(run.id) if key in row]) == 2
    wanted = f"run_{run.id}_pred" if name == "val" else f"run_{run.id}_{name}_pred"
    versions = loopback.versions(artifact_name(wanted))
    assert [version.state for version in versions] == ["COMMITTED"] * 2
    assert [version.metadata["epoch"] for version in versions] == [0, 1]
    assert len(loopback.versions(name)) == 1


def test_another_run_of_one_of_several_processes(loopback, monkeypatch):
    """The others may have no other run, and do not predict."""
    with wandb.init():
        evaluation = Evaluation()
        fit(evaluation)
    monkeypatch.setattr(callback, "is_alone", lambda: False)
    monkeypatch.setattr(evaluation, "_check_model", lambda: pytest.fail("predicts"))
    with wandb.init() as run:
        evaluation.evaluate(evaluation.model)
    [version] = loopback.versions(f"run_{run.id}_pred")
    assert version.state == "COMMITTED"
    assert [used.collection for used in loopback.used_by(run.id)] == ["val"]


def test_names_of_artifacts_differ_where_what_they_are_for_does():
    wanted = ["a", "a b", "ab", "a/b", "a" * 128, "a" * 129, "a" * 130, "ü" * 200]
    names = [artifact_name(name) for name in wanted]
    assert len(set(names)) == len(wanted)
    assert all(0 < len(name) <= 128 for name in names)
    assert names[0] == "a"
    assert names[4] == "a" * 128


@pytest.mark.parametrize("key", [0, -1, "only"])
def test_the_output_of_a_model_that_has_one_may_be_named(loopback, key):
    with wandb.init(mode="offline"):
        evaluation = Evaluation(output_key=key)
        inputs = keras.Input((4, 4, 1))
        flat = keras.layers.Flatten()(inputs)
        model = keras.Model(inputs, keras.layers.Dense(2, name="only")(flat))
        evaluation.set_model(model)
        assert evaluation.predict(X).shape == (6, 2)


@pytest.mark.parametrize("key", [1, "other"])
def test_an_output_that_is_not_there_is_refused_before_training(loopback, key):
    with wandb.init(mode="offline"):
        evaluation = Evaluation(output_key=key)
        with pytest.raises(ValueError, match="has a single output"):
            fit(evaluation)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (np.float32(0.5), 0.5),
        (np.array(0.5), 0.5),
        (np.int64(3), 3),
        (3, 3),
        (math.inf, "Infinity"),
        (np.float32(-math.inf), "-Infinity"),
    ],
)
def test_numbers_of_all_kinds_are_in_the_metadata_and_can_be_monitored(
    loopback, value, number
):
    with wandb.init() as run:
        fit(Evaluation([{"gain": value}], monitor="eval/gain", mode="max"))
    [version] = loopback.versions(f"run_{run.id}_pred")
    assert version.metadata["eval/gain"] == number
    assert ("best" in version.aliases) == (number != "-Infinity")
    [row] = [row for row in loopback.history(run.id) if "eval/gain" in row]
    assert row["eval/gain"] == float(number)


def test_a_tensor_is_a_number(loopback):
    with wandb.init() as run:
        value = keras.ops.convert_to_tensor(0.25)
        fit(Evaluation([{"gain": value}], monitor="eval/gain", mode="max"))
    [version] = loopback.versions(f"run_{run.id}_pred")
    assert version.metadata["eval/gain"] == 0.25
    assert "best" in version.aliases


def test_the_best_version_stays_the_best_in_a_run_that_is_resumed(loopback):
    for gain, epoch in [(0.9, 0), (0.1, 1), (0.95, 2)]:
        with wandb.init(id="resumed", resume="allow") as run:
            evaluation = Evaluation(
                [{"gain": gain}], monitor="eval/gain", mode="max", seed=epoch
            )
            fit(evaluation, initial_epoch=epoch, epochs=epoch + 1)
        best = loopback.version(f"run_{run.id}_pred:best")
        assert best.metadata["eval/gain"] == max(0.9, gain)
        summary = loopback.summary(run.id)
        assert summary["eval/best_gain"] == max(0.9, gain)
        assert summary["eval/best_epoch"] == best.metadata["epoch"]


def test_the_best_version_of_another_callback_in_the_run(loopback):
    with wandb.init() as run:
        for epoch, error in enumerate([0.5, 0.7, 0.2]):
            evaluation = Evaluation([{"error": error}], monitor="eval/error")
            fit(evaluation, initial_epoch=epoch, epochs=epoch + 1)
        best = run.summary["eval/best_error"]
    assert best == 0.2
    aliases = [v.aliases for v in loopback.versions(f"run_{run.id}_pred")]
    assert ["best" in names for names in aliases] == [False, False, True]


def test_a_process_that_is_not_the_first_says_that_it_logs_nothing(
    loopback, monkeypatch
):
    told = []
    monkeypatch.setattr(wandb, "termlog", lambda text, **kwargs: told.append(text))
    monkeypatch.setattr(run_log, "is_chief", lambda: False)
    with wandb.init() as run:
        fit(Evaluation())
    [text] = told
    assert "logs nothing" in text
    assert loopback.versions(f"run_{run.id}_pred") == []


@pytest.mark.parametrize("threshold", [0, 700, 10**6])
def test_garbage_is_collected_less_while_rows_are_made(loopback, threshold):
    seen = []

    class Explains(Evaluation):
        def extra_results(self, evaluation):
            seen.append(gc.get_threshold())
            return {}

    before = gc.get_threshold()
    try:
        gc.set_threshold(threshold, 11, 12)
        with wandb.init():
            fit(Explains([{"a": 1.0}]))
        after = gc.get_threshold()
        with pytest.raises(ArithmeticError), relaxed_gc():
            raise ArithmeticError
        assert gc.get_threshold() == after
    finally:
        gc.set_threshold(*before)
    assert after == (threshold, 11, 12)
    [(inside, *others)] = seen
    assert others == [11, 12]
    assert inside >= 10**5 if threshold else inside == 0


def test_numbers_that_can_not_be_computed_do_not_end_the_training(loopback):
    class Broken(Measured):
        def compute(self):
            raise ArithmeticError("no such number")

    class Breaks(Evaluation):
        def new_metrics(self):
            return Broken({})

    with wandb.init() as run:
        fit(Breaks(on_error="warn"), epochs=2)
        assert run.summary["eval/missing_versions"] == [0, 1]
    with wandb.init(), pytest.raises(ArithmeticError, match="no such number"):
        fit(Breaks(on_error="raise"))


def test_metrics_that_can_not_be_made_do_not_end_a_validation_of_fit(loopback):
    class Breaks(Evaluation):
        def new_metrics(self):
            return Measured({"epochs": float(self.evaluation.num_samples)})

    with wandb.init() as run:
        fit(Breaks(on_error="warn"), epochs=2, validation_data=(X, Y))
        assert run.summary["eval/missing_versions"] == [0, 1]
    with wandb.init(), pytest.raises(AttributeError, match="num_samples"):
        fit(Breaks(on_error="raise"), validation_data=(X, Y))


def test_work_that_takes_a_while_shows_progress(loopback, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_SECONDS_IN_SILENCE", -1.0)

    def show(x):
        return x

    with wandb.init(mode="offline"):
        evaluation = Evaluation([{}], image_fn=show, batch_size=2, num_samples=4)
        fit(evaluation, verbose=0)
        assert capsys.readouterr().out == ""
        evaluation = Evaluation([{}], image_fn=show, batch_size=2, num_samples=4)
        fit(evaluation, verbose=2)
    printed = capsys.readouterr().out
    work = {
        "Drawing samples of validation_data": 3,
        "Calling `image_fn`": 4,
        "Encoding images": 4,
        "Evaluating validation_data": 3,
    }
    for what, steps in work.items():
        assert re.search(rf"\n{what}\n[^A-Z]*{steps}/{steps}", printed)
    with wandb.init(mode="offline"):  # Nothing is measured: they are predicted alone.
        fit(Evaluation(batch_size=2, num_samples=4), verbose=2)
    printed = capsys.readouterr().out
    assert re.search(r"\nPredicting samples\n[^A-Z]*4/4", printed)


def test_encoding_masks_tells_how_far_it_is(loopback):
    done = []
    with wandb.init(mode="offline"):
        masks = list(np.zeros((3, 4, 4), np.uint8))
        folder = Evaluation().data_folder
        encode_masks(masks, folder, "truth", {0: "zero"}, lambda: done.append(1))
    assert len(done) == 3


@pytest.mark.parametrize("value", [np.int64(2), np.uint8(2)])
@pytest.mark.parametrize(
    "name", ["num_samples", "batch_size", "every_n_epochs", "seed"]
)
def test_integers_of_numpy_are_integers(loopback, name, value):
    with wandb.init(mode="offline"):
        evaluation = Evaluation(**{name: value})
        fit(evaluation)
    assert len(evaluation.pred_table.data) == (2 if name == "num_samples" else 6)


def test_a_table_with_several_rows_for_a_sample(loopback):
    class Twice(Evaluation):
        def add_ground_truth(self, logs=None):
            images = self.sample_images()
            self.add_rows(self.data_table, [[image] for image in images for _ in "ab"])

        def add_model_predictions(self, epoch, logs=None):
            rows = [[epoch, *row] for row in self.data_table_ref.data]
            self.add_rows(self.pred_table, rows)

    with wandb.init() as run:
        fit(Twice(num_samples=4), epochs=2)
    versions = loopback.versions(f"run_{run.id}_pred")
    assert [len(loopback.rows(v, "eval_data")) for v in versions] == [8, 8]


@pytest.mark.usefixtures("loopback")
def test_a_callback_that_is_not_in_a_list_trains_in_no_thread():
    threads = keras.backend.backend() in ("jax", "torch")
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with wandb.init(mode="offline"):
        evaluation = Evaluation(every_n_batches=1)
        if threads:
            with pytest.raises(ValueError, match="`callbacks` of `fit` must be a list"):
                model.fit(X, Y, verbose=0, callbacks=evaluation)
        model.fit(X, Y, verbose=0, callbacks=[evaluation])
        model.fit(X, Y, verbose=0, callbacks=Evaluation())


@pytest.mark.usefixtures("loopback")
def test_another_callback_with_a_property_that_raises():
    class Fails(keras.callbacks.Callback):
        @property
        def metrics(self):
            raise RuntimeError("not yet")

    with wandb.init(mode="offline"):
        fit(Evaluation(), Fails())


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_an_interrupt_while_a_version_is_logged(loopback, stop):
    class Stops(Evaluation):
        stops = True

        def log_pred_table(self, *args, **kwargs):
            if self.stops:
                raise stop
            super().log_pred_table(*args, **kwargs)

    with wandb.init() as run:
        results = [{"gain": 0.9}, {"gain": 0.1}, {"gain": 0.5}]
        evaluation = Stops(results, monitor="eval/gain", mode="max", num_samples=2)
        with pytest.raises(stop):
            fit(evaluation)
        evaluation.stops = False
        fit(evaluation, initial_epoch=1, epochs=3)
    best = loopback.version(f"run_{run.id}_pred:best")
    assert best.metadata["eval/gain"] == 0.5
    assert len(loopback.versions(f"run_{run.id}_pred")) == 2
