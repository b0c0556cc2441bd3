"""Whether outputs are logits: what real models and their losses tell."""

import functools

import keras
import numpy as np
import pytest
from keras import layers, losses, ops

from wandb_eval.engine import check_from_logits, infer_from_logits
from wandb_eval.engine.kit.logits import (
    check_probabilities,
    look_like_probabilities,
    resolve_from_logits,
)

X = np.random.default_rng(0).random((4, 8, 8, 3)).astype("float32")


def graph(*behind, activation=None):
    """A model of a convolution, and what comes behind it."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 1, activation=activation)(inputs)
    for function in behind:
        x = function(x)
    return keras.Model(inputs, x)


def several(activations=("softmax", None)):
    inputs = keras.Input((4,))
    names = [f"head_{i}" for i in range(len(activations))]
    heads = [
        layers.Dense(3, activation=activation, name=name)(inputs)
        for name, activation in zip(names, activations, strict=True)
    ]
    return keras.Model(inputs, heads)


# --- The loss -----------------------------------------------------------------------


def focal(y_true, y_pred, from_logits=True):
    return losses.binary_focal_crossentropy(y_true, y_pred, from_logits=from_logits)


def own_crossentropy(y_true, y_pred):
    return losses.categorical_crossentropy(y_true, y_pred, from_logits=True)


class OwnLoss(losses.Loss):
    from_logits = True

    def call(self, y_true, y_pred):
        return own_crossentropy(y_true, y_pred)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (losses.SparseCategoricalCrossentropy(from_logits=True), True),
        (losses.SparseCategoricalCrossentropy(), False),
        (losses.CategoricalCrossentropy(from_logits=True), True),
        (losses.BinaryCrossentropy(from_logits=True), True),
        (losses.BinaryFocalCrossentropy(), False),
        (losses.CategoricalFocalCrossentropy(from_logits=True), True),
        (OwnLoss(), True),
        ("binary_crossentropy", False),
        ("sparse_categorical_crossentropy", False),
        ("CategoricalCrossentropy", False),
        (losses.categorical_crossentropy, False),
        (functools.partial(losses.binary_crossentropy, from_logits=True), True),
        (focal, True),
    ],
)
def test_the_compiled_loss_tells_it(loss, expected):
    for activation in (None, "relu"):
        model = graph(activation=activation)
        model.compile(loss=loss)
        assert infer_from_logits(model) is expected
    model = graph(activation="softmax")  # These are probabilities, whatever it says.
    model.compile(loss=loss)
    assert infer_from_logits(model) is False


@pytest.mark.parametrize("loss", [None, "mse", losses.Dice(), own_crossentropy])
def test_a_loss_that_does_not_tell_it_leaves_it_to_the_activation(loss):
    for activation, expected in (("softmax", False), (None, True), ("relu", None)):
        model = graph(activation=activation)
        model.compile(loss=loss)
        assert infer_from_logits(model) is expected


LOGITS = losses.CategoricalCrossentropy(from_logits=True)


@pytest.mark.parametrize(
    "loss",
    [
        ["categorical_crossentropy", LOGITS],
        {"head_0": "categorical_crossentropy", "head_1": LOGITS},
        {"head_1": LOGITS, "head_0": "categorical_crossentropy"},
    ],
)
def test_of_several_losses_it_is_that_of_the_output(loss):
    model = several(("relu", "relu"))
    model.compile(loss=loss)
    model.fit(np.ones((2, 4)), [np.eye(3)[:2]] * 2, verbose=0)
    for key, expected in ((0, False), ("head_0", False), (1, True), (-1, True)):
        assert infer_from_logits(model, key) is expected
    assert infer_from_logits(model, "head_1") is True
    assert infer_from_logits(model) is None


def test_an_output_without_a_loss_has_its_activation():
    model = several(("softmax", None))
    model.compile(loss={"head_1": LOGITS})
    assert infer_from_logits(model, "head_0") is False
    assert infer_from_logits(model, "head_1") is True


def test_a_loss_that_there_is_not():
    model = graph()
    model.loss = "no_such_loss"
    assert infer_from_logits(model) is True


# --- The activation -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (graph, True),
        (lambda: graph(activation="softmax"), False),
        (lambda: graph(activation="sigmoid"), False),
        (lambda: graph(activation=layers.Softmax()), False),
        (lambda: graph(activation="log_softmax"), True),
        (lambda: graph(activation="relu"), None),
        (lambda: graph(activation=lambda x: x / 10), None),
        (lambda: graph(layers.Softmax()), False),
        (lambda: graph(layers.Activation("sigmoid")), False),
        (lambda: graph(layers.Activation("linear", dtype="float32")), True),
        (lambda: graph(ops.sigmoid), False),
        (lambda: graph(lambda x: ops.softmax(x, axis=-1)), False),
        (lambda: graph(keras.activations.softmax), False),
        (lambda: graph(lambda x: x / 10), None),
        (lambda: graph(layers.BatchNormalization()), None),
        # Resized and reshaped outputs are what they were.
        (lambda: graph(layers.Softmax(), layers.UpSampling2D(2)), False),
        (lambda: graph(layers.Resizing(16, 16)), True),
        (lambda: graph(layers.Softmax(), layers.Reshape((64, 3))), False),
        (lambda: graph(layers.GlobalAveragePooling2D()), True),
        (lambda: graph(ops.softmax, lambda x: ops.cast(x, "float32")), False),
        (lambda: graph(layers.Reshape((64, 3)), layers.Softmax()), False),
        # Models in models.
        (lambda: graph(keras.Sequential([layers.Softmax()])), False),
        (lambda: graph(keras.Sequential([layers.UpSampling2D(2)])), True),
        (lambda: graph(graph(activation="softmax")), False),
        (
            lambda: graph(graph(graph(activation="softmax")), layers.Resizing(4, 4)),
            False,
        ),
        (lambda: keras.Sequential([graph(), layers.Softmax()]), False),
        (lambda: keras.Sequential([layers.Flatten(), layers.Dense(3)]), True),
        (lambda: keras.Sequential([graph(activation="sigmoid")]), False),
        (
            lambda: keras.Sequential(
                [layers.TimeDistributed(layers.Dense(3, activation="softmax"))]
            ),
            False,
        ),
    ],
)
def test_the_activation_of_the_output_tells_it(model, expected):
    model = model()
    model.compile(loss=losses.MeanSquaredError())
    outputs = model.predict(X, verbose=0)
    assert infer_from_logits(model) is expected
    if expected is False:  # It is so.
        assert look_like_probabilities(outputs, one_class=False)


def test_an_output_of_a_model_within_a_model():
    inputs = keras.Input((4,))
    first, second = several(("softmax", None))(inputs)
    assert infer_from_logits(keras.Model(inputs, first)) is False
    assert infer_from_logits(keras.Model(inputs, second)) is True
    both = keras.Model(inputs, {"a": second, "b": first})
    assert infer_from_logits(both, "a") is True
    assert infer_from_logits(both, "b") is False


class Own(keras.Model):
    """The layer that comes last here does not make the output."""

    def __init__(self):
        super().__init__()
        self.softmax = layers.Softmax()
        self.dense = layers.Dense(3)

    def call(self, x):
        return self.softmax(self.dense(x))


def test_a_call_of_its_own_is_not_looked_into():
    model = Own()
    outputs = model.predict(X, verbose=0)
    assert infer_from_logits(model) is None
    assert look_like_probabilities(outputs)
    model.compile(loss=LOGITS)
    assert infer_from_logits(model) is True
    assert infer_from_logits(keras.Sequential([Own()])) is None
    inputs = keras.Input((4,))
    assert infer_from_logits(keras.Model(inputs, Own()(inputs))) is None


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_a_classifier_of_kerashub(activation):
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(16, 16, 3),
    )
    model = keras_hub.models.ImageClassifier(
        backbone=backbone, num_classes=3, activation=activation
    )
    assert infer_from_logits(model) is (activation is None)


# --- The outputs --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "one_class", "expected"),
    [
        ([[0.2, 0.8], [0.5, 0.5]], True, True),
        ([[0.2, 0.8], [0.5, 0.6]], True, False),
        ([[0.2, 0.8], [0.5, 0.6]], False, True),
        ([[0.9], [0.1]], True, True),
        ([0.9, 0.1], True, True),
        ([0.9, 1.1], True, False),
        ([-0.1, 0.5], False, False),
        ([[np.nan, 0.5], [0.25, 0.75]], True, True),
        ([[np.nan, np.nan]], True, False),
        ([0.0, 0.0], True, False),
        ([[[[0.25, 0.75]]]], True, True),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_probabilities_are_within_0_and_1_with_sums_of_1(
    outputs, one_class, expected, dtype
):
    assert look_like_probabilities(np.array(outputs, dtype), one_class) is expected


# --- The argument -------------------------------------------------------------------


@pytest.mark.parametrize("value", [True, False, "auto", np.bool_(True)])
def test_what_from_logits_may_be(value):
    assert check_from_logits(value) == value
    assert type(check_from_logits(value)) in (bool, str)


@pytest.mark.parametrize("value", [None, 0, 1, "yes", "Auto", [], np.zeros(2)])
def test_what_from_logits_may_not_be(value):
    with pytest.raises(ValueError, match="must be True, False or 'auto'"):
        check_from_logits(value)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (np.array([[900.0, -900.0]]), r"-900 to 900\."),
        (np.array([[0.0, 1.5]]), r"0 to 1.5\."),
        (np.array([[-0.1, 0.5]]), r"-0.1 to 0.5\."),
        (np.array([[np.nan, 0.5], [0.0, 2.0]]), r"0 to 2\."),
    ],
)
def test_what_are_no_probabilities(outputs, message):
    with pytest.raises(ValueError, match=f"not probabilities.*{message}") as error:
        check_probabilities(outputs)
    assert "`from_logits=True`" in str(error.value)


@pytest.mark.parametrize(
    "outputs",
    [
        np.array([[1.0005, -0.0005]]),
        np.full((2, 3), np.nan),
        np.array([[np.nan, 0.5], [0.5, 0.5]]),
        np.zeros((0, 3)),
        np.array([[[0.0, 1.0]]]),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_what_are_probabilities(outputs):
    check_probabilities(outputs)


def test_a_linear_layer_among_several_outputs_is_not_warned_of(warned):
    inputs = keras.Input((4,))
    outputs = {
        "a": keras.layers.Dense(1, name="a")(inputs),
        "b": keras.layers.Dense(3, "softmax", name="b")(inputs),
    }
    model = keras.Model(inputs, outputs)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile("sgd", {"a": loss, "b": "sparse_categorical_crossentropy"})
    low = np.full((3, 1), 0.3)
    options = {"one_class": True, "output_key": "a"}
    assert resolve_from_logits(model, "auto", low, **options)
    assert warned == []
