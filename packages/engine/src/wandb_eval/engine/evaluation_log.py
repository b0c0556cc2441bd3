"""The log of evaluations: the tables of a version, and a row of the history."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import wandb
from numpy.typing import NDArray

from wandb_eval.core import WandbEvalCallback, add_rows
from wandb_eval.core.arguments import is_number
from wandb_eval.engine.best import BestVersion
from wandb_eval.engine.evaluation.result import Evaluation, FoundProblems
from wandb_eval.engine.evaluation.samples import EvaluatedSamples
from wandb_eval.engine.evaluation.task import EvalTask
from wandb_eval.engine.monitor import Monitor
from wandb_eval.engine.nested import to_numpy
from wandb_eval.engine.relaxed_gc import relaxed_gc
from wandb_eval.engine.sample_rows import SampleRows, TaskColumns
from wandb_eval.engine.schedule import Moment
from wandb_eval.engine.weak_slices import WeakSlices, score_columns

MOST_SCORES = 10_000
"""The largest number of samples for which every version has the table of scores."""


class EvaluationLog:
    """Logs the evaluations of a task.

    Args:
        task: Makes rows, and extra results.
        callback: The same object as a callback. It logs tables and values.
        columns: The columns of the task's tables.
        sample_rows: Makes the rows of ground truth.
        monitor: The monitor of the callback.
        has_batches: Whether the model is evaluated within epochs, too.
        weak_slices: Finds weak slices.

    Attributes:
        evaluation: The last evaluation that was logged; `None` before the first one.
        moment: The moment of that evaluation.
    """

    def __init__(
        self,
        task: EvalTask,
        callback: WandbEvalCallback,
        *,
        columns: TaskColumns,
        sample_rows: SampleRows,
        monitor: Monitor,
        has_batches: bool,
        weak_slices: WeakSlices,
    ) -> None:
        self.evaluation: Evaluation | None = None
        self.moment = Moment(0)
        self.columns = columns
        self._task = task
        self._callback = callback
        self._sample_rows = sample_rows
        self._monitor = monitor
        self._has_batches = has_batches
        self._weak_slices = weak_slices
        self._best = BestVersion(None, callback.prefix, monitor)
        self._is_summarized = False
        self._problems = FoundProblems()

    def begin_run(self) -> None:
        """Begins to log to the run of the callback."""
        run_log = self._callback.run_log
        self._sample_rows.forget()
        self._best = BestVersion(run_log.run, self._callback.prefix, self._monitor)
        self._best.restore(run_log.restore)
        run_log.when_missing = self._best.forget

    def begin_training(self) -> None:
        """Forgets the evaluations of an earlier training."""
        self.evaluation, self._is_summarized = None, False
        self._problems = FoundProblems()
        self._weak_slices.begin_training()

    def log(
        self,
        evaluation: Evaluation,
        moment: Moment,
        results: Mapping[str, Any],
        logs: Mapping[str, Any],
        *,
        is_last: bool,
        ends: bool,
    ) -> None:
        """Logs an evaluation: a version with its tables, and a row of the history.

        Args:
            evaluation: The evaluation.
            moment: Its moment.
            results: The measured numbers and charts, by key.
            logs: The logs of `fit`.
            is_last: Whether it is the last evaluation of the training.
            ends: Whether nothing is trained after it, in or out of `fit`.
        """
        run_log = self._callback.run_log
        self.moment = moment
        numbers = {key: value for key, value in results.items() if is_number(value)}
        value = self._monitor.value(
            {**logs, **numbers}, evaluation.not_finite, within=moment.batch is not None
        )
        self._best.avoid(results)
        is_best = self._best.is_beaten_by(value)
        if is_best:
            self._best.record(moment.epoch, value)
        values = dict(results)
        with run_log.one_row(moment.epoch), relaxed_gc():
            try:
                with run_log.version(Exception) as version:
                    evaluation, extra = self._log_version(
                        evaluation,
                        numbers,
                        logs,
                        is_best=is_best,
                        is_last=is_last,
                        ends=ends,
                    )
                    values |= extra
            except BaseException:  # Such as an interrupt: its files are deleted.
                self._sample_rows.forget()
                if is_best:
                    self._best.forget(moment.epoch)
                raise
            with run_log.failures.tolerate("The metrics could not be logged"):
                self._callback.log_metrics(values, moment.epoch)
        self.evaluation = evaluation
        if version.error is not None:
            self._sample_rows.forget()  # Their files may be deleted.
            self._weak_slices.forget()
            return
        self._problems = FoundProblems()
        self._is_summarized = self._is_summarized or (is_last and moment.batch is None)
        if is_best:
            self._best.write_summary()

    def keep(self, evaluation: Evaluation) -> None:
        """Keeps an evaluation, also where nothing is logged."""
        self.evaluation = evaluation
        if evaluation.problems.problems:  # Found once, for the next version.
            self._problems = evaluation.problems

    @property
    def leaves_out(self) -> bool:
        """Whether numbers of the last evaluation leave out samples."""
        not_finite = 0 if self.evaluation is None else self.evaluation.not_finite
        return self._task.leaves_out_not_finite and not_finite > 0

    def _log_version(
        self,
        evaluation: Evaluation,
        numbers: Mapping[str, Any],
        logs: Mapping[str, Any],
        *,
        is_best: bool,
        is_last: bool,
        ends: bool,
    ) -> tuple[Evaluation, dict[str, Any]]:
        """Logs a version, and returns values for the history."""
        callback, moment = self._callback, self.moment
        callback.init_pred_table(
            self.columns.with_added(callback.pred_table_columns, callback.data_table)
        )
        callback.ensure_ground_truth()
        evaluation = self._with_rows(evaluation)
        self.evaluation = evaluation
        callback.call_add_model_predictions(moment.epoch, dict(logs))
        extra = self._task.extra_results(evaluation)
        if is_last and moment.batch is None:
            extra = extra | self._summary(evaluation)
        extra = extra | self._weak_slices.tables(evaluation, ends=ends)
        tables = self._tables(evaluation, is_kept=is_best or is_last or ends)
        shown = {k: v for k, v in extra.items() if isinstance(v, wandb.Table)}
        digest = evaluation.fingerprint.hexdigest()
        metadata: dict[str, Any] = {
            "epoch": moment.epoch,
            **numbers,
            "data_fingerprint": digest[:32],  # In any order of the samples.
            "data_fingerprint_ordered": digest,
        }
        metadata |= unlabelled_metadata(self._task)
        if self._has_batches:
            metadata["batch"] = moment.batch
        callback.log_pred_table(
            aliases=["latest", moment.alias, *(["best"] if is_best else [])],
            metadata=metadata,
            more_tables={**tables, **shown},
            in_history={"hardest", *shown},
        )
        return evaluation, self.with_prefix(
            {key: value for key, value in extra.items() if key not in shown}
        )

    def log_summary(self) -> None:
        """Logs the results of `summarize` for the last evaluation."""
        if self.evaluation is None:
            return
        run_log = self._callback.run_log
        with run_log.failures.tolerate("The summary of the samples is not logged"):
            values: dict[str, Any] = {}
            if not self._is_summarized:
                values |= self._summary(self.evaluation)
            if not self._weak_slices.is_searched(self.evaluation):
                values |= self._weak_slices.search(self.evaluation)
            run_log.log_values(self.with_prefix(values), run_log.epoch)

    def _summary(self, evaluation: Evaluation) -> dict[str, Any]:
        suspects = self._known_rows(evaluation.suspects)
        return self._task.summarize(dataclasses.replace(evaluation, suspects=suspects))

    def add_predictions(self, table: wandb.Table, evaluated: EvaluatedSamples) -> None:
        """Adds rows to a table that has the columns of `pred_table`.

        Columns that a subclass has added are empty for samples that are not fixed.
        """
        moment = self.moment
        when = [moment.epoch, moment.batch] if self._has_batches else [moment.epoch]
        cells = [[*when, *row] for row in self._task.prediction_rows(evaluated)]
        data_table = self._callback.data_table
        rows = self.columns.rows(table, data_table, cells, evaluated.rows)
        self._callback.add_rows(table, rows)

    def with_prefix(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns values by the keys that they are logged under."""
        prefix = self._callback.prefix
        return {f"{prefix}/{key}": _number(value) for key, value in values.items()}

    def _with_rows(self, evaluation: Evaluation) -> Evaluation:
        """Returns the evaluation with the rows of ground truth of its samples."""
        rows = self._callback.data_table_ref.data
        if len(rows) == len(evaluation.fixed):  # A task may have other tables.
            self._sample_rows.know(evaluation.fixed.index, rows)
        fixed = self._known_rows(evaluation.fixed)
        hardest = self._known_rows(evaluation.hardest)
        broken = self._known_rows(evaluation.broken)
        shown = self._known_rows(self._problems.samples)
        problems = dataclasses.replace(self._problems, samples=shown)
        return dataclasses.replace(
            evaluation, fixed=fixed, hardest=hardest, broken=broken, problems=problems
        )

    def _known_rows(self, evaluated: EvaluatedSamples) -> EvaluatedSamples:
        return evaluated.with_rows(self._sample_rows.rows_of(evaluated))

    def _tables(self, evaluation: Evaluation, is_kept: bool) -> dict[str, wandb.Table]:
        """Returns the other tables of a version than that of the fixed samples."""
        tables: dict[str, wandb.Table] = {}
        columns: Sequence[Any] = self._callback.pred_table.columns
        shown = {"hardest": evaluation.hardest, "broken": evaluation.broken}
        for name, samples in shown.items():
            if len(samples):
                tables[name] = wandb.Table(columns=list(columns))
                self.add_predictions(tables[name], samples)
        if evaluation.scores and (evaluation.num_samples <= MOST_SCORES or is_kept):
            tables["scores"] = _scores_table(
                evaluation, evaluation.properties if is_kept else {}
            )
        return tables


