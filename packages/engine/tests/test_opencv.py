"""The error has advice if OpenCV can't be imported."""

import ast
import os
import re
import runpy
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from wandb_eval.engine.kit import opencv

pytestmark = pytest.mark.once

MISSING = "libGL.so.1: cannot open shared object file: No such file or directory"


def test_a_missing_library_has_remedies(tmp_path):
    (tmp_path / "cv2.py").write_text(f"raise ImportError({MISSING!r})\n")
    done = subprocess.run(
        [sys.executable, "-c", "import wandb_eval.engine"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode
    assert f"OpenCV can't be imported here: {MISSING}" in done.stdout
    assert "apt-get install -y libgl1 libglib2.0-0" in done.stdout
    assert (
        "pip install --force-reinstall --no-deps opencv-python-headless" in done.stdout
    )
    override = re.search(r"`override-dependencies = (\[.*?\])`", done.stdout)[1]
    [requirement] = map(Requirement, ast.literal_eval(override))
    assert requirement.name == "opencv-python"
    assert not requirement.marker.evaluate()  # So it is installed nowhere.
    # Else uv leaves both in one folder, and its next sync takes the files of both.
    assert "`uv sync && uv add opencv-python-headless`" in done.stdout


@pytest.mark.parametrize("error", [ImportError("No module named 'x'"), OSError("y")])
def test_another_error_is_raised_as_it_is(tmp_path, monkeypatch, error):
    (tmp_path / "cv2.py").write_text(f"raise {error!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv2")
    with pytest.raises(type(error)) as raised:
        runpy.run_path(opencv.__file__)
    assert str(raised.value) == str(error)
