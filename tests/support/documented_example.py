"""The examples of W&B's documentation, word for word, for any base class."""

from typing import Any

import keras
import wandb

KOREAN_CLASS = """
class WandbClfEvalCallback(WandbEvalCallback):
    def __init__(self, validation_data, data_table_columns, pred_table_columns):
        super().__init__(data_table_columns, pred_table_columns)

        self.x = validation_data[0]
        self.y = validation_data[1]

    def add_ground_truth(self):
        for idx, (image, label) in enumerate(zip(self.x, self.y)):
            self.data_table.add_data(idx, wandb.Image(image), label)

    def add_model_predictions(self, epoch):
        preds = self.model.predict(self.x, verbose=0)
        preds = tf.argmax(preds, axis=-1)

        data_table_ref = self.data_table_ref
        table_idxs = data_table_ref.get_index()

        for idx in table_idxs:
            pred = preds[idx]
            self.pred_table.add_data(
                epoch,
                data_table_ref.data[idx][0],
                data_table_ref.data[idx][1],
                data_table_ref.data[idx][2],
                pred,
            )
"""

ENGLISH_CLASS = KOREAN_CLASS.replace(
    "def add_ground_truth(self):", "def add_ground_truth(self, logs=None):"
).replace(
    "def add_model_predictions(self, epoch):",
    "def add_model_predictions(self, epoch, logs=None):",
)

_FIT = """
model.fit(
    x,
    y,
    epochs=2,
    validation_data=(x, y),
    callbacks=[
        WandbClfEvalCallback(
            validation_data=(x, y),
            data_table_columns=["idx", "image", "label"],
            pred_table_columns=["epoch", "idx", "image", "label", "pred"],
        )
    ],
)
"""


class _ArgmaxOnly:
    """`tf`, as far as the example uses it, on the backend that is there."""

    argmax = staticmethod(keras.ops.argmax)


def documented_class(base: type, text: str = KOREAN_CLASS) -> Any:
    """Runs the definition of the example's class.

    Args:
        base: The base class, which the example imports as `WandbEvalCallback`.
        text: `KOREAN_CLASS` or `ENGLISH_CLASS`, whose methods take `logs`.

    Returns:
        The class.
    """
    tf: Any = _ArgmaxOnly
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf
    names = {"wandb": wandb, "WandbEvalCallback": base, "tf": tf}
    exec(text, names)
    return names["WandbClfEvalCallback"]


def run_example(base: type, text: str, model: Any, x: Any, y: Any) -> None:
    """Runs the example: the class, and a training of two epochs with it."""
    example = documented_class(base, text)
    names = {"WandbClfEvalCallback": example, "model": model, "x": x, "y": y}
    exec(_FIT, names)
