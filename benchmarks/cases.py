"""The trainings of the benchmark: data, and models with known predictions."""

from __future__ import annotations

from typing import Any

import cv2
import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

TASKS = ("classification", "detection", "segmentation", "regression", "image_to_image")
BATCH_SIZE = 50
NUM_CLASSES = {"classification": 10, "detection": 20, "segmentation": 21}
_TRUE_BOXES, _PREDICTED_BOXES = 8, 20


def photographs(count: int, size: int) -> NDArray[np.uint8]:
    """Cuts windows out of scikit-learn's two sample photographs.

    Each image has its number in the first two values of its first pixel, so that a
    model can recognize it.

    Args:
        count: The number of windows.
        size: The height and width to which they are scaled, by averaging.

    Returns:
        Array of shape `(count, size, size, 3)`.
    """
    rng = np.random.default_rng(0)
    photos = load_sample_images().images
    images = np.empty((count, size, size, 3), np.uint8)
    for number in range(count):
        photo = photos[number % len(photos)]
        side = int(rng.integers(200, 400))
        top = int(rng.integers(0, photo.shape[0] - side))
        left = int(rng.integers(0, photo.shape[1] - side))
        window = photo[top : top + side, left : left + side]
        cv2.resize(window, (size, size), images[number], 0, 0, cv2.INTER_AREA)
        images[number, 0, 0, :2] = divmod(number, 256)
    return images


