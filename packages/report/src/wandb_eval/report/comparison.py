"""The result of a comparison of two evaluations, as numbers, text and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.report.paired import CONFIDENCE, Estimate

_MOST_NAMED = 5


@dataclass(frozen=True)
class Difference(Estimate):
    """The difference of B from A in a number of the samples.

    Attributes:
        name: The column of `scores`, such as `correct` or `loss`.
        higher_is_better: Whether higher values are better; `None` if it is not known.
        num_left_out: The number of samples without a value on one side.
        by_class: The estimate for the samples of each class. The p-values are adjusted
            for the number of classes (Holm).
        by_slice: The estimate for each weak slice of A, with p-values adjusted for the
            number of slices. A slice was chosen because A does badly there, so B does
            better there by chance alone.
    """

    name: str
    higher_is_better: bool | None
    num_left_out: int
    by_class: Mapping[str, Estimate]
    by_slice: Mapping[str, Estimate]

    @property
    def verdict(self) -> str:
        """The verdict on B: "better", "worse", "different", or "" for chance."""
        if not self.is_clear:
            return ""
        if self.higher_is_better is None:
            return "different"
        return "better" if (self.difference > 0) == self.higher_is_better else "worse"

    @property
    def text(self) -> str:
        """The difference and its interval: "accuracy +1.7 points (1.3 to 2.1)"."""
        return f"{_titled(self.name)} {_interval(self, self.name)}"


@dataclass(frozen=True)
class ComparedSamples:
    """The samples that were compared, in the order of A.

    Attributes:
        index: The index of each sample in the data of A, of shape `(samples,)`.
        index_b: Its index in the data of B, which differs if the order differs.
        fixed: Whether the sample is wrong in A and right in B.
        broken: Whether the sample is right in A and wrong in B.
    """

    index: NDArray[np.int64]
    index_b: NDArray[np.int64]
    fixed: NDArray[np.bool_]
    broken: NDArray[np.bool_]


@dataclass(frozen=True)
class Comparison:
    """The comparison of two evaluations, A and B, of the same samples.

    Attributes:
        a: The runs of A with their versions.
        b: The runs of B with their versions.
        num_samples: The number of samples that were compared.
        fixed: The number of samples that are wrong in A and right in B.
        broken: The number of samples that are right in A and wrong in B.
        right: The rule by which a sample is right: "correct", or a number and a limit;
            empty if it is not known whether more of the number is better.
        p_value: The p-value of `fixed` and `broken`, by McNemar's exact test. With
            several runs per side, or without a rule, it is that of the first of
            `differences`, which includes the spread between runs.
        differences: B minus A, by the name of the number. The first one decides which
            is better.
        samples: The compared samples.
        notes: Sentences on the limits of the comparison.
    """

    a: tuple[str, ...]
    b: tuple[str, ...]
    num_samples: int
    fixed: int
    broken: int
    right: str
    p_value: float
    differences: Mapping[str, Difference]
    samples: ComparedSamples
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The verdict on B: "better", "worse", "different", or "" for chance."""
        return next(iter(self.differences.values())).verdict

    @property
    def text(self) -> str:
        """The result in two sentences: the verdict, and the compared sides."""
        first = next(iter(self.differences.values()))
        start = "No difference that chance does not explain"
        if self.verdict:
            start = f"B is {self.verdict}"
        several = len(self.a) + len(self.b) > 2
        shown = first.text
        if several or self.right != "correct":  # The other one is of fixed and broken.
            shown += f", {_p(first.p_value)}"
        return f"{start}: {self._counts(several)}; {shown}. {self._compared}"

    def _counts(self, several: bool) -> str:
        if not self.right:
            return f"{self.num_samples:,} samples were compared"
        remarks = [] if several else [_p(self.p_value)]
        if self.right != "correct":
            remarks.append(f"right is {self.right}")
        remark = f" ({', '.join(remarks)})" if remarks else ""
        return (
            f"of {self.num_samples:,} samples {self.fixed:,} were fixed and "
            f"{self.broken:,} broken{remark}"
        )

    @property
    def _compared(self) -> str:
        if len(self.a) == len(self.b) == 1:
            return (
                "This says which model is better on this data, not which recipe: that "
                "takes several runs a side."
            )
        sides = []
        for name, runs in (("A", self.a), ("B", self.b)):
            kind = (
                "one model" if len(runs) == 1 else f"a recipe, {len(runs)} runs of it"
            )
            sides.append(f"{name} is {kind}")
        return f"{'; '.join(sides)}. The spread between runs is in the interval."

    @property
    def details(self) -> str:
        """The other differences, the classes that differ most, and the notes."""
        lines = [f"A: {', '.join(self.a)}", f"B: {', '.join(self.b)}"]
        for i, difference in enumerate(self.differences.values()):
            if i:
                lines.append(f"  {difference.text}, {_p(difference.p_value)}")
            for kind, found in (
                ("class", difference.by_class),
                ("weak slice", difference.by_slice),
            ):
                lines += _largest(kind, found, difference.name)
        return "\n".join(lines + [f"Note: {note}" for note in self.notes])

    def to_json(self) -> dict[str, Any]:
        """Returns all results as values of JSON, with the changed samples."""
        return {
            "text": self.text,
            "verdict": self.verdict,
            "a": list(self.a),
            "b": list(self.b),
            "num_samples": self.num_samples,
            "fixed": self.fixed,
            "broken": self.broken,
            "right": self.right,
            "p_value": self.p_value,
            "confidence": CONFIDENCE,
            "differences": {
                name: {
                    **_estimate(found),
                    "verdict": found.verdict,
                    "higher_is_better": found.higher_is_better,
                    "num_left_out": found.num_left_out,
                    "by_class": {k: _estimate(v) for k, v in found.by_class.items()},
                    "by_slice": {k: _estimate(v) for k, v in found.by_slice.items()},
                }
                for name, found in self.differences.items()
            },
            "samples": {
                "fixed": self.samples.index[self.samples.fixed].tolist(),
                "broken": self.samples.index[self.samples.broken].tolist(),
                "fixed_in_b": self.samples.index_b[self.samples.fixed].tolist(),
                "broken_in_b": self.samples.index_b[self.samples.broken].tolist(),
            },
            "notes": list(self.notes),
        }


