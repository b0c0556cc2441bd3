"""Invented validation data and outputs of the sizes of COCO, ImageNet and Cityscapes.

They are made batch by batch, and are the same for every side: all batches at once would
be in the memory that is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Batch = tuple[Any, Any, Any]
"""x, y and the outputs of the model."""


class CocoScale:
    """COCO val2017: 5,000 images of 640x480, 80 classes, 100 predictions an image.

    An image has up to 16 true boxes, some of them crowds. Each has a few predictions of
    different quality, and the other predictions are anywhere. Some classes are more
    frequent than others.
    """

    task = "detection"
    count, batch_size = 5_000, 8
    num_classes = 80
    size = 480, 640
    _most, _predictions = 16, 100

    def batches(self, count: int) -> Iterator[Batch]:
        """Yields batches with `count` images in total."""
        for number, size in enumerate(_sizes(count, self.batch_size)):
            yield self._batch(np.random.default_rng([3, number]), size)

    def _batch(self, rng: np.random.Generator, size: int) -> Batch:
        weights = 1 / (np.arange(self.num_classes) + 5)
        weights /= weights.sum()

        def labels(*shape: int) -> NDArray[np.int64]:
            return rng.choice(self.num_classes, shape, p=weights)

        def boxes(*shape: int) -> NDArray[np.float32]:
            extent = np.exp(rng.uniform(np.log(8), np.log(240), (*shape, 2)))
            corner = rng.uniform(0, 1, (*shape, 2)) * (self.size[::-1] - extent)
            return np.concatenate([corner, corner + extent], axis=-1, dtype=np.float32)

        true, true_labels = boxes(size, self._most), labels(size, self._most)
        counts = rng.integers(0, self._most + 1, (size, 1))
        true_labels[np.arange(self._most) >= counts] = -1
        found, found_labels = (
            boxes(size, self._predictions),
            labels(size, self._predictions),
        )
        copies = 3 * self._most
        found[:, :copies] = np.tile(true, (1, 3, 1))
        noise = rng.normal(size=(size, copies, 4)) * rng.choice([1, 4, 16], (copies, 1))
        found[:, :copies] += noise.astype(np.float32)
        found[..., 2:] = np.maximum(found[..., 2:], found[..., :2] + 1)
        right = rng.random((size, copies)) < 0.8
        right &= np.tile(true_labels, 3) >= 0
        found_labels[:, :copies][right] = np.tile(true_labels, 3)[right]
        y = {
            "boxes": true,
            "labels": true_labels,
            "iscrowd": rng.random(true_labels.shape) < 0.01,
        }
        outputs = {
            "boxes": found,
            "labels": found_labels,
            "confidence": rng.beta(1, 3, found_labels.shape).astype(np.float32),
        }
        return np.broadcast_to(np.uint8(0), (size, *self.size, 3)), y, outputs


class ImageNetScale:
    """ImageNet: 50,000 samples, 1,000 classes, probabilities in float32."""

    task = "classification"
    count, batch_size = 50_000, 32
    num_classes = 1_000

    def batches(self, count: int) -> Iterator[Batch]:
        """Yields batches with `count` samples in total."""
        for number, size in enumerate(_sizes(count, self.batch_size)):
            rng = np.random.default_rng([4, number])
            labels = rng.integers(0, self.num_classes, size)
            scores = rng.standard_normal((size, self.num_classes), np.float32)
            scores[np.arange(size), labels] += 4
            np.exp(scores, out=scores)
            scores /= scores.sum(axis=1, keepdims=True)
            yield np.zeros((size, 8, 8, 3), np.uint8), labels, scores


class CityscapesScale:
    """Cityscapes: images of 1024x2048, 19 classes, logits in float32."""

    task = "segmentation"
    count, batch_size = 16, 1
    num_classes = 19
    size = 1024, 2048
    step = 1
    """The number of pixels for each pixel of the outputs, along each axis."""

    def __init__(self) -> None:
        self._images = [self._image(np.random.default_rng([5, n])) for n in range(2)]

    def batches(self, count: int) -> Iterator[Batch]:
        """Yields `count` images, which are two images in turn."""
        x = np.broadcast_to(np.uint8(0), (1, *self.size, 3))
        for number in range(count):
            yield x, *self._images[number % 2]

    def _image(self, rng: np.random.Generator) -> tuple[Any, Any]:
        height, width = self.size
        blocks = rng.integers(0, self.num_classes, (16, 32)).astype(np.uint8)
        mask = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)
        coarse = np.roll(mask, 8, axis=1)[:: self.step, :: self.step]
        logits = rng.standard_normal((*coarse.shape, self.num_classes), np.float32)
        logits += 3 * np.eye(self.num_classes, dtype=np.float32)[coarse]
        return mask[None], logits[None]


class QuarterCityscapesScale(CityscapesScale):
    """Cityscapes with outputs of a quarter of the height and width."""

    step = 4


def _sizes(count: int, batch_size: int) -> list[int]:
    """The number of samples of each batch."""
    rest = [count % batch_size] if count % batch_size else []
    return [batch_size] * (count // batch_size) + rest
