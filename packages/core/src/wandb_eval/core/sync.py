"""Sends offline runs to W&B, also from folders that were moved.

    python -m wandb_eval.core.sync RUN_FOLDER [RUN_FOLDER ...] [options of wandb sync]

The log of an offline run names the files of its artifacts by their absolute paths. When
the folder was moved or copied, `wandb sync` does not find them: it reports
success, and the artifacts stay pending. This command updates the paths in the log
first, and then calls `wandb sync`.
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
    """Updates the paths of files in the log of an offline run.

    It first waits until wandb-core has written all of the log.

    Args:
        folder: The folder of the run.

    Returns:
        The number of paths that were changed. The log is written only if it is not 0.

    Raises:
        FileNotFoundError: If there is no log in the folder, or if files are missing.
        ValueError: If the file is not a log of wandb.
    """
    log = find_log(folder)
    if not wait_for_exit(log):
        logger.warning(
            "%s has no end: the run still runs, or was cut off. The records so far are "
            "sent.",
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
    """Updates the folders among the arguments, and passes all to `wandb sync`."""
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
    # `wandb sync` tells offline runs by the name of the folder, which may have changed.
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", *arguments]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
