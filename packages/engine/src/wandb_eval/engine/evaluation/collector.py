"""Collects the batches of one pass over the validation data."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from wandb_eval.engine.evaluation.collected import Collected
from wandb_eval.engine.evaluation.data import Batch, DataScan, Part
from wandb_eval.engine.evaluation.fingerprint import Checksums, same_content
from wandb_eval.engine.evaluation.learning import LearnedNumbers, Learning
from wandb_eval.engine.evaluation.sample_properties import PassProperties
from wandb_eval.engine.evaluation.samples import KeptSample, SampleScores, TopK
from wandb_eval.engine.evaluation.task import EvalTask
from wandb_eval.engine.nested import (
    concatenate,
    copy_sample,
    map_leaves,
    num_values,
    on_host,
    outputs_to_numpy,
    select,
    select_sample,
    shapes_of_samples,
)
from wandb_eval.engine.threads import BackgroundWorker

NUM_SUSPECTS = 50
"""The number of samples to keep because their target may be wrong."""

MOST_VALUES = 2**22
"""The largest number of values, those of x included, that are evaluated together."""


Read = Callable[[Any], Iterable[Batch]]
"""Converts a raw batch of `fit` to batches of even inputs: usually to one."""

Decode = Callable[[Any, Any], Any]
"""Decodes the outputs of the model for a raw batch of `fit`."""


@dataclass(frozen=True)
class ScoredBatch:
    """A batch as a task reads and scores it.

    Attributes:
        truth: The truth, as `read_batch` returns it.
        predictions: The predictions, as `read_batch` returns them.
        scores: The scores of the samples; `None` if the task has none.
    """

    truth: Any
    predictions: Any
    scores: SampleScores | None

    @classmethod
    def read(cls, task: EvalTask, y: Any, outputs: Any) -> ScoredBatch:
        """Reads and scores the targets of a batch and the outputs for them."""
        truth, predictions = task.read_batch(y, outputs)
        return cls(truth, predictions, task.score_samples(truth, predictions))

    def sample(self, i: int, place: int, x: Any, y: Any) -> KeptSample:
        """Copies one sample.

        Args:
            i: The place of the sample in the batch.
            place: The place of the sample in the data.
            x: The inputs of the sample.
            y: The targets of the sample.
        """
        scores = {} if self.scores is None else self.scores.row(i)
        truth = copy.deepcopy(select(self.truth, i))
        prediction = copy.deepcopy(select(self.predictions, i))
        return KeptSample(place, x, y, truth, prediction, scores)


class Collector:
    """Collects the results of one pass over the validation data.

    A thread evaluates batches while the next ones are predicted. It joins small batches
    to larger ones.

    Args:
        task: Reads and scores batches.
        scan: The scan in which the fixed samples were drawn.
        num_hardest: The number of the hardest samples to keep.
        learning: The learning of samples in earlier evaluations: of classes and of
            numbers.
        is_refilled: Whether a batch must be copied before the next one is read.
        read: Converts a raw batch of `fit` to `Batch`es; `None` if batches are added
            directly.
        decode: Decodes the outputs that are added; `None` if they need no decoding.
        properties: Collects the properties of the samples; `None` if they are known.
        part: The part of the data to collect; `None` for all of it.
        start: The place of the first sample that is added. Samples outside of the part
            are skipped.

    Attributes:
        found: The results so far.
        has_fixed: Whether all fixed samples occurred, at any place, with equal inputs.
        part: The part of the data to collect; `None` for all of it.
        stop: The place after the last sample that was added.
    """

    def __init__(
        self,
        task: EvalTask,
        scan: DataScan,
        num_hardest: int,
        learning: tuple[Learning, LearnedNumbers],
        *,
        is_refilled: bool = False,
        read: Read | None = None,
        decode: Decode | None = None,
        properties: PassProperties | None = None,
        part: Part | None = None,
        start: int = 0,
    ) -> None:
        first, last = (0, sys.maxsize) if part is None else (part.start, part.stop)
        self.found = Collected(
            task.new_metrics(),
            properties,
            hardest=TopK(num_hardest, first),
            suspects=TopK(NUM_SUSPECTS, first),
            broken=TopK(num_hardest, first),
        )
        self.has_fixed = False
        self.part, self.stop = part, start
        self._first, self._last = first, last
        self._classes, self._numbers = learning
        self._task = task
        self._samples = scan.samples
        self._sums = scan.fingerprint.samples[scan.samples.index]
        self._places = {place: i for i, place in enumerate(self._samples.index)}
        self._missing: dict[int, list[int]] = {}
        for i, checksum in enumerate(self._sums.tolist()):
            self._missing.setdefault(checksum, []).append(i)
        self._is_refilled = is_refilled
        self._read = read
        self._decode = decode
        self._worker = BackgroundWorker(self._take)
        self._waiting: list[tuple[Any, Any]] = []
        self._values_waiting = 0.0

    @property
    def needs_pass(self) -> bool:
        """Whether a pass over all of the data is needed."""
        return self.found.metrics is not None or self._task.scores_samples

    def add(self, raw: Any, outputs: Any) -> None:
        """Adds a batch of the data, and the outputs of the model for it.

        Args:
            raw: The batch, as an argument of the constructor's `read`.
            outputs: The outputs for all parts of the batch.
        """
        if self._is_refilled:
            raw = copy.deepcopy(raw)
        self._waiting.append((raw, outputs))
        arrays = (raw.x, raw.y) if isinstance(raw, Batch) else raw
        self._values_waiting += num_values((arrays, outputs))
        if self._values_waiting > MOST_VALUES:
            self._look_at_waiting()

    def _look_at_waiting(self) -> None:
        waiting, self._waiting, self._values_waiting = self._waiting, [], 0.0
        if waiting:
            self._worker(waiting)

    def finish(self) -> None:
        """Waits until all batches are evaluated."""
        try:
            self._look_at_waiting()
        finally:
            self._worker.close()
        self.has_fixed = not any(self._missing.values())

    def close(self) -> None:
        """Ends a pass without a result."""
        self._waiting = []
        with contextlib.suppress(Exception):
            self._worker.close()

    def _take(self, waiting: list[tuple[Any, Any]]) -> None:
        batches: list[tuple[Batch, Any]] = []
        for raw, tensors in waiting:
            parts = [raw] if self._read is None else list(self._read(raw))
            bounds = [self._bounds(part.size) for part in parts]
            if not any(begin < end for begin, end in bounds):
                continue
            decoded = self._decode(raw, tensors) if self._decode else tensors
            outputs = outputs_to_numpy(self._task.select_output(decoded))
            start = 0
            for part, (begin, end) in zip(parts, bounds, strict=True):
                stop = start + part.size
                if begin < end:
                    cut = slice(start + begin, start + end)
                    is_whole = len(parts) == 1 and end - begin == part.size
                    own = outputs if is_whole else select(outputs, cut)
                    batches.append((part.select(begin, end), own))
                start = stop

        def size(batch_and_outputs: tuple[Batch, Any]) -> list[tuple[int, ...]]:
            return shapes_of_samples(batch_and_outputs[0].x)

        # A task evaluates samples of one shape at a time.
        for _, group in itertools.groupby(batches, size):
            alike = list(group)
            try:
                y = concatenate([batch.y for batch, _ in alike])
                together = concatenate([cut for _, cut in alike])
            except ValueError:  # The targets may have several shapes.
                for batch, cut in alike:
                    self._take_batch([batch], batch.y, cut)
            else:
                self._take_batch([batch for batch, _ in alike], y, together)

    def _bounds(self, size: int) -> tuple[int, int]:
        """Returns the places in the next batch where the part begins and ends."""
        start, self.stop = self.stop, self.stop + size
        begin, end = (
            min(max(place - start, 0), size) for place in (self._first, self._last)
        )
        return begin, end

    def _take_batch(self, batches: list[Batch], y: Any, outputs: Any) -> None:
        """Evaluates joined batches: their targets, and the outputs for them."""
        found = self.found
        first = self._first + found.fingerprint.count
        xs = [map_leaves(on_host, batch.x) for batch in batches]
        sums = found.fingerprint.add(xs, y)
        ends = np.cumsum([part.size for part in batches])
        batch = ScoredBatch.read(self._task, y, outputs)
        if found.metrics is not None:
            found.metrics.update(batch.truth, batch.predictions)
        scores = batch.scores

        def inputs(i: int) -> Any:
            at = int(np.searchsorted(ends, i, side="right"))
            return select_sample(xs[at], i - int(ends[at]))  # From its end.

        held: dict[int, tuple[Any, Any]] = {}

        @functools.cache
        def keep(i: int) -> KeptSample:
            pair = held.get(i) or (copy_sample(inputs(i)), copy_sample(select(y, i)))
            return batch.sample(i, first + i, *pair)

        for i, fixed in self._fixed_in(sums, first, inputs):
            # Its arrays are there already; masks of classes are large.
            if sums[i] == self._sums[fixed]:
                held[i] = self._samples.x[fixed], self._samples.y[fixed]
            found.fixed.add(keep(i))
        if found.properties is not None:
            found.properties.add(batches, y, batch.truth, sums, keep)
        if scores is None:
            return
        found.errors.append(scores.errors())
        for name, column in scores.columns.items():
            values = column.tolist() if isinstance(column, np.ndarray) else column
            found.scores.setdefault(name, []).extend(values)
        difficulty = np.asarray(scores.difficulty, np.float64)
        first_key = difficulty if difficulty.ndim == 1 else difficulty[:, 0]
        found.not_finite += int(np.isnan(first_key).sum())
        found.hardest.offer(difficulty, keep)
        if scores.signed_errors is not None:
            found.signed_errors.append(scores.signed_errors)
            stayed = self._numbers.stayed(first, scores.signed_errors)
            found.suspects.offer(np.where(stayed > 0, stayed, -np.inf), keep)
            return
        if scores.correct is None or scores.confidence is None:
            return
        found.correct.append(scores.correct)
        found.confidence.append(scores.confidence)
        was_correct = self._classes.was_correct(first, len(first_key))
        broke = was_correct & ~scores.correct
        found.broken.offer(np.where(broke, first_key, -np.inf), keep)
        mean = self._classes.mean_confidence(first, scores.confidence)
        # A target that the model predicts is no suspect, and NaN says nothing about it.
        hidden = scores.correct | np.isnan(first_key)
        found.suspects.offer(np.where(hidden, -np.inf, 1 - mean), keep)

    def _fixed_in(
        self, sums: Checksums, first: int, inputs: Callable[[int], Any]
    ) -> Iterator[tuple[int, int]]:
        """Yields the places in a batch of fixed samples, and their numbers.

        Args:
            sums: The checksum of each sample of the batch.
            first: The place of the first one in the data.
            inputs: Returns the inputs of the sample at a place of the batch.
        """
        for i in np.flatnonzero(np.isin(sums, self._sums)).tolist():
            fixed = self._places.get(first + i)
            missing = self._missing[int(sums[i])]
            if fixed is None and not missing:
                continue
            x = inputs(i)
            at = {*missing} if fixed is None else {*missing, fixed}
            same = {place for place in at if same_content(x, self._samples.x[place])}
            missing[:] = [place for place in missing if place not in same]
            if fixed in same:
                yield i, fixed
