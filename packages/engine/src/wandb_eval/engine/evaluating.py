"""When a callback evaluates the model, and what it logs of an evaluation."""

from __future__ import annotations

from typing import Any

import keras
import wandb

from wandb_eval.core.arguments import is_number
from wandb_eval.core.callback import WandbEvalCallback, call, check_begun, check_model
from wandb_eval.core.versions import BestVersion
from wandb_eval.engine.evaluation.evaluation import Evaluation
from wandb_eval.engine.evaluation.evaluator import Evaluator
from wandb_eval.engine.evaluation.samples import EvaluatedSamples
from wandb_eval.engine.evaluation.task import EvalTask
from wandb_eval.engine.fit_callbacks import FitCallbacks
from wandb_eval.engine.fit_logs import KeepsNumbers
from wandb_eval.engine.garbage import relaxed_gc
from wandb_eval.engine.monitor import Monitor
from wandb_eval.engine.nested import to_numpy
from wandb_eval.engine.sample_display import SampleRenderer
from wandb_eval.engine.sample_rows import SampleRows, TaskColumns
from wandb_eval.engine.version_tables import (
    keys_of_tables,
    scores_table,
    tables_of,
    without_tables,
)

MOST_SCORES = 10_000
"""Above so many samples, not every version has the scores of all of them."""


