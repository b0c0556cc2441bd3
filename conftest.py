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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the slow tests, so that none of them runs alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
