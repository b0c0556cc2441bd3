"""Describes runs as a page shows them: tables, curves, charts and media, as JSON.

Nothing here knows of tasks, of HTML, or of where runs are read from.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wandb_eval.core import class_color
from wandb_eval.report.media import Media
from wandb_eval.report.recorded import RecordedArtifact, RecordedFile, RecordedRun

logger = logging.getLogger(__name__)

_TABLE = ".table.json"
_ORDER = ["eval_data", "predictions", "hardest", "scores", "confused", "objects"]
_ORDER += ["suspect_labels", "per_class"]
_MEANT = {"right": "#2b8a5f", "wrong": "#e03131", "not counted": "#8a8f98"}
_POINTS = 200  # Of a curve.
_BATCHES = 1_000_000  # More than an epoch has.


@dataclass(frozen=True)
class _Version:
    """A table as it was logged once."""

    key: str
    artifact: RecordedArtifact
    content: dict[str, Any]
    time: float | None
    label: str


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
        charts = {key: _chart(key, panel) for key, panel in run.charts.items()}
        keys = {
            _table_of(key, run.charts[key]): key
            for key, chart in charts.items()
            if "fields" in chart
        }
        drawn: dict[str, list[dict[str, Any]]] = {}
        for version in _versions(run):
            chart = keys.get(version.key)
            if chart is None:
                known = tables.setdefault(version.key, [])
            else:
                known = drawn.setdefault(chart, [])
                if not _thin(version.content, charts[chart]):
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
        curves, images = self._history_of(run)
        self.runs.append(
            {
                "id": run.id,
                "name": run.name,
                "project": run.project,
                "started": run.started,
                "finished": run.is_finished,
                "config": {key: _plain(value) for key, value in run.config.items()},
                "curves": curves,
                "tables": [
                    {"name": name, "versions": tables[name]}
                    for name in sorted(tables, key=_rank)
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

    def _columns_of(self, run: RecordedRun, version: _Version) -> list[list[Any]]:
        """The names of the columns, and the places of what is in them."""
        found = []
        for i, name in enumerate(version.content["columns"]):
            cells = [
                row[i] if i < len(row) else None for row in version.content["data"]
            ]
            column = self._column(run, version, cells)
            if column["type"] == "image":
                column["layers"] = _class_names(version, str(name))
            digest = hashlib.sha256(json.dumps(column).encode()).digest()
            if digest not in self._places:
                self._places[digest] = len(self.columns)
                self.columns.append(column)
            found.append([str(name), self._places[digest]])
        return found

    def _column(
        self, run: RecordedRun, version: _Version, cells: list[Any]
    ) -> dict[str, Any]:
        present = [cell for cell in cells if cell is not None]
        kinds = {_media_kind(cell) for cell in present}
        if present and kinds <= {"image", "audio", "video"}:
            files = version.artifact.files
            values = [self._medium(run, cell, files) for cell in cells]
            return {"type": max(kinds), "values": values}
        if present and all(isinstance(cell, bool) for cell in present):
            return {"type": "boolean", "values": cells}
        if present and all(_is_number(cell) for cell in present):
            return {"type": "number", "values": [_number(cell) for cell in cells]}
        return {"type": "text", "values": [_plain(cell) for cell in cells]}

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
                name: [box for item in layer if (box := _box(item, size))]
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
            flat = dict(_flat(row))
            for key, value in flat.items():
                if key.startswith("_") or key in axes:
                    continue
                axis = _axis(run, key)
                x = flat.get(axis, flat.get("_step", step))
                if not _is_number(x):
                    continue
                if _is_number(value):
                    curve = curves.setdefault(
                        key, {"key": key, "axis": axis, "points": []}
                    )
                    curve["points"].append([_number(x), _number(value)])
                elif _media_kind(value) == "image":
                    medium = self._medium(run, value, {})
                    if medium is not None:
                        chart = {
                            "key": key,
                            "kind": "image",
                            "title": key,
                            "versions": [],
                        }
                        versions = images.setdefault(key, chart)["versions"]
                        label = f"{axis.rpartition('/')[2].strip('_')} {_number(x)}"
                        versions.append({"time": x, "label": label, "image": medium})
        return list(curves.values()), list(images.values())


def _versions(run: RecordedRun) -> Iterator[_Version]:
    """All tables, in the order in which they were logged."""
    tables: dict[str, set[str]] = {}
    for artifact in run.artifacts:
        for path in artifact.files:
            if path.endswith(_TABLE):
                tables.setdefault(path, set()).add(artifact.name)
    rows = _rows_by_artifact(run)
    counts = Counter[str]()
    for artifact in run.artifacts:
        for path, file in artifact.files.items():
            if not path.endswith(_TABLE):
                continue
            try:
                content = json.loads(file.read())
            except (OSError, ValueError) as error:
                logger.warning("%s of %s is left out: %s", path, artifact.name, error)
                continue
            if not isinstance(content.get("data"), list) or "columns" not in content:
                continue
            key = path.removesuffix(_TABLE)
            if len(tables[path]) > 1:
                name = re.sub(rf"^run[-_]{re.escape(run.id)}[-_]", "", artifact.name)
                key = f"{key} ({name})"
            row = next((rows[i] for i in artifact.ids if i in rows), None)
            if row is None:
                row = _row_in_order(run, key, path, counts)
            yield _Version(
                key, artifact, content, *_when(run, artifact, content, row, key)
            )


def _rows_by_artifact(run: RecordedRun) -> dict[str, dict[str, Any]]:
    """The row of the history that an artifact's table was logged with."""
    found = {}
    for row in run.history:
        for _, value in _cells(row):
            match = re.match(r"wandb(?:-client)?-artifact://([^/]+)/", value)
            if match:
                found.setdefault(match[1], row)
    return found


