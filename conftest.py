"""Fixtures for all tests: the loopback W&B backend."""

pytest_plugins = ["loopback.fixtures"]
