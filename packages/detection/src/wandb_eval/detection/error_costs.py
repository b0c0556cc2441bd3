"""The cost of each kind of error in average precision, as in TIDE."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wandb_eval.detection.detections import Bools, Ints
from wandb_eval.detection.matching import ERROR_TYPES
from wandb_eval.detection.ranking import Labels, Ranked

_RECALLS = np.linspace(0, 1, 101)  # Those of COCO.


def error_costs(ranked: Ranked, true: Ints, out_of_reach: Ints) -> dict[str, float]:
    """The gain in AP if the errors of one kind were corrected, for each kind.

    AP is that of COCO at the IoU of the matching, over all predictions: the mean over
    the classes with true boxes. Errors are corrected as in TIDE (Bolya et al. 2020,
    section 2.3, and its toolbox). A prediction with a wrong class or a wrong location
    becomes a match of its true box. It is left out if another prediction has found that
    box, or if another such prediction of the box has a higher score. A prediction with
    another error is left out. Missed true boxes are left out, too, unless a prediction
    with a wrong class or a wrong location is on them. A class without remaining true
    boxes has an AP of 0 if there are predictions of it, and does not count otherwise;
    without remaining classes, no error is left, and AP is 1.

    Args:
        ranked: All predictions.
        true: The number of true boxes of each class, at least one in total.
        out_of_reach: The number of true boxes of each class that are left out as
            missed.

    Returns:
        Differences of AP, from -1 to 1, for each kind of wrong predictions and for
        `missed`.
    """
    right = ranked.hits
    has_true = true > 0
    before = _mean_ap(ranked.labels, right, true, has_true)
    costs = {}
    for kind, name in enumerate(ERROR_TYPES[1:], start=1):
        wrong = ranked.kinds == kind
        kept = ~wrong | (ranked.fixed < len(true))
        labels = np.where(wrong, ranked.fixed, ranked.labels)[kept]
        costs[name] = _mean_ap(labels, (right | wrong)[kept], true, has_true) - before
    left = true - out_of_reach
    is_predicted = np.bincount(ranked.labels, minlength=len(true)) > 0
    counted = (left > 0) | (has_true & is_predicted)
    missed = _mean_ap(ranked.labels, right, left, counted) if counted.any() else 1.0
    return costs | {"missed": missed - before}


def _mean_ap(labels: Labels, hits: Bools, true: Ints, counted: Bools) -> float:
    """The mean AP of classes; AP is 0 for classes without true boxes.

    Args:
        labels: The classes of predictions, the highest score first.
        hits: Whether each prediction matches.
        true: The number of true boxes of each class.
        counted: Whether each class counts; at least one does.
    """
    order: NDArray[np.intp] = np.argsort(labels, kind="stable")
    # Precision is highest at hits, so that only hits matter.
    places = np.flatnonzero(hits[order])
    of_hit = labels[order][places]
    starts = _starts(labels, len(true))
    ranks = places - starts[of_hit] + 1
    starts = _starts(of_hit, len(true))
    precision = (np.arange(len(places)) - starts[of_hit] + 1) / ranks
    total = 0.0
    for label in np.flatnonzero(true).tolist():
        of_class = precision[starts[label] : starts[label + 1]]
        highest = np.maximum.accumulate(of_class[::-1])[::-1]
        recall = np.arange(1, len(of_class) + 1) / true[label]
        at_recall = np.append(highest, 0)[np.searchsorted(recall, _RECALLS)]
        total += float(at_recall.mean())
    return total / np.count_nonzero(counted)


def _starts(labels: Labels, num_classes: int) -> Ints:
    """The start of each class in sorted labels, followed by the end of the last one."""
    counts = np.bincount(labels, minlength=num_classes)
    return np.append(0, np.cumsum(counts))
