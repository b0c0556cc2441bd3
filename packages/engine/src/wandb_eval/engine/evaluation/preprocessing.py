"""What a model's own preprocessor makes of the data, as KerasHub's tasks do it."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import keras
import numpy as np

from wandb_eval.engine.nested import to_numpy


class Preprocessing:
    """Does to batches what `fit` and `evaluate` of a KerasHub task do to theirs.

    They map `preprocess_samples` over a `tf.data.Dataset`, or over one of Grain.
    Outside of these its layers take other ways, with other dtypes and roundings, and
    some fail. So each batch is sent through such a dataset.

    Args:
        model: The task.
        source: The validation data: which way `fit` goes depends on it.
    """

    def __init__(self, model: Any, source: Any) -> None:
        self._preprocess = model.preprocess_samples
        self._capture = _capture(model)
        self._spec = getattr(source, "element_spec", None)
        # What `fit` takes of arrays depends on what is installed; with generators of
        # batches it does not work at all.
        self._asks = isinstance(source, (tuple, list)) or _is_of_grain(source)
        self._graphs: dict[str, Any] = {}

    def __call__(self, raw: Any) -> Any:
        """A batch `(x, y)` or `(x, y, sample_weight)`, preprocessed."""
        if not isinstance(raw, (tuple, list)) or len(raw) not in (2, 3):
            return raw
        return self._run(tuple(raw))

    def inputs(self, x: Any) -> Any:
        """The inputs of a batch, preprocessed without targets."""
        return keras.utils.unpack_x_y_sample_weight(self._run((x,)))[0]

    def _run(self, parts: tuple[Any, ...]) -> Any:
        if self._asks:
            dataset = self._dataset_of_fit(parts)
            if dataset is not None and not hasattr(dataset, "element_spec"):
                return _as_arrays(next(iter(dataset)))
            self._asks = False  # It would be traced anew for each batch.
        tensorflow = sys.modules.get("tensorflow")
        dataset = None
        if tensorflow is not None:
            with contextlib.suppress(TypeError, ValueError):  # Lists of several sizes.
                dataset = tensorflow.data.Dataset.from_tensors(parts)
        if dataset is None:
            return _as_arrays(self._preprocess(*parts))
        return _as_arrays(self._in_graph(tensorflow, dataset))

    def _dataset_of_fit(self, parts: tuple[Any, ...]) -> Any:
        """What `evaluate` makes of a batch; `None` if it can't."""
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
        """What the function is traced for: what the data declares, if it fits."""

        def for_any_size(spec: Any) -> Any:
            if not isinstance(spec, tf.TensorSpec) or not spec.shape.rank:
                return spec  # Of ragged tensors.
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
    """What `fit` and `evaluate` of a model do to a batch first; `None` for nothing."""
    if getattr(model, "preprocess_samples", None) is None or is_unprocessed(model):
        return None
    return Preprocessing(model, source)


def is_unprocessed(model: Any) -> bool:
    """Whether it is a task of KerasHub that has nothing to preprocess data with."""
    kinds = type(model).__mro__
    owner = next((kind for kind in kinds if "preprocess_samples" in vars(kind)), None)
    return bool(
        owner is not None
        and owner.__module__.startswith("keras_hub.")
        and getattr(model, "preprocessor", None) is None
    )


def _capture(model: Any) -> Any:
    """A task that gives away the dataset that its `evaluate` makes of a batch.

    `None` if the class that has `preprocess_samples` has no `evaluate` of its own.
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
    """Of a batch with a list in it, KerasHub's layers make a tensor."""
    return keras.tree.map_structure(
        lambda leaf: leaf if leaf is None else to_numpy(leaf), parts
    )


def before_rescaling(model: Any, x: Any) -> Any:
    """A preprocessed image with the values that it had: resized, but not rescaled.

    KerasHub's `ImageConverter` resizes an image, multiplies it by `scale` and adds
    `offset`. Shown is what lies before these two.
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
