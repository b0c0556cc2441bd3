"""Predicts in batches of one size, because a model may take only one size."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from wandb_eval.engine.evaluation.processes import NotSharedError
from wandb_eval.engine.evaluation.step_functions import (
    as_predict_function,
    make_function,
    step_functions,
    weakly,
)
from wandb_eval.engine.nested import (
    describe,
    resize,
    shapes_of,
    shapes_of_samples,
    size_of,
    to_numpy,
)


class Predictor:
    """Predicts batches of any size, in batches of one size.

    A smaller batch is filled up with its last sample, and the outputs are cut. A larger
    batch is predicted in parts. So a model is traced or compiled once for each shape of
    the inputs, and a model that takes batches of a single size gets that size.

    Args:
        model: The model.
        shapes: For each shape of the inputs, an input, and the largest number of
            samples in a batch, as in `DataScan.shapes`.
        default: The batch size for other shapes.
        preprocesses: Whether inputs are preprocessed already.
        prepare: A function that preprocesses other inputs; `None` for a model without a
            preprocessor.
    """

    def __init__(
        self,
        model: Any,
        shapes: list[tuple[Any, int]],
        default: int,
        preprocesses: bool,
        prepare: Callable[[Any], Any] | None = None,
    ) -> None:
        self._model = model
        self._prepare = prepare
        # A model with a preprocessor applies it in methods of its own class.
        is_prepared = preprocesses or prepare is not None
        self._owner = keras.Model if is_prepared else type(model)
        self._default = default
        self._fixed = _fixed_size(model)
        self._sizes = {str(shapes_of(x)): size for x, size in shapes}
        # `predict_on_batch` passes `(x,)` to `predict_step`, whereas `predict` passes
        # x. KerasHub's object detectors fail on the tuple. Every replica would also
        # predict the whole batch.
        strategy = getattr(model, "distribute_strategy", None)
        replicas = getattr(strategy, "num_replicas_in_sync", 1)
        self._by_predict = replicas > 1 or has_own_predict_step(model)
        self._own_functions: dict[tuple[int, int], Any] = {}
        self._alone: _AloneOnJax | None = None
        self.begin()

    def begin(self) -> None:
        """Prepares for a pass: the model may have changed since the last one."""
        self._functions = step_functions(self._model)

    def size(self, x: Any) -> int:
        """Returns the batch size in which these inputs are predicted."""
        if self._fixed is not None:
            return self._fixed
        return self._sizes.get(str(shapes_of_samples(x)), self._default)

    def __call__(self, x: Any) -> Any:
        """Returns the outputs of the model for a batch, as arrays or tensors."""
        count, size = size_of(x) or 0, self.size(x)
        parts = [
            self._cut(_part(x, start, size), min(size, count - start), size)
            for start in range(0, count, size)
        ]
        if len(parts) == 1:
            return parts[0]
        return keras.tree.map_structure(
            lambda *leaves: keras.ops.concatenate(leaves), *parts
        )

    def why_not_alone(self) -> str | None:
        """Returns why this process can't predict alone; `None` if it can."""
        if keras.backend.backend() == "jax" and not _is_compiled(
            self._model, self._owner
        ):
            return "the model predicts in a way of its own"
        if any(hasattr(weight.value, "device_mesh") for weight in self._model.weights):
            return "each process has a part of the weights"
        return None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Predicts without other processes, until the `with` statement ends."""
        if keras.backend.backend() == "jax":
            make = lambda: _AloneOnJax(self._model)  # noqa: E731
            self._alone = self._functions.get("predict alone on jax", make)
            self._alone.begin(self._model)
        try:
            yield
        finally:
            if self._alone is not None:
                self._alone.end()
            self._alone = None

    def check(self, x: Any) -> None:
        """Predicts a batch that repeats one sample, before training.

        Raises:
            ValueError: If the model can't predict it.
        """
        batch = keras.tree.map_structure(lambda leaf: leaf[None], x)
        size = self.size(batch)
        try:
            self(resize(batch, size))
        except Exception as error:
            fed = describe(resize(batch, size))
            raise ValueError(
                "The model can't predict a batch of `validation_data`. It was given "
                f"{fed}. Received: {type(error).__name__}: {error}"
            ) from error

    def _cut(self, x: Any, count: int, size: int) -> Any:
        outputs = self._predict(resize(x, size), size)
        if count == size:
            return outputs
        return keras.tree.map_structure(lambda leaf: leaf[:count], outputs)

    def _predict(self, x: Any, size: int) -> Any:
        if self._prepare is not None:
            x = self._prepare(x)
        if self._alone is not None:
            return self._alone(self._model, x)
        if _can_be_compiled(self._model, self._owner):
            make = lambda: _CompiledOnJax(self._model)  # noqa: E731
            return self._functions.get("predict on jax", make)(self._model, x)
        function = self._function(size)
        with as_predict_function(self._model, function), _evaluating(self._model):
            if self._by_predict:
                return self._owner.predict(self._model, x, batch_size=size, verbose=0)
            return self._owner.predict_on_batch(self._model, x)

    def _function(self, size: int) -> Any:
        """Returns a `predict_function` for batches of one size.

        TensorFlow traces a function that got two sizes for any size, and KerasHub's
        non-maximum suppression fails where the size is not known.
        """
        model = self._model
        if type(model).make_predict_function is keras.Model.make_predict_function:
            return self._functions.get(
                ("predict", size),
                lambda: make_function(model, "predict", weakly(model, "predict_step")),
            )
        key = self._functions.generation, size
        if key not in self._own_functions:
            with as_predict_function(model, None):
                model.make_predict_function()
                self._own_functions[key] = model.predict_function
        return self._own_functions[key]


@contextlib.contextmanager
def unchanged_state(model: Any) -> Iterator[None]:
    """Restores the state that predictions change: random seeds, and states of RNNs.

    So the layers of a training draw the same random numbers as without us.
    """
    variables = [
        variable
        for variable in getattr(model, "non_trainable_variables", ())
        if variable.name == "seed_generator_state"
    ]
    if isinstance(model, keras.Layer):
        # Keras does not list the states of stateful RNNs among the variables.
        for layer in model._flatten_layers():
            if getattr(layer, "stateful", False):
                states = keras.tree.flatten(getattr(layer, "states", None))
                variables += [one for one in states if hasattr(one, "assign")]
    if variables and hasattr(model, "jax_state_sync"):
        model.jax_state_sync()  # `fit` may have newer ones than the model.
    values = [np.array(to_numpy(variable.value)) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Switches the modules of a model on Torch to their mode of evaluation.

    `predict` of Keras does that, and leaves them in it; `predict_on_batch` does not.
    """
    if keras.backend.backend() != "torch":
        yield
        return
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


