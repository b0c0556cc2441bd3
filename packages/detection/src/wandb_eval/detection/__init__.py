"""See what a Keras object detector predicts, epoch by epoch, in Weights & Biases."""

from wandb_eval.detection.boxes import BoxFormat, read_ground_truth, read_predictions
from wandb_eval.detection.callback import WandbDetectionEvalCallback
from wandb_eval.detection.detections import Detections
from wandb_eval.detection.drawing import draw_detections, draw_legend
from wandb_eval.detection.layers import box_layer
from wandb_eval.detection.matching import ERROR_TYPES, ImageMatch
from wandb_eval.detection.metrics import DetectionMetrics, count_image

ImageCounts = ImageMatch
"""The name of `ImageMatch` in version 0.1.0."""

__all__ = [
    "ERROR_TYPES",
    "BoxFormat",
    "DetectionMetrics",
    "Detections",
    "ImageCounts",
    "ImageMatch",
    "WandbDetectionEvalCallback",
    "box_layer",
    "count_image",
    "draw_detections",
    "draw_legend",
    "read_ground_truth",
    "read_predictions",
]
