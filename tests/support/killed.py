"""Trainings in a separate process, which is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import wandb

_CODE = """
import sys

sys.path[:0] = {folders!r}
import {module}

{module}.train_and_be_killed({mode!r})
"""


def uploaded(callback: Any) -> None:
    """Waits until all logged data has arrived."""
    for upload in callback.run_log.uploads.under_way:
        assert upload.done.wait(30)


def announce(run: wandb.Run) -> None:
    """Prints the id of the run for the waiting process."""
    print(run.id, run.dir, flush=True)


def kill(run: wandb.Run, callback: Any, mode: str, versions: int) -> None:
    """Kills this process when the number of versions has arrived, or is recorded."""
    uploaded(callback)
    [log] = Path(run.settings.sync_dir).glob("*.wandb")
    # W&B writes the log of an offline run to the disk from time to time.
    while mode == "offline" and log.read_bytes().count(b"_pred") < versions:
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)


def run_and_kill(
    module: ModuleType, mode: str, monkeypatch: pytest.MonkeyPatch, timeout: float
) -> tuple[str, str]:
    """Calls `train_and_be_killed(mode)` of a module in a separate process.

    Returns:
        The id of its run, and the folder.
    """
    name = "x_transaction_log_flush_interval"
    if mode == "offline" and not hasattr(wandb.Settings(), name):
        pytest.skip("this wandb writes its log when there is much to write")
    monkeypatch.setenv("WANDB__TRANSACTION_LOG_FLUSH_INTERVAL", "1")
    file = Path(str(module.__file__))
    folders = [str(file.parent), str(Path(__file__).parent)]
    code = _CODE.format(folders=folders, module=file.stem, mode=mode)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"KERAS_BACKEND": "jax"},  # It starts in half the time.
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    run_id, folder = done.stdout.split()
    return run_id, folder
