"""Class names and class colours."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Sequence

import numpy as np


def check_class_names(class_names: Sequence[str] | None) -> list[str] | None:
    """Validates class names; names that occur twice get their id behind them.

    Tables and charts tell classes apart by name, and real lists have the same name
    twice (ImageNet has two cranes).

    Args:
        class_names: A name for each class id, from 0, or `None`.

    Returns:
        The names as a list, or `None`.

    Raises:
        ValueError: If they are not a sequence of strings, or empty.

    Example:

    >>> check_class_names(["crane", "dog", "crane"])
    ['crane (0)', 'dog', 'crane (2)']
    """
    if class_names is None:
        return None
    if isinstance(class_names, np.ndarray):
        class_names = class_names.tolist()
    if isinstance(class_names, (str, bytes)) or not isinstance(class_names, Sequence):
        raise ValueError(
            "`class_names` must be a list with one name for each class id. Received: "
            f"{class_names!r} (of type {type(class_names).__name__})"
        )
    names = [str(name) if isinstance(name, np.str_) else name for name in class_names]
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong or not names:
        raise ValueError(
            "`class_names` must be a list of strings, one for each class id. Received: "
            + (f"{wrong[0]!r} among them" if wrong else "an empty list")
        )
    while len(set(names)) < len(names):  # "a (0)" may be the name of another class.
        counts = Counter(names)
        names = [
            f"{name} ({index})" if counts[name] > 1 else name
            for index, name in enumerate(names)
        ]
    return names


def name_classes(class_names: list[str] | None, num_classes: int) -> list[str]:
    """Names for `num_classes` classes: those given, or their ids.

    Raises:
        ValueError: If fewer names are given than there are classes.
    """
    if class_names is None:
        return [str(index) for index in range(num_classes)]
    if len(class_names) < num_classes:
        raise ValueError(
            f"`class_names` has {len(class_names)} names, but there are {num_classes} "
            "classes. Give one name for each class id, from 0."
        )
    return class_names


def class_color(class_id: int) -> tuple[int, int, int]:
    """The colour of a class id, as RGB values of 0 to 255, the same in every picture.

    Hues in steps of the golden ratio: they differ most between ids that are close.
    """
    hue = (class_id * 0.6180339887) % 1
    saturation = 0.9 - 0.35 * (class_id // 2 % 2)
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
