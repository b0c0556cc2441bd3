"""Selects one of several outputs, and its target."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from wandb_eval.core.arguments import is_integer
from wandb_eval.engine.nested import describe, to_numpy


def check_output_key(key: Any) -> None:
    """Checks that a key can name an output; raises a ValueError if not."""
    if not (key is None or isinstance(key, str) or is_integer(key)):
        raise ValueError(
            f"`output_key` must be a string, an integer or None. Received: {key!r}"
        )


def select_output(outputs: Any, key: str | int | None, model: Any) -> Any:
    """Selects the output that a key names.

    Raises:
        ValueError: If the model has no such output.
    """
    if key is None:
        return outputs
    wanted = key
    names = list(getattr(model, "output_names", []))
    if hasattr(outputs, "shape"):
        if key in (0, -1) or [key] == names:
            return outputs
        raise ValueError(
            f"`output_key` is {key!r}, but the model has a single output. Leave it out."
        )
    if isinstance(outputs, (list, tuple)) and key in names:
        key = names.index(str(key))
    try:
        return outputs[key]
    except (KeyError, IndexError, TypeError) as error:
        found = list(outputs) if isinstance(outputs, dict) else names
        raise ValueError(
            f"`output_key` is {wanted!r}, but the model has the outputs {found}."
        ) from error


def select_target(y: Any, key: str | int | None, model: Any) -> Any:
    """Selects the target of an output, from a tuple or a dict of targets.

    Raises:
        ValueError: If the model that knows the names is not set yet.
    """
    if isinstance(y, tuple) and isinstance(key, str) and model is None:
        raise ValueError(
            f"`output_key` is {key!r}, but y of `validation_data` is {len(y)} targets "
            "without names. Pass an index, or make y a dict."
        )
    several = isinstance(y, tuple) or (isinstance(y, dict) and key in y)
    return select_output(y, key, model) if several else y


def check_single(outputs: Any) -> None:
    """Checks that a model has one output; raises a ValueError if not."""
    if not hasattr(outputs, "shape"):
        found = list(outputs) if isinstance(outputs, dict) else describe(outputs)
        raise ValueError(
            f"The model has several outputs: {found}. Pass `output_key`, a key or an "
            "index, to name the one to evaluate."
        )


def check_single_target(y: Any, what: str) -> None:
    """Checks that targets are those of one output.

    Args:
        y: The targets.
        what: Their name in the error.

    Raises:
        ValueError: If there are targets for several outputs.
    """
    if isinstance(y, (dict, tuple)):
        found = f"a dict of {list(y)}" if isinstance(y, dict) else f"{len(y)} of them"
        raise ValueError(
            f"There are {what} for several outputs: {found}. Pass `output_key` to name "
            "the one to evaluate."
        )


def target_array(y: Any, what: str) -> NDArray[Any]:
    """Converts the targets of one output to an array.

    Args:
        y: The targets.
        what: Their name in errors.

    Returns:
        A NumPy array, or a ragged tensor as it is.

    Raises:
        ValueError: If there are targets for several outputs, or lists of several
            lengths.
    """
    check_single_target(y, what)
    try:
        array: NDArray[Any] = to_numpy(y)
    except ValueError as error:
        raise ValueError(
            f"{what.capitalize()} must be an array. Received: {error}"
        ) from error
    return array


def number_array(y: Any, what: str) -> NDArray[Any]:
    """Converts the targets of one output to an array of numbers.

    Args:
        y: The targets.
        what: Their name in errors.

    Raises:
        ValueError: If the targets are not numbers, or in the cases of `target_array`.

    Example:

    >>> number_array([1, 2], "labels")
    array([1, 2])
    """
    array = target_array(y, what)
    if hasattr(array, "row_splits") or array.dtype.kind not in "biuf":
        dtype = getattr(array, "dtype", type(y).__name__)
        raise ValueError(
            f"{what.capitalize()} must be an array of numbers. Received: {dtype}"
        )
    return array
