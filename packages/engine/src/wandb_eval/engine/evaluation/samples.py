"""Samples: the fixed ones, and those that a model gets most wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wandb_eval.engine.nested import alike, copy_sample, select, select_sample, stack


@dataclass(frozen=True, repr=False)
class Samples:
    """Samples of the validation data.

    Attributes:
        index: The place of each sample in the validation data, counted from 0.
        x: The inputs of each sample, without a batch dimension.
        y: The targets of each sample.
    """

    index: list[int]
    x: list[Any]
    y: list[Any]
    _batches: dict[int, list[tuple[slice, Any]]] = field(
        default_factory=dict, init=False, compare=False
    )

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        """Shows the places of the samples, but no values."""
        places = ", ".join(map(str, self.index[:3]))
        return f"<{len(self)} samples: {places}{', ...' if len(self) > 3 else ''}>"

    def batches(self, size: int) -> list[tuple[slice, Any]]:
        """Returns the inputs in batches, stacked once for all epochs.

        Args:
            size: The largest number of samples in a batch. A batch ends where the shape
                of the inputs changes.

        Returns:
            For each batch, the slice of the samples, and their inputs with a batch
            dimension. `x` has views of these from then on, so that each sample is in
            memory once.
        """
        if size not in self._batches:
            batches = self._batches[size] = []
            for part in list(alike(self.x, size)):
                stacked = stack(self.x[part])
                count = part.stop - part.start
                self.x[part] = [select(stacked, i) for i in range(count)]
                batches.append((part, stacked))
        return self._batches[size]


class DrawnSamples:
    """Draws samples from batches: each with the same probability, without replacement.

    Args:
        num_samples: The number of samples to draw. `None` for all.
        seed: The seed. The draw depends on it and on the order of the samples, not on
            the size of the batches.
    """

    def __init__(self, num_samples: int | None, seed: int) -> None:
        self._num_samples = num_samples
        self._rng = np.random.default_rng(seed)
        self._drawn: list[tuple[float, int, Any, Any]] = []
        self._worst = np.inf
        self._offered = 0

    def offer(self, x: Any, y: Any, size: int) -> None:
        """Draws from a batch of `size` samples."""
        priorities = self._rng.random(size)
        chosen = np.flatnonzero(priorities < self._worst)
        if self._num_samples is not None:  # A large batch is not copied whole.
            best = np.argsort(priorities[chosen], kind="stable")[: self._num_samples]
            chosen = chosen[np.sort(best)]
        for i in chosen.tolist():
            sample = copy_sample(select_sample(x, i)), copy_sample(select(y, i))
            self._drawn.append((float(priorities[i]), self._offered + i, *sample))
        self._offered += size
        if self._num_samples is not None and len(self._drawn) > self._num_samples:
            self._drawn = self._best()
            self._worst = self._drawn[-1][0]

    def samples(self) -> Samples:
        """Returns the drawn samples, in the order in which they were offered."""
        drawn = sorted(self._best(), key=lambda sample: sample[1])
        _, index, xs, ys = zip(*drawn, strict=True)
        return Samples(list(index), list(xs), list(ys))

    def _best(self) -> list[tuple[float, int, Any, Any]]:
        return sorted(self._drawn, key=lambda sample: sample[0])[: self._num_samples]


@dataclass(frozen=True)
class SampleScores:
    """The scores of a model on each sample of a batch.

    Args:
        columns: The columns of the table of scores, by name: sequences with an entry
            for each sample, which is a plain value or a list of plain values.
        difficulty: The error of the model on each sample, of shape `(batch,)`; samples
            with larger errors are harder. NaN counts as the largest error, and means
            that the outputs are not finite: a version with such a sample is never the
            best one. In an array of shape `(batch, keys)`, later keys break ties.
        correct: Whether each prediction is right, of shape `(batch,)`, if the task
            defines it.
        confidence: The probability of the true label of each sample, of shape
            `(batch,)`. With `correct`, it tells which samples are broken, learned and
            forgotten, and which labels may be wrong.
        error: The error that weak slices compare, 0 or more, of shape `(batch,)`. NaN
            leaves a sample out. `None` for 1 where `correct` is false, else 0; without
            `correct`, for the `difficulty`.
        signed_errors: The signed errors of numbers, in units that can be compared, of
            shape `(batch, numbers)`. They tell how the errors of samples change, and
            which targets may be wrong.

    Example:

    >>> error = np.array([0.5, 2.0])
    >>> scores = SampleScores({"error": error}, difficulty=error)
    >>> scores.row(1)
    {'error': 2.0}
    """

    columns: Mapping[str, Sequence[Any] | NDArray[Any]]
    difficulty: ArrayLike
    correct: NDArray[np.bool_] | None = None
    confidence: NDArray[np.floating[Any]] | None = None
    error: ArrayLike | None = None
    signed_errors: NDArray[np.floating[Any]] | None = None

    def errors(self) -> NDArray[np.float64]:
        """Returns the error of each sample, float64 of shape `(batch,)`.

        Infinity means that the outputs are not finite.
        """
        if self.error is not None:
            return np.asarray(self.error, np.float64)
        if self.correct is not None:
            return 1.0 - np.asarray(self.correct, np.float64)
        difficulty = np.asarray(self.difficulty, np.float64)
        first = difficulty if difficulty.ndim == 1 else difficulty[:, 0]
        # A difficulty of -inf is that of a sample without anything to measure.
        return np.where(
            np.isnan(first), np.inf, np.where(first == -np.inf, np.nan, first)
        )

    def row(self, i: int) -> dict[str, Any]:
        """Returns the columns of one sample, as plain Python values."""
        return {name: plain(column[i]) for name, column in self.columns.items()}


def plain(value: Any) -> Any:
    """Converts a NumPy scalar to a Python value; returns other values unchanged."""
    return value.item() if isinstance(value, np.generic) else value


@dataclass
class EvaluatedSamples:
    """Samples with the predictions of the model, from which rows are made.

    Attributes:
        index: The identity of each sample: its place in the validation data.
        x: The inputs of each sample.
        y: The targets of each sample, as in the data.
        truth: The targets of each sample, as `read_batch` returned them.
        predictions: The predictions for each sample, as `read_batch` returned them.
        scores: The scores of each sample from `score_samples`, by column.
        rows: The row of each sample in the table of ground truth. Media are references.
    """

    index: list[int] = field(default_factory=list)
    x: list[Any] = field(default_factory=list)
    y: list[Any] = field(default_factory=list)
    truth: list[Any] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    scores: dict[str, list[Any]] = field(default_factory=dict)
    rows: list[list[Any]] = field(default_factory=list)

    @classmethod
    def of(cls, samples: Iterable[KeptSample]) -> EvaluatedSamples:
        """Joins samples that were kept one by one."""
        evaluated = cls()
        for sample in samples:
            evaluated.add(sample)
        return evaluated

    def __len__(self) -> int:
        return len(self.index)

    def with_index(self, index: list[int]) -> EvaluatedSamples:
        """Returns the same samples with other indices."""
        return replace(self, index=index)

    def with_rows(self, rows: list[list[Any]]) -> EvaluatedSamples:
        """Returns the same samples with their rows of the table of ground truth."""
        return replace(self, rows=rows)

    def merge(self, other: EvaluatedSamples) -> None:
        """Appends the samples of another object."""
        self.index += other.index
        self.x += other.x
        self.y += other.y
        self.truth += other.truth
        self.predictions += other.predictions
        self.rows += other.rows
        for name, values in other.scores.items():
            self.scores.setdefault(name, []).extend(values)

    def add(self, sample: KeptSample) -> None:
        """Adds a sample behind the others."""
        self.index.append(sample.index)
        self.x.append(sample.x)
        self.y.append(sample.y)
        self.truth.append(sample.truth)
        self.predictions.append(sample.prediction)
        for name, value in sample.scores.items():
            self.scores.setdefault(name, []).append(value)


@dataclass(frozen=True)
class KeptSample:
    """One sample that is kept of a batch, in memory of its own."""

    index: int
    x: Any
    y: Any
    truth: Any
    prediction: Any
    scores: dict[str, Any]


class TopK:
    """Keeps the k samples with the highest keys, of any number that are offered.

    Ties go to the sample that came first. It never holds more than k samples.

    Args:
        k: The number of samples to keep.
        first: The place of the first sample that is offered, for ties.

    Example:

    >>> top = TopK(2)
    >>> for place, keys in enumerate([[0.1, 0.7], [0.9, 0.2]]):
    ...     top.offer(np.array(keys), lambda i: (place, i))
    >>> top.samples()
    [(1, 0), (0, 1)]
    """

    def __init__(self, k: int, first: int = 0) -> None:
        self._k = k
        self._offered = first
        self._kept: list[tuple[tuple[float, ...], Any]] = []

    def offer(self, keys: ArrayLike, take: Callable[[int], Any]) -> None:
        """Offers the samples of a batch.

        Args:
            keys: The key of each sample, of shape `(batch,)`; samples with larger keys
                are kept. NaN is the largest key, and a sample with a key of minus
                infinity is not kept. In an array of shape `(batch, keys)`, later keys
                break ties.
            take: A function that returns the sample at a place of the batch. It is
                called for the samples that are kept.
        """
        ranks = np.asarray(keys, np.float64)
        ranks = ranks[:, None] if ranks.ndim == 1 else ranks
        ranks = np.where(np.isnan(ranks), np.inf, ranks)
        first, self._offered = self._offered, self._offered + len(ranks)
        least = -np.inf
        if len(self._kept) == self._k and self._k:
            least = -self._kept[-1][0][0]
        worth_it = (ranks[:, 0] >= least) & (ranks[:, 0] > -np.inf)
        # Only the best k samples of a large batch can be kept.
        places = np.flatnonzero(worth_it)
        best = places[np.lexsort(-ranks[places].T[::-1])[: self._k]]
        order = [((*(-ranks[i]).tolist(), first + i), i) for i in best.tolist()]
        merged = sorted(
            [(rank, None, sample) for rank, sample in self._kept]
            + [(rank, i, None) for rank, i in order],
            key=lambda entry: entry[0],
        )[: self._k]
        self._kept = [
            (rank, sample if i is None else take(i)) for rank, i, sample in merged
        ]

    def merge(self, other: TopK) -> None:
        """Keeps the best samples of both, which were at different places."""
        kept = sorted([*self._kept, *other._kept], key=lambda entry: entry[0])
        self._kept = kept[: self._k]
        self._offered = max(self._offered, other._offered)

    def samples(self) -> list[Any]:
        """Returns the kept samples, the one with the highest key first."""
        return [sample for _, sample in self._kept]
