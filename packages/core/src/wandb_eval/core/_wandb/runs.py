"""Tells whether a run of this process goes on, and where wandb stages files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import wandb
from wandb import env


def is_running(run: Any) -> bool:
    """Returns whether a `wandb.Run` of this process is not finished."""
    return not getattr(run, "_is_finished", run is not wandb.run)


def is_folder_of_running(folder: Path) -> bool:
    """Returns whether a folder belongs to the current run of this process."""
    if wandb.run is None:
        return False
    try:
        return os.path.samefile(wandb.run.settings.sync_dir, folder)
    except OSError:
        return False


def staging_folder() -> Path:
    """Returns the folder to which wandb copies the files of artifacts.

    wandb's own `get_staging_dir` would create the folder.
    """
    folder = os.path.join(env.get_data_dir(), "artifacts", "staging")
    return Path(os.path.abspath(os.path.expanduser(folder)))
