"""Precision, recall and F1 of a detector, over the score from which on boxes count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wandb_eval.detection.detections import Bools, Floats, Ints
from wandb_eval.detection.matching import CROWD, BatchMatch

SCORES = np.arange(101) / 100
"""Where curves are drawn."""


@dataclass(frozen=True, eq=False)
class ScoreCurve:
    """What is found, and how much of it is right, from each score on.

    Attributes:
        scores: The scores that predictions have, each once, the highest first.
        matched: How many predictions of that score or more match a true box.
        predicted: How many there are.
        true: How many true boxes there are, at least 1.
    """

    scores: Floats
    matched: Ints
    predicted: Ints
    true: int

    @classmethod
    def of(cls, scores: Floats, hits: Bools, true: int) -> ScoreCurve:
        """Counts predictions, which come with the highest score first."""
        last = np.flatnonzero(np.diff(scores, append=-1) != 0)
        matched = np.cumsum(hits, dtype=np.int64)[last]
        return cls(scores[last], matched, last + 1, true)

    def best(self) -> tuple[float, float | None]:
        """The highest F1, and the score that has it: of several the lowest one.

        Without a match it is 0, and no score is better than others.
        """
        if not self.matched.any():
            return 0.0, None
        f1 = 2 * self.matched / (self.predicted + self.true)
        place = len(f1) - 1 - int(f1[::-1].argmax())
        return float(f1[place]), float(self.scores[place])

    def sample(self) -> dict[str, tuple[Floats, Floats]]:
        """Precision, recall and F1 at `SCORES`, as x and y.

        Where no prediction has such a score, there is no precision, and the others
        are 0.
        """
        # Compared in the dtype of the scores, as they are with `score_threshold`.
        reached = np.searchsorted(
            -self.scores, -SCORES.astype(self.scores.dtype), side="right"
        )
        matched = np.append(0, self.matched)[reached]
        predicted = np.append(0, self.predicted)[reached]
        some = predicted > 0
        return {
            "precision": (SCORES[some], matched[some] / predicted[some]),
            "recall": (SCORES, matched / self.true),
            "f1": (SCORES, 2 * matched / (predicted + self.true)),
        }


class ScoreCurves:
    """The curves of all classes together, and of each class, batch by batch.

    Each prediction counts, whatever its score, but for those that match only a crowd.
    It counts as right if it matches a true box of its class, see `BatchMatch`: which
    does not depend on predictions with lower scores. So one matching is enough for
    all thresholds. Predictions of one score count together.

    Args:
        num_classes: How many classes there are.
    """

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        # NumPy sorts these fast, in linear time.
        self._dtype = np.min_scalar_type(num_classes)
        self._labels: list[NDArray[np.unsignedinteger]] = []
        self._scores: list[Floats] = []
        self._hits: list[Bools] = []

    def update(self, matches: BatchMatch) -> None:
        """Takes in a batch."""
        counted = matches.found != CROWD
        self._labels.append(matches.predicted.labels[counted].astype(self._dtype))
        self._scores.append(matches.predicted.known_scores()[counted])
        self._hits.append(matches.found[counted] >= 0)

    def compute(self, true: Ints) -> tuple[ScoreCurve | None, dict[int, ScoreCurve]]:
        """The curves of what has true boxes.

        Args:
            true: How many true boxes of each class there are.

        Returns:
            That of all classes together, by their counts (micro average): of those
            without true boxes, too, whose predictions are all wrong. `None` if no
            class has any. And that of each class with true boxes, by its id.
        """
        if not true.any():
            return None, {}
        scores = np.concatenate(self._scores)
        order = np.argsort(-scores)
        scores, hits = scores[order], np.concatenate(self._hits)[order]
        labels = np.concatenate(self._labels)[order]
        by_class = np.argsort(labels, kind="stable")
        counts = np.bincount(labels, minlength=self._num_classes)
        stops = np.cumsum(counts)
        curves = {}
        for label in np.flatnonzero(true).tolist():
            places = by_class[stops[label] - counts[label] : stops[label]]
            curves[label] = ScoreCurve.of(
                scores[places], hits[places], int(true[label])
            )
        return ScoreCurve.of(scores, hits, int(true.sum())), curves
