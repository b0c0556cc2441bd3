"""Evaluates Keras models while they train, for the callbacks of tasks.

A task is a subclass of `WandbTaskEvalCallback`.
"""

from wandb_eval.core import WandbEvalCallback, class_color, with_layers
from wandb_eval.engine.callback import WandbTaskEvalCallback
from wandb_eval.engine.evaluation.data import NOT_BATCHED, Batch, ValidationData
from wandb_eval.engine.evaluation.metrics import Metrics
from wandb_eval.engine.evaluation.result import Evaluation
from wandb_eval.engine.evaluation.samples import (
    EvaluatedSamples,
    Samples,
    SampleScores,
)
from wandb_eval.engine.kit import charts
from wandb_eval.engine.kit.class_names import check_class_names, name_classes
from wandb_eval.engine.kit.images import (
    encode_images,
    encode_masks,
    map_to_image,
    range_to_image,
    to_images,
    to_rgb,
)
from wandb_eval.engine.kit.input_images import image_size
from wandb_eval.engine.kit.legend import class_swatches, color_swatch, legend_strip
from wandb_eval.engine.kit.listed import listed
from wandb_eval.engine.kit.logits import (
    FromLogits,
    check_from_logits,
    infer_from_logits,
)
from wandb_eval.engine.kit.outputs import (
    check_single,
    check_single_target,
    number_array,
    target_array,
)
from wandb_eval.engine.kit.thresholds import at_least
from wandb_eval.engine.nested import finite_or_none, to_numpy
from wandb_eval.engine.slices.search import (
    WeakSlice,
    find_weak_slices,
    least_samples,
)
from wandb_eval.engine.task_arguments import TaskArguments
from wandb_eval.engine.threads import map_in_threads

__all__ = [
    "NOT_BATCHED",
    "Batch",
    "EvaluatedSamples",
    "Evaluation",
    "FromLogits",
    "Metrics",
    "SampleScores",
    "Samples",
    "TaskArguments",
    "ValidationData",
    "WandbEvalCallback",
    "WandbTaskEvalCallback",
    "WeakSlice",
    "at_least",
    "charts",
    "check_class_names",
    "check_from_logits",
    "check_single",
    "check_single_target",
    "class_color",
    "class_swatches",
    "color_swatch",
    "encode_images",
    "encode_masks",
    "find_weak_slices",
    "finite_or_none",
    "image_size",
    "infer_from_logits",
    "least_samples",
    "legend_strip",
    "listed",
    "map_in_threads",
    "map_to_image",
    "name_classes",
    "number_array",
    "range_to_image",
    "target_array",
    "to_images",
    "to_numpy",
    "to_rgb",
    "with_layers",
]
