"""The examples in docstrings, of all packages."""

import doctest
import importlib
import pkgutil

import pytest

import wandb_eval

pytestmark = pytest.mark.any_backend

MODULES = [
    module.name.removeprefix("wandb_eval.")
    for module in pkgutil.walk_packages(wandb_eval.__path__, "wandb_eval.")
    if not module.ispkg
]
WITH_EXAMPLES = {
    *(f"classification.{name}" for name in ("calibration", "metrics")),
    "core.colors",
    *(f"engine.kit.{n}" for n in ("class_names", "images", "legend", "thresholds")),
    *(f"engine.evaluation.{n}" for n in ("data", "fingerprint", "learning", "samples")),
    *(f"detection.{name}" for name in ("boxes", "drawing", "layers", "metrics")),
    *(f"report.{name}" for name in ("compare_command", "paired")),
    *(f"regression.{name}" for name in ("metrics", "targets")),
    *(f"image_to_image.{name}" for name in ("metrics", "ssim")),
    *(f"segmentation.{n}" for n in ("drawing", "masks", "metrics", "multi_label")),
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_show_what_they_print(name):
    module = importlib.import_module(f"wandb_eval.{name}")
    failed, attempted = doctest.testmod(module)
    assert failed == 0
    assert attempted or name not in WITH_EXAMPLES


def test_no_module_with_examples_is_missed():
    assert set(MODULES) >= WITH_EXAMPLES
