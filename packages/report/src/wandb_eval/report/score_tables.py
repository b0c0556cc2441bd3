"""Reads only the scores of all samples of one version of a run."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wandb_eval.core import artifact_name
from wandb_eval.report.recorded import TABLE

if TYPE_CHECKING:
    import wandb

SCORES = "scores"
INDEX = "idx"

FINGERPRINT = "data_fingerprint"
"""The key, in a version's metadata, of the identity of the data, in any order."""

ORDERED_FINGERPRINT = "data_fingerprint_ordered"
"""The key of the identity of the data and its order."""

CONTENT = "content"
"""The column of `scores` with the identity of each sample by its content."""

WEAK_SLICES = "weak_slices"
"""The table of weak slices of a version: their names and indices of samples."""
SLICE_NAME, SLICE_INDEX = "slice", "index"

Columns = Mapping[str, list[Any]]
"""The cells of each column of a table."""

_Slices = Mapping[str, list[int]]
_INDICES = re.compile(r"\d+(, \d+)*")


@dataclass(frozen=True)
class ScoreTable:
    """The scores of all samples in one version.

    Attributes:
        place: The place from which the run was read.
        name: The name of the run and the version.
        columns: The cells of each column, in the order of the rows.
        metadata: The metadata of the version.
        weak_slices: For each weak slice, the indices of its samples.
        notes: Sentences on weak slices of another version.
    """

    place: str
    name: str
    columns: Columns
    metadata: Mapping[str, Any]
    weak_slices: Mapping[str, list[int]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Version:
    """A version with scores whose tables are not yet read."""

    run_id: str
    artifact: str
    aliases: tuple[str, ...]
    metadata: Mapping[str, Any]
    read: Callable[[str], bytes | None]

    def is_of(self, evaluation: str) -> bool:
        """Whether it is a version of the callback with this `name`."""
        middle = "" if evaluation == "val" else f"_{evaluation}"
        return self.artifact == artifact_name(f"run_{self.run_id}{middle}_pred")

    @property
    def label(self) -> str:
        """The name of the version: its epoch, if it is known."""
        named = [alias for alias in self.aliases if alias.startswith("epoch_")]
        return (named or [*self.aliases, "its only version"])[0]


def read_scores(
    run: str | os.PathLike[str] | wandb.Run, evaluation: str | None = None
) -> ScoreTable:
    """Reads the scores of the best version of a run, of the last, or of a named one.

    Weak slices are found once, when the training ends. For a version without them, they
    are those of the last version that has them, if its data is the same.

    Args:
        run: A run, as an argument of `compare`.
        evaluation: The `name` of the callback, if a run has several.

    Raises:
        FileNotFoundError: If the folder does not have the log of one run.
        ValueError: If the run, the version or the table can't be read.
    """
    place, alias = _split(run)
    name, versions = _versions(place)
    versions = list(versions)
    version = _choose(versions, alias, evaluation, place)
    where = f"{name}, {version.label}"
    columns = _table(version, SCORES, where)
    assert columns is not None
    others = [v for v in versions if v.artifact == version.artifact]
    weak, notes = _weak_slices(name, version, columns, others)
    # A link, such as `latest-run`, is the same place.
    origin = os.path.realpath(place)
    return ScoreTable(origin, where, columns, version.metadata, weak, notes)


def _weak_slices(
    name: str, version: _Version, columns: Columns, others: Iterable[_Version]
) -> tuple[_Slices, tuple[str, ...]]:
    """Reads the weak slices of a version, or else the last ones, with notes on these.

    Args:
        name: The name of the run.
        version: The version.
        columns: Its scores.
        others: The versions of the evaluation, the newest first.
    """
    for other in (version, *others):
        where = f"{name}, {other.label}"
        table = _table(other, WEAK_SLICES, where)
        if table is None:
            continue
        names, index = table.get(SLICE_NAME, []), table.get(SLICE_INDEX, [])
        slices = {
            str(one): list(map(int, found.split(", ")))
            for one, found in zip(names, index, strict=False)
            if isinstance(found, str) and _INDICES.fullmatch(found)
        }
        if other is version:
            return slices, ()
        places = _same_samples(other, where, version, columns)
        if places is None:
            return {}, (
                f"The weak slices of {where} are not compared: it was evaluated on "
                f"other data than {version.label}, or does not say on which.",
            )
        moved = {
            one: [places[i] for i in found if i in places]
            for one, found in slices.items()
        }
        return moved, (f"The weak slices are those of {where}.",)
    return {}, ()


def _same_samples(
    other: _Version, where: str, version: _Version, columns: Columns
) -> Mapping[int, int] | None:
    """Returns the index of each sample of another version; `None` for other data.

    The nth one of equal samples has the index of the nth one here.
    """
    data = version.metadata.get(FINGERPRINT)
    if data is None or data != other.metadata.get(FINGERPRINT):
        return None
    theirs = _table(other, SCORES, where) or {}
    contents, their_contents = (
        list(map(str, table.get(CONTENT, []))) for table in (columns, theirs)
    )
    if not contents or sorted(contents) != sorted(their_contents):
        return None
    groups: dict[str, list[int]] = {}
    for index, content in zip(columns.get(INDEX, []), contents, strict=False):
        groups.setdefault(content, []).append(index)
    found = {content: iter(group) for content, group in groups.items()}
    return {
        index: next(found[content])
        for index, content in zip(theirs.get(INDEX, []), their_contents, strict=False)
        if isinstance(index, int) and content in found
    }


def _split(run: Any) -> tuple[str, str | None]:
    """Splits a run from the version that is named after a colon."""
    settings = getattr(run, "settings", None)
    if settings is not None:
        return (settings.sync_dir, None) if run.offline else (run.path, None)
    place = os.fspath(run)
    head, _, alias = place.rpartition(":")
    if len(head) > 1 and re.fullmatch(r"[\w.-]+", alias) and not os.path.exists(place):
        return head, alias
    return place, None


def _versions(place: str) -> tuple[str, Iterable[_Version]]:
    """Returns the name of a run, and its versions with scores, the newest first."""
    from wandb_eval.report.offline import read_offline_run
    from wandb_eval.report.online import is_online_path

    if is_online_path(place):
        return _online_versions(place)
    run = read_offline_run(place)
    artifacts = [a for a in reversed(run.artifacts) if SCORES + TABLE in a.files]

    def reader(files: Mapping[str, Any]) -> Callable[[str], bytes | None]:
        return lambda path: files[path].read() if path in files else None

    return run.name, [
        _Version(run.id, a.name, a.aliases, a.metadata, reader(a.files))
        for a in artifacts
    ]


def _online_versions(path: str) -> tuple[str, Iterable[_Version]]:
    """Returns the same for a run in W&B, and downloads only these tables."""
    import wandb

    try:
        run = wandb.Api().run(path)
        logged = [a for a in run.logged_artifacts() if a.type != "wandb-history"]
        logged.sort(key=lambda a: str(a.created_at), reverse=True)
        found = [_online_version(run.id, a) for a in logged if _has_scores(a)]
        return run.name or run.id, found
    except Exception as error:  # wandb's API has errors of many kinds.
        raise ValueError(
            f"{path} is neither a folder nor a run in W&B that can be read: {error}"
        ) from error


def _has_scores(artifact: Any) -> bool:
    return SCORES + TABLE in artifact.manifest.entries


def _online_version(run_id: str, artifact: Any) -> _Version:
    def read(path: str) -> bytes | None:
        if path not in artifact.manifest.entries:
            return None
        with tempfile.TemporaryDirectory(prefix="wandb-eval-report-") as folder:
            place = artifact.get_entry(path).download(root=folder)
            return Path(place).read_bytes()

    name, _, version = artifact.name.rpartition(":")
    aliases = (*artifact.aliases, version)
    return _Version(run_id, name, aliases, dict(artifact.metadata or {}), read)


def _choose(
    versions: Iterable[_Version], alias: str | None, evaluation: str | None, place: str
) -> _Version:
    """Chooses the named version, or else the best or the last one."""
    versions = list(versions)
    if not versions:
        raise ValueError(
            f"{place} has no version with a table `{SCORES}`, which the callbacks of a "
            "task log at least of the best and of the last epoch."
        )
    if alias is not None:
        versions = [v for v in versions if alias in v.aliases]
        if not versions:
            raise ValueError(
                f"{place} has no version {alias!r} with a table `{SCORES}`. Name "
                "`best`, `latest` or an epoch that has one, as `epoch_3`."
            )
    names = sorted({v.artifact for v in versions})
    if evaluation is not None:
        versions = [v for v in versions if v.is_of(evaluation)]
    if len({v.artifact for v in versions}) != 1:
        raise ValueError(
            f"{place} has scores of {', '.join(names)}. Name the evaluation that is to "
            f"be compared, by the `name` of its callback. Received: {evaluation!r}"
        )
    best = [v for v in versions if "best" in v.aliases]
    return versions[0] if alias is not None else [*best, *versions][0]


def _table(version: _Version, name: str, where: str) -> dict[str, list[Any]] | None:
    """Reads the columns of a table; `None` if the version has no such table.

    Raises:
        ValueError: If it is not a table, or can't be read.
    """
    try:
        content = version.read(name + TABLE)
        table = None if content is None else json.loads(content)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The table `{name}` of {where} can't be read: {error}"
        ) from error
    if table is None and name != SCORES:
        return None
    columns = table.get("columns") if isinstance(table, dict) else None
    rows = table.get("data") if isinstance(table, dict) else None
    if not (
        isinstance(columns, list)
        and isinstance(rows, list)
        and all(isinstance(row, list) and len(row) == len(columns) for row in rows)
    ):
        raise ValueError(f"The table `{name}` of {where} is not a table of W&B.")
    return {str(column): [row[i] for row in rows] for i, column in enumerate(columns)}
