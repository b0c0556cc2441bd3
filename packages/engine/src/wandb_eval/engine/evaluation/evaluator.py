"""Evaluates a model: during the validation of `fit`, or in a separate pass."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from wandb_eval.core.processes import is_alone
from wandb_eval.engine.evaluation import fit_pass, sharing
from wandb_eval.engine.evaluation.collected import Collected
from wandb_eval.engine.evaluation.collector import Collector, ScoredBatch
from wandb_eval.engine.evaluation.data import Batch, DataScan, Part, ValidationData
from wandb_eval.engine.evaluation.identities import Identities
from wandb_eval.engine.evaluation.learning import LearnedNumbers, Learning
from wandb_eval.engine.evaluation.metrics import can_merge
from wandb_eval.engine.evaluation.predict import Predictor
from wandb_eval.engine.evaluation.preprocessing import (
    Preprocessing,
    is_unprocessed,
    preprocessing,
)
from wandb_eval.engine.evaluation.processes import Group, NotSharedError, group_of
from wandb_eval.engine.evaluation.result import Evaluation
from wandb_eval.engine.evaluation.sample_properties import (
    PassProperties,
    SampleProperties,
)
from wandb_eval.engine.evaluation.samples import EvaluatedSamples, Samples
from wandb_eval.engine.evaluation.task import EvalTask
from wandb_eval.engine.nested import outputs_to_numpy, stack_or_list, to_numpy

logger = logging.getLogger(__name__)

_IS_RANDOM = (
    "The validation data was not the same in the second pass, like augmented data. "
    "`fit` got the same object, so the data is evaluated as `fit` saw it."
)


class Evaluator:
    """Draws the fixed samples, and evaluates the model.

    Args:
        task: Reads and scores batches.
        data: The validation data.
        num_samples: The number of fixed samples to draw. `None` for all.
        seed: The seed of the draw.
        num_hardest: The number of the hardest samples to keep.
        one_pass: Whether to take the outputs from the validation of `fit`.
        in_all_processes: Whether all processes of Torch evaluate the model.
        preprocesses: Whether data is evaluated as the model's preprocessor returns it.
        properties: The properties of the samples.

    Attributes:
        reason: The reason why the last evaluation had a separate pass; `None` if it had
            none.
    """

    def __init__(
        self,
        task: EvalTask,
        data: ValidationData,
        *,
        num_samples: int | None,
        seed: int,
        num_hardest: int,
        one_pass: bool,
        in_all_processes: bool,
        preprocesses: bool,
        properties: SampleProperties,
    ) -> None:
        self.data = data
        self.reason: str | None = None
        self._task = task
        self._num_samples = num_samples
        self._seed = seed
        self._num_hardest = num_hardest
        self._one_pass = one_pass
        self._in_all_processes = in_all_processes
        self._preprocesses = preprocesses
        self._properties = properties
        self._scan: DataScan | None = None
        self._identities: Identities | None = None
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._model: Any = None
        self._learning = Learning(), LearnedNumbers()
        self._predictor: Predictor | None = None
        self._preprocessing: Preprocessing | None = None
        self._fit_pass: fit_pass.FitPass | None = None
        self._of_fit: Collector | None = None
        self._unverified: tuple[Any, Any] | None = None
        self._must_verify = self._is_given = self._is_random = False
        self._have_properties = False  # All of several processes, of the samples.
        self._why_not: str | None = None
        self._why_alone: str | None = None

    def set_model(self, model: Any) -> None:
        """Sets the model, and resets all state of earlier models."""
        self.drop()  # The validation of a training that was interrupted.
        self._begin_anew()
        self._model = model
        self._must_verify = fit_pass.must_verify(model)
        self._preprocessing = preprocessing(model, self.data.source)
        self.data.prepare = self._preprocessing if self._preprocesses else None
        if self._preprocessing is not None and not self._preprocesses:
            self._why_not = "`fit` sees inputs that the preprocessor has changed"
        if not self._one_pass:
            self._why_not = "`one_pass` is False"

    @property
    def scan(self) -> DataScan:
        """The scan before training, which reads the data at the first access."""
        if self._scan is None:
            scan = self.data.scan(
                self._num_samples,
                self._seed,
                self._task.check_batch,
                self._task.verbose,
                self._properties.watch(),
            )
            self._properties.set_scan(scan)
            self._scan = scan
        return self._scan

    @property
    def identities(self) -> Identities:
        """The ids of samples."""
        if self._identities is None:
            self._identities = Identities(self.scan)
        return self._identities

    @property
    def samples(self) -> Samples:
        """The fixed samples."""
        return self.scan.samples

    @property
    def predictor(self) -> Predictor:
        """Predicts in batches of one size."""
        if self._predictor is None:
            prepared = None if self._preprocesses else self._preprocessing
            self._predictor = Predictor(
                self._model,
                self.scan.shapes,
                self.data.batch_size,
                preprocesses=self.data.prepare is not None
                or is_unprocessed(self._model),
                prepare=None if prepared is None else prepared.inputs,
            )
        return self._predictor

    def check(self) -> None:
        """Predicts a batch of each shape in the data.

        Raises:
            ValueError: If the model can't predict a batch.
        """
        for x, _ in self.scan.shapes:
            self.predictor.check(x)

    def predict_samples(self, samples: Samples) -> Iterator[tuple[slice, Any]]:
        """Predicts samples; yields slices of them, and the outputs as arrays."""
        progress = self._task.progress("Predicting samples", len(samples))
        first = keras.tree.map_structure(lambda leaf: leaf[None], samples.x[0])
        size = self.predictor.size(first)
        for part, x in samples.batches(size):
            yield part, self.outputs(x)
            progress.add(part.stop - part.start)
        progress.close()

    def outputs(self, x: Any) -> Any:
        """Returns the selected output of the model for a batch, as arrays."""
        return outputs_to_numpy(self._task.select_output(self.predictor(x)))

    # --- The pass of fit --------------------------------------------------------------

    def begin_validation(self) -> None:
        """Joins the validation of `fit`."""
        self.drop()
        group = self._group()
        if self._why_not is None:
            self._why_not = fit_pass.why_not(self._model, group is not None)
        if self._why_not is not None:
            return
        if self._fit_pass is None:
            self._fit_pass = fit_pass.FitPass(self._model)
        part = None
        if group is not None:
            part = self.data.part(group.index, group.count, self.scan)
        properties = self._properties.begin_pass() if part is None else None
        if part is not None and not self._have_properties:
            properties = self._properties.begin_part(part.start)
        collector = self._new_collector(
            properties,
            is_refilled=fit_pass.may_refill(),
            read=self.data.read,
            decode=self._fit_pass.decode,
            part=part,
        )
        if not collector.needs_pass:
            return
        self._of_fit = collector
        self._is_given = fit_pass.is_given(self.data.source)
        self._fit_pass.begin(self._take_of_fit)

    def end_validation(self) -> None:
        """Leaves the validation of `fit`."""
        if self._fit_pass is not None:
            self._fit_pass.end()

    def drop(self) -> None:
        """Drops the rest of a validation, when `fit` has ended it."""
        collector, self._of_fit = self._of_fit, None
        self._unverified = None
        if collector is not None:
            collector.close()
        if self._fit_pass is not None:
            self._fit_pass.release()

    def _take_of_fit(self, raw: Any, outputs: Any) -> None:
        if self._of_fit is None or self._fit_pass is None:
            return
        if outputs is None:
            self._why_not = "`test_step` does not give its outputs"
            self.drop()
            return
        try:
            if self._of_fit.part is not None:
                raw, outputs = fit_pass.of_this_process(raw, outputs)
            if self._must_verify and self._unverified is None:
                decoded = self._fit_pass.decode(raw, outputs)
                first = copy.deepcopy(raw) if fit_pass.may_refill() else raw
                self._unverified = next(iter(self.data.read(first))).x, decoded
            self._of_fit.add(raw, outputs)
        except Exception as error:  # An exception here would end `fit`.
            logger.debug("The validation data of fit can't be read", exc_info=error)
            collector, self._of_fit = self._of_fit, None
            collector.close()

    def _finished_of_fit(self) -> tuple[Collector | None, str | None]:
        """Returns the finished pass of `fit`; or `None` and the reason."""
        collector, self._of_fit = self._of_fit, None
        if self._why_not is not None:
            return None, self._why_not
        if collector is None:
            return None, "`fit` did not validate on this data"
        try:
            collector.finish()
        except Exception as error:
            return None, f"its batches could not be evaluated: {error}"
        if not self._is_of_data(collector):
            other = "`fit` validates on other data"
            return None, other if collector.stop else "another callback takes its place"
        unverified, self._unverified = self._unverified, None
        if unverified is not None:
            x, outputs = unverified
            if not _are_close(self._task.select_output(outputs), self.outputs(x)):
                self._why_not = "`test_step` does not put out what `predict` does"
                return None, self._why_not
        return collector, None

    def _is_of_data(self, collector: Collector) -> bool:
        """Whether the pass of `fit` was over the validation data."""
        seen = collector.found.fingerprint
        if collector.part is not None:
            is_whole = collector.stop == self.scan.fingerprint.count
            return is_whole and _is_part(self.scan, collector.found, collector.part)
        order = seen.compare(self.scan.fingerprint)
        if order != "other" and collector.has_fixed:
            return True
        if not self._is_given or seen.count != self.scan.fingerprint.count:
            return False
        if not self._is_random:
            logger.info(_IS_RANDOM)
        self._is_random = True
        return True

    # --- Evaluations ------------------------------------------------------------------

    def evaluate(self, epoch: int) -> Evaluation:
        """Evaluates the current model.

        Args:
            epoch: The epoch, from 0.
        """
        self.predictor.begin()
        collector, reason = self._finished_of_fit()
        group = self._group()
        if group is not None:
            shared = self._collect_with_others(group, collector, reason)
            if shared is not None:
                return self._evaluation(shared, epoch, is_of_all=True)
        if collector is None or collector.part is not None:
            collector = self._new_collector(self._properties.begin_pass())
            if collector.needs_pass:
                self._note(reason or self._why_alone)
                self._walk_through(collector, self.data, self.data.num_batches)
            collector.finish()
        else:
            self._note(None)
        # All processes must predict equally, whatever order each of them sees.
        return self._evaluation(collector.found, epoch, is_of_all=is_alone())

    def _note(self, reason: str | None) -> None:
        """Notes the reason for a separate pass, and logs a new one."""
        if reason not in (None, self.reason):
            logger.info("The validation data is walked again: %s.", reason)
        self.reason = reason

    def _evaluation(
        self, found: Collected, epoch: int, *, is_of_all: bool
    ) -> Evaluation:
        """Makes the evaluation of a pass.

        Args:
            found: The results of the pass.
            epoch: The epoch, from 0.
            is_of_all: Whether all processes have found the same.
        """
        seen = found.fingerprint
        order = seen.compare(self.scan.fingerprint)
        has_fixed = len(found.fixed) == len(self.samples)
        in_order = order == "same" and has_fixed and is_of_all
        places = np.arange(seen.count)
        if order == "reordered":
            places = seen.places_in(self.scan.fingerprint)
        properties = self._properties.of_pass(found.properties, seen, places)
        problems = self._properties.take_problems()
        hardest, suspects, broken, with_problems = (
            self.identities.name(kept, seen.samples, in_order)
            for kept in (
                EvaluatedSamples.of(found.hardest.samples()),
                EvaluatedSamples.of(found.suspects.samples()),
                EvaluatedSamples.of(found.broken.samples()),
                problems.samples,
            )
        )
        fixed = found.fixed
        if not in_order:  # They are predicted again.
            predicted = self.predict_samples(self.samples)
            fixed = _evaluated(self._task, self.samples, predicted)
        evaluation = Evaluation(
            metrics=found.metrics,
            fixed=fixed,
            hardest=hardest,
            suspects=suspects,
            scores=found.scores,
            learning=found.learn(self._learning, epoch) if in_order else None,
            not_finite=found.not_finite,
            fingerprint=seen,
            in_order=in_order,
            errors=found.joined_errors(),
            properties=properties,
            problems=dataclasses.replace(problems, samples=with_problems),
            broken=broken if in_order else EvaluatedSamples(),
        )
        if order == "reordered":
            return evaluation.sorted_by(places, self.scan.fingerprint)
        return evaluation

    def _new_collector(
        self, properties: PassProperties | None, **options: Any
    ) -> Collector:
        """Returns a new collector; `options` are further arguments of `Collector`."""
        return Collector(
            self._task,
            self.scan,
            self._num_hardest,
            self._learning,
            properties=properties,
            **options,
        )

    def _walk_through(
        self, collector: Collector, batches: Iterable[Batch], total: int | None
    ) -> None:
        progress = self._task.progress("Evaluating validation_data", total)
        try:
            for read in batches:
                # JAX may predict a batch while the next one is read.
                batch = copy.deepcopy(read) if self.data.is_refilled else read
                collector.add(batch, self.predictor(batch.x))
                progress.add()
        except BaseException:
            collector.close()
            raise
        progress.close()

    # --- Several processes ------------------------------------------------------------

    def _group(self) -> Group | None:
        """Returns the processes that share passes; `None` if there are no others."""
        if self._why_alone is not None:
            return None
        return group_of(self._model, self._in_all_processes)

    def _collect_with_others(
        self, group: Group, of_fit: Collector | None, reason: str | None
    ) -> Collected | None:
        """Collects a part of the data, and joins it with those of other processes.

        Args:
            group: The processes.
            of_fit: The part in the validation of `fit`; `None` if there is none.
            reason: The reason why there is none.

        Returns:
            The results of all processes; `None` if each has to collect them alone.
        """
        try:
            agreed = sharing.agree(group, lambda: self._plan(group, of_fit))
            part = self.data.part(group.index, group.count, self.scan)

            def own() -> Collected:
                if of_fit is not None and agreed.have_parts:
                    self._note(None)
                    if not agreed.needs_properties:
                        of_fit.found.properties = None
                    return of_fit.found
                self._note(reason or "another process could not take its part")
                with self.predictor.alone():
                    return self.collect_part(part, agreed.needs_properties)

            parts = sharing.Parts(self._task, self.samples)
            shared = sharing.collect(group, parts, own, agreed.weights)
        except NotSharedError as error:
            self._why_alone = str(error)
            logger.info("Each process predicts all of the validation data: %s.", error)
            return None
        self._have_properties = True
        return shared

    def _plan(self, group: Group, of_fit: Collector | None) -> sharing.Plan:
        why_not = self.predictor.why_not_alone()
        metrics = self._task.new_metrics()
        if metrics is None and not self._task.scores_samples:
            why_not = "the task measures nothing"
        elif metrics is not None and not can_merge(metrics):
            why_not = "the metrics of the task have no `merge`"
        return sharing.Plan(
            why_not,
            (*self.scan.identity(), self._num_hardest),
            b"" if why_not else group.weights,
            self._properties.are_needed(),
            None if of_fit is None else of_fit.found.properties is not None,
        )

    def collect_part(self, part: Part, needs_properties: bool) -> Collected:
        """Collects a part of the data.

        Args:
            part: The part.
            needs_properties: Whether to collect the properties of its samples.

        Raises:
            NotSharedError: If the data is not in the order of the scan.
        """
        begin = self._properties.begin_part
        properties = begin(part.start) if needs_properties else None
        collector = self._new_collector(properties, part=part, start=part.start)
        self._walk_through(collector, self.data.batches_of(part), None)
        collector.finish()
        if not _is_part(self.scan, collector.found, part):
            raise NotSharedError("the data changes from pass to pass")
        return collector.found


def _evaluated(
    task: EvalTask, samples: Samples, predicted: Iterable[tuple[slice, Any]]
) -> EvaluatedSamples:
    """Evaluates samples, from slices of them and the outputs for these."""
    evaluated = EvaluatedSamples()
    for part, outputs in predicted:
        batch = ScoredBatch.read(task, stack_or_list(samples.y[part]), outputs)
        for i, at in enumerate(range(part.start, part.stop)):
            index, x, y = samples.index[at], samples.x[at], samples.y[at]
            evaluated.add(batch.sample(i, index, x, y))
    return evaluated


def _is_part(scan: DataScan, found: Collected, part: Part) -> bool:
    """Whether the samples of a part are those of the scan, in its order."""
    expected = scan.fingerprint.samples[part.start : part.stop]
    fixed = [part.start <= place < part.stop for place in scan.samples.index]
    return len(found.fixed) == sum(fixed) and np.array_equal(
        found.fingerprint.samples, expected
    )


def _are_close(outputs: Any, others: Any) -> bool:
    leaves = [to_numpy(leaf) for leaf in keras.tree.flatten(outputs)]
    other_leaves = keras.tree.flatten(others)
    if len(leaves) != len(other_leaves):
        return False
    return all(
        a.shape == np.shape(b)
        and np.allclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True)
        for a, b in zip(leaves, other_leaves, strict=True)
    )
