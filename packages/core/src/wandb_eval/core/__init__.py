"""The abstract `WandbEvalCallback`, and its artifacts in Weights & Biases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wandb_eval.core import offline_log
from wandb_eval.core._wandb.artifacts import artifact_name
from wandb_eval.core._wandb.files import Folder, WriteError
from wandb_eval.core._wandb.media import (
    image_from_array,
    size_of_image,
    with_layers,
    write_image,
    write_mask,
)
from wandb_eval.core._wandb.tables import add_rows, infer_types
from wandb_eval.core.colors import class_color
from wandb_eval.core.run_log import RunLog

if TYPE_CHECKING:
    from wandb_eval.core.callback import WandbEvalCallback

__all__ = [
    "Folder",
    "RunLog",
    "WandbEvalCallback",
    "WriteError",
    "add_rows",
    "artifact_name",
    "class_color",
    "image_from_array",
    "infer_types",
    "offline_log",
    "size_of_image",
    "with_layers",
    "write_image",
    "write_mask",
]


def __getattr__(name: str) -> Any:
    """Imports Keras only for the callback, not for the log of a run."""
    if name != "WandbEvalCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from wandb_eval.core.callback import WandbEvalCallback

    return WandbEvalCallback
