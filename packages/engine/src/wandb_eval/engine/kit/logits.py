"""Tells whether the outputs of a model are logits or probabilities."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import keras
import numpy as np
import wandb

from wandb_eval.engine.nested import to_numpy

FromLogits = bool | Literal["auto"]
"""`True` for logits, `False` for probabilities, `"auto"` to infer it."""

# Activations by name; operations and layers by the name of their class.
_ARE_LOGITS = {
    **dict.fromkeys(("softmax", "sigmoid", "hard_sigmoid"), False),
    **dict.fromkeys(("Softmax", "Sigmoid", "HardSigmoid"), False),
    **dict.fromkeys(("linear", "log_softmax", "LogSoftmax"), True),
}

# These layers neither make probabilities of logits nor logits of probabilities.
_KEEP_VALUES = {
    *("Cast", "Cropping2D", "Dropout", "Flatten", "GlobalAveragePooling2D"),
    *("Identity", "InputLayer", "Permute", "Reshape", "Resizing", "Squeeze"),
    *("Transpose", "UpSampling2D"),
}


def check_from_logits(value: Any) -> FromLogits:
    """Validates the argument `from_logits`, and returns it.

    Raises:
        ValueError: If it is not `True`, `False` or `"auto"`.
    """
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, str) and value == "auto":
        return "auto"
    raise ValueError(
        f"`from_logits` must be True, False or 'auto'. Received: {value!r:.200}"
    )


def infer_from_logits(model: Any, output_key: str | int | None = None) -> bool | None:
    """Infers from a model whether its outputs are logits.

    A softmax or sigmoid in the layer that makes the output means probabilities,
    whatever the loss is: KerasHub's tasks with one are compiled with
    `from_logits=True`, too.
    Otherwise the `from_logits` of the compiled loss decides, then the activation of the
    layer.

    Layers behind that one that only resize or reshape are skipped. A subclassed model
    with its own `call` is not a graph of layers, so its activation is not known.

    Args:
        model: The model.
        output_key: The output, for a model that has several.

    Returns:
        Whether the outputs are logits; `None` if neither loss nor activation tells.

    Example:

    >>> inputs = keras.Input((8,))
    >>> model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    >>> infer_from_logits(model)
    True
    >>> model.compile(loss="categorical_crossentropy")
    >>> infer_from_logits(model)
    False
    """
    by_activation = _told_by_activation(model, output_key)
    if by_activation is False:
        return False
    by_loss = _told_by_loss(_pick(getattr(model, "loss", None), output_key, model))
    return by_activation if by_loss is None else by_loss


def look_like_probabilities(outputs: Any, one_class: bool = True) -> bool:
    """Returns whether outputs look like those of softmax or sigmoid.

    All finite ones must be from 0 to 1. If there are several classes that exclude each
    other, they must sum to 1.

    Args:
        outputs: The outputs, of shape `(batch, ..., num_classes)` or `(batch,)`.
        one_class: Whether the classes exclude each other.
    """
    scores = to_numpy(outputs).astype(np.float32)
    scores = scores[:, None] if scores.ndim == 1 else scores
    finite = scores[np.isfinite(scores).all(axis=-1)]
    low, high = finite.min(initial=np.inf), finite.max(initial=-np.inf)
    if not (low >= 0 and 0 < high <= 1):
        return False
    if one_class and finite.shape[-1] > 1:
        return bool((np.abs(finite.sum(axis=-1) - 1) <= 0.02).all())
    return True


def warn_of_probabilities(
    model: Any, outputs: Any, one_class: bool, output_key: str | int | None = None
) -> None:
    """Warns of outputs that are taken for logits, and look like probabilities.

    Args:
        model: The model.
        outputs: The outputs, of shape `(batch, ..., num_classes)` or `(batch,)`.
        one_class: Whether the classes exclude each other.
        output_key: The output that is evaluated, of a model with several.
    """
    if not look_like_probabilities(outputs, one_class):
        return
    several = len(np.shape(outputs)) > 1 and np.shape(outputs)[-1] > 1
    if not (one_class and several) and infer_from_logits(model, output_key) is True:
        return  # Logits of a linear layer may be from 0 to 1.
    wandb.termwarn(
        f"The outputs of the model are {np.nanmin(outputs):.3g} to "
        f"{np.nanmax(outputs):.3g}: they look like probabilities, but are taken "
        "for logits. If the model ends with softmax or sigmoid, pass "
        "`from_logits=False`."
    )


def check_probabilities(outputs: Any) -> None:
    """Checks that outputs can be probabilities.

    Args:
        outputs: Outputs of any shape. NaN and infinity are ignored.

    Raises:
        ValueError: If a finite output is not from 0 to 1.
    """
    scores = to_numpy(outputs)
    finite = scores[np.isfinite(scores)]
    low, high = finite.min(initial=np.inf), finite.max(initial=-np.inf)
    if low < -1e-3 or high > 1 + 1e-3:
        raise ValueError(
            f"The outputs of the model are not probabilities: they are {low:.3g} to "
            f"{high:.3g}. If its last layer has no softmax or sigmoid, pass "
            "`from_logits=True`."
        )


def resolve_from_logits(
    model: Any,
    from_logits: FromLogits,
    outputs: Any,
    *,
    one_class: bool,
    output_key: str | int | None = None,
    says: bool = True,
) -> bool:
    """Returns whether outputs are logits: values before softmax or sigmoid.

    `"auto"` infers it from the model. If the model does not show it, outputs that are
    all from 0 to 1 are taken for probabilities, and the log says so once.

    Args:
        model: The model.
        from_logits: The argument of the user: `True`, `False` or `"auto"`.
        outputs: The outputs, of shape `(batch, ..., num_classes)` or `(batch,)`.
        one_class: Whether the classes exclude each other.
        output_key: The output that is evaluated, of a model with several.
        says: Whether to write to the log, and to warn.

    Raises:
        ValueError: If `from_logits` is `False`, or inferred to be, and the outputs are
            not probabilities.
    """
    told = from_logits
    if told == "auto":
        known = infer_from_logits(model, output_key)
        told = bool(known)
        if known is None:
            told = not look_like_probabilities(outputs, one_class=False)
            if says:
                wandb.termlog(
                    "The outputs of the model are taken for "
                    f"{'logits' if told else 'probabilities'}, because they look like "
                    "them. Pass `from_logits` if they are not.",
                    repeat=False,
                )
    if not told:
        check_probabilities(outputs)
    elif says:
        warn_of_probabilities(model, outputs, one_class, output_key)
    return told


def _told_by_loss(loss: Any) -> bool | None:
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:  # Not a loss of Keras: `fit` raises.
            return None
    told = getattr(loss, "from_logits", None)
    if told is None:  # Losses of Keras keep it among the arguments of their function.
        told = getattr(loss, "_fn_kwargs", {}).get("from_logits")
    if told is None and callable(function := getattr(loss, "fn", loss)):
        try:
            argument = inspect.signature(function).parameters.get("from_logits")
        except ValueError:  # A function without a signature.
            return None
        told = None if argument is None else argument.default
    return bool(told) if isinstance(told, (bool, np.bool_)) else None


def _told_by_activation(model: Any, output_key: str | int | None) -> bool | None:
    for operation in _operations(model, output_key):
        layer = getattr(operation, "layer", operation)  # As in `TimeDistributed`.
        activation = getattr(layer, "activation", None)
        for known in (type(layer), activation, type(activation)):
            told = _ARE_LOGITS.get(getattr(known, "__name__", ""))
            if told is not None:
                break
        is_kept = type(layer).__name__ in _KEEP_VALUES
        if not is_kept and not (told and isinstance(layer, keras.layers.Activation)):
            return told
    return None


def _operations(model: Any, output_key: str | int | None = None) -> Iterator[Any]:
    """Yields the operations that make an output, the last one first, of a chain."""
    if isinstance(model, keras.Sequential):
        for layer in reversed(model.layers):
            yield from _operations(layer) if isinstance(layer, keras.Model) else [layer]
        return
    outputs = getattr(model, "_outputs_struct", None)
    yield from _behind(_pick(outputs, output_key, model))


def _behind(tensor: Any) -> Iterator[Any]:
    while hasattr(tensor, "_keras_history"):
        operation, node_index, tensor_index = tensor._keras_history
        if isinstance(operation, keras.Sequential):
            yield from _operations(operation)
        elif hasattr(operation, "_outputs_struct"):
            yield from _behind(operation.outputs[tensor_index])
        else:
            yield operation
        inputs = operation._inbound_nodes[node_index].input_tensors
        tensor = inputs[0] if len(inputs) == 1 else None


def _pick(parts: Any, key: str | int | None, model: Any) -> Any:
    """Selects the part of an output, from a list or a dict with a part for each."""
    if not isinstance(parts, (Mapping, list, tuple)):
        return parts
    if key is None:
        values = list(parts.values() if isinstance(parts, Mapping) else parts)
        return values[0] if len(values) == 1 else None
    names = list(getattr(model, "output_names", None) or [])
    try:
        if isinstance(parts, Mapping):
            return parts[key if isinstance(key, str) else names[key]]
        return parts[names.index(key) if isinstance(key, str) else key]
    except (IndexError, KeyError, ValueError):
        return None
