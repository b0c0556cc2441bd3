"""The model behaves as it does without a callback, compiled or not."""

import copy
import gc
import pickle
import weakref

import keras
import numpy as np
import pytest
import wandb

from detectors import retinanet
from wandb_eval.classification import WandbClassificationEvalCallback
from wandb_eval.detection import WandbDetectionEvalCallback
from wandb_eval.engine.evaluation import step_functions

RNG = np.random.default_rng(0)
X = RNG.random((20, 4, 4, 1), dtype=np.float32)
Y = RNG.integers(0, 3, 20)
ON_TORCH = keras.backend.backend() == "torch"


@pytest.fixture(autouse=True)
def _offline(loopback):
    with wandb.init(mode="offline"):
        yield


class Traced(keras.layers.Layer):
    """Counts how often Python runs through it: once for each trace."""

    traces = 0
    factor = 1.0

    def call(self, x):
        Traced.traces += 1
        return self.factor * x


def classifier(compiled=True):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(Traced(name="traced")(inputs))
    x = keras.layers.BatchNormalization(name="norm")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax", name="head")(x))
    if compiled:
        compile_it(model)
    return model


def compile_it(model):
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")


def evaluation_of(data=(X, Y), **options):
    return WandbClassificationEvalCallback(
        data, **{"num_samples": 6, "on_error": "raise", **options}
    )


def fit(model, *callbacks, **options):
    return model.fit(
        X,
        Y,
        batch_size=8,
        validation_data=(X, Y),
        verbose=0,
        shuffle=False,  # On JAX, a second training of a process has another order.
        callbacks=list(callbacks),
        **options,
    )


def log_loss(model):
    probabilities = np.float64(model.predict(X, verbose=0))
    return -np.log(probabilities[np.arange(20), Y]).mean()


# --- What Keras keeps in the model ------------------------------------------------


def kept(model):
    """All that is in the model, by identity."""
    return {name: id(value) for name, value in vars(model).items()}


@pytest.mark.parametrize("predicted", [False, True])
def test_evaluate_changes_nothing_in_the_model(predicted):
    model, evaluation = classifier(), evaluation_of()
    model.jit_compile  # noqa: B018  Keras finds out when it is first asked for.
    if predicted:
        model.predict(X[:3], verbose=0)
    before = kept(model)
    function = model.predict_function
    evaluation.evaluate(model)
    # As `predict_on_batch` leaves them.
    left = {"_called", "_jax_state", "_jax_state_synced"}
    after = kept(model)
    assert before.keys() == after.keys()
    assert {k for k in before if before[k] != after[k]} <= left
    assert model.predict_function is function


@pytest.mark.parametrize("options", [{}, {"one_pass": False}])
def test_fit_leaves_the_model_as_it_does_without_us(options):
    model, other = classifier(), classifier()
    functions = []

    class Looks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            functions.append((self.model.test_function, self.model.predict_function))

    history = fit(model, evaluation_of(**options), Looks(), epochs=2).history
    expected = fit(other, epochs=2).history
    assert vars(model).keys() == vars(other).keys()
    assert model.predict_function is other.predict_function is None
    assert functions[0] == functions[1] == (model.test_function, None)
    for key, values in expected.items():
        assert history[key] == values
    np.testing.assert_array_equal(
        model.predict(X, verbose=0), other.predict(X, verbose=0)
    )


@pytest.mark.parametrize(
    "stateful",
    [
        False,
        pytest.param(
            True, marks=pytest.mark.skipif(ON_TORCH, reason="Keras can't train it")
        ),
    ],
)
@pytest.mark.parametrize("options", [{}, {"one_pass": False}])
def test_random_numbers_and_states_are_those_without_us(options, stateful):
    """An RNN draws its masks of dropout in `predict`, too, and keeps its state."""

    def trained(*callbacks):
        keras.utils.set_random_seed(0)
        inputs = keras.Input(batch_shape=(4, 4, 4, 1))
        x = keras.layers.Reshape((4, 4))(inputs)
        layer = keras.layers.GRU(4, dropout=0.5, stateful=stateful)
        x = keras.layers.Dropout(0.5)(layer(x), training=True)
        model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))
        compile_it(model)
        history = model.fit(
            X,
            Y,
            batch_size=4,
            epochs=2,
            verbose=0,
            shuffle=False,
            callbacks=list(callbacks),
        ).history
        return history["loss"]

    losses = trained(evaluation_of(batch_size=4, **options))
    assert losses == pytest.approx(trained(), rel=1e-6)