def unlabelled_metadata(task: EvalTask) -> dict[str, Any]:
    """The names of ids without a label, for the metadata of an artifact."""
    layers = {
        layer: {str(index): name for index, name in names.items()}
        for layer, names in task.unlabelled().items()
        if names
    }
    return {"unlabelled": layers} if layers else {}


def _scores_table(
    evaluation: Evaluation, properties: Mapping[str, NDArray[Any]]
) -> wandb.Table:
    """Makes the table of the scores of all samples, with their learning, if known."""
    content = evaluation.fingerprint.samples.astype(">u8").tobytes().hex()
    columns: dict[str, Sequence[Any]] = {
        "idx": list(range(evaluation.num_samples)),
        **evaluation.scores,
    }
    if evaluation.learning is not None:
        columns |= evaluation.learning.columns()
    columns |= score_columns(properties, {**columns, "content": None})
    columns |= {"content": [content[i : i + 16] for i in range(0, len(content), 16)]}
    table = wandb.Table(columns=list(columns), allow_mixed_types=True)
    add_rows(table, list(map(list, zip(*columns.values(), strict=True))))
    return table


def _number(value: Any) -> Any:
    """Converts a number of any framework to a Python value; keeps other values."""
    if getattr(value, "shape", None) == ():
        return to_numpy(value).item()
    return value
