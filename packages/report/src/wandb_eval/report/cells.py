"""Converts cells of W&B's tables and histories to JSON for a page."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from wandb_eval.report.left_out import ODD

DEEPEST = 30
"""The most levels of nested values that are read; W&B nests less deeply."""

NOT_FINITE = ("NaN", "Infinity", "-Infinity")
"""The words of W&B for numbers that are not finite."""

_FARTHEST = 1e12  # Of pixels, epochs and sizes; exact in JavaScript.


def media_kind(cell: Any) -> str:
    """Returns `image`, `audio` or `video`; empty if pages can't show the cell."""
    kind = cell.get("_type", "") if isinstance(cell, dict) else ""
    kinds = {"image-file": "image", "audio-file": "audio", "video-file": "video"}
    return kinds.get(kind, "") if isinstance(kind, str) else ""


def media_of(value: Any) -> list[dict[str, Any]]:
    """Returns the cells with media of a value of the history.

    See `seq_to_json` of wandb's `Image`, `Audio` and `Video`.
    """
    if media_kind(value):
        return [value]
    kind = value.get("_type") if isinstance(value, dict) else None
    if kind == "images/separated":
        size = {name: value.get(name) for name in ("width", "height")}
        cells = [
            {"_type": "image-file", "path": path, **size}
            for path in _list(value.get("filenames"))
        ]
        for name, of_each in (
            ("caption", "captions"),
            ("masks", "all_masks"),
            ("boxes", "all_boxes"),
        ):
            for cell, item in zip(cells, _list(value.get(of_each)), strict=False):
                cell[name] = item
        return cells
    if kind in ("audio", "videos"):
        cells = [c for c in _list(value.get(kind)) if isinstance(c, dict)]
        captions = _list(value.get("captions"))
        for cell, caption in zip(cells, captions, strict=False):
            cell.setdefault("caption", caption)
        one = {"audio": "audio-file", "videos": "video-file"}[kind]
        return [{**cell, "_type": one} for cell in cells]
    return []


def read_histogram(value: Any) -> dict[str, Any] | None:
    """Reads the counts of a histogram of W&B, and the limits of its bins."""
    if not isinstance(value, dict) or value.get("_type") != "histogram":
        return None
    counts, bins, packed = (value.get(k) for k in ("values", "bins", "packedBins"))
    if isinstance(counts, list) and isinstance(packed, dict) and bins is None:
        start, size = packed.get("min"), packed.get("size")
        if is_near(start) and is_near(size):
            bins = [start + size * place for place in range(len(counts) + 1)]
    if not isinstance(counts, list) or not isinstance(bins, list) or not counts:
        return None
    if len(bins) != len(counts) + 1 or not all(map(is_near, [*counts, *bins])):
        return None
    return {"bins": list(map(number, bins)), "counts": list(map(number, counts))}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def read_box(box: Any, size: tuple[float, float]) -> list[Any] | None:
    """Reads a box as corners in pixels, class id, caption and scores."""
    try:
        at = box["position"]
        if "middle" in at:
            (x, y), w, h = at["middle"], at["width"], at["height"]
            corners = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        else:
            corners = [at["minX"], at["minY"], at["maxX"], at["maxY"]]
        if box.get("domain") != "pixel":
            corners = [c * s for c, s in zip(corners, size * 2, strict=True)]
        if not all(map(is_near, corners)):
            return None
        caption = as_text(box.get("box_caption") or "")
        scores = {
            str(k): number(v)
            for k, v in (box.get("scores") or {}).items()
            if is_near(v)
        }
        class_id = box.get("class_id")
        if not isinstance(class_id, (int, str)):
            class_id = None
        return [*map(number, corners), number(class_id), caption, scores]
    except ODD:
        return None


def class_names(content: Mapping[str, Any], column: str) -> dict[str, dict[str, str]]:
    """Returns the class names of each layer of a column with images."""
    found: dict[str, dict[str, str]] = {}
    try:
        kind = content["column_types"]["params"]["type_map"][column]
    except (LookupError, TypeError):
        return found
    for params in _image_params(kind):
        for maps in ("box_class_maps", "mask_class_maps"):
            try:
                layers = params[maps]["params"]["val"].items()
            except (AttributeError, LookupError, TypeError):
                continue
            for layer, names in layers:
                found.setdefault(str(layer), {}).update(_names(names))
    return found


def layer_names(
    content: Mapping[str, Any], column: str, metadata: Mapping[str, Any]
) -> tuple[dict[str, dict[str, str]], set[str]]:
    """Returns the names of the ids in each layer of a column, with or without a label.

    On W&B's page the pixels of ids without a label are transparent. The callbacks write
    their names into the metadata of an artifact.

    Returns:
        The names by layer, in the order of the ids; and the names of ids without a
        label.
    """
    layers, hidden = class_names(content, column), set[str]()
    unlabelled = metadata.get("unlabelled")
    for layer, names in (unlabelled if isinstance(unlabelled, dict) else {}).items():
        if layer in layers:
            added = dict(_names(names))
            layers[layer] = added | layers[layer]
            hidden |= set(added.values())
    return {
        layer: dict(sorted(names.items(), key=lambda item: int(item[0])))
        for layer, names in layers.items()
    }, hidden


def _names(names: Any) -> Iterator[tuple[str, str]]:
    for class_id, name in (names if isinstance(names, dict) else {}).items():
        if re.fullmatch(r"-?[0-9]{1,9}", class_id):
            yield str(int(class_id)), as_text(name)


def _image_params(kind: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    params = kind.get("params") if isinstance(kind, dict) else None
    if not isinstance(params, dict) or depth > DEEPEST:
        return
    if kind.get("wb_type") == "image-file":
        yield params
    for inner in _list(params.get("allowed_types")):
        yield from _image_params(inner, depth + 1)


def flat(
    row: Mapping[str, Any], prefix: str = "", depth: int = 0
) -> Iterator[tuple[str, Any]]:
    """Yields the values of a row; keys of nested dictionaries are `outer.inner`."""
    for key, value in row.items():
        if isinstance(value, dict) and "_type" not in value and depth < DEEPEST:
            yield from flat(value, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{prefix}{key}", value


def is_number(value: Any) -> bool:
    """Whether a value is a number, or W&B's word for one that is not finite."""
    is_one = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_one or (isinstance(value, str) and value in NOT_FINITE)


def is_near(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number for an epoch, a step or a pixel."""
    is_one = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_one and -_FARTHEST < value < _FARTHEST


def number(value: Any) -> Any:
    """Rounds a number to six digits, and writes one that is not finite as a word."""
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return "Infinity" if value > 0 else "-Infinity"
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


def plain(value: Any, depth: int = 0) -> Any:
    """Converts a value to JSON without infinities and deep nesting."""
    if isinstance(value, (dict, list)) and depth > DEEPEST:
        return "…"
    if isinstance(value, dict):
        kind = value.get("_type")
        if isinstance(kind, str):
            return f"[{kind}]"
        return {str(key): plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner, depth + 1) for inner in value]
    return number(value) if is_number(value) else value


def as_text(value: Any) -> str:
    """Converts a value of JSON to text, unless it is text already."""
    return value if isinstance(value, str) else json.dumps(plain(value))
