"""Fixtures for all tests: the loopback W&B backend, and Keras' other data format."""

import pytest

pytest_plugins = ["loopback.fixtures"]


@pytest.fixture
def channels_first():
    """Keras' image data format is `"channels_first"` during the test."""
    import keras

    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)
