"""Trainings in a separate process, which is killed, or ends by itself."""

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

from wandb_eval.core import offline_log

_CODE = """
import sys

sys.path[:0] = {folders!r}
import {module}

{module}.{function}({mode!r})
"""


def uploaded(callback: Any) -> None:
    """Waits until all logged data has arrived."""
    for upload in callback.run_log.uploads.under_way:
        assert upload.done.wait(30)


def announce(run: wandb.Run) -> None:
    """Prints the id of the run for the waiting process."""
    print(run.id, run.dir, flush=True)


def kill(
    run: wandb.Run, callback: Any, mode: str, versions: int, rows: int = 0
) -> None:
    """Kills this process when the versions have arrived, or are recorded.

    Args:
        run: The run.
        callback: The callback.
        mode: The mode of the run.
        versions: The number of versions.
        rows: The number of rows of the history that must be recorded offline, too.
    """
    uploaded(callback)

    def is_recorded() -> bool:
        log = offline_log.find_log(run.settings.sync_dir)
        records = list(offline_log.read_records(log))  # The whole ones.
        names = [one.artifact.name for one in records if one.HasField("artifact")]
        done = sum(name.endswith("_pred") for name in names) >= versions
        return done and sum(one.HasField("history") for one in records) >= rows

    # W&B writes the log of an offline run to the disk from time to time.
    while mode == "offline" and not is_recorded():
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
    done = run_function(module, "train_and_be_killed", mode, timeout)
    assert done.returncode == -signal.SIGKILL
    run_id, folder = done.stdout.split()
    return run_id, folder


def run_function(
    module: ModuleType, function: str, mode: str, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Calls a function of a module with a mode, in a separate process."""
    file = Path(str(module.__file__))
    folders = [str(file.parent), str(Path(__file__).parent)]
    code = _CODE.format(folders=folders, module=file.stem, function=function, mode=mode)
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"KERAS_BACKEND": "jax"},  # It starts in half the time.
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout,
        check=False,
    )
