"""Pytest fixtures: a loopback backend, and a separate environment for W&B.

Use it by `pytest_plugins = ["loopback.fixtures"]` in the root `conftest.py`.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loopback.client import Loopback
from loopback.environment import forget_wandb, sync_run, wandb_environment
from loopback.server import serve


@pytest.fixture
def loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A fresh backend, and wandb set up to know only this backend.

    It works for offline runs too (`wandb.init(mode="offline")`). After the test the
    active run is finished and wandb's service is stopped.
    """
    import wandb

    home = tmp_path / "wandb-home"
    home.mkdir()
    with serve() as server:
        _set_environment(monkeypatch, server.url, home)
        yield server
        server.up()
        server.clear_faults()
        if wandb.run is not None:
            wandb.finish()
        forget_wandb()


@contextlib.contextmanager
def offline_run(home: Path) -> Iterator[Any]:
    """An offline run below `home`, for the fixture of a whole module.

    There is no backend: the tests read the values as they are logged.
    """
    import wandb

    with offline_environment(home), wandb.init(mode="offline") as run:
        yield run


@pytest.fixture(scope="module")
def offline_run_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An offline run for all tests of a module."""
    with offline_run(tmp_path_factory.mktemp("wandb")) as run:
        yield run


@contextlib.contextmanager
def offline_environment(home: Path) -> Iterator[None]:
    """wandb set up for offline runs below `home`, for the fixture of a whole module."""
    with wandb_at("http://127.0.0.1:9", home):
        yield


@contextlib.contextmanager
def wandb_at(url: str, home: Path) -> Iterator[None]:
    """wandb set up to know only a backend, for the fixture of a whole module."""
    with pytest.MonkeyPatch.context() as patch:
        _set_environment(patch, url, home)
        yield
        forget_wandb()


def _set_environment(patch: pytest.MonkeyPatch, url: str, home: Path) -> None:
    forget_wandb()  # First: the address of its service would be restored by `patch`.
    for name in list(os.environ):
        if name.startswith("WANDB_") or name.lower().endswith("_proxy"):
            patch.delenv(name)
    for name, value in wandb_environment(url, home).items():
        patch.setenv(name, value)


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings to the user, as if none had been shown before."""
    import wandb

    texts: list[str] = []

    def termwarn(text: str, repeat: bool = True, **_: Any) -> None:
        if repeat or text not in texts:
            texts.append(text)

    monkeypatch.setattr(wandb, "termwarn", termwarn)
    return texts


@pytest.fixture
def sync(loopback: Loopback) -> Callable[[Path | str], str]:
    """`sync(run_dir)` sends an offline run to the backend; see `sync_run`."""
    return sync_run
