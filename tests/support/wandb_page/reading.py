"""Reads tables by W&B's query engine."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from wandb_page.environment import python

ENGINE = Path(__file__).parent / "engine.py"


def read(url: str, asked: list[list[str]], home: Path) -> list[dict[str, Any]]:
    """Reads tables on a loopback server by W&B's engine; see `engine`.

    Args:
        url: The address of the server.
        asked: The tables, each as `[entity, project, collection, commit, path]`.
        home: A folder for the downloads of the engine.

    Raises:
        NotInstalledError: The engine can't be installed.
        RuntimeError: The engine can't read the tables.
    """
    done = subprocess.run(
        [python(), "-I", str(ENGINE)],
        input=json.dumps(asked),
        env=weave_environment(url, home),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"W&B's engine failed: {done.stderr[-3000:]}")
    answer: list[dict[str, Any]] = json.loads(done.stdout)
    return answer


def weave_environment(url: str, home: Path) -> dict[str, str]:
    """The environment variables with which weave knows only that server."""
    ours = ("WANDB_", "WEAVE_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return kept | {
        "HOME": str(home),
        "WANDB_BASE_URL": url,
        "WANDB_API_KEY": "0" * 40,
        "WANDB_CACHE_DIR": str(home / "cache"),
        "WANDB_ERROR_REPORTING": "false",
        "WEAVE_DISABLE_ANALYTICS": "true",
        "WEAVE_LOCAL_ARTIFACT_DIR": str(home / "weave"),
        "WEAVE_GQL_SCHEMA_PATH": str(ENGINE.parent / "schema.graphql"),
    }
