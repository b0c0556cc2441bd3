"""What all wandb-eval callbacks share, and what new ones are built from."""

from wandb_eval.core._wandb import with_layers
from wandb_eval.core.callback import WandbEvalCallback
from wandb_eval.core.class_names import (
    check_class_names,
    class_color,
    name_classes,
)
from wandb_eval.core.images import encode_images, encode_masks, to_images
from wandb_eval.core.progress import Progress
from wandb_eval.core.task import Metrics, WandbTaskEvalCallback
from wandb_eval.core.validation_data import Batch, Samples, ValidationData

__all__ = [
    "Batch",
    "Metrics",
    "Progress",
    "Samples",
    "ValidationData",
    "WandbEvalCallback",
    "WandbTaskEvalCallback",
    "check_class_names",
    "class_color",
    "encode_images",
    "encode_masks",
    "name_classes",
    "to_images",
    "with_layers",
]
