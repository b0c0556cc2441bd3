"""Watch a small CNN learn the angle of rotated handwritten digits.

Trains on scikit-learn's digits (8x8 pixels, real handwriting), enlarged and rotated by
-60 to 60 degrees, which takes less than a minute on two cores, and logs the predictions
after each epoch. It needs no account: W&B runs offline, and the last lines show how to
send the run later.

    uv run examples/rotate_digits.py
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("WANDB_SILENT", "true")

import cv2
import keras
import numpy as np
import wandb
from sklearn.datasets import load_digits

from wandb_eval.regression import WandbRegressionEvalCallback

EPOCHS = 5
SIZE = 24
LARGEST = 60
ROUND = (0, 1, 8)  # Digits whose angle is hard to see.


def rotated_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images of shape `(digits, 24, 24, 1)`, and their angles in degrees."""
    digits = load_digits()
    kept = ~np.isin(digits.target, ROUND)
    rng = np.random.default_rng(0)
    angles = rng.uniform(-LARGEST, LARGEST, kept.sum()).astype("float32")
    center = ((SIZE - 1) / 2, (SIZE - 1) / 2)
    images = []
    for digit, angle in zip(digits.images[kept], angles.tolist(), strict=True):
        large = cv2.resize(digit / 16, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        turn = cv2.getRotationMatrix2D(center, angle, 0.8)
        images.append(cv2.warpAffine(large, turn, (SIZE, SIZE)))
    return np.clip(images, 0, 1).astype("float32")[..., None], angles


def build_model() -> keras.Model:
    """A small CNN with one output: the angle in degrees."""
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(1),
            keras.layers.Rescaling(float(LARGEST)),
        ]
    )


def main() -> None:
    """Trains, and prints a summary."""
    keras.utils.set_random_seed(0)
    images, angles = rotated_digits()
    num_val = len(images) // 4
    x_val, y_val = images[:num_val], angles[:num_val]

    with wandb.init(project="wandb-eval", name="angles", mode="offline") as run:
        callback = WandbRegressionEvalCallback(
            (x_val, y_val),
            ["angle"],
            units="degrees",
            tolerance=10,
            monitor="eval/mae",
        )
        model = build_model()
        model.compile(keras.optimizers.Adam(0.002), "mae")
        model.fit(
            images[num_val:],
            angles[num_val:],
            epochs=EPOCHS,
            validation_data=(x_val, y_val),
            callbacks=[callback],
        )
        folder = os.path.relpath(run.settings.sync_dir)

    print("\nLogged to W&B (offline):")
    print(f"  artifact val               {len(callback.samples)} images with an angle")
    print(f"  artifact run_{run.id}_pred {EPOCHS} versions, one for each epoch")
    print("Mean absolute error in degrees, epoch by epoch:")
    print("  " + "  ".join(f"{mae:.1f}" for mae in callback.history["eval/mae"]))
    print("Hardest of all, in the table `hardest` with their images:")
    found = callback.evaluation.hardest
    names = ("angle", "predicted angle")
    rows = zip(found.index, *(found.scores[name] for name in names), strict=True)
    for index, angle, predicted in list(rows)[:3]:
        print(f"  sample {index}: {angle:.0f} degrees, predicted as {predicted:.0f}")
    print(f"The run is in {folder}")
    print(f"To look at it: uv run python -m wandb_eval.report {folder}")
    sync = f"uv run python -m wandb_eval.core.sync {folder}"
    print(f"To see it in W&B: uv run wandb login && {sync}")


if __name__ == "__main__":
    main()
