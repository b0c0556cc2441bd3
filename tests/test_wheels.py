"""The wheels: what is in them, and what each does alone in a clean environment."""

import email
import functools
import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

pytestmark = [pytest.mark.tensorflow, pytest.mark.once]

ROOT = Path(__file__).parents[1]
TASKS = ["classification", "detection", "segmentation", "regression", "image_to_image"]
PARTS = ["core", "engine", *TASKS, "report"]
BELOW = {"core": [], "engine": ["core"], "report": ["core"]}  # Of a task: both.

FIT = """
    import json
    import sys

    import keras
    import numpy as np
    import wandb

    def fit(callback, model, y):
        model.compile("sgd", "mse")
        model.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
        table = callback.pred_table
        ours = [name for name in sys.modules if name.startswith("wandb_eval.")]
        print(json.dumps({
            "backend": keras.backend.backend(),
            "files": [sys.modules[name].__file__ for name in ours],
            "folder": run.settings.sync_dir,
            "rows": [row[table.columns.index("idx")] for row in table.data],
            "tensorflow": "tensorflow" in sys.modules,
        }))

    x = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3)).astype("uint8")
    run = wandb.init(project="wheels")
"""
FITS = {
    "core": """
        from wandb_eval.core import WandbEvalCallback

        class Evaluation(WandbEvalCallback):
            def add_ground_truth(self):
                for idx, image in enumerate(x):
                    self.data_table.add_data(idx, wandb.Image(image))

            def add_model_predictions(self, epoch):
                for idx, image in self.data_table_ref.data:
                    self.pred_table.add_data(epoch, idx, image)

        callback = Evaluation(["idx", "image"], ["epoch", "idx", "image"])
        layers = [keras.layers.Flatten(), keras.layers.Dense(1)]
        fit(callback, keras.Sequential(layers), np.zeros((6, 1)))
    """,
    "engine": """
        from wandb_eval.engine import SampleScores, WandbTaskEvalCallback

        class Evaluation(WandbTaskEvalCallback):
            def score_samples(self, truth, predictions):
                error = np.abs(predictions - truth)[:, 0]
                return SampleScores({"error": error}, error)

        columns = ["idx", "image"]
        callback = Evaluation((x, np.zeros((6, 1))), data_table_columns=columns,
                              pred_table_columns=["epoch", *columns, "error"])
        layers = [keras.layers.Flatten(), keras.layers.Dense(1)]
        fit(callback, keras.Sequential(layers), np.zeros((6, 1)))
    """,
    "classification": """
        from wandb_eval.classification import WandbClassificationEvalCallback

        y = np.arange(6) % 3
        layers = [keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        callback = WandbClassificationEvalCallback((x, y), ["cat", "dog", "owl"])
        fit(callback, keras.Sequential(layers), keras.utils.to_categorical(y))
    """,
    "detection": """
        from wandb_eval.detection import WandbDetectionEvalCallback

        def decode(outputs):
            boxes = np.tile([[[1.0, 1.0, 9.0, 9.0]]], (len(outputs), 1, 1))
            ones = np.ones((len(outputs), 1))
            return {"boxes": boxes, "labels": 0 * ones, "confidence": ones}

        y = {"boxes": np.tile([[[1.0, 1.0, 9.0, 9.0]]], (6, 1, 1)),
             "labels": np.zeros((6, 1))}
        callback = WandbDetectionEvalCallback((x, y), ["cat", "dog"], decode_fn=decode)
        layers = [keras.layers.Flatten(), keras.layers.Dense(1)]
        fit(callback, keras.Sequential(layers), np.zeros((6, 1)))
    """,
    "segmentation": """
        from wandb_eval.segmentation import WandbSegmentationEvalCallback

        y = (x[..., 0] > 127).astype("int32")
        callback = WandbSegmentationEvalCallback((x, y), ["background", "pet"])
        layers = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(2, 1)]
        fit(callback, keras.Sequential(layers), keras.utils.to_categorical(y, 2))
    """,
    "regression": """
        from wandb_eval.regression import WandbRegressionEvalCallback

        y = x.mean(axis=(1, 2, 3))
        layers = [keras.layers.Flatten(), keras.layers.Dense(1)]
        fit(WandbRegressionEvalCallback((x, y)), keras.Sequential(layers), y)
    """,
    "image_to_image": """
        from wandb_eval.image_to_image import WandbImageToImageEvalCallback

        layers = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(3, 1)]
        fit(WandbImageToImageEvalCallback((x, x / 255)), keras.Sequential(layers), x)
    """,
}


