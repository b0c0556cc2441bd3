"""A run of any size, without training, for measurements of sizes and times."""

import hashlib
import io
import json

import numpy as np
import PIL.Image

from wandb_eval.report.recorded import RecordedArtifact, RecordedFile, RecordedRun

NAMES = ["cat", "dog", "owl", "fox", "hen", "cow", "pig", "bee", "ant", "elk"]


def many_rows(rows: int, versions: int, side: int = 32) -> RecordedRun:
    """A classifier's run.

    Args:
        rows: The number of samples.
        versions: The number of versions of predictions.
        side: The height and width of the images, in pixels. The images are noise, which
            no format compresses.
    """
    rng = np.random.default_rng(0)
    media, images = {}, []
    for row in range(rows):
        pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        encoded = io.BytesIO()
        PIL.Image.fromarray(pixels).save(encoded, "png")
        path = f"media/images/{row}.png"
        media[path] = _file(encoded.getvalue())
        size = {"width": side, "height": side}
        images.append({"_type": "image-file", "path": path, **size})
    labels = rng.integers(0, len(NAMES), rows)
    columns = ["epoch", "idx", "image", "label", "pred", "score", "correct", "loss"]
    artifacts, history = [], []
    for epoch in range(versions):
        is_right = rng.random(rows) < 0.5 + 0.45 * epoch / versions
        preds = np.where(is_right, labels, rng.integers(0, len(NAMES), rows))
        loss = rng.exponential(1 - 0.8 * epoch / versions, rows)
        cells = zip(images, labels, preds, loss, strict=True)
        data = [
            [epoch, i, image, NAMES[label], NAMES[pred], float(np.exp(-value)),
             bool(label == pred), float(value)]
            for i, (image, label, pred, value) in enumerate(cells)
        ]  # fmt: skip
        table = json.dumps({"columns": columns, "data": data})
        files = {"eval_data.table.json": _file(table.encode()), **media}
        aliases = (f"epoch_{epoch}",)
        artifacts.append(
            RecordedArtifact(
                "run_m_pred", frozenset(), aliases, {"epoch": epoch}, files
            )
        )
        accuracy = float((preds == labels).mean())
        history.append({"eval/epoch": epoch, "eval/accuracy": accuracy})
    axes = {"eval/accuracy": "eval/epoch"}
    return RecordedRun(
        "m", "many rows", history=history, x_axes=axes, artifacts=artifacts
    )


def _file(content: bytes) -> RecordedFile:
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return RecordedFile(digest, len(content), lambda: content)
