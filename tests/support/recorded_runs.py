"""Small runs of all tasks, with names that look like markup."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import wandb

from documented_example import documented_class
from wandb_eval.classification import WandbClassificationEvalCallback
from wandb_eval.core import WandbEvalCallback
from wandb_eval.core.offline_log import wait_for_exit
from wandb_eval.detection import WandbDetectionEvalCallback
from wandb_eval.segmentation import WandbSegmentationEvalCallback

HOSTILE = "</script><img src=x onerror=alert(1)>"
NAMES = [HOSTILE, "cat & dog", "<!-- ]]> '\" -->"]
SIZE = (24, 32)  # height, width
BOX = [4.0, 6.0, 20.0, 16.0]  # In every scene: x_min, y_min, x_max, y_max.
FOUND = [8.0, 8.0, 28.0, 20.0]  # The box that the detector always finds.
EPOCHS = 3

SMALL = np.full((8, 12, 3), 128, np.uint8)
PART = {"minX": 0.25, "minY": 0.5, "maxX": 0.75, "maxY": 1.0}
MIDDLE = {"middle": [6, 4], "width": 4, "height": 2}

GREY = np.full((6, *SIZE, 3), 128, np.uint8)
MASKS = np.zeros((6, *SIZE), np.int32)
MASKS[:, 6:16, 4:20] = 1  # The pixels of BOX.


def fit(model: keras.Model, callback: Any, x: Any, y: Any, loss: str = "mse") -> None:
    """Trains a model for a few epochs."""
    model.compile("sgd", loss)
    model.fit(x, y, epochs=EPOCHS, verbose=0, callbacks=[callback])


def classify(name: str = "digits", count: int = 40, mode: Any = "offline") -> Path:
    """A run of a classifier, with config, and hostile names of all kinds."""
    keras.utils.set_random_seed(0)
    # The first samples of several runs are equal.
    x = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1)).astype("uint8")
    y = np.arange(count) % 3
    config = {"rate": 0.1, HOSTILE: HOSTILE}
    with wandb.init(mode=mode, name=name, config=config) as run:
        layers = [keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        model = keras.Sequential([keras.layers.Rescaling(1 / 255), *layers])
        callback = WandbClassificationEvalCallback(
            (x, y), NAMES, num_samples=20, num_hardest=5
        )
        fit(model, callback, x, y, "sparse_categorical_crossentropy")
    return finished(run)


def detect(mode: Any = "offline") -> Path:
    """A run of a detector that finds the same in every scene."""

    def decode(outputs: Any) -> dict[str, Any]:
        count = len(outputs)
        return {
            "boxes": np.tile([[FOUND]], (count, 1, 1)),
            "labels": np.ones((count, 1)),
            "confidence": np.full((count, 1), 0.75),
        }

    truth = {"boxes": np.tile([[BOX]], (6, 1, 1)), "labels": np.zeros((6, 1))}
    with wandb.init(mode=mode, name="boxes") as run:
        model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
        callback = WandbDetectionEvalCallback((GREY, truth), NAMES, decode_fn=decode)
        fit(model, callback, GREY, np.zeros((6, 1)))
    return finished(run)


def segment(mode: Any = "offline") -> Path:
    """A run of a segmentation model."""
    names = ["background", HOSTILE]
    with wandb.init(mode=mode, name="masks") as run:
        model = keras.Sequential([keras.layers.Rescaling(1 / 255)])
        model.add(keras.layers.Conv2D(2, 1))
        callback = WandbSegmentationEvalCallback((GREY, MASKS), names)
        fit(model, callback, GREY, keras.utils.to_categorical(MASKS, 2))
    return finished(run)


def from_the_documentation() -> Path:
    """A run with W&B's own example."""
    x = np.random.default_rng(1).integers(0, 256, (6, 8, 8, 3)).astype("uint8")
    y = np.arange(6) % 3
    with wandb.init(mode="offline", name="example") as run:
        layers = [keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
        callback = documented_class(WandbEvalCallback)(
            validation_data=(x, y),
            data_table_columns=["idx", "image", "label"],
            pred_table_columns=["epoch", "idx", "image", "label", "pred"],
        )
        targets = keras.utils.to_categorical(y, 3)
        fit(keras.Sequential(layers), callback, x, targets)
    return finished(run)


def plain() -> Path:
    """A run that logs without our callbacks."""
    names = {0: "cat", 1: "dog"}
    with wandb.init(mode="offline", name="plain", config={"a": {"b": 1}}) as run:
        run.define_metric("val/*", step_metric="val/round")
        for step in range(3):
            relative = {"position": PART, "class_id": 1, "scores": {"score": 0.5}}
            pixel = {"position": MIDDLE, "domain": "pixel", "class_id": 0}
            layer = {"box_data": [relative, pixel], "class_labels": names}
            mask = {"mask_data": np.eye(8, 12, dtype=np.uint8), "class_labels": names}
            image = wandb.Image(
                SMALL, boxes={"found": layer}, masks={"area": mask}, caption="one"
            )
            rows = [[image, 0.1 + step, "x", True], [None, float("nan"), None, None]]
            table = wandb.Table(columns=["shown", "n", "text", "ok"], data=rows)
            columns, data = ["t", "v"], [[0, 1.0], [1, 2.0]]
            line, bars = (wandb.Table(columns=columns, data=data) for _ in range(2))
            run.log(
                {
                    "val/loss": 1 / (step + 1),
                    "val/round": 10 * step,
                    "table": table,
                    "still": wandb.Image(SMALL),
                    "curve": wandb.plot.line(line, "t", "v", title="A curve"),
                    "bars": wandb.plot.bar(bars, "t", "v"),
                    "bad": float("inf"),
                }
            )
    return finished(run)


def bare() -> Path:
    """A run that logs only numbers."""
    with wandb.init(mode="offline", name="bare") as run:
        for step in range(3):
            run.log({"loss": 1 / (step + 1)})
    return finished(run)


def finished(run: wandb.Run) -> Path:
    """Returns the folder of a run once its log is complete."""
    assert wait_for_exit(run, timeout=60)
    return Path(run.settings.sync_dir)
