"""What all wandb-eval callbacks share, and what new ones are built from."""

from wandb_eval.core import charts, offline_log
from wandb_eval.core._wandb.media import with_layers
from wandb_eval.core.arguments import (
    check_bool,
    check_positive,
    is_integer,
    is_number,
)
from wandb_eval.core.callback import WandbEvalCallback
from wandb_eval.core.class_names import (
    check_class_names,
    class_color,
    name_classes,
)
from wandb_eval.core.evaluation.data import (
    NOT_BATCHED,
    Batch,
    ValidationData,
)
from wandb_eval.core.evaluation.evaluation import Evaluation
from wandb_eval.core.evaluation.samples import (
    EvaluatedSamples,
    Samples,
    SampleScores,
)
from wandb_eval.core.evaluation.task import Metrics
from wandb_eval.core.evaluation.trees import to_numpy
from wandb_eval.core.images import (
    encode_images,
    encode_masks,
    map_to_image,
    to_images,
    to_rgb,
)
from wandb_eval.core.input_images import image_size
from wandb_eval.core.legend import SWATCH, class_swatches, color_swatch, legend_strip
from wandb_eval.core.logits import (
    FromLogits,
    check_from_logits,
    told_from_logits,
)
from wandb_eval.core.opencv import cv2
from wandb_eval.core.outputs import check_single, check_single_target
from wandb_eval.core.progress import Progress
from wandb_eval.core.task import TaskArguments, WandbTaskEvalCallback
from wandb_eval.core.threads import WORKERS, map_in_threads
from wandb_eval.core.thresholds import at_least
from wandb_eval.core.version_tables import VersionOnly

__all__ = [
    "NOT_BATCHED",
    "SWATCH",
    "WORKERS",
    "Batch",
    "EvaluatedSamples",
    "Evaluation",
    "FromLogits",
    "Metrics",
    "Progress",
    "SampleScores",
    "Samples",
    "TaskArguments",
    "ValidationData",
    "VersionOnly",
    "WandbEvalCallback",
    "WandbTaskEvalCallback",
    "at_least",
    "charts",
    "check_bool",
    "check_class_names",
    "check_from_logits",
    "check_positive",
    "check_single",
    "check_single_target",
    "class_color",
    "class_swatches",
    "color_swatch",
    "cv2",
    "encode_images",
    "encode_masks",
    "image_size",
    "is_integer",
    "is_number",
    "legend_strip",
    "map_in_threads",
    "map_to_image",
    "name_classes",
    "offline_log",
    "to_images",
    "to_numpy",
    "to_rgb",
    "told_from_logits",
    "with_layers",
]
