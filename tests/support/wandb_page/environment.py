"""The environment of W&B's page and engine: Python 3.11, made once by uv."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements.txt"


class NotInstalledError(RuntimeError):
    """The environment can't be made here; the message says why."""


def python() -> Path:
    """The interpreter of the environment, which is made if there is none.

    It is kept in a folder of the user's cache that is named by the requirements.

    Raises:
        NotInstalledError: There is no uv, or it can't install the packages.
    """
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "wandb-eval-tests" / digest
    with _locked(folder.with_suffix(".lock")):
        # Written last, so that an incomplete environment is made again.
        done, found = folder / "done", folder / "bin" / "python"
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _uv("venv", "--no-project", "--python", "3.11", str(folder))
            into = ("--python", str(found), "--requirement", str(REQUIREMENTS))
            _uv("pip", "install", "--no-deps", *into)
            done.touch()
    return found


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets one process at a time make the environment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _uv(*arguments: str) -> None:
    if shutil.which("uv") is None:
        raise NotInstalledError("there is no uv")
    command = ["uv", *arguments, "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalledError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
