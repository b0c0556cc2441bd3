"""Watch a small detector learn to find handwritten digits on photographs.

The detector is anchor-free, like CenterNet (https://arxiv.org/abs/1904.07850): for each
cell of 8x8 pixels it predicts the digit whose middle is there, and the extent of the
digit's box. It trains for about two minutes on two cores. W&B runs offline, so no
account is needed; a picture of the predicted boxes is saved, too.

    uv run examples/detect_digits.py
"""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("WANDB_SILENT", "true")

import keras
import numpy as np
import wandb
from keras import layers, ops
from scenes import CLASS_NAMES, IMAGE_SIZE, Scenes, make_scenes

from wandb_eval.detection import (
    ERROR_TYPES,
    WandbDetectionEvalCallback,
    draw_detections,
    draw_legend,
)
from wandb_eval.engine.kit.opencv import cv2

STRIDE = 8
GRID = (IMAGE_SIZE[0] // STRIDE, IMAGE_SIZE[1] // STRIDE)
NUM_CLASSES = len(CLASS_NAMES)
MAX_BOXES = 20
EPOCHS = 6
EVERY_N_EPOCHS = 2


def build_model() -> keras.Model:
    """A CNN that predicts ten scores and four distances for each cell."""

    def block(x, filters, strides=1):
        x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    images = keras.Input((*IMAGE_SIZE, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(images)
    x = block(x, 16, strides=2)
    x = block(block(x, 32, strides=2), 32)
    x = block(block(x, 64, strides=2), 64)
    for _ in range(2):
        x = layers.Add()([x, block(block(x, 64), 64)])
    # Almost every cell is empty, so the initial scores are one in a hundred.
    rare = keras.initializers.Constant(-4.6)
    scores = layers.Conv2D(NUM_CLASSES, 1, bias_initializer=rare)(block(x, 64))
    distances = layers.Conv2D(4, 1)(block(x, 64))
    return keras.Model(images, layers.Concatenate()([scores, distances]))


def encode(scenes: Scenes) -> np.ndarray:
    """Converts boxes to the cells that the model should predict.

    Returns:
        float32 array of shape `(scenes, rows, columns, 15)`: the proximity to the
        middle of a digit of each class (1 in its cell), the logarithms of the distances
        to the left, upper, right and lower side in cells, and whether there is a box.
    """
    rows, columns = np.mgrid[: GRID[0], : GRID[1]]
    x, y = columns + 0.5, rows + 0.5
    cells = np.zeros((len(scenes.boxes), *GRID, NUM_CLASSES + 5), "float32")
    for cell, boxes, labels in zip(cells, scenes.boxes, scenes.labels, strict=True):
        for box, label in zip(boxes / STRIDE, labels, strict=True):
            left, top, right, bottom = box
            row, column = int((top + bottom) / 2), int((left + right) / 2)
            apart = (rows - row) ** 2 + (columns - column) ** 2
            near = np.exp(-apart / (2 * 0.8**2))
            cell[..., label] = np.maximum(cell[..., label], near)
            distances = np.stack([x - left, y - top, right - x, bottom - y], axis=-1)
            inside = (apart <= 1) & (distances.min(axis=-1) > 0.1) | (apart == 0)
            cell[inside, NUM_CLASSES:-1] = np.log(np.maximum(distances, 0.05))[inside]
            cell[inside, -1] = 1
    return cells


def loss(y_true, y_pred):
    """Focal loss for the scores, and L1 for the distances in cells with a box."""
    near, wanted = y_true[..., :NUM_CLASSES], y_true[..., NUM_CLASSES:-1]
    has_box = y_true[..., -1:]
    logits, distances = y_pred[..., :NUM_CLASSES], y_pred[..., NUM_CLASSES:]
    score = ops.sigmoid(logits)
    is_middle = ops.cast(near > 0.999, "float32")
    right = is_middle * (1 - score) ** 2 * ops.softplus(-logits)
    wrong = (1 - is_middle) * (1 - near) ** 4 * score**2 * ops.softplus(logits)
    focal = ops.sum(right + wrong) / ops.maximum(ops.sum(is_middle), 1.0)
    off = ops.sum(has_box * ops.abs(distances - wanted))
    return focal + off / ops.maximum(ops.sum(has_box), 1.0)


def decode(outputs: np.ndarray) -> dict[str, np.ndarray]:
    """The best boxes of each image, padded with the label -1."""
    logits, distances = np.split(outputs, [NUM_CLASSES], axis=-1)
    scores = 1 / (1 + np.exp(-logits))
    peaks = np.stack([cv2.dilate(s.max(-1), np.ones((3, 3))) for s in scores])
    scores = np.where(scores == peaks[..., None], scores, 0)
    best = np.argsort(-scores.reshape(len(scores), -1), axis=1)[:, :MAX_BOXES]
    row, column, label = np.unravel_index(best, scores.shape[1:])
    image = np.arange(len(scores))[:, None]
    left, top, right, bottom = np.moveaxis(np.exp(distances[image, row, column]), -1, 0)
    x, y = column + 0.5, row + 0.5
    confidence = scores[image, row, column, label]
    return {
        "boxes": STRIDE * np.stack([x - left, y - top, x + right, y + bottom], axis=-1),
        "labels": np.where(confidence > 0.01, label, -1),
        "confidence": confidence,
    }


def pad(scenes: Scenes) -> dict[str, np.ndarray]:
    """Boxes and labels of all scenes in two arrays, padded with the label -1."""
    most = max(map(len, scenes.labels))
    boxes = np.zeros((len(scenes.labels), most, 4), "float32")
    labels = np.full((len(scenes.labels), most), -1)
    for i, count in enumerate(map(len, scenes.labels)):
        boxes[i, :count] = scenes.boxes[i]
        labels[i, :count] = scenes.labels[i]
    return {"boxes": boxes, "labels": labels}


def save_contact_sheet(model: keras.Model, scenes: Scenes, path: Path) -> None:
    """Saves twelve scenes of several digits, with true and predicted boxes."""
    several = [i for i, labels in enumerate(scenes.labels) if len(labels) > 1][:12]
    found = decode(model.predict(scenes.images[several], verbose=0))
    pictures = []
    for row, i in enumerate(several):
        sure = (found["confidence"][row] >= 0.3) & (found["labels"][row] >= 0)
        picture = draw_detections(
            scenes.images[i],
            {"boxes": scenes.boxes[i], "labels": scenes.labels[i]},
            {key: values[row][sure] for key, values in found.items()},
            CLASS_NAMES,
            scale=4,
        )
        pictures.append(np.pad(picture, ((4, 4), (4, 4), (0, 0))))
    rows = [np.hstack(pictures[i : i + 3]) for i in range(0, 12, 3)]
    sheet = np.vstack([draw_legend(CLASS_NAMES, rows[0].shape[1]), *rows])
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def in_words(
    callback: WandbDetectionEvalCallback, history: dict[str, list[float]]
) -> list[str]:
    """Describes the errors of predictions, and the hardest scenes."""
    kinds = [*ERROR_TYPES[1:], "missed"]
    counts = (f"{kind} {history[f'eval/errors/{kind}'][-1]}" for kind in kinds)
    hardest = ", ".join(map(str, callback.evaluation.hardest.index[:5]))
    return [f"errors: {', '.join(counts)}", f"hardest scenes: {hardest}"]


def main() -> None:
    """Trains, and prints a summary."""
    keras.utils.set_random_seed(0)
    train = make_scenes(4000, "train")
    held_out = make_scenes(200, "held_out")

    with wandb.init(project="wandb-eval", name="detect", mode="offline") as run:
        callback = WandbDetectionEvalCallback(
            (held_out.images, pad(held_out)),
            CLASS_NAMES,
            bounding_box_format="xyxy",
            decode_fn=decode,
            num_samples=50,
            every_n_epochs=EVERY_N_EPOCHS,
            batch_size=50,
            monitor="eval/AP50",
        )
        model = build_model()
        steps = EPOCHS * len(train.images) // 32
        schedule = keras.optimizers.schedules.CosineDecay(3e-3, steps)
        # On TensorFlow, compiling with XLA would take longer than it saves.
        jit = keras.backend.backend() == "jax"
        model.compile(keras.optimizers.Adam(schedule), loss, jit_compile=jit)
        history = model.fit(
            train.images, encode(train), 32, EPOCHS, callbacks=[callback]
        )
        folder = os.path.relpath(run.settings.sync_dir)

    # The metrics of the callback are in the logs of `fit`.
    epochs = range(EVERY_N_EPOCHS - 1, EPOCHS, EVERY_N_EPOCHS)
    figures = dict(zip(epochs, history.history["eval/AP50"], strict=True))
    sheet = Path(__file__).parent / "out" / "detect_digits.png"
    save_contact_sheet(model, held_out, sheet)
    print("\nLogged to W&B (offline):")
    print(f"  artifact val               {len(callback.samples)} scenes, true boxes")
    print(f"  artifact run_{run.id}_pred {len(figures)} versions, with predicted boxes")
    print("  charts and numbers         eval/AP50, eval/confusion_matrix, ...")
    print(f"AP50 on {len(held_out.images)} held-out scenes:")
    print("  " + "  ".join(f"epoch_{n}: {x:.3f}" for n, x in figures.items()))
    print("What is wrong, in words:")
    for line in in_words(callback, callback.history):
        print(f"  {line}")
    print(f"A contact sheet is in {os.path.relpath(sheet)}")
    print(f"The run is in {folder}")
    print(f"To look at it: uv run python -m wandb_eval.report {folder}")
    sync = f"uv run python -m wandb_eval.core.sync {folder}"
    print(f"To see it in W&B: uv run wandb login && {sync}")


if __name__ == "__main__":
    main()