@pytest.mark.slow
@pytest.mark.once
def test_a_retinanet_predicts_single_images_before_and_after():
    x = RNG.random((6, 64, 96, 3), dtype=np.float32)
    y = {
        "boxes": np.tile(np.float32([[8, 10, 40, 60]]), (6, 1, 1)),
        "labels": np.zeros((6, 1), np.float32),
    }
    model = retinanet("xyxy")
    model.compile(optimizer=keras.optimizers.SGD(1e-4))
    evaluation = WandbDetectionEvalCallback(
        (x, y), ["a", "b"], bounding_box_format="xyxy", on_error="raise"
    )
    before = model.predict(x[:1], verbose=0)
    evaluation.evaluate(model)
    np.testing.assert_array_equal(
        model.predict(x[:1], verbose=0)["boxes"], before["boxes"]
    )
    model.fit(x, y, batch_size=3, verbose=0, callbacks=[evaluation])
    assert "eval/missing_versions" not in dict(wandb.run.summary)
    assert model.predict(x[:1], verbose=0)["boxes"].shape == before["boxes"].shape


# --- How often it is compiled -----------------------------------------------------


@pytest.mark.skipif(ON_TORCH, reason="nothing is traced")
@pytest.mark.parametrize("one_pass", [True, False])
@pytest.mark.parametrize("renewed", [True, False])
def test_a_loop_of_fits_compiles_once(one_pass, renewed):
    model = classifier()
    evaluation = evaluation_of(one_pass=one_pass)
    traces = []
    for _ in range(3):
        fit(model, evaluation)
        traces.append(Traced.traces)
        if renewed:
            evaluation = evaluation_of(one_pass=one_pass)
    assert traces[1] == traces[2] == traces[0]
    evaluation.evaluate(model)
    evaluation.evaluate(model)
    assert Traced.traces == traces[2]
    compile_it(model)
    fit(model, evaluation)
    assert Traced.traces > traces[2]


def test_what_compile_resets_is_made_anew():
    model, evaluation = classifier(), evaluation_of()
    traced = model.get_layer("traced")
    for factor in (1.0, 3.0, 0.5):
        traced.factor = factor
        compile_it(model)
        numbers = evaluation.evaluate(model)
        assert numbers["eval/log_loss"] == pytest.approx(log_loss(model), rel=1e-5)
    for factor in (2.0, 0.25):
        traced.factor = factor
        compile_it(model)
        logs = fit(model, evaluation).history
        assert logs["eval/log_loss"] == [pytest.approx(log_loss(model), rel=1e-5)]
        assert logs["val_loss"] == [pytest.approx(log_loss(model), rel=1e-5)]


def test_layers_that_are_frozen_and_thawed():
    model, evaluation = classifier(), evaluation_of()
    for trainable in (True, False, True):
        model.get_layer("head").trainable = trainable
        compile_it(model)
        logs = fit(model, evaluation).history
        assert logs["eval/log_loss"] == [pytest.approx(log_loss(model), rel=1e-5)]
        model.get_layer("norm").trainable = not trainable
        numbers = evaluation.evaluate(model)
        assert numbers["eval/log_loss"] == pytest.approx(log_loss(model), rel=1e-5)


def test_weights_that_are_exchanged():
    model, evaluation = classifier(), evaluation_of()
    evaluation.evaluate(model)
    model.quantize("int8")
    numbers = evaluation.evaluate(model)
    assert numbers["eval/log_loss"] == pytest.approx(log_loss(model), rel=1e-5)


class MakesItsOwn(keras.Model):
    made = 0

    def make_predict_function(self, *args, **kwargs):
        if self.predict_function is None:
            self.made += 1
        return super().make_predict_function(*args, **kwargs)


