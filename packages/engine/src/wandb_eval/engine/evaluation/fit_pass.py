"""Collects the outputs of the model in the validation of `fit`.

`evaluate` looks up `model.test_function` for each batch. During the validation, our
function replaces it. It takes a batch from the same iterator, and runs a step that
Keras has compiled from the model's own `test_step`, with one more output: the `y_pred`
that the step passes to `compute_metrics`. Logs, metrics and the progress bar do not
change.
"""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from wandb_eval.core.processes import is_alone
from wandb_eval.engine.evaluation.predict import has_own_predict_step, is_nnx_enabled
from wandb_eval.engine.evaluation.step_functions import (
    made_by_keras,
    make_function,
    step_functions,
    weakly,
)
from wandb_eval.engine.nested import to_numpy
from wandb_eval.engine.threads import release_in_background

logger = logging.getLogger(__name__)

Take = Callable[[Any, Any], None]
"""Receives a batch of a step of `fit`, and the outputs of the model for it."""


class FitPass:
    """Passes on the batches of `fit`'s validation, with the outputs for them.

    Args:
        model: The model.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._original: Any = None
        self._installed: Any = None
        self._iterators: list[Any] = []
        self._decode: Any = None

    def decode(self, raw: Any, outputs: Any) -> Any:
        """Decodes the outputs for a batch, as `predict` does.

        Decoding is not a part of the step that is compiled for `fit`: KerasHub's
        non-maximum suppression fails where the size of the batch is not known.
        """
        if self._decode is None:
            return outputs
        return self._decode(outputs, keras.utils.unpack_x_y_sample_weight(raw)[0])

    def begin(self, take: Take) -> None:
        """Replaces `model.test_function` by our function.

        Args:
            take: A function that is called after each batch, with `None` as the outputs
                if they can't be taken. Its exceptions would end `fit`.
        """
        self.end()
        model = self.model
        # Not ours that an interrupted validation has left.
        self._original = made_by_keras(model.test_function)
        if self._original is None:  # The caller is not `evaluate`.
            return
        functions = step_functions(model)
        step_function = functions.get("test", lambda: _make_step_function(model))
        if decodes(model):
            self._decode = functions.get("decode", lambda: _make_decode(model))
        backend, original = keras.backend.backend(), self._original
        run = _RUNNERS[backend]

        def test_function(*args: Any) -> Any:
            if backend == "tensorflow":
                self._iterators = [args[-1]]
            try:
                data = args[-1][0] if backend == "torch" else next(args[-1])
                seen = data
                if backend != "tensorflow":
                    # A step that is not traced may change dictionaries of the batch.
                    seen = keras.tree.map_structure(lambda leaf: leaf, data)
                try:
                    result, outputs = run(step_function, data, *args[:-1])
                except Exception as error:
                    if backend == "jax" and _is_consumed(args[:-1]):
                        raise
                    # Keras' own function may run, and raises again if it can't. Ours
                    # needs more memory.
                    logger.debug("The step of fit can't be changed", exc_info=error)
                    self.end()
                    take(data, None)
                    again = iter([data]) if backend == "jax" else [data]
                    return original(*args[:-1], again)
            except BaseException:  # The end of the data, too.
                self.end()
                raise
            take(seen, outputs)
            return result

        vars(test_function)["in_place_of"] = original
        self._installed = model.test_function = test_function

    def end(self) -> None:
        """Restores `model.test_function`."""
        if self._installed is not None and (
            self.model.test_function is self._installed
        ):
            self.model.test_function = self._original
        self._installed = self._original = None

    def release(self) -> None:
        """Ends, and drops the iterator of a validation that `fit` has ended."""
        self.end()
        iterators, self._iterators = self._iterators, []
        if iterators:
            release_in_background(iterators)


def why_not(model: Any, is_shared: bool) -> str | None:
    """Returns why `fit`'s validation can't give the outputs; `None` if it can.

    Args:
        model: The model.
        is_shared: Whether several processes share the passes over the data, of which
            each has all weights.
    """
    reason = _why_not_distributed(model, is_shared)
    if reason is not None:
        return reason
    if getattr(model, "steps_per_execution", 1) > 1:
        return "`steps_per_execution` is above 1"
    if has_own_predict_step(model) and not decodes(model):
        return "`predict_step` of the model does more than call it"
    if is_nnx_enabled():
        return "Keras runs on NNX"
    if getattr(type(model), "make_test_function", None) is not (
        keras.Model.make_test_function
    ):
        return "the model has a `make_test_function` of its own"
    return None


def _why_not_distributed(model: Any, is_shared: bool) -> str | None:
    strategy = getattr(model, "distribute_strategy", None)
    has_distribution = keras.distribution.distribution() is not None
    if getattr(strategy, "num_replicas_in_sync", 1) > 1 or (
        has_distribution and not (is_shared and keras.backend.backend() == "jax")
    ):
        return "several devices share the batches"
    if has_distribution and must_verify(model):
        return "`test_step` of the model may not put out what `predict` does"
    if not has_distribution and not is_alone():
        return "several processes share the batches"
    return None


def may_refill() -> bool:
    """Whether the batches of `fit` may reuse the same arrays.

    TensorFlow's iterators convert them to new tensors.
    """
    return bool(keras.backend.backend() != "tensorflow")


def must_verify(model: Any) -> bool:
    """Whether the outputs may differ from those of `predict`."""
    test_step = getattr(type(model), "test_step", None)
    own = test_step is not keras.Model.test_step or "test_step" in vars(model)
    return own or decodes(model)


def validated_on() -> tuple[Any, Any] | None:
    """Returns the x and y that Keras validates on, as they were passed to `fit`.

    Call it in `on_test_begin`. Keras does not pass them to hooks, but `evaluate`, which
    calls the hook, has them as arguments; a data set is x, and y is `None`. The `fit`
    of KerasHub's tasks passes its own data set to `evaluate`, and has the arrays that
    it is made from. Other callers of `evaluate`, such as a user's own `fit`, may have
    changed the data.
    """
    frame: Any = sys._getframe(1)
    found: tuple[Any, Any] | None = None
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        called = frame.f_code.co_name
        # `f_locals` of a user's function would keep its variables alive.
        if found is None:
            if module.startswith("keras.") and called == "evaluate":
                found = frame.f_locals.get("x"), frame.f_locals.get("y")
        elif not module.startswith(("keras.", "keras_hub.")):
            break
        elif module.startswith("keras_hub.") and called == "fit":
            values = frame.f_locals
            found = (values["vx"], values["vy"]) if "vx" in values else found
        frame = frame.f_back
    return found


def is_given(data: Any) -> bool:
    """Whether Keras validates on the same objects as `data` has, or is.

    Call it in `on_test_begin`, like `validated_on`.
    """
    given = validated_on()
    if given is None:
        return False
    x, y = given
    if isinstance(data, (tuple, list)):
        own = [*data[:2], None, None]  # A list of batches does not match.
        return _is_same(own[0], x) and _is_same(own[1], y)
    return data is x and y is None


def _is_same(node: Any, other: Any) -> bool:
    """Whether nodes are the same object, or nest the same objects."""
    if isinstance(node, dict) and isinstance(other, dict):
        return node.keys() == other.keys() and all(
            _is_same(node[key], other[key]) for key in node
        )
    if isinstance(node, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(node) == len(other) and all(map(_is_same, node, other))
    return node is other


def decodes(model: Any) -> bool:
    """Whether `predict_step` is that of KerasHub's detectors.

    It decodes boxes with `decode_predictions`.
    """
    owners = (kind for kind in type(model).__mro__ if "predict_step" in vars(kind))
    owner = next(owners, keras.Model)
    return owner.__module__.startswith("keras_hub.") and (
        "decode_predictions" in vars(owner)
    )


def of_this_process(raw: Any, outputs: Any) -> tuple[Any, Any]:
    """Returns the samples of this process, of arrays that all processes of JAX share.

    Args:
        raw: A batch of a step of `fit`.
        outputs: The outputs of the model for it.

    Raises:
        LookupError: If this process does not have the outputs for its samples.
    """
    leaves = [leaf for leaf in keras.tree.flatten(raw) if leaf is not None]
    shape = leaves[0].shape
    places = leaves[0].sharding.addressable_devices_indices_map(shape).values()
    bounds = [place[0].indices(shape[0])[:2] for place in places]
    rows = min(start for start, _ in bounds), max(stop for _, stop in bounds)
    raw, outputs = keras.tree.map_structure(
        lambda leaf: None if leaf is None else _own_rows(leaf, *rows), (raw, outputs)
    )
    return raw, outputs


def _own_rows(array: Any, start: int, stop: int) -> Any:
    shards = {
        shard.index[0].indices(array.shape[0])[:2]: shard.data
        for shard in array.addressable_shards
        if shard.data.shape[1:] == array.shape[1:]
    }
    if (start, stop) in shards:
        return shards[start, stop]
    found, place = [], start
    for (begin, end), rows in sorted(shards.items(), key=lambda shard: shard[0]):
        if begin <= place < end:
            found.append(to_numpy(rows)[place - begin : stop - begin])
            place = end
    if place < stop:
        raise LookupError(f"Rows {place} to {stop} are in other processes.")
    return np.concatenate(found)


def _make_step_function(model: Any) -> Any:
    """Makes Keras' function for a `test_step` that also returns the outputs."""
    step = _with_outputs(model)
    if keras.backend.backend() == "torch":  # Nothing is traced there.
        return step
    return make_function(model, "test", step)


