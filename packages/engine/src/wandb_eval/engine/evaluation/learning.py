"""Tracks how a model learns each sample of the validation data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wandb_eval.engine.nested import finite_or_none


class Learning:
    """Statistics of each sample over all evaluations so far.

    A sample is forgotten if it was right and is wrong in the next evaluation (Toneva et
    al. 2019, https://arxiv.org/abs/1812.05159). It is learned in the evaluation since
    which it has been right. Mean and spread of the probability of its label are those
    of dataset cartography (Swayamdipta et al. 2020, https://arxiv.org/abs/2009.10795).

    Example:

    >>> learning = Learning()
    >>> learning.update(np.array([False, True]), np.array([0.25, 0.75]), epoch=0)
    >>> learning.update(np.array([True, False]), np.array([0.5, 0.5]), epoch=1)
    >>> columns = learning.columns()
    >>> columns["learned_in"], columns["forgotten"]
    ([1, None], [0, 1])
    >>> columns["mean_confidence"], columns["confidence_spread"]
    ([0.375, 0.625], [0.125, 0.125])
    """

    def __init__(self) -> None:
        self._start(0)

    def _start(self, num_samples: int) -> None:
        self._count = 0
        self._sum: NDArray[np.float64] = np.zeros(num_samples)
        self._squares: NDArray[np.float64] = np.zeros(num_samples)
        self._forgotten: NDArray[np.int64] = np.zeros(num_samples, np.int64)
        self._learned_in: NDArray[np.int64] = np.full(num_samples, -1)
        self._correct: NDArray[np.bool_] = np.zeros(num_samples, np.bool_)

    def update(
        self,
        correct: NDArray[np.bool_],
        confidence: NDArray[np.floating[Any]],
        epoch: int,
    ) -> None:
        """Adds an evaluation of all samples, in their order.

        If the number of samples has changed, the statistics begin anew.

        Args:
            correct: Whether each sample was right, of shape `(samples,)`.
            confidence: The probability of each label, of shape `(samples,)`. NaN counts
                as 0.
            epoch: The epoch, from 0.
        """
        confidence = np.nan_to_num(np.asarray(confidence, np.float64))
        if len(correct) != len(self._correct):  # The first evaluation, or other data.
            self._start(len(correct))
        self._count += 1
        self._sum += confidence
        self._squares += confidence**2
        self._forgotten += self._correct & ~correct
        self._learned_in[correct & ~self._correct] = epoch
        self._learned_in[~correct] = -1
        self._correct = np.array(correct, np.bool_)

    def mean_confidence(
        self, first: int, confidence: NDArray[np.floating[Any]]
    ) -> NDArray[np.float64]:
        """Returns means of samples that include this evaluation, before `update`.

        Args:
            first: The place of the first of the samples.
            confidence: The probability of their labels now, of shape `(batch,)`.
        """
        now = np.nan_to_num(np.asarray(confidence, np.float64))
        before = self._sum[first : first + len(now)]
        if len(before) != len(now):
            return now
        return np.asarray((before + now) / (self._count + 1))

    def was_correct(self, first: int, count: int) -> NDArray[np.bool_]:
        """Returns whether samples were right in the evaluation before this one.

        Args:
            first: The place of the first of the samples.
            count: The number of samples.
        """
        before = self._correct[first : first + count]
        return before if len(before) == count else np.zeros(count, np.bool_)

    def columns(self) -> dict[str, list[Any]]:
        """Returns the statistics of each sample, by name, as plain values."""
        mean = self._sum / max(self._count, 1)
        variance = np.maximum(self._squares / max(self._count, 1) - mean**2, 0)
        return {
            "learned_in": [None if e < 0 else e for e in self._learned_in.tolist()],
            "forgotten": self._forgotten.tolist(),
            "mean_confidence": mean.tolist(),
            "confidence_spread": np.sqrt(variance).tolist(),
        }


class LearnedNumbers:
    """Statistics of the signed errors of each sample over all evaluations so far.

    Evaluations whose outputs for a sample are not finite leave it out.

    Example:

    >>> learning = LearnedNumbers()
    >>> learning.update(np.array([[-1.0], [2.0]]))
    >>> learning.update(np.array([[0.5], [1.0]]))
    >>> columns = learning.columns()
    >>> columns["mean_scaled_error"], columns["scaled_error_spread"]
    ([-0.25, 1.5], [0.75, 0.5])
    >>> learning.stayed(0, np.array([[0.5], [1.0]]))
    array([0., 1.])
    """

    def __init__(self) -> None:
        self._start((0, 0))

    def _start(self, shape: tuple[int, ...]) -> None:
        self._count = np.zeros(shape)
        self._sum = np.zeros(shape)
        self._squares = np.zeros(shape)
        self._low = np.full(shape, np.nan)
        self._high = np.full(shape, np.nan)

    def update(self, errors: NDArray[np.floating[Any]]) -> None:
        """Adds an evaluation of all samples, in their order.

        If the number of samples has changed, the statistics begin anew.

        Args:
            errors: The signed errors, of shape `(samples, numbers)`.
        """
        errors = np.asarray(errors, np.float64)
        if errors.shape != self._sum.shape:
            self._start(errors.shape)
        self._count += ~np.isnan(errors)
        known = np.nan_to_num(errors)
        self._sum += known
        self._squares += known**2
        self._low = np.fmin(self._low, errors)
        self._high = np.fmax(self._high, errors)

    def stayed(
        self, first: int, errors: NDArray[np.floating[Any]]
    ) -> NDArray[np.float64]:
        """Returns the least error of samples, with this evaluation, before `update`.

        It is the largest one of the numbers of a sample, and 0 where the errors of a
        number were on both sides.

        Args:
            first: The place of the first of the samples.
            errors: The signed errors now, of shape `(batch, numbers)`.
        """
        low = high = np.asarray(errors, np.float64)
        part = slice(first, first + len(low))
        if self._low[part].shape == low.shape:
            low = np.fmin(self._low[part], low)
            high = np.fmax(self._high[part], high)
        least = np.nan_to_num(np.maximum(low, -high))
        return np.asarray(np.maximum(least, 0).max(axis=1, initial=0))

    def columns(self) -> dict[str, list[Any]]:
        """Returns the statistics of each sample, by name, as plain values.

        Of several numbers, they are the means over the numbers. A sample of which a
        number was never finite has none.
        """
        with np.errstate(invalid="ignore"):
            mean = self._sum / self._count
            variance = np.maximum(self._squares / self._count - mean**2, 0)
        return {
            "mean_scaled_error": finite_or_none(mean.mean(axis=1)),
            "scaled_error_spread": finite_or_none(np.sqrt(variance).mean(axis=1)),
        }
