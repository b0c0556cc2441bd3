"""Holds docs/architecture.md, and what is public, against the imports."""

import ast
import re
from pathlib import Path

import pytest

import wandb_eval.core

ROOT = Path(__file__).parents[1]
CORE = ROOT / "packages/core/src/wandb_eval/core"
TASKS = ("classification", "detection", "segmentation", "report")
SOURCES = sorted(ROOT.glob("packages/*/src/**/*.py"))
MOST_LINES = 400
MOST_LINES_OF_A_CLASS = 300


def imported(path):
    """The modules and names that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_uses_what_core_exports_and_no_other_task(task):
    for path in sorted((ROOT / f"packages/{task}/src").rglob("*.py")):
        for module, name in imported(path):
            if module == "wandb_eval.core":
                assert name in wandb_eval.core.__all__, (path.name, name)
            elif module.startswith("wandb_eval"):
                assert module.startswith(f"wandb_eval.{task}"), (path.name, module)


def test_all_that_is_exported_is_there():
    assert all(hasattr(wandb_eval.core, name) for name in wandb_eval.core.__all__)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_private_names_of_wandb_are_in_one_place(path):
    if path.parent.name == "_wandb":
        return
    for module, name in imported(path):
        if module.split(".")[0] == "wandb":
            private = module.startswith("wandb.sdk") or str(name).startswith("_")
            assert not private, (module, name)


def test_evaluating_knows_nothing_of_runs():
    for path in sorted((CORE / "evaluation").glob("*.py")):
        assert not any(module.startswith("wandb.") for module, _ in imported(path))
        assert not any(
            module == "wandb" or module.startswith("wandb_eval.core._wandb")
            for module, _ in imported(path)
        )


def test_every_room_is_in_the_page():
    page = (ROOT / "docs/architecture.md").read_text()
    named = set(re.findall(r"`(?:evaluation/|_wandb/)?(\w+\.py)`", page))
    rooms = {path.name for path in CORE.rglob("*.py")} - {"__init__.py"}
    small = {"arguments.py", "opencv.py", "processes.py", "progress.py", "threads.py"}
    assert rooms - named - small == set()
    assert named - rooms - {"test_architecture.py"} == set()


def test_files_that_changes_go_to_are_there():
    page = (ROOT / "CONTRIBUTING.md").read_text()
    [table] = re.findall(r"\| change \|.*?\n\|---.*?\n(.*?)\n\n", page, re.DOTALL)
    places = [row.split(" | ")[1] for row in table.splitlines()]
    assert len(places) == 5
    for place in places:
        file = re.search(r"`([\w/.]+)`", place)[1]
        assert list(ROOT.glob(f"packages/*/src/wandb_eval/{file}*")), file


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_module_and_no_class_is_too_long(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            assert node.end_lineno - node.lineno < MOST_LINES_OF_A_CLASS, node.name
