"""The results of one pass over the validation data, or over a part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.engine.evaluation.fingerprint import Fingerprint
from wandb_eval.engine.evaluation.learning import LearnedNumbers, Learning
from wandb_eval.engine.evaluation.metrics import Metrics
from wandb_eval.engine.evaluation.sample_properties import PassProperties
from wandb_eval.engine.evaluation.samples import EvaluatedSamples, TopK


@dataclass
class Collected:
    """The results of a pass.

    Of several processes, each may collect a part of the data: parts are merged in the
    order of the data, and are equal to one pass over all of it.

    Attributes:
        metrics: The metrics of the task; `None` if it has none.
        properties: The properties of the samples; `None` if they are known.
        hardest: The samples that the model gets most wrong.
        suspects: The samples whose target may be wrong, where the task can tell.
        broken: The samples that were right in the last evaluation and are wrong now.
        fixed: The fixed samples that were at their original places.
        scores: The scores of all samples, by column, in their order.
        errors: The error of each sample, by batch.
        correct: Whether each sample is right, by batch.
        confidence: The probability of the label of each sample, by batch.
        signed_errors: The signed errors of each sample, by batch.
        not_finite: The number of samples whose outputs are NaN or infinite.
        fingerprint: The identity of the data that was seen.
    """

    metrics: Metrics | None
    properties: PassProperties | None
    hardest: TopK
    suspects: TopK
    broken: TopK
    fixed: EvaluatedSamples = field(default_factory=EvaluatedSamples)
    scores: dict[str, list[Any]] = field(default_factory=dict)
    errors: list[NDArray[np.float64]] = field(default_factory=list)
    correct: list[NDArray[np.bool_]] = field(default_factory=list)
    confidence: list[NDArray[np.floating[Any]]] = field(default_factory=list)
    signed_errors: list[NDArray[np.floating[Any]]] = field(default_factory=list)
    not_finite: int = 0
    fingerprint: Fingerprint = field(default_factory=Fingerprint)

    def merge(self, other: Collected) -> None:
        """Adds the results of the next part of the data."""
        for mine, theirs in (
            (self.metrics, other.metrics),
            (self.properties, other.properties),
        ):
            if mine is not None:
                merged: Any = mine  # Only metrics that have `merge` are shared.
                merged.merge(theirs)
        self.hardest.merge(other.hardest)
        self.suspects.merge(other.suspects)
        self.broken.merge(other.broken)
        self.fixed.merge(other.fixed)
        for name, values in other.scores.items():
            self.scores.setdefault(name, []).extend(values)
        self.errors += other.errors
        self.correct += other.correct
        self.confidence += other.confidence
        self.signed_errors += other.signed_errors
        self.not_finite += other.not_finite
        self.fingerprint.merge(other.fingerprint)

    def learn(
        self, learning: tuple[Learning, LearnedNumbers], epoch: int
    ) -> Learning | LearnedNumbers | None:
        """Updates the learning of samples.

        Args:
            learning: The learning of classes and of numbers.
            epoch: The epoch, from 0.

        Returns:
            The one that was updated; `None` if the task can't tell.
        """
        classes, numbers = learning
        if self.signed_errors:
            numbers.update(np.concatenate(self.signed_errors))
            return numbers
        if not self.correct:
            return None
        correct = np.concatenate(self.correct)
        classes.update(correct, np.concatenate(self.confidence), epoch)
        return classes

    def joined_errors(self) -> NDArray[np.float64] | None:
        """Returns the error of each sample; `None` if the task scores no samples."""
        return np.concatenate(self.errors) if self.errors else None


def merged(parts: Sequence[Collected]) -> Collected:
    """Merges parts, in the order of the data, into the first one."""
    first, *others = parts
    for part in others:
        first.merge(part)
    return first