def _estimate(found: Estimate) -> dict[str, Any]:
    return {
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p_value": found.p_value,
        "mean_a": found.mean_a,
        "mean_b": found.mean_b,
        "num_samples": found.num_samples,
    }


def _largest(kind: str, found: Mapping[str, Estimate], name: str) -> list[str]:
    """Returns lines for the largest differences that chance does not explain."""
    clear = [(key, one) for key, one in found.items() if one.is_clear]
    clear.sort(key=lambda item: -abs(item[1].difference))
    lines = [
        f"    {kind} {key}: {_titled(name)} {_interval(one, name)}, {_p(one.p_value)}"
        for key, one in clear[:_MOST_NAMED]
    ]
    if len(clear) > _MOST_NAMED:
        lines.append(f"    and {len(clear) - _MOST_NAMED} more")
    return lines


def _titled(name: str) -> str:
    return "accuracy" if name == "correct" else name


def _interval(found: Estimate, name: str) -> str:
    """Formats a difference, such as "+1.7 points (1.3 to 2.1)"."""
    if found.low is None or found.high is None:
        return f"{found.difference:+.3g} (too few samples for an interval)"
    if name == "correct":
        difference, low, high = (
            100 * value for value in (found.difference, found.low, found.high)
        )
        digits = 1 if max(abs(low), abs(high)) >= 0.5 else 2
        unit = " points"
    else:
        difference, low, high, unit = found.difference, found.low, found.high, ""
        width = max(high - low, abs(difference), 1e-12)
        digits = int(max(0, min(12, 2 - np.floor(np.log10(width)))))
    low_text, high_text = f"{low:.{digits}f}", f"{high:.{digits}f}"
    return f"{difference:+.{digits}f}{unit} ({low_text} to {high_text})"


def _p(value: float) -> str:
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"
