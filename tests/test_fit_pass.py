"""One pass over the validation data, and numbers that steer the training."""

import logging
import math
import queue
import threading
import weakref

import keras
import numpy as np
import pytest
import wandb
from keras import ops

from wandb_eval.classification import WandbClassificationEvalCallback
from wandb_eval.engine import WandbTaskEvalCallback
from wandb_eval.engine.evaluation import fit_pass

RNG = np.random.default_rng(0)
X = RNG.random((40, 4, 4, 1), dtype=np.float32)
Y = RNG.integers(0, 3, 40)


class CountsCalls(keras.layers.Layer):
    """Counts the samples that go through it, without training."""

    def __init__(self):
        super().__init__()
        self.seen = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="seen"
        )

    def call(self, x, training=False):
        if not training:
            self.seen.assign_add(ops.cast(ops.shape(x)[0], "float32"))
        return x


def classifier(cls=keras.Model, **options):
    inputs = keras.Input((4, 4, 1))
    counter = CountsCalls()
    x = keras.layers.Flatten()(counter(inputs))
    x = keras.layers.Dropout(0.3)(x)
    model = cls(inputs, keras.layers.Dense(3, "softmax")(x))
    options = {"loss": "sparse_categorical_crossentropy", **options}
    model.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"], **options)
    model.counter = counter
    return model


class Evaluation(WandbClassificationEvalCallback):
    def __init__(self, data=(X, Y), **options):
        super().__init__(data, **{"num_samples": 6, "on_error": "raise", **options})
        self.rows, self.numbers = [], []

    def log_pred_table(self, *args, more_tables=None, **options):
        super().log_pred_table(*args, more_tables=more_tables, **options)
        hardest = more_tables["hardest"].data
        shown = [row[:2] + row[3:] for row in (*self.pred_table.data, *hardest)]
        self.rows.append([shown, more_tables["scores"].data])


def train(evaluation, model=None, validation_data=(X, Y), epochs=2, **options):
    keras.utils.set_random_seed(0)
    if not isinstance(model, keras.Model):
        model = (model or classifier)()
    # Torch's loaders draw from one generator: one more would shuffle otherwise.
    options = {"batch_size": 7, "verbose": 0, "shuffle": False, **options}
    history = model.fit(
        X,
        Y,
        epochs=epochs,
        validation_data=validation_data,
        callbacks=[evaluation, *options.pop("callbacks", [])],
        **options,
    )
    return model, {**history.history, **evaluation.history}


def samples_seen(model):
    return float(ops.convert_to_numpy(model.counter.seen))


def of_logs(history):
    return {key: value for key, value in history.items() if key.startswith("eval/")}


@pytest.fixture(autouse=True)
def _offline(loopback):
    with wandb.init(mode="offline"):
        yield


def by_ourselves(batch_size=32, **options):
    """The evaluation without the pass of `fit`, in the same training."""
    evaluation = Evaluation(one_pass=False, batch_size=batch_size)
    model, history = train(evaluation, **options)
    return evaluation, model, history


