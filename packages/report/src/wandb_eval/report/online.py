"""Reads a run that is in W&B."""

from __future__ import annotations

import os
from typing import Any

from wandb_eval.report.recorded import RecordedRun


def is_online_path(run: Any) -> bool:
    """Whether it is `entity/project/run_id`, and no folder."""
    return (
        isinstance(run, str)
        and len(run.strip("/").split("/")) == 3
        and not os.path.exists(run)
    )


def read_online_run(path: str) -> RecordedRun:
    raise NotImplementedError
