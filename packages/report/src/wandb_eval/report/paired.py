"""Statistics of two evaluations of the same samples: differences, with intervals.

All functions work on plain arrays, and all differences are B minus A. SciPy is imported
in the functions that use it, because a report without a comparison does not need it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95

MANY = 1_000
"""The number of pairs from which the method of Zou and Donner is used."""

_RESAMPLES = 2_000
_AT_ONCE = 250  # Comparisons.
_MOST_UNITS = 1_000  # More samples are resampled in random groups.
_FEWEST = 5  # With fewer samples, a mean has no interval.

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """The difference of B from A in a number.

    Attributes:
        difference: The mean over B minus the mean over A.
        low: The lower end of the interval of 95 %; `None` for fewer than 5 samples.
        high: The upper end of that interval.
        p_value: The probability of such a difference, or a larger one, by chance.
        mean_a: The mean over A.
        mean_b: The mean over B.
        num_samples: The number of samples with a value on both sides.
    """

    difference: float
    low: float | None
    high: float | None
    p_value: float
    mean_a: float
    mean_b: float
    num_samples: int

    @property
    def is_clear(self) -> bool:
        """Whether both interval and p-value exclude chance."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return False
        return self.p_value < 1 - CONFIDENCE


def mcnemar(fixed: int, broken: int) -> float:
    """Returns the p-value of McNemar's exact test for the pairs that differ.

    >>> round(mcnemar(9, 1), 4)
    0.0215
    """
    from scipy import stats

    if fixed + broken == 0:
        return 1.0
    return float(stats.binomtest(fixed, fixed + broken).pvalue)


def proportions_interval(fixed: int, broken: int, count: int) -> tuple[float, float]:
    """Returns the 95 % interval of the difference of two paired proportions.

    For fewer than 1,000 pairs it is that of Bonett and Price (2012,
    https://doi.org/10.3102/1076998611411915): a Wald interval, with one added to both
    counts of pairs that differ. It is conservative if few pairs differ: for 1,000 pairs
    of which five differ, its coverage would be 99 %. For 1,000 pairs or more, the
    interval combines the exact limits with mid-p of both shares (Zou and Donner 2008,
    https://doi.org/10.1002/sim.3095), with their correlation. If many pairs differ, the
    two are the same.

    Args:
        fixed: The number of pairs that are right in B alone.
        broken: The number of pairs that are right in A alone.
        count: The number of all pairs.

    >>> low, high = proportions_interval(12, 4, 100)
    >>> round(low, 3), round(high, 3)
    (-0.002, 0.159)
    """
    if count >= MANY:
        return _from_single_shares(fixed, broken, count)
    share_fixed, share_broken = (fixed + 1) / (count + 2), (broken + 1) / (count + 2)
    difference = share_fixed - share_broken
    variance = (share_fixed + share_broken - difference**2) / (count + 2)
    margin = _normal_quantile() * math.sqrt(variance)
    return max(difference - margin, -1.0), min(difference + margin, 1.0)


def _from_single_shares(fixed: int, broken: int, count: int) -> tuple[float, float]:
    """Combines the intervals of two shares to that of their difference."""
    up, down = fixed / count, broken / count
    lowest, highest = _mid_p_limits(fixed, count)
    lowest_down, highest_down = _mid_p_limits(broken, count)
    odds = up * down / max((1 - up) * (1 - down), 1e-12)
    related = 2 * math.sqrt(min(odds, 1.0))

    def margin(one: float, other: float) -> float:
        return math.sqrt(one**2 + other**2 + related * one * other)

    difference = up - down
    return (
        max(difference - margin(up - lowest, highest_down - down), -1.0),
        min(difference + margin(highest - up, down - lowest_down), 1.0),
    )


def _mid_p_limits(times: int, count: int) -> tuple[float, float]:
    """Returns the exact limits of a share, with mid-p."""
    from scipy import special

    def below(share: float) -> float:
        """Returns the probability of a lower count, plus half that of an equal one."""
        fewer = special.bdtr(times - 1, count, share) if times else 0.0
        return float(fewer + special.bdtr(times, count, share)) / 2

    ends = []
    for end, wanted in ((0.0, (1 + CONFIDENCE) / 2), (1.0, (1 - CONFIDENCE) / 2)):
        low, high = 0.0, 1.0
        if times == end * count:
            ends.append(end)
            continue
        for _ in range(50):  # After so many halvings, the two are equal.
            middle = (low + high) / 2
            low, high = (middle, high) if below(middle) > wanted else (low, middle)
        ends.append(low)
    return ends[0], ends[1]


