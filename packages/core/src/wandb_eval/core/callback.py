"""The abstract base class of all callbacks of this project."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import wandb

from wandb_eval.core._wandb.files import Folder, WriteError
from wandb_eval.core._wandb.tables import add_rows, reference_table
from wandb_eval.core.arguments import check_bool
from wandb_eval.core.copies import CopiedCallback
from wandb_eval.core.processes import is_alone
from wandb_eval.core.run_log import RunLog


class WandbEvalCallback(CopiedCallback, abc.ABC):
    """Abstract base class of Keras callbacks that log a model's predictions.

    A subclass implements `add_ground_truth` and `add_model_predictions`. When training
    begins, it logs the ground truth once, as a table in the artifact `val`. At the end
    of each epoch, it logs the predictions, as a new version of `run_<id>_pred`. Images
    (and other media) that the prediction table takes from `data_table_ref` are
    references to those of the first table: they are uploaded once for all epochs, and
    never downloaded.

    It has the names, arguments and defaults of
    `wandb.integration.keras.WandbEvalCallback`, and can replace it. Unlike that class,
    it works on every Keras backend and in every W&B mode. Offline, it records the same
    tables for `wandb sync`, and each image is uploaded at most twice. With W&B
    disabled, nothing is written, and neither method of the subclass is called, unless
    `data_table_ref` is read.

    A failure to log (a full disk, say) does not end the training. It is reported once
    per epoch, with `wandb.termwarn` and Python's `logging`, and the run's summary lists
    the epochs without a version as `eval/missing_versions`. Exceptions in the
    subclass's own methods are raised.

    The keys of the history and the summary begin with `self.prefix`, which is `"eval"`.
    If several callbacks log to one run, set a different prefix at the end of each
    constructor, and pass other names to `log_data_table` and `log_pred_table`.

    If several processes train one model, the first one logs. The others need no run,
    but call the methods of the subclass, too: predicting may be collective.

    Args:
        data_table_columns: Column names of the table of ground truth.
        pred_table_columns: Column names of the tables of predictions.
        run: The run to log to. `None` for the run that is active when training begins.
            Runs of `wandb.init(reinit="create_new")` are never active.
        log_to_history: Whether to log the prediction table to the run's history, too,
            under `eval/predictions`, so that the run's page shows it. Its media are
            those of the artifact, and are not sent again.
        on_error: `"warn"` to report a failure to log, or `"raise"` to raise it.
        *args, **kwargs: Passed on to `keras.callbacks.Callback`.

    Raises:
        wandb.Error: If there is no active run.
        TypeError: If an abstract method is not implemented.

    Example:

    ```python
    class WandbClfEvalCallback(WandbEvalCallback):
        def __init__(self, validation_data, data_table_columns, pred_table_columns):
            super().__init__(data_table_columns, pred_table_columns)
            self.x, self.y = validation_data

        def add_ground_truth(self, logs=None):
            for idx, (image, label) in enumerate(zip(self.x, self.y)):
                self.data_table.add_data(idx, wandb.Image(image), label)

        def add_model_predictions(self, epoch, logs=None):
            preds = self.model.predict(self.x, verbose=0).argmax(axis=-1)
            for idx in self.data_table_ref.get_index():
                row = self.data_table_ref.data[idx]
                self.pred_table.add_data(epoch, *row, preds[idx])
    ```
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> WandbEvalCallback:
        """Checks that the subclass implements the abstract methods."""
        _check_implemented(cls)
        instance: WandbEvalCallback = super().__new__(cls)
        return instance

    def __init__(
        self,
        data_table_columns: list[str],
        pred_table_columns: list[str],
        *args: Any,
        run: wandb.Run | None = None,
        log_to_history: bool = True,
        on_error: Literal["warn", "raise"] = "warn",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        _check_arguments(run, log_to_history, on_error)
        self.data_table_columns = data_table_columns
        self.pred_table_columns = pred_table_columns
        self.log_to_history = log_to_history
        self.on_error = on_error
        self.prefix = "eval"
        self.reset_state()
        self.run_log.set_run(run)

    def reset_state(self) -> None:
        """Resets the state of a run and of a training, which copies do not share."""
        super().reset_state()
        self.run_log = RunLog(self)
        self._lacks_ground_truth = False
        self._reference: wandb.Table | None = None

    def _take_over(self, original: WandbEvalCallback) -> None:
        self.run_log.given = original.run_log.given

    def check_begun(self) -> None:
        """Checks that a training loop has called the first hook.

        Raises:
            RuntimeError: If no loop has called it.
        """
        if getattr(self, "data_table", None) is None:
            raise RuntimeError(
                f"{type(self).__name__} was used before its `on_train_begin` was "
                "called. `model.fit` calls it. In a training loop of your own, call "
                "`callbacks.on_train_begin()` once before the first epoch, where "
                "`callbacks` is `keras.callbacks.CallbackList([...], model=model)`."
            )

    @property
    def is_logging(self) -> bool:
        """Whether this process logs: `False` if W&B is disabled."""
        return self.run_log.writes

    def bind_run(self) -> None:
        """Binds the callback to the run that is active now.

        Raises:
            wandb.Error: If there is no active run.
        """
        if self.run_log.bind_run():
            self.on_run_begin()

    def on_run_begin(self) -> None:
        """Called when the callback begins to log to another run."""

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Logs the ground truth, once."""
        self.bind_run()
        self.run_log.close_row()  # An interrupted training may have left it.
        self.run_log.epoch = 0
        self.run_log.failures.rearm()
        self._log_ground_truth(logs)
        self.init_pred_table(column_names=self.pred_table_columns)
        self.run_log.failures.rearm()  # A failure in the first epoch is shown, too.

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Sets the epoch, and closes the history row of the previous one."""
        self.run_log.epoch = epoch
        self.run_log.close_row()

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Closes a row of the history that is still open.

        It may be the row of an evaluation within the epoch, or that of the previous
        epoch, if a subclass or a loop leaves out `on_epoch_begin`.
        """
        super().on_train_batch_begin(batch, logs)
        self.run_log.close_row()

    def _log_ground_truth(self, logs: dict[str, float] | None = None) -> None:
        self.run_log.begin_ground_truth()
        self._reference, self._lacks_ground_truth = None, True
        self.init_data_table(column_names=self.data_table_columns)
        what = "The ground truth could not be written"
        with self.run_log.failures.tolerate(what, WriteError) as failures:
            if not self.run_log.skips:
                _call_with_logs(self.add_ground_truth, logs=logs)
            self._lacks_ground_truth = False  # A subclass may log it itself.
            self.log_data_table()
        if failures:
            self.run_log.folders.discard()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Logs the predictions, as a new version."""
        self.run_log.epoch = epoch
        self.init_pred_table(column_names=self.pred_table_columns)
        with self.run_log.version():
            try:
                self.ensure_ground_truth()
            except WriteError:
                if not is_alone():  # The others wait for this process.
                    what = "The predictions failed for it"
                    with self.run_log.failures.tolerate(what):
                        self.call_add_model_predictions(epoch, logs)
                raise
            if not self.run_log.skips:
                self.call_add_model_predictions(epoch, logs)
            self.log_pred_table()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Closes the last row of the history, and reports failed uploads."""
        self.run_log.close_row()
        self.run_log.wait_for_uploads()

    def ensure_ground_truth(self) -> None:
        """Logs the ground truth again if it is missing or incomplete.

        Raises:
            WriteError: If the ground truth could not be written.
        """
        is_gone = self.run_log.ground_truth_is_gone()
        if is_gone or self._lacks_ground_truth:  # Tries again.
            self._log_ground_truth()
        if is_gone:
            self.run_log.mark_what_is_gone()
        if self._lacks_ground_truth:
            raise WriteError("the ground truth could not be written")

    @abc.abstractmethod
    def add_ground_truth(self, logs: dict[str, float] | None = None) -> None:
        """Adds the ground truth to `data_table`. It is called when training begins.

        Args:
            logs: The logs that Keras passes to `on_train_begin`. An override may omit
                this argument.
        """

    @abc.abstractmethod
    def add_model_predictions(
        self, epoch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Adds the predictions to `pred_table`. It is called when an epoch ends.

        Args:
            epoch: The epoch, from 0.
            logs: The logs that Keras passes to `on_epoch_end`. An override may omit
                this argument.
        """

    def call_add_model_predictions(
        self, epoch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Calls `add_model_predictions`, with `logs` if the override takes them."""
        _call_with_logs(self.add_model_predictions, epoch, logs=logs)

    def init_data_table(self, column_names: list[str]) -> None:
        """Makes an empty `data_table`, to which rows are added next.

        Args:
            column_names: The column names.
        """
        columns: list[str | int] = list(column_names)
        self.data_table = wandb.Table(columns=columns, allow_mixed_types=True)
        self.run_log.folders.leave(data=True)

    def init_pred_table(self, column_names: list[str]) -> None:
        """Makes an empty `pred_table`, to which rows are added next.

        Args:
            column_names: The column names.
        """
        columns: list[str | int] = list(column_names)
        self.pred_table = wandb.Table(columns=columns)
        self.run_log.folders.leave(version=True)

    def add_rows(self, table: wandb.Table, rows: Sequence[Sequence[Any]]) -> None:
        """Adds rows to a table: faster than its `add_data` for each row."""
        add_rows(table, rows)

    @property
    def data_table_ref(self) -> wandb.Table:
        """The table of ground truth, to take cells from for the prediction table.

        `get_index()` returns the row numbers, and `data[row][column]` is a cell. Media
        in it are references: they are neither downloaded nor uploaded again, even if
        you add layers, as in `wandb.Image(cell, masks=...)`.

        Your own `log_data_table` may assign another table to it.

        Raises:
            RuntimeError: If there is no table yet, because `on_train_begin` was not
                called.
        """
        if self._reference is None:
            self.check_begun()
            if self.run_log.skips and not self.data_table.data:
                _call_with_logs(self.add_ground_truth, logs=None)
            self._reference = reference_table(self.data_table, {})
        return self._reference

    @data_table_ref.setter
    def data_table_ref(self, table: wandb.Table | None) -> None:
        self._reference = table

    def log_data_table(
        self,
        name: str = "val",
        type: str = "dataset",
        table_name: str = "val_data",
        *,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Logs `data_table` as an artifact, and marks it as used by the run.

        Args:
            name: The name of the artifact.
            type: The type of the artifact.
            table_name: The name of the table in the artifact.
            metadata: The metadata of the artifact.
        """
        if wandb.run is not None or self.run_log.given is not None:
            self.bind_run()
        self._reference, self._lacks_ground_truth = None, False
        if self.is_logging:
            self._reference = self.run_log.log_ground_truth(
                self.data_table, name, type, table_name, metadata
            )
            self._lacks_ground_truth = self._reference is None

    def log_pred_table(
        self,
        type: str = "evaluation",
        table_name: str = "eval_data",
        aliases: list[str] | None = None,
        *,
        name: str | None = None,
        metadata: dict[str, Any] | None = None,
        more_tables: dict[str, wandb.Table] | None = None,
        in_history: Collection[str] = (),
    ) -> None:
        """Logs `pred_table` as a new version of an artifact, and to the run's history.

        Args:
            type: The type of the artifact.
            table_name: The name of the table in the artifact.
            aliases: Aliases of the version. `None` means `["latest"]`.
            name: The name of the artifact. `None` means `run_<id>_pred`.
            metadata: The metadata of the version.
            more_tables: Other tables of the version, by name.
            in_history: The names of those that also go to the history, under
                `eval/<name>`.
        """
        if not self.is_logging:
            return
        more = more_tables or {}
        tables = {table_name: self.pred_table, **more}
        version = self.run_log.log_version(tables, type, aliases, name, metadata)
        if version.is_logged and self.log_to_history:
            shown = {name: more[name] for name in more if name in in_history}
            self.run_log.log_table_cells({"predictions": self.pred_table, **shown})

    def log_metrics(self, metrics: dict[str, Any], epoch: int) -> None:
        """Logs values to the run's history, against the epoch.

        The epoch is logged as a value, `eval/epoch`, which is the step metric of these
        keys. The values join the open row of the history, if it is of the same epoch
        and has none of these keys from our callbacks.

        Args:
            metrics: The values to log: scalars, media, charts. Their keys should begin
                with `self.prefix` and a slash, as in `eval/`.
            epoch: The epoch, from 0.
        """
        self.run_log.log_values(metrics, epoch)

    @property
    def data_folder(self) -> Folder:
        """The folder for media of `data_table`. Use it only if `is_logging`."""
        return self.run_log.folders.data

    @property
    def prediction_folder(self) -> Folder:
        """The folder for media of `pred_table`. Use it only if `is_logging`."""
        return self.run_log.folders.version


def _check_implemented(cls: type[WandbEvalCallback]) -> None:
    missing = sorted(cls.__abstractmethods__)
    if missing:
        raise TypeError(
            f"{cls.__name__} must implement {' and '.join(missing)}: "
            "`add_ground_truth(self, logs=None)` adds rows to `self.data_table`, "
            "`add_model_predictions(self, epoch, logs=None)` to `self.pred_table`."
        )


def _check_arguments(run: Any, log_to_history: Any, on_error: Any) -> None:
    if run is not None and not isinstance(run, wandb.Run):
        raise ValueError(
            "`run` must be a run, as `wandb.init()` returns it, or None. "
            f"Received: {run!r:.200}"
        )
    if not isinstance(on_error, str) or on_error not in ("warn", "raise"):
        raise ValueError(
            f"`on_error` must be 'warn' or 'raise'. Received: {on_error!r}"
        )
    check_bool("log_to_history", log_to_history)


def _call_with_logs(method: Callable[..., Any], *args: Any, logs: Any) -> None:
    """Calls a method with or without `logs`: W&B documents both signatures."""
    try:
        inspect.signature(method).bind(*args, logs)
    except TypeError:
        method(*args)
    else:
        method(*args, logs)
