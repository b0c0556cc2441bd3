"""Describes runs for a page: tables, curves, charts and media, as JSON.

Nothing here depends on tasks, on HTML, or on the source of runs.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wandb_eval.core import class_color
from wandb_eval.report.cells import (
    as_text,
    flat,
    is_near,
    is_number,
    layer_names,
    media_kind,
    media_of,
    number,
    plain,
    read_box,
    read_histogram,
)
from wandb_eval.report.custom_charts import read_chart, spread, table_of, thin_out
from wandb_eval.report.left_out import ODD, describe
from wandb_eval.report.media import Media
from wandb_eval.report.recorded import RecordedArtifact, RecordedFile, RecordedRun
from wandb_eval.report.versions import LoggedTable, axis_of, rank, versions_of

_POINTS = 1000  # Per curve of the history.
_HISTOGRAMS = 100  # Per key of the history.
_TABLES = ("table-file", "partitioned-table", "joined-table")
_MEANT = {"right": "#2b8a5f", "wrong": "#e03131", "not counted": "#8a8f98"}


@dataclass
class Page:
    """The content of a page.

    Attributes:
        runs: The runs, as JSON.
        columns: The columns of all tables, each once, as JSON. Tables refer to them by
            their places.
        media: The media in the columns.
        hidden: The labels in masks that are hidden until a reader asks for them.
        missing: The number of files of tables and the history that are not shown.
        left_out: The parts of the runs that are not shown, with the reasons, as lines.
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    columns: list[dict[str, Any]] = field(default_factory=list)
    media: Media = field(default_factory=Media)
    hidden: set[str] = field(default_factory=set)
    missing: int = 0
    left_out: list[str] = field(default_factory=list)

    _places: dict[bytes, int] = field(default_factory=dict)

    def add(self, run: RecordedRun) -> None:
        """Adds a run."""
        tables: dict[str, list[dict[str, Any]]] = {}
        charts = {key: read_chart(key, panel) for key, panel in run.charts.items()}
        titles = Counter(one["title"] for one in charts.values())
        for key, one in charts.items():
            if titles[one["title"]] > 1:  # Of several callbacks.
                one["title"] += f" ({key})"
        keys = {
            table_of(key, run.charts[key]): key
            for key, chart in charts.items()
            if "fields" in chart
        }
        drawn: dict[str, list[dict[str, Any]]] = {}
        logged: dict[tuple[str, Any], RecordedArtifact] = {}
        for version in versions_of(run):
            try:
                chart = keys.get(version.key)
                if chart is None:
                    known = tables.get(version.key, [])
                else:
                    known = drawn.get(chart, [])
                    if not thin_out(version.content, charts[chart]):
                        run.left_out.add(
                            f"the chart {chart}", "its table has other columns"
                        )
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
            except ODD as error:
                run.left_out.add(f"{version.key}, {version.label}", describe(error))
                continue
            place = chart or version.key, time
            if logged.setdefault(place, version.artifact) is not version.artifact:
                reason = "a later version has the same time"
                run.left_out.add(f"an earlier {version.key}, {label}", reason)
                logged[place] = version.artifact
            known = [v for v in known if v["time"] != time] + [described]
            known.sort(key=lambda one: float(one["time"]))
            if chart is None:
                tables[version.key] = known
            else:
                drawn[chart] = known
        curves, media = self._history_of(run)
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
                + media,
            }
        )
        name = f"{run.name}: " if len(self.runs) > 1 else ""
        self.left_out += [f"{name}{line}" for line in run.left_out.lines()]

    def to_json(self) -> dict[str, Any]:
        """Returns the data for the page's code, without the media."""
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
            "hidden": sorted(self.hidden),
            "missing": self.missing,
            "left_out": self.left_out,
        }

    # --- Tables ---------------------------------------------------------------------

    def _columns_of(self, run: RecordedRun, version: LoggedTable) -> list[list[Any]]:
        """Returns the names of the columns, and their places among all columns."""
        found = []
        for i, name in enumerate(version.content["columns"]):
            cells = [row[i] for row in version.content["data"]]
            column = self._column(run, version, name, cells)
            if column["type"] in ("image", "audio", "video"):
                metadata = version.artifact.metadata
                column["layers"], hidden = layer_names(version.content, name, metadata)
                self.hidden |= hidden
            digest = hashlib.sha256(json.dumps(column).encode()).digest()
            if digest not in self._places:
                self._places[digest] = len(self.columns)
                self.columns.append(column)
            found.append([name, self._places[digest]])
        return found

    def _column(
        self, run: RecordedRun, version: LoggedTable, name: str, cells: list[Any]
    ) -> dict[str, Any]:
        present = [cell for cell in cells if cell is not None]
        if present and all(map(media_kind, present)):
            files = version.artifact.files
            part = f"{version.key}, {name}"
            values = [self._medium(run, part, cell, files) for cell in cells]
            # The file determines the element: browsers show a GIF as an image.
            kinds = {self.media.shown_as(value["file"]) for value in values if value}
            kinds = kinds or {media_kind(cell) for cell in present}
            if len(kinds) > 1:
                for value in filter(None, values):
                    value["kind"] = self.media.shown_as(value["file"])
            return {"type": max(kinds), "values": values}
        if present and all(isinstance(cell, bool) for cell in present):
            return {"type": "boolean", "values": cells}
        if present and all(is_number(cell) for cell in present):
            return {"type": "number", "values": [number(cell) for cell in cells]}
        return {"type": "text", "values": [plain(cell) for cell in cells]}

    def _medium(
        self,
        run: RecordedRun,
        part: str,
        cell: Any,
        files: Mapping[str, RecordedFile],
    ) -> dict[str, Any] | None:
        """Describes a cell with media; `None` if the file is missing."""
        place = None if cell is None else self._store(run, part, cell, files)
        if place is None:
            return None
        medium: dict[str, Any] = {"file": place}
        if cell.get("caption"):
            medium["caption"] = as_text(cell["caption"])
        width, height = cell.get("width"), cell.get("height")
        if all(is_near(side) and side >= 1 for side in (width, height)):
            medium |= {"width": number(width), "height": number(height)}
        boxes, masks = cell.get("boxes"), cell.get("masks")
        if isinstance(boxes, dict):
            medium["boxes"] = {}
            for name, layer in boxes.items():
                size = medium.get("width", 1), medium.get("height", 1)
                found = [read_box(box, size) for box in _boxes_of(run, layer)]
                medium["boxes"][name] = [box for box in found if box]
                for _ in range(found.count(None)):
                    run.left_out.add(f"{part}, a box of {name}", "it can't be read")
        if isinstance(masks, dict):
            stored = {
                name: self._store(run, f"{part}, the mask {name}", mask, files)
                for name, mask in masks.items()
            }
            medium["masks"] = {k: v for k, v in stored.items() if v is not None}
        return medium

    def _store(
        self,
        run: RecordedRun,
        part: str,
        cell: Any,
        files: Mapping[str, RecordedFile],
    ) -> int | None:
        try:
            path = cell.get("path") or cell.get("artifact_path")
            if not isinstance(path, str):
                raise FileNotFoundError("it names no file")
            file = files.get(path) or run.files(path)
            if file is None:
                raise FileNotFoundError("the file is not there any more")
            place = self.media.store(file)
            if (
                media_kind(cell) in ("image", "")
                and self.media.shown_as(place) != "image"
            ):
                raise OSError("the file is no image")
            return place
        except ODD as error:
            run.left_out.add(part, describe(error))
            self.missing += 1
            return None

    # --- The history ------------------------------------------------------------------

    def _history_of(
        self, run: RecordedRun
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Returns numbers of the history as curves, media and histograms as charts."""
        curves: dict[str, dict[str, Any]] = {}
        charts: dict[str, dict[str, Any]] = {}
        axes = set(run.x_axes.values())
        for step, row in enumerate(run.history):
            values = dict(flat(row))
            for key, value in values.items():
                if key.startswith("_") or key in axes:
                    continue
                axis = axis_of(run, key)
                x = values.get(axis)
                if not is_near(x):
                    if x is not None:
                        run.left_out.add(
                            f"{axis} of a row of the history",
                            "it is not a finite number",
                        )
                    x = values.get("_step")
                    x = x if is_near(x) else step
                if is_number(value):
                    curve = curves.setdefault(
                        key, {"key": key, "axis": axis, "points": []}
                    )
                    curve["points"].append([number(x), number(value)])
                elif isinstance(value, dict):
                    label = f"{axis.rpartition('/')[2].strip('_')} {number(x)}"
                    version = {"time": number(x), "label": label}
                    self._add_chart(run, charts, key, value, version)
        for curve in curves.values():
            curve["points"] = spread(curve["points"], _POINTS)
        for chart in charts.values():
            if chart["kind"] == "histogram":
                chart["versions"] = spread(chart["versions"], _HISTOGRAMS)
        return list(curves.values()), list(charts.values())

    def _add_chart(
        self,
        run: RecordedRun,
        charts: dict[str, dict[str, Any]],
        key: str,
        value: dict[str, Any],
        version: dict[str, Any],
    ) -> None:
        """Adds a value of the history that is not a number to the charts."""
        kind = value.get("_type")
        if kind == "histogram":
            histogram = read_histogram(value)
            if histogram is None:
                run.left_out.add(key, "a histogram that can't be read")
                return
            version |= histogram
        else:
            cells = media_of(value)
            if not cells:
                if kind not in _TABLES:
                    named = (
                        kind if isinstance(kind, str) else "a value of no known kind"
                    )
                    run.left_out.add(key, f"{named} is not shown")
                return
            kind = "media"
            media = [self._medium(run, key, cell, {}) for cell in cells]
            version["media"] = [
                {**medium, "kind": self.media.shown_as(medium["file"])}
                for medium in media
                if medium
            ]
            if not version["media"]:
                return
        name = (
            key if charts.get(key, {}).get("kind", kind) == kind else f"{key} ({kind})"
        )
        chart: dict[str, Any] = {"key": name, "kind": kind, "title": name}
        chart["versions"] = []
        charts.setdefault(name, chart)["versions"].append(version)


def _boxes_of(run: RecordedRun, layer: Any) -> list[Any]:
    """Returns the boxes of a layer, which the history has in a file of the run."""
    if isinstance(layer, dict):
        try:
            file = run.files(layer["path"])
            layer = None if file is None else json.loads(file.read())["box_data"]
        except ODD:
            layer = None
    return layer if isinstance(layer, list) else [None]