class _CompiledOnJax:
    """A faster `model.predict_on_batch` on JAX.

    Keras' method assigns every weight of the model for each batch, and waits for the
    outputs. This one does neither.

    Args:
        model: The model, of which only a weak reference is kept.
    """

    def __init__(self, model: Any) -> None:
        import jax

        self._model = weakref.ref(model)
        self._step = jax.jit(self._stateless)

    def __call__(self, model: Any, x: Any) -> Any:
        """Returns the outputs, without waiting for them."""
        model.jax_state_sync()  # `fit` may have newer weights than the model.
        variables = model.non_trainable_variables
        outputs, changed = self._step(
            [variable.value for variable in model.trainable_variables],
            [variable.value for variable in variables],
            x,
        )
        for i, value in changed.items():
            variables[i].assign(value)
        return outputs

    def _stateless(self, trainable: Any, others: Any, x: Any) -> Any:
        """Returns the outputs, and the changed state, such as that of an RNN."""
        model: Any = self._model()
        data = keras.utils.pack_x_y_sample_weight(x)  # As `predict` passes it.
        outputs, others_after = model.predict_step((trainable, others), data)
        pairs = enumerate(zip(others, others_after, strict=True))
        return outputs, {i: new for i, (old, new) in pairs if new is not old}


class _AloneOnJax(_CompiledOnJax):
    """Predicts on the devices of this process, of several ones that share a model.

    Each process has all weights on each of its devices. A batch is cut into equal parts
    for these, where its size allows that.

    Args:
        model: The model, of which only a weak reference is kept.
    """

    def __init__(self, model: Any) -> None:
        from jax.sharding import Mesh, NamedSharding
        from jax.sharding import PartitionSpec as Spec

        super().__init__(model)
        sharding = model.variables[0].value.sharding  # That of all of them.
        own = sharding.addressable_devices
        devices = sorted(own, key=lambda device: device.id)
        mesh = Mesh(np.array(devices), ("batch",))
        self._whole = NamedSharding(mesh, Spec())  # type: ignore[no-untyped-call]
        self._cut = NamedSharding(mesh, Spec("batch"))  # type: ignore[no-untyped-call]
        self._weights: tuple[list[Any], list[Any]] = [], []

    def begin(self, model: Any) -> None:
        """Takes the weights that the model has now, without a copy."""
        model.jax_state_sync()  # `fit` may have newer weights than the model.
        self._weights = (
            [self._own(variable.value) for variable in model.trainable_variables],
            [self._own(variable.value) for variable in model.non_trainable_variables],
        )

    def end(self) -> None:
        """Drops the weights."""
        self._weights = [], []

    def __call__(self, model: Any, x: Any) -> Any:
        """Returns the outputs, without waiting for them."""
        outputs, changed = self._step(*self._weights, self._put(x))
        if changed:
            raise NotSharedError("the model changes when it predicts")
        return outputs

    def _own(self, value: Any) -> Any:
        import jax

        shards = [shard.data for shard in value.addressable_shards]
        return jax.make_array_from_single_device_arrays(
            value.shape, self._whole, shards
        )

    def _put(self, x: Any) -> Any:
        import jax

        count = self._cut.mesh.size
        sharding = self._whole if (size_of(x) or 0) % count else self._cut
        return jax.device_put(keras.tree.map_structure(to_numpy, x), sharding)