def truth(task: str, count: int, size: int) -> Any:
    """The targets of the images, such as labels, boxes in a dictionary, and masks."""
    rng = np.random.default_rng(1)
    if task == "regression":
        return rng.uniform(0, 100, count).astype(np.float32)
    if task == "image_to_image":
        # Upside down: equal pictures would be sent once, as one file.
        return photographs(count, size)[:, ::-1].astype(np.float32) / 255
    classes = NUM_CLASSES[task]
    if task == "classification":
        return rng.integers(0, classes, count)
    if task == "detection":
        shape = (count, _TRUE_BOXES)
        corner = rng.uniform(0.05, 0.6, (*shape, 2)) * size
        extent = rng.uniform(0.1, 0.3, (*shape, 2)) * size
        boxes = np.concatenate([corner, corner + extent], axis=-1)
        labels = rng.integers(0, classes, shape)
        return {"boxes": boxes.astype(np.float32), "labels": labels}
    masks = np.zeros((count, size, size), np.uint8)
    for mask in masks:
        for label in rng.integers(1, classes, 10).tolist():
            center = rng.integers(0, size, 2).tolist()
            axes = rng.integers(size // 20, size // 4, 2).tolist()
            angle = int(rng.integers(0, 180))
            cv2.ellipse(mask, center, axes, angle, 0, 360, label, -1)
    return masks


class Lookup(keras.layers.Layer):
    """Returns stored outputs for each image, by the number in the first pixel.

    Args:
        content: Arrays by name; the first axis is the number of the image.
    """

    def __init__(self, content: dict[str, NDArray[Any]]) -> None:
        super().__init__()
        self.content = {
            name: self.add_weight(
                shape=values.shape,
                dtype=str(values.dtype),
                initializer="zeros",
                trainable=False,
                autocast=False,
                name=name,
            )
            for name, values in content.items()
        }
        self.hold(content)

    def hold(self, content: dict[str, NDArray[Any]]) -> None:
        """Replaces the stored outputs."""
        for name, values in content.items():
            self.content[name].assign(values)

    def call(self, images: Any) -> dict[str, Any]:
        """Looks up a batch."""
        pixels = keras.ops.cast(images[:, 0, 0, :2], "int32")
        number = pixels[:, 0] * 256 + pixels[:, 1]
        return {
            name: keras.ops.take(values, number, axis=0)
            for name, values in self.content.items()
        }


class Untrained(keras.Model):  # type: ignore[misc]
    """A model that learns nothing."""

    def train_step(self, *args: Any) -> dict[str, float]:
        """Does nothing."""
        return {"loss": 0.0}


class Case:
    """A task with validation data, and a model whose predictions are nearly right.

    The predictions are the truth with some noise, which differs in each epoch.

    Args:
        task: One of `TASKS`.
        count: The number of images.
        size: The height and width of the images.
        realistic: Whether predicting takes realistic time: the images go through a
            MobileNetV2, or, for segmentation, through a small U-Net. Otherwise it takes
            almost no time.
    """

    def __init__(
        self, task: str, count: int, size: int, realistic: bool = False
    ) -> None:
        self.task, self.count, self.size = task, count, size
        classes = NUM_CLASSES.get(task, 0)
        self.names = [f"class {number}" for number in range(classes)]
        self.x = photographs(count, size)
        self.y = truth(task, count, size)
        images = keras.Input((size, size, 3), dtype="uint8")
        self._lookup = Lookup(self._predictions(epoch=0))
        outputs = self._lookup(images)
        if task == "segmentation":
            outputs = keras.ops.one_hot(outputs["masks"], len(self.names))
        if realistic:
            per_pixel = task in ("segmentation", "image_to_image")
            channels = len(self.names) or (3 if per_pixel else 1)
            features = 1e-6 * (u_net if per_pixel else mobile_net)(images, channels)
            if task == "detection":
                outputs["boxes"] += features[:, None, :4]
            elif task == "segmentation":
                outputs += features
            else:
                outputs["scores"] += features
        if task not in ("detection", "segmentation"):
            outputs = outputs["scores"]
        self.model = Untrained(images, outputs)
        self.model.compile()
        # No side is charged for tracing the graph.
        self.model.predict_on_batch(self.x[:BATCH_SIZE])
        if count % BATCH_SIZE:
            self.model.predict_on_batch(self.x[: count % BATCH_SIZE])

    def fit(self, callback: keras.callbacks.Callback, epochs: int) -> None:
        """Trains with the callback, for epochs of one step."""
        renew = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: self._lookup.hold(
                self._predictions(epoch)
            )
        )
        self.model.fit(
            self.x[:1], epochs=epochs, verbose=0, callbacks=[renew, callback]
        )

    def _predictions(self, epoch: int) -> dict[str, NDArray[Any]]:
        rng = np.random.default_rng([2, epoch])
        if self.task == "classification":
            logits = rng.normal(size=(self.count, len(self.names)))
            logits[np.arange(self.count), self.y] += 2
            scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            return {"scores": scores.astype(np.float32)}
        if self.task == "detection":
            # Two or three predictions of different quality find each true box.
            which = np.arange(_PREDICTED_BOXES) % _TRUE_BOXES
            boxes, labels = self.y["boxes"][:, which], self.y["labels"][:, which]
            noise = rng.normal(scale=0.01 * self.size, size=boxes.shape)
            wrong = rng.random(labels.shape) < 0.2
            return {
                "boxes": (boxes + noise).astype(np.float32),
                "labels": np.where(wrong, 0, labels).astype(np.int32),
                "scores": rng.uniform(0.35, 1, labels.shape).astype(np.float32),
            }
        if self.task == "regression":
            noise = rng.normal(scale=5, size=self.count)
            return {"scores": (self.y + noise).astype(np.float32)[:, None]}
        if self.task == "image_to_image":
            noise = rng.normal(scale=0.05, size=self.y.shape[1:])
            return {"scores": np.clip(self.y + noise.astype(np.float32), 0, 1)}
        step = max(1, self.size // 100)
        return {"masks": np.roll(self.y, step * (epoch + 1), axis=(1, 2))}


def mobile_net(images: Any, channels: int) -> Any:
    """The outputs of a random MobileNetV2, of shape `(batch, channels)`."""
    layers = keras.layers
    x = layers.Rescaling(1 / 127.5, offset=-1)(images)
    x = keras.applications.MobileNetV2(
        x.shape[1:], include_top=False, weights=None, pooling="avg"
    )(x)
    return layers.Dense(channels)(x)


def u_net(images: Any, channels: int) -> Any:
    """The outputs of a U-Net of four levels, `(batch, height, width, channels)`."""
    layers = keras.layers

    def convolution(x: Any, filters: int) -> Any:
        return layers.Conv2D(filters, 3, padding="same", activation="relu")(x)

    x = layers.Rescaling(1 / 127.5, offset=-1)(images)
    skips = []
    for filters in (16, 32, 64, 128):
        x = convolution(x, filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    for skip in reversed(skips):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skip])
        x = convolution(x, skip.shape[-1])
    return layers.Conv2D(channels, 1)(x)
