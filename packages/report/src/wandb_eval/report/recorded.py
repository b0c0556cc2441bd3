"""The records of a run, from any source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wandb_eval.report.left_out import LeftOut

TABLE = ".table.json"
"""The end of the path of a table in an artifact."""


@dataclass(frozen=True)
class RecordedFile:
    """A file of a run.

    Attributes:
        digest: A digest of the content, of any kind.
        size: The number of bytes.
        read: A function that returns the content. It raises an OSError, with the
            reason, if the file is missing or must not be read.
    """

    digest: str
    size: int
    read: Callable[[], bytes]


@dataclass(frozen=True)
class RecordedArtifact:
    """A version of an artifact that a run has logged.

    Attributes:
        name: The name, without the version.
        ids: The ids by which values in the history may refer to it.
        aliases: The aliases of the version.
        metadata: The metadata of the version.
        files: The files, by their path in the artifact.
    """

    name: str
    ids: frozenset[str]
    aliases: tuple[str, ...]
    metadata: Mapping[str, Any]
    files: Mapping[str, RecordedFile]


@dataclass
class RecordedRun:
    """A run, with everything that a page can show.

    Attributes:
        id: The id.
        name: The name, or the id.
        project: `entity/project`, as far as it is known.
        started: The time of the start, ISO 8601, or empty.
        is_finished: Whether the run was finished, and not cut off.
        config: The configuration of the user.
        history: The rows, with values as in W&B's JSON.
        x_axes: The key of the x axis of each key, if there is one.
        charts: The panels of custom charts, by their key.
        artifacts: The artifacts, in the order in which they were logged.
        files: A function that returns a file outside of artifacts by its path, or
            `None`. It raises an OSError if the file must not be read.
        left_out: The parts that could not be read, with the reasons.
    """

    id: str
    name: str
    project: str = ""
    started: str = ""
    is_finished: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    x_axes: dict[str, str] = field(default_factory=dict)
    charts: dict[str, Any] = field(default_factory=dict)
    artifacts: list[RecordedArtifact] = field(default_factory=list)
    files: Callable[[str], RecordedFile | None] = lambda path: None
    left_out: LeftOut = field(default_factory=LeftOut)


def split_config(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the user's configuration, and the panels of W&B's custom charts."""
    internal = config.get("_wandb")
    internal = internal if isinstance(internal, dict) else {}
    panels = internal.get("visualize")
    charts = {
        key: panel["panel_config"]
        for key, panel in (panels if isinstance(panels, dict) else {}).items()
        if isinstance(panel, dict) and isinstance(panel.get("panel_config"), dict)
    }
    return {k: v for k, v in config.items() if not k.startswith("_wandb")}, charts
