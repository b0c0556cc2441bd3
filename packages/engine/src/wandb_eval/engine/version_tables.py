"""The tables of an evaluation: in its version, and which are on the page, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import wandb

from wandb_eval.core import add_rows
from wandb_eval.engine.evaluation.evaluation import Evaluation


@dataclass(frozen=True)
class VersionOnly:
    """A table of `extra_results` that goes into the version alone, not on the page."""

    table: wandb.Table


def keys_of_tables(values: dict[str, Any]) -> list[str]:
    """The tables that go to the run's page as well."""
    return [key for key, value in values.items() if isinstance(value, wandb.Table)]


def tables_of(values: dict[str, Any]) -> dict[str, wandb.Table]:
    """The tables, which go into the version: so their images are those of others."""
    return {
        key: value.table if isinstance(value, VersionOnly) else value
        for key, value in values.items()
        if isinstance(value, (wandb.Table, VersionOnly))
    }


def without_tables(values: dict[str, Any]) -> dict[str, Any]:
    """The numbers, charts and media, which go into the history alone."""
    tables = tables_of(values)
    return {key: value for key, value in values.items() if key not in tables}


def scores_table(evaluation: Evaluation) -> wandb.Table:
    """The scores of every sample, and how learning went where that is known."""
    count = evaluation.fingerprint.count
    columns = {"idx": list(range(count)), **evaluation.scores}
    if evaluation.learning is not None:
        columns |= evaluation.learning.columns()
    table = wandb.Table(columns=list(columns), allow_mixed_types=True)
    add_rows(table, list(map(list, zip(*columns.values(), strict=True))))
    return table
