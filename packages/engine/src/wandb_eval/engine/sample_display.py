"""The cells of samples in tables: images, text, or other media."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import wandb

from wandb_eval.core import Folder
from wandb_eval.engine.evaluation.preprocessing import before_rescaling
from wandb_eval.engine.evaluation.samples import Samples
from wandb_eval.engine.kit.image_rule import HINT, ImageRule
from wandb_eval.engine.kit.images import Image, check_image, encode_images
from wandb_eval.engine.kit.input_images import image_of, received, say, text_of
from wandb_eval.engine.kit.opencv import cv2
from wandb_eval.engine.nested import copy_sample, to_numpy
from wandb_eval.engine.progress import Progress

NewProgress = Callable[[str, int | None], Progress]


class SampleRenderer:
    """Makes the cells of samples, by one rule for all of them.

    A sample that can't be shown has an empty cell, `None`, and does not end the
    training.

    Args:
        image_fn: A user's function from a sample to its cell; `None` for the default
            rules.
        image_format: The format of encoded images.
        progress: Makes a progress bar.
        size_of: A function from the targets of a sample to the size of its image.
        only_images: Whether each cell must be an image, on which targets are drawn.
    """

    def __init__(
        self,
        image_fn: Callable[[Any], Any] | None,
        image_format: str,
        progress: NewProgress,
        size_of: Callable[[Any], tuple[int, int] | None],
        only_images: bool = False,
    ) -> None:
        self.model: Any = None
        self._image_fn = image_fn
        self._image_format = image_format
        self._progress = progress
        self._size_of = size_of
        self._only_images = only_images
        self._rule = ImageRule([])
        self._are_texts = False
        self._are_images = True  # Those of `image_fn`.
        self._said: set[str] = set()

    def set_samples(self, samples: Samples) -> str:
        """Infers from the fixed samples how all samples are shown.

        Returns:
            The name of the column: `"image"`, or `"input"` for other cells.

        Raises:
            ValueError: If `image_fn` returns a value that can't be shown.
        """
        inputs = [self._input(x) for x in samples.x]
        if self._image_fn is None:
            self._rule = ImageRule(inputs)
            self._are_texts = not (
                self._only_images
                or any(image_of(x) is not None for x in inputs)
                or all(text_of(x) is None for x in inputs)
            )
            return "input" if self._are_texts else "image"
        first = self._cell(inputs[0])
        self._are_images = isinstance(first, np.ndarray)
        if self._are_images:
            return "image"
        if self._only_images:
            raise ValueError(
                "`image_fn` must return a uint8 image here: targets are drawn over it. "
                f"Received: {type(first).__name__}"
            )
        return "input"

    def cells(self, samples: Samples) -> list[Any]:
        """Returns cells: uint8 arrays, text, media, or `None` for an empty cell.

        Raises:
            ValueError: If `image_fn` returns a value that can't be shown, or images for
                some samples only.
        """
        cells: list[Any] = []
        if self._image_fn is None:
            inputs = [self._input(x) for x in samples.x]
            if not (self._rule.is_known or self._are_texts):
                self._rule = ImageRule(inputs)  # No fixed sample was an image.
            cells = [self._own_cell(x) for x in inputs]
        else:
            progress = self._progress("Calling `image_fn`", len(samples))
            for x in samples.x:
                cells.append(self._cell(self._input(x)))
                progress.add()
            progress.close()
            if len({isinstance(cell, np.ndarray) for cell in cells}) > 1:
                raise ValueError(
                    "`image_fn` must return images for all samples, or for none. "
                    "Received: both images and something else"
                )
        return [self._scaled(*pair) for pair in zip(cells, samples.y, strict=True)]

    def image(self, x: Any) -> Image | None:
        """Returns the image that is shown of a sample; `None` if it is no image."""
        if self._image_fn is None:
            if self._are_texts or not self._rule.is_known:
                return None
            return self._rule(self._input(x))
        if not self._are_images:
            return None  # Each call may write a file.
        cell = self._cell(self._input(x))
        return cell if isinstance(cell, np.ndarray) else None

    def encoded(self, cells: Sequence[Any], folder: Folder) -> list[Any]:
        """Returns the cells with arrays encoded as images, in files of a folder."""
        places = [i for i, cell in enumerate(cells) if isinstance(cell, np.ndarray)]
        encoded = list(cells)
        if not places:
            return encoded
        progress = self._progress("Encoding images", len(places))
        images = self._encode([cells[i] for i in places], folder, progress.add)
        progress.close()
        for i, image in zip(places, images, strict=True):
            encoded[i] = image
        return encoded

    def _encode(
        self, arrays: list[Image], folder: Folder, done: Callable[[], None]
    ) -> list[Any]:
        try:
            return list(encode_images(arrays, folder, self._image_format, done))
        except ValueError as error:
            if len(arrays) > 1:
                return [
                    image
                    for array in arrays
                    for image in self._encode([array], folder, done)
                ]
            self._say_once("encoding", f"{error}: its cell is empty.")
            return [None]

    def _input(self, x: Any) -> Any:
        return before_rescaling(self.model, x)

    def _cell(self, x: Any) -> Any:
        """Calls `image_fn` with a sample."""
        assert self._image_fn is not None
        # It may change its argument, which is compared and predicted later.
        return _check_cell(self._image_fn(copy_sample(x)))

    def _own_cell(self, x: Any) -> Image | str | None:
        if self._are_texts:
            text = text_of(x)
            if text is not None and not _is_text(x):
                self._say_once(
                    "numbers",
                    "The samples of `validation_data` are numbers, "
                    f"{received(x)}: they are shown as text, in the column `input`. "
                    f"{HINT}",
                )
            if text is not None:
                return text
        else:
            image = self._rule(x)
            if image is not None:
                return image
            if image_of(x) is not None:
                self._say_once(
                    "not finite",
                    "There are images in `validation_data` with NaN or infinity in "
                    f"them: their cells are empty. {HINT}",
                )
                return None
        self._say_once(
            "no image",
            f"There are samples in `validation_data` that can't be shown, {received(x)}"
            f": their cells are empty. {HINT}",
        )
        return None

    def _scaled(self, cell: Any, y: Any) -> Any:
        """Scales an image to the size that the task needs."""
        size = self._size_of(y) if isinstance(cell, np.ndarray) else None
        if size is None or cell.shape[:2] == size:
            return cell
        self._say_once(
            "size",
            f"Images of height and width {cell.shape[:2]} in `validation_data` are "
            f"scaled to {size} to be shown, the size of their targets. Pass `image_fn` "
            "to convert them in another way, such as by cropping.",
        )
        is_smaller = size[0] * size[1] < cell.shape[0] * cell.shape[1]
        kind = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
        array = np.ascontiguousarray(cell)
        return np.asarray(cv2.resize(array, size[::-1], interpolation=kind), np.uint8)

    def _say_once(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            say(text)


def _check_cell(cell: Any) -> Any:
    """Validates the return value of `image_fn`: an image, text, or media of W&B."""
    if isinstance(cell, (str, wandb.data_types.WBValue)):
        return cell
    return check_image(cell)


def _is_text(x: Any) -> bool:
    if isinstance(x, (dict, tuple, list)):
        return False
    array = to_numpy(x)
    if array.dtype.kind == "O":
        return all(isinstance(item, (str, bytes)) for item in array.ravel())
    return bool(array.dtype.kind in "US")
