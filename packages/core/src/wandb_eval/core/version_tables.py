"""Which tables of an evaluation are in its version, and which on the page, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import wandb


@dataclass(frozen=True)
class VersionOnly:
    """A table that `explain` has for the version alone, not for the run's page."""

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
