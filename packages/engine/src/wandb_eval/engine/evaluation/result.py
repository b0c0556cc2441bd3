"""The result of one evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wandb_eval.engine.evaluation.fingerprint import Fingerprint
from wandb_eval.engine.evaluation.learning import LearnedNumbers, Learning
from wandb_eval.engine.evaluation.metrics import Metrics
from wandb_eval.engine.evaluation.samples import EvaluatedSamples


@dataclass(frozen=True)
class Evaluation:
    """The result of one evaluation of a model on all of its validation data.

    Attributes:
        metrics: The metrics of the task, which have seen all batches; `None` if the
            task has none.
        fixed: The fixed samples.
        hardest: The samples that the model gets most wrong, the hardest first.
        suspects: The samples whose target may be wrong, where the task can tell.
        scores: The scores of all samples, by column, in their order.
        learning: How the model learned each sample; `None` where samples change places.
        not_finite: The number of samples whose outputs are NaN or infinite, as far as
            the task tells it by a `difficulty` of NaN.
        fingerprint: The identity of the data, with the number of samples.
        in_order: Whether the samples were at the same places as before training.
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

    @property
    def num_samples(self) -> int:
        """The number of samples."""
        return self.fingerprint.count
