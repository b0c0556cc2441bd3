"""A small model for the many tests that need a training, whatever it learns."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras


def fit(x: Any, y: Any, *callbacks: keras.callbacks.Callback, **options: Any) -> Any:
    """Trains a model that is compiled once for all tests of a process.

    Args:
        x: The inputs, an array.
        y: The targets, an array of shape `(samples,)` or `(samples, units)`.
        *callbacks: The callbacks of this training.
        **options: Other arguments of `Model.fit`.

    Returns:
        Keras' `History`.
    """
    units = y.shape[1] if y.ndim > 1 else 1
    model = _compiled(x.shape[1:], units)
    options = {"verbose": 0, **options}
    with renewed_after_errors(_compiled):
        return model.fit(x, y, callbacks=list(callbacks), **options)


@contextlib.contextmanager
def renewed_after_errors(compiled: Any) -> Iterator[None]:
    """Compiles a shared model again after a training that fails.

    On JAX, the weights of the model may be gone then.

    Args:
        compiled: The function, with `functools.cache`, that compiles the model.
    """
    try:
        yield
    except BaseException:
        compiled.cache_clear()
        raise


@functools.cache
def _compiled(shape: tuple[int, ...], units: int) -> keras.Model:
    """Compiles a model for inputs of a shape; the first batch builds it."""
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(units)])
    model.compile("sgd", "mse")
    return model
