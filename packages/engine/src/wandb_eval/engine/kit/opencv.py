"""Imports OpenCV, or raises an error that says how to install it."""

from __future__ import annotations

try:
    import cv2
except ImportError as error:
    if "lib" not in str(error) or ".so" not in str(error):
        raise
    raise ImportError(
        f"OpenCV can't be imported here: {error}. Either install the system package "
        "(Debian, Ubuntu: `apt-get install -y libgl1 libglib2.0-0`), or put the build "
        "that needs no display in its place: `pip uninstall -y opencv-python && pip "
        "install --force-reinstall --no-deps opencv-python-headless`. In a uv project, "
        "write `override-dependencies = [\"opencv-python; sys_platform == 'never'\"]` "
        "under `[tool.uv]` of pyproject.toml, then `uv sync && uv add "
        "opencv-python-headless`."
    ) from error

__all__ = ["cv2"]
