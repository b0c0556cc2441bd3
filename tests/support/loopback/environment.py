"""An environment in which wandb knows only a loopback backend."""

import os
import subprocess
import sys
from pathlib import Path

ENTITY = "loopback"
PROJECT = "tests"


def wandb_environment(url: str, home: Path) -> dict[str, str]:
    """The environment variables: everything at `url` and below `home`, fast retries.

    The waits between retries are as short as wandb-core takes them (whole seconds); the
    number of retries is as shipped. Clear `WANDB_*` and `*_proxy` before.
    """
    folders = {
        f"WANDB_{name}_DIR": home / name.lower()
        for name in ("ARTIFACT", "CACHE", "CONFIG", "DATA")
    }
    waits = {
        f"WANDB__{name}_RETRY_WAIT_{end}_SECONDS": "1"
        for name in ("FILE_STREAM", "FILE_TRANSFER", "GRAPHQL")
        for end in ("MIN", "MAX")
    }
    return {
        **{name: str(folder) for name, folder in folders.items()},
        **waits,
        "WANDB_DIR": str(home),
        "NETRC": str(home / "netrc"),
        "WANDB_BASE_URL": url,
        "WANDB_API_KEY": "0123456789abcdef" * 2 + "01234567",
        "WANDB_ENTITY": ENTITY,
        "WANDB_PROJECT": PROJECT,
        "WANDB_SILENT": "true",
        "WANDB_CONSOLE": "off",
        "WANDB_DISABLE_CODE": "true",
        "WANDB_DISABLE_GIT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB__DISABLE_MACHINE_INFO": "true",
        "WANDB__DISABLE_META": "true",
        "WANDB__DISABLE_STATS": "true",
        # The list of all installed packages, which takes 0.1 s or more for each run.
        "WANDB__SAVE_REQUIREMENTS": "false",
        "WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "0.2",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def sync_run(run_dir: Path | str) -> str:
    """Send an offline run with `wandb sync`, in the environment of this process.

    Args:
        run_dir: The run's folder (`offline-run-...`), or `run.dir`.

    Returns:
        The output of the command.

    Raises:
        RuntimeError: The command failed.
    """
    from wandb_eval.core.offline_log import wait_for_exit

    folder = Path(run_dir)
    folder = folder.parent if folder.name == "files" else folder
    if folder.exists():  # wandb-core may write the end after `finish` returned.
        wait_for_exit(folder)
    ignored = ("WANDB_SILENT", "WANDB_MODE")
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", str(folder)],
        env={key: value for key, value in os.environ.items() if key not in ignored},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"wandb sync ended with {done.returncode}: {done.stdout}")
    return done.stdout


def forget_wandb() -> None:
    """Stop wandb's service and empty what wandb keeps for the whole process."""
    import wandb
    from wandb.sdk.artifacts import artifact_instance_cache as cache

    wandb.teardown()
    cache.artifact_instance_cache.clear()
    cache.artifact_instance_cache_by_client_id.clear()
