"""W&B's custom charts: their tables and fields."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from wandb_eval.report.cells import as_text

_POINTS = 200  # Per line.


def table_of(key: str, panel: Any) -> str:
    """Returns the key of the table that a custom chart draws."""
    found = re.search(r'"tableKey", "value": ("(?:[^"\\]|\\.)*")', _dumped(panel))
    return str(json.loads(found[1])) if found else f"{key}_table"


def _dumped(panel: Any) -> str:
    try:
        return json.dumps(panel)
    except RecursionError:
        return ""


def read_chart(key: str, panel: Mapping[str, Any]) -> dict[str, Any]:
    """Describes how a page draws a custom chart of W&B, by its fields."""
    fields, strings = (_texts(panel.get(f"{k}Settings")) for k in ("field", "string"))
    spec = as_text(panel.get("panelDefId", ""))
    chart: dict[str, Any] = {"title": strings.get("title") or key}
    if {"Actual", "Predicted", "nPredictions"} <= fields.keys():
        chart["kind"] = "matrix"
        chart["fields"] = [fields[k] for k in ("Actual", "Predicted", "nPredictions")]
    elif {"label", "value"} <= fields.keys():
        chart |= {"kind": "bar", "fields": [fields["label"], fields["value"]]}
    else:
        x = fields.get("x", fields.get("step"))
        y = fields.get("y", fields.get("lineVal"))
        if x is not None and y is not None:
            series = fields.get("class", fields.get("lineKey"))
            chart["kind"] = "points" if "scatter" in spec else "lines"
            chart["fields"] = [x, y, series]
            chart["x"] = strings.get("x-axis-title") or strings.get("xname") or x
            chart["y"] = strings.get("y-axis-title") or y
    return chart


def _texts(settings: Any) -> dict[str, str]:
    settings = settings if isinstance(settings, dict) else {}
    return {str(k): as_text(v) for k, v in settings.items() if v is not None}


def thin_out(content: dict[str, Any], chart: Mapping[str, Any]) -> bool:
    """Thins out the points of lines; returns `False` if there is nothing to draw."""
    if not all(name in content["columns"] for name in chart["fields"] if name):
        return False
    if chart["kind"] == "lines":
        name = chart["fields"][2]
        place = None if name is None else content["columns"].index(name)
        series: dict[str, list[Any]] = {}
        for row in content["data"]:
            name = "" if place is None else as_text(row[place])
            series.setdefault(name, []).append(row)
        content["data"] = [
            row for rows in series.values() for row in spread(rows, _POINTS)
        ]
    return True


def spread(items: list[Any], most: int) -> list[Any]:
    """Selects up to `most` items at equal distances, with the first and the last."""
    if len(items) <= most:
        return items
    return [items[round(k * (len(items) - 1) / (most - 1))] for k in range(most)]
