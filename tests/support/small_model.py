"""A small model for many tests: they need a training, and not what is learned."""

import functools
from typing import Any

import keras


def fit(x: Any, y: Any, *callbacks: keras.callbacks.Callback, **options: Any) -> Any:
    """Trains a model that is compiled once for all tests of a process.

    Args:
        x: The inputs, an array.
        y: The targets, an array of shape `(samples,)` or `(samples, units)`.
        *callbacks: Of this training.
        **options: For `Model.fit`.

    Returns:
        Keras' `History`.
    """
    units = y.shape[1] if y.ndim > 1 else 1
    model = _compiled(x.shape[1:], units)
    try:
        options = {"verbose": 0, **options}
        return model.fit(x, y, callbacks=list(callbacks), **options)
    except BaseException:
        _compiled.cache_clear()  # On JAX its weights may be gone.
        raise


@functools.cache
def _compiled(shape: tuple[int, ...], units: int) -> keras.Model:
    """`shape` is that of an input: the model is built by the first one."""
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(units)])
    model.compile("sgd", "mse")
    return model
