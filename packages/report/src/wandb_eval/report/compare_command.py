"""The command `python -m wandb_eval.report compare A B`."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from wandb_eval.report.comparing import compare
from wandb_eval.report.comparison import Comparison

FAILED, NOT_COMPARED = 1, 2
_CONDITION = re.compile(r"\s*(?P<name>.+?)\s*(?P<sign>[<>])\s*(?P<limit>[^<>=]+)")


@dataclass(frozen=True)
class Condition:
    """A limit that a whole interval must not exceed, such as "correct < -0.01".

    Example:

    >>> Condition.parse("correct < -0.01")
    Condition(name='correct', sign='<', limit=-0.01)
    """

    name: str
    sign: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Parses a condition.

        Raises:
            ValueError: If the text is not a condition.
        """
        found = _CONDITION.fullmatch(text)
        try:
            limit = float(found["limit"]) if found else math.nan
        except ValueError:
            limit = math.nan
        if found is None or not math.isfinite(limit):
            raise ValueError(
                "A condition is a number of the samples, < or >, and a limit, such as "
                f"'correct < -0.01'. Received: {text!r}"
            )
        return cls(found["name"], found["sign"], limit)

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.limit:g}"

    def is_met(self, comparison: Comparison) -> bool:
        """Whether the whole interval of the difference B - A is beyond the limit.

        Raises:
            ValueError: If the samples do not have the number, or if there are too few.
        """
        found = comparison.differences.get(self.name)
        if found is None:
            raise ValueError(
                f"--fail-if {str(self)!r}: the samples have no number {self.name!r}. "
                f"They have {', '.join(comparison.differences)}."
            )
        if found.low is None or found.high is None:
            raise ValueError(f"--fail-if {str(self)!r}: there are too few samples.")
        return found.high < self.limit if self.sign == "<" else found.low > self.limit


def main(arguments: list[str]) -> int:
    """Prints the differences of B from A.

    Returns:
        1 if a condition of `--fail-if` is met, 2 if the two can't be compared, and 0
        otherwise.
    """
    options = _parser().parse_args(arguments)
    try:
        conditions = [Condition.parse(text) for text in options.fail_if]
        comparison = compare(
            options.a.split(","),
            options.b.split(","),
            on_shared=options.on_shared,
            threshold=options.threshold,
            name=options.name,
        )
        met = [str(one) for one in conditions if one.is_met(comparison)]
        if options.json is not None:
            found = {**comparison.to_json(), "failed": met}
            text = json.dumps(found, allow_nan=False, indent=1)
            Path(options.json).write_text(text + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"Nothing was compared: {error}", file=sys.stderr)
        return NOT_COMPARED
    except Exception as error:  # A status of 1 would mean that B is worse.
        print(f"Nothing was compared: {type(error).__name__}: {error}", file=sys.stderr)
        return NOT_COMPARED
    print(comparison.text)
    print(comparison.details)
    for text in met:
        print(f"Failed: {text}")
    return FAILED if met else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wandb_eval.report compare",
        description="Compares two evaluations of the same samples, and tests for "
        "chance.",
        epilog="Exit status: 1 if a condition of --fail-if is met, 2 if the two can't "
        "be compared, and 0 otherwise.",
    )
    run = (
        "the folder of an offline run, or entity/project/run_id; append :best, :latest "
        "or :epoch_3 to select a version; separate several runs of one recipe by commas"
    )
    parser.add_argument("a", metavar="A", help=run)
    parser.add_argument("b", metavar="B", help="the same, to compare with A")
    parser.add_argument("--json", metavar="FILE", help="also write all results as JSON")
    parser.add_argument(
        "--fail-if",
        metavar="CONDITION",
        action="append",
        default=[],
        help="exit with 1 if the whole interval of B - A is beyond a limit, such as "
        "'correct < -0.01'; can be repeated",
    )
    parser.add_argument(
        "--on-shared",
        action="store_true",
        help="if the data differs, compare the samples that both have",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        help="the value from which a sample is right, if there is no `correct`",
    )
    parser.add_argument(
        "--name", help="the name of the callback, if a run has several evaluations"
    )
    return parser
