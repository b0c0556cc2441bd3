"""The cells of W&B's tables and histories, as JSON for a page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any


def media_kind(cell: Any) -> str:
    """`image`, `audio` or `video`; empty for what is no medium that pages show."""
    kind = cell.get("_type", "") if isinstance(cell, dict) else ""
    kinds = {"image-file": "image", "audio-file": "audio", "video-file": "video"}
    return kinds.get(kind, "")


def read_box(box: Any, size: tuple[float, float]) -> list[Any] | None:
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
        scores = {str(k): number(v) for k, v in (box.get("scores") or {}).items()}
        return [*map(number, corners), box.get("class_id"), caption, scores]
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def class_names(content: Mapping[str, Any], column: str) -> dict[str, dict[str, str]]:
    """The class names of each layer of a column with images."""
    types = content.get("column_types") or {}
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


def flat(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a row, those of dictionaries by `outer.inner`."""
    for key, value in row.items():
        if isinstance(value, dict) and "_type" not in value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


_NOT_FINITE = ("NaN", "Infinity", "-Infinity")


def is_number(value: Any) -> bool:
    """Whether it is a number, or W&B's word for one that is not finite."""
    is_one = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_one or value in _NOT_FINITE


def number(value: Any) -> Any:
    """A number with six digits; a word if it is not finite, as JSON has none."""
    if not isinstance(value, float):
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


def plain(value: Any) -> Any:
    """A value of JSON, in which nothing is an infinity or endless."""
    if isinstance(value, dict):
        kind = value.get("_type")
        if isinstance(kind, str):
            return f"[{kind}]"
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return number(value) if is_number(value) else value
