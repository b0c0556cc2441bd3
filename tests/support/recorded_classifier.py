"""A small classifier, and a callback that records the values that it logs."""

import functools

import keras
import numpy as np

import small_model
from wandb_eval.classification import WandbClassificationEvalCallback

N, SHAPE = 30, (6, 5, 1)
X = np.random.default_rng(0).integers(0, 256, (N, *SHAPE), dtype=np.uint8)


def rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.data]


def labels(classes=3):
    return np.arange(N) % classes


class Evaluation(WandbClassificationEvalCallback):
    """The callback and the values that it logs."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, on_error="raise", **kwargs)
        self.truth, self.versions, self.measured = [], [], []

    def log_data_table(self, *args, **kwargs):
        super().log_data_table(*args, **kwargs)
        self.truth.append(rows(self.data_table))

    def log_pred_table(self, *args, **kwargs):
        super().log_pred_table(*args, **kwargs)
        self.versions.append((rows(self.pred_table), kwargs))

    def log_metrics(self, metrics, epoch):
        super().log_metrics(metrics, epoch)
        if f"{self.prefix}/predictions" not in metrics:
            self.measured.append((epoch, metrics))

    @property
    def epochs(self):
        epochs = [version["metadata"]["epoch"] for _, version in self.versions]
        assert epochs == [epoch for epoch, _ in self.measured]
        return epochs


def classifier(units=3, activation="softmax", loss="sparse_categorical_crossentropy"):
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(units, activation),
        ]
    )
    model.compile("sgd", loss)
    return model


@functools.cache
def shared_classifier():
    """The model of most tests, compiled once, and its initial weights."""
    model = classifier()
    return model, model.get_weights()


def fit(*callbacks, model=None, y=None, x=X, epochs=1, **options):
    if model is None:
        model, weights = shared_classifier()
        model.set_weights(weights)
    y = labels() if y is None else y
    options = {"epochs": epochs, "batch_size": 15, "verbose": 0, **options}
    with small_model.renewed_after_errors(shared_classifier):
        model.fit(x, y, callbacks=list(callbacks), **options)
    return model
