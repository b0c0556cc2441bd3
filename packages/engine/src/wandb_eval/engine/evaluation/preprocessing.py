"""Applies a model's own preprocessor to data, as KerasHub's tasks do."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import keras
import numpy as np

from wandb_eval.engine.nested import to_numpy


class Preprocessing:
    """Preprocesses batches as `fit` and `evaluate` of a KerasHub task do.

    These map `preprocess_samples` over a `tf.data.Dataset`, or over a data set of
    Grain. Outside of a data set, the layers use other code, with other dtypes and
    rounding, and some fail. So each batch is passed through such a data set.

    Args:
        model: The task.
        source: The validation data, on which the code path of `fit` depends.
    """

    def __init__(self, model: Any, source: Any) -> None:
        self._preprocess = model.preprocess_samples
        self._capture = _capture(model)
        self._spec = getattr(source, "element_spec", None)
        # For arrays, the kind of data set depends on the installed packages. Generators
        # of batches do not work at all.
        self._asks = isinstance(source, (tuple, list)) or _is_of_grain(source)
        self._graphs: dict[str, Any] = {}

    def __call__(self, raw: Any) -> Any:
        """Preprocesses a batch `(x, y)` or `(x, y, sample_weight)`."""
        if not isinstance(raw, (tuple, list)) or len(raw) not in (2, 3):
            return raw
        return self._run(tuple(raw))

    def inputs(self, x: Any) -> Any:
        """Preprocesses the inputs of a batch, without targets."""
        return keras.utils.unpack_x_y_sample_weight(self._run((x,)))[0]

    def _run(self, parts: tuple[Any, ...]) -> Any:
        if self._asks:
            dataset = self._dataset_of_fit(parts)
            if dataset is not None and not hasattr(dataset, "element_spec"):
                return _as_arrays(next(iter(dataset)))
            self._asks = False  # It would be traced again for each batch.
        tensorflow = sys.modules.get("tensorflow")
        dataset = None
        if tensorflow is not None:
            with contextlib.suppress(TypeError, ValueError):  # Lists of several sizes.
                dataset = tensorflow.data.Dataset.from_tensors(parts)
        if dataset is None:
            return _as_arrays(self._preprocess(*parts))
        return _as_arrays(self._in_graph(tensorflow, dataset))

    def _dataset_of_fit(self, parts: tuple[Any, ...]) -> Any:
        """Returns the data set that `evaluate` makes of a batch; `None` on failure."""
        with contextlib.suppress(Exception):
            return None if self._capture is None else self._capture.dataset(*parts)
        return None

    def _in_graph(self, tf: Any, dataset: Any) -> Any:
        options = tf.data.Options()
        options.autotune.enabled = False  # Its thread would outlive each batch.
        signature = self._signature(tf, dataset.element_spec)
        key = str(signature)
        if key not in self._graphs:
            self._graphs[key] = tf.function(self._preprocess, input_signature=signature)
        return next(iter(dataset.map(self._graphs[key]).with_options(options)))

    def _signature(self, tf: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the signature to trace: that of the data, if it fits the batch."""

        def for_any_size(spec: Any) -> Any:
            if not isinstance(spec, tf.TensorSpec) or not spec.shape.rank:
                return spec  # The spec of a ragged tensor.
            return tf.TensorSpec([None, *spec.shape[1:]], spec.dtype)

        declared = self._spec
        if isinstance(declared, tuple) and len(declared) >= len(given):
            declared = tf.nest.map_structure(for_any_size, declared[: len(given)])
            try:
                pairs = zip(
                    tf.nest.flatten(declared), tf.nest.flatten(given), strict=True
                )
                if all(spec.is_compatible_with(one) for spec, one in pairs):
                    return tuple(declared)
            except ValueError:
                pass
        return tuple(tf.nest.map_structure(for_any_size, given))


def preprocessing(model: Any, source: Any = None) -> Preprocessing | None:
    """Returns the preprocessing of `fit` and `evaluate`; `None` without one."""
    if getattr(model, "preprocess_samples", None) is None or is_unprocessed(model):
        return None
    return Preprocessing(model, source)


def is_unprocessed(model: Any) -> bool:
    """Whether a model is a task of KerasHub without a preprocessor."""
    kinds = type(model).__mro__
    owner = next((kind for kind in kinds if "preprocess_samples" in vars(kind)), None)
    return bool(
        owner is not None
        and owner.__module__.startswith("keras_hub.")
        and getattr(model, "preprocessor", None) is None
    )


def _capture(model: Any) -> Any:
    """Makes a task that returns the data set that its `evaluate` makes of a batch.

    `None` if the class with `preprocess_samples` has no `evaluate` of its own.
    """
    kinds = type(model).__mro__
    roots = [kind for kind in kinds if "preprocess_samples" in vars(kind)]
    root: Any = roots[-1] if roots else None
    if root is None or "evaluate" not in vars(root):
        return None

    class Evaluated(keras.Model):  # type: ignore[misc]
        def evaluate(self, x: Any = None, **options: Any) -> Any:
            return x

    class Capture(root, Evaluated):  # type: ignore[misc]
        def dataset(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
            size = len(keras.tree.flatten(x)[0])
            evaluate: Any = self.evaluate
            return evaluate(x, y, batch_size=size, sample_weight=sample_weight)

    capture: Any = object.__new__(Capture)
    capture.__dict__["preprocess_samples"] = model.preprocess_samples
    return capture


def _is_of_grain(source: Any) -> bool:
    return type(source).__module__.partition(".")[0] == "grain"


def _as_arrays(parts: Any) -> Any:
    """Converts tensors to arrays; KerasHub's layers convert lists to tensors."""
    return keras.tree.map_structure(
        lambda leaf: leaf if leaf is None else to_numpy(leaf), parts
    )


def before_rescaling(model: Any, x: Any) -> Any:
    """Undoes the rescaling of a preprocessed image, but not the resizing.

    KerasHub's `ImageConverter` resizes an image, multiplies it by `scale` and adds
    `offset`. Tables show the image before the last two steps.
    """
    converter = getattr(getattr(model, "preprocessor", None), "image_converter", None)
    scale, offset = (
        getattr(converter, "scale", None),
        getattr(converter, "offset", None),
    )
    if not isinstance(x, np.ndarray) or (scale is None and offset is None):
        return x
    axis = (-1, 1, 1) if _channels_first(converter) else (1, 1, -1)
    shown: Any = x.astype(np.float32)
    if offset is not None:
        shown = shown - np.reshape(np.asarray(offset, np.float32), _fit(offset, axis))
    if scale is not None:
        shown = shown / np.reshape(np.asarray(scale, np.float32), _fit(scale, axis))
    return shown


def _channels_first(converter: Any) -> bool:
    return getattr(converter, "data_format", None) == "channels_first"


def _fit(value: Any, axis: tuple[int, ...]) -> tuple[int, ...]:
    return axis if np.ndim(value) else (1, 1, 1)
