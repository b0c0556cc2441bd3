"""The sides of the benchmark: callbacks that show the same in W&B.

| side | |
|---|---|
| `wandb` | W&B's class, subclassed as its documentation shows |
| `drop-in` | the same subclass, of `wandb_eval.core.WandbEvalCallback`, without a table in the run's history |
| `ours` | the ready callback of the task, without what W&B's class has not: no metrics, no charts, no hardest samples, no scores, no table in the run's history (segmentation shows errors as a layer, though) |
| `ours jpg` | the same, with `image_format="jpg"` |
| `measuring` | `ours` with metrics and charts |
| `shipped` | the ready callback of the task, with all its defaults |
"""  # noqa: E501

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
import wandb
from cases import BATCH_SIZE, Case
from wandb.integration.keras import WandbEvalCallback as StockEvalCallback

from wandb_eval.classification import WandbClassificationEvalCallback
from wandb_eval.core import WandbEvalCallback
from wandb_eval.detection import WandbDetectionEvalCallback
from wandb_eval.engine import map_to_image, range_to_image
from wandb_eval.image_to_image import WandbImageToImageEvalCallback
from wandb_eval.regression import WandbRegressionEvalCallback
from wandb_eval.segmentation import WandbSegmentationEvalCallback

SIDES = ("wandb", "drop-in", "ours", "ours jpg", "measuring", "shipped")

_READY = {
    "classification": WandbClassificationEvalCallback,
    "detection": WandbDetectionEvalCallback,
    "segmentation": WandbSegmentationEvalCallback,
    "regression": WandbRegressionEvalCallback,
    "image_to_image": WandbImageToImageEvalCallback,
}


def make(side: str, case: Case) -> keras.callbacks.Callback:
    """Makes the callback of a side, for all the images of a case."""
    if side == "wandb":
        return _documented(StockEvalCallback, case)
    if side == "drop-in":
        return _documented(WandbEvalCallback, case, log_to_history=False)

    class Reduced(_READY[case.task]):  # type: ignore[misc]
        def new_metrics(self) -> Any:
            return super().new_metrics() if side == "measuring" else None

        def extra_results(self, evaluation: Any) -> dict[str, Any]:
            return {}

        def summarize(self, evaluation: Any) -> dict[str, Any]:
            return {}

        def log_pred_table(self, *args: Any, **options: Any) -> None:
            super().log_pred_table(*args, **{**options, "more_tables": {}})

    shipped = side == "shipped"
    names = {"class_names": case.names} if case.names else {}
    return (_READY[case.task] if shipped else Reduced)(
        (case.x, case.y),
        **names,
        num_samples=None,
        batch_size=BATCH_SIZE,
        image_format="jpg" if side == "ours jpg" else "png",
        num_hardest=20 if shipped else 0,
        log_to_history=shipped,
    )