def _row_in_order(
    run: RecordedRun, key: str, path: str, counts: Counter[str]
) -> dict[str, Any]:
    """The row of the nth version of a table: the nth that has its key, if all have.

    In W&B, a row calls an artifact by an id that only the client had.
    """
    rows = [row for row in run.history if isinstance(row.get(key), dict)]
    logged = sum(path in artifact.files for artifact in run.artifacts)
    counts[path] += 1
    return rows[counts[path] - 1] if len(rows) == logged else {}


def _cells(row: Mapping[str, Any], key: str = "") -> Iterator[tuple[str, str]]:
    for name, value in row.items():
        if isinstance(value, dict):
            if isinstance(value.get("artifact_path"), str):
                yield f"{key}{name}", value["artifact_path"]
            yield from _cells(value, f"{key}{name}.")


def _when(
    run: RecordedRun,
    artifact: RecordedArtifact,
    content: Mapping[str, Any],
    row: Mapping[str, Any],
    key: str,
) -> tuple[float | None, str]:
    """When a table was logged, in epochs, and in words; `None` if that is not known."""
    batch = artifact.metadata.get("batch")
    axis = _axis(run, key)
    names = [re.fullmatch(r"epoch_(\d+)", alias) for alias in artifact.aliases]
    known = [
        artifact.metadata.get("epoch"),
        None if axis == "_step" else dict(_flat(row)).get(axis),
        next((int(name[1]) for name in names if name), None),
        _only_epoch(content),
    ]
    epoch = next((value for value in known if _is_number(value)), None)
    if epoch is None:
        step = row.get("_step")
        return (step, f"step {step}") if _is_number(step) else (None, "")
    if _is_number(batch):  # Before the end of that epoch.
        return epoch - 1 + batch / _BATCHES, f"epoch {epoch:g}, batch {batch:g}"
    return epoch, f"epoch {epoch:g}"


def _only_epoch(content: Mapping[str, Any]) -> Any:
    """The epoch that all rows of a table are of, if they have one."""
    if "epoch" not in content["columns"]:
        return None
    place = content["columns"].index("epoch")
    epochs = [line[place] for line in content["data"] if place < len(line)]
    return epochs[0] if epochs and epochs.count(epochs[0]) == len(epochs) else None


def _axis(run: RecordedRun, key: str) -> str:
    """The key that a key is drawn against."""
    if key in run.x_axes:
        return run.x_axes[key]
    for pattern, axis in run.x_axes.items():
        if pattern.endswith("*") and key.startswith(pattern[:-1]):
            return axis
    shorter, _, _ = key.rpartition("_table")
    return run.x_axes.get(shorter, "_step")


def _rank(name: str) -> tuple[int, str]:
    base = name.split(" (")[0].rpartition("/")[2]
    if base in _ORDER:
        return _ORDER.index(base), name
    return len(_ORDER) + (base == "val_data"), name


# --- Charts -------------------------------------------------------------------------


def _table_of(key: str, panel: Any) -> str:
    """The key of the table that a custom chart draws."""
    found = re.search(r'"tableKey", "value": ("(?:[^"\\]|\\.)*")', json.dumps(panel))
    return str(json.loads(found[1])) if found else f"{key}_table"


