"""Watch a small U-Net learn to segment handwritten digits on photographs.

Eleven classes: the background and ten digits. It trains for about two minutes on two
cores. W&B runs offline, so no account is needed; a picture of images, true masks,
predicted masks and their differences is saved, too.

    uv run examples/segment_digits.py
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

from wandb_eval.engine.kit.opencv import cv2
from wandb_eval.segmentation import (
    WandbSegmentationEvalCallback,
    draw_disagreement,
    draw_legend,
    draw_segmentation,
)

NAMES = ["background", *CLASS_NAMES]
EPOCHS = 6
EVERY_N_EPOCHS = 2


def build_model() -> keras.Model:
    """A U-Net (https://arxiv.org/abs/1505.04597) that predicts logits.

    It adds the logits of its coarsest level, like FCNs
    (https://arxiv.org/abs/1411.4038), to learn the places of digits sooner.
    """

    def block(x, filters, strides=1):
        x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    images = keras.Input((*IMAGE_SIZE, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(images)
    half = block(x, 16, strides=2)
    quarter = block(block(half, 32, strides=2), 32)
    x = block(block(quarter, 64, strides=2), 64)
    for _ in range(2):
        x = layers.Add()([x, block(block(x, 64), 64)])
    coarse = layers.Conv2D(len(NAMES), 1)(block(x, 96))
    coarse = layers.UpSampling2D(8, interpolation="bilinear")(coarse)
    for skip, filters in ((quarter, 32), (half, 16)):
        x = layers.UpSampling2D()(layers.Conv2D(filters, 1)(x))
        x = block(layers.Concatenate()([x, skip]), filters)
    fine = layers.Conv2DTranspose(len(NAMES), 2, strides=2)(x)
    return keras.Model(images, layers.Add()([coarse, fine]))


def loss(y_true, y_pred):
    """Cross-entropy for digit or background, and for the class of a digit.

    The second part is a mean over only the pixels of digits, because these are few, and
    would hardly count in a mean over all pixels.
    """
    labels = ops.cast(y_true, "int32")
    is_digit = ops.cast(labels > 0, "float32")
    background, digits = y_pred[..., 0], y_pred[..., 1:]
    whether = ops.binary_crossentropy(
        is_digit, ops.logsumexp(digits, axis=-1) - background, from_logits=True
    )
    which = ops.sparse_categorical_crossentropy(
        ops.maximum(labels - 1, 0), digits, from_logits=True
    )
    share = ops.maximum(ops.mean(is_digit), 1e-3)
    return ops.mean(whether) + ops.mean(is_digit * which) / share


def save_contact_sheet(model: keras.Model, scenes: Scenes, path: Path) -> None:
    """Saves six scenes: image, truth, prediction, and their differences."""
    several = [i for i, labels in enumerate(scenes.labels) if len(labels) > 1][:6]
    predicted = model.predict(scenes.images[several], verbose=0).argmax(axis=-1)
    scale = 3
    titles = np.zeros((32, 4 * (scale * IMAGE_SIZE[1] + 8), 3), "uint8")
    for i, title in enumerate(("image", "truth", "prediction", "disagreement")):
        place = 4 + i * titles.shape[1] // 4, 24
        cv2.putText(titles, title, place, 0, 0.7, (255, 255, 255), 1, cv2.LINE_AA)
    rows = [draw_legend(NAMES, titles.shape[1], background=0), titles]
    for i, prediction in zip(several, predicted, strict=True):
        image, truth = scenes.images[i], scenes.masks[i]
        pictures = [
            image.repeat(scale, axis=0).repeat(scale, axis=1),
            draw_segmentation(image, truth, NAMES, alpha=0.7, scale=scale),
            draw_segmentation(image, prediction, NAMES, alpha=0.7, scale=scale),
            draw_disagreement(image, truth, prediction, scale=scale, background=0),
        ]
        rows.append(np.hstack([np.pad(p, ((4, 4), (4, 4), (0, 0))) for p in pictures]))
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def in_words(callback: WandbSegmentationEvalCallback) -> list[str]:
    """Describes the scenes that the model gets most wrong, and their worst class."""
    found = callback.evaluation.hardest
    scores = zip(
        found.index, found.scores["mean_iou"], found.scores["worst_class"], strict=True
    )
    return [
        f"scene {index}: mean IoU {iou:.2f}, worst class {worst}"
        for index, iou, worst in list(scores)[:5]
    ]


def main() -> None:
    """Trains, and prints a summary."""
    keras.utils.set_random_seed(0)
    train = make_scenes(3000, "train")
    held_out = make_scenes(200, "held_out")

    with wandb.init(project="wandb-eval", name="segment", mode="offline") as run:
        callback = WandbSegmentationEvalCallback(
            (held_out.images, held_out.masks),
            NAMES,
            num_samples=50,
            every_n_epochs=EVERY_N_EPOCHS,
            batch_size=50,
            monitor="eval/mean_iou",
        )
        model = build_model()
        steps = EPOCHS * len(train.images) // 16
        schedule = keras.optimizers.schedules.CosineDecay(3e-3, steps)
        # On TensorFlow, compiling with XLA would take longer than it saves.
        jit = keras.backend.backend() == "jax"
        model.compile(keras.optimizers.Adam(schedule), loss, jit_compile=jit)
        history = model.fit(train.images, train.masks, 16, EPOCHS, callbacks=[callback])
        folder = os.path.relpath(run.settings.sync_dir)

    # The metrics of the callback are in the logs of `fit`.
    epochs = range(EVERY_N_EPOCHS - 1, EPOCHS, EVERY_N_EPOCHS)
    figures = dict(zip(epochs, history.history["eval/mean_iou"], strict=True))
    sheet = Path(__file__).parent / "out" / "segment_digits.png"
    save_contact_sheet(model, held_out, sheet)
    print("\nLogged to W&B (offline):")
    print(f"  artifact val               {len(callback.samples)} scenes, true masks")
    print(f"  artifact run_{run.id}_pred {len(figures)} versions, with predicted masks")
    print("  charts and numbers         eval/mean_iou, eval/confusion_matrix, ...")
    print(f"Mean IoU on {len(held_out.images)} held-out scenes:")
    print("  " + "  ".join(f"epoch_{n}: {x:.3f}" for n, x in figures.items()))
    print("What is wrong, in words:")
    for line in in_words(callback):
        print(f"  {line}")
    print(f"A contact sheet is in {os.path.relpath(sheet)}")
    print(f"The run is in {folder}")
    print(f"To look at it: uv run python -m wandb_eval.report {folder}")
    sync = f"uv run python -m wandb_eval.core.sync {folder}"
    print(f"To see it in W&B: uv run wandb login && {sync}")


if __name__ == "__main__":
    main()
