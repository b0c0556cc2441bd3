"""The abstract base class of all callbacks of this project."""

from __future__ import annotations

import abc
import contextlib
import copy
import inspect
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, Literal

import keras
import wandb

from wandb_eval.core import _wandb
from wandb_eval.core.arguments import check_bool
from wandb_eval.core.processes import is_alone, is_chief

logger = logging.getLogger(__name__)

_NOT_LOGGED = "The predictions of epoch {} could not be logged"


class WandbEvalCallback(keras.callbacks.Callback, abc.ABC):  # type: ignore[misc]
    """Abstract base class to build Keras callbacks that show what a model predicts.

    A subclass implements `add_ground_truth` and `add_model_predictions`; the rest
    happens here. When training begins, the ground truth is logged once, as a table in
    the artifact `val`. At the end of each epoch the predictions are logged as a new
    version of the artifact `run_<id>_pred`. Images (and any other media) that the
    prediction table takes from `data_table_ref` are references to those of the first
    table: they are uploaded once, however many epochs follow, and never downloaded.

    It has the names, arguments and defaults of
    `wandb.integration.keras.WandbEvalCallback`, and can be put in its place. Unlike
    that class it works in every W&B mode and on every Keras backend:

    - online, the data artifact is marked as used by the run; training does not wait for
      its upload until the first predictions are logged.
    - offline, the same tables are recorded for `wandb sync`. Each image is uploaded at
      most twice: with the ground truth, and with the first predictions.
    - disabled, nothing is written and neither method of the subclass is called, unless
      `data_table_ref` is read.

    What fails while training runs (a full disk, a run that was finished, an upload that
    W&B gives up) does not end the training: it is reported once an epoch, with
    `wandb.termwarn` and Python's `logging`, and the epochs whose version is missing are
    listed in the run's summary as `eval/missing_versions`. Exceptions in the subclass's
    own methods are raised.

    The keys of the history and the summary begin with `self.prefix`, `"eval"`. If
    several callbacks log to one run, give each its own at the end of its constructor,
    as its tables have names of their own.

    Of several processes that train one model, the first one logs. The others call the
    methods of the subclass, because predicting may be collective, and need no run.

    Args:
        data_table_columns: Column names of the table of ground truth.
        pred_table_columns: Column names of the tables of predictions.
        run: The run to log to. `None`: the one that is active when training begins;
            with `wandb.init(reinit="create_new")` there is none.
        log_to_history: Whether the prediction table is also logged to the run's
            history, under `eval/predictions`, so that the run's page shows it. Its
            media are those of the artifact, not sent again.
        on_error: `"warn"` or `"raise"`: what happens when something that was to be
            logged can't be.
        *args: Passed on to `keras.callbacks.Callback`.
        **kwargs: Passed on to `keras.callbacks.Callback`.

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

    # How long to wait for the ground truth to be committed before a version gets copies
    # of its media, and for the last versions when training ends, in seconds.
    _patience = 120.0
    _patience_at_end = 10.0

    _run: wandb.Run | None
    _given_run: wandb.Run | None

    def __new__(cls, *args: Any, **kwargs: Any) -> WandbEvalCallback:
        """Says which methods a subclass must have, when one is missing."""
        missing = sorted(cls.__abstractmethods__)
        if missing:
            raise TypeError(
                f"{cls.__name__} must implement {' and '.join(missing)}: "
                "`add_ground_truth(self, logs=None)` adds rows to `self.data_table`, "
                "`add_model_predictions(self, epoch, logs=None)` to `self.pred_table`."
            )
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
        self.data_table_columns = data_table_columns
        self.pred_table_columns = pred_table_columns
        self.log_to_history = log_to_history
        self.on_error = on_error
        self.prefix = "eval"
        self._reset()
        self._given_run = run
        self._run = self._current_run()

    def _reset(self) -> None:
        """Sets up what belongs to a run and a training, and not to a copy."""
        self._epoch = 0
        self._missing: list[int] = []
        self._missing_lock = threading.Lock()
        self._recorded: list[tuple[int, list[str]]] = []
        self._uploads: list[_wandb.Upload] = []
        self._warned_in: int | None = None
        self._lacks_ground_truth = False
        self._ground_truths: list[_wandb.GroundTruth] = []
        self._reference: wandb.Table | None = None
        self._library = _wandb.MediaLibrary()
        self._media_folder: _wandb.Folder | None = None
        self._version_folder: _wandb.Folder | None = None
        self._defined: set[str] = set()
        self._open_row: dict[str, Any] | None = None
        self._run = self._given_run = None
        self._began: wandb.Run | None = None
        self._model: Any = None  # Keras' own, as the next one.
        self.params: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: arguments, and what a subclass has set; no run, no model."""
        blank = object.__new__(type(self))
        blank._reset()
        left_out = {*vars(blank), "data_table", "pred_table"}
        return {k: v for k, v in vars(self).items() if k not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Makes a copy that logs to the run that is active when it is used."""
        self._reset()
        self.__dict__.update(state)

    def __deepcopy__(self, memo: dict[int, Any]) -> WandbEvalCallback:
        """A copy, as KerasTuner makes for each trial: it keeps the run it was given."""
        made: WandbEvalCallback = type(self).__new__(type(self))
        memo[id(self)] = made
        made.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        made._given_run = self._given_run
        return made

    def _current_run(self) -> wandb.Run | None:
        run = wandb.run if self._given_run is None else self._given_run
        if run is None and is_chief():
            raise wandb.Error(
                "You must call `wandb.init()` first before using this callback "
                f"({type(self).__name__}), or pass `run=`, the run to log to."
            )
        return run

    def _take_run(self) -> None:
        """Logs to the run that is active now."""
        run = self._run = self._current_run()
        if run is self._began:
            return
        missing = list(self._recall("missing_versions") or [])
        with self._missing_lock:
            self._began, self._missing = run, missing
        self._defined = set()
        self._library = _wandb.MediaLibrary()
        self._ground_truths, self._recorded = [], []
        if run is not None and not run.disabled and not is_chief():
            wandb.termlog(
                f"{type(self).__name__}: this is not the first of the processes that "
                "train the model, and logs nothing."
            )

    def _recall(self, key: str) -> Any:
        """What the run's summary has of us: from another callback, or a resumed run."""
        with contextlib.suppress(Exception):
            if self._writes and self._run is not None:
                summary: Any = self._run.summary
                return summary.get(f"{self.prefix}/{key}")
        return None

    @property
    def _writes(self) -> bool:
        """Whether this process logs anything at all."""
        return self._run is not None and not self._run.disabled and is_chief()

    @property
    def _skips(self) -> bool:
        """Whether W&B is disabled, and predictions would be for nobody.

        Never with other processes, which may wait for this one to predict with them.
        """
        return self._run is not None and bool(self._run.disabled) and is_alone()

    # --- Hooks --------------------------------------------------------------------

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Logs the ground truth, once."""
        self._take_run()
        self._epoch, self._warned_in = 0, None
        self.init_pred_table(column_names=self.pred_table_columns)
        self._log_ground_truth(logs)
        self._warned_in = None  # What fails in the first epoch is to be said, too.

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Notes which epoch it is."""
        self._epoch = epoch

    def _log_ground_truth(self, logs: dict[str, float] | None = None) -> None:
        self._ground_truths, self._reference = [], None
        self._lacks_ground_truth = True
        self.init_data_table(column_names=self.data_table_columns)
        what = "The ground truth could not be written"
        with self._reported(what, _wandb.WriteError) as failures:
            if not self._skips:
                call(self.add_ground_truth, logs=logs)
            self.log_data_table()
        if failures:
            self._discard_files()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Logs the predictions, as a new version."""
        self._epoch = epoch
        self.init_pred_table(column_names=self.pred_table_columns)
        with self._version():
            try:
                self._ensure_ground_truth()
            except _wandb.WriteError:
                if not is_alone():  # The others wait for this one to predict with them.
                    with self._reported("The predictions failed for it"):
                        call(self.add_model_predictions, epoch, logs=logs)
                raise
            if not self._skips:
                call(self.add_model_predictions, epoch, logs=logs)
            self.log_pred_table()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Reports what became of the last versions, if it is known soon."""
        deadline = time.monotonic() + self._patience_at_end
        for upload in self._uploads:
            upload.done.wait(max(0.0, deadline - time.monotonic()))
        self._raise_given_up()
        under_way = [item.what for item in self._uploads if not item.done.is_set()]
        if under_way:
            wandb.termlog(
                f"{type(self).__name__}: these are still being uploaded: "
                f"{', '.join(dict.fromkeys(under_way))}. `wandb.finish()` waits for "
                "them."
            )
        self._uploads = []
        if self._writes and self._run is not None and _wandb.offline(self._run):
            wandb.termlog(
                "To send this run later, also from another folder or machine: python "
                f"-m wandb_eval.core.sync {self._run.settings.sync_dir}",
                repeat=False,
            )

    def _ensure_ground_truth(self) -> None:
        with self._reported("Files that were to be uploaded are gone") as failures:
            for truth in self._ground_truths:
                truth.check_files()
        if failures or self._lacks_ground_truth:  # It could not be written: try again.
            self._log_ground_truth()
        if failures:
            self._mark_what_is_gone()
        if self._lacks_ground_truth:
            raise _wandb.WriteError("the ground truth could not be written")

    @abc.abstractmethod
    def add_ground_truth(self, logs: dict[str, float] | None = None) -> None:
        """Adds the ground truth to `data_table`. Called once, when training begins.

        Args:
            logs: What Keras passes to `on_train_begin`. May be left out.

        Example:

        ```python
        def add_ground_truth(self, logs=None):
            for idx, (image, label) in enumerate(zip(self.x, self.y)):
                self.data_table.add_data(idx, wandb.Image(image), label)
        ```
        """

    @abc.abstractmethod
    def add_model_predictions(
        self, epoch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Adds the model's predictions to `pred_table`. Called when an epoch ends.

        Args:
            epoch: The epoch, from 0.
            logs: What Keras passes to `on_epoch_end`. May be left out.

        Example:

        ```python
        def add_model_predictions(self, epoch, logs=None):
            preds = self.model.predict(self.x, verbose=0)
            for row, pred in zip(self.data_table_ref.data, preds):
                self.pred_table.add_data(epoch, *row, pred.argmax())
        ```
        """

    # --- Tables -------------------------------------------------------------------

    def init_data_table(self, column_names: list[str]) -> None:
        """Makes an empty `data_table`. Rows are added to it next.

        Args:
            column_names: Its column names.
        """
        columns: list[str | int] = list(column_names)
        self.data_table = wandb.Table(columns=columns, allow_mixed_types=True)
        self._media_folder = None

    def init_pred_table(self, column_names: list[str]) -> None:
        """Makes an empty `pred_table`. Rows are added to it next.

        Args:
            column_names: Its column names.
        """
        columns: list[str | int] = list(column_names)
        self.pred_table = wandb.Table(columns=columns)
        self._version_folder = None

    @property
    def data_table_ref(self) -> wandb.Table:
        """The table of ground truth, to take cells from for the prediction table.

        `get_index()` gives the row numbers, `data[row][column]` a cell. Media in it
        are references: nothing was downloaded, and nothing is uploaded again, also
        when one is given layers, as in `wandb.Image(cell, masks=...)`.
        """
        if self._reference is None:
            if self._skips and not self.data_table.data:
                call(self.add_ground_truth, logs=None)
            self._reference = _wandb.reference_table(self.data_table)
        return self._reference

    def log_data_table(
        self, name: str = "val", type: str = "dataset", table_name: str = "val_data"
    ) -> None:
        """Logs `data_table` as an artifact, and marks it as used by the run.

        Args:
            name: The name of the artifact.
            type: The type of the artifact.
            table_name: The name of the table in the artifact.
        """
        if wandb.run is not None or self._given_run is not None:
            self._take_run()
        self._reference = None
        self._lacks_ground_truth = False
        if not self._writes:
            return
        with self._reported(f"The artifact '{name}' could not be logged") as failures:
            artifact = _wandb.EvalArtifact(name, type, self.data_folder)
            entry = artifact.add_table(self.data_table, table_name)
            upload = self._log_artifact(artifact, "the ground truth", use=True)
            truth = _wandb.GroundTruth(artifact, self.data_table, entry, upload)
            self._media_folder = None  # Its files are wandb-core's now.
            self._ground_truths.append(truth)
            self._reference = truth.table
        if failures:
            self._lacks_ground_truth = True
            self._discard_files()

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
            name: The name of the artifact. `None` means `run_<id>_pred`, without what
                the id may have but not the name of an artifact, such as a space.
            metadata: The metadata of the version.
            more_tables: Other tables of the version, by name.
            in_history: Which of these go to the history, too, under `eval/<name>`.
        """
        if not self._writes:
            return
        assert self._run is not None
        self._raise_given_up()
        with self._version(Exception) as failures:
            name = name or _wandb.artifact_name(f"run_{self._run.id}_pred")
            folder = self.prediction_folder
            known: dict[str, Any] = {}
            known_tables: dict[int, Any] = {}
            for truth in self._ground_truths:
                truth.settle(self._patience)
                known |= truth.media
                known_tables[id(truth.table)] = truth.table_entry
            artifact = _wandb.EvalArtifact(
                name,
                type,
                folder,
                known=known,
                known_tables=known_tables,
                library=self._library.entries(),
                metadata=metadata,
            )
            tables = more_tables or {}
            artifact.add_table(self.pred_table, table_name)
            for table, one in tables.items():
                artifact.add_table(one, table)
            run, epoch = self._run, self._epoch
            self._mark_missing(run, epoch, missing=False)
            upload = self._log_artifact(
                artifact,
                f"the predictions of epoch {epoch}",
                aliases,
                lambda: self._mark_missing(run, epoch),
            )
            if upload is None:
                self._recorded.append((epoch, list(folder.files)))
            artifact.release()
            # Their files are wandb-core's now.
            self._version_folder = self._media_folder = None
        if not failures and self.log_to_history:
            with self._reported("The predictions are not in the run's history"):
                shown = {"predictions": self.pred_table}
                shown |= {k: v for k, v in tables.items() if k in in_history}
                cells = {
                    f"{self.prefix}/{key}": _wandb.table_cell(
                        self._run, table, f"{self.prefix}/{key}"
                    )
                    for key, table in shown.items()
                }
                self._log_values(cells, self._epoch)

    def _log_artifact(
        self,
        artifact: _wandb.EvalArtifact,
        what: str,
        aliases: list[str] | None = None,
        given_up: Callable[[], None] = lambda: None,
        *,
        use: bool = False,
    ) -> _wandb.Upload | None:
        """Logs an artifact. If W&B gives it up, that is reported, from a thread."""
        assert self._run is not None

        def report(error: _wandb.UploadError) -> None:
            subject = what[0].upper() + what[1:]
            self._report(f"{subject} could not be logged: {_describe(error)}", error)
            given_up()

        upload = _wandb.log_artifact(
            self._run, artifact, aliases or ["latest"], what, report, use=use
        )
        if upload is not None:
            self._uploads.append(upload)
        return upload

    def log_metrics(self, metrics: dict[str, Any], epoch: int) -> None:
        """Logs values to the run's history, against the epoch.

        The epoch travels as a value, `eval/epoch`, which is the step metric of these
        keys: the run's own step is left to itself. The values join the row of the
        history that is open, unless there is one of ours in it.

        Args:
            metrics: What to log: scalars, media, charts. The keys begin with `eval/`
                (or what else `self.prefix` is).
            epoch: The epoch, from 0.
        """
        self._log_values(metrics, epoch)

    def _log_values(self, values: dict[str, Any], epoch: int) -> None:
        if not self._writes or not values:
            return
        with self._one_row(epoch) as row:
            assert self._run is not None
            row.update(
                _wandb.with_logged_tables(
                    self._run, values, self._log_artifact, self._known_media()
                )
            )

    def _known_media(self) -> dict[str, Any]:
        """Entries for the media that were written for this run, by their path."""
        known: dict[str, Any] = self._library.entries()
        for truth in self._ground_truths:
            known |= truth.media
        return known

    @contextlib.contextmanager
    def _one_row(self, epoch: int) -> Iterator[dict[str, Any]]:
        """Makes all that is logged inside one row of the history."""
        if self._open_row is not None:
            yield self._open_row
            return
        row: dict[str, Any] = {}
        self._open_row = row
        try:
            yield row
        finally:
            self._open_row = None
            if row:
                with self._reported("The metrics could not be logged"):
                    self._log_row({**row, f"{self.prefix}/epoch": epoch})

    def _log_row(self, row: dict[str, Any]) -> None:
        assert self._run is not None
        step = f"{self.prefix}/epoch"
        for key in row.keys() - self._defined:
            if key == step:
                self._run.define_metric(key, hidden=True)
            else:
                self._run.define_metric(key, step_metric=step)
            self._defined.add(key)
        _wandb.log_row(self._run, row)

    @property
    def data_folder(self) -> _wandb.Folder:
        """Where to write media for `data_table`, with `encode_images`."""
        if self._media_folder is None:
            assert self._run is not None
            self._media_folder = self._library.new_folder(self._run)
        return self._media_folder

    @property
    def prediction_folder(self) -> _wandb.Folder:
        """Where to write media for `pred_table`, with `encode_masks`, say."""
        if self._version_folder is None:
            assert self._run is not None
            self._version_folder = _wandb.version_folder(self._run)
        return self._version_folder

    # --- Failures -----------------------------------------------------------------

    @contextlib.contextmanager
    def _reported(
        self, what: str, kind: type[Exception] = Exception
    ) -> Iterator[list[Exception]]:
        """Reports what fails inside, once an epoch, instead of raising it.

        Args:
            what: What could not be done.
            kind: What is reported; anything else is raised.

        Yields:
            A list that will have what failed.
        """
        failures: list[Exception] = []
        try:
            yield failures
        except kind as error:
            if self.on_error == "raise":
                raise
            failures.append(error)
            message = f"{what}: {_describe(error)}. Training goes on."
            self._report(message, error, warn=self._warned_in != self._epoch)
            self._warned_in = self._epoch

    def _report(self, message: str, error: Exception, warn: bool = True) -> None:
        logger.warning(message, exc_info=error)
        if warn:
            wandb.termwarn(f"{type(self).__name__}: {message}")

    def _raise_given_up(self) -> None:
        """Raises why W&B has given something up, if that is to be raised."""
        known = [item for item in self._uploads if item.done.is_set()]
        self._uploads = [item for item in self._uploads if item not in known]
        if self.on_error == "raise":
            for upload in known:
                if upload.error is not None:
                    raise upload.error

    @contextlib.contextmanager
    def _version(
        self, kind: type[Exception] = _wandb.WriteError
    ) -> Iterator[list[Exception]]:
        """Marks this epoch's version as missing if it fails, and deletes its files."""
        try:
            with self._reported(_NOT_LOGGED.format(self._epoch), kind) as failures:
                yield failures
        except BaseException:
            self._discard_files()
            raise
        if failures:
            self._discard_files()
            self._mark_missing(self._run, self._epoch)

    def _mark_missing(
        self, run: wandb.Run | None, epoch: int, missing: bool = True
    ) -> None:
        """Says in the run's summary that an epoch's version is missing, or is not."""
        with self._missing_lock:  # Uploads are given up in another thread.
            if run is None or run is not self._run:
                return  # That run is over.
            if missing == (epoch in self._missing):
                return
            if missing:
                self._missing.append(epoch)
            else:
                self._missing.remove(epoch)
            with contextlib.suppress(Exception):
                run.summary[f"{self.prefix}/missing_versions"] = sorted(self._missing)

    def _mark_what_is_gone(self) -> None:
        """Marks the versions of an offline run that somebody has deleted files of."""
        for epoch, files in self._recorded:
            if not all(map(os.path.exists, files)):
                self._mark_missing(self._run, epoch)

    def _discard_files(self) -> None:
        """Deletes what was written for an artifact that was not logged."""
        for folder in (self._media_folder, self._version_folder):
            if folder is not None:
                folder.discard()


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def call(method: Callable[..., Any], *args: Any, logs: Any) -> None:
    """Calls a method that may or may not take `logs`: W&B documents both."""
    try:
        inspect.signature(method).bind(*args, logs)
    except TypeError:
        method(*args)
    else:
        method(*args, logs)
