"""See the images that a Keras model makes of images, in Weights & Biases."""

from wandb_eval.image_to_image.callback import WandbImageToImageEvalCallback
from wandb_eval.image_to_image.metrics import ImageToImageMetrics

__all__ = ["ImageToImageMetrics", "WandbImageToImageEvalCallback"]
