"""Matches predicted boxes with true boxes, and names the errors of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, overload

import numpy as np

from wandb_eval.detection.detections import Bools, Detections, Floats, Ints, join
from wandb_eval.detection.ious import overlaps, places_of
from wandb_eval.engine import at_least

NO_MATCH = -1
CROWD = -2

ERROR_TYPES = ("right", "class", "location", "both", "duplicate", "background")
"""The kinds of predictions in TIDE's terms: right, or wrong in one of five ways."""

BACKGROUND_THRESHOLD = 0.1
"""The highest IoU with all true boxes of a prediction on the background."""

RIGHT, _CLASS, _LOCATION, _BOTH, _DUPLICATE, _BACKGROUND = range(len(ERROR_TYPES))
"""The places of the kinds in `ERROR_TYPES`."""


class BatchMatch(Sequence["ImageMatch"]):
    """The matches between predicted and true boxes of a batch of images.

    The arrays hold the concatenated boxes of all images. An `ImageMatch` is the part of
    one image.

    Predictions are matched in the order of their scores (ties: in the order given).
    Each is matched with the true box of the highest IoU (ties: the first one), of
    `iou_threshold` or more, that is not yet matched. So predictions with lower scores
    do not influence the matches of those with higher scores.

    Args:
        truth: The true boxes of each image.
        predictions: All predicted boxes of each image, with scores.
        iou_threshold: The lowest IoU at which two boxes match.
        score_threshold: The lowest score of predictions that are shown.

    Attributes:
        true: All true boxes.
        predicted: All predicted boxes.
        true_image: The place of the image of each true box in the batch.
        image: The place of the image of each prediction in the batch.
        shown: Whether each prediction has a score of `score_threshold` or more.
    """

    def __init__(
        self,
        truth: Sequence[Detections],
        predictions: Sequence[Detections],
        iou_threshold: float,
        score_threshold: float,
    ) -> None:
        self._images = truth, predictions
        self._thresholds = iou_threshold, score_threshold
        self.true, self.predicted = join(truth), join(predictions)
        self.true_image = places_of(truth)
        self.image = places_of(predictions)
        # Compared in the dtype of the scores of each image.
        scores = [image.known_scores() for image in predictions]
        reached = [at_least(part, score_threshold) for part in scores]
        self.shown: Bools = np.concatenate([np.zeros(0, np.bool_), *reached])
        least = min(iou_threshold, BACKGROUND_THRESHOLD)
        i, j, ious = overlaps(self.predicted, self.image, self.true, self.true_image)
        near = ious >= least
        self._pairs = i[near], j[near], ious[near]

    def __len__(self) -> int:
        """The number of images."""
        return len(self._images[0])

    @overload
    def __getitem__(self, index: int) -> ImageMatch: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImageMatch]: ...
    def __getitem__(self, index: int | slice) -> ImageMatch | Sequence[ImageMatch]:
        """The matches in one image."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        truth, predictions = self._images
        image = ImageMatch(truth[index], predictions[index], *self._thresholds)
        vars(image)["_parts"] = self.parts(range(len(self))[index])
        return image

    def parts(self, place: int) -> _Parts:
        """The matches in one image, with its boxes counted from 0."""
        first, last = np.searchsorted(self.image, [place, place + 1])
        first_true, last_true = np.searchsorted(self.true_image, [place, place + 1])
        shown = self.shown[first:last]
        found = self.found[first:last][shown]
        return _Parts(
            shown,
            np.where(found >= 0, found - first_true, found),
            self.kinds[first:last][shown],
            self.missed[first_true:last_true].copy(),
            self.ious[self.image[self.hits] == place],
        )

    @cached_property
    def found(self) -> Ints:
        """The true box of its class that each prediction matches, as a place in `true`.

        It is `NO_MATCH` or `CROWD` for the others. Predictions of any score count.
        """
        i, j, _ = self._pairs
        same = self.predicted.labels[i] == self.true.labels[j]
        return self._match(np.asarray(same))

    @cached_property
    def found_of_any_class(self) -> Ints:
        """The same for true boxes of any class, among the shown predictions only."""
        return self._match(self.shown[self._pairs[0]])

    @cached_property
    def missed(self) -> Bools:
        """Whether each true box, except crowds, is matched by no shown prediction."""
        missed = ~self.true.iscrowd
        missed[self.found[self.hits]] = False
        return missed

    @cached_property
    def hits(self) -> Ints:
        """The places of the shown predictions that match a true box, in their order."""
        return np.flatnonzero((self.found >= 0) & self.shown)

    @cached_property
    def wrong(self) -> Bools:
        """Whether each prediction is shown, and matches no true box and no crowd."""
        return np.asarray((self.found == NO_MATCH) & self.shown)

    @cached_property
    def ious(self) -> Floats:
        """The IoU of each of the `hits`."""
        i, j, ious = self._pairs
        return np.asarray(ious[(self.found[i] == j) & self.shown[i]])

    @cached_property
    def kinds(self) -> Ints:
        """The kind of each prediction, as a place in `ERROR_TYPES`.

        The kinds are those of TIDE (Bolya et al. 2020,
        https://arxiv.org/abs/2008.08115, section 2.2), with `iou_threshold` as the
        foreground threshold. The prediction is of the right class, but too far from the
        true box (location); on a true box of another class (class); too far from a true
        box of another class (both); on a true box that another prediction has matched
        (duplicate); on no true box (background). A prediction that matches only a crowd
        is right.
        """
        return self._kinds_and_boxes[0]

    @cached_property
    def _kinds_and_boxes(self) -> tuple[Ints, Ints]:
        """The kinds, and the true box of each wrong class or wrong location."""
        wrong = self.found == NO_MATCH
        i, j, ious = self._pairs
        counts = wrong[i] & ~self.true.iscrowd[j]
        i, j, ious = i[counts], j[counts], ious[counts]
        order = np.lexsort((-ious, i))
        i, j, ious = i[order], j[order], ious[order]
        same = self.predicted.labels[i] == self.true.labels[j]
        nearest: list[tuple[Floats, Ints]] = []
        for of_class in (same, ~same):
            first = np.flatnonzero(of_class)
            first = first[np.diff(i[first], prepend=-1) != 0]
            best = np.zeros(len(wrong)), np.full(len(wrong), NO_MATCH)
            best[0][i[first]], best[1][i[first]] = ious[first], j[first]
            nearest.append((best[0][wrong], best[1][wrong]))
        (near_same, box_same), (near_other, box_other) = nearest
        low, high = BACKGROUND_THRESHOLD, self._thresholds[0]
        is_location = (near_same >= low) & (near_same < high)
        is_class = near_other >= high
        kinds = np.full(len(wrong), RIGHT)
        kinds[wrong] = np.select(
            [
                is_location,
                is_class,
                near_same >= high,
                np.maximum(near_same, near_other) <= low,
            ],
            [_LOCATION, _CLASS, _DUPLICATE, _BACKGROUND],
            _BOTH,
        )
        boxes = np.full(len(wrong), NO_MATCH)
        boxes[wrong] = np.select(
            [is_location, is_class], [box_same, box_other], NO_MATCH
        )
        return kinds, boxes

    @cached_property
    def fixes(self) -> Ints:
        """The true box that each prediction finds if its error is corrected.

        Only true boxes that no prediction has found can be found. Among the predictions
        on such a box with a wrong location or a wrong class, the one with the highest
        score finds it. It is `NO_MATCH` for all other predictions.
        """
        boxes = self._kinds_and_boxes[1]
        i = np.flatnonzero(boxes != NO_MATCH)
        i = i[~self._is_found[boxes[i]]]
        i = i[np.argsort(-self.predicted.known_scores()[i], kind="stable")]
        j, first = np.unique(boxes[i], return_index=True)
        fixes = np.full(len(boxes), NO_MATCH)
        fixes[i[first]] = j
        return fixes

    @property
    def out_of_reach(self) -> Bools:
        """Whether each true box is found by no prediction, even with `fixes`."""
        out_of_reach = ~(self.true.iscrowd | self._is_found)
        out_of_reach[self.fixes[self.fixes >= 0]] = False
        return out_of_reach

    @cached_property
    def _is_found(self) -> Bools:
        is_found = np.zeros(len(self.true), np.bool_)
        is_found[self.found[self.found >= 0]] = True
        return is_found

    @property
    def counts(self) -> tuple[Ints, Ints, Ints]:
        """The numbers of right, wrong and missed boxes in each image."""
        places = self.image[self.hits], self.image[self.wrong]
        right, wrong, missed = (
            self.per_image(place) for place in (*places, self.true_image[self.missed])
        )
        return right, wrong, missed

    @property
    def mean_ious(self) -> list[float | None]:
        """The mean IoU of the matches of each image; `None` without matches."""
        counts = self.counts[0]
        parts = np.split(self.ious, np.cumsum(counts)[:-1])
        return [float(part.mean()) if len(part) else None for part in parts]

    @property
    def surest_mistakes(self) -> Floats:
        """The highest score of a wrong prediction in each image; 0 without one."""
        surest = np.zeros(len(self))
        scores = self.predicted.known_scores()[self.wrong]
        np.maximum.at(surest, self.image[self.wrong], scores)
        return surest

    def per_image(self, places: Ints) -> Ints:
        """Counts the occurrences of each image among places of images."""
        return np.bincount(places, minlength=len(self))

    def _match(self, counts: Bools) -> Ints:
        """Matches the pairs that count."""
        i, j, ious = self._pairs
        # As in COCO, so that an IoU of 1 can be reached.
        close = counts & (ious >= min(self._thresholds[0], 1 - 1e-10))
        crowd = self.true.iscrowd[j]
        found = np.full(len(self.predicted), NO_MATCH)
        found[i[close & crowd]] = CROWD
        free = close & ~crowd
        i, j, ious = i[free], j[free], ious[free]
        scores = self.predicted.known_scores()
        order = np.lexsort((-ious, i, -scores[i]))
        i, j = assign(i[order], j[order], len(self.true))
        found[i] = j
        return found


def assign(predictions: Ints, true: Ints, num_true: int) -> tuple[Ints, Ints]:
    """Assigns each prediction, one after the other, the best true box that is free.

    All predictions propose to their best true box at once. A box rejects all but the
    first prediction, and rejected predictions propose to their next best box. All boxes
    have the same order of predictions, so the result is that of assigning one after the
    other (Gale and Shapley 1962).

    Args:
        predictions: The prediction of each pair that may match. The pairs of the first
            prediction come first, then those of the second.
        true: The true box of each pair. For each prediction the best box is first.
        num_true: The number of true boxes.

    Returns:
        The predictions that match, and the true box of each.
    """
    turn = np.cumsum(np.diff(predictions, prepend=-1) != 0)
    last = len(turn)  # A true box without proposals rejects no prediction.
    while True:
        asks = np.flatnonzero(np.diff(turn, prepend=-1))
        taken_by = np.full(num_true, last)
        taken_by[true[asks][::-1]] = turn[asks][::-1]  # The last assignment stays.
        kept = turn <= taken_by[true]
        if kept.all():
            return predictions[asks], true[asks]
        turn, predictions, true = turn[kept], predictions[kept], true[kept]


class _Parts(NamedTuple):
    """The matches in an image, see `ImageMatch`; `shown` covers all predictions."""

    shown: Bools
    found: Ints
    kinds: Ints
    missed: Bools
    ious: Floats


@dataclass(frozen=True, eq=False)
class ImageMatch:
    """The matches between predicted and true boxes of one image, as in `BatchMatch`.

    Args:
        truth: The true boxes.
        predictions: All predicted boxes, with scores.
        iou_threshold: The lowest IoU at which two boxes match.
        score_threshold: The lowest score of predictions that count.
    """

    truth: Detections
    predictions: Detections
    iou_threshold: float
    score_threshold: float

    @cached_property
    def _parts(self) -> _Parts:
        thresholds = self.iou_threshold, self.score_threshold
        return BatchMatch([self.truth], [self.predictions], *thresholds).parts(0)

    @cached_property
    def shown(self) -> Detections:
        """The predictions that count."""
        return self.predictions[self._parts.shown]

    @property
    def pairs(self) -> Floats:
        """IoUs of shape `(shown, true)`; for a crowd, the share that lies in it."""
        shown, truth = self.shown, self.truth
        ious = np.zeros((len(shown), len(truth)))
        i, j, values = overlaps(shown, places_of([shown]), truth, places_of([truth]))
        ious[i, j] = values
        return ious

    @property
    def found(self) -> Ints:
        """The true box that each shown prediction matches, `NO_MATCH` or `CROWD`."""
        return self._parts.found

    @property
    def missed(self) -> Bools:
        """Whether each true box is missed by the shown predictions, shape `(true,)`."""
        return self._parts.missed

    @property
    def kinds(self) -> Ints:
        """The place in `ERROR_TYPES` of each shown prediction, of shape `(shown,)`."""
        return self._parts.kinds

    @property
    def true_positives(self) -> int:
        """The number of shown predictions that match a true box of their class."""
        return int((self.found >= 0).sum())

    @property
    def false_positives(self) -> int:
        """The number of shown predictions that match no true box and no crowd."""
        return int((self.found == NO_MATCH).sum())

    @property
    def false_negatives(self) -> int:
        """The number of true boxes that no shown prediction matches."""
        return int(self.missed.sum())

    @property
    def ious(self) -> Floats:
        """The IoU of each match."""
        return self._parts.ious

    @property
    def mean_iou(self) -> float | None:
        """The mean IoU of the matches; `None` if there are none."""
        return float(self.ious.mean()) if len(self.ious) else None
