"""How much average precision each kind of error costs, as in TIDE."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wandb_eval.detection.detections import Bools, Ints
from wandb_eval.detection.matching import ERROR_TYPES
from wandb_eval.detection.ranking import Labels, Ranked

_RECALLS = np.linspace(0, 1, 101)  # COCO's.


def error_costs(ranked: Ranked, true: Ints, out_of_reach: Ints) -> dict[str, float]:
    """How much higher AP would be without the errors of one kind.

    AP is COCO's at the IoU of the matching, over all predictions: the mean of the
    classes with true boxes. As in TIDE (Bolya et al. 2020, section 2.3, and its
    toolbox), errors are put right so: a wrong class and a wrong location become a match
    of the true box that they are on. If another prediction has found that one, or one
    with such an error has a higher score, they are left out, as all other wrong
    predictions are. True boxes that are missed are left out, too, unless a prediction
    of a wrong class or a wrong location is on them. A class that has no true box left
    then has an AP of 0 if there are predictions of it, and else does not count; where
    no class is left, nothing is wrong any more, and AP is 1.

    Args:
        ranked: All predictions.
        true: How many true boxes of each class there are, at least one in all.
        out_of_reach: How many of them are missed in that sense.

    Returns:
        Differences of AP, from -1 to 1, of each kind of wrong predictions, and of
        `missed`.
    """
    right = ranked.kinds == 0
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
    """The mean AP of classes; 0 for those without true boxes.

    Args:
        labels: The classes of predictions, the highest score first.
        hits: Which of them match.
        true: How many true boxes of each class there are.
        counted: Which classes count, one at least.
    """
    order: NDArray[np.intp] = np.argsort(labels, kind="stable")
    # Precision is highest at hits: nothing else needs a look.
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
    """Where each class begins, in order; the end of the last one behind them."""
    counts = np.bincount(labels, minlength=num_classes)
    return np.append(0, np.cumsum(counts))