def _chart(key: str, panel: Mapping[str, Any]) -> dict[str, Any]:
    """How a custom chart of W&B's is drawn here, by its fields."""
    fields = {str(k): str(v) for k, v in (panel.get("fieldSettings") or {}).items()}
    strings = panel.get("stringSettings") or {}
    spec = str(panel.get("panelDefId", ""))
    chart: dict[str, Any] = {"title": str(strings.get("title") or key)}
    if {"Actual", "Predicted", "nPredictions"} <= fields.keys():
        chart["kind"] = "matrix"
        chart["fields"] = [fields[k] for k in ("Actual", "Predicted", "nPredictions")]
    elif {"label", "value"} <= fields.keys():
        chart |= {"kind": "bar", "fields": [fields["label"], fields["value"]]}
    else:
        x, y = (
            fields.get("x", fields.get("step")),
            fields.get("y", fields.get("lineVal")),
        )
        if x is not None and y is not None:
            series = fields.get("class", fields.get("lineKey"))
            chart["kind"] = "points" if "scatter" in spec else "lines"
            chart["fields"] = [x, y, series]
            chart["x"] = str(strings.get("x-axis-title") or strings.get("xname") or x)
            chart["y"] = str(strings.get("y-axis-title") or y)
    return chart


def _thin(content: dict[str, Any], chart: Mapping[str, Any]) -> bool:
    """Leaves out points that can't be seen; False if there is nothing to draw."""
    if not all(name in content["columns"] for name in chart["fields"] if name):
        return False
    if chart["kind"] == "lines":
        name = chart["fields"][2]
        place = None if name is None else content["columns"].index(name)
        series: dict[str, list[Any]] = {}
        for row in content["data"]:
            series.setdefault("" if place is None else str(row[place]), []).append(row)
        content["data"] = [
            rows[i]
            for rows in series.values()
            for i in sorted(
                {round(k * (len(rows) - 1) / _POINTS) for k in range(_POINTS + 1)}
            )
        ]
    return True


# --- Cells --------------------------------------------------------------------------


def _media_kind(cell: Any) -> str:
    kind = cell.get("_type", "") if isinstance(cell, dict) else ""
    kinds = {"image-file": "image", "audio-file": "audio", "video-file": "video"}
    return kinds.get(kind, "")


def _box(box: Any, size: tuple[float, float]) -> list[Any] | None:
    """A box as corners in pixels, class id, caption and scores."""
    try:
        at = box["position"]
        if "middle" in at:
            (x, y), w, h = at["middle"], at["width"], at["height"]
            corners = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        else:
            corners = [at["minX"], at["minY"], at["maxX"], at["maxY"]]
        if box.get("domain") != "pixel":
            corners = [c * s for c, s in zip(corners, size * 2, strict=True)]
        caption = str(box.get("box_caption") or "")
        scores = {str(k): _number(v) for k, v in (box.get("scores") or {}).items()}
        return [*map(_number, corners), box.get("class_id"), caption, scores]
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _class_names(version: _Version, column: str) -> dict[str, dict[str, str]]:
    """The class names of each layer of a column with images."""
    types = version.content.get("column_types") or {}
    found: dict[str, dict[str, str]] = {}
    for params in _image_params(
        types.get("params", {}).get("type_map", {}).get(column)
    ):
        for kind in ("box_class_maps", "mask_class_maps"):
            layers = (params.get(kind) or {}).get("params", {}).get("val") or {}
            for layer, names in layers.items():
                found.setdefault(str(layer), {}).update(
                    (str(int(i)), str(name)) for i, name in names.items()
                )
    return found


def _image_params(kind: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(kind, dict):
        params = kind.get("params") or {}
        if kind.get("wb_type") == "image-file":
            yield params
        for inner in params.get("allowed_types", []):
            yield from _image_params(inner)


def _flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a row, those of dictionaries by `outer.inner`."""
    for key, value in row.items():
        if isinstance(value, dict) and "_type" not in value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


_NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number or value in _NOT_FINITE


def _number(value: Any) -> Any:
    """A number with six digits; a word if it is not finite, as JSON has none."""
    if not isinstance(value, float) or value in _NOT_FINITE:
        return value
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return (
        int(value)
        if value.is_integer() and abs(value) < 1e15
        else float(f"{value:.6g}")
    )


def _plain(value: Any) -> Any:
    """A value of JSON, in which nothing is an infinity or endless."""
    if isinstance(value, dict):
        kind = value.get("_type")
        if isinstance(kind, str):
            return f"[{kind}]"
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return _number(value) if _is_number(value) else value
