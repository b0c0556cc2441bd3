"""Describes runs as a page shows them: tables, curves, charts and media, as JSON.

Nothing here knows of tasks, of HTML, or of where runs are read from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wandb_eval.core import class_color
from wandb_eval.report.cells import (
    class_names,
    flat,
    is_number,
    media_kind,
    number,
    plain,
    read_box,
)
from wandb_eval.report.custom_charts import read_chart, spread, table_of, thin_out
from wandb_eval.report.media import Media
from wandb_eval.report.recorded import RecordedFile, RecordedRun
from wandb_eval.report.versions import LoggedTable, axis_of, rank, versions_of

_POINTS = 1000  # Of a curve of the history.
_MEANT = {"right": "#2b8a5f", "wrong": "#e03131", "not counted": "#8a8f98"}


@dataclass
class Page:
    """What is on a page.

    Attributes:
        runs: The runs, as JSON.
        columns: Columns of tables, each once, as JSON. Tables have their places.
        media: The media that are in the columns.
        missing: How many files are in tables, and not there any more.
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    columns: list[dict[str, Any]] = field(default_factory=list)
    media: Media = field(default_factory=Media)
    missing: int = 0

    _places: dict[bytes, int] = field(default_factory=dict)

    def add(self, run: RecordedRun) -> None:
        """Adds a run."""
        tables: dict[str, list[dict[str, Any]]] = {}
        charts = {key: read_chart(key, panel) for key, panel in run.charts.items()}
        keys = {
            table_of(key, run.charts[key]): key
            for key, chart in charts.items()
            if "fields" in chart
        }
        drawn: dict[str, list[dict[str, Any]]] = {}
        for version in versions_of(run):
            chart = keys.get(version.key)
            if chart is None:
                known = tables.setdefault(version.key, [])
            else:
                known = drawn.setdefault(chart, [])
                if not thin_out(version.content, charts[chart]):
                    continue
            time, label = version.time, version.label
            if time is None:
                time, label = len(known), f"v{len(known)}"
            described = {
                "time": time,
                "label": label,
                "aliases": version.artifact.aliases,
                "rows": len(version.content["data"]),
                "columns": self._columns_of(run, version),
            }
            known[:] = [v for v in known if v["time"] != time]
            known.append(described)
            known.sort(key=lambda one: float(one["time"]))
        curves, images = self._history_of(run)
        self.runs.append(
            {
                "id": run.id,
                "name": run.name,
                "project": run.project,
                "started": run.started,
                "finished": run.is_finished,
                "config": {key: plain(value) for key, value in run.config.items()},
                "curves": curves,
                "tables": [
                    {"name": name, "versions": tables[name]}
                    for name in sorted(tables, key=rank)
                ],
                "charts": [
                    {"key": key, **charts[key], "versions": versions}
                    for key, versions in drawn.items()
                ]
                + images,
            }
        )

    def to_json(self) -> dict[str, Any]:
        """What the page's own code is given, beside the media."""
        layers = (column.get("layers", {}) for column in self.columns)
        names = {
            i: n
            for found in layers
            for names in found.values()
            for i, n in names.items()
        }
        colors = {
            i: _MEANT.get(name) or "#{:02x}{:02x}{:02x}".format(*class_color(int(i)))
            for i, name in names.items()
        }
        return {
            "runs": self.runs,
            "columns": self.columns,
            "colors": colors,
            "missing": self.missing,
        }

    # --- Tables ---------------------------------------------------------------------

    def _columns_of(self, run: RecordedRun, version: LoggedTable) -> list[list[Any]]:
        """The names of the columns, and the places of what is in them."""
        found = []
        for i, name in enumerate(version.content["columns"]):
            cells = [
                row[i] if i < len(row) else None for row in version.content["data"]
            ]
            column = self._column(run, version, cells)
            if column["type"] == "image":
                column["layers"] = class_names(version.content, str(name))
            digest = hashlib.sha256(json.dumps(column).encode()).digest()
            if digest not in self._places:
                self._places[digest] = len(self.columns)
                self.columns.append(column)
            found.append([str(name), self._places[digest]])
        return found

    def _column(
        self, run: RecordedRun, version: LoggedTable, cells: list[Any]
    ) -> dict[str, Any]:
        present = [cell for cell in cells if cell is not None]
        kinds = {media_kind(cell) for cell in present}
        if present and kinds <= {"image", "audio", "video"}:
            files = version.artifact.files
            values = [self._medium(run, cell, files) for cell in cells]
            return {"type": max(kinds), "values": values}
        if present and all(isinstance(cell, bool) for cell in present):
            return {"type": "boolean", "values": cells}
        if present and all(is_number(cell) for cell in present):
            return {"type": "number", "values": [number(cell) for cell in cells]}
        return {"type": "text", "values": [plain(cell) for cell in cells]}

    def _medium(
        self, run: RecordedRun, cell: Any, files: Mapping[str, RecordedFile]
    ) -> dict[str, Any] | None:
        """A cell with media, by their places among all; `None` if they are gone."""
        if cell is None:
            return None
        place = self._store(run, cell, files)
        if place is None:
            return None
        medium: dict[str, Any] = {"file": place}
        if cell.get("caption"):
            medium["caption"] = str(cell["caption"])
        if cell.get("width") and cell.get("height"):
            medium |= {"width": cell["width"], "height": cell["height"]}
        boxes = cell.get("boxes")
        if isinstance(boxes, dict):
            size = cell.get("width") or 1, cell.get("height") or 1
            medium["boxes"] = {
                name: [box for item in layer if (box := read_box(item, size))]
                for name, layer in boxes.items()
                if isinstance(layer, list)
            }
        masks = cell.get("masks")
        if isinstance(masks, dict):
            stored = {k: self._store(run, mask, files) for k, mask in masks.items()}
            medium["masks"] = {k: v for k, v in stored.items() if v is not None}
        return medium

    def _store(
        self,
        run: RecordedRun,
        cell: Mapping[str, Any],
        files: Mapping[str, RecordedFile],
    ) -> int | None:
        path = str(cell.get("path", ""))
        file = files.get(path) or run.files(path)
        place = None if file is None else self.media.store(file, path)
        self.missing += place is None
        return place

    # --- The history ------------------------------------------------------------------

    def _history_of(
        self, run: RecordedRun
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The numbers of the history as curves, and its images as charts."""
        curves: dict[str, dict[str, Any]] = {}
        images: dict[str, dict[str, Any]] = {}
        axes = set(run.x_axes.values())
        for step, row in enumerate(run.history):
            values = dict(flat(row))
            for key, value in values.items():
                if key.startswith("_") or key in axes:
                    continue
                axis = axis_of(run, key)
                x = values.get(axis, values.get("_step", step))
                if not is_number(x):
                    continue
                if is_number(value):
                    curve = curves.setdefault(
                        key, {"key": key, "axis": axis, "points": []}
                    )
                    curve["points"].append([number(x), number(value)])
                elif media_kind(value) == "image":
                    medium = self._medium(run, value, {})
                    if medium is not None:
                        chart = {
                            "key": key,
                            "kind": "image",
                            "title": key,
                            "versions": [],
                        }
                        versions = images.setdefault(key, chart)["versions"]
                        label = f"{axis.rpartition('/')[2].strip('_')} {number(x)}"
                        versions.append({"time": x, "label": label, "image": medium})
        for curve in curves.values():
            curve["points"] = spread(curve["points"], _POINTS)
        return list(curves.values()), list(images.values())
