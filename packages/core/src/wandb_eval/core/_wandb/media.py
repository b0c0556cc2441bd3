"""Images, masks and boxes of W&B for files that exist already."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image
import wandb
from numpy.typing import NDArray
from wandb.sdk.data_types._private import MEDIA_TMP
from wandb.sdk.data_types.base_types.media import Media

from wandb_eval.core._wandb.files import Folder, StoredFile


class _LazyPixels:
    """Stands in for the PIL image of a `wandb.Image` whose file we wrote.

    `wandb.Image(image, masks=...)` opens and decodes the file of `image` only to read
    its `size`. This object has the size, and opens the file for any other attribute.
    """

    _opened: Any = None

    def __init__(self, path: str, size: tuple[int, int]) -> None:
        self._size, self._path = size, path

    @property
    def size(self) -> Any:
        return self._opened.size if self._opened else self._size

    def __reduce__(self) -> Any:
        return _LazyPixels, (self._path, self._size)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # For `isinstance`.
        return PIL.Image.Image

    @property
    def __array_interface__(self) -> Any:
        return (self._opened or self._open()).__array_interface__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._opened = self._opened or self._open()  # Kept: it may be drawn on.
        return getattr(self._opened, name)

    def _open(self) -> Any:
        with PIL.Image.open(self._path) as image:
            image.load()
            return image


def write_image(
    content: bytes,
    image_format: str,
    width: int,
    height: int,
    folder: Folder,
    *,
    caption: str | None = None,
) -> wandb.Image:
    """Writes an encoded image as a `wandb.Image`, without decoding it.

    Args:
        content: The image, encoded.
        image_format: The format of the encoded image: `"png"` or `"jpg"`.
        width: The width in pixels.
        height: The height in pixels.
        folder: `data_folder` or `prediction_folder` of a `WandbEvalCallback`.
        caption: The caption below the image.
    """
    file = folder.store(content, "media/images", f".{image_format}")
    image = wandb.Image.__new__(wandb.Image)
    Media.__init__(image, caption)
    image._grouping = image._classes = image._boxes = image._masks = None
    image._file_type = None
    image.format = image_format  # Staged files have no suffix.
    image._width, image._height = width, height
    image._image = _LazyPixels(file.path, (width, height))  # type: ignore[assignment]
    _set_file(image, file, None)
    return image


def image_from_array(array: NDArray[np.uint8], caption: str) -> wandb.Image:
    """Makes a `wandb.Image`, even if wandb's temporary folder was deleted."""
    os.makedirs(MEDIA_TMP.name, exist_ok=True)
    return wandb.Image(array, caption=caption)


def size_of_image(image: wandb.Image) -> tuple[int, int]:
    """The height and width of an image in pixels."""
    return int(image._height or 0), int(image._width or 0)


def write_mask(
    content: bytes, key: str, class_labels: dict[int, str], folder: Folder
) -> wandb.data_types.ImageMask:
    """Writes an encoded mask as a layer for `wandb.Image`.

    Args:
        content: A PNG file with one channel of 8 bits, the class ids.
        key: The name of the layer, such as `"predictions"`.
        class_labels: The names of the class ids.
        folder: The folder to write to, as for `write_image`.
    """
    file = folder.store(content, "media/images/mask", ".mask.png")
    mask = wandb.data_types.ImageMask.__new__(wandb.data_types.ImageMask)
    Media.__init__(mask)
    mask._val, mask._key = {"class_labels": class_labels}, key
    _set_file(mask, file, ".mask.png")
    return mask


def _set_file(media: Media, file: StoredFile, extension: str | None) -> None:
    media._path, media._is_tmp, media._extension = file.path, False, extension
    media._sha256, media._size = file.sha256, file.size


def with_layers(
    image: wandb.Image | None,
    classes: wandb.data_types.Classes,
    boxes: dict[str, Any] | None = None,
    masks: dict[str, Any] | None = None,
    keep: bool = False,
) -> wandb.Image | None:
    """Adds layers to an image, faster than `wandb.Image` for many images.

    It returns `wandb.Image(image, boxes=..., masks=..., classes=...)`. The images share
    the class names, which are not collected from the layers of each image.

    Args:
        image: The image, from `sample_images` or `data_table_ref`. `None` stays `None`.
        classes: The names of all class ids that are in the layers.
        boxes: Box layers by name, as for `wandb.Image`.
        masks: Mask layers by name, as for `wandb.Image`.
        keep: Whether the image keeps its layers, below the new ones.
    """
    if image is None:
        return None
    layered = wandb.Image(image, masks=masks)
    if boxes:
        layered._boxes = {key: _box_layer(val, key) for key, val in boxes.items()}
    if keep:
        layered._boxes = (image._boxes or {}) | (layered._boxes or {}) or None
        layered._masks = (image._masks or {}) | (layered._masks or {}) or None
    layered._classes = classes
    return layered


def _box_layer(
    layer: dict[str, Any] | wandb.data_types.BoundingBoxes2D, key: str
) -> wandb.data_types.BoundingBoxes2D:
    """Makes a `wandb.BoundingBoxes2D` for tables, without writing a file."""
    if isinstance(layer, wandb.data_types.BoundingBoxes2D):
        return layer
    boxes = wandb.data_types.BoundingBoxes2D.__new__(wandb.data_types.BoundingBoxes2D)
    Media.__init__(boxes)
    boxes._val, boxes._key = layer["box_data"], key
    boxes._class_labels = layer["class_labels"]
    return boxes


def by_reference(cell: Any, copies: Mapping[str, str]) -> Any:
    """Returns a cell for `data_table_ref`: an image keeps its file and layers.

    `wandb.Image(image)`, and so wandb's own reference table, would lose the layers.
    """
    if isinstance(cell, (list, tuple)):
        return [by_reference(part, copies) for part in cell]
    if isinstance(cell, dict):
        return {key: by_reference(part, copies) for key, part in cell.items()}
    is_image = isinstance(cell, wandb.Image)
    if not is_image and getattr(cell, "_path", None) not in copies:
        return cell
    reference = copy.copy(cell)
    reference._path = copies.get(reference._path, reference._path)
    if is_image and reference._path and reference._width and reference._height:
        size = (reference._width, reference._height)
        reference._image = _LazyPixels(reference._path, size)
    if is_image and reference._masks:
        reference._masks = {k: by_reference(m, copies) for k, m in cell._masks.items()}
    return reference
