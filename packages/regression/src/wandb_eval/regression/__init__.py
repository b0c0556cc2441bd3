"""See what a Keras regression model predicts, epoch by epoch, in Weights & Biases."""

from wandb_eval.regression.callback import WandbRegressionEvalCallback
from wandb_eval.regression.metrics import RegressionMetrics

__all__ = ["RegressionMetrics", "WandbRegressionEvalCallback"]
