"""Watch a small U-Net learn to segment handwritten digits on photographs.

Eleven classes: the background and ten digits. It trains for about two minutes on two
cores. W&B runs offline, so no account is needed; a picture of images, true masks,
predicted masks and where they disagree is saved as well.

    uv run examples/segment_digits.py
"""

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("WANDB_SILENT", "true")

import cv2
import keras
import numpy as np
import wandb
from keras import layers, ops
from scenes import CLASS_NAMES, IMAGE_SIZE, Scenes, make_scenes

from wandb_eval.segmentation import (
    WandbSegmentationEvalCallback,
    draw_disagreement,
    draw_segmentation,
)

NAMES = ["background", *CLASS_NAMES]
EPOCHS = 6


def build_model() -> keras.Model:
    """A U-Net (https://arxiv.org/abs/1505.04597) that puts out logits."""

    def block(x, filters, strides=1):
        x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    images = keras.Input((*IMAGE_SIZE, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(images)
    half = block(x, 24, strides=2)
    quarter = block(block(half, 48, strides=2), 48)
    eighth = block(block(quarter, 96, strides=2), 96)
    x = block(block(eighth, 128, strides=2), 128)
    for skip, filters in ((eighth, 96), (quarter, 48), (half, 32)):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skip])
        x = block(x, filters)
    x = layers.Conv2D(len(NAMES), 1)(x)
    return keras.Model(images, layers.UpSampling2D(interpolation="bilinear")(x))


def loss(y_true, y_pred):
    """Cross-entropy in which pixels of digits weigh five times as much."""
    each = keras.losses.sparse_categorical_crossentropy(
        y_true, y_pred, from_logits=True
    )
    return ops.mean(each * (1.0 + 4.0 * ops.cast(y_true > 0, "float32")))


def save_contact_sheet(model: keras.Model, scenes: Scenes, path: Path) -> None:
    """Saves eight scenes: image, truth, prediction, and where they disagree."""
    several = [i for i, labels in enumerate(scenes.labels) if len(labels) > 1][:8]
    predicted = model.predict(scenes.images[several], verbose=0).argmax(axis=-1)

    def enlarge(picture):
        return cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)

    rows = []
    for i, mask in zip(several, predicted.astype("uint8"), strict=True):
        image, truth = enlarge(scenes.images[i]), enlarge(scenes.masks[i])
        prediction = enlarge(mask)
        pictures = [
            image,
            draw_segmentation(image, truth, NAMES),
            draw_segmentation(image, prediction, NAMES),
            draw_disagreement(image, truth, prediction),
        ]
        rows.append(np.hstack([np.pad(p, ((4, 4), (4, 4), (0, 0))) for p in pictures]))
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def main() -> None:
    """Trains, and says what was logged."""
    keras.utils.set_random_seed(0)
    train = make_scenes(4000, "train")
    held_out = make_scenes(200, "held_out")

    with wandb.init(project="wandb-eval", name="segment", mode="offline") as run:
        callback = WandbSegmentationEvalCallback(
            (held_out.images, held_out.masks),
            NAMES,
            num_samples=50,
            every_n_epochs=2,
            batch_size=50,
            monitor="eval/mean_iou",
        )
        model = build_model()
        steps = EPOCHS * len(train.images) // 32
        schedule = keras.optimizers.schedules.CosineDecay(4e-3, steps)
        # On TensorFlow, compiling with XLA would take longer than it saves.
        jit = keras.backend.backend() == "jax"
        model.compile(keras.optimizers.Adam(schedule), loss, jit_compile=jit)
        model.fit(train.images, train.masks, 32, EPOCHS, callbacks=[callback])
        figures = {
            name: run.summary[f"eval/{name}"] for name in ("mean_iou", "mean_dice")
        }
        folder = os.path.relpath(run.settings.sync_dir)

    sheet = Path(__file__).parent / "out" / "segment_digits.png"
    save_contact_sheet(model, held_out, sheet)
    print("\nLogged to W&B (offline):")
    print(f"  artifact val             {len(callback.samples)} scenes with true masks")
    print(
        f"  artifact run_{run.id}_pred {-(-EPOCHS // 2)} versions, with predicted masks"
    )
    print("  charts and numbers       IoU, Dice, confusion matrix of pixels and others")
    print(f"On {len(held_out.images)} held-out scenes after the last epoch:")
    print("  " + "  ".join(f"{name} {value:.3f}" for name, value in figures.items()))
    print(f"A contact sheet is in {os.path.relpath(sheet)}")
    print(f"The run is in {folder}")
    print(f"To see it in W&B: wandb login && wandb sync {folder}")


if __name__ == "__main__":
    main()
