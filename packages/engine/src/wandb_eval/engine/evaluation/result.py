"""The result of one evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.engine.evaluation.fingerprint import Fingerprint
from wandb_eval.engine.evaluation.learning import LearnedNumbers, Learning
from wandb_eval.engine.evaluation.metrics import Metrics
from wandb_eval.engine.evaluation.samples import EvaluatedSamples
from wandb_eval.engine.slices.problems import DataProblem


@dataclass(frozen=True)
class FoundProblems:
    """The problems of the data that a pass has found.

    Attributes:
        problems: The problems; their indices are places of samples.
        samples: Some of their samples.
        places: The places of these samples.
    """

    problems: Sequence[DataProblem] = ()
    samples: EvaluatedSamples = field(default_factory=EvaluatedSamples)
    places: Sequence[int] = ()


@dataclass(frozen=True)
class Evaluation:
    """The result of one evaluation of a model on all of its validation data.

    Attributes:
        metrics: The metrics of the task, which have seen all batches; `None` if the
            task has none.
        fixed: The fixed samples.
        hardest: The samples that the model gets most wrong, the hardest first.
        suspects: The samples whose target may be wrong, where the task can tell.
        scores: The scores of all samples, by column. The order of all samples is that
            of the pass before training, whatever the order of this pass, unless some of
            them are others.
        learning: The course of learning of each sample; `None` if samples change
            places.
        not_finite: The number of samples whose outputs are NaN or infinite, as far as
            the task tells it by a `difficulty` of NaN.
        fingerprint: The identity of the data, with the number of samples.
        in_order: Whether the samples were at the same places as before training.
        errors: The error of each sample, of shape `(num_samples,)`; `None` if the task
            scores no samples.
        properties: The properties of all samples that define slices, by name, of shape
            `(num_samples,)`.
        problems: The problems of the data, in the first evaluation of a training; none
            in later ones.
        broken: The samples that were right in the evaluation before and are wrong now,
            the hardest first; at most as many as `hardest` may have.
    """

    metrics: Metrics | None
    fixed: EvaluatedSamples
    hardest: EvaluatedSamples
    suspects: EvaluatedSamples
    scores: Mapping[str, list[Any]]
    learning: Learning | LearnedNumbers | None
    not_finite: int
    fingerprint: Fingerprint
    in_order: bool
    errors: NDArray[np.float64] | None = None
    properties: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    problems: FoundProblems = field(default_factory=FoundProblems)
    broken: EvaluatedSamples = field(default_factory=EvaluatedSamples)

    @property
    def num_samples(self) -> int:
        """The number of samples."""
        return self.fingerprint.count

    def sorted_by(
        self, places: NDArray[np.int64], fingerprint: Fingerprint
    ) -> Evaluation:
        """Returns the evaluation with all samples in another order.

        Args:
            places: The place of each sample in that order, of shape `(num_samples,)`.
            fingerprint: The identity of the samples in that order.
        """
        order = np.argsort(places)
        return replace(
            self,
            scores={
                name: [column[i] for i in order.tolist()]
                for name, column in self.scores.items()
            },
            fingerprint=fingerprint,
            errors=None if self.errors is None else self.errors[order],
            properties={name: one[order] for name, one in self.properties.items()},
        )
