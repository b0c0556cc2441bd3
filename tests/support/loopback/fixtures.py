"""Pytest fixtures: a loopback backend and a W&B environment of its own.

Use it by `pytest_plugins = ["loopback.fixtures"]` in the root `conftest.py`.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loopback.client import Loopback
from loopback.environment import forget_wandb, sync_run, wandb_environment
from loopback.server import serve


@pytest.fixture
def loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A fresh backend, and wandb set up to know nothing but it.

    It holds for offline runs too (`wandb.init(mode="offline")`). After the test the
    active run is finished and wandb's service is stopped.
    """
    import wandb

    for name in list(os.environ):
        if name.startswith("WANDB_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = tmp_path / "wandb-home"
    home.mkdir()
    with serve() as server:
        for name, value in wandb_environment(server.url, home).items():
            monkeypatch.setenv(name, value)
        forget_wandb()
        yield server
        server.up()
        server.clear_faults()
        if wandb.run is not None:
            wandb.finish()
        forget_wandb()


@pytest.fixture
def sync(loopback: Loopback) -> Callable[[Path | str], str]:
    """`sync(run_dir)` sends an offline run to the backend; see `sync_run`."""
    return sync_run
