"""Fixtures for all tests: the loopback W&B backend, and Keras' other data format."""

import os

import pytest
from hypothesis import settings

# Machines stand still at times. The same examples are tried everywhere, but by hand.
settings.register_profile(
    "tests", deadline=None, derandomize="RUN_SLOW" not in os.environ
)
settings.load_profile("tests")

pytest_plugins = ["loopback.fixtures"]


@pytest.fixture
def channels_first():
    """Keras' image data format is `"channels_first"` during the test."""
    import keras

    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the slow tests, so that none of them runs alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
