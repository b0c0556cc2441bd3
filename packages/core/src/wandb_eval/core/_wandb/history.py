"""Rows of a run's history: joined to the open one, with tables that are logged."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import wandb
from wandb.plot.custom_chart import CustomChart
from wandb.sdk.data_types.base_types.media import Media, _numpy_arrays_to_lists
from wandb.util import json_dumps_safer

from wandb_eval.core._wandb.artifacts import EvalArtifact, Find, artifact_name
from wandb_eval.core._wandb.files import folder_of, version_folder, write_file
from wandb_eval.core._wandb.tables import is_plain

Log = Callable[[EvalArtifact, str], Any]
"""Logs an artifact. The second argument says what it is, in words."""


class History:
    """Rows of a callback's own in the history of a run, against the epoch.

    Args:
        run: The run.
        prefix: What the keys begin with. `<prefix>/epoch` is their step metric.
    """

    def __init__(self, run: wandb.Run, prefix: str) -> None:
        self._run = run
        self._step = f"{prefix}/epoch"
        self._defined: set[str] = set()

    def cells(
        self,
        values: Mapping[str, Any],
        log: Log,
        find: Find,
    ) -> dict[str, Any]:
        """What to log, where each table is the cell of one that is logged already.

        `run.log` makes an artifact of a table, and asks the server first (see
        `log_artifact`). The table of a chart goes where the chart looks for it.

        Args:
            values: Values for `run.log`, with tables and charts among them.
            log: Logs the artifact of a table.
            find: Finds media files that the tables may have, as for `EvalArtifact`.
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
        """Logs cells, which must all be new ones, as one row."""
        row = {**row, self._step: epoch}
        for key in row.keys() - self._defined:
            if key == self._step:
                self._run.define_metric(key, hidden=True)
            else:
                self._run.define_metric(key, step_metric=self._step)
            self._defined.add(key)
        _log_row(self._run, row)


_logged: weakref.WeakKeyDictionary[wandb.Run, tuple[int, set[str]]] = (
    weakref.WeakKeyDictionary()
)
"""The step that rows of ours were logged to last, of each run, and their keys."""


def _log_row(run: wandb.Run, row: dict[str, Any]) -> None:
    """Logs values as a part of the row of the history that is open.

    Without that, each row of ours would close one, and what a user logs with a `step`
    of his own would be dropped: W&B's steps only go forward.

    Args:
        run: The run.
        row: The values, by key. If the row that is open has one of these keys from a
            callback of ours, a new one is begun.
    """
    if run._settings._shared:  # Of several processes, each has its own steps.
        run.log(row)
        return
    step, keys = _logged.get(run, (-1, set()))
    if step == run._local_step and keys & row.keys():
        run.log(row, step=step + 1)
    else:
        run.log(row, commit=False)
    before = keys if step == run._local_step else set()
    _logged[run] = int(run._local_step), before | row.keys()


def _log_run_table(
    run: wandb.Run,
    table: wandb.Table,
    key: str,
    log: Log,
    find: Find,
) -> None:
    """Logs a table as the artifact that `run.log({key: table})` makes of it.

    Unless it is in one already.
    """
    if table._artifact_target is not None:
        return
    name = artifact_name(f"run-{run.id}-{key}")
    folder = version_folder(run)
    try:
        artifact = EvalArtifact(name, "table", folder, find=find)
        artifact._type = "run_table"  # A type of W&B's own, refused above.
        artifact.add_table(table, key)
        log(artifact, f"the table '{key}'")
        artifact.release()
    except BaseException:
        folder.discard()
        raise


def table_cell(run: wandb.Run, table: wandb.Table, key: str) -> dict[str, Any]:
    """What the run's history holds of a table that is in an artifact.

    `run.log({key: table})` would make a second artifact of it, with all its media. The
    cell that it writes into the history names an artifact by its client id; here it is
    the one that the table is in already.

    Args:
        run: The run.
        table: A table in an artifact that was logged.
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
    artifact = target.artifact
    path = target.name
    cell["artifact_path"] = f"wandb-client-artifact://{artifact._client_id}/{path}"
    cell["_latest_artifact_path"] = (
        f"wandb-client-artifact://{artifact._sequence_client_id}:latest/{path}"
    )
    return cell


def _bind_to_run(table: wandb.Table, run: wandb.Run, key: str) -> None:
    """`table.bind_to_run(run, key, step)`: writes the table's file for the run.

    Beside it, not in wandb's folder for temporary files: in long trainings, that is
    cleared by others.
    """
    shown: Any = table._to_table_json(warn=False)
    if not is_plain(shown["data"]):
        shown = _numpy_arrays_to_lists(shown)
    content = json_dumps_safer(shown)
    suffix = ".table.json"
    path = write_file(content.encode(), folder_of(run), suffix)
    table._set_file(str(path), is_tmp=True, extension=suffix)
    Media.bind_to_run(table, run, key, run._local_step)
