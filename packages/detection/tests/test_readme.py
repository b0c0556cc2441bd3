"""The code in the README runs unchanged."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import wandb
from keras import ops

from wandb_eval.detection import WandbDetectionEvalCallback

README = (Path(__file__).parents[1] / "README.md").read_text()


def code(beginning):
    """The names that a block of code defines when it runs unchanged."""
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    [block] = [block for block in blocks if beginning in block]
    names = {"np": np}
    exec(block, names)
    return names


def test_the_use_without_the_callback(capsys):
    names = code("DetectionMetrics(")
    assert names["drawn"].shape == (256, 384, 3)
    assert names["sheet"].shape == (32 + 512, 1152, 3)
    assert capsys.readouterr().out.startswith("1.0 0.8 [[1 0 0]")


class Raw(keras.Model):
    """Returns a box over the upper left quarter, and logits for two classes."""

    def __init__(self):
        super().__init__()
        self.bias = self.add_weight(shape=(1, 1, 2), initializer="zeros", name="bias")

    def call(self, x):
        count = ops.shape(x)[0]
        boxes = ops.tile(ops.array([[[0.0, 0.0, 8.0, 8.0]]]), (count, 1, 1))
        return boxes, ops.tile(self.bias, (count, 1, 1))

    def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
        return ops.mean(ops.square(y_pred[1] - 1))


def test_decoding_and_more_columns(loopback):
    x = np.zeros((2, 16, 16, 3), np.uint8)
    boxes = np.tile([0.0, 0.0, 8.0, 8.0], (2, 12, 1))
    y = {"boxes": boxes, "labels": np.array([[0] * 12, [0] + [-1] * 11])}
    callback_class = code("MarksCrowdedImages")["MarksCrowdedImages"]
    assert issubclass(callback_class, WandbDetectionEvalCallback)
    model = Raw()
    model.compile("sgd")
    with wandb.init(mode="offline"):
        evaluation = callback_class(
            (x, y),
            ["cat", "dog"],
            decode_fn=code("def decode")["decode"],
            on_error="raise",
        )
        model.fit(x, np.zeros(2), verbose=0, callbacks=[evaluation])
    assert evaluation.pred_table.columns[-1] == "crowded"
    assert [row[-1] for row in evaluation.pred_table.data] == [True, False]
    assert [row[6] for row in evaluation.pred_table.data] == [1, 1]


@pytest.mark.parametrize("in_fit", [False, True])
def test_outputs_in_a_list(loopback, in_fit):
    """Keras keeps the list that a functional model is made with."""
    count = 20  # More than a batch.
    x = np.zeros((count, 16, 16, 3), np.uint8)
    y = {"boxes": np.tile([0.0, 0.0, 8.0, 8.0], (count, 1, 1))}
    y["labels"] = np.zeros((count, 1), int)
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, list(Raw()(inputs)))
    model.compile("sgd", loss=["mse", "mse"])
    targets = [np.zeros((count, 1, 4)), np.zeros((count, 1, 2))]
    data = {"validation_data": (x, targets)} if in_fit else {}
    with wandb.init(mode="offline"):
        evaluation = WandbDetectionEvalCallback(
            (x, y),
            ["cat", "dog"],
            decode_fn=code("def decode")["decode"],
            on_error="raise",
        )
        model.fit(x, targets, epochs=2, verbose=0, callbacks=[evaluation], **data)
    assert evaluation.history["eval/recall"] == [1.0, 1.0]


def parameters(callback_class):
    """The arguments that only this callback has; the engine has those of all tasks."""
    import inspect

    signature = inspect.signature(callback_class.__init__)
    for name, parameter in signature.parameters.items():
        if parameter.kind is not parameter.VAR_KEYWORD:
            yield name


def test_every_argument_is_in_the_readme():
    [table] = re.findall(r"## Arguments\n(.*?)\n## ", README, flags=re.DOTALL)
    documented = set(re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE))
    made_here = {"self", "data_table_columns", "pred_table_columns"}
    assert documented == set(parameters(WandbDetectionEvalCallback)) - made_here


@pytest.mark.parametrize(
    "name", ["precision", "per_class", "left_out", "AP_small", "best_f1"]
)
def test_keys_are_in_the_readme(name):
    assert f"eval/{name}" in README
