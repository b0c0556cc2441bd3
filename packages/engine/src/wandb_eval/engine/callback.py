"""The base class of the callbacks of all tasks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import keras
import wandb

from wandb_eval.core import WandbEvalCallback, artifact_name, infer_types
from wandb_eval.core.arguments import check_bool, check_positive, is_integer, is_number
from wandb_eval.core.processes import is_alone
from wandb_eval.engine.evaluation.data import ValidationData
from wandb_eval.engine.evaluation.evaluator import Evaluator
from wandb_eval.engine.evaluation.predict import unchanged_state
from wandb_eval.engine.evaluation.result import Evaluation
from wandb_eval.engine.evaluation.sample_properties import SampleProperties
from wandb_eval.engine.evaluation.samples import EvaluatedSamples, Samples
from wandb_eval.engine.evaluation.slice_by import GivenProperties, SliceBy
from wandb_eval.engine.evaluation.task import EvalTask
from wandb_eval.engine.evaluation_log import EvaluationLog, unlabelled_metadata
from wandb_eval.engine.fit_callbacks import FitCallbacks
from wandb_eval.engine.fit_logs import FitLogs, InLogs, add_epoch
from wandb_eval.engine.kit.images import check_image_format
from wandb_eval.engine.kit.logits import FromLogits, resolve_from_logits
from wandb_eval.engine.kit.outputs import check_output_key, select_output, select_target
from wandb_eval.engine.monitor import Mode, Monitor
from wandb_eval.engine.nested import stack_or_list
from wandb_eval.engine.relaxed_gc import relaxed_gc
from wandb_eval.engine.sample_display import SampleRenderer
from wandb_eval.engine.sample_rows import SampleRows, TaskColumns
from wandb_eval.engine.schedule import Moment, Schedule
from wandb_eval.engine.slices.search import WeakSlice
from wandb_eval.engine.weak_slices import WeakSlices


class WandbTaskEvalCallback(EvalTask, WandbEvalCallback):
    """Base class of callbacks that show samples and measure all validation data.

    When training begins, it draws samples of `validation_data`, which stay the same in
    all epochs. At the end of an epoch it evaluates the model on all of the data, writes
    the headline numbers into the `logs` of `fit` and all numbers, against `eval/epoch`,
    into the history, and logs a version with the tables `eval_data` (predictions for
    the fixed samples), `hardest` (the same for the samples that the model gets most
    wrong now) and `scores` (every sample, no images). Its aliases are `latest`,
    `epoch_<n>`, and `best` where `monitor` improved; its metadata holds the epoch and
    the numbers. The run's summary has the best number and its epoch, as
    `eval/best_<number>` and `eval/best_epoch`.

    Properties of all samples, such as the brightness of images, are columns of `scores`
    in the best and the last version. When training ends, and in `evaluate`, the
    callback searches for slices of samples on which the model does provably worse. The
    table `weak_slices` and the property `weak_slices` have them, and the log has the
    strongest one. If a callback behind this one, such as `EarlyStopping`, stops the
    training, the last version has neither the properties nor the slices, because it was
    logged before; the history has the slices.
    The first version has the table `data_problems`, if there are samples of equal
    content, or blank ones.

    `history` has all numbers of the training as lists, by their keys, like that of
    Keras' `History`; `history["eval/epoch"]` are the epochs that were evaluated. Where
    a number is missing in an epoch, its list has NaN.

    Where `fit` validates on the same data, the outputs come from that validation, and
    nothing is predicted twice.

    A subclass implements `ground_truth_rows`. It may also implement `score_samples`,
    `prediction_rows` and `new_metrics`; `read_batch`, if targets and outputs must be
    converted first; and `headline`, if only some numbers belong in the `logs` of `fit`.
    It may check data and outputs in `check_batch` and `check_outputs`, which are called
    before the first batch of training. Alternatively, it makes the tables itself, in
    `add_ground_truth` and `add_model_predictions`.

    A failure after the first batch of training, in these methods too, is reported and
    does not end the training, unless `on_error="raise"`.

    Args:
        validation_data: See `ValidationData`.
        data_table_columns: Column names of the table of ground truth.
        pred_table_columns: Column names of the tables of predictions.
        num_samples: The number of samples to show. `None` for all.
        every_n_epochs: The number of epochs between evaluations. The last epoch is
            always evaluated.
        every_n_batches: The number of batches between further evaluations within an
            epoch. `None` for no such evaluations. With it, rows and metadata have a
            `batch`, and these versions have the alias `epoch_<n>_batch_<m>`.
        batch_size: The batch size for predicting. Data that is batched already keeps
            its batches.
        image_fn: A function that takes one sample of x and returns the cell to show: a
            uint8 array of shape `(height, width)` or `(height, width, channels)`, text,
            or any media of W&B. If the cells are not images, the column is `input`
            instead of `image`. `None` applies the rules of `to_images`, and shows text
            as it is and up to 100 numbers of another shape as text. Other samples, and
            images with NaN or infinity, have an empty cell.
        image_format: `"png"`, lossless, or `"jpg"`, which is smaller and faster.
        num_hardest: The number of the hardest samples to show. 0 for none.
        one_pass: Whether to take the outputs from the validation of `fit`, where it
            validates on the same data. `False` always predicts the data once more.
        in_all_processes: Whether all processes of Torch's process group have this
            callback, with the same arguments, and call it equally often. Then each one
            predicts a part of the data. On JAX, this is always so.
        monitor: The name of the number that determines the best version: one in the
            logs of `fit` (`"val_loss"`), or one that is logged here
            (`"eval/accuracy"`).
        mode: `"min"`, `"max"`, or `"auto"`, which infers the direction from the
            compiled metric of that name, or from the name.
        in_logs: The numbers for the `logs` of `fit`: a list of names
            (`["ece", "brier"]`), `"all"`, or `None` for the task's headline numbers.
            Numbers that `monitor` or another callback of the `fit` uses are always
            there.
        seed: The seed of the draw.
        output_key: The output to evaluate, for a model that has several: a key of the
            dict, an index, or the name of an output. If y is a tuple or a dict, for
            several outputs, it selects the target, too.
        slice_by: Further properties of samples, in which weak slices are searched:
            a mapping of names to a value for each sample, in the order in which the
            data yields them, as in `{"camera": cameras, "hour": hours}`; or a function
            that takes a batch, as the data yields it (`(x, y)` for arrays), and returns
            such a mapping for its samples. The function is for data in changing order,
            and for values that come with the batch. A value is a number, a string or a
            bool, or missing: `None` or NaN. It is called once for each batch, before
            training.
        name: The name of the data artifact. Give each of several callbacks in one `fit`
            its own: with `"test"`, the predictions are in `run_<id>_test_pred` and the
            numbers under `eval_test/`.
        run: See `WandbEvalCallback`.
        log_to_history: See `WandbEvalCallback`.
        on_error: See `WandbEvalCallback`.

    Raises:
        wandb.Error: If there is no active run.
        ValueError: If an argument can't be used. When training begins, if the
            validation data or the outputs of the model can't be used.
    """

    def __init__(
        self,
        validation_data: Any,
        *,
        data_table_columns: list[str],
        pred_table_columns: list[str],
        num_samples: int | None = 100,
        every_n_epochs: int = 1,
        every_n_batches: int | None = None,
        batch_size: int = 32,
        image_fn: Callable[[Any], Any] | None = None,
        image_format: Literal["png", "jpg"] = "png",
        num_hardest: int = 20,
        one_pass: bool = True,
        in_all_processes: bool = False,
        monitor: str | None = None,
        mode: Mode = "auto",
        in_logs: InLogs = None,
        seed: int = 0,
        output_key: str | int | None = None,
        slice_by: GivenProperties = None,
        name: str = "val",
        run: wandb.Run | None = None,
        log_to_history: bool = True,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        if num_samples is not None:
            num_samples = check_positive("num_samples", num_samples, or_none=True)
        if every_n_batches is not None:
            every_n_batches = check_positive("every_n_batches", every_n_batches)
            self.on_train_batch_end = self._after_batch
            if type(self).ground_truth_rows is not EvalTask.ground_truth_rows:
                pred_table_columns = ["epoch", "batch", *pred_table_columns[1:]]
        check_image_format(image_format)
        check_bool("one_pass", one_pass)
        check_bool("in_all_processes", in_all_processes)
        _check_from_0("seed", seed)
        _check_from_0("num_hardest", num_hardest)
        check_output_key(output_key)
        SliceBy(slice_by)  # Checks it.
        _check_name(name)
        _check_image_fn(image_fn)
        self.num_samples = num_samples
        self.every_n_epochs = check_positive("every_n_epochs", every_n_epochs)
        self.every_n_batches = every_n_batches
        self.num_hardest = int(num_hardest)
        self.output_key = output_key
        self.image_fn = image_fn
        self.monitor = monitor
        self.name = name
        self.validation_data = ValidationData(
            validation_data, batch_size, self.unpack_batch, self.select_target
        )
        self._num_data_columns = len(data_table_columns)
        self._image_format = image_format
        self._one_pass, self._in_all_processes = bool(one_pass), bool(in_all_processes)
        self._mode: Mode = mode
        self._in_logs = in_logs
        self._seed = int(seed)
        self._slice_by = slice_by
        super().__init__(
            list(data_table_columns),
            list(pred_table_columns),
            run=run,
            log_to_history=log_to_history,
            on_error=on_error,
        )
        self.prefix = "eval" if name == "val" else f"eval_{name}"

    def reset_state(self) -> None:
        """Resets the state of a run and of a training, which copies do not share."""
        super().reset_state()
        self._monitor = Monitor(self.monitor, self._mode)
        self._schedule = Schedule(self.every_n_epochs, self.every_n_batches)
        self._fit_callbacks = FitCallbacks([], self)
        self._fit_logs = FitLogs(self._in_logs)
        self._renderer = SampleRenderer(
            self.image_fn,
            self._image_format,
            self.progress,
            self.shown_size,
            self.draws_on_images,
        )
        properties = SampleProperties(
            self, self._renderer.image, self._slice_by, lambda: self.is_logging
        )
        self._weak_slices = WeakSlices(self, self, properties)
        self._evaluator = Evaluator(
            self,
            self.validation_data,
            num_samples=self.num_samples,
            seed=self._seed,
            num_hardest=self.num_hardest,
            one_pass=self._one_pass,
            in_all_processes=self._in_all_processes,
            preprocesses=self.uses_model_preprocessing,
            properties=properties,
        )
        self._log = EvaluationLog(
            self,
            self,
            columns=TaskColumns(self._num_data_columns, list(self.pred_table_columns)),
            sample_rows=SampleRows(self._rows_of),
            monitor=self._monitor,
            has_batches=self.every_n_batches is not None,
            weak_slices=self._weak_slices,
        )
        self.history: dict[str, list[float]] = {}
        self._computes = True

    # --- Hooks --------------------------------------------------------------------

    def set_model(self, model: Any) -> None:
        """Sets the model to evaluate."""
        _check_keras(self, model)
        super().set_model(model)
        self._evaluator.set_model(model)
        self._renderer.model = model if self.uses_model_preprocessing else None

    def on_run_begin(self) -> None:
        """Called when the callback begins to log to another run."""
        super().on_run_begin()
        self._log.begin_run()

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Draws the samples, checks data and outputs, and logs the ground truth."""
        _check_has_model(self, self._model)
        self._schedule.begin(self.params)
        self._log.begin_training()
        self.history = {}
        self._monitor.set_model(self.model)
        self.bind_run()
        prefix = f"{self.prefix}/"
        self._fit_callbacks = FitCallbacks.find(self)
        self._fit_callbacks.warn_of_order(prefix)
        if self.every_n_epochs > 1:
            self._fit_callbacks.expect_gaps(prefix)
        # Numbers may steer the training also where nothing is logged.
        self._computes = not self.run_log.skips or bool(
            self._fit_callbacks.used(prefix)
        )
        if self._computes:
            self._check_model()
        super().on_train_begin(logs)

    def _check_model(self) -> None:
        """Predicts the samples once, and checks the outputs."""
        with unchanged_state(self._model):
            self._evaluator.check()
            _, outputs = next(self._evaluator.predict_samples(self._evaluator.samples))
        self.check_outputs(outputs)
        column = self._renderer.set_samples(self._evaluator.samples)
        if column == "input" and self.is_logging:
            for columns in (self.data_table_columns, self.pred_table_columns):
                columns[:] = ["input" if c == "image" else c for c in columns]
            self._log.columns.predictions = list(self.pred_table_columns)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Joins the validation of `fit`, if this epoch is to be evaluated."""
        if self._schedule.is_in_fit and self._computes and self._is_due():
            # A failure occurs again in the separate pass, which reports it.
            with contextlib.suppress(Exception):
                self._evaluator.begin_validation()

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """Leaves the validation of `fit`."""
        self._evaluator.end_validation()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Begins an epoch, and closes the history row of the previous one."""
        self.check_begun()
        super().on_epoch_begin(epoch, logs)
        self._schedule.begin_epoch(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Evaluates the model, if it is due, and adds the numbers to `logs`."""
        self.check_begun()
        is_first = self._schedule.last_end is None
        self.run_log.epoch = epoch
        self._schedule.end_epoch(epoch, logs)
        numbers: dict[str, float] = {}
        if self._is_due():
            numbers = self._evaluate_epoch(epoch, dict(logs or {}))
        if logs is not None:
            logs.update(self._numbers_for_fit(numbers))
        if is_first and self._computes:
            self._fit_callbacks.warn_of_columns(f"{self.prefix}/", bool(numbers))
        self._evaluator.drop()

    def _after_batch(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Evaluates the model within an epoch, as `on_train_batch_end`."""
        of_class: Any = type(self)
        of_class.on_train_batch_end(self, batch, logs)
        self.check_begun()
        moment = self._schedule.moment_after(self.run_log.epoch, batch)
        if moment is not None:
            self._fit_callbacks.sync_models(self._model)
            self._evaluate(moment, dict(logs or {}))

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Evaluates the model, if training ended early without an evaluation."""
        missed = self._schedule.missed_end()
        self._schedule.is_in_fit = False
        if missed is not None:
            self._evaluate_epoch(*missed)
        if self.is_logging:
            self._log.log_summary()
            self._weak_slices.say_strongest()
        super().on_train_end(logs)

    def _is_due(self) -> bool:
        return self._schedule.is_due(self.run_log.epoch, self._stops())

    def _stops(self) -> bool:
        # Only `fit` and `compile` set the attribute.
        return bool(getattr(self.model, "stop_training", False))

    # --- Evaluations --------------------------------------------------------------

    @property
    def evaluation(self) -> Evaluation | None:
        """The last evaluation; `None` before the first one."""
        return self._log.evaluation

    @property
    def weak_slices(self) -> list[WeakSlice]:
        """The weak slices of the last evaluation, the strongest first.

        They are found when training ends, and by `evaluate`. The list is empty before,
        and if there are none. Indices are the places of samples in that evaluation, as
        in the column `idx` of `scores`.
        """
        return list(self._weak_slices.found)

    def evaluate(
        self, model: keras.Model, logs: dict[str, float] | None = None
    ) -> dict[str, float]:
        """Evaluates a trained model, without `fit`, and logs a version.

        The epoch is the one after the last epoch of this callback with this model.

        Args:
            model: The model.
            logs: Other numbers, such as the one that `monitor` names.

        Returns:
            The numbers, by the keys that they are logged under.
        """
        is_other_run = not self.run_log.is_current
        is_new = self.model is not model or (is_other_run and is_alone())
        if is_new:
            self.set_model(model)
            self.on_train_begin(logs)
        elif is_other_run:  # Other processes may lack it, so nothing is predicted.
            super().on_train_begin(logs)
        self._fit_callbacks = FitCallbacks.find(self)
        if is_new or not self._fit_callbacks.all:
            self._evaluator.drop()  # The rest of a `fit` that was interrupted.
            self._schedule.leave_fit()
        if not self._computes:  # The caller asks for the numbers.
            self._computes = True
            self._check_model()
        numbers = self._evaluate_epoch(self._schedule.next_epoch, dict(logs or {}))
        self._weak_slices.say_strongest()
        super().on_train_end(logs)
        return numbers

    def _evaluate_epoch(self, epoch: int, logs: dict[str, Any]) -> dict[str, float]:
        """Evaluates the model at the end of an epoch, and keeps the numbers."""
        self._schedule.next_epoch = epoch + 1
        numbers = self._evaluate(Moment(epoch), logs)
        if numbers:
            add_epoch(self.history, {f"{self.prefix}/epoch": epoch, **numbers})
        return numbers

    def _numbers_for_fit(self, numbers: dict[str, float]) -> dict[str, float]:
        """Returns the numbers that go into the logs of `fit`."""
        what = "Numbers that were asked for are not in the logs"
        with self.run_log.failures.tolerate(what, ValueError):
            self._fit_logs.check(numbers, self.prefix)
        used = self._fit_callbacks.used(f"{self.prefix}/") | {str(self.monitor)}
        chosen = self._fit_logs.choose(numbers, self.prefix, self.headline, used)
        state = self.history.keys(), self._log.leaves_out, self._is_due()
        return self._fit_callbacks.completed(chosen, self.prefix, *state)

    def _evaluate(self, moment: Moment, logs: dict[str, Any]) -> dict[str, float]:
        """Evaluates the model, logs the results, and returns the numbers."""
        self.run_log.epoch = moment.epoch
        self._schedule.note(moment)
        numbers: dict[str, float] = {}
        if not self._computes:
            return numbers
        with contextlib.ExitStack() as exits:
            with self.run_log.version(Exception) as version:
                exits.enter_context(self._fit_callbacks.validation_weights())
                exits.enter_context(unchanged_state(self._model))
                evaluation = self._evaluator.evaluate(moment.epoch)
                self._log.keep(evaluation)
                results = self._log.with_prefix(_measured(evaluation))
                numbers = {k: v for k, v in results.items() if is_number(v)}
            if version.error is None and self.is_logging:
                is_last = self._schedule.is_last(moment.epoch, self._stops())
                ends = self._schedule.ends(moment, is_last)
                self._log.log(
                    evaluation, moment, results, logs, is_last=is_last, ends=ends
                )
        return numbers

    # --- Tables ---------------------------------------------------------------------

    def add_ground_truth(self, logs: dict[str, float] | None = None) -> None:
        """Adds the fixed samples to `data_table`, with `ground_truth_rows`."""
        self.add_rows(self.data_table, self._rows_of(self.samples))

    def add_model_predictions(
        self, epoch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Adds predictions for the fixed samples, with `prediction_rows`."""
        assert self.evaluation is not None
        self._log.add_predictions(self.pred_table, self.evaluation.fixed)

    # --- For tasks ------------------------------------------------------------------

    @property
    def samples(self) -> Samples:
        """The fixed samples that are shown, drawn at the first access."""
        return self._evaluator.samples

    def sample_arrays(self) -> list[Any]:
        """Returns the samples as uint8 images of shape `(height, width[, 3 or 4])`.

        A sample that is not an image is text or media, as in its cell of the tables, or
        `None` where the cell is empty.
        """
        self._renderer.set_samples(self.samples)
        return self._renderer.cells(self.samples)

    def sample_images(self) -> list[Any]:
        """Returns the samples as images for `data_table`.

        An entry is `None` where nothing is logged, or where the sample can't be shown,
        see `sample_arrays`.
        """
        return self._images_of(self.samples)

    def images_of(self, evaluated: EvaluatedSamples) -> list[Any]:
        """Returns the images of evaluated samples, like `sample_arrays`."""
        samples = Samples(evaluated.index, evaluated.x, evaluated.y)
        return self._renderer.cells(samples)

    def set_columns(self, data: Sequence[str], predictions: Sequence[str]) -> None:
        """Sets the columns of the tables, where they depend on the data.

        Call it in `check_outputs`, which is called before the tables are made.

        Args:
            data: As `data_table_columns` of the constructor.
            predictions: As `pred_table_columns` of the constructor.
        """
        with_batch = ["batch"] if self.every_n_batches is not None else []
        self.data_table_columns[:] = data
        self.pred_table_columns[:] = [predictions[0], *with_batch, *predictions[1:]]
        self._log.columns = TaskColumns(len(data), list(self.pred_table_columns))

    def predict(self, x: Any) -> Any:
        """Returns the outputs of the model for a batch of inputs, as NumPy arrays."""
        return self._evaluator.outputs(keras.tree.lists_to_tuples(x))

    def predict_samples(self) -> Iterator[tuple[slice, Any]]:
        """Yields the outputs of the model for the samples, in batches.

        If the last evaluation has kept the outputs, they are not predicted again.

        Yields:
            A slice of `self.samples`, and the outputs for these samples.
        """
        known = None if self.evaluation is None else self.evaluation.fixed
        if known is None or self.reads_batches:
            yield from self._evaluator.predict_samples(self.samples)
            return
        for part, _ in self.samples.batches(self.validation_data.batch_size):
            yield part, stack_or_list(known.predictions[part])

    def _rows_of(self, samples: Samples) -> list[list[Any]]:
        return self.ground_truth_rows(samples, self._images_of(samples))

    def _images_of(self, samples: Samples) -> list[Any]:
        cells = self._renderer.cells(samples)
        if not self.is_logging:
            return [None] * len(cells)
        return self._renderer.encoded(cells, self.data_folder)

    def log_data_table(
        self,
        name: str | None = None,
        type: str = "dataset",
        table_name: str = "val_data",
        *,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Logs `data_table`, in the artifact that the constructor's `name` names."""
        if self.is_logging:
            infer_types(self.data_table)
        super().log_data_table(
            name or self.name,
            type,
            table_name,
            metadata={**unlabelled_metadata(self), **(metadata or {})},
        )

    def log_pred_table(
        self, *args: Any, name: str | None = None, **options: Any
    ) -> None:
        """Logs `pred_table`, with `self.name` in the name of the artifact."""
        run = self.run_log.run
        if name is None and self.name != "val" and run is not None:
            name = artifact_name(f"run_{run.id}_{self.name}_pred")
        super().log_pred_table(*args, name=name, **options)

    def resolve_from_logits(
        self, from_logits: FromLogits, outputs: Any, one_class: bool = True
    ) -> bool:
        """Returns whether the outputs are logits: values before softmax or sigmoid.

        `"auto"` infers it from the model, with `infer_from_logits`. If the model does
        not show it, outputs that are all from 0 to 1 are taken for probabilities, and
        the log says so once. A warning names logits that look like probabilities.

        Args:
            from_logits: The argument of the user: `True`, `False` or `"auto"`.
            outputs: The outputs, of shape `(batch, ..., num_classes)` or `(batch,)`.
            one_class: Whether the classes exclude each other.

        Raises:
            ValueError: If `from_logits` is `False`, or inferred to be, and the outputs
                are not probabilities.
        """
        return resolve_from_logits(
            self.model,
            from_logits,
            outputs,
            one_class=one_class,
            output_key=self.output_key,
            says=self.is_logging,
        )

    def select_output(self, outputs: Any) -> Any:
        """Selects the output that `output_key` names."""
        # Not `self.model`: on JAX, that would put the state of a step of `fit` back
        # into the model, from any thread, while the next step uses it.
        return select_output(outputs, self.output_key, self._model)

    def select_target(self, y: Any) -> Any:
        """The target that `output_key` names."""
        return select_target(y, self.output_key, self._model)

    @property
    def verbose(self) -> bool:
        """Whether `fit` shows its progress."""
        return bool((self.params or {}).get("verbose", 1))


def _check_keras(callback: Any, model: Any) -> None:
    if type(model).__module__.partition(".")[0] == "tf_keras":
        raise TypeError(
            f"{type(callback).__name__} needs a model of Keras 3 (`import keras`). "
            f"Received: {type(model)}, of Keras 2. With TensorFlow 2.16 or newer, "
            "unset TF_USE_LEGACY_KERAS to have `tf.keras` be Keras 3."
        )


def _check_has_model(callback: Any, model: Any) -> None:
    if model is None:
        raise RuntimeError(
            f"{type(callback).__name__} has no model. `model.fit` sets it. In a "
            "training loop of your own, call `callback.set_model(model)` before "
            "`on_train_begin`, or have `keras.callbacks.CallbackList([...], "
            "model=model)` do it."
        )


def _measured(evaluation: Evaluation) -> dict[str, Any]:
    """Returns the results of the metrics, charts included."""
    if evaluation.metrics is None:
        return {}
    with relaxed_gc():
        return evaluation.metrics.compute()


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name or artifact_name(name) != name:
        raise ValueError(
            "`name` may have letters, digits, dashes, underscores and dots, 128 at "
            f"most. Received: {name!r}"
        )


def _check_image_fn(image_fn: Any) -> None:
    if image_fn is not None and not callable(image_fn):
        raise ValueError(f"`image_fn` must be callable. Received: {image_fn!r}")


def _check_from_0(name: str, value: Any) -> None:
    if not (is_integer(value) and value >= 0):
        raise ValueError(
            f"`{name}` must be an integer of 0 or more. Received: {value!r}"
        )
