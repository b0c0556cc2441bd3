"""See what a Keras classifier predicts, epoch by epoch, in Weights & Biases."""

from wandb_eval.classification.callback import WandbClassificationEvalCallback
from wandb_eval.classification.metrics import ClassificationMetrics

__all__ = ["ClassificationMetrics", "WandbClassificationEvalCallback"]
