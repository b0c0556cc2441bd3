"""Holds docs/architecture.md, and the rules that it states, against the sources."""

import ast
import importlib
import io
import re
import subprocess
import sys
import tokenize
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
SOURCES = sorted(ROOT.glob("packages/*/src/**/*.py"))
PACKAGES = sorted(path.name for path in ROOT.glob("packages/*"))
TASKS = [name for name in PACKAGES if name not in ("core", "engine", "report")]
BELOW = {"core": [], "engine": ["core"], "report": ["core"]} | {
    task: ["core", "engine"] for task in TASKS
}
PRIVATE_OF_KERAS = {
    "_async_train",
    "_direction",
    "_ema_weights_in_model",
    "_flatten_layers",
    "_fn_kwargs",
    "_inbound_nodes",
    "_keras_history",
    "_model",
    "_outputs_struct",
    "_user_metrics",
}
MOST_LINES = 400
MOST_LINES_OF_A_CLASS = 330
MOST_LINES_OF_CORE = 2_900


def package_of(path):
    return path.relative_to(ROOT / "packages").parts[0]


def module_of(path):
    parts = path.with_suffix("").parts
    return ".".join(parts[parts.index("wandb_eval") :]).removesuffix(".__init__")


OPEN_MODULES = {  # Public modules, beside what a package exports.
    "core": {"wandb_eval.core.arguments", "wandb_eval.core.processes"},
    "engine": {module_of(path) for path in SOURCES if path.parent.name == "kit"},
}


def imported(path):
    """The modules and names that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)


def code_lines(text, node=None):
    """The numbers of lines that have code: no comments, docstrings or empty lines."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (
            tokenize.COMMENT,
            tokenize.NL,
            tokenize.NEWLINE,
            tokenize.INDENT,
            tokenize.DEDENT,
            tokenize.ENDMARKER,
        ):
            lines |= set(range(token.start[0], token.end[0] + 1))
    for part in ast.walk(ast.parse(text)):
        if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
            lines -= set(range(part.lineno, part.end_lineno + 1))
    if node is not None:
        lines &= set(range(node.lineno, node.end_lineno + 1))
    return len(lines)


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_a_package_uses_what_those_below_it_export(path):
    package = package_of(path)
    for module, name in imported(path):
        if not module.startswith("wandb_eval."):
            continue
        other = module.split(".")[1]
        if other == package:
            continue
        assert other in BELOW[package], f"an arrow upward or sideways: {module}"
        face = importlib.import_module(f"wandb_eval.{other}").__all__
        is_exported = module == f"wandb_eval.{other}" and (
            name in face or f"{module}.{name}" in OPEN_MODULES.get(other, ())
        )
        assert is_exported or module in OPEN_MODULES.get(other, ()), (module, name)


def own_names(package):
    """The names that the sources of a package define or assign."""
    names = set()
    for path in SOURCES:
        if package_of(path) == package:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                    names.add(node.name)
                elif isinstance(node, ast.Attribute) and isinstance(
                    node.ctx, ast.Store
                ):
                    names.add(node.attr)
                elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    names.add(node.id)
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_no_private_attribute_of_another_package_is_read(package):
    known = own_names(package) | PRIVATE_OF_KERAS | {"_getframe"}  # Of `sys`.
    for path in SOURCES:
        if package_of(path) != package or path.parent.name == "_wandb":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(node, "attr", "")
            if isinstance(node, ast.Call) and len(node.args) > 1:
                is_lookup = getattr(node.func, "id", "") in ("getattr", "hasattr")
                name = getattr(node.args[1], "value", "") if is_lookup else ""
            name = str(name)
            if name.startswith("_") and not name.startswith("__"):
                assert name in known, (path.name, node.lineno, name)


@pytest.mark.parametrize("package", PACKAGES)
def test_all_that_is_exported_is_there(package):
    module = importlib.import_module(f"wandb_eval.{package}")
    assert all(hasattr(module, name) for name in module.__all__)


