"""The direction of the numbers of samples: whether more is better."""

from __future__ import annotations

import re

HIGHER_IS_BETTER = {
    "correct": True,
    "f1": True,
    "mean_iou": True,
    "mean_dice": True,
    "pixel_accuracy": True,
    "ssim": True,
    "psnr": True,
    "error": False,
    "difficulty": False,
    "mae": False,
    "rmse": False,
    "loss": False,
    "true_positives": True,
    "false_positives": False,
    "false_negatives": False,
    "class_errors": False,
    "location_errors": False,
    "both_errors": False,
    "duplicate_errors": False,
    "background_errors": False,
}
"""Numbers of the tasks. The first one that samples have decides which is better."""

LOWER_NAMES = "loss|error|false|missed|^wrong|distance|difficulty|^(mae|mse|rmse)$"
HIGHER_NAMES = (
    "^(right|true.*|.*(f1|iou|dice|accuracy|precision|recall|similarity|ssim|psnr|r2))$"
)
"""The names of other numbers, as regular expressions of Python and of the page."""


def is_higher_better(name: str) -> bool | None:
    """Whether more of a number is better; `None` if it is not known."""
    if name in HIGHER_IS_BETTER:
        return HIGHER_IS_BETTER[name]
    if re.search(LOWER_NAMES, name):
        return False
    return True if re.search(HIGHER_NAMES, name) else None
