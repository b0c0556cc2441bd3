"""Sends offline runs to W&B, from wherever their folders are now.

    python -m wandb_eval.core.sync RUN_FOLDER [RUN_FOLDER ...] [options of wandb sync]

The log of an offline run names the files of its artifacts by their absolute paths. When
the folder was moved or copied, `wandb sync` does not find them: it says that it has
finished, and the artifacts stay pending. This brings the paths in the log up to date
first, and leaves the rest to `wandb sync`.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

from wandb_eval.core.offline_log import (
    find_log,
    moved_file,
    read_records,
    wait_for_exit,
    write_records,
)

logger = logging.getLogger(__name__)


def update_paths(folder: str | os.PathLike[str]) -> int:
    """Makes the log of an offline run name its files where they are now.

    A log that wandb-core has not written to its end yet is waited for.

    Args:
        folder: The folder of the run.

    Returns:
        How many paths were changed. The log is written only if there are any.

    Raises:
        FileNotFoundError: If there is no log in the folder, or files are nowhere.
        ValueError: If it is no log of wandb.
    """
    log = find_log(folder)
    if not wait_for_exit(log):
        logger.warning(
            "%s has no end: the run still runs, or was cut off. What is in the log by "
            "now is sent.",
            log,
        )
    records = list(read_records(log))
    changed = 0
    missing = []
    for record in records:
        if record.WhichOneof("record_type") != "artifact":
            continue
        for entry in record.artifact.manifest.contents:
            if not entry.local_path:
                continue
            path = moved_file(entry.local_path, log.parent)
            if not os.path.exists(path):
                missing.append(path)
            changed += path != entry.local_path
            entry.local_path = path
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} files of the run are neither where they were written nor "
            f"in {log.parent}. Copy the whole folder of the run. The first one: "
            f"{missing[0]}"
        )
    if changed:
        write_records(log, records)
    return changed


def main(arguments: list[str]) -> int:
    """Updates the folders among the arguments, and calls `wandb sync` with all."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    for folder in (a for a in arguments if not a.startswith("-") and Path(a).exists()):
        try:
            changed = update_paths(folder)
        except (OSError, ValueError) as error:
            print(f"{folder}: {error}", file=sys.stderr)
            return 1
        if changed:
            print(f"{folder}: {changed} paths of files were brought up to date.")
    # To `wandb sync`, a run is offline if its folder is called so; it may be renamed.
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", *arguments]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
