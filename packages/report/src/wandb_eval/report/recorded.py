"""What a run has recorded, wherever that is read from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wandb_eval.report.left_out import LeftOut


@dataclass(frozen=True)
class RecordedFile:
    """A file of a run.

    Attributes:
        digest: Tells equal contents; it may be of any kind.
        size: Bytes.
        read: Gives the content. Raises OSError if it is not there, or not to be read;
            its message says why.
    """

    digest: str
    size: int
    read: Callable[[], bytes]


@dataclass(frozen=True)
class RecordedArtifact:
    """A version of an artifact that a run has logged.

    Attributes:
        name: Its name, without the version.
        ids: What values in the history may call it by.
        aliases: The names of the version.
        metadata: What was said of it.
        files: Its files, by their path in it.
    """

    name: str
    ids: frozenset[str]
    aliases: tuple[str, ...]
    metadata: Mapping[str, Any]
    files: Mapping[str, RecordedFile]


@dataclass
class RecordedRun:
    """A run, with everything that a page can show of it.

    Attributes:
        id: Its id.
        name: Its name, or its id.
        project: `entity/project`, as far as that is known.
        started: When it was started, ISO 8601, or empty.
        is_finished: Whether it was finished, and not cut off.
        config: What the user has set.
        history: The rows, with values as W&B's JSON has them.
        x_axes: The key that a key is drawn against, where there is one.
        charts: How custom charts are to be drawn, by their key.
        artifacts: In the order in which they were logged.
        files: Gives files that are in no artifact, by their path; `None` without.
            Raises OSError if they are not to be read.
        left_out: What could not be read, and why.
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
    """What the user has set, and how W&B's custom charts are drawn."""
    internal = config.get("_wandb")
    internal = internal if isinstance(internal, dict) else {}
    panels = internal.get("visualize")
    charts = {
        key: panel["panel_config"]
        for key, panel in (panels if isinstance(panels, dict) else {}).items()
        if isinstance(panel, dict) and isinstance(panel.get("panel_config"), dict)
    }
    return {k: v for k, v in config.items() if not k.startswith("_wandb")}, charts
