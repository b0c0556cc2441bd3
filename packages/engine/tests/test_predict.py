"""Batches of any size, predicted by such of one size."""

import keras
import numpy as np
import pytest

from wandb_eval.engine.evaluation.predict import Predictor

X = np.random.default_rng(0).random((10, 3)).astype("float32")


class Counting(keras.layers.Layer):
    """Adds how often it was called: a state that predicting changes."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, x):
        self.calls.assign_add(1.0)
        return self.scale * x + self.calls


class Subclassed(keras.Model):
    """Has no inputs that are known before it is called."""

    def __init__(self):
        super().__init__()
        self.layer = Counting()

    def call(self, x):
        return self.layer(x)


def sequential():
    return keras.Sequential([keras.Input((3,)), Counting()])


@pytest.mark.parametrize("make", [sequential, Subclassed])
@pytest.mark.parametrize("run_eagerly", [False, True])
def test_what_predicting_changes_is_changed_and_weights_are_the_newest(
    make, run_eagerly
):
    model, other = make(), make()
    for each in (model, other):
        each.compile("sgd", "mse", run_eagerly=run_eagerly)
    predictor = Predictor(model, [(X[0], 4)], 4, preprocesses=False)
    for x in (X[:4], X[4:8], X[:4]):
        expected = other.predict_on_batch(x)
        np.testing.assert_array_equal(np.asarray(predictor(x)), expected)
    model.layers[-1].scale.assign(2.0)
    calls = float(keras.ops.convert_to_numpy(model.layers[-1].calls))
    np.testing.assert_allclose(
        np.asarray(predictor(X[:4])), 2 * X[:4] + calls + 1, rtol=1e-6
    )


def test_a_part_is_filled_up_and_a_large_batch_is_cut():
    layer = keras.layers.Dense(2)
    model = keras.Sequential([keras.Input((3,), batch_size=4), layer])
    predictor = Predictor(model, [(X[0], 4)], 4, preprocesses=False)
    kernel, bias = layer.get_weights()
    for size in (1, 3, 4, 7, 10):
        outputs = np.asarray(predictor(X[:size]))
        np.testing.assert_allclose(outputs, X[:size] @ kernel + bias, rtol=1e-5)