def check_near(ours, theirs):
    """Batches of other sizes are rounded otherwise, on some processors."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        check_near(list(ours.values()), [theirs[key] for key in ours])
    elif isinstance(theirs, (list, tuple)):
        for pair in zip(ours, theirs, strict=True):
            check_near(*pair)
    elif isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6, nan_ok=True)
    else:
        np.testing.assert_equal(ours, theirs)


def check_equal(evaluation, history, expected, expected_history):
    check_near(of_logs(history), of_logs(expected_history))
    check_near(evaluation.rows, expected.rows)


def test_nothing_is_predicted_twice():
    # Batches of one size on both sides: of other sizes, processors round otherwise.
    expected, model_of_two, expected_history = by_ourselves(
        batch_size=40, validation_batch_size=40
    )
    evaluation = Evaluation(batch_size=40)

    class KnowsFunctions(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            functions.append(self.model.test_function)

    functions = []
    model, history = train(
        evaluation, callbacks=[KnowsFunctions()], validation_batch_size=40
    )
    check_equal(evaluation, history, expected, expected_history)
    assert evaluation._evaluator.reason is None
    assert len({id(function) for function in functions}) == 1
    # Before training, and 40 in each of two epochs.
    before_training = samples_seen(model) - 2 * 40
    assert before_training <= 2 * 40 + 1
    assert samples_seen(model_of_two) >= samples_seen(model) + 2 * 40
    for key in ("val_loss", "val_accuracy", "loss"):
        assert history[key] == expected_history[key]


@pytest.mark.parametrize("batch_size", [1, 16, 64])
def test_batches_of_fit_may_be_others(batch_size):
    expected, _, expected_history = by_ourselves()
    evaluation = Evaluation()
    _, history = train(evaluation, validation_batch_size=batch_size)
    assert evaluation._evaluator.reason is None
    for key, values in of_logs(expected_history).items():
        assert history[key] == pytest.approx(values, rel=1e-6)
    for ours, theirs in zip(evaluation.rows, expected.rows, strict=True):
        assert [row[0] for row in ours[1]] == [row[0] for row in theirs[1]]


class Shuffled(keras.utils.PyDataset):
    """Batches that come in another order in each epoch."""

    def __init__(self):
        super().__init__()
        self.order = np.arange(40)

    def __len__(self):
        return 5

    def __getitem__(self, index):
        part = self.order[8 * index : 8 * index + 8]
        return X[part], Y[part]

    def on_epoch_end(self):
        self.order = np.random.default_rng(1).permutation(self.order)


def test_in_another_order_the_numbers_are_used_and_rows_are_right():
    expected, _, expected_history = by_ourselves()
    evaluation = Evaluation((X, Y))
    shuffled = Shuffled()
    shuffled.on_epoch_end()
    _, history = train(evaluation, validation_data=shuffled)
    assert evaluation._evaluator.reason is None
    for key in ("eval/accuracy", "eval/log_loss"):
        assert history[key] == pytest.approx(expected_history[key], rel=1e-6)
    for ours, theirs in zip(evaluation.rows, expected.rows, strict=True):
        fixed = zip(ours[0][:6], theirs[0][:6], strict=True)
        for row, same in fixed:
            assert row[:4] == same[:4]
            np.testing.assert_allclose(row[6], same[6], rtol=1e-5)


def test_samples_of_data_that_reshuffles_are_known_by_their_content():
    evaluation = Evaluation((X, Y), num_hardest=5)
    images = {}

    class Looks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            found = evaluation.evaluation
            places = found.hardest.index
            for index, x in zip(places, found.hardest.x, strict=True):
                seen = images.setdefault(index, x)
                np.testing.assert_array_equal(seen, x)
                np.testing.assert_array_equal(seen, X[index])
            # All samples are in the order of the data, too.
            assert not found.in_order
            scan = evaluation._evaluator.scan
            assert found.fingerprint.compare(scan.fingerprint) == "same"
            for name, values in found.hardest.scores.items():
                assert values == [found.scores[name][place] for place in places]
            np.testing.assert_array_equal(
                found.errors == 0, np.array(found.scores["correct"])
            )

    shuffled = Shuffled()
    shuffled.on_epoch_end()
    train(evaluation, validation_data=shuffled, epochs=4, callbacks=[Looks()])
    contents = {image.tobytes() for image in images.values()}
    assert len(contents) == len(images)


class Refilled(keras.utils.PyDataset):
    """Batches in the same arrays each time, with other content."""

    def __init__(self):
        super().__init__()
        self.batch = X[:8].copy(), Y[:8].copy()

    def __len__(self):
        return 5

    def __getitem__(self, index):
        for array, source in zip(self.batch, (X, Y), strict=True):
            array[:] = source[8 * index : 8 * index + 8]
        return self.batch


@pytest.mark.skipif(
    keras.backend.backend() != "torch",
    reason="TensorFlow reads ahead, JAX computes later: Keras itself sees other data",
)
def test_batches_of_fit_may_be_the_same_arrays_again():
    _, _, expected_history = by_ourselves()
    evaluation = Evaluation()
    _, history = train(evaluation, validation_data=Refilled())
    assert evaluation._evaluator.reason is None
    for key, values in of_logs(expected_history).items():
        assert history[key] == pytest.approx(values, rel=1e-6)
    hardest = evaluation.evaluation.hardest
    for index, x in zip(hardest.index, hardest.x, strict=True):
        np.testing.assert_array_equal(x, X[index])


@pytest.mark.tensorflow
def test_fit_does_not_wait_for_its_iterator(monkeypatch):
    threads = queue.SimpleQueue()
    run = fit_pass._RUNNERS["tensorflow"]
    known = weakref.WeakSet()

    def notes(function, data):
        [iterator] = evaluation._evaluator._fit_pass._iterators
        if iterator not in known:
            known.add(iterator)
            weakref.finalize(iterator, lambda: threads.put(threading.get_ident()))
        return run(function, data)

    monkeypatch.setitem(fit_pass._RUNNERS, "tensorflow", notes)
    evaluation = Evaluation()
    train(evaluation, epochs=3)
    assert evaluation._evaluator.reason is None
    for _ in range(3):
        assert threads.get(timeout=60) != threading.get_ident()
    assert threads.empty()


@pytest.mark.tensorflow
@pytest.mark.parametrize("one_pass", [True, False])
def test_data_that_is_cached_in_a_file_is_read_once(tmp_path, one_pass):
    import tensorflow as tf

    read = []

    def generate():
        for i in range(40):
            read.append(i)
            yield X[i], Y[i]

    signature = tuple(tf.TensorSpec(a.shape[1:], a.dtype) for a in (X, Y))
    data = tf.data.Dataset.from_generator(generate, output_signature=signature)
    data = data.apply(tf.data.experimental.assert_cardinality(40))
    data = data.cache(str(tmp_path / "cache")).batch(8)
    evaluation = Evaluation(data, one_pass=one_pass)
    train(evaluation, validation_data=data, epochs=3)
    assert (evaluation._evaluator.reason is None) == one_pass
    assert read == list(range(40))


@pytest.mark.tensorflow
def test_as_much_is_read_of_tf_data_as_it_says_that_it_has():
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    data = data.filter(lambda x, y: True)
    data = data.apply(tf.data.experimental.assert_cardinality(3))
    for one_pass in (True, False):
        evaluation = Evaluation(data, one_pass=one_pass)
        train(evaluation, validation_data=data)
        assert (evaluation._evaluator.reason is None) == one_pass
        assert evaluation.evaluation.fingerprint.count == 24


def test_an_image_fn_may_write_into_what_it_gets():
    def image_fn(x):
        x *= 255
        return np.rint(x).astype(np.uint8)

    expected, _, expected_history = by_ourselves()
    evaluation = Evaluation(image_fn=image_fn)
    _, history = train(evaluation)
    check_equal(evaluation, history, expected, expected_history)
    assert evaluation.evaluation.in_order


class Doubled(keras.Model):
    """Validates with other outputs than it predicts."""

    def test_step(self, *args):
        before = self.compute_metrics
        try:
            self.__dict__["compute_metrics"] = lambda x, y, y_pred, *rest, **more: (
                before(x, y, self.flip(y_pred), *rest, **more)
            )
            return super().test_step(*args)
        finally:
            self.__dict__["compute_metrics"] = before

    def flip(self, y_pred):
        return ops.flip(y_pred, axis=1)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"validation_data": None}, "did not validate on this data"),
        ({"validation_data": (X[:30], Y[:30])}, "other data"),
        ({"validation_data": (X, (Y + 1) % 3)}, "other data"),
        ({"validation_steps": 2}, "other data"),
        ({"validation_freq": 2}, "did not validate"),
        ({"model": lambda: classifier(steps_per_execution=2)}, "steps_per_execution"),
        ({"model": lambda: classifier(Doubled)}, "does not put out what `predict`"),
    ],
)
def test_where_there_is_a_pass_of_our_own(caplog, options, reason):
    if keras.backend.backend() == "torch" and "steps_per" in reason:
        pytest.skip("Torch runs one step at a time")
    # The same validation in both: on Torch its loader draws from Dropout's generator.
    expected, _, expected_history = by_ourselves(**options)
    evaluation = Evaluation()
    with caplog.at_level(logging.INFO, logger="wandb_eval"):
        _, history = train(evaluation, **options)
    check_equal(evaluation, history, expected, expected_history)
    said = [record.getMessage() for record in caplog.records]
    assert any(reason in text for text in said), said


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="the optimizer is no state of `test_step`"
)
def test_a_model_that_validates_with_other_outputs_later():
    """Such as a teacher, which is a copy of the model at first."""

    class Teacher(Doubled):
        def flip(self, y_pred):
            is_later = ops.cast(self.optimizer.iterations > 6, y_pred.dtype)
            return y_pred + is_later * (ops.flip(y_pred, axis=1) - y_pred)

    options = {"model": lambda: classifier(Teacher)}
    expected, _, expected_history = by_ourselves(**options)
    evaluation = Evaluation()
    _, history = train(evaluation, **options)
    check_equal(evaluation, history, expected, expected_history)
    assert "does not put out" in evaluation._evaluator.reason


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="the step has consumed the state"
)
def test_a_later_batch_that_fails_with_the_outputs(monkeypatch):
    """Such as one that needs the last of the memory."""
    backend, calls = keras.backend.backend(), []
    run = fit_pass._RUNNERS[backend]

    def runner(*args):
        calls.append(0)
        if len(calls) == 3:
            raise MemoryError
        return run(*args)

    expected, _, expected_history = by_ourselves()
    monkeypatch.setitem(fit_pass._RUNNERS, backend, runner)
    evaluation = Evaluation()
    _, history = train(evaluation)
    check_equal(evaluation, history, expected, expected_history)
    check_near(history["val_loss"], expected_history["val_loss"])
    assert len(calls) == 3


def test_variables_of_the_function_that_trains_are_freed():
    class Data:
        pass

    def main():
        data, model, evaluation = Data(), classifier(), Evaluation()
        freed = weakref.ref(data)
        options = {"validation_data": (X, Y), "callbacks": [evaluation], "verbose": 0}
        model.fit(X, Y, **options)
        evaluation.evaluate(model)
        del data
        return freed()

    assert main() is None


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="of Torch alone")
@pytest.mark.parametrize("training", [False, True])
def test_modules_of_torch_predict_in_their_mode_of_evaluation(training):
    import torch

    class Random(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3, "softmax")

        def call(self, x):
            x = keras.ops.reshape(x, (-1, 16))
            return self.dense(torch.nn.functional.dropout(x, 0.5, self.training))

    model = Random()
    model.build((None, 4, 4, 1))
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.train(training)
    evaluation = Evaluation()
    numbers = [evaluation.evaluate(model)["eval/log_loss"] for _ in range(2)]
    assert numbers[0] == numbers[1]
    assert {module.training for module in model.modules()} == {training}


def test_a_fit_that_fails_in_validation_leaves_the_model_as_it_was():
    class Fails(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model = classifier()
    with pytest.raises(KeyboardInterrupt):
        train(Evaluation(), model, callbacks=[Fails()])
    before = model.evaluate(X, Y, verbose=0)
    model.make_test_function(force=True)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(before)
    assert "test_step" not in vars(model)


# --- The weights that validation saw --------------------------------------------------


@pytest.mark.parametrize("one_pass", [True, False])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("swap_on_epoch", [True, False])
def test_averaged_weights(one_pass, first, swap_on_epoch):
    evaluation = Evaluation(one_pass=one_pass)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=swap_on_epoch)
    model = classifier()
    model.compile(
        keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    keras.utils.set_random_seed(0)
    callbacks = [swap, evaluation] if first else [evaluation, swap]
    history = model.fit(
        X, Y, validation_data=(X, Y), epochs=3, verbose=0, callbacks=callbacks
    ).history
    assert history["eval/accuracy"] == pytest.approx(history["val_accuracy"])
    np.testing.assert_allclose(history["eval/log_loss"], history["val_loss"], rtol=1e-4)


# --- Numbers in logs ------------------------------------------------------------------


def test_callbacks_of_keras_see_the_numbers(tmp_path, recwarn):
    evaluation = Evaluation(every_n_epochs=2)
    name = str(tmp_path / "{epoch}-{eval/accuracy:.2f}.keras")
    callbacks = [
        keras.callbacks.EarlyStopping("eval/log_loss", mode="min", patience=1),
        keras.callbacks.ReduceLROnPlateau("eval/log_loss", mode="min", patience=1),
        keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
    ]
    _, history = train(evaluation, epochs=4, callbacks=callbacks)
    assert len(history["eval/log_loss"]) == 2
    assert len(history["val_loss"]) == 4
    texts = [str(warning.message) for warning in recwarn]
    assert not [text for text in texts if "eval/" in text and "not available" in text]
    evaluation = Evaluation()
    saved = keras.callbacks.ModelCheckpoint(
        name, "eval/accuracy", mode="max", save_best_only=True
    )
    _, history = train(evaluation, callbacks=[saved])
    files = sorted(path.name for path in tmp_path.glob("*.keras"))
    assert files[0] == f"1-{history['eval/accuracy'][0]:.2f}.keras"


def metrics_logger(path):
    keras_of_wandb = pytest.importorskip("wandb.integration.keras")
    return keras_of_wandb.WandbMetricsLogger()


# How to make each, and how to see that it saw the numbers.
NEIGHBOURS = {
    "EarlyStopping": (
        lambda path: keras.callbacks.EarlyStopping(
            "eval/log_loss", mode="min", patience=0, min_delta=10
        ),
        lambda path, other, model: other.stopped_epoch == 1,
    ),
    "ReduceLROnPlateau": (
        lambda path: keras.callbacks.ReduceLROnPlateau(
            "eval/log_loss", mode="min", patience=1, min_delta=10
        ),
        lambda path, other, model: float(model.optimizer.learning_rate) < 0.09,
    ),
    "ModelCheckpoint": (
        lambda path: keras.callbacks.ModelCheckpoint(
            path / "best.keras", "eval/accuracy", mode="max", save_best_only=True
        ),
        lambda path, other, model: other.best is not None and math.isfinite(other.best),
    ),
    "CSVLogger": (
        lambda path: keras.callbacks.CSVLogger(str(path / "log.csv")),
        lambda path, other, model: "eval/accuracy" in (path / "log.csv").read_text(),
    ),
    "WandbMetricsLogger": (
        metrics_logger,
        lambda path, other, model: "epoch/eval/accuracy" in dict(wandb.run.summary),
    ),
}


@pytest.mark.filterwarnings("ignore:.*available:UserWarning")
@pytest.mark.parametrize("behind", [True, False])
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_those_that_stand_behind_see_the_numbers(name, behind, tmp_path, warned):
    make, has_seen = NEIGHBOURS[name]
    other, ours, model = make(tmp_path), Evaluation(), classifier()
    callbacks = [ours, other] if behind else [other, ours]
    fitted = model.fit(X, Y, epochs=3, verbose=0, callbacks=callbacks)
    assert has_seen(tmp_path, other, model) == behind
    assert "eval/accuracy" in fitted.history
    is_named = any(text.startswith(f"{name} monitors 'eval/") for text in warned)
    assert is_named == (not behind and hasattr(other, "monitor"))


def test_numbers_steer_the_training_also_where_nothing_is_logged():
    wandb.finish()
    with wandb.init(mode="disabled"):
        stopping = keras.callbacks.EarlyStopping("eval/log_loss", mode="min")
        _, history = train(Evaluation(), callbacks=[stopping])
        assert len(history["eval/log_loss"]) == 2
        _, history = train(Evaluation())
        assert "eval/log_loss" not in history


def test_the_direction_is_that_of_the_compiled_metric():
    model = classifier()
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=[Own(name="odd")])
    evaluation = Evaluation(monitor="val_odd")
    train(evaluation, model)
    assert evaluation._monitor.sign == -1
    with pytest.raises(ValueError, match="can't tell whether more of 'val_other'"):
        train(Evaluation(monitor="val_other"), model)


@pytest.mark.any_backend
def test_a_lower_cost_is_better():
    evaluation = Evaluation(monitor="eval/errors/missed_AP_cost")
    evaluation._monitor.set_model(classifier())
    assert evaluation._monitor.sign == -1


class Own(keras.metrics.MeanMetricWrapper):
    _direction = "down"

    def __init__(self, **options):
        super().__init__(keras.losses.sparse_categorical_crossentropy, **options)
        self._direction = "down"


class OwnSignature(keras.Model):
    """Has a `compute_metrics` that its own `test_step` calls."""

    def test_step(self, *args):
        is_jax = keras.backend.backend() == "jax"
        data = args[-1]
        if is_jax:
            trainable, fixed, metrics = args[0]
            y_pred, _ = self.stateless_call(trainable, fixed, data[0], training=False)
            return self.compute_metrics(data[1], y_pred), (trainable, fixed, metrics)
        return self.compute_metrics(data[1], self(data[0], training=False))

    def compute_metrics(self, y, y_pred, *rest, **more):
        if rest or more:  # Of `train_step`: x, y, y_pred, ...
            return super().compute_metrics(y, y_pred, *rest, **more)
        return {"mean": ops.mean(y_pred)}


@pytest.mark.parametrize("of_tensorflow", [False, True])
def test_a_test_step_that_can_not_be_changed_does_not_end_the_training(
    caplog, of_tensorflow
):
    cls = OwnSignature
    if of_tensorflow:
        if keras.backend.backend() != "tensorflow":
            pytest.skip("needs TensorFlow")
        import tensorflow as tf

        class Traced(keras.Model):
            @tf.function
            def test_step(self, data):
                y_pred = self(data[0], training=False)
                return self.compute_metrics(*data, y_pred)

        cls = Traced
    evaluation, model = Evaluation(), classifier(cls)
    with caplog.at_level(logging.INFO, logger="wandb_eval"):
        _, history = train(evaluation, model)
    right = model.predict(X, verbose=0).argmax(axis=-1) == Y
    assert history["eval/accuracy"][-1] == pytest.approx(right.mean())
    assert len(history["val_mean" if cls is OwnSignature else "val_loss"]) == 2
    said = [record.getMessage() for record in caplog.records]
    assert any("`test_step` does not give its outputs" in text for text in said)


def test_two_callbacks_of_the_same_data(caplog):
    first, second = Evaluation(), Evaluation(name="again")
    with caplog.at_level(logging.INFO, logger="wandb_eval"):
        train(first, callbacks=[second])
    assert first.history["eval/accuracy"] == second.history["eval_again/accuracy"]
    said = [record.getMessage() for record in caplog.records]
    assert any("another callback takes its place" in text for text in said)
    assert second._evaluator.reason is None


class Probes(Evaluation):
    """Logs an output of the model, which `extra_results` predicts."""

    def extra_results(self, evaluation):
        self.probed = self.predict(X[:1])
        return super().extra_results(evaluation)


def test_averaged_weights_are_those_of_all_that_is_logged_and_of_no_other():
    model = classifier()
    optimizer = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    evaluation, swap = Probes(), keras.callbacks.SwapEMAWeights()
    evaluated = []

    class Sees(keras.callbacks.Callback):
        def on_test_end(self, logs=None):
            evaluated.append([np.array(weight) for weight in self.model.weights])

    train(evaluation, model, callbacks=[Sees(), swap], epochs=1)
    weights = model.get_weights()
    probed = evaluation.probed
    for weight, value in zip(model.weights, evaluated[0], strict=True):
        weight.assign(value)
    np.testing.assert_allclose(probed, model.predict(X[:1], verbose=0), rtol=1e-5)
    model.set_weights([weight * 0 for weight in weights])
    numbers = evaluation.evaluate(model)
    assert numbers["eval/log_loss"] == pytest.approx(math.log(3))
    assert all(not np.any(weight) for weight in model.trainable_weights)


class Interrupts(keras.callbacks.Callback):
    """Ends the first training within a validation."""

    def on_test_batch_end(self, batch, logs=None):
        if batch == 1:
            raise KeyboardInterrupt


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="the weights are gone")
@pytest.mark.parametrize("again", [False, True])
def test_a_validation_that_is_interrupted_leaves_the_model_as_it_was(again):
    evaluation, model = Evaluation(), classifier()
    with pytest.raises(KeyboardInterrupt):
        train(evaluation, model, callbacks=[Interrupts()])
    evaluation = evaluation if again else Evaluation()
    _, history = train(evaluation, model)
    assert not hasattr(model.test_function, "in_place_of")
    expected = model.evaluate(X, Y, verbose=0, return_dict=True)["accuracy"]
    assert history["eval/accuracy"][-1] == pytest.approx(expected)


class Fails(keras.callbacks.Callback):
    """Ends the training behind its first validation."""

    def on_epoch_end(self, epoch, logs=None):
        raise KeyboardInterrupt


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="the weights are gone")
@pytest.mark.parametrize("every", [None, 1])
def test_what_is_left_of_an_interrupted_training_is_not_evaluated(every):
    evaluation, model = Evaluation(every_n_batches=every), classifier()
    fits = {"callbacks": [Fails(), evaluation], "validation_data": (X, Y)}
    if every:
        fits["callbacks"] = [evaluation, Interrupts()]
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=20, verbose=0, **fits)
    for weight in model.trainable_weights:
        weight.assign(weight * 0)
    numbers = evaluation.evaluate(model)
    assert numbers["eval/log_loss"] == pytest.approx(math.log(3))
    assert evaluation._schedule.is_in_fit is False


# --- When, and without fit ------------------------------------------------------------


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_within_an_epoch(loopback, mode):
    wandb.finish()
    with wandb.init(mode=mode) as run:
        evaluation = Evaluation(every_n_batches=2)
        _, history = train(evaluation, epochs=2, batch_size=8)  # Five batches.
    batches = [(epoch, batch) for epoch in range(2) for batch in (2, 4, None)]
    if mode == "disabled":
        assert not evaluation.rows
        return
    assert len(history["eval/accuracy"]) == 2
    assert evaluation.pred_table.columns[:2] == ["epoch", "batch"]
    assert [tuple(rows[0][0][:2]) for rows in evaluation.rows] == batches
    if mode == "online":
        versions = loopback.versions(f"run_{run.id}_pred")
        found = [(v.metadata["epoch"], v.metadata["batch"]) for v in versions]
        assert found == batches
        for version, (epoch, batch) in zip(versions, batches, strict=True):
            label = f"epoch_{epoch}" + (f"_batch_{batch}" if batch else "")
            assert label in version.aliases


def test_an_epoch_has_a_version_if_its_length_is_not_known(loopback, warned):
    wandb.finish()
    with wandb.init() as run:
        evaluation = Evaluation(every_n_batches=2, monitor="val_loss")
        model = classifier()
        batches = ((X[:8], Y[:8]) for _ in range(8))
        options = {"callbacks": [evaluation], "validation_data": (X, Y)}
        model.fit(batches, epochs=1, verbose=0, **options)
    versions = loopback.versions(f"run_{run.id}_pred")
    labels = ["epoch_0_batch_2", "epoch_0_batch_4", "epoch_0_batch_6"]
    labels += ["epoch_0_batch_8", "epoch_0"]
    assert [label in v.aliases for label, v in zip(labels, versions, strict=True)]
    assert "best" in versions[-1].aliases
    assert not any("val_loss" in text for text in warned)


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Torch runs one step at a time"
)
def test_batches_that_are_trained_at_once():
    evaluation = Evaluation(every_n_batches=3)
    train(evaluation, classifier(steps_per_execution=4), epochs=1, batch_size=4)
    moments = [rows[0][0][1] for rows in evaluation.rows]
    # Of ten batches; older releases of Keras name the first of those trained at once.
    assert moments in ([4, 8, None], [5, 9, None])


def test_a_hook_of_a_subclass_for_each_batch_is_called():
    class Own(Evaluation):
        batches = 0

        def on_train_batch_end(self, batch, logs=None):
            self.batches += 1

    evaluation = Own(every_n_batches=2)
    train(evaluation, epochs=1, batch_size=8)
    assert evaluation.batches == 5
    assert len(evaluation.rows) == 3


def test_no_hook_for_each_batch_without_need():
    own = keras.callbacks.Callback.on_train_batch_end
    assert Evaluation().on_train_batch_end.__func__ is own
    assert Evaluation(every_n_batches=3).on_train_batch_end.__func__ is not own


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_without_fit(loopback, mode):
    wandb.finish()
    model = classifier()
    with wandb.init(mode=mode) as run:
        train(Evaluation(), model)
        test = Evaluation((X[:20], Y[:20]), name="test")
        numbers = test.evaluate(model)
        again = test.evaluate(model)
    predicted = model.predict(X[:20], verbose=0).argmax(axis=-1)
    assert numbers["eval_test/accuracy"] == pytest.approx((predicted == Y[:20]).mean())
    assert again == numbers
    if mode == "online":
        versions = loopback.versions(f"run_{run.id}_test_pred")
        assert [version.metadata["epoch"] for version in versions] == [0, 1]
        assert len(loopback.versions("test")) == 1


# --- Faults and shapes ----------------------------------------------------------------


class FailsLater(keras.Model):
    fails = False

    def predict_on_batch(self, x):
        if self.fails:
            raise RuntimeError("out of memory")
        return super().predict_on_batch(x)


def test_a_prediction_that_fails_does_not_end_the_training(warned):

    class FailInSecondEpoch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.fails = epoch == 1

    evaluation = Evaluation(on_error="warn", one_pass=False)
    model = classifier(FailsLater)
    _, history = train(evaluation, model, epochs=3, callbacks=[FailInSecondEpoch()])
    assert len(history["loss"]) == 3
    assert len(history["eval/accuracy"]) == 2
    assert wandb.run.summary["eval/missing_versions"] == [1]
    assert any("out of memory" in text for text in warned)


@pytest.mark.skipif(
    keras.backend.backend() == "torch", reason="Keras can't train it on Torch"
)
@pytest.mark.parametrize("num_samples", [13, 30])
@pytest.mark.parametrize("batch_size", [4, 8])
def test_a_model_that_takes_one_size_of_batch(num_samples, batch_size):
    model = keras.Sequential(
        [
            keras.Input((5, 2), batch_size=4),
            keras.layers.LSTM(3, stateful=True),
            keras.layers.Dense(3, "softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = RNG.random((40, 5, 2), dtype=np.float32)
    evaluation = Evaluation(
        (x, Y),
        num_samples=num_samples,
        batch_size=batch_size,
        image_fn=lambda x: np.uint8(255 * x),
    )
    model.fit(
        x, Y, batch_size=4, epochs=2, verbose=0, callbacks=[evaluation], shuffle=False
    )
    assert len(evaluation.rows) == 2
    assert len(evaluation.pred_table.data) == num_samples


def test_what_can_not_be_predicted_is_said_before_training():
    class Trained(keras.callbacks.Callback):
        batches = 0

        def on_train_batch_end(self, batch, logs=None):
            self.batches += 1

    trained = Trained()
    evaluation = Evaluation((X[:, :3], Y))
    with pytest.raises(ValueError, match=r"It was given float32 \(32, 3, 4, 1\)"):
        classifier().fit(X, Y, verbose=0, callbacks=[evaluation, trained])
    assert trained.batches == 0


def test_a_task_of_a_users_own_has_one_pass_as_well():
    class Task(WandbTaskEvalCallback):
        def new_metrics(self):
            return Mean()

    class Mean:
        total = 0.0

        def update(self, y, outputs):
            self.total += float(outputs[:, 0].sum())

        def compute(self):
            return {"mean": self.total / 40}

    task = Task(
        (X, Y), data_table_columns=["idx", "image"], pred_table_columns=["e", "i", "x"]
    )
    model, history = train(task)
    assert task._evaluator.reason is None
    expected = model.predict(X, verbose=0)[:, 0].mean()
    assert history["eval/mean"][-1] == pytest.approx(expected, rel=1e-5)
