"""An offline run with everything that a page shows, and the same with odd values."""

import base64
import copy
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import wandb

from wandb_eval.core import offline_log

NAMES = {0: "cat", 1: "dog"}

DEEP: Any = "inner"
for _ in range(400):
    DEEP = [DEEP]

ODD_VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "text": "</script><script>alert(1)</script>",
    "empty text": "",
    "lone surrogate": "\ud800",
    "NUL": "a\0b",
    "long text": "x" * 5000,
    "up": "../../../../../../etc/passwd",
    "number": 7,
    "negative": -1.5,
    "huge": 10**400,
    "nearly infinite": 1.7e308,
    "Infinity": float("inf"),
    "NaN": float("nan"),
    "word": "Infinity",
    "list": [1, "a", None],
    "empty list": [],
    "object": {"a": 1},
    "empty object": {},
    "object of a kind": {"_type": "image-file", "path": ["x"]},
    "kind of another kind": {"_type": {"a": 1}},
    "deep": DEEP,
    "constructor": "__proto__",
}


@dataclass
class Recording:
    """A recorded run: the records of its log."""

    folder: Path
    records: list[Any]

    def table(self) -> dict[str, Any]:
        """The JSON of its table."""
        entry = self.entry("table.table.json")
        return dict(json.loads(Path(entry.local_path).read_text()))

    def entry(self, name: str) -> Any:
        """The entry of a file in the manifest of the last artifact that has it."""
        return self.entries(self.records, name)[-1]

    @staticmethod
    def entries(records: list[Any], name: str) -> list[Any]:
        """The entries of a file in all manifests that have it."""
        artifacts = (r.artifact for r in records if r.HasField("artifact"))
        found = (e for a in artifacts for e in a.manifest.contents)
        return [entry for entry in found if entry.path == name]

    def write(
        self, folder: Path, records: list[Any] | None = None, table: Any = None
    ) -> Path:
        """Writes the run to another folder, with other records or another table."""
        if folder.exists():
            shutil.rmtree(folder)
        shutil.copytree(self.folder / "files", folder / "files")
        records = copy.deepcopy(self.records) if records is None else records
        if table is not None:
            path = folder / "table.json"
            path.write_bytes(table if isinstance(table, bytes) else to_json(table))
            for entry in self.entries(records, "table.table.json"):
                entry.local_path, entry.digest = str(path), "another"
        offline_log.write_records(folder / "run-odd.wandb", records)
        return folder


def to_json(value: Any) -> bytes:
    """A value as Python's JSON, which has NaN and lone surrogates."""
    return json.dumps(value).encode()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all values in a value of JSON, itself first."""
    yield path
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from places(inner, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    """A copy of a value of JSON with another value at a place."""
    if not path:
        return other
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], other)
    return changed


def gif() -> bytes:
    """An animation of two frames."""
    frames = [PIL.Image.new("RGB", (12, 8), color) for color in ("red", "blue")]
    encoded = io.BytesIO()
    frames[0].save(encoded, "gif", save_all=True, append_images=frames[1:])
    return encoded.getvalue()


def record() -> Recording:
    """Records a run with all kinds of values, without our callbacks."""
    rng = np.random.default_rng(0)

    def image(caption: str) -> wandb.Image:
        part = {"minX": 0.25, "minY": 0.5, "maxX": 0.75, "maxY": 1.0}
        box = {"position": part, "class_id": 1, "scores": {"score": 0.5}}
        layer = {"box_data": [box], "class_labels": NAMES}
        mask = {"mask_data": np.eye(8, 12, dtype=np.uint8), "class_labels": NAMES}
        return wandb.Image(
            rng.integers(0, 256, (8, 12, 3), dtype=np.uint8),
            boxes={"found": layer},
            masks={"area": mask},
            caption=caption,
        )

    def sound() -> wandb.Audio:
        return wandb.Audio(rng.uniform(-1, 1, 100), sample_rate=8000, caption="beep")

    def film() -> wandb.Video:
        return wandb.Video(io.BytesIO(gif()), format="gif")

    with wandb.init(mode="offline", name="odd", config={"a": {"b": [1]}}) as run:
        run.define_metric("eval/*", step_metric="eval/epoch")
        for epoch in range(2):
            columns = ["epoch", "idx", "image", "sound", "film", "n", "label", "pred"]
            rows: list[list[Any]] = [
                [epoch, i, image(f"row {i}"), sound(), film(), 0.5 + i, "cat", "dog"]
                for i in range(2)
            ]
            line = wandb.Table(columns=["t", "v"], data=[[0, 1.0], [1, 2.0]])
            bars = wandb.Table(columns=["t", "v"], data=[["a", 1.0], ["b", 2.0]])
            run.log(
                {
                    "eval/epoch": epoch,
                    "eval/accuracy": 0.5 + epoch / 10,
                    "table": wandb.Table(columns=columns, data=rows),
                    "line": wandb.plot.line(line, "t", "v"),
                    "bars": wandb.plot.bar(bars, "t", "v"),
                    "one image": image("alone"),
                    "images": [image("first"), image("second")],
                    "one sound": sound(),
                    "sounds": [sound(), sound()],
                    "one film": film(),
                    "films": [film(), film()],
                    "histogram": wandb.Histogram([1, 2, 2, 3.5], num_bins=4),
                    "markup": wandb.Html("<b>bold</b>", inject=False),
                }
            )
    assert offline_log.wait_for_exit(run, timeout=60)
    folder = Path(run.settings.sync_dir)
    records = list(offline_log.read_records(offline_log.find_log(folder)))
    return Recording(folder, records)


def charts() -> Path:
    """A run with small numbers, negative bars, and a chart of a logged table."""
    with wandb.init(mode="offline", name="charts") as run:
        for step in range(3):
            table = wandb.Table(
                columns=["label", "value"], data=[["down", -2.0 - step], ["up", 1.0]]
            )
            bars = wandb.plot.bar(table, "label", "value", title="shared")
            rate = 0.0009 + step * 1e-7
            run.log({"rate": rate, "shared table": table, "shared": bars})
    assert offline_log.wait_for_exit(run, timeout=60)
    return Path(run.settings.sync_dir)


def data_url(kind: str, content: bytes) -> str:
    """The `data:` URL of a file in a page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
