"""One row of the part `fit`: trainings with and without a callback, in turn.

It has a separate process and backend of Keras, and prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import wandb
from cases import NUM_CLASSES, mobile_net, photographs, truth, u_net

from loopback.environment import wandb_environment
from wandb_eval.classification import WandbClassificationEvalCallback
from wandb_eval.detection import WandbDetectionEvalCallback
from wandb_eval.segmentation import WandbSegmentationEvalCallback

BATCH_SIZE = 32
_QUERIES = 100

_CALLBACKS: dict[str, Any] = {
    "classification": WandbClassificationEvalCallback,
    "detection": WandbDetectionEvalCallback,
    "segmentation": WandbSegmentationEvalCallback,
}


def small_network(images: Any, channels: int) -> Any:
    """The outputs of two convolutions, of shape `(batch, channels)`."""
    layers = keras.layers
    x = layers.Rescaling(1 / 255)(images)
    for filters in (16, 32):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    return layers.Dense(channels)(layers.Flatten()(x))


def query_network(images: Any, channels: int) -> Any:
    """A hundred boxes as logits, of shape `(batch, 100, 4 + channels)`."""
    x = mobile_net(images, _QUERIES * (4 + channels))
    return keras.layers.Reshape((_QUERIES, 4 + channels))(x)


class Detector(keras.Model):  # type: ignore[misc]
    """A model with a simple loss for a dictionary of boxes."""

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The mean error of the boxes."""
        size = self.input_shape[1]
        boxes = keras.ops.sigmoid(y_pred[:, : y["boxes"].shape[1], :4])
        return keras.ops.mean(keras.ops.abs(boxes - y["boxes"] / size))


@dataclass(frozen=True)
class Row:
    """The training of a row.

    Attributes:
        task: One of `cases.TASKS`.
        backend: The backend of Keras.
        images: The number of images in the validation data.
        size: The height and width of the images.
        network: The function that makes the outputs, as logits.
        as_dataset: Whether the validation data is a `tf.data.Dataset`.
        most: The most that the callback may add, as a share of the validation.
    """

    task: str
    backend: str
    images: int
    size: int
    network: Callable[[Any, int], Any]
    as_dataset: bool
    most: float


ROWS = {
    "classification, 32x32, arrays": Row(
        "classification", "tensorflow", 10_000, 32, small_network, False, 0.1
    ),
    "classification, 32x32, tf.data": Row(
        "classification", "tensorflow", 10_000, 32, small_network, True, 0.1
    ),
    "classification, 32x32, arrays, JAX": Row(
        "classification", "jax", 10_000, 32, small_network, False, 0.1
    ),
    "classification, 32x32, tf.data, JAX": Row(
        "classification", "jax", 10_000, 32, small_network, True, 0.1
    ),
    "classification, MobileNetV2, 224x224": Row(
        "classification", "tensorflow", 256, 224, mobile_net, False, 0.05
    ),
    "segmentation, U-Net, 224x224": Row(
        "segmentation", "tensorflow", 96, 224, u_net, False, 0.05
    ),
    "detection, decode_fn, 224x224": Row(
        "detection", "tensorflow", 256, 224, query_network, False, 0.05
    ),
}


