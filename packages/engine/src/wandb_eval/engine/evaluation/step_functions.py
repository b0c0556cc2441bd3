"""Functions that Keras makes from the steps of a model, for this package only.

Keras keeps `test_function` and `predict_function` on the model. If we shared them, they
would be traced for batches of ours that the user's own calls never see, and vice versa.
So our functions are kept here, for as long as the model lives.
"""

from __future__ import annotations

import contextlib
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras

_MADE_BY_KERAS = ("train_function", "test_function", "predict_function")


class StepFunctions:
    """Our functions for one model, which are made at the first access.

    A function must not hold the model, or the model would live forever: see `weakly`.

    Attributes:
        generation: The number of times that the functions were forgotten.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._functions: dict[Any, Any] = {}
        self._seen: dict[str, weakref.ref[Any]] = {}
        self._weights: tuple[int, ...] = ()

    def get(self, key: Any, make: Callable[[], Any]) -> Any:
        """Returns the function of a key, and makes it if there is none yet."""
        if key not in self._functions:
            self._functions[key] = make()
        return self._functions[key]

    def renew(self, model: Any) -> None:
        """Forgets all functions if the model has changed.

        `compile`, `quantize` and others reset the functions of Keras. A function of
        Keras that was not there before is no sign of a change.
        """
        changed = False
        # `compile` makes a new loss tracker, even if Keras has not made a function.
        for name in (*_MADE_BY_KERAS, "_loss_tracker"):
            now = made_by_keras(getattr(model, name, None))
            if name in self._seen and self._seen[name]() is not now:
                changed = True
                del self._seen[name]
            if now is not None:
                self._seen[name] = weakref.ref(now)
        weights = tuple(map(id, model.weights))
        changed = changed or bool(self._weights and self._weights != weights)
        self._weights = weights
        if changed:
            self.generation += 1
            self._functions.clear()


_KEPT: weakref.WeakKeyDictionary[Any, StepFunctions] = weakref.WeakKeyDictionary()


def step_functions(model: Any) -> StepFunctions:
    """Returns our functions for a model; new ones if the model has changed."""
    functions = _KEPT.setdefault(model, StepFunctions())
    functions.renew(model)
    return functions


def made_by_keras(function: Any) -> Any:
    """Returns the function of Keras that ours replaces, or the function itself."""
    while hasattr(function, "in_place_of"):
        function = function.in_place_of
    return function


def weakly(model: Any, method: str) -> Callable[..., Any]:
    """Returns a method of a model as a function that does not hold the model."""
    reference = weakref.ref(model)

    def call(*args: Any) -> Any:
        return getattr(reference(), method)(*args)

    return call


def make_function(model: Any, kind: str, step: Callable[..., Any]) -> Any:
    """Makes Keras' function for a step, without holding or changing the model.

    Args:
        model: The model.
        kind: `"test"` or `"predict"`.
        step: The function that replaces its `test_step` or `predict_step`.
    """
    stand_in = _StandIn(model)
    vars(stand_in)[f"{kind}_step"] = step
    getattr(keras.Model, f"make_{kind}_function")(stand_in, force=True)
    return vars(stand_in)[f"{kind}_function"]


class _StandIn:
    """Stands in for a model: Keras sets its function here, not on the model."""

    def __init__(self, model: Any) -> None:
        self._model = weakref.ref(model)

    def __getattr__(self, name: str) -> Any:
        model = self._model()
        if name == "_make_function":  # Its functions use `self` at each call.
            return types.MethodType(getattr(type(model), name), self)
        return getattr(model, name)


@contextlib.contextmanager
def as_predict_function(model: Any, function: Any) -> Iterator[None]:
    """Replaces `model.predict_function`, until the `with` statement ends."""
    before = model.predict_function
    has_stop = hasattr(model, "stop_predicting")
    model.predict_function = function
    try:
        yield
    finally:
        model.predict_function = before
        if not has_stop and hasattr(model, "stop_predicting"):
            del model.stop_predicting