def test_imports_have_no_circle():
    modules = {module_of(path): path for path in SOURCES}
    graph = {}
    for module, path in modules.items():
        found = set()
        for source, name in imported(path):
            found |= {m for m in (source, f"{source}.{name}") if m in modules}
        is_face = path.name == "__init__.py"
        graph[module] = set() if is_face else found - {module}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_private_names_of_wandb_are_in_one_place(path):
    if path.parent.name == "_wandb":
        return
    for module, name in imported(path):
        if module.split(".")[0] == "wandb":
            private = module.startswith("wandb.sdk") or str(name).startswith("_")
            assert not private, (module, name)


def test_evaluating_knows_nothing_of_runs():
    for path in ROOT.glob("packages/engine/src/wandb_eval/engine/evaluation/*.py"):
        for module, _ in imported(path):
            assert module.split(".")[0] != "wandb", path.name
            assert module not in ("wandb_eval.core", "wandb_eval.engine"), path.name


def test_slices_are_found_without_keras_and_wandb():
    allowed = {"wandb_eval.engine.slices", "wandb_eval.engine.kit.opencv"}
    for path in ROOT.glob("packages/engine/src/wandb_eval/engine/slices/*.py"):
        for module, _ in imported(path):
            assert module.split(".")[0] not in ("keras", "wandb"), path.name
            if module.startswith("wandb_eval"):
                assert any(module.startswith(name) for name in allowed), module


def test_core_stays_small_and_needs_no_opencv():
    core = [path for path in SOURCES if package_of(path) == "core"]
    assert sum(len(path.read_text().splitlines()) for path in core) < MOST_LINES_OF_CORE
    assert not any(module == "cv2" for path in core for module, _ in imported(path))


@pytest.mark.parametrize(
    "module", ["core.offline_log", "core.sync", "report", "report.__main__"]
)
def test_what_reads_runs_starts_without_keras(module):
    code = f"import sys, wandb_eval.{module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"keras", "tensorflow", "jax", "torch", "cv2"}


def test_every_module_is_in_the_page():
    page = (ROOT / "docs/architecture.md").read_text()
    named = set(re.findall(r"`(?:\w+/)*(\w+\.py)`", page))
    shown = {path.name for path in SOURCES if package_of(path) in ("core", "engine")}
    assert shown - named - {"__init__.py"} == set()
    assert named - shown - {"test_architecture.py"} == set()


def test_files_that_changes_go_to_are_there():
    page = (ROOT / "CONTRIBUTING.md").read_text()
    [table] = re.findall(r"\| change \|.*?\n\|---.*?\n(.*?)\n\n", page, re.DOTALL)
    places = [row.split(" | ")[1] for row in table.splitlines()]
    assert len(places) == 5
    for place in places:
        file = re.search(r"`([\w/.]+)`", place)[1]
        assert list(ROOT.glob(f"packages/*/src/wandb_eval/{file}*")), file


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_no_module_and_no_class_has_too_much_code(path):
    text = path.read_text()
    assert code_lines(text) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            assert code_lines(text, node) <= MOST_LINES_OF_A_CLASS, node.name


def descriptions(path):
    """The first lines of docstrings, and of the descriptions in their sections."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield text.partition("\n")[0]
                yield from re.findall(r"^ +\*{0,2}\w+: (.+)", text, re.MULTILINE)
                yield from re.findall(r"^ +(?:Returns|Yields):\n +(.+)", text, re.M)


def test_docstrings_name_nouns():
    """They say "The number of classes.", and not "How many classes there are."."""
    asking = re.compile(r"(What|How|Which|Who|Whose|Where)\b")
    found = [
        f"{module_of(path)}: {line}"
        for path in SOURCES
        for line in descriptions(path)
        if asking.match(line)
    ]
    assert found == []


def test_nothing_patches_the_path_of_imports():
    for folder in ("docs", "benchmarks", "examples"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            assert "sys.path" not in path.read_text(), path
