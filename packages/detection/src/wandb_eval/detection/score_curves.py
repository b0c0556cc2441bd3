"""Precision, recall and F1 of a detector over the score threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wandb_eval.detection.detections import Bools, Floats, Ints
from wandb_eval.detection.ranking import Ranked

SCORES = np.arange(51) / 50
"""The scores at which curves are drawn."""


@dataclass(frozen=True, eq=False)
class ScoreCurve:
    """The counts of predictions and matches at each score threshold.

    Attributes:
        scores: The distinct scores of predictions, the highest first.
        matched: The number of predictions with that score or more that match a true
            box.
        predicted: The number of predictions with that score or more.
        true: The number of true boxes, at least 1.
    """

    scores: Floats
    matched: Ints
    predicted: Ints
    true: int

    @classmethod
    def of(cls, scores: Floats, hits: Bools, true: int) -> ScoreCurve:
        """Counts predictions in descending order of their scores."""
        last = np.flatnonzero(np.diff(scores, append=-1) != 0)
        matched = np.cumsum(hits, dtype=np.int64)[last]
        return cls(scores[last], matched, last + 1, true)

    def best(self) -> tuple[float, float | None]:
        """The highest F1, and the lowest score with this F1.

        Without a match, F1 is 0, and the score is `None`.
        """
        if not self.matched.any():
            return 0.0, None
        f1 = 2 * self.matched / (self.predicted + self.true)
        place = len(f1) - 1 - int(f1[::-1].argmax())
        return float(f1[place]), float(self.scores[place])

    def sample(self) -> dict[str, tuple[Floats, Floats]]:
        """Precision, recall and F1 at `SCORES`, as x and y.

        At scores above those of all predictions, there is no precision, and recall and
        F1 are 0.
        """
        # Compared in the dtype of the scores, as with `score_threshold`.
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


def score_curves(
    ranked: Ranked, true: Ints
) -> tuple[ScoreCurve | None, dict[int, ScoreCurve]]:
    """The curves of all classes together, and of each class.

    Predictions with lower scores do not influence the matches of those with higher
    scores, see `BatchMatch`. So one matching is enough for all thresholds.

    Args:
        ranked: All predictions.
        true: The number of true boxes of each class.

    Returns:
        The curve of all classes together, by their counts (micro average); `None` if
        there are no true boxes. It includes the classes without true boxes, whose
        predictions are all wrong. And the curve of each class with true boxes, by its
        id.
    """
    if not true.any():
        return None, {}
    hits = ranked.hits
    by_class = np.argsort(ranked.labels, kind="stable")
    counts = np.bincount(ranked.labels, minlength=len(true))
    stops = np.cumsum(counts)
    curves = {}
    for label in np.flatnonzero(true).tolist():
        places = by_class[stops[label] - counts[label] : stops[label]]
        curves[label] = ScoreCurve.of(
            ranked.scores[places], hits[places], int(true[label])
        )
    return ScoreCurve.of(ranked.scores, hits, int(true.sum())), curves
