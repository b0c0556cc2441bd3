"""What the callbacks of all tasks share: what a task is told to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypedDict

import keras
import numpy as np
import wandb

from wandb_eval.core import add_rows, artifact_name
from wandb_eval.core.arguments import check_bool, check_positive, is_integer
from wandb_eval.engine.evaluating import EvaluatingCallback
from wandb_eval.engine.evaluation.data import ValidationData
from wandb_eval.engine.evaluation.evaluator import Evaluator
from wandb_eval.engine.evaluation.samples import EvaluatedSamples, Samples
from wandb_eval.engine.evaluation.task import EvalTask
from wandb_eval.engine.fit_logs import FitLogs, InLogs
from wandb_eval.engine.kit.images import check_image_format
from wandb_eval.engine.kit.logits import (
    FromLogits,
    check_probabilities,
    infer_from_logits,
    look_like_probabilities,
)
from wandb_eval.engine.kit.outputs import check_output_key, select_output, select_target
from wandb_eval.engine.monitor import Mode, Monitor
from wandb_eval.engine.nested import stack_or_list
from wandb_eval.engine.sample_display import SampleRenderer
from wandb_eval.engine.sample_rows import SampleRows, TaskColumns


class TaskArguments(TypedDict, total=False):
    """The arguments that the callbacks of all tasks share.

    `WandbTaskEvalCallback` says what they mean.
    """

    num_samples: int | None
    every_n_epochs: int
    every_n_batches: int | None
    batch_size: int
    image_fn: Callable[[Any], Any] | None
    image_format: Literal["png", "jpg"]
    num_hardest: int
    one_pass: bool
    monitor: str | None
    mode: Mode
    in_logs: InLogs
    seed: int
    output_key: str | int | None
    name: str
    run: wandb.Run | None
    log_to_history: bool
    on_error: Literal["warn", "raise"]


class WandbTaskEvalCallback(EvaluatingCallback):
    """Base class of callbacks that show samples and measure all validation data.

    When training begins it draws samples of `validation_data`, which stay the same in
    all epochs. At the end of an epoch it evaluates the model on all of the data, writes
    the headline numbers into the `logs` of `fit` and all numbers, against `eval/epoch`,
    into the history, and logs a version with the tables `eval_data` (predictions for
    the fixed samples), `hardest` (the same for the samples that the model gets most
    wrong now) and `scores` (every sample, no images). Its aliases are `latest`,
    `epoch_<n>`, and `best` where `monitor` improved; its metadata holds the epoch and
    the numbers. The run's summary has the best number and its epoch, as
    `eval/best_<number>` and `eval/best_epoch`.

    `history` has all numbers of the training as lists, by their keys, like that of
    Keras' `History`; `history["eval/epoch"]` are the epochs that were evaluated. Where
    a number is missing in an epoch, its list has NaN.

    Where `fit` validates on the same data, the outputs come from that validation, and
    nothing is predicted twice.

    A subclass implements `ground_truth_rows` and, as far as there is something to say,
    `score_samples`, `prediction_rows` and `new_metrics`; `read_batch`, if what it gets
    must be read first; `headline`, if not all numbers are to be in the `logs` of `fit`.
    It may check what it gets in `check_batch` and `check_outputs`,
    which are called before the first batch of training. Or it makes the tables itself,
    in `add_ground_truth` and `add_model_predictions`.

    What fails after the first batch of training, also in these methods, is reported,
    and does not end the training, unless `on_error="raise"`.

    Args:
        validation_data: See `ValidationData`.
        data_table_columns: Column names of the table of ground truth.
        pred_table_columns: Column names of the tables of predictions.
        num_samples: How many samples to show. `None` for all.
        every_n_epochs: Evaluate every so many epochs, and always after the last one.
        every_n_batches: Also evaluate every so many batches within an epoch. Rows and
            metadata have a `batch` then, and these versions the alias
            `epoch_<n>_batch_<m>`.
        batch_size: For predicting; data that is batched already keeps its batches.
        image_fn: Takes one sample of x and returns what to show: a uint8 array of shape
            `(height, width)` or `(height, width, channels)`, text, or any media of W&B;
            if it is no image, the column is `input` instead of `image`. `None`: the
            rules of `to_images`, text as it is, and up to 100 numbers of another shape
            as text. What is left, or has NaN or infinity in it, has an empty cell.
        image_format: `"png"`, lossless, or `"jpg"`, which is smaller and faster.
        num_hardest: How many of the hardest samples to show, 0 for none.
        one_pass: Whether to take the outputs from the validation of `fit`, where it
            validates on the same data. `False`: always predict it once more.
        monitor: The name of a number in the logs of `fit` (`"val_loss"`), or of one
            that is logged here (`"eval/accuracy"`), that says which version is best.
        mode: `"min"`, `"max"`, or `"auto"`: told by the compiled metric of that name,
            or by the name.
        in_logs: Which numbers go into the `logs` of `fit`: a list of names
            (`["ece", "brier"]`), `"all"`, or `None` for the task's headline numbers.
            What `monitor`, or another callback of the `fit`, uses is there always.
        seed: Seed of the draw.
        output_key: Which output, of a model that has several: a key of the dict, an
            index, or the name of an output. Of a y for several outputs, a tuple or a
            dict, it is the target likewise.
        name: Name of the data artifact. Give each of several callbacks in one `fit` its
            own: with `"test"`, the predictions are in `run_<id>_test_pred` and the
            numbers under `eval_test/`.
        run: See `WandbEvalCallback`.
        log_to_history: See `WandbEvalCallback`.
        on_error: See `WandbEvalCallback`.

    Raises:
        wandb.Error: If there is no active run.
        ValueError: If an argument can't be used; when training begins, if the
            validation data or the outputs of the model can't.
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
        monitor: str | None = None,
        mode: Mode = "auto",
        in_logs: InLogs = None,
        seed: int = 0,
        output_key: str | int | None = None,
        name: str = "val",
        run: wandb.Run | None = None,
        log_to_history: bool = True,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(
            data_table_columns,
            pred_table_columns,
            run=run,
            log_to_history=log_to_history,
            on_error=on_error,
        )
        if num_samples is not None:
            num_samples = check_positive("num_samples", num_samples, or_none=True)
        if every_n_batches is not None:
            every_n_batches = check_positive("every_n_batches", every_n_batches)
            self.on_train_batch_end = self._after_batch
            if type(self).ground_truth_rows is not EvalTask.ground_truth_rows:
                pred_table_columns = ["epoch", "batch", *pred_table_columns[1:]]
                self.pred_table_columns = pred_table_columns
        check_image_format(image_format)
        check_bool("one_pass", one_pass)
        _check_from_0("seed", seed)
        _check_from_0("num_hardest", num_hardest)
        check_output_key(output_key)
        if not isinstance(name, str) or not name or artifact_name(name) != name:
            raise ValueError(
                "`name` may have letters, digits, dashes, underscores and dots, 128 at "
                f"most. Received: {name!r}"
            )
        if image_fn is not None and not callable(image_fn):
            raise ValueError(f"`image_fn` must be callable. Received: {image_fn!r}")
        self.num_samples = num_samples
        self.every_n_epochs = check_positive("every_n_epochs", every_n_epochs)
        self.every_n_batches = every_n_batches
        self.num_hardest = int(num_hardest)
        self.output_key = output_key
        self.image_fn = image_fn
        self.monitor = monitor
        self.name = name
        self.prefix = "eval" if name == "val" else f"eval_{name}"
        self.validation_data = ValidationData(
            validation_data, batch_size, self.unpack_batch, self._select_target
        )
        self._columns = TaskColumns(len(data_table_columns), list(pred_table_columns))
        self._renderer = SampleRenderer(
            image_fn,
            image_format,
            self.progress,
            self.shown_size,
            self.uses_model_preprocessing,
        )
        self._sample_rows = SampleRows(self._rows_of)
        self._monitor = Monitor(monitor, mode)
        self._fit_logs = FitLogs(in_logs)
        self._evaluator = Evaluator(
            self,
            self.validation_data,
            num_samples=num_samples,
            seed=int(seed),
            num_hardest=self.num_hardest,
            batch_size=int(batch_size),
            one_pass=bool(one_pass),
            preprocesses=self.uses_model_preprocessing,
        )

    # --- What a task may use --------------------------------------------------------

    @property
    def samples(self) -> Samples:
        """The samples that are shown. They are drawn once, when first asked for."""
        return self._evaluator.samples

    def sample_arrays(self) -> list[Any]:
        """The samples as uint8 images of shape `(height, width[, 3 or 4])`.

        Those that are no images are text or media, as their cells in the tables, or
        `None` where the cell is empty.
        """
        self._renderer.set_samples(self.samples)
        return self._renderer.cells(self.samples)

    def sample_images(self) -> list[Any]:
        """The samples as images for `data_table`; `None`s where nothing is logged.

        So are samples that can't be shown, see `sample_arrays`.
        """
        return self._images_of(self.samples)

    def images_of(self, evaluated: EvaluatedSamples) -> list[Any]:
        """The images of samples that were evaluated, as `sample_arrays` gives them."""
        samples = Samples(evaluated.index, evaluated.x, evaluated.y)
        return self._renderer.cells(samples)

    def predict(self, x: Any) -> Any:
        """The outputs of the model for a batch of inputs, as NumPy arrays."""
        return self._evaluator.outputs(x)

    def predict_samples(self) -> Iterator[tuple[slice, Any]]:
        """The outputs of the model for the samples, in batches.

        They are those of the evaluation, where it has them.

        Yields:
            Which samples, as a slice of `self.samples`, and the outputs for them.
        """
        known = None if self._shown_evaluation is None else self._shown_evaluation.fixed
        if known is None or self.reads_batches:
            yield from self._evaluator.predict_samples(self.samples)
            return
        for part, _ in self.samples.batches(self.validation_data.batch_size):
            yield part, stack_or_list(known.predictions[part])

    def add_rows(self, table: wandb.Table, rows: Sequence[Sequence[Any]]) -> None:
        """Adds rows to a table: faster than its `add_data` row by row."""
        add_rows(table, rows)

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
    ) -> None:
        """Logs `data_table`, in the artifact that the constructor's `name` names."""
        super().log_data_table(name or self.name, type, table_name)

    def _name_of_versions(self) -> str | None:
        """Unless `self.name` is `"val"`, it is in the name, too."""
        run = self._run_log.run
        if self.name == "val" or run is None:
            return None
        return artifact_name(f"run_{run.id}_{self.name}_pred")

    def evaluate(
        self, model: keras.Model, logs: dict[str, float] | None = None
    ) -> dict[str, float]:
        """Evaluates a trained model, without `fit`, and logs a version.

        Args:
            model: The model.
            logs: Numbers from elsewhere, among which `monitor` may be.

        Returns:
            The numbers, by the key that they are logged under.
        """
        return self._evaluate_without_fit(model, dict(logs or {}))

    def resolve_from_logits(
        self, from_logits: FromLogits, outputs: Any, one_class: bool = True
    ) -> bool:
        """Whether the outputs of the model are logits, before softmax or sigmoid.

        With `"auto"` the model tells it, as `infer_from_logits` says, or else the
        outputs: they are probabilities if all are from 0 to 1. That is said once.
        Outputs that are to be logits, but look like probabilities, are warned of.

        Args:
            from_logits: What the user said: `True`, `False` or `"auto"`.
            outputs: Of shape `(batch, ..., num_classes)`, or `(batch,)`.
            one_class: Whether the classes exclude each other.

        Raises:
            ValueError: If they are to be probabilities, and are not.
        """
        told = from_logits
        if told == "auto":
            known = infer_from_logits(self.model, self.output_key)
            told = bool(known)
            if known is None:
                told = not look_like_probabilities(outputs, one_class=False)
                if self.is_logging:
                    wandb.termlog(
                        "The outputs of the model are taken for "
                        f"{'logits' if told else 'probabilities'}, as they look like "
                        "that. Pass `from_logits` if they are not.",
                        repeat=False,
                    )
        if not told:
            check_probabilities(outputs)
        elif self.is_logging and look_like_probabilities(outputs, one_class):
            self._warn_of_probabilities(outputs, one_class)
        return told

    def _warn_of_probabilities(self, outputs: Any, one_class: bool) -> None:
        several = len(np.shape(outputs)) > 1 and np.shape(outputs)[-1] > 1
        if not (one_class and several) and infer_from_logits(self.model) is True:
            return  # Logits of a linear layer may be from 0 to 1.
        wandb.termwarn(
            f"The outputs of the model are {np.nanmin(outputs):.3g} to "
            f"{np.nanmax(outputs):.3g}: they look like probabilities, but are taken "
            "for logits. If the model ends with softmax or sigmoid, pass "
            "`from_logits=False`."
        )

    def select_output(self, outputs: Any) -> Any:
        """The output that `output_key` names."""
        # Not `self.model`: on JAX, that would put the state of a step of `fit` back
        # into the model, from whatever thread, while the next step runs on it.
        return select_output(outputs, self.output_key, self._model)

    def _select_target(self, y: Any) -> Any:
        return select_target(y, self.output_key, self._model)

    @property
    def verbose(self) -> bool:
        """Whether `fit` shows what it does."""
        return bool((self.params or {}).get("verbose", 1))


def _check_from_0(name: str, value: Any) -> None:
    if not (is_integer(value) and value >= 0):
        raise ValueError(
            f"`{name}` must be an integer of 0 or more. Received: {value!r}"
        )