def _documented(base: type, case: Case, **options: Any) -> keras.callbacks.Callback:
    """Makes a subclass as in W&B's documentation, with predictions in batches."""
    class_labels = dict(enumerate(case.names))
    classes = wandb.Classes(
        [{"id": label, "name": name} for label, name in class_labels.items()]
    )

    def box_layer(boxes: Any, labels: Any, scores: Any = None) -> dict[str, Any]:
        corners = np.asarray(boxes, float).round(2).tolist()
        box_data: list[dict[str, Any]] = [
            {
                "position": dict(
                    zip(("minX", "minY", "maxX", "maxY"), corner, strict=True)
                ),
                "domain": "pixel",
                "class_id": int(label),
                "box_caption": class_labels[int(label)],
            }
            for corner, label in zip(corners, labels, strict=True)
        ]
        if scores is not None:
            for box, score in zip(box_data, scores, strict=True):
                box["box_caption"] += f" {score:.2f}"
                box["scores"] = {"score": round(float(score), 4)}
        return {"box_data": box_data, "class_labels": class_labels}

    def mask_layer(mask: Any) -> dict[str, Any]:
        return {"mask_data": mask, "class_labels": class_labels}

    class Classification(base):  # type: ignore[misc]
        def add_ground_truth(self, logs: Any = None) -> None:
            for idx, (image, label) in enumerate(zip(case.x, case.y, strict=True)):
                self.data_table.add_data(idx, wandb.Image(image), case.names[label])

        def add_model_predictions(self, epoch: int, logs: Any = None) -> None:
            table = self.data_table_ref
            for start in range(0, case.count, BATCH_SIZE):
                batch = case.x[start : start + BATCH_SIZE]
                preds = self.model.predict_on_batch(batch)
                preds = tf.argmax(preds, axis=-1).numpy()
                for idx, pred in enumerate(preds, start):
                    row = table.data[idx]
                    self.pred_table.add_data(
                        epoch, row[0], row[1], row[2], case.names[pred]
                    )

    class Detection(base):  # type: ignore[misc]
        def add_ground_truth(self, logs: Any = None) -> None:
            for idx, image in enumerate(case.x):
                layers = {"ground_truth": self.truth(idx)}
                self.data_table.add_data(
                    idx,
                    wandb.Image(image, boxes=layers, classes=classes),
                    len(case.y["boxes"][idx]),
                )

        def add_model_predictions(self, epoch: int, logs: Any = None) -> None:
            table = self.data_table_ref
            for start in range(0, case.count, BATCH_SIZE):
                batch = case.x[start : start + BATCH_SIZE]
                preds = self.model.predict_on_batch(batch)
                found = zip(
                    preds["boxes"], preds["labels"], preds["scores"], strict=True
                )
                for idx, pred in enumerate(found, start):
                    row = table.data[idx]
                    layers = {
                        "ground_truth": self.truth(idx),
                        "predictions": box_layer(*pred),
                    }
                    image = wandb.Image(row[1], boxes=layers, classes=classes)
                    self.pred_table.add_data(epoch, row[0], image, row[2], len(pred[0]))

        def truth(self, idx: int) -> dict[str, Any]:
            return box_layer(case.y["boxes"][idx], case.y["labels"][idx])

    class Segmentation(base):  # type: ignore[misc]
        def add_ground_truth(self, logs: Any = None) -> None:
            for idx, (image, mask) in enumerate(zip(case.x, case.y, strict=True)):
                layers = {"ground_truth": mask_layer(mask)}
                self.data_table.add_data(
                    idx,
                    wandb.Image(image, masks=layers, classes=classes),
                    [case.names[label] for label in np.unique(mask)],
                )

        def add_model_predictions(self, epoch: int, logs: Any = None) -> None:
            table = self.data_table_ref
            for start in range(0, case.count, BATCH_SIZE):
                batch = case.x[start : start + BATCH_SIZE]
                preds = self.model.predict_on_batch(batch)
                preds = tf.argmax(preds, axis=-1).numpy().astype(np.uint8)
                for idx, pred in enumerate(preds, start):
                    row = table.data[idx]
                    layers = {
                        "ground_truth": mask_layer(case.y[idx]),
                        "predictions": mask_layer(pred),
                    }
                    image = wandb.Image(row[1], masks=layers, classes=classes)
                    accuracy = float((pred == case.y[idx]).mean())
                    self.pred_table.add_data(epoch, row[0], image, row[2], accuracy)

    class Regression(base):  # type: ignore[misc]
        def add_ground_truth(self, logs: Any = None) -> None:
            for idx, (image, target) in enumerate(zip(case.x, case.y, strict=True)):
                self.data_table.add_data(idx, wandb.Image(image), float(target))

        def add_model_predictions(self, epoch: int, logs: Any = None) -> None:
            table = self.data_table_ref
            for start in range(0, case.count, BATCH_SIZE):
                batch = case.x[start : start + BATCH_SIZE]
                preds = self.model.predict_on_batch(batch)[:, 0].tolist()
                for idx, pred in enumerate(preds, start):
                    row = table.data[idx]
                    self.pred_table.add_data(epoch, row[0], row[1], row[2], pred)

    class ImageToImage(base):  # type: ignore[misc]
        def add_ground_truth(self, logs: Any = None) -> None:
            for idx, (image, target) in enumerate(zip(case.x, case.y, strict=True)):
                cells = wandb.Image(image), wandb.Image(range_to_image(target, 0, 1))
                self.data_table.add_data(idx, *cells)

        def add_model_predictions(self, epoch: int, logs: Any = None) -> None:
            table = self.data_table_ref
            for start in range(0, case.count, BATCH_SIZE):
                batch = case.x[start : start + BATCH_SIZE]
                preds = self.model.predict_on_batch(batch)
                for idx, pred in enumerate(preds, start):
                    errors = np.abs(pred - case.y[idx])
                    image = wandb.Image(range_to_image(pred, 0, 1))
                    error = wandb.Image(map_to_image(errors.mean(axis=-1), 0, 0.25))
                    cells = image, error, float(errors.mean())
                    self.pred_table.add_data(epoch, *table.data[idx][:3], *cells)

    tasks: dict[str, tuple[type, str, list[str]]] = {
        "regression": (Regression, "target", ["predicted"]),
        "image_to_image": (ImageToImage, "target", ["prediction", "error", "mae"]),
        "classification": (Classification, "label", ["pred"]),
        "detection": (Detection, "num_boxes", ["num_predictions"]),
        "segmentation": (Segmentation, "classes", ["pixel_accuracy"]),
    }
    task, truth, predictions = tasks[case.task]
    data_columns = ["idx", "image", truth]
    return task(data_columns, ["epoch", *data_columns, *predictions], **options)
