"""Recorded runs that are made without training: large ones, and several kinds."""

import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from wandb_eval.report.recorded import RecordedArtifact, RecordedFile, RecordedRun

LONG_NAMES = [
    f"{animal} of the {place}"
    for animal in ("barn owl", "red fox", "hen harrier", "wood ant", "alpine elk")
    for place in ("north", "south", "east", "west", "hills", "plains", "shore", "isles")
]
BIDI = "שלום (אחד)"


class _Run:
    """Collects the files of one artifact's versions."""

    def __init__(self, name: str) -> None:
        self.media: dict[str, RecordedFile] = {}
        self.run = RecordedRun(name, name, is_finished=True)
        self.rng = np.random.default_rng(0)

    def stored(self, pixels: NDArray[np.uint8]) -> str:
        encoded = io.BytesIO()
        PIL.Image.fromarray(pixels).save(encoded, "png", compress_level=1)
        file = recorded_file(encoded.getvalue())
        path = f"media/images/{file.digest}.png"
        self.media[path] = file
        return path

    def image(self, pixels: NDArray[np.uint8], **more: Any) -> dict[str, Any]:
        height, width = pixels.shape[:2]
        size = {"width": width, "height": height}
        return {"_type": "image-file", "path": self.stored(pixels), **size, **more}

    def mask(self, ids: NDArray[np.uint8]) -> dict[str, Any]:
        return {"_type": "mask", "path": self.stored(ids)}

    def version(
        self,
        epoch: int,
        tables: dict[str, tuple[list[str], list[list[Any]]]],
        layers: dict[str, Any] | None = None,
        evaluation: str = "pred",
    ) -> None:
        files = dict(self.media)
        for name, (columns, data) in tables.items():
            content: dict[str, Any] = {"columns": columns, "data": data}
            if layers:
                kind = {"wb_type": "image-file", "params": layers}
                content["column_types"] = {"params": {"type_map": {"image": kind}}}
            files[f"{name}.table.json"] = recorded_file(json.dumps(content).encode())
        self.run.artifacts.append(
            RecordedArtifact(
                f"run_{self.run.id}_{evaluation}",
                frozenset(),
                (f"epoch_{epoch}",),
                {"epoch": epoch},
                files,
            )
        )
        self.run.history.append({"eval/epoch": epoch, "eval/accuracy": 0.5 + epoch / 9})
        self.run.x_axes["eval/accuracy"] = "eval/epoch"

    def chart(self, name: str, kind: str, columns: Sequence[str]) -> None:
        """Adds a custom chart that draws the table `<name>_table`."""
        settings = {
            "matrix": ("Actual", "Predicted", "nPredictions"),
            "bar": ("label", "value"),
            "line": ("x", "y"),
        }[kind]
        self.run.charts[name] = {
            "panelDefId": f"wandb/{kind}",
            "fieldSettings": dict(zip(settings, columns, strict=True)),
            "stringSettings": {"title": name},
        }


def recorded_file(content: bytes) -> RecordedFile:
    """A file with the content."""
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return RecordedFile(digest, len(content), lambda: content)


