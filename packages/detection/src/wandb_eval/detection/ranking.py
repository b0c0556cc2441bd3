"""All predictions of a detector, the one with the highest score first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wandb_eval.detection.detections import Bools, Floats, Ints
from wandb_eval.detection.matching import CROWD, RIGHT, BatchMatch

Labels = NDArray[np.unsignedinteger]


@dataclass(frozen=True, eq=False)
class Ranked:
    """Predictions in the order of their scores (ties: in the order given).

    Attributes:
        labels: The class of each prediction.
        scores: The score of each prediction.
        kinds: The kind of each prediction, as a place in `ERROR_TYPES`.
        fixed: The class of the true box that each prediction finds if its error is
            corrected; the number of classes if it finds none.
    """

    labels: Labels
    scores: Floats
    kinds: NDArray[np.uint8]
    fixed: Labels

    def __getitem__(self, index: Ints) -> Ranked:
        """A selection of the predictions, or another order."""
        return Ranked(
            self.labels[index], self.scores[index], self.kinds[index], self.fixed[index]
        )

    @property
    def hits(self) -> Bools:
        """Whether each prediction is right."""
        return np.asarray(self.kinds == RIGHT)


class Ranking:
    """Collects predictions batch by batch.

    Predictions of any score count, except those that match only a crowd.

    Args:
        num_classes: The number of classes.

    Attributes:
        out_of_reach: The number of true boxes of each class that no prediction finds,
            even if its error is corrected. TIDE calls them missed.
    """

    def __init__(self, num_classes: int) -> None:
        self.out_of_reach: Ints = np.zeros(num_classes, np.int64)
        self._num_classes = num_classes
        # NumPy sorts small integers in linear time.
        self._dtype = np.min_scalar_type(num_classes)
        self._batches: list[Ranked] = []

    def update(self, matches: BatchMatch) -> None:
        """Takes in a batch."""
        counted = np.flatnonzero(matches.found != CROWD)
        true_labels = np.append(matches.true.labels, self._num_classes)
        batch = Ranked(
            matches.predicted.labels.astype(self._dtype),
            matches.predicted.known_scores(),
            matches.kinds.astype(np.uint8),
            true_labels[matches.fixes].astype(self._dtype),  # -1 reads the last entry.
        )
        self._batches.append(batch[counted])
        labels = matches.true.labels[matches.out_of_reach]
        self.out_of_reach += np.bincount(labels, minlength=self._num_classes)

    def merge(self, other: Ranking) -> None:
        """Takes in all predictions of another one, behind its own."""
        self._batches += other._batches
        self.out_of_reach += other.out_of_reach

    def compute(self) -> Ranked:
        """All predictions, ranked."""
        nothing = np.zeros(0, self._dtype)
        if not self._batches:
            return Ranked(nothing, np.zeros(0), np.zeros(0, np.uint8), nothing)
        everything = Ranked(
            np.concatenate([batch.labels for batch in self._batches]),
            np.concatenate([batch.scores for batch in self._batches]),
            np.concatenate([batch.kinds for batch in self._batches]),
            np.concatenate([batch.fixed for batch in self._batches]),
        )
        return everything[np.argsort(-everything.scores, kind="stable")]