def backends() -> dict[str, str]:
    """The backend of Keras of each row."""
    return {name: row.backend for name, row in ROWS.items()}


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Records the times of its hooks, once before our callback, once after it.

    Here, a validation and a prediction end with their last batch: after their hooks,
    TensorFlow sometimes waits for a thread that tunes `tf.data`, until the thread wakes
    up by itself: 0.63, 1.27, 2.55 s and so on after they began. On TensorFlow, a
    validation begins with its first batch, because it may wait for such a thread of the
    validation before.
    """

    def __init__(self) -> None:
        super().__init__()
        if keras.backend.backend() == "tensorflow":  # It would slow down JAX.
            self.on_test_batch_begin = self._first_batch
        names = ("epoch", "test", "tested", "end", "predicted")
        self.times: dict[str, list[float]] = {name: [] for name in names}

    def _note(self, name: str) -> None:
        self.times[name].append(time.perf_counter())

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes it."""
        self._note("epoch")

    def on_test_begin(self, logs: Any = None) -> None:
        """Notes it."""
        self._note("test")

    def _first_batch(self, batch: int, logs: Any = None) -> None:
        if batch == 0:
            self.times["test"][-1] = time.perf_counter()

    def on_test_end(self, logs: Any = None) -> None:
        """Notes it."""
        self._note("tested")

    def on_predict_end(self, logs: Any = None) -> None:
        """Notes it."""
        self._note("predicted")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Notes it."""
        self._note("end")


class Trainings:
    """Trains a model of a row, again and again.

    Args:
        row: The row.
        epochs: The number of epochs of each training.
    """

    def __init__(self, row: Row, epochs: int) -> None:
        self.row = row
        self.epochs = epochs
        keras.utils.set_random_seed(0)
        x = photographs(row.images, row.size)
        y = truth(row.task, row.images, row.size)
        self.data: Any = (x, y)
        # An epoch is one step, so training takes the same time with a callback.
        self._train = x[:8], keras.tree.map_structure(lambda leaf: leaf[:8], y)
        if row.as_dataset:
            import tensorflow as tf

            self.data = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH_SIZE)
            self.inputs: Any = self.data.map(lambda x, y: x)
        else:
            self.inputs = x
        self.model = self._new_model()

    def _new_model(self) -> Any:
        images = keras.Input((self.row.size, self.row.size, 3), dtype="uint8")
        outputs = self.row.network(images, NUM_CLASSES[self.row.task])
        if self.row.task == "detection":
            model = Detector(images, outputs)
            model.compile(optimizer="sgd")
        else:
            model = keras.Model(images, outputs)
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(optimizer="sgd", loss=loss, metrics=["accuracy"])
        return model

    def train(self, side: str, epochs: int | None = None) -> dict[str, list[float]]:
        """Trains once.

        Args:
            side: `"without"` a callback; `"with"` one; or `"alone"`, with one and
                without a validation by `fit`, so that the callback predicts itself.
            epochs: The number of epochs. `None` for that of the constructor.

        Returns:
            The seconds of each `epoch`, of `fit`'s `validation` in it until its last
            batch, and of `hook`, our `on_epoch_end`.
        """
        first, last = Clock(), Clock()
        ours = [] if side == "without" else [self._new_callback()]
        # For a data set, which is already batched, Keras takes no batch size.
        sizes = {} if self.row.as_dataset else {"validation_batch_size": BATCH_SIZE}
        self.model.fit(
            *self._train,
            epochs=epochs or self.epochs,
            verbose=0,
            callbacks=[first, *ours, last],
            **({} if side == "alone" else {"validation_data": self.data, **sizes}),
        )
        begun, validated, ended = first.times["epoch"], first.times["end"], last.times
        spans = {"epoch": (begun, ended["end"]), "hook": (validated, ended["end"])}
        if side != "alone":
            spans["validation"] = (first.times["test"], first.times["tested"])
        return {
            name: [stop - start for start, stop in zip(*span, strict=True)]
            for name, span in spans.items()
        }

    def predict(self) -> float:
        """The seconds that Keras takes to predict the validation data."""
        clock = Clock()
        start = time.perf_counter()
        size = None if self.row.as_dataset else BATCH_SIZE
        self.model.predict(self.inputs, batch_size=size, verbose=0, callbacks=[clock])
        return clock.times["predicted"][0] - start

    def _new_callback(self) -> Any:
        task = self.row.task
        names = [f"class {number}" for number in range(NUM_CLASSES[task])]
        more: dict[str, Any] = {"from_logits": True}
        if task == "detection":
            more = {"decode_fn": self._decode}
        return _CALLBACKS[task](self.data, names, batch_size=BATCH_SIZE, **more)

    def _decode(self, outputs: Any) -> dict[str, Any]:
        """Converts logits to boxes: for each query, the box of its best class."""
        boxes = self.row.size / (1 + np.exp(-outputs[..., :4]))
        low, high = boxes[..., :2], boxes[..., 2:]
        corners = [np.minimum(low, high), np.maximum(low, high) + 1]
        scores = np.exp(outputs[..., 4:])
        scores /= scores.sum(axis=-1, keepdims=True)
        return {
            "boxes": np.concatenate(corners, axis=-1),
            "labels": scores.argmax(axis=-1),
            "scores": scores.max(axis=-1),
        }


def measure_fit(url: str, row: Row, epochs: int, repeats: int) -> dict[str, float]:
    """Measures a row.

    Args:
        url: The address of the loopback backend.
        row: The row.
        epochs: The number of epochs of a training. The first one is left out.
        repeats: The number of trainings of each side, in turn.

    Returns:
        The medians of seconds: the validation of `fit` `without` the callback and
        `with` it, its `hook`, `alone` if it predicts itself, and Keras' `predict`; and
        the additional time of the `first` epoch with it.
    """
    trainings = Trainings(row, epochs)
    sides = ("without", "with", "alone")
    spent: dict[str, list[float]] = {}
    predicting = []
    home = tempfile.mkdtemp()  # `compare.run` deletes it, when all is measured.
    os.environ.update(wandb_environment(url, Path(home)))
    trainings.train("without", epochs=1)  # Traces what all of them use.
    trainings.predict()
    for _ in range(repeats):
        for side in sides:
            with wandb.init():
                seconds = trainings.train(side)
            for name, times in seconds.items():
                spent.setdefault(f"{name} {side}", []).extend(times[1:])
            spent.setdefault(f"first {side}", []).append(seconds["epoch"][0])
        predicting.append(trainings.predict())
    wandb.teardown()
    middle = {name: statistics.median(times) for name, times in spent.items()}
    return {
        "images": row.images,
        "most": row.most,
        "without": middle["validation without"],
        "with": middle["validation with"],
        "hook": middle["hook with"],
        "alone": middle["hook alone"],
        "predict": statistics.median(predicting),
        "first": middle["first with"] - middle["first without"],
    }


def main() -> None:
    """Reads the command line, and prints the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", help="where the loopback backend is")
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="try it, in seconds")
    args = parser.parse_args()
    row, epochs, repeats = ROWS[args.row], args.epochs, args.repeats
    if args.tiny:
        row, epochs, repeats = replace(row, images=48, size=32), 2, 1
    print(json.dumps(measure_fit(args.url, row, epochs, repeats)))


if __name__ == "__main__":
    main()
