"""Rows of a run's history, which join the open row and refer to logged tables."""

from __future__ import annotations

import copy
import itertools
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import wandb
from wandb.plot.custom_chart import CustomChart
from wandb.sdk.data_types.base_types.media import Media, _numpy_arrays_to_lists
from wandb.util import json_dumps_safer

from wandb_eval.core._wandb.artifacts import EvalArtifact, Find, artifact_name
from wandb_eval.core._wandb.files import folder_of, version_folder, write_file
from wandb_eval.core._wandb.tables import is_plain

Log = Callable[[EvalArtifact, str], Any]
"""Logs an artifact. The second argument describes it in words."""


class History:
    """The rows of a callback in the history of a run, against the epoch.

    Args:
        run: The run.
        prefix: The beginning of the keys. `<prefix>/epoch` is their step metric.
    """

    def __init__(self, run: wandb.Run, prefix: str) -> None:
        self._run = run
        self._step = f"{prefix}/epoch"
        self._defined: set[str] = set()

    def cells(self, values: Mapping[str, Any], log: Log, find: Find) -> dict[str, Any]:
        """Logs the tables among values, and returns cells that refer to them.

        `run.log` would make an artifact of a table, and ask the server first (see
        `log_artifact`). The table of a chart gets the key that the chart refers to.

        Args:
            values: Values for `run.log`, with tables and charts among them.
            log: Logs the artifact of a table.
            find: Finds media files of the tables, as in `EvalArtifact`.
        """
        run, cells = self._run, dict(values)
        for key, value in values.items():
            if isinstance(value, wandb.Table):
                _log_run_table(run, value, key, log, find)
                cells[key] = table_cell(run, value, key)
            elif isinstance(value, CustomChart):
                value.set_key(key)
                table_key = value.spec.table_key
                _log_run_table(run, value.table, table_key, log, find)
                cell = table_cell(run, value.table, table_key)
                cells[key] = CustomChart(table=cell, spec=value.spec)  # type: ignore[arg-type]
        return cells

    def log(self, row: dict[str, Any], epoch: int) -> None:
        """Logs cells, with new keys, as a part of the row of an epoch."""
        keys = set(row)
        row = {**row, self._step: epoch}
        for key in row.keys() - self._defined:
            if key == self._step:
                self._run.define_metric(key, hidden=True)
            else:
                self._run.define_metric(key, step_metric=self._step)
            self._defined.add(key)
        _log_row(self._run, row, epoch, keys)


@dataclass
class _OpenRow:
    """The open row of the history that has our values."""

    step: int
    epoch: int
    keys: set[str] = field(default_factory=set)


_open: weakref.WeakKeyDictionary[wandb.Run, _OpenRow] = weakref.WeakKeyDictionary()
"""The last row of each run that one of our callbacks has logged to."""


def _log_row(run: wandb.Run, row: dict[str, Any], epoch: int, keys: set[str]) -> None:
    """Logs values as a part of the open row of the history.

    Otherwise each of our rows would close one, and W&B would drop values that a user
    logs with an own `step` for this epoch, because W&B's steps only go forward. No
    callback knows which one logs last in an epoch, so the row stays open until the next
    hook: see `close_row`.

    Args:
        run: The run.
        row: The values, by key.
        epoch: Their epoch. If the open row is that of another epoch, a new row begins.
        keys: The keys that a row can have once. If the open row has one of them from
            one of our callbacks, a new row begins.
    """
    if _closes_rows_itself(run):
        run.log(row)
        return
    known = _open.get(run)
    if known is not None and (known.epoch != epoch or known.keys & keys):
        close_row(run)
    run.log(row, commit=False)
    step = int(run._local_step)
    known = _open.get(run)
    if known is None or known.step != step:
        known = _open[run] = _OpenRow(step, epoch)
    known.keys |= keys


def close_row(run: wandb.Run) -> None:
    """Closes the row of the history that has our values, if it is still open.

    An open row reaches neither the server, nor the summary, nor the log of an offline
    run. If others have closed it, by logging with another `step` or without one,
    nothing is logged, because that would be a row without values. The function does not
    wait, and may be called from any thread.

    Args:
        run: The run. wandb has closed the row of a finished run.
    """
    row = _open.pop(run, None)
    if row is not None and row.step == run._local_step and not run._is_finished:
        run.log({}, commit=True)


def _closes_rows_itself(run: wandb.Run) -> bool:
    """Whether W&B ignores the steps of a run, so that each `log` should be a row.

    Processes that share a run have their own steps. With `sync_tensorboard`, W&B strips
    the `step` of every `log`, and closes rows when events of TensorBoard come. It does
    so until the end of the process, also in runs without `sync_tensorboard`. In both
    cases, values that users log with a `step` are not dropped.
    """
    return bool(run._settings._shared or wandb.patched["tensorboard"])


def _log_run_table(
    run: wandb.Run, table: wandb.Table, key: str, log: Log, find: Find
) -> None:
    """Logs a table as the artifact that `run.log({key: table})` would make.

    A table that is in an artifact already is not logged.
    """
    if table._artifact_target is not None:
        return
    name = artifact_name(f"run-{run.id}-{key}")
    folder = version_folder(run)
    try:
        artifact = EvalArtifact(name, "table", folder, find=find)
        artifact._type = "run_table"  # W&B's type, which the constructor refuses.
        artifact.add_table(table, key)
        log(artifact, f"the table '{key}'")
        artifact.release()
    except BaseException:
        folder.discard()
        raise


def table_cell(run: wandb.Run, table: wandb.Table, key: str) -> dict[str, Any]:
    """Returns the cell of the run's history for a table that is in an artifact.

    `run.log({key: table})` would make a second artifact of it, with all its media, and
    write a cell that names this artifact by its client id. The cell here names the
    artifact that the table is in already.

    Args:
        run: The run.
        table: A table in a logged artifact.
        key: The key of the history.
    """
    target = table._artifact_target
    assert target is not None
    if len(table.data) > table.MAX_ROWS:
        wandb.termwarn(
            f"The table '{key}' has {len(table.data)} rows. The run's page shows the "
            f"first {table.MAX_ROWS}; the artifact has all of them.",
            repeat=False,
        )
    bound: Any = copy.copy(table)
    _bind_to_run(bound, run, key)
    cell: dict[str, Any] = bound.to_json(run)
    artifact, path = target.artifact, target.name
    cell["artifact_path"] = f"wandb-client-artifact://{artifact._client_id}/{path}"
    latest = f"wandb-client-artifact://{artifact._sequence_client_id}:latest/{path}"
    cell["_latest_artifact_path"] = latest
    return cell


def _bind_to_run(table: wandb.Table, run: wandb.Run, key: str) -> None:
    """Writes the table's file for the run, like `table.bind_to_run(run, key, step)`.

    The file is in the folder of the run, not in wandb's folder for temporary files,
    which others may clear in long trainings.
    """
    shown: Any = table._to_table_json(warn=False)
    if not is_plain(list(itertools.chain.from_iterable(shown["data"]))):
        shown = _numpy_arrays_to_lists(shown)
    content = json_dumps_safer(shown)
    path = write_file(content.encode(), folder_of(run), ".table.json")
    table._set_file(str(path), is_tmp=True, extension=".table.json")
    Media.bind_to_run(table, run, key, run._local_step)
