"""The log of a run: the tables and values of a callback, and their outcomes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import wandb

from wandb_eval.core._wandb.artifacts import EvalArtifact, artifact_name
from wandb_eval.core._wandb.files import RunFolders, WriteError, offline
from wandb_eval.core._wandb.ground_truth import GroundTruth
from wandb_eval.core._wandb.history import History, close_row, table_cell
from wandb_eval.core._wandb.uploads import Upload
from wandb_eval.core.failures import Failures, Owner, Uploads
from wandb_eval.core.processes import is_alone, is_chief
from wandb_eval.core.versions import MissingVersions, Version


class RunLog:
    """Logs the ground truth, versions of predictions and rows of the history.

    It reports a failure to log, and an upload that W&B gives up later. The summary of
    the run lists the epochs without a version.

    Args:
        owner: The callback. Keys begin with its `prefix`, reports with its class.

    Attributes:
        given: The run that the callback was given; `None` for the active one.
        run: The run that is logged to; `None` in a process that logs nothing.
        failures: Reports failures.
        uploads: The artifacts that are being uploaded.
        folders: The folders that files are written to.
        missing: The epochs without a version.
        when_missing: A function that is called with an epoch without a version, from
            any thread.
        patience: The seconds to wait for the commit of the ground truth, before a
            version gets copies of its media.
        patience_at_end: The seconds to wait for the last versions when training ends.
    """

    patience = 120.0
    patience_at_end = 10.0

    def __init__(self, owner: Owner) -> None:
        self.given: wandb.Run | None = None
        self.run: wandb.Run | None = None
        self.failures = Failures(owner)
        self.when_missing: Callable[[int], None] = lambda epoch: None
        self.uploads = Uploads(self.failures)
        self._owner = owner
        self._began: wandb.Run | None = None
        self.missing = MissingVersions(None, "")
        self._recorded: list[tuple[int, list[str]]] = []
        self._ground_truths: dict[str, GroundTruth] = {}
        self._sent: dict[str, None] = {}  # Media of versions, by their path.
        self.folders = RunFolders(None)
        self._history: History | None = None
        self._open_row: dict[str, Any] | None = None
        self._version: Version | None = None
        self._epoch = 0

    @property
    def epoch(self) -> int:
        """The current epoch, from 0."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        if epoch != self._epoch:
            self.failures.rearm()
        self._epoch = epoch

    # --- The run ------------------------------------------------------------------

    def set_run(self, run: wandb.Run | None) -> None:
        """Sets the run to log to; `None` for the active one."""
        self.given = run
        self.run = self.current_run()
        self.folders = RunFolders(self.run)

    def current_run(self) -> wandb.Run | None:
        """Returns the run to log to now.

        Raises:
            wandb.Error: If there is no run.
        """
        run = wandb.run if self.given is None else self.given
        if run is None and is_chief():
            raise wandb.Error(
                "You must call `wandb.init()` first before using this callback "
                f"({type(self._owner).__name__}), or pass `run=`, the run to log to."
            )
        return run

    def bind_run(self) -> bool:
        """Binds the log to the run that is active now.

        Returns:
            Whether it is another run than before.

        Raises:
            wandb.Error: If there is no run.
        """
        run = self.run = self.current_run()
        if run is self._began:
            return False
        self._began = run
        self.missing = MissingVersions(run, self._owner.prefix)
        self.missing.restore(self.restore)
        self._history = None
        if run is not self.folders.run:
            self.folders = RunFolders(run)
        self._ground_truths, self._recorded, self._sent = {}, [], {}
        self.when_missing = lambda epoch: None
        if run is not None and not run.disabled and not is_chief():
            wandb.termlog(
                f"{type(self._owner).__name__}: this is not the first of the processes "
                "that train the model, and logs nothing."
            )
        return True

    def restore(self, key: str) -> Any:
        """Reads our key in the summary, from another callback or a resumed run."""
        with contextlib.suppress(Exception):
            if self.writes and self.run is not None:
                summary: Any = self.run.summary
                return summary.get(f"{self._owner.prefix}/{key}")
        return None

    @property
    def is_current(self) -> bool:
        """Whether the bound run is still the run to log to."""
        return self._began is self.current_run()

    @property
    def writes(self) -> bool:
        """Whether this process logs anything."""
        return self.run is not None and not self.run.disabled and is_chief()

    @property
    def skips(self) -> bool:
        """Whether W&B is disabled and nobody needs predictions.

        `False` with other processes, which may wait for this one to predict.
        """
        return self.run is not None and bool(self.run.disabled) and is_alone()

    # --- Artifacts ----------------------------------------------------------------

    def begin_ground_truth(self) -> None:
        """Forgets the logged ground truth, before another one is logged."""
        self._ground_truths = {}

    def log_ground_truth(
        self,
        table: wandb.Table,
        name: str,
        type: str,
        table_name: str,
        metadata: dict[str, Any] | None = None,
    ) -> wandb.Table | None:
        """Logs the table of ground truth, and marks it as used by the run.

        Returns:
            A table to take cells from for predictions; `None` after a failure.
        """
        wandb.Artifact(name, type)  # Raises for a wrong argument.
        with self.failures.tolerate(f"The artifact '{name}' could not be logged"):
            artifact = EvalArtifact(name, type, self.folders.data, metadata=metadata)
            entry = artifact.add_table(table, table_name)
            upload = self._log(artifact, "the ground truth", use=True)
            truth = GroundTruth(artifact, table, entry, upload)
            self.folders.leave(data=True)  # wandb-core owns its files now.
            self._ground_truths[name] = truth
            return truth.table
        self.folders.discard()
        return None

    def ground_truth_is_gone(self) -> bool:
        """Whether somebody has deleted files of it that are not uploaded yet."""
        what = "Files that were to be uploaded are gone"
        with self.failures.tolerate(what) as failures:
            for truth in self._ground_truths.values():
                truth.check_files()
        return bool(failures)

    def log_version(
        self,
        tables: dict[str, wandb.Table],
        type: str,
        aliases: list[str] | None,
        name: str | None,
        metadata: dict[str, Any] | None,
    ) -> Version:
        """Logs tables as a new version of an artifact.

        Args:
            tables: The tables of the version, by their names in the artifact.
            type: The type of the artifact.
            aliases: Aliases of the version. `None` means `["latest"]`.
            name: The name of the artifact. `None` means `run_<id>_pred`.
            metadata: The metadata of the version.

        Returns:
            The outcome of the version.
        """
        self.uploads.raise_given_up()
        run, epoch = self.run, self.epoch
        assert run is not None
        with self.version(Exception) as version:
            artifact = EvalArtifact(
                name or artifact_name(f"run_{run.id}_pred"),
                type,
                self.folders.version,
                **self._known_media(),
                find=self.folders.entry,
                metadata=metadata,
            )
            for table_name, table in tables.items():
                artifact.add_table(table, table_name)
            for path in filter(os.path.exists, self._sent):
                # W&B does not send files again that the previous version has.
                artifact.get_added_local_path_name(path)
            self._mark_missing(run, epoch, missing=False)
            upload = self._log(
                artifact,
                f"the predictions of epoch {epoch}",
                aliases,
                lambda: self._mark_missing(run, epoch),
            )
            if upload is None:
                self._recorded.append((epoch, list(self.folders.version.files)))
            self._sent.update(dict.fromkeys(artifact.found))
            artifact.release()
            self.folders.leave(data=True, version=True)  # Owned by wandb-core.
            version.is_logged = True
        return version

    def _known_media(self) -> dict[str, Any]:
        """Returns the media and tables of the ground truth, for `EvalArtifact`."""
        known: dict[str, Any] = {}
        known_tables: dict[int, Any] = {}
        for truth in self._ground_truths.values():
            truth.settle(self.patience)
            known |= truth.media
            known_tables[id(truth.table)] = truth.table_entry
        return {"known": known, "known_tables": known_tables}

    def _log(self, *args: Any, **kwargs: Any) -> Upload | None:
        assert self.run is not None
        return self.uploads.log(self.run, *args, **kwargs)

    # --- The history --------------------------------------------------------------

    def log_values(self, values: dict[str, Any], epoch: int) -> None:
        """Logs values to the run's history, against the epoch."""
        if not self.writes or not values:
            return
        failed = self.failures.tolerate("The metrics could not be logged")
        with failed, self.one_row(epoch) as row:
            row.update(self._rows().cells(values, self._log, self._find))

    def log_table_cells(self, tables: dict[str, wandb.Table]) -> None:
        """Logs references to the tables of a logged version to the history."""
        with self.failures.tolerate("The predictions are not in the run's history"):
            assert self.run is not None
            named = {f"{self._owner.prefix}/{k}": table for k, table in tables.items()}
            cells = {key: table_cell(self.run, one, key) for key, one in named.items()}
            self.log_values(cells, self.epoch)

    @contextlib.contextmanager
    def one_row(self, epoch: int) -> Iterator[dict[str, Any]]:
        """Joins all values that are logged inside to one row of the history."""
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
                with self.failures.tolerate("The metrics could not be logged"):
                    self._rows().log(row, epoch)

    def close_row(self) -> None:
        """Closes the row of the history that has our values, if it is open.

        Until then, values that others log in the same epoch join it. An open row is not
        on the page yet, nor in the summary, nor in the log of an offline run.
        """
        if self.run is not None and self.writes:
            with self.failures.tolerate("The metrics could not be logged"):
                close_row(self.run)

    def _find(self, path: str) -> Any:
        """Returns the entry of a media file that was written for this run."""
        for truth in self._ground_truths.values():
            if path in truth.media:
                return truth.media[path]
        return self.folders.entry(path)

    def _rows(self) -> History:
        if self._history is None:
            assert self.run is not None
            self._history = History(self.run, self._owner.prefix)
        return self._history

    # --- Outcomes -----------------------------------------------------------------

    def wait_for_uploads(self) -> None:
        """Waits for the outcomes of the last uploads, for a short time."""
        under_way = self.uploads.wait(self.patience_at_end)
        if under_way:
            wandb.termlog(
                f"{type(self._owner).__name__}: these are still being uploaded: "
                f"{', '.join(under_way)}. `wandb.finish()` waits for them."
            )
        if self.writes and self.run is not None and offline(self.run):
            folder = self.run.settings.sync_dir
            wandb.termlog(
                "To see this run without an account, with wandb-eval-report: python -m "
                f"wandb_eval.report {folder}\nTo send it to W&B, also from another "
                f"folder or machine: python -m wandb_eval.core.sync {folder}",
                repeat=False,
            )

    @contextlib.contextmanager
    def version(self, kind: type[Exception] = WriteError) -> Iterator[Version]:
        """Tolerates a failure in the making of this epoch's version.

        The files of a failed version are deleted, and it is marked as missing. A nested
        `version` is the same version, and may tolerate more.

        Args:
            kind: The exceptions to report. All others are raised.

        Yields:
            The outcome of the version, which is complete after the `with` statement.
        """
        outer = self._version
        version = self._version = outer or Version(self.epoch)
        message = f"The predictions of epoch {version.epoch} could not be logged"
        try:
            with self.failures.tolerate(message, kind) as failures:
                yield version
        except BaseException:
            self.folders.discard()
            raise
        finally:
            self._version = outer
        if failures:
            version.error = failures[0]
            version.is_logged = False
            self.folders.discard()
            self._mark_missing(self.run, version.epoch)

    def _mark_missing(
        self, run: wandb.Run | None, epoch: int, missing: bool = True
    ) -> None:
        """Marks whether the version of an epoch is missing. Thread-safe."""
        if run is None or run is not self.run or not self.writes:
            return  # That run has ended, or another process logs.
        self.missing.mark(epoch, missing)
        if missing:
            self.when_missing(epoch)

    def mark_what_is_gone(self) -> None:
        """Marks versions of an offline run as missing whose files were deleted."""
        for epoch, files in self._recorded:
            if not all(map(os.path.exists, files)):
                self._mark_missing(self.run, epoch)
