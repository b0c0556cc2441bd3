"""Which predicted box of an image is which true one, and what the others are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from hotcoco.primitives import bbox_iou

from wandb_eval.detection.detections import Bools, Detections, Floats, Ints

NO_MATCH = -1
CROWD = -2

KINDS = ("right", "class", "location", "both", "duplicate", "background")
"""What a prediction is, in TIDE's terms: right, or wrong in one of five ways."""

BACKGROUND_THRESHOLD = 0.1
"""Up to which IoU with all true boxes a prediction is of background."""

_RIGHT, _CLASS, _LOCATION, _BOTH, _DUPLICATE, _BACKGROUND = range(len(KINDS))


@dataclass(frozen=True, eq=False)
class ImageMatch:
    """How the predictions for one image match its true boxes.

    Predictions are matched in the order of their scores (ties: in the order given),
    each with the true box of highest IoU (ties: the first one), of `iou_threshold` or
    more, that no other one took.

    Args:
        truth: The true boxes.
        predictions: All predicted boxes, with scores.
        iou_threshold: From which IoU on two boxes match.
        score_threshold: From which score on predictions count.
    """

    truth: Detections
    predictions: Detections
    iou_threshold: float
    score_threshold: float

    @cached_property
    def shown(self) -> Detections:
        """The predictions that count."""
        return self.predictions.above(self.score_threshold)

    @cached_property
    def pairs(self) -> Floats:
        """IoUs of shape `(shown, true)`."""
        return box_ious(self.shown, self.truth)

    @cached_property
    def same_class(self) -> Bools:
        """Which pairs are of one class, of shape `(shown, true)`."""
        return np.asarray(self.shown.labels[:, None] == self.truth.labels)

    @cached_property
    def found(self) -> Ints:
        """For each shown one the true box of its class, `NO_MATCH` or `CROWD`."""
        return match(
            np.where(self.same_class, self.pairs, 0.0),
            self.shown.known_scores(),
            self.truth.iscrowd,
            self.iou_threshold,
        )

    @cached_property
    def found_of_any_class(self) -> Ints:
        """For each shown one the true box, of whatever class."""
        return match(
            self.pairs,
            self.shown.known_scores(),
            self.truth.iscrowd,
            self.iou_threshold,
        )

    @property
    def true_positives(self) -> int:
        """How many shown predictions match a true box of their class."""
        return int((self.found >= 0).sum())

    @property
    def false_positives(self) -> int:
        """How many match none, and no crowd."""
        return int((self.found == NO_MATCH).sum())

    @property
    def false_negatives(self) -> int:
        """How many true boxes no shown prediction matches."""
        return int((~self.truth.iscrowd).sum()) - self.true_positives

    @cached_property
    def missed(self) -> Bools:
        """Which true boxes no shown prediction matches, of shape `(true,)`."""
        missed = ~self.truth.iscrowd
        missed[self.found[self.found >= 0]] = False
        return missed

    @property
    def ious(self) -> Floats:
        """The IoU of each match."""
        hits = np.flatnonzero(self.found >= 0)
        return np.asarray(self.pairs[hits, self.found[hits]])

    @property
    def mean_iou(self) -> float | None:
        """The mean IoU of the matches; `None` if there are none."""
        ious = self.ious
        return float(ious.mean()) if len(ious) else None

    @property
    def f1(self) -> float:
        """F1 of the image; 1 where there is nothing to find, and nothing was found."""
        right = self.true_positives
        total = 2 * right + self.false_positives + self.false_negatives
        return 2 * right / total if total else 1.0

    @property
    def surest_mistake(self) -> float:
        """The highest score of a false positive; 0 without one."""
        wrong = self.shown.known_scores()[self.found == NO_MATCH]
        return float(wrong.max(initial=0.0))

    @cached_property
    def kinds(self) -> Ints:
        """What each shown prediction is, as a place in `KINDS`, of shape `(shown,)`.

        As in TIDE (Bolya et al. 2020, https://arxiv.org/abs/2008.08115, section 2.2),
        with `iou_threshold` in the place of its foreground threshold: of the right
        class, but too far from the true box (location); on a true box of another class
        (class); too far from one of another class (both); on one that another
        prediction has matched (duplicate); on none (background). What matches only a
        crowd is right.
        """
        kinds = np.full(len(self.shown), _BACKGROUND)
        kinds[self.found != NO_MATCH] = _RIGHT
        wrong = np.flatnonzero(self.found == NO_MATCH)
        true = np.flatnonzero(~self.truth.iscrowd)
        if not len(wrong) or not len(true):
            return kinds
        ious = self.pairs[np.ix_(wrong, true)]
        same = self.same_class[np.ix_(wrong, true)]
        near = ious.max(axis=1)
        near_same = np.where(same, ious, 0.0).max(axis=1)
        near_other = np.where(same, 0.0, ious).max(axis=1)
        low, high = BACKGROUND_THRESHOLD, self.iou_threshold
        kinds[wrong] = np.select(
            [
                (near_same >= low) & (near_same < high),
                near_other >= high,
                near_same >= high,
                near <= low,
            ],
            [_LOCATION, _CLASS, _DUPLICATE, _BACKGROUND],
            _BOTH,
        )
        return kinds


def box_ious(predictions: Detections, truth: Detections) -> Floats:
    """Intersection over union of each prediction with each true box, as in COCO.

    For a crowd it is the share of the prediction that lies in it.

    Returns:
        Array of shape `(predictions, true boxes)`.
    """
    shape = len(predictions), len(truth)
    if 0 in shape:
        return np.zeros(shape)
    ious = bbox_iou(as_xywh(predictions.boxes), as_xywh(truth.boxes), truth.iscrowd)
    return np.asarray(ious)


def as_xywh(boxes: Floats) -> Floats:
    """`[left, top, width, height]` of `[left, top, right, bottom]`."""
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])


def match(ious: Floats, scores: Floats, iscrowd: Bools, iou_threshold: float) -> Ints:
    """Gives each prediction, from the highest score on, the best free true box.

    Args:
        ious: Shape `(predictions, true boxes)`.
        scores: Shape `(predictions,)`.
        iscrowd: Shape `(true boxes,)`.
        iou_threshold: The least IoU of a match.

    Returns:
        The index of the true box, `NO_MATCH`, or `CROWD`, of shape `(predictions,)`.
    """
    threshold = min(iou_threshold, 1 - 1e-10)  # COCO's way to make 1 reachable.
    close = np.asarray(ious >= threshold)
    if not close.any():
        return np.full(len(ious), NO_MATCH)
    in_crowd = close[:, iscrowd].any(axis=1)
    found = np.where(in_crowd, CROWD, NO_MATCH)
    free = np.where(close & ~iscrowd, ious, 0.0)
    order = np.argsort(-scores, kind="stable")
    for i in order[np.asarray(free.any(axis=1))[order]]:
        best = int(free[i].argmax())
        if free[i, best] > 0:
            found[i] = best
            free[:, best] = 0.0
    return found
