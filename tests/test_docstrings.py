"""The examples in docstrings, of all packages."""

import doctest
import importlib
import pkgutil

import pytest

import wandb_eval

MODULES = [
    module.name
    for module in pkgutil.walk_packages(wandb_eval.__path__, "wandb_eval.")
    if not module.ispkg
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_show_what_they_print(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize(
    "task", ["classification", "core", "detection", "segmentation"]
)
def test_every_package_has_examples(task):
    modules = [name for name in MODULES if name.startswith(f"wandb_eval.{task}.")]
    assert sum(doctest.testmod(importlib.import_module(m)).attempted for m in modules)