def _make_decode(model: Any) -> Any:
    decode = weakly(model, "decode_predictions")
    if keras.backend.backend() != "jax":
        return decode
    import jax

    return jax.jit(decode)


def _with_outputs(model: Any) -> Callable[..., Any]:
    """Returns a `test_step` that also returns the outputs in `compute_metrics`."""
    reference = weakref.ref(model)

    def step(*args: Any) -> Any:
        model: Any = reference()
        seen: list[Any] = []
        compute_metrics = model.compute_metrics
        own = vars(model)
        before = own.get("compute_metrics")

        def noting(*args: Any, **named: Any) -> Any:  # Of Keras: x, y, y_pred, ...
            seen.append(named.get("y_pred", args[2] if len(args) > 2 else None))
            return compute_metrics(*args, **named)

        own["compute_metrics"] = noting
        try:
            result = model.test_step(*args)
        finally:
            if before is None:
                del own["compute_metrics"]
            else:
                own["compute_metrics"] = before
        outputs = seen[0] if len(seen) == 1 else None
        if keras.backend.backend() == "jax":  # It returns the state, too.
            logs, state = result
            return (logs, outputs), state
        return result, outputs

    return step


def _run_tensorflow(function: Any, data: Any) -> Any:
    return function([data])


def _run_jax(function: Any, data: Any, state: Any) -> Any:
    (logs, outputs), state = function(state, iter([data]))
    return (logs, state), outputs


def _run_torch(function: Any, data: Any) -> Any:
    import torch

    with torch.no_grad():
        return function(data)


_RUNNERS: dict[str, Callable[..., Any]] = {
    "tensorflow": _run_tensorflow,
    "jax": _run_jax,
    "torch": _run_torch,
}
"""Run a step of ours for a batch; return the result for Keras, and the outputs."""


def _is_consumed(state: Any) -> bool:
    """Whether a step on JAX has taken the arrays of its arguments for its results."""
    import jax

    return any(getattr(leaf, "is_deleted", bool)() for leaf in jax.tree.leaves(state))
