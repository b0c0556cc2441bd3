"""See what a Keras segmentation model predicts, epoch by epoch, in Weights & Biases."""

from wandb_eval.segmentation.callback import WandbSegmentationEvalCallback
from wandb_eval.segmentation.drawing import (
    draw_disagreement,
    draw_legend,
    draw_segmentation,
)
from wandb_eval.segmentation.masks import read_masks, read_outputs
from wandb_eval.segmentation.metrics import (
    Scores,
    SegmentationMetrics,
    count_pixels,
)
from wandb_eval.segmentation.multi_label import MultiLabelMetrics

__all__ = [
    "MultiLabelMetrics",
    "Scores",
    "SegmentationMetrics",
    "WandbSegmentationEvalCallback",
    "count_pixels",
    "draw_disagreement",
    "draw_legend",
    "draw_segmentation",
    "read_masks",
    "read_outputs",
]
