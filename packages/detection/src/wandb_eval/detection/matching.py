"""Which predicted boxes are which true ones, and what the others are."""

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
"""What a prediction is, in TIDE's terms: right, or wrong in one of five ways."""

BACKGROUND_THRESHOLD = 0.1
"""Up to which IoU with all true boxes a prediction is of background."""

_RIGHT, _CLASS, _LOCATION, _BOTH, _DUPLICATE, _BACKGROUND = range(len(ERROR_TYPES))


class BatchMatch(Sequence["ImageMatch"]):
    """How the predictions for a batch of images match their true boxes.

    The arrays hold the boxes of all images under each other. What an `ImageMatch` has
    of one image is made of them.

    Predictions are matched in the order of their scores (ties: in the order given),
    each with the true box of highest IoU (ties: the first one), of `iou_threshold` or
    more, that no other one took. So what has a high score is matched as if nothing
    with a lower one were there.

    Args:
        truth: The true boxes of each image.
        predictions: All predicted boxes of each image, with scores.
        iou_threshold: From which IoU on two boxes match.
        score_threshold: From which score on predictions are shown.

    Attributes:
        true: All true boxes.
        predicted: All predicted boxes.
        true_image: The place of each true box's image in the batch.
        image: The place of each prediction's image in the batch.
        shown: Which predictions have a score of `score_threshold` or more.
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
        # In the dtype of each image's own scores.
        scores = [image.known_scores() for image in predictions]
        reached = [at_least(part, score_threshold) for part in scores]
        self.shown: Bools = np.concatenate([np.zeros(0, np.bool_), *reached])
        least = min(iou_threshold, BACKGROUND_THRESHOLD)
        i, j, ious = overlaps(self.predicted, self.image, self.true, self.true_image)
        near = ious >= least
        self._pairs = i[near], j[near], ious[near]

    def __len__(self) -> int:
        """How many images there are."""
        return len(self._images[0])

    @overload
    def __getitem__(self, index: int) -> ImageMatch: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImageMatch]: ...
    def __getitem__(self, index: int | slice) -> ImageMatch | Sequence[ImageMatch]:
        """What matches in one image."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        truth, predictions = self._images
        image = ImageMatch(truth[index], predictions[index], *self._thresholds)
        vars(image)["_parts"] = self.parts(range(len(self))[index])
        return image

    def parts(self, place: int) -> _Parts:
        """What is known of one image, with its boxes counted from 0."""
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
        """For each prediction its true box, of its class, `NO_MATCH` or `CROWD`.

        It is the place of the box in `true`. Predictions of any score have one.
        """
        i, j, _ = self._pairs
        same = self.predicted.labels[i] == self.true.labels[j]
        return self._match(np.asarray(same))

    @cached_property
    def found_of_any_class(self) -> Ints:
        """The same for boxes of whatever class; of those that are shown only."""
        return self._match(self.shown[self._pairs[0]])

    @cached_property
    def missed(self) -> Bools:
        """Which true boxes no shown prediction matches."""
        missed = ~self.true.iscrowd
        missed[self.found[self.hits]] = False
        return missed

    @cached_property
    def hits(self) -> Ints:
        """Which of the shown predictions match a true box, in their order."""
        return np.flatnonzero((self.found >= 0) & self.shown)

    @cached_property
    def wrong(self) -> Bools:
        """Which of the shown predictions match none, and no crowd."""
        return np.asarray((self.found == NO_MATCH) & self.shown)

    @cached_property
    def ious(self) -> Floats:
        """The IoU of each of the `hits`."""
        i, j, ious = self._pairs
        return np.asarray(ious[(self.found[i] == j) & self.shown[i]])

    @cached_property
    def kinds(self) -> Ints:
        """What each prediction is, as a place in `ERROR_TYPES`.

        As in TIDE (Bolya et al. 2020, https://arxiv.org/abs/2008.08115, section 2.2),
        with `iou_threshold` in the place of its foreground threshold: of the right
        class, but too far from the true box (location); on a true box of another class
        (class); too far from one of another class (both); on one that another
        prediction has matched (duplicate); on none (background). What matches only a
        crowd is right.
        """
        return self._kinds_and_boxes[0]

    @cached_property
    def _kinds_and_boxes(self) -> tuple[Ints, Ints]:
        """The kinds; and the true box that a wrong class or a wrong location is on."""
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
        kinds = np.full(len(wrong), _RIGHT)
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
        """For each prediction the true box that it finds once its error is put right.

        That is a box that nothing has found, and of those that are on it in the wrong
        place, or with the wrong class, the one with the highest score finds it. For
        all others it is `NO_MATCH`.
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
        """Which true boxes no prediction finds, of any score, with `fixes` or not."""
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
        """How many are right, wrong, and missed, in each image."""
        places = self.image[self.hits], self.image[self.wrong]
        right, wrong, missed = (
            self.per_image(place) for place in (*places, self.true_image[self.missed])
        )
        return right, wrong, missed

    @property
    def mean_ious(self) -> list[float | None]:
        """The mean IoU of the matches of each image; `None` where there are none."""
        counts = self.counts[0]
        parts = np.split(self.ious, np.cumsum(counts)[:-1])
        return [float(part.mean()) if len(part) else None for part in parts]

    @property
    def surest_mistakes(self) -> Floats:
        """The highest score of a wrong one in each image; 0 where there is none."""
        surest = np.zeros(len(self))
        scores = self.predicted.known_scores()[self.wrong]
        np.maximum.at(surest, self.image[self.wrong], scores)
        return surest

    def per_image(self, places: Ints) -> Ints:
        """How often each image is among some places."""
        return np.bincount(places, minlength=len(self))

    def _match(self, counts: Bools) -> Ints:
        """Matches the pairs that count."""
        i, j, ious = self._pairs
        # COCO's way to make an IoU of 1 reachable.
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
    """Gives each prediction, one after the other, the best true box that is free.

    All at once: each asks for its best one, and a box turns away all but the first of
    those who ask, and whoever comes later. Those ask for their next best then. With
    one order of predictions for all boxes, that ends with what one after the other
    would have (Gale and Shapley 1962).

    Args:
        predictions: The prediction of each pair that may match. Those of the first
            one first, then those of the second.
        true: The true box of each pair; for each prediction the best one first.
        num_true: How many true boxes there are.

    Returns:
        The predictions that match, and the true box of each.
    """
    turn = np.cumsum(np.diff(predictions, prepend=-1) != 0)
    last = len(turn)  # A true box that nobody asks for turns nobody away.
    while True:
        asks = np.flatnonzero(np.diff(turn, prepend=-1))
        taken_by = np.full(num_true, last)
        taken_by[true[asks][::-1]] = turn[asks][::-1]  # The last one written stays.
        kept = turn <= taken_by[true]
        if kept.all():
            return predictions[asks], true[asks]
        turn, predictions, true = turn[kept], predictions[kept], true[kept]


class _Parts(NamedTuple):
    """What matches in an image, see `ImageMatch`; `shown` of all its predictions."""

    shown: Bools
    found: Ints
    kinds: Ints
    missed: Bools
    ious: Floats


@dataclass(frozen=True, eq=False)
class ImageMatch:
    """How the predictions for one image match its true boxes, as in `BatchMatch`.

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
    def _parts(self) -> _Parts:
        thresholds = self.iou_threshold, self.score_threshold
        return BatchMatch([self.truth], [self.predictions], *thresholds).parts(0)

    @cached_property
    def shown(self) -> Detections:
        """The predictions that count."""
        return self.predictions[self._parts.shown]

    @property
    def pairs(self) -> Floats:
        """IoUs of shape `(shown, true)`; with crowds the share that lies in them."""
        shown, truth = self.shown, self.truth
        ious = np.zeros((len(shown), len(truth)))
        i, j, values = overlaps(shown, places_of([shown]), truth, places_of([truth]))
        ious[i, j] = values
        return ious

    @property
    def found(self) -> Ints:
        """For each shown one the true box of its class, `NO_MATCH` or `CROWD`."""
        return self._parts.found

    @property
    def missed(self) -> Bools:
        """Which true boxes no shown prediction matches, of shape `(true,)`."""
        return self._parts.missed

    @property
    def kinds(self) -> Ints:
        """The place in `ERROR_TYPES` of each shown prediction, of shape `(shown,)`."""
        return self._parts.kinds

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
        return int(self.missed.sum())

    @property
    def ious(self) -> Floats:
        """The IoU of each match."""
        return self._parts.ious

    @property
    def mean_iou(self) -> float | None:
        """The mean IoU of the matches; `None` if there are none."""
        return float(self.ious.mean()) if len(self.ious) else None
