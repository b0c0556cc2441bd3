"""The code in the README runs unchanged."""

import inspect
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import wandb

from wandb_eval.segmentation import WandbSegmentationEvalCallback

README = (Path(__file__).parents[1] / "README.md").read_text()


def code(beginning):
    """The names that a block of code defines when it runs unchanged."""
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    [block] = [block for block in blocks if beginning in block]
    names = {}
    exec(block, names)
    return names


def test_the_use_without_the_callback(capsys):
    names = code("SegmentationMetrics(names")
    assert names["drawn"].shape == names["wrong"].shape == (256, 384, 3)
    # 40 rows of 5 pixels are wrong on each side.
    right = 1 - 2 * 200 / (64 * 96)
    assert capsys.readouterr().out.startswith(f"{right} [[3944  200]")


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
def test_more_columns(loopback):
    x, y = np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 4, 4), int)
    y[1, 2:] = 1
    model = keras.Sequential(
        [keras.layers.Conv2D(2, 1, kernel_initializer="zeros", trainable=False)]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with wandb.init(mode="offline"):
        callback_class = code("NamesMissedClasses")["NamesMissedClasses"]
        evaluation = callback_class((x, y), [*"ab"], on_error="raise")
        model.fit(x, y, verbose=0, callbacks=[evaluation])
    assert evaluation.pred_table.columns[-1] == "missed"
    assert [row[-1] for row in evaluation.pred_table.data] == ["", "b"]


def parameters(callback_class):
    """The arguments that only this callback has; the engine has those of all tasks."""
    signature = inspect.signature(callback_class.__init__)
    for name, parameter in signature.parameters.items():
        if parameter.kind is not parameter.VAR_KEYWORD:
            yield name


def test_every_argument_is_in_the_readme():
    [table] = re.findall(r"## Arguments\n(.*?)\n## ", README, flags=re.DOTALL)
    documented = set(re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE))
    made_here = {"self", "data_table_columns", "pred_table_columns"}
    assert documented == set(parameters(WandbSegmentationEvalCallback)) - made_here


def test_defaults_in_the_readme():
    signature = inspect.signature(WandbSegmentationEvalCallback.__init__)
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", README, flags=re.MULTILINE)
    for name, default in rows:
        if name in signature.parameters:
            assert repr(signature.parameters[name].default).replace("'", '"') == default


def test_columns_are_in_the_readme(loopback):
    data = np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 4))
    with wandb.init(mode="offline"):
        evaluation = WandbSegmentationEvalCallback(data)
    for column in evaluation.data_table_columns + evaluation.pred_table_columns:
        assert f"`{column}`" in README
