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
    find_moved_file,
    read_records,
    seconds_since_change,
    wait_for_exit,
    write_records,
)

logger = logging.getLogger(__name__)


def update_paths(folder: str | os.PathLike[str]) -> int:
    """Updates the paths of files in the log of an offline run.

    It first waits until wandb-core has written all of the log. If files are missing,
    the paths of the others are updated.

    Args:
        folder: The folder of the run, or its log.

    Returns:
        The number of paths that were changed. The log is written only if it is not 0.

    Raises:
        FileNotFoundError: If there is no log in the folder, or if files are missing.
        ValueError: If the file is not a log of wandb, or may still be written.
    """
    log = find_log(folder)
    if not (has_exit := wait_for_exit(log)):
        logger.warning("%s has no end. The records so far are sent.", log)
    records = list(read_records(log))
    changed, missing = 0, []
    for record in records:
        if record.WhichOneof("record_type") != "artifact":
            continue
        large = record.artifact.manifest.manifest_file_path  # Of many files.
        if large and not os.path.exists(large):
            missing.append(large)
        for entry in record.artifact.manifest.contents:
            if not entry.local_path or os.path.exists(entry.local_path):
                continue
            moved = find_moved_file(entry.local_path, log.parent)
            if moved is None:
                missing.append(entry.local_path)
            else:
                entry.local_path, changed = moved, changed + 1
    # wandb-core writes every 15 seconds, and would go on in the log that is replaced.
    if changed and not has_exit and seconds_since_change(log) < 60:
        raise ValueError(f"{log} may still be written. Try again in a minute")
    if changed:
        write_records(log, records)
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} files of the run are neither where they were written nor "
            f"in {log.parent}. Copy the whole folder of the run, and send it with "
            f"`--include-synced`. The first one: {missing[0]}"
        )
    return changed


def _logs_in(path: Path) -> list[Path]:
    if path.suffix == ".wandb":
        return [path]
    return [*path.glob("*.wandb")] or [*path.glob("*/*.wandb")]  # As wandb does.


def main(arguments: list[str]) -> int:
    """Updates the folders among the arguments, and passes all to `wandb sync`."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    lacks_files = False
    for log in (log for argument in arguments for log in _logs_in(Path(argument))):
        try:
            if changed := update_paths(log):
                print(f"{log}: {changed} paths of files were brought up to date.")
        except (OSError, ValueError) as error:
            print(f"{log}: {error}", file=sys.stderr)
            if not isinstance(error, FileNotFoundError):
                return 1
            lacks_files = True  # What is there is sent.
    # `wandb sync` tells offline runs by the name of the folder, which may have changed.
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", *arguments]
    return subprocess.run(command, check=False).returncode or int(lacks_files)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
