"""Class names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wandb_eval.core.arguments import is_integer

_MAX_ID = 10**6


def check_class_names(
    class_names: Sequence[str] | Mapping[Any, Any] | None,
) -> list[str] | None:
    """Validates class names, and appends the id to names that occur twice.

    Tables and charts tell classes apart by name, but real lists have duplicate names
    (ImageNet has two cranes).

    Args:
        class_names: A name for each class id, from 0: a list, or a dictionary `{id:
            name}` or `{name: id}`. An id that is missing from a dictionary is its own
            name. May be `None`.

    Returns:
        The names as a list, or `None`.

    Raises:
        ValueError: If `class_names` is of another kind, or empty.

    Example:

    >>> check_class_names(["crane", "dog", "crane"])
    ['crane (0)', 'dog', 'crane (2)']
    >>> check_class_names({"cat": 0, "dog": 2})
    ['cat', '1', 'dog']
    """
    if class_names is None:
        return None
    if isinstance(class_names, Mapping):
        class_names = _from_mapping(class_names)
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


def _from_mapping(class_names: Mapping[Any, Any]) -> list[str]:
    """Returns the list for `{id: name}`, as in W&B, or `{name: id}`, as in Keras."""
    pairs = list(class_names.items())
    if not all(is_integer(key) for key, _ in pairs):
        pairs = [(value, key) for key, value in pairs]
    ids = [key for key, _ in pairs]
    if not all(is_integer(key) and 0 <= key < _MAX_ID for key in ids):
        raise ValueError(
            "A dictionary of `class_names` must be {id: name} or {name: id}, with ids "
            f"from 0. Received: {class_names!r:.200}"
        )
    if len(set(ids)) < len(ids):
        raise ValueError(
            "A dictionary of `class_names` must have one name for each id. Received: "
            f"{class_names!r:.200}"
        )
    names = dict(pairs)
    return [names.get(index, str(index)) for index in range(max(ids, default=-1) + 1)]


def name_classes(
    class_names: list[str] | None, num_classes: int, exactly: bool = False
) -> list[str]:
    """Returns a name for each class: the given names, or the class ids.

    Args:
        class_names: The names, or `None`.
        num_classes: The number of classes.
        exactly: Whether more names than classes are an error.

    Raises:
        ValueError: If there are fewer names than classes, or more where `exactly` is
            `True`.
    """
    if class_names is None:
        return [str(index) for index in range(num_classes)]
    if len(class_names) < num_classes:
        raise ValueError(
            f"`class_names` has {len(class_names)} names, but there are {num_classes} "
            "classes. Give one name for each class id, from 0."
        )
    if exactly and len(class_names) > num_classes:
        raise ValueError(
            f"`class_names` has {len(class_names)} names, but the model has outputs "
            f"for {num_classes} classes. Give one name for each of them."
        )
    return class_names
