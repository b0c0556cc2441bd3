"""Finds slices of samples on which a model does provably worse.

`find_weak_slices` needs an error and some properties of each sample, but no model,
callback or run. A callback calls it once, when training ends, with the error of each
sample of the last evaluation (`scores`), the properties that `image_properties` and
similar functions found during the first one, the properties of the user, and, for
classification, the true classes as `strata`.

The method:

- The slices are fixed before the errors are used: see `conditions_of`.
- The gap of a slice is the coefficient of "is in the slice" in a linear model of the
  error with a mean for each stratum; without strata, the difference of two means.
- Errors are permuted within strata. The largest standardized gap of all slices in each
  permutation shows how large the largest gap is by chance alone (max-T: Westfall and
  Young 1993, Resampling-Based Multiple Testing). One threshold holds for all slices.
- If few samples are wrong, large gaps of small slices are more probable by chance than
  those of large ones, because the sums are skewed. Standardized gaps are converted to
  normal ones by their exact skewness over the permutations (as a gamma distribution:
  Mielke and Berry 2007, Permutation Methods; its cube root: Wilson and Hilferty 1931).
- There are many more pairs than single conditions, so the largest gap by chance is
  nearly always that of a pair. Before gaps are compared, each one is reduced by the
  threshold that slices of its kind have alone, with a fixed share of the probability of
  an error. So a pair has to earn its second property, and the search for pairs hardly
  hides a weak single condition.
- The lower bound of a gap is the value at which a test of "the gap is this large"
  begins to reject, with the variance for that gap, as in score intervals (Miettinen and
  Nurminen 1985): the pooled variance for no gap, that of a model with the gap for the
  observed gap, and an interpolation in between. So the bound is above 0 if, and only
  if, the slice passes the threshold. It also holds if errors scatter more in the slice.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wandb_eval.engine.slices.conditions import Mask, codes_of, conditions_of
from wandb_eval.engine.slices.sums import Floats, Slices

MIN_SAMPLES = 300
"""With fewer samples, only very large gaps can be told from chance."""

_LEAST_SAMPLES, _LEAST_SHARE = 30, 0.02
_SHARES = 0.3, 0.7
"""The shares of single conditions and of pairs in the probability of an error."""

_MOST_COVERED = 0.5
_NEARLY_AS_STRONG, _NEARLY_THE_SAME = 0.9, 0.6
_BLOCK = 2**21
"""The number of values in an array of permuted errors: 16 MB."""

_STRATA_BLOCK = 256
_LEAST_SKEWNESS = 1e-5


@dataclass(frozen=True)
class WeakSlice:
    """Samples that have one or two properties in common, and a larger error.

    Attributes:
        text: The slice in words: `"brightness below 0.21 and camera is 'north'"`.
        properties: The names of its properties, one or two.
        index: The places of its samples in the data, int64, ascending.
        num_samples: The number of its samples.
        share: Their share of all samples that have an error.
        error: Their mean error.
        error_elsewhere: The mean error of the other samples.
        gap: The increase of the error in the slice, within strata. Without strata, the
            difference of `error` and `error_elsewhere`.
        at_least: A lower bound of the gap. With the requested confidence (95 %), the
            bounds of all slices hold at once, so they hold for the selected slices.
        p_value: The probability that the strongest one of all slices is this strong by
            chance alone.
        mechanical: Whether the error depends on one of the properties by its definition
            (as F1 does on the number of objects), so that the model is not at fault.
    """

    text: str
    properties: tuple[str, ...]
    index: NDArray[np.int64] = field(repr=False, compare=False)
    num_samples: int
    share: float
    error: float
    error_elsewhere: float
    gap: float
    at_least: float
    p_value: float
    mechanical: bool = False

    def __str__(self) -> str:
        without_strata = self.error - self.error_elsewhere
        is_within = not math.isclose(self.gap, without_strata, abs_tol=1e-9)
        return (
            f"an error of {self.error:.3g} where {self.text} ({self.num_samples} "
            f"samples), {self.error_elsewhere:.3g} elsewhere; at least "
            f"{self.at_least:.2g} more{' within strata' if is_within else ''}"
        )


def find_weak_slices(
    errors: ArrayLike,
    properties: Mapping[str, ArrayLike],
    *,
    strata: ArrayLike | None = None,
    num_permutations: int = 400,
    confidence: float = 0.95,
    min_gap: float = 0.2,
    max_slices: int = 10,
    mechanical: Collection[str] = (),
    seed: int = 0,
) -> list[WeakSlice]:
    """Finds slices of samples on which a model does provably worse.

    Slices are the tails of 5 to 50 % at both ends of a number, the categories of
    strings, bools and whole numbers with few values, missing values (`None`, NaN,
    infinity), and pairs of these for two properties. A slice has at least 30 samples,
    and 2 % of all.

    Args:
        errors: The error of the model on each sample: 0 or more, of shape `(samples,)`.
            Samples with NaN are left out. Infinity counts as the largest finite error.
        properties: The properties of the samples, by name: numbers, strings or bools,
            of shape `(samples,)`.
        strata: Groups within which slices are compared, of shape `(samples,)`. With the
            class of each sample, a property is not blamed for the errors of a class.
        num_permutations: The number of permutations of the errors within strata.
        confidence: The probability that no slice is found if there is none, and that
            all bounds hold.
        min_gap: The smallest gap that matters, as a share of the error elsewhere.
        max_slices: The largest number of slices to return.
        mechanical: The properties on which the error depends by its definition.
        seed: The seed of the permutations. The same seed gives the same slices.

    Returns:
        Slices, the strongest first, by their gap in standard errors. At most half of
        the samples of a slice are in stronger slices, and it has a gap without them,
        too. Of nearly equal slices, the one with fewer properties and digits is
        returned. The list is empty if there is no weak slice, or if there are fewer
        than 300 samples: see `too_few_samples`.

    Raises:
        ValueError: If an argument is out of its range, or if lengths differ.

    Example:

    >>> dark = np.arange(1000) < 100
    >>> errors = np.where(dark, 0.5, 0.1) + 0.1 * np.sin(np.arange(1000))
    >>> camera = np.where(dark, "night", "day")
    >>> [weak] = find_weak_slices(errors, {"camera": camera})
    >>> print(weak.text, weak.num_samples, round(weak.gap, 2))
    camera is 'night' 100 0.4
    """
    errors = _errors(errors)
    _check(num_permutations, confidence, min_gap, max_slices)
    given = [*properties.items(), *([] if strata is None else [("strata", strata)])]
    for name, values in given:
        count = len(np.asarray(values, object).reshape(-1))
        if count != len(errors):
            raise ValueError(
                f"{name!r} must have one value for each of {len(errors)} errors. "
                f"Received: {count}"
            )
    index = np.flatnonzero(~np.isnan(errors))
    if too_few_samples(errors) or not properties:
        return []
    least = least_samples(len(index))
    slices = Slices(
        [
            conditions_of(name, _take(values, index), least)
            for name, values in properties.items()
        ]
    )
    codes = (
        np.zeros(len(index), np.int64)
        if strata is None
        else codes_of("strata", _take(strata, index))
    )
    search = _Search(slices, errors[index], codes, least)
    search.permute(num_permutations, confidence, np.random.default_rng(seed))
    return [
        search.weak_slice(number, index, mechanical)
        for number in search.strongest(min_gap, max_slices)
    ]


def least_samples(count: int) -> float:
    """Returns the smallest number of samples of a slice: 30, and 2 % of all.

    Args:
        count: The number of all samples.
    """
    return max(_LEAST_SAMPLES, _LEAST_SHARE * count)


def too_few_samples(errors: ArrayLike) -> str | None:
    """Returns why no slice can be found, or `None` if there are enough samples.

    Example:

    >>> too_few_samples([0, 1, float("nan")])
    'Weak slices need at least 300 samples with an error. Received: 2.'
    """
    count = int((~np.isnan(np.asarray(errors, np.float64))).sum())
    if count >= MIN_SAMPLES:
        return None
    return (
        f"Weak slices need at least {MIN_SAMPLES} samples with an error. Received: "
        f"{count}."
    )


@dataclass(frozen=True)
class _Gaps:
    """The measurements of all slices: arrays of shape `(slices,)`.

    Attributes:
        counts: The number of samples.
        errors: The sum of the errors.
        excess: The sum of the errors beyond the means of their strata.
        contrast: The effective number of samples: in a stratum of n samples, m of them
            in the slice, m * (n - m) / n. The gap is `excess / contrast`.
        variance: The exact variance of `excess` over all permutations within strata.
        skewness: The exact skewness of `excess` over all permutations.
    """

    counts: Floats
    errors: Floats
    excess: Floats
    contrast: Floats
    variance: Floats
    skewness: Floats

    def scores(self, least: float) -> Floats:
        """Returns the normal scores of gaps.

        Args:
            least: The smallest number of samples. Slices with fewer samples, or with
                too little contrast, have -inf.
        """
        enough = (self.counts >= least) & (self.contrast >= least / 2)
        enough &= self.variance > 1e-9 * self.contrast * self.variance.max(initial=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = _to_normal(self.excess / np.sqrt(self.variance), self.skewness)
        return np.where(enough, scores, -np.inf)


class _Search:
    """The gaps of all slices, and their distribution by chance.

    The strength of a slice is the normal score of its gap, less the handicap of its
    kind.
    """

    def __init__(
        self, slices: Slices, errors: Floats, strata: NDArray[np.int64], least: float
    ) -> None:
        self._slices = slices
        self._errors = errors
        self._strata = strata
        self._least = least
        self._gaps = _measure(slices, errors, strata)
        self._scores = self._gaps.scores(least)

    def permute(self, count: int, confidence: float, rng: np.random.Generator) -> None:
        """Finds handicaps and threshold by permutations of the errors."""
        maxima = self.maxima(count, rng)
        handicaps = np.array(
            [
                _limit(found, share * (1 - confidence))
                for found, share in zip(maxima, _SHARES, strict=True)
            ]
        )
        handicaps[~np.isfinite(handicaps)] = 0  # There is no slice of this kind.
        is_pair = np.arange(self._slices.count) >= self._slices.num_singles
        self._handicaps = handicaps[is_pair.astype(int)]
        self._maxima = (maxima - handicaps[:, None]).max(axis=0)
        self._threshold = _limit(self._maxima, 1 - confidence)

    def maxima(self, count: int, rng: np.random.Generator) -> Floats:
        """Returns the largest score in each permutation.

        Returns:
            Scores of shape `(2, count)`: of single conditions, and of pairs.
        """
        possible = np.isfinite(self._scores)
        maxima = np.full((2, count), -np.inf)
        residuals = _centred(self._errors, self._strata)
        size = max(1, _BLOCK // len(residuals))
        for start in range(0, count, size):
            block = slice(start, min(start + size, count))
            permuted = _permuted(residuals, self._strata, block.stop - block.start, rng)
            for place, sums in self._slices.sums(permuted):
                kept = possible[place]
                if kept.any():
                    deviations = np.sqrt(self._gaps.variance[place][kept, None])
                    skewness = self._gaps.skewness[place][kept, None]
                    here = _to_normal(sums[kept] / deviations, skewness).max(axis=0)
                    kind = int(place.start >= self._slices.num_singles)
                    maxima[kind, block] = np.maximum(maxima[kind, block], here)
        return maxima

    def strongest(self, min_gap: float, max_slices: int) -> Iterator[int]:
        """Yields the slices that pass, without those that repeat a stronger one.

        Args:
            min_gap: The smallest gap that matters, as a share of the error elsewhere.
            max_slices: The largest number of slices to yield.
        """
        gaps, strengths = self._gaps, self._scores - self._handicaps
        total = len(self._errors)
        with np.errstate(divide="ignore", invalid="ignore"):
            elsewhere = (self._errors.sum() - gaps.errors) / (total - gaps.counts)
            large = gaps.excess / gaps.contrast >= min_gap * elsewhere
        left = large & (strengths > self._threshold)
        covered = np.zeros(total, bool)
        for _ in range(max_slices):
            if not left.any():
                return
            strongest = int(np.argmax(np.where(left, strengths, -np.inf)))
            number = self._simplest(strongest, left)
            yield number
            covered |= self._slices.mask(number)
            common = self._slices.few_sums(covered.astype(np.float64))[0]
            left &= common <= _MOST_COVERED * gaps.counts
            if left.any():
                kept = ~covered
                rest = _measure(
                    self._slices, self._errors[kept], self._strata[kept], kept
                )
                scores = rest.scores(self._least / 2)
                left &= scores - self._handicaps > self._threshold

    def _simplest(self, strongest: int, left: Mask) -> int:
        """Returns the simplest slice that is nearly as strong and nearly the same."""
        least = _NEARLY_AS_STRONG * self._scores[strongest]
        mask = self._slices.mask(strongest)
        common = self._slices.few_sums(mask.astype(np.float64))[0]
        either = self._gaps.counts + mask.sum() - common
        near = left & (self._scores >= least) & (common >= _NEARLY_THE_SAME * either)
        return min(
            map(int, np.flatnonzero(near)),
            key=lambda number: (
                len(self._slices.pick(number)),
                len(self._slices.text(number)),
                -self._scores[number],
            ),
        )

    def weak_slice(
        self,
        number: int,
        index: NDArray[np.int64],
        mechanical: Collection[str],
    ) -> WeakSlice:
        """Makes the description of a slice."""
        mask = self._slices.mask(number)
        names = self._slices.names(number)
        gap = self._gaps.excess[number] / self._gaps.contrast[number]
        strength = self._scores[number] - self._handicaps[number]
        as_strong = int((self._maxima >= strength).sum())
        return WeakSlice(
            text=self._slices.text(number),
            properties=names,
            index=index[mask],
            num_samples=int(mask.sum()),
            share=float(mask.mean()),
            error=float(self._errors[mask].mean()),
            error_elsewhere=float(self._errors[~mask].mean()),
            gap=float(gap),
            at_least=self._at_least(number, mask),
            p_value=(1 + as_strong) / (1 + len(self._maxima)),
            mechanical=any(name in mechanical for name in names),
        )

    def _at_least(self, number: int, mask: Mask) -> float:
        contrast = self._gaps.contrast[number]
        gap = self._gaps.excess[number] / contrast
        score = self._threshold + self._handicaps[number]
        limit = float(_from_normal(score, self._gaps.skewness[number]))
        inside = _centred(mask.astype(np.float64), self._strata)
        residuals = _centred(self._errors, self._strata) - gap * inside
        samples = len(mask)
        freedom = max(1, samples - len(np.unique(self._strata)) - 1)
        pooled = self._gaps.variance[number] / contrast**2
        own = (inside**2 @ residuals**2) / contrast**2 * samples / freedom
        # (gap - bound)^2 = limit^2 * (pooled + bound / gap * (own - pooled))
        own = max(own, pooled)
        half = limit**2 * (own - pooled) / gap / 2
        return float(gap - (math.sqrt(half**2 + limit**2 * own) - half))


def _measure(
    slices: Slices,
    errors: Floats,
    strata: NDArray[np.int64],
    kept: Mask | None = None,
) -> _Gaps:
    """Measures the gaps of all slices, on all samples or on the kept ones."""
    kept = np.ones(len(errors), bool) if kept is None else kept
    strata = np.unique(strata, return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(strata).astype(np.float64)
    residuals = _centred(errors, strata)
    # The unbiased second and third cumulants of each stratum.
    spread = np.bincount(strata, residuals**2) / np.maximum(sizes - 1, 1)
    third = np.bincount(strata, residuals**3) * sizes
    third /= np.maximum((sizes - 1) * (sizes - 2), 1)
    counts, sums, excess, variance, skewness = slices.few_sums(
        *(np.ones(len(errors)), errors, residuals, spread[strata], third[strata]),
        kept=kept,
    )
    contrast = counts.copy()
    for start in range(0, len(sizes), _STRATA_BLOCK):
        block = slice(start, start + _STRATA_BLOCK)
        size = sizes[block]
        weights = np.stack([1 / size, spread[block] / size, 3 * third[block] / size], 1)
        here = (strata >= start) & (strata < block.stop)
        chosen = kept.copy()
        chosen[kept] = here
        counted = slices.counts(strata[here] - start, len(weights), chosen)
        for place, found in counted:
            less = found**2 @ weights
            contrast[place] -= less[:, 0]
            variance[place] -= less[:, 1]
            skewness[place] += found**3 @ (2 * third[block] / size**2) - less[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = np.where(variance > 0, skewness / np.abs(variance) ** 1.5, 0)
    return _Gaps(counts, sums, excess, contrast, variance, skewness)


def _to_normal(deviations: Floats, skewness: Floats) -> Floats:
    """Converts values in standard deviations to a nearly normal distribution.

    Args:
        deviations: Values of a distribution that is like a shifted gamma distribution.
        skewness: Its skewness.
    """
    half = _half(skewness)
    return (np.cbrt(1 + half * deviations) - 1 + half**2 / 9) * (3 / half)


def _from_normal(scores: Floats | float, skewness: Floats | float) -> Floats:
    """Returns the values of which `_to_normal` makes these scores."""
    half = _half(skewness)
    return ((half * scores / 3 + 1 - half**2 / 9) ** 3 - 1) / half


def _half(skewness: Floats | float) -> Floats:
    half = np.asarray(skewness, np.float64) / 2
    return np.where(np.abs(half) < _LEAST_SKEWNESS, _LEAST_SKEWNESS, half)


def _centred(values: Floats, strata: NDArray[np.int64]) -> Floats:
    """Subtracts the mean of each stratum; rounding errors become 0."""
    sizes = np.maximum(np.bincount(strata), 1)
    residuals = values - (np.bincount(strata, values) / sizes)[strata]
    residuals[np.abs(residuals) <= 1e-12 * np.abs(values).max(initial=0)] = 0
    return residuals


def _permuted(
    values: Floats, strata: NDArray[np.int64], count: int, rng: np.random.Generator
) -> Floats:
    """Permutes values within strata; returns shape `(samples, count)`."""
    order = np.argsort(strata, kind="stable")
    ends = np.cumsum(np.bincount(strata))
    permuted = np.empty((len(values), count))
    for places in np.split(order, ends[:-1]):
        repeated = np.broadcast_to(values[places, None], (len(places), count))
        permuted[places] = rng.permuted(repeated, axis=0)
    return permuted


def _limit(maxima: Floats, chance: float) -> float:
    """Returns the limit above which a value is as probable by chance.

    A permutation is counted for the data itself, as in `p_value`.
    """
    place = math.ceil((len(maxima) + 1) * (1 - chance) - 1e-9) - 1
    return float(np.sort(maxima)[min(place, len(maxima) - 1)])


def _errors(errors: ArrayLike) -> Floats:
    array = np.array(errors, np.float64)
    if array.ndim > 1 and array.size == len(array):
        array = array.reshape(-1)
    if array.ndim != 1:
        raise ValueError(
            f"`errors` must have one number for each sample. Received: shape "
            f"{array.shape}"
        )
    if (array < 0).any():
        raise ValueError(f"`errors` must be 0 or more. Received: {np.nanmin(array)}")
    infinite = np.isinf(array)
    array[infinite] = array[np.isfinite(array)].max(initial=0)
    return array


def _take(values: ArrayLike, index: NDArray[np.int64]) -> ArrayLike:
    if hasattr(values, "dtype"):
        return np.asarray(values)[index]
    column = list(values)  # type: ignore[arg-type]
    return [column[place] for place in index]


def _check(
    num_permutations: int, confidence: float, min_gap: float, max_slices: int
) -> None:
    if not 0 < confidence < 1:
        raise ValueError(
            f"`confidence` must be between 0 and 1. Received: {confidence}"
        )
    least = math.ceil(1 / (1 - confidence)) - 1
    if num_permutations < least:
        raise ValueError(
            f"`num_permutations` must be {least} or more for a confidence of "
            f"{confidence}. Received: {num_permutations}"
        )
    if min_gap < 0:
        raise ValueError(f"`min_gap` must be 0 or more. Received: {min_gap}")
    if max_slices < 0:
        raise ValueError(f"`max_slices` must be 0 or more. Received: {max_slices}")
