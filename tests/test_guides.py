"""The guides run as they stand: their code and commands, in order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

GUIDES = sorted((Path(__file__).parents[1] / "docs/guides").glob("*.md"))
BLOCK = re.compile(r'^```(python|bash)(?: title="(\w+)")?\n(.*?)^```', re.M | re.S)
LIBRARY_OF = {"keras-hub": "keras_hub", "reading-tables": "pandas"}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_a_guide_runs_as_it_stands(loopback, monkeypatch, page):
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
            else:
                subprocess.run(["bash", "-euc", code], check=True)
    finally:
        keras.distribution.set_distribution(distribution)
    if page.stem == "offline":
        [_, version] = loopback.versions(f"run_{names['run'].id}_pred")
        assert version.state == "COMMITTED"
        assert all(loopback.resolve(version, path) for path in version.manifest)