def _normal_quantile() -> float:
    from scipy import special

    return float(special.ndtri((1 + CONFIDENCE) / 2))


def compare_right(right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> Estimate:
    """Compares the shares of right samples of two runs.

    Args:
        right_a: Whether each sample is right in A, of shape `(samples,)`.
        right_b: Whether each sample is right in B, of shape `(samples,)`.
    """
    count = len(right_a)
    fixed = int((right_b & ~right_a).sum())
    broken = int((right_a & ~right_b).sum())
    low, high = proportions_interval(fixed, broken, count)
    return Estimate(
        difference=(fixed - broken) / count,
        low=low,
        high=high,
        p_value=mcnemar(fixed, broken),
        mean_a=float(right_a.mean()),
        mean_b=float(right_b.mean()),
        num_samples=count,
    )


def compare_means(pairs: Sequence[tuple[Floats, Floats]]) -> list[Estimate]:
    """Compares means of two runs over the same samples.

    The interval is that of the paired bootstrap (BCa), with percentiles that are
    expanded for few samples (Hesterberg 2015,
    https://doi.org/10.1080/00031305.2015.1089789). Two samples are added, as
    Bonett and Price do for proportions: one with the usual gain of the samples that
    differ, and one with the same loss. Without them, the width would be 0 if no sample
    differs. The p-value is that of a paired t-test with the same two.

    Args:
        pairs: For each comparison, the values of the samples in A and in B, both of
            shape `(samples,)`. Many comparisons take hardly longer than one.
    """
    found: list[Estimate] = []
    for first in range(0, len(pairs), _AT_ONCE):
        found += _compare_means(pairs[first : first + _AT_ONCE])
    return found


def _compare_means(pairs: Sequence[tuple[Floats, Floats]]) -> list[Estimate]:
    from scipy import special

    changes = [_with_usual_changes(a, b) for a, b in pairs]
    differences = np.array([(b - a).mean() for a, b in pairs])
    counts = np.array([len(a) for a, _ in pairs])
    units = np.zeros((_MOST_UNITS, len(pairs)))
    for i, change in enumerate(changes):
        units[:, i] = _in_groups(change - differences[i])
    means = _weights() @ units / (counts + 2)
    freedom = np.maximum(counts - 1, 1)
    tails = special.stdtrit(freedom, (1 - CONFIDENCE) / 2)
    shares = special.ndtr(tails * np.sqrt(counts / freedom))
    found = []
    for i, (a, b) in enumerate(pairs):
        low = high = None
        p_value = 1.0
        if counts[i] >= _FEWEST:
            error = changes[i].std(ddof=1) / math.sqrt(len(changes[i]))
            if error > 0:
                t = abs(differences[i]) / error
                p_value = 2 * float(special.stdtr(freedom[i], -t))
            deviations = changes[i] - changes[i].mean()
            skewed = np.array([shares[i], 1 - shares[i]])
            if error > 0:
                cubes, squares = (float((deviations**k).sum()) for k in (3, 2))
                skewed = _corrected(skewed, cubes / (6 * squares**1.5))
            ends = np.quantile(means[:, i], skewed)
            low, high = (differences[i] + ends).tolist()
        of_a, of_b = float(a.mean()), float(b.mean())
        difference, count = float(differences[i]), int(counts[i])
        found.append(Estimate(difference, low, high, p_value, of_a, of_b, count))
    return found


def _corrected(shares: Floats, acceleration: float) -> Floats:
    """Returns the shares of BCa (Efron 1987); the bias of a mean is its acceleration.

    See DiCiccio and Efron 1996, https://doi.org/10.1214/ss/1032280214.
    """
    from scipy import special

    places = special.ndtri(shares) + acceleration
    return np.asarray(special.ndtr(acceleration + places / (1 - acceleration * places)))


def _with_usual_changes(a: Floats, b: Floats) -> Floats:
    """Returns the changes, and two more: the usual change, up and down.

    The usual change is the root mean square of the changes, or, if nothing changed, the
    range of the values.
    """
    changes = b - a
    some = changes[changes != 0]
    usual = float(np.sqrt(np.mean(some**2)) if len(some) else np.ptp(a))
    usual = math.copysign(usual, changes.sum())  # B against A mirrors A against B.
    return np.append(changes, [usual, -usual])


def _in_groups(deviations: Floats) -> Floats:
    """Sums random groups of equal size; pads few deviations with zeros.

    The mean of resampled groups has the same spread as that of resampled samples.
    """
    if len(deviations) <= _MOST_UNITS:
        return np.pad(deviations, (0, _MOST_UNITS - len(deviations)))
    starts = np.linspace(0, len(deviations), _MOST_UNITS, endpoint=False).astype(int)
    mixed = np.random.default_rng(0).permutation(deviations)
    return np.asarray(np.add.reduceat(mixed, starts))


@functools.cache
def _weights() -> Floats:
    """Returns the count of each unit in each resample, equal in all processes.

    The counts have a Poisson distribution with mean 1. For sums of deviations from the
    mean, this is as good as the usual bootstrap (Hanley and MacGibbon 2006,
    https://doi.org/10.1016/j.cmpb.2006.04.006), and needs one product of matrices.
    """
    drawn = np.random.default_rng(1).poisson(1.0, (_RESAMPLES, _MOST_UNITS))
    return drawn.astype(np.float64)


def compare_runs(a: Floats, b: Floats) -> Estimate:
    """Compares two means, if a side has several runs (seeds).

    Both runs and samples are random. The variance is that between the runs of each
    side, as in Welch's test, plus that between the paired samples, minus the part that
    both contain, but at least the variance between samples for these models. The
    degrees of freedom are Satterthwaite's
    (1946, https://doi.org/10.2307/3002019). A statement on a recipe needs both
    variances (Bouthillier et al. 2021, https://arxiv.org/abs/2103.03098). A side with
    one run counts as that one model.

    Args:
        a: The values of the samples in each run of A, of shape `(runs, samples)`.
        b: The values of the samples in each run of B, of shape `(runs, samples)`.
    """
    from scipy import stats

    count = a.shape[1]
    mean_a, mean_b = float(a.mean()), float(b.mean())
    difference = mean_b - mean_a
    low = high = None
    p_value = 1.0
    if count >= _FEWEST:
        parts = [(_variance_between_runs(side), len(side) - 1) for side in (a, b)]
        of_models = float(np.var(b.mean(0) - a.mean(0), ddof=1)) / count
        of_samples = of_models - sum(_variance_of_noise(side) for side in (a, b))
        parts.append((max(of_samples, 0.0), count - 1))
        total = sum(variance for variance, _ in parts)
        if total < of_models:  # The runs happen to be equal.
            total, parts = of_models, [(of_models, count - 1)]
        if total > 0:
            freedom = total**2 / sum(v**2 / max(f, 1) for v, f in parts)
            error = math.sqrt(total)
            p_value = float(2 * stats.t.sf(abs(difference) / error, freedom))
            margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
            low, high = difference - margin, difference + margin
        else:
            low = high = difference
    return Estimate(difference, low, high, p_value, mean_a, mean_b, count)


def _variance_between_runs(side: Floats) -> float:
    """Returns the variance of a side's mean over its runs; 0 for one run."""
    runs = len(side)
    return float(np.var(side.mean(1), ddof=1)) / runs if runs > 1 else 0.0


def _variance_of_noise(side: Floats) -> float:
    """Returns the part of that variance that comes from samples in single runs."""
    runs, count = side.shape
    if runs < 2:
        return 0.0
    noise = side - side.mean(0) - side.mean(1, keepdims=True) + side.mean()
    variance = np.square(noise).sum() / ((runs - 1) * (count - 1))
    return float(variance / (runs * count))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for their number (Holm 1979), in their order.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min((len(p_values) - rank) * p_values[i], 1.0))
        adjusted[i] = largest
    return adjusted