def run(*command, **kwargs):
    """The output of a command; what it wrote to both streams where it fails."""
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, **kwargs
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def uv(*arguments, **kwargs):
    return run(os.environ.get("UV") or shutil.which("uv") or "uv", *arguments, **kwargs)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """The folder of all wheels, each built from its own source distribution."""
    folder = tmp_path_factory.mktemp("wheels")
    uv("build", "--all-packages", "--out-dir", folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """The versions of the lock file, as constraints: uv has them in its cache."""
    path = tmp_path_factory.mktemp("locked") / "constraints.txt"
    exported = ["--frozen", "--all-packages", "--all-extras", "--no-emit-workspace"]
    uv("export", *exported, "--no-hashes", "--output-file", path, cwd=ROOT)
    return path


@pytest.fixture(scope="module")
def environment_of(tmp_path_factory):
    """`environment_of(backend)` is made once: a test installs exactly what it needs.

    What uv leaves as it is, Keras and its backend, has its compiled files by then.
    """

    @functools.cache
    def make(backend):
        venv = tmp_path_factory.mktemp(backend) / "venv"
        uv("venv", "--python", sys.executable, venv)
        return venv

    return make


def distribution(part):
    return f"wandb-eval-{part.replace('_', '-')}"


def wheel_of(wheels, part):
    (wheel,) = wheels.glob(f"wandb_eval_{part}-*.whl")
    return wheel


def metadata_of(wheels, part):
    with zipfile.ZipFile(wheel_of(wheels, part)) as wheel:
        (name,) = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(wheel.read(name))


def requirements_of(wheels, part):
    lines = metadata_of(wheels, part).get_all("Requires-Dist")
    return [Requirement(line) for line in lines]


def below(part):
    """The distributions of ours that a part needs."""
    return BELOW.get(part, ["core", "engine"])


def lowest(wheels, part, other, folder):
    """The wheel of the lowest release that a part declares: of its tag, if older."""
    (declared,) = (
        r.specifier
        for r in requirements_of(wheels, part)
        if r.name == f"wandb-eval-{other}" and r.marker is None
    )
    (lowest,) = (Version(s.version) for s in declared if s.operator == ">=")
    if Version(metadata_of(wheels, other)["Version"]) == lowest:
        return wheel_of(wheels, other)
    if not (ROOT / ".git").exists():
        pytest.skip("has no tags")
    tag = f"{other}-{'.'.join(map(str, (lowest.major, lowest.minor, lowest.micro)))}"
    archive = folder / f"{tag}.tar"
    run("git", "archive", "--output", archive, tag, f"packages/{other}", cwd=ROOT)
    shutil.unpack_archive(archive, folder / tag)
    uv("build", "--wheel", "--out-dir", folder, folder / tag / "packages" / other)
    return wheel_of(folder, other)


@pytest.mark.parametrize("part", PARTS)
def test_a_wheel_holds_its_part_of_the_namespace_alone(wheels, part):
    source = ROOT / "packages" / part / "src"
    with zipfile.ZipFile(wheel_of(wheels, part)) as wheel:
        names = set(wheel.namelist())
    modules = {name for name in names if ".dist-info/" not in name}
    kinds = {".py", ".typed", ".js", ".css", ".html"}
    files = (path for path in source.rglob("*") if path.suffix in kinds)
    assert modules == {path.relative_to(source).as_posix() for path in files}
    assert all(name.startswith(f"wandb_eval/{part}/") for name in modules)
    assert f"wandb_eval/{part}/py.typed" in modules
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.parametrize("part", PARTS)
def test_a_wheel_says_what_it_is(wheels, part):
    metadata = metadata_of(wheels, part)
    folder = ROOT / "packages" / part
    assert metadata["Name"] == distribution(part)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert metadata["Description-Content-Type"] == "text/markdown"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert metadata.get_payload(decode=True).decode() == readme
    extras = set() if part == "report" else {"jax", "tensorflow"}
    assert set(metadata.get_all("Provides-Extra") or []) == extras


@pytest.mark.parametrize("part", PARTS)
def test_a_wheel_asks_for_no_other_task_and_for_compatible_packages(wheels, part):
    ours = [r for r in requirements_of(wheels, part) if "wandb-eval-" in r.name]
    assert {r.name for r in ours} == {f"wandb-eval-{other}" for other in below(part)}
    for requirement in (r for r in ours if r.marker is None):
        other = requirement.name.removeprefix("wandb-eval-")
        version = Version(metadata_of(wheels, other)["Version"])
        later = f"{version.major}.{version.minor}.{version.micro + 1}"
        assert version in requirement.specifier
        assert Version(later) in requirement.specifier
        next_minor = Version(f"{version.major}.{version.minor + 1}")
        assert next_minor not in requirement.specifier


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "backend"),
    [
        ("core", "jax"),
        ("engine", "jax"),
        ("detection", "jax"),
        ("segmentation", "jax"),
        ("image_to_image", "jax"),
        ("classification", "tensorflow"),
        ("regression", "tensorflow"),
    ],
)
def test_a_fit_from_a_wheel_and_the_lowest_packages_in_a_clean_environment(  # noqa: PLR0917
    wheels, locked, environment_of, tmp_path, part, backend
):
    venv = environment_of(backend)
    python = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [f"{wheel_of(wheels, part)}[{backend}]"]
    for other in below(part):
        install.append(f"wandb-eval-{other} @ {lowest(wheels, part, other, tmp_path)}")
    options = ["--exact", "--find-links", wheels, "--constraint", locked]
    uv("pip", "install", "--python", python, *options, *install, cwd=tmp_path)

    listed = uv("pip", "list", "--python", python, "--format", "json", cwd=tmp_path)
    installed = {package["name"] for package in json.loads(listed)}
    ours = {name for name in installed if name.startswith("wandb-eval-")}
    assert ours == {distribution(name) for name in (part, *below(part))}
    assert installed & {"tensorflow", "jax"} == {backend}

    script = tmp_path / "fit.py"
    script.write_text(textwrap.dedent(FIT) + textwrap.dedent(FITS[part]))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    environment |= {
        "KERAS_BACKEND": backend,
        "WANDB_DIR": str(tmp_path),
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
    }
    printed = run(python, "-I", script, cwd=tmp_path, env=environment)
    result = json.loads(printed.splitlines()[-1])
    assert result["backend"] == backend
    assert result["rows"] == [*range(6)]
    assert result["tensorflow"] == (backend == "tensorflow")
    assert all(Path(file).is_relative_to(venv) for file in result["files"])
    assert list(Path(result["folder"]).glob("*.wandb"))


def test_tensorflow_stays_out_where_it_is_installed_and_not_the_backend():
    imports = "\n".join(f"import wandb_eval.{part}" for part in PARTS)
    questions = """
import importlib.util, keras, sys
print(keras.backend.backend(), "tensorflow" in sys.modules)
print(importlib.util.find_spec("tensorflow") is not None)
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    printed = run(sys.executable, "-c", imports + questions, env=environment)
    assert printed.split() == ["jax", "False", "True"]
