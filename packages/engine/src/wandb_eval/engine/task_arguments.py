"""The arguments that the callbacks of all tasks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypedDict

import wandb

from wandb_eval.engine.evaluation.slice_by import GivenProperties
from wandb_eval.engine.fit_logs import InLogs
from wandb_eval.engine.monitor import Mode


class TaskArguments(TypedDict, total=False):
    """The arguments that the callbacks of all tasks share.

    `WandbTaskEvalCallback` documents them.
    """

    num_samples: int | None
    every_n_epochs: int
    every_n_batches: int | None
    batch_size: int
    image_fn: Callable[[Any], Any] | None
    image_format: Literal["png", "jpg"]
    num_hardest: int
    one_pass: bool
    in_all_processes: bool
    monitor: str | None
    mode: Mode
    in_logs: InLogs
    seed: int
    output_key: str | int | None
    slice_by: GivenProperties
    name: str
    run: wandb.Run | None
    log_to_history: bool
    on_error: Literal["warn", "raise"]
