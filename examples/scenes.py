"""Scenes for the detection and segmentation examples: handwriting on photographs.

Handwritten digits (scikit-learn's `load_digits`) are pasted at random places, sizes
and contrasts on crops of scikit-learn's two sample photographs. Both ship with
scikit-learn, so nothing is downloaded.

Training and held-out scenes share neither a digit nor a pixel of background: three
quarters of the digits and the upper part of each photograph are for training, the
rest is held out.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from sklearn.datasets import load_digits, load_sample_images
from sklearn.model_selection import train_test_split

from wandb_eval.engine.kit.opencv import cv2

Split = Literal["train", "held_out"]

CLASS_NAMES = [str(digit) for digit in range(10)]
IMAGE_SIZE = (96, 128)  # height, width
DIGIT_HEIGHTS = (20, 44)  # pixels, before the digit is cropped to its ink
DIGITS_PER_SCENE = (0.05, 0.2, 0.25, 0.25, 0.25)  # chances of 0, 1, 2, 3 and 4
TRAIN_HEIGHT = 0.7  # the part of each photograph for training


@dataclass(frozen=True)
class Scenes:
    """A set of N scenes.

    Attributes:
        images: uint8 array of shape (N, height, width, 3), RGB.
        boxes: one float32 array of shape (n, 4) per scene, `[x_min, y_min, x_max,
            y_max]` in pixels; the maxima are the first pixel outside the digit.
        labels: one int64 array of shape (n,) per scene, the digits 0 to 9.
        masks: uint8 array of shape (N, height, width), 0 for the background and
            1 + digit for the pixels of a digit.
    """

    images: np.ndarray
    boxes: list[np.ndarray]
    labels: list[np.ndarray]
    masks: np.ndarray


def make_scenes(count: int, split: Split = "train", seed: int = 0) -> Scenes:
    """Draws scenes of zero to four digits whose ink does not overlap.

    Args:
        count: The number of scenes to draw.
        split: The split of the digits and backgrounds: `"train"` or `"held_out"`.
        seed: The same seed gives the same scenes.

    Returns:
        The `Scenes`, of `IMAGE_SIZE`.

    Raises:
        ValueError: `split` is neither of the two.

    Example:
        >>> scenes = make_scenes(3, "held_out")
        >>> scenes.images.shape, scenes.images.dtype
        ((3, 96, 128, 3), dtype('uint8'))
    """
    rng = np.random.default_rng([seed, split == "train"])
    digits, targets = load_split_digits(split)
    photos = load_split_photos(split)

    images = np.empty((count, *IMAGE_SIZE, 3), "uint8")
    masks = np.zeros((count, *IMAGE_SIZE), "uint8")
    boxes, labels = [], []
    for image, mask in zip(images, masks, strict=True):
        image[:] = _random_crop(photos[rng.integers(len(photos))], rng)
        scene_boxes, scene_labels = [], []
        for _ in range(rng.choice(len(DIGITS_PER_SCENE), p=DIGITS_PER_SCENE)):
            index = rng.integers(len(digits))
            ink = _enlarge(digits[index], rng.integers(*DIGIT_HEIGHTS, endpoint=True))
            corner = _free_corner(mask, ink.shape, rng)
            if corner is None:
                continue
            (y, x), (height, width) = corner, ink.shape
            region = slice(y, y + height), slice(x, x + width)
            image[region] = _write(image[region], ink, rng)
            mask[region][ink >= 0.5] = 1 + targets[index]
            scene_boxes.append((x, y, x + width, y + height))
            scene_labels.append(targets[index])
        boxes.append(np.array(scene_boxes, "float32").reshape(-1, 4))
        labels.append(np.array(scene_labels, "int64"))
    return Scenes(images, boxes, labels, masks)


@cache
def load_split_digits(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Loads the handwritten digits of one split.

    Args:
        split: `"train"` (three quarters of the digits) or `"held_out"` (the others).

    Returns:
        The digits, float32 of shape (n, 8, 8) from 0 (paper) to 1 (ink), and their
        labels, int64 of shape (n,).

    Raises:
        ValueError: `split` is neither of the two.
    """
    _check(split)
    data = load_digits()
    digits = (data.images / 16).astype("float32")
    train_x, held_out_x, train_y, held_out_y = train_test_split(
        digits, data.target, test_size=0.25, random_state=0, stratify=data.target
    )
    return (train_x, train_y) if split == "train" else (held_out_x, held_out_y)


@cache
def load_split_photos(split: Split) -> list[np.ndarray]:
    """Loads the part of each sample photograph that belongs to one split.

    Args:
        split: `"train"` (the upper part) or `"held_out"` (the lower part).

    Returns:
        uint8 RGB arrays of shape (height, width, 3).

    Raises:
        ValueError: `split` is neither of the two.
    """
    _check(split)
    photos = load_sample_images().images
    borders = [round(photo.shape[0] * TRAIN_HEIGHT) for photo in photos]
    return [
        photo[:border] if split == "train" else photo[border:]
        for photo, border in zip(photos, borders, strict=True)
    ]


def _check(split: str) -> None:
    if split not in ("train", "held_out"):
        raise ValueError(f'split must be "train" or "held_out", received {split!r}.')


def _random_crop(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cuts a window of `IMAGE_SIZE` out of a photograph, mirrored half of the time."""
    height, width = IMAGE_SIZE
    y = rng.integers(photo.shape[0] - height, endpoint=True)
    x = rng.integers(photo.shape[1] - width, endpoint=True)
    crop = photo[y : y + height, x : x + width]
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def _enlarge(digit: np.ndarray, height: int) -> np.ndarray:
    """Enlarges an 8x8 digit, sharpens its strokes and crops it to its ink."""
    ink = cv2.resize(digit, (height, height), interpolation=cv2.INTER_CUBIC)
    ink = np.clip((ink - 0.35) / 0.3, 0, 1)
    x, y, width, height = cv2.boundingRect((ink >= 0.5).astype("uint8"))
    return ink[y : y + height, x : x + width]


def _free_corner(
    mask: np.ndarray, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int] | None:
    """Finds a place where a digit touches no other; None if 50 tries find none."""
    height, width = shape
    for _ in range(50):
        y = rng.integers(mask.shape[0] - height, endpoint=True)
        x = rng.integers(mask.shape[1] - width, endpoint=True)
        if not mask[y : y + height, x : x + width].any():
            return int(y), int(x)
    return None


def _write(
    background: np.ndarray, ink: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Blends ink over a background: light on dark, dark on light."""
    paper = background.mean(axis=(0, 1))
    contrast = rng.uniform(80, 200) * (1 if paper.mean() < 128 else -1)
    color = np.clip(paper + contrast + rng.uniform(-30, 30, 3), 0, 255)
    opacity = ink[..., None]
    return (background * (1 - opacity) + color * opacity).round().astype("uint8")
