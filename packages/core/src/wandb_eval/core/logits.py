"""Whether the outputs of a model are logits: told by the model, or by the outputs."""

from __future__ import annotations

from typing import Any, Literal

import keras
import numpy as np

from wandb_eval.core.evaluation.trees import to_numpy

FromLogits = bool | Literal["auto"]
"""`True`: before softmax or sigmoid. `False`: probabilities. `"auto"`: to be told."""

_PROBABILITIES = ("softmax", "sigmoid", "hard_sigmoid")


def check_from_logits(value: Any) -> FromLogits:
    """Returns the argument `from_logits`.

    Raises:
        ValueError: If it is none.
    """
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, str) and value == "auto":
        return "auto"
    raise ValueError(
        f"`from_logits` must be True, False or 'auto'. Received: {value!r:.200}"
    )


def told_from_logits(model: Any, output_key: str | int | None = None) -> bool | None:
    """Whether the outputs of a model are logits, as far as the model tells.

    The loss that it is compiled with says it, by `from_logits`; else the activation of
    the layer that makes the output does.

    Args:
        model: The model.
        output_key: Which output, of a model that has several.

    Returns:
        `None` where neither tells it.
    """
    loss = _pick(getattr(model, "loss", None), output_key, model)
    from_loss = _told_by_loss(loss)
    return _told_by_activation(model, output_key) if from_loss is None else from_loss


def look_like_probabilities(outputs: Any, one_class: bool = True) -> bool:
    """Whether outputs are what softmax or sigmoid puts out.

    They are if all that are finite are from 0 to 1 and, where they are of several
    classes of which one is right, have the sum 1.

    Args:
        outputs: Of shape `(batch, ..., num_classes)`, or `(batch,)`.
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


def _told_by_loss(loss: Any) -> bool | None:
    told = getattr(loss, "from_logits", None)
    if told is None:  # Losses of Keras keep it among the arguments of their function.
        told = getattr(loss, "_fn_kwargs", {}).get("from_logits")
    if told is not None:
        return bool(told)
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", None)
    if isinstance(name, str) and name.lower().replace("_", "").endswith("crossentropy"):
        return False  # By name, without arguments, it takes probabilities.
    return None


def _told_by_activation(model: Any, output_key: str | int | None) -> bool | None:
    layer = _output_layer(model, output_key)
    if isinstance(layer, keras.layers.Softmax):
        return False
    activation = getattr(layer, "activation", None)
    if getattr(activation, "__name__", None) in _PROBABILITIES:
        return False
    return True if activation is keras.activations.linear else None


def _output_layer(model: Any, output_key: str | int | None) -> Any:
    """The layer that makes an output: in a functional model, else the last one."""
    outputs = _pick(getattr(model, "_outputs_struct", None), output_key, model)
    layer = getattr(getattr(outputs, "_keras_history", None), "operation", None)
    if layer is None:
        layers = getattr(model, "layers", None)
        layer = layers[-1] if layers else None
    return _output_layer(layer, None) if isinstance(layer, keras.Model) else layer


def _pick(parts: Any, key: str | int | None, model: Any) -> Any:
    """What belongs to the output, of a list or a dict with something for each."""
    names = list(getattr(model, "output_names", None) or [])
    if isinstance(parts, dict):
        wanted = names[key] if isinstance(key, int) and key < len(names) else key
        return parts.get(wanted) if wanted is not None else None
    if isinstance(parts, (list, tuple)):
        if key is None:
            return parts[0] if len(parts) == 1 else None
        place = names.index(str(key)) if key in names else key
        return parts[place] if isinstance(place, int) and place < len(parts) else None
    return parts