def _can_be_compiled(model: Any, owner: Any) -> bool:
    """Whether `_CompiledOnJax` can replace the model's `predict_on_batch`."""
    return bool(
        keras.backend.backend() == "jax"
        and _is_compiled(model, owner)
        and keras.distribution.distribution() is None
    )


def _is_compiled(model: Any, owner: Any) -> bool:
    """Whether the model predicts as Keras does on JAX, in a compiled step."""
    return bool(
        owner.predict_on_batch is keras.Model.predict_on_batch
        and owner.predict is keras.Model.predict
        and not is_nnx_enabled()
        and model.built
        and model.jit_compile
        and not model.run_eagerly
    )


def is_nnx_enabled() -> bool:
    """Whether Keras keeps the state of models in Flax' NNX."""
    config = getattr(keras, "config", None)
    is_enabled = getattr(config, "is_nnx_enabled", None)
    return bool(is_enabled and is_enabled())


def has_own_predict_step(model: Any) -> bool:
    """Whether the model has its own `predict_step`."""
    predict_step = getattr(type(model), "predict_step", None)
    return predict_step is not keras.Model.predict_step


def _fixed_size(model: Any) -> int | None:
    """Returns the batch size that the inputs of a model declare; `None` for any."""
    inputs = getattr(model, "inputs", None) or []
    sizes = {tensor.shape[0] for tensor in inputs if len(tensor.shape)}
    return next((int(size) for size in sizes if size), None)


def _part(x: Any, start: int, size: int) -> Any:
    if start == 0 and (size_of(x) or 0) <= size:
        return x
    return keras.tree.map_structure(lambda leaf: leaf[start : start + size], x)