class EvaluatingCallback(KeepsNumbers, EvalTask, WandbEvalCallback):
    """The hooks of `fit` for a callback that evaluates with an `Evaluator`.

    `WandbTaskEvalCallback`, the one subclass, has what a task is told to do. This one
    has the course of things: before training, at the end of an epoch, and between.
    """

    _evaluator: Evaluator
    _monitor: Monitor
    _sample_rows: SampleRows
    _renderer: SampleRenderer
    _columns: TaskColumns
    every_n_epochs: int
    every_n_batches: int | None
    name: str

    def _reset(self) -> None:
        super()._reset()
        self._begin()
        self._has_begun = False

    def _begin(self) -> None:
        """Sets up what changes from one training to the next."""
        self._fit_callbacks = FitCallbacks(self)
        self.history: dict[str, list[float]] = {}
        self._evaluation: Evaluation | None = None
        self._evaluated: tuple[int, int | None] | None = None
        self._last: tuple[int, dict[str, Any]] | None = None
        self._batch = 0
        self._calls = 0
        self._in_fit = self._summarized = False
        self._computes = True
        self._shown_evaluation: Evaluation | None = None
        self._evaluated_batch: int | None = None

    # --- Hooks --------------------------------------------------------------------

    def set_model(self, model: Any) -> None:
        """Evaluates this model from now on."""
        if type(model).__module__.partition(".")[0] == "tf_keras":
            raise TypeError(
                f"{type(self).__name__} needs a model of Keras 3 (`import keras`). "
                f"Received: {type(model)}, of Keras 2. With TensorFlow 2.16 or newer, "
                "unset TF_USE_LEGACY_KERAS to have `tf.keras` be Keras 3."
            )
        super().set_model(model)
        self._evaluator.set_model(model)
        self._renderer.model = model if self.uses_model_preprocessing else None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Draws the samples, checks data and outputs, and logs the ground truth."""
        self._begin()
        check_model(self)
        self._has_begun = True
        self._monitor.set_model(self.model)
        self._bind_run()
        prefix = f"{self.prefix}/"
        self._fit_callbacks.warn_of_order(prefix)
        if self.every_n_epochs > 1:
            self._fit_callbacks.expect_gaps(prefix)
        # Numbers may steer the training also where nothing is logged.
        self._computes = not self._run_log.skips or bool(
            self._fit_callbacks.used(prefix)
        )
        if self._computes:
            self._check_model()
        super().on_train_begin(logs)
        self._in_fit = True

    def _check_model(self) -> None:
        """Tries what will be predicted, and looks at what comes out."""
        self._evaluator.check()
        _, outputs = next(self._evaluator.predict_samples(self._evaluator.samples))
        self.check_outputs(outputs)
        column = self._renderer.set_samples(self._evaluator.samples)
        if column == "input" and self.is_logging:
            for columns in (self.data_table_columns, self.pred_table_columns):
                columns[:] = ["input" if c == "image" else c for c in columns]
            self._columns.predictions = list(self.pred_table_columns)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Looks on while `fit` validates, if that epoch is to be evaluated."""
        if (
            self._in_fit
            and self._computes
            and self._is_due(self._run_log.failures.epoch)
        ):
            self._evaluator.begin_validation()

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """Looks on no longer."""
        self._evaluator.end_validation()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Notes which epoch it is."""
        check_begun(self, self._has_begun)
        super().on_epoch_begin(epoch, logs)
        self._batch = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Evaluates the model, if it is time to, and adds the numbers to `logs`."""
        check_begun(self, self._has_begun)
        is_first, numbers = self._last is None, {}
        self._last = epoch, dict(logs or {})
        if self._is_due(epoch):
            numbers = self._evaluate_epoch(epoch, self._last[1])
            if logs is not None:
                logs.update(self._shown_by_fit(numbers))
        if is_first and self._computes:
            self._fit_callbacks.warn_of_columns(f"{self.prefix}/", bool(numbers))
        self._evaluator.drop()

    def _after_batch(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """What `on_train_batch_end` is where `every_n_batches` is set."""
        check_begun(self, self._has_begun)
        self._batch = batch + 1
        is_last = self._batch == (self.params or {}).get("steps")
        if self._batch % (self.every_n_batches or 1) or is_last:
            return  # The last one is evaluated as the end of the epoch.
        self._fit_callbacks.sync_models(self._model)
        self._evaluate(self._run_log.failures.epoch, dict(logs or {}), self._batch)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Evaluates the model, if training ended early and that was not known yet."""
        if self._last is not None and self._evaluated != (self._last[0], None):
            self._evaluate_epoch(*self._last)
        self._in_fit = False
        if self._evaluation is not None and self.is_logging and not self._summarized:
            with self._run_log.failures.tolerate(
                "What was learned of the samples could not be logged"
            ):
                found = self._with_prefix(self._summarize(self._evaluation))
                self._run_log.log_values(found, self._run_log.failures.epoch)
        super().on_train_end(logs)

    @property
    def evaluation(self) -> Evaluation | None:
        """What the last evaluation found, `None` before the first one.

        Its `fixed` and its `hardest` samples, the `scores` of all, and the `metrics`.
        """
        return self._evaluation

    def _is_last(self, epoch: int) -> bool:
        """Whether it is the last epoch, as far as that is known."""
        return bool(
            epoch + 1 == (self.params or {}).get("epochs")
            or getattr(self.model, "stop_training", False)  # Set by `fit`, `compile`.
        )

    def _is_due(self, epoch: int) -> bool:
        return self._is_last(epoch) or (epoch + 1) % self.every_n_epochs == 0

    # --- Evaluations --------------------------------------------------------------

    def _evaluate(
        self, epoch: int, logs: dict[str, Any], batch: int | None = None
    ) -> dict[str, float]:
        """Evaluates the model, logs what there is to log, and returns the numbers."""
        if batch is None and self._evaluated == (epoch, self._batch):
            self._evaluated = epoch, None
            return self._numbers  # Nothing was trained since.
        self._run_log.failures.epoch, self._evaluated = epoch, (epoch, batch)
        self._evaluated_batch = batch
        self._numbers: dict[str, float] = {}
        if not self._computes:
            return {}
        evaluation: Evaluation | None = None
        with self._run_log.version(Exception):
            with self._fit_callbacks.validation_weights():
                evaluated = self._evaluator.evaluate(epoch)
            results = self._with_prefix(_computed(evaluated))
            self._numbers = {k: v for k, v in results.items() if is_number(v)}
            evaluation = evaluated
        if evaluation is not None and self.is_logging:
            with self._run_log.one_row(epoch), relaxed_gc():
                self._log_evaluation(evaluation, results, epoch, logs, batch)
            self._evaluation = evaluation
        return self._numbers

    def _log_evaluation(
        self,
        evaluation: Evaluation,
        results: dict[str, Any],
        epoch: int,
        logs: dict[str, Any],
        batch: int | None,
    ) -> None:
        label = f"epoch_{epoch}" if batch is None else f"epoch_{epoch}_batch_{batch}"
        aliases = ["latest", label]
        best = self._run_log.best
        assert best is not None
        numbers = {**logs, **self._numbers}
        value = self._monitor.value(numbers, evaluation.not_finite)
        if best.is_beaten_by(epoch, value):
            aliases.append("best")
        metadata: dict[str, Any] = {"epoch": epoch, **self._numbers}
        if self.every_n_batches is not None:
            metadata["batch"] = batch
        self.init_pred_table(
            self._columns.with_added(self.pred_table_columns, self.data_table)
        )
        with self._run_log.version(Exception):
            self._ensure_ground_truth()
            self._shown_evaluation = evaluation
            evaluation.fixed.rows = self.data_table_ref.data
            call(self.add_model_predictions, epoch, logs=logs)
            tables = self._more_tables(evaluation, "best" in aliases)
            explained = self.extra_results(evaluation)
            if batch is None and self._is_last(epoch):
                explained |= self._summarize(evaluation)
            results |= self._with_prefix(without_tables(explained))
            tables |= tables_of(explained)
            self.log_pred_table(
                aliases=aliases,
                metadata=metadata,
                more_tables=tables,
                in_history={"hardest", *keys_of_tables(explained)},
            )
        with self._run_log.failures.tolerate("The metrics could not be logged"):
            self.log_metrics(results, epoch)
        if epoch in self._run_log.missing.epochs:
            self._sample_rows.forget()  # Their files may be gone.
        elif "best" in aliases:
            best.write_summary(self._run_log.run)

    def _more_tables(
        self, evaluation: Evaluation, is_best: bool
    ) -> dict[str, wandb.Table]:
        """The tables of a version beside that of the fixed samples."""
        tables: dict[str, wandb.Table] = {}
        if len(evaluation.hardest):
            self._give_rows(evaluation.hardest)
            table = wandb.Table(columns=list(self.pred_table.columns))
            self._add_predictions(table, evaluation.hardest)
            tables["hardest"] = table
        count = evaluation.fingerprint.count
        if evaluation.scores and (
            count <= MOST_SCORES
            or is_best
            or self._is_last(self._run_log.failures.epoch)
        ):
            tables["scores"] = scores_table(evaluation)
        return tables

    def _summarize(self, evaluation: Evaluation) -> dict[str, Any]:
        """What can be said at the end of training, of its last evaluation."""
        self._summarized = True
        self._give_rows(evaluation.suspects)
        return self.summarize(evaluation)

    def _evaluate_without_fit(
        self, model: keras.Model, logs: dict[str, Any]
    ) -> dict[str, float]:
        if self.model is not model or not self._run_log.is_current:
            self.set_model(model)
            self.on_train_begin(logs)
            self._in_fit = False
        if not self._computes:  # The numbers are asked for.
            self._computes = True
            self._check_model()
        numbers = self._evaluate_epoch(self._calls, logs)
        self._calls += 1
        super().on_train_end(logs)
        return numbers

    # --- Tables ---------------------------------------------------------------------

    def add_ground_truth(self, logs: dict[str, float] | None = None) -> None:
        """Adds the fixed samples to `data_table`, with `ground_truth_rows`."""
        self.add_rows(self.data_table, self._sample_rows.make(self._evaluator.samples))

    def add_model_predictions(
        self, epoch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Adds predictions for the fixed samples, with `prediction_rows`."""
        assert self._shown_evaluation is not None
        self._add_predictions(self.pred_table, self._shown_evaluation.fixed)

    def _add_predictions(self, table: wandb.Table, evaluated: EvaluatedSamples) -> None:
        """Adds rows to a table that has the columns of `pred_table`.

        Samples that are not fixed have nothing in columns that a subclass has added.
        """
        in_batches = self.every_n_batches is not None
        epoch = self._run_log.failures.epoch
        when = [epoch, self._evaluated_batch] if in_batches else [epoch]
        cells = [[*when, *row] for row in self.prediction_rows(evaluated)]
        self.add_rows(
            table, self._columns.rows(table, self.data_table, cells, evaluated.rows)
        )

    def _give_rows(self, evaluated: EvaluatedSamples) -> None:
        self._sample_rows.know(self._evaluator.samples.index, self.data_table_ref.data)
        self._sample_rows.give(evaluated)

    def _with_prefix(self, values: dict[str, Any]) -> dict[str, Any]:
        return {f"{self.prefix}/{key}": _number(v) for key, v in values.items()}

    # --- What becomes of versions ---------------------------------------------------

    def _begin_run(self) -> None:
        self._sample_rows.forget()
        self._run_log.best = BestVersion(self.prefix, self._monitor)
        self._run_log.best.restore(self._run_log.restore)


def _computed(evaluation: Evaluation) -> dict[str, Any]:
    """What was measured, charts among it."""
    if evaluation.metrics is None:
        return {}
    with relaxed_gc():
        return evaluation.metrics.compute()


def _number(value: Any) -> Any:
    """A number of any framework as Python's own; anything else as it is."""
    if getattr(value, "shape", None) == ():
        return to_numpy(value).item()
    return value