@pytest.mark.skipif(ON_TORCH, reason="nothing is traced")
def test_a_predict_function_of_the_models_own():
    inputs = keras.Input((4, 4, 1))
    model = MakesItsOwn(inputs, dense()(keras.layers.Flatten()(inputs)))
    compile_it(model)
    evaluation = evaluation_of()
    for _ in range(2):
        numbers = evaluation.evaluate(model)
    assert model.predict_function is None
    assert model.made <= 1  # On JAX it is compiled without.
    assert numbers["eval/log_loss"] == pytest.approx(log_loss(model), rel=1e-5)


def test_the_model_is_not_kept_alive():
    def trained():
        model, evaluation = classifier(), evaluation_of()
        fit(model, evaluation)
        evaluation.evaluate(model)
        assert model in step_functions._KEPT
        return weakref.ref(model)

    reference = trained()
    gc.collect()
    assert reference() is None


# --- Models that were never compiled ----------------------------------------------


def bare(model):
    """A model as it is before `compile` and `fit`."""
    assert not hasattr(model, "stop_training")
    assert not model.compiled
    return model


def test_a_loop_through_the_callback_list():
    model = bare(classifier(compiled=False))
    evaluation = evaluation_of(every_n_batches=2)
    seen = []

    class Looks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(logs["eval/log_loss"])

    callbacks = keras.callbacks.CallbackList([evaluation, Looks()], model=model)
    callbacks.on_train_begin()
    for epoch in range(2):
        callbacks.on_epoch_begin(epoch)
        for batch in range(3):
            callbacks.on_train_batch_begin(batch)
            callbacks.on_train_batch_end(batch)
        callbacks.on_test_begin()
        callbacks.on_test_end()
        callbacks.on_epoch_end(epoch, {})
    callbacks.on_train_end()
    assert seen == pytest.approx(2 * [log_loss(model)], rel=1e-5)
    bare(model)


def test_a_model_that_is_loaded_without_compile(tmp_path):
    keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), dense()]).save(
        tmp_path / "model.keras"
    )
    model = bare(keras.models.load_model(tmp_path / "model.keras", compile=False))
    numbers = evaluation_of(monitor="eval/log_loss").evaluate(model)
    assert numbers["eval/log_loss"] == pytest.approx(log_loss(model), rel=1e-5)
    bare(model)


def dense():
    return keras.layers.Dense(3, "softmax")


class Whole(keras.Model):
    """Trains a classifier as a part of itself."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def call(self, x):
        return self.part(x)


class OfPart(WandbClassificationEvalCallback):
    def set_model(self, model):
        super().set_model(model.part)


@pytest.mark.parametrize("every_n_batches", [None, 2])
def test_a_part_of_the_model_that_is_trained(every_n_batches):
    model = Whole(bare(classifier(compiled=False)))
    compile_it(model)
    evaluation = OfPart(
        (X, Y), num_samples=6, every_n_batches=every_n_batches, on_error="raise"
    )
    seen = []

    class Looks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(log_loss(self.model.part))

    logs = fit(model, evaluation, Looks(), epochs=2).history
    assert logs["eval/log_loss"] == pytest.approx(seen, rel=1e-5)


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_epoch_end"])
def test_a_loop_that_does_not_begin(hook):
    evaluation = evaluation_of()
    callbacks = keras.callbacks.CallbackList(
        [evaluation], model=classifier(compiled=False)
    )
    with pytest.raises(RuntimeError, match=r"call `callbacks.on_train_begin\(\)` once"):
        getattr(callbacks, hook)(0)


def test_a_loop_without_a_model():
    callbacks = keras.callbacks.CallbackList([evaluation_of()])
    with pytest.raises(RuntimeError, match=r"call `callback.set_model\(model\)`"):
        callbacks.on_train_begin()


def test_a_model_is_pickled_and_saved_after_fit(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), dense()])
    compile_it(model)
    fit(model, evaluation_of())
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    expected = model.predict(X, verbose=0)
    for other in (loaded, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_allclose(other.predict(X, verbose=0), expected, rtol=1e-6)
        evaluation_of().evaluate(other)
