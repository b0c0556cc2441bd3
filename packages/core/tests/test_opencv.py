"""Where OpenCV can't be imported, the error says what to do."""

import os
import subprocess
import sys

import pytest

MISSING = "libGL.so.1: cannot open shared object file: No such file or directory"


def import_with(tmp_path, error):
    """Imports core beside an OpenCV that raises; what it printed."""
    (tmp_path / "cv2.py").write_text(f"raise {error!r}\n")
    done = subprocess.run(
        [sys.executable, "-c", "import wandb_eval.core"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode
    return done.stdout


def test_a_missing_library_has_two_remedies(tmp_path):
    printed = import_with(tmp_path, ImportError(MISSING))
    assert f"OpenCV can't be imported here: {MISSING}" in printed
    assert "apt-get install libgl1 libglib2.0-0" in printed
    assert "pip install opencv-python-headless" in printed


@pytest.mark.parametrize("error", [ImportError("No module named 'x'"), OSError("y")])
def test_another_error_is_raised_as_it_is(tmp_path, error):
    printed = import_with(tmp_path, error)
    assert printed.splitlines()[-1].endswith(str(error))
    assert "OpenCV can't be imported" not in printed
