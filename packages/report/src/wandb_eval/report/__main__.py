"""Writes a run's tables as an HTML file: `python -m wandb_eval.report RUN`.

`python -m wandb_eval.report compare A B` compares two evaluations.
"""

from __future__ import annotations

import argparse
import io
import sys

from wandb_eval.report import compare_command, writing


def main(arguments: list[str] | None = None) -> int:
    """Writes the report, and prints its path and size; or compares."""
    if arguments is None:
        arguments = sys.argv[1:]
        for stream in (sys.stdout, sys.stderr):  # They may lack letters of names.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
    if arguments[:1] == ["compare"]:
        return compare_command.main(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="python -m wandb_eval.report",
        description="Writes the tables, charts and numbers of a run as an HTML file "
        "that opens in any browser, without an account. `compare A B` instead of RUN "
        "compares two evaluations.",
    )
    parser.add_argument(
        "run",
        metavar="RUN",
        help="the folder of an offline run, such as wandb/latest-run, or "
        "entity/project/run_id for a run in W&B",
    )
    parser.add_argument(
        "other", metavar="RUN_B", nargs="?", help="a second run, to compare with"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="PATH",
        default=writing.DEFAULT_PATH,
        help="the file to write (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        path = writing.write_report(
            options.run, options.output, compare_with=options.other
        )
    except (OSError, ValueError) as error:
        print(f"No report was written: {error}", file=sys.stderr)
        return 1
    size = path.stat().st_size
    print(f"Wrote {path} ({size / 1e6:.1f} MB). Open it in a browser.")
    folder = writing.media_folder(path)
    if folder is not None:
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"It needs {folder} ({size / 1e6:.1f} MB) beside it.")
    print("It holds images of the validation data: share it as you would share those.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
