"""Matches the samples of runs, because only equal data can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from wandb_eval.report.score_tables import (
    CONTENT,
    FINGERPRINT,
    INDEX,
    ORDERED_FINGERPRINT,
    Columns,
    ScoreTable,
)

_TARGETS = ("label", "target", "num_boxes")
_PREDICTED = "predicted "

UNVERIFIED = (
    "A run does not say which data it was evaluated on, so that only the number of "
    "samples and their targets were checked."
)


@dataclass(frozen=True)
class Side:
    """The runs of a side, with rows of the same samples in the same order.

    Attributes:
        names: The runs with their versions.
        columns: The columns of each run.
        index: The index of each sample in the data of the first run.
        weak_slices: The indices of the samples in the weak slices of the first run.
    """

    names: list[str]
    columns: list[Columns]
    index: NDArray[np.int64]
    weak_slices: Mapping[str, list[int]]


def match(
    a: Sequence[ScoreTable], b: Sequence[ScoreTable], *, on_shared: bool
) -> tuple[Side, Side, list[str]]:
    """Sorts the rows of all runs in the order of the first one.

    Args:
        a: The tables of A.
        b: The tables of B.
        on_shared: Whether only the samples with equal content are compared.

    Returns:
        Both sides, and notes on missing checks.

    Raises:
        ValueError: If the runs were evaluated on different data, or if a side has a run
            twice.
    """
    tables = [*a, *b]
    for table in tables:
        _check_index(table)
    for side in (a, b):
        _check_runs(side)
    notes: list[str] = []
    is_verified = True
    if on_shared:
        places = _by_content(tables)
        kept = [key for key in places[0] if all(key in there for there in places)]
        if not kept:
            raise ValueError(
                "No sample has the same content, target included, in all runs."
            )
        if len(kept) < max(map(len, places)):
            notes.append(f"Only the {len(kept):,} samples that all have were compared.")
    else:
        places = _places(tables, notes)
        is_verified = not notes  # A note says why the samples may be others.
        kept = list(places[0])
        for table, there in zip(tables, places, strict=True):
            if there.keys() != places[0].keys():
                sizes = f"{len(kept):,} and {len(there):,}"
                _raise_other_data(tables[0], table, f"they have {sizes} samples")
    rows = [
        _in_order(table, [there[key] for key in kept])
        for table, there in zip(tables, places, strict=True)
    ]
    # Fingerprints and contents include the targets. Those in the tables may differ by
    # rounding, or by the names of classes.
    if not is_verified:
        for table, columns in zip(tables, rows, strict=True):
            _check_targets(tables[0], table, rows[0], columns)
    return _side(a, rows[: len(a)]), _side(b, rows[len(a) :]), notes


def _side(tables: Sequence[ScoreTable], columns: Sequence[Columns]) -> Side:
    index = np.array(columns[0][INDEX], np.int64)
    names = [table.name for table in tables]
    return Side(names, list(columns), index, tables[0].weak_slices)


def _check_runs(side: Sequence[ScoreTable]) -> None:
    names: dict[str, str] = {}
    for table in side:
        if table.place in names:
            raise ValueError(
                f"{names[table.place]}, and {table.name} are of one run. The runs of a "
                "side must be different trainings of one recipe, or their spread would "
                "be that of a single training."
            )
        names[table.place] = table.name


def _check_index(table: ScoreTable) -> None:
    index = table.columns.get(INDEX)
    if index is None:
        raise ValueError(
            f"The scores of {table.name} have no column `{INDEX}`: a sample can't be "
            "told from others."
        )
    if not index:
        raise ValueError(f"The scores of {table.name} have no rows.")
    whole = all(isinstance(i, int) and not isinstance(i, bool) for i in index)
    if not whole or len(set(index)) < len(index):
        raise ValueError(
            f"`{INDEX}` in the scores of {table.name} must be whole numbers, each once."
        )


def _places(tables: Sequence[ScoreTable], notes: list[str]) -> list[dict[Any, int]]:
    """Returns the place of each sample in each table, by its identity."""
    first = tables[0]
    for table in tables:
        ours, theirs = (t.metadata.get(FINGERPRINT) for t in (first, table))
        if ours is not None and theirs is not None and ours != theirs:
            _raise_other_data(first, table, "inputs or targets differ")
    orders = {str(table.metadata.get(ORDERED_FINGERPRINT, "")) for table in tables}
    if any(table.metadata.get(FINGERPRINT) is None for table in tables):
        notes.append(UNVERIFIED)
    elif len(orders) > 1 or "" in orders:
        if all(CONTENT in table.columns for table in tables):
            return _by_content(tables)
        if len(orders - {""}) > 1:
            raise ValueError(
                "The data is the same in another order, and the scores have no column "
                f"`{CONTENT}` that tells which sample is which."
            )
        notes.append("A run does not say in which order it saw the samples.")
    return [
        {index: place for place, index in enumerate(table.columns[INDEX])}
        for table in tables
    ]


def _by_content(tables: Sequence[ScoreTable]) -> list[dict[Any, int]]:
    """Returns the place of each sample by its content; numbers duplicates."""
    found = []
    for table in tables:
        cells = table.columns.get(CONTENT)
        if cells is None or None in cells:
            raise ValueError(
                f"The scores of {table.name} do not say what is in the samples: they "
                f"have no column `{CONTENT}`, or gaps in it. Versions that were logged "
                "by wandb-eval 0.2 have none."
            )
        counts = Counter[str]()
        places = {}
        for place, key in enumerate(map(str, cells)):
            places[key, counts[key]] = place
            counts[key] += 1
        found.append(places)
    return found


def _targets(tables: Sequence[ScoreTable]) -> list[str]:
    """Returns the columns with targets, which do not depend on a model."""
    first = tables[0].columns
    named = {n.removeprefix(_PREDICTED) for n in first if n.startswith(_PREDICTED)}
    return [
        name
        for name in first
        if (name in _TARGETS or name in named)
        and all(name in table.columns for table in tables)
    ]


def _in_order(table: ScoreTable, places: list[int]) -> dict[str, list[Any]]:
    return {
        name: [cells[place] for place in places]
        for name, cells in table.columns.items()
    }


def _check_targets(
    first: ScoreTable, table: ScoreTable, ours: Columns, theirs: Columns
) -> None:
    for name in _targets([first, table]):
        others = [
            place
            for place, cells in enumerate(zip(ours[name], theirs[name], strict=True))
            if cells[0] != cells[1]
        ]
        if others:
            place = others[0]
            _raise_other_data(
                first,
                table,
                f"{len(others):,} samples have another `{name}`, the first one at "
                f"{INDEX} {ours[INDEX][place]}: {ours[name][place]!r} and "
                f"{theirs[name][place]!r}",
            )


def _raise_other_data(first: ScoreTable, table: ScoreTable, why: str) -> NoReturn:
    raise ValueError(
        f"{first.name} and {table.name} were not evaluated on the same data: {why}. "
        "`on_shared=True` (`--on-shared`) compares the samples that both have."
    )
