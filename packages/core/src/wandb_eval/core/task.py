"""What the callbacks of all tasks share."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol

import keras
import numpy as np
import wandb

from wandb_eval.core import _wandb
from wandb_eval.core.arguments import check_positive, is_integer, is_number
from wandb_eval.core.callback import WandbEvalCallback, call
from wandb_eval.core.images import (
    Image,
    check_image,
    check_image_format,
    encode_images,
    to_images,
)
from wandb_eval.core.processes import is_alone
from wandb_eval.core.progress import Progress
from wandb_eval.core.validation_data import (
    Batch,
    Samples,
    ValidationData,
    to_numpy,
    unpack_x_y,
)

_NAME = rf"[a-zA-Z0-9_\-.]{{1,{_wandb.MAX_NAME_LENGTH}}}"  # Of an artifact.
_LOWER_IS_BETTER = re.compile(
    r"loss|error|entropy|(?<![a-z])(mae|mape|mse|msle|rmse)(?![a-z])"
)
_HIGHER_IS_BETTER = re.compile(
    r"accuracy|precision|recall"
    r"|(?<![a-z])(acc|ap|ar|auc|dice|f1|iou|io_u|map)(?![a-z])"
)


class Metrics(Protocol):
    """What is measured over all of the validation data, batch by batch."""

    def update(self, y: Any, outputs: Any) -> None:
        """Takes in one batch: targets and outputs of the model, as NumPy arrays."""

    def compute(self) -> dict[str, Any]:
        """What to log, by name: numbers, tables, charts, images."""


class WandbTaskEvalCallback(WandbEvalCallback):
    """Base class of callbacks that show fixed samples and measure all validation data.

    When training begins it draws samples of `validation_data`, which stay the same in
    all epochs. At the end of an epoch it measures all of `validation_data`, in batches,
    logs the numbers under `eval/` against `eval/epoch`, and then logs the table of
    predictions, with the aliases `latest`, `epoch_<n>`, and `best` where `monitor`
    improved; its metadata holds the epoch and the numbers. The run's summary has the
    best number and its epoch, as `eval/best_<number>` and `eval/best_epoch`: another
    callback in the run, and one in a run that resumes it online, goes on from there.

    A subclass implements `add_ground_truth` and `add_model_predictions`, with
    `self.samples`, `self.sample_images()`, `self.predict_samples()` and
    `self.add_rows(table, rows)`; and `new_metrics()`, unless there is nothing to
    measure. It may check what it gets in `check_batch` and `check_outputs`, which are
    called before the first batch of training.

    Args:
        validation_data: See `ValidationData`.
        data_table_columns: Column names of the table of ground truth.
        pred_table_columns: Column names of the tables of predictions.
        num_samples: How many samples to show. `None` for all.
        every_n_epochs: Evaluate every so many epochs, and always after the last one.
        batch_size: For predicting; data that is batched already keeps its batches.
        image_fn: Takes one sample of x and returns the image to show: a uint8 array of
            shape `(height, width)` or `(height, width, channels)`. `None`: the rules
            of `to_images`.
        image_format: `"png"`, lossless, or `"jpg"`, which is smaller and faster.
        monitor: The name of a number in the logs of `fit` (`"val_loss"`), or of one
            that is logged here (`"eval/accuracy"`), that says which version is best.
        mode: `"min"`, `"max"`, or `"auto"`: told by the name.
        seed: Seed of the draw.
        output_key: Which output, of a model that has several: a key of the dict, an
            index, or the name of an output. Of a y for several outputs, a tuple or a
            dict, it is the target likewise.
        name: Name of the data artifact. Give each of several callbacks in one `fit` its
            own: with `"test"`, the predictions are in `run_<id>_test_pred` and the
            numbers under `eval_test/`.
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
        batch_size: int = 32,
        image_fn: Callable[[Any], Any] | None = None,
        image_format: str = "png",
        monitor: str | None = None,
        mode: Literal["auto", "min", "max"] = "auto",
        seed: int = 0,
        output_key: str | int | None = None,
        name: str = "val",
        log_to_history: bool = True,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        super().__init__(
            data_table_columns,
            pred_table_columns,
            log_to_history=log_to_history,
            on_error=on_error,
        )
        if num_samples is not None:
            num_samples = check_positive("num_samples", num_samples, or_none=True)
        every_n_epochs = check_positive("every_n_epochs", every_n_epochs)
        check_image_format(image_format)
        if not (is_integer(seed) and seed >= 0):
            raise ValueError(
                f"`seed` must be an integer of 0 or more. Received: {seed!r}"
            )
        if not (
            output_key is None or isinstance(output_key, str) or is_integer(output_key)
        ):
            raise ValueError(
                "`output_key` must be a string, an integer or None. "
                f"Received: {output_key!r}"
            )
        if not isinstance(name, str) or not re.fullmatch(_NAME, name):
            raise ValueError(
                "`name` may have letters, digits, dashes, underscores and dots, 128 at "
                f"most. Received: {name!r}"
            )
        if image_fn is not None and not callable(image_fn):
            raise ValueError(f"`image_fn` must be callable. Received: {image_fn!r}")
        self.output_key = output_key
        self.validation_data = ValidationData(
            validation_data, batch_size, self.unpack_batch, self._select_target
        )
        self.num_samples = num_samples
        self.every_n_epochs = every_n_epochs
        self.batch_size = int(batch_size)
        self.image_fn = image_fn
        self.image_format = image_format
        self.monitor = monitor
        self.seed = int(seed)
        self.name = name
        self.prefix = "eval" if name == "val" else f"eval_{name}"
        self._sign = _sign(monitor, mode)
        self._best: dict[int, float] = {}
        self._best_key = f"best_{str(monitor).rpartition('/')[2]}"
        self._samples: Samples | None = None
        self._batches: Iterator[tuple[slice, Any]] = iter(())
        self._evaluated: int | None = None
        self._last: tuple[int, dict[str, Any]] | None = None

    # --- For subclasses -----------------------------------------------------------

    def unpack_batch(self, batch: Any) -> tuple[Any, Any]:
        """Gets `(x, y)` out of a batch of `validation_data`."""
        return unpack_x_y(batch)

    def check_batch(self, batch: Batch) -> None:
        """Raises a ValueError if something is wrong with a batch of validation data.

        Called with every batch, before training.
        """

    def check_outputs(self, outputs: Any) -> None:
        """Raises a ValueError if the outputs of the model can't be used.

        Args:
            outputs: What the model puts out for the first of the samples: as many as
                `predict_samples` predicts at once.
        """

    def new_metrics(self) -> Metrics | None:
        """What to measure; an object with `update(y, outputs)` and `compute()`."""
        return None

    @property
    def samples(self) -> Samples:
        """The samples that are shown. They are drawn once, when first asked for."""
        if self._samples is None:
            self._samples = self.validation_data.draw(
                self.num_samples, self.seed, self.check_batch, self._verbose
            )
        return self._samples

    def sample_arrays(self) -> list[Image]:
        """The samples as uint8 images of shape `(height, width[, 3 or 4])`."""
        if self.image_fn is None:
            return to_images(self.samples.x)
        images = []
        progress = self.progress("Calling `image_fn`", len(self.samples.x))
        for x in self.samples.x:
            images.append(check_image(self.image_fn(x)))
            progress.add()
        progress.close()
        return images

    def sample_images(self) -> list[Any]:
        """The samples as images for `data_table`; `None`s where nothing is logged."""
        images = self.sample_arrays()
        if not self._writes:
            return [None] * len(images)
        progress = self.progress("Encoding images", len(images))
        encoded = encode_images(
            images, self.data_folder, self.image_format, progress.add
        )
        progress.close()
        return encoded

    def predict(self, x: Any) -> Any:
        """The outputs of the model for a batch of inputs, as NumPy arrays."""
        strategy = getattr(self.model, "distribute_strategy", None)
        replicas = getattr(strategy, "num_replicas_in_sync", 1)
        own_step = type(self.model).predict_step is not keras.Model.predict_step
        if replicas > 1 or own_step:
            # `predict_on_batch` would have every replica predict the whole batch, and
            # hands `(x,)` to `predict_step` where `predict` hands x: KerasHub's object
            # detectors fail on that.
            size = len(keras.tree.flatten(x)[0])
            outputs = self.model.predict(x, batch_size=size, verbose=0)
        else:
            outputs = self.model.predict_on_batch(x)
        return keras.tree.map_structure(to_numpy, self._select_output(outputs))

    def predict_samples(self) -> Iterator[tuple[slice, Any]]:
        """Predicts the samples in batches.

        Yields:
            Which samples, as a slice of `self.samples`, and the outputs for them.
        """
        self._batches = iter(self.samples.batches(self.batch_size))
        progress = self.progress("Predicting samples", len(self.samples.x))
        for part, x in self._batches:
            yield part, self.predict(x)
            progress.add(part.stop - part.start)
        progress.close()

    def progress(self, what: str, total: int | None) -> Progress:
        """A progress bar, for work that may take a while; none if `fit` is silent.

        Args:
            what: What is being done.
            total: How many steps there are, or `None`.
        """
        return Progress(what, total, self._verbose)

    def warn_of_probabilities(self, outputs: Any, one_class: bool = True) -> None:
        """Warns if outputs that are to be logits look like probabilities.

        They do if all are from 0 to 1 and, where they are of several classes of which
        one is right, have the sum 1; unless the last layer is known to be linear.

        Args:
            outputs: Of shape `(batch, ..., num_classes)`, or `(batch,)`.
            one_class: Whether the classes exclude each other.
        """
        if not self._writes:
            return
        scores = to_numpy(outputs).astype(np.float32)
        scores = scores[:, None] if scores.ndim == 1 else scores
        finite = scores[np.isfinite(scores).all(axis=-1)]
        low, high = finite.min(initial=np.inf), finite.max(initial=-np.inf)
        if not (low >= 0 and 0 < high <= 1):
            return
        if one_class and finite.shape[-1] > 1:
            if (np.abs(finite.sum(axis=-1) - 1) > 0.02).any():
                return
        elif self.output_key is None and _is_linear(self.model):
            return
        wandb.termwarn(
            f"The outputs of the model are {low:.3g} to {high:.3g}: they look like "
            "probabilities, but are taken for logits. If the model ends with softmax "
            "or sigmoid, pass `from_logits=False`."
        )

    def add_rows(self, table: wandb.Table, rows: Sequence[Sequence[Any]]) -> None:
        """Adds rows to a table: faster than its `add_data` row by row."""
        _wandb.add_rows(table, rows)

    # --- Hooks --------------------------------------------------------------------

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Draws the samples, checks data and outputs, and logs the ground truth."""
        self._evaluated = self._last = None
        self._take_run()
        if not self._skips:
            _, outputs = next(self.predict_samples())
            self.check_outputs(outputs)
        super().on_train_begin(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Evaluates the model, if it is time to."""
        self._last = epoch, dict(logs or {})
        is_last = self.model.stop_training or epoch + 1 == (self.params or {}).get(
            "epochs"
        )
        if is_last or (epoch + 1) % self.every_n_epochs == 0:
            self._evaluate(epoch, self._last[1])

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Evaluates the model, if training ended early and that was not known yet."""
        if self._last is not None and self._last[0] != self._evaluated:
            self._evaluate(*self._last)
        super().on_train_end(logs)

    def log_data_table(
        self,
        name: str | None = None,
        type: str = "dataset",
        table_name: str = "val_data",
    ) -> None:
        """Logs `data_table`, in the artifact that the constructor's `name` names."""
        super().log_data_table(name or self.name, type, table_name)

    def log_pred_table(
        self,
        type: str = "evaluation",
        table_name: str = "eval_data",
        aliases: list[str] | None = None,
        *,
        name: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Logs `pred_table`; unless `self.name` is `"val"`, it is in the name, too."""
        if name is None and self.name != "val" and self._run is not None:
            name = _wandb.artifact_name(f"run_{self._run.id}_{self.name}_pred")
        super().log_pred_table(type, table_name, aliases, name=name, metadata=metadata)

    def _evaluate(self, epoch: int, logs: dict[str, Any]) -> None:
        self._evaluated = self._epoch = epoch
        if self._skips:
            return
        results = self._measure()
        with self._reported("The metrics could not be logged"):
            self.log_metrics(results, epoch)
        if not self._writes:
            for _ in self.predict_samples():  # Predicting may be collective.
                pass
            return
        numbers = {key: value for key, value in results.items() if is_number(value)}
        aliases = ["latest", f"epoch_{epoch}"]
        value = self._monitored({**logs, **numbers})
        if value > max(list(self._best.values()), default=-math.inf):
            aliases.append("best")
            self._best[epoch] = value
        self.init_pred_table(self.pred_table_columns)
        self._batches = iter(self.samples.batches(self.batch_size))
        with self._version() as failures:
            self._ensure_ground_truth()
            call(self.add_model_predictions, epoch, logs=logs)
            self.log_pred_table(aliases=aliases, metadata={"epoch": epoch, **numbers})
        if epoch in self._best:
            self._say_what_is_best()
        if failures and not is_alone():  # The others predict all of the samples.
            for _, x in self._batches:
                self.predict(x)

    def _take_run(self) -> None:
        before = self._began
        super()._take_run()
        if self._began is not before:
            epoch, value = self._recall("best_epoch"), self._recall(self._best_key)
            known = is_integer(epoch) and is_number(value)
            self._best = {epoch: self._sign * value} if known else {}

    def _mark_missing(
        self, run: wandb.Run | None, epoch: int, missing: bool = True
    ) -> None:
        super()._mark_missing(run, epoch, missing)
        if missing and run is self._run and self._best.pop(epoch, None) is not None:
            self._say_what_is_best()

    def _say_what_is_best(self) -> None:
        """Writes it to the run's summary, also for a run that resumes this one."""
        best = max(
            list(self._best.items()), key=lambda item: item[1], default=(None, None)
        )
        epoch, value = best
        with contextlib.suppress(Exception):
            assert self._run is not None
            self._run.summary[f"{self.prefix}/best_epoch"] = epoch
            self._run.summary[f"{self.prefix}/{self._best_key}"] = (
                None if value is None else self._sign * value
            )

    def _measure(self) -> dict[str, Any]:
        metrics = self.new_metrics()
        if metrics is None:
            return {}
        progress = self.progress(
            "Evaluating validation_data", self.validation_data.num_batches
        )
        for batch in self.validation_data:
            metrics.update(batch.y, self.predict(batch.x))
            progress.add()
        progress.close()
        return {
            f"{self.prefix}/{key}": _number(value)
            for key, value in metrics.compute().items()
        }

    def _monitored(self, numbers: dict[str, Any]) -> float:
        """What says how good a version is: the more, the better."""
        if self.monitor is None:
            return -math.inf
        if self.monitor not in numbers:
            wandb.termwarn(
                f"`monitor` names {self.monitor!r}, which is not among what was "
                f"measured: {', '.join(sorted(numbers))}. No version is the best one.",
                repeat=False,
            )
            return -math.inf
        return self._sign * float(numbers[self.monitor])

    def _select_target(self, y: Any) -> Any:
        by_name = isinstance(y, tuple) and isinstance(self.output_key, str)
        if by_name and self.model is None:
            raise ValueError(
                f"`output_key` is {self.output_key!r}, but y of `validation_data` is "
                f"{len(y)} targets without names. Pass an index, or make y a dict."
            )
        several = isinstance(y, tuple) or (isinstance(y, dict) and self.output_key in y)
        return self._select_output(y) if several else y

    def _select_output(self, outputs: Any) -> Any:
        key = self.output_key
        if key is None:
            return outputs
        names = list(getattr(self.model, "output_names", []))
        if hasattr(outputs, "shape"):
            if key in (0, -1) or [key] == names:
                return outputs
            raise ValueError(
                f"`output_key` is {key!r}, but the model has a single output. Leave it "
                "out."
            )
        if isinstance(outputs, (list, tuple)) and key in names:
            key = names.index(key)
        try:
            return outputs[key]
        except (KeyError, IndexError, TypeError) as error:
            found = list(outputs) if isinstance(outputs, dict) else names
            raise ValueError(
                f"`output_key` is {self.output_key!r}, but the model has the outputs "
                f"{found}."
            ) from error

    @property
    def _verbose(self) -> bool:
        return bool((self.params or {}).get("verbose", 1))


def _number(value: Any) -> Any:
    """A number of any framework as Python's own; anything else as it is."""
    if getattr(value, "shape", None) == ():
        return to_numpy(value).item()
    return value


def _is_linear(model: Any) -> bool:
    layers = getattr(model, "layers", None)
    last = getattr(layers[-1], "activation", None) if layers else None
    return last is keras.activations.linear


def _sign(monitor: str | None, mode: str) -> float:
    """1 if more of `monitor` is better, -1 if less."""
    if not isinstance(mode, str) or mode not in ("auto", "min", "max"):
        raise ValueError(f"`mode` must be 'auto', 'min' or 'max'. Received: {mode!r}")
    if monitor is not None and not isinstance(monitor, str):
        raise ValueError(f"`monitor` must be a string or None. Received: {monitor!r}")
    if monitor is None or mode != "auto":
        return -1.0 if mode == "min" else 1.0
    name = monitor.rpartition("/")[2].lower()
    if _LOWER_IS_BETTER.search(name):
        return -1.0
    if _HIGHER_IS_BETTER.search(name):
        return 1.0
    raise ValueError(
        f"`mode='auto'` can't tell whether more of {monitor!r} is better or less. Pass "
        "`mode='min'` or `mode='max'`."
    )
