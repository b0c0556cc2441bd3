"""What the scripts of this folder share: data, a model, training with the callback."""

import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import wandb

from wandb_eval.classification import WandbClassificationEvalCallback
from wandb_eval.engine.evaluation.predict import Predictor

X = np.random.default_rng(0).integers(0, 256, (32, 6, 6, 3), dtype=np.uint8)
Y = X.mean((1, 2)).argmax(-1)
NAMES = ["red", "green", "blue"]
EPOCHS = 2


def new_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def new_callback(**options: Any) -> WandbClassificationEvalCallback:
    return WandbClassificationEvalCallback(
        (X, Y), NAMES, num_samples=9, batch_size=6, **options
    )


def start_run(is_first: bool, other: str) -> None:
    """Starts the run that this process has.

    Args:
        is_first: Whether this is the process that logs.
        other: What another process has: `none` or `disabled`.
    """
    if is_first:
        wandb.init()
    elif other == "disabled":
        wandb.init(mode="disabled")


def count_predictions() -> list[int]:
    """Returns a list to which the size of each batch is added that is predicted."""
    sizes: list[int] = []
    predict = Predictor.__call__

    def counted(self: Predictor, x: np.ndarray) -> object:
        sizes.append(len(x))
        return predict(self, x)

    type.__setattr__(Predictor, "__call__", counted)
    return sizes


def fit(
    model: keras.Model,
    x: np.ndarray,
    y: np.ndarray,
    *,
    batch_size: int,
    validation_data: tuple[np.ndarray, np.ndarray] | None = None,
    **options: Any,
) -> dict[str, list[float]]:
    """Trains with the callback, and returns the history of `fit`.

    Args:
        model: The model.
        x: The inputs.
        y: The labels.
        batch_size: The size of batches.
        validation_data: The data that `fit` validates on.
        **options: Further arguments of the callback.
    """
    history = model.fit(
        x,
        y,
        batch_size=batch_size,
        epochs=EPOCHS,
        verbose=0,
        validation_data=validation_data,
        validation_batch_size=8,  # Not that of the callback.
        callbacks=[new_callback(**options)],
    )
    return dict(history.history)


def planted(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Returns 320 images and labels, of which the model has the dark ones wrong."""
    x = np.random.default_rng(1).integers(60, 256, (320, 6, 6, 3), dtype=np.uint8)
    x[::10] //= 3
    kernel, bias = map(np.asarray, model.get_weights())
    y = (x.reshape(len(x), -1) / 255 @ kernel + bias).argmax(-1)
    y[::10] = (y[::10] + 1) % 3
    return x, y


def find_weak_slices(model: keras.Model) -> list[str]:
    """Evaluates the model, with a callback of its own; the weak slices in words."""
    callback = WandbClassificationEvalCallback(
        planted(model), NAMES, num_samples=9, batch_size=64, name="planted"
    )
    callback.evaluate(model)
    return [one.text for one in callback.weak_slices]


def train(
    model: keras.Model, train_epoch: Callable[[], None], **options: Any
) -> dict[str, list[float]]:
    """Trains with a loop of one's own, which calls the callback as `fit` would.

    Args:
        model: The model.
        train_epoch: Trains it for an epoch.
        **options: Further arguments of the callback.

    Returns:
        The numbers that the callback has measured.
    """
    callback = new_callback(**options)
    callbacks = keras.callbacks.CallbackList(
        [callback], model=model, epochs=EPOCHS, verbose=0
    )
    callbacks.on_train_begin()
    for epoch in range(EPOCHS):
        callbacks.on_epoch_begin(epoch)
        train_epoch()
        callbacks.on_epoch_end(epoch)
    callbacks.on_train_end()
    return callback.history


def report(model: keras.Model, **more: Any) -> None:
    """Prints the run that this process has, the model's weights, and more."""
    run = wandb.run.id if wandb.run else None
    weights = [np.asarray(weight).tolist() for weight in model.get_weights()]
    print(json.dumps({"run": run, "weights": weights, **more}), flush=True)