def classifier(
    names: Sequence[str] = LONG_NAMES,
    rows: int = 200,
    versions: int = 3,
    side: int = 32,
) -> RecordedRun:
    """A classifier's run with a confusion matrix and a table of classes."""
    made, count = _Run("classifier"), len(names)
    rng = made.rng
    hues = rng.integers(40, 216, (count, 1, 1, 3))
    labels = np.arange(rows) % count
    noise = rng.integers(-40, 40, (rows, side, side, 3))
    images = [
        made.image(np.clip(hues[k] + noise[i], 0, 255).astype(np.uint8))
        for i, k in enumerate(labels)
    ]
    columns = ["idx", "label", "pred", "score", "correct", "loss"]
    shown = ["epoch", "idx", "image", *columns[1:]]
    for epoch in range(versions):
        right = rng.random(rows) < 0.4 + 0.4 * epoch / versions
        preds = np.where(right, labels, (labels + rng.integers(1, 4, rows)) % count)
        loss = np.where(preds == labels, 0.2, 2.0) + rng.random(rows) / 10
        scores = [
            [
                i,
                names[label],
                names[pred],
                float(np.exp(-value)),
                bool(label == pred),
                float(value),
            ]
            for i, (label, pred, value) in enumerate(
                zip(labels, preds, loss, strict=True)
            )
        ]
        fixed = [[epoch, i, images[i], *scores[i][1:]] for i in range(rows // 2)]
        worst = sorted(range(rows), key=lambda i: -scores[i][-1])[:20]
        hardest = [[epoch, i, images[i], *scores[i][1:]] for i in worst]
        per_class = [
            [epoch, name, float(right[labels == k].mean()), float(k % 10) / 10]
            for k, name in enumerate(names)
        ]
        cells = np.zeros((count, count), int)
        np.add.at(cells, (labels, preds), 1)
        matrix = [
            [names[i], names[j], int(cells[i, j])]
            for i in range(count)
            for j in range(count)
        ]
        made.version(epoch, {
            "eval_data": (shown, fixed),
            "hardest": (shown, hardest),
            "scores": (columns, scores),
            "per_class": (["epoch", "class", "recall", "precision"], per_class),
            "matrix_table": (["Actual", "Predicted", "nPredictions"], matrix),
        })  # fmt: skip
    made.chart("matrix", "matrix", ["Actual", "Predicted", "nPredictions"])
    return made.run


def detector(boxes: int = 100, rows: int = 60, versions: int = 3) -> RecordedRun:
    """A detector's run with many boxes in each image."""
    made = _Run("detector")
    rng = made.rng
    names = {str(i): name for i, name in enumerate(LONG_NAMES[:8])}
    size = np.array([320, 240])
    images, truths = [], []
    for _ in range(rows):
        images.append(made.image(rng.integers(60, 200, (240, 320, 3)).astype(np.uint8)))
        low = rng.random((boxes, 2)) * size * 0.85
        truths.append((np.concatenate([low, low + 12 + rng.random((boxes, 2)) * 25], 1),
                       rng.integers(0, 8, boxes)))  # fmt: skip
    per_layer = {
        "box_class_maps": {
            "params": {"val": dict.fromkeys(("ground_truth", "predictions"), names)}
        }
    }
    columns = ["epoch", "idx", "image", "true_positives", "false_positives"]
    columns += ["false_negatives"]
    for epoch in range(versions):
        data = []
        for i, (image, (corners, ids)) in enumerate(zip(images, truths, strict=True)):
            moved = corners + rng.normal(0, 6 - 2 * epoch, corners.shape)
            score = rng.random(boxes)
            layer = [_box(*args) for args in zip(corners, ids, strict=True)]
            found = [
                _box(*args) for args in zip(moved, (ids + (score < 0.1)) % 8, score,
                                            strict=True)
            ]  # fmt: skip
            wrong = int((score < 0.1).sum())
            cell = {**image, "boxes": {
                "ground_truth": {"box_data": layer}, "predictions": {"box_data": found},
            }}  # fmt: skip
            cell["boxes"] = {
                "ground_truth": layer, "predictions": found,
            }  # fmt: skip
            data.append([epoch, i, cell, boxes - wrong, wrong, wrong])
        made.version(
            epoch,
            {"eval_data": (columns, data), "hardest": (columns, data[:20])},
            per_layer,
        )
    return made.run


def _box(corners: Any, class_id: Any, score: float | None = None) -> dict[str, Any]:
    left, top, right, bottom = map(float, corners)
    position = {"minX": left, "minY": top, "maxX": right, "maxY": bottom}
    box: dict[str, Any] = {"position": position, "domain": "pixel"}
    box |= {"class_id": int(class_id), "box_caption": ""}
    if score is None:
        return box
    caption = "wrong class" if score < 0.1 else ""
    return {**box, "scores": {"score": float(score)}, "box_caption": caption}


def segmenter(rows: int = 6, versions: int = 3) -> RecordedRun:
    """A segmentation run with images of 512x1024 pixels and 19 classes."""
    made = _Run("segmenter")
    rng = made.rng
    names = {str(i): LONG_NAMES[i] for i in range(19)}
    errors = {"252": "not counted", "253": "right", "254": "wrong"}
    layers = {"ground_truth": names, "predictions": names, "errors": errors}
    params = {"mask_class_maps": {"params": {"val": layers}}}
    down, across = np.mgrid[:512, :1024]
    columns = ["epoch", "idx", "image", "mean_iou", "class_iou"]
    scenes = []
    for i in range(rows):
        ids = ((down // 64 + across // 128 + i) % 19).astype(np.uint8)
        pixels = np.stack([ids * 12, ids * 7 + 40, 255 - ids * 9], -1).astype(np.uint8)
        scenes.append((made.image(pixels), ids))
    for epoch in range(versions):
        data, scores = [], []
        for i, (image, ids) in enumerate(scenes):
            shift = 24 // (epoch + 1)
            found = np.roll(ids, shift, 1)
            wrong = np.where(found == ids, 253, 254).astype(np.uint8)
            masks = {"ground_truth": ids, "predictions": found, "errors": wrong}
            cell = {**image, "masks": {k: made.mask(v) for k, v in masks.items()}}
            ious = [float(rng.random()) for _ in range(3)]
            text = ", ".join(f"{LONG_NAMES[k]} {v:.2f}" for k, v in enumerate(ious))
            data.append([epoch, i, cell, float((found == ids).mean()), text])
            scores.append([i, data[-1][3], LONG_NAMES[:3], ious, f"{i:x}"])
        made.version(epoch, {
            "eval_data": (columns, data),
            "hardest": (columns, data),
            "scores": (["idx", "mean_iou", "classes", "class_iou", "content"], scores),
        }, params)  # fmt: skip
    return made.run


def image_to_image(rows: int = 8, versions: int = 2) -> RecordedRun:
    """A run whose rows have four images of one size."""
    made = _Run("denoiser")
    rng = made.rng
    columns = ["epoch", "idx", "image", "target", "prediction", "error", "mae", "ssim"]
    for epoch in range(versions):
        data = []
        for i in range(rows):
            target = np.full((48, 64, 3), 30 * i, np.uint8)
            noisy = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            cells = [made.image(p) for p in (noisy, target, target // 2, noisy // 2)]
            error = 0.1 * (i + 1) / (epoch + 1)
            data.append([epoch, i, *cells, error, 1 - error])
        made.version(epoch, {"eval_data": (columns, data)})
    return made.run


def regressor(rows: int = 6, versions: int = 2) -> RecordedRun:
    """A run of one number a sample, with errors on both sides that become less."""
    made = _Run("angles")
    columns = ["epoch", "idx", "image", "angle", "predicted angle", "error"]
    image = made.image(np.full((24, 24, 3), 90, np.uint8))
    for epoch in range(versions):
        data = []
        for i in range(rows):
            angle, error = 10.0 * i - 30, (-1) ** i * 20.0 / (epoch + 1)
            data.append([epoch, i, image, angle, angle + error, error])
        made.version(epoch, {"eval_data": (columns, data)})
    return made.run


def several_labels(rows: int = 30, versions: int = 2) -> RecordedRun:
    """A run of texts with several labels each, some of them right to left."""
    made = _Run("several labels")
    rng = made.rng
    names = [BIDI, "urgent", "refund", "praise", "spam"]
    columns = ["epoch", "idx", "text", "label", "pred", "correct", "loss"]
    for epoch in range(versions):
        data, scores = [], []
        for i in range(rows):
            label = [names[k] for k in sorted({i % 5, i * 3 % 5})]
            pred = label if rng.random() < 0.6 else [names[(i + 1) % 5]]
            words = f"The customer {i} writes at length about the order. " * 6
            data.append([epoch, i, words, ", ".join(label), ", ".join(pred),
                         label == pred, float(rng.random())])  # fmt: skip
            scores.append([i, label, pred, label == pred])
        of_all = ["idx", "label", "pred", "correct"], scores
        made.version(epoch, {"eval_data": (columns, data), "scores": of_all})
    return made.run


def commas() -> RecordedRun:
    """A run whose classes have names with commas, and two logged ground truths."""
    made = _Run("commas")
    columns = ["idx", "label", "pred", "correct"]
    names = ["missile"] * 3 + ["projectile, missile"] * 5
    truth = [[i, name] for i, name in enumerate(names)]
    content = json.dumps({"columns": columns[:2], "data": truth}).encode()
    for _ in range(2):  # `fit` was called twice.
        files = {"val_data.table.json": recorded_file(content)}
        made.run.artifacts.append(
            RecordedArtifact("val", frozenset(), ("latest",), {}, files)
        )
    for epoch in range(2):
        rows = [[i, name, name, True] for i, name in truth]
        made.version(epoch, {"scores": (columns, rows), "eval_data": (columns, rows)})
    return made.run


def two_evaluations() -> RecordedRun:
    """A run with two callbacks: one shows all samples, the other only the first."""
    made = _Run("two evaluations")
    shown = ["epoch", "idx", "image", "label", "pred"]
    for evaluation, level, count in (("pred", 60, 6), ("test_pred", 200, 1)):
        images = [
            made.image(np.full((8, 8, 3), level + i, np.uint8)) for i in range(count)
        ]
        fixed = [[0, i, image, "cat", "dog"] for i, image in enumerate(images)]
        scores = [[i, "cat", "dog", False] for i in range(6)]
        columns = ["idx", "label", "pred", "correct"]
        tables = {"eval_data": (shown, fixed), "scores": (columns, scores)}
        made.version(0, tables, evaluation=evaluation)
    return made.run


def in_order(order: Sequence[int], epochs: Sequence[int] = (0,)) -> RecordedRun:
    """A run whose data comes in an order; the even samples are right.

    Args:
        order: The samples, in their order.
        epochs: The epochs with scores of all samples, of three.
    """
    made = _Run("in order")
    columns = ["idx", "label", "pred", "correct", "content"]
    for epoch in range(max(epochs) + 1):
        rows = [
            [i, "cat", "cat" if k % 2 == 0 else "dog", k % 2 == 0, f"{k:x}"]
            for i, k in enumerate(order)
        ]
        tables = {"scores": (columns, rows)} if epoch in epochs else {}
        shown = [[epoch, *row[:4]] for row in rows[:2]]
        tables["eval_data"] = (["epoch", *columns[:4]], shown)
        made.version(epoch, tables)
    return made.run
