"""What a table shows of samples: images, text, or any other media."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import wandb

from wandb_eval.core._wandb.files import Folder
from wandb_eval.core.evaluation.frame import before_rescaling
from wandb_eval.core.evaluation.samples import Samples
from wandb_eval.core.evaluation.trees import copy_sample, to_numpy
from wandb_eval.core.images import Image, ImageRule, check_image, encode_images
from wandb_eval.core.progress import Progress

NewProgress = Callable[[str, int | None], Progress]


class Shown:
    """Shows samples, all of them by one rule.

    Args:
        image_fn: What a user shows a sample as; `None` for images and text as they are.
        image_format: The format that images are encoded in.
        progress: Makes a progress bar.
        only_images: Whether nothing but an image will do: targets are drawn over it.
    """

    def __init__(
        self,
        image_fn: Callable[[Any], Any] | None,
        image_format: str,
        progress: NewProgress,
        only_images: bool = False,
    ) -> None:
        self.model: Any = None
        self._image_fn = image_fn
        self._image_format = image_format
        self._progress = progress
        self._only_images = only_images
        self._rule: ImageRule | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy knows no model."""
        return vars(self) | {"model": None}

    def set_samples(self, samples: Samples) -> str:
        """Learns from the fixed samples how all are shown.

        Returns:
            The column: `"image"`, or `"input"` where it is something else.

        Raises:
            ValueError: If they can't be shown.
        """
        inputs = [self._input(x) for x in samples.x]
        self._rule = None
        is_text = not self._only_images and all(map(_is_text, inputs))
        if self._image_fn is None and not is_text:
            self._rule = ImageRule(inputs)
            return "image"
        first = self._cell(inputs[0])
        if isinstance(first, np.ndarray):
            return "image"
        if self._only_images:
            raise ValueError(
                "`image_fn` must return a uint8 image here: targets are drawn over it. "
                f"Received: {type(first).__name__}"
            )
        return "input"

    def cells(self, samples: Samples) -> list[Any]:
        """The samples as uint8 arrays, as text, or as media.

        Raises:
            ValueError: If they can't be shown, or are not all of a kind.
        """
        if self._image_fn is None:
            return [self._cell(self._input(x)) for x in samples.x]
        cells = []
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
        return cells

    def encoded(self, cells: Sequence[Any], folder: Folder) -> list[Any]:
        """Cells with arrays as images, whose files are in a folder."""
        if not all(isinstance(cell, np.ndarray) for cell in cells):
            return list(cells)
        progress = self._progress("Encoding images", len(cells))
        images = encode_images(cells, folder, self._image_format, progress.add)
        progress.close()
        return list(images)

    def _input(self, x: Any) -> Any:
        return before_rescaling(self.model, x)

    def _cell(self, x: Any) -> Image | str | Any:
        if self._image_fn is not None:
            # It may write into what it gets, which is compared and predicted later.
            return _check_cell(self._image_fn(copy_sample(x)))
        if self._rule is None:
            return _as_text(x)
        return self._rule(x)


def _check_cell(cell: Any) -> Any:
    """What `image_fn` returned: an image, text, or media of W&B."""
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


def _as_text(x: Any) -> str:
    items = [
        item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
        for item in to_numpy(x).ravel().tolist()
    ]
    return "\n".join(items)
