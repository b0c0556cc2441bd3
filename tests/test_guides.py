"""The guides and the README run as they stand: their code, in order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/guides").glob("*.md"))]
BLOCK = re.compile(r'^```(python|bash)(?: title="(\w+)")?\n(.*?)^```', re.M | re.S)
LIBRARY_OF = {"keras-hub": "keras_hub", "reading-tables": "pandas"}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "page",
    [
        # It takes long to compile, and its models are tested on each backend elsewhere.
        pytest.param(page, marks=pytest.mark.any_backend)
        if page.stem == "keras-hub"
        else page
        for page in PAGES
    ],
    ids=lambda page: page.stem,
)
def test_a_page_runs_as_it_stands(loopback, monkeypatch, caplog, page):
    if page.stem in LIBRARY_OF:
        pytest.importorskip(LIBRARY_OF[page.stem])
    monkeypatch.chdir(os.environ["WANDB_DIR"])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    distribution = keras.distribution.distribution()
    names = {}
    blocks = BLOCK.findall(page.read_text())
    assert blocks
    try:
        for language, backend, code in blocks:
            if backend and backend.lower() != keras.backend.backend():
                continue
            if language == "python":
                exec(compile(code, page.name, "exec"), names)
            elif page.stem == "offline":
                subprocess.run(["bash", "-euc", code], check=True)
    finally:
        keras.distribution.set_distribution(distribution)
    failures = [one for one in caplog.records if one.name.startswith("wandb_eval")]
    assert [one.getMessage() for one in failures if one.exc_info] == []
    if page.stem == "offline":
        [_, version] = loopback.versions(f"run_{names['run'].id}_pred")
        assert version.state == "COMMITTED"
        assert all(loopback.resolve(version, path) for path in version.manifest)


TASKS = ["classification", "detection", "segmentation", "regression", "image_to_image"]


@pytest.mark.once
@pytest.mark.parametrize("part", ["core", "engine", *TASKS])
def test_all_say_in_the_same_words_how_to_install(part):
    """A release changes only these words."""
    folders = {"core": [], "engine": ["engine"]}.get(part, ["engine", part])
    more = "".join(f" ./packages/{folder}" for folder in folders)
    command = f'pip install "./packages/core[tensorflow]"{more}'
    words = f"""from a clone of the repository:

```bash
{command}
```

`[jax]` instead of `[tensorflow]` brings JAX; without either, no backend is installed. \
Keras uses TensorFlow unless
`KERAS_BACKEND` names another backend: set `KERAS_BACKEND=jax`, or \
`KERAS_BACKEND=torch` if you have installed Torch.
"""
    readme = (ROOT / f"packages/{part}/README.md").read_text()
    assert f"The package is on no index yet. F{words[1:]}" in readme
    if part == "classification":
        root = (ROOT / "README.md").read_text()
        assert (
            f"The packages are on no index yet. With Python 3.11 or newer, {words}"
            in root
        )
    assert readme.count("pip install") == 1
